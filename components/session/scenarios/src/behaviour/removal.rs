//! Comments taken away: nobody sees them any more.

use chorus_protocol::codes::RemovalReason;
use chorus_protocol::event::{AuthorRole, Envelope};
use chorus_protocol::server::{Joined, ServerMessage};
use chorus_protocol::session::Replayed;
use chorus_protocol::{CommentId, Encoding};
use serde_json::json;

use super::{shown, studio, watch};
use crate::origin::Origin;
use crate::pop::Pop;

scenarios!("removal":
    a_pending_comment_is_never_shown,
    a_removal_comes_behind_what_was_shown_before_it,
    a_removal_overtakes_its_comment,
    a_removed_comment_is_in_no_answer_to_a_join,
    a_resume_from_memory_names_what_was_removed,
    a_resume_from_the_logs_names_what_was_removed,
    who_catches_up_hears_at_once,
    a_hole_may_hold_a_removal,
    a_removal_in_a_part_that_is_lost_leaves_nothing_to_be_seen,
    a_new_state_does_not_bring_a_comment_back,
    a_removal_that_a_state_brings_before_its_comment_holds,
    an_unknown_kind_passes_through,
);

/// The removals a viewer was told of; everything else is passed over.
pub(super) fn removed(pop: &mut Pop<'_>, viewer: u64) -> Vec<(Vec<u64>, String)> {
    let told = pop.take(viewer).into_iter().filter_map(|message| {
        let ServerMessage::CommentsRemoved {
            stream_id,
            comment_ids,
            reason,
        } = message
        else {
            return None;
        };
        assert_eq!(stream_id.as_str(), "demo");
        Some((comment_ids.iter().map(|id| id.0).collect(), reason))
    });
    told.collect()
}

fn ids(joined: &Joined) -> Vec<u64> {
    joined.comments.iter().map(|comment| comment.id.0).collect()
}

fn gone(joined: &Joined) -> Vec<u64> {
    joined.removed.iter().map(|id| id.0).collect()
}

pub(super) fn write(pop: &mut Pop<'_>, origin: &mut Origin, range: std::ops::RangeInclusive<u64>) {
    for id in range {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
    }
    pop.pass(1_000);
}

/// Takes a comment away, as a moderator elsewhere would.
pub(super) fn remove(pop: &mut Pop<'_>, origin: &mut Origin, target: u64) {
    let delivery = origin.remove("eu", 1_000 + target, target, RemovalReason::Moderator);
    pop.deliver("demo", &delivery);
}

fn resume(pop: &mut Pop<'_>, encoding: Encoding, token: &str) -> u64 {
    let viewer = pop.open(encoding, None);
    let payload = json!({"stream_id": "demo", "resume": token});
    pop.say(viewer, "join_stream", &payload);
    viewer
}

pub(super) fn count(pop: &mut Pop<'_>) -> u64 {
    let viewer = pop.open(Encoding::Json, None);
    pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
    let joined = pop.take_joined(viewer);
    pop.gone(viewer);
    joined.comment_count
}

fn a_pending_comment_is_never_shown(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    // Enough of them that they wait for each other.
    write(pop, &mut origin, 1..=300);
    pop.take(viewer);
    let deliveries: Vec<_> = (301..=320).map(|id| origin.write("eu", id, "hi")).collect();
    let inputs = deliveries
        .iter()
        .map(|delivery| pop.delivery("demo", delivery))
        .collect();
    pop.feed(inputs);
    remove(pop, &mut origin, 320);
    pop.pass(1_000);
    let mut all = Vec::new();
    for message in pop.take(viewer) {
        match message {
            ServerMessage::CommentsBatch { comments, .. } => {
                all.extend(comments.iter().map(|comment| comment.id.0));
            }
            ServerMessage::CommentsRemoved { comment_ids, .. } => {
                assert_eq!(comment_ids, [CommentId(320)]);
            }
            other => panic!("not expected: {other:?}"),
        }
    }
    let shown_before = all.contains(&320);
    let expected = if shown_before { 301..=320 } else { 301..=319 };
    assert_eq!(all, expected.collect::<Vec<u64>>());
    // In one delivery with its comment it is surely not shown.
    let mut both = origin.write("eu", 400, "hi");
    let removal = origin.remove("eu", 1_400, 400, RemovalReason::Author);
    both.to = removal.to;
    both.events.extend(removal.events);
    pop.deliver("demo", &both);
    pop.pass(1_000);
    assert!(shown(pop, viewer).is_empty());
    assert_eq!(count(pop), 319);
}

