//! What a durable post costs: the PoP and the gateway, and NATS beside a bare publisher with the same settings.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::calibrate::half_load;
use super::cast::{TEXT_BYTES, check};
use super::measure::{BareSide, Measured, Round};
use super::{Context, Line};
use crate::bare::Mode;
use crate::load::{ConnId, Engine, GroupId};
use crate::peers::Nats;
use crate::stack::speech;
use crate::stack::{Stack, Wish};
use crate::stats::Spread;
use crate::sys::CpuMeter;

const STREAMS: usize = 100;
/// The rate of a PoP that has little to do.
const LITTLE_PER_S: u64 = 1_000;
/// Messages with which the rate is found that a bare publisher reaches at most.
const FLAT_OUT: u64 = 20_000;
/// Bounds of half that rate: beyond, the load's core, which the log and the gateway share, is what is measured.
const HALF_PER_S: std::ops::RangeInclusive<u64> = 2_000..=8_000;
/// What a record has about, before there is one.
const RECORD_BYTES: usize = 250;
const BARE_LOG: &str = "BENCH";
const BARE_SUBJECT: &str = "bench.dev.a";

/// Posts a second at two rates, each on a stream with one viewer: its author.
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
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let mut bare_log = context.stack()?.nats()?;
    make_log_like(&mut bare_log, &Stack::comments_log())?;
    let mut chain = Chain {
        authors,
        posters: engine.groups[authors].members.clone(),
        names,
        next: 0,
        pop: pop.pid,
        gateway: context.stack()?.gateway(),
        nats: context.stack()?.nats,
        bare_log,
        during: context.during(),
    };
    let most = chain.bare_most()?;
    let half = (most / 2).clamp(*HALF_PER_S.start(), *HALF_PER_S.end());
    let (mut little, mut much) = (Rounds::default(), Rounds::default());
    let (mut w, mut pace) = (Vec::new(), None);
    let mut round = 0;
    while context.another("durable posts", round) {
        round += 1;
        for (rounds, per_s) in [(&mut little, LITTLE_PER_S), (&mut much, half)] {
            chain.posts(&mut engine, per_s, rounds)?;
            let ran_us = chain.bare_posts(&mut engine, per_s)?;
            rounds.bare_nats.push(ran_us);
        }
        let frame =
            (much.last.counts.comment_bytes / much.last.counts.comment_frames.max(1)) as usize;
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(half_load(&mut side, &mut engine, frame, 1_000)?),
        };
        let paced = side.paced(&mut engine, Mode::Write, frame, pace, 0, chain.during)?;
        w.push(paced.us());
    }
    let rate = format!(
        "half of the {most} posts/s that a bare publisher gets into the log when it does nothing else, at most {}",
        HALF_PER_S.end()
    );
    let mut lines = much.lines(
        [
            ("a durable post, PoP + gateway", "a durable post, NATS"),
            (
                "a durable post: CPU of PoP + gateway",
                "a durable post: NATS's own CPU",
            ),
        ],
        half,
        &w,
    );
    lines[0].notes.push(rate);
    lines.extend(little.lines(
        [
            ("a durable post, 1,000/s", "a durable post, NATS, 1,000/s"),
            (
                "a durable post at 1,000/s: CPU of PoP + gateway",
                "a durable post at 1,000/s: NATS's own CPU",
            ),
        ],
        LITTLE_PER_S,
        &w,
    ));
    Ok(lines)
}

/// What a rate showed, round by round, in microseconds a post.
#[derive(Default)]
struct Rounds {
    pops: Vec<f64>,
    gateways: Vec<f64>,
    nats: Vec<f64>,
    bare_nats: Vec<f64>,
    records: f64,
    last: Measured,
}

