//! What is on its way to the log, posts and decisions, under ids minted here; and the posts that arrived, so that a repeat is
//! answered and not written again.

use std::collections::VecDeque;

use chorus_protocol::rate::Charged;
use chorus_protocol::{ClientId, CommentId, Millis, UserId};
use serde::{Deserialize, Serialize};

use crate::io::{ConnectionId, RequestId, TopicId};
use crate::keyed::{Keyed, Map};
use crate::mint::Mint;
use crate::pending::PendingDecisions;

/// How long an answered post is remembered: as long as the log's own window of repeats, in milliseconds.
const REMEMBERED_MS: u64 = 600_000;
/// Connections told of one post at the most; the oldest goes.
const TELL_MAX: usize = 4;

/// A post whose outcome is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Post {
    pub(crate) id: CommentId,
    /// The last publication of it.
    pub(crate) request: RequestId,
    pub(crate) state: PostState,
    /// When it came, and later when it was found unconfirmed.
    pub(crate) at: Millis,
    /// What it cost its author; given back when it certainly is not stored.
    pub(crate) charge: Option<Charge>,
    /// It goes out again, and an earlier try may be stored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) again: bool,
}

/// What a post was counted as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) user: UserId,
    pub(crate) topic: TopicId,
    pub(crate) charged: Charged,
}

/// How a post stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum PostState {
    /// The log has not answered.
    Waiting { client_id: ClientId, tell: Tell },
    /// The log did not answer in time. It still may, and the sender may try again under the same id.
    Unconfirmed { client_id: ClientId, tell: Tell },
}

/// A post that the log holds. There are many: they are kept small and apart from the few that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) id: CommentId,
    /// When it was answered.
    pub(crate) at: Millis,
}

/// A post's place among those that were answered: when, its key, and its id when it is durable since then.
pub(crate) type Answered = (Millis, u128, Option<CommentId>);

/// A 128-bit key as its halves, the upper one first: MessagePack has no such number, and it needs no alignment to 16.
pub(crate) type Halves = (u64, u64);

pub(crate) fn halves(key: u128) -> Halves {
    ((key >> 64) as u64, key as u64)
}

pub(crate) fn whole((high, low): Halves) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// [`Answered`] in 32 bytes.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: Millis,
    key: Halves,
    /// 0 is none.
    id: u64,
}

impl Place {
    fn new((at, key, id): Answered) -> Self {
        Self {
            at,
            key: halves(key),
            id: id.map_or(0, |id| id.0),
        }
    }

    fn answered(self) -> Answered {
        let id = (self.id != 0).then_some(CommentId(self.id));
        (self.at, whole(self.key), id)
    }
}

/// Whether a post came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It did not.
    New,
    /// It did, and its outcome was never known.
    Unconfirmed(CommentId),
    /// It did, and the log has not answered.
    Waiting,
    /// It did, and the log holds it.
    Durable(CommentId),
}

/// The connections that are told of one post: nearly always one, which costs no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<ConnectionId>", into = "Vec<ConnectionId>")]
pub(crate) struct Tell {
    first: ConnectionId,
    more: Box<[ConnectionId]>,
}

impl Tell {
    pub(crate) fn one(connection: ConnectionId) -> Self {
        Self {
            first: connection,
            more: Box::default(),
        }
    }

