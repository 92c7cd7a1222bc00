//! How connections and shards end.

use std::net::TcpStream;
use std::time::{Duration, Instant};

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
fn a_drain_spreads_the_closing_and_ends_the_shard() {
    let mut shard = start();
    let mut clients: Vec<_> = (0..40).map(|_| open(shard.address)).collect();
    eventually("all are open", || shard.metrics.connections.get() == 40);
    let began = Instant::now();
    shard.drain(1_500);
    eventually("half are closed", || shard.metrics.connections.get() <= 20);
    assert!(
        began.elapsed() > Duration::from_millis(300),
        "not all at once"
    );
    assert!(
        TcpStream::connect(shard.address).is_err(),
        "nobody listens any more"
    );
    for client in &mut clients {
        assert_eq!(client.word(), Got::Close(1001));
        assert_eq!(client.word(), Got::End);
    }
    drop(clients);
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
