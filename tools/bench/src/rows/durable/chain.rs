//! All that a post goes through, and the log beside it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::cast::{Authors, TEXT_BYTES, check};
use super::super::measure::Round;
use super::Rounds;
use crate::load::Engine;
use crate::peers::Nats;
use crate::stack::{Pop, Stack};
use crate::sys::CpuMeter;

/// What a record has about, before there is one.
const RECORD_BYTES: usize = 250;
const BARE_LOG: &str = "BENCH";
const BARE_SUBJECT: &str = "bench.dev.a";

/// A PoP, its gateway and its log, and a bare publisher's log beside it on the same server.
pub(super) struct Chain {
    authors: Authors,
    pop: Pop,
    gateway: u32,
    nats: u32,
    bare_log: Nats,
    during: Duration,
}

impl Chain {
    /// A user on each of these streams.
    pub(super) fn start(
        engine: &mut Engine,
        stack: &Stack,
        mut pop: Pop,
        streams: Vec<String>,
        during: Duration,
    ) -> Result<Self> {
        let mut bare_log = stack.nats()?;
        make_log_like(&mut bare_log, &Stack::events_log())?;
        Ok(Self {
            authors: Authors::join(engine, &mut pop, streams)?,
            pop,
            gateway: stack.gateway(),
            nats: stack.nats,
            bare_log,
            during,
        })
    }

    /// A round of posts at a rate.
    pub(super) fn posts(
        &mut self,
        engine: &mut Engine,
        per_s: u64,
        rounds: &mut Rounds,
    ) -> Result<()> {
        let before = logged(&mut self.bare_log, &Stack::events_log())?;
        let posts = Round {
            groups: &[self.authors.group],
            pids: &[self.pop.pid],
            others: &[self.gateway, self.nats],
            text_bytes: TEXT_BYTES,
            interval: Duration::from_secs(1) / u32::try_from(per_s)?,
            during: self.during,
            audience: 1,
        };
        let sent_before = self.authors.posts;
        let authors = &mut self.authors;
        let last = posts.run(engine, &mut |engine, text| authors.post(engine, &text))?;
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
        let after = logged(&mut self.bare_log, &Stack::events_log())?;
        rounds.records = (after - before) as f64 / (self.authors.posts - sent_before).max(1) as f64;
        for (values, q) in [(&mut rounds.p50_ms, 0.5), (&mut rounds.p99_ms, 0.99)] {
            values.push(last.each.quantile(q) as f64 / 1e6);
        }
        rounds.last = last;
        Ok(())
    }

    /// The log's CPU a post, in microseconds, when a bare publisher writes at a rate. As a round of posts: some before
    /// it counts, then quiet.
    pub(super) fn bare_posts(&mut self, engine: &mut Engine, per_s: u64) -> Result<f64> {
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

    /// Messages a second that a bare publisher gets into the log at most, found with so many.
    pub(super) fn bare_most(&mut self, count: u64) -> Result<u64> {
        let record = self.record()?;
        let start = Instant::now();
        self.bare_log
            .publish_all(BARE_SUBJECT, &record, count, count * 1_000)?;
        Ok((count as f64 / start.elapsed().as_secs_f64()) as u64)
    }

    /// Bytes as long as a record of Chorus.
    fn record(&mut self) -> Result<Vec<u8>> {
        let log = Stack::events_log();
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
