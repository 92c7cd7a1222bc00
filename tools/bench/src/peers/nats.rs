//! nats-server: its WebSocket listener as a peer, and a bare publisher into a JetStream log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags};
use serde_json::Value;

use super::{Dialects, Peer, find_program, free_port, installed};
use crate::load::dialect::{Dialect, Ready};
use crate::sys::{now_ns, timespec};
use crate::ws;

/// Where the server's program is.
pub(crate) fn server_path() -> Option<PathBuf> {
    [
        PathBuf::from(".venv/bin/nats-server"),
        installed("nats/bin/nats-server"),
    ]
    .into_iter()
    .find(|own| own.is_file())
    .or_else(|| find_program("nats-server").ok())
}

/// Starts a server whose viewers subscribe by WebSocket and whose publisher speaks NATS.
pub(super) fn start_websocket() -> Result<(Peer, Dialects)> {
    let program = server_path();
    let program = program.context("nats-server is not installed (tools/bench/peers/install.sh)")?;
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
    command.arg("-c").arg(&conf).env("GOMAXPROCS", "1");
    let mut peer = Peer::start(command, files)?;
    peer.ready(client, 1)?;
    peer.ready(websocket, 1)?;
    let connect = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    let hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"lang\":\"bench\",\"version\":\"1\"}\r\nSUB bench 1\r\nPING\r\n";
    let dialects = Dialects {
        viewers: Dialect {
            hellos: vec![ws::client_frame(ws::BINARY, hello.as_bytes())],
            ready: Ready::Says(b"PONG"),
            ..Dialect::websocket(websocket, "/", &[])
        },
        publisher: Dialect::raw(client, connect.into()),
        publish: |text| format!("PUB bench {}\r\n{text}\r\n", text.len()).into_bytes(),
    };
    Ok((peer, dialects))
}

/// A NATS connection of a few lines, for making a log like another and publishing into it.
#[derive(Debug)]
pub(crate) struct Nats {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
    published: u64,
}

/// What the server sent for a subject.
struct Message {
    subject: String,
    payload: Vec<u8>,
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

    /// Asks and waits for the answer; one that tells an error is one.
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
            let Some(message) = self.next()?.filter(|said| said.subject == inbox) else {
                continue;
            };
            let answer: Value = serde_json::from_slice(&message.payload)?;
            return match answer.get("error") {
                Some(error) => bail!("nats-server refuses {subject}: {error}"),
                None => Ok(answer),
            };
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
                if let Some(Message { payload, .. }) = self.next()? {
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
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        match rustix::event::poll(&mut sockets, Some(&timespec(wait))) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What comes next; `None`: nothing that was asked for.
    fn next(&mut self) -> Result<Option<Message>> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        if read.context("waiting for nats-server")? == 0 {
            bail!("nats-server closed the connection");
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (subject, head, len) = match words.as_slice() {
            ["MSG", subject, .., len] => (subject, 0, len),
            ["HMSG", subject, .., head, len] => (subject, head.parse()?, len),
            ["PING"] => {
                self.socket.write_all(b"PONG\r\n")?;
                return Ok(None);
            }
            ["-ERR", ..] => bail!("nats-server: {}", line.trim()),
            _ => return Ok(None),
        };
        let len: usize = len.parse()?;
        let mut payload = vec![0; len + 2];
        self.reader.read_exact(&mut payload)?;
        Ok(Some(Message {
            subject: (*subject).to_owned(),
            payload: payload.get(head..len).unwrap_or_default().to_vec(),
        }))
    }
}
