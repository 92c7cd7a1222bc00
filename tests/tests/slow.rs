//! A viewer who does not read is sent away; nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chorus_client::Options;
use chorus_tests::dev::{Dev, Part};
use chorus_tests::flood::{Content, Flood};
use chorus_tests::raw::{Raw, opcode};
use chorus_tests::{SOON, eventually};

const JOIN: &[u8] = br#"{"type":"join_stream","payload":{"stream_id":"demo"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_are_sent_away_and_the_others_miss_nothing() -> Result<()> {
    let dev = Dev::start(&[])?;
    let demo = dev.demo()?;
    let mut healthy = Vec::new();
    for _ in 0..10 {
        healthy.push(dev.viewer(&demo, &Options::default()).await?);
    }
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::open(dev.listen(), "chorus.v1.json", "").await?;
        raw.frame(opcode::TEXT, JOIN).await?;
        slow.push(raw);
    }
    let memory_before = resident_kib(dev.pid(Part::Edge)?)?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut watching = Vec::new();
    for mut viewer in healthy {
        let mut stopped = stopped.clone();
        watching.push(tokio::spawn(async move {
            while !*stopped.borrow_and_update() {
                viewer.watch_for(Duration::from_millis(100)).await;
            }
            viewer
        }));
    }
    // Two kilobytes a comment: a thousand a second of them would be too slow for nobody who reads.
    let wide: Content = Arc::new(|number| format!("{number} {}", "😀".repeat(480)));
    let flood = Flood::start(&dev, &demo, 300, wide).await?;
    eventually("the slow are gone", SOON * 5, || async {
        let gone = dev
            .metric(Part::Edge, "chorus_edge_closed_total{code=\"4408\"}")
            .await
            .ok()??;
        (gone >= 10.0).then_some(())
    })
    .await
    .with_context(|| format!("{} comments were durable", flood.durable()))?;
    let memory_after = resident_kib(dev.pid(Part::Edge)?)?;
    let outcomes = flood.finish().await?;
    println!(
        "gone after {} comments of 2 KB; the PoP grew from {memory_before} to {memory_after} KiB",
        outcomes.durable.len()
    );
    assert!(
        memory_after < memory_before + 200 * 1024,
        "the slow cost memory"
    );
    assert_eq!(outcomes.ended, Vec::<String>::new());
    stop.send_replace(true);
    for viewer in watching {
        let mut viewer = viewer.await?;
        let ids: Vec<_> = outcomes.durable.keys().copied().collect();
        viewer
            .wait("every comment", SOON, |viewer| {
                viewer.seen.missing(&ids).is_empty()
            })
            .await?;
        assert_eq!(viewer.closed, None);
        assert_eq!(viewer.seen.repeats, 0);
    }
    for mut raw in slow {
        // 4408 where the socket took it, else an end without a frame.
        let code = raw.close_code(SOON).await?;
        assert!(matches!(code, Some(4408) | None), "{code:?}");
    }
    Ok(())
}

/// The resident memory of a process.
fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .context("no number")?
        .parse()?)
}