    /// Adds a connection.
    pub(crate) fn also(&mut self, connection: ConnectionId) {
        let mut all: Vec<ConnectionId> = self.iter().collect();
        if all.contains(&connection) {
            return;
        }
        if all.len() >= TELL_MAX {
            all.remove(0);
        }
        all.push(connection);
        self.first = all.remove(0);
        self.more = all.into_boxed_slice();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

impl From<Tell> for Vec<ConnectionId> {
    fn from(tell: Tell) -> Self {
        tell.iter().collect()
    }
}

impl TryFrom<Vec<ConnectionId>> for Tell {
    type Error = &'static str;

    fn try_from(all: Vec<ConnectionId>) -> Result<Self, Self::Error> {
        let (&first, more) = all.split_first().ok_or("a post of nobody")?;
        Ok(Self {
            first,
            more: more.into(),
        })
    }
}

/// See [`Posts::parts`].
pub(crate) struct Parts<'a> {
    pub(crate) open: Vec<(u128, &'a Post)>,
    pub(crate) requests: Vec<(RequestId, u128)>,
    pub(crate) queue: &'a VecDeque<(Millis, u128)>,
    pub(crate) decisions: &'a PendingDecisions,
    pub(crate) mint: &'a Mint,
}

/// The posts a shard remembers, by `post_key`.
#[derive(Clone, Debug)]
pub(crate) struct Posts {
    by_key: Map<u128, Post>,
    durable: Map<u128, Durable>,
    by_request: Map<RequestId, u128>,
    /// In the order in which they will have waited too long.
    waiting: VecDeque<(Millis, u128)>,
    /// In the order in which they may be forgotten.
    answered: VecDeque<Place>,
    /// How many are `Waiting`.
    waiting_count: u32,
    decisions: PendingDecisions,
    mint: Mint,
}

impl Posts {
    pub(crate) fn new(keyed: &Keyed) -> Self {
        Self {
            by_key: keyed.map(),
            durable: keyed.map(),
            by_request: keyed.map(),
            waiting: VecDeque::new(),
            answered: VecDeque::new(),
            waiting_count: 0,
            decisions: PendingDecisions::default(),
            mint: Mint::default(),
        }
    }

    /// Ids may be minted as this worker until then.
    pub(crate) fn lease(&mut self, worker: u16, until: Millis) {
        self.mint.lease(worker, until);
    }

    /// A new id, see [`Mint::next`].
    pub(crate) fn mint(&mut self, now: Millis, shard: u8) -> Option<CommentId> {
        self.mint.next(now, shard)
    }

    /// The decisions that wait for the log.
    pub(crate) fn decisions(&mut self) -> &mut PendingDecisions {
        &mut self.decisions
    }

    /// How many publications wait for the log.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting_count.saturating_add(self.decisions.len())
    }

    /// Looks whether a post came before; if its answer is still to come, this connection is told too.
    pub(crate) fn repeat(&mut self, key: u128, connection: ConnectionId) -> Repeat {
        let Some(post) = self.by_key.get_mut(&key) else {
            return match self.durable.get(&key) {
                Some(durable) => Repeat::Durable(durable.id),
                None => Repeat::New,
            };
        };
        match &mut post.state {
            PostState::Unconfirmed { .. } => Repeat::Unconfirmed(post.id),
            PostState::Waiting { tell, .. } => {
                tell.also(connection);
                Repeat::Waiting
            }
        }
    }

    /// Notes a post handed to the log, waiting since `now` for what `connection` is told.
    pub(crate) fn publish(
        &mut self,
        key: u128,
        (id, request): (CommentId, RequestId),
        client_id: ClientId,
        connection: ConnectionId,
        now: Millis,
        mut charge: Option<Charge>,
    ) {
        let mut tell = Tell::one(connection);
        let mut again = false;
        if let Some(before) = self.by_key.remove(&key) {
            again = true;
            // Its own answer will tell whether the first try was stored.
            self.by_request.remove(&before.request);
            charge = charge.or(before.charge);
            if let PostState::Unconfirmed { tell: before, .. } = before.state {
                tell = before;
                tell.also(connection);
            }
        }
        let state = PostState::Waiting { client_id, tell };
        self.by_key.insert(
            key,
            Post {
                id,
                request,
                state,
                at: now,
                charge,
                again,
            },
        );
        self.by_request.insert(request, key);
        self.waiting.push_back((now, key));
        self.waiting_count += 1;
    }

    /// Takes a post out of waiting; `None` when the request is none of ours.
    pub(crate) fn answer(&mut self, request: RequestId) -> Option<(u128, Post)> {
        let key = self.by_request.remove(&request)?;
        let post = self.by_key.remove(&key)?;
        if matches!(post.state, PostState::Waiting { .. }) {
            self.waiting_count -= 1;
        }
        // Answers come in about the order of the posts: what is answered leaves the queue's front, which stays as
        // short as what waits.
        while let Some(&(at, front)) = self.waiting.front()
            && !self.waits_since(front, at)
        {
            self.waiting.pop_front();
        }
        Some((key, post))
    }

    /// Remembers a post whose outcome is not known. Says how many had to be forgotten early, as does
    /// [`Self::remember_durable`].
    pub(crate) fn remember_unconfirmed(
        &mut self,
        key: u128,
        post: Post,
        now: Millis,
        posts_max: u32,
    ) -> u64 {
        self.by_key.insert(key, Post { at: now, ..post });
        self.answered((now, key, None), posts_max)
    }

    /// Remembers a post that the log holds.
    pub(crate) fn remember_durable(
        &mut self,
        key: u128,
        id: CommentId,
        now: Millis,
        posts_max: u32,
    ) -> u64 {
        self.durable.insert(key, Durable { id, at: now });
        self.answered((now, key, Some(id)), posts_max)
    }

    fn answered(&mut self, answered: Answered, posts_max: u32) -> u64 {
        self.answered.push_back(Place::new(answered));
        let (now, ..) = answered;
        let mut evicted = 0;
        while let Some(&place) = self.answered.front() {
            let (at, oldest, _) = place.answered();
            let aged = now.since(at) >= REMEMBERED_MS;
            if !aged && self.answered.len() <= posts_max as usize {
                break;
            }
            self.answered.pop_front();
            // A later answer to the same key has its own place in the queue.
            let forgotten = if self.durable.get(&oldest).is_some_and(|it| it.at == at) {
                self.durable.remove(&oldest).is_some()
            } else if let Some(post) = self.by_key.get(&oldest)
                && post.at == at
                && matches!(post.state, PostState::Unconfirmed { .. })
            {
                self.by_request.remove(&post.request);
                self.by_key.remove(&oldest).is_some()
            } else {
                false
            };
            evicted += u64::from(forgotten && !aged);
        }
        evicted
    }

    /// Those that were answered, in the order in which they may be forgotten. Of one key the last one counts.
    pub(crate) fn all_answered(&self) -> impl ExactSizeIterator<Item = Answered> + '_ {
        self.answered.iter().map(|place| place.answered())
    }

