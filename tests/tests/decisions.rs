//! Decisions about comments, for everybody at every PoP: taken away for good, highlighted.

use std::time::Duration;

use anyhow::{Context, Result};
use chorus_client::protocol::client::{ClientMessage, PostComment};
use chorus_client::protocol::server::ReceiptStatus;
use chorus_client::protocol::{ClientId, CommentId, Encoding, StreamId};
use chorus_client::{Endpoint, Options, Rest, Viewer};
use chorus_tests::dev::{Dev, Part, alive};
use chorus_tests::pop::Pop;
use chorus_tests::{SOON, eventually, history};
use rustix::process::Signal;
use serde_json::json;

/// A stream of its own, made with this token: its user is the broadcaster.
async fn create(dev: &Dev, token: &str, title: &str) -> Result<StreamId> {
    let rest = dev.rest()?.token(token);
    let made = rest
        .post("/api/streams", &json!({ "title": title }))
        .await?;
    let id = made.json()?["stream_id"]
        .as_str()
        .map(StreamId::new)
        .with_context(|| made.text())??;
    Ok(id)
}

fn as_user(token: &str, encoding: Encoding) -> Options {
    Options::default().token(token).encoding(encoding)
}

async fn sees(viewer: &mut Viewer, id: CommentId) -> Result<()> {
    let shown = |viewer: &Viewer| viewer.seen.comments.contains_key(&id);
    Ok(viewer.wait("the comment", SOON, shown).await?)
}

/// Waits until the comment is gone and gives the reason that was told.
async fn loses(viewer: &mut Viewer, id: CommentId) -> Result<Option<String>> {
    viewer
        .wait("its removal", SOON, |viewer| {
            viewer.seen.removed.contains_key(&id)
        })
        .await?;
    assert!(!viewer.seen.comments.contains_key(&id));
    Ok(viewer.seen.removed[&id].clone())
}

/// Asks for a removal and waits until it is applied.
async fn delete(viewer: &mut Viewer, id: CommentId) -> Result<()> {
    let key = viewer.delete(id).await?;
    applied(viewer, &key, id).await
}

/// Asks for an action of a moderator and waits until it is applied.
async fn moderate(viewer: &mut Viewer, action: &str, id: CommentId) -> Result<()> {
    let key = viewer.moderate(action, id).await?;
    applied(viewer, &key, id).await
}

async fn applied(viewer: &mut Viewer, key: &ClientId, id: CommentId) -> Result<()> {
    viewer
        .wait("`applied`", SOON, |viewer| {
            viewer.receipt(key, ReceiptStatus::Applied).is_some()
        })
        .await?;
    let receipts = &viewer.receipts[key];
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    assert_eq!(receipts[0].comment_id, Some(id));
    Ok(())
}

/// Asks for a removal and gives the code of the error that answers it.
async fn refused(viewer: &mut Viewer, id: CommentId) -> Result<String> {
    let key = viewer.delete(id).await?;
    error_of(viewer, &key).await
}

async fn error_of(viewer: &mut Viewer, key: &ClientId) -> Result<String> {
    let told = |viewer: &Viewer| {
        let mut errors = viewer.errors.iter();
        let error = errors.find(|error| error.client_id.as_deref() == Some(key.as_str()));
        error.map(|error| error.code.clone())
    };
    viewer
        .wait("the refusal", SOON, |viewer| told(viewer).is_some())
        .await?;
    assert!(!viewer.receipts.contains_key(key), "an error is enough");
    told(viewer).context("an error")
}

/// Waits until the stream has this many comments for who joins now, and gives that viewer.
async fn joined_with(url: &str, stream: &StreamId, comment_count: u64) -> Result<Viewer> {
    let endpoint = Endpoint::parse(url)?;
    let what = format!("{comment_count} comments");
    eventually(&what, SOON, || async {
        let options = Options::default();
        let mut viewer = Viewer::connect(&endpoint, stream, &options).await.ok()?;
        let joined = viewer.join_and_wait(None, SOON).await.ok()?;
        (joined.comment_count == comment_count).then_some(viewer)
    })
    .await
}

/// Waits until the history over REST has the comment, or has it no longer.
async fn history_has(rest: &Rest, stream: &StreamId, id: CommentId, wanted: bool) -> Result<()> {
    eventually("the history", SOON, || async {
        let all = history::whole(rest, stream).await.ok()?;
        (all.contains_key(&id) == wanted).then_some(())
    })
    .await
}

