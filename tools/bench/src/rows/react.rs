//! A flood of reactions.

use std::time::Duration;

use anyhow::{Result, bail};

use super::measure::BareSide;
use super::{Context, Line, Met};
use crate::load::{Counts, Engine, GroupId};
use crate::stack::Wish;
use crate::stack::speech;
use crate::stats::Spread;
use crate::sys::{self, CpuMeter};

const SENDERS: usize = 100;
const PER_S: u64 = 5_000;
const COUNT: u32 = 20;
/// Frames sent at once.
const AT_ONCE: u64 = 5;
/// The message that tells a stream's new totals.
const UPDATE: &[u8] = b"\"reactions_batch\"";
/// Long enough for a few updates.
const DURING_MIN: Duration = Duration::from_millis(1_500);
/// Updates a second of a stream.
const UPDATES_PER_S: f64 = 2.0;

/// 5,000 `react` messages a second of `count` 20, beside a bare loop that reads the same frames.
pub(super) fn flood(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish::default())?;
    let stream = context.streams(1)?.remove(0);
    let tokens = pop.tokens(SENDERS)?;
    let name = stream.clone();
    let mut dialect = speech::authors(&pop, tokens, Box::new(move |_| name.clone()));
    dialect.notice = Some(UPDATE);
    let senders = engine.group(dialect);
    engine.connect(senders, SENDERS)?;
    let mut side = BareSide::start(&mut engine, SENDERS)?;
    let frame = speech::react(&stream, COUNT);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let (mut updates, mut seconds) = (0, 0.0);
    let mut round = 0;
    while context.another("reactions", round) {
        round += 1;
        let during = context.during().max(DURING_MIN);
        let flood = one(&mut engine, senders, pop.pid, &frame, during)?;
        if flood.counts.lost > 0 || flood.counts.refused > 0 {
            bail!(
                "{} senders closed, {} messages refused: {}",
                flood.counts.lost,
                flood.counts.refused,
                flood.counts.refusal
            );
        }
        ours.push(flood.us);
        updates += flood.counts.noticed;
        seconds += flood.seconds;
        let before = side.bare.stats()?.frames_read;
        let (viewers, pid) = (side.viewers, side.bare.pid());
        let flood = one(&mut engine, viewers, pid, &frame, during)?;
        bare.push(flood.us);
        let read = side.bare.stats()?.frames_read - before;
        if read < flood.sent {
            bail!("the bare loop read {read} of {} frames", flood.sent);
        }
    }
    let updates = updates as f64 / SENDERS as f64;
    // A round can see one more or less than its share; those of several rounds make up for each other.
    let tolerance = f64::max(1.0, round as f64 / 2.0);
    let in_time = (updates - UPDATES_PER_S * seconds).abs() <= tolerance;
    let updates = updates / f64::max(seconds, 1e-9);
    let us = |values: &[f64]| format!("{:.2} µs", Spread::of(values).median);
    let mut line = Line::ratio(
        (
            "5,000 react/s",
            "5,000 react/s of count 20: CPU of the PoP a message",
        ),
        "≤ 2 × a bare loop that reads the same frames; 2 updates/s a stream",
        (format!("{}, {updates:.2} updates/s", us(&ours)), us(&bare)),
        Spread::of_ratios(&ours, &bare),
        2.0,
    )
    .note(format!(
        "{SENDERS} users on one stream; each gets the updates (`reactions_batch`), which count on the PoP's side"
    ));
    if !in_time {
        line.met = Met::No;
    }
    Ok(vec![line])
}

/// What a round of frames showed.
struct Flood {
    /// CPU a frame in microseconds.
    us: f64,
    seconds: f64,
    counts: Counts,
    /// Frames, those before the measurement included.
    sent: u64,
}

/// A round of frames, dealt out to the group in turn.
fn one(
    engine: &mut Engine,
    group: GroupId,
    pid: u32,
    frame: &[u8],
    during: Duration,
) -> Result<Flood> {
    let members = engine.groups[group].members.clone();
    let mut sent = 0;
    let mut publish = |engine: &mut Engine| {
        for _ in 0..AT_ONCE {
            engine.send(members[sent % members.len()], frame)?;
            sent += 1;
        }
        Ok(())
    };
    let interval = Duration::from_nanos(AT_ONCE * 1_000_000_000 / PER_S);
    engine.run(Duration::from_millis(300), Some(interval), &mut publish)?;
    let before = engine.counts(group);
    let mut cpu = CpuMeter::start(&[pid]);
    let start = sys::now_ns();
    let mut counted = 0;
    engine.run(during, Some(interval), &mut |engine| {
        counted += AT_ONCE;
        publish(engine)
    })?;
    let cpu_ns = cpu.take().ran_ns;
    let seconds = (sys::now_ns() - start) as f64 / 1e9;
    let counts = engine.counts(group).since(&before);
    engine.settle(Duration::from_millis(250))?;
    Ok(Flood {
        us: cpu_ns as f64 / counted.max(1) as f64 / 1e3,
        seconds,
        counts,
        sent: sent as u64,
    })
}
