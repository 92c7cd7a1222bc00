//! The lanes of one connection: a task each that turns bytes into events, and two that write.
//!
//! Every event names its connection, so that what a dead one said last is told apart.

use std::sync::Arc;

use bytes::Bytes;
use chorus_protocol::backhaul::{
    CloseCode, FrameError, Lane, Published, Request, Response, ToPop, read_frame, read_message,
    write_frame,
};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::frames::{Frames, LaneError};
use super::hub::{Ask, FromGateway, Generation};
use super::metrics::{Metrics, add};
use crate::panics;

/// Chunks written in one go.
const WRITE_CHUNKS_MAX: usize = 64;

/// Where a connection's tasks put what they read. The channel is bounded: lanes wait when it is full.
#[derive(Clone)]
pub(super) struct Sink {
    pub(super) generation: Generation,
    pub(super) events: mpsc::Sender<(Generation, FromGateway)>,
    pub(super) metrics: Arc<Metrics>,
}

impl Sink {
    async fn put(&self, event: FromGateway) {
        // Nobody listens any more when the process ends.
        let _ = self.events.send((self.generation, event)).await;
    }
}

/// Reads one of several messages; one of a later version is counted and passed over.
pub(super) fn known<'de, T: serde::Deserialize<'de>>(
    bytes: &'de [u8],
    metrics: &Metrics,
) -> Result<Option<T>, FrameError> {
    let message = read_message(bytes)?;
    add(&metrics.messages_unknown, u64::from(message.is_none()));
    Ok(message)
}

/// The error code of a close.
pub(super) fn code(code: CloseCode) -> VarInt {
    VarInt::from_u32(code as u32)
}

/// Starts the reading tasks. They end with the connection.
pub(super) fn start(
    connection: &Connection,
    control: Frames,
    posts: RecvStream,
    sink: &Sink,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(guard(
        connection.clone(),
        sink.clone(),
        read_control(control, sink.clone()),
    ));
    tasks.spawn(guard(
        connection.clone(),
        sink.clone(),
        read_posts(Frames::new(posts), sink.clone()),
    ));
    let datagrams = read_datagrams(connection.clone(), sink.clone());
    tasks.spawn(watch(connection.clone(), sink.clone(), datagrams));
    let lanes = accept(connection.clone(), sink.clone());
    tasks.spawn(watch(connection.clone(), sink.clone(), lanes));
}

/// A task of the connection.
pub(super) async fn watch(connection: Connection, sink: Sink, task: impl Future<Output = ()>) {
    // Whether it panicked is seen to.
    let _ = contain(connection, sink, task).await;
}

/// Ends the connection when `task` panics: a line that is deaf in one of its lanes is worse than a new one.
async fn contain<T>(
    connection: Connection,
    sink: Sink,
    task: impl Future<Output = T>,
) -> Option<T> {
    match panics::contained_future(task).await {
        Ok(done) => Some(done),
        Err(panic) => {
            add(&sink.metrics.panics, 1);
            tracing::error!(%panic, "a task of the line to the gateway panicked; connecting anew");
            connection.close(code(CloseCode::GoingAway), b"panic");
            None
        }
    }
}

/// Ends the connection when a lane cannot be read: whatever was meant, it did not arrive.
async fn guard(
    connection: Connection,
    sink: Sink,
    lane: impl Future<Output = Result<(), LaneError>>,
) {
    match contain(connection.clone(), sink.clone(), lane).await {
        None | Some(Ok(()) | Err(LaneError::Read(_))) => {}
        Some(Err(error @ (LaneError::Frame(_) | LaneError::Cut))) => {
            add(&sink.metrics.malformed, 1);
            tracing::error!(%error, "a lane of the gateway cannot be read; connecting anew");
            connection.close(code(CloseCode::Malformed), b"malformed");
        }
    }
}

async fn read_control(mut lane: Frames, sink: Sink) -> Result<(), LaneError> {
    let mut frames = Vec::new();
    while lane.read(&mut frames).await? {
        let messages: Result<Vec<ToPop>, _> = frames
            .drain(..)
            .filter_map(|frame| known(&frame, &sink.metrics).transpose())
            .collect();
        sink.put(FromGateway::Control(messages?)).await;
    }
    Ok(())
}

