//! Reactions.

use chorus_protocol::Encoding;
use chorus_protocol::backhaul::RefusedReactions;
use chorus_protocol::server::ServerMessage;
use chorus_protocol::session::Control;
use chorus_session_core::Input;
use serde_json::json;

use super::{studio, watch};
use crate::pop::Pop;

scenarios!("reacting":
    reactions_are_summed_and_handed_over_twice_a_second,
    totals_are_shown_twice_a_second_only_where_they_changed,
    bad_reactions_are_errors,
    a_react_counts_its_count_and_a_hundred_a_minute_are_all,
    reactions_refused_at_the_gateway_are_told_and_held_off,
    reactions_to_comments_are_not_available,
);

fn reactions_are_summed_and_handed_over_twice_a_second(pop: &mut Pop<'_>) {
    pop.config.limits.messages_burst = 1_000_000;
    pop.config.limits.reactions_per_minute = 1_000_000;
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.pass(10_000);
    pop.counts.clear();
    let topic = pop.topic("demo");
    for i in 0..1_000_u64 {
        let kind = if i % 2 == 0 { "like" } else { "wow" };
        let react = pop.frame(
            user,
            "react",
            &json!({"stream_id": "demo", "reaction_type": kind, "count": 20}),
        );
        pop.feed(vec![react]);
        pop.pass(2);
    }
    pop.pass(1_000);
    assert!(
        pop.take(user).is_empty(),
        "reactions taken are not answered"
    );
    assert!(
        (4..=6).contains(&pop.counts.len()),
        "two a second, the first at once: {:?}",
        pop.counts.len()
    );
    assert_eq!(pop.counts[0], (topic, vec![("like".to_owned(), 20)], None));
    let sum = |kind: &str| -> u64 {
        pop.counts
            .iter()
            .flat_map(|(_, counts, _)| counts)
            .filter(|(k, _)| k == kind)
            .map(|(_, n)| n)
            .sum()
    };
    assert_eq!((sum("like"), sum("wow")), (10_000, 10_000));
}

fn totals_are_shown_twice_a_second_only_where_they_changed(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewers = [
        watch(pop, &origin, Encoding::Json, None),
        watch(pop, &origin, Encoding::MsgPack, None),
    ];
    let topic = pop.topic("demo");
    for total in [3, 4, 5, 6] {
        let reactions = vec![("like".to_owned(), total), ("bad type!".to_owned(), 1)];
        pop.feed(vec![Input::Counted {
            topic,
            reactions,
            viewers: None,
        }]);
        pop.pass(10);
    }
    pop.pass(5_000);
    for viewer in viewers {
        let totals: Vec<_> = pop
            .take(viewer)
            .into_iter()
            .map(|message| match message {
                ServerMessage::ReactionsBatch { counts, .. } => counts,
                other => panic!("not totals: {other:?}"),
            })
            .collect();
        assert_eq!(
            totals,
            [
                [("like".to_owned(), 4)].into(),
                [("like".to_owned(), 6)].into()
            ]
        );
    }
}

fn bad_reactions_are_errors(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let react = |kind: &str, count: u32| json!({"stream_id": "demo", "reaction_type": kind, "count": count});
    let anonymous = watch(pop, &origin, Encoding::Json, None);
    pop.say(anonymous, "react", &react("like", 1));
    assert_eq!(pop.take_error(anonymous), "unauthenticated");
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    for (payload, code) in [
        (react("boo", 1), "unknown_reaction"),
        (react("like", 0), "invalid_message"),
        (react("like", 21), "invalid_message"),
        (
            json!({"stream_id": "other", "reaction_type": "like"}),
            "not_joined",
        ),
    ] {
        pop.say(user, "react", &payload);
        assert_eq!(pop.take_error(user), code);
    }
}

fn too_many(pop: &mut Pop<'_>, viewer: u64) -> Option<u64> {
    let ServerMessage::Error(refusal) = pop.take_one(viewer) else {
        panic!("not an error");
    };
    assert_eq!(refusal.code, "rate_limited");
    refusal.retry_after_ms
}

