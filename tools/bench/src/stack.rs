//! The Chorus under test: NATS and an origin by `chorus dev`, and PoPs of the bench's own beside its one, each with
//! the configuration its row needs.

pub(crate) mod jwt;
mod pop;
pub(crate) mod speech;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use toml::{Table, toml};

use crate::Options;
use crate::http;
use crate::load::dialect::Tls;
use crate::peers::{self, Nats};
use crate::sys;
use crate::sys::process::Process;

pub(crate) use pop::Pop;

/// The region of `chorus dev`.
const REGION: &str = "dev";
/// The longest NATS and an origin may take until they are ready.
const START_MAX: Duration = Duration::from_secs(60);
/// The longest they may take to end.
const END_MAX: Duration = Duration::from_secs(15);

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
    /// A gateway of the bench's own, so that its CPU is told from that of `persist` and `api`.
    gateway: Process,
    gateway_addr: SocketAddr,
    /// The log's process.
    pub(crate) nats: u32,
    nats_addr: SocketAddr,
    /// What CONNECT must carry besides, as JSON fields.
    nats_auth: String,
    pops: usize,
    bin_dir: PathBuf,
    _dev: Process,
    files: tempfile::TempDir,
}

impl Stack {
    /// Starts them and waits until they are ready.
    pub(crate) fn start(options: &Options, sync: Sync) -> Result<Self> {
        let bin_dir = options.bin_dir.clone();
        for binary in ["chorus", "chorus-edge", "chorus-origin"] {
            if !bin_dir.join(binary).is_file() {
                let dir = bin_dir.display();
                bail!("{binary} is not in {dir}: cargo build --release");
            }
        }
        let files = tempfile::Builder::new().prefix("chorus-bench").tempdir()?;
        let data = files.path().join("data");
        let mut command = Command::new(bin_dir.join("chorus"));
        command.args(["dev", "--listen", "127.0.0.1:0", "--exit-with-parent"]);
        command.arg("--data").arg(&data);
        command.arg("--sync").arg(match sync {
            Sync::ServerDefault => "server-default",
            Sync::Always => "always",
        });
        if let Some(nats) = peers::nats_server_path() {
            command.arg("--nats-server").arg(nats);
        }
        let log = files.path().join("dev.log");
        let mut dev = Process::logging(command, &log, sys::LOAD_CORE, END_MAX)?;
        let look = Duration::from_millis(50);
        let pids = dev.until(START_MAX, look, |_| ready(&data))?;
        for pid in pids {
            sys::pin(pid, sys::LOAD_CORE);
        }
        let origin = read(&data.join("origin.toml"))?;
        let url = origin["nats"]["url"].as_str().context("no nats.url")?;
        let rest = url.strip_prefix("nats://").context("nats.url")?;
        let (auth, addr) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, pass) = auth.split_once(':').unwrap_or_default();
        let (user, pass) = (Value::from(user), Value::from(pass));
        let gateway_addr = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Self {
            gateway: gateway(&bin_dir, files.path(), origin.clone(), gateway_addr)?,
            gateway_addr,
            nats: pids[0],
            nats_addr: addr.parse().context("nats.url")?,
            nats_auth: match auth {
                "" => String::new(),
                _ => format!(",\"user\":{user},\"pass\":{pass}"),
            },
            pops: 0,
            bin_dir,
            _dev: dev,
            files,
        })
    }

    /// The gateway's process.
    pub(crate) fn gateway(&self) -> u32 {
        self.gateway.pid()
    }

    /// A connection to the log's server.
    pub(crate) fn nats(&self) -> Result<Nats> {
        Nats::connect(self.nats_addr, &self.nats_auth)
    }

    /// Creates streams, by their first word in the control log.
    pub(crate) fn create_streams(&self, names: &[String]) -> Result<()> {
        let mut nats = self.nats()?;
        for name in names {
            let info = json!({
                "stream_id": name, "title": "bench", "broadcaster_id": "bench", "status": "live", "created_at_ms": 1
            });
            let subject = format!("control.{REGION}.{name}.stream");
            nats.request(&subject, &info.to_string())?;
        }
        Ok(())
    }

    /// Starts a PoP as wished, alone on the server's core; it takes tokens of these keys too.
    pub(crate) fn pop(&mut self, wish: Wish, keys: Vec<Table>) -> Result<Pop> {
        self.pops += 1;
        let addr = peers::free_port()?;
        let state = self.files.path().join(format!("pop{}", self.pops));
        fs::create_dir_all(&state)?;
        // One for all PoPs, of which one runs at a time: the session logic is compiled once.
        let compiled = self.files.path().join("compiled").display().to_string();
        let (listen, gateway) = (addr.to_string(), self.gateway_addr.to_string());
        let mut config = read(&self.files.path().join("data/edge.toml"))?;
        let tokens = config.get_mut("tokens");
        let known = tokens.and_then(|tokens| tokens.get_mut("keys")?.as_array_mut());
        known
            .into_iter()
            .for_each(|known| known.extend(keys.iter().cloned().map(Into::into)));
        merge(&mut config, raised());
        merge(
            &mut config,
            toml! {
                listen = listen
                shards = 1
                state_dir = compiled
                backhaul.gateways = [gateway]
                [limits]
                messages_per_s = 1_000
                messages_burst = 2_000
            },
        );
        if wish.unbatched {
            let unbatched = toml! {
                [batching]
                window_ms_max = 0
                window_hot_ms_max = 0
            };
            merge(&mut config, unbatched);
        }
        if wish.tls {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
            let (cert, key) = (state.join("cert.pem"), state.join("key.pem"));
            fs::write(&cert, made.cert.pem())?;
            fs::write(&key, made.signing_key.serialize_pem())?;
            let (cert, key) = (cert.display().to_string(), key.display().to_string());
            merge(&mut config, toml! { tls = { cert = cert, key = key } });
        }
        let path = state.join("edge.toml");
        fs::write(&path, toml::to_string(&config)?)?;
        let mut pop = Pop {
            addr,
            tls: wish.tls.then(Tls::new).transpose()?,
            pid: 0,
            own: Some(pop::Own {
                program: self.bin_dir.join("chorus-edge"),
                config: path,
                log: state.join("edge.log"),
                process: None,
            }),
            tokens_given: false,
            tokens: Vec::new(),
        };
        pop.restart()?;
        Ok(pop)
    }
}

