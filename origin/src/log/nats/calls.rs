//! REST calls over NATS requests.

use bytes::Bytes;
use chorus_protocol::subject;
use futures_util::StreamExt as _;

use super::Nats;
use crate::log::calls::CALL_TIMEOUT;
use crate::log::{Answer, Call, Calling, Calls, Feed, LogError, Regional as _};

impl Calling for Nats {
    fn call_api(&self, body: Vec<u8>) -> Answer<'_, Bytes> {
        Box::pin(async move {
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
        })
    }

    fn answer_api(&self) -> Answer<'_, Calls> {
        Box::pin(async move {
            let client = self.inner.client.clone();
            let calls = client
                .queue_subscribe(subject::api(self.region()), "api".to_owned())
                .await
                .map_err(LogError::away)?;
            Ok(Feed::new(calls.filter_map(move |message| {
                let call = call(&client, message);
                std::future::ready(call)
            })))
        })
    }

    fn answer_bytes_max(&self) -> usize {
        // Room for headers and the subject.
        self.inner.client.max_payload().saturating_sub(1_024)
    }
}

pub(super) fn call(client: &async_nats::Client, message: async_nats::Message) -> Option<Call> {
    let reply = message.reply?;
    let client = client.clone();
    Some(Call {
        body: message.payload,
        reply: Box::new(move |body| {
            Box::pin(async move {
                if let Err(error) = client.publish(reply, body.into()).await {
                    tracing::warn!(%error, "an answer was not sent");
                }
            })
        }),
    })
}
