//! The people of a row: viewers and authors of one stream at one PoP.

use std::time::Duration;

use anyhow::{Result, bail};

use super::Context;
use super::measure::{Measured, Round};
use crate::load::{ConnId, Engine, GroupId};
use crate::stack::speech::{self, Encoding};
use crate::stack::{Pop, Wish};

/// Users that post.
pub(super) const AUTHORS: usize = 200;
/// A comment's text, in bytes.
pub(super) const TEXT_BYTES: usize = 60;

/// Users of some streams that post in turn.
pub(super) struct Authors {
    pub(super) group: GroupId,
    members: Vec<ConnId>,
    streams: Vec<String>,
    /// Posts so far.
    pub(super) posts: usize,
}

impl Authors {
    /// Joins so many users, dealt out to the streams in turn.
    pub(super) fn join(
        engine: &mut Engine,
        pop: &mut Pop,
        streams: Vec<String>,
        count: usize,
    ) -> Result<Self> {
        let tokens = pop.tokens(count)?;
        let group = engine.join(speech::authors(pop, &tokens, &streams), count)?;
        Ok(Self {
            group,
            members: engine.groups[group].members.clone(),
            streams,
            posts: 0,
        })
    }

    /// Posts a text as the next one, on its stream.
    pub(super) fn post(&mut self, engine: &mut Engine, text: &str) -> Result<()> {
        let at = self.posts % self.members.len();
        let stream = &self.streams[at % self.streams.len()];
        self.posts += 1;
        engine.send(self.members[at], &speech::post(stream, text))
    }
}

/// Viewers and authors of a stream.
pub(super) struct Cast {
    /// Both groups: everyone here gets every comment.
    groups: [GroupId; 2],
    authors: Authors,
    audience: usize,
    pid: u32,
}

impl Cast {
    /// Joins `people` in all, authors included.
    pub(super) fn join(
        engine: &mut Engine,
        pop: &mut Pop,
        stream: &str,
        people: usize,
        deflate: bool,
    ) -> Result<Self> {
        let count = AUTHORS.min(people / 2).max(1);
        let streams = vec![stream.to_owned()];
        let viewers = speech::viewers(pop, &streams, Encoding::Json, deflate);
        let authors = Authors::join(engine, pop, streams, count)?;
        let viewers = engine.join(viewers, people - count)?;
        Ok(Self {
            groups: [viewers, authors.group],
            authors,
            // Marks are not found in what is deflated.
            audience: if deflate { count } else { people },
            pid: pop.pid,
        })
    }

    /// A round of posts.
    pub(super) fn round(
        &mut self,
        engine: &mut Engine,
        interval: Duration,
        during: Duration,
    ) -> Result<Measured> {
        self.round_with(engine, TEXT_BYTES, interval, during)
    }

    /// A round of posts of another length.
    pub(super) fn round_with(
        &mut self,
        engine: &mut Engine,
        text_bytes: usize,
        interval: Duration,
        during: Duration,
    ) -> Result<Measured> {
        let round = Round {
            groups: &self.groups,
            pids: &[self.pid],
            others: &[],
            text_bytes,
            interval,
            during,
            audience: self.audience,
        };
        let authors = &mut self.authors;
        let measured = round.run(engine, &mut |engine, text| authors.post(engine, text))?;
        check(&measured)?;
        Ok(measured)
    }

    /// Receipts `durable` that its authors have.
    pub(super) fn durable(&self, engine: &Engine) -> u64 {
        engine.groups[self.authors.group].counts.durable
    }

    /// A short round to learn how large the frames of single comments are.
    pub(super) fn frame_bytes(&mut self, engine: &mut Engine) -> Result<usize> {
        let (interval, during) = (Duration::from_millis(20), Duration::from_millis(400));
        let counts = self.round(engine, interval, during)?.counts;
        // Receipts and totals go to few; what matters is the frame that goes to all.
        Ok((counts.comment_bytes as f64 / counts.comments.max(1) as f64).round() as usize)
    }
}

impl Context {
    /// A PoP as wished, with so many people on a stream of it, authors included.
    pub(super) fn cast(
        &mut self,
        engine: &mut Engine,
        wish: Wish,
        people: usize,
    ) -> Result<(Pop, Cast, String)> {
        let mut pop = self.pop(wish)?;
        let stream = self.stream()?;
        let cast = Cast::join(engine, &mut pop, &stream, people, false)?;
        Ok((pop, cast, stream))
    }
}

/// A round counts only when every post was taken and nobody was lost.
pub(super) fn check(measured: &Measured) -> Result<()> {
    let counts = &measured.counts;
    if counts.lost > 0 {
        bail!("{} viewers were lost: {}", counts.lost, counts.refusal);
    }
    if counts.refused > 0 {
        bail!("{} posts were refused: {}", counts.refused, counts.refusal);
    }
    if counts.comments == 0 {
        let (frames, durable) = (counts.frames, counts.durable);
        bail!("no comment arrived at anyone ({frames} frames, {durable} receipts durable)");
    }
    Ok(())
}
