//! How connections and shards end.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::{CommentId, Outcome};

use crate::client::{Got, open, text};
use crate::harness::{Choice, eventually, start};

#[test]
fn the_session_closes_and_hears_of_it_once() {
    let shard = start();
    let mut client = open(shard.address);
    client.say("close");
    assert_eq!(client.word(), Got::Close(4403));
    assert_eq!(client.word(), Got::End);
    eventually("it is told", || shard.has_heard("closed"));
    drop(client);
    let mut other = open(shard.address);
    other.say("me x");
    assert_eq!(other.word(), text("x"));
    assert_eq!(
        shard
            .heard
            .lock()
            .unwrap()
            .iter()
            .filter(|one| *one == "closed")
            .count(),
        1
    );
}

#[test]
fn a_socket_that_goes_without_a_word_is_noticed() {
    let shard = start();
    drop(open(shard.address));
    eventually("the session is told", || shard.has_heard("closed"));
    assert_eq!(shard.metrics.connections.get(), 0);
}

#[test]
fn one_too_many_is_upgraded_and_closed_with_4429() {
    let shard = Choice {
        connections_max: 2,
        ..Choice::default()
    }
    .start();
    let mut first = open(shard.address);
    let second = open(shard.address);
    let mut third = open(shard.address);
    assert_eq!(third.word(), Got::Close(4429));
    first.say("me still here");
    assert_eq!(first.word(), text("still here"));
    drop(second);
    eventually("there is room again", || {
        shard.metrics.connections.get() == 1
    });
    let mut fourth = open(shard.address);
    fourth.say("me in");
    assert_eq!(fourth.word(), text("in"));
}

#[test]
fn a_drain_spreads_the_closing_evenly_and_ends_the_shard() {
    const OPEN: u64 = 300;
    const GRACE: Duration = Duration::from_secs(3);
    let mut shard = start();
    let mut clients: Vec<_> = (0..OPEN).map(|_| open(shard.address)).collect();
    eventually("all are open", || shard.metrics.connections.get() == OPEN);
    let began = Instant::now();
    shard.drain(GRACE.as_millis() as u64);
    let mut thirds = Vec::new();
    eventually("all are closed", || {
        let left = shard.metrics.connections.get();
        let share = began.elapsed().as_secs_f64() / GRACE.as_secs_f64();
        let closed = (OPEN - left) as f64 / OPEN as f64;
        // A busy machine closes late, and never early.
        assert!(closed <= share + 0.05, "{closed} closed at {share}");
        if closed >= (thirds.len() + 1) as f64 / 3.0 {
            thirds.push(share);
        }
        left == 0
    });
    assert!(thirds[0] < 0.9, "begins in time: {thirds:?}");
    for client in &mut clients {
        assert_eq!(client.word(), Got::Close(1001));
        assert_eq!(client.word(), Got::End);
    }
    drop(clients);
    shard.ended();
    assert!(
        TcpStream::connect(shard.address).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn who_waits_for_a_receipt_in_a_drain_gets_it_before_the_close() {
    let mut shard = start();
    let mut writer = open(shard.address);
    writer.say("post");
    eventually("the post is on its way", || {
        matches!(shard.up.try_recv(), Ok(ToBackhaul::Publish { .. }))
    });
    let others: Vec<_> = (0..60).map(|_| open(shard.address)).collect();
    eventually("all are open", || shard.metrics.connections.get() == 61);
    shard.drain(9_000);
    // The writer came first and would be closed first.
    eventually("others are closed", || {
        shard.metrics.connections.get() <= 50
    });
    let outcome = Outcome::Stored {
        id: CommentId(98),
        duplicate: false,
    };
    shard.handle.send(ToShard::Published(vec![(11, outcome)]));
    assert_eq!(writer.word(), text("stored 11 98"));
    assert_eq!(writer.word(), Got::Close(1001));
    assert!(
        shard.metrics.connections.get() > 0,
        "the grace is not over yet"
    );
    drop(others);
}

#[test]
fn a_post_without_an_outcome_holds_no_drain_beyond_its_grace() {
    let mut shard = start();
    let mut writer = open(shard.address);
    writer.say("post");
    eventually("the post is on its way", || {
        matches!(shard.up.try_recv(), Ok(ToBackhaul::Publish { .. }))
    });
    shard.drain(200);
    assert_eq!(writer.word(), Got::Close(1001));
    drop(writer);
    shard.ended();
}

#[test]
fn a_lost_state_closes_everyone_and_begins_anew() {
    let shard = start();
    let mut clients: Vec<_> = (0..10).map(|_| open(shard.address)).collect();
    eventually("all are open", || shard.metrics.connections.get() == 10);
    clients[3].say("reset");
    for client in &mut clients {
        assert_eq!(client.word(), Got::Close(1001));
    }
    let mut next = open(shard.address);
    next.say("say again");
    assert_eq!(next.word(), text("again"));
    next.say("me closed");
    assert_eq!(next.word(), text("closed"));
    assert!(!shard.has_heard("closed"), "the new state never knew them");
}

#[test]
fn outputs_that_name_nothing_are_counted_and_harm_nobody() {
    let shard = start();
    let mut client = open(shard.address);
    client.say("nonsense");
    assert_eq!(client.word(), text("still here"));
    assert!(shard.metrics.outputs_stale.get() >= 4);
}
