//! Network files, right and wrong.

use std::time::Duration;

use super::*;

const HOSTS: &str = r#"
[hosts.eu-1]
address = "10.77.1.1"
region = "eu"
[hosts.us-1]
address = "10.77.2.1"
region = "us"
[hosts.us-2]
address = "10.77.2.2"
access_ms = 8
region = "us"
"#;

const REGIONS: &str = "within_ms = 1\n[rtt_ms.eu]\nus = 90\n";

fn read(text: &str) -> Result<Network> {
    parse("wan.toml", text, |_| parse_regions("regions.toml", REGIONS))
}

/// The one-way delay that a packet sees, in ms.
fn delay(network: &mut Network, from: usize, to: usize) -> u128 {
    let mut packet = [0; 20];
    packet[0] = 0x45;
    packet[16..20].copy_from_slice(&network.hosts()[to].address.octets());
    network.send(Duration::ZERO, from, &packet);
    let due = network.next_due().expect("on its way");
    while network.due(due).is_some() {}
    due.as_micros() / 100
}

fn wrong(text: &str) -> String {
    match read(text) {
        Ok(_) => panic!("it was taken: {text}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn regions_give_delays_and_later_links_win() {
    let text = format!(
        "seed = 7\nregions = \"regions.toml\"\n[default]\ndelay_ms = 3\nrate_mbit = 10000\n{HOSTS}
[[links]]
between = [\"eu\", \"us-*\"]
jitter_ms = 0
[[links]]
from = \"us-2\"
to = \"eu-1\"
delay_ms = 20
"
    );
    let mut network = read(&text).expect("a network");
    // In tenths of a millisecond.
    assert_eq!(delay(&mut network, 0, 1), 450);
    assert_eq!(delay(&mut network, 1, 2), 85);
    assert_eq!(delay(&mut network, 0, 2), 530);
    assert_eq!(delay(&mut network, 2, 0), 280);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cases = [
        ("[default]\nloss = 1.5\n", "line 2", "loss = 1.5"),
        ("[default]\nlos = 0.5\n", "line 2", "los"),
        (
            "[hosts.x]\naddress = \"10.77.1.1\"\n",
            "wan.toml:1",
            "is that of eu-1",
        ),
        (
            "[hosts.X]\naddress = \"10.77.1.9\"\n",
            "wan.toml:1",
            "hosts.X",
        ),
        (
            "[hosts.x]\naddress = \"127.0.0.1\"\n",
            "wan.toml:1",
            "127.0.0.1",
        ),
        ("[hosts.x]\naddress = \"10.77.1\"\n", "line 2", "address"),
        ("[[links]]\nloss = 0\n", "wan.toml:1", "`between`"),
        (
            "\n[[links]]\nbetween = [\"eu\", \"mars\"]\n",
            "wan.toml:2",
            "mars",
        ),
        (
            "[[links]]\nbetween = [\"eu-1\", \"eu-1\"]\n",
            "wan.toml:1",
            "the same host",
        ),
    ];
    for (text, place, what) in cases {
        let error = wrong(&format!("{text}{HOSTS}"));
        assert!(
            error.contains(place) && error.contains(what),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_region_without_a_round_trip_is_named() {
    let text = format!(
        "regions = \"regions.toml\"\n{HOSTS}[hosts.m]\naddress = \"10.77.3.1\"\nregion = \"mars\"\n"
    );
    assert!(wrong(&text).contains("mars (m)"));
    let twice = parse_regions(
        "r.toml",
        "within_ms = 1\n[rtt_ms.a]\nb = 1\n[rtt_ms.b]\na = 1\n",
    );
    let error = format!("{:#}", twice.expect_err("twice"));
    assert!(error.starts_with("r.toml:5"), "{error}");
}
