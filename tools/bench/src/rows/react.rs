//! A flood of reactions.

use std::time::Duration;

use anyhow::{Result, bail};

use super::measure::{BareSide, Measured, TAIL, WARM_UP};
use super::{Context, Line};
use crate::load::{Engine, GroupId};
use crate::stack::Wish;
use crate::stack::speech;
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
    let streams = context.streams(1)?;
    let tokens = pop.tokens(SENDERS)?;
    let mut dialect = speech::authors(&pop, &tokens, &streams);
    dialect.notice = Some(UPDATE);
    let senders = engine.join(dialect, SENDERS)?;
    let mut side = BareSide::start(&mut engine, SENDERS)?;
    let frame = speech::react(&streams[0], COUNT);
    let [ours, bare] = context.interleave("reactions", context.rounds(), |during| {
        let during = during.max(DURING_MIN);
        let (ours, _) = one(&mut engine, senders, pop.pid, &frame, during)?;
        let (lost, refused) = (ours.counts.lost, ours.counts.refused);
        if lost + refused > 0 {
            let why = &ours.counts.refusal;
            bail!("{lost} senders closed, {refused} messages refused: {why}");
        }
        let before = side.bare.stats()?.frames_read;
        let (bare, sent) = one(&mut engine, side.viewers, side.bare.pid(), &frame, during)?;
        let read = side.bare.stats()?.frames_read - before;
        if read < sent {
            bail!("the bare loop read {read} of {sent} frames");
        }
        Ok([ours, bare])
    })?;
    let updates = ours.sum(|round| round.counts.noticed) as f64 / SENDERS as f64;
    let seconds: f64 = ours.values(|round| round.took.as_secs_f64()).iter().sum();
    // A round can see one more or less than its share; those of several rounds make up for each other.
    let tolerance = f64::max(1.0, ours.0.len() as f64 / 2.0);
    let in_time = (updates - UPDATES_PER_S * seconds).abs() <= tolerance;
    let what = "5,000 react/s of count 20: CPU of the PoP a message";
    let mut line = Line::cpu(what, &ours, 2)
        .over(&ours, "", &bare, 2)
        .limit("≤ 2 × a bare loop that reads the same frames; 2 updates/s a stream",
            2.0,
        )
        .note(format!(
            "{SENDERS} users on one stream; each gets the updates (`reactions_batch`), which count on the PoP's side"
        ))
        .must(in_time, "the updates did not come twice a second");
    let updates = updates / seconds.max(1e-9);
    line.measured = format!("{}, {updates:.2} updates/s", line.measured);
    Ok(vec![line])
}

/// A round of frames, dealt out to the group in turn, and how many those are with the ones before the measurement.
fn one(
    engine: &mut Engine,
    group: GroupId,
    pid: u32,
    frame: &[u8],
    during: Duration,
) -> Result<(Measured, u64)> {
    let members = engine.groups[group].members.clone();
    let mut sent = 0;
    let mut publish = |engine: &mut Engine| {
        for _ in 0..AT_ONCE {
            engine.send(members[sent % members.len()], frame)?;
            sent += 1;
        }
        Ok(())
    };
    let interval = Some(Duration::from_nanos(AT_ONCE * 1_000_000_000 / PER_S));
    engine.run(WARM_UP, interval, &mut publish)?;
    let before = engine.counts(&[group]);
    let mut cpu = CpuMeter::start(&[pid]);
    let start = sys::now_ns();
    let mut counted = 0;
    engine.run(during, interval, &mut |engine| {
        counted += AT_ONCE;
        publish(engine)
    })?;
    let cpu = cpu.take();
    let measured = Measured {
        took: Duration::from_nanos(sys::now_ns() - start),
        counts: engine.counts(&[group]).since(&before),
        ..Measured::of(cpu, counted)
    };
    engine.settle(TAIL)?;
    Ok((measured, sent as u64))
}
