//! One round of one side: how much CPU it took, what arrived, and how late.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::bare::child::Bare;
use crate::bare::{Mode, Order};
use crate::load::dialect::Dialect;
use crate::load::{Counts, Engine, GroupId, crowd};
use crate::stats::{Histogram, Spread};
use crate::sys::process::Process;
use crate::sys::{self, Cpu, CpuMeter};
use crate::ws;

/// Before a round counts: caches, timers and windows settle.
pub(super) const WARM_UP: Duration = Duration::from_millis(300);
/// After the last post of a round: what is under way arrives and counts.
pub(super) const TAIL: Duration = Duration::from_millis(250);
/// The longest a round waits for posts that have not arrived everywhere.
const TAIL_MAX: Duration = Duration::from_secs(3);
/// What a round showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// Of the side's processes.
    pub(super) cpu: Cpu,
    /// Of other processes that were asked for, in the same time.
    pub(super) others: Vec<Cpu>,
    /// Wall-clock time in which was posted.
    pub(super) took: Duration,
    /// What the CPU is divided by: comments that arrived at a viewer, or frames a socket took.
    pub(super) deliveries: f64,
    /// What the viewers counted.
    pub(super) counts: Counts,
    /// Posts sent, and those of them that all viewers have.
    pub(super) posts: u64,
    pub(super) complete: u64,
    /// Post to one viewer, and to the last of all.
    pub(super) each: Histogram,
    pub(super) all: Histogram,
}

impl Measured {
    /// CPU a delivery, in microseconds.
    pub(super) fn us(&self) -> f64 {
        self.cpu.ran_ns as f64 / self.deliveries.max(1.0) / 1e3
    }

    /// Some processes' CPU over so many of something else than deliveries.
    pub(super) fn of(cpu: Cpu, count: u64) -> Self {
        Self {
            cpu,
            deliveries: count as f64,
            ..Self::default()
        }
    }

    /// Posts a second.
    pub(super) fn posts_per_s(&self) -> f64 {
        self.posts as f64 / self.took.as_secs_f64()
    }

    /// Bytes of a frame with a comment in it.
    pub(super) fn frame_bytes(&self) -> usize {
        let frames = self.counts.comment_frames.max(1) as f64;
        (self.counts.comment_bytes as f64 / frames).round() as usize
    }
}

/// The rounds of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(pub(super) Vec<Measured>);

impl Series {
    /// CPU a delivery, in microseconds, round by round.
    pub(super) fn us(&self) -> Vec<f64> {
        self.values(Measured::us)
    }

    pub(super) fn median_us(&self) -> f64 {
        Spread::of(&self.us()).median
    }

    /// The median CPU a delivery, in words.
    pub(super) fn words(&self, digits: usize) -> String {
        format!("{:.digits$} µs", self.median_us())
    }

    /// CPU in user space a delivery, in microseconds. Of all rounds together: one has too few ticks.
    pub(super) fn user_us(&self) -> f64 {
        let deliveries = self.0.iter().map(|round| round.deliveries).sum::<f64>();
        let user_ns = self.0.iter().map(|round| round.cpu.user_ns).sum::<u64>();
        user_ns as f64 / deliveries.max(1.0) / 1e3
    }

    /// CPU a delivery, in microseconds: the median, and that in user space.
    pub(super) fn figures(&self) -> [f64; 2] {
        [self.median_us(), self.user_us()]
    }

    /// The ratio to another side, round by round.
    pub(super) fn over(&self, other: &Self) -> Spread {
        Spread::of_ratios(&self.us(), &other.us())
    }

    pub(super) fn values(&self, of: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.0.iter().map(of).collect()
    }

    pub(super) fn median(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        Spread::of(&self.values(of)).median
    }

    pub(super) fn sum(&self, of: impl Fn(&Measured) -> u64) -> u64 {
        self.0.iter().map(of).sum()
    }
}

/// A bare loop and its viewers.
pub(super) struct BareSide {
    pub(super) bare: Bare,
    /// Its viewers in this process.
    pub(super) viewers: GroupId,
    /// The process of those elsewhere.
    _crowd: Option<Process>,
}

impl BareSide {
    /// Starts one with so many viewers.
    pub(super) fn start(engine: &mut Engine, viewers: usize) -> Result<Self> {
        let bare = Bare::start()?;
        let viewers = engine.join(Dialect::websocket(bare.addr, "/", &[]), viewers)?;
        Ok(Self {
            bare,
            viewers,
            _crowd: None,
        })
    }

    /// The same with the viewers in a process of their own, for want of files in this one.
    pub(super) fn start_apart(engine: &mut Engine, viewers: usize) -> Result<Self> {
        let bare = Bare::start()?;
        Ok(Self {
            _crowd: Some(crowd::start(bare.addr, viewers, engine.left())?),
            viewers: engine.group(Dialect::websocket(bare.addr, "/", &[])),
            bare,
        })
    }

    /// A round at a steady pace, one frame to `group` viewers (0: to all) every `interval`.
    pub(super) fn paced(
        &mut self,
        engine: &mut Engine,
        mode: Mode,
        frame_bytes: usize,
        interval: Duration,
        group: usize,
        during: Duration,
    ) -> Result<Measured> {
        self.bare.order(Order::Send {
            mode,
            frame_bytes,
            interval_ns: Some(interval.as_nanos() as u64),
            group,
        })?;
        let measured = self.count(engine, during);
        self.bare.order(Order::Stop)?;
        engine.settle(TAIL)?;
        measured
    }

