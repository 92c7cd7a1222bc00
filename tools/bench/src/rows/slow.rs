//! Viewers that stop reading.

use std::time::Duration;

use anyhow::Result;

use super::cast::Cast;
use super::{Context, Line, Met};
use crate::load::Engine;
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};
use crate::sys;

const VIEWERS: usize = 1_000;
const SLOW: usize = VIEWERS / 10;
/// Comments a second: enough to fill a stalled socket's buffers within seconds.
const PER_S: u32 = 1_000;
const TEXT_BYTES: usize = 400;
/// What a slow viewer's socket takes before it is full.
const RECEIVE_BUFFER: usize = 16 * 1024;
/// The longest the PoP is given to end them.
const PHASES_MAX: usize = 15;

/// 10 % stop reading: the others' p99, the PoP's memory, and the end of the slow ones.
pub(super) fn readers(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(Wish::default())?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, VIEWERS - SLOW)?;
    let name = stream.clone();
    let mut dialect = speech::viewers(&pop, Box::new(move |_| name.clone()), Encoding::Json, false);
    dialect.receive_buffer = Some(RECEIVE_BUFFER);
    let slow = engine.group(dialect);
    engine.connect(slow, SLOW)?;
    let members = engine.groups[slow].members.clone();

    let interval = Duration::from_secs(1) / PER_S;
    let phase = Duration::from_millis(1_500);
    let p99 = |cast: &mut Cast, engine: &mut Engine| -> Result<f64> {
        Ok(cast
            .round_with(engine, TEXT_BYTES, interval, phase)?
            .each
            .quantile(0.99) as f64
            / 1e6)
    };
    context.progress("slow readers: all read");
    let mut before: f64 = 0.0;
    for _ in 0..2 {
        before = before.max(p99(&mut cast, &mut engine)?);
    }
    let rss_before = sys::resident_bytes(&[pop.pid])?;
    for member in &members {
        engine.pause(*member)?;
    }
    let (mut during, mut rss_max, mut phases): (f64, u64, usize) = (0.0, 0, 0);
    let gone = |engine: &Engine| {
        members
            .iter()
            .filter(|member| !engine.is_open(**member))
            .count()
    };
    while phases < PHASES_MAX && gone(&engine) < SLOW {
        phases += 1;
        context.progress(&format!(
            "slow readers: {} of {SLOW} are gone",
            gone(&engine)
        ));
        during = during.max(p99(&mut cast, &mut engine)?);
        rss_max = rss_max.max(sys::resident_bytes(&[pop.pid])?);
    }
    let ended = gone(&engine);
    let metric = ["slow", "4408", "lagged"]
        .iter()
        .find_map(|label| slow_metric(&pop, label));
    let grown = rss_max.saturating_sub(rss_before) as f64 / 1_048_576.0;
    let ratio = during / before.max(1e-9);
    Ok(vec![Line {
        what: "10 % of 1,000 viewers stop reading: the others' p99".to_owned(),
        target: "≤ 1.2 ×, memory bounded, the slow ones gone with a metric".to_owned(),
        measured: format!("{during:.1} ms; {ended} of {SLOW} gone; RSS +{grown:.1} MiB"),
        beside: format!("{before:.1} ms before"),
        ratio: Some(crate::stats::Spread {
            median: ratio,
            min: ratio,
            max: ratio,
        }),
        limit: Some(1.2),
        met: Met::when(ratio <= 1.2 && ended == SLOW && metric.is_some()),
        notes: vec![format!(
            "{PER_S} comments/s of {TEXT_BYTES} bytes, default batching; the worst p99 of {phases} phases of 1.5 s beside \
             the worse of two before; metric: {}",
            metric.map_or("none found".to_owned(), |(line, value)| format!(
                "`{line}` {value}"
            ))
        )],
    }])
}

fn slow_metric(pop: &crate::stack::Pop, label: &str) -> Option<(String, f64)> {
    let text = pop.ask("GET", "/metrics", "").ok()?;
    text.lines()
        .filter(|line| !line.starts_with('#') && line.contains(label))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse::<f64>().ok()?)))
        .find(|(_, value)| *value > 0.0)
}
