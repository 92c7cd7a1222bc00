//! One round of one side: how much CPU it took, what arrived, and how late.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::bare::Mode;
use crate::bare::child::Bare;
use crate::load::crowd::Crowd;
use crate::load::dialect::Dialect;
use crate::load::{Counts, Engine, GroupId};
use crate::stats::Histogram;
use crate::sys::{self, CpuMeter, Used, usage};
use crate::ws;

/// Before a round counts: caches, timers and windows settle.
const WARM_UP: Duration = Duration::from_millis(300);
/// After the last post of a round: what is under way arrives and counts.
const TAIL: Duration = Duration::from_millis(250);
/// The longest a round waits for posts that have not arrived everywhere.
const TAIL_MAX: Duration = Duration::from_secs(3);
/// The share of its core above which the load itself is what is measured.
const LOAD_MAX: f64 = 0.85;
/// The share of the time that others may have the server's core, which it should have for itself.
const OTHERS_MAX: f64 = 0.15;
/// The share of the time that the load may wait for its core.
const WAITED_MAX: f64 = 0.15;

/// What a round showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// CPU of the side's processes.
    pub(crate) cpu_ns: f64,
    /// CPU of other processes that were asked for, in the same time.
    pub(crate) others_ns: Vec<f64>,
    /// Wall-clock time in which was posted.
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
    /// How both cores were pressed.
    pub(crate) pressure: Pressure,
}

impl Measured {
    /// CPU a delivery, in microseconds.
    pub(crate) fn us(&self) -> f64 {
        self.cpu_ns / self.deliveries.max(1.0) / 1_000.0
    }
}

/// Shares of a round's time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pressure {
    /// The server ran.
    pub(crate) server_ran: f64,
    /// Something else ran on the server's core.
    pub(crate) others_ran: f64,
    /// The load ran.
    pub(crate) load_ran: f64,
    /// The load was ready and something else had its core: others, or the origin and NATS, which share it.
    pub(crate) load_waited: f64,
}

/// Measures the pressure of a round.
struct PressureMeter {
    load: CpuMeter,
    core_ns: u64,
}

impl PressureMeter {
    fn start(load: u32) -> Self {
        Self {
            load: CpuMeter::start(&[load]),
            core_ns: usage::core_busy_ns(sys::SERVER_CORE),
        }
    }

    fn take(&mut self, server: Used, took: Duration) -> Pressure {
        let share = |ns: u64| ns as f64 / took.as_nanos().max(1) as f64;
        let core = usage::core_busy_ns(sys::SERVER_CORE).saturating_sub(self.core_ns);
        let load = self.load.take();
        Pressure {
            server_ran: share(server.ran_ns),
            others_ran: share(core.saturating_sub(server.ran_ns)),
            load_ran: share(load.ran_ns),
            load_waited: share(load.waited_ns),
        }
    }
}

impl Pressure {
    /// What made a round's times something else than the server's own doing.
    pub(crate) fn doubt(&self) -> Option<&'static str> {
        if self.others_ran > OTHERS_MAX || self.load_waited > WAITED_MAX {
            Some("others had the cores: times are the machine's as much as the server's")
        } else if self.load_ran > LOAD_MAX {
            Some("the load was at its limit: times are the load's as much as the server's")
        } else {
            None
        }
    }

    /// In words.
    pub(crate) fn words(&self, whose: &str) -> String {
        let percent = |share: f64| (share * 100.0).round();
        let mut text = format!(
            "{whose} the server had {} % of its core and others {} %; the load ran {} % of the time and waited {} % for \
             its core",
            percent(self.server_ran),
            percent(self.others_ran),
            percent(self.load_ran),
            percent(self.load_waited)
        );
        if let Some(doubt) = self.doubt() {
            text.push_str("; **");
            text.push_str(doubt);
            text.push_str("**");
        }
        text
    }
}

/// A bare loop and its viewers.
pub(crate) struct BareSide {
    /// The process.
    pub(crate) bare: Bare,
    /// Its viewers in this process.
    pub(crate) viewers: GroupId,
    /// Its viewers elsewhere.
    crowd: Option<Crowd>,
}

impl BareSide {
    /// Starts one with so many viewers.
    pub(crate) fn start(engine: &mut Engine, viewers: usize) -> Result<Self> {
        let bare = Bare::start()?;
        let group = engine.group(Dialect::websocket(bare.addr(), "/", &[]));
        engine.connect(group, viewers.max(1))?;
        Ok(Self {
            bare,
            viewers: group,
            crowd: None,
        })
    }

    /// The same with the viewers in a process of their own, for want of files in this one.
    pub(crate) fn start_apart(engine: &mut Engine, viewers: usize) -> Result<Self> {
        let bare = Bare::start()?;
        let crowd = Crowd::start(bare.addr(), viewers, engine.left())?;
        let group = engine.group(Dialect::websocket(bare.addr(), "/", &[]));
        Ok(Self {
            bare,
            viewers: group,
            crowd: Some(crowd),
        })
    }

    /// The process that reads.
    fn load(&self) -> u32 {
        self.crowd
            .as_ref()
            .map_or_else(std::process::id, Crowd::pid)
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
        let measured = self.count(engine, during, mode);
        self.bare.stop()?;
        engine.settle(TAIL)?;
        measured
    }

