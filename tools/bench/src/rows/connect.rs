//! What a new connection costs.

use std::time::Duration;

use anyhow::Result;

use super::cast::{AUTHORS, Cast};
use super::measure::{BareSide, Measured, Series, WARM_UP};
use super::{Context, Line};
use crate::load::dialect::Dialect;
use crate::load::{Engine, GroupId};
use crate::stack::speech::{self, Encoding};
use crate::stack::{Wish, jwt};
use crate::stats::Spread;
use crate::sys::CpuMeter;

/// New connections a second.
const PER_S: u32 = 400;

/// Accept, upgrade and join with the 50 newest, beside the bare loop's accept and upgrade; then the same with a token.
pub(super) fn anonymous(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let signed = match context.options.url {
        Some(_) => Vec::new(),
        None => jwt::all(AUTHORS)?,
    };
    let keys = signed.iter().map(|signed| signed.key.clone());
    let mut pop = context.pop_with_keys(Wish::default(), keys.collect())?;
    let streams = context.streams(1)?;
    // The 50 newest have to exist; one viewer stays so that the PoP holds the stream throughout.
    let mut cast = Cast::join(&mut engine, &mut pop, &streams[0], 2, false)?;
    let (interval, during) = (Duration::from_millis(10), Duration::from_millis(600));
    cast.round(&mut engine, interval, during)?;
    let side = BareSide::start(&mut engine, 1)?;
    let bare = engine.group(Dialect::websocket(side.bare.addr, "/", &[]));
    let plain = engine.group(speech::viewers(&pop, &streams, Encoding::Json, false));
    let mut tokens = vec![("HS256".to_owned(), pop.tokens(AUTHORS)?)];
    tokens.extend(
        signed
            .into_iter()
            .map(|signed| (signed.algorithm, signed.tokens)),
    );
    let mut signed: Vec<(String, GroupId, Series)> = Vec::new();
    for (algorithm, tokens) in tokens {
        let group = engine.group(speech::authors(&pop, &tokens, &streams));
        signed.push((algorithm, group, Series::default()));
    }
    let rounds = context.rounds();
    let [ours, theirs] = context.interleave("new connections", rounds, |during| {
        let ours = one(&mut engine, plain, pop.pid, during)?;
        let theirs = one(&mut engine, bare, side.bare.pid(), during)?;
        for (_, group, series) in &mut signed {
            let round = one(&mut engine, *group, pop.pid, during)?;
            series.0.push(round);
        }
        Ok([ours, theirs])
    })?;
    let anonymous = Line::cpu(
        "a new anonymous connection: accept, upgrade, join with the 50 newest, close",
        &ours,
        0,
    )
    .over(&ours, "", &theirs, 0)
    .limit("≤ 1.5 × the bare loop's accept and upgrade", 1.5)
    .note(format!(
        "{PER_S} connections/s; the close counts on both sides"
    ));
    let tokens = signed.iter().map(|(algorithm, _, series)| {
        let more = series.us().into_iter().zip(ours.us());
        let more: Vec<f64> = more.map(|(signed, plain)| signed - plain).collect();
        let mut line = Line::fact(
            format!("the token of a new connection, {algorithm}"),
            format!("{:.0} µs more", Spread::of(&more).median),
        );
        line.user = format!("{:.0} µs more", series.user_us() - ours.user_us());
        // Of the whole connection: a difference of two figures is too small for a ratio.
        line.figures = Some(series.figures());
        line.beside("the anonymous connection", None)
    });
    Ok([anonymous].into_iter().chain(tokens).collect())
}

/// CPU of a process for connections that open and end.
fn one(engine: &mut Engine, group: GroupId, pid: u32, during: Duration) -> Result<Measured> {
    engine.groups[group].close_when_ready = true;
    let interval = Some(Duration::from_secs(1) / PER_S);
    let mut open = |engine: &mut Engine| engine.open_one(group).map(drop);
    engine.run(WARM_UP, interval, &mut open)?;
    engine.settle(Duration::from_millis(200))?;
    let before = engine.groups[group].counts.ready;
    let mut cpu = CpuMeter::start(&[pid]);
    engine.run(during, interval, &mut open)?;
    engine.settle(Duration::from_millis(300))?;
    let cpu = cpu.take();
    Ok(Measured::of(
        cpu,
        engine.groups[group].counts.ready - before,
    ))
}
