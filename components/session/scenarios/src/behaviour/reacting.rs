//! Reactions.

use chorus_protocol::Encoding;
use chorus_protocol::server::ServerMessage;
use chorus_session_core::Input;
use serde_json::json;

use super::{studio, watch};
use crate::pop::Pop;

scenarios!("reacting":
    reactions_are_summed_and_handed_over_twice_a_second,
    totals_are_shown_twice_a_second_only_where_they_changed,
    bad_reactions_are_errors,
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
    for _ in 0..100 {
        pop.say(user, "react", &react("like", 20));
        pop.pass(1);
    }
    assert!(pop.take(user).is_empty());
    pop.say(user, "react", &react("like", 1));
    let ServerMessage::Error(refusal) = pop.take_one(user) else {
        panic!("not an error");
    };
    assert_eq!(refusal.code, "rate_limited");
    assert!(
        refusal
            .retry_after_ms
            .is_some_and(|ms| (1..=600).contains(&ms))
    );
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
            "delete_comment",
            json!({"stream_id": "demo", "comment_id": "7"}),
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
