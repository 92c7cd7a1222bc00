//! Coming back: every missed comment once and in order, or a gap that is told.

use chorus_protocol::server::{Joined, ServerMessage};
use chorus_protocol::session::Replayed;
use chorus_protocol::{Encoding, Offset, Position};
use serde_json::json;

use super::{shown, studio, watch};
use crate::origin::Origin;
use crate::pop::Pop;

scenarios!("resuming":
    nothing_missed_is_nothing_sent,
    a_short_absence_is_answered_from_memory,
    a_long_absence_asks_the_logs_and_joins_what_came_meanwhile,
    viewers_at_the_same_place_share_one_question,
    more_than_the_first_part_follows_before_anything_live,
    a_gap_is_told_with_the_newest,
    unreadable_and_foreign_tokens_are_gaps,
    a_region_that_is_missing_begins_at_its_beginning,
    a_viewer_ahead_of_this_pop_waits_for_it,
    a_place_that_never_comes_is_a_gap,
    an_unanswered_question_is_a_gap,
    memory_that_moved_on_asks_again,
    a_viewer_that_leaves_meanwhile_gets_nothing,
);

fn come_back(pop: &mut Pop<'_>, encoding: Encoding, token: &str) -> u64 {
    let viewer = pop.open(encoding, None);
    pop.say(
        viewer,
        "join_stream",
        &json!({"stream_id": "demo", "resume": token}),
    );
    viewer
}

fn ids(joined: &Joined) -> Vec<u64> {
    joined.comments.iter().map(|comment| comment.id.0).collect()
}

fn write(pop: &mut Pop<'_>, origin: &mut Origin, range: std::ops::RangeInclusive<u64>) {
    for id in range {
        let delivery = origin.write(if id % 3 == 0 { "us" } else { "eu" }, id, "hi");
        pop.deliver("demo", &delivery);
        pop.pass(1);
    }
    pop.pass(1_000);
}

/// Answers what was asked of the logs.
fn answer(pop: &mut Pop<'_>, origin: &Origin) {
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(asked.request, &origin.replay(&asked.range));
}

fn nothing_missed_is_nothing_sent(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=10);
    pop.take(viewer);
    let back = come_back(pop, Encoding::MsgPack, &origin.at().to_token());
    let joined = pop.take_joined(back);
    assert!(ids(&joined).is_empty() && !joined.gap);
    assert_eq!(joined.resume, origin.at().to_token());
}

fn a_short_absence_is_answered_from_memory(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=10);
    let token = origin.at().to_token();
    write(pop, &mut origin, 11..=100);
    for encoding in Encoding::ALL {
        let back = come_back(pop, encoding, &token);
        let joined = pop.take_joined(back);
        assert_eq!(ids(&joined), (11..=100).collect::<Vec<u64>>());
        assert!(!joined.gap);
        assert_eq!(joined.resume, origin.at().to_token());
    }
    assert!(pop.asked.is_empty());
}

