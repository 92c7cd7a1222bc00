//! Three regions with mirrors of each other, each with a store of its own: over the twin in memory.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chorus_origin::config;
use chorus_origin::history::{History, Part};
use chorus_origin::log::memory::Cluster;
use chorus_origin::log::{self, Ack, Log, Tag, Waiter};
use chorus_origin::metrics::Metrics;
use chorus_origin::persist::Persist;
use chorus_origin::store::memory::Memory;
use chorus_origin::store::{Comments as _, Page, Positions, Stores};
use chorus_protocol::event::AuthorRole;
use chorus_protocol::{CommentId, Region, StreamId};
use common::pop::{record, remove};
use common::until;
use tokio::sync::{mpsc, watch};

const REGIONS: [&str; 3] = ["eu", "us", "ap"];
const SOON: Duration = Duration::from_secs(20);

struct Site {
    log: Arc<dyn Log>,
    store: Arc<Memory>,
    history: History,
    metrics: Arc<Metrics>,
}

struct Three {
    cluster: Cluster,
    sites: BTreeMap<&'static str, Site>,
    demo: StreamId,
    _run: watch::Sender<bool>,
}

impl Three {
    /// Provisioned, mirrored and written to stores.
    async fn start() -> Self {
        let cluster = Cluster::default();
        let (run, stop) = watch::channel(false);
        let mut sites = BTreeMap::new();
        for (number, name) in (0..).zip(REGIONS) {
            let peers = REGIONS.iter().filter(|peer| **peer != name);
            let config = config::Nats {
                peers: peers.map(|peer| peer.parse().unwrap()).collect(),
                workers: [number * 10, number * 10 + 9],
                ..config::Nats::default()
            };
            let metrics = Arc::new(Metrics::new());
            let log = cluster.join(&name.parse().unwrap(), &config, &metrics);
            log.provision(SOON).await.unwrap();
            let store = Arc::new(Memory::default());
            let history = History::new(Arc::clone(&log), store.clone());
            let site = Site {
                log,
                store,
                history,
                metrics,
            };
            sites.insert(name, site);
        }
        for site in sites.values() {
            for peer in site.log.registry().peers() {
                site.log.look_at(peer).await.unwrap();
                site.log.mirror(peer, &Positions::new()).await.unwrap();
            }
            tokio::spawn(log::watch(Arc::clone(&site.log)));
            let persist = Persist {
                log: Arc::clone(&site.log),
                stores: Stores {
                    comments: site.store.clone(),
                    streams: site.store.clone(),
                },
                metrics: Arc::clone(&site.metrics),
                running: Arc::default(),
                streams_failed: AtomicBool::new(false),
            };
            tokio::spawn(persist.run(stop.clone()));
        }
        Self {
            cluster,
            sites,
            demo: "demo".parse().unwrap(),
            _run: run,
        }
    }

    fn site(&self, region: &str) -> &Site {
        &self.sites[region]
    }

    async fn put(&self, region: &str, key: u128, body: Vec<u8>) {
        let (to, mut told) = mpsc::unbounded_channel();
        let waiter = Waiter {
            to,
            tag: Tag::default(),
        };
        let log = &self.site(region).log;
        log.publish_event(log.region(), &self.demo, key, body.into(), waiter)
            .await;
        let (_, ack) = told.recv().await.unwrap();
        assert!(matches!(ack, Ack::Stored { .. }), "{ack:?}");
    }

    async fn say(&self, region: &str, id: u64) -> CommentId {
        let post = record(CommentId(id), &self.demo, "ada", &id.to_string());
        self.put(region, post.key(), post.body()).await;
        CommentId(id)
    }

    async fn take_away(&self, region: &str, id: u64, comment: CommentId) {
        use chorus_protocol::backhaul::Publish;
        let by = ("mod", AuthorRole::Moderator);
        let removal = remove(0, CommentId(id), (&self.demo, comment), by);
        let Publish::Event { event, .. } = removal else {
            panic!("an event");
        };
        self.put(region, id.into(), event).await;
    }

    /// What a region's history says.
    async fn read(&self, region: &str) -> Part {
        let page = Page {
            limit: 50,
            ..Page::default()
        };
        self.site(region)
            .history
            .read(&self.demo, page)
            .await
            .unwrap()
    }

    /// The comments and their number, from the store alone.
    async fn stored(&self, region: &str) -> (Vec<u64>, i64) {
        let page = Page {
            limit: 50,
            ..Page::default()
        };
        let slice = self.site(region).store.page(self.demo.clone(), page).await;
        let slice = slice.unwrap();
        let ids = slice.comments.iter().map(|(id, _)| id.0).collect();
        (ids, slice.count.comments)
    }

