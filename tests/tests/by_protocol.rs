//! A client that knows the protocol's text and nothing of our code: another person's JSON and MessagePack over a
//! plain WebSocket library.

use anyhow::{Context, Result, bail};
use chorus_tests::SOON;
use chorus_tests::dev::Dev;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

struct Plain {
    socket: WebSocketStream<TcpStream>,
    msgpack: bool,
}

impl Plain {
    async fn open(dev: &Dev, subprotocol: Option<&str>, token: Option<&str>) -> Result<Self> {
        let tcp = TcpStream::connect(dev.listen()).await?;
        let query = token
            .map(|token| format!("?token={token}"))
            .unwrap_or_default();
        let mut request = format!("ws://{}/v1/ws{query}", dev.listen()).into_client_request()?;
        if let Some(subprotocol) = subprotocol {
            request
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", subprotocol.parse()?);
        }
        let (socket, response) = client_async(request, tcp).await?;
        let chosen = response
            .headers()
            .get("Sec-WebSocket-Protocol")
            .map(|value| value.to_str())
            .transpose()?;
        assert_eq!(chosen, subprotocol, "the server says what it chose");
        Ok(Self {
            socket,
            msgpack: subprotocol == Some("chorus.v1.msgpack"),
        })
    }

    async fn say(&mut self, kind: &str, payload: Value) -> Result<()> {
        let message = json!({ "type": kind, "payload": payload });
        let message = if self.msgpack {
            Message::binary(rmp_serde::to_vec(&message)?)
        } else {
            Message::text(message.to_string())
        };
        Ok(self.socket.send(message).await?)
    }

    /// The payload of the next message of this type; others are passed over.
    async fn hear(&mut self, kind: &str) -> Result<Value> {
        let wait = async {
            while let Some(message) = self.socket.next().await {
                let value: Value = match message? {
                    Message::Text(text) if !self.msgpack => serde_json::from_str(text.as_str())?,
                    Message::Binary(bytes) if self.msgpack => rmp_serde::from_slice(&bytes)?,
                    Message::Ping(_) | Message::Pong(_) => continue,
                    other @ (Message::Text(_)
                    | Message::Binary(_)
                    | Message::Close(_)
                    | Message::Frame(_)) => {
                        bail!("not in this encoding: {other:?}")
                    }
                };
                if value["type"] == kind {
                    return Ok(value["payload"].clone());
                }
            }
            bail!("the end instead of {kind}")
        };
        tokio::time::timeout(SOON, wait)
            .await
            .with_context(|| format!("no {kind}"))?
    }

    async fn hear_comment(&mut self, content: &str) -> Result<(Value, String)> {
        loop {
            let batch = self.hear("comments_batch").await?;
            let resume = batch["resume"]
                .as_str()
                .context("a batch without resume")?
                .to_owned();
            let comments = batch["comments"].as_array().context("no comments")?;
            if let Some(comment) = comments
                .iter()
                .find(|comment| comment["content"] == content)
            {
                return Ok((comment.clone(), resume));
            }
        }
    }
}

/// A token as any HTTP client would ask for it.
async fn token(dev: &Dev, username: &str) -> Result<(String, String)> {
    let answer = dev
        .rest()?
        .post("/api/dev/token", &json!({ "username": username }))
        .await?;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    let answer = answer.json()?;
    let text = |field: &str| {
        answer[field]
            .as_str()
            .map(str::to_owned)
            .context("a field of the token's answer")
    };
    Ok((text("token")?, text("user_id")?))
}

