//! Panics in a shard: they close the connection whose bytes were read, or all viewers of the shard, and nobody else.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_edge::pop::PopState;
use chorus_protocol::Millis;

use crate::client::{Client, Got, connect, frame, open, text};
use crate::harness::{Choice, Running, eventually, start};

/// Waits for the next message to the backhaul that is `wanted`.
fn said(shard: &mut Running, wanted: impl Fn(&ToBackhaul) -> bool) {
    eventually("the backhaul is told", || {
        shard.up.try_recv().is_ok_and(|message| wanted(&message))
    });
}

#[test]
fn a_panic_costs_the_shards_viewers_a_1001_and_nobody_else_anything() {
    let pop = std::sync::Arc::new(PopState::new(5));
    let with = || Choice {
        pop: Some(std::sync::Arc::clone(&pop)),
        ..Choice::default()
    };
    let (mut first, second) = (with().start(), with().start());
    let mut elsewhere = open(second.address);
    let mut clients: Vec<_> = (0..4).map(|_| open(first.address)).collect();
    let half = connect(first.address);
    eventually("all are there", || {
        first.metrics.connections.get() == 4 && pop.sockets() == 6
    });
    clients[2].say("panic for a test");
    for client in &mut clients {
        assert_eq!(client.word(), Got::Close(1001));
        assert_eq!(client.word(), Got::End);
    }
    said(&mut first, |message| {
        matches!(message, ToBackhaul::Restarted { shard: 3 })
    });
    assert_eq!(first.metrics.shard_panics.get(), 1);
    assert_eq!(first.metrics.connections.get(), 0);
    elsewhere.say("me still here");
    assert_eq!(elsewhere.word(), text("still here"));
    assert_eq!(second.metrics.shard_panics.get(), 0);
    drop((clients, half));
    eventually("their places are free", || {
        pop.viewers() == 1 && pop.sockets() == 1
    });

    // The bound is 5: if a viewer had not been counted out, the last one would get 4429.
    let mut again: Vec<_> = (0..4).map(|_| open(first.address)).collect();
    again[0].say("say anew");
    for client in &mut again {
        assert_eq!(client.word(), text("anew"));
    }
    assert!(first.has_heard("fresh"));
    said(&mut first, |message| {
        matches!(message, ToBackhaul::Subscribe { .. })
    });
    assert_eq!((pop.viewers(), pop.sockets()), (5, 5));
    assert_eq!(first.metrics.connections.get(), 4);
}

#[test]
fn a_panic_over_one_connections_bytes_costs_that_connection() {
    // No configuration allows this bound; computing with it overflows for the first compressed message.
    let shard = Choice {
        message_bytes_max: usize::MAX,
        ..Choice::default()
    }
    .start();
    let mut other = open(shard.address);
    let mut client = Client::upgrade(
        connect(shard.address),
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    );
    client.raw(&frame(0xc1, &[0x00]));
    assert_eq!(client.word(), Got::Close(1011));
    assert_eq!(client.word(), Got::End);
    assert_eq!(shard.metrics.connection_panics.get(), 1);
    assert_eq!(shard.metrics.shard_panics.get(), 0);
    other.say("say nothing happened");
    assert_eq!(other.word(), text("nothing happened"));
}

#[test]
fn a_frame_half_sent_is_finished_before_the_1001() {
    let shard = start();
    let mut slow = open(shard.address);
    let mut client = open(shard.address);
    eventually("both are open", || shard.metrics.connections.get() == 2);
    while shard.metrics.sends_short.get() == 0 {
        client.say(&format!("say {}", "x".repeat(4_000)));
        assert!(matches!(client.word(), Got::Text(_)));
    }
    client.say("panic now");
    assert_eq!(client.word(), Got::Close(1001));
    let last = loop {
        let got = slow.word();
        let Got::Text(text) = &got else {
            break got;
        };
        assert_eq!(text.len(), 4_000);
    };
    assert_eq!(last, Got::Close(1001));
    assert_eq!(slow.word(), Got::End);
}

#[test]
fn what_is_lost_with_the_backhaul_begins_anew_in_the_shard() {
    let mut shard = start();
    let mut client = open(shard.address);
    client.say("me in");
    assert_eq!(client.word(), text("in"));
    shard.handle.send(ToShard::BackhaulLost);
    assert_eq!(client.word(), Got::Close(1001));
    said(&mut shard, |message| {
        matches!(message, ToBackhaul::Restarted { .. })
    });
    let mut client = open(shard.address);
    client.say("me in again");
    assert_eq!(client.word(), text("in again"));
    assert_eq!(shard.metrics.shard_panics.get(), 0);
}

#[test]
fn a_shard_that_panics_again_and_again_pauses_and_comes_back() {
    let shard = start();
    let later = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(600);
    let until = Millis(u64::try_from(later.as_millis()).unwrap());
    shard.handle.send(ToShard::Lease { worker: 1, until });
    shard.handle.send(ToShard::Connected(true));
    eventually("it is ready", || shard.pop.is_ready());
    for panics in 1..=6 {
        let mut client = open(shard.address);
        client.say("panic again");
        assert_eq!(client.word(), Got::Close(1001));
        eventually("it is counted", || {
            shard.metrics.shard_panics.get() == panics
        });
    }
    eventually("it pauses", || shard.metrics.shards_paused.get() == 1);
    eventually("no shard takes viewers", || !shard.pop.is_ready());
    let mut bytes = Vec::new();
    let _ = connect(shard.address).read_to_end(&mut bytes);
    assert!(bytes.is_empty(), "dropped at once");
    // The shard counts after it has dropped the socket, which the client sees at once.
    eventually("it is counted", || shard.metrics.accept_paused.get() >= 1);
    eventually("it serves again", || shard.pop.is_ready());
    let mut client = open(shard.address);
    client.say("me back");
    assert_eq!(client.word(), text("back"));
}
