//! Memory of connections that do nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Context, Line, Met};
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};
use crate::sys;

const CONNECTIONS: usize = 15_000;
/// Measured once with 15,000 connections on another machine; the peers' rows say what theirs take at 1,000.
const BESIDE: &str =
    "nchan 10.7 KB, node 13.1, nats 35.6, Centrifugo 47 (from the issue, not of this run)";

/// (RSS at 15,000 − RSS at 0) / 15,000, plain and over TLS.
pub(super) fn memory(context: &mut Context) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (tls, target_kib) in [(false, 4.0), (true, 10.0)] {
        let what = format!(
            "memory of an idle connection in one stream{}",
            if tls { ", TLS 1.3" } else { "" }
        );
        context.progress(&what);
        match one(context, tls) {
            Ok((kib, count, before)) => {
                let mut line = Line::fact(what, format!("{kib:.2} KiB"));
                line.target = format!("≤ {target_kib} KiB");
                line.beside = BESIDE.to_owned();
                line.met = Met::when(kib <= target_kib);
                lines.push(line.note(format!(
                    "(RSS at {count} − RSS at 0) / {count}; RSS at 0 was {:.1} MiB",
                    before as f64 / 1_048_576.0
                )));
            }
            Err(error) => lines.push(Line::not_measured(&what, &format!("{error:#}"))),
        }
    }
    Ok(lines)
}

/// KiB a connection, how many there were, and the bytes without any.
fn one(context: &mut Context, tls: bool) -> Result<(f64, usize, u64)> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish {
        unbatched: false,
        tls,
    })?;
    if pop.tls.is_some() != tls {
        bail!("the PoP of --url speaks TLS");
    }
    if context.options.url.is_none() {
        // A PoP that has just compiled its session logic has room left in its heap, and connections would seem to
        // cost nothing until it is full.
        pop.restart()?;
    }
    let stream = context.streams(1)?.remove(0);
    let count = if context.is_quick() {
        CONNECTIONS / 5
    } else {
        CONNECTIONS
    };
    engine.settle(Duration::from_millis(500))?;
    let before = sys::resident_bytes(&[pop.pid])?;
    let viewers = engine.group(speech::viewers(
        &pop,
        Box::new(move |_| stream.clone()),
        Encoding::Json,
        false,
    ));
    engine.connect(viewers, count).context("connecting")?;
    // What the handshakes left behind is given back.
    engine.settle(Duration::from_millis(1_500))?;
    let after = sys::resident_bytes(&[pop.pid])?;
    Ok((
        after.saturating_sub(before) as f64 / count as f64 / 1024.0,
        count,
        before,
    ))
}
