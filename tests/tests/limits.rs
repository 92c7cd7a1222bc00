//! One user by many connections, over the shards of two PoPs at one gateway: a limit of n in t is at most n in any t.

use std::time::Duration;

use anyhow::{Context, Result};
use chorus_client::protocol::ClientId;
use chorus_client::protocol::server::ReceiptStatus;
use chorus_client::{Options, Rest, Viewer};
use chorus_tests::dev::{Dev, Part};
use chorus_tests::pop::Pop;
use chorus_tests::{SOON, eventually};
use tokio::sync::OnceCell;

/// Both PoPs, shared by the tests of this file; they end with the process.
struct Places {
    dev: Dev,
    other: Pop,
}

async fn places() -> Result<&'static Places> {
    static PLACES: OnceCell<Places> = OnceCell::const_new();
    let start = async || {
        let dev = Dev::start(&["--shards", "4"])?;
        let other = Pop::start(&dev, "second", 4).await?;
        anyhow::Ok(Places { dev, other })
    };
    PLACES.get_or_try_init(start).await
}

/// Eight connections of one user, half of them at each PoP.
async fn eight(places: &Places, user: &str) -> Result<Vec<Viewer>> {
    let token = places.dev.token(user, "user").await?;
    let mut viewers = Vec::new();
    for number in 0..8 {
        let options = Options::default().token(token.clone());
        viewers.push(match number % 2 {
            0 => places.dev.viewer(&places.dev.demo()?, &options).await?,
            _ => places.other.viewer(&places.dev.demo()?, &options).await?,
        });
    }
    Ok(viewers)
}

fn settled(viewer: &Viewer, key: &ClientId) -> bool {
    viewer.durable(key).is_some() || viewer.receipt(key, ReceiptStatus::Rejected).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_posts_at_once_over_eight_connections_are_five() -> Result<()> {
    let places = places().await?;
    let mut viewers = eight(places, "ann-posts").await?;
    let mut posts = Vec::new();
    for _ in 0..5 {
        for (place, viewer) in viewers.iter_mut().enumerate() {
            posts.push((place, viewer.post("one of forty").await?));
        }
    }
    let (mut durable, mut rejected) = (0, 0);
    for (place, key) in &posts {
        let viewer = &mut viewers[*place];
        viewer
            .wait("an outcome", SOON, |viewer| settled(viewer, key))
            .await?;
        let Some(receipt) = viewer.receipt(key, ReceiptStatus::Rejected) else {
            durable += 1;
            continue;
        };
        rejected += 1;
        assert_eq!(receipt.reason.as_deref(), Some("rate_limited"));
        let wait = receipt.retry_after_ms.context("a wait")?;
        assert!((1..=30_000).contains(&wait), "{wait}");
    }
    assert_eq!((durable, rejected), (5, 35));
    // Somebody else is not held by it.
    let mut bob = places
        .dev
        .writer("bob-posts", "user", Options::default())
        .await?;
    bob.post_durable("another user", SOON).await?;
    Ok(())
}

/// A sum over both PoPs.
async fn at_both(places: &Places, series: &str) -> Result<f64> {
    let here = places.dev.metric(Part::Edge, series).await?;
    let there = Rest::new(places.other.url())?.get("/metrics").await?;
    let there = there.text();
    let line = there.lines().find_map(|line| line.strip_prefix(series));
    let there = line.context("no such series")?.trim();
    Ok(here.context("no such series")? + there.parse::<f64>()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_hundred_reactions_over_eight_connections_are_a_hundred() -> Result<()> {
    let places = places().await?;
    let mut viewers = eight(places, "ann-reacts").await?;
    let mut watcher = places
        .other
        .viewer(&places.dev.demo()?, &Options::default())
        .await?;
    for _ in 0..100 {
        for viewer in &mut viewers {
            viewer.react("haha", 1).await?;
        }
    }
    for viewer in &mut viewers {
        viewer.client().ping(serde_json::json!("all sent")).await?;
        viewer
            .wait("a pong", SOON, |viewer| !viewer.pongs.is_empty())
            .await?;
    }
    // All that the shards took is decided on: added, or refused at the gateway. What a shard counts is told with a delay.
    let decided = async || {
        let taken = at_both(places, "chorus_edge_session_reactions_taken_total");
        let refused = "chorus_origin_reactions_refused_total";
        let refused = places.dev.metric(Part::Origin, refused).await.ok()??;
        let added = taken.await.ok()? - refused;
        (refused >= 100.0 && (added - 100.0).abs() < 0.5).then_some(())
    };
    eventually("every reaction is decided on", SOON, decided).await?;
    watcher
        .wait("the total", SOON, |watcher| {
            watcher.reactions.get("haha") == Some(&100)
        })
        .await?;
    let rest = places.dev.rest()?;
    let totals = rest.get("/api/streams/demo/reactions").await?.json()?;
    assert_eq!(totals["counts"]["haha"], 100);
    // Whoever's reactions were refused at the gateway is told, and held off at once from then on.
    for viewer in &mut viewers {
        viewer.react("haha", 1).await?;
        viewer
            .wait("an error", SOON, |viewer| !viewer.errors.is_empty())
            .await?;
        for refusal in &viewer.errors {
            assert_eq!(refusal.code, "rate_limited");
            let wait = refusal.retry_after_ms.context("a wait")?;
            assert!((1..=60_000).contains(&wait), "{wait}");
        }
    }
    watcher.watch_for(Duration::from_millis(1_200)).await;
    assert_eq!(watcher.reactions.get("haha"), Some(&100));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sends_five_hundred_messages_at_once_and_stays() -> Result<()> {
    let places = places().await?;
    let mut admin = places
        .dev
        .writer("root", "admin", Options::default())
        .await?;
    for number in 0..500 {
        admin.client().ping(serde_json::json!(number)).await?;
    }
    admin
        .wait("every pong", SOON, |admin| admin.pongs.len() == 500)
        .await?;
    let mut keys = Vec::new();
    for number in 0..100 {
        keys.push(admin.post(&format!("notice {number}")).await?);
    }
    admin
        .wait("durable", SOON, |admin| {
            keys.iter().all(|key| admin.durable(key).is_some())
        })
        .await?;
    assert_eq!(admin.closed, None);
    // Who is none is closed by as many.
    let mut user = places
        .dev
        .writer("not-root", "user", Options::default())
        .await?;
    for number in 0..500 {
        if user.client().ping(serde_json::json!(number)).await.is_err() {
            break;
        }
    }
    assert_eq!(user.wait_closed(SOON).await?.code(), Some(4429));
    Ok(())
}
