//! Streams' lives: the control log holds the last word on each.

use async_nats::{HeaderMap, Subscriber, header};
use bytes::Bytes;
use chorus_protocol::stream::{Life, StreamInfo};
use chorus_protocol::{Region, StreamId, subject};
use futures_util::StreamExt as _;

use super::{Log, LogError, header_number};

/// Every stream's life, live.
pub struct Lives {
    subscriber: Subscriber,
}

impl Log {
    /// Writes how a stream stands after what the log of its region, `home`, said at `after`; returns the new place.
    /// `None`: somebody else was first, look again.
    ///
    /// # Errors
    /// When it is not known to be stored.
    pub async fn change_life(
        &self,
        home: &Region,
        info: &StreamInfo,
        after: u64,
    ) -> Result<Option<u64>, LogError> {
        let body = serde_json::to_vec(info).map_err(LogError::malformed)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            after.to_string(),
        );
        let subject = subject::stream_life(home, &info.stream_id);
        let stored = self.publish_and_wait(subject, headers, body.into()).await;
        match stored {
            Ok(seq) => Ok(Some(seq)),
            // A refusal for the sequence reads as unknown: look what is there.
            Err(error) => match self.life_in(home, &info.stream_id).await? {
                Some(life) if life.seq > after && life.info == *info => Ok(Some(life.seq)),
                Some(life) if life.seq > after => Ok(None),
                Some(_) | None => Err(error),
            },
        }
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
        Ok(self.life_at_home(stream).await?.map(|(_, life)| life))
    }

    /// As [`Log::life`], and the region whose log says it.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn life_at_home(
        &self,
        stream: &StreamId,
    ) -> Result<Option<(Region, Life)>, LogError> {
        for region in self.all_regions() {
            match self.life_in(region, stream).await {
                Ok(Some(life)) => return Ok(Some((region.clone(), life))),
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

    async fn life_in(&self, region: &Region, stream: &StreamId) -> Result<Option<Life>, LogError> {
        let log = subject::control_log(region);
        let subject = subject::stream_life(region, stream);
        match self.last_payload(&log, &subject).await? {
            Some((seq, body)) => {
                let info = serde_json::from_slice(&body).map_err(LogError::malformed)?;
                Ok(Some(Life { info, seq }))
            }
            None => Ok(None),
        }
    }

    /// The place of a region's last word on any stream's life; 0 when there is none.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn last_life(&self, region: &Region) -> Result<u64, LogError> {
        let log = subject::control_log(region);
        let last = self.last_payload(&log, &lives_of(region)).await?;
        Ok(last.map_or(0, |(seq, _)| seq))
    }

    /// The last words of a region's control log on streams' lives in `(after, …)`, in its order, and up to where they
    /// were read: `after` when there is no more.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn lives_after(
        &self,
        region: &Region,
        after: u64,
    ) -> Result<(Vec<Life>, u64), LogError> {
        let log = subject::control_log(region);
        let found = self.payloads_after(&log, &lives_of(region), after).await?;
        let to = found.last().map_or(after, |(seq, _)| *seq);
        Ok((read(found), to))
    }

    /// A region's last words on these streams, of those that it has one on.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn lives(
        &self,
        region: &Region,
        streams: &[StreamId],
    ) -> Result<Vec<Life>, LogError> {
        let log = subject::control_log(region);
        let subjects: Vec<String> = streams
            .iter()
            .map(|stream| subject::stream_life(region, stream))
            .collect();
        Ok(read(self.last_payloads(&log, &subjects).await?))
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

/// The subjects of all lives in a region's control log.
fn lives_of(region: &Region) -> String {
    format!("control.{region}.*.stream")
}

fn read(found: Vec<(u64, Bytes)>) -> Vec<Life> {
    let mut lives = Vec::with_capacity(found.len());
    for (seq, body) in found {
        match serde_json::from_slice(&body) {
            Ok(info) => lives.push(Life { info, seq }),
            Err(error) => tracing::warn!(%error, seq, "a stream's life cannot be read"),
        }
    }
    lives
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