fn a_removal_comes_behind_what_was_shown_before_it(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=2);
    pop.take(viewer);
    let before = origin.at();
    let inputs = [origin.write("eu", 3, "hi"), origin.write("eu", 4, "hi")]
        .map(|delivery| pop.delivery("demo", &delivery));
    let place = origin.at().to_token();
    let mut removal = origin.remove("eu", 1_001, 1, RemovalReason::Moderator);
    for (id, target) in [(1_002, 2), (1_003, 4)] {
        let more = origin.remove("eu", id, target, RemovalReason::Author);
        removal.to = more.to;
        removal.events.extend(more.events);
    }
    let removal = pop.delivery("demo", &removal);
    pop.feed(inputs.into_iter().chain([removal]).collect());
    pop.pass(1_000);
    let told = pop.take(viewer);
    let [batch, own, by_moderator] = told.as_slice() else {
        panic!("three messages: {told:?}");
    };
    let ServerMessage::CommentsBatch {
        comments, resume, ..
    } = batch
    else {
        panic!("not a batch: {batch:?}");
    };
    assert_eq!(comments.len(), 1, "without the removed one");
    // Who goes away behind the batch has not heard of the removals: its place is before them.
    assert_eq!(*resume, place);
    assert_ne!(*resume, before.to_token());
    for (message, ids, why) in [
        (own, vec![2, 4], "author"),
        (by_moderator, vec![1], "moderator"),
    ] {
        let ServerMessage::CommentsRemoved {
            comment_ids,
            reason,
            ..
        } = message
        else {
            panic!("not a removal: {message:?}");
        };
        assert_eq!(reason, why);
        assert_eq!(comment_ids.iter().map(|id| id.0).collect::<Vec<_>>(), ids);
    }
    let back = resume_of(pop, &place);
    assert_eq!(gone(&back), [1, 2, 4]);
}

fn resume_of(pop: &mut Pop<'_>, token: &str) -> Joined {
    let viewer = resume(pop, Encoding::Json, token);
    pop.take_joined(viewer)
}

fn a_removal_overtakes_its_comment(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    for before in [0, 5] {
        if before > 0 {
            write(pop, &mut origin, 1..=before);
        }
        pop.take(viewer);
        let target = 100 + before;
        let comment = origin.write("us", target, "gone");
        remove(pop, &mut origin, target);
        assert_eq!(
            removed(pop, viewer),
            [(vec![target], "moderator".to_owned())]
        );
        pop.deliver("demo", &comment);
        pop.pass(1_000);
        assert!(pop.take(viewer).is_empty());
        assert_eq!(count(pop), before, "the two cancel");
        // Its place is reached all the same.
        let joined = resume_of(pop, &origin.at().to_token());
        assert!(!joined.gap && joined.removed.is_empty());
    }
}

fn a_removed_comment_is_in_no_answer_to_a_join(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    for id in 1..=3 {
        origin.write("eu", id, "hi");
    }
    let viewer = watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 4..=6);
    assert_eq!(shown(pop, viewer), [4, 5, 6]);
    for encoding in Encoding::ALL {
        let early = pop.open(encoding, None);
        pop.say(early, "join_stream", &json!({"stream_id": "demo"}));
        assert_eq!(pop.take_joined(early).comments.len(), 6);
    }
    remove(pop, &mut origin, 2);
    remove(pop, &mut origin, 5);
    pop.restart();
    for encoding in Encoding::ALL {
        let late = pop.open(encoding, None);
        pop.say(late, "join_stream", &json!({"stream_id": "demo"}));
        let joined = pop.take_joined(late);
        assert_eq!(ids(&joined), [1, 3, 4, 6]);
        assert_eq!(joined.comment_count, 4);
        assert!(joined.removed.is_empty(), "it has seen none");
    }
}

fn a_resume_from_memory_names_what_was_removed(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=5);
    remove(pop, &mut origin, 1);
    let token = origin.at().to_token();
    write(pop, &mut origin, 6..=9);
    for target in [7, 2] {
        remove(pop, &mut origin, target);
    }
    pop.restart();
    for encoding in Encoding::ALL {
        let back = resume(pop, encoding, &token);
        let joined = pop.take_joined(back);
        assert_eq!(ids(&joined), [6, 8, 9]);
        assert_eq!(gone(&joined), [2, 7]);
        assert_eq!(joined.resume, origin.at().to_token());
    }
    assert!(pop.asked.is_empty());
    let joined = resume_of(pop, &origin.at().to_token());
    assert!(joined.removed.is_empty());
}

fn a_resume_from_the_logs_names_what_was_removed(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    for id in 1..=4 {
        origin.write("eu", id, "hi");
    }
    let token = origin.at().to_token();
    origin.write("us", 5, "hi");
    origin.write("us", 6, "hi");
    origin.remove("eu", 1_002, 2, RemovalReason::Author);
    origin.remove("eu", 1_005, 5, RemovalReason::Author);
    // The stream has few comments, but only the logs know what was taken away.
    watch(pop, &origin, Encoding::Json, None);
    let backs: Vec<u64> = (0..6)
        .map(|i| resume(pop, Encoding::ALL[usize::from(i == 0)], &token))
        .collect();
    write(pop, &mut origin, 7..=8);
    remove(pop, &mut origin, 6);
    remove(pop, &mut origin, 8);
    pop.restart();
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(asked.request, &origin.replay(&asked.range));
    for back in backs {
        let joined = pop.take_joined(back);
        assert_eq!(ids(&joined), [7]);
        assert_eq!(gone(&joined), [2, 5, 6, 8]);
        assert!(!joined.gap);
    }
}

