//! A flood of reactions.

use std::time::Duration;

use anyhow::{Result, bail};

use super::measure::BareSide;
use super::{Context, Line, Met};
use crate::load::{Engine, GroupId};
use crate::stack::Wish;
use crate::stack::speech;
use crate::stats::Spread;
use crate::sys::{self, CpuMeter};

const SENDERS: usize = 100;
const PER_S: u64 = 5_000;
const COUNT: u32 = 20;

/// 5,000 `react` messages a second of `count` 20, beside a bare loop that reads the same frames.
pub(super) fn flood(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(Wish::default())?;
    let stream = context.streams(1)?.remove(0);
    let tokens = pop.tokens(SENDERS)?;
    let name = stream.clone();
    let senders = engine.group(speech::authors(
        &pop,
        tokens,
        Box::new(move |_| name.clone()),
    ));
    engine.connect(senders, SENDERS)?;
    let mut side = BareSide::start(&mut engine, SENDERS)?;
    let frame = speech::react(&stream, COUNT);
    let (mut ours, mut bare, mut updates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..context.rounds() {
        context.progress(&format!("reactions: round {}", round + 1));
        let before = engine.counts(senders);
        let (us, took) = one(&mut engine, senders, pop.pid, &frame, context.during())?;
        let counts = engine.counts(senders).since(&before);
        if counts.lost > 0 || counts.refused > 0 {
            bail!(
                "{} senders closed, {} messages refused: {}",
                counts.lost,
                counts.refused,
                counts.refusal
            );
        }
        ours.push(us);
        updates.push(counts.frames as f64 / SENDERS as f64 / took);
        let read_before = side.bare.stats()?.frames_read;
        let (us, _) = one(
            &mut engine,
            side.viewers,
            side.bare.pid(),
            &frame,
            context.during(),
        )?;
        bare.push(us);
        if side.bare.stats()?.frames_read == read_before {
            bail!("the bare loop read nothing");
        }
    }
    let ratio = Spread::of_ratios(&ours, &bare);
    let updates = Spread::of(&updates).median;
    Ok(vec![Line {
        what: "5,000 react/s of count 20: CPU of the PoP a message".to_owned(),
        target: "≤ 2 × a bare loop that reads the same frames; 2 updates/s a stream".to_owned(),
        measured: format!("{:.2} µs, {updates:.1} updates/s", Spread::of(&ours).median),
        beside: format!("{:.2} µs", Spread::of(&bare).median),
        ratio: Some(ratio),
        limit: Some(2.0),
        met: Met::when(ratio.median <= 2.0 && (1.0..=2.6).contains(&updates)),
        notes: vec![format!(
            "{SENDERS} users on one stream, each told the totals twice a second; viewer counts count as updates too"
        )],
    }])
}

/// A round of frames, dealt out to the group in turn; CPU a frame in microseconds and the seconds it took.
fn one(
    engine: &mut Engine,
    group: GroupId,
    pid: u32,
    frame: &[u8],
    during: Duration,
) -> Result<(f64, f64)> {
    let members = engine.groups[group].members.clone();
    let mut sent = 0_usize;
    let mut publish = |engine: &mut Engine| {
        for _ in 0..5 {
            engine.send(members[sent % members.len()], frame)?;
            sent += 1;
        }
        Ok(())
    };
    let interval = Duration::from_nanos(5 * 1_000_000_000 / PER_S);
    engine.run(Duration::from_millis(300), Some(interval), &mut publish)?;
    let mut cpu = CpuMeter::start(&[pid]);
    let start = sys::now_ns();
    let mut counted = 0_usize;
    engine.run(during, Some(interval), &mut |engine| {
        counted += 5;
        publish(engine)
    })?;
    let cpu_ns = cpu.take_ns();
    let took = (sys::now_ns() - start) as f64 / 1e9;
    Ok((cpu_ns as f64 / counted.max(1) as f64 / 1e3, took + 0.3))
}
