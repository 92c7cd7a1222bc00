//! What a durable post costs: the PoP and the gateway, and NATS beside a bare publisher with the same settings.

mod chain;

use anyhow::Result;

use self::chain::Chain;
use super::calibrate::half_load;
use super::measure::{BareSide, Measured};
use super::{Context, Line};
use crate::bare::Mode;
use crate::stack::{Stack, Sync, Wish};
use crate::stats::Spread;

const STREAMS: usize = 100;
/// The rate of a PoP that has little to do.
const LITTLE_PER_S: u64 = 1_000;
/// Messages with which the rate is found that a bare publisher reaches at most.
const FLAT_OUT: u64 = 20_000;
/// Bounds of half that rate: beyond, the load's core, which the log and the gateway share, is what is measured.
const HALF_PER_S: std::ops::RangeInclusive<u64> = 2_000..=8_000;
/// Posts a second into a log that syncs each: a single server syncs one after the other.
const SYNCED_PER_S: u64 = 500;
/// Messages with which the rate is found that a bare publisher reaches there.
const SYNCED_FLAT_OUT: u64 = 1_000;

/// Posts a second at two rates, each on a stream with one viewer: its author.
pub(super) fn post(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (pop, streams) = (context.pop(Wish::default())?, context.streams(STREAMS)?);
    let during = context.during();
    let mut chain = Chain::start(&mut engine, context.stack()?, pop, streams, during)?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let most = chain.bare_most(FLAT_OUT)?;
    let half = (most / 2).clamp(*HALF_PER_S.start(), *HALF_PER_S.end());
    let (mut little, mut much) = (Rounds::default(), Rounds::default());
    let (mut w, mut pace) = (Vec::new(), None);
    let mut round = 0;
    while context.another("durable posts", round) {
        round += 1;
        for (rounds, per_s) in [(&mut little, LITTLE_PER_S), (&mut much, half)] {
            chain.posts(&mut engine, per_s, rounds)?;
            let ran_us = chain.bare_posts(&mut engine, per_s)?;
            rounds.bare_nats.push(ran_us);
        }
        let frame =
            (much.last.counts.comment_bytes / much.last.counts.comment_frames.max(1)) as usize;
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(half_load(&mut side, &mut engine, frame, 1_000)?),
        };
        let paced = side.paced(&mut engine, Mode::Write, frame, pace, 0, during)?;
        w.push(paced.us());
    }
    let rate = format!(
        "half of the {most} posts/s that a bare publisher gets into the log when it does nothing else, at most {}",
        HALF_PER_S.end()
    );
    let mut lines = much.lines(
        [
            ("a durable post, PoP + gateway", "a durable post, NATS"),
            (
                "a durable post: CPU of PoP + gateway",
                "a durable post: NATS's own CPU",
            ),
        ],
        half,
        &w,
    );
    lines[0].notes.push(rate);
    lines.extend(little.lines(
        [
            ("a durable post, 1,000/s", "a durable post, NATS, 1,000/s"),
            (
                "a durable post at 1,000/s: CPU of PoP + gateway",
                "a durable post at 1,000/s: NATS's own CPU",
            ),
        ],
        LITTLE_PER_S,
        &w,
    ));
    Ok(lines)
}

/// Posts into a log that syncs each message to disk before it counts as stored, beside one by the server's default.
pub(super) fn synced(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (pop, streams) = (context.pop(Wish::default())?, context.streams(STREAMS)?);
    let during = context.during();
    let mut plain = Chain::start(&mut engine, context.stack()?, pop, streams.clone(), during)?;
    context.progress("starting a NATS that syncs each message, and an origin");
    let mut stack = Stack::start(&context.options, Sync::Always)?;
    stack.create_streams(&streams)?;
    let pop = stack.pop(Wish::default())?;
    let mut synced = Chain::start(&mut engine, &stack, pop, streams, during)?;
    let most = synced.bare_most(SYNCED_FLAT_OUT)?;
    let (mut without, mut with) = (Rounds::default(), Rounds::default());
    let mut round = 0;
    while context.another("synced posts", round) {
        round += 1;
        plain.posts(&mut engine, SYNCED_PER_S, &mut without)?;
        synced.posts(&mut engine, SYNCED_PER_S, &mut with)?;
    }
    let beside = |text: String| format!("{text} by the server's default");
    let mut cpu = Line::fact(
        format!(
            "a durable post at {SYNCED_PER_S}/s, `sync_interval: always`: CPU of PoP + gateway + NATS"
        ),
        median_us(&with.all()),
    )
    .note(format!(
        "one server; a bare publisher gets {most} posts/s into such a log, when it does nothing else"
    ));
    cpu.beside = beside(median_us(&without.all()));
    cpu.ratio = Some(Spread::of_ratios(&with.all(), &without.all()));
    let mut late = Line::fact(
        format!("a post at {SYNCED_PER_S}/s → its author reads it, `sync_interval: always`"),
        with.latency(),
    );
    late.beside = beside(without.latency());
    Ok(vec![cpu, late])
}

fn median_us(values: &[f64]) -> String {
    format!("{:.1} µs", Spread::of(values).median)
}

/// What a rate showed, round by round: microseconds a post, and milliseconds from a post to its author.
#[derive(Default)]
struct Rounds {
    pops: Vec<f64>,
    gateways: Vec<f64>,
    nats: Vec<f64>,
    bare_nats: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    records: f64,
    last: Measured,
}

impl Rounds {
    /// PoP and gateway.
    fn ours(&self) -> Vec<f64> {
        let both = self.pops.iter().zip(&self.gateways);
        both.map(|(pop, gateway)| pop + gateway).collect()
    }

    /// And NATS.
    fn all(&self) -> Vec<f64> {
        let all = self.ours().into_iter().zip(&self.nats);
        all.map(|(ours, nats)| ours + nats).collect()
    }

    fn latency(&self) -> String {
        let median = |values: &[f64]| Spread::of(values).median;
        let (p50, p99) = (median(&self.p50_ms), median(&self.p99_ms));
        format!("p50 {p50:.1} ms, p99 {p99:.1} ms")
    }

    fn lines(self, names: [(&'static str, &'static str); 2], per_s: u64, w: &[f64]) -> Vec<Line> {
        let [(short, short_nats), (what, what_nats)] = names;
        let ours = self.ours();
        vec![
            Line::ratio(
                (short, what),
                "≤ 6 W",
                (median_us(&ours), format!("W {:.2} µs", Spread::of(w).median)),
                Spread::of_ratios(&ours, w),
                6.0,
            )
            .note(format!(
                "PoP {}, gateway {}, at {per_s} posts/s on {STREAMS} streams; receipts and the delivery to the author \
                 included",
                median_us(&self.pops),
                median_us(&self.gateways)
            ))
            .note(self.last.pressure.words("in the PoP's last round")),
            Line::ratio(
                (short_nats, what_nats),
                "≤ 1.3 × a bare publisher's",
                (median_us(&self.nats), median_us(&self.bare_nats)),
                Spread::of_ratios(&self.nats, &self.bare_nats),
                1.3,
            )
            .note(format!(
                "the bare publisher writes records of the same size at the same rate, pipelined, with message ids, into \
                 a log with the same settings, republish included; nobody reads that log, while Chorus's is followed by \
                 the gateway and consumed by persist; {:.2} records of Chorus a post",
                self.records
            )),
        ]
    }
}
