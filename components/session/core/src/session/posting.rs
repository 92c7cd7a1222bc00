//! Posts: every rule, then the log, then the truth about it.

use chorus_protocol::client::PostView;
use chorus_protocol::codes::{ErrorCode, Reason};
use chorus_protocol::comment::post_key;
use chorus_protocol::server::ReceiptStatus;
use chorus_protocol::{ClientId, CommentId, CommentView, Encoding, Millis, StreamId, text};

use super::Session;
use super::replies::{Refusal, send, send_patiently};
use crate::config::Config;
use crate::conn::{Conn, Standing};
use crate::encode::{ReceiptOut, write_record};
use crate::io::{ConnectionId, Outcome, Output, RequestId, TopicId};
use crate::posts::{Post, PostState, Repeat};
use crate::timers::Timer;
use crate::token::{Identity, Role};
use crate::users::{Used, UsedStream};

/// When trying again makes sense after `unavailable`, in milliseconds.
const UNAVAILABLE_RETRY_MS: u64 = 1_000;

/// What a post gets instead of being published.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// It is certainly not stored.
    Rejected {
        reason: Reason,
        /// When waiting helps.
        retry_after_ms: Option<u64>,
    },
    /// An earlier try may be stored: it cannot be called rejected.
    Unconfirmed,
}

impl Refused {
    fn new(reason: Reason) -> Self {
        Self::Rejected {
            reason,
            retry_after_ms: None,
        }
    }

    fn later(reason: Reason, ms: u64) -> Self {
        Self::Rejected {
            reason,
            retry_after_ms: Some(ms),
        }
    }
}

impl Session {
    pub(crate) fn post(
        &mut self,
        connection: ConnectionId,
        post: &PostView<'_>,
        out: &mut Vec<Output>,
    ) {
        match self.try_post(connection, post, out) {
            Ok(()) => {}
            Err(Refused::Unconfirmed) => {
                self.refuse(connection, unconfirmed_error(post.client_id), out);
            }
            Err(Refused::Rejected {
                reason,
                retry_after_ms,
            }) => {
                let counted = if matches!(reason, Reason::RateLimited | Reason::SlowMode) {
                    &mut self.stats.posts_rate_limited
                } else if reason == Reason::Unavailable {
                    &mut self.stats.posts_unavailable
                } else {
                    &mut self.stats.posts_refused
                };
                *counted += 1;
                let receipt = ReceiptOut {
                    reason: Some(reason.as_str()),
                    retry_after_ms,
                    ..ReceiptOut::new(post.client_id, ReceiptStatus::Rejected)
                };
                self.send_receipt(connection, &receipt, out);
            }
        }
    }

