//! The decision in steps, against a model, and over the twin of the log.

use proptest::prelude::*;

use super::*;

fn region(name: &str) -> Region {
    name.parse().expect("a region")
}

fn three() -> Routes {
    Routes::new(["eu", "us", "ap"].map(region))
}

const STORED: Ack = Ack::Stored {
    seq: 1,
    duplicate: false,
};

fn way(routes: &mut Routes, now_ms: u64) -> (String, Vec<String>) {
    let way = routes.choose(now_ms, None, |_| true).expect("a way");
    let name = |region: &Region| region.as_str().to_owned();
    (name(&way.to), way.probes.iter().map(name).collect())
}

fn is(to: &str, probes: &[&str]) -> (String, Vec<String>) {
    let probes = probes.iter().map(|it| (*it).to_owned());
    (to.to_owned(), probes.collect())
}

#[test]
fn events_go_to_the_nearest_log_that_takes_them_and_home_again() {
    let mut routes = three();
    assert_eq!(way(&mut routes, 0), is("eu", &[]));
    assert!(!routes.went_elsewhere(0));
    let [eu, us] = ["eu", "us"].map(region);
    assert_eq!(routes.came_out(0, &eu, &Ack::Unknown), Some(Turned::Opened));
    assert_eq!(routes.came_out(0, &eu, &Ack::Unknown), None);
    assert_eq!(routes.nearest_away(), Some(&eu));
    // What the nearest did not take goes on, and what comes next goes there at once.
    assert_eq!(routes.next(0, &eu, |_| true), Some(us.clone()));
    assert_eq!(way(&mut routes, 999), is("us", &[]));
    // Each second one goes to both; nobody waits for the nearest.
    assert_eq!(way(&mut routes, 1_000), is("us", &["eu"]));
    assert_eq!(way(&mut routes, 1_001), is("us", &[]));
    assert_eq!(routes.came_out(1_002, &eu, &Ack::Refused), None);
    assert_eq!(way(&mut routes, 2_002), is("us", &["eu"]));
    assert_eq!(routes.came_out(2_003, &eu, &STORED), Some(Turned::Closed));
    assert_eq!(way(&mut routes, 2_003), is("eu", &[]));
    assert!(routes.went_elsewhere(61_000));
    assert!(!routes.went_elsewhere(63_000));
}

#[test]
fn a_pinned_streams_events_go_home_or_nowhere() {
    let mut routes = three();
    let us = region("us");
    let home = |routes: &mut Routes, now_ms, there: bool| {
        let way = routes.choose(now_ms, Some(&us), |region| *region != us || there);
        way.map(|way| (way.to.as_str().to_owned(), way.probes.len()))
    };
    assert_eq!(home(&mut routes, 0, true), Some(("us".to_owned(), 0)));
    assert_eq!(home(&mut routes, 0, false), None, "known to be away");
    routes.came_out(0, &us, &Ack::Unknown);
    assert_eq!(home(&mut routes, 1, true), None);
    assert_eq!(home(&mut routes, 1_000, true), Some(("us".to_owned(), 0)));
    assert_eq!(home(&mut routes, 1_001, true), None, "one looks");
    let mars = region("mars");
    assert_eq!(
        routes.choose(0, Some(&mars), |_| true),
        None,
        "of no region"
    );
    assert!(!routes.went_elsewhere(0), "it is where it belongs");
}

#[test]
fn with_all_logs_away_the_nearest_that_may_be_there_is_tried() {
    let mut routes = three();
    for name in ["eu", "us", "ap"] {
        routes.came_out(0, &region(name), &Ack::Unknown);
    }
    assert_eq!(way(&mut routes, 1), is("eu", &[]));
    assert_eq!(way(&mut routes, 1_000), is("eu", &["us", "ap"]));
    let usable = |region: &Region| region.as_str() != "eu";
    let way = routes.choose(1_001, None, usable).expect("a way");
    assert_eq!(way.to, region("us"));
    assert_eq!(routes.choose(1_001, None, |_| false), None);
    assert_eq!(routes.next(1_001, &region("ap"), |_| true), None);
}

