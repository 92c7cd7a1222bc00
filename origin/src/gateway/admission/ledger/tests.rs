//! Who is let in, what is given back and what is forgotten.

use chorus_protocol::limits::Limits;

use super::*;

fn ledger() -> Ledger {
    Ledger::new(UserLimits::from(&Limits::default()), 64)
}

fn user(name: &str) -> UserId {
    name.parse().expect("a user")
}

fn demo() -> StreamId {
    "demo".parse().expect("a stream")
}

/// Tries to write under a key.
fn write(ledger: &mut Ledger, now: u64, name: &str, key: u128) -> Result<bool, CommentRefusal> {
    let written = Comment {
        user: &user(name),
        admin: name == "admin",
        stream: &demo(),
        key,
        slow_mode_ms: if name == "slow" { 200_000 } else { 0 },
    };
    ledger.comment(now, &written)
}

fn likes(name: &str, count: u64) -> UserReactions {
    UserReactions {
        user: user(name),
        by: Reactions::from([("like".to_owned(), count)]),
    }
}

fn react(ledger: &mut Ledger, now: u64, key: u128, of: Vec<UserReactions>) -> Arc<Decision> {
    ledger.reactions(now, &demo(), key, Reactions::new(), of)
}

#[test]
fn a_repeat_of_what_was_let_in_costs_nothing() {
    let mut ledger = ledger();
    for key in 0..5 {
        assert_eq!(write(&mut ledger, 1_000, "ann", key), Ok(true));
    }
    let full = Err(CommentRefusal::RateLimited(29_000));
    assert_eq!(write(&mut ledger, 2_000, "ann", 5), full);
    for key in 0..5 {
        assert_eq!(write(&mut ledger, 2_000, "ann", key), Ok(false));
    }
    assert_eq!(write(&mut ledger, 2_000, "bob", 5), Ok(true));
    assert_eq!(write(&mut ledger, 31_000, "ann", 6), Ok(true));
    assert_eq!(write(&mut ledger, 61_000, "ann", 0), Ok(true), "forgotten");
}

#[test]
fn what_is_not_stored_is_given_back() {
    let mut ledger = ledger();
    for key in 0..5 {
        assert_eq!(write(&mut ledger, 1_000, "ann", key), Ok(true));
    }
    ledger.comment_not_stored(&user("ann"), 3);
    ledger.comment_not_stored(&user("ann"), 3);
    assert_eq!(write(&mut ledger, 2_000, "ann", 5), Ok(true));
    assert!(write(&mut ledger, 2_000, "ann", 6).is_err());

    let all = react(&mut ledger, 1_000, 7, vec![likes("ann", 100)]);
    assert_eq!(all.refused, []);
    ledger.reactions_not_stored(7);
    let again = react(&mut ledger, 2_000, 8, vec![likes("ann", 100)]);
    assert_eq!(again.by["like"], 100);
}

#[test]
fn slow_mode_is_told_apart_and_admins_are_held_by_nothing() {
    let mut ledger = ledger();
    assert_eq!(write(&mut ledger, 1_000, "slow", 0), Ok(true));
    let slow = Err(CommentRefusal::SlowMode(199_000));
    assert_eq!(write(&mut ledger, 2_000, "slow", 1), slow);
    for key in 0..1_000 {
        assert_eq!(write(&mut ledger, 2_000, "admin", key), Ok(false));
    }
}

#[test]
fn a_user_adds_a_hundred_reactions_a_minute_by_whatever_groups() {
    let mut ledger = ledger();
    let mut added = 0;
    for pop in 0..8_u128 {
        // Two users in each group: one's limit is not the other's.
        let of = vec![likes("ann", 30), likes(&format!("user-{pop}"), 30)];
        let decision = react(&mut ledger, 1_000, pop << 64, of);
        added += decision.by["like"] - 30;
        let refused = RefusedReactions {
            user: user("ann"),
            count: if pop == 3 { 20 } else { 30 },
            retry_after_ms: 60_000,
        };
        let expected = if pop < 3 { vec![] } else { vec![refused] };
        assert_eq!(decision.refused, expected);
    }
    assert_eq!(added, 100);
    let later = react(&mut ledger, 61_000, 9 << 64, vec![likes("ann", 30)]);
    assert_eq!(later.by["like"], 30);
}

#[test]
fn the_same_group_again_gets_the_same_decision() {
    let mut ledger = ledger();
    let first = react(&mut ledger, 1_000, 1, vec![likes("ann", 120)]);
    assert_eq!((first.by["like"], first.refused[0].count), (100, 20));
    let again = react(&mut ledger, 2_000, 1, vec![likes("ann", 120)]);
    assert_eq!(again, first);
    assert_eq!(ledger.take_counts().reactions_refused, 20, "counted once");
    let other = react(&mut ledger, 2_000, 2, vec![likes("ann", 1)]);
    assert!(other.by.is_empty());
}

#[test]
fn who_is_free_soonest_is_forgotten_first_and_who_is_free_at_once() {
    let mut ledger = ledger();
    for name in 0..64 {
        react(
            &mut ledger,
            1_000 + name,
            10 + u128::from(name),
            vec![likes(&name.to_string(), 100)],
        );
    }
    assert_eq!(ledger.users(), 64);
    react(&mut ledger, 2_000, 2, vec![likes("ann", 1)]);
    assert_eq!((ledger.users(), ledger.take_counts().evicted), (57, 8));
    // The first eight may react again, the ninth may not.
    assert_eq!(
        react(&mut ledger, 2_000, 3, vec![likes("7", 1)]).refused,
        []
    );
    assert_ne!(
        react(&mut ledger, 2_000, 4, vec![likes("8", 1)]).refused,
        []
    );
    react(&mut ledger, 70_000, 5, vec![likes("ann", 1)]);
    assert_eq!(
        (ledger.users(), ledger.take_counts().evicted),
        (1, 0),
        "all were free"
    );
}

#[test]
fn decisions_are_bounded() {
    let mut ledger = ledger();
    for process in 0..=DECISIONS_MAX as u128 {
        let now = 1_000 + process as u64;
        react(&mut ledger, now, process << 64, vec![likes("ann", 1)]);
    }
    assert!(ledger.decided.len() <= DECISIONS_MAX / 2 + 1);
    let last = DECISIONS_MAX as u64;
    assert!(ledger.decided.contains_key(&(last, demo())));
}