impl Rounds {
    fn lines(self, names: [(&'static str, &'static str); 2], per_s: u64, w: &[f64]) -> Vec<Line> {
        let [(short, short_nats), (what, what_nats)] = names;
        let ours: Vec<f64> = self
            .pops
            .iter()
            .zip(&self.gateways)
            .map(|(a, b)| a + b)
            .collect();
        let median = |values: &[f64]| format!("{:.1} µs", Spread::of(values).median);
        vec![
            Line::ratio(
                (short, what),
                "≤ 6 W",
                (median(&ours), format!("W {:.2} µs", Spread::of(w).median)),
                Spread::of_ratios(&ours, w),
                6.0,
            )
            .note(format!(
                "PoP {}, gateway {}, at {per_s} posts/s on {STREAMS} streams; receipts and the delivery to the author \
                 included",
                median(&self.pops),
                median(&self.gateways)
            ))
            .note(self.last.pressure.words("in the PoP's last round")),
            Line::ratio(
                (short_nats, what_nats),
                "≤ 1.3 × a bare publisher's",
                (median(&self.nats), median(&self.bare_nats)),
                Spread::of_ratios(&self.nats, &self.bare_nats),
                1.3,
            )
            .note(format!(
                "the bare publisher writes records of the same size at the same rate, pipelined, with message ids, into \
                 a log with the same settings, republish included; nobody reads that log, while Chorus's is followed by \
                 the gateway and consumed by persist; {:.2} records of Chorus a post",
                self.records
            )),
        ]
    }
}

/// All that a post goes through, and the log beside it.
struct Chain {
    authors: GroupId,
    posters: Vec<ConnId>,
    names: Vec<String>,
    next: usize,
    pop: u32,
    gateway: u32,
    nats: u32,
    bare_log: Nats,
    during: Duration,
}

impl Chain {
    /// A round of posts at a rate.
    fn posts(&mut self, engine: &mut Engine, per_s: u64, rounds: &mut Rounds) -> Result<()> {
        let before = logged(&mut self.bare_log, &Stack::comments_log())?;
        let posts = Round {
            groups: &[self.authors],
            pids: &[self.pop],
            others: &[self.gateway, self.nats],
            text_bytes: TEXT_BYTES,
            interval: Duration::from_secs(1) / u32::try_from(per_s)?,
            during: self.during,
            audience: 1,
        };
        let (names, posters) = (&self.names, &self.posters);
        let next = &mut self.next;
        let sent_before = *next;
        let last = posts.run(engine, &mut |engine, text| {
            let at = *next % STREAMS;
            *next += 1;
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
        rounds.pops.push(last.cpu_ns / count);
        let others = |at: usize| last.others_ns.get(at).copied().unwrap_or_default() / count;
        rounds.gateways.push(others(0));
        rounds.nats.push(others(1));
        let after = logged(&mut self.bare_log, &Stack::comments_log())?;
        rounds.records = (after - before) as f64 / (self.next - sent_before).max(1) as f64;
        rounds.last = last;
        Ok(())
    }

    /// The log's CPU a post, in microseconds, when a bare publisher writes at a rate. As a round of posts: some before
    /// it counts, then quiet.
    fn bare_posts(&mut self, engine: &mut Engine, per_s: u64) -> Result<f64> {
        let record = self.record()?;
        let quiet = Duration::from_millis(250);
        self.bare_log
            .publish_all(BARE_SUBJECT, &record, per_s * 3 / 10, per_s)?;
        engine.settle(quiet)?;
        let mut cpu = CpuMeter::start(&[self.nats]);
        let count = (u128::from(per_s) * self.during.as_millis() / 1_000) as u64;
        self.bare_log
            .publish_all(BARE_SUBJECT, &record, count, per_s)?;
        engine.settle(quiet)?;
        Ok(cpu.take().ran_ns as f64 / count as f64 / 1e3)
    }

    /// Messages a second that a bare publisher gets into the log at most.
    fn bare_most(&mut self) -> Result<u64> {
        let record = self.record()?;
        let start = Instant::now();
        self.bare_log
            .publish_all(BARE_SUBJECT, &record, FLAT_OUT, FLAT_OUT * 1_000)?;
        Ok((FLAT_OUT as f64 / start.elapsed().as_secs_f64()) as u64)
    }

    /// Bytes as long as a record of Chorus.
    fn record(&mut self) -> Result<Vec<u8>> {
        let log = Stack::comments_log();
        if logged(&mut self.bare_log, &log)? == 0 {
            return Ok(vec![b'r'; RECORD_BYTES]);
        }
        Ok(vec![b'r'; last_record_bytes(&mut self.bare_log, &log)?])
    }
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
