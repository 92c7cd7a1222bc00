//! `chorus-origin provision`: the binary over a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use common::{Region, until};

const SOON: Duration = Duration::from_secs(20);

/// Runs `provision` on a configuration; what it ended with and said.
fn provision(region: &Region, config: &str, plan: bool) -> (i32, String) {
    let file = region.directory.path().join("provision.toml");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chorus-origin"));
    command.arg("provision").arg("--config").arg(&file);
    if plan {
        command.arg("--plan");
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_plan_says_what_will_be_done_and_nothing_else_is() {
    let mut region = Region::prepare();
    region.start_nats();
    let with = |lines: &str| {
        let config = region.config();
        config.replace("[gateway]", &format!("{lines}\n[gateway]"))
    };
    let first = with("peers = [\"us\"]\nworkers = [0, 9]");
    let (code, planned) = provision(&region, &first, true);
    assert_eq!(code, 2, "{planned}");
    for line in [
        "create    CONTROL_dev\n",
        "create    EVENTS_dev_0\n",
        "create    EVENTS_dev_0/persist\n",
        "wait      the mirror of us: us cannot be seen",
    ] {
        assert!(planned.contains(line), "{planned}");
    }
    assert_eq!(
        provision(&region, &first, true).1,
        planned,
        "it did nothing"
    );
    let (code, done) = provision(&region, &first, false);
    assert_eq!((code, done.contains(&planned)), (0, true), "{done}");
    let (code, settled) = provision(&region, &first, true);
    assert_eq!(code, 0, "{settled}");
    assert!(
        !settled.contains("create") && !settled.contains("change"),
        "{settled}"
    );

    // The other region appears: it is mirrored. What differs is changed, and only that.
    let us = with("peers = [\"dev\"]\nworkers = [10, 19]");
    let us = us.replace("region = \"dev\"", "region = \"us\"");
    assert_eq!(provision(&region, &us, false).0, 0);
    let longer = first.replace("workers", "events_days = 9\nworkers");
    let (code, planned) = provision(&region, &longer, true);
    assert_eq!(code, 2, "{planned}");
    let todo: Vec<&str> = planned
        .lines()
        .filter(|it| !it.starts_with("leave"))
        .collect();
    assert_eq!(
        todo,
        [
            "change    EVENTS_dev_0: max_age 604800000000000 → 777600000000000",
            "create    EVENTS_us_0/mirror_dev",
            "create    MIRROR_dev_us_0",
            "create    MIRROR_dev_us_0/persist",
        ]
    );
    assert_eq!(provision(&region, &longer, false).0, 0);
    let (code, settled) = provision(&region, &longer, true);
    assert_eq!(code, 0, "{settled}");

    // An origin that starts finds nothing to do.
    let origin = region.start_with(longer.clone(), &["persist"]);
    until("provisioned", SOON, async || {
        region.logs().contains("the logs are provisioned")
    })
    .await;
    assert!(!region.logs().contains("create  "), "{}", region.logs());
    region.origins[origin].kill();

    // A region that is no longer named keeps what it holds.
    let alone = longer.replace("peers = [\"us\"]", "peers = []");
    let (code, planned) = provision(&region, &alone, true);
    assert_eq!(code, 0, "{planned}");
    assert!(
        planned.contains(
            "left over EVENTS_us_0: the configuration names no region us; it holds 0 events"
        ),
        "{planned}"
    );
    assert!(planned.contains("left over MIRROR_dev_us_0: "), "{planned}");

    // What NATS cannot change is refused by name, and the rest is not done either.
    let more = longer.replace("events_days = 9", "events_days = 5\npartitions = 2");
    let (code, refused) = provision(&region, &more, false);
    assert_eq!(code, 1, "{refused}");
    assert!(
        refused.contains("the record of dev: cannot be changed: partitions 1 → 2"),
        "{refused}"
    );
    let (code, settled) = provision(&region, &longer, true);
    assert_eq!(code, 0, "nothing was done: {settled}");
    let (code, said) = provision(&region, "region = \"dev\"", true);
    assert_eq!((code, said.contains("provision.toml")), (1, true), "{said}");
}
