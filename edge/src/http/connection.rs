//! One HTTP/1.1 connection: request after request, each part of them within its time.
//!
//! Heads are read by the shards' own reader. One that asks for the WebSocket, or that cannot be answered here, is not
//! taken: the connection goes back to a shard as it stands, which does with it as with a new one.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use chorus_protocol::backhaul::REST_BODY_BYTES_MAX;
use chorus_protocol::codes::ErrorCode;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::answer::{Answer, Manner, encode, problem};
use super::body::{Chunks, Flaw};
use super::metrics::count;
use super::places::{Place, Waits};
use super::request::Request;
use super::server::{Face, Shared};
use super::transport::Transport;
use crate::ws::handshake::{self, Handshake};
use crate::ws::head::Framing;

/// Room for one read.
const READ_BYTES: usize = 4 << 10;
/// From our end of a connection to the peer's: until then what it still sends is thrown away, because a reset could
/// overtake the last answer.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes thrown away so at the most.
const LINGER_BYTES_MAX: usize = 256 << 10;

/// Why no more is read.
enum Stop {
    /// There is nobody to answer, or nothing to say.
    Gone,
    /// The request that has begun is a shard's.
    Shard,
    /// The request that has begun gets this answer, the connection's last.
    Refuse(Answer),
    /// The same as bytes: a refused upgrade, on a port without a WebSocket.
    Refused(Vec<u8>),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        tracing::debug!(%error, "an HTTP connection failed");
        Self::Gone
    }
}

/// Why a read did not come about.
enum Unread {
    Ended,
    Evicted,
    Late,
}

/// What the connection goes on with after its last request.
enum Last {
    Gone,
    Shard,
    /// The last answer is sent.
    Linger,
}

/// A connection in the HTTP server.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    /// What was read and not yet dealt with.
    pub(super) read: BytesMut,
    pub(super) place: Place,
    /// Nothing was answered yet: the first request has no idle time before it.
    pub(super) fresh: bool,
    pub(super) face: Face,
    pub(super) shared: Arc<Shared>,
    /// Becomes true when the PoP ends.
    pub(super) ending: watch::Receiver<bool>,
}

impl<S: Transport> Connection<S> {
    /// Answers until the connection ends or is a WebSocket's.
    pub(super) async fn run(mut self) {
        match self.requests().await {
            Last::Gone => {}
            Last::Linger => self.linger().await,
            Last::Shard => match self.stream.into_handover(self.read.to_vec()) {
                Ok(handover) => self.shared.give_back(handover),
                Err(error) => tracing::debug!(%error, "a connection could not be given back"),
            },
        }
    }

    async fn requests(&mut self) -> Last {
        loop {
            let mut manner = Manner {
                head_only: false,
                keep_alive: false,
                is_1_1: true,
            };
            let answer = match self.request(&mut manner).await {
                Ok(answer) | Err(Stop::Refuse(answer)) => answer,
                Err(Stop::Gone) => return Last::Gone,
                Err(Stop::Shard) => return Last::Shard,
                Err(Stop::Refused(bytes)) => {
                    return match self.write(&bytes, &Bytes::new()).await {
                        Ok(()) => Last::Linger,
                        Err(_) => Last::Gone,
                    };
                }
            };
            count(&self.shared.metrics.requests);
            let (head, body) = encode(answer, manner);
            if self.write(&head, &body).await.is_err() {
                return Last::Gone;
            }
            if !manner.keep_alive {
                return Last::Linger;
            }
            self.fresh = false;
        }
    }

    /// Reads a request and finds its answer; `manner` stays the last answer's when the request is refused.
    async fn request(&mut self, manner: &mut Manner) -> Result<Answer, Stop> {
        let request = self.head().await?;
        manner.head_only = request.method == Method::HEAD;
        manner.is_1_1 = request.is_1_1;
        let body = self.body(&request).await?;
        self.place.waits(None);
        let answer = self.shared.answer(self.face, &request, body).await;
        manner.keep_alive =
            request.keep_alive && !self.shared.is_ending() && !*self.ending.borrow();
        Ok(answer)
    }

    async fn head(&mut self) -> Result<Request, Stop> {
        let bounds = &self.shared.bounds;
        let (idle, head) = (Instant::now() + bounds.idle(), bounds.head());
        let mut begun = self.fresh.then(|| Instant::now() + head);
        loop {
            // Some clients end a body with an empty line too many (RFC 9112 section 2.2).
            while self.read.starts_with(b"\r\n") {
                self.read.advance(2);
            }
            let is_idle = self.read.is_empty() && !self.fresh;
            if self.read.is_empty() {
                self.read = BytesMut::new();
            }
            if is_idle {
                self.place.waits(Some(Waits::Idle));
                begun = None;
            } else if !self.read.is_empty() {
                match handshake::look(&self.read, &self.shared.origins) {
                    Handshake::Incomplete => {}
                    Handshake::Other => {
                        return Request::take(&mut self.read).ok_or(Stop::Gone);
                    }
                    Handshake::Upgrade(_) | Handshake::Refuse { .. }
                        if self.face == Face::Public =>
                    {
                        return Err(Stop::Shard);
                    }
                    Handshake::Upgrade(_) => {
                        return Err(Stop::Refuse(self.shared.nothing_here()));
                    }
                    Handshake::Refuse { why, head_only } => {
                        let mut bytes = Vec::new();
                        why.write_answer(head_only, &mut bytes);
                        return Err(Stop::Refused(bytes));
                    }
                }
                if begun.is_none() {
                    self.place.waits(Some(Waits::Partial));
                }
            }
            let deadline = if is_idle {
                idle
            } else {
                *begun.get_or_insert_with(|| Instant::now() + head)
            };
            match self.fill(deadline).await? {
                Ok(()) => {}
                Err(Unread::Ended) => return Err(Stop::Gone),
                Err(Unread::Late) if is_idle => {
                    count(&self.shared.metrics.idle_timeouts);
                    return Err(Stop::Gone);
                }
                Err(Unread::Evicted) if is_idle => return Err(Stop::Gone),
                Err(Unread::Late) => {
                    count(&self.shared.metrics.head_timeouts);
                    return Err(Stop::Refuse(late("the head did not come in time")));
                }
                Err(Unread::Evicted) => return Err(Stop::Refuse(crowded())),
            }
        }
    }

