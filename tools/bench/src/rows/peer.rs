//! The peers: each driven by its own way of publishing, beside the bare loop.

use std::time::Duration;

use anyhow::Result;

use super::calibrate::{FRAME_BYTES, half_load};
use super::measure::{BareSide, Measured, Round};
use super::{Context, Line};
use crate::bare::Mode;
use crate::load::{ConnId, Engine, GroupId};
use crate::peers;
use crate::stats::Spread;
use crate::sys;

/// Bytes of a frame's head, as a peer's text is longer than 125 bytes.
const HEAD_BYTES: usize = 4;
/// What a peer that cannot keep the pace has behind is waited for so long.
const BACKLOG_MAX: Duration = Duration::from_secs(8);

/// A peer and its viewers.
struct PeerSide {
    /// What it is called in tables.
    name: &'static str,
    peer: peers::Peer,
    pids: Vec<u32>,
    viewers: GroupId,
    publisher: ConnId,
    text_bytes: usize,
    count: usize,
    /// Bytes of memory a connection.
    connection_bytes: f64,
}

impl PeerSide {
    /// Starts one with so many viewers.
    fn start(engine: &mut Engine, start: peers::Start, count: usize) -> Result<Self> {
        let mut peer = start()?;
        let pids = peer.pids();
        let before = sys::resident_bytes(&pids)?;
        let (viewers, publisher) = peer.dialects()?;
        let viewers = engine.group(viewers);
        engine.connect(viewers, count)?;
        let grown = sys::resident_bytes(&pids)?.saturating_sub(before);
        let publisher = engine.group(publisher);
        engine.connect(publisher, 1)?;
        let publisher = engine.groups[publisher].members[0];
        Ok(Self {
            name: peer.name,
            peer,
            pids,
            viewers,
            publisher,
            text_bytes: FRAME_BYTES,
            count,
            connection_bytes: grown as f64 / count as f64,
        })
    }

    /// Learns what the peer adds to a text, so that a message is `frame_bytes` on the wire.
    fn fit(&mut self, engine: &mut Engine, frame_bytes: usize) -> Result<()> {
        self.text_bytes = frame_bytes.saturating_sub(HEAD_BYTES).max(16);
        let probe = self.round(
            engine,
            Duration::from_millis(20),
            Duration::from_millis(300),
        )?;
        // nats-server sends a message as two frames: what counts is the bytes a message.
        let bytes = probe.counts.bytes as f64 / probe.deliveries.max(1.0);
        self.text_bytes = (self.text_bytes + frame_bytes)
            .saturating_sub(bytes.round() as usize)
            .max(16);
        Ok(())
    }

    /// A round of messages to all. What has not arrived at its end is waited for, or it would be in the way of
    /// whoever is next.
    fn round(
        &mut self,
        engine: &mut Engine,
        interval: Duration,
        during: Duration,
    ) -> Result<Measured> {
        let (publisher, publish) = (self.publisher, self.peer.publish);
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
            engine.send(publisher, &publish(&text))
        })?;
        if measured.complete < measured.posts {
            engine.drain(&[self.viewers], Duration::from_millis(250), BACKLOG_MAX)?;
        }
        Ok(measured)
    }

    /// A line of facts about some rounds of it, beside what the bare loop took.
    fn line(&self, what: &str, rounds: &[Measured], w: &[f64]) -> Line {
        let us: Vec<f64> = rounds.iter().map(Measured::us).collect();
        let mut line = Line::fact(
            format!("{}: {what}", self.name),
            format!("{:.2} µs", Spread::of(&us).median),
        );
        line.beside = format!("W {:.2} µs", Spread::of(w).median);
        line.ratio = Some(Spread::of_ratios(&us, w));
        let Some(last) = rounds.last() else {
            return line;
        };
        line = line.note(format!(
            "{:.0} bytes a message; publish → one viewer p50 {:.2} ms, p99 {:.2} ms; {:.1} KB a connection at {}",
            last.counts.bytes as f64 / last.deliveries.max(1.0),
            last.each.quantile(0.5) as f64 / 1e6,
            last.each.quantile(0.99) as f64 / 1e6,
            self.connection_bytes / 1_000.0,
            self.count
        ));
        let mut doubtful = rounds
            .iter()
            .rev()
            .filter_map(|round| round.pressure.doubt());
        if let Some(doubt) = doubtful.next() {
            line = line.note(format!("**{doubt}**"));
        }
        let (posts, complete) = rounds.iter().fold((0, 0), |(posts, complete), round| {
            (posts + round.posts, complete + round.complete)
        });
        if complete < posts {
            line = line.note(format!(
                "it does not keep this pace: {} of {posts} messages had not reached all viewers 3 s after the last",
                posts - complete
            ));
        }
        line
    }
}

