//! Everything a session knows, as MessagePack with named fields: a neighbouring version passes over what it does
//! not know and fills in what is missing.

use std::collections::VecDeque;

use chorus_protocol::rate::UserUses;
use chorus_protocol::{ClientId, CommentId, Millis, StreamId, UserId};
use serde::{Deserialize, Serialize};

use crate::commands::Commands;
use crate::config::{Config, ConfigError};
use crate::conn::Conn;
use crate::io::{BlobId, ConnectionId, RequestId, TopicId};
use crate::mint::Mint;
use crate::posts::{Answered, Charge, Durable, Halves, Post, PostState, Tell, halves, whole};
use crate::rate::Meter;
use crate::session::Session;
use crate::stream::Stream;
use crate::timers::Timer;
use crate::users::Used;

/// The form written here.
const FORM: u32 = 4;
/// The oldest form whose readers understand it. Those of form 1 forget which posts are durable, which the log knows, and
/// those of form 2 what users have used of their limits, which the gateway knows; those of form 3 know of no removals:
/// their viewers are told by the logs.
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
    posts: Vec<(Halves, &'a Post)>,
    requests: Vec<(RequestId, Halves)>,
    posts_waiting: Vec<(Millis, Halves)>,
    /// Many: packed, see [`pack`].
    #[serde(with = "serde_bytes")]
    answered: Vec<u8>,
    commands: &'a Commands,
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
    commands: Commands,
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
}

#[derive(Deserialize)]
enum ReadState {
    Waiting { client_id: ClientId, tell: Tell },
    Unconfirmed { client_id: ClientId, tell: Tell },
    Durable,
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
        let written = Written {
            form: FORM,
            readable_by: READABLE_BY,
            seed: self.keyed.seed(),
            config: serde_json::to_vec(&self.config.values).unwrap_or_default(),
            now: self.now,
            conns: sorted(self.conns.iter().map(|(&id, conn)| (id, conn))),
            streams: sorted(self.streams.iter().map(|(&topic, stream)| (topic, stream))),
            users: sorted(self.users.by_id.iter()),
            posts: sorted(
                self.posts
                    .by_key
                    .iter()
                    .map(|(&key, post)| (halves(key), post)),
            ),
            requests: sorted(
                self.posts
                    .by_request
                    .iter()
                    .map(|(&request, &key)| (request, halves(key))),
            ),
            posts_waiting: (self.posts.waiting.iter())
                .map(|&(at, key)| (at, halves(key)))
                .collect(),
            answered: pack(self.posts.all_answered()),
            commands: &self.commands,
            mint: &self.mint,
            timers: self.timers.all(),
            announced: self.timers.announced,
            missing: &self.missing,
            sends: &self.sends,
            connected: self.connected,
            next_topic: self.next_topic,
            next_request: self.next_request,
            next_blob: self.next_blob,
            next_ticket: self.next_ticket,
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
        session.conns.extend(read.conns);
        for (topic, mut stream) in read.streams {
            if let Some(live) = &mut stream.live {
                let entries = live.recent.entries.iter().chain(&live.pending);
                live.ids = entries.map(|entry| entry.id.0).collect();
                live.removed.restored();
                let jobs = live.jobs.iter().map(|job| job.request);
                let asked = jobs.chain(live.holes.iter().map(|hole| hole.request));
                session.asked.extend(asked.map(|request| (request, topic)));
            }
            session.topics.insert(stream.id.clone(), topic);
            session.streams.insert(topic, stream);
        }
        let used = read.users.into_iter().map(|(user, read)| {
            let used = read.used(&session.config, session.now);
            (user, used)
        });
        session.users.by_id.extend(used);
        let posts = &mut session.posts;
        for (key, post) in read.posts {
            let ReadPost {
                id,
                request,
                state,
                at,
                charge,
            } = post;
            let state = match state {
                ReadState::Waiting { client_id, tell } => {
                    posts.waiting_count += 1;
                    PostState::Waiting { client_id, tell }
                }
                ReadState::Unconfirmed { client_id, tell } => {
                    PostState::Unconfirmed { client_id, tell }
                }
                ReadState::Durable => {
                    posts.durable.insert(whole(key), Durable { id, at });
                    continue;
                }
            };
            let post = Post {
                id,
                request,
                state,
                at,
                charge,
            };
            posts.by_key.insert(whole(key), post);
        }
        let requests = read.requests.into_iter();
        (posts.by_request).extend(requests.map(|(request, key)| (request, whole(key))));
        let places = |(at, key)| (at, whole(key));
        posts.waiting = read.posts_waiting.into_iter().map(places).collect();
        let with_id = |(at, key)| {
            let durable = posts.durable.get(&key).filter(|it| it.at == at);
            (at, key, durable.map(|it| it.id))
        };
        let of_form_1 = read.posts_answered.into_iter().map(places).map(with_id);
        let of_form_1: Vec<Answered> = of_form_1.collect();
        posts.restore_answered(of_form_1.into_iter());
        posts.restore_answered(unpack(&read.answered));
        session.commands = read.commands;
        session.mint = read.mint;
        for (at, timer) in read.timers {
            session.timers.set(timer, Some(at));
        }
        session.timers.announced = read.announced;
        session.missing = read.missing;
        session.sends = read.sends;
        session.connected = read.connected;
        session.next_topic = read.next_topic;
        session.next_request = read.next_request;
        session.next_blob = read.next_blob;
        session.next_ticket = read.next_ticket;
        Ok(session)
    }
}
