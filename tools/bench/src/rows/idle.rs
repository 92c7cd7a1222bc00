//! Memory of connections that do nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Context, Line};
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};
use crate::sys;

const CONNECTIONS: usize = 15_000;
/// Measured once with 15,000 connections on another machine; the peers' rows say what theirs take at 1,000.
const BESIDE: &str =
    "nchan 10.7 KB, node 13.1, nats 35.6, Centrifugo 47 (from the issue, not of this run)";

/// (RSS at 15,000 − RSS at 0) / 15,000, plain and over TLS.
pub(super) fn memory(context: &mut Context) -> Result<Vec<Line>> {
    let plain = (false, 4.0, "memory of an idle connection in one stream");
    let tls = (
        true,
        10.0,
        "memory of an idle connection in one stream, TLS 1.3",
    );
    let lines = [plain, tls].map(|(tls, kib_max, what)| {
        context.progress(what);
        one(context, tls, kib_max, what)
            .unwrap_or_else(|error| Line::not_measured(what, format!("{error:#}")))
    });
    Ok(lines.into())
}

fn one(context: &mut Context, tls: bool, kib_max: f64, what: &str) -> Result<Line> {
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
    let streams = context.streams(1)?;
    engine.settle(Duration::from_millis(500))?;
    let before = sys::resident_bytes(&[pop.pid])?;
    let viewers = speech::viewers(&pop, &streams, Encoding::Json, false);
    engine.join(viewers, CONNECTIONS).context("connecting")?;
    // What the handshakes left behind is given back.
    engine.settle(Duration::from_millis(1_500))?;
    let grown = sys::resident_bytes(&[pop.pid])?.saturating_sub(before);
    let kib = grown as f64 / CONNECTIONS as f64 / 1024.0;
    let mut line = Line::fact(what, format!("{kib:.2} KiB"));
    line.figures = Some([kib, 0.0]);
    Ok(line
        .beside(BESIDE, None)
        .target(format!("≤ {kib_max} KiB"), kib <= kib_max)
        .note(format!(
            "(RSS at {CONNECTIONS} − RSS at 0) / {CONNECTIONS}; RSS at 0 was {:.1} MiB",
            before as f64 / 1_048_576.0
        )))
}
