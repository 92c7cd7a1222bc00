//! nats-server: its WebSocket listener as a peer, and a bare publisher into a JetStream log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags};
use rustix::time::Timespec;
use serde_json::Value;

use super::{Peer, Server, find_program, free_port, installed};
use crate::load::dialect::{Dialect, Ready};
use crate::sys::now_ns;
use crate::ws;

/// Its name in tables.
pub(super) const NAME: &str = "nats-server WebSocket";

/// Where the server's program is.
pub(crate) fn server_path() -> Option<PathBuf> {
    [
        PathBuf::from(".venv/bin/nats-server"),
        installed("nats/bin/nats-server"),
    ]
    .into_iter()
    .find(|own| own.is_file())
    .or_else(|| find_program("nats-server"))
}

/// Starts a server whose viewers subscribe by WebSocket and whose publisher speaks NATS.
pub(super) fn start_websocket() -> Result<Peer> {
    let program =
        server_path().context("nats-server is not installed (tools/bench/peers/install.sh)")?;
    let (client, websocket) = (free_port()?, free_port()?);
    let files = tempfile::tempdir()?;
    let conf = files.path().join("nats.conf");
    std::fs::write(
        &conf,
        format!(
            "listen: \"{client}\"\nmax_connections: 64000\nwebsocket {{ listen: \"{websocket}\", no_tls: true }}\n"
        ),
    )?;
    let mut command = Command::new(program);
    // One core is what every side gets.
    command
        .arg("-c")
        .arg(&conf)
        .env("GOMAXPROCS", "1")
        .stdout(Stdio::null());
    let mut server = Server::start(&mut command, Some(files))?;
    server.ready(client, 1)?;
    server.ready(websocket, 1)?;
    let hello = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"lang\":\"bench\",\"version\":\"1\"}\r\nSUB bench 1\r\nPING\r\n";
    let mut viewers = Dialect::websocket(websocket, "/", &[]);
    viewers.hello = Box::new(|_| ws::client_frame(ws::BINARY, hello));
    viewers.ready = Ready::Says(b"PONG");
    Ok(Peer {
        name: NAME,
        viewers: Some(viewers),
        publisher: Some(Dialect::raw(
            client,
            b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n".to_vec(),
        )),
        publish: |text| format!("PUB bench {}\r\n{text}\r\n", text.len()).into_bytes(),
        server,
    })
}

/// A NATS connection of a few lines, for making a log like another and publishing into it.
#[derive(Debug)]
pub(crate) struct Nats {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
    published: u64,
}

/// What the server said.
enum Said {
    Message { subject: String, payload: Vec<u8> },
    Other,
}

const INBOX: &str = "_INBOX.bench";
/// The longest one read or write may take, and one answer.
const WAIT_MAX: Duration = Duration::from_secs(5);

impl Nats {
    /// Connects; `auth` is what CONNECT must carry besides, as JSON fields.
    pub(crate) fn connect(addr: SocketAddr, auth: &str) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&addr, WAIT_MAX)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(WAIT_MAX))?;
        socket.set_write_timeout(Some(WAIT_MAX))?;
        let reader = BufReader::with_capacity(262_144, socket.try_clone()?);
        let mut nats = Self {
            socket,
            reader,
            published: 0,
        };
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true{auth}}}\r\n\
             SUB {INBOX}.> 1\r\nPING\r\n"
        );
        nats.socket.write_all(hello.as_bytes())?;
        Ok(nats)
    }

    /// Asks and waits for the answer.
    pub(crate) fn request(&mut self, subject: &str, payload: &str) -> Result<Value> {
        let inbox = format!("{INBOX}.ask");
        self.socket.write_all(
            format!("PUB {subject} {inbox} {}\r\n{payload}\r\n", payload.len()).as_bytes(),
        )?;
        let begun = Instant::now();
        loop {
            if begun.elapsed() > WAIT_MAX {
                bail!("nats-server did not answer {subject}");
            }
            if let Said::Message {
                subject: to,
                payload,
            } = self.next()?
                && to == inbox
            {
                return serde_json::from_slice(&payload).context("an answer that is no JSON");
            }
        }
    }

    /// Publishes `count` messages of `payload` with message ids at `per_s`, whatever is still unacknowledged, and waits
    /// for every acknowledgement.
    pub(crate) fn publish_all(
        &mut self,
        subject: &str,
        payload: &[u8],
        count: u64,
        per_s: u64,
    ) -> Result<()> {
        let start = now_ns();
        let (mut sent, mut acked) = (0, 0);
        while acked < count {
            let due = ((now_ns() - start) * per_s / 1_000_000_000 + 1).min(count);
            let mut block = Vec::new();
            while sent < due {
                self.published += 1;
                let header = format!("NATS/1.0\r\nNats-Msg-Id: b{}\r\n\r\n", self.published);
                let line = format!(
                    "HPUB {subject} {INBOX}.ack {} {}\r\n{header}",
                    header.len(),
                    header.len() + payload.len()
                );
                block.extend_from_slice(line.as_bytes());
                block.extend_from_slice(payload);
                block.extend_from_slice(b"\r\n");
                sent += 1;
            }
            self.socket.write_all(&block)?;
            // Until the next is due, or for ever so long when it was the last: `next` has a bound of its own.
            let wait = if sent < count {
                Duration::from_nanos(1_000_000_000 / per_s)
            } else {
                WAIT_MAX
            };
            if self.is_readable(wait)? {
                if let Said::Message { payload, .. } = self.next()? {
                    if memchr::memmem::find(&payload, b"\"error\"").is_some() {
                        bail!("the log refused: {}", String::from_utf8_lossy(&payload));
                    }
                    acked += 1;
                }
            } else if sent == count {
                bail!("the log acknowledged {acked} of {count} messages");
            }
        }
        Ok(())
    }

    /// Whether something has come, or comes within a while.
    fn is_readable(&self, wait: Duration) -> Result<bool> {
        if !self.reader.buffer().is_empty() {
            return Ok(true);
        }
        let wait = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        match rustix::event::poll(&mut sockets, Some(&wait)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn next(&mut self) -> Result<Said> {
        let mut line = String::new();
        let read = self
            .reader
            .read_line(&mut line)
            .context("waiting for nats-server")?;
        if read == 0 {
            bail!("nats-server closed the connection");
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["MSG", subject, .., len] => {
                let payload = self.payload(len.parse()?)?;
                Ok(Said::Message {
                    subject: (*subject).to_owned(),
                    payload,
                })
            }
            ["HMSG", subject, .., head, len] => {
                let all = self.payload(len.parse()?)?;
                let head: usize = head.parse()?;
                Ok(Said::Message {
                    subject: (*subject).to_owned(),
                    payload: all.get(head..).unwrap_or_default().to_vec(),
                })
            }
            ["PING"] => {
                self.socket.write_all(b"PONG\r\n")?;
                Ok(Said::Other)
            }
            ["-ERR", ..] => bail!("nats-server: {}", line.trim()),
            _ => Ok(Said::Other),
        }
    }

    fn payload(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut payload = vec![0; len + 2];
        self.reader.read_exact(&mut payload)?;
        payload.truncate(len);
        Ok(payload)
    }
}
