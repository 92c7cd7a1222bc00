//! One comment to many viewers: the CPU it takes, with and without batching and TLS, and how late it is.

use std::time::Duration;

use anyhow::Result;

use super::calibrate::half_load;
use super::cast::Cast;
use super::measure::{BareSide, Measured};
use super::peer::Peers;
use super::{Context, Line, Met};
use crate::bare::Mode;
use crate::plot::{Bar, Of, Plot, Shape};
use crate::stack::Wish;
use crate::stats::Spread;

const VIEWERS: usize = 1_000;
/// How often comments come in the batched row.
const BATCHED_PER_S: u32 = 1_000;

/// Batching off: CPU a delivery beside `U` and `W`, post → all beside the bare loop's, and the peers at the same pace
/// with frames of the same size.
pub(super) fn single(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish {
        unbatched: true,
        ..Wish::default()
    })?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = half_load(&mut side, &mut engine, frame, VIEWERS)?;
    let uring = pop.has_uring();
    let mut peers = if context.options.no_peers {
        Peers::none()
    } else {
        context.progress("starting the peers with 1,000 viewers each");
        let what = "one message a frame of the same size at the same pace, 1,000 viewers";
        Peers::start(&mut engine, VIEWERS, frame, what)
    };

    let (mut w, mut u, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let mut lateness = Lateness::default();
    let mut last = Measured::default();
    let mut round = 0;
    while context.another("one comment a frame", round) {
        round += 1;
        let during = context.during();
        let paced = side.paced(&mut engine, Mode::Write, frame, interval, 0, during)?;
        w.push(paced.us());
        last = cast.round(&mut engine, interval, during)?;
        ours.push(last.us());
        let text = frame.saturating_sub(4);
        let posts = side.posts(&mut engine, Mode::Write, text, interval, during)?;
        lateness.add(&last, &posts);
        let paced = side.paced(&mut engine, Mode::Uring, frame, interval, 0, during)?;
        u.push(paced.us());
        peers.round(&mut engine, interval, during);
    }
    let by_w = Spread::of_ratios(&ours, &w);
    let ratio = if uring {
        Spread::of_ratios(&ours, &u)
    } else {
        by_w
    };
    let first = Line::ratio(
        (
            "one comment a frame",
            "one comment a frame (batching off), 1,000 viewers: CPU of the PoP a delivery",
        ),
        if uring { "≤ 1.15 U" } else { "≤ 1.15 W" },
        (
            format!("{:.2} µs", Spread::of(&ours).median),
            format!(
                "U {:.2} µs, W {:.2} µs",
                Spread::of(&u).median,
                Spread::of(&w).median
            ),
        ),
        ratio,
        1.15,
    )
    .note(format!(
        "{:.0} comments/s, frames of {frame} bytes, {}; {:.2} W by the round",
        1.0 / interval.as_secs_f64(),
        if uring {
            "sent by io_uring"
        } else {
            "sent by plain writes"
        },
        by_w.median
    ))
    .note(last.pressure.words("in the PoP's last round"));
    context.plots.push(beside_peers(&ours, &w, &u, &peers));
    let mut lines = vec![first];
    lines.extend(lateness.lines());
    lines.extend(peers.lines(&w));
    Ok(lines)
}

/// Chorus, the bare loop and the peers in one picture.
fn beside_peers(ours: &[f64], w: &[f64], u: &[f64], peers: &Peers) -> Plot {
    let own = [
        ("Chorus, every check on", Of::Chorus, ours.to_vec()),
        ("bare loop, io_uring (U)", Of::Bare, u.to_vec()),
        ("bare loop, write (W)", Of::Bare, w.to_vec()),
    ];
    let peers = peers.us().map(|(name, us)| (name, Of::Peer, us));
    let bars = own.into_iter().chain(peers).map(|(name, of, us)| Bar {
        name: name.to_owned(),
        value: Spread::of(&us),
        of,
    });
    Plot {
        file: "delivery".to_owned(),
        title: "CPU a delivery: one message a frame, 1,000 viewers, equal frames, equal pace"
            .to_owned(),
        axes: (
            "µs of the server's processes a delivery (median, smallest and largest round)"
                .to_owned(),
            String::new(),
        ),
        shape: Shape::Bars(bars.collect()),
    }
}

/// How late posts are at the last of all viewers, ours and the bare loop's, in milliseconds.
#[derive(Default)]
struct Lateness {
    rounds: Vec<LateRound>,
    /// The bare loop's last round.
    words: String,
}

struct LateRound {
    /// p50 and p99.
    ours: [f64; 2],
    bare: [f64; 2],
    /// Posts that did not reach everyone.
    lost: [u64; 2],
    /// Something else than the servers made the times.
    doubtful: bool,
}

impl Lateness {
    fn add(&mut self, ours: &Measured, bare: &Measured) {
        let ms = |of: &Measured| [0.5, 0.99].map(|q| of.all.quantile(q) as f64 / 1e6);
        self.rounds.push(LateRound {
            ours: ms(ours),
            bare: ms(bare),
            lost: [ours.posts - ours.complete, bare.posts - bare.complete],
            doubtful: ours.pressure.doubt().is_some() || bare.pressure.doubt().is_some(),
        });
        self.words = bare.pressure.words("in the bare loop's last round");
    }

