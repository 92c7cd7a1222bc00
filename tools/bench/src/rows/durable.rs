//! What a durable post costs: the PoP and the gateway, and NATS beside a bare publisher with the same settings.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::calibrate::half_load;
use super::cast::{TEXT_BYTES, check};
use super::measure::{BareSide, Measured, Round};
use super::{Context, Line};
use crate::bare::Mode;
use crate::peers::Nats;
use crate::stack::speech;
use crate::stack::{Stack, Wish};
use crate::stats::Spread;
use crate::sys::CpuMeter;

const STREAMS: usize = 100;
const PER_S: u32 = 1_000;
const BARE_LOG: &str = "BENCH";
const BARE_SUBJECT: &str = "bench.dev.a";

/// 1,000 posts a second, each on a stream with one viewer: its author.
pub(super) fn post(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
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
    let mut us: [Vec<f64>; 5] = Default::default();
    let [pops, gateways, nats, w, bare_nats] = &mut us;
    let (mut pace, mut next, mut records) = (None, 0, 0.0);
    let mut last = Measured::default();
    let mut round = 0;
    while context.another("durable posts", round) {
        round += 1;
        let during = context.during();
        let before = logged(&mut bare_log, &Stack::comments_log())?;
        let posts = Round {
            groups: &[authors],
            pids: &[pop.pid],
            others: &[gateway_pid, nats_pid],
            text_bytes: TEXT_BYTES,
            interval,
            during,
            audience: 1,
        };
        let sent_before = next;
        last = posts.run(&mut engine, &mut |engine, text| {
            let at = next % STREAMS;
            next += 1;
            engine.send(posters[at], &speech::post(&names[at], &text))
        })?;
        check(&last)?;
        if last.counts.durable < last.posts {
            bail!(
                "{} of {} posts were durable 3 s after the last",
                last.counts.durable,
                last.posts
            );
        }
        let count = last.posts.max(1) as f64 * 1e3;
        pops.push(last.cpu_ns / count);
        gateways.push(last.others_ns.first().copied().unwrap_or_default() / count);
        nats.push(last.others_ns.get(1).copied().unwrap_or_default() / count);
        let after = logged(&mut bare_log, &Stack::comments_log())?;
        records = (after - before) as f64 / (next - sent_before).max(1) as f64;

        let frame = (last.counts.comment_bytes / last.counts.comment_frames.max(1)) as usize;
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(half_load(&mut side, &mut engine, frame, 1_000)?),
        };
        let paced = side.paced(&mut engine, Mode::Write, frame, pace, 0, during)?;
        w.push(paced.us());

        let record = vec![b'r'; last_record_bytes(&mut bare_log, &Stack::comments_log())?];
        let mut publish = |for_ms: u128| -> Result<u64> {
            let count = (u128::from(PER_S) * for_ms / 1_000) as u64;
            bare_log.publish_all(BARE_SUBJECT, &record, count, PER_S.into())?;
            Ok(count)
        };
        // As a round of posts: some before it counts, then quiet.
        publish(300)?;
        engine.settle(Duration::from_millis(250))?;
        let mut cpu = CpuMeter::start(&[nats_pid]);
        let count = publish(during.as_millis())?;
        engine.settle(Duration::from_millis(250))?;
        bare_nats.push(cpu.take().ran_ns as f64 / count as f64 / 1e3);
    }
    let [pops, gateways, nats, w, bare_nats] = &us;
    let ours: Vec<f64> = pops.iter().zip(gateways).map(|(a, b)| a + b).collect();
    let median = |values: &[f64]| format!("{:.1} µs", Spread::of(values).median);
    Ok(vec![
        Line::ratio(
            (
                "a durable post, PoP + gateway",
                "a durable post: CPU of PoP + gateway",
            ),
            "≤ 6 W",
            (
                median(&ours),
                format!("W {:.2} µs", Spread::of(w).median),
            ),
            Spread::of_ratios(&ours, w),
            6.0,
        )
        .note(format!(
            "PoP {}, gateway {}, at 1,000 posts/s on 100 streams; receipts and the delivery to the author included",
            median(pops),
            median(gateways)
        ))
        .note(last.pressure.words("in the PoP's last round")),
        Line::ratio(
            (
                "a durable post, NATS",
                "a durable post: NATS's own CPU",
            ),
            "≤ 1.3 × a bare publisher's",
            (median(nats), median(bare_nats)),
            Spread::of_ratios(nats, bare_nats),
            1.3,
        )
        .note(format!(
            "the bare publisher writes records of the same size at the same rate, pipelined, with message ids, \
             into a log with the same settings, republish included; nobody reads that log, while Chorus's is \
             followed by the gateway and consumed by persist; {records:.2} records of Chorus a post"
        )),
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
        Some(error) => bail!("a log like {log} is refused: {error}"),
        None => Ok(()),
    }
}

/// How many messages a log has ever had.
fn logged(nats: &mut Nats, log: &str) -> Result<u64> {
    let info = nats.request(&format!("$JS.API.STREAM.INFO.{log}"), "")?;
    (info.get("state"))
        .and_then(|state| state.get("last_seq"))
        .and_then(Value::as_u64)
        .with_context(|| format!("no state of {log}: {info}"))
}

/// The size of a log's last message, without its header.
fn last_record_bytes(nats: &mut Nats, log: &str) -> Result<usize> {
    let seq = logged(nats, log)?;
    let ask = serde_json::json!({ "seq": seq }).to_string();
    let answer = nats.request(&format!("$JS.API.STREAM.MSG.GET.{log}"), &ask)?;
    let data = (answer.get("message"))
        .and_then(|message| message.get("data"))
        .and_then(Value::as_str)
        .with_context(|| format!("no message {seq} of {log}: {answer}"))?;
    Ok(STANDARD.decode(data)?.len())
}
