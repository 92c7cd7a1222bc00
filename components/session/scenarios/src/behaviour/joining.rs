//! Joining and leaving.

use chorus_protocol::Encoding;
use chorus_protocol::server::ServerMessage;
use chorus_session_core::Audience;
use serde_json::json;

use super::{studio, watch};
use crate::origin::Origin;
use crate::pop::Pop;

scenarios!("joining":
    joined_brings_the_newest_in_both_encodings,
    joins_wait_for_the_stream_and_share_one_subscription,
    an_unknown_stream_is_an_error_and_the_socket_stays,
    a_stream_is_given_up_after_a_grace,
    a_return_within_the_grace_keeps_the_stream,
    roles_follow_the_token_and_the_stream,
    a_second_join_is_refused_and_a_leave_ends_the_first,
    silence_is_closed,
    viewers_are_counted_and_told,
    settings_that_change_are_told,
    a_pong_comes_behind_the_answer_to_what_was_said_before_the_ping,
);

fn joined_brings_the_newest_in_both_encodings(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    for id in 1..=60 {
        origin.write(
            if id % 2 == 0 { "eu" } else { "us" },
            id,
            "<b>\"hi\"\u{2028}🎈",
        );
    }
    let mut first = Vec::new();
    for encoding in [Encoding::Json, Encoding::MsgPack, Encoding::Json] {
        let viewer = pop.open(encoding, None);
        pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
        if first.is_empty() {
            pop.state("demo", Some(origin.state()));
        }
        let joined = pop.take_joined(viewer);
        let ids: Vec<u64> = joined.comments.iter().map(|comment| comment.id.0).collect();
        assert_eq!(ids, (11..=60).collect::<Vec<u64>>());
        assert_eq!(joined.comments[0].content, "<b>\"hi\"\u{2028}🎈");
        assert!(!joined.gap);
        assert_eq!(joined.role, "anonymous");
        assert_eq!(joined.comment_count, 60);
        assert_eq!(joined.reactions.get("like"), Some(&3));
        assert_eq!(joined.resume, origin.at().to_token());
        first.push(joined.comments);
    }
    assert_eq!(first[0], first[1]);
    assert_eq!(
        pop.keeps, 2,
        "the newest are encoded once for each encoding"
    );
    // What is shown after that is part of what the next one gets.
    let delivery = origin.write("eu", 61, "new");
    pop.deliver("demo", &delivery);
    let viewer = pop.open(Encoding::Json, None);
    pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
    let joined = pop.take_joined(viewer);
    assert_eq!(joined.comments.last().map(|comment| comment.id.0), Some(61));
    assert_eq!(joined.comments.len(), 50);
}

fn joins_wait_for_the_stream_and_share_one_subscription(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewers: Vec<u64> = (0..3).map(|_| pop.open(Encoding::Json, None)).collect();
    for &viewer in &viewers {
        pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
        assert!(pop.take(viewer).is_empty());
    }
    pop.gone(viewers[1]);
    assert_eq!(pop.topics.len(), 1);
    pop.state("demo", Some(origin.state()));
    pop.take_joined(viewers[0]);
    pop.take_joined(viewers[2]);
    assert_eq!(pop.members("demo"), 2);
}

fn an_unknown_stream_is_an_error_and_the_socket_stays(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewer = pop.open(Encoding::MsgPack, Some(pop.token("ann", "user")));
    pop.say(viewer, "join_stream", &json!({"stream_id": "nowhere"}));
    pop.state("nowhere", None);
    assert_eq!(pop.take_error(viewer), "stream_not_found");
    assert!(pop.topics.is_empty(), "it is not followed");
    pop.post(viewer, "nowhere", "c1", "hi");
    assert_eq!(
        pop.take_receipts(viewer)[0].reason.as_deref(),
        Some("stream_not_found")
    );
    pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
    pop.state("demo", Some(origin.state()));
    pop.take_joined(viewer);
}

fn a_stream_is_given_up_after_a_grace(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    pop.gone(viewer);
    pop.pass(29_000);
    assert!(pop.given_up.is_empty());
    pop.pass(2_000);
    assert_eq!(pop.given_up.len(), 1);
    assert_eq!(
        pop.counts.last().map(|(_, _, viewers)| *viewers),
        Some(Some(0))
    );
    watch(pop, &origin, Encoding::Json, None);
    assert_eq!(pop.members("demo"), 1);
}

fn a_return_within_the_grace_keeps_the_stream(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    pop.gone(viewer);
    pop.pass(20_000);
    watch(pop, &origin, Encoding::Json, None);
    pop.pass(60_000);
    assert!(pop.given_up.is_empty());
}

