//! `chorus dev` itself: what it says when something is wrong, and that it leaves nothing behind.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use chorus_client::{Options, Rest};
use chorus_tests::dev::{Dev, Part, alive};
use chorus_tests::{SOON, eventually, history, house};
use rustix::process::Signal;

const PARTS: [Part; 4] = [Part::Chorus, Part::Nats, Part::Origin, Part::Edge];

fn data(name: &str) -> Result<PathBuf> {
    let path = house::target()?
        .join("e2e")
        .join(format!("{}-{name}", std::process::id()));
    fs::create_dir_all(&path)?;
    Ok(path.join("data"))
}

/// Runs a `chorus dev` that is to fail.
fn fails(args: &[&str]) -> Result<Output> {
    let output = Command::new(house::binary("chorus")?)
        .arg("dev")
        .args(args)
        .output()?;
    assert!(!output.status.success(), "{output:?}");
    Ok(output)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn pids(dev: &Dev) -> Result<Vec<u32>> {
    PARTS.iter().map(|&part| dev.pid(part)).collect()
}

async fn all_gone(pids: &[u32]) -> Result<()> {
    eventually("every process is gone", SOON, || async {
        let left: Vec<_> = pids.iter().filter(|&&pid| alive(pid)).collect();
        left.is_empty().then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_said_before_anything_starts() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let path = data("in-use")?;
    let output = fails(&["--listen", &address, "--data", &path.display().to_string()])?;
    assert!(
        said(&output).contains(&address) && said(&output).contains("--listen"),
        "{}",
        said(&output)
    );
    assert!(!path.exists(), "nothing was made");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_nats_server_names_the_one_command_that_installs_it() -> Result<()> {
    let path = data("no-nats")?;
    // A copy without a checkout around it, and nothing in PATH.
    let bin = path.parent().context("a parent")?.join("bin");
    fs::create_dir_all(&bin)?;
    for name in ["chorus", "chorus-edge", "chorus-origin"] {
        fs::copy(house::binary(name)?, bin.join(name))?;
    }
    let outside = std::env::temp_dir().join(format!("chorus-no-nats-{}", std::process::id()));
    fs::rename(&bin, &outside).or_else(|_| copy_directory(&bin, &outside))?;
    let app = house::root()?.join("spin.toml");
    let output = Command::new(outside.join("chorus"))
        .args([
            "dev",
            "--listen",
            "127.0.0.1:0",
            "--data",
            &path.display().to_string(),
            "--app",
        ])
        .arg(app)
        .current_dir("/")
        .env("PATH", "/nowhere")
        .output()?;
    fs::remove_dir_all(&outside)?;
    assert!(!output.status.success());
    assert!(
        said(&output).contains("nats-server") && said(&output).contains("make install"),
        "{}",
        said(&output)
    );
    Ok(())
}

fn copy_directory(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_on_an_interrupt_and_leaves_nothing_but_its_data() -> Result<()> {
    let mut dev = Dev::start(&[])?;
    let mut ada = dev.writer("ada-stops", "user", Options::default()).await?;
    let id = ada.post_durable("kept", SOON).await?;
    let pids = pids(&dev)?;
    let second = fails(&[
        "--listen",
        "127.0.0.1:0",
        "--data",
        &dev.data().display().to_string(),
    ])?;
    assert!(
        said(&second).contains("another `chorus dev`"),
        "{}",
        said(&second)
    );

    assert!(dev.stop()?.success(), "{}", dev.printed());
    all_gone(&pids).await?;
    assert!(!dev.data().join("pids.json").exists());

    // The data survives a restart, and not a reset.
    dev.restart()?;
    assert!(
        history::whole(&dev.rest()?, &dev.demo()?)
            .await?
            .contains_key(&id)
    );
    assert!(dev.stop()?.success());
    let notes = dev.data().join("notes-of-mine");
    fs::write(&notes, "x")?;
    let reset = Command::new(house::binary("chorus")?)
        .args([
            "dev",
            "--reset",
            "--listen",
            &dev.listen().to_string(),
            "--data",
        ])
        .arg(dev.data())
        .args(["--", "sh", "-c", "echo \"history: $CHORUS_URL\"; exit 3"])
        .output()?;
    assert_eq!(
        reset.status.code(),
        Some(3),
        "the command's exit code: {reset:?}"
    );
    assert!(String::from_utf8_lossy(&reset.stdout).contains(&format!("history: {}", dev.url())));
    assert!(
        notes.exists(),
        "a reset clears what chorus made and nothing else"
    );
    dev.restart()?;
    assert!(history::whole(&dev.rest()?, &dev.demo()?).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sync_always_the_log_syncs_each_comment_and_it_is_said() -> Result<()> {
    let dev = Dev::start(&["--sync", "always"])?;
    let mut ada = dev.writer("ada-syncs", "user", Options::default()).await?;
    ada.post_durable("on the disk", SOON).await?;
    let nats = Rest::new(&dev.part_url(Part::Nats)?)?.get("/jsz").await?;
    let nats: serde_json::Value = serde_json::from_str(&nats.text())?;
    assert_eq!(nats["config"]["sync_always"], true, "{nats}");
    assert!(
        dev.printed().contains("and a loss of power"),
        "{}",
        dev.printed()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_it_takes_its_children_with_it() -> Result<()> {
    let dev = Dev::start(&[])?;
    let pids = pids(&dev)?;
    dev.signal(Part::Chorus, Signal::KILL)?;
    all_gone(&pids).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_dies_is_named_and_everything_stops() -> Result<()> {
    for part in [Part::Nats, Part::Origin, Part::Edge] {
        let dev = Dev::start(&[])?;
        let pids = pids(&dev)?;
        dev.signal(part, Signal::KILL)?;
        all_gone(&pids).await?;
        let name = match part {
            Part::Nats => "nats-server",
            Part::Origin => "chorus-origin",
            Part::Edge | Part::Chorus => "chorus-edge",
        };
        assert!(
            dev.printed().contains(&format!("{name} ended by itself")),
            "{}",
            dev.printed()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_makes_no_sense_is_refused_with_its_key() -> Result<()> {
    let path = data("bad-value")?.display().to_string();
    let bad = [
        "limits.no_such_limit=1",
        "listen.deeper=1",
        "nonsense",
        // A wrong type.
        "limits.comments_per_minute=many",
        "queues.viewer_bytes_max=true",
        "drain_s=-1",
        "shards=two",
    ];
    for assignment in bad {
        let output = fails(&[
            "--listen",
            "127.0.0.1:0",
            "--data",
            &path,
            "--edge-set",
            assignment,
        ])?;
        let key = assignment
            .split(['=', '.'])
            .nth(usize::from(assignment.contains('.')))
            .unwrap_or_default();
        assert!(
            said(&output).contains(key),
            "{assignment}: {}",
            said(&output)
        );
    }
    for shards in ["0", "17", "two"] {
        let output = fails(&["--data", &path, "--shards", shards])?;
        assert!(said(&output).contains("--shards"), "{}", said(&output));
    }
    let nowhere = fails(&["--data", &path, "--listen", "8090"])?;
    assert!(
        said(&nowhere).contains("localhost:8080"),
        "{}",
        said(&nowhere)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn load_measures_a_running_pop_and_fails_when_there_is_none() -> Result<()> {
    let dev = Dev::start(&[])?;
    let chorus = house::binary("chorus")?;
    let url = dev.url();
    let load = tokio::process::Command::new(&chorus)
        .args([
            "load",
            "--url",
            &url,
            "--viewers",
            "50",
            "--rate",
            "40",
            "--seconds",
            "3",
            "--encoding",
            "both",
        ])
        .output()
        .await?;
    let printed = String::from_utf8_lossy(&load.stdout);
    assert!(load.status.success(), "{printed}\n{}", said(&load));
    assert!(printed.contains("post → other viewer   p50"), "{printed}");
    assert!(
        printed.contains("6000 seen, 0 missing, 0 repeated"),
        "{printed}"
    );
    drop(dev);
    let nobody = tokio::process::Command::new(&chorus)
        .args(["load", "--url", &url])
        .output()
        .await?;
    assert!(!nobody.status.success());
    Ok(())
}
