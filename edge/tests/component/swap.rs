//! Swaps with a thousand open connections: viewers notice nothing, and a bad swap is rolled back.

use chorus_edge::component::{Bounds, Input, SwapError, Verdict};
use chorus_protocol::Millis;
use serde_json::json;

use crate::built::{logic, session, session_fault};
use crate::script::{VIEWERS, run};
use crate::shard::{START, Shard, frame, opened};

#[test]
fn a_swap_under_a_thousand_changes_nothing_for_them() {
    let (one, other) = (logic(&session()), logic(&session_fault()));
    assert_ne!(one.digest(), other.digest());
    let mut still = Shard::new(one.clone(), Bounds::default());
    let expected = run(&mut still, |_, _, _| {});
    let mut swapped = Shard::new(one.clone(), Bounds::default());
    let got = run(&mut swapped, |shard, round, _| {
        if round == 4 || round == 8 {
            let to = if round == 4 { &other } else { &one };
            let now = Millis(shard.now);
            shard.supervisor.swap(to.clone(), now).expect("swaps");
            assert_eq!(shard.supervisor.logic().digest(), to.digest());
        }
    });
    assert!(
        swapped
            .verdicts
            .iter()
            .all(|verdict| *verdict == Verdict::Fine)
    );
    assert_eq!(got, expected);
    assert_eq!(got.len() as u64, VIEWERS + 1);
    assert!(got.values().all(|viewer| viewer.closed.is_none()));
    let stats = swapped.supervisor.stats();
    assert_eq!((stats.swaps, stats.swaps_failed), (2, 0));
    println!("swapped: {stats:?}");
    assert_eq!(
        swapped.supervisor.counted(),
        still.supervisor.counted(),
        "counts go on"
    );
}

#[test]
fn logic_that_does_not_take_over_is_not_taken() {
    let (one, broken) = (logic(&session()), logic(&session_fault()));
    let mut still = Shard::new(one.clone(), Bounds::default());
    let expected = run(&mut still, spoil);
    let mut shard = Shard::new(one.clone(), Bounds::default());
    let got = run(&mut shard, |shard, round, batch| {
        spoil(shard, round, batch);
        if round == 6 {
            let refused = shard.supervisor.swap(broken.clone(), Millis(shard.now));
            assert!(matches!(refused, Err(SwapError::Restore(_))), "{refused:?}");
        }
    });
    assert_eq!(got, expected);
    assert_eq!(shard.supervisor.logic().digest(), one.digest());
    let stats = shard.supervisor.stats();
    assert_eq!((stats.swaps, stats.swaps_failed), (0, 1));
}

/// Puts an author's name into the state that the fault build refuses to restore.
fn spoil(_: &mut Shard, round: u64, batch: &mut Vec<Input>) {
    if round == 2 {
        let token = chorus_session_scenarios::tokens::token("!!restore", "user", START + 3_600_000);
        batch.push(opened(VIEWERS + 7, Some(token)));
    }
}

#[test]
fn state_that_cannot_be_restored_resets_the_shard() {
    let bounds = Bounds {
        // A snapshot before every batch.
        journal_inputs_max: 1,
        ..Bounds::default()
    };
    let mut shard = Shard::new(logic(&session_fault()), bounds);
    shard.process();
    let mut batch = vec![opened(1, None)];
    spoil(&mut shard, 2, &mut batch);
    shard.feed(batch);
    shard.feed(vec![frame(1, "ping", &json!(1))]);
    let verdict = shard.feed(vec![frame(1, "ping", &json!("!!panic"))]);
    assert_eq!(verdict, Verdict::Reset);
    shard.feed(vec![opened(2, None), frame(2, "ping", &json!(2))]);
    assert_eq!(shard.viewers[&2].messages[0]["payload"], json!(2));
}

#[test]
fn logic_that_keeps_trapping_gives_way_to_the_one_before() {
    let bounds = Bounds {
        probation_traps_max: 3,
        ..Bounds::default()
    };
    let (good, bad) = (logic(&session()), logic(&session_fault()));
    let mut shard = Shard::new(good.clone(), bounds);
    shard.process();
    shard.feed((1..=9).map(|connection| opened(connection, None)).collect());
    shard
        .supervisor
        .swap(bad.clone(), Millis(shard.now))
        .expect("swaps");
    let bad_frame = |connection| vec![frame(connection, "ping", &json!("!!panic"))];
    // Two traps each: the batch, and the message alone.
    assert_eq!(shard.feed(bad_frame(1)), Verdict::Recovered { traps: 2 });
    assert_eq!(shard.supervisor.logic().digest(), bad.digest());
    assert_eq!(shard.feed(bad_frame(2)), Verdict::Recovered { traps: 2 });
    assert_eq!(
        shard.supervisor.logic().digest(),
        good.digest(),
        "it came back by itself"
    );
    assert_eq!(shard.supervisor.stats().rollbacks, 1);
    assert_eq!(shard.feed(bad_frame(3)), Verdict::Fine);
    for connection in 3..=9 {
        shard.feed(vec![frame(connection, "ping", &json!(connection))]);
        let viewer = &shard.viewers[&connection];
        assert_eq!(viewer.closed, None);
        let last = viewer.messages.last().expect("a pong");
        assert_eq!(last["payload"], json!(connection));
    }
}

#[test]
fn after_its_probation_it_stays() {
    let bounds = Bounds {
        probation_traps_max: 0,
        probation_s: 5,
        ..Bounds::default()
    };
    let (good, bad) = (logic(&session()), logic(&session_fault()));
    let mut shard = Shard::new(good, bounds);
    shard.process();
    shard.feed((1..=2).map(|connection| opened(connection, None)).collect());
    shard
        .supervisor
        .swap(bad.clone(), Millis(shard.now))
        .expect("swaps");
    shard.now += 5_000;
    let verdict = shard.feed(vec![frame(1, "ping", &json!("!!panic"))]);
    assert_eq!(verdict, Verdict::Recovered { traps: 2 });
    assert_eq!(shard.supervisor.logic().digest(), bad.digest());
    assert_eq!(shard.supervisor.stats().rollbacks, 0);
}
