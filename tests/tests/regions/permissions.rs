//! What nats-server lets each role do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chorus_tests::SOON;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::supercluster::{REGIONS, Supercluster};

/// Who may publish what, of the region eu-central. The role `origin` may what gateway, persist and api may.
const PUBLISH: [(&str, &[&str]); 33] = [
    ("_INBOX.moderate.eu-central.1", &["moderate"]),
    ("event.eu-central.0.s", &["gateway", "moderate"]),
    ("event.us-east.0.s", &["gateway"]),
    ("live.event.eu-central.0.s", &[]),
    ("reaction.eu-central.s.heart", &["gateway"]),
    ("presence.eu-central.g.s", &["gateway"]),
    ("presence.us-east.g.s", &[]),
    ("api.eu-central", &["gateway"]),
    ("api.us-east", &[]),
    ("control.eu-central.s.stream", &["api"]),
    ("control.us-east.s.stream", &["api"]),
    (
        "control.eu-central.-.region",
        &["gateway", "persist", "api"],
    ),
    ("undone.eu-central.persist", &["persist"]),
    ("undone.eu-central.moderate", &["moderate"]),
    ("undone.eu-central.analyse", &["analyse"]),
    ("$KV.WORKERS_eu-central.w.1", &["gateway"]),
    ("$KV.WORKERS_us-east.w.1", &[]),
    ("$KV.RIGHTS_eu-central.persist", &["persist"]),
    (
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS_eu-central_0.persist",
        &["persist"],
    ),
    (
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS_eu-central_0.analyse",
        &["analyse"],
    ),
    (
        "$JS.ACK.EVENTS_eu-central_0.moderate.1.1.1.1.0",
        &["moderate"],
    ),
    ("$JS.ACK.EVENTS_us-east_0.persist.1.1.1.1.0", &[]),
    (
        "$JS.API.STREAM.UPDATE.EVENTS_eu-central_0",
        &["gateway", "persist", "api"],
    ),
    ("$JS.API.STREAM.UPDATE.EVENTS_us-east_0", &[]),
    ("$JS.API.STREAM.CREATE.MINE", &[]),
    ("$JS.API.STREAM.PURGE.MINE", &[]),
    ("$JS.API.STREAM.DELETE.MINE", &[]),
    ("$JS.API.STREAM.DELETE.EVENTS_eu-central_0", &[]),
    (
        "$JS.API.STREAM.DELETE.MIRROR_eu-central_us-east_0",
        &["gateway", "persist", "api"],
    ),
    ("$JS.API.STREAM.DELETE.MIRROR_us-east_eu-central_0", &[]),
    (
        "$JS.API.CONSUMER.CREATE.EVENTS_us-east_0.mirror_eu-central",
        &["gateway", "persist", "api"],
    ),
    ("$JS.API.CONSUMER.CREATE.EVENTS_us-east_0.persist", &[]),
    (
        "$JS.API.DIRECT.GET.EVENTS_us-east_0",
        &["gateway", "persist", "api", "moderate", "analyse"],
    ),
];

/// The same for subscriptions.
const SUBSCRIBE: [(&str, &[&str]); 8] = [
    ("live.event.*.*.s", &["gateway"]),
    ("live.reaction.*.s.*", &["gateway"]),
    ("live.control.*.*.stream", &["gateway"]),
    ("presence.*.*.s", &["gateway", "api"]),
    ("api.eu-central", &["api"]),
    ("api.us-east", &[]),
    ("_INBOX.>", &[]),
    ("event.>", &[]),
];

/// Published last by a role that may not: its refusal comes last.
const LAST: &str = "nobody.may.say.this";

fn may(role: &str, allowed: &[&str]) -> bool {
    let of_origin = ["gateway", "persist", "api"];
    let all = role == "operator";
    all || allowed.contains(&role)
        || (role == "origin" && allowed.iter().any(|role| of_origin.contains(role)))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_it_must_and_nothing_else() -> Result<()> {
    let supercluster = Supercluster::start().await?;
    let mut wrong = Vec::new();
    for role in [
        "origin", "gateway", "persist", "api", "moderate", "analyse", "operator",
    ] {
        let (client, mut refusals) = supercluster.connect("eu-central", role).await?;
        for (subject, _) in PUBLISH {
            client.publish(subject, "".into()).await?;
        }
        let mut subscriptions = Vec::new();
        for (subject, _) in SUBSCRIBE {
            subscriptions.push(client.subscribe(subject).await?);
        }
        client.publish(LAST, "".into()).await?;
        let mut said = String::new();
        // The operator is refused nothing: it waits its time.
        let patience = Duration::from_secs(if role == "operator" { 1 } else { 10 });
        while let Ok(Some(refusal)) = timeout(patience, refusals.recv()).await {
            said += &format!("{refusal}\n");
            if refusal.contains(LAST) {
                break;
            }
        }
        ensure!(role == "operator" || said.contains(LAST), "{role}: {said}");
        let said = said.to_lowercase();
        let rows = PUBLISH.iter().map(|row| ("publish", row));
        for (verb, (subject, allowed)) in rows.chain(SUBSCRIBE.iter().map(|row| ("subscri", row))) {
            let refused = said.lines().any(|line| {
                line.contains(verb) && line.contains(&format!("\"{}\"", subject.to_lowercase()))
            });
            if refused == may(role, allowed) {
                wrong.push(format!("{role}: {verb} {subject}: refused {refused}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What the other test looks for is there when something is refused.
    assert!(!supercluster.violations().is_empty());

    // Of the servers themselves `system` may ask, and it hears no event.
    let (system, _) = supercluster.connect("eu-central", "system").await?;
    let mut events = system.subscribe("test.>").await?;
    let inbox = system.new_inbox();
    let mut answers = system.subscribe(inbox.clone()).await?;
    system
        .publish_with_reply("$SYS.REQ.SERVER.PING", inbox, "".into())
        .await?;
    for _ in REGIONS {
        timeout(SOON, answers.next())
            .await?
            .context("an answer of each server")?;
    }
    let (operator, _) = supercluster.connect("us-east", "operator").await?;
    operator.publish("test.secret", "".into()).await?;
    operator.flush().await?;
    assert!(
        timeout(Duration::from_millis(300), events.next())
            .await
            .is_err()
    );
    supercluster.done()
}
