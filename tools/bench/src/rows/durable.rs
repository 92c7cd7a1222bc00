//! What a durable post costs: the PoP and the gateway, and NATS beside a bare publisher with the same settings.

mod chain;

use anyhow::Result;

use self::chain::Chain;
use super::measure::{BareSide, Series};
use super::{Context, Line};
use crate::bare::Mode;
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

/// Posts a second at two rates, each on a stream with one viewer: its author.
pub(super) fn post(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (pop, streams) = (context.pop(Wish::default())?, context.streams(STREAMS)?);
    let during = context.during();
    let mut chain = Chain::start(&mut engine, context.stack()?, pop, streams, during)?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let most = chain.bare_most(FLAT_OUT)?;
    let half = (most / 2).clamp(*HALF_PER_S.start(), *HALF_PER_S.end());
    let (mut records, mut pace) = ([0.0; 2], None);
    let sides = context.interleave("durable posts", context.rounds(), |during| {
        let little = chain.posts(&mut engine, LITTLE_PER_S)?;
        let little_bare = chain.bare_posts(&mut engine, LITTLE_PER_S)?;
        let much = chain.posts(&mut engine, half)?;
        let much_bare = chain.bare_posts(&mut engine, half)?;
        records = [much.records, little.records];
        let frame = much.ours.frame_bytes();
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(side.half_load(&mut engine, frame, 1_000)?),
        };
        let w = side.paced(&mut engine, Mode::Write, frame, pace, 0, during)?;
        Ok([
            w,
            much.ours,
            much.pop,
            much.gateway,
            much.nats,
            much_bare,
            little.ours,
            little.pop,
            little.gateway,
            little.nats,
            little_bare,
        ])
    })?;
    let [w, much @ .., _, _, _, _, _] = &sides;
    let [_, _, _, _, _, _, little @ ..] = &sides;
    let [first, second] = lines(
        (
            "a durable post",
            ["a durable post, PoP + gateway", "a durable post, NATS"],
        ),
        (half, records[0]),
        (w, much),
    );
    let [third, fourth] = lines(
        (
            "a durable post at 1,000/s",
            ["a durable post, 1,000/s", "a durable post, NATS, 1,000/s"],
        ),
        (LITTLE_PER_S, records[1]),
        (w, little),
    );
    let first = first.note(format!(
        "half of the {most} posts/s that a bare publisher gets into the log when it does nothing else, at most {}",
        HALF_PER_S.end()
    ));
    Ok(vec![first, second, third, fourth])
}

/// The lines of a rate: PoP and gateway beside `W`, and NATS beside a bare publisher's.
fn lines(
    (what, [short, short_nats]): (&str, [&'static str; 2]),
    (per_s, records): (u64, f64),
    (w, [ours, pop, gateway, nats, bare_nats]): (&Series, &[Series; 5]),
) -> [Line; 2] {
    [
        Line::cpu(format!("{what}: CPU of PoP + gateway"), ours, 1)
            .over(ours, "W ", w, 2)
            .limit(short, "≤ 6 W", 6.0)
            .note(format!(
                "PoP {}, gateway {}, at {per_s} posts/s on {STREAMS} streams; receipts and the delivery to the author \
                 included",
                pop.words(1),
                gateway.words(1)
            ))
            .note(ours.pressure("the PoP's")),
        Line::cpu(format!("{what}: NATS's own CPU"), nats, 1)
            .over(nats, "", bare_nats, 1)
            .limit(short_nats, "≤ 1.3 × a bare publisher's", 1.3)
            .note(format!(
                "the bare publisher writes records of the same size at the same rate, pipelined, with message ids, into \
                 a log with the same settings, republish included; nobody reads that log, while Chorus's is followed by \
                 the gateway and consumed by persist; {records:.2} records of Chorus a post"
            )),
    ]
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
    let pop = stack.pop(Wish::default(), Vec::new())?;
    let mut synced = Chain::start(&mut engine, &stack, pop, streams, during)?;
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
