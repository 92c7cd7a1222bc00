//! The peers: each driven by its own way of publishing, beside the bare loop.

use std::time::Duration;

use anyhow::Result;

use super::Line;
use super::measure::{Measured, Round, Series, TAIL};
use crate::load::{ConnId, Engine, GroupId};
use crate::peers;
use crate::sys;

/// Bytes of a frame's head, as a peer's text is longer than 125 bytes.
const HEAD_BYTES: usize = 4;
/// What a peer that cannot keep the pace has behind is waited for so long.
const BACKLOG_MAX: Duration = Duration::from_secs(8);

/// A peer and its viewers.
struct PeerSide {
    name: &'static str,
    publish: fn(&str) -> Vec<u8>,
    pids: Vec<u32>,
    viewers: GroupId,
    publisher: ConnId,
    text_bytes: usize,
    count: usize,
    /// Bytes of memory a connection.
    connection_bytes: f64,
    rounds: Series,
    _peer: peers::Peer,
}

impl PeerSide {
    /// One with so many viewers, and with texts of a length that makes a message `frame_bytes` on the wire.
    fn start(
        engine: &mut Engine,
        name: &'static str,
        (peer, dialects): (peers::Peer, peers::Dialects),
        count: usize,
        frame_bytes: usize,
    ) -> Result<Self> {
        let pids = peer.pids();
        let before = sys::resident_bytes(&pids)?;
        let viewers = engine.join(dialects.viewers, count)?;
        let grown = sys::resident_bytes(&pids)?.saturating_sub(before);
        let publisher = engine.join(dialects.publisher, 1)?;
        let mut side = Self {
            name,
            publish: dialects.publish,
            pids,
            viewers,
            publisher: engine.groups[publisher].members[0],
            text_bytes: frame_bytes.saturating_sub(HEAD_BYTES).max(16),
            count,
            connection_bytes: grown as f64 / count as f64,
            rounds: Series::default(),
            _peer: peer,
        };
        let (interval, during) = (Duration::from_millis(20), Duration::from_millis(300));
        let probe = side.round(engine, interval, during)?;
        // nats-server sends a message as two frames: what counts is the bytes a message.
        let bytes = probe.counts.bytes as f64 / probe.deliveries.max(1.0);
        let text_bytes = (side.text_bytes + frame_bytes).saturating_sub(bytes.round() as usize);
        side.text_bytes = text_bytes.max(16);
        Ok(side)
    }

    /// A round of messages to all. What has not arrived at its end is waited for, or it would be in the way of
    /// whoever is next.
    fn round(&self, engine: &mut Engine, interval: Duration, during: Duration) -> Result<Measured> {
        let round = Round {
            groups: &[self.viewers],
            pids: &self.pids,
            others: &[],
            text_bytes: self.text_bytes,
            interval,
            during,
            audience: self.count,
        };
        let measured = round.run(engine, &mut |engine, text| {
            engine.send(self.publisher, &(self.publish)(text))
        })?;
        if measured.complete < measured.posts {
            engine.drain(&[self.viewers], TAIL, BACKLOG_MAX)?;
        }
        Ok(measured)
    }

    /// A line of facts, beside what the bare loop took.
    fn line(&self, what: &str, w: &Series) -> Line {
        let rounds = &self.rounds;
        let what = format!("{}: {what}", self.name);
        let mut line = Line::cpu(what, rounds, 2).over(rounds, "W ", w, 2);
        let Some(last) = rounds.0.last() else {
            return line;
        };
        line = line.note(format!(
            "{:.0} bytes a message; publish → one viewer p50 {:.2} ms, p99 {:.2} ms; {:.1} KB a connection at {}",
            last.counts.bytes as f64 / last.deliveries.max(1.0),
            last.each.ms(0.5),
            last.each.ms(0.99),
            self.connection_bytes / 1_000.0,
            self.count
        ));
        let posts = rounds.sum(|round| round.posts);
        match posts - rounds.sum(|round| round.complete) {
            0 => line,
            missing => line.note(format!(
                "it does not keep this pace: {missing} of {posts} messages had not reached all viewers 3 s after the last"
            )),
        }
    }
}

/// Every peer with its rounds. One that does not start, or fails on the way, has a line that says why instead.
#[derive(Default)]
pub(super) struct Peers {
    what: String,
    sides: Vec<PeerSide>,
    absent: Vec<Line>,
}

impl Peers {
    /// Starts them, each with so many viewers, and fits their messages to a frame's size.
    pub(super) fn start(engine: &mut Engine, count: usize, frame_bytes: usize, what: &str) -> Self {
        let absent = peers::ABSENT.map(|(name, why)| missing(name, what, why));
        let mut peers = Self {
            what: what.to_owned(),
            sides: Vec::new(),
            absent: absent.into(),
        };
        for (name, start) in peers::ALL {
            let side = start()
                .and_then(|started| PeerSide::start(engine, name, started, count, frame_bytes));
            match side {
                Ok(side) => peers.sides.push(side),
                Err(error) => peers
                    .absent
                    .push(missing(name, what, &format!("{error:#}"))),
            }
        }
        peers
    }

    /// A round of each.
    pub(super) fn round(&mut self, engine: &mut Engine, interval: Duration, during: Duration) {
        self.sides
            .retain_mut(|side| match side.round(engine, interval, during) {
                Ok(measured) => {
                    side.rounds.0.push(measured);
                    true
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    self.absent.push(missing(side.name, &self.what, &why));
                    false
                }
            });
    }

    /// Their names and rounds.
    pub(super) fn sides(&self) -> impl Iterator<Item = (&'static str, &Series)> {
        self.sides.iter().map(|side| (side.name, &side.rounds))
    }

    /// Their lines, beside what a delivery took the bare loop in the same rounds.
    pub(super) fn lines(self, w: &Series) -> Vec<Line> {
        let measured = self.sides.iter().map(|side| side.line(&self.what, w));
        measured.chain(self.absent.iter().cloned()).collect()
    }
}

fn missing(name: &str, what: &str, why: &str) -> Line {
    Line::not_measured(format!("{name}: {what}"), why)
}