async fn read_posts(mut lane: Frames, sink: Sink) -> Result<(), LaneError> {
    let mut frames = Vec::new();
    while lane.read(&mut frames).await? {
        let messages: Result<Vec<Published>, _> =
            frames.drain(..).map(|frame| read_frame(&frame)).collect();
        sink.put(FromGateway::Published(messages?)).await;
    }
    Ok(())
}

async fn read_datagrams(connection: Connection, sink: Sink) {
    while let Ok(bytes) = connection.read_datagram().await {
        match known(&bytes, &sink.metrics) {
            Ok(Some(datagram)) => sink.put(FromGateway::Datagram(datagram)).await,
            Ok(None) => {}
            Err(error) => {
                add(&sink.metrics.malformed, 1);
                tracing::warn!(%error, "a datagram of the gateway cannot be read");
            }
        }
    }
}

/// Takes the lanes the gateway opens: the quiet one and those of busy streams.
async fn accept(connection: Connection, sink: Sink) {
    let mut lanes = JoinSet::new();
    while let Ok(lane) = connection.accept_uni().await {
        lanes.spawn(guard(
            connection.clone(),
            sink.clone(),
            read_deliveries(Frames::new(lane), sink.clone()),
        ));
        while lanes.try_join_next().is_some() {}
    }
}

async fn read_deliveries(mut lane: Frames, sink: Sink) -> Result<(), LaneError> {
    let mut frames = Vec::new();
    let Some(first) = lane.first(&mut frames).await? else {
        return Ok(());
    };
    // On a lane of its own the stream is the same for all, on the quiet lane each message names it.
    let own = match read_message(&first)? {
        Some(Lane::Deliveries { stream }) => Some(stream),
        Some(Lane::Quiet) => None,
        Some(Lane::Control | Lane::Posts | Lane::Request) => return Err(LaneError::Cut),
        None => {
            add(&sink.metrics.malformed, 1);
            tracing::warn!("a lane of the gateway is of a kind that is not known");
            lane.stop(code(CloseCode::Malformed));
            return Ok(());
        }
    };
    loop {
        if !frames.is_empty() {
            let messages = std::mem::take(&mut frames);
            sink.put(FromGateway::Delivered(own.clone(), messages))
                .await;
        }
        if !lane.read(&mut frames).await? {
            return Ok(());
        }
    }
}

/// Writes what comes down the channel, grouped. The channel is bounded by what feeds it: posts by
/// `posts_waiting_max`, control messages by the streams held.
pub(super) async fn write(mut lane: SendStream, mut chunks: mpsc::UnboundedReceiver<Bytes>) {
    let mut batch = Vec::new();
    while chunks.recv_many(&mut batch, WRITE_CHUNKS_MAX).await > 0 {
        if lane.write_all_chunks(&mut batch).await.is_err() {
            return;
        }
        batch.clear();
    }
}

/// Asks something on a lane of its own.
pub(super) async fn request(
    connection: &Connection,
    request: &Request,
    metrics: &Metrics,
) -> Option<Response> {
    let mut message = Vec::new();
    write_frame(&Lane::Request, &mut message).ok()?;
    write_frame(request, &mut message).ok()?;
    let (mut up, down) = connection.open_bi().await.ok()?;
    up.write_chunk(message.into()).await.ok()?;
    up.finish().ok()?;
    let mut rest = Vec::new();
    let answer = Frames::new(down).first(&mut rest).await.ok()??;
    known(&answer, metrics).ok()?
}

/// Asks for a replay and puts the answer where all events go.
pub(super) async fn ask(
    connection: Connection,
    ask: Ask,
    timeout: std::time::Duration,
    sink: Sink,
) {
    let question = Request::Replay {
        stream: ask.stream,
        range: ask.range,
    };
    let asked = request(&connection, &question, &sink.metrics);
    let answer = tokio::time::timeout(timeout, asked).await;
    let replayed = match answer {
        Ok(Some(Response::Replay(replayed))) => Some(replayed),
        Ok(Some(Response::Rest(_) | Response::Unavailable | Response::Pops(_)) | None) | Err(_) => {
            None
        }
    };
    let number = ask.number;
    sink.put(FromGateway::Asked { number, replayed }).await;
}
