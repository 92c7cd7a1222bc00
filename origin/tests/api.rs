//! The REST role: streams, tokens, and pages of comments against a plain list.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;
#[path = "api/refusals.rs"]
mod refusals;

use std::time::Duration;

use chorus_protocol::backhaul::Held;
use chorus_protocol::{CommentId, Outcome, StreamId};
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

#[tokio::test]
async fn streams_are_created_listed_and_ended() {
    let (_region, mut pop) = start().await;
    let (ada, ada_id) = pop.sign_in("Ada").await;
    let (bob, _) = pop.sign_in("Bob").await;
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
