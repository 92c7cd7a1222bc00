//! One comment to many viewers: the CPU it takes, with and without batching and TLS, and how late it is.

use std::time::Duration;

use anyhow::Result;

use super::measure::{BareSide, Series};
use super::peer::Peers;
use super::{Context, Line};
use crate::bare::Mode;
use crate::plot::{Bar, Plot};
use crate::stack::Wish;
use crate::stats::Spread;

const VIEWERS: usize = 1_000;
/// How often comments come in the batched row.
const BATCHED_PER_S: u32 = 1_000;

/// Batching off: CPU a delivery beside `U` and `W`, post → all beside the bare loop's, and the peers at the same pace
/// with frames of the same size.
pub(super) fn single(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let wish = Wish {
        unbatched: true,
        tls: false,
    };
    let (pop, mut cast, _) = context.cast(&mut engine, wish, VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = side.half_load(&mut engine, frame, VIEWERS)?;
    let mut peers = Peers::default();
    if !context.options.no_peers {
        context.progress("starting the peers with 1,000 viewers each");
        let what = "one message a frame of the same size at the same pace, 1,000 viewers";
        peers = Peers::start(&mut engine, VIEWERS, frame, what);
    }
    let rounds = context.rounds();
    let [w, ours, posts, u] = context.interleave("one comment a frame", rounds, |during| {
        let w = side.paced(&mut engine, Mode::Write, frame, interval, 0, during)?;
        let ours = cast.round(&mut engine, interval, during)?;
        let posts = side.posts(&mut engine, frame.saturating_sub(4), interval, during)?;
        let u = side.paced(&mut engine, Mode::Uring, frame, interval, 0, during)?;
        peers.round(&mut engine, interval, during);
        Ok([w, ours, posts, u])
    })?;
    let (by, target, sent) = match pop.has_uring() {
        true => (&u, "≤ 1.15 U", "sent by io_uring"),
        false => (&w, "≤ 1.15 W", "sent by plain writes"),
    };
    let what = "one comment a frame (batching off), 1,000 viewers: CPU of the PoP a delivery";
    let first = Line::cpu(what, &ours, 2)
        .beside(
            format!("U {}, W {}", u.words(2), w.words(2)),
            Some(ours.over(by)),
        )
        .limit(target, 1.15)
        .note(format!(
            "{:.0} comments/s, frames of {frame} bytes, {sent}; {:.2} W by the round",
            1.0 / interval.as_secs_f64(),
            ours.over(&w).median
        ));
    let own = [
        ("Chorus, every check on", "chorus", &ours),
        ("bare loop, io_uring (U)", "bare", &u),
        ("bare loop, write (W)", "bare", &w),
    ];
    let peer = peers.sides().map(|(name, series)| (name, "peer", series));
    let bars = own
        .into_iter()
        .chain(peer)
        .map(|(name, class, series)| Bar {
            name: name.to_owned(),
            value: Spread::of(&series.us()),
            class,
        });
    context.plots.push(Plot::bars(
        "delivery",
        "CPU a delivery: one message a frame, 1,000 viewers, equal frames, equal pace",
        "µs of the server's processes a delivery (median, smallest and largest round)",
        &bars.collect::<Vec<_>>(),
    ));
    let mut lines = vec![first];
    lines.extend([
        late(&ours, &posts, 0.5, "p50"),
        late(&ours, &posts, 0.99, "p99"),
    ]);
    lines.extend(peers.lines(&w));
    Ok(lines)
}

/// How late posts are at the last of all viewers, ours and the bare loop's.
fn late(ours: &Series, bare: &Series, q: f64, name: &str) -> Line {
    let [own, beside] = [ours, bare].map(|side| side.values(|round| round.all.ms(q)));
    let ms = |values: &[f64]| format!("{:.2} ms", Spread::of(values).median);
    let [lost, lost_bare] = [ours, bare].map(|side| side.sum(|round| round.posts - round.complete));
    let what = format!("post → all of 1,000 viewers, batching off, half load, {name}");
    let line = Line::fact(what, ms(&own))
        .beside(ms(&beside), Some(Spread::of_ratios(&own, &beside)))
        .limit("≤ 2 × the bare loop's", 2.0);
    if lost + lost_bare == 0 {
        return line;
    }
    let why =
        format!("{lost} posts did not reach everyone within 3 s, of the bare loop's {lost_bare}");
    line.note(why).must(lost == 0, "posts were lost")
}

/// 1,000 comments a second with default batching, beside a bare loop that writes equal frames at an equal rate.
pub(super) fn batched(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (_pop, mut cast, _) = context.cast(&mut engine, Wish::default(), VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let interval = Duration::from_secs(1) / BATCHED_PER_S;
    let (mut frame, mut frames_per_s, mut comments) = (0, 0.0, Series::default());
    let rounds = context.rounds();
    let [ours, bare] = context.interleave("default batching", rounds, |during| {
        let mut ours = cast.round(&mut engine, interval, during)?;
        comments.0.push(ours.clone());
        frame = ours.frame_bytes();
        // At an equal rate the CPU a second is that a frame, and frames are counted to the last one.
        ours.deliveries = ours.counts.comment_frames as f64;
        frames_per_s = ours.deliveries / VIEWERS as f64 / ours.took.as_secs_f64();
        let pace = Duration::from_secs_f64(1.0 / frames_per_s.max(0.1));
        // A few frames a second: the bare loop gets a longer while to have as many of them.
        let bare = side.paced(&mut engine, Mode::Write, frame, pace, 0, during + pace)?;
        Ok([ours, bare])
    })?;
    let per_s = |us: f64| format!("{:.0} ms/s", us * frames_per_s * VIEWERS as f64 / 1e3);
    let last = ours.0.last().cloned().unwrap_or_default();
    let mut line = Line::fact(
        "1,000 comments/s × 1,000 viewers, default batching: CPU of the PoP a second",
        per_s(ours.median_us()),
    );
    line.user = per_s(ours.user_us());
    line.figures = Some(comments.figures());
    let line = line
        .beside(per_s(bare.median_us()), Some(ours.over(&bare)))
        .limit("≤ 1.5 × the bare loop", 1.5)
        .note(format!(
            "{frames_per_s:.1} frames/s a viewer of {frame} bytes, {:.3} µs a comment and viewer, {:.3} of \
             them in user space; {:.0} comments/s posted, {} of {} with all viewers; post → viewer p50 {:.1} ms, p99 {:.1} ms",
            comments.median_us(),
            comments.user_us(),
            last.posts_per_s(),
            last.complete,
            last.posts,
            last.each.ms(0.5),
            last.each.ms(0.99)
        ));
    Ok(vec![line])
}

/// The first row over TLS 1.3.
pub(super) fn tls(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let wish = Wish {
        unbatched: true,
        tls: true,
    };
    let (_pop, mut cast, _) = context.cast(&mut engine, wish, VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = side.half_load(&mut engine, frame, VIEWERS)?;
    let [seal, ours] = context.interleave("TLS", context.rounds(), |during| {
        let seal = side.paced(&mut engine, Mode::Seal, frame, interval, 0, during)?;
        Ok([seal, cast.round(&mut engine, interval, during)?])
    })?;
    let what = "one comment a frame over TLS 1.3, 1,000 viewers: CPU of the PoP a delivery";
    let line = Line::cpu(what, &ours, 2)
        .over(&ours, "", &seal, 2)
        .limit("≤ 1.3 × (W + one AEAD seal)", 1.3)
        .note(format!(
            "frames of {frame} bytes, {:.0} comments/s",
            1.0 / interval.as_secs_f64()
        ));
    Ok(vec![line])
}
