//! Posts, deliveries, resumes, replays and totals over a real nats-server and a real QUIC connection.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use chorus_protocol::backhaul::{Datagram, Held, Publish, Request, Response, ToGateway};
use chorus_protocol::presence::PopState;
use chorus_protocol::session::ReplayRange;
use chorus_protocol::{CommentId, Envelope, Millis, Offset, Outcome, Position, Region as Name};
use common::pop::{Pop, fresh, pop, reactions, record, stored};
use common::{Region, until};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_post_is_durable_delivered_and_in_the_history() {
    let region = Region::start().await;
    let demo = region.stream();
    let mut author = pop(&region, 1).await;
    let mut reader = pop(&region, 2).await;
    assert_ne!(
        author.worker, reader.worker,
        "two processes never share a worker"
    );
    let state = fresh(&mut reader, &region).await;
    assert_eq!(state.info.title, "Demo");
    assert_eq!((state.comment_count, state.newest.len()), (0, 0));

    let said = author.comment(&demo, "ada", "c1");
    assert_eq!(author.post(&said).await, stored(said.comment.id));
    let (status, page) = author
        .rest("GET", "/api/streams/demo/comments", None, "")
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        page["comments"][0]["id"],
        said.comment.id.to_string(),
        "readable at once"
    );
    until("delivered", SOON, async || {
        reader.seen(&demo) == [said.comment.id]
    })
    .await;

    // The same key again, minted anew: the first one's id, and not shown twice.
    let again = author.comment(&demo, "ada", "c1");
    let duplicate = Outcome::Stored {
        id: said.comment.id,
        duplicate: true,
    };
    assert_eq!(author.post(&again).await, duplicate);
    let other = author.comment(&demo, "ada", "c2");
    assert_eq!(author.post(&other).await, stored(other.comment.id));
    let both = [said.comment.id, other.comment.id];
    until("the other one", SOON, async || reader.seen(&demo) == both).await;
    assert_eq!(reader.holes(&demo), []);

    // Who comes now gets both with the state, whether they are in the store already or not.
    let mut late = pop(&region, 3).await;
    let state = fresh(&mut late, &region).await;
    let newest: Vec<CommentId> = state
        .newest
        .iter()
        .map(|item| item.envelope().unwrap().id)
        .collect();
    assert_eq!(newest, both);
    assert_eq!(state.comment_count, 2);
    assert_eq!(state.at, reader.at(&demo));
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_disturbs_nothing() {
    let region = Region::start().await;
    let demo = region.stream();
    let mut pop = pop(&region, 1).await;
    let refused = |outcome: Outcome| match outcome {
        Outcome::Refused { reason, .. } => reason,
        other @ (Outcome::Stored { .. } | Outcome::Unknown) => panic!("{other:?}"),
    };
    // A clock five seconds ahead.
    let ahead = Millis(chorus_origin::clock::now().0 + 5_000);
    let id = CommentId::compose(ahead, pop.worker, 0, 0);
    assert_eq!(
        refused(pop.post(&record(id, &demo, "ada", "a")).await),
        "unavailable"
    );
    // Another one's worker number, minted after this connection began.
    let soon = Millis(chorus_origin::clock::now().0 + 2_500);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let id = CommentId::compose(soon, pop.worker + 1, 0, 0);
    assert_eq!(
        refused(pop.post(&record(id, &demo, "ada", "b")).await),
        "unavailable"
    );
    // No such stream; no event at all; a kind that nobody has a rule for; a removal of nothing; one that is too long.
    let nowhere = pop.comment(&"nowhere".parse().unwrap(), "ada", "c");
    assert_eq!(refused(pop.post(&nowhere).await), "stream_not_found");
    let said = pop.comment(&demo, "ada", "d");
    let body = said.body();
    let envelope = Envelope::read(&body).unwrap();
    let of_kind = |kind, bytes| {
        let unknown = Envelope { kind, ..envelope };
        unknown.write(bytes, |out| out.resize(out.len() + bytes, 7))
    };
    let wrong = [
        vec![0xc1],
        of_kind("applause", 5),
        of_kind("removal", 5),
        of_kind("comment", 40_000),
    ];
    for (request, event) in (7..).zip(wrong) {
        pop.publish_raw(&Publish::Event { request, event }).await;
        assert_eq!(refused(pop.outcome(request).await), "invalid");
    }
    assert_eq!(
        pop.hold(&"nowhere".parse().unwrap(), None).await,
        Held::Unknown
    );
    // Nobody without a certificate; and who sends rubbish is alone closed.
    let directory = region.directory.path();
    let stranger = common::pop::connect(directory, region.gateway_port, false).await;
    if let Ok((_endpoint, connection)) = stranger {
        tokio::time::timeout(SOON, connection.closed())
            .await
            .expect("closed");
    }
    let (_endpoint, rude) = common::pop::connect(directory, region.gateway_port, true)
        .await
        .unwrap();
    let (mut lane, _) = rude.open_bi().await.unwrap();
    lane.write_all(&[0xff; 64]).await.unwrap();
    tokio::time::timeout(SOON, rude.closed())
        .await
        .expect("closed");
    assert_eq!(pop.post(&said).await, stored(said.comment.id));
}

