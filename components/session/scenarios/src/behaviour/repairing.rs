//! Holes in what comes from the logs.

use chorus_protocol::Encoding;
use chorus_protocol::server::ServerMessage;
use chorus_protocol::session::Replayed;
use serde_json::json;

use super::removal::write;
use super::{shown, studio, watch};
use crate::pop::Pop;

scenarios!("repairing":
    a_hole_is_filled_before_what_lies_behind_it,
    a_hole_in_one_region_does_not_hold_the_other_up,
    a_hole_that_cannot_be_filled_closes_the_viewers,
    a_hole_without_an_answer_closes_the_viewers,
    a_repeated_state_closes_who_was_shown_a_part,
    a_new_log_of_a_region_begins_at_its_beginning,
    comments_that_cannot_be_read_are_passed_over,
);

fn a_hole_is_filled_before_what_lies_behind_it(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let deliveries: Vec<_> = (1..=6).map(|id| origin.write("eu", id, "hi")).collect();
    pop.deliver("demo", &deliveries[0]);
    for lost in [3, 5] {
        pop.deliver("demo", &deliveries[lost]);
    }
    assert_eq!(shown(pop, viewer), [1]);
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(asked.request, &origin.replay(&asked.range));
    let asked = pop
        .asked
        .pop_front()
        .expect("a second hole behind the first");
    pop.replay(asked.request, &origin.replay(&asked.range));
    pop.pass(1_000);
    assert_eq!(shown(pop, viewer), [2, 3, 4, 5, 6]);
    assert_eq!(pop.closed(viewer), None);
}

fn a_hole_in_one_region_does_not_hold_the_other_up(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    origin.write("eu", 1, "hi");
    let eu = origin.write("eu", 2, "hi");
    let us = origin.write("us", 3, "hi");
    pop.deliver("demo", &eu);
    pop.deliver("demo", &us);
    let ServerMessage::CommentsBatch {
        comments, resume, ..
    } = pop.take_one(viewer)
    else {
        panic!("not a batch");
    };
    assert_eq!(comments[0].id.0, 3);
    // Its place says that the other region's were not shown.
    let back = pop.open(Encoding::Json, None);
    pop.say(
        back,
        "join_stream",
        &json!({"stream_id": "demo", "resume": resume}),
    );
    assert!(pop.take_joined(back).comments.is_empty());
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(asked.request, &origin.replay(&asked.range));
    pop.pass(1_000);
    assert_eq!(shown(pop, viewer), [1, 2]);
    assert_eq!(shown(pop, back), [1, 2]);
}

fn a_hole_that_cannot_be_filled_closes_the_viewers(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let before = origin.at().to_token();
    origin.write("eu", 1, "lost");
    let behind = origin.write("eu", 2, "hi");
    pop.deliver("demo", &behind);
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(
        asked.request,
        &Replayed {
            gap: true,
            events: vec![],
        },
    );
    assert_eq!(pop.closed(viewer), Some(1001));
    let back = pop.open(Encoding::Json, None);
    pop.say(
        back,
        "join_stream",
        &json!({"stream_id": "demo", "resume": before}),
    );
    // What is asked for again is the state; whoever comes meanwhile waits for it.
    assert_eq!(pop.lost, [pop.topic("demo")]);
    let late = origin.write("eu", 3, "not looked at");
    pop.deliver("demo", &late);
    assert!(pop.take(back).is_empty());
    pop.state("demo", Some(origin.state()));
    let asked = pop
        .asked
        .pop_front()
        .expect("what it missed is not remembered here");
    pop.replay(
        asked.request,
        &Replayed {
            gap: true,
            events: vec![],
        },
    );
    let joined = pop.take_joined(back);
    assert!(joined.gap);
    assert_eq!(joined.comments.len(), 3);
    write(pop, &mut origin, 4..=4);
    assert_eq!(shown(pop, back), [4]);
}

fn a_hole_without_an_answer_closes_the_viewers(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    origin.write("eu", 1, "lost");
    let behind = origin.write("eu", 2, "hi");
    pop.deliver("demo", &behind);
    pop.pass(9_999);
    assert_eq!(pop.closed(viewer), None);
    pop.pass(1);
    assert_eq!(pop.closed(viewer), Some(1001));
}

fn a_repeated_state_closes_who_was_shown_a_part(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let other = pop.open(Encoding::Json, None);
    pop.say(other, "join_stream", &json!({"stream_id": "elsewhere"}));
    let token = origin.at().to_token();
    for id in 1..=80 {
        origin.write("eu", id, "hi");
    }
    // One that waits for the logs was shown nothing yet: it is answered from the new state.
    let mut far = origin.at();
    far.0.values_mut().for_each(|offset| offset.seq += 1);
    let ahead = pop.open(Encoding::Json, None);
    pop.say(
        ahead,
        "join_stream",
        &json!({"stream_id": "demo", "resume": far.to_token()}),
    );
    pop.state("demo", Some(origin.state()));
    assert_eq!(pop.closed(viewer), Some(1001));
    assert_eq!(pop.closed(other), None);
    assert_eq!(pop.closed(ahead), None);
    let back = pop.open(Encoding::Json, None);
    pop.say(
        back,
        "join_stream",
        &json!({"stream_id": "demo", "resume": token}),
    );
    let asked = pop.asked.pop_front().expect("a question");
    pop.replay(asked.request, &origin.replay(&asked.range));
    assert_eq!(pop.take_joined(back).comments.len(), 80);
}

fn a_new_log_of_a_region_begins_at_its_beginning(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let old = origin.write("eu", 1, "hi");
    pop.deliver("demo", &old);
    let place = origin.at().to_token();
    let log = origin.logs.get_mut("eu").expect("a region");
    *log = (500, Vec::new());
    let new = origin.write("eu", 2, "hi");
    pop.deliver("demo", &new);
    pop.deliver("demo", &old);
    assert_eq!(shown(pop, viewer), [1, 2]);
    // A place in the old log cannot be compared with the new one.
    let back = pop.open(Encoding::Json, None);
    pop.say(
        back,
        "join_stream",
        &json!({"stream_id": "demo", "resume": place}),
    );
    assert!(pop.take_joined(back).gap);
}

fn comments_that_cannot_be_read_are_passed_over(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let bad = origin.store("eu", vec![0xc1, 0xff]);
    pop.deliver("demo", &bad);
    let good = origin.write("eu", 2, "hi");
    pop.deliver("demo", &good);
    assert_eq!(shown(pop, viewer), [2]);
    assert!(pop.asked.is_empty());
}