    async fn body(&mut self, request: &Request) -> Result<Bytes, Stop> {
        let mut chunks = Chunks::new(REST_BODY_BYTES_MAX);
        let length = match request.framing {
            Framing::Length(0) => return Ok(Bytes::new()),
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > REST_BODY_BYTES_MAX {
                    return Err(Stop::Refuse(too_long()));
                }
                Some(length)
            }
            Framing::Chunked => None,
        };
        let deadline = Instant::now() + self.shared.bounds.body();
        let mut told = !request.expects;
        self.place.waits(Some(Waits::Partial));
        loop {
            match length {
                Some(length) if self.read.len() >= length => {
                    return Ok(self.read.split_to(length).freeze());
                }
                Some(_) => {}
                None => match chunks.take(&mut self.read) {
                    Ok(true) => return Ok(chunks.into_body().into()),
                    Ok(false) => {}
                    Err(Flaw::TooLong) => return Err(Stop::Refuse(too_long())),
                    Err(Flaw::Malformed) => {
                        return Err(Stop::Refuse(problem(
                            StatusCode::BAD_REQUEST,
                            ErrorCode::InvalidMessage,
                            "the body's chunks cannot be read",
                        )));
                    }
                },
            }
            if !std::mem::replace(&mut told, true) {
                let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
                self.write(go_on, &Bytes::new()).await?;
                self.place.waits(Some(Waits::Partial));
            }
            match self.fill(deadline).await? {
                Ok(()) => {}
                Err(Unread::Ended) => return Err(Stop::Gone),
                Err(Unread::Late) => {
                    count(&self.shared.metrics.body_timeouts);
                    return Err(Stop::Refuse(late("the body did not come in time")));
                }
                Err(Unread::Evicted) => return Err(Stop::Refuse(crowded())),
            }
        }
    }

    /// Reads once.
    async fn fill(&mut self, deadline: Instant) -> io::Result<Result<(), Unread>> {
        let idle = self.read.is_empty();
        if idle && *self.ending.borrow() {
            return Ok(Err(Unread::Ended));
        }
        self.read.reserve(READ_BYTES);
        tokio::select! {
            read = self.stream.read_buf(&mut self.read) => Ok(match read? {
                0 => Err(Unread::Ended),
                _ => Ok(()),
            }),
            () = self.place.evicted() => Ok(Err(Unread::Evicted)),
            () = sleep_until(deadline) => Ok(Err(Unread::Late)),
            _ = self.ending.changed(), if idle => Ok(Err(Unread::Ended)),
        }
    }

    /// Writes an answer to its last byte.
    async fn write(&mut self, head: &[u8], body: &[u8]) -> Result<(), Stop> {
        let deadline = Instant::now() + self.shared.bounds.answer();
        self.place.waits(Some(Waits::Answering));
        let stream = &mut self.stream;
        let all = async {
            stream.write_all(head).await?;
            stream.write_all(body).await?;
            stream.flush().await
        };
        tokio::select! {
            // An answer that the socket takes at once goes out, also that of a connection that made room.
            biased;
            written = all => Ok(written?),
            () = self.place.evicted() => Err(Stop::Gone),
            () = sleep_until(deadline) => {
                count(&self.shared.metrics.answer_timeouts);
                Err(Stop::Gone)
            }
        }
    }

    /// Ends our side and lets the peer end its.
    async fn linger(&mut self) {
        self.place.waits(Some(Waits::Idle));
        if !matches!(timeout(LINGER, self.stream.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        let mut left = LINGER_BYTES_MAX;
        let ended = async {
            let mut thrown = [0; READ_BYTES];
            while let Ok(count @ 1..) = self.stream.read(&mut thrown).await
                && left > count
            {
                left -= count;
            }
        };
        tokio::select! {
            _ = timeout(LINGER, ended) => {}
            // One that gave its place away has only the time that it takes to say so.
            () = self.place.evicted() => {}
        }
    }
}

fn late(detail: &str) -> Answer {
    problem(StatusCode::REQUEST_TIMEOUT, ErrorCode::Timeout, detail)
}

fn crowded() -> Answer {
    late("too slow for so many connections")
}

fn too_long() -> Answer {
    problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::TooLarge,
        "the body is too long",
    )
}
