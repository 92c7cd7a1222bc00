//! A gateway of a later build: what it says that this one does not know costs nothing.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::Event;
use chorus_protocol::backhaul::{Held, Publish, VERSIONS, write_bare, write_frame};
use chorus_protocol::session::{ReplayRange, Replayed};
use serde_json::json;

use crate::gateway::{Gateway, send};
use crate::keys::Authority;
use crate::pop::{
    Pop, alone, at, bounds, comment, delivery, demo, event, of_tomorrow, removal, state,
};

#[tokio::test]
async fn messages_and_fields_and_lanes_of_tomorrow_are_passed_over() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    peer.hold().await;
    let mut bytes = Vec::new();
    for message in [
        json!({"Applaud": {"hands": 2}}),
        json!("Applause"),
        json!({"Held": {"stream": "demo", "held": "Unknown", "tomorrow": [1, 2]}}),
    ] {
        write_frame(&message, &mut bytes).expect("encodes");
    }
    peer.raw_control(&bytes).await;
    assert!(pop.shards[0].state().await.is_none(), "the known part");
    let unknown = &pop.metrics.messages_unknown;
    assert_eq!(unknown.load(Relaxed), 2);

    let datagram = write_bare(&json!({"Applaud": {"hands": 2}})).expect("encodes");
    peer.connection
        .send_datagram(datagram.into())
        .expect("sent");
    let mut lane = peer.connection.open_uni().await.expect("a lane");
    send(&mut lane, &json!({"Applause": {"stream": "demo"}})).await;
    let stopped = tokio::time::timeout(Duration::from_secs(10), lane.stopped());
    assert!(stopped.await.expect("within time").expect("open").is_some());
    while unknown.load(Relaxed) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(pop.metrics.malformed.load(Relaxed), 1, "the lane");

    // The line is as good as before.
    pop.subscribe(0, &demo()).await;
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(1, 1..=1))).await;
    pop.shards[0].state().await.expect("known");
    assert_eq!(pop.metrics.connects.load(Relaxed), 1);
}

#[tokio::test]
async fn a_version_that_is_not_spoken_ends_the_attempt() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority).with_version(VERSIONS[1] + 1);
    let pop = Pop::start(&authority, &[&gateway], bounds());
    let peer = gateway.peer().await;
    match peer.connection.closed().await {
        quinn::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(close.error_code, 1_u32.into());
        }
        other => panic!("closed otherwise: {other}"),
    }
    assert_eq!(pop.metrics.connects.load(Relaxed), 0);
}

#[tokio::test]
async fn what_was_taken_away_is_in_no_state_whenever_it_comes() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(10, 1..=10))).await;
    pop.shards[0].state().await.expect("known");
    // One that is there, one that comes later under the id it is known by, and what stands about others.
    let later = |seq| Event { seq, ..event(20) };
    let events = [
        removal(11, 10),
        removal(12, 20),
        later(13),
        of_tomorrow(14, Some(9)),
        of_tomorrow(15, Some(10)),
        of_tomorrow(16, None),
    ];
    for event in &events {
        peer.deliver(&demo(), &alone(event.clone())).await;
        assert_eq!(pop.shards[0].delivered().await.0, alone(event.clone()));
    }
    pop.subscribe(1, &demo()).await;
    let state_now = pop.shards[1].state().await.expect("known");
    assert_eq!(state_now.comment_count, 10 + 1 - 2);
    let mut expected: Vec<Event> = (1..=9).map(event).collect();
    expected.push(of_tomorrow(14, Some(9)));
    assert_eq!(state_now.newest, expected, "with what stands about them");
    let replayed = replay(&mut pop, 10, 16).await;
    let mut all = events.to_vec();
    all.sort_by_key(|event| event.envelope().expect("an event").id);
    assert_eq!(replayed.events, all, "a replay has all there was");

    // What was taken away stays away over a gap.
    peer.connection.close(0_u32.into(), b"gone");
    let mut peer = gateway.peer().await;
    peer.hold().await;
    peer.held(&demo(), Held::Gap(state(20, 5..=10))).await;
    let after = pop.shards[0].state().await.expect("known");
    let expected: Vec<Event> = (5..=9).map(event).collect();
    assert_eq!(after.newest, expected);
}

#[tokio::test]
async fn a_kind_of_tomorrow_passes_through_unharmed() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    peer.hold().await;
    let mut fresh = state(2, 1..=2);
    fresh.newest.push(of_tomorrow(2, Some(1)));
    peer.held(&demo(), Held::Fresh(fresh.clone())).await;
    let heard = pop.shards[0].state().await.expect("known");
    assert_eq!(*heard, *fresh);
    let tomorrow = alone(of_tomorrow(3, None));
    peer.deliver(&demo(), &tomorrow).await;
    let (delivered, data) = pop.shards[0].delivered().await;
    assert_eq!(delivered, tomorrow);
    assert_eq!(data, write_bare(&tomorrow).expect("encodes"));
    // Part of it came before: only the rest is written anew.
    let mut overlapping = delivery(1, 5);
    overlapping.events[2..].clone_from_slice(&[of_tomorrow(4, None), event(5)]);
    peer.deliver(&demo(), &overlapping).await;
    let (rest, _) = pop.shards[0].delivered().await;
    assert_eq!(rest.events, [of_tomorrow(4, None), event(5)]);
    assert_eq!(
        replay(&mut pop, 2, 5).await.events,
        [of_tomorrow(3, None), of_tomorrow(4, None), event(5)]
    );

    // And up: whatever the session publishes goes as it is.
    for body in [of_tomorrow(6, Some(5)).body, comment(7, 7), vec![0xc1]] {
        pop.say(ToBackhaul::Publish {
            shard: 0,
            request: 1,
            event: body.clone(),
        })
        .await;
        let Publish::Event { event, .. } = peer.publish().await else {
            panic!("an event");
        };
        assert_eq!(event, body);
    }
}

async fn replay(pop: &mut Pop, from: u64, to: u64) -> Replayed {
    let range = ReplayRange {
        from: at(from),
        to: at(to),
        events_max: 100,
    };
    pop.say(ToBackhaul::Replay {
        shard: 0,
        request: 1,
        stream: demo(),
        range,
    })
    .await;
    pop.shards[0]
        .next(|message| match message {
            ToShard::Replayed { data, .. } => Ok(rmp_serde::from_slice(&data).expect("a replay")),
            other => Err(other),
        })
        .await
}