fn a_long_absence_asks_the_logs_and_joins_what_came_meanwhile(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    origin.write("us", 1, "hi");
    let token = origin.at().to_token();
    for id in 2..=100 {
        origin.write("eu", id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let back = come_back(pop, Encoding::MsgPack, &token);
    assert!(pop.take(back).is_empty());
    write(pop, &mut origin, 101..=110);
    assert!(
        pop.take(back).is_empty(),
        "nothing live before what was missed"
    );
    answer(pop, &origin);
    let joined = pop.take_joined(back);
    assert_eq!(ids(&joined), (2..=110).collect::<Vec<u64>>());
    assert!(!joined.gap);
    assert_eq!(joined.resume, origin.at().to_token());
    write(pop, &mut origin, 111..=112);
    assert_eq!(shown(pop, back), [111, 112]);
}

fn viewers_at_the_same_place_share_one_question(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let token = origin.at().to_token();
    for id in 1..=900 {
        origin.write("eu", id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let viewers: Vec<u64> = (0..9)
        .map(|i| {
            come_back(
                pop,
                if i < 7 {
                    Encoding::Json
                } else {
                    Encoding::MsgPack
                },
                &token,
            )
        })
        .collect();
    assert_eq!(pop.asked.len(), 1);
    pop.gone(viewers[3]);
    answer(pop, &origin);
    for &viewer in viewers.iter().filter(|&&viewer| viewer != viewers[3]) {
        let messages = pop.take(viewer);
        let ServerMessage::Joined(joined) = &messages[0] else {
            panic!("not joined");
        };
        assert_eq!(ids(joined), (1..=200).collect::<Vec<u64>>());
        assert_eq!(messages.len(), 3);
    }
}

fn more_than_the_first_part_follows_before_anything_live(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let token = origin.at().to_token();
    for id in 1..=1_500 {
        origin.write(if id % 2 == 0 { "eu" } else { "us" }, id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let back = come_back(pop, Encoding::Json, &token);
    write(pop, &mut origin, 1_501..=1_520);
    answer(pop, &origin);
    let messages = pop.take(back);
    let mut all = Vec::new();
    let last = messages.len() - 1;
    for (i, message) in messages.iter().enumerate() {
        let (comments, resume) = match message {
            ServerMessage::Joined(joined) => (&joined.comments, &joined.resume),
            ServerMessage::CommentsBatch {
                comments, resume, ..
            } => (comments, resume),
            other => panic!("not comments: {other:?}"),
        };
        assert!(comments.len() <= if i == 0 { 200 } else { 500 });
        all.extend(comments.iter().map(|comment| comment.id.0));
        // Who goes away before the last comes back to where it was: a repeat, never a hole.
        let expected = if i == last {
            origin.at().to_token()
        } else {
            token.clone()
        };
        assert_eq!(*resume, expected);
    }
    assert_eq!(all, (1..=1_520).collect::<Vec<u64>>());
}

fn a_gap_is_told_with_the_newest(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    origin.write("eu", 1, "hi");
    let token = origin.at().to_token();
    for id in 2..=100 {
        origin.write("eu", id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let back = come_back(pop, Encoding::Json, &token);
    let asked = pop.asked.pop_front().expect("a question");
    assert_eq!(asked.range.events_max, 10_000);
    pop.replay(
        asked.request,
        &Replayed {
            gap: true,
            events: vec![],
        },
    );
    let joined = pop.take_joined(back);
    assert!(joined.gap);
    assert_eq!(ids(&joined), (51..=100).collect::<Vec<u64>>());
    write(pop, &mut origin, 101..=101);
    assert_eq!(shown(pop, back), [101]);
}

fn unreadable_and_foreign_tokens_are_gaps(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=5);
    let place = |region: &str, epoch, seq| {
        Position([(region.parse().unwrap(), Offset { epoch, seq })].into()).to_token()
    };
    for token in [
        "",
        "%%%",
        "AAAA",
        &place("eu", 99, 1),
        &place("mars", 100, 1),
    ] {
        let back = come_back(pop, Encoding::Json, token);
        let joined = pop.take_joined(back);
        assert!(joined.gap, "{token}");
        assert_eq!(ids(&joined), [1, 2, 3, 4, 5]);
    }
}

fn a_region_that_is_missing_begins_at_its_beginning(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=6);
    let eu = origin
        .at()
        .0
        .into_iter()
        .filter(|(region, _)| region.as_str() == "eu")
        .collect();
    let back = come_back(pop, Encoding::Json, &Position(eu).to_token());
    let joined = pop.take_joined(back);
    assert_eq!(ids(&joined), [3, 6], "all of the region it knew nothing of");
    assert!(!joined.gap);
}

fn a_viewer_ahead_of_this_pop_waits_for_it(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    write(pop, &mut origin, 1..=5);
    let late = origin.write("eu", 7, "hi");
    let token = origin.at().to_token();
    let back = come_back(pop, Encoding::Json, &token);
    assert!(pop.take(back).is_empty());
    pop.pass(1_000);
    pop.deliver("demo", &late);
    let joined = pop.take_joined(back);
    assert!(
        ids(&joined).is_empty() && !joined.gap,
        "it has seen all of it"
    );
    write(pop, &mut origin, 8..=9);
    assert_eq!(shown(pop, back), [8, 9]);
}

fn a_place_that_never_comes_is_a_gap(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    watch(pop, &origin, Encoding::Json, None);
    let mut far = origin.at();
    far.0.values_mut().for_each(|offset| offset.seq = 1 << 60);
    let back = come_back(pop, Encoding::Json, &far.to_token());
    for id in 1..=30 {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
        pop.pass(100);
    }
    let ServerMessage::Joined(joined) = pop.take(back).remove(0) else {
        panic!("not joined");
    };
    assert!(joined.gap);
}

fn an_unanswered_question_is_a_gap(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let token = origin.at().to_token();
    for id in 1..=100 {
        origin.write("eu", id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let back = come_back(pop, Encoding::Json, &token);
    pop.pass(9_999);
    assert!(pop.take(back).is_empty());
    pop.pass(1);
    assert!(pop.take_joined(back).gap);
    answer(pop, &origin);
    assert!(pop.take(back).is_empty(), "too late");
}

fn memory_that_moved_on_asks_again(pop: &mut Pop<'_>) {
    pop.config.limits.recent_max = 60;
    let mut origin = studio(pop);
    let token = origin.at().to_token();
    for id in 1..=100 {
        origin.write("eu", id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let back = come_back(pop, Encoding::Json, &token);
    write(pop, &mut origin, 101..=300);
    answer(pop, &origin);
    let joined = pop.take_joined(back);
    assert_eq!(ids(&joined), (1..=100).collect::<Vec<u64>>());
    write(pop, &mut origin, 301..=310);
    assert!(pop.take(back).is_empty(), "not a member yet");
    answer(pop, &origin);
    assert_eq!(shown(pop, back), (101..=310).collect::<Vec<u64>>());
    write(pop, &mut origin, 311..=311);
    assert_eq!(shown(pop, back), [311]);
}

fn a_viewer_that_leaves_meanwhile_gets_nothing(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let token = origin.at().to_token();
    for id in 1..=100 {
        origin.write("eu", id, "hi");
    }
    watch(pop, &origin, Encoding::Json, None);
    let back = come_back(pop, Encoding::Json, &token);
    pop.say(back, "leave_stream", &json!({"stream_id": "demo"}));
    answer(pop, &origin);
    assert!(pop.take(back).is_empty());
    // A second join has its own answer.
    pop.say(back, "join_stream", &json!({"stream_id": "demo"}));
    assert_eq!(ids(&pop.take_joined(back)).len(), 50);
}