fn a_react_counts_its_count_and_a_hundred_a_minute_are_all(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let react = |count: u32| json!({"stream_id": "demo", "reaction_type": "like", "count": count});
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let admin = watch(pop, &origin, Encoding::Json, Some(("root", "admin")));
    // Over connections of one shard, too.
    let other = watch(pop, &origin, Encoding::MsgPack, Some(("ann", "user")));
    for number in 0..5 {
        let viewer = if number % 2 == 0 { user } else { other };
        pop.say(viewer, "react", &react(20));
        pop.pass(1_000);
    }
    for viewer in [user, other] {
        assert!(pop.take(viewer).iter().all(is_totals));
    }
    pop.say(other, "react", &react(1));
    assert_eq!(too_many(pop, other), Some(55_000));
    // The first twenty are a minute ago, then: no more than twenty again.
    pop.pass(55_000);
    pop.take(user);
    pop.say(user, "react", &react(20));
    pop.say(user, "react", &react(1));
    assert_eq!(too_many(pop, user), Some(1_000));
    for _ in 0..50 {
        pop.say(admin, "react", &react(20));
    }
    pop.pass(1_000);
    assert!(pop.take(admin).iter().all(is_totals));
    // The gateway is told whose they are, but of those whom no limit holds.
    assert_eq!(pop.reacted.get("ann"), Some(&120));
    assert_eq!(pop.reacted.len(), 1);
    let all = pop.counts.iter().flat_map(|(_, counts, _)| counts);
    assert_eq!(all.map(|(_, by)| by).sum::<u64>(), 1_120);
}

fn is_totals(message: &ServerMessage) -> bool {
    matches!(
        message,
        ServerMessage::ReactionsBatch { .. } | ServerMessage::ViewerCount { .. }
    )
}

/// The gateway did not add reactions of ann's.
fn refuse(pop: &mut Pop<'_>, count: u64, retry_after_ms: u64) {
    let refused = RefusedReactions {
        user: "ann".parse().expect("a user"),
        count,
        retry_after_ms,
    };
    let control = Control::ReactionsRefused(vec![refused]);
    let data = rmp_serde::to_vec_named(&control).expect("can be written");
    pop.feed(vec![Input::Control { topic: None, data }]);
}

fn reactions_refused_at_the_gateway_are_told_and_held_off(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let react = |count: u32| json!({"stream_id": "demo", "reaction_type": "like", "count": count});
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let idle = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let bob = watch(pop, &origin, Encoding::Json, Some(("bob", "user")));
    // Nothing was given here: whose reactions were refused is another shard's.
    refuse(pop, 5, 9_000);
    assert!(pop.take(user).is_empty());
    for _ in 0..4 {
        pop.say(user, "react", &react(20));
    }
    refuse(pop, 60, 9_000);
    assert_eq!(too_many(pop, user), Some(9_000));
    assert!(
        pop.take(idle).is_empty(),
        "who did not react is told nothing"
    );
    pop.pass(4_000);
    pop.say(user, "react", &react(1));
    assert_eq!(too_many(pop, user), Some(5_000));
    pop.say(bob, "react", &react(1));
    pop.pass(5_000);
    assert!(pop.take(bob).is_empty());
    // The twenty that were added count on, the sixty do not.
    for _ in 0..4 {
        pop.say(user, "react", &react(20));
    }
    assert!(pop.take(user).is_empty());
    pop.say(user, "react", &react(1));
    assert_eq!(too_many(pop, user), Some(51_000));
}

fn reactions_to_comments_are_not_available(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    for (kind, payload) in [
        (
            "react",
            json!({"stream_id": "demo", "reaction_type": "like", "comment_id": "7"}),
        ),
        (
            "unreact",
            json!({"stream_id": "demo", "reaction_type": "like", "comment_id": "7"}),
        ),
        (
            "report",
            json!({"stream_id": "demo", "comment_id": "7", "reason": "x"}),
        ),
        (
            "moderate",
            json!({"stream_id": "demo", "client_id": "m1", "action": "ban", "user_id": "x"}),
        ),
    ] {
        pop.say(user, kind, &payload);
        let ServerMessage::Error(refusal) = pop.take_one(user) else {
            panic!("not an error");
        };
        assert_eq!(refusal.code, "not_available");
        assert_eq!(refusal.client_id.is_some(), kind == "moderate");
    }
}
