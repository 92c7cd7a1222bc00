//! One round of one side: how much CPU it took, what arrived, and how late.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::bare::Mode;
use crate::bare::child::Bare;
use crate::load::dialect::Dialect;
use crate::load::{ConnId, Counts, Engine, GroupId};
use crate::stats::Histogram;
use crate::sys::{self, CpuMeter};
use crate::ws;

/// Before a round counts: caches, timers and windows settle.
const WARM_UP: Duration = Duration::from_millis(300);
/// After the last post of a round: what is under way arrives and counts.
const TAIL: Duration = Duration::from_millis(250);

/// What a round showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// CPU of the side's processes.
    pub(crate) cpu_ns: f64,
    /// Wall-clock time.
    pub(crate) took: Duration,
    /// Deliveries: comments that arrived at a viewer, or frames a socket took.
    pub(crate) deliveries: f64,
    /// What the viewers counted.
    pub(crate) counts: Counts,
    /// Posts sent, and those that all viewers have.
    pub(crate) posts: u64,
    /// Of those sent.
    pub(crate) complete: u64,
    /// Post to one viewer.
    pub(crate) each: Histogram,
    /// Post to the last of all.
    pub(crate) all: Histogram,
}

impl Measured {
    /// CPU a delivery, in microseconds.
    pub(crate) fn us(&self) -> f64 {
        self.cpu_ns / self.deliveries.max(1.0) / 1_000.0
    }

    /// The share of a core that was used.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu_ns / self.took.as_nanos().max(1) as f64
    }

    /// CPU a second of wall-clock time, in microseconds.
    pub(crate) fn us_per_s(&self) -> f64 {
        self.cpu_ns / 1_000.0 / self.took.as_secs_f64().max(1e-9)
    }
}

/// A bare loop and its viewers.
pub(crate) struct BareSide {
    /// The process.
    pub(crate) bare: Bare,
    /// Its viewers.
    pub(crate) viewers: GroupId,
    writer: ConnId,
}

impl BareSide {
    /// Starts one with so many viewers.
    pub(crate) fn start(engine: &mut Engine, viewers: usize) -> Result<Self> {
        let bare = Bare::start()?;
        let group = engine.group(Dialect::websocket(bare.addr(), "/", &[]));
        engine.connect(group, viewers.max(1))?;
        let writer = engine.groups[group].members[0];
        Ok(Self {
            bare,
            viewers: group,
            writer,
        })
    }

    /// Deliveries a second when the loop does nothing else: it saturates its core.
    pub(crate) fn saturation(
        &mut self,
        engine: &mut Engine,
        mode: Mode,
        frame_bytes: usize,
        during: Duration,
    ) -> Result<f64> {
        self.bare.flat_out(mode, frame_bytes)?;
        engine.settle(WARM_UP)?;
        let mut cpu = CpuMeter::start(&[self.bare.pid()]);
        let before = self.bare.stats()?;
        engine.settle(during)?;
        let cpu_ns = cpu.take_ns();
        let sent = self.bare.stats()?.sent - before.sent;
        self.bare.stop()?;
        engine.settle(TAIL)?;
        if sent == 0 {
            bail!(
                "the bare loop sent nothing ({} is not to be had here)",
                mode.word()
            );
        }
        // By CPU, not by wall clock: on a busy machine the core is not the loop's alone.
        Ok(sent as f64 * 1e9 / cpu_ns.max(1) as f64)
    }

