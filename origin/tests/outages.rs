//! What must not be lost when nats-server or a role is killed.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chorus_origin::config;
use chorus_origin::store::{Page, Stores};
use chorus_protocol::backhaul::Held;
use chorus_protocol::{CommentId, Outcome};
use common::pop::{Pop, Post, fresh, pop, stored};
use common::{Region, until};

const SOON: Duration = Duration::from_secs(20);

/// Posts as the PoP does: what came out unknown is sent again under the same key until it is known.
struct Poster {
    pop: Pop,
    open: BTreeMap<u64, Post>,
    durable: BTreeSet<CommentId>,
    unknown: u64,
    duplicates: u64,
    next: u64,
}

impl Poster {
    fn new(pop: Pop) -> Self {
        Self {
            pop,
            open: BTreeMap::new(),
            durable: BTreeSet::new(),
            unknown: 0,
            duplicates: 0,
            next: 0,
        }
    }

    async fn post(&mut self, region: &Region, count: u64) {
        for _ in 0..count {
            let request = self.next;
            self.next += 1;
            let record = self
                .pop
                .comment(&region.stream(), "ada", &format!("c{request}"));
            self.pop.publish(request, &record).await;
            self.open.insert(request, record);
        }
    }

    /// Takes what was answered within `wait`.
    async fn settle(&mut self, wait: Duration) {
        let until = tokio::time::Instant::now() + wait;
        // What is unknown is answered at once: the time is looked at, not only waited for.
        while tokio::time::Instant::now() < until
            && let Ok(published) = tokio::time::timeout_at(until, self.pop.outcomes.recv()).await
        {
            let published = published.expect("the lane stays");
            let Some(record) = self.open.get(&published.request) else {
                continue;
            };
            match published.outcome {
                Outcome::Stored { id, duplicate } => {
                    assert_eq!(id, record.comment.id, "one mint per key here");
                    self.durable.insert(id);
                    self.duplicates += u64::from(duplicate);
                    self.open.remove(&published.request);
                }
                Outcome::Unknown => {
                    self.unknown += 1;
                    let record = record.clone();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    self.pop.publish(published.request, &record).await;
                }
                refused @ Outcome::Refused { .. } => panic!("{refused:?}"),
            }
        }
    }