proptest! {
    /// Whatever becomes of events: one that has a choice goes to no log whose breaker is open while another one's is not,
    /// and every log that is open gets a look in time, once in it.
    #[test]
    fn an_event_goes_to_the_nearest_log_that_is_not_away(steps in prop::collection::vec((0_u64..700, 0_usize..3, 0_u8..8, 0_u8..8), 1..200)) {
        let names = ["eu", "us", "ap"].map(region);
        let mut routes = three();
        // When each was found away, or looked at last since.
        let mut open: [Option<u64>; 3] = [None; 3];
        let mut now = 0;
        for (passes, index, what, hidden) in steps {
            now += passes;
            let usable = |region: &Region| {
                let index = names.iter().position(|it| it == region).expect("one of them");
                hidden & (1 << index) == 0
            };
            match what {
                0..5 => {
                    let there = |index: &usize| usable(&names[*index]);
                    let due = |index: &usize| open[*index].is_some_and(|at| now >= at + PROBE_MS);
                    let all: Vec<usize> = (0..3).filter(there).collect();
                    let closed = all.iter().copied().find(|index| open[*index].is_none());
                    let passed: Vec<usize> = all.iter().copied().take_while(|index| Some(*index) != closed).filter(due).collect();
                    let to = closed.or(passed.first().copied()).or(all.first().copied());
                    let found = routes.choose(now, None, usable);
                    prop_assert_eq!(found.as_ref().map(|way| &way.to), to.map(|to| &names[to]));
                    let probes: Vec<&Region> = passed.iter().filter(|it| Some(**it) != to).map(|it| &names[*it]).collect();
                    if let Some(way) = &found {
                        prop_assert_eq!(way.probes.iter().collect::<Vec<_>>(), probes);
                    }
                    for looked in passed {
                        open[looked] = Some(now);
                    }
                }
                5 => {
                    let turned = routes.came_out(now, &names[index], &STORED);
                    prop_assert_eq!(turned == Some(Turned::Closed), open[index].is_some());
                    open[index] = None;
                }
                _ => {
                    let turned = routes.came_out(now, &names[index], &Ack::Unknown);
                    prop_assert_eq!(turned == Some(Turned::Opened), open[index].is_none());
                    open[index] = Some(now);
                }
            }
        }
    }
}

mod over_the_twin {
    use std::sync::Arc;
    use std::time::Duration;

    use chorus_protocol::{CommentId, StreamId};
    use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

    use super::super::{Post, Router, Turn};
    use super::{Region, region};
    use crate::config;
    use crate::log::memory::{Cluster, WriteFault};
    use crate::log::{Ack, Log, Tag, Waiter};
    use crate::metrics::Metrics;

    /// Two regions, and the router of a gateway in `eu`.
    struct Two {
        cluster: Cluster,
        log: Arc<dyn Log>,
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        to: UnboundedSender<(Tag, Ack)>,
        acks: UnboundedReceiver<(Tag, Ack)>,
        demo: StreamId,
    }

    impl Two {
        async fn start() -> Self {
            let cluster = Cluster::default();
            let metrics = Arc::new(Metrics::new());
            let mut logs = Vec::new();
            for (own, peer, workers) in [("us", "eu", [10, 19]), ("eu", "us", [0, 9])] {
                let config = config::Nats {
                    peers: vec![region(peer)],
                    workers,
                    ack_ms_max: 250,
                    ..config::Nats::default()
                };
                let log = cluster.join(&region(own), &config, &metrics);
                log.provision(Duration::from_secs(1))
                    .await
                    .expect("is made");
                logs.push(log);
            }
            let log = logs.pop().expect("two");
            log.look_at(&region("us")).await.expect("is there");
            let (to, acks) = mpsc::unbounded_channel();
            Self {
                router: Arc::new(Router::new(Arc::clone(&log), Arc::clone(&metrics))),
                metrics,
                cluster,
                log,
                to,
                acks,
                demo: "demo".parse().expect("a stream"),
            }
        }

        fn writes(&self, name: &str, fault: WriteFault) {
            self.cluster.writes(&region(name), fault);
        }

        /// Publishes an event and waits how it comes out, and by which region's log.
        async fn post(&mut self, key: u128, home: Option<&Region>) -> Option<(String, Ack)> {
            let tag = Tag {
                number: u64::try_from(key).expect("a small key"),
                key,
                id: Some(CommentId(1)),
                parts: 1,
                ..Tag::default()
            };
            let to = self.to.clone();
            let post = Post {
                stream: &self.demo,
                key,
                home,
            };
            let body = key.to_be_bytes().to_vec();
            let published = self.router.publish(post, body, Waiter { to, tag }).await;
            published.ok()?;
            loop {
                let (tag, ack) = self.acks.recv().await.expect("it comes out");
                if let Turn::Out(tag, ack) = self.router.came_out(tag, ack) {
                    assert_eq!(tag.key, key, "once each");
                    let region = tag.region.expect("some log");
                    return Some((region.as_str().to_owned(), ack));
                }
            }
        }

        async fn stored(&mut self, key: u128) -> String {
            match self.post(key, None).await {
                Some((region, Ack::Stored { .. })) => region,
                other => panic!("{other:?}"),
            }
        }