    /// A round at a steady pace, one frame to `group` viewers (0: to all) every `interval`.
    pub(crate) fn paced(
        &mut self,
        engine: &mut Engine,
        mode: Mode,
        frame_bytes: usize,
        interval: Duration,
        group: usize,
        during: Duration,
    ) -> Result<Measured> {
        self.bare
            .paced(mode, frame_bytes, interval.as_nanos() as u64, group)?;
        engine.settle(WARM_UP)?;
        let counts = engine.counts(self.viewers);
        let before = self.bare.stats()?;
        let mut cpu = CpuMeter::start(&[self.bare.pid()]);
        let start = sys::now_ns();
        engine.settle(during)?;
        let cpu_ns = cpu.take_ns();
        let took = Duration::from_nanos(sys::now_ns() - start);
        let after = self.bare.stats()?;
        self.bare.stop()?;
        engine.settle(TAIL)?;
        let lost = engine.counts(self.viewers).lost;
        if lost > 0 {
            bail!("{lost} viewers of the bare loop were lost");
        }
        Ok(Measured {
            cpu_ns: cpu_ns as f64,
            took,
            deliveries: (after.sent - before.sent) as f64,
            counts: engine.counts(self.viewers).since(&counts),
            ..Measured::default()
        })
    }

    /// A round in which a client's messages are passed on to all: the bare form of posts.
    pub(crate) fn posts(
        &mut self,
        engine: &mut Engine,
        mode: Mode,
        text_bytes: usize,
        interval: Duration,
        during: Duration,
    ) -> Result<Measured> {
        self.bare.mode(mode)?;
        let writer = self.writer;
        let pid = self.bare.pid();
        post_round(
            engine,
            &[self.viewers],
            &[pid],
            text_bytes,
            interval,
            during,
            &mut |engine, text| {
                engine.send(
                    writer,
                    &ws::client_frame(ws::TEXT, format!("!{text}").as_bytes()),
                )
            },
        )
    }
}

/// Publishes one text.
pub(crate) type Publish<'a> = &'a mut dyn FnMut(&mut Engine, String) -> Result<()>;

/// A round in which texts are posted at a steady pace and arrive at every member of some groups.
pub(crate) fn post_round(
    engine: &mut Engine,
    groups: &[GroupId],
    pids: &[u32],
    text_bytes: usize,
    interval: Duration,
    during: Duration,
    publish: Publish<'_>,
) -> Result<Measured> {
    let audience = groups
        .iter()
        .map(|group| engine.groups[*group].members.len())
        .sum();
    round_of(
        engine, groups, pids, text_bytes, interval, during, audience, publish,
    )
}

/// The same, where a text arrives at `audience` viewers only.
#[allow(
    clippy::too_many_arguments,
    reason = "a round is just these numbers; a struct would name them twice"
)]
pub(crate) fn round_of(
    engine: &mut Engine,
    groups: &[GroupId],
    pids: &[u32],
    text_bytes: usize,
    interval: Duration,
    during: Duration,
    audience: usize,
    publish: Publish<'_>,
) -> Result<Measured> {
    let mut tick = |engine: &mut Engine| {
        let text = engine.posts.next(text_bytes, sys::now_ns());
        publish(engine, text)
    };
    engine.posts.restart(audience);
    engine.run(WARM_UP, Some(interval), &mut tick)?;
    engine.settle(TAIL)?;
    engine.posts.restart(audience);
    let before = total(engine, groups);
    let mut cpu = CpuMeter::start(pids);
    let start = sys::now_ns();
    engine.run(during, Some(interval), &mut tick)?;
    engine.settle(TAIL)?;
    let cpu_ns = cpu.take_ns();
    let counts = total(engine, groups).since(&before);
    Ok(Measured {
        cpu_ns: cpu_ns as f64,
        took: Duration::from_nanos(sys::now_ns() - start),
        deliveries: counts.comments as f64,
        posts: engine.posts.sent(),
        complete: engine.posts.complete(),
        each: std::mem::take(&mut engine.posts.each),
        all: std::mem::take(&mut engine.posts.all),
        counts,
    })
}

/// What some groups have seen together.
pub(crate) fn total(engine: &Engine, groups: &[GroupId]) -> Counts {
    groups.iter().fold(Counts::default(), |sum, group| {
        sum.and(&engine.groups[*group].counts)
    })
}