    /// Only rounds count in which both servers and the load had their cores, where there are such.
    fn lines(&self) -> Vec<Line> {
        let clean: Vec<&LateRound> = self.rounds.iter().filter(|one| !one.doubtful).collect();
        let rounds = if clean.is_empty() {
            self.rounds.iter().collect()
        } else {
            clean
        };
        let [lost, lost_bare] = [0, 1].map(|side| -> u64 {
            let rounds = self.rounds.iter();
            rounds.map(|one| one.lost[side]).sum()
        });
        let doubtful = self.rounds.iter().filter(|one| one.doubtful).count();
        let line = |index: usize, name: &str, short: &'static str| {
            let ours: Vec<f64> = rounds.iter().map(|one| one.ours[index]).collect();
            let bare: Vec<f64> = rounds.iter().map(|one| one.bare[index]).collect();
            let ms = |values: &[f64]| format!("{:.2} ms", Spread::of(values).median);
            let mut line = Line::ratio(
                (
                    short,
                    format!("post → all of 1,000 viewers, batching off, half load, {name}"),
                ),
                "≤ 2 × the bare loop's",
                (ms(&ours), ms(&bare)),
                Spread::of_ratios(&ours, &bare),
                2.0,
            );
            if lost > 0 {
                line.met = Met::No;
            }
            if lost + lost_bare > 0 {
                line = line.note(format!(
                    "{lost} posts did not reach everyone within 3 s, of the bare loop's {lost_bare}"
                ));
            }
            if doubtful > 0 {
                line = line.note(format!(
                    "in {doubtful} of {} rounds others had the cores or the load was at its limit: {}",
                    self.rounds.len(),
                    if doubtful < self.rounds.len() {
                        "those do not count"
                    } else {
                        "**these times are not the servers' own**"
                    }
                ));
            }
            line.note(self.words.clone())
        };
        vec![
            line(0, "p50", "post → all, p50"),
            line(1, "p99", "post → all, p99"),
        ]
    }
}

/// 1,000 comments a second with default batching, beside a bare loop that writes equal frames at an equal rate.
pub(super) fn batched(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish::default())?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let interval = Duration::from_secs(1) / BATCHED_PER_S;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let (mut frame, mut frames_per_s) = (0, 0.0);
    let mut last = Measured::default();
    let mut round = 0;
    while context.another("default batching", round) {
        round += 1;
        last = cast.round(&mut engine, interval, context.during())?;
        let counts = &last.counts;
        let frames = counts.comment_frames.max(1) as f64;
        frame = (counts.comment_bytes as f64 / frames).round() as usize;
        frames_per_s = frames / VIEWERS as f64 / last.took.as_secs_f64();
        // At an equal rate the CPU a second is that a frame, and frames are counted to the last one.
        ours.push(last.cpu_ns / frames / 1e3);
        let pace = Duration::from_secs_f64(1.0 / frames_per_s.max(0.1));
        // A few frames a second: the bare loop gets a longer while to have as many of them.
        let during = context.during() + pace;
        let paced = side.paced(&mut engine, Mode::Write, frame, pace, 0, during)?;
        bare.push(paced.us());
    }
    let per_s = |us: &[f64]| Spread::of(us).median * frames_per_s * VIEWERS as f64 / 1e3;
    Ok(vec![
        Line::ratio(
            (
                "1,000 comments/s, batched",
                "1,000 comments/s × 1,000 viewers, default batching: CPU of the PoP a second",
            ),
            "≤ 1.5 × the bare loop",
            (
                format!("{:.0} ms/s", per_s(&ours)),
                format!("{:.0} ms/s", per_s(&bare)),
            ),
            Spread::of_ratios(&ours, &bare),
            1.5,
        )
        .note(format!(
            "{frames_per_s:.1} frames/s a viewer of {frame} bytes, {:.3} µs a comment and viewer; {:.0} comments/s \
             posted, {} of {} with all viewers; post → viewer p50 {:.1} ms, p99 {:.1} ms",
            last.us(),
            last.posts as f64 / last.took.as_secs_f64(),
            last.complete,
            last.posts,
            last.each.quantile(0.5) as f64 / 1e6,
            last.each.quantile(0.99) as f64 / 1e6
        ))
        .note(last.pressure.words("in the PoP's last round")),
    ])
}

/// The first row over TLS 1.3.
pub(super) fn tls(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish {
        unbatched: true,
        tls: true,
    })?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = half_load(&mut side, &mut engine, frame, VIEWERS)?;
    let (mut seal, mut ours) = (Vec::new(), Vec::new());
    let mut last = Measured::default();
    let mut round = 0;
    while context.another("TLS", round) {
        round += 1;
        let during = context.during();
        let paced = side.paced(&mut engine, Mode::Seal, frame, interval, 0, during)?;
        seal.push(paced.us());
        last = cast.round(&mut engine, interval, during)?;
        ours.push(last.us());
    }
    Ok(vec![
        Line::ratio(
            (
                "one comment a frame, TLS",
                "one comment a frame over TLS 1.3, 1,000 viewers: CPU of the PoP a delivery",
            ),
            "≤ 1.3 × (W + one AEAD seal)",
            (
                format!("{:.2} µs", Spread::of(&ours).median),
                format!("{:.2} µs", Spread::of(&seal).median),
            ),
            Spread::of_ratios(&ours, &seal),
            1.3,
        )
        .note(format!(
            "frames of {frame} bytes, {:.0} comments/s",
            1.0 / interval.as_secs_f64()
        ))
        .note(last.pressure.words("in the PoP's last round")),
    ])
}
