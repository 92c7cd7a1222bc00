//! Bytes a comment on the wire, by encoding, plain and deflated.

use std::time::Duration;

use anyhow::Result;

use super::cast::{Cast, TEXT_BYTES};
use super::context::DURING;
use super::measure::Measured;
use super::{Context, Line};
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};

const FORMS: [(&str, Encoding, bool); 4] = [
    ("JSON", Encoding::Json, false),
    ("MessagePack", Encoding::MsgPack, false),
    ("JSON, deflate", Encoding::Json, true),
    ("MessagePack, deflate", Encoding::MsgPack, true),
];
/// Viewers of each form.
const EACH: usize = 10;
const VIEWERS: usize = 1_000;

/// Bytes a comment at 10 and at 1,000 comments/s, and the CPU a delivery with and without deflate.
pub(super) fn bytes(context: &mut Context) -> Result<Vec<Line>> {
    let mut lines = sizes(context)?;
    lines.push(deflate_cpu(context)?);
    Ok(lines)
}

fn sizes(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (pop, mut cast, stream) = context.cast(&mut engine, Wish::default(), 2)?;
    let mut groups = Vec::new();
    for (_, encoding, deflate) in FORMS {
        let viewers = speech::viewers(&pop, std::slice::from_ref(&stream), encoding, deflate);
        groups.push(engine.join(viewers, EACH)?);
    }
    let mut columns = Vec::new();
    for per_s in [10, 1_000] {
        context.progress(&format!("bytes a comment at {per_s} comments/s"));
        let seen = |engine: &crate::load::Engine| -> Vec<f64> {
            let bytes = groups
                .iter()
                .map(|group| engine.groups[*group].counts.bytes);
            bytes.map(|bytes| bytes as f64).collect()
        };
        let (before, posted_before) = (seen(&engine), cast.durable(&engine));
        cast.round(&mut engine, Duration::from_secs(1) / per_s, DURING)?;
        let posted = (cast.durable(&engine) - posted_before).max(1) as f64;
        let grown = seen(&engine).into_iter().zip(before);
        let column = grown.map(|(after, before)| (after - before) / EACH as f64 / posted);
        columns.push(column.collect::<Vec<f64>>());
    }
    let lines = FORMS.iter().zip(&columns[0]).zip(&columns[1]);
    let lines = lines.map(|(((name, ..), few), many)| {
        let mut line = Line::fact(
            format!("bytes a comment on the wire, {name}"),
            format!("{few:.0} at 10/s, {many:.0} at 1,000/s"),
        );
        line.target = "a table".to_owned();
        line.beside(format!("a text of {TEXT_BYTES} bytes"), None)
    });
    Ok(lines.collect())
}

/// CPU a comment to 1,000 viewers with deflate beside without, batching off, at 50 comments/s.
fn deflate_cpu(context: &mut Context) -> Result<Line> {
    let mut engine = context.engine()?;
    let wish = Wish {
        unbatched: true,
        tls: false,
    };
    let (mut pop, mut plain, _) = context.cast(&mut engine, wish, VIEWERS)?;
    let mut deflated = Cast::join(&mut engine, &mut pop, &context.stream()?, VIEWERS, true)?;
    let interval = Duration::from_millis(20);
    let rounds = context.rounds().min(3);
    let [without, with] = context.interleave("deflate", rounds, |during| {
        let mut round = |cast: &mut Cast| -> Result<Measured> {
            let measured = cast.round(&mut engine, interval, during)?;
            Ok(Measured::of(measured.cpu, measured.posts))
        };
        Ok([round(&mut plain)?, round(&mut deflated)?])
    })?;
    let what = "a comment to 1,000 viewers with deflate: CPU of the PoP";
    Ok(Line::cpu(what, &with, 0)
        .over(&with, "", &without, 0)
        .limit("no CPU per viewer (≤ 1.1 × without)", 1.1)
        .note("800 viewers with deflate and 200 authors without, batching off, 50 comments/s"))
}
