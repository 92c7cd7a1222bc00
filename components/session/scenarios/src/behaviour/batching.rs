//! How comments are grouped.

use chorus_protocol::Encoding;
use chorus_protocol::server::ServerMessage;

use super::{shown, studio, watch};
use crate::pop::Pop;

scenarios!("batching":
    a_comment_after_a_quiet_time_goes_at_once,
    what_comes_together_goes_together_sorted,
    the_window_grows_under_load_and_nothing_is_lost,
    a_full_frame_goes_at_once,
    batching_off_means_one_comment_a_frame,
    each_encoding_is_encoded_once,
    a_repeated_id_is_shown_once,
);

/// The sizes of the batches a viewer got.
fn sizes(pop: &mut Pop<'_>, viewer: u64) -> Vec<usize> {
    let size = |message| match message {
        ServerMessage::CommentsBatch { comments, .. } => comments.len(),
        other => panic!("not a batch: {other:?}"),
    };
    pop.take(viewer).into_iter().map(size).collect()
}

fn a_comment_after_a_quiet_time_goes_at_once(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    for id in 1..=5 {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
        assert_eq!(shown(pop, viewer), [id]);
        pop.pass(300);
    }
}

fn what_comes_together_goes_together_sorted(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::MsgPack, None);
    let writes = [("us", 9), ("eu", 4), ("us", 2), ("eu", 7)];
    let inputs = writes.map(|(region, id)| {
        let delivery = origin.write(region, id, "hi");
        pop.delivery("demo", &delivery)
    });
    pop.feed(inputs.to_vec());
    let ServerMessage::CommentsBatch {
        comments, resume, ..
    } = pop.take_one(viewer)
    else {
        panic!("not a batch");
    };
    let ids: Vec<u64> = comments.iter().map(|comment| comment.id.0).collect();
    assert_eq!(ids, [2, 4, 7, 9]);
    assert_eq!(resume, origin.at().to_token());
}

fn the_window_grows_under_load_and_nothing_is_lost(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewers: Vec<u64> = (0..30)
        .map(|_| watch(pop, &origin, Encoding::Json, None))
        .collect();
    // 1,000 comments a second to 30 viewers: the full window.
    for id in 1..=3_000_u64 {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
        pop.pass(1);
    }
    pop.pass(500);
    // Viewer counts are told too.
    let batches: Vec<usize> = pop
        .take(viewers[0])
        .into_iter()
        .filter_map(|message| match message {
            ServerMessage::CommentsBatch { comments, .. } => Some(comments.len()),
            _ => None,
        })
        .collect();
    assert_eq!(batches.iter().sum::<usize>(), 3_000);
    assert_eq!(batches[0], 1, "the first at once");
    let late = &batches[batches.len() - 5..batches.len() - 1];
    assert!(
        late.iter().all(|size| (99..=102).contains(size)),
        "the full window: {late:?}"
    );
    let delivery = origin.write("eu", 3_001, "hi");
    pop.pass(3_000);
    pop.deliver("demo", &delivery);
    assert_eq!(
        shown(pop, viewers[1]).last(),
        Some(&3_001),
        "quiet again: at once"
    );
}

fn a_full_frame_goes_at_once(pop: &mut Pop<'_>) {
    pop.config.batching.comments_max = 10;
    pop.config.batching.window_ms_max = 10_000;
    let mut origin = studio(pop);
    let viewers: Vec<u64> = (0..30)
        .map(|_| watch(pop, &origin, Encoding::Json, None))
        .collect();
    for id in 1..=101_u64 {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
    }
    let sizes = sizes(pop, viewers[0]);
    assert!(sizes.iter().all(|&size| size <= 10), "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() >= 91, "{sizes:?}");
}

fn batching_off_means_one_comment_a_frame(pop: &mut Pop<'_>) {
    pop.config.batching.window_ms_max = 0;
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let mut inputs = Vec::new();
    for id in 1..=20_u64 {
        let delivery = origin.write(if id % 3 == 0 { "us" } else { "eu" }, id, "hi");
        inputs.push(pop.delivery("demo", &delivery));
    }
    pop.feed(inputs);
    assert_eq!(sizes(pop, viewer), [1; 20]);
}

fn each_encoding_is_encoded_once(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let json: Vec<u64> = (0..20)
        .map(|_| watch(pop, &origin, Encoding::Json, None))
        .collect();
    let delivery = origin.write("eu", 1, "hi");
    pop.deliver("demo", &delivery);
    assert_eq!(pop.broadcasts, 1);
    let msgpack = watch(pop, &origin, Encoding::MsgPack, None);
    pop.pass(1_000);
    pop.take(msgpack);
    let before = pop.broadcasts;
    let delivery = origin.write("eu", 2, "hi");
    pop.deliver("demo", &delivery);
    assert_eq!(pop.broadcasts, before + 2);
    assert_eq!(shown(pop, json[19]), [1, 2]);
    assert_eq!(shown(pop, msgpack), [2]);
}

fn a_repeated_id_is_shown_once(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let first = origin.write("eu", 1, "hi");
    pop.deliver("demo", &first);
    pop.deliver("demo", &first);
    // The same comment in another region's log.
    let other = origin.write("us", 1, "hi");
    pop.deliver("demo", &other);
    let next = origin.write("us", 2, "hi");
    pop.deliver("demo", &next);
    assert_eq!(shown(pop, viewer), [1, 2]);
    assert!(pop.asked.is_empty());
}
