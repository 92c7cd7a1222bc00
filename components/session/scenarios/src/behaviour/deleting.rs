//! Decisions about comments: who may ask, and what viewers are told.

use chorus_protocol::codes::RemovalReason;
use chorus_protocol::event::{AuthorRole, Envelope, RemovalRecord, decision_key, kind};
use chorus_protocol::server::{Receipt, ReceiptStatus, ServerMessage};
use chorus_protocol::{CommentId, Encoding, Outcome};
use serde_json::json;

use super::removal::{count, remove, removed, write};
use super::{studio, watch};
use crate::origin::Origin;
use crate::pop::{Pop, Publication};

scenarios!("deleting":
    an_author_deletes_its_own_and_all_viewers_hear,
    what_the_gateway_refuses_is_an_error,
    a_moderator_deletes_and_hears_that_it_is_applied,
    who_may_not_ask_is_told,
    an_unanswered_deletion_is_unconfirmed,
    too_many_waiting_deletions_are_unavailable,
    a_moderator_removes_and_nobody_else_may_moderate,
    a_moderator_highlights_and_all_viewers_see_it,
);

fn delete(pop: &mut Pop<'_>, viewer: u64, comment: u64, client_id: Option<&str>) {
    let mut payload = json!({"stream_id": "demo", "comment_id": comment.to_string()});
    if let Some(client_id) = client_id {
        payload["client_id"] = json!(client_id);
    }
    pop.say(viewer, "delete_comment", &payload);
}

fn moderate(pop: &mut Pop<'_>, viewer: u64, key: &str, action: &str, comment: &str) {
    let payload =
        json!({"stream_id": "demo", "client_id": key, "action": action, "comment_id": comment});
    pop.say(viewer, "moderate", &payload);
}

/// The log takes an event and delivers it.
fn store(pop: &mut Pop<'_>, origin: &mut Origin, publication: &Publication) {
    let outcome = Outcome::Stored {
        id: CommentId(publication.id),
        duplicate: false,
    };
    pop.answer(publication.request, outcome);
    let delivery = origin.store("eu", publication.bytes.clone());
    pop.deliver("demo", &delivery);
}

fn refuse(pop: &mut Pop<'_>, publication: &Publication, reason: &str) {
    let outcome = Outcome::Refused {
        reason: reason.to_owned(),
        retry_after_ms: Some(5),
    };
    pop.answer(publication.request, outcome);
}

/// The one error a viewer got: its code, key and stream.
fn error(pop: &mut Pop<'_>, viewer: u64) -> (String, Option<String>, Option<String>) {
    match pop.take_one(viewer) {
        ServerMessage::Error(refusal) => {
            let stream = refusal.stream_id.map(|stream| stream.to_string());
            (refusal.code, refusal.client_id, stream)
        }
        other => panic!("not an error: {other:?}"),
    }
}

fn an_author_deletes_its_own_and_all_viewers_hear(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let author = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let viewers = Encoding::ALL.map(|encoding| watch(pop, &origin, encoding, None));
    write(pop, &mut origin, 1..=3);
    pop.take(author);
    for viewer in viewers {
        pop.take(viewer);
    }
    delete(pop, author, 2, None);
    let publication = pop.publication();
    assert_eq!(publication.kind, kind::REMOVAL);
    assert_eq!(publication.target, Some(CommentId(2)));
    assert_eq!(
        (publication.author.as_str(), publication.role),
        ("ann", AuthorRole::User)
    );
    let key = decision_key(&origin.info.stream_id, kind::REMOVAL, CommentId(2), "");
    assert_eq!(publication.key, key);
    let envelope = Envelope::read(&publication.bytes).expect("an event");
    assert_eq!(
        envelope.record_as(),
        Some(RemovalRecord::new(RemovalReason::Author))
    );
    assert!(pop.take(author).is_empty(), "nothing before the log has it");
    store(pop, &mut origin, &publication);
    for viewer in [author, viewers[0], viewers[1]] {
        assert_eq!(removed(pop, viewer), [(vec![2], "author".to_owned())]);
    }
    assert_eq!(count(pop), 2);
    // The same decision again, by whomever, changes nothing.
    remove(pop, &mut origin, 2);
    assert!(removed(pop, author).is_empty());
    assert_eq!(count(pop), 2);
}

