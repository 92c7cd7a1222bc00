//! The Chorus under test: NATS and an origin by `chorus dev`, and PoPs of the bench's own beside its one, each with
//! the configuration its row needs.

pub(crate) mod jwt;
mod pop;
pub(crate) mod speech;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use toml::Table;

use crate::Options;
use crate::http;
use crate::load::dialect::Tls;
use crate::peers::{self, Nats};
use crate::sys;

pub(crate) use pop::Pop;

/// Limits stay on; many users post, and each has a raised bucket.
const RAISED: [(&str, i64); 5] = [
    ("comments_per_minute", 60_000),
    ("comments_per_stream_30s", 30_000),
    ("reactions_per_minute", 1_000_000),
    ("messages_per_s", 1_000),
    ("messages_burst", 2_000),
];
/// The region of `chorus dev`.
const REGION: &str = "dev";
/// The longest NATS and an origin may take until they are ready.
const START_MAX: Duration = Duration::from_secs(60);

/// What a row wants of its PoP.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// One comment a frame.
    pub(crate) unbatched: bool,
    /// TLS 1.3.
    pub(crate) tls: bool,
}

/// When NATS syncs what it stores; the words of `chorus dev --sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Every two minutes.
    ServerDefault,
    /// Before it says that a message is stored.
    Always,
}

/// NATS and an origin; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Stack {
    child: Child,
    bin_dir: PathBuf,
    files: tempfile::TempDir,
    /// A gateway of the bench's own, so that its CPU is told from that of `persist` and `api`.
    gateway: Option<Child>,
    gateway_addr: SocketAddr,
    origin: u32,
    /// The log's process.
    pub(crate) nats: u32,
    nats_addr: SocketAddr,
    nats_auth: String,
    pops: usize,
}

#[derive(Deserialize)]
struct Pids {
    pids: PidList,
}

#[derive(Deserialize)]
struct PidList {
    nats: Option<u32>,
    origin: Option<u32>,
    edge: Option<u32>,
}

impl Stack {
    /// Starts them and waits until they are ready.
    pub(crate) fn start(options: &Options, sync: Sync) -> Result<Self> {
        for binary in ["chorus", "chorus-edge", "chorus-origin"] {
            if !options.bin_dir.join(binary).is_file() {
                bail!(
                    "{binary} is not in {}: cargo build --release",
                    options.bin_dir.display()
                );
            }
        }
        let files = tempfile::Builder::new().prefix("chorus-bench").tempdir()?;
        let data = files.path().join("data");
        let mut command = Command::new(options.bin_dir.join("chorus"));
        command
            .args([
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--exit-with-parent",
                "--data",
            ])
            .arg(&data)
            .arg("--sync")
            .arg(match sync {
                Sync::ServerDefault => "server-default",
                Sync::Always => "always",
            });
        if let Some(nats) = peers::nats_server_path() {
            command.arg("--nats-server").arg(nats);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(files.path().join("dev.log"))?)
            .spawn()
            .context("starting chorus dev")?;
        let mut stack = Self {
            child,
            bin_dir: options.bin_dir.clone(),
            files,
            gateway: None,
            gateway_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            origin: 0,
            nats: 0,
            nats_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            nats_auth: String::new(),
            pops: 0,
        };
        stack.wait(&data)?;
        stack.start_gateway(&data)?;
        Ok(stack)
    }

