//! The REST role: streams, tokens, and pages of comments against a plain list.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use chorus_protocol::backhaul::{Held, Outcome, RestRequest, RestResponse};
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::{CommentId, StreamId};
use common::pop::{Pop, stored};
use common::{Region, until};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

async fn start() -> (Region, Pop) {
    let region = Region::start().await;
    let pop = Pop::connect(region.directory.path(), region.gateway_port, 1).await;
    (region, pop)
}

async fn token(pop: &Pop, username: &str) -> (String, String) {
    let body = json!({ "username": username }).to_string();
    let (status, answer) = pop.rest("POST", "/api/dev/token", None, &body).await;
    assert_eq!(status, 200, "{answer}");
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    (text("token"), text("user_id"))
}

#[tokio::test]
async fn streams_are_created_listed_and_ended() {
    let (_region, mut pop) = start().await;
    let (ada, ada_id) = token(&pop, "Ada").await;
    let (bob, _) = token(&pop, "Bob").await;
    // A title is what is seen of it.
    let body = json!({"title": " \u{202e}A\n talk\u{200b} ", "stream_id": "talk"}).to_string();
    let (status, problem) = pop.rest("POST", "/api/streams", None, &body).await;
    assert_eq!((status, &problem["status"]), (401, &json!(401)));
    let (status, created) = pop.rest("POST", "/api/streams", Some(&ada), &body).await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(created["title"], "A talk");
    assert_eq!(created["broadcaster_id"], ada_id);
    let (status, _) = pop.rest("POST", "/api/streams", Some(&bob), &body).await;
    assert_eq!(status, 409);

    // At once: by REST, to hold and to write to.
    let talk: StreamId = "talk".parse().unwrap();
    let (status, _) = pop.rest("GET", "/api/streams/talk", None, "").await;
    assert_eq!(status, 200);
    assert!(matches!(pop.hold(&talk, None).await, Held::Fresh(_)));
    let said = pop.comment(&talk, "ada", "c1");
    assert_eq!(pop.post(&said).await, stored(said.comment.id));

    // Listed newest first, in pages.
    for number in 0..5 {
        let body = json!({"title": format!("t{number}")}).to_string();
        let (status, _) = pop.rest("POST", "/api/streams", Some(&ada), &body).await;
        assert_eq!(status, 201);
    }
    let mut titles = Vec::new();
    let mut target = "/api/streams?limit=2".to_owned();
    loop {
        let (_, page) = pop.rest("GET", &target, None, "").await;
        for stream in page["streams"].as_array().unwrap() {
            titles.push(stream["title"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => target = format!("/api/streams?limit=2&before={next}"),
            None => break,
        }
    }
    titles.sort();
    assert_eq!(titles, ["A talk", "Demo", "t0", "t1", "t2", "t3", "t4"]);

    let (status, _) = pop
        .rest("POST", "/api/streams/talk/end", Some(&bob), "")
        .await;
    assert_eq!(status, 403);
    let (status, ended) = pop
        .rest("POST", "/api/streams/talk/end", Some(&ada), "")
        .await;
    assert_eq!((status, &ended["status"]), (200, &json!("ended")));
    let (_, live) = pop.rest("GET", "/api/streams/live", None, "").await;
    assert_eq!(live["streams"].as_array().unwrap().len(), 6);
    // No more is written to it, soon.
    let mut number = 1;
    let ended = Outcome::Refused {
        reason: "stream_ended".to_owned(),
        retry_after_ms: None,
    };
    until("refused", Duration::from_secs(5), async || {
        number += 1;
        let late = pop.comment(&talk, "ada", &format!("c{number}"));
        pop.post(&late).await == ended
    })
    .await;
    // Ended twice is ended, by many at once too, and the list of those that are on agrees.
    let ends = (0..4).map(|_| pop.rest("POST", "/api/streams/talk/end", Some(&ada), ""));
    for (status, answer) in futures_util::future::join_all(ends).await {
        assert_eq!((status, &answer["status"]), (200, &json!("ended")));
    }
    let (_, one) = pop.rest("GET", "/api/streams/talk", None, "").await;
    assert_eq!(one["status"], "ended");
    let (_, page) = pop
        .rest("GET", "/api/streams/talk/comments", None, "")
        .await;
    assert!(
        !page["comments"].as_array().unwrap().is_empty(),
        "what was said can be read"
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_as_a_problem() {
    let (_region, pop) = start().await;
    let (token, _) = token(&pop, "Ada").await;
    for (method, target, body, code) in [
        ("GET", "/api/nothing", "", ErrorCode::NotFound),
        ("GET", "/api/streams/", "", ErrorCode::StreamNotFound),
        ("GET", "/api/streams/none", "", ErrorCode::StreamNotFound),
        (
            "GET",
            "/api/streams/none/comments",
            "",
            ErrorCode::StreamNotFound,
        ),
        (
            "GET",
            "/api/streams/none/reactions",
            "",
            ErrorCode::StreamNotFound,
        ),
        (
            "GET",
            "/api/streams/none/metrics",
            "",
            ErrorCode::StreamNotFound,
        ),
        ("GET", "/api/streams/demo/", "", ErrorCode::NotFound),
        ("GET", "/api/streams/%zz", "", ErrorCode::InvalidMessage),
        (
            "GET",
            "/api/streams/demo/comments?limit=201",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?limit=-1",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?limit=abc",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?limit=1&limit=2",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?before=x",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?before=",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?sort=worst",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?sort=top&sort=top",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments/x/replies",
            "",
            ErrorCode::NotFound,
        ),
        (
            "GET",
            "/api/streams?before=%%%",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams?before=not-an-id",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/live?limit=0",
            "",
            ErrorCode::InvalidMessage,
        ),
        ("PUT", "/api/streams", "", ErrorCode::MethodNotAllowed),
        ("POST", "/api/streams", "", ErrorCode::InvalidMessage),
        ("POST", "/api/streams", "{", ErrorCode::InvalidMessage),
        (
            "POST",
            "/api/streams",
            r#"["a title"]"#,
            ErrorCode::InvalidMessage,
        ),
        ("POST", "/api/streams", r#"{}"#, ErrorCode::InvalidMessage),
        (
            "POST",
            "/api/streams",
            r#"{"title":""}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":7}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":true}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":null}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a\u0000b"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","description":"\u0000"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","description":5}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","stream_id":5}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","stream_id":"a.b"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","stream_id":"live"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","stream_id":"demo"}"#,
            ErrorCode::Conflict,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","home_region":"moon"}"#,
            ErrorCode::NotAvailable,
        ),
        (
            "POST",
            "/api/streams/none/end",
            "",
            ErrorCode::StreamNotFound,
        ),
        (
            "POST",
            "/api/streams/demo/end",
            "[]",
            ErrorCode::InvalidMessage,
        ),
        ("POST", "/api/streams/demo/end", "{}", ErrorCode::Forbidden),
        (
            "GET",
            "/api/streams/demo/search?q=x",
            "",
            ErrorCode::NotAvailable,
        ),
        (
            "PATCH",
            "/api/streams/demo/settings",
            "{}",
            ErrorCode::NotAvailable,
        ),
        (
            "POST",
            "/api/dev/token",
            r#"{"username":""}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/dev/token",
            r#"{"username":["a"]}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"\u200b\u202e"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"t","description":"a\u0000b"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/dev/token",
            r#"{"username":"\u3164\u200d"}"#,
            ErrorCode::InvalidMessage,
        ),
    ] {
        let (status, problem) = pop.rest(method, target, Some(&token), body).await;
        let expected = code.http_status();
        assert_eq!(status, expected, "{method} {target} {body}: {problem}");
        assert_eq!(problem["code"], code.as_str(), "{method} {target} {body}");
        assert_eq!(problem["status"], json!(expected));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    // What is not known is let be, in queries as in bodies; what need not be there may be null.
    let (status, _) = pop
        .rest("GET", "/api/streams/%64emo?_=1&_=2&limt=5", None, "{")
        .await;
    assert_eq!(status, 200);
    let body = r#"{"title":"Ok","description":null,"stream_id":null,"home_region":null,"x":1}"#;
    let (status, created) = pop.rest("POST", "/api/streams", Some(&token), body).await;
    assert_eq!((status, &created["description"]), (201, &json!("")));
}

/// What an answer says beside its body: how to authenticate, which methods, what type of body.
#[tokio::test]
async fn refusals_carry_the_fields_that_http_asks_for() {
    let (_region, pop) = start().await;
    let call = |method: &str, target: &str| RestRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        authorization: None,
        body: Vec::new(),
        content_type: None,
    };
    let field = |answer: &RestResponse, name: &str| {
        let mut found = answer.headers.iter().filter(|(is, _)| is == name);
        let value = found.next().map(|(_, value)| value.clone());
        assert_eq!(found.next(), None, "{name} once");
        value.unwrap_or_default()
    };
    let none = pop.call(call("POST", "/api/streams")).await;
    assert_eq!(none.status, 401);
    assert_eq!(field(&none, "www-authenticate"), r#"Bearer realm="chorus""#);
    let bad = RestRequest {
        authorization: Some("Bearer x.y.z".to_owned()),
        ..call("POST", "/api/streams/demo/end")
    };
    let bad = pop.call(bad).await;
    assert_eq!(bad.status, 401);
    assert!(field(&bad, "www-authenticate").contains(r#"error="invalid_token""#));
    let wrong = pop.call(call("DELETE", "/api/streams/demo")).await;
    assert_eq!(
        (wrong.status, field(&wrong, "allow").as_str()),
        (405, "GET, HEAD")
    );
    let plain = RestRequest {
        body: br#"{"username":"ada"}"#.to_vec(),
        content_type: Some("text/plain".to_owned()),
        ..call("POST", "/api/dev/token")
    };
    let refused = pop.call(plain.clone()).await;
    assert_eq!(refused.status, 415);
    let json = RestRequest {
        content_type: Some("application/json; charset=utf-8".to_owned()),
        ..plain
    };
    assert_eq!(pop.call(json).await.status, 200);
    let fine = pop.call(call("GET", "/api/streams/live")).await;
    assert_eq!((fine.status, fine.headers), (200, Vec::new()));
}

/// Every page of every kind against a plain sorted list, with comments in the store and in the log's tail.
#[tokio::test]
async fn pages_agree_with_a_plain_list() {
    let mut region = Region::prepare();
    region.start_nats();
    region.start_origin(&[]);
    region.ready().await;
    let demo = region.stream();
    let mut pop = Pop::connect(region.directory.path(), region.gateway_port, 1).await;
    let mut all: Vec<(CommentId, Option<CommentId>)> = Vec::new();
    for number in 0..60 {
        if number == 40 {
            until(
                "the first are in the store",
                Duration::from_secs(10),
                async || region.metric("chorus_origin_persist_rows_total").await >= 40.0,
            )
            .await;
            // From here on they stay in the log alone.
            region.origins[0].kill();
            region.origins.clear();
            region.start_origin(&["gateway", "api"]);
            region.ready().await;
            pop = Pop::connect(region.directory.path(), region.gateway_port, 1).await;
        }
        let mut said = pop.comment(&demo, "ada", &format!("c{number}"));
        // Not in the order of the log: ids of several PoPs come interleaved.
        said.comment.id = CommentId(said.comment.id.0 ^ (((number * 7) % 5) << 22));
        said.comment.parent_id = (number % 4 == 3).then(|| all[0].0);
        let id = said.comment.id;
        assert_eq!(pop.post(&said).await, stored(id), "{number}");
        all.push((id, said.comment.parent_id));
    }
    all.sort();
    let (sender, mut asked) =
        tokio::sync::mpsc::channel::<(String, std::sync::mpsc::Sender<Value>)>(1);
    let parent = all.iter().find_map(|(_, parent)| *parent).unwrap();
    let list = all.clone();
    let runner = std::thread::spawn(move || {
        let mut runner = TestRunner::new(Config {
            cases: 150,
            ..Config::default()
        });
        let bound = prop::option::of(0_usize..list.len());
        let strategy = (bound.clone(), bound, 1_usize..70, any::<bool>());
        runner.run(&strategy, |(before, after, limit, replies)| {
            let before = before.map(|index| list[index].0);
            let after = after.map(|index| list[index].0);
            let mut expected: Vec<CommentId> = list
                .iter()
                .filter(|(id, of)| {
                    before.is_none_or(|before| *id < before)
                        && after.is_none_or(|after| *id > after)
                        && (!replies || *of == Some(parent))
                })
                .map(|(id, _)| *id)
                .collect();
            let forward = after.is_some() && before.is_none();
            if !forward {
                expected.reverse();
            }
            let more = expected.len() > limit;
            expected.truncate(limit);
            let next = expected.last().filter(|_| more).map(ToString::to_string);
            if forward {
                expected.reverse();
            }

            let mut target = if replies {
                format!("/api/streams/demo/comments/{parent}/replies?limit={limit}")
            } else {
                format!("/api/streams/demo/comments?limit={limit}")
            };
            for (key, bound) in [("before", before), ("after", after)] {
                if let Some(bound) = bound {
                    target += &format!("&{key}={bound}");
                }
            }
            let (to, answer) = std::sync::mpsc::channel();
            sender.blocking_send((target, to)).unwrap();
            let page = answer.recv().unwrap();
            let got: Vec<String> = page["comments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|comment| comment["id"].as_str().unwrap().to_owned())
                .collect();
            let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(page["next"].as_str().map(str::to_owned), next);
            Ok(())
        })
    });
    while let Some((target, to)) = asked.recv().await {
        let (status, page) = pop.rest("GET", &target, None, "").await;
        assert_eq!(status, 200, "{target}");
        to.send(page).unwrap();
    }
    runner.join().unwrap().unwrap();
}
