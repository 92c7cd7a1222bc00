//! A disk that fills up under a running Chorus, and has room again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chorus_client::protocol::ReceiptStatus;
use chorus_client::{Options, Rest};
use chorus_tests::dev::{Dev, Part};
use chorus_tests::disk::Disk;
use chorus_tests::{SOON, eventually, history};

/// The compiled component takes 6 MiB of it.
const DISK_MIB: u32 = 24;

/// How the origin says that it is.
async fn readiness(dev: &Dev) -> Option<(u16, String)> {
    let rest = Rest::new(&dev.part_url(Part::Origin).ok()?).ok()?;
    let response = rest.get("/readyz").await.ok()?;
    Some((response.status, response.text()))
}

async fn ready(dev: &Dev, is: bool, within: Duration) -> Result<String> {
    eventually("the origin's readiness", within, async || {
        let (status, why) = readiness(dev).await?;
        (status == if is { 200 } else { 503 }).then_some(why)
    })
    .await
}

async fn printed(dev: &Dev, words: &str) -> Result<()> {
    let seen = eventually(words, SOON, async || dev.printed().contains(words).then_some(())).await;
    seen.with_context(|| dev.printed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_refuses_posts_truthfully_and_heals_by_itself() -> Result<()> {
    let mut disk = None;
    let dev = Dev::start_on(&[], |data| {
        disk = Some(Disk::mount(data, DISK_MIB)?);
        Ok(())
    })?;
    let disk = disk.context("mounted")?;
    let parts = [Part::Chorus, Part::Origin, Part::Edge];
    let before = parts.map(|part| dev.pid(part).ok());
    let mut ada = dev.writer("ada", "admin", Options::default()).await?;
    let first = ada.post_durable("before", SOON).await?;

    disk.fill()?;
    // readyz, the metric and the terminal say what is full.
    let why = ready(&dev, false, SOON).await?;
    ensure!(why.contains("the disk of the log is full"), "{why}");
    let series = "chorus_origin_unwell{condition=\"LogDisk\"}";
    let unwell = dev.metric(Part::Origin, series).await?;
    ensure!(unwell == Some(1.0), "{series} is {unwell:?}");
    printed(&dev, "chorus-origin is not ready: the disk of the log is full").await?;
    // A PoP can still serve readers: a load balancer leaves it in.
    let pop = dev.rest()?.get("/readyz").await?;
    ensure!(pop.status == 200, "{}: {}", pop.status, pop.text());

    // A post is refused at once, and it is certainly not stored.
    let refused = ada.post("into the full disk").await?;
    ada.wait("`rejected`", SOON, |ada| {
        ada.receipt(&refused, ReceiptStatus::Rejected).is_some()
    })
    .await?;
    let receipt = ada.receipt(&refused, ReceiptStatus::Rejected);
    let receipt = receipt.context("a receipt")?;
    ensure!(receipt.reason.as_deref() == Some("unavailable"), "{receipt:?}");
    ensure!(receipt.retry_after_ms.is_some(), "{receipt:?}");
    // nats-server's own writes fail meanwhile: from the first on it takes no more until it is started again.
    printed(&dev, "nats-server is not ready: ").await?;

    disk.free()?;
    let freed = Instant::now();
    printed(&dev, "nats-server started again as process").await?;
    ready(&dev, true, SOON).await?;
    printed(&dev, "chorus-origin is ready again").await?;
    let last = ada.post_durable("after", SOON).await?;
    println!("durable {} ms after there was room", freed.elapsed().as_millis());

    let after = parts.map(|part| dev.pid(part).ok());
    ensure!(before == after, "{before:?} {after:?}");
    let rest = dev.rest()?;
    let demo = dev.demo()?;
    eventually("the history", SOON, async || {
        let all = history::whole(&rest, &demo).await.ok()?;
        let ids: Vec<_> = all.keys().copied().collect();
        (ids == [first, last]).then_some(())
    })
    .await?;
    // The store takes the log's in again, too.
    eventually("rows in the store", SOON, async || {
        let rows = dev.metric(Part::Origin, "chorus_origin_persist_rows_total");
        (rows.await.ok()?? >= 2.0).then_some(())
    })
    .await?;
    drop(dev);
    drop(disk);
    Ok(())
}
