//! Several streams: made over REST, watched over one socket, kept apart, and ended.

use anyhow::{Context, Result};
use chorus_client::protocol::server::{ReceiptStatus, ServerMessage};
use chorus_client::protocol::stream::StreamStatus;
use chorus_client::protocol::{ClientId, Encoding, StreamId};
use chorus_client::{Client, Event, Options, Rest, Viewer};
use chorus_tests::SOON;
use chorus_tests::dev::Dev;
use chorus_tests::pop::Pop;
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
        if reason.as_deref() == Some("stream_ended") {
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
async fn the_end_is_heard_by_every_viewer_of_every_pop() -> Result<()> {
    let dev = Dev::shared();
    let other = Pop::start(dev, "other-pop", 1).await?;
    let token = dev.token("ada-is-heard", "user").await?;
    let rest = dev.rest()?.token(token.clone());
    let stream = create(&rest, "Heard by all").await?;
    let mut viewers = Vec::new();
    for encoding in Encoding::ALL {
        let options = Options::default().token(token.clone()).encoding(encoding);
        viewers.push(dev.viewer(&stream, &options).await?);
        viewers.push(other.viewer(&stream, &options).await?);
    }
    let standing = |viewer: &Viewer| {
        let joined = viewer.joined.as_ref();
        joined.map(|joined| (joined.title.clone(), joined.status))
    };
    let live = Some(("Heard by all".to_owned(), StreamStatus::Live));
    assert!(viewers.iter().all(|viewer| standing(viewer) == live));
    let id = viewers[0].post_durable("while it is on", SOON).await?;

    let target = format!("/api/streams/{stream}/end");
    assert_eq!(rest.post(&target, &json!({})).await?.status, 200);
    let ended = Some(("Heard by all".to_owned(), StreamStatus::Ended));
    for viewer in &mut viewers {
        viewer
            .wait("the end", SOON, |viewer| standing(viewer) == ended)
            .await?;
        // Refused at once, by its own name.
        let key = viewer.post("too late").await?;
        viewer.react("like", 1).await?;
        viewer
            .wait("both refused", SOON, |viewer| {
                viewer.receipt(&key, ReceiptStatus::Rejected).is_some() && !viewer.errors.is_empty()
            })
            .await?;
        let reason = viewer.receipt(&key, ReceiptStatus::Rejected);
        let reason = reason.and_then(|receipt| receipt.reason.clone());
        assert_eq!(reason.as_deref(), Some("stream_ended"));
        let error = &viewer.errors[0];
        assert_eq!(error.code, "stream_ended");
        assert_eq!(error.stream_id.as_ref(), Some(&stream));
    }
    for mut late in [
        dev.viewer(&stream, &Options::default()).await?,
        other.viewer(&stream, &Options::default()).await?,
    ] {
        assert_eq!(standing(&late), ended);
        assert!(late.seen.comments.contains_key(&id), "it can be read");
        late.client().ping(json!(1)).await?;
        late.wait("a pong", SOON, |late| !late.pongs.is_empty())
            .await?;
        assert_eq!(standing(&late), ended);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_named_and_its_posts_are_refused_at_once() -> Result<()> {
    let dev = Dev::shared();
    let token = dev.token("ada-nowhere", "user").await?;
    let stream = StreamId::new("not-there-yet")?;
    let options = Options::default().token(token.clone());
    let mut ada = Viewer::connect(&dev.endpoint()?, &stream, &options).await?;
    ada.join(None).await?;
    ada.wait("the error", SOON, |ada| !ada.errors.is_empty())
        .await?;
    assert_eq!(ada.errors[0].code, "stream_not_found");
    assert_eq!(ada.errors[0].stream_id.as_ref(), Some(&stream));
    let key = ada.post("is anybody there?").await?;
    ada.wait("refused", SOON, |ada| {
        ada.receipt(&key, ReceiptStatus::Rejected).is_some()
    })
    .await?;
    let reason = ada.receipt(&key, ReceiptStatus::Rejected);
    let reason = reason.and_then(|receipt| receipt.reason.as_deref());
    assert_eq!(reason, Some("stream_not_found"));

    // Created now: the next join finds it, on the same connection.
    let body = json!({ "title": "There now", "stream_id": stream.as_str() });
    let made = dev.rest()?.token(token).post("/api/streams", &body).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    ada.join_and_wait(None, SOON).await?;
    ada.post_durable("now it is", SOON).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_yet_says_so() -> Result<()> {
    let dev = Dev::shared();
    let rest = dev.rest()?.token(dev.token("ada-early", "admin").await?);
    for target in [
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
