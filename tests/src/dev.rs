//! Runs the real `chorus dev`, with the real binaries and a real nats-server.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chorus_client::protocol::StreamId;
use chorus_client::{Endpoint, Options, Rest, Viewer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::SOON;
use crate::house;

/// Time until `chorus dev` prints its address; the PoP's first start compiles the component.
const START_MAX: Duration = Duration::from_secs(180);
/// Time from SIGINT to the end of `chorus dev`; each program has 10 s.
const STOP_MAX: Duration = Duration::from_secs(45);

/// A process of a running `chorus dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `chorus dev` itself.
    Chorus,
    /// `nats-server`.
    Nats,
    /// `chorus-origin`.
    Origin,
    /// `chorus-edge`.
    Edge,
}

impl Part {
    fn key(self) -> &'static str {
        match self {
            Self::Chorus => "chorus",
            Self::Nats => "nats",
            Self::Origin => "origin",
            Self::Edge => "edge",
        }
    }
}

/// A running `chorus dev`; dropping it stops it and removes its data, unless the test failed.
pub struct Dev {
    child: Child,
    args: Vec<String>,
    root: PathBuf,
    listen: SocketAddr,
}

impl Dev {
    /// Starts `chorus dev` with an empty data directory; `args` are its options.
    ///
    /// # Errors
    /// When it does not start; the error has its output.
    pub fn start(args: &[&str]) -> Result<Self> {
        Self::start_on(args, |_| Ok(()))
    }

    /// The same, after `prepare` was called with the path of the data directory, which does not exist yet.
    ///
    /// # Errors
    /// As [`Dev::start`], and errors of `prepare`.
    pub fn start_on(args: &[&str], prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let root = house::target()?
            .join("e2e")
            .join(format!("{}-{number}", std::process::id()));
        if root.exists() {
            fs::remove_dir_all(&root).context("cannot clear the test's directory")?;
        }
        fs::create_dir_all(&root).context("cannot make the test's directory")?;
        prepare(&root.join("data"))?;
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let child = spawn(&root, "127.0.0.1:0", &args)?;
        let mut dev = Self {
            child,
            args,
            root,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        dev.listen = dev.wait_up()?;
        Ok(dev)
    }

    /// An instance that all tests of a process share; it ends with the process.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Dev> = OnceLock::new();
        SHARED.get_or_init(|| match Self::start(&[]) {
            Ok(dev) => dev,
            Err(error) => panic!("{error:#}"),
        })
    }

