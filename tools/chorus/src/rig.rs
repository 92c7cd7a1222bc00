//! Three regions to do things to: `chorus dev` with `--regions 3`, in a network of `chorus wan` or on loopback.

mod nats;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chorus_client::protocol::StreamId;
use chorus_client::{Endpoint, Rest};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};

use crate::people::Pop;
use crate::wan;

pub(crate) use nats::Nats;

/// Of `chorus dev --regions 3`, in their order.
pub(crate) const REGIONS: [&str; 3] = ["eu", "us", "ap"];
/// The host of the network in which `chorus dev` and this program are.
const DESK: &str = "desk";
/// Until the network is ready, and until `chorus dev` is.
const WAN_START_MAX: Duration = Duration::from_secs(20);
const DEV_START_MAX: Duration = Duration::from_secs(240);
/// The metric of a gateway that counts its PoPs.
const POPS: &str = "chorus_origin_pops ";
/// From an interrupt to the end of `chorus dev`.
const STOP_MAX: Duration = Duration::from_secs(90);

/// A network of `chorus wan`; dropping it ends it.
pub(crate) struct Wan {
    /// Its name.
    pub(crate) name: String,
    process: Child,
}

impl Wan {
    /// Why there can be none here; `None` when there can.
    pub(crate) fn missing() -> Option<&'static str> {
        if !geteuid().is_root() {
            return Some("not root");
        }
        if !Path::new("/dev/net/tun").exists() {
            return Some("no /dev/net/tun");
        }
        let ip = Command::new("ip").args(["netns", "list"]).output();
        if !ip.is_ok_and(|output| output.status.success()) {
            return Some("no `ip netns`");
        }
        None
    }

    /// Starts the network of a file and moves the calling thread, and those that it starts from now on, to its host `desk`.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(file: &Path, name: &str) -> Result<Self> {
        let chorus = std::env::current_exe().context("cannot tell where this program is")?;
        let process = crate::supervised::command(&chorus, None)?
            .args(["wan", "run", "--name", name])
            .arg(file)
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start chorus wan")?;
        let mut wan = Self {
            name: name.to_owned(),
            process,
        };
        let deadline = Instant::now() + WAN_START_MAX;
        loop {
            if let Ok(desk) = wan::place(name, DESK)
                && wan::ask(name, &wan::Request::Stats).is_ok()
            {
                wan::enter(&desk.netns)?;
                return Ok(wan);
            }
            if let Some(status) = wan.process.try_wait()? {
                bail!(
                    "the network of {} ended at its start ({status})",
                    file.display()
                );
            }
            if Instant::now() > deadline {
                bail!("the network of {} does not start", file.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Cuts the links between two ends, both ways or only from the first to the second.
    ///
    /// # Errors
    /// When there are no such ends.
    pub(crate) fn cut(&self, from: &str, to: &str, one_way: bool) -> Result<()> {
        let ends = wan::Ends {
            from: from.to_owned(),
            to: Some(to.to_owned()),
            one_way,
        };
        wan::ask(&self.name, &wan::Request::Partition { ends })?;
        Ok(())
    }

    /// Heals every link.
    ///
    /// # Errors
    /// When the network does not answer.
    pub(crate) fn heal(&self) -> Result<()> {
        wan::ask(&self.name, &wan::Request::Heal { ends: None })?;
        Ok(())
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        end(&mut self.process, Signal::TERM, Duration::from_secs(10));
    }
}

/// How the regions are run.
pub(crate) struct Setup {
    pub(crate) data: PathBuf,
    /// nats-servers in each region.
    pub(crate) nodes: u8,
    /// Further options of `chorus dev`.
    pub(crate) options: Vec<String>,
}

/// Running regions; dropping it stops them.
pub(crate) struct Rig {
    process: Child,
    data: PathBuf,
    /// nats-servers in each region.
    pub(crate) nodes: u8,
    password: String,
}

impl Rig {
    /// Starts three regions with what `setup` says, and waits until they are ready.
    ///
    /// # Errors
    /// When they do not start; the error has what `chorus dev` printed.
    pub(crate) fn start(setup: &Setup, wan: Option<&Wan>) -> Result<Self> {
        fs::create_dir_all(&setup.data)
            .with_context(|| format!("cannot make {}", setup.data.display()))?;
        let printed = setup.data.with_extension("log");
        let output = File::create(&printed).context("cannot write the output of chorus dev")?;
        let errors = output.try_clone()?;
        let chorus = std::env::current_exe().context("cannot tell where this program is")?;
        let mut command: Command = crate::supervised::command(&chorus, None)?;
        command
            .args(["dev", "--exit-with-parent", "--regions", "3"])
            .args(["--listen", "127.0.0.1:0", "--on-exit", "restart"])
            .args(["--nodes", &setup.nodes.to_string(), "--data"])
            .arg(&setup.data)
            .args(&setup.options)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        if let Some(wan) = wan {
            command.args(["--wan", &wan.name]);
        }
        let process = command.spawn().context("cannot start chorus dev")?;
        let mut rig = Self {
            process,
            data: setup.data.clone(),
            nodes: setup.nodes,
            password: String::new(),
        };
        let deadline = Instant::now() + DEV_START_MAX;
        loop {
            let text = fs::read_to_string(&printed).unwrap_or_default();
            if text.contains("Chorus is at http://") {
                break;
            }
            if let Some(status) = rig.process.try_wait()? {
                bail!("chorus dev ended at its start ({status})\n{text}");
            }
            if Instant::now() > deadline {
                bail!("chorus dev is not up\n{text}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let secret = fs::read_to_string(rig.data.join("secret")).context("no secret")?;
        let password = secret.lines().nth(1).context("no password of NATS")?;
        rig.password = password.to_owned();
        Ok(rig)
    }

    /// The key in `pids.json` of a region's program: `edge`, `origin`, or `nats` with its number from 1.
    pub(crate) fn key(&self, program: &str, region: &str, node: Option<usize>) -> String {
        match node {
            Some(node) if self.nodes > 1 => format!("{program}-{region}-{node}"),
            _ if region == REGIONS[0] => program.to_owned(),
            _ => format!("{program}-{region}"),
        }
    }

    /// The keys of a region's programs.
    pub(crate) fn keys(&self, region: &str) -> Vec<String> {
        let nodes = 1..=usize::from(self.nodes);
        let mut keys: Vec<String> = nodes.map(|it| self.key("nats", region, Some(it))).collect();
        keys.push(self.key("origin", region, None));
        keys.push(self.key("edge", region, None));
        keys
    }

    fn pids(&self) -> Result<Value> {
        let text = fs::read(self.data.join("pids.json")).context("no pids.json")?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Sends a signal to a program.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn signal(&self, key: &str, signal: Signal) -> Result<()> {
        let pids = self.pids()?;
        let pid = pids["pids"][key]
            .as_i64()
            .and_then(|it| i32::try_from(it).ok());
        let pid = pid.and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("no {key} in pids.json"))?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {key}"))
    }

    /// The URL at which a program says how it is.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn url(&self, key: &str) -> Result<String> {
        let pids = self.pids()?;
        let url = pids["urls"][key].as_str();
        Ok(url
            .with_context(|| format!("no {key} in pids.json"))?
            .to_owned())
    }

    /// The PoP of each region.
    ///
    /// # Errors
    /// When they are not in `pids.json`.
    pub(crate) fn pops(&self) -> Result<Vec<Pop>> {
        let of = |region: &&str| {
            let url = self.url(&self.key("edge", region, None))?;
            Ok(Pop {
                name: (*region).to_owned(),
                endpoint: Endpoint::parse(&url)?,
                url,
            })
        };
        REGIONS.iter().map(of).collect()
    }

    /// Why a program is not ready or a PoP is not at its own region's gateway; `None` when all is well.
    pub(crate) async fn unready(&self) -> Option<String> {
        let mut keys = Vec::new();
        for region in REGIONS {
            keys.extend(self.keys(region));
        }
        for key in keys {
            let target = if key.starts_with("nats") {
                "/healthz"
            } else {
                "/readyz"
            };
            let asked =
                async { Ok::<_, anyhow::Error>(Rest::new(&self.url(&key)?)?.get(target).await?) };
            match tokio::time::timeout(Duration::from_secs(3), asked).await {
                Ok(Ok(answer)) if answer.status == 200 => {}
                Ok(Ok(answer)) => return Some(format!("{key}: {}", answer.text().trim())),
                Ok(Err(error)) => return Some(format!("{key}: {error:#}")),
                Err(_) => return Some(format!("{key}: no answer")),
            }
        }
        for region in REGIONS {
            let origin = self.key("origin", region, None);
            match self.pops_at(&origin).await {
                Ok(1) => {}
                Ok(pops) => return Some(format!("{origin}: {pops} PoPs instead of its own")),
                Err(error) => return Some(format!("{origin}: {error:#}")),
            }
        }
        None
    }

    /// How many PoPs are connected to a gateway.
    async fn pops_at(&self, origin: &str) -> Result<u64> {
        let metrics = Rest::new(&self.url(origin)?)?.get("/metrics").await?.text();
        let pops = metrics.lines().find_map(|line| line.strip_prefix(POPS));
        let pops = pops.with_context(|| format!("no metric {POPS}"))?;
        Ok(pops.trim().parse()?)
    }

    /// A client of a region's NATS, at a node that answers.
    ///
    /// # Errors
    /// When none does.
    pub(crate) async fn nats(&self, region: &str) -> Result<Nats> {
        let mut last = anyhow::anyhow!("no node");
        for node in 1..=usize::from(self.nodes) {
            let key = self.key("nats", region, Some(node));
            let opened = async {
                let varz = Rest::new(&self.url(&key)?)?.get("/varz").await?.json()?;
                let host = varz["host"].as_str().context("no host")?;
                let port = varz["port"].as_u64().context("no port")?;
                Nats::open(&format!("{host}:{port}"), &self.password).await
            };
            match tokio::time::timeout(Duration::from_secs(3), opened).await {
                Ok(Ok(nats)) => return Ok(nats),
                Ok(Err(error)) => last = error,
                Err(_) => last = anyhow::anyhow!("{key} does not answer"),
            }
        }
        Err(last)
    }

    /// The key of the node that leads a region's log of events.
    ///
    /// # Errors
    /// When there is no leader.
    pub(crate) async fn leader(&self, region: &str) -> Result<String> {
        if self.nodes == 1 {
            return Ok(self.key("nats", region, Some(1)));
        }
        let name = self
            .nats(region)
            .await?
            .leader(&format!("EVENTS_{region}_0"))
            .await?;
        let name = name.strip_prefix("chorus-").context("not one of ours")?;
        Ok(format!("nats-{name}"))
    }

    /// A token of the PoP's development mode.
    ///
    /// # Errors
    /// When it gives none.
    pub(crate) async fn token(pop: &Pop, username: &str) -> Result<String> {
        let body = json!({ "username": username, "role": "admin" });
        let answer = Rest::new(&pop.url)?.post("/api/dev/token", &body).await?;
        let token = answer.json().unwrap_or_default();
        let token = token["token"].as_str().with_context(|| {
            format!("{} gives no development tokens: {}", pop.url, answer.text())
        })?;
        Ok(token.to_owned())
    }

    /// Makes a stream at a PoP.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn stream(pop: &Pop, token: &str, title: &str) -> Result<StreamId> {
        let rest = Rest::new(&pop.url)?.token(token);
        let answer = rest
            .post("/api/streams", &json!({ "title": title }))
            .await?;
        let made = answer.json().with_context(|| answer.text())?;
        let id = made["stream_id"].as_str();
        let id = id.with_context(|| format!("no stream: {}", answer.text()))?;
        Ok(StreamId::new(id)?)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        end(&mut self.process, Signal::INT, STOP_MAX);
    }
}

/// Ends a process politely, or by force when that takes too long.
fn end(process: &mut Child, signal: Signal, within: Duration) {
    if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw)
        && matches!(process.try_wait(), Ok(None))
    {
        let _gone = kill_process(pid, signal);
    }
    let deadline = Instant::now() + within;
    while matches!(process.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            // What it started ends with it.
            let _gone = process.kill().and_then(|()| process.wait().map(|_| ()));
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
