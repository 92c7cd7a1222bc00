//! Join, post, react, leave and resume, in both encodings, as any viewer's app would.

use std::time::Duration;

use anyhow::{Context, Result};
use chorus_client::protocol::server::ReceiptStatus;
use chorus_client::protocol::{ClientId, Encoding, StreamId};
use chorus_client::{Client, Options, Viewer};
use chorus_tests::dev::Dev;
use chorus_tests::{SOON, eventually, history};

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_crosses_between_two_encodings_and_stays_in_the_history() -> Result<()> {
    let dev = Dev::shared();
    let json = Options::default().encoding(Encoding::Json);
    let msgpack = Options::default().encoding(Encoding::MsgPack);
    let mut ada = dev.writer("ada-cross", "user", json).await?;
    let mut bob = dev.writer("bob-cross", "user", msgpack).await?;

    let text = "Grüße <b>an</b> alle 👋 verkehrt";
    // What would turn other texts around is taken out.
    let posted = text.replace("verk", "\u{202e}verk");
    let from_ada = ada.post_durable(&posted, SOON).await?;
    let from_bob = bob.post_durable("and back", SOON).await?;
    for viewer in [&mut ada, &mut bob] {
        viewer
            .wait("both comments", SOON, |viewer| {
                viewer.seen.missing([&from_ada, &from_bob]).is_empty()
            })
            .await?;
        let comment = &viewer.seen.comments[&from_ada];
        assert_eq!(comment.content, text);
        assert_eq!(comment.username, "ada-cross");
        assert_eq!(comment.stream_id, dev.demo()?);
        assert_eq!(comment.id.minted_at(), comment.created_at_ms);
        assert_eq!(viewer.seen.repeats, 0);
        assert_eq!(viewer.seen.unsorted, 0);
        assert_eq!(viewer.unreadable, Vec::<String>::new());
    }

    let all = history::whole(&dev.rest()?, &dev.demo()?).await?;
    assert_eq!(all[&from_ada].content, text);
    assert_eq!(all[&from_bob].username, "bob-cross");

    let mut late = dev.viewer(&dev.demo()?, &Options::default()).await?;
    late.wait("the newest", SOON, |late| {
        late.seen.missing([&from_ada, &from_bob]).is_empty()
    })
    .await?;
    let joined = late.joined.as_ref().context("joined")?;
    assert!(!joined.gap);
    assert_eq!(joined.role, "anonymous");
    assert!(joined.comment_count >= 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_comes_before_durable_and_both_name_the_post() -> Result<()> {
    let dev = Dev::shared();
    let mut ada = dev
        .writer("ada-receipts", "user", Options::default())
        .await?;
    let client_id = ada.post("with receipts").await?;
    ada.wait("durable", SOON, |ada| ada.durable(&client_id).is_some())
        .await?;
    let statuses: Vec<ReceiptStatus> = ada.receipts[&client_id]
        .iter()
        .map(|receipt| receipt.status)
        .collect();
    assert_eq!(statuses, [ReceiptStatus::Accepted, ReceiptStatus::Durable]);
    assert_eq!(ada.receipts[&client_id][0].comment_id, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_are_summed_for_everybody() -> Result<()> {
    let dev = Dev::shared();
    let mut ada = dev.writer("ada-reacts", "user", Options::default()).await?;
    let msgpack = Options::default().encoding(Encoding::MsgPack);
    let mut bob = dev.viewer(&dev.demo()?, &msgpack).await?;
    let before = bob.reactions.get("wow").copied().unwrap_or(0);
    for _ in 0..3 {
        ada.react("wow", 5).await?;
    }
    for viewer in [&mut ada, &mut bob] {
        viewer
            .wait("15 more", SOON, |viewer| {
                viewer.reactions.get("wow").copied() == Some(before + 15)
            })
            .await?;
    }
    // They are still there for who joins later, also when the first came by another way.
    let late = dev.viewer(&dev.demo()?, &Options::default()).await?;
    assert_eq!(late.reactions.get("wow").copied(), Some(before + 15));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_was_away_gets_what_it_missed_once_and_in_order() -> Result<()> {
    let dev = Dev::shared();
    let mut ada = dev
        .writer("ada-resume", "admin", Options::default())
        .await?;
    for encoding in Encoding::ALL {
        let options = Options::default().encoding(encoding);
        let mut bob = dev.viewer(&dev.demo()?, &options).await?;
        let before = ada.post_durable("before", SOON).await?;
        bob.wait("before", SOON, |bob| bob.seen.missing([&before]).is_empty())
            .await?;
        bob.client()
            .send_frame(tokio_tungstenite::tungstenite::Message::Close(None))
            .await?;
        bob.wait_closed(SOON).await?;

        // More than a first `joined` holds, so that batches follow before anything live.
        let mut missed = Vec::new();
        for number in 0..230 {
            missed.push(ada.post(&format!("missed {number}")).await?);
            if number % 20 == 0 {
                ada.watch_for(Duration::from_millis(400)).await;
            }
        }
        ada.wait("all durable", SOON * 2, |ada| {
            missed.iter().all(|key| ada.durable(key).is_some())
        })
        .await?;
        let ids: Vec<_> = missed.iter().filter_map(|key| ada.durable(key)).collect();

        bob.reconnect(&dev.endpoint()?, &options).await?;
        bob.wait("what was missed", SOON, |bob| {
            bob.seen.missing(&ids).is_empty()
        })
        .await?;
        let joined = bob.joined.as_ref().context("joined")?;
        assert!(!joined.gap);
        assert!(
            joined.comments.len() <= 200,
            "{} in `joined`",
            joined.comments.len()
        );
        assert!(
            joined.comments.iter().all(|comment| comment.id > before),
            "nothing it had already"
        );
        let live = ada.post_durable("live again", SOON).await?;
        bob.wait("live", SOON, |bob| bob.seen.missing([&live]).is_empty())
            .await?;
        assert_eq!((bob.seen.repeats, bob.seen.unsorted), (0, 0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_cannot_be_read_is_a_gap_and_never_silent() -> Result<()> {
    let dev = Dev::shared();
    let demo = dev.demo()?;
    for resume in ["", "nonsense", "AAAA", &"A".repeat(3_000)] {
        let mut viewer = Viewer::connect(&dev.endpoint()?, &demo, &Options::default()).await?;
        let joined = viewer.join_and_wait(Some(resume), SOON).await?;
        assert!(joined.gap, "{resume:.20}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_client_id_gets_the_same_comment_and_is_shown_once() -> Result<()> {
    let dev = Dev::shared();
    let demo = dev.demo()?;
    let token = dev.token("ada-twice", "user").await?;
    let options = Options::default().token(token);
    let mut ada = dev.viewer(&demo, &options).await?;
    let mut other_device = dev.viewer(&demo, &options).await?;
    let mut bob = dev.viewer(&demo, &Options::default()).await?;
    let key = ClientId::new(&format!("twice-{}", chorus_tests::jwt::now_s()))?;
    for viewer in [&mut ada, &mut other_device] {
        viewer
            .client()
            .post(&demo, &key, "once, whatever you try")
            .await?;
        viewer
            .wait("durable", SOON, |viewer| viewer.durable(&key).is_some())
            .await?;
    }
    let id = ada.durable(&key).context("durable")?;
    assert_eq!(other_device.durable(&key), Some(id));
    let after = ada.post_durable("after it", SOON).await?;
    bob.wait("the one after", SOON, |bob| {
        bob.seen.missing([&id, &after]).is_empty()
    })
    .await?;
    let shown = bob
        .seen
        .comments
        .values()
        .filter(|comment| comment.content.starts_with("once, "))
        .count();
    assert_eq!((shown, bob.seen.repeats), (1, 0));
    let all = history::whole(&dev.rest()?, &demo).await?;
    assert_eq!(
        all.values()
            .filter(|comment| comment.content.starts_with("once, "))
            .count(),
        1
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_gets_nothing_more_and_may_come_back() -> Result<()> {
    let dev = Dev::shared();
    let demo = dev.demo()?;
    let mut ada = dev.writer("ada-leaves", "user", Options::default()).await?;
    let mut bob = dev.viewer(&demo, &Options::default()).await?;
    bob.client().leave(&demo).await?;
    // An answer shows that the leave was taken.
    bob.client().ping(serde_json::json!("left")).await?;
    bob.wait("pong", SOON, |bob| !bob.pongs.is_empty()).await?;
    let unseen = ada.post_durable("bob does not see this", SOON).await?;
    ada.wait("own comment", SOON, |ada| {
        ada.seen.missing([&unseen]).is_empty()
    })
    .await?;
    bob.client()
        .ping(serde_json::json!({"a": [1, null, "b"]}))
        .await?;
    bob.wait("pong", SOON, |bob| bob.pongs.len() == 2).await?;
    assert_eq!(bob.pongs[1], serde_json::json!({"a": [1, null, "b"]}));
    assert_eq!(bob.seen.missing([&unseen]), [unseen]);
    let resume = bob.resume.clone();
    bob.join_and_wait(resume.as_deref(), SOON).await?;
    bob.wait("what was missed", SOON, |bob| {
        bob.seen.missing([&unseen]).is_empty()
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_are_counted() -> Result<()> {
    let dev = Dev::start(&[])?;
    let demo = dev.demo()?;
    let mut first = dev.viewer(&demo, &Options::default()).await?;
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(dev.viewer(&demo, &Options::default()).await?);
    }
    first
        .wait("ten viewers", SOON, |first| first.viewer_count == 10)
        .await?;
    drop(others);
    first
        .wait("one viewer", SOON * 2, |first| first.viewer_count == 1)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_joins_on_one_socket_and_a_stream_that_is_not_there() -> Result<()> {
    let dev = Dev::shared();
    let mut client = Client::connect(&dev.url(), &Options::default()).await?;
    let nowhere = StreamId::new("no-such-stream")?;
    client.join(&nowhere, None).await?;
    let refused = eventually_error(&mut client, "stream_not_found").await?;
    assert!(refused);
    client.join(&dev.demo()?, None).await?;
    let joined = next_joined(&mut client).await?;
    assert_eq!(joined, dev.demo()?);
    Ok(())
}

async fn eventually_error(client: &mut Client, code: &str) -> Result<bool> {
    use chorus_client::Event;
    use chorus_client::protocol::server::ServerMessage;
    let deadline = tokio::time::Instant::now() + SOON;
    while let Some(event) = client.next_until(deadline).await {
        match event {
            Event::Message(message) => {
                if let ServerMessage::Error(refusal) = *message {
                    anyhow::ensure!(refusal.code == code, "{refusal:?}");
                    return Ok(true);
                }
            }
            Event::Unreadable(why) => anyhow::bail!("{why}"),
            Event::Closed(close) => anyhow::bail!("{close:?}"),
        }
    }
    Ok(false)
}

async fn next_joined(client: &mut Client) -> Result<StreamId> {
    use chorus_client::Event;
    use chorus_client::protocol::server::ServerMessage;
    let deadline = tokio::time::Instant::now() + SOON;
    while let Some(event) = client.next_until(deadline).await {
        if let Event::Message(message) = event
            && let ServerMessage::Joined(joined) = *message
        {
            return Ok(joined.stream_id);
        }
    }
    anyhow::bail!("not joined")
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_the_page_are_served() -> Result<()> {
    let dev = Dev::shared();
    let rest = dev.rest()?;
    for target in ["/healthz", "/readyz"] {
        assert_eq!(rest.get(target).await?.status, 200, "{target}");
    }
    let metrics = rest.get("/metrics").await?;
    // Prometheus reads either.
    let kinds = ["text/plain", "application/openmetrics-text"];
    assert!(
        kinds
            .iter()
            .any(|kind| metrics.content_type().starts_with(kind)),
        "{}",
        metrics.content_type()
    );
    assert!(
        metrics
            .text()
            .lines()
            .filter(|line| line.starts_with("# TYPE chorus_"))
            .count()
            > 5
    );
    let page = rest.get("/").await?;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.content_type().starts_with("text/html"));
    assert_eq!(rest.get("/../Cargo.toml").await?.status, 404);
    assert_eq!(rest.get("/%2e%2e/Cargo.toml").await?.status, 404);
    let origin = chorus_client::Rest::new(&dev.part_url(chorus_tests::dev::Part::Origin)?)?;
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(origin.get(target).await?.status, 200, "{target}");
    }
    eventually(
        "a scrape that counts this test's connections",
        SOON,
        || async {
            let scrape = rest.get("/metrics").await.ok()?.text();
            scrape.contains("chorus_").then_some(())
        },
    )
    .await
}
