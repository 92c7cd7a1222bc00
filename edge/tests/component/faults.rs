//! A component that panics, loops or exhausts its memory on one viewer's message: only that viewer is closed.

use std::time::Duration;

use chorus_edge::component::{Bounds, Input, Verdict};
use serde_json::{Value, json};

use crate::built::{logic, session_fault};
use crate::script::{AUTHORS, ROUNDS, VIEWERS, run};
use crate::shard::{Shard, frame, opened};

const CULPRIT: u64 = 77;
const STALL_MAX: Duration = Duration::from_millis(250);

/// Compares the script with a fault in round 5 with the script without one.
fn costs_one(command: &str, bounds: &Bounds) {
    let logic = logic(&session_fault());
    let say = |text: &'static str| {
        move |_: &mut Shard, round: u64, batch: &mut Vec<Input>| {
            if round == 5 {
                // In the middle of the batch: the inputs before and after it must be handled too.
                batch.insert(batch.len() / 2, frame(CULPRIT, "ping", &json!(text)));
            }
        }
    };
    let mut healthy = Shard::new(logic.clone(), bounds.clone());
    let expected = run(&mut healthy, say("hello"));
    let mut faulty = Shard::new(logic, bounds.clone());
    let command: &'static str = String::leak(command.to_owned());
    let got = run(&mut faulty, say(command));

    assert!(
        healthy
            .verdicts
            .iter()
            .all(|verdict| *verdict == Verdict::Fine)
    );
    let unusual: Vec<&Verdict> = faulty
        .verdicts
        .iter()
        .filter(|verdict| **verdict != Verdict::Fine)
        .collect();
    // First the whole batch traps, then the message alone.
    assert_eq!(unusual, [&Verdict::Recovered { traps: 2 }]);
    assert_eq!(got[&CULPRIT].closed, Some(1011));
    assert_eq!(got.len(), expected.len());
    let mut comments = 0;
    for (connection, viewer) in &expected {
        if *connection == CULPRIT {
            continue;
        }
        assert_eq!(
            got[connection].closed, None,
            "viewer {connection} is not closed"
        );
        let (mut saw, mut wanted) = (got[connection].flat(), viewer.flat());
        if *connection > VIEWERS {
            // Later joins report one viewer less.
            let count = |flat: &mut (Vec<Value>, Vec<Value>)| {
                flat.1[0]["payload"]["viewer_count"].take().as_u64()
            };
            assert_eq!(count(&mut saw).map(|it| it + 1), count(&mut wanted));
        }
        assert_eq!(saw, wanted, "viewer {connection}");
        comments += viewer.flat().0.len();
    }
    // The comparison covers comments at every viewer, and limits reached before and after the fault.
    assert!(comments as u64 >= (VIEWERS - 1) * ROUNDS * 3, "{comments}");
    let (_, author) = expected[&AUTHORS.start].flat();
    let refused = author
        .iter()
        .filter(|it| it["payload"]["reason"] == "rate_limited");
    assert!(refused.count() as u64 >= ROUNDS - 6, "limits stand");
    let stats = faulty.supervisor.stats();
    assert_eq!(
        (stats.traps, stats.closed, stats.recoveries, stats.resets),
        (2, 1, 1, 0)
    );
    println!("{command}: stalled {:?} of CPU, {:?}", faulty.stall, stats);
    assert!(faulty.stall <= STALL_MAX, "stalled {:?}", faulty.stall);
    let counted = faulty.supervisor.counted();
    assert_eq!(
        counted,
        with_closed(healthy.supervisor.counted(), &counted),
        "counts go on"
    );
}

