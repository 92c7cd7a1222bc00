//! What a new connection costs.

use std::time::Duration;

use anyhow::Result;

use super::cast::{AUTHORS, Cast};
use super::measure::BareSide;
use super::{Context, Line};
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
    let mut engine = context.engine()?;
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
    let mut round = 0;
    let rounds = if context.is_quick() {
        1
    } else {
        context.rounds()
    };
    while context.another_of("new connections", round, rounds) {
        round += 1;
        ours.push(one(&mut engine, plain, pop.pid, context.during())?);
        theirs.push(one(&mut engine, bare, side.bare.pid(), context.during())?);
        for (_, group, values) in &mut signed {
            values.push(one(&mut engine, *group, pop.pid, context.during())?);
        }
    }
    let us = |values: &[f64]| format!("{:.0} µs", Spread::of(values).median);
    let mut lines = vec![
        Line::ratio(
            (
                "a new connection",
                "a new anonymous connection: accept, upgrade, join with the 50 newest, close",
            ),
            "≤ 2 × the bare loop's accept and upgrade",
            (us(&ours), us(&theirs)),
            Spread::of_ratios(&ours, &theirs),
            2.0,
        )
        .note(format!(
            "{PER_S} connections/s; the close counts on both sides"
        )),
    ];
    for (algorithm, _, values) in &signed {
        let extra: Vec<f64> = values
            .iter()
            .zip(&ours)
            .map(|(signed, plain)| signed - plain)
            .collect();
        let mut line = Line::fact(
            format!("the token of a new connection, {algorithm}"),
            format!("{} more", us(&extra)),
        );
        line.beside = "the anonymous connection".to_owned();
        lines.push(line);
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
    let cpu_ns = cpu.take().ran_ns;
    let ready = engine.counts(group).ready - before;
    Ok(cpu_ns as f64 / ready.max(1) as f64 / 1e3)
}
