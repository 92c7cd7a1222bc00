//! A restored session goes on as the old one would have, and reads what its neighbours write.

use chorus_protocol::Millis;
use chorus_session_core::{Input, Output, RestoreError, Session};
use chorus_session_scenarios::load::{Workload, all};
use chorus_session_scenarios::sim::Dice;
use proptest::prelude::*;

/// Inputs of all workloads, each in its order, mixed, with garbage in between.
fn inputs(seed: u64) -> (Workload, Vec<(u64, Vec<Input>)>) {
    let mut dice = Dice(seed);
    let mut loads = all(120, 1 + seed % 7);
    let mut each: Vec<_> = loads
        .iter()
        .map(|load| load.batches.clone().into_iter())
        .collect();
    let mut batches: Vec<(u64, Vec<Input>)> = Vec::new();
    while !each.is_empty() {
        let which = dice.below(each.len() as u64) as usize;
        match each[which].next() {
            Some(batch) => batches.push(batch),
            None => drop(each.swap_remove(which)),
        }
    }
    let mut now = 1_800_000_000_000;
    for (at, inputs) in &mut batches {
        now += dice.below(400);
        *at = now;
        if dice.one_in(4) {
            let data = (0..dice.below(40)).map(|_| dice.roll() as u8).collect();
            inputs.push(Input::Frame {
                connection: 1 + dice.below(900),
                data,
            });
        }
        if dice.one_in(4) {
            inputs.push(Input::Closed(1 + dice.below(900)));
        }
        if dice.one_in(3) {
            inputs.push(Input::Timer);
        }
    }
    (loads.swap_remove(0), batches)
}

fn handle(session: &mut Session, now: u64, inputs: &[Input]) -> Vec<Output> {
    let mut out = Vec::new();
    session.handle(Millis(now), inputs.to_vec(), &mut out);
    out
}

/// A session after its setup, and the inputs to come.
fn set_up(seed: u64) -> (Session, Vec<(u64, Vec<Input>)>) {
    let (load, batches) = inputs(seed);
    let mut session = Session::init(&load.config, seed).expect("starts");
    for (now, inputs) in &load.setup {
        handle(&mut session, *now, inputs);
    }
    (session, batches)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restored_session_goes_on_as_the_old_one(seed: u64, cut in 0.0..1.0_f64) {
        let (mut old, batches) = set_up(seed);
        let cut = (cut * batches.len() as f64) as usize;
        for (now, inputs) in &batches[..cut] {
            handle(&mut old, *now, inputs);
        }
        let bytes = old.snapshot();
        let mut new = Session::restore(&bytes).expect("restores");
        prop_assert_eq!(new.snapshot(), bytes);
        for (now, inputs) in &batches[cut..] {
            prop_assert_eq!(handle(&mut old, *now, inputs), handle(&mut new, *now, inputs));
        }
        prop_assert_eq!(old.snapshot(), new.snapshot());
    }

    #[test]
    fn the_seed_changes_no_output(seed: u64, other: u64) {
        let (load, batches) = inputs(seed);
        let mut one = Session::init(&load.config, seed).expect("starts");
        let mut two = Session::init(&load.config, other).expect("starts");
        for (now, inputs) in load.setup.iter().chain(&batches) {
            prop_assert_eq!(handle(&mut one, *now, inputs), handle(&mut two, *now, inputs));
        }
    }

    #[test]
    fn bytes_that_are_no_snapshot_are_refused(mut bytes: Vec<u8>, at: usize, flip: u8) {
        let _ = Session::restore(&bytes);
        let (load, _) = inputs(1);
        let mut snapshot = Session::init(&load.config, 1).expect("starts").snapshot();
        let at = at % snapshot.len();
        snapshot[at] ^= flip;
        if let Ok(mut session) = Session::restore(&snapshot) {
            handle(&mut session, 1, &[Input::Timer]);
        }
        snapshot.truncate(at);
        bytes.append(&mut snapshot);
        let _ = Session::restore(&bytes);
    }
}

#[test]
fn fields_of_a_newer_version_are_passed_over() {
    let (mut session, batches) = set_up(5);
    for (now, inputs) in batches.iter().take(100) {
        handle(&mut session, *now, inputs);
    }
    let snapshot = session.snapshot();
    // Every map of the snapshot gets a field that this version does not know.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all that holds no other value"
    )]
    fn grow(value: rmpv::Value) -> rmpv::Value {
        match value {
            rmpv::Value::Map(mut fields) => {
                for (_, field) in &mut fields {
                    *field = grow(std::mem::replace(field, rmpv::Value::Nil));
                }
                let named = fields.iter().any(|(name, _)| {
                    matches!(
                        name.as_str(),
                        Some(
                            "form" | "encoding" | "recent" | "floor" | "worker" | "second" | "json"
                        )
                    )
                });
                if named {
                    fields.push(("of_tomorrow".into(), rmpv::Value::Array(vec![1.into()])));
                }
                rmpv::Value::Map(fields)
            }
            rmpv::Value::Array(items) => rmpv::Value::Array(items.into_iter().map(grow).collect()),
            #[allow(
                clippy::wildcard_enum_match_arm,
                reason = "all that holds no other value"
            )]
            other => other,
        }
    }
    let mut newer = Vec::new();
    let value = grow(rmpv::decode::read_value(&mut snapshot.as_slice()).expect("reads"));
    rmpv::encode::write_value(&mut newer, &value).expect("writes");
    let fields = newer
        .windows(11)
        .filter(|part| part == b"of_tomorrow")
        .count();
    assert!(fields > 500, "{fields} fields of tomorrow");
    assert_eq!(
        Session::restore(&newer).expect("restores").snapshot(),
        snapshot
    );

    // One that says that it is not to be read by this version is not.
    let rmpv::Value::Map(mut fields) = value else {
        panic!("a map")
    };
    for (name, field) in &mut fields {
        if name.as_str() == Some("readable_by") {
            *field = 99.into();
        }
    }
    let mut newer = Vec::new();
    rmpv::encode::write_value(&mut newer, &rmpv::Value::Map(fields)).expect("writes");
    assert!(matches!(
        Session::restore(&newer),
        Err(RestoreError::TooNew(99))
    ));
}