    /// Waits until all stores hold these, newest first.
    async fn all_hold(&self, ids: &[u64]) {
        let what = (ids.to_vec(), ids.len() as i64);
        for region in REGIONS {
            until("the store holds all", SOON, async || {
                self.stored(region).await == what
            })
            .await;
        }
    }
}

fn ids(part: &Part) -> Vec<u64> {
    part.comments.iter().map(|(id, _)| id.0).collect()
}

fn place(part: &Part, region: &str) -> Option<u64> {
    let region: Region = region.parse().unwrap();
    Some(part.at.get(&region)?.seq)
}

#[tokio::test]
async fn every_store_holds_all_regions_events_and_one_region_that_stands_still_stops_no_other() {
    let three = Three::start().await;
    let first = three.say("eu", 10).await;
    three.say("us", 20).await;
    three.say("ap", 30).await;
    three.take_away("us", 31, first).await;
    three.all_hold(&[30, 20]).await;
    // The mirrors of ap get nothing: it lacks what the others write, and they lack nothing.
    three.cluster.stand(&"ap".parse().unwrap(), true);
    three.say("us", 40).await;
    three.say("ap", 50).await;
    for region in ["eu", "us"] {
        let all = (vec![50, 40, 30, 20], 4);
        until("all", SOON, async || three.stored(region).await == all).await;
    }
    until("its own", SOON, async || {
        three.stored("ap").await == (vec![50, 30, 20], 3)
    })
    .await;
    let behind = "chorus_origin_mirror_lag{region=\"us\"} 1";
    until("it is said", SOON, async || {
        three.site("ap").metrics.text().contains(behind)
    })
    .await;
    // Its history reads over the border what the mirror lacks.
    let whole = async || ids(&three.read("ap").await) == [50, 40, 30, 20];
    until("the origin is read", SOON, whole).await;
    three.cluster.stand(&"ap".parse().unwrap(), false);
    three.all_hold(&[50, 40, 30, 20]).await;
}

#[tokio::test]
async fn a_region_that_is_away_is_read_up_to_where_its_mirror_got_and_the_rest_comes_after() {
    let three = Three::start().await;
    let us: Region = "us".parse().unwrap();
    three.say("us", 10).await;
    three.say("us", 20).await;
    three.all_hold(&[20, 10]).await;
    // This one was heard live at the most: no mirror has it.
    for region in ["eu", "ap"] {
        three.cluster.stand(&region.parse().unwrap(), true);
    }
    three.say("us", 30).await;
    three.cluster.stop(&us, true);
    for region in ["eu", "ap"] {
        let log = &three.site(region).log;
        until("us is away", SOON, async || log.registry().is_away(&us)).await;
        let part = three.read(region).await;
        assert_eq!((ids(&part), part.comment_count), (vec![20, 10], 2));
        assert_eq!(place(&part, "us"), Some(2), "exactly so far");
        let demo = &three.demo;
        let beyond = log.stretch(&us, demo, 2, 3, 10).await.unwrap();
        assert_eq!((beyond.part.last_seq, beyond.tail.events.len()), (2, 0));
        assert_eq!(log.registry().why_behind(), None, "that is told as away");
    }
    for region in ["eu", "ap"] {
        three.cluster.stand(&region.parse().unwrap(), false);
    }
    three.cluster.stop(&us, false);
    three.all_hold(&[30, 20, 10]).await;
    assert_eq!(place(&three.read("eu").await, "us"), Some(3));
}

#[tokio::test]
async fn a_removal_stored_before_its_comment_holds_while_the_comments_region_is_away() {
    let three = Three::start().await;
    let us: Region = "us".parse().unwrap();
    let gone = three.say("us", 10).await;
    three.all_hold(&[10]).await;
    three.cluster.stop(&us, true);
    three.take_away("ap", 20, gone).await;
    let log = &three.site("eu").log;
    until("us is away", SOON, async || log.registry().is_away(&us)).await;
    until("eu has it", SOON, async || {
        three.read("eu").await.comment_count == 0
    })
    .await;
    let part = three.read("eu").await;
    assert_eq!((ids(&part), place(&part, "us")), (vec![], Some(1)));
    // Who starts from this state reads nothing of us again: the comment lies before the position.
    three.cluster.stop(&us, false);
    three.all_hold(&[]).await;
}