    async fn settle_all(&mut self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !self.open.is_empty() {
            assert!(
                std::time::Instant::now() < deadline,
                "{} open",
                self.open.len()
            );
            self.settle(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn nats_killed_during_posts_loses_nothing_and_needs_no_restart() {
    let mut region = Region::start().await;
    let demo = region.stream();
    let mut reader = pop(&region, 2).await;
    fresh(&mut reader, &region).await;
    let mut poster = Poster::new(pop(&region, 1).await);
    for _ in 0..3 {
        // Killed with many on their way to the log and from it.
        for _ in 0..10 {
            poster.post(&region, 50).await;
            poster.settle(Duration::from_millis(5)).await;
        }
        poster.post(&region, 300).await;
        region.kill_nats();
        poster.post(&region, 20).await;
        poster.settle(Duration::from_millis(300)).await;
        region.start_nats();
        poster.settle(Duration::from_millis(500)).await;
    }
    poster.settle_all().await;
    assert!(poster.unknown > 0, "posts meanwhile are answered unknown");
    assert_eq!(poster.durable.len() as u64, poster.next);

    // Every one delivered, once, without a hole, though only the log's leader repeats and it was killed.
    until("all delivered", SOON, async || {
        reader.seen(&demo).len() >= poster.durable.len()
    })
    .await;
    let seen = reader.seen(&demo);
    assert_eq!(seen.len(), poster.durable.len(), "nothing twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), poster.durable);
    assert_eq!(reader.holes(&demo), []);
    assert!(region.origins[0].running(), "no restart was needed");

    // And every one in the history, once.
    let history = reader.history(&demo).await;
    let ids: BTreeSet<CommentId> = history.iter().map(|comment| comment.id).collect();
    assert_eq!(history.len(), ids.len());
    assert_eq!(ids, poster.durable);
    region.ready().await;
}

#[tokio::test]
async fn without_nats_posts_are_unknown_and_a_retry_stores_once() {
    let mut region = Region::start().await;
    let demo = region.stream();
    let mut pop = pop(&region, 1).await;
    let said = pop.comment(&demo, "ada", "before");
    assert_eq!(pop.post(&said).await, stored(said.comment.id));
    region.kill_nats();
    let waiting = pop.comment(&demo, "ada", "during");
    assert_eq!(pop.post(&waiting).await, Outcome::Unknown);
    assert_eq!(pop.post(&waiting).await, Outcome::Unknown);
    region.start_nats();
    let id = waiting.comment.id;
    until("stored", SOON, async || match pop.post(&waiting).await {
        Outcome::Stored { id: of, .. } => of == id,
        Outcome::Unknown => false,
        refused @ Outcome::Refused { .. } => panic!("{refused:?}"),
    })
    .await;
    // The key of before the kill is still known.
    let again = pop.comment(&demo, "ada", "before");
    let first = Outcome::Stored {
        id: said.comment.id,
        duplicate: true,
    };
    assert_eq!(pop.post(&again).await, first);
    assert_eq!(pop.history(&demo).await.len(), 2);
}

#[tokio::test]
async fn everything_killed_and_started_again_keeps_what_was_durable() {
    let mut region = Region::start().await;
    let demo = region.stream();
    let mut poster = Poster::new(pop(&region, 1).await);
    let mut reader = pop(&region, 2).await;
    fresh(&mut reader, &region).await;
    for _ in 0..10 {
        poster.post(&region, 50).await;
        poster.settle(Duration::from_millis(20)).await;
    }
    region.origins[0].kill();
    region.kill_nats();
    let durable = poster.durable.clone();
    assert!(!durable.is_empty());
    let have = reader.at(&demo);
    let seen = reader.seen(&demo);

    region.start_nats();
    region.origins.clear();
    region.start_origin(&[]);
    region.ready().await;
    let mut back = pop(&region, 2).await;
    assert_eq!(back.hold(&demo, Some(have)).await, Held::Resumed);
    let history = back.history(&demo).await;
    let ids: BTreeSet<CommentId> = history.iter().map(|comment| comment.id).collect();
    assert_eq!(history.len(), ids.len(), "once each");
    assert!(ids.is_superset(&durable), "what was durable is there");
    // Of what was not answered some may be stored; the old position brings exactly what was missed.
    until("the rest", SOON, async || {
        seen.len() + back.seen(&demo).len() >= ids.len()
    })
    .await;
    let all: Vec<CommentId> = seen.into_iter().chain(back.seen(&demo)).collect();
    assert_eq!(all.len(), ids.len(), "nothing twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), ids);
}

#[tokio::test]
async fn persist_killed_midway_writes_every_comment_once() {
    let mut region = Region::prepare();
    region.start_nats();
    region.start_origin(&["gateway", "api"]);
    region.ready().await;
    let demo = region.stream();
    let mut poster = Poster::new(pop(&region, 1).await);
    let persist = region.start_origin(&["persist"]);
    for round in 0..20 {
        poster.post(&region, 100).await;
        poster.settle(Duration::from_millis(20)).await;
        if round == 10 {
            region.origins[persist].kill();
        }
    }
    poster.settle_all().await;
    // The store has some, the log the rest.
    let history = poster.pop.history(&demo).await;
    assert_eq!(history.len(), 2_000);
    // Two more at once: one writes, the other waits for its turn.
    region.start_origin(&["persist"]);
    region.start_origin(&["persist"]);
    let path = region.directory.path().join("store/chorus.db");
    let store = config::Store {
        url: Some(format!("sqlite://{}", path.display())),
        ..config::Store::default()
    };
    let rows = async || {
        let stores = Stores::open(&store).await.unwrap();
        let page = Page {
            limit: 5_000,
            ..Default::default()
        };
        let slice = stores.comments.page(demo.clone(), page).await.unwrap();
        (slice.comments.len(), slice.count.comments)
    };
    until("all in the store", SOON, async || {
        rows().await == (2_000, 2_000)
    })
    .await;
    let history = poster.pop.history(&demo).await;
    let ids: BTreeSet<CommentId> = history.iter().map(|comment| comment.id).collect();
    assert_eq!((history.len(), ids), (2_000, poster.durable));
}

#[tokio::test]
async fn a_store_that_lost_its_last_commits_is_filled_from_the_log() {
    let mut region = Region::start().await;
    let demo = region.stream();
    let mut poster = Poster::new(pop(&region, 1).await);
    poster.post(&region, 300).await;
    poster.settle_all().await;
    until("persisted", SOON, async || {
        region.metric("chorus_origin_persist_rows_total").await >= 300.0
    })
    .await;
    region.origins.clear();
    // As after a loss of power, or a restore from an old copy: all of it is gone, the consumer's place is not.
    std::fs::remove_dir_all(region.directory.path().join("store")).unwrap();
    region.start_origin(&[]);
    region.ready().await;
    until("read again", SOON, async || {
        region.metric("chorus_origin_persist_rows_total").await >= 300.0
    })
    .await;
    let pop = pop(&region, 1).await;
    assert_eq!(pop.history(&demo).await.len(), 300);
}

#[tokio::test]
async fn a_poisoned_message_goes_to_the_dead_letters_and_holds_nothing_up() {
    let region = Region::start().await;
    let demo = region.stream();
    let url = format!("nats://127.0.0.1:{}", region.nats_port);
    let client = async_nats::connect(url).await.unwrap();
    let context = async_nats::jetstream::new(client);
    for poison in [&b"\xc1"[..], b"", b"{}"] {
        let published = context
            .publish("event.dev.0.demo", poison.into())
            .await
            .unwrap();
        published.await.unwrap();
    }
    let mut pop = pop(&region, 1).await;
    let said = pop.comment(&demo, "ada", "after");
    assert_eq!(pop.post(&said).await, stored(said.comment.id));
    until("persisted", SOON, async || {
        region.metric("chorus_origin_persist_rows_total").await >= 1.0
    })
    .await;
    assert_eq!(region.metric("chorus_origin_dead_letters_total").await, 3.0);
    let dead = context.get_stream("DEAD_dev").await.unwrap();
    assert_eq!(dead.get_info().await.unwrap().state.messages, 3);
    assert_eq!(pop.history(&demo).await.len(), 1);
}

#[tokio::test]
async fn comments_that_do_not_come_back_live_are_asked_for() {
    let region = Region::start().await;
    let demo = region.stream();
    let mut author = pop(&region, 1).await;
    fresh(&mut author, &region).await;
    // The stream is followed once its first comment is seen.
    let first = author.comment(&demo, "ada", "c0");
    assert_eq!(author.post(&first).await, stored(first.comment.id));
    until("delivered", SOON, async || !author.seen(&demo).is_empty()).await;
    let unproved = "chorus_origin_publishes_unproved_total";
    let second = author.comment(&demo, "ada", "c1");
    assert_eq!(author.post(&second).await, stored(second.comment.id));
    assert!(
        region.metric(unproved).await < 0.5,
        "coming back is proof enough"
    );

    // From now on the log repeats nothing live.
    let nats = format!("nats://127.0.0.1:{}", region.nats_port);
    let jetstream = async_nats::jetstream::new(async_nats::connect(nats).await.unwrap());
    let log = chorus_protocol::subject::events_log(&"dev".parse().unwrap(), 0);
    let mut config = jetstream
        .get_stream(&log)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.republish = None;
    jetstream.update_stream(config).await.unwrap();
    let mut ids = vec![first.comment.id, second.comment.id];
    for round in 0..2 {
        let mut requests = Vec::new();
        for number in 0..20_u64 {
            let said = author.comment(&demo, "ada", &format!("r{round}.{number}"));
            let request = 1_000 * (round + 1) + number;
            author.publish(request, &said).await;
            requests.push((request, said.comment.id));
        }
        for (request, id) in requests {
            // The second try is the one that is told of the first: durable, and once.
            let duplicate = round == 0;
            assert_eq!(
                author.outcome(request).await,
                Outcome::Stored { id, duplicate }
            );
            ids.push(id);
        }
    }
    let asked = region.metric(unproved).await;
    assert!(
        (19.5..20.5).contains(&asked),
        "{asked}: doubted after the first round"
    );
    // The comparison of last sequences finds what did not come.
    until("delivered", SOON, async || author.seen(&demo) == ids).await;
    assert_eq!(author.holes(&demo), []);
}
