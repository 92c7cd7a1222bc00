//! Tokens on live connections.

use chorus_protocol::Encoding;
use chorus_protocol::server::{ReceiptStatus, ServerMessage};
use serde_json::json;

use super::{studio, watch};
use crate::pop::Pop;
use crate::tokens::{SECRET, token, unsigned, with_claims};

/// What clocks may differ by default, in milliseconds.
const LEEWAY_MS: u64 = 60_000;

scenarios!("tokens":
    a_bad_token_at_opening_is_closed,
    a_bad_token_later_is_an_error_and_reading_goes_on,
    writing_ends_with_the_token_and_comes_back_with_the_next,
    another_user_is_refused_on_the_same_connection,
    anonymous_viewers_may_become_somebody,
    a_moderators_end_is_noticed,
    a_token_is_good_until_its_end_and_the_leeway,
    without_leeway_a_token_ends_to_the_millisecond,
    a_token_for_another_service_is_refused,
);

fn a_bad_token_at_opening_is_closed(pop: &mut Pop<'_>) {
    let hour = pop.now + 3_600_000;
    let exp = hour / 1_000;
    for bad in [
        String::new(),
        "x.y.z".to_owned(),
        "a".repeat(10_000),
        unsigned("ann", hour),
        token("ann", "user", pop.now - LEEWAY_MS),
        with_claims(
            &json!({"sub": "ann", "exp": exp}),
            b"another secret of at least 32 bytes",
        ),
        with_claims(&json!({"sub": "ann"}), SECRET),
        with_claims(&json!({"exp": exp}), SECRET),
        with_claims(&json!({"sub": "", "exp": exp}), SECRET),
        with_claims(&json!({"sub": "ann", "exp": exp, "nbf": exp - 1}), SECRET),
        with_claims(&json!({"sub": "ann", "exp": exp, "role": "root"}), SECRET),
        with_claims(&json!({"sub": "ann", "exp": exp, "role": null}), SECRET),
        with_claims(&json!({"sub": "ann", "exp": exp, "role": "owner"}), SECRET),
    ] {
        let viewer = pop.open(Encoding::Json, Some(bad.clone()));
        assert_eq!(pop.closed(viewer), Some(4401), "{bad}");
    }
    let viewer = pop.open(
        Encoding::Json,
        Some(with_claims(&json!({"sub": "ann", "exp": exp}), SECRET)),
    );
    assert_eq!(pop.closed(viewer), None);
}

fn a_bad_token_later_is_an_error_and_reading_goes_on(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.say(user, "authenticate", &json!({"token": "x"}));
    assert_eq!(pop.take_error(user), "invalid_token");
    let delivery = origin.write("eu", 1, "hi");
    pop.deliver("demo", &delivery);
    assert_eq!(super::shown(pop, user), [1]);
    pop.post(user, "demo", "c", "hi");
    assert_eq!(
        pop.take_receipts(user)[0].status,
        ReceiptStatus::Accepted,
        "the good one stands"
    );
}

fn writing_ends_with_the_token_and_comes_back_with_the_next(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let user = pop.open(
        Encoding::MsgPack,
        Some(token("ann", "user", pop.now + 10_000)),
    );
    pop.say(user, "join_stream", &json!({"stream_id": "demo"}));
    pop.state("demo", Some(origin.state()));
    pop.take_joined(user);
    pop.pass(10_000 + LEEWAY_MS - 1);
    assert!(pop.take(user).is_empty());
    pop.pass(1);
    assert_eq!(pop.take_error(user), "token_expired");
    pop.pass(60_000);
    assert!(pop.take(user).is_empty(), "said once");
    let delivery = origin.write("eu", 1, "hi");
    pop.deliver("demo", &delivery);
    assert_eq!(super::shown(pop, user), [1], "reading goes on");
    pop.post(user, "demo", "c", "hi");
    assert_eq!(
        pop.take_receipts(user)[0].reason.as_deref(),
        Some("token_expired")
    );
    pop.say(
        user,
        "react",
        &json!({"stream_id": "demo", "reaction_type": "like"}),
    );
    assert_eq!(pop.take_error(user), "token_expired");
    let next = pop.token("ann", "user");
    pop.say(user, "authenticate", &json!({"token": next}));
    pop.post(user, "demo", "c", "hi");
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
    pop.pass(3_600_000 + LEEWAY_MS);
    let told = pop.take(user).into_iter().filter(
        |message| matches!(message, ServerMessage::Error(refusal) if refusal.code == "token_expired"),
    );
    assert_eq!(told.count(), 1, "the next one's end is told too");
}

