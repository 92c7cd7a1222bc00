//! The people of a row: viewers and authors of one stream at one PoP.

use std::time::Duration;

use anyhow::{Result, bail};

use super::measure::{Measured, Round};
use crate::load::{ConnId, Engine, GroupId};
use crate::stack::Pop;
use crate::stack::speech::{self, Encoding};

/// Users that post.
pub(super) const AUTHORS: usize = 200;
/// A comment's text, in bytes.
pub(super) const TEXT_BYTES: usize = 60;

/// Users of many streams, one of each, that post in turn.
pub(super) struct Authors {
    pub(super) group: GroupId,
    members: Vec<ConnId>,
    streams: Vec<String>,
    /// Posts so far.
    pub(super) posts: usize,
}

impl Authors {
    /// Joins each of these streams as a user of its own.
    pub(super) fn join(engine: &mut Engine, pop: &mut Pop, streams: Vec<String>) -> Result<Self> {
        let count = streams.len();
        let tokens = pop.tokens(count)?;
        let of = streams.clone();
        let group = engine.group(speech::authors(
            pop,
            tokens,
            Box::new(move |number| of[number % count].clone()),
        ));
        engine.connect(group, count)?;
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
        self.posts += 1;
        engine.send(self.members[at], &speech::post(&self.streams[at], text))
    }
}

/// Viewers and authors of a stream.
pub(super) struct Cast {
    /// Both groups: everyone here gets every comment.
    pub(super) groups: [GroupId; 2],
    authors: Vec<ConnId>,
    stream: String,
    audience: usize,
    next: usize,
    /// The PoP's process.
    pub(super) pid: u32,
}

impl Cast {
    /// Joins `people` in all, authors included.
    pub(super) fn join(
        engine: &mut Engine,
        pop: &mut Pop,
        stream: &str,
        people: usize,
    ) -> Result<Self> {
        Self::join_as(engine, pop, stream, people, Encoding::Json, false)
    }

    /// The same, the viewers with an encoding; authors speak JSON.
    pub(super) fn join_as(
        engine: &mut Engine,
        pop: &mut Pop,
        stream: &str,
        people: usize,
        encoding: Encoding,
        deflate: bool,
    ) -> Result<Self> {
        let count = AUTHORS.min(people / 2).max(1);
        let tokens = pop.tokens(count)?;
        let name = stream.to_owned();
        let authors = engine.group(speech::authors(
            pop,
            tokens,
            Box::new(move |_| name.clone()),
        ));
        engine.connect(authors, count)?;
        let name = stream.to_owned();
        let viewers = engine.group(speech::viewers(
            pop,
            Box::new(move |_| name.clone()),
            encoding,
            deflate,
        ));
        engine.connect(viewers, people - count)?;
        Ok(Self {
            groups: [viewers, authors],
            authors: engine.groups[authors].members.clone(),
            stream: stream.to_owned(),
            // Marks are not found in what is deflated.
            audience: if deflate { count } else { people },
            next: 0,
            pid: pop.pid,
        })
    }

    /// Posts a text as the next author.
    pub(super) fn post(&mut self, engine: &mut Engine, text: &str) -> Result<()> {
        let author = self.authors[self.next % self.authors.len()];
        self.next += 1;
        engine.send(author, &speech::post(&self.stream, text))
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
        let (groups, pid) = (self.groups, self.pid);
        let round = Round {
            groups: &groups,
            pids: &[pid],
            others: &[],
            text_bytes,
            interval,
            during,
            audience: self.audience,
        };
        let measured = round.run(engine, &mut |engine, text| self.post(engine, &text))?;
        check(&measured)?;
        Ok(measured)
    }

    /// A short round to learn how large the frames of single comments are.
    pub(super) fn frame_bytes(&mut self, engine: &mut Engine) -> Result<usize> {
        let measured = self.round(
            engine,
            Duration::from_millis(20),
            Duration::from_millis(400),
        )?;
        // Receipts and totals go to few; what matters is the frame that goes to all.
        Ok(
            (measured.counts.comment_bytes as f64 / measured.counts.comments.max(1) as f64).round()
                as usize,
        )
    }
}

/// A round counts only when every post was taken and nobody was lost.
pub(super) fn check(measured: &Measured) -> Result<()> {
    let counts = &measured.counts;
    if counts.lost > 0 {
        bail!(
            "{} viewers were closed (codes {:?}, {})",
            counts.lost,
            counts.codes,
            counts.refusal
        );
    }
    if counts.refused > 0 {
        bail!("{} posts were refused: {}", counts.refused, counts.refusal);
    }
    if counts.comments == 0 {
        bail!(
            "no comment arrived at anyone ({} frames, {} receipts durable)",
            counts.frames,
            counts.durable
        );
    }
    Ok(())
}