    /// Takes back what [`Self::all_answered`] gave.
    pub(crate) fn restore_answered(&mut self, answered: impl Iterator<Item = Answered>) {
        for (at, key, id) in answered {
            self.answered.push_back(Place::new((at, key, id)));
            if let Some(id) = id {
                self.durable.insert(key, Durable { id, at });
            }
        }
    }

    /// What a snapshot holds besides, in no order but for the queue.
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            open: self.by_key.iter().map(|(&key, post)| (key, post)).collect(),
            requests: self
                .by_request
                .iter()
                .map(|(&id, &key)| (id, key))
                .collect(),
            queue: &self.waiting,
            decisions: &self.decisions,
            mint: &self.mint,
        }
    }

    /// Takes back what [`Self::parts`] gave.
    pub(crate) fn restore(
        &mut self,
        open: impl Iterator<Item = (u128, Post)>,
        requests: impl Iterator<Item = (RequestId, u128)>,
        queue: VecDeque<(Millis, u128)>,
        decisions: PendingDecisions,
        mint: Mint,
    ) {
        self.by_key.extend(open);
        let waits = |post: &&Post| matches!(post.state, PostState::Waiting { .. });
        self.waiting_count = self.by_key.values().filter(waits).count() as u32;
        self.by_request.extend(requests);
        self.waiting = queue;
        self.decisions = decisions;
        self.mint = mint;
    }

    fn waits_since(&self, key: u128, at: Millis) -> bool {
        self.by_key
            .get(&key)
            .is_some_and(|post| post.at == at && matches!(post.state, PostState::Waiting { .. }))
    }

    /// Takes a post that has waited for `unconfirmed_ms`.
    pub(crate) fn overdue(&mut self, now: Millis, unconfirmed_ms: u64) -> Option<(u128, Post)> {
        while let Some(&(at, key)) = self.waiting.front() {
            if self.waits_since(key, at) {
                if now < at.plus(unconfirmed_ms) {
                    return None;
                }
                self.waiting.pop_front();
                self.waiting_count -= 1;
                // The request stays known: a late answer is still the truth.
                return self.by_key.remove(&key).map(|post| (key, post));
            }
            self.waiting.pop_front();
        }
        None
    }

    /// When the first publication will have waited too long.
    pub(crate) fn deadline(&self, unconfirmed_ms: u64) -> Option<u64> {
        let posts = self
            .waiting
            .front()
            .map(|&(at, _)| at.plus(unconfirmed_ms).0);
        let decisions = self.decisions.deadline(unconfirmed_ms);
        posts.into_iter().chain(decisions).min()
    }
}