fn who_catches_up_hears_at_once(pop: &mut Pop<'_>) {
    pop.config.limits.recent_max = 60;
    let mut origin = studio(pop);
    let token = origin.at().to_token();
    for id in 1..=100 {
        origin.write("eu", id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let back = resume(pop, Encoding::Json, &token);
    write(pop, &mut origin, 101..=300);
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(asked.request, &origin.replay(&asked.range));
    assert_eq!(pop.take_joined(back).comments.len(), 100);
    // It still waits for what came since; what it sees may go.
    for target in [40, 150] {
        remove(pop, &mut origin, target);
        assert_eq!(removed(pop, back), [(vec![target], "moderator".to_owned())]);
    }
    let asked = pop.asked.pop_front().expect("the second question");
    pop.replay(asked.request, &origin.replay(&asked.range));
    let expected: Vec<u64> = (101..=300).filter(|&id| id != 150).collect();
    assert_eq!(shown(pop, back), expected);
}

fn a_hole_may_hold_a_removal(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=2);
    pop.take(viewer);
    origin.remove("eu", 1_001, 1, RemovalReason::Author);
    let behind = origin.write("eu", 3, "hi");
    pop.deliver("demo", &behind);
    assert!(pop.take(viewer).is_empty(), "it waits for the hole");
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(asked.request, &origin.replay(&asked.range));
    pop.pass(1_000);
    let told = pop.take(viewer);
    assert!(matches!(told[0], ServerMessage::CommentsRemoved { .. }));
    assert!(matches!(told[1], ServerMessage::CommentsBatch { .. }));
    assert_eq!(count(pop), 2);
}

fn a_removal_in_a_part_that_is_lost_leaves_nothing_to_be_seen(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=2);
    origin.remove("eu", 1_001, 1, RemovalReason::Author);
    let behind = origin.write("eu", 3, "hi");
    pop.deliver("demo", &behind);
    let asked = pop.asked.pop_front().expect("a question");
    let lost = Replayed {
        gap: true,
        events: vec![],
    };
    pop.replay(asked.request, &lost);
    assert_eq!(pop.closed(viewer), Some(1001));
    let late = pop.open(Encoding::Json, None);
    pop.say(late, "join_stream", &json!({"stream_id": "demo"}));
    assert!(
        pop.take(late).is_empty(),
        "which comments are removed is not known"
    );
    pop.state("demo", Some(origin.state()));
    assert_eq!(ids(&pop.take_joined(late)), [2, 3]);
}

fn a_removal_that_a_state_brings_before_its_comment_holds(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    origin.write("us", 1, "hi");
    let before = origin.at();
    // The log of one region is behind that of the other, which has the removal already.
    let late = origin.write("eu", 2, "hi");
    let removal = origin.remove("us", 1_002, 2, RemovalReason::Moderator);
    let mut state = origin.state();
    let eu = before
        .0
        .get_key_value("eu")
        .map(|(region, at)| (region.clone(), *at));
    state.at.0.extend(eu);
    state.newest.extend(removal.events);
    state.comment_count = 0;
    let viewer = pop.open(Encoding::Json, None);
    pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
    pop.state("demo", Some(state));
    assert_eq!(ids(&pop.take_joined(viewer)), [1]);
    pop.deliver("demo", &late);
    pop.pass(1_000);
    assert!(shown(pop, viewer).is_empty());
    let late = pop.open(Encoding::MsgPack, None);
    pop.say(late, "join_stream", &json!({"stream_id": "demo"}));
    assert_eq!(ids(&pop.take_joined(late)), [1]);
}

fn a_new_state_does_not_bring_a_comment_back(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=3);
    let mut late = origin.state();
    remove(pop, &mut origin, 2);
    // Another gateway that has not heard of the removal; and decisions that lie behind the comments.
    let decision = origin.remove("us", 1_003, 3, RemovalReason::Author);
    late.newest.extend(decision.events);
    late.at = origin.at();
    late.at
        .0
        .values_mut()
        .for_each(|offset| offset.seq += 1_000);
    pop.state("demo", Some(late));
    assert_eq!(pop.closed(viewer), Some(1001));
    let back = pop.open(Encoding::Json, None);
    pop.say(back, "join_stream", &json!({"stream_id": "demo"}));
    let joined = pop.take_joined(back);
    assert_eq!(ids(&joined), [1]);
}

fn an_unknown_kind_passes_through(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let applause = Envelope {
        id: CommentId(1),
        kind: "applause",
        stream: "demo",
        author: "ann",
        role: AuthorRole::User,
        key: 1,
        target: None,
        record: b"",
    };
    let body = applause.write_record(&json!({"hands": 2}));
    let delivery = origin.store("eu", body);
    pop.deliver("demo", &delivery);
    pop.pass(1_000);
    assert!(pop.take(viewer).is_empty());
    let joined = resume_of(pop, &origin.at().to_token());
    assert!(!joined.gap);
    assert_eq!(
        joined.resume,
        origin.at().to_token(),
        "its place is reached"
    );
    write(pop, &mut origin, 2..=2);
    assert_eq!(shown(pop, viewer), [2]);
    assert!(pop.asked.is_empty());
}