/// Joins anew with this token: the comment does not come, and `removed` names it.
async fn resumes_without(
    url: &str,
    stream: &StreamId,
    resume: &str,
    id: CommentId,
) -> Result<Viewer> {
    let endpoint = Endpoint::parse(url)?;
    let mut back = Viewer::connect(&endpoint, stream, &Options::default()).await?;
    let joined = back.join_and_wait(Some(resume), SOON).await?;
    assert!(!joined.gap);
    assert!(
        joined.removed.contains(&id),
        "{id} is not in {:?}",
        joined.removed
    );
    assert!(joined.comments.iter().all(|comment| comment.id != id));
    Ok(back)
}

async fn reply(viewer: &mut Viewer, parent: CommentId, content: &str) -> Result<CommentId> {
    let stream_id = viewer.stream().clone();
    let client_id = ClientId::new("a-reply")?;
    let post = PostComment {
        stream_id,
        client_id: client_id.clone(),
        content: content.to_owned(),
        parent_id: Some(parent),
        media_ms: None,
    };
    viewer
        .client()
        .send(&ClientMessage::PostComment(post))
        .await?;
    viewer
        .wait("the reply's receipt", SOON, |viewer| {
            viewer.durable(&client_id).is_some()
        })
        .await?;
    viewer.durable(&client_id).context("durable")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_takes_an_own_comment_away_from_everybody_and_for_good() -> Result<()> {
    let dev = Dev::shared();
    let other = Pop::start(dev, "removal-pop", 1).await?;
    let token = dev.token("ada-removes", "user").await?;
    let host = dev.token("host-of-ada", "user").await?;
    let stream = create(dev, &host, "Taken away").await?;
    let mut ada = dev
        .viewer(&stream, &as_user(&token, Encoding::Json))
        .await?;
    let msgpack = Options::default().encoding(Encoding::MsgPack);
    let mut others = [
        dev.viewer(&stream, &msgpack).await?,
        other.viewer(&stream, &Options::default()).await?,
        other.viewer(&stream, &msgpack).await?,
    ];
    let before_all = others[0].resume.clone().context("a resume")?;

    let parent = ada.post_durable("it stays", SOON).await?;
    let taken = reply(&mut ada, parent, "it goes").await?;
    sees(&mut ada, taken).await?;
    for viewer in &mut others {
        sees(viewer, taken).await?;
    }
    let after_it = others[0].resume.clone().context("a resume")?;
    let rest = dev.rest()?;
    history_has(&rest, &stream, taken, true).await?;
    joined_with(&dev.url(), &stream, 2).await?;

    delete(&mut ada, taken).await?;
    assert_eq!(loses(&mut ada, taken).await?.as_deref(), Some("author"));
    for viewer in &mut others {
        assert_eq!(loses(viewer, taken).await?.as_deref(), Some("author"));
    }

    for url in [dev.url().as_str(), other.url()] {
        let fresh = joined_with(url, &stream, 1).await?;
        let shown: Vec<CommentId> = fresh.seen.comments.keys().copied().collect();
        assert_eq!(shown, [parent]);
        for resume in [&before_all, &after_it] {
            resumes_without(url, &stream, resume, taken).await?;
        }
    }
    history_has(&rest, &stream, taken, false).await?;
    history_has(&rest, &stream, parent, true).await?;
    let thread = format!("/api/streams/{stream}/comments/{parent}/replies");
    let replies = rest.get(&thread).await?;
    assert_eq!(replies.status, 200, "{}", replies.text());
    assert_eq!(replies.json()?["comments"], json!([]));

    // Once more is applied once more, and told to nobody: what is written behind it comes alone.
    delete(&mut ada, taken).await?;
    let behind = ada.post_durable("behind it", SOON).await?;
    sees(&mut ada, behind).await?;
    for viewer in others.iter_mut().chain([&mut ada]) {
        sees(viewer, behind).await?;
        viewer.watch_for(Duration::from_millis(500)).await;
        assert_eq!(viewer.seen.removed_again, 0);
        assert_eq!(viewer.unreadable, Vec::<String>::new());
    }
    joined_with(&dev.url(), &stream, 2).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_and_what_is_not_there_cannot_be_taken() -> Result<()> {
    let dev = Dev::shared();
    let token = dev.token("ada-keeps", "user").await?;
    let host = dev.token("host-keeps", "user").await?;
    let stream = create(dev, &host, "It stays").await?;
    let elsewhere = create(dev, &host, "Another one").await?;
    let mut ada = dev
        .viewer(&stream, &as_user(&token, Encoding::Json))
        .await?;
    let kept = ada.post_durable("not for you to take", SOON).await?;
    let mut away = dev
        .viewer(&elsewhere, &as_user(&token, Encoding::Json))
        .await?;
    let foreign = away.post_durable("in another stream", SOON).await?;

    let mallory = dev.token("mallory-removes", "user").await?;
    for encoding in Encoding::ALL {
        let mut viewer = dev.viewer(&stream, &as_user(&mallory, encoding)).await?;
        sees(&mut viewer, kept).await?;
        assert_eq!(refused(&mut viewer, kept).await?, "forbidden");
        let anonymous = Options::default().encoding(encoding);
        let mut reader = dev.viewer(&stream, &anonymous).await?;
        assert_eq!(refused(&mut reader, kept).await?, "unauthenticated");
    }
    let unknown: CommentId = "12345".parse()?;
    let moderator = dev.token("mod-finds-nothing", "moderator").await?;
    let mut moderator = dev
        .viewer(&stream, &as_user(&moderator, Encoding::MsgPack))
        .await?;
    for viewer in [&mut ada, &mut moderator] {
        for id in [unknown, foreign] {
            assert_eq!(refused(viewer, id).await?, "comment_not_found");
        }
    }

    let after = ada.post_durable("still here", SOON).await?;
    for viewer in [&mut ada, &mut moderator] {
        sees(viewer, after).await?;
        assert!(viewer.seen.removed.is_empty());
    }
    let fresh = joined_with(&dev.url(), &stream, 2).await?;
    assert!(fresh.seen.comments.contains_key(&kept));
    history_has(&dev.rest()?, &stream, kept, true).await?;
    history_has(&dev.rest()?, &elsewhere, foreign, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_the_broadcaster_and_an_admin_may() -> Result<()> {
    let dev = Dev::shared();
    let host = dev.token("host-moderates", "user").await?;
    let stream = create(dev, &host, "Moderated").await?;
    let token = dev.token("ada-is-moderated", "user").await?;
    let mut ada = dev
        .viewer(&stream, &as_user(&token, Encoding::Json))
        .await?;
    let by = [
        (dev.token("mod-removes", "moderator").await?, "moderator"),
        (host, "broadcaster"),
        (dev.token("admin-removes", "admin").await?, "admin"),
    ];
    for (index, (token, role)) in by.iter().enumerate() {
        let options = as_user(token, Encoding::ALL[index % 2]);
        let mut taker = dev.viewer(&stream, &options).await?;
        let joined = taker.joined.as_ref().context("joined")?;
        assert_eq!(&joined.role, role);
        let id = ada
            .post_durable(&format!("taken by the {role}"), SOON)
            .await?;
        sees(&mut taker, id).await?;
        delete(&mut taker, id).await?;
        for viewer in [&mut taker, &mut ada] {
            assert_eq!(loses(viewer, id).await?.as_deref(), Some("moderator"));
        }
    }

    // Without a key there is no receipt, and it is done all the same.
    let id = ada.post_durable("taken without a key", SOON).await?;
    let receipts = ada.receipts.len();
    ada.client().delete(&stream, id, None).await?;
    assert_eq!(loses(&mut ada, id).await?.as_deref(), Some("author"));
    ada.watch_for(Duration::from_millis(300)).await;
    assert_eq!(ada.receipts.len(), receipts);
    joined_with(&dev.url(), &stream, 0).await?;
    Ok(())
}

/// Waits until the viewer sees the comment highlighted, or no longer.
async fn sees_highlighted(viewer: &mut Viewer, id: CommentId, on: bool) -> Result<()> {
    let shown = |viewer: &Viewer| {
        let comment = viewer.seen.comments.get(&id);
        comment.is_some_and(|comment| comment.highlighted == on)
    };
    Ok(viewer.wait("its highlight", SOON, shown).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_highlights_for_everybody_and_ends_it() -> Result<()> {
    let dev = Dev::shared();
    let other = Pop::start(dev, "highlight-pop", 1).await?;
    let host = dev.token("host-of-highlights", "user").await?;
    let stream = create(dev, &host, "Highlighted").await?;
    let token = dev.token("ada-is-highlighted", "user").await?;
    let mut ada = dev
        .viewer(&stream, &as_user(&token, Encoding::Json))
        .await?;
    let moderator = dev.token("mod-highlights", "moderator").await?;
    let options = as_user(&moderator, Encoding::MsgPack);
    let endpoint = Endpoint::parse(other.url())?;
    let mut moderator = Viewer::connect(&endpoint, &stream, &options).await?;
    moderator.join_and_wait(None, SOON).await?;
    let mut away = dev.viewer(&stream, &Options::default()).await?;

    let id = ada.post_durable("worth a look", SOON).await?;
    let plain = ada.post_durable("as any other", SOON).await?;
    for viewer in [&mut ada, &mut moderator, &mut away] {
        sees(viewer, plain).await?;
    }
    let resume = away.resume.clone().context("a resume")?;
    drop(away);
    let key = ada.moderate("highlight", id).await?;
    assert_eq!(error_of(&mut ada, &key).await?, "forbidden");
    let unknown: CommentId = "12345".parse()?;
    let key = moderator.moderate("highlight", unknown).await?;
    assert_eq!(error_of(&mut moderator, &key).await?, "comment_not_found");

    for on in [true, false, true] {
        let action = if on { "highlight" } else { "unhighlight" };
        moderate(&mut moderator, action, id).await?;
        for viewer in [&mut ada, &mut moderator] {
            sees_highlighted(viewer, id, on).await?;
            sees_highlighted(viewer, plain, false).await?;
        }
    }
    // Whoever joins, comes back or reads the history sees it so.
    for url in [dev.url().as_str(), other.url()] {
        let fresh = joined_with(url, &stream, 2).await?;
        assert!(fresh.seen.comments[&id].highlighted);
        let endpoint = Endpoint::parse(url)?;
        let mut back = Viewer::connect(&endpoint, &stream, &Options::default()).await?;
        let joined = back.join_and_wait(Some(&resume), SOON).await?;
        assert!(!joined.gap);
        back.wait("the update", SOON, |back| back.seen.updates > 0)
            .await?;
    }
    let rest = dev.rest()?;
    eventually("the history", SOON, || async {
        let all = history::whole(&rest, &stream).await.ok()?;
        (all[&id].highlighted && !all[&plain].highlighted).then_some(())
    })
    .await?;

    // What is taken away is not highlighted any more.
    delete(&mut ada, id).await?;
    loses(&mut moderator, id).await?;
    let key = moderator.moderate("highlight", id).await?;
    assert_eq!(error_of(&mut moderator, &key).await?, "comment_not_found");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_comment_stays_away_when_the_origin_is_killed_and_comes_back() -> Result<()> {
    let dev = Dev::start(&["--on-exit", "restart", "--restart-delay-ms", "200"])?;
    let demo = dev.demo()?;
    let mut ada = dev
        .writer("ada-outlives", "user", Options::default())
        .await?;
    let mut bob = dev.viewer(&demo, &Options::default()).await?;
    let resume = bob.resume.clone().context("a resume")?;
    let kept = ada.post_durable("kept", SOON).await?;
    let taken = ada.post_durable("taken", SOON).await?;
    sees(&mut bob, taken).await?;
    delete(&mut ada, taken).await?;
    loses(&mut bob, taken).await?;

    let killed = dev.pid(Part::Origin)?;
    dev.signal(Part::Origin, Signal::KILL)?;
    eventually("another origin", SOON * 2, || async {
        let pid = dev.pid(Part::Origin).ok()?;
        (pid != killed && alive(pid)).then_some(())
    })
    .await?;
    let rest = dev.rest()?;
    history_has(&rest, &demo, kept, true).await?;
    assert!(!history::whole(&rest, &demo).await?.contains_key(&taken));
    let fresh = joined_with(&dev.url(), &demo, 1).await?;
    assert!(!fresh.seen.comments.contains_key(&taken));
    let mut back = resumes_without(&dev.url(), &demo, &resume, taken).await?;
    sees(&mut back, kept).await?;

    // The new one knows of it, too: applied, and not told again.
    delete(&mut ada, taken).await?;
    let behind = ada.post_durable("behind", SOON * 2).await?;
    for viewer in [&mut bob, &mut back] {
        sees(viewer, behind).await?;
        viewer.watch_for(Duration::from_millis(500)).await;
        assert_eq!(viewer.seen.removed_again, 0);
        assert!(!viewer.seen.comments.contains_key(&taken));
    }
    Ok(())
}
