//! Streams' lives: the control log holds the last word on each, and the region's own record.

use bytes::Bytes;
use chorus_protocol::stream::{Life, StreamInfo};
use chorus_protocol::{Region, StreamId, subject};

use super::{Answer, LogError, Regional};

/// The control logs. Every answer fails when the log is away; then a write may be stored or not.
pub trait Control: Regional {
    /// The last message of one subject of a region's control log: its sequence and body.
    fn last_control<'a>(
        &'a self,
        region: &'a Region,
        subject: String,
    ) -> Answer<'a, Option<(u64, Bytes)>>;

    /// Writes to a subject of a region's control log whose last sequence is `after`, 0 for none. Fails when somebody
    /// else was first, too.
    fn put_control(&self, subject: String, body: Vec<u8>, after: u64) -> Answer<'_, u64>;

    /// The last words of a region's control log on streams' lives in `(after, …)`, in its order, and up to where they
    /// were read: `after` when there is no more.
    fn lives_after<'a>(&'a self, region: &'a Region, after: u64) -> Answer<'a, (Vec<Life>, u64)>;

    /// A region's last words on these streams, of those that it has one on.
    fn lives<'a>(&'a self, region: &'a Region, streams: &'a [StreamId]) -> Answer<'a, Vec<Life>>;

    /// The place of a region's last word on any stream's life; 0 when there is none.
    fn last_life<'a>(&'a self, region: &'a Region) -> Answer<'a, u64> {
        Box::pin(async move {
            let last = self.last_control(region, lives_of(region)).await?;
            Ok(last.map_or(0, |(seq, _)| seq))
        })
    }

    /// What a region's control log says of a stream.
    fn life_in<'a>(&'a self, region: &'a Region, stream: &'a StreamId) -> Answer<'a, Option<Life>> {
        Box::pin(async move {
            let subject = subject::stream_life(region, stream);
            let Some((seq, body)) = self.last_control(region, subject).await? else {
                return Ok(None);
            };
            let info = serde_json::from_slice(&body).map_err(LogError::malformed)?;
            Ok(Some(Life { info, seq }))
        })
    }

    /// The last word on a stream in any region; this region's first. Fails when none has one that can be seen and this
    /// region's log is away.
    fn life<'a>(&'a self, stream: &'a StreamId) -> Answer<'a, Option<Life>> {
        Box::pin(async move { Ok(self.life_at_home(stream).await?.map(|(_, life)| life)) })
    }

    /// As [`Control::life`], and the region whose log says it. A peer that is away hides only its own streams.
    fn life_at_home<'a>(&'a self, stream: &'a StreamId) -> Answer<'a, Option<(Region, Life)>> {
        Box::pin(async move {
            let mut own = Ok(None);
            for region in self.registry().seen() {
                let asked = self.life_in(&region, stream);
                match self.registry().of_peer(&region, asked).await {
                    Ok(Some(life)) => return Ok(Some((region, life))),
                    Ok(None) => {}
                    Err(error) if region == *self.region() => own = Err(error),
                    Err(_) => {}
                }
            }
            own
        })
    }

    /// Writes how a stream stands after what the log of its region, `home`, said at `after`; returns the new place.
    /// `None`: somebody else was first, look again.
    fn change_life<'a>(
        &'a self,
        home: &'a Region,
        info: &'a StreamInfo,
        after: u64,
    ) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            let body = serde_json::to_vec(info).map_err(LogError::malformed)?;
            let subject = subject::stream_life(home, &info.stream_id);
            let error = match self.put_control(subject, body, after).await {
                Ok(seq) => return Ok(Some(seq)),
                Err(error) => error,
            };
            // It may be stored, or another word was first: look what is there.
            match self.life_in(home, &info.stream_id).await? {
                Some(life) if life.seq > after && life.info == *info => Ok(Some(life.seq)),
                Some(life) if life.seq > after => Ok(None),
                Some(_) | None => Err(error),
            }
        })
    }

    /// Writes a stream's first word, in the log of its home region where it has one, else of this one. `None`: there was
    /// one already.
    fn create_life<'a>(&'a self, info: &'a StreamInfo) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            if self.life(&info.stream_id).await?.is_some() {
                return Ok(None);
            }
            // Two that create the same name at the same time: the log lets one of them.
            let home = info.home_region.as_ref().unwrap_or(self.region());
            self.change_life(home, info, 0).await
        })
    }
}

/// The subjects of all lives in a region's control log.
pub(super) fn lives_of(region: &Region) -> String {
    format!("control.{region}.*.stream")
}

pub(super) fn read_lives(found: Vec<(u64, Bytes)>) -> Vec<Life> {
    let mut lives = Vec::with_capacity(found.len());
    for (seq, body) in found {
        match serde_json::from_slice(&body) {
            Ok(info) => lives.push(Life { info, seq }),
            Err(error) => tracing::warn!(%error, seq, "a stream's life cannot be read"),
        }
    }
    lives
}