fn what_the_gateway_refuses_is_an_error(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::MsgPack, Some(("bob", "user")));
    for reason in ["forbidden", "comment_not_found"] {
        for client_id in [None, Some("d1")] {
            delete(pop, viewer, 2, client_id);
            let publication = pop.publication();
            refuse(pop, &publication, reason);
            let (code, key, stream) = error(pop, viewer);
            assert_eq!((code.as_str(), stream.as_deref()), (reason, Some("demo")));
            assert_eq!(key.as_deref(), client_id);
        }
    }
    for (reason, code) in [("rate_limited", "rate_limited"), ("banned", "unavailable")] {
        delete(pop, viewer, 2, None);
        let publication = pop.publication();
        refuse(pop, &publication, reason);
        assert_eq!(error(pop, viewer).0, code);
        delete(pop, viewer, 2, Some("d2"));
        let publication = pop.publication();
        refuse(pop, &publication, reason);
        let rejected = Receipt {
            client_id: "d2".to_owned(),
            comment_id: None,
            status: ReceiptStatus::Rejected,
            reason: Some(reason.to_owned()),
            retry_after_ms: Some(5),
        };
        assert_eq!(pop.take_receipts(viewer), [rejected]);
    }
}

fn a_moderator_deletes_and_hears_that_it_is_applied(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=4);
    for (target, user, role) in [
        (1, ("mod", "moderator"), AuthorRole::Moderator),
        (2, ("caster", "user"), AuthorRole::Broadcaster),
        (3, ("root", "admin"), AuthorRole::Admin),
    ] {
        pop.take(viewer);
        let moderator = watch(pop, &origin, Encoding::MsgPack, Some(user));
        delete(pop, moderator, target, Some("d1"));
        let publication = pop.publication();
        assert_eq!(publication.role, role);
        store(pop, &mut origin, &publication);
        let applied = Receipt {
            client_id: "d1".to_owned(),
            comment_id: Some(CommentId(target)),
            status: ReceiptStatus::Applied,
            reason: None,
            retry_after_ms: None,
        };
        let told = pop.take(moderator);
        assert_eq!(told[0], ServerMessage::Receipt(applied));
        assert!(matches!(told[1], ServerMessage::CommentsRemoved { .. }));
        assert_eq!(
            removed(pop, viewer),
            [(vec![target], "moderator".to_owned())]
        );
        pop.gone(moderator);
    }
}

fn who_may_not_ask_is_told(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let anonymous = watch(pop, &origin, Encoding::Json, None);
    delete(pop, anonymous, 1, Some("d1"));
    let unauthenticated = ("unauthenticated", Some("d1"), Some("demo"));
    let (code, key, stream) = error(pop, anonymous);
    assert_eq!(
        (code.as_str(), key.as_deref(), stream.as_deref()),
        unauthenticated
    );
    let token = pop.token("ann", "user");
    let user = pop.open(Encoding::Json, Some(token));
    delete(pop, user, 1, None);
    assert_eq!(error(pop, user).0, "not_joined");
    pop.say(user, "join_stream", &json!({"stream_id": "nowhere"}));
    pop.state("nowhere", None);
    assert_eq!(pop.take_error(user), "stream_not_found");
    let payload = json!({"stream_id": "nowhere", "comment_id": "1"});
    pop.say(user, "delete_comment", &payload);
    assert_eq!(pop.take_error(user), "stream_not_found");
    pop.say(user, "join_stream", &json!({"stream_id": "demo"}));
    pop.take_joined(user);
    pop.pass(3_700_000);
    pop.take(user);
    delete(pop, user, 1, None);
    assert_eq!(error(pop, user).0, "token_expired");
    assert!(pop.published.is_empty());
}

fn an_unanswered_deletion_is_unconfirmed(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    delete(pop, user, 1, Some("d1"));
    let first = pop.publication();
    pop.restart();
    pop.pass(29_999);
    assert!(pop.take(user).is_empty());
    pop.pass(1);
    let (code, key, _) = error(pop, user);
    assert_eq!((code.as_str(), key.as_deref()), ("unconfirmed", Some("d1")));
    delete(pop, user, 1, Some("d1"));
    let again = pop.publication();
    assert_eq!(again.key, first.key, "the same decision");
    assert!(again.id > first.id);
    pop.answer(again.request, Outcome::Unknown);
    assert_eq!(error(pop, user).0, "unconfirmed");
    pop.pass(60_000);
    assert!(pop.take(user).is_empty(), "said once");
}

fn too_many_waiting_deletions_are_unavailable(pop: &mut Pop<'_>) {
    pop.config.limits.posts_waiting_max = 2;
    pop.config.limits.comments_per_stream_30s = 1;
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    delete(pop, user, 1, None);
    // Deletions are not counted as comments.
    pop.post(user, "demo", "c1", "hi");
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Accepted);
    delete(pop, user, 2, Some("d1"));
    assert_eq!(error(pop, user).0, "unavailable");
    pop.post(user, "demo", "c2", "hi");
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Rejected);
    let deletion = pop.published.pop_front().expect("the first");
    pop.answer(
        deletion.request,
        Outcome::Stored {
            id: CommentId(deletion.id),
            duplicate: true,
        },
    );
    assert!(
        pop.take(user).is_empty(),
        "without a key there is no receipt"
    );
    delete(pop, user, 2, None);
    assert!(pop.take(user).is_empty());
    assert_eq!(pop.published.len(), 2);
}

