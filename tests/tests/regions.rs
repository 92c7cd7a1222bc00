//! `chorus regions render`: its files under the real nats-server, its permissions under the real origin.
#![cfg(target_os = "linux")]

#[path = "regions/certificates.rs"]
mod certificates;
#[path = "regions/origin.rs"]
mod origin;
#[path = "regions/permissions.rs"]
mod permissions;
#[path = "regions/supercluster.rs"]
mod supercluster;
#[path = "regions/wan.rs"]
mod wan;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chorus_tests::house;

use supercluster::{place, render, small};

#[test]
fn nats_server_takes_every_file_and_a_second_rendering_changes_none() -> Result<()> {
    let (out, net) = place()?;
    let large = fs::read_to_string(house::root()?.join("deploy/regions.toml"))?;
    let installed = |line: &&str| line.starts_with("directory =") || line.starts_with("store =");
    // Used where they are rendered: `nats-server -t` looks for the certificates.
    let large: String = large
        .lines()
        .filter(|line| !installed(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    for (text, nodes) in [(large, 9), (small(&net)?, 3)] {
        render(&text, &out)?;
        let mut checked = 0;
        for entry in fs::read_dir(&out)? {
            let file = entry?.path().join("nats.conf");
            if file.exists() {
                let output = Command::new("nats-server")
                    .arg("-t")
                    .arg("-c")
                    .arg(&file)
                    .output()?;
                ensure!(output.status.success(), "{}: {output:?}", file.display());
                checked += 1;
            }
        }
        assert_eq!(checked, nodes);
        let again = render(&text, &out)?;
        assert!(
            again.contains(": 0 files changed, 0 certificates"),
            "{again}"
        );
        fs::remove_dir_all(&out)?;
    }
    Ok(())
}

#[test]
fn chorus_origin_takes_its_part_of_each_role() -> Result<()> {
    let (out, net) = place()?;
    render(&small(&net)?, &out)?;
    for role in ["origin", "gateway", "persist", "api"] {
        let text = fs::read_to_string(out.join(format!("eu-central/{role}.toml")))?;
        let whole = format!(
            "{text}[store]\nurl = \"sqlite:///x.db\"\n[gateway]\nca = \"c\"\ncert = \"c\"\nkey = \"k\"\n"
        );
        let config =
            chorus_origin::config::Config::try_new(&whole, None).with_context(|| text.clone())?;
        assert_eq!(config.region.as_str(), "eu-central");
        assert_eq!(config.roles.len(), if role == "origin" { 3 } else { 1 });
        assert_eq!(config.nats.workers, [0, 340]);
        assert_eq!(config.nats.peers.len(), 2);
        assert_eq!(config.nats.events_bytes_max, 100 * 650 * 86_400);
    }
    let moved = render(&small(&net)?.replace("us-east-1", "us-east-2"), &out)?;
    assert!(
        moved.contains("us-east-1/nats.conf is of no node"),
        "{moved}"
    );
    fs::remove_dir_all(&out)?;
    Ok(())
}
