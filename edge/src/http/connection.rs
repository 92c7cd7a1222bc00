//! One HTTP/1.1 connection: serves its requests one after another, each part within its timeout.
//!
//! Heads are parsed with the same code as in the shards. A WebSocket handshake, valid or not, is not consumed: the connection
//! is given back to a shard with all its unread bytes, and the shard handles it like a new connection.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use chorus_protocol::backhaul::REST_BODY_BYTES_MAX;
use chorus_protocol::codes::ErrorCode;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::answer::{Answer, AnswerMode, encode, problem};
use super::body::{Chunks, Flaw};
use super::metrics::count;
use super::places::{Place, WaitsFor};
use super::request::Request;
use super::server::{Interface, Shared};
use super::transport::Transport;
use crate::ws::handshake::{self, Handshake};
use crate::ws::head::Framing;

/// Bytes reserved for one read.
const READ_BYTES: usize = 4 << 10;
/// Time that the peer has to end a connection after we did. Its bytes are read and dropped until then, because closing
/// would send a reset, which could overtake the last answer.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes dropped within [`LINGER`]; after them the connection is closed.
const LINGER_BYTES_MAX: usize = 256 << 10;

/// Why the requests of a connection end.
enum Stop {
    /// The connection ended or is to be closed without an answer.
    Gone,
    /// The next request is a WebSocket handshake, which a shard handles.
    Shard,
    /// The request is refused with this answer, the connection's last.
    Refuse(Answer),
    /// The same with an encoded answer: an upgrade refused at a port without a WebSocket.
    Refused(Vec<u8>),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        tracing::debug!(%error, "an HTTP connection failed");
        Self::Gone
    }
}

/// Why a read returned no bytes.
enum ReadFailure {
    Ended,
    Evicted,
    Late,
}

/// What is done with the connection after its last request.
enum AfterRequests {
    Gone,
    Shard,
    /// The last answer is sent: wait until the peer ends the connection.
    Linger,
}

/// A connection in the HTTP server.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    /// Bytes that were read and not yet handled.
    pub(super) read: BytesMut,
    pub(super) place: Place,
    /// No request was answered yet, so the timeout of the head runs already and not that of an idle connection.
    pub(super) is_first: bool,
    pub(super) interface: Interface,
    pub(super) shared: Arc<Shared>,
    /// Becomes `true` when the PoP ends.
    pub(super) ending: watch::Receiver<bool>,
}

impl<S: Transport> Connection<S> {
    /// Serves requests until the connection ends or is given back to a shard.
    pub(super) async fn run(mut self) {
        match self.requests().await {
            AfterRequests::Gone => {}
            AfterRequests::Linger => self.linger().await,
            AfterRequests::Shard => match self.stream.into_handover(self.read.to_vec()) {
                Ok(handover) => self.shared.give_back(handover),
                Err(error) => tracing::debug!(%error, "a connection could not be given back"),
            },
        }
    }

    async fn requests(&mut self) -> AfterRequests {
        loop {
            let mut mode = AnswerMode {
                head_only: false,
                keep_alive: false,
                is_1_1: true,
            };
            let answer = match self.request(&mut mode).await {
                Ok(answer) | Err(Stop::Refuse(answer)) => answer,
                Err(Stop::Gone) => return AfterRequests::Gone,
                Err(Stop::Shard) => return AfterRequests::Shard,
                Err(Stop::Refused(bytes)) => {
                    return match self.write(&bytes, &Bytes::new()).await {
                        Ok(()) => AfterRequests::Linger,
                        Err(_) => AfterRequests::Gone,
                    };
                }
            };
            count(&self.shared.metrics.requests);
            let (head, body) = encode(answer, mode);
            if self.write(&head, &body).await.is_err() {
                return AfterRequests::Gone;
            }
            if !mode.keep_alive {
                return AfterRequests::Linger;
            }
            self.is_first = false;
        }
    }

    /// Reads a request and makes its answer. `mode` says how to send it; for a refused request, that it is the last.
    async fn request(&mut self, mode: &mut AnswerMode) -> Result<Answer, Stop> {
        let request = self.head().await?;
        mode.head_only = request.method == Method::HEAD;
        mode.is_1_1 = request.is_1_1;
        let body = self.body(&request).await?;
        self.place.waits(None);
        let answer = self.shared.answer(self.interface, &request, body).await;
        mode.keep_alive = request.keep_alive && !self.shared.is_ending() && !*self.ending.borrow();
        Ok(answer)
    }

