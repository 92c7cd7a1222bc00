//! Processes killed while comments pour in: nothing acknowledged is lost, nothing is shown twice, and who was away
//! gets what it missed.
//!
//! Run one after the other: each needs the machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chorus_client::protocol::Encoding;
use chorus_client::{Options, Rest, Viewer};
use chorus_tests::dev::{Dev, Part, alive};
use chorus_tests::flood::Flood;
use chorus_tests::{SOON, eventually, history};
use rustix::process::Signal;
use tokio::sync::{Mutex, MutexGuard};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// A store that still takes in the tail is asked again.
async fn history_with(
    rest: &Rest,
    dev: &Dev,
    ids: &BTreeSet<chorus_client::protocol::CommentId>,
) -> Result<()> {
    let demo = dev.demo()?;
    let all = history::whole(rest, &demo).await?;
    let missing: Vec<_> = ids.iter().filter(|id| !all.contains_key(id)).collect();
    anyhow::ensure!(
        missing.is_empty(),
        "{} of {} durable comments are not in the history",
        missing.len(),
        ids.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_killed_under_load_loses_nothing_acknowledged() -> Result<()> {
    let _alone = alone().await;
    let mut dev = Dev::start(&[])?;
    let demo = dev.demo()?;
    let mut away = dev.viewer(&demo, &Options::default()).await?;
    let mut watcher = dev
        .viewer(&demo, &Options::default().encoding(Encoding::MsgPack))
        .await?;

    let content: chorus_tests::flood::Content = Arc::new(|number| format!("flood {number}"));
    let mut flood = Flood::start(&dev, &demo, 500, content).await?;
    flood.reach(200, SOON * 3).await?;
    // One leaves with some seen, and will ask for the rest.
    away.watch_for(Duration::from_millis(500)).await;
    let seen_before: BTreeSet<_> = away.seen.comments.keys().copied().collect();
    let resume = away.resume.clone().context("a resume")?;
    away.client()
        .send_frame(tokio_tungstenite::tungstenite::Message::Close(None))
        .await?;
    let last_seen = *seen_before.last().context("something seen")?;

    flood.reach(1_500, SOON * 3).await?;
    dev.kill_all()?;
    let outcomes = flood.finish().await?;
    watcher.watch_for(Duration::from_millis(200)).await;
    println!(
        "killed with {} posted, {} durable, {} open",
        outcomes.posted,
        outcomes.durable.len(),
        outcomes.open
    );
    assert_eq!(outcomes.torn, 0);

    let begun = Instant::now();
    dev.restart()?;
    println!("up again after {} ms", begun.elapsed().as_millis());

    // All that was answered `durable` is in the history, once, with what was written.
    let all = history::whole(&dev.rest()?, &demo).await?;
    for (id, text) in &outcomes.durable {
        let comment = all
            .get(id)
            .with_context(|| format!("{id} was durable and is gone"))?;
        assert_eq!(&comment.content, text);
    }
    let texts: BTreeSet<&str> = all
        .values()
        .map(|comment| comment.content.as_str())
        .collect();
    assert_eq!(texts.len(), all.len(), "a comment is there under two ids");

    // The old resume brings what was missed, once and in order, and then what is new.
    let mut back = Viewer::connect(&dev.endpoint()?, &demo, &Options::default()).await?;
    let joined = back.join_and_wait(Some(&resume), SOON).await?;
    assert!(!joined.gap);
    let expected: Vec<_> = all
        .keys()
        .copied()
        .filter(|id| !seen_before.contains(id))
        .collect();
    back.wait("what was missed", SOON * 2, |back| {
        back.seen.missing(&expected).is_empty()
    })
    .await?;
    assert_eq!((back.seen.repeats, back.seen.unsorted), (0, 0));
    let again = back
        .seen
        .comments
        .keys()
        .filter(|id| seen_before.contains(id))
        .count();
    assert_eq!(again, 0, "what was seen up to {last_seen} came again");
    let mut writer = dev
        .writer("after-the-crash", "admin", Options::default())
        .await?;
    let new = writer.post_durable("life goes on", SOON).await?;
    back.wait("what is new", SOON, |back| {
        back.seen.missing([&new]).is_empty()
    })
    .await?;

    // Who watched when it happened comes back too.
    watcher
        .reconnect(&dev.endpoint()?, &Options::default())
        .await?;
    let ids: Vec<_> = all.keys().copied().chain([new]).collect();
    let newest = ids.len().saturating_sub(1_000);
    watcher
        .wait("the rest", SOON * 2, |watcher| {
            watcher.seen.missing(&ids[newest..]).is_empty()
        })
        .await?;
    let durable: BTreeSet<_> = outcomes.durable.keys().copied().collect();
    assert_eq!(watcher.seen.missing(&durable), []);
    assert_eq!(watcher.seen.repeats, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_killed_and_started_again_costs_nobody_a_connection_and_no_acknowledged_comment()
-> Result<()> {
    let _alone = alone().await;
    let dev = Dev::start(&["--on-exit", "restart", "--restart-delay-ms", "3000"])?;
    let demo = dev.demo()?;
    let before = [Part::Chorus, Part::Origin, Part::Edge].map(|part| dev.pid(part));
    let mut viewers = Vec::new();
    for index in 0..20 {
        let options = Options::default().encoding(Encoding::ALL[index % 2]);
        viewers.push(dev.viewer(&demo, &options).await?);
    }
    let content: chorus_tests::flood::Content =
        Arc::new(|number| format!("through the outage {number}"));
    let mut flood = Flood::start(&dev, &demo, 100, content).await?;
    flood.reach(100, SOON * 3).await?;

    let old = dev.pid(Part::Nats)?;
    dev.signal(Part::Nats, Signal::KILL)?;
    let mut drained = Vec::new();
    for mut viewer in viewers {
        drained.push(tokio::spawn(async move {
            viewer.watch_for(Duration::from_secs(5)).await;
            viewer
        }));
    }
    let new = eventually("nats-server runs again", SOON, || async {
        dev.pid(Part::Nats)
            .ok()
            .filter(|&pid| pid != old && alive(pid))
    })
    .await?;
    assert_ne!(old, new);
    let at_restart = flood.durable();
    flood.reach(at_restart + 300, SOON * 3).await?;
    let outcomes = flood.finish().await?;
    println!(
        "of {} posts: {} durable, {} refused, {} errors",
        outcomes.posted,
        outcomes.durable.len(),
        outcomes.rejected.len(),
        outcomes.errors.len()
    );
    assert_eq!(
        outcomes.ended,
        Vec::<String>::new(),
        "an author lost its connection"
    );
    assert_eq!(
        (outcomes.open, outcomes.torn),
        (0, 0),
        "every post is answered, under one id"
    );
    for reason in outcomes.rejected.values() {
        assert_eq!(reason, "unavailable");
    }
    for code in outcomes.errors.values() {
        assert_eq!(code, "unconfirmed");
    }

    let ids: BTreeSet<_> = outcomes.durable.keys().copied().collect();
    let rest = dev.rest()?;
    history_with(&rest, &dev, &ids).await?;
    for viewer in drained {
        let mut viewer = viewer.await?;
        viewer
            .wait("all that is durable", SOON * 2, |viewer| {
                viewer.seen.missing(&ids).is_empty()
            })
            .await?;
        assert_eq!(viewer.closed, None);
        assert_eq!(viewer.seen.repeats, 0);
    }
    let after = [Part::Chorus, Part::Origin, Part::Edge].map(|part| dev.pid(part));
    for (before, after) in before.into_iter().zip(after) {
        assert_eq!(before?, after?, "a process was started again");
    }
    // What was refused is certainly not stored.
    let all = history::whole(&rest, &demo).await?;
    let refused = outcomes.posted - outcomes.durable.len() as u64 - outcomes.errors.len() as u64;
    assert!(
        all.len() as u64 <= outcomes.posted - refused,
        "a refused comment is in the history"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_killed_and_started_again_costs_no_viewer_a_connection() -> Result<()> {
    let _alone = alone().await;
    let dev = Dev::start(&["--on-exit", "restart", "--restart-delay-ms", "500"])?;
    let demo = dev.demo()?;
    let mut viewer = dev.viewer(&demo, &Options::default()).await?;
    let content: chorus_tests::flood::Content =
        Arc::new(|number| format!("through the origin's end {number}"));
    let mut flood = Flood::start(&dev, &demo, 100, content).await?;
    flood.reach(100, SOON * 3).await?;
    dev.signal(Part::Origin, Signal::KILL)?;
    viewer.watch_for(Duration::from_secs(2)).await;
    let so_far = flood.durable();
    flood.reach(so_far + 200, SOON * 3).await?;
    let outcomes = flood.finish().await?;
    assert_eq!(outcomes.ended, Vec::<String>::new());
    assert_eq!((outcomes.open, outcomes.torn), (0, 0));
    let ids: BTreeSet<_> = outcomes.durable.keys().copied().collect();
    history_with(&dev.rest()?, &dev, &ids).await?;
    viewer
        .wait("all that is durable", SOON * 2, |viewer| {
            viewer.seen.missing(&ids).is_empty()
        })
        .await?;
    assert_eq!(viewer.closed, None);
    assert_eq!(viewer.seen.repeats, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_told_to_stop_sends_its_viewers_elsewhere_with_1001() -> Result<()> {
    let _alone = alone().await;
    let dev = Dev::start(&["--on-exit", "restart", "--restart-delay-ms", "100"])?;
    let demo = dev.demo()?;
    let mut writer = dev
        .writer("before-the-drain", "admin", Options::default())
        .await?;
    let mut viewers = Vec::new();
    for index in 0..50 {
        let options = Options::default().encoding(Encoding::ALL[index % 2]);
        viewers.push((dev.viewer(&demo, &options).await?, options));
    }
    let key = writer.post("on its way when the PoP is told").await?;
    dev.signal(Part::Edge, Signal::TERM)?;
    for (viewer, _) in &mut viewers {
        let close = viewer.wait_closed(SOON * 2).await?;
        assert_eq!(close.code(), Some(1001), "{close:?}");
    }
    writer.wait_closed(SOON * 2).await?;
    let durable = writer.durable(&key);
    let rest = dev.rest()?;
    eventually("the PoP is back", SOON * 2, || async {
        rest.get("/readyz")
            .await
            .ok()
            .filter(|answer| answer.status == 200)
    })
    .await?;
    for (viewer, options) in &mut viewers {
        viewer.reconnect(&dev.endpoint()?, options).await?;
        viewer
            .wait("joined again", SOON, |viewer| viewer.joined.is_some())
            .await?;
        if let Some(id) = durable {
            viewer
                .wait("what was on its way", SOON, |viewer| {
                    viewer.seen.missing([&id]).is_empty()
                })
                .await?;
        }
    }
    Ok(())
}
