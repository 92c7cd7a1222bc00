//! What the programs say, and that nobody who stops listening stops them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use chorus_client::Rest;
use chorus_tests::{eventually, house};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The first start of a PoP compiles the component.
const START_MAX: Duration = Duration::from_secs(180);

/// A `chorus dev` whose standard output and error go where a test wants them.
struct Loose {
    child: Child,
    root: PathBuf,
}

impl Loose {
    fn spawn(name: &str, args: &[&str], stdout: Stdio, stderr: Stdio) -> Result<Self> {
        let root = house::target()?
            .join("e2e")
            .join(format!("{}-{name}", std::process::id()));
        fs::create_dir_all(&root)?;
        let child = Command::new(house::binary("chorus")?)
            .args(["dev", "--exit-with-parent", "--data"])
            .arg(root.join("data"))
            .args(args)
            .current_dir(house::root()?)
            // Enough lines to fill any pipe, without those of the compiler.
            .env("RUST_LOG", "info,quinn=trace,quinn_proto=trace,hyper=trace")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()?;
        Ok(Self { child, root })
    }

    fn told(&self) -> Option<Value> {
        let text = fs::read(self.root.join("data/pids.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Waits until the PoP is ready; its address and the origin's.
    async fn up(&self) -> Result<(Rest, Rest)> {
        eventually("the PoP is ready", START_MAX, || async {
            let told = self.told()?;
            let rest = |part: &str| Rest::new(told["urls"][part].as_str()?).ok();
            let (edge, origin) = (rest("edge")?, rest("origin")?);
            let ready = edge.get("/readyz").await.ok()?;
            (ready.status == 200).then_some((edge, origin))
        })
        .await
    }

    fn interrupt(&mut self) -> Result<ExitStatus> {
        signal(self.child.id(), Signal::INT)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Loose {
    fn drop(&mut self) {
        // Where the test has failed it still runs; its children go with it.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if !std::thread::panicking() {
            let _left = fs::remove_dir_all(&self.root);
        }
    }
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("process 0")?;
    kill_process(pid, signal).context("cannot signal")
}

async fn works(pop: &Rest) -> Result<()> {
    let ada = serde_json::json!({ "username": "ada", "role": "user" });
    let token = pop.post("/api/dev/token", &ada).await?;
    assert_eq!(token.status, 200, "{}", token.text());
    let history = pop.get("/api/streams/demo/comments").await?;
    assert_eq!(history.status, 200, "{}", history.text());
    Ok(())
}

async fn lines_lost(of: &Rest, name: &str) -> Result<f64> {
    let text = of.get("/metrics").await?.text();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .with_context(|| format!("no {name} in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_output_and_error_on_a_full_disk_everything_runs() -> Result<()> {
    let full = || File::options().write(true).open("/dev/full");
    let args = ["--verbose", "--listen", "127.0.0.1:0"];
    let mut dev = Loose::spawn("full", &args, full()?.into(), full()?.into())?;
    let (pop, origin) = dev.up().await?;
    works(&pop).await?;
    assert!(lines_lost(&pop, "chorus_edge_log_lines_lost_total").await? > 0.0);
    assert!(lines_lost(&origin, "chorus_origin_log_lines_lost").await? > 0.0);
    assert!(dev.interrupt()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_logs_that_has_stopped_stops_nobody() -> Result<()> {
    let args = ["--verbose", "--listen", "127.0.0.1:0"];
    let mut dev = Loose::spawn("stalled", &args, Stdio::piped(), Stdio::piped())?;
    // Nobody reads standard error; standard output has no reader at all.
    let _stalled = dev.child.stderr.take();
    drop(dev.child.stdout.take());
    let (pop, _) = dev.up().await?;
    // A pipe holds 64 KiB: by now each program has had more than that to say.
    for _ in 0..20 {
        works(&pop).await?;
    }
    assert!(dev.interrupt()?.success());
    Ok(())
}

/// Reads what `chorus dev` prints once it is up.
fn how_to(from: &mut impl BufRead) -> Result<String> {
    let mut printed = String::new();
    while !printed.contains("Ctrl-C stops everything") {
        anyhow::ensure!(from.read_line(&mut printed)? > 0, "it ended: {printed}");
    }
    Ok(printed)
}

/// What stands behind a label of the how-to.
fn printed_command<'a>(how_to: &'a str, label: &str) -> Result<&'a str> {
    how_to
        .lines()
        .find_map(|line| line.trim().strip_prefix(label)?.strip_prefix("  "))
        .map(str::trim)
        .with_context(|| format!("no {label} in {how_to}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_runs_as_it_is_printed_and_ctrl_c_ends_a_load_with_its_report() -> Result<()>
{
    let args = ["--listen", "localhost:0"];
    let mut dev = Loose::spawn("printed", &args, Stdio::piped(), Stdio::inherit())?;
    let out = dev.child.stdout.take().context("no output")?;
    let mut out = BufReader::new(out);
    let printed = how_to(&mut out)?;
    let root = house::root()?;
    for label in ["A token", "History", "Metrics"] {
        let command = printed_command(&printed, label)?;
        let ran = shell(&root, command).output()?;
        assert!(ran.status.success(), "{command}: {ran:?}");
        let answer = String::from_utf8_lossy(&ran.stdout);
        assert!(
            !answer.contains("\"status\":") && !answer.is_empty(),
            "{command}: {answer}"
        );
    }

    let command = printed_command(&printed, "Load")?;
    let mut load = shell(&root, &format!("exec {command}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut said = BufReader::new(load.stdout.take().context("no output")?);
    let mut first = String::new();
    while !first.contains("posted") {
        anyhow::ensure!(said.read_line(&mut first)? > 0, "it ended: {first}");
    }
    signal(load.id(), Signal::INT)?;
    let mut report = String::new();
    said.read_to_string(&mut report)?;
    assert_eq!(load.wait()?.code(), Some(130), "{report}");
    for part in [
        "interrupted",
        "post → durable        p50",
        "0 missing, 0 repeated",
    ] {
        assert!(report.contains(part), "no `{part}` in {report}");
    }

    // What goes to a file has no colours, whatever program wrote it.
    let logs = dev.root.join("data/logs");
    for log in fs::read_dir(&logs)? {
        let path = log?.path();
        let text = fs::read(&path)?;
        assert!(!text.contains(&0x1b), "{} has ANSI codes", path.display());
    }
    assert!(dev.interrupt()?.success());
    Ok(())
}

fn shell(root: &Path, command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(root);
    shell
}

#[test]
fn a_load_whose_report_cannot_be_written_says_so() -> Result<()> {
    // There is nobody to measure: the error is one of connecting, and no panic.
    let full = || File::options().write(true).open("/dev/full");
    let status = Command::new(house::binary("chorus")?)
        .args(["load", "--url", "http://127.0.0.1:1"])
        .stdout(full()?)
        .stderr(full()?)
        .status()?;
    assert_eq!(status.code(), Some(1));
    Ok(())
}
