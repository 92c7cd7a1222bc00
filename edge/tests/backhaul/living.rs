//! Streams that change while they are held: every shard hears it once, and nothing older replaces what is newer.

use std::sync::Arc;

use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::Outcome;
use chorus_protocol::backhaul::{Held, Publish, ToGateway, ToPop};
use chorus_protocol::stream::{Life, StreamStatus};

use crate::gateway::{Gateway, Peer, Seen};
use crate::keys::Authority;
use crate::pop::{Pop, Shard, at, bounds, delivery, demo, state};

fn life(seq: u64, status: StreamStatus) -> Life {
    let mut info = state(1, 1..=1).info;
    info.status = status;
    Life { info, seq }
}

async fn tell(peer: &mut Peer, life: &Life) {
    let (stream, life) = (demo(), Box::new(life.clone()));
    peer.control(&ToPop::Life { stream, life }).await;
}

async fn heard(shard: &mut Shard) -> Arc<Life> {
    shard
        .next(|message| match message {
            ToShard::Life { life, .. } => Ok(life),
            other => Err(other),
        })
        .await
}

#[tokio::test]
async fn every_shard_hears_of_the_end_once_and_the_next_one_with_the_state() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(3, 1..=3))).await;
    pop.shards[0].state().await.expect("known");
    let renamed = life(2, StreamStatus::Live);
    let ended = life(5, StreamStatus::Ended);
    tell(&mut peer, &ended).await;
    assert_eq!(*heard(&mut pop.shards[0]).await, ended);
    // Known already, or older.
    tell(&mut peer, &ended).await;
    tell(&mut peer, &renamed).await;
    peer.deliver(&demo(), &delivery(3, 4)).await;
    pop.shards[0].delivered().await;
    pop.subscribe(1, &demo()).await;
    let late = pop.shards[1].state().await.expect("known");
    assert_eq!((late.info.status, late.life_seq), (StreamStatus::Ended, 5));
    let anew = life(9, StreamStatus::Live);
    tell(&mut peer, &anew).await;
    for shard in &mut pop.shards {
        assert_eq!(*heard(shard).await, anew, "the first since the end");
    }
}

#[tokio::test]
async fn a_reconnect_says_what_is_known_and_a_gap_brings_nothing_older() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    let knows = |seen| match seen {
        Seen::Control(ToGateway::Hold { knows, .. }) => Ok(knows),
        other => Err(other),
    };
    assert_eq!(peer.next(knows).await, None);
    peer.held(&demo(), Held::Fresh(state(3, 1..=3))).await;
    pop.shards[0].state().await.expect("known");
    peer.connection.close(0_u32.into(), b"gone");

    // It ended meanwhile: said after the answer.
    let mut peer = gateway.peer().await;
    assert_eq!(peer.next(knows).await, Some(state(3, 1..=3).revision()));
    peer.held(&demo(), Held::Resumed).await;
    let ended = life(5, StreamStatus::Ended);
    tell(&mut peer, &ended).await;
    assert_eq!(*heard(&mut pop.shards[0]).await, ended);
    peer.connection.close(0_u32.into(), b"gone");

    // This gateway has not heard of the end yet.
    let mut peer = gateway.peer().await;
    assert_eq!(peer.next(knows).await, Some(ended.revision()));
    peer.held(&demo(), Held::Gap(state(40, 1..=40))).await;
    let gap = pop.shards[0].state().await.expect("known");
    assert_eq!((&gap.at, gap.info.status), (&at(40), StreamStatus::Ended));
    // Nor is a word taken for a stream that is not held or not answered yet.
    let none = "none".parse().expect("a stream");
    pop.subscribe(0, &none).await;
    peer.hold().await;
    let early = ToPop::Life {
        stream: none.clone(),
        life: Box::new(ended),
    };
    peer.control(&early).await;
    peer.held(&none, Held::Unknown).await;
    assert!(pop.shards[0].state().await.is_none());
    peer.control(&early).await;
    peer.deliver(&demo(), &delivery(40, 41)).await;
    pop.shards[0].delivered().await;
    assert!(pop.shards[0].heard_no(|message| matches!(message, ToShard::Life { .. })));
    let stream = none;
    pop.say(ToBackhaul::Unsubscribe { shard: 0, stream }).await;
}

#[tokio::test]
async fn a_post_that_may_be_stored_is_not_called_refused_by_the_end() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    let number = |publish| match publish {
        Publish::Event { request, .. } => request,
        Publish::Reactions { .. } => panic!("no reactions were made"),
    };
    let ended = || Outcome::Refused {
        reason: "stream_ended".to_owned(),
        retry_after_ms: None,
    };
    pop.post(0, 1, 1_001).await;
    number(peer.publish().await);
    // Perhaps it was stored and the answer lost with the connection.
    peer.connection.close(0_u32.into(), b"gone");
    let mut peer = gateway.peer().await;
    let again = number(peer.publish().await);
    peer.published(again, ended()).await;
    let unknown = vec![(1, Outcome::Unknown)];
    assert_eq!(pop.shards[0].published().await, unknown);
    // At the first try it is certain.
    pop.post(0, 2, 1_002).await;
    let first = number(peer.publish().await);
    peer.published(first, ended()).await;
    let answers = pop.shards[0].published().await;
    assert!(
        matches!(&answers[..], [(2, Outcome::Refused { reason, .. })] if reason == "stream_ended"),
        "{answers:?}"
    );
}
