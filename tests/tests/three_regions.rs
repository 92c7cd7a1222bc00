//! Three regions on one machine, each with a nats-server, an origin and a PoP: what is written in one is seen in all, and a
//! region that is away costs the others nothing.

use anyhow::{Context, Result};
use chorus_client::protocol::server::ReceiptStatus;
use chorus_client::protocol::{CommentId, StreamId};
use chorus_client::{Endpoint, Options, Rest, Viewer};
use chorus_tests::dev::{Dev, Part};
use chorus_tests::{SOON, eventually, history};
use rustix::process::Signal;
use serde_json::json;

/// The PoPs of the three regions.
fn urls(dev: &Dev) -> Result<[String; 3]> {
    Ok([dev.url(), dev.url_in("us")?, dev.url_in("ap")?])
}

async fn join(url: &str, stream: &StreamId, options: &Options) -> Result<Viewer> {
    let endpoint = Endpoint::parse(url)?;
    // A stream that was just made reaches the other regions a moment later.
    eventually("the join", SOON, || async {
        let mut viewer = Viewer::connect(&endpoint, stream, options).await.ok()?;
        viewer.join_and_wait(None, SOON).await.ok()?;
        Some(viewer)
    })
    .await
}

async fn sees(viewer: &mut Viewer, id: CommentId) -> Result<()> {
    let shown = |viewer: &Viewer| viewer.seen.comments.contains_key(&id);
    Ok(viewer.wait("the comment", SOON * 2, shown).await?)
}

/// Whether a PoP's history has a comment.
async fn has(url: &str, stream: &StreamId, id: CommentId) -> Option<()> {
    let rest = Rest::new(url).ok()?;
    let all = history::whole(&rest, stream).await.ok()?;
    all.contains_key(&id).then_some(())
}

/// The regions and addresses that a PoP lists, as `GET /api/pops` says them.
async fn listed(url: &str) -> Option<Vec<(String, String)>> {
    let pops = Rest::new(url).ok()?.get("/api/pops").await.ok()?;
    let pops = pops.json().ok()?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let pops = pops["pops"].as_array()?.iter();
    Some(
        pops.map(|pop| (text(&pop["region"]), text(&pop["url"])))
            .collect(),
    )
}

/// Waits until each of these PoPs lists these regions, in order.
async fn all_list(asked: &[&String], regions: &[(&str, &String)]) -> Result<()> {
    let of = |(region, url): &(&str, &String)| ((*region).to_owned(), (*url).clone());
    let wanted: Vec<_> = regions.iter().map(of).collect();
    for url in asked {
        let wanted = &wanted;
        let same = async || listed(url).await.filter(|it| it == wanted).map(|_| ());
        eventually("the list of PoPs", SOON, same).await?;
    }
    Ok(())
}