    fn try_post(
        &mut self,
        connection: ConnectionId,
        post: &PostView<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let now = self.now;
        let Some(conn) = self.conns.get(&connection) else {
            return Ok(());
        };
        let Some(identity) = conn.identity.as_deref() else {
            return Err(Refused::new(Reason::Unauthenticated));
        };
        if identity.expires <= now {
            return Err(Refused::new(Reason::TokenExpired));
        }
        // The ids were checked where the message was read.
        let invalid = |_| Refused::new(Reason::Invalid);
        let client_id = ClientId::new(post.client_id).map_err(invalid)?;
        let unknown;
        let (stream_id, topic) = match self.topics.get_key_value(post.stream_id) {
            Some((stream_id, &topic)) => (stream_id, Some(topic)),
            None => {
                unknown = StreamId::new(post.stream_id).map_err(invalid)?;
                (&unknown, None)
            }
        };
        let key = post_key(stream_id, &identity.user, &client_id);
        let repeat = self.posts.repeat(key, connection);
        self.stats.posts_repeated += u64::from(repeat != Repeat::New);
        let known = match repeat {
            Repeat::New => None,
            // Its outcome was never known: it goes out again under the same id.
            Repeat::Unconfirmed(id) => Some(id),
            Repeat::Waiting => {
                out.push(accepted(connection, conn.encoding, &client_id));
                return Ok(());
            }
            Repeat::Durable(id) => {
                out.push(accepted(connection, conn.encoding, &client_id));
                out.push(durable(connection, conn.encoding, &client_id, id));
                return Ok(());
            }
        };
        // What may be stored already is not called rejected.
        let rejected = |refused| {
            if known.is_some() {
                Refused::Unconfirmed
            } else {
                refused
            }
        };
        let place = self.place_of(conn, topic, stream_id, identity);
        let (topic, slow_mode_s, standing) = place.map_err(rejected)?;
        let limits = &self.config.values.limits;
        let content = text::comment(&post.content, limits.content_chars_max)
            .map_err(|error| rejected(Refused::new(error.reason())))?;
        let unavailable = Refused::later(Reason::Unavailable, UNAVAILABLE_RETRY_MS);
        if self.posts.waiting_count >= limits.posts_waiting_max {
            return Err(rejected(unavailable));
        }
        let id = match known {
            // It was let through before.
            Some(id) => id,
            None => {
                let charged = if identity.role == Role::Admin {
                    None
                } else {
                    let used = self.users.by_id.get(&identity.user);
                    let slow_mode_ms = if standing.moderates() {
                        0
                    } else {
                        u64::from(slow_mode_s) * 1_000
                    };
                    Some(charge(&self.config, used, topic, slow_mode_ms, now)?)
                };
                let id = self.mint.next(now, self.config.values.shard);
                let id = id.ok_or(unavailable)?;
                if let Some((comments_us, here)) = charged {
                    let users_max = limits.remembered_users_max;
                    let (used, evicted) = self.users.entry(&identity.user, now.0, users_max);
                    self.stats.users_evicted += evicted;
                    used.comments_us = comments_us;
                    used.set_stream(here, now.0);
                }
                id
            }
        };
        let mentions = text::mentions(&content);
        let comment = CommentView {
            id,
            stream_id: stream_id.as_str(),
            user_id: identity.user.as_str(),
            username: &identity.name,
            content: &content,
            created_at_ms: id.minted_at().min(now),
            parent_id: post.parent_id,
            mentions: mentions.iter().map(AsRef::as_ref).collect(),
            media_ms: post.media_ms,
            highlighted: false,
            pinned: false,
            likes: 0,
            badges: standing.badge().into_iter().collect(),
        };
        let request = self.next_request;
        self.next_request += 1;
        out.push(accepted(connection, conn.encoding, &client_id));
        out.push(Output::Publish {
            request,
            topic,
            key,
            id: id.0,
            record: write_record(&comment, client_id.as_str()),
        });
        self.posts
            .publish(key, id, request, client_id, connection, now);
        self.stats.posts_published += 1;
        self.wait_for_posts();
        Ok(())
    }

    fn wait_for_posts(&mut self) {
        let deadline = self
            .posts
            .deadline(self.config.values.limits.unconfirmed_ms);
        self.timers.set(Timer::Posts, deadline);
    }

    /// The stream a post goes to and its slow mode, when it takes comments from this viewer.
    fn place_of(
        &self,
        conn: &Conn,
        topic: Option<TopicId>,
        stream_id: &StreamId,
        identity: &Identity,
    ) -> Result<(TopicId, u32, Standing), Refused> {
        let joined = topic.filter(|&topic| conn.membership(topic).is_some());
        let live = joined.and_then(|topic| self.streams.get(&topic)?.live.as_deref());
        let (Some(topic), Some(live)) = (joined, live) else {
            let missing = topic.is_none() && self.is_missing(stream_id);
            return Err(Refused::new(if missing {
                Reason::StreamNotFound
            } else {
                Reason::NotJoined
            }));
        };
        let standing = Standing::of(identity, &live.info.broadcaster_id);
        let off = !live.info.settings.comments_enabled && !standing.moderates();
        if off || !Self::is_on(live) {
            return Err(Refused::new(Reason::CommentsOff));
        }
        Ok((topic, live.info.settings.slow_mode_s, standing))
    }