fn another_user_is_refused_on_the_same_connection(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let other = pop.token("bob", "admin");
    pop.say(user, "authenticate", &json!({"token": other}));
    assert_eq!(pop.take_error(user), "wrong_user");
    pop.post(user, "demo", "c", "hi");
    assert_eq!(pop.publication().comment().user_id.as_str(), "ann");
}

fn anonymous_viewers_may_become_somebody(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let mine = pop.token("caster", "user");
    pop.say(viewer, "authenticate", &json!({"token": mine}));
    assert!(pop.take(viewer).is_empty());
    assert_eq!(
        pop.joins.last(),
        Some(&(viewer, chorus_session_core::Audience::Moderators))
    );
    pop.post(viewer, "demo", "c", "hi");
    assert_eq!(pop.publication().comment().badges, ["broadcaster"]);
}

fn a_moderators_end_is_noticed(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    let moderator = pop.open(
        Encoding::Json,
        Some(token("mod", "moderator", pop.now + 10_000)),
    );
    pop.say(moderator, "join_stream", &json!({"stream_id": "demo"}));
    assert_eq!(
        pop.joins.last(),
        Some(&(moderator, chorus_session_core::Audience::Moderators))
    );
    pop.pass(10_000 + LEEWAY_MS);
    assert_eq!(
        pop.joins.last(),
        Some(&(moderator, chorus_session_core::Audience::Viewers))
    );
}

fn a_token_is_good_until_its_end_and_the_leeway(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    // By our clock it has ended already; the issuer's may be behind.
    let ended = token("ann", "user", pop.now - 10_000);
    let user = pop.open(Encoding::Json, Some(ended.clone()));
    pop.say(user, "join_stream", &json!({"stream_id": "demo"}));
    pop.state("demo", Some(origin.state()));
    pop.take_joined(user);
    pop.pass(LEEWAY_MS - 10_000 - 1);
    pop.post(user, "demo", "c-1", "still in time");
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
    pop.pass(1);
    assert_eq!(pop.take_error(user), "token_expired");
    pop.post(user, "demo", "c-2", "too late");
    assert_eq!(
        pop.take_receipts(user)[0].reason.as_deref(),
        Some("token_expired")
    );
    pop.say(user, "authenticate", &json!({"token": ended}));
    assert_eq!(pop.take_error(user), "invalid_token");
    // From a clock that is ahead of ours.
    let exp = pop.now / 1_000 + 600;
    let claims = json!({"sub": "ann", "exp": exp, "nbf": pop.now / 1_000 + LEEWAY_MS / 1_000});
    let early = with_claims(&claims, SECRET);
    pop.say(user, "authenticate", &json!({"token": early}));
    pop.post(user, "demo", "c-3", "and again");
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
}

fn without_leeway_a_token_ends_to_the_millisecond(pop: &mut Pop<'_>) {
    pop.config.token_rules.leeway_s = 0;
    let ended = token("ann", "user", pop.now);
    let refused = pop.open(Encoding::Json, Some(ended));
    assert_eq!(pop.closed(refused), Some(4401));
    let user = pop.open(Encoding::Json, Some(token("ann", "user", pop.now + 3_000)));
    pop.pass(2_999);
    assert!(pop.take(user).is_empty());
    pop.pass(1);
    assert_eq!(pop.take_error(user), "token_expired");
}

fn a_token_for_another_service_is_refused(pop: &mut Pop<'_>) {
    pop.config.token_rules.audiences = vec!["chorus".to_owned()];
    pop.config.token_rules.issuers = vec!["https://id.example".to_owned()];
    let exp = pop.now / 1_000 + 600;
    let with = |iss: &str, aud: serde_json::Value| {
        with_claims(
            &json!({"sub": "ann", "exp": exp, "iss": iss, "aud": aud}),
            SECRET,
        )
    };
    for (token, code) in [
        (with("https://id.example", json!("chorus")), None),
        (
            with("https://id.example", json!(["billing", "chorus"])),
            None,
        ),
        (with("https://id.example", json!("billing")), Some(4401)),
        (with("https://evil.example", json!("chorus")), Some(4401)),
        (self::token("ann", "user", pop.now + 600_000), Some(4401)),
    ] {
        let viewer = pop.open(Encoding::Json, Some(token));
        assert_eq!(pop.closed(viewer), code);
    }
}