    async fn head(&mut self) -> Result<Request, Stop> {
        let bounds = &self.shared.bounds;
        let (idle, head) = (Instant::now() + bounds.idle(), bounds.head());
        let mut begun = self.is_first.then(|| Instant::now() + head);
        loop {
            // Some clients send an extra empty line after a body (RFC 9112 section 2.2).
            while self.read.starts_with(b"\r\n") {
                self.read.advance(2);
            }
            let is_idle = self.read.is_empty() && !self.is_first;
            if self.read.is_empty() {
                self.read = BytesMut::new();
            }
            if is_idle {
                self.place.waits(Some(WaitsFor::Idle));
                begun = None;
            } else if !self.read.is_empty() {
                match handshake::look(&self.read, &self.shared.origins) {
                    Handshake::Incomplete => {}
                    Handshake::Other => {
                        return Request::parse(&mut self.read).ok_or(Stop::Gone);
                    }
                    Handshake::Upgrade(_) | Handshake::Refuse { .. }
                        if self.interface == Interface::Public =>
                    {
                        return Err(Stop::Shard);
                    }
                    Handshake::Upgrade(_) => {
                        return Err(Stop::Refuse(self.shared.not_found()));
                    }
                    Handshake::Refuse { why, head_only } => {
                        let mut bytes = Vec::new();
                        why.write_answer(head_only, &mut bytes);
                        return Err(Stop::Refused(bytes));
                    }
                }
                if begun.is_none() {
                    self.place.waits(Some(WaitsFor::Partial));
                }
            }
            let deadline = if is_idle {
                idle
            } else {
                *begun.get_or_insert_with(|| Instant::now() + head)
            };
            match self.fill(deadline).await? {
                Ok(()) => {}
                Err(ReadFailure::Ended) => return Err(Stop::Gone),
                Err(ReadFailure::Late) if is_idle => {
                    count(&self.shared.metrics.idle_timeouts);
                    return Err(Stop::Gone);
                }
                Err(ReadFailure::Evicted) if is_idle => return Err(Stop::Gone),
                Err(ReadFailure::Late) => {
                    count(&self.shared.metrics.head_timeouts);
                    return Err(Stop::Refuse(late("the head did not come in time")));
                }
                Err(ReadFailure::Evicted) => return Err(Stop::Refuse(crowded())),
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
        self.place.waits(Some(WaitsFor::Partial));
        loop {
            match length {
                Some(length) if self.read.len() >= length => {
                    return Ok(self.read.split_to(length).freeze());
                }
                Some(_) => {}
                None => match chunks.decode(&mut self.read) {
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
                self.place.waits(Some(WaitsFor::Partial));
            }
            match self.fill(deadline).await? {
                Ok(()) => {}
                Err(ReadFailure::Ended) => return Err(Stop::Gone),
                Err(ReadFailure::Late) => {
                    count(&self.shared.metrics.body_timeouts);
                    return Err(Stop::Refuse(late("the body did not come in time")));
                }
                Err(ReadFailure::Evicted) => return Err(Stop::Refuse(crowded())),
            }
        }
    }

    /// Reads once, until `deadline`. An idle connection also ends when the PoP does.
    async fn fill(&mut self, deadline: Instant) -> io::Result<Result<(), ReadFailure>> {
        let idle = self.read.is_empty();
        if idle && *self.ending.borrow() {
            return Ok(Err(ReadFailure::Ended));
        }
        self.read.reserve(READ_BYTES);
        tokio::select! {
            read = self.stream.read_buf(&mut self.read) => Ok(match read? {
                0 => Err(ReadFailure::Ended),
                _ => Ok(()),
            }),
            () = self.place.evicted() => Ok(Err(ReadFailure::Evicted)),
            () = sleep_until(deadline) => Ok(Err(ReadFailure::Late)),
            _ = self.ending.changed(), if idle => Ok(Err(ReadFailure::Ended)),
        }
    }

    /// Writes an encoded answer, within the timeout.
    async fn write(&mut self, head: &[u8], body: &[u8]) -> Result<(), Stop> {
        let deadline = Instant::now() + self.shared.bounds.answer();
        self.place.waits(Some(WaitsFor::Answering));
        let stream = &mut self.stream;
        let all = async {
            stream.write_all(head).await?;
            stream.write_all(body).await?;
            stream.flush().await
        };
        tokio::select! {
            // An answer that the socket accepts at once is sent, even on a connection that lost its place.
            biased;
            written = all => Ok(written?),
            () = self.place.evicted() => Err(Stop::Gone),
            () = sleep_until(deadline) => {
                count(&self.shared.metrics.answer_timeouts);
                Err(Stop::Gone)
            }
        }
    }

    /// Ends our side of the connection and waits until the peer ends its side.
    async fn linger(&mut self) {
        self.place.waits(Some(WaitsFor::Idle));
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
            // A connection that lost its place does not wait.
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
