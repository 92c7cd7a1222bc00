//! Broadcasts: every member gets each once and in order, compressed if negotiated; slow readers delay nobody.

use std::io::Read;
use std::time::Duration;

use chorus_edge::shard::send::IoUring;

use crate::client::{Client, Got, connect, open, text};
use crate::harness::{Choice, Running, eventually, start};

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

fn everyone_gets_everything_once_and_in_order(shard: &Running) {
    let mut viewers: Vec<_> = (0..1_000).map(|_| open(shard.address)).collect();
    let mut speaker = open(shard.address);
    eventually("all are open", || shard.metrics.connections.get() == 1_001);
    for round in 0..20 {
        speaker.say(&format!("say round {round}"));
    }
    for viewer in viewers.iter_mut().chain([&mut speaker]) {
        for round in 0..20 {
            assert_eq!(viewer.word(), text(&format!("round {round}")));
        }
    }
    assert_eq!(shard.metrics.deliveries.get(), 20 * 1_001);
}

#[test]
fn a_thousand_viewers_with_io_uring_where_it_is_allowed() {
    everyone_gets_everything_once_and_in_order(&start());
}

#[test]
fn a_thousand_viewers_with_plain_sends() {
    let shard = Choice {
        io_uring: IoUring::Off,
        ..Choice::default()
    }
    .start();
    everyone_gets_everything_once_and_in_order(&shard);
    assert_eq!(shard.metrics.io_uring.get(), 0);
}

#[test]
fn who_left_gets_nothing_and_who_came_back_gets_it_once() {
    let shard = start();
    let (mut one, mut two, mut three) = (
        open(shard.address),
        open(shard.address),
        open(shard.address),
    );
    for client in [&mut one, &mut two, &mut three] {
        client.say("me ready");
        assert_eq!(client.word(), text("ready"));
    }
    // The first member of the list leaves; the last one is moved to its index and must still be found.
    one.say("leave");
    one.say("me left");
    assert_eq!(one.word(), text("left"));
    three.say("moderate");
    three.say("say a");
    assert_eq!(two.word(), text("a"));
    assert_eq!(three.word(), text("a"));
    drop(two);
    eventually("two is gone", || shard.metrics.connections.get() == 2);
    three.say("say b");
    assert_eq!(three.word(), text("b"));
    one.say("me nothing between");
    assert_eq!(one.word(), text("nothing between"));
}

#[test]
fn what_pays_is_compressed_once_for_all_who_can() {
    let blob = "comment ".repeat(500);
    let shard = Choice {
        blob: blob.clone().into_bytes(),
        ..Choice::default()
    }
    .start();
    let mut plain = open(shard.address);
    let mut packed: Vec<_> = (0..3)
        .map(|_| Client::upgrade(connect(shard.address), DEFLATE))
        .collect();
    assert!(
        packed[0]
            .answer
            .contains("permessage-deflate; server_no_context_takeover")
    );
    eventually("all are open", || shard.metrics.connections.get() == 4);
    let long = "all work and no play ".repeat(50);
    plain.say(&format!("say {long}"));
    plain.say("say short");
    for client in packed.iter_mut().chain([&mut plain]) {
        assert_eq!(client.word(), text(&long));
        assert_eq!(client.word(), text("short"));
    }
    assert_eq!(packed[0].compressed, 1);
    assert_eq!(
        shard.metrics.deflate_in_bytes.get(),
        long.len() as u64,
        "once, not once a viewer"
    );
    assert!(shard.metrics.deflate_out_bytes.get() < long.len() as u64 / 5);
    for client in packed.iter_mut().chain([&mut plain]) {
        client.say("blob");
        assert_eq!(client.word(), Got::Text(format!("<{blob}>")));
    }
    assert_eq!(packed[0].compressed, 2);
}

#[test]
fn a_slow_reader_is_closed_with_4408_and_the_others_miss_nothing() {
    let shard = Choice {
        queue_bytes_max: 64 << 10,
        ..Choice::default()
    }
    .start();
    let mut reader = open(shard.address);
    let mut late = open(shard.address);
    let mut never = open(shard.address);
    eventually("all are open", || shard.metrics.connections.get() == 3);
    let mut said = 0;
    // More bytes than the sockets buffer, until the queues of both slow readers are full.
    while shard.metrics.queue_overflows.get() < 2 {
        let what = format!("{said} {}", "x".repeat(4_000));
        reader.say(&format!("say {what}"));
        assert_eq!(reader.word(), text(&what));
        said += 1;
        assert!(said < 20_000, "nobody was too slow");
    }
    // A slow reader that reads at last gets complete frames in order, then its close code.
    let mut next = 0;
    loop {
        let got = late.word();
        if let Got::Text(text) = &got {
            assert!(text.starts_with(&format!("{next} ")), "{}", &text[..10]);
            next += 1;
        } else {
            assert_eq!(got, Got::Close(4408));
            break;
        }
    }
    assert!(next < said, "it cannot have got everything");
    drop(late);
    eventually("the one that never reads is reset", || {
        shard.metrics.closing_timed_out.get() == 1
    });
    never
        .socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut rest = Vec::new();
    assert!(
        never.socket.read_to_end(&mut rest).is_err(),
        "a reset, not an end"
    );
    assert_eq!(
        shard
            .heard
            .lock()
            .unwrap()
            .iter()
            .filter(|one| *one == "lagged")
            .count(),
        2
    );
    reader.say("say after");
    assert_eq!(reader.word(), text("after"));
    eventually("no bytes are left behind", || {
        shard.metrics.queue_bytes.get() == 0
    });
}

#[test]
fn several_frames_of_one_turn_keep_their_order() {
    let shard = start();
    let mut client = open(shard.address);
    let mut bytes = Vec::new();
    for n in 0..500 {
        bytes.extend(crate::client::frame(0x81, format!("me {n}").as_bytes()));
        bytes.extend(crate::client::frame(0x81, format!("say {n}").as_bytes()));
    }
    client.raw(&bytes);
    for n in 0..500 {
        assert_eq!(client.word(), text(&n.to_string()));
        assert_eq!(client.word(), text(&n.to_string()));
    }
}

#[test]
fn what_may_wait_comes_first_and_comes_at_all() {
    let shard = start();
    let mut client = open(shard.address);
    let frame = |word: &str| crate::client::frame(0x81, word.as_bytes());
    let nothing = frame("nothing").repeat(200);
    eventually("a busy shard lets something wait", || {
        client.raw(&nothing);
        client.say("later alone");
        // The frame comes although no other follows.
        assert_eq!(client.word(), text("alone"));
        shard.metrics.sends_held.get() > 0
    });
    let mut bytes = Vec::new();
    for n in 0..300 {
        for word in ["later", "me", "later", "later", "say"] {
            bytes.extend(frame(&format!("{word} {n}")));
        }
    }
    client.raw(&bytes);
    for n in 0..300 {
        for _ in 0..5 {
            assert_eq!(client.word(), text(&n.to_string()));
        }
    }
    client.raw(&nothing);
    client.raw(&[frame("later the last"), frame("close")].concat());
    assert_eq!(client.word(), text("the last"));
    assert_eq!(client.word(), Got::Close(4403));
    // The deferred frame of a connection that ended is dropped.
    let mut other = open(shard.address);
    other.raw(&nothing);
    other.say("later never");
    drop(other);
    eventually("both are gone", || shard.metrics.connections.get() == 0);
}
