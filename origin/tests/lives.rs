//! A stream that changes is heard of at every PoP of every gateway, whatever was away or lost meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use chorus_protocol::backhaul::{Held, ToGateway};
use chorus_protocol::stream::{Life, StreamStatus};
use chorus_protocol::{Outcome, StreamId};
use common::pop::{Pop, stored};
use common::{Region, until};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const SOON: Duration = Duration::from_secs(15);

async fn life(pop: &mut Pop) -> Life {
    let next = tokio::time::timeout(SOON, pop.lives.recv()).await;
    next.expect("told in time").unwrap()
}

async fn end(pop: &Pop, stream: &StreamId, token: &str) {
    let target = format!("/api/streams/{stream}/end");
    let (status, answer) = pop.rest("POST", &target, Some(token), "").await;
    assert_eq!((status, &answer["status"]), (200, &json!("ended")));
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused {
        reason: reason.to_owned(),
        retry_after_ms: None,
    }
}

/// A way to NATS that can be cut.
async fn line(nats_port: u16) -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, is_cut) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut is_cut = is_cut.clone();
            tokio::spawn(async move {
                if *is_cut.borrow() {
                    return;
                }
                let mut far = TcpStream::connect(("127.0.0.1", nats_port)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = is_cut.wait_for(|cut| *cut) => {}
                }
            });
        }
    });
    (port, cut)
}

