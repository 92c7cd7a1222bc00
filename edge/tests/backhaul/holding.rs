//! Streams held: one hold for all shards, no hole and no repeat whatever happens to the line.

use std::sync::atomic::Ordering::Relaxed;

use chorus_edge::backhaul::BackhaulBounds;
use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::backhaul::{Held, ToGateway};

use crate::gateway::{Gateway, Seen};
use crate::keys::Authority;
use crate::pop::{Pop, at, bounds, delivery, demo, state};

#[tokio::test]
async fn a_second_shard_is_served_from_what_the_first_holds() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    assert_eq!(peer.hold().await, (demo(), None));
    peer.held(&demo(), Held::Fresh(state(100, 51..=100))).await;
    let first = pop.shards[0].state().await.expect("known");
    assert_eq!((first.at.clone(), first.newest.len()), (at(100), 50));
    peer.deliver(&demo(), &delivery(100, 103)).await;
    assert_eq!(pop.shards[0].delivered().await.0, delivery(100, 103));

    pop.subscribe(1, &demo()).await;
    let second = pop.shards[1].state().await.expect("known");
    assert_eq!(second.at, at(103));
    assert_eq!(second.comment_count, 103);
    let seqs: Vec<u64> = second.newest.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (54..=103).collect::<Vec<_>>());
    peer.deliver(&demo(), &delivery(103, 104)).await;
    let (a, bytes_a) = pop.shards[0].delivered().await;
    let (b, bytes_b) = pop.shards[1].delivered().await;
    assert_eq!((&a, &b), (&delivery(103, 104), &delivery(103, 104)));
    assert_eq!(
        bytes_a.as_ptr(),
        bytes_b.as_ptr(),
        "the same bytes for both"
    );
    assert!(peer.saw_no(|seen| matches!(seen, Seen::Control(ToGateway::Hold { .. }))));
}

#[tokio::test]
async fn a_reconnect_goes_on_without_a_hole_or_a_repeat() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(1, 1..=1))).await;
    pop.shards[0].state().await.expect("known");
    for seq in 1..6 {
        peer.deliver(&demo(), &delivery(seq, seq + 1)).await;
        pop.shards[0].delivered().await;
    }
    peer.connection.close(0_u32.into(), b"gone");

    let mut peer = gateway.peer().await;
    assert_eq!(peer.hold().await, (demo(), Some(at(6))));
    // The lane may be faster than the answer, and what it brings may begin before what is there.
    peer.deliver(&demo(), &delivery(4, 6)).await;
    peer.deliver(&demo(), &delivery(5, 8)).await;
    peer.held(&demo(), Held::Resumed).await;
    assert_eq!(pop.shards[0].delivered().await.0, delivery(6, 8));
    peer.deliver(&demo(), &delivery(8, 9)).await;
    assert_eq!(pop.shards[0].delivered().await.0, delivery(8, 9));
    assert!(pop.shards[0].heard_no(|message| matches!(message, ToShard::State { .. })));
    assert_eq!(pop.metrics.connects.load(Relaxed), 2);
}

#[tokio::test]
async fn a_hole_is_asked_for_and_a_contradiction_is_a_hole() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(10, 1..=10))).await;
    pop.shards[0].state().await.expect("known");
    peer.deliver(&demo(), &delivery(12, 13)).await;
    assert_eq!(peer.hold().await, (demo(), Some(at(10))));
    peer.held(&demo(), Held::Resumed).await;
    peer.deliver(&demo(), &delivery(10, 13)).await;
    assert_eq!(pop.shards[0].delivered().await.0, delivery(10, 13));

    let mut wrong = delivery(13, 15);
    wrong.events.reverse();
    peer.deliver(&demo(), &wrong).await;
    assert_eq!(peer.hold().await, (demo(), Some(at(13))));
    peer.held(&demo(), Held::Gap(state(40, 1..=40))).await;
    let state = pop.shards[0].state().await.expect("known");
    assert_eq!(state.at, at(40));
    peer.deliver(&demo(), &delivery(40, 41)).await;
    assert_eq!(pop.shards[0].delivered().await.0, delivery(40, 41));
    assert_eq!(pop.metrics.holes.load(Relaxed), 2);
    assert_eq!(pop.metrics.gaps.load(Relaxed), 1);
}

#[tokio::test]
async fn a_stream_that_leaves_the_quiet_lane_loses_nothing_and_turns_nothing_round() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    let other = "other".parse().expect("a stream");
    for stream in [demo(), other] {
        pop.subscribe(0, &stream).await;
        peer.hold().await;
        peer.held(&stream, Held::Fresh(state(10, 1..=10))).await;
        pop.shards[0].state().await.expect("known");
        peer.deliver_quietly(&stream, &delivery(10, 11)).await;
        assert_eq!(pop.shards[0].delivered().await.0, delivery(10, 11));
    }
    // Its own lane overtakes the quiet one.
    peer.deliver(&demo(), &delivery(14, 15)).await;
    peer.deliver(&demo(), &delivery(13, 14)).await;
    while pop.metrics.deliveries_early.load(Relaxed) < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    peer.deliver_quietly(&demo(), &delivery(11, 13)).await;
    for (from, to) in [(11, 13), (13, 14), (14, 15)] {
        assert_eq!(pop.shards[0].delivered().await.0, delivery(from, to));
    }
    assert_eq!(pop.metrics.holes.load(Relaxed), 0);

    // What does not come is asked for.
    peer.deliver(&demo(), &delivery(16, 17)).await;
    assert_eq!(peer.hold().await, (demo(), Some(at(15))));
    assert_eq!(pop.metrics.holes.load(Relaxed), 1);
}

#[tokio::test]
async fn an_unknown_stream_is_said_and_one_nobody_wants_is_released() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let quick = BackhaulBounds {
        release_ms: 50,
        ..bounds()
    };
    let mut pop = Pop::start(&authority, &[&gateway], quick);
    let mut peer = gateway.peer().await;
    let none = "none".parse().expect("a stream");
    pop.subscribe(0, &none).await;
    assert_eq!(peer.hold().await.0, none);
    peer.held(&none, Held::Unknown).await;
    assert!(pop.shards[0].state().await.is_none());

    for shard in [0, 1] {
        pop.subscribe(shard, &demo()).await;
    }
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(3, 1..=3))).await;
    for shard in &mut pop.shards {
        shard.state().await.expect("known");
    }
    for shard in [0, 1] {
        let stream = demo();
        pop.say(ToBackhaul::Unsubscribe { shard, stream }).await;
    }
    let released = peer
        .next(|seen| match seen {
            Seen::Control(ToGateway::Release { stream }) => Ok(stream),
            other => Err(other),
        })
        .await;
    assert_eq!(released, demo());
    assert_eq!(pop.metrics.streams_held.load(Relaxed), 0);
}