    /// The log's answer.
    pub(crate) fn published(
        &mut self,
        request: RequestId,
        outcome: Outcome,
        out: &mut Vec<Output>,
    ) {
        let Some((key, post)) = self.posts.answer(request) else {
            return;
        };
        self.wait_for_posts();
        let (PostState::Waiting { client_id, tell } | PostState::Unconfirmed { client_id, tell }) =
            post.state;
        match outcome {
            Outcome::Stored { id, .. } => {
                let id = CommentId(id);
                for connection in tell.iter() {
                    if let Some(encoding) = self.encoding(connection) {
                        out.push(durable(connection, encoding, &client_id, id));
                    }
                }
                let posts_max = self.config.values.limits.remembered_posts_max;
                self.stats.posts_evicted +=
                    self.posts.remember_durable(key, id, self.now, posts_max);
            }
            Outcome::Refused {
                reason,
                retry_after_ms,
            } => {
                // It may be tried again: nothing is remembered.
                self.stats.posts_refused += 1;
                let receipt = ReceiptOut {
                    reason: Some(&reason),
                    retry_after_ms,
                    ..ReceiptOut::new(client_id.as_str(), ReceiptStatus::Rejected)
                };
                tell.iter()
                    .for_each(|connection| self.send_receipt(connection, &receipt, out));
            }
            Outcome::Unconfirmed => {
                let post = Post {
                    state: PostState::Waiting { client_id, tell },
                    ..post
                };
                self.unconfirmed(key, post, out);
            }
        }
    }

    /// Nobody knows whether the post is stored.
    fn unconfirmed(&mut self, key: u128, post: Post, out: &mut Vec<Output>) {
        let PostState::Waiting { client_id, tell } = post.state else {
            return;
        };
        self.stats.posts_unconfirmed += 1;
        let refusal = unconfirmed_error(client_id.as_str());
        tell.iter()
            .for_each(|connection| self.refuse(connection, refusal, out));
        let post = Post {
            state: PostState::Unconfirmed { client_id, tell },
            ..post
        };
        let posts_max = self.config.values.limits.remembered_posts_max;
        self.stats.posts_evicted +=
            (self.posts).remember_unconfirmed(key, post, self.now, posts_max);
    }

    /// Posts that waited too long.
    pub(crate) fn posts_due(&mut self, out: &mut Vec<Output>) {
        let unconfirmed_ms = self.config.values.limits.unconfirmed_ms;
        while let Some((key, post)) = self.posts.overdue(self.now, unconfirmed_ms) {
            self.unconfirmed(key, post, out);
        }
        self.wait_for_posts();
    }
}

fn unconfirmed_error(client_id: &str) -> Refusal<'_> {
    Refusal::new(
        ErrorCode::Unconfirmed,
        "whether the comment is stored is not known; send it again",
    )
    .of(Some(client_id))
}

/// What a comment costs its author: the buckets as they are once it is charged, or why it is refused.
fn charge(
    config: &Config,
    used: Option<&Used>,
    topic: TopicId,
    slow_mode_ms: u64,
    now: Millis,
) -> Result<(u64, UsedStream), Refused> {
    let now = now.0;
    let (comments_us, mut here) = match used {
        Some(used) => (used.comments_us, used.stream(topic)),
        None => (0, UsedStream::new(topic)),
    };
    let next = here.wrote_ms.saturating_add(slow_mode_ms);
    if slow_mode_ms > 0 && here.wrote_ms > 0 && next > now {
        return Err(Refused::later(Reason::SlowMode, next - now));
    }
    let everywhere = config.comments.check(comments_us, now, 1);
    match (
        everywhere,
        config.comments_in_stream.check(here.comments_us, now, 1),
    ) {
        (Ok(comments_us), Ok(in_stream_us)) => {
            here.comments_us = in_stream_us;
            here.wrote_ms = now;
            Ok((comments_us, here))
        }
        (everywhere, in_stream) => {
            let waits = [everywhere, in_stream].into_iter().filter_map(Result::err);
            let wait = waits.max().unwrap_or(0);
            Err(Refused::later(Reason::RateLimited, wait))
        }
    }
}

fn accepted(connection: ConnectionId, encoding: Encoding, client_id: &ClientId) -> Output {
    let receipt = ReceiptOut::new(client_id.as_str(), ReceiptStatus::Accepted);
    // The log's answer comes within milliseconds.
    send_patiently(connection, receipt.message(encoding))
}

fn durable(
    connection: ConnectionId,
    encoding: Encoding,
    client_id: &ClientId,
    id: CommentId,
) -> Output {
    let receipt = ReceiptOut {
        comment_id: Some(id),
        ..ReceiptOut::new(client_id.as_str(), ReceiptStatus::Durable)
    };
    send(connection, receipt.message(encoding))
}