/// One question to JetStream's API, as any client of NATS would ask it.
async fn jetstream(nats_port: u16, api: &str, body: &str) -> Value {
    let socket = TcpStream::connect(("127.0.0.1", nats_port)).await.unwrap();
    let mut socket = BufReader::new(socket);
    let ask = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $JS.API.{api} answer {}\r\n{body}\r\n",
        body.len()
    );
    socket.write_all(ask.as_bytes()).await.unwrap();
    loop {
        let mut line = String::new();
        assert_ne!(socket.read_line(&mut line).await.unwrap(), 0, "closed");
        if let Some(message) = line.strip_prefix("MSG ") {
            let length = message.trim().rsplit(' ').next().unwrap();
            let mut payload = vec![0; length.parse().unwrap()];
            socket.read_exact(&mut payload).await.unwrap();
            return serde_json::from_slice(&payload).unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_stored_before_the_end_is_answered_after_it() {
    let region = Region::start().await;
    let mut pop = common::pop::pop(&region, 1).await;
    let ([talk], ada) = pop.create(["talk"]).await;
    let said = pop.comment(&talk, "ada", "in time");
    assert_eq!(pop.post(&said).await, stored(said.comment.id));
    end(&pop, &talk, &ada).await;
    // Sent again by who never heard of its outcome: it is stored, whatever holds now.
    let mut again = said.clone();
    again.comment.id = pop.mint();
    let first = Outcome::Stored {
        id: said.comment.id,
        duplicate: true,
    };
    assert_eq!(pop.post(&again).await, first);
    let late = pop.comment(&talk, "ada", "too late");
    assert_eq!(pop.post(&late).await, refused("stream_ended"));
}

#[tokio::test]
async fn an_end_is_heard_at_every_pop_of_every_gateway() {
    let mut region = Region::start().await;
    let directory = region.directory.path().to_owned();
    let (first_port, nats_port) = (region.gateway_port, region.nats_port);
    // A second gateway, with a way to NATS of its own.
    let (port, cut) = line(nats_port).await;
    (region.gateway_port, region.nats_port) = (common::free_tcp(), port);
    region.start_origin(&["gateway"]);
    let second_port = region.gateway_port;
    until("the second gateway", SOON, async || {
        let tried = common::pop::connect(&directory, second_port, true);
        tried.await.is_ok()
    })
    .await;
    let mut here = Pop::connect(&directory, first_port, 1).await;
    let mut there = Pop::connect(&directory, second_port, 2).await;
    let ([talk, show], ada) = here.create(["talk", "show"]).await;
    for pop in [&mut here, &mut there] {
        for stream in [&talk, &show] {
            let state = pop.fresh(stream).await;
            assert_eq!(state.info.status, StreamStatus::Live);
        }
    }
    let said = here.comment(&talk, "ada", "in time");
    assert_eq!(here.post(&said).await, stored(said.comment.id));

    end(&here, &talk, &ada).await;
    let mut newest = 0;
    for pop in [&mut here, &mut there] {
        let life = life(pop).await;
        assert_eq!(
            (&life.info.stream_id, life.info.status),
            (&talk, StreamStatus::Ended)
        );
        newest = life.seq;
        // What gateways let in is refused there too, and what never was by another name.
        let late = pop.comment(&talk, "ada", "too late");
        assert_eq!(pop.post(&late).await, refused("stream_ended"));
        let lost = pop.comment(&"nowhere".parse().unwrap(), "ada", "lost");
        assert_eq!(pop.post(&lost).await, refused("stream_not_found"));
    }
    for port in [first_port, second_port] {
        let mut late = Pop::connect(&directory, port, 3).await;
        let state = late.fresh(&talk).await;
        assert_eq!(
            (state.info.status, state.life_seq),
            (StreamStatus::Ended, newest)
        );
        assert_eq!(state.newest.len(), 1, "what was said can be read");
    }

    // The second gateway is away from NATS while another one ends: told once it is back.
    cut.send_replace(true);
    end(&here, &show, &ada).await;
    assert_eq!(life(&mut here).await.info.stream_id, show);
    cut.send_replace(false);
    let life = life(&mut there).await;
    assert_eq!(
        (&life.info.stream_id, life.info.status),
        (&show, StreamStatus::Ended)
    );
}

#[tokio::test]
async fn a_pop_that_was_away_is_told_what_it_does_not_know() {
    let region = Region::start().await;
    let mut pop = Pop::connect(region.directory.path(), region.gateway_port, 1).await;
    let ([talk, show], ada) = pop.create(["talk", "show"]).await;
    let state = pop.fresh(&talk).await;
    drop(pop);
    let mut back = Pop::connect(region.directory.path(), region.gateway_port, 2).await;
    end(&back, &talk, &ada).await;
    let hold = |knows| ToGateway::Hold {
        stream: talk.clone(),
        have: Some(state.at.clone()),
        full: false,
        knows,
    };
    back.control(&hold(Some(state.revision()))).await;
    assert_eq!(
        back.held.recv().await.unwrap(),
        (talk.clone(), Held::Resumed)
    );
    let told = life(&mut back).await;
    assert_eq!(told.info.status, StreamStatus::Ended);
    assert!(told.revision() > state.revision());
    // Who knows it is told nothing: the next word is another stream's.
    back.control(&hold(Some(told.revision()))).await;
    assert_eq!(
        back.held.recv().await.unwrap(),
        (talk.clone(), Held::Resumed)
    );
    back.fresh(&show).await;
    end(&back, &show, &ada).await;
    assert_eq!(life(&mut back).await.info.stream_id, show);
}

#[tokio::test]
async fn an_end_whose_live_message_is_lost_is_found_in_the_control_log() {
    let region = Region::start().await;
    let mut pop = Pop::connect(region.directory.path(), region.gateway_port, 1).await;
    let ([talk], ada) = pop.create(["talk"]).await;
    pop.fresh(&talk).await;
    // The log repeats nothing any more: every live message is lost.
    let info = jetstream(region.nats_port, "STREAM.INFO.CONTROL_dev", "").await;
    let mut config = info["config"].clone();
    assert!(
        config
            .as_object_mut()
            .unwrap()
            .remove("republish")
            .is_some()
    );
    let update = jetstream(
        region.nats_port,
        "STREAM.UPDATE.CONTROL_dev",
        &config.to_string(),
    )
    .await;
    assert!(
        update["error"].is_null() && update["config"]["republish"].is_null(),
        "{update}"
    );
    end(&pop, &talk, &ada).await;
    assert_eq!(life(&mut pop).await.info.status, StreamStatus::Ended);
    assert!(region.metric("chorus_origin_lives_repaired_total").await >= 1.0);
}

#[tokio::test]
async fn a_stream_looked_for_too_early_is_found_once_it_is_there() {
    let region = Region::start().await;
    let mut pop = Pop::connect(region.directory.path(), region.gateway_port, 1).await;
    let talk: StreamId = "talk".parse().unwrap();
    assert_eq!(pop.hold(&talk, None).await, Held::Unknown);
    let early = pop.comment(&talk, "ada", "early");
    assert_eq!(pop.post(&early).await, refused("stream_not_found"));
    pop.create(["talk"]).await;
    pop.fresh(&talk).await;
    let said = pop.comment(&talk, "ada", "now");
    assert_eq!(pop.post(&said).await, stored(said.comment.id));
}