        async fn held(&self, name: &str) -> usize {
            let tail = self.log.tail(&region(name), &self.demo, 0, 999).await;
            tail.expect("is there").events.len()
        }

        /// Posts until an event is stored at home; says how many it took.
        async fn until_home(&mut self, from: u128) -> u128 {
            for key in from.. {
                if self.stored(key).await == "eu" {
                    return key - from + 1;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            unreachable!("keys do not end")
        }
    }

    #[tokio::test]
    async fn whatever_ails_the_own_log_an_event_is_stored_in_the_next_and_goes_home_again() {
        for fault in [
            WriteFault::NoLeader,
            WriteFault::Frozen,
            WriteFault::AcksLost,
        ] {
            let mut two = Two::start().await;
            assert_eq!(two.stored(1).await, "eu");
            two.writes("eu", fault);
            assert_eq!(two.stored(2).await, "us", "{fault:?}");
            assert_eq!(two.stored(3).await, "us", "at once");
            assert!(
                two.log
                    .registry()
                    .why_away()
                    .is_some_and(|why| why.contains("another region's log"))
            );
            two.writes("eu", WriteFault::None);
            let took = two.until_home(4).await;
            assert_eq!(two.log.registry().why_away(), None);
            let text = two.metrics.text();
            let series = "chorus_origin_log_breaker_open{region=\"eu\"} 0";
            assert!(text.contains(series), "{text}");
            // Each acknowledged event is in a log; only copies that looked whether it takes them are in both.
            let posts = usize::try_from(3 + took).expect("few");
            let held = two.held("eu").await + two.held("us").await;
            assert!(
                (posts..=posts + 3).contains(&held),
                "{posts} {held} {fault:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_a_log_may_have_is_not_called_refused() {
        let mut two = Two::start().await;
        two.cluster.full(&region("eu"), true);
        assert_eq!(two.stored(1).await, "us", "one has no room");
        two.cluster.full(&region("us"), true);
        let (_, ack) = two.post(2, None).await.expect("was tried");
        assert_eq!(ack, Ack::Refused, "none has");
        two.writes("eu", WriteFault::AcksLost);
        two.cluster.full(&region("eu"), false);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let (_, ack) = two.post(3, None).await.expect("was tried");
        assert_eq!(ack, Ack::Unknown, "one may have it");
    }

    #[tokio::test]
    async fn a_pinned_streams_event_is_stored_at_home_or_certainly_nowhere() {
        let mut two = Two::start().await;
        let us = region("us");
        let (to, ack) = two.post(1, Some(&us)).await.expect("is there");
        assert_eq!(to, "us");
        assert!(matches!(ack, Ack::Stored { .. }), "{ack:?}");
        two.writes("us", WriteFault::NoLeader);
        let (_, ack) = two.post(2, Some(&us)).await.expect("was tried");
        assert_eq!(ack, Ack::Unknown, "it might have been");
        assert_eq!(two.post(3, Some(&us)).await, None, "not even tried");
        assert_eq!(two.held("eu").await, 0);
        assert_eq!(two.stored(4).await, "eu", "others are served");
    }

    #[tokio::test]
    async fn a_repeat_is_looked_for_where_it_may_lie() {
        let mut two = Two::start().await;
        let names = |moved, home: Option<&Region>| -> Vec<String> {
            let found = two.router.may_hold(home, Duration::from_secs(3), moved);
            found.iter().map(|it| it.as_str().to_owned()).collect()
        };
        assert_eq!(names(false, None), ["eu"]);
        assert_eq!(names(true, None), ["eu", "us"]);
        assert_eq!(names(true, Some(&region("us"))), ["us"]);

        // Written to the other log while this one was away, then sent again under another id.
        two.writes("eu", WriteFault::NoLeader);
        assert_eq!(two.stored(1).await, "us");
        two.writes("eu", WriteFault::None);
        two.until_home(2).await;
        let before = two.held("eu").await + two.held("us").await;
        for (key, expected) in [(1, "us"), (99, "eu")] {
            let tag = Tag {
                key,
                id: Some(CommentId(7)),
                parts: 1,
                ..Tag::default()
            };
            let to = two.to.clone();
            let body = b"another id".to_vec();
            let waiter = Waiter { to, tag };
            two.router
                .publish_repeat(two.demo.clone(), key, body, waiter);
            let (tag, ack) = two.acks.recv().await.expect("it comes out");
            assert_eq!(tag.region, Some(region(expected)), "{key}");
            let first = matches!(
                ack,
                Ack::Stored {
                    duplicate: true,
                    ..
                }
            );
            assert_eq!(first, key == 1, "{ack:?}");
        }
        let after = two.held("eu").await + two.held("us").await;
        assert_eq!(after, before + 1, "the first is not written again");
    }
}