#[tokio::test]
async fn a_hold_is_resumed_where_it_was_or_is_a_gap() {
    let region = Region::start().await;
    let demo = region.stream();
    let mut author = pop(&region, 1).await;
    let mut reader = pop(&region, 2).await;
    fresh(&mut reader, &region).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let said = author.comment(&demo, "ada", &format!("c{number}"));
        assert_eq!(author.post(&said).await, stored(said.comment.id));
        ids.push(said.comment.id);
    }
    until("the first half", SOON, async || {
        reader.seen(&demo).len() == 20
    })
    .await;
    let have = reader.at(&demo);
    drop(reader);
    for number in 20..700 {
        let said = author.comment(&demo, "ada", &format!("c{number}"));
        author.publish(number, &said).await;
        ids.push(said.comment.id);
    }
    author.outcome(699).await;

    let mut back = pop(&region, 2).await;
    assert_eq!(back.hold(&demo, Some(have.clone())).await, Held::Resumed);
    until("what was missed", SOON, async || {
        back.seen(&demo).len() == 680
    })
    .await;
    let said = author.comment(&demo, "ada", "live again");
    author.post(&said).await;
    ids.push(said.comment.id);
    until("and live again", SOON, async || {
        back.seen(&demo).len() == 681
    })
    .await;
    assert_eq!(back.seen(&demo), ids[20..], "in order, once");
    assert_eq!(back.holes(&demo), []);

    // A replay of the same range.
    let to = back.at(&demo);
    let range = |events_max| ReplayRange {
        from: have.clone(),
        to: to.clone(),
        events_max,
    };
    let replayed = back.replay(&demo, range(1_000)).await;
    assert!(!replayed.gap);
    let replayed_ids: Vec<CommentId> = replayed
        .events
        .iter()
        .map(|item| item.envelope().unwrap().id)
        .collect();
    assert_eq!(replayed_ids, ids[20..]);
    assert!(back.replay(&demo, range(680)).await.gap, "more than asked");

    // Another life of the log, or a sequence it never had.
    let name: Name = "dev".parse().unwrap();
    let known = to.get(&name).unwrap();
    for wrong in [
        Offset {
            epoch: known.epoch - 1,
            seq: known.seq,
        },
        Offset {
            epoch: known.epoch,
            seq: known.seq + 1_000,
        },
    ] {
        let have = Position([(name.clone(), wrong)].into());
        let held = back.hold(&demo, Some(have.clone())).await;
        let Held::Gap(state) = held else {
            panic!("{held:?}")
        };
        assert_eq!((state.at, state.newest.len()), (to.clone(), 50));
        let from = have;
        let gap = ReplayRange {
            from,
            to: to.clone(),
            events_max: 1_000,
        };
        assert!(back.replay(&demo, gap).await.gap);
    }
}

