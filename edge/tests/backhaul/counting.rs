//! Reactions and viewers, added up over the shards.

use std::sync::atomic::Ordering::Relaxed;

use chorus_edge::backhaul::BackhaulBounds;
use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::backhaul::{Datagram, Held, Publish, RefusedReactions, ToPop, UserReactions};
use chorus_protocol::server::Reactions;
use chorus_protocol::{CommentId, Outcome};

use crate::gateway::{Gateway, Peer, Seen};
use crate::keys::Authority;
use crate::pop::{Pop, bounds, demo, state};

fn likes(count: u64) -> Reactions {
    Reactions::from([("like".to_owned(), count)])
}

async fn count(pop: &Pop, shard: u8, reactions: Reactions, viewers: Option<u64>) {
    let stream = demo();
    pop.say(ToBackhaul::Count {
        shard,
        stream,
        reactions,
        users: Vec::new(),
        viewers,
    })
    .await;
}

async fn reactions(peer: &mut Peer) -> (u64, u128, Reactions) {
    match peer.publish().await {
        Publish::Reactions {
            request, key, by, ..
        } => (request, key, by),
        Publish::Event { .. } => panic!("nothing was posted"),
    }
}

async fn viewing(peer: &mut Peer, wanted: u64) {
    peer.next(|seen| match seen {
        Seen::Datagram(Datagram::Viewing { count, .. }) if count == wanted => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test]
async fn reactions_go_at_once_then_added_up_and_survive_the_line() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.shards[0].connected(true).await;
    count(&pop, 0, likes(3), None).await;
    let (request, first_key, by) = reactions(&mut peer).await;
    assert_eq!(by, likes(3));
    for _ in 0..10 {
        count(&pop, 0, likes(2), None).await;
        count(&pop, 1, likes(5), None).await;
    }
    let id = CommentId(0);
    let duplicate = false;
    peer.published(request, Outcome::Stored { id, duplicate })
        .await;
    let (request, key, by) = reactions(&mut peer).await;
    assert_eq!(by, likes(70));
    assert_ne!(key, first_key);
    peer.connection.close(0_u32.into(), b"gone");
    let mut peer = gateway.peer().await;
    assert_eq!(reactions(&mut peer).await, (request, key, likes(70)));
    peer.published(request, Outcome::Unknown).await;
    assert_eq!(reactions(&mut peer).await, (request, key, likes(70)));
    peer.published(request, Outcome::Stored { id, duplicate })
        .await;
    count(&pop, 0, likes(1), None).await;
    assert_eq!(reactions(&mut peer).await.2, likes(1));
    assert_eq!(pop.metrics.reactions_dropped.load(Relaxed), 0);
}

#[tokio::test]
async fn reactions_of_users_go_up_by_user_and_refusals_come_to_every_shard() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let few = BackhaulBounds {
        reaction_users_max: 2,
        ..bounds()
    };
    let mut pop = Pop::start(&authority, &[&gateway], few);
    let mut peer = gateway.peer().await;
    pop.shards[0].connected(true).await;
    let of = |name: &str, by| UserReactions {
        user: name.parse().expect("a user"),
        by: likes(by),
    };
    let react = async |shard, users: Vec<UserReactions>| {
        pop.say(ToBackhaul::Count {
            shard,
            stream: demo(),
            reactions: likes(1),
            users,
            viewers: None,
        })
        .await;
    };
    let next = async |peer: &mut Peer| match peer.publish().await {
        Publish::Reactions {
            request, by, users, ..
        } => (request, by, users),
        Publish::Event { .. } => panic!("nothing was posted"),
    };
    react(0, vec![of("ann", 2)]).await;
    let (request, by, users) = next(&mut peer).await;
    assert_eq!((by, users), (likes(1), vec![of("ann", 2)]));
    // While that is under way two shards bring those of three users, one more than may wait.
    react(0, vec![of("ann", 3), of("bob", 4)]).await;
    react(1, vec![of("ann", 5), of("eve", 6)]).await;
    let id = CommentId(0);
    let duplicate = false;
    let told = vec![RefusedReactions {
        user: "ann".parse().expect("a user"),
        count: 2,
        retry_after_ms: 9_000,
    }];
    peer.control(&ToPop::ReactionsRefused(told.clone())).await;
    for shard in &mut pop.shards[..2] {
        let heard = shard
            .next(|message| match message {
                ToShard::ReactionsRefused(refused) => Ok(refused),
                other => Err(other),
            })
            .await;
        assert_eq!(heard[..], told[..]);
    }
    // The two shards' counts were before what they heard.
    let metrics = &pop.metrics;
    let dropped = async || {
        while metrics.reactions_dropped.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    let soon = std::time::Duration::from_secs(10);
    tokio::time::timeout(soon, dropped()).await.expect("eve's");
    assert_eq!(metrics.reactions_dropped.load(Relaxed), 6);
    assert_eq!(metrics.reactions_refused.load(Relaxed), 2);
    peer.published(request, Outcome::Stored { id, duplicate })
        .await;
    let (_, by, users) = next(&mut peer).await;
    assert_eq!((by, users), (likes(2), vec![of("ann", 8), of("bob", 4)]));
}

#[tokio::test]
async fn viewers_are_added_up_said_again_and_totals_come_back() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let quick = BackhaulBounds {
        viewers_ms: 50,
        ..bounds()
    };
    let mut pop = Pop::start(&authority, &[&gateway], quick);
    let mut peer = gateway.peer().await;
    pop.shards[0].connected(true).await;
    count(&pop, 0, Reactions::new(), Some(4)).await;
    viewing(&mut peer, 4).await;
    count(&pop, 1, Reactions::new(), Some(6)).await;
    viewing(&mut peer, 10).await;
    peer.connection.close(0_u32.into(), b"gone");
    let mut peer = gateway.peer().await;
    viewing(&mut peer, 10).await;
    for shard in [0, 1] {
        count(&pop, shard, Reactions::new(), Some(0)).await;
    }
    viewing(&mut peer, 0).await;

    pop.subscribe(1, &demo()).await;
    peer.hold().await;
    peer.held(&demo(), Held::Fresh(state(1, 1..=1))).await;
    pop.shards[1].state().await.expect("known");
    peer.datagram(&Datagram::Totals {
        stream: demo(),
        reactions: likes(99),
        viewers: Some(12),
    });
    let counted = pop.shards[1]
        .next(|message| match message {
            ToShard::Counted {
                reactions, viewers, ..
            } => Ok((reactions, viewers)),
            other => Err(other),
        })
        .await;
    assert_eq!(counted, (likes(99), Some(12)));
    pop.subscribe(0, &demo()).await;
    let state = pop.shards[0].state().await.expect("known");
    assert_eq!((&state.reactions, state.viewer_count), (&likes(99), 12));
}