/// Every peer with its rounds. One that does not start, or fails on the way, has a line that says why instead.
pub(super) struct Peers {
    what: String,
    sides: Vec<(PeerSide, Vec<Measured>)>,
    absent: Vec<Line>,
}

impl Peers {
    /// Starts them, each with so many viewers, and fits their messages to a frame's size.
    pub(super) fn start(engine: &mut Engine, count: usize, frame_bytes: usize, what: &str) -> Self {
        let mut peers = Self {
            what: what.to_owned(),
            sides: Vec::new(),
            absent: Vec::new(),
        };
        for (name, start) in peers::ALL {
            let side = PeerSide::start(engine, start, count).and_then(|mut side| {
                side.fit(engine, frame_bytes)?;
                Ok(side)
            });
            match side {
                Ok(side) => peers.sides.push((side, Vec::new())),
                Err(error) => peers.missing(name, &error),
            }
        }
        peers
    }

    /// None of them.
    pub(super) fn none() -> Self {
        Self {
            what: String::new(),
            sides: Vec::new(),
            absent: Vec::new(),
        }
    }

    fn missing(&mut self, name: &str, error: &anyhow::Error) {
        let what = format!("{name}: {}", self.what);
        self.absent
            .push(Line::not_measured(&what, &format!("{error:#}")));
    }

    /// A round of each.
    pub(super) fn round(&mut self, engine: &mut Engine, interval: Duration, during: Duration) {
        let mut failed = Vec::new();
        self.sides.retain_mut(
            |(side, rounds)| match side.round(engine, interval, during) {
                Ok(measured) => {
                    rounds.push(measured);
                    true
                }
                Err(error) => {
                    failed.push((side.name, error));
                    false
                }
            },
        );
        for (name, error) in &failed {
            self.missing(name, error);
        }
    }

    /// Their names and what a delivery took them, in microseconds.
    pub(super) fn us(&self) -> impl Iterator<Item = (&'static str, Vec<f64>)> {
        self.sides
            .iter()
            .map(|(side, rounds)| (side.name, rounds.iter().map(Measured::us).collect()))
    }

    /// Their lines, beside what a delivery took the bare loop in the same rounds.
    pub(super) fn lines(self, w: &[f64]) -> Vec<Line> {
        let measured = self.sides.iter();
        measured
            .map(|(side, rounds)| side.line(&self.what, rounds, w))
            .chain(self.absent.iter().cloned())
            .collect()
    }
}

/// The peers with frames of 200 bytes, the frame of `W`, at half load.
pub(super) fn beside_w(context: &mut Context) -> Result<Vec<Line>> {
    let what = "one message a frame of 200 bytes, 1,000 viewers";
    let mut engine = context.engine()?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let interval = half_load(&mut side, &mut engine, FRAME_BYTES, 1_000)?;
    let mut peers = Peers::start(&mut engine, 1_000, FRAME_BYTES, what);
    let mut w = Vec::new();
    let mut round = 0;
    while context.another_of("peers", round, context.rounds().min(3)) {
        round += 1;
        let during = context.during();
        let bare = side.paced(&mut engine, Mode::Write, FRAME_BYTES, interval, 0, during)?;
        w.push(bare.us());
        peers.round(&mut engine, interval, during);
    }
    let mut lines = peers.lines(&w);
    for (name, why) in peers::ABSENT {
        lines.push(Line::not_measured(&format!("{name}: {what}"), why));
    }
    Ok(lines)
}