#[tokio::test]
async fn reactions_are_counted_once_and_totals_come_to_every_pop() {
    let region = Region::start().await;
    let mut one = pop(&region, 1).await;
    let mut other = pop(&region, 2).await;
    fresh(&mut other, &region).await;
    let react = |request, key, by: &[(&str, u64)]| Publish::Reactions {
        request,
        stream: region.stream(),
        key,
        by: reactions(by),
        users: Vec::new(),
    };
    one.publish_raw(&react(1, 11, &[("like", 20), ("wow", 1)]))
        .await;
    let first = one.outcome(1).await;
    assert!(
        matches!(
            first,
            Outcome::Stored {
                duplicate: false,
                ..
            }
        ),
        "{first:?}"
    );
    one.publish_raw(&react(2, 11, &[("like", 20), ("wow", 1)]))
        .await;
    let again = one.outcome(2).await;
    assert!(
        matches!(
            again,
            Outcome::Stored {
                duplicate: true,
                ..
            }
        ),
        "{again:?}"
    );
    one.publish_raw(&react(3, 12, &[("like", 5)])).await;
    one.outcome(3).await;
    for bad in [&[("Not Ok", 1)][..], &[("like", 0)], &[]] {
        one.publish_raw(&react(4, 13, bad)).await;
        assert!(matches!(one.outcome(4).await, Outcome::Refused { .. }));
    }
    let mut seen = reactions(&[]);
    while seen != reactions(&[("like", 25), ("wow", 1)]) {
        let next = tokio::time::timeout(SOON, other.totals.recv()).await;
        let Datagram::Totals { reactions, .. } = next.expect("totals").unwrap() else {
            panic!("not totals")
        };
        seen.extend(reactions);
    }
    let (_, totals) = one
        .rest("GET", "/api/streams/demo/reactions", None, "")
        .await;
    assert_eq!(totals["counts"], serde_json::json!({"like": 25, "wow": 1}));
    let mut late = pop(&region, 3).await;
    let state = fresh(&mut late, &region).await;
    assert_eq!(state.reactions, reactions(&[("like", 25), ("wow", 1)]));
}

#[tokio::test]
async fn viewers_are_summed_over_pops_and_gateways() {
    let mut region = Region::start().await;
    let demo = region.stream();
    // A second gateway of the region, as a process of its own.
    let first_port = region.gateway_port;
    region.gateway_port = common::free_tcp();
    region.start_origin(&["gateway"]);
    let second_port = region.gateway_port;
    let directory = region.directory.path().to_owned();
    until("the second gateway", SOON, async || {
        common::pop::connect(&directory, second_port, true)
            .await
            .is_ok()
    })
    .await;
    let mut here = Pop::connect(&directory, first_port, 1).await;
    let mut there = Pop::connect(&directory, second_port, 2).await;
    assert_ne!(here.worker, there.worker);
    fresh(&mut here, &region).await;
    fresh(&mut there, &region).await;
    for (pop, count) in [(&here, 3), (&there, 4)] {
        let viewing = Datagram::Viewing {
            stream: demo.clone(),
            count,
        };
        let bytes = rmp_serde::to_vec(&viewing).unwrap();
        pop.connection.send_datagram(bytes.into()).unwrap();
    }
    for pop in [&mut here, &mut there] {
        loop {
            let next = tokio::time::timeout(SOON, pop.totals.recv()).await;
            if let Datagram::Totals {
                viewers: Some(7), ..
            } = next.expect("seven").unwrap()
            {
                break;
            }
        }
    }
    let (_, metrics) = here
        .rest("GET", "/api/streams/demo/metrics", None, "")
        .await;
    assert_eq!(
        metrics,
        serde_json::json!({"viewer_count": 7, "comment_count": 0})
    );
    // A PoP that is gone is not counted any longer.
    there.connection.close(0_u32.into(), b"");
    loop {
        let next = tokio::time::timeout(SOON, here.totals.recv()).await;
        if let Datagram::Totals {
            viewers: Some(3), ..
        } = next.expect("three").unwrap()
        {
            break;
        }
    }
}

