//! Posts and the truth about them.

use chorus_protocol::codes::Reason;
use chorus_protocol::comment::post_key;
use chorus_protocol::event::AuthorRole;
use chorus_protocol::server::{Receipt, ReceiptStatus, ServerMessage};
use chorus_protocol::stream::StreamStatus;
use chorus_protocol::{CommentId, Encoding, Millis, Outcome};
use chorus_session_core::Input;
use serde_json::json;

use super::{studio, watch};
use crate::pop::Pop;

scenarios!("posting":
    a_post_is_accepted_then_durable_then_shown,
    bad_posts_are_rejected_with_their_reason,
    a_repeat_is_answered_and_not_written,
    a_repeat_while_waiting_tells_the_newest_connection_too,
    a_duplicate_gets_the_first_ones_id,
    a_refused_post_may_be_tried_again,
    an_unanswered_post_is_unconfirmed_and_keeps_its_id,
    a_late_answer_is_still_the_truth,
    ids_rise_and_need_a_lease,
    the_authors_end_disturbs_nothing,
    an_ended_stream_takes_no_comments,
    slow_mode_holds_for_viewers_only,
    too_many_waiting_posts_are_unavailable,
);

fn receipt(client_id: &str, status: ReceiptStatus, id: Option<u64>) -> Receipt {
    Receipt {
        client_id: client_id.to_owned(),
        comment_id: id.map(CommentId),
        status,
        reason: None,
        retry_after_ms: None,
    }
}

fn stored(id: u64) -> Outcome {
    Outcome::Stored {
        id: CommentId(id),
        duplicate: false,
    }
}

fn reason(pop: &mut Pop<'_>, viewer: u64) -> (String, Option<u64>) {
    let receipts = pop.take_receipts(viewer);
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    assert_eq!(receipts[0].status, ReceiptStatus::Rejected);
    (
        receipts[0].reason.clone().expect("a reason"),
        receipts[0].retry_after_ms,
    )
}

fn a_post_is_accepted_then_durable_then_shown(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let author = watch(pop, &origin, Encoding::MsgPack, Some(("ann", "moderator")));
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let payload = json!({"stream_id": "demo", "client_id": "c1", "content": "  hi @bob \r\n you ",
        "parent_id": "77", "media_ms": 5, "unknown": [1]});
    pop.say(author, "post_comment", &payload);
    assert_eq!(
        pop.take_receipts(author),
        [receipt("c1", ReceiptStatus::Accepted, None)]
    );
    let publication = pop.publication();
    let comment = publication.clone().comment();
    assert_eq!(publication.author, "ann");
    assert_eq!(publication.role, AuthorRole::Moderator);
    assert_eq!(
        (publication.kind.as_str(), publication.target),
        ("comment", None)
    );
    assert_eq!(comment.content, "hi @bob\n you");
    assert_eq!(comment.mentions, ["bob"]);
    assert_eq!(comment.parent_id, Some(CommentId(77)));
    assert_eq!(comment.media_ms, Some(5));
    assert_eq!(comment.user_id.as_str(), "ann");
    assert_eq!(comment.badges, ["moderator"]);
    assert_eq!(comment.created_at_ms, Millis(pop.now));
    assert_eq!(comment.id.minted_at(), Millis(pop.now));
    let key = post_key(
        &comment.stream_id,
        &comment.user_id,
        &"c1".parse().expect("a key"),
    );
    assert_eq!(publication.key, key);
    let delivery = origin.store("eu", publication.bytes.clone());
    let delivery = pop.delivery("demo", &delivery);
    pop.feed(vec![
        Input::Published {
            request: publication.request,
            outcome: stored(publication.id),
        },
        delivery,
    ]);
    let to_author = pop.take(author);
    assert_eq!(
        to_author[0],
        ServerMessage::Receipt(receipt("c1", ReceiptStatus::Durable, Some(publication.id)))
    );
    assert!(matches!(to_author[1], ServerMessage::CommentsBatch { .. }));
    let ServerMessage::CommentsBatch { comments, .. } = pop.take_one(viewer) else {
        panic!("not a batch");
    };
    assert_eq!(comments, [publication.comment()]);
}

