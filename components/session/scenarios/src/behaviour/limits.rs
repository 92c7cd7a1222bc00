//! Floods and garbage.

use chorus_protocol::server::{ReceiptStatus, ServerMessage};
use chorus_protocol::{CommentId, Encoding, Outcome};
use chorus_session_core::Input;
use serde_json::json;

use super::{studio, watch};
use crate::pop::Pop;

scenarios!("limits":
    forty_posts_in_a_second_pass_five,
    comments_a_minute_hold_over_streams,
    an_admin_has_no_rates,
    five_in_thirty_seconds_are_five_in_any_thirty_seconds,
    what_the_gateway_refuses_is_given_back_and_held_off,
    a_post_stored_before_costs_nothing,
    an_admin_is_not_closed_for_a_flood,
    a_flood_of_messages_is_closed_and_disturbs_nobody,
    checking_tokens_costs_more,
    too_many_streams_are_refused,
    garbage_gets_errors_and_the_socket_stays,
    pings_are_echoed,
    a_lagging_viewer_is_forgotten,
);

fn forty_posts_in_a_second_pass_five(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    for i in 0..40 {
        pop.post(user, "demo", &format!("c{i}"), "hi");
        pop.pass(25);
    }
    let receipts = pop.take_receipts(user);
    let accepted = receipts
        .iter()
        .filter(|receipt| receipt.status == ReceiptStatus::Accepted)
        .count();
    assert_eq!((receipts.len(), accepted), (40, 5));
    let last = receipts.last().expect("forty");
    assert_eq!(last.reason.as_deref(), Some("rate_limited"));
    let wait = last.retry_after_ms.expect("waiting helps");
    store_all(pop);
    pop.take(user);
    pop.pass(wait);
    pop.post(user, "demo", "again", "hi");
    assert_eq!(
        pop.take_receipts(user)[0].status,
        ReceiptStatus::Accepted,
        "the wait told is enough"
    );
}

/// The log takes all that is on its way.
fn store_all(pop: &mut Pop<'_>) {
    for post in std::mem::take(&mut pop.published) {
        let outcome = Outcome::Stored {
            id: CommentId(post.id),
            duplicate: false,
        };
        pop.answer(post.request, outcome);
    }
}

fn comments_a_minute_hold_over_streams(pop: &mut Pop<'_>) {
    studio(pop);
    let user = pop.open(Encoding::Json, Some(pop.token("ann", "user")));
    let mut accepted = 0;
    for i in 0..8 {
        let stream = format!("s{i}");
        pop.say(user, "join_stream", &json!({"stream_id": stream}));
        pop.state(
            &stream,
            Some(crate::origin::Origin::new(&stream, &["eu"]).state()),
        );
        pop.take_joined(user);
        for j in 0..5 {
            pop.post(user, &stream, &format!("c{j}"), "hi");
        }
        let receipts = pop.take_receipts(user);
        accepted += receipts
            .iter()
            .filter(|receipt| receipt.status == ReceiptStatus::Accepted)
            .count();
    }
    assert_eq!(accepted, 30);
}

fn an_admin_has_no_rates(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let admin = watch(pop, &origin, Encoding::Json, Some(("root", "admin")));
    for i in 0..100 {
        pop.post(admin, "demo", &format!("c{i}"), "hi");
    }
    let receipts = pop.take_receipts(admin);
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.status == ReceiptStatus::Accepted)
    );
}

fn five_in_thirty_seconds_are_five_in_any_thirty_seconds(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let mut taken = Vec::new();
    for i in 0..900 {
        pop.post(user, "demo", &format!("c{i}"), "hi");
        if pop.take_receipts(user)[0].status == ReceiptStatus::Accepted {
            taken.push(pop.now);
        }
        store_all(pop);
        pop.take(user);
        pop.pass(100);
    }
    assert_eq!(taken.len(), 15, "in 90 s: {taken:?}");
    for begin in &taken {
        let window = *begin..begin + 30_000;
        let within = taken.iter().filter(|at| window.contains(at));
        assert!(within.count() <= 5, "from {begin} on: {taken:?}");
    }
}

