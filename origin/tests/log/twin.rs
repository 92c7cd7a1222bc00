//! Faults that only the twin shows at will.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_origin::history::History;
use chorus_origin::log::memory::{Cut, LiveFault};
use chorus_origin::log::{self, Ack, Log};
use chorus_origin::store::Page;
use chorus_origin::store::memory::Memory;
use chorus_protocol::{Position, Region, StreamId};

use super::common::until;
use super::{Cluster, InMemory, provisioned, publish, region, stored, stream, two};

/// Long enough for a region to be looked at.
const LOOKED: Duration = Duration::from_secs(15);
/// A peer that is asked gets so long, at the most, and a little for a busy machine.
const PEER_WAIT: Duration = Duration::from_secs(3);

struct Two {
    cluster: Cluster,
    eu: Arc<dyn Log>,
    us: Arc<dyn Log>,
    demo: StreamId,
}

async fn start() -> Two {
    let cluster = Cluster::default();
    let [eu, us] = two(&InMemory(cluster.clone())).await;
    for log in [&eu, &us] {
        tokio::spawn(log::watch(Arc::clone(log)));
    }
    let demo = stream("demo");
    Two {
        cluster,
        eu,
        us,
        demo,
    }
}

/// Waits until a peer counts as seen, or as away.
async fn seen(log: &dyn Log, peer: &Region, seen: bool) {
    until("a region is seen or away", LOOKED, async || {
        log.regions().contains_key(peer) == seen
    })
    .await;
}

fn regions(at: &Position) -> Vec<&str> {
    at.0.keys().map(|region| region.as_str()).collect()
}

#[tokio::test]
async fn a_peer_that_is_away_costs_no_history_and_is_left_out_of_its_position() {
    let Two {
        cluster,
        eu,
        us,
        demo,
    } = start().await;
    let history = History::new(Arc::clone(&eu), Arc::new(Memory::default()));
    stored(&*us, &demo, 1, b"far").await;
    let page = Page {
        limit: 10,
        ..Page::default()
    };
    let part = history.read(&demo, page).await.unwrap();
    assert_eq!(regions(&part.at), ["eu", "us"]);
    for cut in [Cut::Silent, Cut::Refused] {
        cluster.cut(us.region(), Some(cut));
        let begun = Instant::now();
        let part = history.read(&demo, page).await.unwrap();
        assert_eq!(regions(&part.at), ["eu"]);
        assert!(begun.elapsed() < PEER_WAIT, "{cut:?}");
        // It is known to be away: the next one does not wait.
        let begun = Instant::now();
        history.read(&demo, page).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(!eu.regions().contains_key(us.region()));
        let why = eu.registry().why_away().unwrap();
        assert!(why.contains("region us away"), "{why}");
        assert!(eu.epoch(us.region()).is_some(), "as seen last");
        cluster.cut(us.region(), None);
        seen(&*eu, us.region(), true).await;
        let part = history.read(&demo, page).await.unwrap();
        assert_eq!(regions(&part.at), ["eu", "us"], "healed");
        assert_eq!(eu.registry().why_away(), None);
    }
}

#[tokio::test]
async fn a_peer_that_is_away_costs_no_totals_and_hides_only_its_own_streams() {
    let Two {
        cluster,
        eu,
        us,
        demo,
    } = start().await;
    for cut in [Cut::Silent, Cut::Refused] {
        cluster.cut(us.region(), Some(cut));
        let begun = Instant::now();
        let totals = eu.all_reaction_totals(&demo).await.unwrap();
        assert_eq!(totals.len(), 1);
        assert_eq!(eu.life(&demo).await.unwrap(), None);
        assert!(begun.elapsed() < PEER_WAIT, "{cut:?}");
        cluster.cut(us.region(), None);
        seen(&*eu, us.region(), true).await;
        assert_eq!(eu.all_reaction_totals(&demo).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_region_is_seen_again_by_itself_and_its_new_epoch_noticed() {
    let Two {
        cluster,
        eu,
        us,
        demo,
    } = start().await;
    let before = eu.epoch(us.region()).unwrap();
    cluster.stop(us.region(), true);
    seen(&*eu, us.region(), false).await;
    let (_, ack) = publish(&*us, &demo, 1, b"lost").await;
    assert_eq!(ack, Ack::Unknown);
    cluster.stop(us.region(), false);
    seen(&*eu, us.region(), true).await;
    assert_eq!(eu.epoch(us.region()), Some(before));
    cluster.wipe(us.region());
    provisioned(&*us).await;
    until("the new epoch is noticed", LOOKED, async || {
        eu.epoch(us.region()).unwrap() > before
    })
    .await;
    assert!(us.consume_events(us.region(), 0).await.is_ok());
}

#[tokio::test]
async fn live_events_may_be_lost_repeated_and_reordered() {
    let Two {
        cluster,
        eu,
        us,
        demo,
    } = start().await;
    let mut live = us.follow_events(&demo).await.unwrap();
    let faults = [LiveFault::Lose, LiveFault::Repeat, LiveFault::Reorder];
    for (key, fault) in (0..).step_by(2).zip(faults) {
        cluster.live(eu.region(), fault);
        for key in [key, key + 1] {
            stored(&*eu, &demo, key, b"it").await;
        }
    }
    cluster.live(eu.region(), LiveFault::None);
    stored(&*eu, &demo, 9, b"it").await;
    let mut heard = Vec::new();
    live.next_group(99, &mut heard).await;
    let seqs: Vec<u64> = heard.iter().map(|it| it.event.seq).collect();
    assert_eq!(seqs, [3, 3, 4, 4, 6, 5, 7]);
    let tail = us.tail(&region("eu"), &demo, 0, 99).await.unwrap();
    assert_eq!(tail.events.len(), 7, "the log has all of them");
}

#[tokio::test]
async fn a_full_log_refuses_and_knows_its_repeats() {
    let Two {
        cluster, eu, demo, ..
    } = start().await;
    stored(&*eu, &demo, 1, b"one").await;
    cluster.full(eu.region(), true);
    assert_eq!(publish(&*eu, &demo, 2, b"two").await.1, Ack::Refused);
    let (_, ack) = publish(&*eu, &demo, 1, b"one").await;
    assert!(matches!(
        ack,
        Ack::Stored {
            duplicate: true,
            ..
        }
    ));
    cluster.full(eu.region(), false);
    stored(&*eu, &demo, 2, b"two").await;
    // Beyond the window a repeat is another event.
    cluster.pass(Duration::from_secs(601));
    stored(&*eu, &demo, 1, b"one").await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let Two {
        cluster, eu, demo, ..
    } = start().await;
    for key in 0..3 {
        stored(&*eu, &demo, key, b"it").await;
    }
    let mut consumer = eu.consume_events(eu.region(), 0).await.unwrap();
    let group = consumer.next_group(2, Duration::ZERO).await.unwrap();
    assert_eq!(group.len(), 2);
    drop(consumer);
    let mut consumer = eu.consume_events(eu.region(), 0).await.unwrap();
    let group = async {
        let first = consumer.next_group(1, Duration::ZERO).await.unwrap();
        cluster.pass(Duration::from_secs(31));
        let more = consumer
            .next_group(2, Duration::from_secs(5))
            .await
            .unwrap();
        [first, more].concat()
    };
    let group = group.await;
    let seen: Vec<_> = group.iter().map(|it| (it.seq, it.handed_out)).collect();
    assert_eq!(seen[..3], [(3, 3), (1, 4), (2, 5)], "late and out of order");
    consumer.acknowledge().await.unwrap();
}
