//! What users are held to over all PoPs of a gateway, over a real nats-server and real QUIC connections.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use chorus_protocol::backhaul::{Publish, RefusedReactions, UserReactions};
use chorus_protocol::{Outcome, UserId};
use common::pop::{Pop, Post, pop, reactions, stored};
use common::{Region, until};

const SOON: Duration = Duration::from_secs(10);

async fn pops(region: &Region) -> Vec<Pop> {
    let mut pops = Vec::new();
    for process in 1..=8 {
        pops.push(pop(region, process).await);
    }
    pops
}

/// A comment of somebody whom limits hold.
fn said(pop: &mut Pop, region: &Region, user: &str, client_id: &str) -> Post {
    let mut record = pop.comment(&region.stream(), user, client_id);
    record.comment.badges.clear();
    record
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

#[tokio::test]
async fn five_comments_in_thirty_seconds_over_all_pops_and_the_rest_refused() {
    let region = Region::start().await;
    let mut pops = pops(&region).await;
    let mut records = Vec::new();
    for pop in &mut pops {
        for number in 0..5 {
            let record = said(pop, &region, "ann", &format!("{}-{number}", pop.worker));
            pop.publish(number, &record).await;
            records.push(record);
        }
    }
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for (place, record) in records.iter().enumerate() {
        match pops[place / 5].outcome(place as u64 % 5).await {
            Outcome::Stored {
                id,
                duplicate: false,
            } if id == record.comment.id => taken.push((place / 5, record)),
            Outcome::Refused {
                reason,
                retry_after_ms: Some(1..=30_000),
            } if reason == "rate_limited" => refused.push((place / 5, record)),
            other @ (Outcome::Stored { .. } | Outcome::Refused { .. } | Outcome::Unknown) => {
                panic!("{other:?}")
            }
        }
    }
    assert_eq!((taken.len(), refused.len()), (5, 35));
    let history = pops[0].history(&region.stream()).await;
    assert_eq!(history.len(), 5, "what is refused is not stored");

    // A post of unknown outcome is sent again, by another PoP with another id: it is answered, not refused.
    let again = |of: &Post, pop: &mut Pop| {
        let mut again = of.clone();
        again.comment.id = pop.mint();
        again
    };
    for (of, record) in &taken {
        let other = &mut pops[(of + 1) % 8];
        let repeat = again(record, other);
        let first = Outcome::Stored {
            id: record.comment.id,
            duplicate: true,
        };
        assert_eq!(other.post(&repeat).await, first);
    }
    let (of, record) = refused[0];
    let outcome = pops[of].post(record).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");

    // Others are not held by it, nor is the platform's own service.
    let bob = said(&mut pops[0], &region, "bob", "b");
    assert_eq!(pops[0].post(&bob).await, stored(bob.comment.id));
    for number in 0..50 {
        let record = pops[1].comment(&region.stream(), "root", &format!("r{number}"));
        assert_eq!(record.comment.badges, ["admin"]);
        assert_eq!(pops[1].post(&record).await, stored(record.comment.id));
    }
    let refusals = r#"chorus_origin_posts_refused_total{reason="rate_limited"}"#;
    assert!(region.metric(refusals).await >= 36.0);
}

#[tokio::test]
async fn what_was_stored_before_is_answered_by_a_gateway_that_never_heard_of_it() {
    let mut region = Region::start().await;
    let first_port = region.gateway_port;
    region.gateway_port = common::free_udp();
    region.start_origin(&["gateway"]);
    let directory = region.directory.path().to_owned();
    let second_port = region.gateway_port;
    until("the second gateway", SOON, async || {
        common::pop::connect(&directory, second_port, true)
            .await
            .is_ok()
    })
    .await;
    let mut here = Pop::connect(&directory, first_port, 1).await;
    let mut there = Pop::connect(&directory, second_port, 2).await;
    let mut known = Vec::new();
    for number in 0..5 {
        let record = said(&mut here, &region, "ann", &format!("c{number}"));
        assert_eq!(here.post(&record).await, stored(record.comment.id));
        known.push(record);
    }
    let repeat = async |there: &mut Pop| {
        for record in &known {
            let mut again = record.clone();
            again.comment.id = there.mint();
            let first = Outcome::Stored {
                id: record.comment.id,
                duplicate: true,
            };
            assert_eq!(there.post(&again).await, first);
        }
    };
    // What was stored before is not counted here: five more are taken.
    repeat(&mut there).await;
    for number in 0..5 {
        let record = said(&mut there, &region, "ann", &format!("d{number}"));
        assert_eq!(there.post(&record).await, stored(record.comment.id));
    }
    let more = said(&mut there, &region, "ann", "more");
    let outcome = there.post(&more).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    // And with the limit used up it is still answered by its id, not called refused.
    repeat(&mut there).await;
}

#[tokio::test]
async fn a_hundred_reactions_a_minute_over_all_pops_and_the_rest_told() {
    let region = Region::start().await;
    let mut pops = pops(&region).await;
    let group = |key: u128| Publish::Reactions {
        request: 1,
        stream: region.stream(),
        key: key << 64,
        region: None,
        // A hundred of the platform's own service, whom no limit holds.
        by: reactions(&[("wow", 100)]),
        users: vec![
            UserReactions {
                user: user("ann"),
                by: reactions(&[("like", 60), ("love", 40)]),
            },
            UserReactions {
                user: user(&format!("user-{key}")),
                by: reactions(&[("haha", 7)]),
            },
        ],
    };
    let mut refused = 0;
    for (key, pop) in (1..).zip(&mut pops) {
        // Twice, as after a lost answer: counted once, decided once.
        for _ in 0..2 {
            pop.publish_raw(&group(key)).await;
            let outcome = pop.outcome(1).await;
            assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
        }
        if key > 1 {
            let told = tokio::time::timeout(SOON, pop.refused.recv()).await;
            let told = told.expect("told").expect("connected");
            let [
                RefusedReactions {
                    user: whose,
                    count,
                    retry_after_ms: 1..=60_000,
                },
            ] = &told[..]
            else {
                panic!("{told:?}")
            };
            assert_eq!(*whose, user("ann"));
            refused += count;
        }
    }
    assert_eq!(refused, 700);
    let (_, totals) = pops[0]
        .rest("GET", "/api/streams/demo/reactions", None, "")
        .await;
    let expected = serde_json::json!({"like": 60, "love": 40, "haha": 56, "wow": 800});
    assert_eq!(totals["counts"], expected);
    // Of somebody who has used up the limit nothing is left to be added; that is an answer, too.
    let all = Publish::Reactions {
        request: 2,
        stream: region.stream(),
        key: 99 << 64,
        region: None,
        by: reactions(&[]),
        users: vec![UserReactions {
            user: user("ann"),
            by: reactions(&[("like", 5)]),
        }],
    };
    pops[3].publish_raw(&all).await;
    assert!(matches!(pops[3].outcome(2).await, Outcome::Stored { .. }));
    let refused = region.metric("chorus_origin_reactions_refused_total").await;
    assert!((refused - 705.0).abs() < 0.5, "{refused}");
    // What no session would send is refused.
    for by in [
        reactions(&[]),
        reactions(&[("like", 0)]),
        reactions(&[("No", 1)]),
    ] {
        let users = vec![UserReactions {
            user: user("ann"),
            by,
        }];
        let bad = Publish::Reactions {
            request: 3,
            stream: region.stream(),
            key: 100 << 64,
            region: None,
            by: reactions(&[("like", 1)]),
            users,
        };
        pops[3].publish_raw(&bad).await;
        let outcome = pops[3].outcome(3).await;
        assert!(matches!(&outcome, Outcome::Refused { reason, .. } if reason == "invalid"));
    }
}
