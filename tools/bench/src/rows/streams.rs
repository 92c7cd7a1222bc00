//! Many small streams at once, posts through the same PoP.

use std::time::Duration;

use anyhow::Result;

use super::calibrate::half_load;
use super::cast::{TEXT_BYTES, check};
use super::measure::{BareSide, round_of};
use super::{Context, Line, Met};
use crate::bare::Mode;
use crate::load::Engine;
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};
use crate::stats::Spread;

const STREAMS: usize = 1_000;
const VIEWERS_EACH: usize = 10;

/// 1,000 streams × 10 viewers × 1 comment/s: one viewer of each stream posts.
pub(super) fn many(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(Wish::default())?;
    let names = context.streams(STREAMS)?;
    context.progress("1,000 streams: tokens and 10,000 connections");
    let tokens = pop.tokens(STREAMS)?;
    let of = |names: &[String]| {
        let names = names.to_vec();
        Box::new(move |number: usize| names[number % STREAMS].clone())
    };
    let authors = engine.group(speech::authors(&pop, tokens, of(&names)));
    engine.connect(authors, STREAMS)?;
    let viewers = engine.group(speech::viewers(&pop, of(&names), Encoding::Json, false));
    engine.connect(viewers, STREAMS * (VIEWERS_EACH - 1))?;
    let posters = engine.groups[authors].members.clone();
    let mut side = BareSide::start(&mut engine, 1_000)?;

    let interval = Duration::from_secs(1) / STREAMS as u32;
    let (mut ours, mut w, mut same_shape) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = 0;
    let mut frame = 0;
    let mut pace = None;
    for round in 0..context.rounds() {
        context.progress(&format!("1,000 streams: round {}", round + 1));
        let measured = round_of(
            &mut engine,
            &[viewers, authors],
            &[pop.pid],
            TEXT_BYTES,
            interval,
            context.during(),
            VIEWERS_EACH,
            &mut |engine, text| {
                let at = next % STREAMS;
                next += 1;
                engine.send(posters[at], &speech::post(&names[at], &text))
            },
        )?;
        check(&measured)?;
        ours.push(measured.us());
        frame = (measured.counts.comment_bytes / measured.counts.comment_frames.max(1)) as usize;
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(half_load(&mut side, &mut engine, frame, 1_000)?),
        };
        w.push(
            side.paced(&mut engine, Mode::Write, frame, pace, 0, context.during())?
                .us(),
        );
        same_shape.push(
            side.paced(
                &mut engine,
                Mode::Write,
                frame,
                interval,
                VIEWERS_EACH,
                context.during(),
            )?
            .us(),
        );
    }
    let ratio = Spread::of_ratios(&ours, &w);
    Ok(vec![Line {
        what: "1,000 streams × 10 viewers × 1 comment/s, posts through the same PoP: CPU of the PoP a delivery".to_owned(),
        target: "≤ 1.6 W".to_owned(),
        measured: format!("{:.2} µs", Spread::of(&ours).median),
        beside: format!("W {:.2} µs", Spread::of(&w).median),
        ratio: Some(ratio),
        limit: Some(1.6),
        met: Met::when(ratio.median <= 1.6),
        notes: vec![format!(
            "frames of {frame} bytes; a bare loop that wakes 1,000 times a second and writes to 10 of its 1,000 sockets \
             takes {:.2} µs a delivery",
            Spread::of(&same_shape).median
        )],
    }])
}
