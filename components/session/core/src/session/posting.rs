//! Posts: every rule, then the log, then the truth about it.

use chorus_protocol::client::PostComment;
use chorus_protocol::comment::{CommentRecord, post_key};
use chorus_protocol::server::ReceiptStatus;
use chorus_protocol::{ClientId, Comment, CommentId};

use super::Session;
use super::replies::Refusal;
use crate::conn::Standing;
use crate::content::{ContentError, check_content, mentions};
use crate::encode::ReceiptOut;
use crate::io::{ConnectionId, Outcome, Output, RequestId, TopicId};
use crate::posts::{Post, PostState, also_tell};
use crate::timers::Timer;
use crate::token::{Identity, Role};
use crate::users::Used;

/// When trying again makes sense after `unavailable`, in milliseconds.
const UNAVAILABLE_RETRY_MS: u64 = 1_000;

/// Why a post is refused: a reason of the receipts, and when waiting helps.
#[derive(Clone, Copy, Debug)]
struct Refused {
    reason: &'static str,
    retry_after_ms: Option<u64>,
}

impl Refused {
    fn new(reason: &'static str) -> Self {
        Self {
            reason,
            retry_after_ms: None,
        }
    }

    fn later(reason: &'static str, ms: u64) -> Self {
        Self {
            reason,
            retry_after_ms: Some(ms),
        }
    }
}

impl Session {
    pub(crate) fn post(
        &mut self,
        connection: ConnectionId,
        post: PostComment,
        out: &mut Vec<Output>,
    ) {
        let client_id = post.client_id.clone();
        if let Err(refused) = self.try_post(connection, post, out) {
            if refused.reason == UNCONFIRMED {
                self.refuse(connection, unconfirmed_error(client_id.as_str()), out);
                return;
            }
            match refused.reason {
                "rate_limited" | "slow_mode" => self.stats.posts_rate_limited += 1,
                "unavailable" => self.stats.posts_unavailable += 1,
                _ => self.stats.posts_refused += 1,
            }
            let receipt = ReceiptOut {
                client_id: client_id.as_str(),
                comment_id: None,
                status: ReceiptStatus::Rejected,
                reason: Some(refused.reason),
                retry_after_ms: refused.retry_after_ms,
            };
            self.send_receipt(connection, &receipt, out);
        }
    }

    fn try_post(
        &mut self,
        connection: ConnectionId,
        post: PostComment,
        out: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let Some(conn) = self.conns.get(&connection) else {
            return Ok(());
        };
        let Some(identity) = conn.identity.as_deref() else {
            return Err(Refused::new("unauthenticated"));
        };
        if identity.expires <= self.now {
            return Err(Refused::new("token_expired"));
        }
        let identity = identity.clone();
        let key = post_key(&post.stream_id, &identity.user, &post.client_id);
        let known = match self.repeat(connection, key, &post.client_id, out) {
            Repeat::Answered => return Ok(()),
            Repeat::Again(id) => Some(id),
            Repeat::New => None,
        };
        // What may be stored already is not called rejected.
        let rejected = |refused| {
            if known.is_some() {
                Refused::new(UNCONFIRMED)
            } else {
                refused
            }
        };
        let (topic, standing) = self
            .place_of(connection, &post, &identity)
            .map_err(rejected)?;
        let content = check_content(&post.content, self.config.values.limits.content_chars_max)
            .map_err(|error| rejected(Refused::new(reason(error))))?;
        if self.posts.waiting_count >= self.config.values.limits.posts_waiting_max {
            return Err(rejected(Refused::later(
                "unavailable",
                UNAVAILABLE_RETRY_MS,
            )));
        }
        let id = match known {
            // It was let through before.
            Some(id) => id,
            None => {
                self.check_rates(topic, &identity, standing)?;
                self.mint
                    .next(self.now, self.config.values.shard)
                    .ok_or(Refused::later("unavailable", UNAVAILABLE_RETRY_MS))?
            }
        };
        if known.is_none() {
            self.charge_rates(topic, &identity);
        }
        let comment = Comment {
            id,
            mentions: mentions(&content),
            stream_id: post.stream_id,
            user_id: identity.user,
            username: identity.name.into_string(),
            content,
            created_at_ms: id.minted_at().min(self.now),
            parent_id: post.parent_id,
            media_ms: post.media_ms,
            highlighted: false,
            pinned: false,
            likes: 0,
            badges: standing.badge().map(str::to_owned).into_iter().collect(),
        };
        self.publish(connection, topic, key, comment, post.client_id, out);
        Ok(())
    }