fn bad_posts_are_rejected_with_their_reason(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let anonymous = watch(pop, &origin, Encoding::Json, None);
    pop.post(anonymous, "demo", "c", "hi");
    assert_eq!(reason(pop, anonymous).0, "unauthenticated");
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    for (stream, content, why) in [
        ("other", "hi".to_owned(), "not_joined"),
        ("demo", " \n ".to_owned(), "empty"),
        ("demo", "x".repeat(501), "too_long"),
        ("demo", "\u{200b}".to_owned(), "empty"),
        ("demo", "\u{2060}\u{202e}".to_owned(), "empty"),
        ("demo", "a\u{7}b".to_owned(), "invalid"),
    ] {
        pop.post(user, stream, "c", &content);
        assert_eq!(reason(pop, user).0, why);
    }
    pop.post(user, "demo", "c", &"🎈".repeat(500));
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
    // What cannot be read as a post is an error with its key.
    pop.say(
        user,
        "post_comment",
        &json!({"stream_id": "demo", "client_id": "c8"}),
    );
    let ServerMessage::Error(refusal) = pop.take_one(user) else {
        panic!("not an error");
    };
    assert_eq!(
        (refusal.code.as_str(), refusal.client_id.as_deref()),
        ("invalid_message", Some("c8"))
    );
}

fn a_repeat_is_answered_and_not_written(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(user, "demo", "c1", "hi");
    let publication = pop.publication();
    pop.answer(publication.request, stored(publication.id));
    pop.take(user);
    for _ in 0..40 {
        pop.post(user, "demo", "c1", "hi");
        let id = Some(publication.id);
        let expected = [
            receipt("c1", ReceiptStatus::Accepted, None),
            receipt("c1", ReceiptStatus::Durable, id),
        ];
        assert_eq!(pop.take_receipts(user), expected);
    }
    assert!(pop.published.is_empty(), "not written again");
    // Nor charged: four more of five in 30 s are left.
    for i in 0..4 {
        pop.post(user, "demo", &format!("d{i}"), "hi");
        assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
    }
    pop.post(user, "demo", "d4", "hi");
    assert_eq!(reason(pop, user).0, "rate_limited");
    // Another's key is another key.
    let other = watch(pop, &origin, Encoding::Json, Some(("bob", "user")));
    pop.post(other, "demo", "c1", "hi");
    assert_eq!(pop.published.len(), 5);
}

fn a_repeat_while_waiting_tells_the_newest_connection_too(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let old = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(old, "demo", "c1", "hi");
    let publication = pop.publication();
    let new = watch(pop, &origin, Encoding::MsgPack, Some(("ann", "user")));
    pop.post(new, "demo", "c1", "hi");
    assert!(pop.published.is_empty());
    pop.answer(publication.request, stored(publication.id));
    for viewer in [old, new] {
        let durable = receipt("c1", ReceiptStatus::Durable, Some(publication.id));
        assert_eq!(
            pop.take_receipts(viewer),
            [receipt("c1", ReceiptStatus::Accepted, None), durable]
        );
    }
}

fn a_duplicate_gets_the_first_ones_id(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(user, "demo", "c1", "hi");
    let publication = pop.publication();
    pop.answer(
        publication.request,
        Outcome::Stored {
            id: CommentId(99),
            duplicate: true,
        },
    );
    assert_eq!(
        pop.take_receipts(user)[1],
        receipt("c1", ReceiptStatus::Durable, Some(99))
    );
}

fn a_refused_post_may_be_tried_again(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(user, "demo", "c1", "hi");
    let publication = pop.publication();
    let outcome = Outcome::Refused {
        reason: "banned".to_owned(),
        retry_after_ms: Some(5),
    };
    pop.answer(publication.request, outcome);
    pop.take(user).remove(0);
    pop.post(user, "demo", "c1", "hi");
    let again = pop.publication();
    assert_eq!(again.key, publication.key);
    pop.answer(again.request, stored(again.id));
    assert_eq!(
        pop.take_receipts(user)[1].comment_id,
        Some(CommentId(again.id))
    );
}

fn an_unanswered_post_is_unconfirmed_and_keeps_its_id(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(user, "demo", "c1", "hi");
    let publication = pop.publication();
    pop.take(user);
    pop.pass(29_999);
    assert!(pop.take(user).is_empty());
    pop.pass(1);
    let ServerMessage::Error(refusal) = pop.take_one(user) else {
        panic!("not an error");
    };
    assert_eq!(
        (refusal.code.as_str(), refusal.client_id.as_deref()),
        ("unconfirmed", Some("c1"))
    );
    pop.post(user, "demo", "c1", "hi");
    let again = pop.publication();
    assert_eq!(
        (again.id, again.key),
        (publication.id, publication.key),
        "a retry keeps its id"
    );
    pop.answer(again.request, Outcome::Unknown);
    assert_eq!(pop.take(user).len(), 2);
    // That it cannot be stored now says nothing of the tries before.
    pop.post(user, "demo", "c1", "hi");
    let refused = pop.publication();
    let unavailable = Outcome::refused(Reason::Unavailable, Some(1_000));
    pop.answer(refused.request, unavailable);
    let told = pop.take(user);
    assert!(
        matches!(&told[1], ServerMessage::Error(error) if error.code == "unconfirmed"),
        "{told:?}"
    );
    pop.post(user, "demo", "c1", "hi");
    let third = pop.publication();
    pop.answer(
        third.request,
        Outcome::Stored {
            id: CommentId(publication.id),
            duplicate: true,
        },
    );
    assert_eq!(
        pop.take_receipts(user)[1].comment_id,
        Some(CommentId(publication.id))
    );
    pop.pass(60_000);
    assert!(
        pop.take(user).is_empty(),
        "an answered post is never unconfirmed"
    );
}