    fn wait(&mut self, data: &Path) -> Result<()> {
        let begun = Instant::now();
        let edge = loop {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.files.path().join("dev.log")).unwrap_or_default();
                bail!("chorus dev ended ({status}): {}", tail(&log));
            }
            if begun.elapsed() > START_MAX {
                bail!("chorus dev is not ready after {} s", START_MAX.as_secs());
            }
            let pids = fs::read(data.join("pids.json"))
                .ok()
                .and_then(|text| serde_json::from_slice::<Pids>(&text).ok());
            if let Some(Pids {
                pids:
                    PidList {
                        nats: Some(nats),
                        origin: Some(origin),
                        edge: Some(edge),
                    },
            }) = pids
            {
                (self.nats, self.origin) = (nats, origin);
                let config: Table = toml::from_str(&fs::read_to_string(data.join("edge.toml"))?)?;
                let listen = config
                    .get("listen")
                    .and_then(toml::Value::as_str)
                    .context("no listen")?;
                if http::ask(listen.parse()?, None, "GET", "/readyz", "").is_ok() {
                    break edge;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        for pid in [self.nats, self.origin, edge] {
            sys::pin(pid, sys::LOAD_CORE);
        }
        let origin: Table = toml::from_str(&fs::read_to_string(data.join("origin.toml"))?)?;
        let url = origin
            .get("nats")
            .and_then(|nats| nats.get("url"))
            .and_then(toml::Value::as_str)
            .context("no nats.url in origin.toml")?;
        let rest = url.strip_prefix("nats://").context("nats.url")?;
        let (auth, addr) = rest.rsplit_once('@').unwrap_or(("", rest));
        self.nats_addr = addr.parse().context("nats.url")?;
        if let Some((user, password)) = auth.split_once(':') {
            self.nats_auth = format!(
                ",\"user\":{},\"pass\":{}",
                Value::from(user),
                Value::from(password)
            );
        }
        Ok(())
    }

    /// Starts a gateway alone; it is ready when a PoP is.
    fn start_gateway(&mut self, data: &Path) -> Result<()> {
        let mut config: Table = toml::from_str(&fs::read_to_string(data.join("origin.toml"))?)?;
        self.gateway_addr = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        config.insert(
            "roles".to_owned(),
            toml::Value::Array(vec!["gateway".into()]),
        );
        config.insert(
            "admin_listen".to_owned(),
            peers::free_port()?.to_string().into(),
        );
        set(
            &mut config,
            "gateway",
            "listen",
            self.gateway_addr.to_string(),
        );
        // The gateway holds users to the limits that its PoPs have.
        let raised = RAISED
            .iter()
            .filter(|(name, _)| name.contains("_per_minute") || name.ends_with("_30s"));
        let limits: Table = raised
            .map(|&(name, value)| (name.to_owned(), value.into()))
            .collect();
        config.insert("limits".to_owned(), limits.into());
        let path = self.files.path().join("gateway.toml");
        fs::write(&path, toml::to_string(&config)?)?;
        let log = fs::File::create(self.files.path().join("gateway.log"))?;
        let child = Command::new(self.bin_dir.join("chorus-origin"))
            .arg("--config")
            .arg(&path)
            .args(["--exit-with-parent", "--log", "text"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting a gateway")?;
        sys::pin(child.id(), sys::LOAD_CORE);
        self.gateway = Some(child);
        Ok(())
    }

    /// The gateway's process.
    pub(crate) fn gateway(&self) -> u32 {
        self.gateway.as_ref().map_or(0, Child::id)
    }

    /// A connection to the log's server.
    pub(crate) fn nats(&self) -> Result<Nats> {
        Nats::connect(self.nats_addr, &self.nats_auth)
    }

    /// Creates streams, by their first word in the control log.
    pub(crate) fn create_streams(&self, names: &[String]) -> Result<()> {
        let mut nats = self.nats()?;
        for name in names {
            let info = serde_json::json!({
                "stream_id": name, "title": "bench", "broadcaster_id": "bench", "status": "live", "created_at_ms": 1
            });
            let answer = nats.request(
                &format!("control.{REGION}.{name}.stream"),
                &info.to_string(),
            )?;
            if let Some(error) = answer.get("error") {
                bail!("the control log refused a stream: {error}");
            }
        }
        Ok(())
    }

    /// The comment log's name.
    pub(crate) fn events_log() -> String {
        format!("EVENTS_{REGION}_0")
    }

    /// Starts a PoP as wished, alone on the server's core.
    pub(crate) fn pop(&mut self, wish: Wish) -> Result<Pop> {
        self.pop_with_keys(wish, &[])
    }

    /// The same, and it takes tokens of these keys too.
    pub(crate) fn pop_with_keys(&mut self, wish: Wish, keys: &[Table]) -> Result<Pop> {
        self.pops += 1;
        let data = self.files.path().join("data");
        let mut config: Table = toml::from_str(&fs::read_to_string(data.join("edge.toml"))?)?;
        let listen = peers::free_port()?;
        let state = self.files.path().join(format!("pop{}", self.pops));
        fs::create_dir_all(&state)?;
        config.insert("listen".to_owned(), listen.to_string().into());
        config.insert("shards".to_owned(), 1.into());
        // One for all PoPs, of which one runs at a time: the session logic is compiled once.
        let compiled = self.files.path().join("compiled");
        config.insert(
            "state_dir".to_owned(),
            compiled.display().to_string().into(),
        );
        let gateways = toml::Value::Array(vec![self.gateway_addr.to_string().into()]);
        set(&mut config, "backhaul", "gateways", gateways);
        for (name, value) in RAISED {
            set(&mut config, "limits", name, value);
        }
        let known = config
            .get_mut("tokens")
            .and_then(|tokens| tokens.get_mut("keys"));
        if let Some(known) = known.and_then(toml::Value::as_array_mut) {
            known.extend(keys.iter().cloned().map(toml::Value::from));
        }
        if wish.unbatched {
            set(&mut config, "batching", "window_ms_max", 0);
            set(&mut config, "batching", "window_hot_ms_max", 0);
        }
        if wish.tls {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
            let (cert, key) = (state.join("cert.pem"), state.join("key.pem"));
            fs::write(&cert, made.cert.pem())?;
            fs::write(&key, made.signing_key.serialize_pem())?;
            set(&mut config, "tls", "cert", cert.display().to_string());
            set(&mut config, "tls", "key", key.display().to_string());
        }
        let path = state.join("edge.toml");
        fs::write(&path, toml::to_string(&config)?)?;
        let mut pop = Pop {
            addr: listen,
            tls: wish.tls.then(Tls::new).transpose()?,
            pid: 0,
            own: Some(pop::Own {
                program: self.bin_dir.join("chorus-edge"),
                config: path,
                log: state.join("edge.log"),
                child: None,
            }),
            tokens_given: false,
            tokens: Vec::new(),
        };
        pop.restart()?;
        Ok(pop)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(mut gateway) = self.gateway.take() {
            let _ = gateway.kill();
            let _ = gateway.wait();
        }
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(15) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sets one value of a section.
fn set(config: &mut Table, section: &str, key: &str, value: impl Into<toml::Value>) {
    let mut table = match config.remove(section) {
        Some(toml::Value::Table(table)) => table,
        _ => Table::new(),
    };
    table.insert(key.to_owned(), value.into());
    config.insert(section.to_owned(), table.into());
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