    fn publish(
        &mut self,
        connection: ConnectionId,
        topic: TopicId,
        key: u128,
        comment: Comment,
        client_id: ClientId,
        out: &mut Vec<Output>,
    ) {
        let request = self.next_request;
        self.next_request += 1;
        let id = comment.id;
        let record = CommentRecord { comment, client_id };
        // Texts and numbers always fit.
        let bytes = rmp_serde::to_vec_named(&record).unwrap_or_default();
        self.receipt(
            connection,
            record.client_id.as_str(),
            ReceiptStatus::Accepted,
            None,
            out,
        );
        out.push(Output::Publish {
            request,
            topic,
            key,
            id: id.0,
            record: bytes,
        });
        self.posts
            .publish(key, id, request, record.client_id, connection, self.now);
        self.stats.posts_published += 1;
        self.wait_for_posts();
    }

    fn wait_for_posts(&mut self) {
        let deadline = self
            .posts
            .deadline(self.config.values.limits.unconfirmed_ms);
        self.timers.set(Timer::Posts, deadline);
    }

    /// Looks whether the post came before. A repeat costs nothing of the user's rates.
    fn repeat(
        &mut self,
        connection: ConnectionId,
        key: u128,
        client_id: &ClientId,
        out: &mut Vec<Output>,
    ) -> Repeat {
        let Some(post) = self.posts.by_key.get_mut(&key) else {
            return Repeat::New;
        };
        self.stats.posts_repeated += 1;
        let id = post.id;
        let durable = match &mut post.state {
            PostState::Unconfirmed { .. } => return Repeat::Again(id),
            PostState::Waiting { tell, .. } => {
                also_tell(tell, connection);
                false
            }
            PostState::Durable => true,
        };
        self.receipt(
            connection,
            client_id.as_str(),
            ReceiptStatus::Accepted,
            None,
            out,
        );
        if durable {
            self.receipt(
                connection,
                client_id.as_str(),
                ReceiptStatus::Durable,
                Some(id),
                out,
            );
        }
        Repeat::Answered
    }

    /// The stream a post goes to, when it takes comments from this viewer.
    fn place_of(
        &self,
        connection: ConnectionId,
        post: &PostComment,
        identity: &Identity,
    ) -> Result<(TopicId, Standing), Refused> {
        let topic = self.topics.get(&post.stream_id).copied();
        let joined = topic.filter(|&topic| {
            self.conns
                .get(&connection)
                .is_some_and(|conn| conn.membership(topic).is_some())
        });
        let live = joined.and_then(|topic| self.streams.get(&topic)?.live.as_ref());
        let (Some(topic), Some(live)) = (joined, live) else {
            let missing = topic.is_none() && self.is_missing(&post.stream_id);
            return Err(Refused::new(if missing {
                "stream_not_found"
            } else {
                "not_joined"
            }));
        };
        let standing = Standing::of(identity, &live.info.broadcaster_id);
        let off = !live.info.settings.comments_enabled && !standing.moderates();
        if off || !Self::is_on(live) {
            return Err(Refused::new("comments_off"));
        }
        Ok((topic, standing))
    }