    /// The interval at which half the loop's saturation is reached with so many viewers.
    pub(super) fn half_load(
        &mut self,
        engine: &mut Engine,
        frame_bytes: usize,
        viewers: usize,
    ) -> Result<Duration> {
        self.bare.order(Order::Send {
            mode: Mode::Write,
            frame_bytes,
            interval_ns: None,
            group: 0,
        })?;
        let flat = self.count(engine, Duration::from_millis(700));
        self.bare.order(Order::Stop)?;
        engine.drain(&[self.viewers], TAIL, TAIL_MAX)?;
        let flat = flat?;
        // By CPU, not by wall clock: on a busy machine the core is not the loop's alone.
        let per_s = flat.deliveries * 1e9 / (flat.cpu.ran_ns as f64).max(1.0);
        Ok(Duration::from_secs_f64(viewers as f64 / (per_s / 2.0)))
    }

    fn count(&mut self, engine: &mut Engine, during: Duration) -> Result<Measured> {
        engine.settle(WARM_UP)?;
        // The loop answers between two broadcasts: what it has sent and what that took belong together.
        let before = self.bare.stats()?;
        let mut cpu = CpuMeter::start(&[self.bare.pid()]);
        let start = sys::now_ns();
        engine.settle(during)?;
        let after = self.bare.stats()?;
        let cpu = cpu.take();
        let took = Duration::from_nanos(sys::now_ns() - start);
        if after.open != before.open {
            let lost = before.open.saturating_sub(after.open);
            bail!("{lost} viewers of the bare loop were lost");
        }
        if after.sent == before.sent {
            bail!("the bare loop sent nothing: this way of sending is not to be had here");
        }
        Ok(Measured {
            took,
            ..Measured::of(cpu, after.sent - before.sent)
        })
    }

    /// A round in which a client's messages are passed on to all: the bare form of posts.
    pub(super) fn posts(
        &mut self,
        engine: &mut Engine,
        text_bytes: usize,
        interval: Duration,
        during: Duration,
    ) -> Result<Measured> {
        self.bare.order(Order::Pass(Mode::Write))?;
        let members = &engine.groups[self.viewers].members;
        let (writer, audience) = (members[0], members.len());
        let round = Round {
            groups: &[self.viewers],
            pids: &[self.bare.pid()],
            others: &[],
            text_bytes,
            interval,
            during,
            audience,
        };
        round.run(engine, &mut |engine, text| {
            let message = ws::client_frame(ws::TEXT, format!("!{text}").as_bytes());
            engine.send(writer, &message)
        })
    }
}

/// Publishes one text.
type Publish<'a> = &'a mut dyn FnMut(&mut Engine, &str) -> Result<()>;

/// A round in which texts are posted at a steady pace and arrive at viewers.
///
/// It begins and ends in quiet: what was posted, what arrived and what that took belong to the same posts.
pub(super) struct Round<'a> {
    /// Whose viewers count.
    pub(super) groups: &'a [GroupId],
    /// Whose CPU counts.
    pub(super) pids: &'a [u32],
    /// Whose CPU is told besides, each for itself.
    pub(super) others: &'a [u32],
    /// The length of a text.
    pub(super) text_bytes: usize,
    /// From one post to the next.
    pub(super) interval: Duration,
    /// How long is posted.
    pub(super) during: Duration,
    /// How many viewers a post arrives at.
    pub(super) audience: usize,
}

impl Round<'_> {
    pub(super) fn run(&self, engine: &mut Engine, publish: Publish<'_>) -> Result<Measured> {
        let mut tick = |engine: &mut Engine| {
            let text = engine.posts.next(self.text_bytes, sys::now_ns());
            publish(engine, &text)
        };
        engine.posts.restart(self.audience);
        engine.run(WARM_UP, Some(self.interval), &mut tick)?;
        arrive(engine)?;
        engine.posts.restart(self.audience);
        let before = engine.counts(self.groups);
        let mut cpu = CpuMeter::start(self.pids);
        let others = self.others.iter().map(|pid| CpuMeter::start(&[*pid]));
        let mut others: Vec<CpuMeter> = others.collect();
        let start = sys::now_ns();
        engine.run(self.during, Some(self.interval), &mut tick)?;
        let took = Duration::from_nanos(sys::now_ns() - start);
        arrive(engine)?;
        let cpu = cpu.take();
        let counts = engine.counts(self.groups).since(&before);
        Ok(Measured {
            cpu,
            others: others.iter_mut().map(CpuMeter::take).collect(),
            took,
            deliveries: counts.comments as f64,
            posts: engine.posts.sent(),
            complete: engine.posts.complete(),
            each: std::mem::take(&mut engine.posts.each),
            all: std::mem::take(&mut engine.posts.all),
            counts,
        })
    }
}

/// Waits until every post has arrived everywhere and nothing more comes.
fn arrive(engine: &mut Engine) -> Result<()> {
    let start = sys::now_ns();
    engine.settle(TAIL)?;
    while engine.posts.complete() < engine.posts.sent()
        && sys::now_ns() - start < TAIL_MAX.as_nanos() as u64
    {
        engine.settle(TAIL / 5)?;
    }
    Ok(())
}