/// The counters of the run without a fault; those that the closed viewer changes are taken from the other run.
fn with_closed(
    mut healthy: std::collections::BTreeMap<String, u64>,
    faulty: &std::collections::BTreeMap<String, u64>,
) -> std::collections::BTreeMap<String, u64> {
    let mut differing = 0;
    for (name, value) in faulty {
        let own = healthy.entry(name.clone()).or_default();
        if own != value {
            assert!(own.abs_diff(*value) <= 2, "{name}: {own} and {value}");
            *own = *value;
            differing += 1;
        }
    }
    assert!(differing <= 3, "{healthy:?} and {faulty:?}");
    healthy
}

#[test]
fn a_panic_costs_its_sender() {
    costs_one("!!panic", &Bounds::default());
}

#[test]
fn a_busy_loop_costs_its_sender() {
    costs_one("!!loop", &Bounds::default());
}

#[test]
fn memory_without_end_costs_its_sender() {
    costs_one("!!oom", &Bounds::default());
}

#[test]
fn a_snapshot_at_every_turn_changes_nothing() {
    let bounds = Bounds {
        journal_inputs_max: 1,
        call_inputs_max: 7,
        ..Bounds::default()
    };
    costs_one("!!panic", &bounds);
}

#[test]
fn several_at_once_are_each_closed_and_too_many_reset_the_shard() {
    let bounds = Bounds {
        traps_per_call_max: 4,
        ..Bounds::default()
    };
    let mut shard = Shard::new(logic(&session_fault()), bounds);
    shard.process();
    shard.feed(
        (1..=20)
            .map(|connection| opened(connection, None))
            .collect(),
    );
    let bad = |connection| frame(connection, "ping", &json!("!!panic"));
    let verdict = shard.feed(vec![bad(1), frame(2, "ping", &json!(1)), bad(3), bad(4)]);
    assert_eq!(verdict, Verdict::Recovered { traps: 4 });
    for connection in [1, 3, 4] {
        assert_eq!(shard.viewers[&connection].closed, Some(1011));
    }
    assert_eq!(shard.viewers[&2].messages[0]["type"], "pong");

    let verdict = shard.feed((5..=15).map(bad).collect());
    assert_eq!(verdict, Verdict::Reset);
    // The new instance has no viewers and accepts new ones.
    shard.feed(vec![opened(30, None), frame(30, "ping", &json!("again"))]);
    assert_eq!(shard.viewers[&30].messages[0]["payload"], "again");
    assert_eq!(shard.supervisor.stats().resets, 1);
}

#[test]
fn a_fresh_supervisor_counts_on_and_drops_answers_to_the_old_one() {
    let mut shard = Shard::new(logic(&session_fault()), Bounds::default());
    let post = |shard: &mut Shard, connection| {
        let payload = json!({"stream_id": "demo", "client_id": "k", "content": "hello"});
        shard.feed(vec![frame(connection, "post_comment", &payload)]);
    };
    crate::script::open_one(&mut shard, 1);
    shard.process();
    post(&mut shard, 1);
    let counted = shard.supervisor.counted();
    let inputs = shard.supervisor.stats().inputs;
    let of_before = shard.stored();
    assert_eq!(of_before.len(), 1);

    shard.begin_anew();
    // The shard passes it the messages that every shard gets.
    shard.process();
    crate::script::open_one(&mut shard, 2);
    post(&mut shard, 2);
    let receipts = |shard: &Shard| {
        let of = |it: &&serde_json::Value| it["payload"]["status"] == "durable";
        shard.viewers[&2].messages.iter().filter(of).count()
    };
    shard.feed(of_before);
    assert_eq!(receipts(&shard), 0, "an answer of before");
    assert_eq!(shard.supervisor.stats().stale_answers, 1);
    let answer = shard.stored();
    shard.feed(answer);
    assert_eq!(receipts(&shard), 1);
    assert!(shard.supervisor.stats().inputs > inputs);
    let now = shard.supervisor.counted();
    for (name, value) in counted {
        assert!(now[&name] >= value, "{name} fell");
    }
}