/// What a map of a snapshot holds under a name.
fn field<'a>(value: &'a mut rmpv::Value, name: &str) -> &'a mut rmpv::Value {
    let rmpv::Value::Map(fields) = value else {
        panic!("a map")
    };
    let at = fields
        .iter()
        .position(|(field, _)| field.as_str() == Some(name));
    &mut fields[at.unwrap_or_else(|| panic!("{name}"))].1
}

#[test]
fn a_snapshot_of_form_1_is_read() {
    let (mut session, batches) = set_up(7);
    for (now, inputs) in batches.iter().take(400) {
        handle(&mut session, *now, inputs);
    }
    let snapshot = session.snapshot();
    let mut value = rmpv::decode::read_value(&mut snapshot.as_slice()).expect("reads");
    let packed = std::mem::replace(field(&mut value, "answered"), rmpv::Value::Nil);
    let packed = packed.as_slice().expect("bytes");
    let (mut posts, mut answered) = (Vec::new(), Vec::new());
    for entry in packed.chunks(32) {
        let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight"));
        let (at, id) = (word(0), word(24));
        let key = rmpv::Value::Array(vec![word(16).into(), word(8).into()]);
        answered.push(rmpv::Value::Array(vec![at.into(), key.clone()]));
        if id != 0 {
            let post = [
                ("id", id.into()),
                ("request", 1.into()),
                ("state", "Durable".into()),
                ("at", at.into()),
            ];
            let post = post.map(|(name, value)| (name.into(), value));
            posts.push(rmpv::Value::Array(vec![key, rmpv::Value::Map(post.into())]));
        }
    }
    assert!(posts.len() > 50, "{} durable posts", posts.len());
    let rmpv::Value::Array(all) = field(&mut value, "posts") else {
        panic!("a list")
    };
    all.append(&mut posts);
    *field(&mut value, "form") = 1.into();
    let rmpv::Value::Map(fields) = &mut value else {
        panic!("a map")
    };
    fields.retain(|(name, _)| name.as_str() != Some("answered"));
    fields.push(("posts_answered".into(), rmpv::Value::Array(answered)));
    let mut older = Vec::new();
    rmpv::encode::write_value(&mut older, &value).expect("writes");
    assert_eq!(
        Session::restore(&older).expect("restores").snapshot(),
        snapshot
    );
}

/// A user of form 2, whose buckets are numbers, as a map of a snapshot.
fn user_of_form_2(now: u64) -> rmpv::Value {
    let map = |fields: Vec<(&str, rmpv::Value)>| {
        rmpv::Value::Map(
            fields
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        )
    };
    // Five comments just now, of 30 a minute and 5 in 30 s, and 99 of 100 reactions.
    let in_stream = vec![
        ("topic", 1.into()),
        ("comments_us", ((now + 30_000) * 1_000).into()),
        ("wrote_ms", now.into()),
    ];
    map(vec![
        ("comments_us", ((now + 10_000) * 1_000).into()),
        ("reactions_us", ((now + 59_400) * 1_000).into()),
        ("streams", rmpv::Value::Array(vec![map(in_stream)])),
    ])
}

#[test]
fn a_snapshot_of_form_2_keeps_what_users_have_used() {
    let now = 1_800_000_000_000;
    let (load, _) = inputs(3);
    let mut session = Session::init(&load.config, 3).expect("starts");
    handle(&mut session, now, &[]);
    let snapshot = session.snapshot();
    let mut value = rmpv::decode::read_value(&mut snapshot.as_slice()).expect("reads");
    *field(&mut value, "form") = 2.into();
    // The limits as they are by default.
    let rmpv::Value::Binary(config) = field(&mut value, "config") else {
        panic!("bytes")
    };
    let mut read: serde_json::Value = serde_json::from_slice(config).expect("JSON");
    read["limits"] = serde_json::json!({});
    *config = serde_json::to_vec(&read).expect("JSON");
    let users = vec![rmpv::Value::Array(vec!["ann".into(), user_of_form_2(now)])];
    *field(&mut value, "users") = rmpv::Value::Array(users);
    let mut older = Vec::new();
    rmpv::encode::write_value(&mut older, &value).expect("writes");
    let restored = Session::restore(&older).expect("restores").snapshot();
    let mut value = rmpv::decode::read_value(&mut restored.as_slice()).expect("reads");
    assert_eq!(*field(&mut value, "form"), 6.into());
    let rmpv::Value::Array(users) = field(&mut value, "users") else {
        panic!("a list")
    };
    let rmpv::Value::Array(pair) = &mut users[0] else {
        panic!("a pair")
    };
    let uses = field(&mut pair[1], "uses");
    let window = |uses: u64| {
        let entry = rmpv::Value::Array(vec![now.into(), uses.into()]);
        rmpv::Value::Array(vec![entry])
    };
    assert_eq!(*field(uses, "comments"), window(5));
    assert_eq!(*field(uses, "reactions"), window(99));
    let rmpv::Value::Array(streams) = field(uses, "streams") else {
        panic!("a list")
    };
    assert_eq!(*field(&mut streams[0], "comments"), window(5));
    assert_eq!(*field(&mut streams[0], "wrote_ms"), now.into());
}
