//! Streams' lives: the control log holds the last word on each.

use async_nats::{HeaderMap, Subscriber, header};
use chorus_protocol::stream::StreamInfo;
use chorus_protocol::{StreamId, subject};
use futures_util::StreamExt as _;

use super::{Log, LogError, header_number};

/// A word on a stream's life and its place in the control log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// How the stream stands.
    pub info: StreamInfo,
    /// The sequence in the control log: a higher one is newer.
    pub seq: u64,
}

/// Every stream's life, live.
pub struct Lives {
    subscriber: Subscriber,
}

impl Log {
    /// Writes how a stream stands; returns its place in the control log.
    ///
    /// # Errors
    /// When it is not known to be stored.
    pub async fn write_life(&self, info: &StreamInfo) -> Result<u64, LogError> {
        let body = serde_json::to_vec(info).map_err(LogError::malformed)?;
        let subject = subject::stream_life(self.region(), &info.stream_id);
        self.publish_and_wait(subject, HeaderMap::new(), body.into())
            .await
    }

    /// Writes a stream's first word. `None`: there was one already.
    ///
    /// # Errors
    /// When the log is away: it may be stored or not.
    pub async fn create_life(&self, info: &StreamInfo) -> Result<Option<u64>, LogError> {
        if self.life(&info.stream_id).await?.is_some() {
            return Ok(None);
        }
        let body = serde_json::to_vec(info).map_err(LogError::malformed)?;
        let mut headers = HeaderMap::new();
        // Two that create the same name at the same time: the log lets one of them.
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        let subject = subject::stream_life(self.region(), &info.stream_id);
        let stored = self.publish_and_wait(subject, headers, body.into()).await;
        match stored {
            Ok(seq) => Ok(Some(seq)),
            // A refusal for the sequence reads as unknown: look who came first.
            Err(error) => match self.life(&info.stream_id).await? {
                Some(life) if life.info == *info => Ok(Some(life.seq)),
                Some(_) => Ok(None),
                None => Err(error),
            },
        }
    }

    /// The last word on a stream in any region; this region's first.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn life(&self, stream: &StreamId) -> Result<Option<Life>, LogError> {
        for region in self.all_regions() {
            let log = subject::control_log(region);
            let found = self
                .last_payload(&log, &subject::stream_life(region, stream))
                .await;
            match found {
                Ok(Some((seq, body))) => {
                    let info = serde_json::from_slice(&body).map_err(LogError::malformed)?;
                    return Ok(Some(Life { info, seq }));
                }
                Ok(None) => {}
                // A peer that is away hides only its own streams.
                Err(error) if region != self.region() => {
                    tracing::debug!(%region, %error, "a peer's control log is away");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The last words of this region's control log on streams' lives in `(after, …)`, in its order.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn lives_after(&self, after: u64) -> Result<Vec<Life>, LogError> {
        let log = subject::control_log(self.region());
        let subject = format!("control.{}.*.stream", self.region());
        let found = self.payloads_after(&log, &subject, after).await?;
        let mut lives = Vec::with_capacity(found.len());
        for (seq, body) in found {
            match serde_json::from_slice(&body) {
                Ok(info) => lives.push(Life { info, seq }),
                Err(error) => tracing::warn!(%error, seq, "a stream's life cannot be read"),
            }
        }
        Ok(lives)
    }

    /// Follows every stream's life.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn follow_lives(&self) -> Result<Lives, LogError> {
        let subscriber = self.subscribe("live.control.*.*.stream".to_owned()).await?;
        Ok(Lives { subscriber })
    }
}

impl Lives {
    /// Waits for the next word. `None`: closed for good.
    pub async fn next(&mut self) -> Option<Life> {
        loop {
            let message = self.subscriber.next().await?;
            let seq = header_number(&message, header::NATS_SEQUENCE);
            let info = serde_json::from_slice(&message.payload).ok();
            if let (Some(info), Some(seq)) = (info, seq) {
                return Some(Life { info, seq });
            }
        }
    }
}
