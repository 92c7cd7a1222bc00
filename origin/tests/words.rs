//! Words to users by REST, through the gateways that are alive, over a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use chorus_origin::config;
use chorus_origin::log::GatewayLeases as _;
use chorus_origin::log::Regional as _;
use chorus_origin::log::nats::Nats;
use chorus_origin::metrics::Metrics;
use chorus_protocol::backhaul::ToGateway;
use chorus_protocol::presence::{GatewayLease, UserHere, UserWord};
use common::pop::{Pop, pop};
use common::{Region, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

async fn admin(pop: &Pop) -> String {
    let body = json!({"username": "root", "role": "admin"}).to_string();
    let (status, answer) = pop.rest("POST", "/api/dev/token", None, &body).await;
    assert_eq!(status, 200, "{answer}");
    answer["token"].as_str().unwrap().to_owned()
}

async fn holds(pop: &mut Pop, user: &str, connections: u32) {
    let user = user.parse().unwrap();
    let here = UserHere { user, connections };
    pop.control(&ToGateway::Users(vec![here])).await;
}

async fn word(pop: &mut Pop) -> (String, UserWord) {
    let next = tokio::time::timeout(SOON, pop.words.recv()).await;
    let (user, word) = next.expect("told in time").unwrap();
    (user.to_string(), rmp_serde::from_slice(&word).unwrap())
}

#[tokio::test]
async fn a_word_reaches_the_pops_that_hold_the_user_and_a_gateway_that_is_silent_is_named() {
    let region = Region::start().await;
    let mut first = pop(&region, 1).await;
    let mut second = pop(&region, 2).await;
    let token = admin(&first).await;
    let say = async |pop: &Pop, target: &str, body: Value| -> (u16, Value) {
        pop.rest("POST", target, Some(&token), &body.to_string())
            .await
    };
    let disconnect = "/api/users/Ann%20%C3%96/disconnect";
    holds(&mut first, "Ann Ö", 2).await;
    holds(&mut second, "Ann Ö", 1).await;
    holds(&mut second, "bob", 4).await;
    let told = json!({"connections": 3, "gateways": 1});
    until("both are known", SOON, async || {
        say(&first, disconnect, json!({"reason": "enough"})).await == (200, told.clone())
    })
    .await;
    let enough = UserWord::Disconnect {
        reason: "enough".to_owned(),
    };
    let ann = "Ann Ö".to_owned();
    assert_eq!(word(&mut first).await, (ann.clone(), enough.clone()));
    assert_eq!(word(&mut second).await, (ann, enough));

    // Gone from one, then from nowhere else.
    let notices = "/api/users/bob/notices";
    let notice = json!({"kind": "mention", "message": "Ann speaks of you"});
    let answer = say(&first, notices, notice.clone()).await;
    assert_eq!(answer, (200, json!({"connections": 4, "gateways": 1})));
    while second.words.try_recv().is_ok() {}
    holds(&mut second, "bob", 0).await;
    until("bob is gone", SOON, async || {
        say(&first, notices, notice.clone()).await.1["connections"] == 0
    })
    .await;

    // Who may not, and what makes no sense.
    let (user, _) = first.sign_in("ada").await;
    let (status, _) = first
        .rest("POST", notices, Some(&user), &notice.to_string())
        .await;
    assert_eq!(status, 403);
    let long = json!({"reason": "x".repeat(124)});
    for (target, body) in [
        (notices, json!({"kind": "No Kind", "message": "x"})),
        (notices, json!({"kind": "x"})),
        (disconnect, long),
    ] {
        assert_eq!(say(&first, target, body).await.0, 400, "{target}");
    }

    // A gateway that is alive and does not answer.
    let config = config::Nats {
        url: format!("nats://127.0.0.1:{}", region.nats_port),
        ..config::Nats::default()
    };
    let dev = "dev".parse().unwrap();
    let log = Nats::connect(config, dev, Arc::new(Metrics::new())).await;
    let log = log.unwrap();
    log.link().wait_for(|link| link.connected).await.unwrap();
    let lease = rmp_serde::to_vec_named(&GatewayLease::default()).unwrap();
    log.lease_gateway("ghost", lease).await.unwrap();
    // It is heard.
    tokio::time::sleep(Duration::from_millis(200)).await;
    until("the ghost is missed", Duration::from_secs(3), async || {
        let (status, answer) = say(&first, disconnect, json!({})).await;
        let detail = answer["detail"].as_str().unwrap_or_default();
        status == 503 && detail.contains("dev.ghost")
    })
    .await;
    until("its lease is over", SOON, async || {
        say(&first, disconnect, json!({})).await.0 == 200
    })
    .await;
}
