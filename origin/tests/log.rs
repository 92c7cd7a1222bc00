//! What a log does, held by one suite over each implementation: NATS and its twin in memory.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "log/behaviour.rs"]
mod behaviour;
mod common;
#[path = "log/gateways.rs"]
mod gateways;
#[path = "log/mirrors.rs"]
mod mirrors;
#[path = "log/partitions.rs"]
mod partitions;
#[path = "log/twin.rs"]
mod twin;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chorus_origin::config;
use chorus_origin::log::memory::Cluster;
use chorus_origin::log::nats::Nats;
use chorus_origin::log::{Ack, Log, LogError, Tag, Waiter};
use chorus_origin::metrics::Metrics;
use chorus_protocol::{CommentId, Region, StreamId};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

const WORKERS: Duration = Duration::from_secs(1);

/// Where regions meet.
trait Place: Send + Sync {
    /// A process of a region, not provisioned yet.
    fn join<'a>(&'a self, region: &'a str, config: config::Nats) -> BoxFuture<'a, Arc<dyn Log>>;
}

struct InMemory(Cluster);

impl Place for InMemory {
    fn join<'a>(&'a self, region: &'a str, config: config::Nats) -> BoxFuture<'a, Arc<dyn Log>> {
        let metrics = Arc::new(Metrics::new());
        let log = self.0.join(&region.parse().unwrap(), &config, &metrics);
        Box::pin(std::future::ready(log))
    }
}

struct Server(common::Region);

impl Place for Server {
    fn join<'a>(&'a self, region: &'a str, config: config::Nats) -> BoxFuture<'a, Arc<dyn Log>> {
        Box::pin(async move {
            let config = config::Nats {
                url: format!("nats://127.0.0.1:{}", self.0.nats_port),
                ..config
            };
            let metrics = Arc::new(Metrics::new());
            let log = Nats::connect(config, region.parse().unwrap(), metrics).await;
            let log: Arc<dyn Log> = Arc::new(log.unwrap());
            let mut link = log.link();
            link.wait_for(|link| link.connected).await.unwrap();
            log
        })
    }
}

fn server() -> Server {
    let mut region = common::Region::prepare();
    region.start_nats();
    Server(region)
}

/// Runs each behaviour over each implementation.
macro_rules! over_both {
    ($($module:ident: $($name:ident),+;)+) => {
        mod memory {
            $($(#[tokio::test]
            async fn $name() {
                let place = super::InMemory(super::Cluster::default());
                super::$module::$name(&place).await;
            })+)+
        }
        mod nats {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(&super::server()).await;
            })+)+
        }
    };
}

over_both! {
    behaviour:
        an_event_is_stored_once_under_its_key,
        what_is_stored_is_repeated_with_what_came_before_it,
        a_tail_is_read_whole_in_pages_of_count_and_bytes,
        reactions_are_added_once_under_their_key,
        a_stream_has_one_last_word_at_home,
        a_worker_number_is_one_holders_until_it_ends,
        what_is_not_acknowledged_is_not_past,
        a_call_is_answered_by_one,
        viewers_are_reported_to_all;
    gateways:
        a_gateways_lease_is_heard_everywhere_and_ends_by_itself;
    mirrors:
        a_mirror_holds_what_its_origin_does_and_is_read_for_it,
        the_mirror_of_a_log_made_anew_is_made_anew_once_the_store_has_the_old_one;
    partitions:
        each_stream_lies_in_its_partition,
        the_epoch_stays_until_a_log_is_made_anew,
        another_number_is_refused_until_the_store_holds_all,
        blocks_of_workers_that_overlap_refuse_to_start;
}

/// As configured by default, with peers.
fn with_peers(peers: &[&str]) -> config::Nats {
    config::Nats {
        peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        ..config::Nats::default()
    }
}

/// Two regions with a block of worker numbers each.
async fn two(place: &dyn Place) -> [Arc<dyn Log>; 2] {
    let block = |peer: &str, workers| config::Nats {
        workers,
        ..with_peers(&[peer])
    };
    let eu = place.join("eu", block("us", [0, 9])).await;
    let us = place.join("us", block("eu", [10, 19])).await;
    provisioned(&*eu).await;
    provisioned(&*us).await;
    // The second one was not there yet.
    eu.look_at(us.region()).await.unwrap();
    [eu, us]
}

async fn one(place: &dyn Place, config: config::Nats) -> Arc<dyn Log> {
    let log = place.join("eu", config).await;
    provisioned(&*log).await;
    log
}

/// As an origin starts: what is away is tried again.
async fn provisioned(log: &dyn Log) {
    for _ in 0..100 {
        match log.provision(WORKERS).await {
            Ok(()) => return,
            Err(LogError::Away(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("in vain");
}

fn stream(name: &str) -> StreamId {
    name.parse().unwrap()
}

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

/// Publishes an event to its region's log and waits how it comes out.
async fn publish(log: &dyn Log, stream: &StreamId, key: u128, body: &[u8]) -> (Tag, Ack) {
    publish_to(log, log.region(), stream, key, body).await
}

/// The same to another region's.
async fn publish_to(
    log: &dyn Log,
    region: &Region,
    stream: &StreamId,
    key: u128,
    body: &[u8],
) -> (Tag, Ack) {
    let (to, mut told) = mpsc::unbounded_channel();
    let tag = Tag {
        key,
        id: Some(CommentId(1)),
        ..Tag::default()
    };
    let body = Bytes::copy_from_slice(body);
    log.publish_event(region, stream, key, body, Waiter { to, tag })
        .await;
    told.recv().await.unwrap()
}

async fn stored(log: &dyn Log, stream: &StreamId, key: u128, body: &[u8]) -> u64 {
    match publish(log, stream, key, body).await.1 {
        Ack::Stored {
            seq,
            duplicate: false,
        } => seq,
        other @ (Ack::Stored { .. } | Ack::Refused | Ack::Unknown) => panic!("{other:?}"),
    }
}
