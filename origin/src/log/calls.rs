//! REST calls over NATS: a gateway asks, one `api` of the region answers.

use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::subject;
use futures_util::StreamExt as _;

use super::{Log, LogError};

/// The longest wait for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A call to answer.
pub struct Call {
    /// What the caller sent.
    pub body: Bytes,
    client: async_nats::Client,
    reply: async_nats::Subject,
}

/// The calls that come to this process.
pub struct Calls {
    client: async_nats::Client,
    subscriber: async_nats::Subscriber,
}

impl Log {
    /// Sends a call to one `api` of this region and waits for its answer.
    ///
    /// # Errors
    /// When none is there or none answers in time.
    pub async fn call_api(&self, body: Vec<u8>) -> Result<Bytes, LogError> {
        if !self.connected() {
            return Err(LogError::Away("no connection".to_owned()));
        }
        let request = async_nats::Request::new()
            .payload(body.into())
            .timeout(Some(CALL_TIMEOUT));
        let answer = self
            .inner
            .client
            .send_request(subject::api(self.region()), request)
            .await
            .map_err(LogError::away)?;
        Ok(answer.payload)
    }

    /// Takes this process's share of the region's calls.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_api(&self) -> Result<Calls, LogError> {
        let subscriber = self
            .inner
            .client
            .queue_subscribe(subject::api(self.region()), "api".to_owned())
            .await
            .map_err(LogError::away)?;
        Ok(Calls {
            client: self.inner.client.clone(),
            subscriber,
        })
    }

    /// The largest answer NATS carries.
    #[must_use]
    pub fn answer_bytes_max(&self) -> usize {
        // Room for headers and the subject.
        self.inner.client.max_payload().saturating_sub(1_024)
    }
}

impl Calls {
    /// Waits for a call. `None`: closed for good.
    pub async fn next(&mut self) -> Option<Call> {
        loop {
            let message = self.subscriber.next().await?;
            if let Some(reply) = message.reply {
                return Some(Call {
                    body: message.payload,
                    client: self.client.clone(),
                    reply,
                });
            }
        }
    }
}

impl Call {
    /// Answers it.
    pub async fn answer(self, body: Vec<u8>) {
        if let Err(error) = self.client.publish(self.reply, body.into()).await {
            tracing::warn!(%error, "an answer of the api was not sent");
        }
    }
}
