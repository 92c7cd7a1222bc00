//! What goes in and what comes out: `wit/edge.wit` as plain Rust.

use chorus_protocol::{Encoding, Outcome, UserId};
use serde::{Deserialize, Serialize};

/// A viewer's connection, numbered by the host.
pub type ConnectionId = u64;
/// Something asked of the host, numbered by the session.
pub type RequestId = u64;
/// A topic's handle, numbered by the session.
pub type TopicId = u32;
/// Bytes the host keeps, numbered by the session.
pub type BlobId = u64;

/// By what a connection came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// A WebSocket.
    #[default]
    WebSocket,
    /// Server-sent events.
    Sse,
    /// One REST request.
    Rest,
}

/// Who a broadcast is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All members.
    Everyone,
    /// Those that joined as viewers.
    Viewers,
    /// Those that joined as moderators.
    Moderators,
}

/// A new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number.
    pub connection: ConnectionId,
    /// By what it came.
    pub transport: Transport,
    /// How it is spoken to.
    pub encoding: Encoding,
    /// The JWT it brought.
    pub token: Option<String>,
}

/// What the host tells the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A `SessionConfig` as JSON.
    Configured(Vec<u8>),
    /// A new connection.
    Opened(Opened),
    /// One whole message.
    Frame {
        /// Whose.
        connection: ConnectionId,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// The connection is gone.
    Closed(ConnectionId),
    /// The connection is too slow; the host closes it.
    Lagged(ConnectionId),
    /// A `Delivery` as MessagePack.
    Delivered {
        /// Of which topic.
        topic: TopicId,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// A `Control` as MessagePack.
    Control {
        /// Of which topic.
        topic: Option<TopicId>,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// A `Replayed` as MessagePack.
    Replayed {
        /// To which `Replay`.
        request: RequestId,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// How a publication came out.
    Published {
        /// Which `Publish`.
        request: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// Totals that changed.
    Counted {
        /// Of which topic.
        topic: TopicId,
        /// Running totals by type.
        reactions: Vec<(String, u64)>,
        /// Viewers at all PoPs.
        viewers: Option<u64>,
    },
    /// The time of `WakeAt` has come.
    Timer,
}

/// What the session asks of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A message to one connection: `head`, the blob's bytes, `tail`.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// The first bytes.
        head: Vec<u8>,
        /// What the host holds.
        blob: Option<BlobId>,
        /// The last bytes.
        tail: Vec<u8>,
        /// It may wait a moment for what else goes to this connection.
        patient: bool,
    },
    /// A message to all members of one encoding.
    Broadcast {
        /// Of which topic.
        topic: TopicId,
        /// To whom of them.
        audience: Audience,
        /// Of which encoding.
        encoding: Encoding,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// Hold these bytes.
    Keep {
        /// Under this number,
        blob: BlobId,
        /// these.
        data: Vec<u8>,
    },
    /// Hold them no longer.
    Forget(BlobId),
    /// Broadcasts of the topic go to this connection from now on.
    Join {
        /// Who.
        connection: ConnectionId,
        /// What.
        topic: TopicId,
        /// `Viewers` or `Moderators`.
        audience: Audience,
    },
    /// They do no longer.
    Leave {
        /// Who.
        connection: ConnectionId,
        /// What.
        topic: TopicId,
    },
    /// Write an event to the log.
    Publish {
        /// Comes back in `Published`.
        request: RequestId,
        /// Who is told the outcome.
        connection: ConnectionId,
        /// The body of a [`chorus_protocol::Event`].
        event: Vec<u8>,
    },
    /// What this shard adds.
    Count {
        /// To which topic.
        topic: TopicId,
        /// Reactions since the last time, of those whom no limit holds.
        reactions: Vec<(String, u64)>,
        /// And of the others.
        users: Vec<(UserId, Vec<(String, u64)>)>,
        /// Viewers as they are now, when that changed.
        viewers: Option<u64>,
    },
    /// Follow a topic; of one that is followed, say again how it stands.
    Subscribe {
        /// Its handle.
        topic: TopicId,
        /// Its name.
        name: String,
    },
    /// Follow it no longer.
    Unsubscribe(TopicId),
    /// Ask what the logs hold in a range.
    Replay {
        /// Comes back in `Replayed`.
        request: RequestId,
        /// Of which topic.
        topic: TopicId,
        /// A `ReplayRange` as MessagePack.
        range: Vec<u8>,
    },
    /// Close a connection.
    Close {
        /// Which.
        connection: ConnectionId,
        /// The close code.
        code: u16,
        /// For people.
        reason: String,
    },
    /// The one next `Timer`, in milliseconds since 1970.
    WakeAt(u64),
}
