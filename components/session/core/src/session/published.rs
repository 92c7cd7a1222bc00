//! What the log answers to a publication: the truth about a post, or about a decision.

use chorus_protocol::codes::{ErrorCode, Reason};
use chorus_protocol::rate::CommentRefusal;
use chorus_protocol::server::ReceiptStatus;
use chorus_protocol::{ClientId, CommentId, Encoding, Outcome};

use super::Session;
use super::replies::{Refusal, send};
use crate::encode::ReceiptOut;
use crate::io::{ConnectionId, Output, RequestId};
use crate::posts::{Post, PostState};
use crate::timers::Timer;

impl Session {
    /// Whether as many publications wait for the log as may.
    pub(crate) fn too_many_wait(&self) -> bool {
        self.posts.waiting() >= self.config.values.limits.posts_waiting_max
    }

    pub(crate) fn wait_for_posts(&mut self) {
        let unconfirmed_ms = self.config.values.limits.unconfirmed_ms;
        self.timers
            .set(Timer::Posts, self.posts.deadline(unconfirmed_ms));
    }

    /// The log's answer.
    pub(crate) fn published(
        &mut self,
        request: RequestId,
        outcome: Outcome,
        out: &mut Vec<Output>,
    ) {
        let Some((key, post)) = self.posts.answer(request) else {
            self.decision_answered(request, outcome, out);
            return;
        };
        self.wait_for_posts();
        // The gateway looks whether it is stored before it refuses, unless it can look at nothing.
        let outcome = if post.again && outcome.is_refused_for(Reason::Unavailable) {
            Outcome::Unknown
        } else {
            outcome
        };
        self.give_back(&post, &outcome);
        let (PostState::Waiting { client_id, tell } | PostState::Unconfirmed { client_id, tell }) =
            post.state;
        match outcome {
            Outcome::Stored { id, .. } => {
                for connection in tell.iter() {
                    if let Some(encoding) = self.conns.encoding(connection) {
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
            Outcome::Unknown => {
                let post = Post {
                    state: PostState::Waiting { client_id, tell },
                    ..post
                };
                self.unconfirmed(key, post, out);
            }
        }
    }

    /// A post that is not stored, or was stored before, costs its author nothing. Whom the gateway holds off, by what it
    /// knows of other shards and PoPs, is held off here: a flood is not carried to it.
    fn give_back(&mut self, post: &Post, outcome: &Outcome) {
        let Some(charge) = &post.charge else {
            return;
        };
        let refused = match outcome {
            Outcome::Refused {
                reason,
                retry_after_ms,
            } => (Reason::parse(reason), retry_after_ms.unwrap_or(0)),
            Outcome::Stored { id, .. } if *id != post.id => (None, 0),
            Outcome::Stored { .. } | Outcome::Unknown => return,
        };
        let Some(used) = self.users.get_mut(&charge.user) else {
            return;
        };
        let limits = &self.config.user;
        used.uses
            .give_back_comment(limits, &charge.topic, charge.charged);
        let told = match refused {
            (Some(Reason::RateLimited), ms) => CommentRefusal::RateLimited(ms),
            (Some(Reason::SlowMode), ms) => CommentRefusal::SlowMode(ms),
            (Some(_) | None, _) => return,
        };
        used.uses
            .hold_comments_off(limits, &charge.topic, told, self.now.0);
    }

    /// Nobody knows whether the post is stored.
    fn unconfirmed(&mut self, key: u128, post: Post, out: &mut Vec<Output>) {
        let PostState::Waiting { client_id, tell } = post.state else {
            return;
        };
        self.stats.posts_unconfirmed += 1;
        let refusal = unconfirmed_error(client_id.as_str());
        tell.iter()
            .for_each(|connection| self.refuse(connection, refusal.clone(), out));
        let post = Post {
            state: PostState::Unconfirmed { client_id, tell },
            ..post
        };
        let posts_max = self.config.values.limits.remembered_posts_max;
        self.stats.posts_evicted +=
            (self.posts).remember_unconfirmed(key, post, self.now, posts_max);
    }

    /// Posts and decisions that waited too long.
    pub(crate) fn posts_due(&mut self, out: &mut Vec<Output>) {
        let unconfirmed_ms = self.config.values.limits.unconfirmed_ms;
        while let Some((key, post)) = self.posts.overdue(self.now, unconfirmed_ms) {
            self.unconfirmed(key, post, out);
        }
        self.decisions_due(out);
        self.wait_for_posts();
    }
}

pub(super) fn unconfirmed_error(client_id: &str) -> Refusal<'_> {
    Refusal::new(
        ErrorCode::Unconfirmed,
        "whether the comment is stored is not known; send it again",
    )
    .of(Some(client_id))
}

pub(super) fn durable(
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