fn what_the_gateway_refuses_is_given_back_and_held_off(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    for i in 0..5 {
        pop.post(user, "demo", &format!("c{i}"), "hi");
    }
    pop.take(user);
    // At other shards and PoPs the user wrote four, 23 s ago: one of these is let in.
    let posts: Vec<_> = pop.published.drain(..).collect();
    for (i, post) in posts.iter().enumerate() {
        let outcome = match i {
            0 => Outcome::Stored {
                id: CommentId(post.id),
                duplicate: false,
            },
            _ => Outcome::Refused {
                reason: "rate_limited".to_owned(),
                retry_after_ms: Some(7_000),
            },
        };
        pop.answer(post.request, outcome);
        let receipt = pop.take_receipts(user).remove(0);
        let refused = (receipt.reason.as_deref(), receipt.retry_after_ms);
        match i {
            0 => assert_eq!(receipt.status, ReceiptStatus::Durable),
            _ => assert_eq!(refused, (Some("rate_limited"), Some(7_000))),
        }
    }
    pop.pass(2_000);
    pop.post(user, "demo", "flood", "hi");
    let receipts = pop.take_receipts(user);
    assert_eq!(receipts[0].retry_after_ms, Some(5_000));
    assert!(pop.published.is_empty(), "the gateway is not asked again");
    pop.pass(5_000);
    for i in 0..5 {
        pop.post(user, "demo", &format!("d{i}"), "hi");
        let receipts = pop.take_receipts(user);
        let accepted = receipts[0].status == ReceiptStatus::Accepted;
        assert_eq!(accepted, i < 4, "four were given back");
    }
}

fn a_post_stored_before_costs_nothing(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let user = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    for i in 0..5 {
        pop.post(user, "demo", &format!("c{i}"), "hi");
    }
    pop.take(user);
    let post = pop.published.pop_front().expect("a post");
    // By another shard, before the connection moved to this one.
    let outcome = Outcome::Stored {
        id: CommentId(post.id - 1),
        duplicate: true,
    };
    pop.answer(post.request, outcome);
    assert_eq!(pop.take_receipts(user)[0].status, ReceiptStatus::Durable);
    for accepted in [true, false] {
        pop.post(user, "demo", &format!("more {accepted}"), "hi");
        let status = pop.take_receipts(user)[0].status;
        assert_eq!(status == ReceiptStatus::Accepted, accepted);
    }
}

fn an_admin_is_not_closed_for_a_flood(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let admin = watch(pop, &origin, Encoding::Json, Some(("root", "admin")));
    let later = watch(pop, &origin, Encoding::MsgPack, None);
    let token = pop.token("root", "admin");
    pop.say(later, "authenticate", &json!({"token": token}));
    for viewer in [admin, later] {
        let pings: Vec<Input> = (0..500)
            .map(|i| pop.frame(viewer, "ping", &json!(i)))
            .collect();
        pop.feed(pings);
        assert_eq!((pop.closed(viewer), pop.take(viewer).len()), (None, 500));
    }
    // Nobody is one before the token is there, nor when it and the leeway have ended.
    let stranger = watch(pop, &origin, Encoding::Json, None);
    pop.pass(3_660_000);
    let ended = admin;
    for viewer in [stranger, ended] {
        let pings: Vec<Input> = (0..500)
            .map(|i| pop.frame(viewer, "ping", &json!(i)))
            .collect();
        pop.feed(pings);
        assert_eq!(pop.closed(viewer), Some(4429));
    }
}

fn a_flood_of_messages_is_closed_and_disturbs_nobody(pop: &mut Pop<'_>) {
    let mut origin = studio(pop);
    let flooder = watch(pop, &origin, Encoding::Json, None);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    let pings: Vec<Input> = (0..300)
        .map(|i| pop.frame(flooder, "ping", &json!(i)))
        .collect();
    pop.feed(pings);
    assert_eq!(pop.closed(flooder), Some(4429));
    assert_eq!(pop.take(flooder).len(), 199, "one message was the join");
    let delivery = origin.write("eu", 1, "hi");
    pop.deliver("demo", &delivery);
    assert_eq!(super::shown(pop, viewer), [1]);
    // At the average rate one may talk forever.
    for i in 0..1_000 {
        pop.say(viewer, "ping", &json!(i));
        pop.pass(20);
    }
    assert_eq!(pop.closed(viewer), None);
}

