//! Viewers that stop reading.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cast::Cast;
use super::{Context, Line};
use crate::load::Engine;
use crate::stack::speech::{self, Encoding};
use crate::stack::{Pop, Wish};
use crate::stats::{Histogram, Spread};
use crate::sys;

const VIEWERS: usize = 1_000;
const SLOW: usize = VIEWERS / 10;
/// Comments a second: enough to fill a stalled socket's buffers within seconds.
const PER_S: u32 = 1_000;
const TEXT_BYTES: usize = 400;
/// What a slow viewer's socket takes before it is full.
const RECEIVE_BUFFER: usize = 16 * 1024;
/// How long is posted at a time.
const PHASE: Duration = Duration::from_millis(1_500);
/// Phases before anybody stops reading.
const PHASES_BEFORE: usize = 4;
/// The longest the PoP is given to end the slow ones, in phases.
const PHASES_MAX: usize = 20;
/// What a PoP keeps for a viewer that does not read (`queues.viewer_bytes_max`), by default.
const QUEUE_BYTES_MAX: u64 = 1 << 20;
/// Counted by the PoP for each viewer closed because its queue was full.
const OVERFLOWS: &str = "chorus_edge_queue_overflows_total";
/// Its closes with the code of a slow reader.
const CLOSED: &str = "chorus_edge_closed_total{code=\"4408\"}";
/// What it keeps for all slow viewers.
const QUEUED: &str = "chorus_edge_queue_bytes";

/// 10 % stop reading: the others' p99, the PoP's memory, and the end of the slow ones.
pub(super) fn readers(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (pop, mut cast, stream) = context.cast(&mut engine, Wish::default(), VIEWERS - SLOW)?;
    let mut dialect = speech::viewers(&pop, &[stream], Encoding::Json, false);
    dialect.receive_buffer = Some(RECEIVE_BUFFER);
    let slow = engine.join(dialect, SLOW)?;
    let members = engine.groups[slow].members.clone();

    let mut before = Histogram::default();
    for _ in 0..PHASES_BEFORE {
        context.progress("slow readers: all read");
        before.merge(&phase(&mut cast, &mut engine)?);
    }
    let rss_before = sys::resident_bytes(&[pop.pid])?;
    let overflows_before = metric(&pop, OVERFLOWS)?;
    let closed_before = metric(&pop, CLOSED)?;
    for member in &members {
        engine.pause(*member)?;
    }
    let gone = |engine: &Engine| {
        members
            .iter()
            .filter(|member| !engine.is_open(**member))
            .count()
    };
    let mut during = Histogram::default();
    let (mut grown, mut queued, mut phases) = (0, 0.0_f64, 0);
    // As many phases as before at least: the others must not suffer from the end of the slow ones either.
    while phases < PHASES_BEFORE || phases < PHASES_MAX && gone(&engine) < SLOW {
        phases += 1;
        context.progress(&format!(
            "slow readers: {} of {SLOW} are gone",
            gone(&engine)
        ));
        during.merge(&phase(&mut cast, &mut engine)?);
        grown = grown.max(sys::resident_bytes(&[pop.pid])?.saturating_sub(rss_before));
        queued = queued.max(metric(&pop, QUEUED)?);
    }
    let ended = gone(&engine);
    let overflows = metric(&pop, OVERFLOWS)? - overflows_before;
    let closed = metric(&pop, CLOSED)? - closed_before;

    let mib = |bytes: f64| bytes / 1_048_576.0;
    let (p99_before, p99) = (before.ms(0.99), during.ms(0.99));
    let bound = QUEUE_BYTES_MAX * SLOW as u64;
    let counted = overflows >= SLOW as f64 && closed >= SLOW as f64;
    let line = Line::fact(
        "10 % of 1,000 viewers stop reading: the others' p99",
        format!("{p99:.1} ms; {ended} of {SLOW} gone; RSS +{:.1} MiB", mib(grown as f64)),
    )
    .beside(
        format!("{p99_before:.1} ms before"),
        Some(Spread::of(&[p99 / p99_before.max(1e-9)])),
    )
    .limit("≤ 1.2 ×, memory bounded, the slow ones gone with a metric",
        1.2,
    )
    .note(format!(
        "{PER_S} comments/s of {TEXT_BYTES} bytes, default batching; p99 of all deliveries to the others in {phases} phases \
         of 1.5 s beside {PHASES_BEFORE} before; memory may grow by {:.0} MiB (the bound of a queue times {SLOW}), the \
         queues held {:.1} MiB at the end of the fullest phase; `{OVERFLOWS}` +{overflows:.0}, `{CLOSED}` +{closed:.0}",
        mib(bound as f64),
        mib(queued)
    ))
    .must(ended >= SLOW, "not all slow viewers were ended")
    .must(grown <= bound, "memory grew beyond the bound")
    .must(counted, "the metrics do not count all of them");
    Ok(vec![line])
}

/// Post → each of those who read, over a phase.
fn phase(cast: &mut Cast, engine: &mut Engine) -> Result<Histogram> {
    let interval = Duration::from_secs(1) / PER_S;
    Ok(cast.round_with(engine, TEXT_BYTES, interval, PHASE)?.each)
}

/// One number of the PoP's metrics; one that is not there is an error, not nothing.
fn metric(pop: &Pop, name: &str) -> Result<f64> {
    let text = pop.ask("GET", "/metrics", "")?;
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .with_context(|| format!("the PoP has no metric {name}"))
}