async fn join_post_react_resume(subprotocol: Option<&str>, name: &str) -> Result<()> {
    let dev = Dev::shared();
    let (token, user_id) = token(dev, name).await?;
    let mut writer = Plain::open(dev, subprotocol, Some(&token)).await?;
    let mut reader = Plain::open(dev, subprotocol, None).await?;
    for plain in [&mut writer, &mut reader] {
        plain
            .say(
                "join_stream",
                json!({ "stream_id": "demo", "of_a_later_version": true }),
            )
            .await?;
    }
    let joined = writer.hear("joined").await?;
    assert_eq!(joined["stream_id"], "demo");
    assert_eq!(joined["gap"], false);
    assert_eq!(joined["role"], "user");
    for (field, is_right) in [
        ("resume", joined["resume"].is_string()),
        ("comments", joined["comments"].is_array()),
        ("removed", joined["removed"].is_array()),
        ("reactions", joined["reactions"].is_object()),
        ("viewer_count", joined["viewer_count"].is_u64()),
        ("comment_count", joined["comment_count"].is_u64()),
        ("settings", joined["settings"].is_object()),
    ] {
        assert!(is_right, "{field}: {joined}");
    }
    assert_eq!(reader.hear("joined").await?["role"], "anonymous");

    let content = format!("by the protocol alone, {name}");
    let client_id = format!("{name}-1");
    writer
        .say("post_comment", json!({ "stream_id": "demo", "client_id": client_id, "content": format!("  {content}\n") }))
        .await?;
    let accepted = writer.hear("receipt").await?;
    assert_eq!(
        (&accepted["status"], &accepted["client_id"]),
        (&json!("accepted"), &json!(client_id))
    );
    let durable = writer.hear("receipt").await?;
    assert_eq!(
        (&durable["status"], &durable["client_id"]),
        (&json!("durable"), &json!(client_id))
    );
    let id = durable["comment_id"]
        .as_str()
        .context("an id that is a string")?;
    assert!(id.parse::<u64>().is_ok(), "{id}");

    let (comment, resume) = reader.hear_comment(&content).await?;
    assert_eq!(comment["id"], id);
    assert_eq!(comment["user_id"], user_id.as_str());
    assert_eq!(comment["username"], name);
    assert!(comment["created_at_ms"].is_u64());

    writer
        .say(
            "react",
            json!({ "stream_id": "demo", "reaction_type": "haha", "count": 2 }),
        )
        .await?;
    loop {
        let batch = reader.hear("reactions_batch").await?;
        if batch["counts"]["haha"]
            .as_u64()
            .is_some_and(|count| count >= 2)
        {
            break;
        }
    }

    drop(reader);
    let missed = format!("while you were away, {name}");
    writer
        .say(
            "post_comment",
            json!({ "stream_id": "demo", "client_id": format!("{name}-2"), "content": missed }),
        )
        .await?;
    while writer.hear("receipt").await?["status"] != "durable" {}
    let mut reader = Plain::open(dev, subprotocol, None).await?;
    reader
        .say(
            "join_stream",
            json!({ "stream_id": "demo", "resume": resume }),
        )
        .await?;
    let joined = reader.hear("joined").await?;
    assert_eq!(joined["gap"], false);
    let comments_of = |message: &Value| message["comments"].as_array().cloned();
    let mut comments = comments_of(&joined).context("comments")?;
    // `durable` may be told before the stream brings the comment here: then it follows in a batch.
    while comments
        .iter()
        .all(|comment| comment["content"] != missed.as_str())
    {
        let batch = reader.hear("comments_batch").await?;
        comments.extend(comments_of(&batch).context("comments")?);
    }
    assert!(
        comments.iter().all(|comment| comment["id"] != id),
        "what it had already is not sent again"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_json() -> Result<()> {
    join_post_react_resume(Some("chorus.v1.json"), "plain-json").await
}

#[tokio::test(flavor = "multi_thread")]
async fn by_msgpack() -> Result<()> {
    join_post_react_resume(Some("chorus.v1.msgpack"), "plain-msgpack").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_subprotocol_it_is_json() -> Result<()> {
    join_post_react_resume(None, "plain-default").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_post_over_rest_history_is_json_by_the_protocol() -> Result<()> {
    let dev = Dev::shared();
    let (token, _) = token(dev, "plain-rest").await?;
    let mut writer = Plain::open(dev, None, Some(&token)).await?;
    writer
        .say("join_stream", json!({ "stream_id": "demo" }))
        .await?;
    writer.hear("joined").await?;
    let mut ids = Vec::new();
    for number in 0..3 {
        let payload = json!({ "stream_id": "demo", "client_id": format!("rest-{number}"), "content": format!("page {number}") });
        writer.say("post_comment", payload).await?;
        loop {
            let receipt = writer.hear("receipt").await?;
            if receipt["status"] == "durable" {
                ids.push(receipt["comment_id"].as_str().context("an id")?.to_owned());
                break;
            }
        }
    }
    let rest = dev.rest()?;
    let page = rest
        .get(&format!(
            "/api/streams/demo/comments?limit=1&before={}",
            ids[2]
        ))
        .await?;
    assert!(page.content_type().starts_with("application/json"));
    let page = page.json()?;
    assert_eq!(page["comments"].as_array().map(Vec::len), Some(1), "{page}");
    assert!(
        page["comments"][0]["id"].as_str() >= Some(ids[1].as_str()),
        "{page}"
    );
    assert!(!page["next"].is_null(), "there is more: {page}");
    let after = rest
        .get(&format!(
            "/api/streams/demo/comments?limit=200&after={}",
            ids[0]
        ))
        .await?
        .json()?;
    let found: Vec<&str> = after["comments"]
        .as_array()
        .context("comments")?
        .iter()
        .filter_map(|comment| comment["id"].as_str())
        .collect();
    assert!(
        found.contains(&ids[1].as_str()) && found.contains(&ids[2].as_str()),
        "{after}"
    );
    assert!(!found.contains(&ids[0].as_str()), "{after}");

    for (target, status, code) in [
        (
            "/api/streams/no-such-stream/comments",
            404,
            "stream_not_found",
        ),
        (
            "/api/streams/not%20an%20id/comments",
            404,
            "stream_not_found",
        ),
        (
            "/api/streams/demo/comments?limit=none",
            400,
            "invalid_message",
        ),
        (
            "/api/streams/demo/comments?before=x",
            400,
            "invalid_message",
        ),
        (
            "/api/streams/demo/comments?limit=1&limit=2",
            400,
            "invalid_message",
        ),
        ("/api/streams/%zz", 400, "invalid_message"),
        ("/api/streams/demo/end", 405, "method_not_allowed"),
        ("/api/no-such-thing", 404, "not_found"),
    ] {
        let problem = rest.get(target).await?;
        assert_eq!(problem.status, status, "{target}: {}", problem.text());
        assert_eq!(
            problem.content_type(),
            "application/problem+json",
            "{target}"
        );
        let problem = problem.json()?;
        assert!(problem["title"].is_string(), "{target}");
        assert_eq!(problem["code"], code, "{target}");
    }
    for body in [
        "",
        "{",
        "[]",
        r#"{"username":""}"#,
        r#"{"username":"x","role":"emperor"}"#,
    ] {
        let problem = rest
            .call("POST", "/api/dev/token", Some(body.into()))
            .await?;
        assert!(
            (400..500).contains(&problem.status),
            "{body}: {} {}",
            problem.status,
            problem.text()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_emoji_written_as_escapes_are_durable() -> Result<()> {
    let dev = Dev::shared();
    let (token, _) = token(dev, "escapes").await?;
    let mut writer = Plain::open(dev, None, Some(&token)).await?;
    writer
        .say("join_stream", json!({ "stream_id": "demo" }))
        .await?;
    writer.hear("joined").await?;
    let key = "k".repeat(64);
    let content = r"\ud83d\ude00".repeat(500);
    let message = format!(
        r#"{{"type": "post_comment", "payload": {{"stream_id": "demo", "client_id": "{key}", "content": "{content}"}}}}"#
    );
    assert!(message.len() > 6_000);
    writer.socket.send(Message::text(message)).await?;
    assert_eq!(writer.hear("receipt").await?["status"], "accepted");
    let receipt = writer.hear("receipt").await?;
    assert_eq!(receipt["status"], "durable");
    writer.hear_comment(&"😀".repeat(500)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_or_a_name_that_cannot_be_seen_is_refused_on_every_way_in() -> Result<()> {
    let dev = Dev::shared();
    let (token, _) = token(dev, "\u{202e}evil").await?;
    for nothing in ["\u{200b}", "\u{2060}", "\u{202e}", "\u{3164}"] {
        let rest = dev.rest()?;
        let asked = json!({ "username": nothing });
        let answer = rest.post("/api/dev/token", &asked).await?;
        assert_eq!(answer.status, 400);
    }
    for subprotocol in [None, Some("chorus.v1.msgpack")] {
        let mut writer = Plain::open(dev, subprotocol, Some(&token)).await?;
        writer
            .say("join_stream", json!({ "stream_id": "demo" }))
            .await?;
        writer.hear("joined").await?;
        let post = |content: &str| json!({ "stream_id": "demo", "client_id": content, "content": content });
        for nothing in ["\u{200b}", "\u{2060}", "\u{202e}"] {
            writer.say("post_comment", post(nothing)).await?;
            let receipt = writer.hear("receipt").await?;
            assert_eq!(
                (&receipt["status"], &receipt["reason"]),
                (&json!("rejected"), &json!("empty"))
            );
        }
        let text = format!("{} was here \u{202e}.", subprotocol.unwrap_or("json"));
        writer.say("post_comment", post(&text)).await?;
        let (comment, _) = writer.hear_comment(&text.replace('\u{202e}', "")).await?;
        assert_eq!(comment["username"], "evil");
    }
    Ok(())
}
