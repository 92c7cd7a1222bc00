//! Several streams: made over REST, watched over one socket, kept apart, and ended.

use anyhow::{Context, Result};
use chorus_client::protocol::server::{ReceiptStatus, ServerMessage};
use chorus_client::protocol::{ClientId, StreamId};
use chorus_client::{Client, Event, Options, Rest, Viewer};
use chorus_tests::SOON;
use chorus_tests::dev::Dev;
use serde_json::json;
use tokio::time::Instant;

async fn create(rest: &Rest, title: &str) -> Result<StreamId> {
    let response = rest
        .post("/api/streams", &json!({ "title": title }))
        .await?;
    assert!((200..300).contains(&response.status), "{}", response.text());
    let id = response.json()?["stream_id"]
        .as_str()
        .map(StreamId::new)
        .with_context(|| response.text())??;
    Ok(id)
}

/// The next message that `pick` wants; others are passed over.
async fn next<T>(client: &mut Client, pick: impl Fn(&ServerMessage) -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + SOON;
    while let Some(event) = client.next_until(deadline).await {
        match event {
            Event::Message(message) => {
                if let Some(picked) = pick(&message) {
                    return Ok(picked);
                }
            }
            Event::Unreadable(why) => anyhow::bail!("{why}"),
            Event::Closed(close) => anyhow::bail!("{close:?}"),
        }
    }
    anyhow::bail!("it did not come")
}

fn contents(message: &ServerMessage) -> Option<Vec<(StreamId, String)>> {
    if let ServerMessage::CommentsBatch { comments, .. } = message {
        let pairs = comments
            .iter()
            .map(|comment| (comment.stream_id.clone(), comment.content.clone()));
        return Some(pairs.collect());
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_over_one_socket_are_kept_apart() -> Result<()> {
    let dev = Dev::shared();
    let token = dev.token("ada-streams", "admin").await?;
    let rest = dev.rest()?.token(token.clone());
    let first = create(&rest, "the first").await?;
    let second = create(&rest, "the second").await?;
    assert_ne!(first, second);

    let mut both = Client::connect(&dev.url(), &Options::default()).await?;
    for stream in [&first, &second] {
        both.join(stream, None).await?;
        let joined = next(&mut both, |message| {
            if let ServerMessage::Joined(joined) = message {
                return Some(joined.stream_id.clone());
            }
            None
        })
        .await?;
        assert_eq!(&joined, stream);
    }
    let options = Options::default().token(token);
    let mut in_first = dev.viewer(&first, &options).await?;
    let mut in_second = dev.viewer(&second, &options).await?;
    let mut outside = dev.viewer(&dev.demo()?, &Options::default()).await?;
    in_first.post_durable("to the first", SOON).await?;
    assert_eq!(
        next(&mut both, contents).await?,
        [(first.clone(), "to the first".to_owned())]
    );
    in_second.post_durable("to the second", SOON).await?;
    assert_eq!(
        next(&mut both, contents).await?,
        [(second.clone(), "to the second".to_owned())]
    );

    // Left one, still in the other; the pong shows that the leave was taken.
    both.leave(&first).await?;
    both.ping(json!("left")).await?;
    next(&mut both, |message| {
        matches!(message, ServerMessage::Pong(_)).then_some(())
    })
    .await?;
    in_first.post_durable("to the first again", SOON).await?;
    in_second.post_durable("to the second again", SOON).await?;
    assert_eq!(
        next(&mut both, contents).await?,
        [(second.clone(), "to the second again".to_owned())]
    );

    outside.client().ping(json!(1)).await?;
    outside
        .wait("a pong", SOON, |outside| !outside.pongs.is_empty())
        .await?;
    assert!(
        outside
            .seen
            .comments
            .values()
            .all(|comment| comment.stream_id == *outside.stream())
    );
    for stream in [&first, &second] {
        let page = rest
            .get(&format!("/api/streams/{stream}/comments"))
            .await?
            .json()?;
        assert_eq!(page["comments"].as_array().map(Vec::len), Some(2), "{page}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_stream_takes_no_comment_and_keeps_its_history() -> Result<()> {
    let dev = Dev::shared();
    let token = dev.token("ada-ends-it", "user").await?;
    let rest = dev.rest()?.token(token.clone());
    let stream = create(&rest, "soon over").await?;
    let mut ada = dev
        .viewer(&stream, &Options::default().token(token))
        .await?;
    assert_eq!(
        ada.joined.as_ref().map(|joined| joined.role.as_str()),
        Some("broadcaster")
    );
    let id = ada.post_durable("while it is on", SOON).await?;

    let somebody = dev
        .rest()?
        .token(dev.token("mallory-ends-it", "user").await?);
    let target = format!("/api/streams/{stream}/end");
    assert_eq!(somebody.post(&target, &json!({})).await?.status, 403);
    assert_eq!(dev.rest()?.post(&target, &json!({})).await?.status, 401);
    let ended = rest.post(&target, &json!({})).await?;
    assert!((200..300).contains(&ended.status), "{}", ended.text());

    let deadline = Instant::now() + SOON;
    for attempt in 0.. {
        let key = ClientId::new(&format!("too-late-{attempt}"))?;
        ada.client().post(&stream, &key, "too late?").await?;
        ada.wait("an outcome", SOON, |ada| {
            ada.durable(&key).is_some() || ada.receipt(&key, ReceiptStatus::Rejected).is_some()
        })
        .await?;
        let reason = ada
            .receipt(&key, ReceiptStatus::Rejected)
            .and_then(|receipt| receipt.reason.clone());
        if reason.as_deref() == Some("comments_off") {
            break;
        }
        assert!(Instant::now() < deadline, "it goes on: {reason:?}");
        ada.watch_for(std::time::Duration::from_millis(100)).await;
    }
    let mut late = Viewer::connect(&dev.endpoint()?, &stream, &Options::default()).await?;
    late.join_and_wait(None, SOON).await?;
    assert!(
        late.seen.comments.contains_key(&id),
        "what was said can be read"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_yet_says_so() -> Result<()> {
    let dev = Dev::shared();
    let rest = dev.rest()?.token(dev.token("ada-early", "admin").await?);
    for target in [
        "/api/pops",
        "/api/streams/demo/analytics",
        "/api/streams/demo/search?q=x",
    ] {
        let answer = rest.get(target).await?;
        assert_eq!(answer.status, 501, "{target}: {}", answer.text());
        assert_eq!(answer.content_type(), "application/problem+json");
    }
    let mut client = Client::connect(&dev.url(), &Options::default()).await?;
    client.join(&dev.demo()?, None).await?;
    let report = json!({
        "type": "report",
        "payload": { "stream_id": "demo", "comment_id": "1", "reason": "spam" }
    });
    client.send_bytes(report.to_string().into()).await?;
    let code = next(&mut client, |message| {
        if let ServerMessage::Error(refusal) = message {
            return Some(refusal.code.clone());
        }
        None
    })
    .await?;
    assert_eq!(code, "not_available");
    Ok(())
}
