//! `W`, `U` and the peers: what everything else is compared with.

use std::time::Duration;

use anyhow::Result;

use super::{Context, Line, Met};
use crate::bare::Mode;
use crate::load::Engine;
use crate::peers;
use crate::rows::measure::{BareSide, Measured, post_round};
use crate::stats::Spread;

/// The frame of the definition of `W`.
pub(super) const FRAME_BYTES: usize = 200;

/// The interval at which half the bare loop's saturation is reached with so many viewers.
pub(super) fn half_load(
    side: &mut BareSide,
    engine: &mut Engine,
    frame_bytes: usize,
    viewers: usize,
) -> Result<Duration> {
    let per_s = side.saturation(engine, Mode::Write, frame_bytes, Duration::from_millis(700))?;
    Ok(Duration::from_secs_f64(viewers as f64 / (per_s / 2.0)))
}

/// `W`, `U` and the seal with 1,000 viewers and 200 bytes.
pub(super) fn limits(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let interval = half_load(&mut side, &mut engine, FRAME_BYTES, 1_000)?;
    let (mut write, mut uring, mut seal) = (Vec::new(), Vec::new(), Vec::new());
    let mut busy = Vec::new();
    for round in 0..context.rounds() {
        context.progress(&format!("limits: round {}", round + 1));
        let w = side.paced(
            &mut engine,
            Mode::Write,
            FRAME_BYTES,
            interval,
            0,
            context.during(),
        )?;
        busy.push(w.busy());
        write.push(w.us());
        uring.push(
            side.paced(
                &mut engine,
                Mode::Uring,
                FRAME_BYTES,
                interval,
                0,
                context.during(),
            )?
            .us(),
        );
        seal.push(
            side.paced(
                &mut engine,
                Mode::Seal,
                FRAME_BYTES,
                interval,
                0,
                context.during(),
            )?
            .us(),
        );
    }
    let w = Spread::of(&write);
    let rate = 1.0 / interval.as_secs_f64();
    let facts = |what: &str, values: &[f64]| Line {
        what: what.to_owned(),
        target: "—".to_owned(),
        measured: format!("{:.2} µs", Spread::of(values).median),
        beside: format!("W {:.2} µs ({:.2}–{:.2})", w.median, w.min, w.max),
        ratio: Some(Spread::of_ratios(values, &write)),
        limit: None,
        met: Met::Fact,
        notes: Vec::new(),
    };
    let mut first = facts(
        "W: bare epoll loop, a `write` a socket, 200 bytes, 1,000 viewers",
        &write,
    );
    first.notes.push(format!(
        "half load is {rate:.0} frames/s to 1,000 sockets; the loop then used {:.0} % of its core",
        Spread::of(&busy).median * 100.0
    ));
    Ok(vec![
        first,
        facts("U: the same, one io_uring submit per 2,048 sends", &uring),
        facts("W and one AES-256-GCM seal a send", &seal),
    ])
}

/// The peers, each beside W, frames of 200 bytes, half load.
pub(super) fn peers(context: &mut Context) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (name, start) in peers::ALL {
        context.progress(&format!("peers: {name}"));
        match start().and_then(|peer| one_peer(context, peer)) {
            Ok(line) => lines.push(line),
            Err(error) => lines.push(Line::not_measured(&peer_row(name), &format!("{error:#}"))),
        }
    }
    for (name, why) in peers::ABSENT {
        lines.push(Line::not_measured(&peer_row(name), why));
    }
    Ok(lines)
}

fn peer_row(name: &str) -> String {
    format!("{name}: one message a frame, 1,000 viewers")
}

fn one_peer(context: &mut Context, peer: peers::Peer) -> Result<Line> {
    let mut engine = Engine::new()?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let interval = half_load(&mut side, &mut engine, FRAME_BYTES, 1_000)?;
    let (name, pids, publish) = (peer.name, peer.pids(), peer.publish);
    let idle_bytes = crate::sys::resident_bytes(&pids)?;
    let viewers = engine.group(peer.viewers);
    engine.connect(viewers, 1_000)?;
    let a_connection =
        (crate::sys::resident_bytes(&pids)?.saturating_sub(idle_bytes)) as f64 / 1_000.0;
    let publisher = engine.group(peer.publisher);
    engine.connect(publisher, 1)?;
    let publisher = engine.groups[publisher].members[0];
    // What a server adds to the text differs (NATS has a line of its own): the text is cut so that frames are equal.
    let mut text_bytes = FRAME_BYTES - 4;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut last = Measured::default();
    for round in 0..=context.rounds().min(3) {
        let measured = post_round(
            &mut engine,
            &[viewers],
            &pids,
            text_bytes,
            interval,
            context.during(),
            &mut |engine, text| engine.send(publisher, &publish(&text)),
        )?;
        if round == 0 {
            // nats-server sends a message as two frames: what counts is the bytes a message.
            let bytes = measured.counts.bytes as f64 / measured.deliveries.max(1.0);
            text_bytes = (text_bytes + FRAME_BYTES)
                .saturating_sub(bytes.round() as usize)
                .max(16);
            continue;
        }
        ours.push(measured.us());
        theirs.push(
            side.paced(
                &mut engine,
                Mode::Write,
                FRAME_BYTES,
                interval,
                0,
                context.during(),
            )?
            .us(),
        );
        last = measured;
    }
    let mut line = Line {
        what: peer_row(name),
        target: "—".to_owned(),
        measured: format!("{:.2} µs", Spread::of(&ours).median),
        beside: format!("W {:.2} µs", Spread::of(&theirs).median),
        ratio: Some(Spread::of_ratios(&ours, &theirs)),
        limit: None,
        met: Met::Fact,
        notes: vec![format!(
            "{:.0} bytes a message; publish → one viewer p50 {:.2} ms, p99 {:.2} ms; {:.1} KB a connection at 1,000",
            last.counts.bytes as f64 / last.deliveries.max(1.0),
            last.each.quantile(0.5) as f64 / 1e6,
            last.each.quantile(0.99) as f64 / 1e6,
            a_connection / 1_000.0
        )],
    };
    if last.complete < last.posts {
        line.notes.push(format!(
            "{} of {} messages did not reach all viewers in time",
            last.posts - last.complete,
            last.posts
        ));
    }
    Ok(line)
}
