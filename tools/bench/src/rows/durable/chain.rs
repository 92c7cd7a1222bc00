//! All that a post goes through, and the log beside it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::cast::{Authors, TEXT_BYTES, check};
use super::super::context::DURING;
use super::super::measure::{Measured, Round, TAIL};
use crate::load::Engine;
use crate::peers::Nats;
use crate::stack::{Pop, Stack};
use crate::sys::{Cpu, CpuMeter};

/// What a record has about, before there is one.
const RECORD_BYTES: usize = 250;
const BARE_LOG: &str = "BENCH";
const BARE_SUBJECT: &str = "bench.dev.a";

/// A PoP, its gateway and its log, and a bare publisher's log beside it on the same server.
pub(super) struct Chain {
    authors: Authors,
    /// Users of a stream.
    audience: usize,
    pop: Pop,
    gateway: u32,
    nats: u32,
    bare_log: Nats,
    /// The name of Chorus's log.
    log: String,
}

impl Chain {
    /// So many users, dealt out to these streams in turn.
    pub(super) fn start(
        engine: &mut Engine,
        stack: &Stack,
        mut pop: Pop,
        streams: Vec<String>,
        users: usize,
    ) -> Result<Self> {
        let mut bare_log = stack.nats()?;
        let log = log_of_chorus(&mut bare_log)?;
        make_log_like(&mut bare_log, &log)?;
        Ok(Self {
            audience: users / streams.len().max(1),
            authors: Authors::join(engine, &mut pop, streams, users)?,
            pop,
            gateway: stack.gateway(),
            nats: stack.nats,
            bare_log,
            log,
        })
    }

    /// A round of posts at a rate.
    pub(super) fn posts(&mut self, engine: &mut Engine, per_s: u64) -> Result<Posted> {
        self.posts_for(engine, per_s, DURING)
    }

    /// A round that lasts so long.
    pub(super) fn posts_for(
        &mut self,
        engine: &mut Engine,
        per_s: u64,
        during: Duration,
    ) -> Result<Posted> {
        let before = logged(&mut self.bare_log, &self.log)?;
        let round = Round {
            groups: &[self.authors.group],
            pids: &[self.pop.pid],
            others: &[self.gateway, self.nats],
            text_bytes: TEXT_BYTES,
            interval: Duration::from_secs(1) / u32::try_from(per_s)?,
            during,
            audience: self.audience,
        };
        let authors = &mut self.authors;
        let sent_before = authors.posts;
        let mut ours = round.run(engine, &mut |engine, text| authors.post(engine, text))?;
        check(&ours)?;
        let (durable, posts) = (ours.counts.durable, ours.posts);
        if durable < posts {
            bail!("{durable} of {posts} posts were durable 3 s after the last");
        }
        let logged = logged(&mut self.bare_log, &self.log)? - before;
        let of = |cpu: Cpu| Measured::of(cpu, posts);
        let (pop, gateway, nats) = (ours.cpu, ours.others[0], ours.others[1]);
        ours.deliveries = posts as f64;
        ours.cpu = pop + gateway;
        Ok(Posted {
            ours,
            pop: of(pop),
            gateway: of(gateway),
            nats: of(nats),
            records: logged as f64 / (authors.posts - sent_before).max(1) as f64,
        })
    }

    /// The log's CPU when a bare publisher writes at a rate. As a round of posts: some before
    /// it counts, then quiet.
    pub(super) fn bare_posts(&mut self, engine: &mut Engine, per_s: u64) -> Result<Measured> {
        let record = self.record()?;
        self.bare_log
            .publish_all(BARE_SUBJECT, &record, per_s * 3 / 10, per_s)?;
        engine.settle(TAIL)?;
        let mut cpu = CpuMeter::start(&[self.nats]);
        let count = (u128::from(per_s) * DURING.as_millis() / 1_000) as u64;
        self.bare_log
            .publish_all(BARE_SUBJECT, &record, count, per_s)?;
        engine.settle(TAIL)?;
        Ok(Measured::of(cpu.take(), count))
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
        let bytes = match logged(&mut self.bare_log, &self.log)? {
            0 => RECORD_BYTES,
            seq => record_bytes(&mut self.bare_log, &self.log, seq)?,
        };
        Ok(vec![b'r'; bytes])
    }
}

/// What a post cost, by who took it.
pub(super) struct Posted {
    /// PoP and gateway, and how the round was besides.
    pub(super) ours: Measured,
    pub(super) pop: Measured,
    pub(super) gateway: Measured,
    pub(super) nats: Measured,
    /// Records of Chorus a post.
    pub(super) records: f64,
}

impl Posted {
    /// PoP, gateway and NATS together.
    pub(super) fn all(mut self) -> Measured {
        self.ours.cpu = self.ours.cpu + self.nats.cpu;
        self.ours
    }
}

/// The log that holds what is posted; before there were events it held comments alone.
fn log_of_chorus(nats: &mut Nats) -> Result<String> {
    let names = nats.request("$JS.API.STREAM.NAMES", "")?["streams"].take();
    let mut names = names.as_array().into_iter().flatten();
    let log = names.find_map(|name| {
        let name = name.as_str()?;
        (name.starts_with("EVENTS_") || name.starts_with("COMMENTS_")).then(|| name.to_owned())
    });
    log.context("the server has no log of events")
}

/// Makes a log with the settings of another.
fn make_log_like(nats: &mut Nats, log: &str) -> Result<()> {
    let mut config = nats.request(&format!("$JS.API.STREAM.INFO.{log}"), "")?["config"].take();
    config["name"] = BARE_LOG.into();
    config["subjects"] = vec!["bench.>"].into();
    if config["republish"].is_object() {
        config["republish"]["dest"] = "benchlive.>".into();
    }
    let create = format!("$JS.API.STREAM.CREATE.{BARE_LOG}");
    nats.request(&create, &config.to_string()).map(drop)
}

/// How many messages a log has ever had.
fn logged(nats: &mut Nats, log: &str) -> Result<u64> {
    let info = nats.request(&format!("$JS.API.STREAM.INFO.{log}"), "")?;
    let last = info["state"]["last_seq"].as_u64();
    last.with_context(|| format!("no state of {log}: {info}"))
}

/// The size of one of a log's messages, without its header.
fn record_bytes(nats: &mut Nats, log: &str, seq: u64) -> Result<usize> {
    let ask = serde_json::json!({ "seq": seq }).to_string();
    let answer = nats.request(&format!("$JS.API.STREAM.MSG.GET.{log}"), &ask)?;
    let data = answer["message"]["data"].as_str();
    let data = data.with_context(|| format!("no message {seq} of {log}: {answer}"))?;
    Ok(STANDARD.decode(data)?.len())
}