fn roles_follow_the_token_and_the_stream(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    let roles = [
        (Some(("bob", "user")), "user", Audience::Viewers),
        (
            Some(("mod", "moderator")),
            "moderator",
            Audience::Moderators,
        ),
        (
            Some(("caster", "user")),
            "broadcaster",
            Audience::Moderators,
        ),
        (Some(("root", "admin")), "admin", Audience::Moderators),
        (None, "anonymous", Audience::Viewers),
    ];
    for (user, role, audience) in roles {
        let token = user.map(|(user, role)| pop.token(user, role));
        let viewer = pop.open(Encoding::Json, token);
        pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
        assert_eq!(pop.take_joined(viewer).role, role);
        assert_eq!(pop.joins.last(), Some(&(viewer, audience)));
    }
}

fn a_second_join_is_refused_and_a_leave_ends_the_first(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let other = watch(pop, &origin, Encoding::Json, None);
    pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
    assert_eq!(pop.take_error(viewer), "already_joined");
    pop.say(viewer, "leave_stream", &json!({"stream_id": "demo"}));
    pop.say(viewer, "leave_stream", &json!({"stream_id": "demo"}));
    assert_eq!(pop.take_error(viewer), "not_joined");
    let delivery = origin.write("eu", 1, "hi");
    pop.deliver("demo", &delivery);
    assert!(pop.take(viewer).is_empty());
    assert_eq!(super::shown(pop, other), [1]);
}

fn silence_is_closed(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let silent = pop.open(Encoding::Json, None);
    let pinging = pop.open(Encoding::Json, Some(pop.token("ann", "user")));
    let authenticating = pop.open(Encoding::Json, None);
    let joining = watch(pop, &origin, Encoding::Json, None);
    pop.say(pinging, "ping", &json!(1));
    let token = pop.token("bob", "user");
    pop.say(authenticating, "authenticate", &json!({"token": token}));
    pop.pass(4_999);
    assert_eq!(pop.closed(silent), None);
    pop.pass(1);
    assert_eq!(pop.closed(silent), Some(4403));
    assert_eq!(pop.closed(pinging), Some(4403));
    assert_eq!(pop.closed(authenticating), None);
    assert_eq!(pop.closed(joining), None);
}

fn viewers_are_counted_and_told(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    assert_eq!(
        pop.counts.last().map(|(_, _, viewers)| *viewers),
        Some(Some(1)),
        "the first at once"
    );
    watch(pop, &origin, Encoding::Json, None);
    watch(pop, &origin, Encoding::MsgPack, None);
    assert_eq!(pop.counts.len(), 1);
    pop.pass(2_000);
    assert_eq!(
        pop.counts.last().map(|(_, _, viewers)| *viewers),
        Some(Some(3))
    );
    assert_eq!(pop.counts.len(), 2);
    let topic = pop.topic("demo");
    for viewers in [7, 8, 9] {
        pop.feed(vec![chorus_session_core::Input::Counted {
            topic,
            reactions: vec![],
            viewers: Some(viewers),
        }]);
    }
    pop.pass(5_000);
    let told: Vec<u64> = pop
        .take(viewer)
        .into_iter()
        .map(|message| match message {
            ServerMessage::ViewerCount { count, .. } => count,
            other => panic!("not a count: {other:?}"),
        })
        .collect();
    assert_eq!(told, [7, 9]);
}

fn settings_that_change_are_told(pop: &mut Pop<'_>) {
    let mut origin: Origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    origin.info.settings.slow_mode_s = 5;
    pop.state("demo", Some(origin.state()));
    assert_eq!(pop.closed(viewer), None, "nothing was missed");
    let ServerMessage::StreamUpdated { settings, .. } = pop.take_one(viewer) else {
        panic!("not an update");
    };
    assert_eq!(settings.map(|settings| settings.slow_mode_s), Some(5));
}

/// `authenticate` has no answer when the token is taken: a client sends a ping behind it and reads the order.
fn a_pong_comes_behind_the_answer_to_what_was_said_before_the_ping(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let viewer = watch(pop, &origin, encoding, None);
        let good = pop.token("ann", "user");
        for (token, sequence) in [("x.y.z", 1), (good.as_str(), 2)] {
            pop.say(viewer, "authenticate", &json!({ "token": token }));
            pop.say(viewer, "ping", &json!({ "auth": sequence }));
        }
        pop.post(viewer, "demo", &format!("c-{encoding:?}"), "hi");
        let told = pop.take(viewer).into_iter().map(|message| match message {
            ServerMessage::Error(refusal) => refusal.code.to_string(),
            ServerMessage::Pong(value) => value["auth"].to_string(),
            ServerMessage::Receipt(receipt) => format!("{:?}", receipt.status),
            other => panic!("{other:?}"),
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            ["invalid_token", "1", "2", "Accepted"]
        );
    }
}
