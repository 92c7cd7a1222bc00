//! A disk that fills up under a running Chorus, and has room again.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chorus_client::protocol::server::ReceiptStatus;
use chorus_client::{Options, Rest, Viewer};
use chorus_tests::dev::{Dev, Part};
use chorus_tests::disk::Disk;
use chorus_tests::{SOON, eventually, history};

/// The compiled component takes 6 MiB of it.
const DISK_MIB: u32 = 24;
/// Posts into a disk that is full already: more than a page of it.
const UNDER_WAY: usize = 30;

/// How the origin says that it is.
async fn readiness(dev: &Dev) -> Option<(u16, String)> {
    let rest = Rest::new(&dev.part_url(Part::Origin).ok()?).ok()?;
    let response = rest.get("/readyz").await.ok()?;
    Some((response.status, response.text()))
}

async fn unready(dev: &Dev, why: &str) -> Result<()> {
    eventually(why, SOON, async || {
        let (status, said) = readiness(dev).await?;
        (status == 503 && said.contains(why)).then_some(())
    })
    .await
}

async fn ready(dev: &Dev) -> Result<()> {
    eventually("the origin's readiness", SOON, async || {
        let (status, _) = readiness(dev).await?;
        (status == 200).then_some(())
    })
    .await
}

async fn printed(dev: &Dev, words: &str) -> Result<()> {
    let seen = eventually(words, SOON, async || {
        dev.printed().contains(words).then_some(())
    })
    .await;
    seen.with_context(|| dev.printed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_refuses_posts_at_once_and_is_over_when_there_is_room() -> Result<()> {
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

    ensure!(disk.fill()? > 0, "it was full before");
    // readyz, the metric and the terminal say what is full.
    unready(&dev, "the disk of the log is full").await?;
    let series = "chorus_origin_unwell{condition=\"LogDisk\"}";
    let unwell = dev.metric(Part::Origin, series).await?;
    ensure!(unwell == Some(1.0), "{series} is {unwell:?}");
    printed(&dev, "chorus-origin is not ready: ").await?;
    printed(&dev, "the disk of the log is full").await?;
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
    ensure!(
        receipt.reason.as_deref() == Some("unavailable"),
        "{receipt:?}"
    );
    ensure!(receipt.retry_after_ms.is_some(), "{receipt:?}");
    disk.free()?;
    let freed = Instant::now();
    ready(&dev).await?;
    printed(&dev, "chorus-origin is ready again").await?;
    let last = ada.post_durable("after", SOON).await?;
    println!(
        "durable {} ms after there was room",
        freed.elapsed().as_millis()
    );

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

/// The origin is told of another disk than the log's, as where nats-server is on another machine: then only the log's
/// silence tells. nats-server takes no more after its first failed write until it is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_that_gave_up_writing_is_started_again_and_posts_under_way_are_durable()
-> Result<()> {
    let mut disk = None;
    let dev = Dev::start_on(&["--origin-set", "nats.directory=\"/\""], |data| {
        disk = Some(Disk::mount(data, DISK_MIB)?);
        Ok(())
    })?;
    let disk = disk.context("mounted")?;
    let parts = [Part::Chorus, Part::Origin, Part::Edge];
    let before = parts.map(|part| dev.pid(part).ok());
    let nats = dev.pid(Part::Nats)?;
    let mut ada = dev.writer("ada", "admin", Options::default()).await?;
    let first = ada.post_durable("before", SOON).await?;

    ensure!(disk.fill()? > 0, "it was full before");
    // The log's last page may have room for a few.
    let mut posted = Vec::new();
    for number in 0..UNDER_WAY {
        posted.push(ada.post(&format!("{number} {}", "x".repeat(400))).await?);
    }
    printed(&dev, "nats-server is not ready: ").await?;
    unready(&dev, "the log acknowledged no comment").await?;
    let open = |ada: &Viewer| posted.iter().filter(|id| ada.durable(id).is_none()).count();
    ensure!(open(&ada) > 0, "all were stored on a full disk");
    for id in &posted {
        let rejected = ada.receipt(id, ReceiptStatus::Rejected);
        ensure!(
            rejected.is_none(),
            "whether it is stored is not known: {rejected:?}"
        );
    }

    disk.free()?;
    let freed = Instant::now();
    printed(&dev, "nats-server started again as process").await?;
    ada.wait("`durable` for all under way", SOON, |ada| open(ada) == 0)
        .await?;
    println!(
        "durable {} ms after there was room",
        freed.elapsed().as_millis()
    );
    ready(&dev).await?;
    let last = ada.post_durable("after", SOON).await?;

    ensure!(
        dev.pid(Part::Nats)? != nats,
        "nats-server is another process"
    );
    let after = parts.map(|part| dev.pid(part).ok());
    ensure!(before == after, "{before:?} {after:?}");
    let rest = dev.rest()?;
    let demo = dev.demo()?;
    eventually("the history", SOON, async || {
        let all = history::whole(&rest, &demo).await.ok()?;
        let ends = [all.keys().next().copied(), all.keys().last().copied()];
        (all.len() == UNDER_WAY + 2 && ends == [Some(first), Some(last)]).then_some(())
    })
    .await?;
    drop(dev);
    drop(disk);
    Ok(())
}
