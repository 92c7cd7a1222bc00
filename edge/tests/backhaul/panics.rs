//! What a panic of the backhaul, or of a shard that it serves, costs.

use std::sync::atomic::Ordering::Relaxed;

use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::Outcome;
use chorus_protocol::backhaul::{Held, Publish};

use crate::gateway::Gateway;
use crate::keys::Authority;
use crate::pop::{Pop, Shard, bounds, delivery, demo, id, state};

async fn lease(shard: &mut Shard) -> u16 {
    shard
        .next(|message| match message {
            ToShard::Lease { worker, .. } => Ok(worker),
            other => Err(other),
        })
        .await
}

#[tokio::test]
async fn a_shard_that_begins_anew_is_told_what_it_needs_and_no_answer_to_the_old_one() {
    let authority = Authority::new();
    let gateway = Gateway::with_lease(&authority, 9, 60_000);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    for shard in 0..2 {
        pop.subscribe(shard, &demo()).await;
        assert_eq!(lease(&mut pop.shards[usize::from(shard)]).await, 9);
        pop.shards[usize::from(shard)].connected(true).await;
    }
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(1, 1..=1))).await;
    for shard in &mut pop.shards {
        shard.state().await.expect("known");
    }
    pop.post(0, 70, 7).await;
    let Publish::Event { request, .. } = peer.publish().await else {
        panic!("an event");
    };

    pop.say(ToBackhaul::Restarted { shard: 0 }).await;
    assert_eq!(lease(&mut pop.shards[0]).await, 9, "the lease again");
    pop.shards[0].connected(true).await;
    // The old post is stored now, and a new one after it: the shard hears of the new one alone.
    let outcome = |seq| Outcome::Stored {
        id: id(seq),
        duplicate: false,
    };
    peer.published(request, outcome(70)).await;
    peer.deliver(&demo(), &delivery(1, 2)).await;
    pop.shards[1].delivered().await;
    pop.post(0, 71, 8).await;
    let Publish::Event { request, .. } = peer.publish().await else {
        panic!("an event");
    };
    peer.published(request, outcome(71)).await;
    let stored = Outcome::Stored {
        id: id(71),
        duplicate: false,
    };
    assert_eq!(pop.shards[0].published().await, [(71, stored)]);
    assert!(
        pop.shards[0].heard_no(|message| matches!(message, ToShard::Delivered { .. })),
        "it is subscribed to nothing"
    );
    pop.subscribe(0, &demo()).await;
    let state = pop.shards[0].state().await.expect("known");
    assert_eq!(state.comment_count, 2);
}

#[tokio::test]
async fn a_backhaul_that_panics_begins_anew_and_says_so_to_every_shard() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.subscribe(1, &demo()).await;
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(1, 1..=1))).await;
    pop.shards[1].state().await.expect("known");
    for shard in &mut pop.shards {
        shard.connected(true).await;
    }
    pop.panics.store(true, Relaxed);
    peer.deliver(&demo(), &delivery(1, 2)).await;
    for shard in &mut pop.shards {
        shard.connected(false).await;
        shard
            .next(|message| match message {
                ToShard::BackhaulLost => Ok(()),
                other => Err(other),
            })
            .await;
    }
    assert_eq!(pop.metrics.panics.load(Relaxed), 1);

    let mut peer = gateway.peer().await;
    for (number, shard) in (0..).zip(&mut pop.shards) {
        shard.connected(true).await;
        pop.ask
            .send(ToBackhaul::Restarted { shard: number })
            .await
            .expect("it runs");
    }
    pop.subscribe(1, &demo()).await;
    assert_eq!(
        peer.hold().await,
        (demo(), None),
        "it knows nothing any more"
    );
    peer.held(&demo(), Held::Fresh(state(2, 1..=2))).await;
    pop.shards[1].state().await.expect("known");
    peer.deliver(&demo(), &delivery(2, 3)).await;
    assert_eq!(pop.shards[1].delivered().await.0, delivery(2, 3));
    assert!(pop.handle.ready());
}