fn checking_tokens_costs_more(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    for _ in 0..20 {
        pop.say(viewer, "authenticate", &json!({"token": "x"}));
    }
    assert_eq!(pop.closed(viewer), Some(4429));
}

fn too_many_streams_are_refused(pop: &mut Pop<'_>) {
    pop.config.limits.streams_per_connection_max = 2;
    let origin = studio(pop);
    let viewer = watch(pop, &origin, Encoding::Json, None);
    pop.say(viewer, "join_stream", &json!({"stream_id": "two"}));
    pop.say(viewer, "join_stream", &json!({"stream_id": "three"}));
    assert_eq!(pop.take_error(viewer), "too_many_streams");
    pop.say(viewer, "leave_stream", &json!({"stream_id": "demo"}));
    pop.say(viewer, "join_stream", &json!({"stream_id": "three"}));
    assert!(pop.take(viewer).is_empty());
}

fn garbage_gets_errors_and_the_socket_stays(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let json = watch(pop, &origin, Encoding::Json, None);
    let msgpack = watch(pop, &origin, Encoding::MsgPack, None);
    let cases: [(u64, &[u8], &str); 9] = [
        (json, b"", "invalid_message"),
        (json, b"{", "invalid_message"),
        (json, b"[1]", "invalid_message"),
        (json, &[b'['; 4_000], "invalid_message"),
        (json, br#"{"type":"dance","payload":{}}"#, "unknown_type"),
        (
            json,
            br#"{"type":"join_stream","payload":{"stream_id":"a b"}}"#,
            "invalid_message",
        ),
        (msgpack, &[0x91; 4_000], "invalid_message"),
        (msgpack, &[0xdf, 0xff, 0xff, 0xff, 0xff], "invalid_message"),
        (msgpack, &[0xc1], "invalid_message"),
    ];
    for (viewer, data, code) in cases {
        pop.feed(vec![Input::Frame {
            connection: viewer,
            data: data.to_vec(),
        }]);
        assert_eq!(pop.take_error(viewer), code);
    }
    assert_eq!((pop.closed(json), pop.closed(msgpack)), (None, None));
    // Of connections and topics that there are not, nothing is heard.
    pop.feed(vec![
        Input::Frame {
            connection: 999,
            data: b"{}".to_vec(),
        },
        Input::Closed(999),
        Input::Delivered {
            topic: 999,
            data: vec![1],
        },
        Input::Control {
            topic: None,
            data: vec![0xc1],
        },
        Input::Replayed {
            request: 999,
            data: vec![],
        },
        Input::Configured(b"{".to_vec()),
    ]);
    let topic = pop.topic("demo");
    pop.feed(vec![Input::Delivered {
        topic,
        data: vec![0xc1],
    }]);
    assert!(pop.take(json).is_empty());
}

fn pings_are_echoed(pop: &mut Pop<'_>) {
    for encoding in Encoding::ALL {
        let viewer = pop.open(encoding, None);
        for payload in [json!(null), json!({"a": [1, "x", -2.5]}), json!("🎈")] {
            pop.say(viewer, "ping", &payload);
            assert_eq!(pop.take_one(viewer), ServerMessage::Pong(payload));
        }
    }
}

fn a_lagging_viewer_is_forgotten(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let slow = watch(pop, &origin, Encoding::Json, None);
    let viewer = watch(pop, &origin, Encoding::MsgPack, None);
    pop.pass(3_000);
    pop.feed(vec![Input::Lagged(slow)]);
    pop.gone(slow);
    pop.pass(3_000);
    assert_eq!(
        pop.counts.last().map(|(_, _, viewers)| *viewers),
        Some(Some(1))
    );
    pop.take(viewer);
}
