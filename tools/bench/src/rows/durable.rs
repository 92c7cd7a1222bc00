//! What a durable post costs: the PoP and the gateway, and NATS beside a bare publisher with the same settings.

mod chain;

use std::time::Duration;

use anyhow::Result;

use self::chain::Chain;
use super::measure::{BareSide, Series};
use super::{Context, Line};
use crate::bare::Mode;
use crate::load::Engine;
use crate::stack::{Stack, Sync, Wish};

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
/// Posts a second on one stream, for so long, by so many users who all read along.
const HOT_PER_S: u64 = 10_000;
const HOT_DURING: Duration = Duration::from_secs(60);
const HOT_USERS: usize = 12;

/// Posts a second at two rates, each on a stream with one viewer: its author.
pub(super) fn post(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (pop, streams) = (context.pop(Wish::default())?, context.streams(STREAMS)?);
    let mut chain = Chain::start(&mut engine, context.stack()?, pop, streams, STREAMS)?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let most = chain.bare_most(FLAT_OUT)?;
    let half = (most / 2).clamp(*HALF_PER_S.start(), *HALF_PER_S.end());
    let mut little = Rate::new("a durable post at 1,000/s", LITTLE_PER_S, 12.0);
    let mut much = Rate::new("a durable post", half, 6.0);
    let mut pace = None;
    let [w] = context.interleave("durable posts", context.rounds(), |during| {
        little.round(&mut chain, &mut engine)?;
        let frame = much.round(&mut chain, &mut engine)?;
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(side.half_load(&mut engine, frame, 1_000)?),
        };
        let w = side.paced(&mut engine, Mode::Write, frame, pace, 0, during)?;
        Ok([w])
    })?;
    let mut lines = much.lines(&w);
    lines[0].notes.push(format!(
        "half of the {most} posts/s that a bare publisher gets into the log when it does nothing else, at most {}",
        HALF_PER_S.end()
    ));
    lines.extend(little.lines(&w));
    Ok(lines)
}

/// The rounds at a rate.
struct Rate {
    what: &'static str,
    per_s: u64,
    /// What PoP and gateway may take, in `W`.
    w_max: f64,
    /// PoP and gateway together.
    ours: Series,
    pop: Series,
    gateway: Series,
    nats: Series,
    /// NATS with a bare publisher.
    bare: Series,
    /// Records of Chorus a post, in the last round.
    records: f64,
}

impl Rate {
    fn new(what: &'static str, per_s: u64, w_max: f64) -> Self {
        let [ours, pop, gateway, nats, bare] = [const { Series(Vec::new()) }; 5];
        Self {
            what,
            per_s,
            w_max,
            ours,
            pop,
            gateway,
            nats,
            bare,
            records: 0.0,
        }
    }

    /// A round of posts, and one of the bare publisher; says how long a frame is.
    fn round(&mut self, chain: &mut Chain, engine: &mut Engine) -> Result<usize> {
        let posted = chain.posts(engine, self.per_s)?;
        let frame = posted.ours.frame_bytes();
        self.records = posted.records;
        self.ours.0.push(posted.ours);
        self.pop.0.push(posted.pop);
        self.gateway.0.push(posted.gateway);
        self.nats.0.push(posted.nats);
        self.bare.0.push(chain.bare_posts(engine, self.per_s)?);
        Ok(frame)
    }

    /// PoP and gateway beside `W`, and NATS beside a bare publisher's.
    fn lines(&self, w: &Series) -> Vec<Line> {
        let Self {
            what, per_s, w_max, ..
        } = self;
        vec![
            Line::cpu(format!("{what}: CPU of PoP + gateway"), &self.ours, 1)
                .over(&self.ours, "W ", w, 2)
                .limit(&format!("≤ {w_max} W"), *w_max)
                .note(format!(
                    "at {per_s} posts/s on {STREAMS} streams; receipts and the delivery to the author included"
                )),
            Line::cpu(format!("{what}: the PoP's part"), &self.pop, 1),
            Line::cpu(format!("{what}: the gateway's part"), &self.gateway, 1),
            Line::cpu(format!("{what}: NATS's own CPU"), &self.nats, 1)
                .over(&self.nats, "", &self.bare, 1)
                .limit("≤ 1.3 × a bare publisher's", 1.3)
                .note(format!(
                    "the bare publisher writes records of the same size at the same rate, pipelined, with message ids, \
                     into a log with the same settings, republish included; nobody reads that log, while Chorus's is \
                     followed by the gateway and consumed by persist; {:.2} records of Chorus a post",
                    self.records
                )),
        ]
    }
}