/// The processes of NATS, origin and PoP, once `chorus dev` has started them and the PoP is ready.
fn ready(data: &Path) -> Option<[u32; 3]> {
    let pids: Value = serde_json::from_slice(&fs::read(data.join("pids.json")).ok()?).ok()?;
    let pid = |name: &str| u32::try_from(pids["pids"][name].as_u64()?).ok();
    let pids = [pid("nats")?, pid("origin")?, pid("edge")?];
    let edge = read(&data.join("edge.toml")).ok()?;
    let listen = edge.get("listen")?.as_str()?.parse().ok()?;
    http::ask(listen, None, "GET", "/readyz", "").ok()?;
    Some(pids)
}

/// Starts a gateway alone; it is ready when a PoP is.
fn gateway(bin_dir: &Path, files: &Path, mut config: Table, addr: SocketAddr) -> Result<Process> {
    let (listen, admin) = (addr.to_string(), peers::free_port()?.to_string());
    // It holds users to the limits that its PoPs have.
    merge(&mut config, raised());
    let alone = toml! {
        roles = ["gateway"]
        admin_listen = admin
        gateway.listen = listen
    };
    merge(&mut config, alone);
    let path = files.join("gateway.toml");
    fs::write(&path, toml::to_string(&config)?)?;
    let mut command = Command::new(bin_dir.join("chorus-origin"));
    command.arg("--config").arg(&path);
    command.args(["--exit-with-parent", "--log", "text"]);
    let log = files.join("gateway.log");
    Process::logging(command, &log, sys::LOAD_CORE, Duration::ZERO)
}

/// Limits stay on; many users post, and each has a raised bucket.
fn raised() -> Table {
    toml! {
        [limits]
        comments_per_minute = 60_000
        comments_per_stream_30s = 30_000
        reactions_per_minute = 1_000_000
    }
}

fn read(path: &Path) -> Result<Table> {
    Ok(toml::from_str(&fs::read_to_string(path)?)?)
}

/// Puts values over those of a configuration, tables into tables.
fn merge(config: &mut Table, over: Table) {
    for (key, value) in over {
        match (config.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(table)) => merge(into, table),
            (_, value) => drop(config.insert(key, value)),
        }
    }
}
