//! A client of NATS for the checker, which shares nothing with the one of the origin: it reads logs and asks who leads them.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Messages asked for at once.
const BATCH: u64 = 500;
const INBOX: &str = "_INBOX.chorus-checker";

/// A connection.
pub(crate) struct Nats {
    stream: BufReader<TcpStream>,
    asked: u64,
}

/// A message as it came.
struct Message {
    subject: String,
    headers: String,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| line.split_once(':').is_some_and(|(it, _)| it == name);
        let line = self.headers.lines().find(|line| of(line))?;
        Some(line.split_once(':')?.1.trim())
    }

    /// The status of an answer without a message: `NATS/1.0 204 EOB`.
    fn status(&self) -> Option<u16> {
        let mut words = self.headers.lines().next()?.split_whitespace();
        words.nth(1)?.parse().ok()
    }
}

impl Nats {
    /// Connects to `host:port` as the user of `chorus dev`.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn open(address: &str, password: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("no NATS at {address}"))?;
        let mut nats = Self {
            stream: BufReader::new(stream),
            asked: 0,
        };
        let options = json!({
            "user": "chorus", "pass": password, "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "lang": "rust", "version": "0", "name": "chorus-checker",
        });
        let text = format!("CONNECT {options}\r\nSUB {INBOX}.* 1\r\nPING\r\n");
        nats.stream.write_all(text.as_bytes()).await?;
        loop {
            let line = nats.line().await?;
            if line == "PONG" {
                return Ok(nats);
            }
            if let Some(why) = line.strip_prefix("-ERR") {
                bail!("NATS refuses: {why}");
            }
        }
    }

    /// The server that leads a log.
    ///
    /// # Errors
    /// When there is no such log or no leader.
    pub(crate) async fn leader(&mut self, log: &str) -> Result<String> {
        let answer = self.call(&format!("$JS.API.STREAM.INFO.{log}"), "").await?;
        let leader = answer["cluster"]["leader"].as_str();
        let leader = leader.with_context(|| format!("no leader of {log}: {answer}"))?;
        Ok(leader.to_owned())
    }

    /// Sequence and body of every event of a stream in a region's log, in its order.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn events(
        &mut self,
        region: &str,
        stream: &str,
    ) -> Result<Vec<(u64, Vec<u8>)>> {
        let subject = format!("event.{region}.*.{stream}");
        let asked = json!({ "subject": subject }).to_string();
        let answer = self.call("$JS.API.STREAM.NAMES", &asked).await?;
        let names = answer["streams"].as_array().cloned().unwrap_or_default();
        let own = format!("EVENTS_{region}_");
        let mut events = Vec::new();
        for log in names.iter().filter_map(Value::as_str) {
            if log.starts_with(&own) {
                self.read(log, &subject, &mut events).await?;
            }
        }
        Ok(events)
    }

    async fn read(
        &mut self,
        log: &str,
        subject: &str,
        events: &mut Vec<(u64, Vec<u8>)>,
    ) -> Result<()> {
        let mut next = 1;
        loop {
            let asked = json!({ "seq": next, "batch": BATCH, "next_by_subj": subject }).to_string();
            let inbox = self
                .ask(&format!("$JS.API.DIRECT.GET.{log}"), &asked)
                .await?;
            let mut read = 0;
            loop {
                let message = self.answer(&inbox).await?;
                match message.status() {
                    Some(204 | 404) => break,
                    Some(status) => bail!("{log} cannot be read: {status} {}", message.headers),
                    None => {}
                }
                let sequence = message.header("Nats-Sequence").context("no sequence")?;
                let sequence: u64 = sequence.parse().context("a sequence that is none")?;
                next = sequence + 1;
                read += 1;
                events.push((sequence, message.body));
            }
            if read < BATCH {
                return Ok(());
            }
        }
    }

    async fn call(&mut self, subject: &str, body: &str) -> Result<Value> {
        let inbox = self.ask(subject, body).await?;
        let message = self.answer(&inbox).await?;
        if message.status() == Some(503) {
            bail!("nobody answers {subject}");
        }
        Ok(serde_json::from_slice(&message.body)?)
    }

    async fn ask(&mut self, subject: &str, body: &str) -> Result<String> {
        self.asked += 1;
        let inbox = format!("{INBOX}.{}", self.asked);
        let text = format!("PUB {subject} {inbox} {}\r\n{body}\r\n", body.len());
        self.stream.write_all(text.as_bytes()).await?;
        Ok(inbox)
    }

    async fn answer(&mut self, inbox: &str) -> Result<Message> {
        loop {
            let message = self.message().await?;
            if message.subject == inbox {
                return Ok(message);
            }
        }
    }

    async fn message(&mut self) -> Result<Message> {
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |word: &str| word.parse::<usize>().context("a length that is none");
            let (subject, head, all) = match words.as_slice() {
                ["PING"] => {
                    self.stream.write_all(b"PONG\r\n").await?;
                    continue;
                }
                ["MSG", subject, .., all] => (*subject, 0, number(all)?),
                ["HMSG", subject, .., head, all] => (*subject, number(head)?, number(all)?),
                ["-ERR", ..] => bail!("NATS says {line}"),
                _ => continue,
            };
            let mut bytes = vec![0; all + 2];
            self.stream.read_exact(&mut bytes).await?;
            bytes.truncate(all);
            let body = bytes.split_off(head);
            return Ok(Message {
                subject: subject.to_owned(),
                headers: String::from_utf8_lossy(&bytes).into_owned(),
                body,
            });
        }
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            bail!("NATS closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}