/// Posts into a log that syncs each message to disk before it counts as stored, beside one by the server's default.
pub(super) fn synced(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (pop, streams) = (context.pop(Wish::default())?, context.streams(STREAMS)?);
    let mut plain = Chain::start(&mut engine, context.stack()?, pop, streams.clone(), STREAMS)?;
    context.progress("starting a NATS that syncs each message, and an origin");
    let mut stack = Stack::start(&context.options, Sync::Always)?;
    stack.create_streams(&streams)?;
    let pop = stack.pop(Wish::default(), Vec::new())?;
    let mut synced = Chain::start(&mut engine, &stack, pop, streams, STREAMS)?;
    let most = synced.bare_most(SYNCED_FLAT_OUT)?;
    let [without, with] = context.interleave("synced posts", context.rounds(), |_| {
        let without = plain.posts(&mut engine, SYNCED_PER_S)?.all();
        Ok([without, synced.posts(&mut engine, SYNCED_PER_S)?.all()])
    })?;
    let late = |series: &Series| {
        let ms = |q: f64| series.median(|round| round.each.ms(q));
        format!("p50 {:.1} ms, p99 {:.1} ms", ms(0.5), ms(0.99))
    };
    let default = "by the server's default";
    Ok(vec![
        Line::cpu(
            format!(
                "a durable post at {SYNCED_PER_S}/s, `sync_interval: always`: CPU of PoP + gateway + NATS"
            ),
            &with,
            1,
        )
        .beside(format!("{} {default}", without.words(1)), Some(with.over(&without)))
        .note(format!(
            "one server; a bare publisher gets {most} posts/s into such a log, when it does nothing else"
        )),
        Line::fact(
            format!("a post at {SYNCED_PER_S}/s → its author reads it, `sync_interval: always`"),
            late(&with),
        )
        .beside(format!("{} {default}", late(&without)), None),
    ])
}

/// One stream, and so one partition of the log, at 10,000 comments a second for a minute: what of the machine it takes.
pub(super) fn hot(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (pop, streams) = (context.pop(Wish::default())?, context.streams(1)?);
    let mut chain = Chain::start(&mut engine, context.stack()?, pop, streams, HOT_USERS)?;
    context.progress("one stream: a minute");
    let posted = chain.posts_for(&mut engine, HOT_PER_S, HOT_DURING)?;
    let (per_s, took) = (posted.ours.posts_per_s(), posted.ours.took);
    let reached = per_s >= 0.99 * HOT_PER_S as f64 && posted.ours.complete == posted.ours.posts;
    let read = format!(
        "p50 {:.0} ms, p99 {:.0} ms",
        posted.ours.each.ms(0.5),
        posted.ours.each.ms(0.99)
    );
    let mut lines = vec![
        Line::fact(
            format!("one stream at {HOT_PER_S} comments/s for a minute"),
            format!("{per_s:.0}/s"),
        )
        .target(format!("{HOT_PER_S}/s, all durable and read by all"), reached)
        .note(format!(
            "{} of {} posts durable and with all {HOT_USERS} users within 3 s of the last; post to reader {read}; one log \
             with one copy, synced by the server's default",
            posted.ours.complete, posted.ours.posts
        )),
    ];
    for (part, measured) in [
        ("the PoP's part", posted.pop),
        ("the gateway's part", posted.gateway),
        ("NATS's part", posted.nats),
    ] {
        let core = measured.cpu.ran_ns as f64 / took.as_nanos() as f64;
        let line = Line::cpu(
            format!("{part} of that: CPU a post"),
            &Series(vec![measured]),
            1,
        );
        lines.push(line.note(format!("{:.0} % of a core", core * 100.0)));
    }
    Ok(lines)
}
