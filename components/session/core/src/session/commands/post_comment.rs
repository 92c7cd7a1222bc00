//! `post_comment`: every rule, then the log; what becomes of it is said by `published.rs`.

use chorus_protocol::client::{PostComment, PostView};
use chorus_protocol::codec::{Incoming, ReadError};
use chorus_protocol::codes::Reason;
use chorus_protocol::comment::post_key;
use chorus_protocol::event::kind;
use chorus_protocol::rate::{CommentRefusal, UserUses};
use chorus_protocol::server::ReceiptStatus;
use chorus_protocol::stream::StreamStatus;
use chorus_protocol::{ClientId, CommentView, Encoding, Envelope, StreamId, text};
use chorus_tokens::{Identity, Role};

use super::UNAVAILABLE_RETRY_MS;
use crate::conn::{Conn, Standing};
use crate::encode::ReceiptOut;
use crate::io::{ConnectionId, Output, TopicId};
use crate::posts::{Charge, Repeat};
use crate::session::Session;
use crate::session::published::{durable, unconfirmed_error};
use crate::session::replies::send_patiently;

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

impl From<CommentRefusal> for Refused {
    fn from(refusal: CommentRefusal) -> Self {
        Self::later(refusal.reason(), refusal.retry_after_ms())
    }
}

/// One that is not of the usual form.
pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let post = PostComment::read(&message.fields()?)?;
    session.post(connection, &PostView::from(&post), out);
    Ok(())
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
                let refusal = unconfirmed_error(post.client_id).on(post.stream_id);
                self.refuse(connection, refusal, out);
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
        let Some(conn) = self.conns.get(connection) else {
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
        let (stream_id, topic) = match self.streams.find(post.stream_id) {
            Some((stream_id, topic)) => (stream_id, Some(topic)),
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
        if self.too_many_wait() {
            return Err(rejected(unavailable));
        }
        let (id, charge) = match known {
            // It was let through before.
            Some(id) => (id, None),
            None => {
                let user_limits = &self.config.user;
                let held = identity.role != Role::Admin;
                if held {
                    let slow_mode_ms = if standing.moderates() {
                        0
                    } else {
                        u64::from(slow_mode_s) * 1_000
                    };
                    let used = self.users.get(&identity.user);
                    let nothing = UserUses::default();
                    let uses = used.map_or(&nothing, |used| &used.uses);
                    uses.check_comment(user_limits, &topic, slow_mode_ms, now.0)?;
                }
                let id = self.posts.mint(now, self.config.values.shard);
                let id = id.ok_or(unavailable)?;
                let charge = held.then(|| {
                    let user = identity.user.clone();
                    let users_max = limits.remembered_users_max;
                    let (used, evicted) = self.users.entry(&user, user_limits, now.0, users_max);
                    self.stats.users_evicted += evicted;
                    let charged = used.uses.charge_comment(user_limits, &topic, now.0);
                    Charge {
                        user,
                        topic,
                        charged,
                    }
                });
                (id, charge)
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
            badges: standing.badge().into_iter().collect(),
        };
        let envelope = Envelope {
            id,
            kind: kind::COMMENT,
            stream: stream_id.as_str(),
            author: identity.user.as_str(),
            role: standing.role(),
            key,
            target: None,
            record: b"",
        };
        let request = self.numbers.request();
        out.push(accepted(connection, conn.encoding, &client_id));
        out.push(Output::Publish {
            request,
            connection,
            event: envelope.write(comment.bytes_about(), |out| comment.write_record(out)),
        });
        self.posts
            .publish(key, (id, request), client_id, connection, now, charge);
        self.stats.posts_published += 1;
        self.wait_for_posts();
        Ok(())
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
        let live = joined.and_then(|topic| self.streams.live(topic));
        let (Some(topic), Some(live)) = (joined, live) else {
            let missing = topic.is_none() && self.streams.is_missing(stream_id.as_str(), self.now);
            return Err(Refused::new(if missing {
                Reason::StreamNotFound
            } else {
                Reason::NotJoined
            }));
        };
        let standing = Standing::of(identity, &live.info.broadcaster_id);
        match live.info.status {
            StreamStatus::Live => {}
            StreamStatus::Ended => return Err(Refused::new(Reason::StreamEnded)),
            StreamStatus::Unknown => return Err(Refused::new(Reason::CommentsOff)),
        }
        if !live.info.settings.comments_enabled && !standing.moderates() {
            return Err(Refused::new(Reason::CommentsOff));
        }
        Ok((topic, live.info.settings.slow_mode_s, standing))
    }
}

fn accepted(connection: ConnectionId, encoding: Encoding, client_id: &ClientId) -> Output {
    let receipt = ReceiptOut::new(client_id.as_str(), ReceiptStatus::Accepted);
    // The log's answer comes within milliseconds.
    send_patiently(connection, receipt.message(encoding))
}