#[test]
fn a_reset_remembers_the_lease_and_drops_answers_of_before() {
    let bounds = Bounds {
        traps_per_call_max: 0,
        ..Bounds::default()
    };
    let mut shard = Shard::new(logic(&session_fault()), bounds);
    let post = |shard: &mut Shard, connection, key: &str| {
        let payload = json!({"stream_id": "demo", "client_id": key, "content": "hello"});
        shard.feed(vec![frame(connection, "post_comment", &payload)]);
    };
    crate::script::open_one(&mut shard, 1);
    shard.process();
    post(&mut shard, 1, "a");
    let before = shard.posts.clone();
    assert_eq!(before.len(), 1, "{:?}", shard.viewers[&1]);
    let verdict = shard.feed(vec![frame(1, "ping", &json!("!!panic"))]);
    assert_eq!(verdict, Verdict::Reset);
    shard.posts.clear();

    // The lease is not sent again: the supervisor remembered it.
    crate::script::open_one(&mut shard, 2);
    post(&mut shard, 2, "b");
    let after = shard.posts.clone();
    assert_eq!(after.len(), 1, "{:?}", shard.viewers[&2]);
    assert_ne!(
        before[0].0, after[0].0,
        "requests are not mistaken for each other"
    );
    let receipts = |shard: &Shard| {
        let of = |it: &&serde_json::Value| it["payload"]["status"] == "durable";
        shard.viewers[&2].messages.iter().filter(of).count()
    };
    shard.posts = before;
    let stale = shard.stored();
    shard.feed(stale);
    assert_eq!(receipts(&shard), 0, "an answer of before");
    assert_eq!(shard.supervisor.stats().stale_answers, 1);
    shard.posts = after;
    let answer = shard.stored();
    shard.feed(answer);
    assert_eq!(receipts(&shard), 1);
}

#[test]
fn a_delivery_that_traps_is_skipped() {
    let bounds = Bounds {
        // Enough CPU on any machine, too little memory for a delivery of this size.
        cpu_ms_max: 5_000,
        memory_bytes_max: 24 << 20,
        ..Bounds::default()
    };
    let mut shard = Shard::new(logic(&session_fault()), bounds);
    shard.process();
    crate::script::open_one(&mut shard, 1);
    let huge = chorus_edge::component::Delivered {
        topic: 0,
        data: vec![0; 32 << 20],
    };
    let verdict = shard.feed(vec![Input::Delivered(huge), frame(1, "ping", &json!(1))]);
    assert_eq!(verdict, Verdict::Recovered { traps: 2 });
    assert_eq!(shard.viewers[&1].closed, None);
    let last = shard.viewers[&1].messages.last().expect("a pong");
    assert_eq!(last["type"], "pong");
    assert_eq!(shard.supervisor.stats().skipped, 1);
}

#[test]
fn the_stall_stays_bounded_with_a_journal_that_is_full() {
    let bounds = Bounds::default();
    let mut shard = Shard::new(logic(&session_fault()), bounds.clone());
    crate::script::open(&mut shard);
    shard.process();
    // Just below the inputs at which a snapshot is due, unless it is due earlier because of the handling time.
    let mut spoken = 0;
    while shard.supervisor.stats().journal_inputs + 200 < bounds.journal_inputs_max as u64
        && spoken < 100
    {
        let batch = (0..200).map(|connection| frame(connection, "ping", &json!(spoken)));
        shard.feed(batch.collect());
        shard.pass(5_000);
        spoken += 1;
    }
    let before = shard.supervisor.stats();
    shard.stall = Duration::ZERO;
    let verdict = shard.feed(vec![frame(CULPRIT, "ping", &json!("!!loop"))]);
    assert_eq!(verdict, Verdict::Recovered { traps: 2 });
    println!(
        "journal of {}: stalled {:?} of CPU",
        before.journal_inputs, shard.stall
    );
    assert!(before.journal_inputs >= 200, "{before:?}");
    assert!(shard.stall <= STALL_MAX, "stalled {:?}", shard.stall);
}
