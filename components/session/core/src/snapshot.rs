//! Everything a session knows, as MessagePack with named fields: a neighbouring version passes over what it does
//! not know and fills in what is missing.

use std::collections::{BTreeMap, VecDeque};

use chorus_protocol::rate::UserUses;
use chorus_protocol::{ClientId, CommentId, Millis, StreamId, UserId};
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError};
use crate::conn::Conn;
use crate::io::{BlobId, ConnectionId, RequestId, TopicId};
use crate::mint::Mint;
use crate::pending::PendingDecisions;
use crate::posts::{Answered, Charge, Halves, Post, PostState, Tell, halves, whole};
use crate::rate::Meter;
use crate::session::Session;
use crate::stream::Stream;
use crate::timers::Timer;
use crate::users::Used;

/// The form written here.
const FORM: u32 = 6;
/// The oldest form whose readers understand it. Those of form 1 forget which posts are durable, which the log knows, and
/// those of form 2 what users have used of their limits, which the gateway knows; those of form 3 know of no removals
/// and those of form 4 of no updates: their viewers are told by the logs. Those of form 5 know of no users' topics.
const READABLE_BY: u32 = 1;

/// Why a snapshot cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is none of ours.
    #[error("the snapshot cannot be read: {0}")]
    Malformed(String),
    /// It says that this version does not understand it.
    #[error("the snapshot needs a reader of form {0} or later")]
    TooNew(u32),
    /// Its configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