async fn moderate(viewer: &mut Viewer, action: &str, id: CommentId) -> Result<()> {
    let key = viewer.moderate(action, id).await?;
    let applied = |viewer: &Viewer| viewer.receipt(&key, ReceiptStatus::Applied).is_some();
    Ok(viewer.wait("`applied`", SOON, applied).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_in_one_region_is_seen_in_all_and_one_that_is_away_catches_up() -> Result<()>
{
    let dev = Dev::start(&[
        "--regions",
        "3",
        "--on-exit",
        "restart",
        "--restart-delay-ms",
        "4000",
        "--edge-set",
        "backhaul.bounds.look_ms=500",
    ])?;
    let urls = urls(&dev)?;
    let host = dev.token("host-of-three", "user").await?;
    let rest = dev.rest()?.token(&host);
    let title = json!({"title": "Three"});
    let made = rest.post("/api/streams", &title).await?.json()?;
    let stream = StreamId::new(made["stream_id"].as_str().context("a stream")?)?;
    let token = dev.token("mod-of-three", "moderator").await?;
    let options = Options::default().token(token);
    let mut viewers = Vec::new();
    for url in &urls {
        viewers.push(join(url, &stream, &options).await?);
    }

    // Each PoP knows where the others are.
    let [eu, us, ap] = &urls;
    let all = [("ap", ap), ("eu", eu), ("us", us)];
    all_list(&[eu, us, ap], &all).await?;

    // A comment of each region, in every region; ids and order are the same everywhere.
    let mut ids = Vec::new();
    for (number, region) in ["eu", "us", "ap"].iter().enumerate() {
        let text = format!("from {region}");
        ids.push(viewers[number].post_durable(&text, SOON).await?);
    }
    for viewer in &mut viewers {
        for id in &ids {
            sees(viewer, *id).await?;
        }
    }
    // A decision of one region about a comment of another.
    moderate(&mut viewers[1], "highlight", ids[0]).await?;
    moderate(&mut viewers[2], "remove", ids[1]).await?;
    for viewer in &mut viewers {
        let decided = |viewer: &Viewer| {
            let of = viewer.seen.comments.get(&ids[0]);
            of.is_some_and(|of| of.highlighted) && viewer.seen.removed.contains_key(&ids[1])
        };
        viewer.wait("both decisions", SOON, decided).await?;
    }
    for url in &urls {
        let rest = Rest::new(url)?;
        let part = history::whole(&rest, &stream).await?;
        let shown: Vec<(CommentId, bool)> =
            part.iter().map(|(id, it)| (*id, it.highlighted)).collect();
        assert_eq!(shown, [(ids[0], true), (ids[2], false)], "{url}");
    }

    // Who goes from one region to another misses nothing.
    let resume = viewers[0].resume.clone().context("a resume")?;
    let moved = viewers.remove(0);
    drop(moved);
    let missed = viewers[0].post_durable("while on the way", SOON).await?;
    let mut back = Viewer::connect(&Endpoint::parse(&urls[2])?, &stream, &options).await?;
    let joined = back.join_and_wait(Some(&resume), SOON).await?;
    assert!(!joined.gap);
    sees(&mut back, missed).await?;
    assert!(!back.seen.comments.contains_key(&ids[0]), "it had seen it");

    // A region's log is killed: the others go on, its viewers keep their connections, and hear what they missed.
    // What us wrote stays readable from the mirrors: history, a join and a resume have it.
    for url in [&urls[0], &urls[2]] {
        eventually("the mirror has it", SOON, || has(url, &stream, missed)).await?;
    }
    let before = viewers[1].resume.clone().context("a resume")?;
    dev.signal_in(Part::Nats, "us", Signal::KILL)?;
    for url in [&urls[0], &urls[2]] {
        assert!(has(url, &stream, missed).await.is_some(), "{url}");
    }
    let mut resumed = Viewer::connect(&Endpoint::parse(&urls[0])?, &stream, &options).await?;
    assert!(!resumed.join_and_wait(Some(&before), SOON).await?.gap);
    drop(resumed);
    let meanwhile = back.post_durable("while us is away", SOON).await?;
    let mut fresh = join(&urls[0], &stream, &options).await?;
    sees(&mut fresh, meanwhile).await?;
    sees(&mut viewers[1], meanwhile).await?;
    sees(&mut viewers[0], meanwhile).await?;
    let again = viewers[0].post_durable("us is back", SOON * 3).await?;
    for viewer in viewers.iter_mut().chain([&mut back]) {
        sees(viewer, again).await?;
        assert_eq!((viewer.seen.repeats, viewer.seen.unsorted), (0, 0));
        assert_eq!(viewer.unreadable, Vec::<String>::new());
    }

    // A region's gateway is killed: its PoP goes on over another region's, and back to its own when that is well.
    dev.signal_in(Part::Origin, "us", Signal::KILL)?;
    let around = viewers[0].post_durable("over another region", SOON).await?;
    for viewer in viewers.iter_mut().chain([&mut back]) {
        sees(viewer, around).await?;
    }
    let pop = Rest::new(&urls[1])?;
    eventually("the way back", SOON * 3, || async {
        let metrics = pop.get("/metrics").await.ok()?.text();
        let moved = "chorus_edge_backhaul_moves_total 1";
        metrics.contains(moved).then_some(())
    })
    .await?;
    let home = viewers[0].post_durable("over its own", SOON).await?;
    for viewer in viewers.iter_mut().chain([&mut back]) {
        sees(viewer, home).await?;
        assert_eq!(viewer.seen.repeats, 0);
    }
    // Every region's store comes to hold the same.
    let first = history::whole(&Rest::new(&urls[0])?, &stream).await?;
    for url in &urls[1..] {
        let rest = Rest::new(url)?;
        eventually("the same everywhere", SOON, || async {
            (history::whole(&rest, &stream).await.ok()? == first).then_some(())
        })
        .await?;
    }

    // A PoP that does not answer is listed no longer, and again when it does.
    dev.signal_in(Part::Edge, "ap", Signal::STOP)?;
    all_list(&[eu, us], &all[1..]).await?;
    dev.signal_in(Part::Edge, "ap", Signal::CONT)?;
    all_list(&[eu, us, ap], &all).await?;
    Ok(())
}
