//! Many small streams at once, posts through the same PoP.

use std::time::Duration;

use anyhow::Result;

use super::cast::{Authors, TEXT_BYTES, check};
use super::measure::{BareSide, Round};
use super::{Context, Line};
use crate::bare::Mode;
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};

const STREAMS: usize = 1_000;
const VIEWERS_EACH: usize = 10;
/// A turn of a busy shard.
const TURN: Duration = Duration::from_millis(16);

/// 1,000 streams × 10 viewers × 1 comment/s: one viewer of each stream posts.
pub(super) fn many(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish::default())?;
    let streams = context.streams(STREAMS)?;
    context.progress("1,000 streams: tokens and 10,000 connections");
    let viewers = speech::viewers(&pop, &streams, Encoding::Json, false);
    let mut authors = Authors::join(&mut engine, &mut pop, streams, STREAMS)?;
    let viewers = engine.join(viewers, STREAMS * (VIEWERS_EACH - 1))?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    context.progress("1,000 streams: 10,000 connections of a bare loop");
    let mut many = BareSide::start_apart(&mut engine, STREAMS * VIEWERS_EACH)?;

    let (mut frame, mut pace) = (0, None);
    let rounds = context.rounds();
    let [ours, w, shape] = context.interleave("1,000 streams", rounds, |during| {
        let round = Round {
            groups: &[viewers, authors.group],
            pids: &[pop.pid],
            others: &[],
            text_bytes: TEXT_BYTES,
            interval: Duration::from_secs(1) / STREAMS as u32,
            during,
            audience: VIEWERS_EACH,
        };
        let ours = round.run(&mut engine, &mut |engine, text| authors.post(engine, text))?;
        check(&ours)?;
        frame = ours.frame_bytes();
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(side.half_load(&mut engine, frame, 1_000)?),
        };
        let w = side.paced(&mut engine, Mode::Write, frame, pace, 0, during)?;
        // What the PoP does at this rate: it gathers for a turn, and writes with one submit.
        let group = VIEWERS_EACH * STREAMS * TURN.as_millis() as usize / 1_000;
        let shape = many.paced(&mut engine, Mode::Uring, frame, TURN, group, during)?;
        Ok([ours, w, shape])
    })?;
    let what = "1,000 streams × 10 viewers × 1 comment/s, posts through the same PoP: CPU of the PoP a delivery";
    let last = ours.0.last().cloned().unwrap_or_default();
    let beside = format!("{}; W {}", shape.words(2), w.words(2));
    let line = Line::cpu(what, &ours, 2)
        .beside(beside, Some(ours.over(&shape)))
        .limit("≤ 1.5 × a bare loop of its shape", 1.5)
        .note(format!(
            "the bare loop sends by io_uring 160 frames each 16 ms to 160 of 10,000 sockets; frames of {frame} bytes; \
             {:.1} posts a second, {} of {} with all ten viewers; {:.2} W by the round",
            last.posts_per_s(),
            last.complete,
            last.posts,
            ours.over(&w).median
        ));
    Ok(vec![line])
}