#[derive(Serialize)]
struct Written<'a> {
    form: u32,
    readable_by: u32,
    seed: u64,
    #[serde(with = "serde_bytes")]
    config: Vec<u8>,
    now: Millis,
    conns: Vec<(ConnectionId, &'a Conn)>,
    streams: Vec<(TopicId, &'a Stream)>,
    users: Vec<(&'a UserId, &'a Used)>,
    present: Vec<(&'a UserId, TopicId)>,
    next_user_topic: TopicId,
    posts: Vec<(Halves, &'a Post)>,
    requests: Vec<(RequestId, Halves)>,
    posts_waiting: Vec<(Millis, Halves)>,
    /// Many: packed, see [`pack`].
    #[serde(with = "serde_bytes")]
    answered: Vec<u8>,
    commands: &'a PendingDecisions,
    mint: &'a Mint,
    timers: Vec<(u64, Timer)>,
    announced: Option<u64>,
    missing: &'a VecDeque<(Millis, StreamId)>,
    sends: &'a Meter,
    connected: bool,
    next_topic: TopicId,
    next_request: RequestId,
    next_blob: BlobId,
    next_ticket: u32,
}

#[derive(Deserialize)]
struct Read {
    readable_by: u32,
    seed: u64,
    #[serde(with = "serde_bytes")]
    config: Vec<u8>,
    now: Millis,
    #[serde(default)]
    conns: Vec<(ConnectionId, Conn)>,
    #[serde(default)]
    streams: Vec<(TopicId, Stream)>,
    #[serde(default)]
    users: Vec<(UserId, ReadUsed)>,
    #[serde(default)]
    present: Vec<(UserId, TopicId)>,
    #[serde(default)]
    next_user_topic: TopicId,
    #[serde(default)]
    posts: Vec<(Halves, ReadPost)>,
    #[serde(default)]
    requests: Vec<(RequestId, Halves)>,
    #[serde(default)]
    posts_waiting: Vec<(Millis, Halves)>,
    /// Of form 1.
    #[serde(default)]
    posts_answered: Vec<(Millis, Halves)>,
    #[serde(default, with = "serde_bytes")]
    answered: Vec<u8>,
    #[serde(default)]
    commands: PendingDecisions,
    #[serde(default)]
    mint: Mint,
    #[serde(default)]
    timers: Vec<(u64, Timer)>,
    #[serde(default)]
    announced: Option<u64>,
    #[serde(default)]
    missing: VecDeque<(Millis, StreamId)>,
    #[serde(default)]
    sends: Meter,
    #[serde(default)]
    connected: bool,
    next_topic: TopicId,
    next_request: RequestId,
    next_blob: BlobId,
    next_ticket: u32,
}

/// A [`Post`], or what form 1 made of one that is durable.
#[derive(Deserialize)]
struct ReadPost {
    id: CommentId,
    request: RequestId,
    state: ReadState,
    at: Millis,
    #[serde(default)]
    charge: Option<Charge>,
    #[serde(default)]
    again: bool,
}

#[derive(Deserialize)]
enum ReadState {
    Waiting { client_id: ClientId, tell: Tell },
    Unconfirmed { client_id: ClientId, tell: Tell },
    Durable,
}

impl ReadPost {
    /// The post, or when which comment was found durable.
    fn open(self) -> Result<Post, (Millis, CommentId)> {
        let state = match self.state {
            ReadState::Waiting { client_id, tell } => PostState::Waiting { client_id, tell },
            ReadState::Unconfirmed { client_id, tell } => {
                PostState::Unconfirmed { client_id, tell }
            }
            ReadState::Durable => return Err((self.at, self.id)),
        };
        Ok(Post {
            id: self.id,
            request: self.request,
            state,
            at: self.at,
            charge: self.charge,
            again: self.again,
        })
    }
}

/// A [`Used`], or what forms 1 and 2 made of one: buckets, each as the time (µs) at which it is full again.
#[derive(Deserialize)]
struct ReadUsed {
    uses: Option<UserUses<TopicId>>,
    reacted: Option<ConnectionId>,
    #[serde(default)]
    comments_us: u64,
    #[serde(default)]
    reactions_us: u64,
    #[serde(default)]
    streams: Vec<ReadStream>,
}

#[derive(Deserialize)]
struct ReadStream {
    topic: TopicId,
    comments_us: u64,
    wrote_ms: u64,
}

impl ReadUsed {
    fn used(self, config: &Config, now: Millis) -> Used {
        let limits = &config.values.limits;
        // What is missing in a bucket was used some time ago; when cannot be told any more, so it counts as used now.
        let missing = |full_us: u64, count: u32, per_ms: u64| {
            let left_us = full_us.saturating_sub(now.0.saturating_mul(1_000));
            let every_us = (per_ms * 1_000 / u64::from(count.max(1))).max(1);
            left_us.div_ceil(every_us).min(count.into())
        };
        let uses = self.uses.unwrap_or_else(|| {
            let streams = self.streams.iter().map(|stream| {
                let in_stream = limits.comments_per_stream_30s;
                let comments = missing(stream.comments_us, in_stream, 30_000);
                let wrote_ms = (stream.wrote_ms > 0).then_some(stream.wrote_ms);
                (stream.topic, comments, wrote_ms)
            });
            let comments = missing(self.comments_us, limits.comments_per_minute, 60_000);
            let reactions = missing(self.reactions_us, limits.reactions_per_minute, 60_000);
            UserUses::of_numbers(&config.user, now.0, (comments, reactions), streams)
        });
        let reacted = self.reacted;
        Used { uses, reacted }
    }
}

/// Bytes of one answered post: when (8), its key (16) and its id, 0 when it is not known to be durable (8), all
/// little-endian.
const PACKED_BYTES: usize = 32;

fn pack(answered: impl ExactSizeIterator<Item = Answered>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(answered.len() * PACKED_BYTES);
    for (at, key, id) in answered {
        bytes.extend_from_slice(&at.0.to_le_bytes());
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(&id.map_or(0, |id| id.0).to_le_bytes());
    }
    bytes
}

fn unpack(bytes: &[u8]) -> impl Iterator<Item = Answered> + '_ {
    bytes.as_chunks::<PACKED_BYTES>().0.iter().map(|packed| {
        let (words, _) = packed.as_chunks::<8>();
        let [at, low, high, id] = [0, 1, 2, 3].map(|i| u64::from_le_bytes(words[i]));
        let id = (id != 0).then_some(CommentId(id));
        (Millis(at), whole((high, low)), id)
    })
}

impl Session {
    /// Everything it knows. Two sessions that know the same write the same bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        fn sorted<K: Ord, V>(pairs: impl Iterator<Item = (K, V)>) -> Vec<(K, V)> {
            let mut pairs: Vec<(K, V)> = pairs.collect();
            pairs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            pairs
        }
        let (conns, next_ticket) = self.conns.parts();
        let (streams, missing, next_topic) = self.streams.parts();
        let posts = self.posts.parts();
        let (present, next_user_topic) = self.present.parts();
        let written = Written {
            form: FORM,
            readable_by: READABLE_BY,
            seed: self.keyed.seed(),
            config: serde_json::to_vec(&self.config.values).unwrap_or_default(),
            now: self.now,
            conns: sorted(conns),
            streams: sorted(streams),
            users: sorted(self.users.all()),
            present: sorted(present),
            next_user_topic,
            posts: sorted(posts.open.into_iter().map(|(key, it)| (halves(key), it))),
            requests: sorted(
                posts
                    .requests
                    .into_iter()
                    .map(|(id, key)| (id, halves(key))),
            ),
            posts_waiting: (posts.queue.iter())
                .map(|&(at, key)| (at, halves(key)))
                .collect(),
            answered: pack(self.posts.all_answered()),
            commands: posts.decisions,
            mint: posts.mint,
            timers: self.timers.all(),
            announced: self.timers.announced,
            missing,
            sends: &self.sends,
            connected: self.connected,
            next_topic,
            next_request: self.numbers.request + 1,
            next_blob: self.numbers.blob + 1,
            next_ticket,
        };
        // Nothing in it is of a kind that MessagePack lacks.
        rmp_serde::to_vec_named(&written).unwrap_or_default()
    }

    /// Becomes what [`Self::snapshot`] wrote; takes the place of [`Self::init`].
    ///
    /// # Errors
    /// When the bytes are none of ours, or of a form that this version does not understand.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let read: Read = rmp_serde::from_slice(bytes)
            .map_err(|error| RestoreError::Malformed(error.to_string()))?;
        if read.readable_by > FORM {
            return Err(RestoreError::TooNew(read.readable_by));
        }
        let mut session = Self::empty(Config::read(&read.config)?, read.seed);
        session.now = read.now;
        let identities = read
            .conns
            .iter()
            .filter_map(|(_, conn)| conn.identity.as_deref());
        let users = identities.map(|identity| &identity.user);
        session
            .present
            .restore(read.present, read.next_user_topic, users);
        session.conns.restore(read.conns, read.next_ticket);
        let streams = &mut session.streams;
        streams.restore(read.streams, read.missing, read.next_topic);
        let used = read.users.into_iter().map(|(user, read)| {
            let used = read.used(&session.config, session.now);
            (user, used)
        });
        session.users.restore(used);
        let mut open = Vec::with_capacity(read.posts.len());
        let mut durable = BTreeMap::new();
        for (key, post) in read.posts {
            match post.open() {
                Ok(post) => open.push((whole(key), post)),
                Err(place) => drop(durable.insert(whole(key), place)),
            }
        }
        let requests = read.requests.into_iter();
        session.posts.restore(
            open.into_iter(),
            requests.map(|(request, key)| (request, whole(key))),
            (read.posts_waiting.into_iter())
                .map(|(at, key)| (at, whole(key)))
                .collect(),
            read.commands,
            read.mint,
        );
        let of_form_1 = read.posts_answered.into_iter().map(|(at, key)| {
            let key = whole(key);
            let id = durable.get(&key).filter(|(of, _)| *of == at);
            (at, key, id.map(|&(_, id)| id))
        });
        session.posts.restore_answered(of_form_1);
        session.posts.restore_answered(unpack(&read.answered));
        for (at, timer) in read.timers {
            session.timers.set(timer, Some(at));
        }
        session.timers.announced = read.announced;
        session.sends = read.sends;
        session.connected = read.connected;
        session.numbers.request = read.next_request.saturating_sub(1);
        session.numbers.blob = read.next_blob.saturating_sub(1);
        Ok(session)
    }
}