fn a_moderator_removes_and_nobody_else_may_moderate(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let moderator = watch(pop, &origin, Encoding::Json, Some(("mod", "moderator")));
    let user = watch(pop, &origin, Encoding::MsgPack, Some(("ann", "user")));
    write(pop, &mut origin, 1..=2);
    pop.take(moderator);
    pop.take(user);
    moderate(pop, user, "m1", "remove", "2");
    let (code, key, stream) = error(pop, user);
    let told = (code.as_str(), key.as_deref(), stream.as_deref());
    assert_eq!(told, ("forbidden", Some("m1"), Some("demo")));
    moderate(pop, moderator, "m1", "remove", "no id");
    let (code, key, _) = error(pop, moderator);
    assert_eq!(
        (code.as_str(), key.as_deref()),
        ("invalid_message", Some("m1"))
    );
    assert!(pop.published.is_empty());
    moderate(pop, moderator, "m1", "remove", "2");
    let publication = pop.publication();
    assert_eq!(
        (publication.kind.as_str(), publication.target),
        (kind::REMOVAL, Some(CommentId(2)))
    );
    let key = decision_key(&origin.info.stream_id, kind::REMOVAL, CommentId(2), "");
    assert_eq!(
        publication.key, key,
        "the same decision as by `delete_comment`"
    );
    store(pop, &mut origin, &publication);
    let told = pop.take(moderator);
    let ServerMessage::Receipt(receipt) = &told[0] else {
        panic!("no receipt: {told:?}");
    };
    let applied = (receipt.client_id.as_str(), receipt.status);
    assert_eq!(applied, ("m1", ReceiptStatus::Applied));
    assert_eq!(removed(pop, user), [(vec![2], "moderator".to_owned())]);
}

/// The one update a viewer got: of which comment, and whether that is highlighted now.
fn highlighted(pop: &mut Pop<'_>, viewer: u64) -> (u64, bool) {
    match pop.take_one(viewer) {
        ServerMessage::CommentUpdated {
            comment_id, update, ..
        } => (comment_id.0, update.highlighted.expect("it says so")),
        other => panic!("not an update: {other:?}"),
    }
}

fn a_moderator_highlights_and_all_viewers_see_it(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let moderator = watch(pop, &origin, Encoding::Json, Some(("mod", "moderator")));
    let user = watch(pop, &origin, Encoding::MsgPack, Some(("ann", "user")));
    write(pop, &mut origin, 1..=2);
    pop.take(moderator);
    pop.take(user);
    moderate(pop, user, "m1", "highlight", "2");
    assert_eq!(error(pop, user).0, "forbidden");
    let before = origin.at();
    let mut keys = Vec::new();
    let wanted = [
        ("m1", "highlight", true),
        ("m2", "unhighlight", false),
        ("m3", "highlight", true),
    ];
    for (key, action, on) in wanted {
        moderate(pop, moderator, key, action, "2");
        let publication = pop.publication();
        assert_eq!(
            (publication.kind.as_str(), publication.target),
            (kind::UPDATE, Some(CommentId(2)))
        );
        keys.push(publication.key);
        store(pop, &mut origin, &publication);
        let told = pop.take(moderator);
        let ServerMessage::Receipt(receipt) = &told[0] else {
            panic!("no receipt: {told:?}");
        };
        let applied = (receipt.client_id.as_str(), receipt.status);
        assert_eq!(applied, (key, ReceiptStatus::Applied));
        assert_eq!(highlighted(pop, user), (2, on));
    }
    // Each is a decision of its own: the log does not take the third for the first.
    keys.dedup();
    assert_eq!(keys.len(), 3);
    assert_ne!(keys[0], keys[2]);
    // Who joins sees it so, and who comes back hears what it missed.
    let late = pop.open(Encoding::Json, None);
    pop.say(late, "join_stream", &json!({"stream_id": "demo"}));
    let late = pop.take_joined(late);
    let shown: Vec<bool> = late.comments.iter().map(|it| it.highlighted).collect();
    assert_eq!(shown, [false, true]);
    let back = pop.open(Encoding::MsgPack, None);
    let join = json!({"stream_id": "demo", "resume": before.to_token()});
    pop.say(back, "join_stream", &join);
    let told = pop.take(back);
    let update = told.iter().find_map(|message| match message {
        ServerMessage::CommentUpdated {
            comment_id, update, ..
        } => Some((comment_id.0, update.highlighted)),
        _ => None,
    });
    assert_eq!(update, Some((2, Some(true))), "{told:?}");
}
