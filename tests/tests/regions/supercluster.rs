//! Three nats-servers on this machine, as `chorus regions render` configures them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions, Event};
use chorus_client::Rest;
use chorus_tests::{SOON, house};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The regions of `deploy/regions-small.toml`.
pub(crate) const REGIONS: [&str; 3] = ["eu-central", "us-east", "ap-southeast"];

/// A running supercluster; dropping it ends it. Its files stay for who looks why a test failed.
pub(crate) struct Supercluster {
    pub(crate) out: PathBuf,
    /// Before the region's number: `127.1.2.`.
    net: String,
    processes: Vec<Child>,
}

/// Runs `chorus regions render` on that text; what it said.
pub(crate) fn render(text: &str, out: &Path) -> Result<String> {
    fs::create_dir_all(out)?;
    let file = out.join("regions.toml");
    fs::write(&file, text)?;
    let output = Command::new(house::binary("chorus")?)
        .args(["regions", "render"])
        .arg(file)
        .arg("--out")
        .arg(out)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A directory of this test's own, and three addresses on loopback that no other test has.
pub(crate) fn place() -> Result<(PathBuf, String)> {
    static PLACES: AtomicU32 = AtomicU32::new(0);
    let number = PLACES.fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    let out = house::target()?.join(format!("e2e/regions-{pid}-{number}"));
    let net = format!(
        "127.{}.{}.",
        16 + pid / 250 % 200,
        (pid + 50 * number) % 250
    );
    Ok((out, net))
}

/// `deploy/regions-small.toml` at these addresses.
pub(crate) fn small(net: &str) -> Result<String> {
    let mut text = fs::read_to_string(house::root()?.join("deploy/regions-small.toml"))?;
    for number in 1..=REGIONS.len() {
        text = text.replace(&format!("127.{number}.0.1"), &format!("{net}{number}"));
    }
    Ok(text)
}

/// How a role of a region connects, with the certificates below `out`.
fn role_of(out: &Path, region: &str, role: &str) -> ConnectOptions {
    let own = out.join(region);
    let (certificate, key) = (format!("{role}.pem"), format!("{role}.key"));
    ConnectOptions::new()
        .add_root_certificates(own.join("ca.pem"))
        .add_client_certificate(own.join(certificate), own.join(key))
        .custom_inbox_prefix(format!("_INBOX.{role}.{region}"))
}

/// How the operator of a region connects.
pub(crate) fn operator(out: &Path, region: &str) -> ConnectOptions {
    role_of(out, region, "operator")
}

impl Supercluster {
    /// Renders, starts and waits until what is published in one region arrives in each.
    pub(crate) async fn start() -> Result<Self> {
        let (out, net) = place()?;
        render(&small(&net)?, &out)?;
        let mut this = Self {
            out,
            net,
            processes: Vec::new(),
        };
        for region in REGIONS {
            this.start_nats(&format!("{region}-1"))?;
        }
        let first = this.connect(REGIONS[0], "operator").await?.0;
        for region in REGIONS {
            let other = this.connect(region, "operator").await?.0;
            let mut heard = other.subscribe("test.hello").await?;
            let deadline = Instant::now() + SOON;
            loop {
                first.publish("test.hello", "hello".into()).await?;
                let soon = Duration::from_millis(100);
                if timeout(soon, heard.next()).await.is_ok() {
                    break;
                }
                ensure!(Instant::now() < deadline, "{region} hears no other region");
            }
        }
        Ok(this)
    }

    /// Ends it and removes its files.
    pub(crate) fn done(self) -> Result<()> {
        let out = self.out.clone();
        drop(self);
        Ok(fs::remove_dir_all(out)?)
    }

    /// Starts the nats-server whose directory has this name.
    pub(crate) fn start_nats(&mut self, node: &str) -> Result<()> {
        let directory = self.out.join(node);
        let mut command = house::supervised(Path::new("nats-server"))?;
        command.arg("-c").arg(directory.join("nats.conf"));
        self.run(command, &directory.join("log"))
    }

    /// Starts a program of ours with its log at `log`.
    pub(crate) fn run(&mut self, mut command: Command, log: &Path) -> Result<()> {
        let child = command
            .env("RUST_LOG", "info,async_nats=error")
            .current_dir(house::root()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}: see `make install`"))?;
        self.processes.push(child);
        Ok(())
    }

    /// Where everything of a region listens.
    pub(crate) fn address(&self, region: &str) -> String {
        let number = REGIONS.iter().position(|name| *name == region);
        format!("{}{}", self.net, number.map_or(0, |number| number + 1))
    }

    /// A role's connection in a region, and what nats-server refuses it.
    pub(crate) async fn connect(
        &self,
        region: &str,
        role: &str,
    ) -> Result<(Client, mpsc::UnboundedReceiver<String>)> {
        let (tell, refused) = mpsc::unbounded_channel();
        let options = role_of(&self.out, region, role).event_callback(move |event| {
            if let Event::ServerError(error) = event {
                let _ended = tell.send(error.to_string());
            }
            std::future::ready(())
        });
        let url = format!("tls://{}:4222", self.address(region));
        let client = options.retry_on_initial_connect().connect(url).await?;
        Ok((client, refused))
    }

    /// The regions that a region's nats-server has gateways to and from.
    pub(crate) async fn gateways(&self, region: &str) -> Result<BTreeSet<String>> {
        let monitor = Rest::new(&format!("http://{}:8222", self.address(region)))?;
        let answer = monitor.get("/gatewayz").await?.json()?;
        let names = |key: &str| answer[key].as_object().cloned().unwrap_or_default();
        let both = names("outbound_gateways")
            .into_iter()
            .chain(names("inbound_gateways"));
        Ok(both.map(|(name, _)| name).collect())
    }

    /// What a program wrote to its log below the directory of this name.
    pub(crate) fn log(&self, directory: &str, name: &str) -> String {
        fs::read_to_string(self.out.join(directory).join(name)).unwrap_or_default()
    }

    /// What the nats-servers refused.
    pub(crate) fn violations(&self) -> Vec<String> {
        let logs = REGIONS.map(|region| self.log(&format!("{region}-1"), "log"));
        let lines = logs.iter().flat_map(|log| log.lines());
        lines
            .filter(|line| line.contains("Violation"))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Supercluster {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().rev() {
            let _gone = child.kill().and_then(|()| child.wait());
        }
    }
}
