//! Bytes a comment on the wire, by encoding, plain and deflated.

use std::time::Duration;

use anyhow::Result;

use super::cast::{Cast, TEXT_BYTES};
use super::measure::Round;
use super::{Context, Line};
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};
use crate::stats::Spread;

const FORMS: [(&str, Encoding, bool); 4] = [
    ("JSON", Encoding::Json, false),
    ("MessagePack", Encoding::MsgPack, false),
    ("JSON, deflate", Encoding::Json, true),
    ("MessagePack, deflate", Encoding::MsgPack, true),
];
const VIEWERS: usize = 1_000;

/// Bytes a comment at 10 and at 1,000 comments/s, and the CPU a delivery with and without deflate.
pub(super) fn bytes(context: &mut Context) -> Result<Vec<Line>> {
    let mut lines = sizes(context)?;
    lines.push(deflate_cpu(context)?);
    Ok(lines)
}

fn sizes(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish::default())?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, 2)?;
    let mut groups = Vec::new();
    for (_, encoding, deflate) in FORMS {
        let name = stream.clone();
        let group = engine.group(speech::viewers(
            &pop,
            Box::new(move |_| name.clone()),
            encoding,
            deflate,
        ));
        engine.connect(group, 10)?;
        groups.push(group);
    }
    let mut columns = Vec::new();
    for per_s in [10, 1_000] {
        context.progress(&format!("bytes a comment at {per_s} comments/s"));
        let before: Vec<u64> = groups
            .iter()
            .map(|group| engine.counts(*group).bytes)
            .collect();
        let author_groups = cast.groups;
        let posted_before = engine.counts(author_groups[1]).durable;
        let round = Round {
            groups: &author_groups,
            pids: &[pop.pid],
            others: &[],
            text_bytes: TEXT_BYTES,
            interval: Duration::from_secs(1) / per_s,
            during: context.during(),
            audience: 2,
        };
        let measured = round.run(&mut engine, &mut |engine, text| cast.post(engine, &text))?;
        super::cast::check(&measured)?;
        let posted = (engine.counts(author_groups[1]).durable - posted_before).max(1) as f64;
        let column: Vec<f64> = groups
            .iter()
            .zip(before)
            .map(|(group, before)| (engine.counts(*group).bytes - before) as f64 / 10.0 / posted)
            .collect();
        columns.push(column);
    }
    Ok(FORMS
        .iter()
        .enumerate()
        .map(|(index, (name, _, _))| {
            let mut line = Line::fact(
                format!("bytes a comment on the wire, {name}"),
                format!(
                    "{:.0} at 10/s, {:.0} at 1,000/s",
                    columns[0][index], columns[1][index]
                ),
            );
            line.target = "a table".to_owned();
            line.beside = format!("a text of {TEXT_BYTES} bytes");
            line
        })
        .collect())
}

/// CPU a delivery to 1,000 viewers with deflate beside without, batching off, at 50 comments/s.
fn deflate_cpu(context: &mut Context) -> Result<Line> {
    let mut engine = context.engine()?;
    let wish = Wish {
        unbatched: true,
        ..Wish::default()
    };
    let mut pop = context.pop(wish)?;
    let streams = [context.streams(1)?.remove(0), context.streams(1)?.remove(0)];
    let mut plain = Cast::join_as(
        &mut engine,
        &mut pop,
        &streams[0],
        VIEWERS,
        Encoding::Json,
        false,
    )?;
    let mut deflated = Cast::join_as(
        &mut engine,
        &mut pop,
        &streams[1],
        VIEWERS,
        Encoding::Json,
        true,
    )?;
    let interval = Duration::from_millis(20);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut round = 0;
    while context.another_of("deflate", round, context.rounds().min(3)) {
        round += 1;
        let measured = plain.round(&mut engine, interval, context.during())?;
        without.push(measured.cpu_ns / measured.posts.max(1) as f64 / 1e3);
        let measured = deflated.round(&mut engine, interval, context.during())?;
        with.push(measured.cpu_ns / measured.posts.max(1) as f64 / 1e3);
    }
    let us = |values: &[f64]| format!("{:.0} µs", Spread::of(values).median);
    Ok(Line::ratio(
        (
            "deflate",
            "a comment to 1,000 viewers with deflate: CPU of the PoP",
        ),
        "no CPU per viewer (≤ 1.1 × without)",
        (us(&with), us(&without)),
        Spread::of_ratios(&with, &without),
        1.1,
    )
    .note("800 viewers with deflate and 200 authors without, batching off, 50 comments/s"))
}