fn a_late_answer_is_still_the_truth(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(user, "demo", "c1", "hi");
    let publication = pop.publication();
    pop.pass(40_000);
    pop.take(user);
    pop.answer(publication.request, stored(publication.id));
    assert_eq!(
        pop.take_receipts(user),
        [receipt("c1", ReceiptStatus::Durable, Some(publication.id))]
    );
    pop.answer(publication.request, stored(publication.id));
    assert!(pop.take(user).is_empty(), "said once");
}

fn ids_rise_and_need_a_lease(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let admin = watch(pop, &origin, Encoding::Json, Some(("root", "admin")));
    let posts: Vec<Input> = (0..190)
        .map(|i| json!({"stream_id": "demo", "client_id": format!("c{i}"), "content": "hi"}))
        .map(|payload| pop.frame(admin, "post_comment", &payload))
        .collect();
    pop.feed(posts);
    let ids: Vec<u64> = pop
        .published
        .iter()
        .map(|publication| publication.id)
        .collect();
    assert_eq!(ids.len(), 190);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    pop.take(admin);
    pop.pass(3_599_000);
    pop.published.clear();
    let admin = watch(pop, &origin, Encoding::Json, Some(("root", "admin")));
    pop.pass(1_000);
    pop.post(admin, "demo", "late", "hi");
    let (why, wait) = reason(pop, admin);
    assert_eq!(why, "unavailable");
    assert!(wait.is_some());
    pop.lease();
    pop.post(admin, "demo", "late", "hi");
    assert_eq!(pop.take_receipts(admin)[0].status, ReceiptStatus::Accepted);
}

fn the_authors_end_disturbs_nothing(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let author = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let viewer = watch(pop, &origin, Encoding::Json, None);
    pop.post(author, "demo", "c1", "hi");
    let publication = pop.publication();
    pop.gone(author);
    pop.answer(publication.request, stored(publication.id));
    let delivery = origin.store("eu", publication.bytes);
    pop.deliver("demo", &delivery);
    assert_eq!(super::shown(pop, viewer), [publication.id]);
    let back = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(back, "demo", "c1", "hi");
    assert_eq!(
        pop.take_receipts(back)[1].comment_id,
        Some(CommentId(publication.id))
    );
}

fn an_ended_stream_takes_no_comments(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    origin.info.status = StreamStatus::Ended;
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let moderator = watch(pop, &origin, Encoding::Json, Some(("mod", "moderator")));
    for viewer in [user, moderator] {
        pop.post(viewer, "demo", "c", "hi");
        assert_eq!(reason(pop, viewer).0, "stream_ended");
    }
    origin.info.status = StreamStatus::Live;
    origin.info.settings.comments_enabled = false;
    pop.state("demo", Some(origin.state()));
    pop.take(user);
    pop.take(moderator);
    pop.post(user, "demo", "c", "hi");
    assert_eq!(reason(pop, user).0, "comments_off");
    pop.post(moderator, "demo", "c", "hi");
    assert_eq!(
        pop.take_receipts(moderator)[0].status,
        ReceiptStatus::Accepted
    );
}

fn slow_mode_holds_for_viewers_only(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    origin.info.settings.slow_mode_s = 10;
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    pop.post(user, "demo", "c1", "hi");
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
    pop.pass(4_000);
    pop.post(user, "demo", "c2", "hi");
    assert_eq!(reason(pop, user), ("slow_mode".to_owned(), Some(6_000)));
    pop.pass(6_000);
    pop.post(user, "demo", "c2", "hi");
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
    let caster = watch(pop, &origin, Encoding::Json, Some(("caster", "user")));
    for id in ["c1", "c2"] {
        pop.post(caster, "demo", id, "hi");
        assert_eq!(pop.take_receipts(caster)[0].status, ReceiptStatus::Accepted);
    }
}

fn too_many_waiting_posts_are_unavailable(pop: &mut Pop<'_>) {
    pop.config.limits.posts_waiting_max = 2;
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    for id in ["c1", "c2"] {
        pop.post(user, "demo", id, "hi");
    }
    pop.take(user);
    pop.post(user, "demo", "c3", "hi");
    assert_eq!(reason(pop, user).0, "unavailable");
    let first = pop.published.pop_front().expect("a post");
    pop.answer(first.request, stored(first.id));
    pop.take(user);
    pop.post(user, "demo", "c3", "hi");
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
}
