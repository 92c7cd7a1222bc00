//! A region's events in three partitions, and regions whose worker numbers overlap: the binary over a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use chorus_origin::config;
use chorus_origin::store::Stores;
use chorus_protocol::backhaul::Held;
use chorus_protocol::session::ReplayRange;
use chorus_protocol::{CommentId, Position, StreamId, subject};
use common::pop::{Pop, pop, stored};
use common::{Region, until};

const SOON: Duration = Duration::from_secs(20);
const EACH: usize = 4;

/// A region's configuration with these lines in `[nats]`.
fn with(region: &Region, lines: &str) -> String {
    let config = region.config();
    config.replace("[gateway]", &format!("{lines}\n[gateway]"))
}

async fn say(pop: &mut Pop, stream: &StreamId, times: std::ops::Range<usize>) -> Vec<CommentId> {
    let mut said = Vec::new();
    for n in times {
        let post = pop.comment(stream, &format!("user{n}"), &format!("{stream}{n}"));
        assert_eq!(pop.post(&post).await, stored(post.comment.id));
        said.push(post.comment.id);
    }
    said
}

async fn history(pop: &Pop, stream: &StreamId) -> Vec<CommentId> {
    let newest_first = pop.history(stream).await.into_iter().rev();
    newest_first.map(|comment| comment.id).collect()
}

/// The keys of the store's positions.
async fn positions(region: &Region) -> Vec<String> {
    let path = region.directory.path().join("store/chorus.db");
    let config = config::Store {
        url: Some(format!("sqlite://{}", path.display())),
        ..config::Store::default()
    };
    let stores = Stores::open(&config).await.unwrap();
    stores
        .comments
        .positions()
        .await
        .unwrap()
        .into_keys()
        .collect()
}

#[tokio::test]
async fn events_in_three_partitions_are_delivered_stored_and_read_as_one() {
    let mut region = Region::prepare();
    region.start_nats();
    region.start_with(with(&region, "partitions = 3"), &[]);
    region.ready().await;
    let mut author = pop(&region, 1).await;
    let mut reader = pop(&region, 2).await;
    let (streams, _) = author
        .create(["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"])
        .await;
    let used: BTreeSet<u16> = streams.iter().map(|it| subject::partition(it, 3)).collect();
    assert_eq!(used.len(), 3, "every partition has a stream");
    let mut said = Vec::new();
    for stream in &streams {
        reader.fresh(stream).await;
        let ids = say(&mut author, stream, 0..EACH).await;
        assert_eq!(history(&author, stream).await, ids, "readable at once");
        said.push(ids);
    }
    for (stream, ids) in streams.iter().zip(&said) {
        until("delivered", SOON, async || reader.seen(stream) == *ids).await;
        assert_eq!(reader.holes(stream), []);
    }
    let all = (streams.len() * EACH) as f64;
    until("all are in the store", SOON, async || {
        region.metric("chorus_origin_persist_rows_total").await >= all
    })
    .await;
    assert_eq!(positions(&region).await, ["dev", "dev/1", "dev/2"]);
    let mut places = Vec::new();
    for (stream, ids) in streams.iter().zip(&said) {
        assert_eq!(history(&author, stream).await, *ids, "from the store");
        let at = reader.at(stream);
        let range = ReplayRange {
            from: Position::default(),
            to: at.clone(),
            events_max: 100,
        };
        assert_eq!(author.replay(stream, range).await.events.len(), EACH);
        let held = author.hold(stream, Some(at.clone())).await;
        assert_eq!(held, Held::Resumed);
        places.push(at);
    }

    // Another number of partitions: nothing is lost, and what a viewer knew of the log is a gap.
    region.origins.clear();
    region.start_with(with(&region, "partitions = 2"), &[]);
    region.ready().await;
    let mut author = pop(&region, 3).await;
    for ((stream, ids), at) in streams.iter().zip(&mut said).zip(places) {
        assert_eq!(history(&author, stream).await, *ids, "still there");
        ids.extend(say(&mut author, stream, EACH..EACH + 1).await);
        assert_eq!(history(&author, stream).await, *ids);
        let held = author.hold(stream, Some(at)).await;
        assert!(matches!(held, Held::Gap(_)), "{held:?}");
    }
}

#[tokio::test]
async fn worker_numbers_that_overlap_refuse_to_start_and_are_named() {
    let mut region = Region::prepare();
    region.start_nats();
    let dev = with(&region, "peers = [\"us\"]\nworkers = [0, 511]");
    region.start_with(dev, &[]);
    region.ready().await;
    let us = |first: u16| {
        let lines = format!("peers = [\"dev\"]\nworkers = [{first}, 1023]");
        let config = with(&region, &lines).replace("region = \"dev\"", "region = \"us\"");
        config.replace("/store/", "/store-us/")
    };
    let (overlapping, beside) = (us(500), us(512));
    let refused = region.start_with(overlapping, &["persist"]);
    until("it ends", SOON, async || !region.origins[refused].running()).await;
    let why = "`nats.workers` of us is [500, 1023], dev has [0, 511]";
    assert!(region.logs().contains(why), "{}", region.logs());
    let other = region.start_with(beside, &["persist"]);
    until("provisioned", SOON, async || {
        region.logs().matches("the logs are provisioned").count() == 2
    })
    .await;
    assert!(region.origins[other].running() && region.origins[0].running());
}
