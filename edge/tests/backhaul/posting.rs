//! Posts: pipelined, sent again under the same key, answered with the truth.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use chorus_edge::backhaul::BackhaulBounds;
use chorus_protocol::backhaul::Publish;
use chorus_protocol::{Envelope, Outcome};

use crate::gateway::{Gateway, Peer};
use crate::keys::Authority;
use crate::pop::{Pop, bounds, id};

fn parts(publish: Publish) -> (u64, u128) {
    match publish {
        Publish::Event { request, event } => {
            (request, Envelope::read(&event).expect("an event").key)
        }
        Publish::Reactions { .. } => panic!("no reactions were made"),
    }
}

async fn seen(peer: &mut Peer, count: usize) -> BTreeMap<u128, u64> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let (request, key) = parts(peer.publish().await);
        assert!(seen.insert(key, request).is_none(), "{key} came twice");
    }
    seen
}

/// Takes answers from both shards until there are so many.
async fn collect(pop: &mut Pop, answers: &mut BTreeMap<u64, Outcome>, count: usize) {
    let [first, second] = &mut pop.shards[..] else {
        panic!("two shards");
    };
    while answers.len() < count {
        let (group, other) = tokio::select! {
            group = first.published() => (group, 0),
            group = second.published() => (group, 1),
        };
        for (request, outcome) in group {
            assert_eq!(request % 2, other, "an answer of the other shard");
            assert!(answers.insert(request, outcome).is_none(), "answered twice");
        }
    }
}

fn stored(seq: u64, duplicate: bool) -> Outcome {
    Outcome::Stored {
        id: id(seq),
        duplicate,
    }
}

#[tokio::test]
async fn posts_are_sent_again_once_under_the_same_key() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    for n in 0..100 {
        pop.post((n % 2) as u8, n, 1_000 + u128::from(n)).await;
    }
    let first = seen(&mut peer, 100).await;
    for n in 0..40 {
        peer.published(first[&(1_000 + u128::from(n))], stored(n, false))
            .await;
    }
    let mut answers = BTreeMap::new();
    collect(&mut pop, &mut answers, 40).await;
    peer.connection.close(0_u32.into(), b"gone");

    let mut peer = gateway.peer().await;
    let again = seen(&mut peer, 60).await;
    for (key, request) in &again {
        assert_eq!(first.get(key), Some(request));
        let seq = u64::try_from(*key).expect("small") - 1_000;
        assert!(seq >= 40, "what was answered is not sent again");
        peer.published(*request, stored(seq, true)).await;
    }
    collect(&mut pop, &mut answers, 100).await;
    for (request, outcome) in answers {
        let duplicate = request >= 40;
        assert_eq!(outcome, stored(request, duplicate));
    }
    assert_eq!(pop.metrics.posts_resent.load(Relaxed), 60);
    assert_eq!(pop.metrics.posts_waiting.load(Relaxed), 0);
}

#[tokio::test]
async fn an_unknown_outcome_is_tried_again_and_a_refusal_then_is_no_proof() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    pop.post(0, 5, 55).await;
    let (request, key) = parts(peer.publish().await);
    peer.published(request, Outcome::Unknown).await;
    assert_eq!(parts(peer.publish().await), (request, key));
    let refused = Outcome::Refused {
        reason: "unavailable".to_owned(),
        retry_after_ms: None,
    };
    peer.published(request, refused.clone()).await;
    assert_eq!(parts(peer.publish().await), (request, key));
    peer.published(request, stored(5, true)).await;
    let answer = pop.shards[0].published().await;
    assert_eq!(answer, [(5, stored(5, true))]);

    pop.post(0, 6, 66).await;
    let (request, _) = parts(peer.publish().await);
    peer.published(request, refused).await;
    let answer = pop.shards[0].published().await;
    assert!(
        matches!(&answer[..], [(6, Outcome::Refused { reason, .. })] if reason == "unavailable"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn without_an_answer_it_is_unknown_and_never_sent_is_unavailable() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let impatient = BackhaulBounds {
        unconfirmed_ms: 300,
        posts_waiting_max: 2,
        reconnect_ms_max: 2_000,
        ..bounds()
    };
    let mut pop = Pop::start(&authority, &[&gateway], impatient);
    let mut peer = gateway.peer().await;
    pop.post(0, 1, 1).await;
    parts(peer.publish().await);
    assert_eq!(pop.shards[0].published().await, [(1, Outcome::Unknown)]);
    peer.connection.close(0_u32.into(), b"gone");
    pop.shards[0].connected(false).await;
    // Nobody welcomes it: `peer` is not asked for again.
    for request in [2, 3, 4] {
        pop.post(0, request, u128::from(request)).await;
    }
    let mut refused = Vec::new();
    while refused.len() < 3 {
        for (request, outcome) in pop.shards[0].published().await {
            assert!(
                matches!(&outcome, Outcome::Refused { reason, .. } if reason == "unavailable"),
                "{request}: {outcome:?}"
            );
            refused.push(request);
        }
    }
    assert_eq!(
        refused,
        [4, 2, 3],
        "the one too many at once, the others in time"
    );
    assert_eq!(pop.metrics.posts_unconfirmed.load(Relaxed), 1);
    assert_eq!(pop.metrics.posts_refused.load(Relaxed), 3);
}