#[tokio::test]
async fn a_worker_number_is_kept_by_renewals_and_freed_without() {
    let region = Region::start().await;
    let mut pop1 = pop(&region, 1).await;
    let worker = pop1.worker;
    // The same process by another connection keeps its number.
    let again = pop(&region, 1).await;
    assert_eq!(again.worker, worker);
    drop(again);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        pop1.control(&ToGateway::Renew).await;
        let (kept, until) = tokio::time::timeout(SOON, pop1.renewals.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(kept, worker);
        assert!(until > pop1.until);
    }
    let second = pop(&region, 2).await;
    assert_ne!(second.worker, worker);
    drop(pop1);
    // Leases are 3 s here; the bucket forgets after 4.5.
    until("freed", Duration::from_secs(10), async || {
        pop(&region, chorus_origin::clock::draw()).await.worker == worker
    })
    .await;
}

#[tokio::test]
async fn a_pop_that_reads_too_slowly_catches_up_and_holds_nobody_up() {
    let region = Region::start().await;
    let demo = region.stream();
    let mut author = pop(&region, 1).await;
    let mut slow = pop(&region, 2).await;
    let mut quick = pop(&region, 3).await;
    fresh(&mut slow, &region).await;
    fresh(&mut quick, &region).await;
    slow.paused.send_replace(true);
    let mut ids = Vec::new();
    // One at a time, so that each is a delivery of its own: more than the queue of a lane holds.
    for number in 0..2_000 {
        let mut said = author.comment(&demo, "ada", &format!("c{number}"));
        said.comment.content = "long ".repeat(100);
        assert_eq!(author.post(&said).await, stored(said.comment.id));
        ids.push(said.comment.id);
    }
    until("the quick one has all", SOON, async || {
        quick.seen(&demo) == ids
    })
    .await;
    until("the slow one's queue is full", SOON, async || {
        region.metric("chorus_origin_lanes_lagged_total").await >= 1.0
    })
    .await;
    assert!(slow.seen(&demo).len() < 1_000);
    slow.paused.send_replace(false);
    until("the slow one caught up", SOON, async || {
        slow.seen(&demo).len() == ids.len()
    })
    .await;
    assert_eq!(slow.seen(&demo), ids);
    assert_eq!(slow.holes(&demo), []);
}

#[tokio::test]
async fn a_pop_is_listed_with_where_it_is_and_how_full_until_it_is_gone() {
    let region = Region::start().await;
    let asker = pop(&region, 1).await;
    let mut later = pop(&region, 2).await;
    let load = ToGateway::Load {
        connections: 12,
        draining: true,
    };
    later.control(&load).await;
    let listed = async || {
        let Response::Pops(pops) = asker.request(&Request::Pops).await else {
            panic!("no list");
        };
        // Both have one name: the one that came last is listed.
        assert!(pops.len() <= 1, "{pops:?}");
        let pop = pops.into_iter().next()?;
        assert_eq!(pop.region.as_str(), "dev", "the gateway's, as it said none");
        Some((pop.url?, pop.connections, pop.state))
    };
    let url = |process: u64| format!("https://pop1-{process}.example");
    let full = Some((url(2), 12, PopState::Draining));
    until("the later one", SOON * 2, async || listed().await == full).await;
    later.connection.close(0_u32.into(), b"");
    let left = Some((url(1), 0, PopState::Serving));
    until("the first one", SOON * 2, async || listed().await == left).await;
}