    /// Slow mode and the user's buckets; nothing is charged yet.
    fn check_rates(
        &self,
        topic: TopicId,
        identity: &Identity,
        standing: Standing,
    ) -> Result<(), Refused> {
        if identity.role == Role::Admin {
            return Ok(());
        }
        let slow_mode_s = self
            .streams
            .get(&topic)
            .and_then(|stream| stream.live.as_ref())
            .map_or(0, |live| live.info.settings.slow_mode_s);
        let now = self.now.0;
        let unused = Used::default();
        let used = self.users.by_id.get(&identity.user).unwrap_or(&unused);
        let here = used.stream(topic);
        let next = here.wrote_ms.saturating_add(u64::from(slow_mode_s) * 1_000);
        if slow_mode_s > 0 && here.wrote_ms > 0 && next > now && !standing.moderates() {
            return Err(Refused::later("slow_mode", next - now));
        }
        let waits = [
            self.config.comments.check(used.comments_us, now, 1),
            self.config
                .comments_in_stream
                .check(here.comments_us, now, 1),
        ];
        match waits.into_iter().filter_map(Result::err).max() {
            Some(wait) => Err(Refused::later("rate_limited", wait)),
            None => Ok(()),
        }
    }

    fn charge_rates(&mut self, topic: TopicId, identity: &Identity) {
        if identity.role == Role::Admin {
            return;
        }
        let users_max = self.config.values.limits.remembered_users_max;
        let now = self.now.0;
        let (used, evicted) = self.users.entry(&identity.user, now, users_max);
        self.stats.users_evicted += evicted;
        if let Ok(after) = self.config.comments.check(used.comments_us, now, 1) {
            used.comments_us = after;
        }
        let mut here = used.stream(topic);
        if let Ok(after) = self
            .config
            .comments_in_stream
            .check(here.comments_us, now, 1)
        {
            here.comments_us = after;
        }
        here.wrote_ms = now;
        used.set_stream(here, now);
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
        let (client_id, tell) = match post.state {
            PostState::Waiting { client_id, tell } | PostState::Unconfirmed { client_id, tell } => {
                (client_id, tell)
            }
            PostState::Durable => {
                self.posts.by_key.insert(key, post);
                return;
            }
        };
        match outcome {
            Outcome::Stored { id, .. } => {
                let id = CommentId(id);
                for &connection in &tell {
                    self.receipt(
                        connection,
                        client_id.as_str(),
                        ReceiptStatus::Durable,
                        Some(id),
                        out,
                    );
                }
                self.remember(
                    key,
                    Post {
                        id,
                        state: PostState::Durable,
                        ..post
                    },
                );
            }
            Outcome::Refused {
                reason,
                retry_after_ms,
            } => {
                // It may be tried again: nothing is remembered.
                self.stats.posts_refused += 1;
                let receipt = ReceiptOut {
                    client_id: client_id.as_str(),
                    comment_id: None,
                    status: ReceiptStatus::Rejected,
                    reason: Some(&reason),
                    retry_after_ms,
                };
                tell.iter()
                    .for_each(|&connection| self.send_receipt(connection, &receipt, out));
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

    fn remember(&mut self, key: u128, post: Post) {
        let posts_max = self.config.values.limits.remembered_posts_max;
        self.stats.posts_evicted += self.posts.remember(key, post, self.now, posts_max);
    }

    /// Nobody knows whether the post is stored.
    fn unconfirmed(&mut self, key: u128, post: Post, out: &mut Vec<Output>) {
        let PostState::Waiting { client_id, tell } = post.state else {
            return;
        };
        self.stats.posts_unconfirmed += 1;
        let refusal = unconfirmed_error(client_id.as_str());
        tell.iter()
            .for_each(|&connection| self.refuse(connection, refusal, out));
        self.remember(
            key,
            Post {
                state: PostState::Unconfirmed { client_id, tell },
                ..post
            },
        );
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

/// Stands in for a reason where the outcome of an earlier try is not known.
const UNCONFIRMED: &str = "unconfirmed";

fn unconfirmed_error(client_id: &str) -> Refusal<'_> {
    Refusal::new(
        UNCONFIRMED,
        "whether the comment is stored is not known; send it again",
    )
    .of(Some(client_id))
}

fn reason(error: ContentError) -> &'static str {
    match error {
        ContentError::Empty => "empty",
        ContentError::TooLong => "too_long",
        ContentError::Control => "invalid",
    }
}

/// Whether a post came before.
enum Repeat {
    New,
    /// Its outcome was never known: it goes out again under the same id.
    Again(CommentId),
    Answered,
}
