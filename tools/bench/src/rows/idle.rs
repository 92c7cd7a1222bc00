//! Memory of connections that do nothing.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Context, Line, Met};
use crate::load::Engine;
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};
use crate::sys;

const CONNECTIONS: usize = 15_000;

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
            Ok((kib, count)) => lines.push(Line {
                what,
                target: format!("≤ {target_kib} KiB"),
                measured: format!("{kib:.2} KiB"),
                beside: "nchan 10.7 KB, node 13.1, nats 35.6, Centrifugo 47".to_owned(),
                ratio: None,
                limit: None,
                met: Met::when(kib <= target_kib),
                notes: vec![format!("(RSS at {count} − RSS at 0) / {count}")],
            }),
            Err(error) => lines.push(Line::not_measured(&what, &format!("{error:#}"))),
        }
    }
    Ok(lines)
}

fn one(context: &mut Context, tls: bool) -> Result<(f64, usize)> {
    let mut engine = Engine::new()?;
    let pop = context.pop(Wish {
        unbatched: false,
        tls,
    })?;
    let stream = context.streams(1)?.remove(0);
    let count = if context.is_quick() {
        CONNECTIONS / 3
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
    engine.settle(Duration::from_secs(3))?;
    let after = sys::resident_bytes(&[pop.pid])?;
    Ok((
        after.saturating_sub(before) as f64 / count as f64 / 1024.0,
        count,
    ))
}
