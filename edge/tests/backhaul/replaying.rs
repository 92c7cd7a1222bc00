//! Replays and REST calls.

use std::sync::atomic::Ordering::Relaxed;

use chorus_edge::backhaul::{BackhaulBounds, RestError};
use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::backhaul::{Held, Request, Response, RestRequest, RestResponse};
use chorus_protocol::session::{ReplayRange, Replayed};

use crate::gateway::{Gateway, Seen, answer};
use crate::keys::Authority;
use crate::pop::{Pop, Shard, at, bounds, delivery, demo, event, state};

fn range(from: u64, to: u64) -> ReplayRange {
    ReplayRange {
        from: at(from),
        to: at(to),
        events_max: 100,
    }
}

async fn replay(pop: &Pop, shard: u8, request: u64, range: ReplayRange) {
    let stream = demo();
    pop.say(ToBackhaul::Replay {
        shard,
        request,
        stream,
        range,
    })
    .await;
}

async fn replayed(shard: &mut Shard, wanted: u64) -> Replayed {
    shard
        .next(|message| match message {
            ToShard::Replayed { request, data } if request == wanted => {
                Ok(rmp_serde::from_slice(&data).expect("a replay"))
            }
            other => Err(other),
        })
        .await
}

fn events(from: u64, to: u64) -> Replayed {
    Replayed {
        gap: false,
        events: (from + 1..=to).map(event).collect(),
    }
}

#[tokio::test]
async fn a_replay_comes_from_the_cache_or_once_from_the_gateway() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(50, 20..=50))).await;
    pop.shards[0].state().await.expect("known");
    peer.deliver(&demo(), &delivery(50, 80)).await;
    pop.shards[0].delivered().await;

    replay(&pop, 0, 1, range(55, 78)).await;
    assert_eq!(replayed(&mut pop.shards[0], 1).await, events(55, 78));
    let few = ReplayRange {
        events_max: 3,
        ..range(55, 78)
    };
    replay(&pop, 0, 2, few).await;
    assert!(replayed(&mut pop.shards[0], 2).await.gap);
    assert_eq!(pop.metrics.replays_cached.load(Relaxed), 2);
    assert!(peer.saw_no(|seen| matches!(seen, Seen::Request(..))));

    // 49 is among the newest of the state, but what lies between those is not known here.
    for (shard, request) in [(0, 3), (1, 4), (1, 5)] {
        replay(&pop, shard, request, range(48, 60)).await;
    }
    let (request, lane) = peer.request().await;
    let stream = demo();
    let range = range(48, 60);
    assert_eq!(request, Request::Replay { stream, range });
    answer(lane, &Response::Replay(events(48, 60))).await;
    for (shard, request) in [(0, 3), (1, 4), (1, 5)] {
        assert_eq!(
            replayed(&mut pop.shards[shard], request).await,
            events(48, 60)
        );
    }
    assert!(peer.saw_no(|seen| matches!(seen, Seen::Request(..))));
    assert_eq!(pop.metrics.replays_joined.load(Relaxed), 2);
}

#[tokio::test]
async fn a_replay_nobody_answers_is_a_gap() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let impatient = BackhaulBounds {
        replay_ms_max: 600,
        ..bounds()
    };
    let mut pop = Pop::start(&authority, &[&gateway], impatient);
    let mut peer = gateway.peer().await;
    replay(&pop, 0, 9, range(1, 5)).await;
    let (_, lane) = peer.request().await;
    answer(lane, &Response::Unavailable).await;
    let (_, _second) = peer.request().await;
    assert!(replayed(&mut pop.shards[0], 9).await.gap);
    assert_eq!(pop.metrics.replays_failed.load(Relaxed), 1);
}

#[tokio::test]
async fn rest_calls_go_through_and_say_why_not() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let pop = Pop::start(&authority, &[&gateway], bounds());
    let call = RestRequest {
        method: "GET".to_owned(),
        target: "/api/streams/demo/comments?limit=2".to_owned(),
        authorization: None,
        body: Vec::new(),
        content_type: None,
    };
    assert_eq!(
        pop.handle.rest(call.clone()).await,
        Err(RestError::Unavailable)
    );
    assert!(!pop.handle.ready());
    let mut peer = gateway.peer().await;
    let mut shard = pop.shards.into_iter().next().expect("two");
    shard.connected(true).await;
    let response = RestResponse {
        status: 200,
        content_type: "application/json".to_owned(),
        body: b"{}".to_vec(),
        headers: vec![("retry-after".to_owned(), "1".to_owned())],
    };
    let (answered, ()) = tokio::join!(pop.handle.rest(call.clone()), async {
        let (request, lane) = peer.request().await;
        assert_eq!(request, Request::Rest(call.clone()));
        answer(lane, &Response::Rest(response.clone())).await;
    });
    assert_eq!(answered, Ok(response));
    assert!(pop.handle.ready());
    let long = RestRequest {
        body: vec![0; (64 << 10) + 1],
        ..call
    };
    assert_eq!(pop.handle.rest(long).await, Err(RestError::TooLong));
}
