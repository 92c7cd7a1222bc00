//! What a durable post costs: the PoP and the gateway, and NATS beside a bare publisher with the same settings.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::calibrate::half_load;
use super::cast::{TEXT_BYTES, check};
use super::measure::{BareSide, round_of};
use super::{Context, Line, Met};
use crate::bare::Mode;
use crate::load::Engine;
use crate::peers::Nats;
use crate::stack::speech;
use crate::stack::{Stack, Wish};
use crate::stats::Spread;
use crate::sys::CpuMeter;

const STREAMS: usize = 100;
const PER_S: u32 = 1_000;
const BARE_LOG: &str = "BENCH";

/// 1,000 posts a second, each on a stream with one viewer: its author.
pub(super) fn post(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(Wish::default())?;
    let names = context.streams(STREAMS)?;
    let tokens = pop.tokens(STREAMS)?;
    let of = names.clone();
    let authors = engine.group(speech::authors(
        &pop,
        tokens,
        Box::new(move |number| of[number % STREAMS].clone()),
    ));
    engine.connect(authors, STREAMS)?;
    let posters = engine.groups[authors].members.clone();
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let (nats_pid, gateway_pid) = (context.stack()?.nats, context.stack()?.gateway());
    let mut bare_log = context.stack()?.nats()?;
    make_log_like(&mut bare_log, &Stack::comments_log())?;

    let interval = Duration::from_secs(1) / PER_S;
    let (mut ours, mut w, mut nats, mut bare_nats) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut pop_us, mut gateway_us) = (Vec::new(), Vec::new());
    let mut pace = None;
    let (mut next, mut published) = (0, 0);
    for round in 0..context.rounds() {
        context.progress(&format!("durable posts: round {}", round + 1));
        let mut cpu_nats = CpuMeter::start(&[nats_pid]);
        let mut cpu_gateway = CpuMeter::start(&[gateway_pid]);
        let durable_before = engine.counts(authors).durable;
        let measured = round_of(
            &mut engine,
            &[authors],
            &[pop.pid],
            TEXT_BYTES,
            interval,
            context.during(),
            1,
            &mut |engine, text| {
                let at = next % STREAMS;
                next += 1;
                engine.send(posters[at], &speech::post(&names[at], &text))
            },
        )?;
        check(&measured)?;
        let posts = (engine.counts(authors).durable - durable_before).max(1) as f64;
        let gateway = cpu_gateway.take_ns() as f64 / posts / 1e3;
        nats.push(cpu_nats.take_ns() as f64 / posts / 1e3);
        let own = measured.cpu_ns / measured.posts.max(1) as f64 / 1e3;
        pop_us.push(own);
        gateway_us.push(gateway);
        ours.push(own + gateway);

        let frame =
            (measured.counts.comment_bytes / measured.counts.comment_frames.max(1)) as usize;
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(half_load(&mut side, &mut engine, frame, 1_000)?),
        };
        w.push(
            side.paced(&mut engine, Mode::Write, frame, pace, 0, context.during())?
                .us(),
        );

        let record = record_bytes(&mut bare_log, &Stack::comments_log())?;
        let count = u64::from(PER_S) * context.during().as_millis() as u64 / 1_000;
        let mut cpu = CpuMeter::start(&[nats_pid]);
        bare_log.publish_all(
            "bench.dev.a",
            &vec![b'r'; record],
            published,
            count,
            PER_S.into(),
        )?;
        published += count;
        bare_nats.push(cpu.take_ns() as f64 / count as f64 / 1e3);
    }
    let ratio = Spread::of_ratios(&ours, &w);
    let nats_ratio = Spread::of_ratios(&nats, &bare_nats);
    Ok(vec![
        Line {
            what: "a durable post: CPU of PoP + gateway".to_owned(),
            target: "≤ 6 W".to_owned(),
            measured: format!("{:.1} µs", Spread::of(&ours).median),
            beside: format!("W {:.2} µs", Spread::of(&w).median),
            ratio: Some(ratio),
            limit: Some(6.0),
            met: Met::when(ratio.median <= 6.0),
            notes: vec![format!(
                "PoP {:.1} µs, gateway {:.1} µs, at 1,000 posts/s on 100 streams; receipts and the delivery to the author included",
                Spread::of(&pop_us).median,
                Spread::of(&gateway_us).median
            )],
        },
        Line {
            what: "a durable post: NATS's own CPU".to_owned(),
            target: "≤ 1.3 × a bare publisher's".to_owned(),
            measured: format!("{:.1} µs", Spread::of(&nats).median),
            beside: format!("{:.1} µs", Spread::of(&bare_nats).median),
            ratio: Some(nats_ratio),
            limit: Some(1.3),
            met: Met::when(nats_ratio.median <= 1.3),
            notes: vec![
                "the bare publisher writes records of the same size at the same rate, pipelined, with message ids, \
                 into a log with the same settings, republish included; nobody reads that log, while Chorus's is \
                 followed by the gateway and consumed by persist"
                    .to_owned(),
            ],
        },
    ])
}

/// Makes a log with the settings of another.
fn make_log_like(nats: &mut Nats, log: &str) -> Result<()> {
    let info = nats.request(&format!("$JS.API.STREAM.INFO.{log}"), "")?;
    let mut config = info
        .get("config")
        .cloned()
        .with_context(|| format!("no log {log}: {info}"))?;
    if let Some(fields) = config.as_object_mut() {
        fields.insert("name".to_owned(), BARE_LOG.into());
        fields.insert("subjects".to_owned(), vec!["bench.>"].into());
        if let Some(republish) = fields.get_mut("republish").and_then(Value::as_object_mut) {
            republish.insert("dest".to_owned(), "benchlive.>".into());
        }
    }
    let made = nats.request(
        &format!("$JS.API.STREAM.CREATE.{BARE_LOG}"),
        &config.to_string(),
    )?;
    match made.get("error") {
        Some(error) => anyhow::bail!("a log like {log} is refused: {error}"),
        None => Ok(()),
    }
}

/// The mean size of a log's messages' bodies: what the server counts, less subject, header and its own 20 bytes or so.
fn record_bytes(nats: &mut Nats, log: &str) -> Result<usize> {
    let info = nats.request(&format!("$JS.API.STREAM.INFO.{log}"), "")?;
    let number = |name: &str| {
        info.get("state")
            .and_then(|state| state.get(name))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    let mean = number("bytes") / number("messages").max(1);
    Ok(mean.saturating_sub(100).max(64) as usize)
}