    /// A round in which the loop does nothing but send.
    pub(crate) fn flat_out(
        &mut self,
        engine: &mut Engine,
        mode: Mode,
        frame_bytes: usize,
        during: Duration,
    ) -> Result<Measured> {
        self.bare.flat_out(mode, frame_bytes)?;
        let measured = self.count(engine, during, mode);
        self.bare.stop()?;
        engine.drain(&[self.viewers], TAIL, TAIL_MAX)?;
        measured
    }

    fn count(&mut self, engine: &mut Engine, during: Duration, mode: Mode) -> Result<Measured> {
        engine.settle(WARM_UP)?;
        let counts = engine.counts(self.viewers);
        // The loop answers between two broadcasts: what it has sent and what that took belong together.
        let before = self.bare.stats()?;
        let mut cpu = CpuMeter::start(&[self.bare.pid()]);
        let mut pressure = PressureMeter::start(self.load());
        let start = sys::now_ns();
        engine.settle(during)?;
        let after = self.bare.stats()?;
        let cpu = cpu.take();
        let took = Duration::from_nanos(sys::now_ns() - start);
        let pressure = pressure.take(cpu, took);
        if after.open != before.open {
            bail!(
                "{} viewers of the bare loop were lost",
                before.open.saturating_sub(after.open)
            );
        }
        let sent = after.sent - before.sent;
        if sent == 0 {
            bail!(
                "the bare loop sent nothing ({} is not to be had here)",
                mode.word()
            );
        }
        Ok(Measured {
            cpu_ns: cpu.ran_ns as f64,
            took,
            deliveries: sent as f64,
            counts: engine.counts(self.viewers).since(&counts),
            pressure,
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
        let writer = engine.groups[self.viewers].members[0];
        let round = Round {
            groups: &[self.viewers],
            pids: &[self.bare.pid()],
            others: &[],
            text_bytes,
            interval,
            during,
            audience: engine.groups[self.viewers].members.len(),
        };
        round.run(engine, &mut |engine, text| {
            engine.send(
                writer,
                &ws::client_frame(ws::TEXT, format!("!{text}").as_bytes()),
            )
        })
    }
}

/// Publishes one text.
pub(crate) type Publish<'a> = &'a mut dyn FnMut(&mut Engine, String) -> Result<()>;

/// A round in which texts are posted at a steady pace and arrive at viewers.
///
/// It begins and ends in quiet: what was posted, what arrived and what that took belong to the same posts.
pub(crate) struct Round<'a> {
    /// Whose viewers count.
    pub(crate) groups: &'a [GroupId],
    /// Whose CPU counts.
    pub(crate) pids: &'a [u32],
    /// Whose CPU is told besides, each for itself.
    pub(crate) others: &'a [u32],
    /// The length of a text.
    pub(crate) text_bytes: usize,
    /// From one post to the next.
    pub(crate) interval: Duration,
    /// How long is posted.
    pub(crate) during: Duration,
    /// How many viewers a post arrives at.
    pub(crate) audience: usize,
}

impl Round<'_> {
    /// Runs it.
    pub(crate) fn run(&self, engine: &mut Engine, publish: Publish<'_>) -> Result<Measured> {
        let mut tick = |engine: &mut Engine| {
            let text = engine.posts.next(self.text_bytes, sys::now_ns());
            publish(engine, text)
        };
        engine.posts.restart(self.audience);
        engine.run(WARM_UP, Some(self.interval), &mut tick)?;
        self.arrive(engine)?;
        engine.posts.restart(self.audience);
        let before = total(engine, self.groups);
        let mut cpu = CpuMeter::start(self.pids);
        let mut others: Vec<CpuMeter> = (self.others.iter())
            .map(|pid| CpuMeter::start(&[*pid]))
            .collect();
        let mut pressure = PressureMeter::start(std::process::id());
        let start = sys::now_ns();
        engine.run(self.during, Some(self.interval), &mut tick)?;
        let took = Duration::from_nanos(sys::now_ns() - start);
        let at_last_post = cpu.take();
        let pressure = pressure.take(at_last_post, took);
        self.arrive(engine)?;
        let cpu_ns = (at_last_post.ran_ns + cpu.take().ran_ns) as f64;
        let counts = total(engine, self.groups).since(&before);
        Ok(Measured {
            cpu_ns,
            others_ns: (others.iter_mut())
                .map(|meter| meter.take().ran_ns as f64)
                .collect(),
            took,
            deliveries: counts.comments as f64,
            posts: engine.posts.sent(),
            complete: engine.posts.complete(),
            each: std::mem::take(&mut engine.posts.each),
            all: std::mem::take(&mut engine.posts.all),
            counts,
            pressure,
        })
    }

    /// Waits until every post has arrived everywhere and nothing more comes.
    fn arrive(&self, engine: &mut Engine) -> Result<()> {
        let start = sys::now_ns();
        let late = |engine: &Engine| engine.posts.complete() < engine.posts.sent();
        engine.settle(TAIL)?;
        while late(engine) && sys::now_ns() - start < TAIL_MAX.as_nanos() as u64 {
            engine.settle(TAIL / 5)?;
        }
        Ok(())
    }
}

/// What some groups have seen together.
pub(crate) fn total(engine: &Engine, groups: &[GroupId]) -> Counts {
    groups.iter().fold(Counts::default(), |sum, group| {
        sum.and(&engine.groups[*group].counts)
    })
}