    /// Starts it again with the same data and address, after all processes were killed or stopped.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        // Two instances on one directory are refused, so the old one must have ended.
        self.child.kill().context("cannot kill chorus dev")?;
        self.child.wait().context("cannot wait for chorus dev")?;
        self.child = spawn(&self.root, &self.listen.to_string(), &self.args)?;
        self.wait_up()?;
        Ok(())
    }

    /// `http://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The address that viewers connect to.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The endpoint that viewers connect to.
    ///
    /// # Errors
    /// Never for the addresses chosen here.
    pub fn endpoint(&self) -> Result<Endpoint> {
        Ok(Endpoint::parse(&self.url())?)
    }

    /// A client of the REST interface.
    ///
    /// # Errors
    /// Never for the addresses chosen here.
    pub fn rest(&self) -> Result<Rest> {
        Ok(Rest::new(&self.url())?)
    }

    /// The stream `demo`, which exists from the first start on.
    ///
    /// # Errors
    /// Never.
    pub fn demo(&self) -> Result<StreamId> {
        Ok(StreamId::new("demo")?)
    }

    /// The data directory of `chorus dev`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The HS256 secret that tokens are signed with, base64url.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn token_secret(&self) -> Result<String> {
        let secret = fs::read_to_string(self.data().join("secret")).context("no secret")?;
        Ok(secret.lines().next().context("an empty secret")?.to_owned())
    }

    /// A token from `POST /api/dev/token`; the role is `user`, `moderator` or `admin`.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn token(&self, username: &str, role: &str) -> Result<String> {
        let body = serde_json::json!({ "username": username, "role": role });
        let response = self.rest()?.post("/api/dev/token", &body).await?;
        let answer = response.json().with_context(|| response.text())?;
        match answer["token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => bail!("no token but {}: {answer}", response.status),
        }
    }

    /// Connects a viewer and joins a stream.
    ///
    /// # Errors
    /// When the join is not answered.
    pub async fn viewer(&self, stream: &StreamId, options: &Options) -> Result<Viewer> {
        let mut viewer = Viewer::connect(&self.endpoint()?, stream, options).await?;
        viewer.join_and_wait(None, SOON).await?;
        Ok(viewer)
    }

    /// Connects a viewer with its own token and joins `demo`.
    ///
    /// # Errors
    /// When the token or the join is refused.
    pub async fn writer(&self, username: &str, role: &str, options: Options) -> Result<Viewer> {
        let token = self.token(username, role).await?;
        self.viewer(&self.demo()?, &options.token(token)).await
    }

    /// The process id of a part, from `pids.json`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn pid(&self, part: Part) -> Result<u32> {
        let told = self.pids()?;
        let pid = told["pids"][part.key()]
            .as_u64()
            .context("no such part in pids.json")?;
        Ok(u32::try_from(pid)?)
    }

    /// The URL at which a part serves `/metrics` and health.
    ///
    /// # Errors
    /// When it is not in `pids.json`.
    pub fn part_url(&self, part: Part) -> Result<String> {
        let told = self.pids()?;
        Ok(told["urls"][part.key()]
            .as_str()
            .context("no such part in pids.json")?
            .to_owned())
    }

    /// The URL of another region's PoP, with `--regions`.
    ///
    /// # Errors
    /// When there is no such region.
    pub fn url_in(&self, region: &str) -> Result<String> {
        let told = self.pids()?;
        let url = told["urls"][format!("edge-{region}")].as_str();
        Ok(url.context("no such region in pids.json")?.to_owned())
    }

    /// Sends a signal to a part of another region.
    ///
    /// # Errors
    /// When its process does not exist.
    pub fn signal_in(&self, part: Part, region: &str, signal: Signal) -> Result<()> {
        let told = self.pids()?;
        let pid = told["pids"][format!("{}-{region}", part.key())].as_i64();
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.context("no such region in pids.json")?, signal)
            .with_context(|| format!("cannot signal {part:?} in {region}"))
    }

    fn pids(&self) -> Result<Value> {
        let text = fs::read(self.data().join("pids.json")).context("no pids.json")?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Sends a signal to a part.
    ///
    /// # Errors
    /// When its process does not exist.
    pub fn signal(&self, part: Part, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid(part)?)?).context("process 0")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {part:?}"))
    }

    /// Kills all processes with SIGKILL, as when the machine fails.
    ///
    /// # Errors
    /// When a process cannot be killed.
    pub fn kill_all(&mut self) -> Result<()> {
        let pids = [Part::Edge, Part::Origin, Part::Nats]
            .map(|part| self.pid(part))
            .into_iter()
            .collect::<Result<Vec<u32>>>()?;
        // First `chorus dev` itself, which would stop the others with SIGTERM.
        self.child.kill().context("cannot kill chorus dev")?;
        for &pid in &pids {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // The kernel may have killed it with its parent already.
                let _gone = kill_process(pid, Signal::KILL);
            }
        }
        self.child.wait().context("cannot wait for chorus dev")?;
        let deadline = Instant::now() + SOON;
        while pids.iter().any(|&pid| alive(pid)) {
            if Instant::now() > deadline {
                bail!("still alive after SIGKILL: {pids:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Stops it with SIGINT, as Ctrl-C does.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // An error means that it has ended by itself.
            let _gone = kill_process(pid, Signal::INT);
        }
        let deadline = Instant::now() + STOP_MAX;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .context("cannot wait for chorus dev")?
            {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "chorus dev did not stop within {} s\n{}",
                    STOP_MAX.as_secs(),
                    self.printed()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The output of `chorus dev` since its last start.
    #[must_use]
    pub fn printed(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.root.join(name)).unwrap_or_default();
        format!("{}{}", read("stdout"), read("stderr"))
    }

    /// A metric of a part: the sum over all series whose names begin with `series`; `None` when there is none. So a name
    /// without labels gives the sum over its labels.
    ///
    /// # Errors
    /// When the part does not answer.
    pub async fn metric(&self, part: Part, series: &str) -> Result<Option<f64>> {
        let metrics = Rest::new(&self.part_url(part)?)?
            .get("/metrics")
            .await?
            .text();
        let values: Vec<f64> = metrics
            .lines()
            .filter(|line| {
                line.strip_prefix(series)
                    .is_some_and(|rest| rest.starts_with([' ', '{']) || series.ends_with('}'))
            })
            .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
            .collect();
        Ok((!values.is_empty()).then(|| values.iter().sum()))
    }

    fn wait_up(&mut self) -> Result<SocketAddr> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let printed = self.printed();
            let told = printed
                .split_once("Chorus is at http://")
                .and_then(|(_, rest)| rest.split_once('/'));
            if let Some((address, _)) = told {
                return address
                    .parse()
                    .with_context(|| format!("no address: {address}"));
            }
            if let Some(status) = self
                .child
                .try_wait()
                .context("cannot wait for chorus dev")?
            {
                bail!("chorus dev ended at its start ({status})\n{printed}");
            }
            if Instant::now() > deadline {
                bail!(
                    "chorus dev is not up after {} s\n{printed}",
                    START_MAX.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
            // Its children end with it.
            let _killed = self
                .child
                .kill()
                .and_then(|()| self.child.wait().map(|_| ()));
        }
        if std::thread::panicking() {
            eprintln!(
                "kept for a look: {}\n{}",
                self.root.display(),
                self.printed()
            );
        } else {
            // A directory that cannot be removed is cleared by `make test`.
            let _left = fs::remove_dir_all(&self.root);
        }
    }
}

/// Whether a process exists and is not a zombie.
#[must_use]
pub fn alive(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !matches!(
            stat.rsplit_once(')').map(|(_, rest)| rest.trim_start()),
            Some(rest) if rest.starts_with('Z')
        ),
        Err(_) => false,
    }
}

fn spawn(root: &Path, listen: &str, args: &[String]) -> Result<Child> {
    let file =
        |name: &str| File::create(root.join(name)).context("cannot write to the test's directory");
    Command::new(house::binary("chorus")?)
        .args(["dev", "--exit-with-parent", "--listen", listen, "--data"])
        .arg(root.join("data"))
        .args(args)
        // `chorus dev` looks for the application and nats-server in the checkout; the target directory may be elsewhere.
        .current_dir(house::root()?)
        .stdin(Stdio::null())
        .stdout(file("stdout")?)
        .stderr(file("stderr")?)
        .spawn()
        .context("cannot start chorus dev")
}
