//! What a new connection costs.

use std::time::Duration;

use anyhow::Result;

use super::cast::{AUTHORS, Cast};
use super::measure::BareSide;
use super::{Context, Line, Met};
use crate::load::dialect::Dialect;
use crate::load::{Engine, GroupId};
use crate::stack::Wish;
use crate::stack::jwt::Signer;
use crate::stack::speech::{self, Encoding};
use crate::stats::Spread;
use crate::sys::CpuMeter;

/// New connections a second.
const PER_S: u32 = 400;

/// Accept, upgrade and join with the 50 newest, beside the bare loop's accept and upgrade; then the same with a token.
pub(super) fn anonymous(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let (signers, unsigned): (Vec<_>, Vec<_>) = Signer::all().into_iter().partition(Result::is_ok);
    let signers: Vec<Signer> = signers.into_iter().flatten().collect();
    let keys: Vec<_> = signers.iter().map(|signer| signer.key.clone()).collect();
    let mut pop = match context.options.url {
        Some(_) => context.pop(Wish::default())?,
        None => context.stack()?.pop_with_keys(Wish::default(), &keys)?,
    };
    let stream = context.streams(1)?.remove(0);
    // The 50 newest have to exist; one viewer stays so that the PoP holds the stream throughout.
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, 2)?;
    cast.round(
        &mut engine,
        Duration::from_millis(10),
        Duration::from_millis(600),
    )?;
    let side = BareSide::start(&mut engine, 1)?;
    let bare = engine.group(Dialect::websocket(side.bare.addr(), "/", &[]));
    let of = |name: &str| {
        let name = name.to_owned();
        Box::new(move |_: usize| name.clone())
    };
    let plain = engine.group(speech::viewers(&pop, of(&stream), Encoding::Json, false));
    let mut algorithms = vec![("HS256", pop.tokens(AUTHORS)?)];
    if context.options.url.is_none() {
        for signer in &signers {
            let users = (0..AUTHORS).map(|user| signer.token(&format!("user{user}")));
            algorithms.push((signer.algorithm, users.collect::<Result<Vec<_>>>()?));
        }
    }
    let mut signed: Vec<(&str, GroupId, Vec<f64>)> = Vec::new();
    for (algorithm, tokens) in algorithms {
        let group = engine.group(speech::authors(&pop, tokens, of(&stream)));
        signed.push((algorithm, group, Vec::new()));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..context.rounds() {
        context.progress(&format!("new connections: round {}", round + 1));
        ours.push(one(&mut engine, plain, pop.pid, context.during())?);
        theirs.push(one(&mut engine, bare, side.bare.pid(), context.during())?);
        for (_, group, values) in &mut signed {
            values.push(one(&mut engine, *group, pop.pid, context.during())?);
        }
    }
    let ratio = Spread::of_ratios(&ours, &theirs);
    let mut lines = vec![Line {
        what: "a new anonymous connection: accept, upgrade, join with the 50 newest, close"
            .to_owned(),
        target: "≤ 2 × the bare loop's accept and upgrade".to_owned(),
        measured: format!("{:.0} µs", Spread::of(&ours).median),
        beside: format!("{:.0} µs", Spread::of(&theirs).median),
        ratio: Some(ratio),
        limit: Some(2.0),
        met: Met::when(ratio.median <= 2.0),
        notes: vec![format!(
            "{PER_S} connections/s; the close counts on both sides"
        )],
    }];
    for (algorithm, _, values) in &signed {
        let extra: Vec<f64> = values
            .iter()
            .zip(&ours)
            .map(|(signed, plain)| signed - plain)
            .collect();
        lines.push(Line {
            what: format!("the token of a new connection, {algorithm}"),
            target: "—".to_owned(),
            measured: format!("{:.0} µs more", Spread::of(&extra).median),
            beside: "the anonymous connection".to_owned(),
            ratio: None,
            limit: None,
            met: Met::Fact,
            notes: Vec::new(),
        });
    }
    for error in unsigned.into_iter().filter_map(Result::err) {
        lines.push(Line::not_measured(
            "the token of a new connection, RS256",
            &format!("{error:#}"),
        ));
    }
    Ok(lines)
}

/// CPU of a process for a connection that opens and ends, in microseconds.
fn one(engine: &mut Engine, group: GroupId, pid: u32, during: Duration) -> Result<f64> {
    engine.groups[group].close_when_ready = true;
    let interval = Some(Duration::from_secs(1) / PER_S);
    let mut open = |engine: &mut Engine| engine.open_one(group).map(drop);
    engine.run(Duration::from_millis(300), interval, &mut open)?;
    engine.settle(Duration::from_millis(200))?;
    let before = engine.counts(group).ready;
    let mut cpu = CpuMeter::start(&[pid]);
    engine.run(during, interval, &mut open)?;
    engine.settle(Duration::from_millis(300))?;
    let cpu_ns = cpu.take_ns();
    let ready = engine.counts(group).ready - before;
    Ok(cpu_ns as f64 / ready.max(1) as f64 / 1e3)
}
