//! Messages between the session and the backhaul.

use bytes::Bytes;
use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::{CommentId, Millis, Outcome, StreamId};

use crate::client::{open, text};
use crate::harness::{Running, eventually, start};
use crate::logic::STREAM;

fn next(shard: &mut Running) -> ToBackhaul {
    let mut message = None;
    eventually("a message for the backhaul", || {
        message = shard.up.try_recv().ok();
        message.is_some()
    });
    message.unwrap()
}

#[test]
fn posts_go_up_and_outcomes_and_deliveries_come_down() {
    let mut shard = start();
    let stream: StreamId = STREAM.parse().unwrap();
    let mut client = open(shard.address);
    assert!(
        matches!(next(&mut shard), ToBackhaul::Subscribe { shard: 3, stream: s } if s == stream)
    );
    client.say("post");
    let ToBackhaul::Publish {
        shard: 3,
        request: 11,
        event,
    } = next(&mut shard)
    else {
        panic!("not the post");
    };
    assert_eq!(event, [1, 2, 3]);
    let outcome = Outcome::Stored {
        id: CommentId(98),
        duplicate: true,
    };
    shard.handle.send(ToShard::Published(vec![(11, outcome)]));
    assert_eq!(client.word(), text("stored 11 98"));
    shard.handle.send(ToShard::Delivered {
        stream: stream.clone(),
        data: Bytes::from_static(b"events"),
    });
    assert_eq!(client.word(), text("delivered 7 events"));
    let other: StreamId = "other".parse().unwrap();
    shard.handle.send(ToShard::Delivered {
        stream: other,
        data: Bytes::from_static(b"not ours"),
    });
    shard.handle.send(ToShard::State {
        stream: stream.clone(),
        state: None,
    });
    shard.handle.send(ToShard::Lease {
        worker: 5,
        until: Millis(9),
    });
    shard.handle.send(ToShard::Connected(true));
    shard
        .handle
        .send(ToShard::Configured(Bytes::from_static(b"{}")));
    shard.handle.send(ToShard::Counted {
        stream,
        reactions: Default::default(),
        viewers: Some(4),
    });
    shard.handle.send(ToShard::Replayed {
        request: 6,
        data: Bytes::new(),
    });
    eventually("all is heard, in order", || {
        shard.heard.lock().unwrap().len() == 6
    });
    let heard = shard.heard.lock().unwrap().join(", ");
    assert!(heard.starts_with("control Some(7) "), "{heard}");
    assert!(
        heard.ends_with("configured 2, counted Some(4), replayed 6"),
        "{heard}"
    );
    client.say("unsubscribe");
    assert!(matches!(
        next(&mut shard),
        ToBackhaul::Unsubscribe { shard: 3, .. }
    ));
}

#[test]
fn a_post_without_a_way_up_is_refused_truly() {
    let mut shard = start();
    let mut client = open(shard.address);
    let _ = next(&mut shard);
    shard.up.close();
    client.say("post");
    assert_eq!(client.word(), text("refused unavailable"));
}

#[test]
fn the_timer_comes_when_it_is_asked_for() {
    let shard = start();
    let mut client = open(shard.address);
    client.say("wake");
    assert_eq!(client.word(), text("timer"));
    assert!(shard.heard.lock().unwrap().is_empty());
}
