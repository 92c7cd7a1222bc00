//! The posts lane: publications in, pipelined into the log, outcomes out in groups.
//!
//! What was read from the lane is published whether or not the PoP stays: the log decides what is stored, and the PoP
//! sends again under the same key.

mod outcomes;

use std::sync::Arc;

use chorus_protocol::backhaul::{
    Publish, Published, REACTION_USERS_MAX, RefusedReactions, ToPop, UserReactions,
};
use chorus_protocol::codes::Reason;
use chorus_protocol::event::{AuthorRole, EVENT_BYTES_MAX, kind};
use chorus_protocol::server::Reactions;
use chorus_protocol::stream::{Life, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, Envelope, Outcome, StreamId, UserId, subject};
use quinn::SendStream;
use tokio::sync::{Semaphore, mpsc};

use super::admission::{Comment, Removal};
use super::lane::{LaneError, Reader};
use super::pop::{CLOCKS_MS, Pop};
use crate::clock;
use crate::log::{Ack, Tag, Waiter};

/// Publications of one posts lane waiting for the log; at the bound the lane is read no further.
const IN_FLIGHT_MAX: usize = 8_192;
/// Reaction types in one publication.
const TYPES_MAX: usize = 64;
/// When to try again what the log certainly does not store now.
const UNWELL_RETRY_MS: u64 = 2_000;
/// The most one publication may add to a total.
const INCREMENT_MAX: u64 = 1 << 32;

/// Serves a posts lane until the PoP finishes it.
pub(super) async fn serve(
    pop: Arc<Pop>,
    send: SendStream,
    mut reader: Reader,
) -> Result<(), LaneError> {
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let (refused, refusals) = mpsc::unbounded_channel();
    let (acks, acked) = mpsc::unbounded_channel();
    let answers = outcomes::write(
        Arc::clone(&pop.shared),
        send,
        refusals,
        acked,
        Arc::clone(&room),
    );
    let answers = tokio::spawn(answers);
    let mut lane = Posts {
        pop,
        refused,
        acks,
        next: 0,
    };
    loop {
        while let Some(publish) = reader.ready::<Publish>()? {
            // Of a later version: whoever sent it hears nothing of it, as of what was lost.
            let Some(publish) = publish else { continue };
            // Given back when the outcome is written.
            match room.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_) => return Err(LaneError::gone("the answers cannot be written")),
            }
            lane.publish(publish).await;
        }
        if !reader.fill().await? {
            break;
        }
    }
    // What is under way is still answered.
    drop(lane);
    let _ = answers.await;
    Ok(())
}

struct Posts {
    pop: Arc<Pop>,
    /// What is answered without the log.
    refused: mpsc::UnboundedSender<Published>,
    acks: mpsc::UnboundedSender<(Tag, Ack)>,
    next: u64,
}

impl Posts {
    async fn publish(&mut self, publish: Publish) {
        match publish {
            Publish::Event { request, event } => self.publish_event(request, event).await,
            Publish::Reactions {
                request,
                stream,
                key,
                by,
                users,
            } => match self.check_reactions(&stream, &by, &users).await {
                Ok(()) => {
                    let shared = &self.pop.shared;
                    let decision = shared.admission.reactions(&stream, key, by, users);
                    if !decision.refused.is_empty() {
                        self.tell_refused(decision.refused.clone());
                    }
                    if decision.by.is_empty() {
                        // Nothing is left to be added.
                        let (id, duplicate) = (CommentId(0), false);
                        return self.answer(request, Outcome::Stored { id, duplicate });
                    }
                    let waiter = self.waiter(request, key, decision.by.len());
                    let log = &self.pop.shared.log;
                    for (kind, by) in &decision.by {
                        log.publish_reaction(&stream, kind, key, *by, waiter.clone())
                            .await;
                    }
                }
                Err(outcome) => self.answer(request, outcome),
            },
        }
    }

    async fn publish_event(&mut self, request: u64, event: Vec<u8>) {
        let written = match self.check(&event).await {
            Ok(written) => written,
            Err(outcome) => return self.answer(request, outcome),
        };
        let mut waiter = self.waiter(request, written.key, 1);
        waiter.tag.id = Some(written.id);
        let shared = &self.pop.shared;
        let (stream, key) = (&written.life.info.stream_id, written.key);
        match written.what {
            What::Comment => match shared.admission.comment(&written.as_comment()) {
                Ok(counted) => {
                    waiter.tag.counted = counted.then(|| written.author.clone());
                    shared.log.publish_event(stream, key, event, waiter).await;
                }
                Err(refusal) => {
                    // Stored before it is answered by its id, whatever the limits are now.
                    waiter.tag.refusal = Some(refusal);
                    shared.log.find_repeat(stream, key, waiter).await;
                }
            },
            What::Removal(comment) => {
                // Whose comment it is must be looked up: the lane goes on meanwhile.
                let shared = Arc::clone(shared);
                let refused = self.refused.clone();
                tokio::spawn(async move {
                    let stream = &written.life.info.stream_id;
                    let removal = Removal {
                        stream,
                        comment,
                        by: &written.author,
                        role: written.role,
                    };
                    match removal.decide(&shared.history, &shared.metrics).await {
                        None => shared.log.publish_event(stream, key, event, waiter).await,
                        // Nobody hears it when the PoP is gone.
                        Some(outcome) => drop(refused.send(Published { request, outcome })),
                    }
                });
            }
        }
    }

    /// Over another lane: this one goes on meanwhile.
    fn tell_refused(&self, refused: Vec<RefusedReactions>) {
        let pop = Arc::clone(&self.pop);
        tokio::spawn(async move {
            if let Err(error) = pop.tell(&ToPop::ReactionsRefused(refused)).await {
                tracing::debug!(%error, "refused reactions were not told");
            }
        });
    }

    fn waiter(&mut self, request: u64, key: u128, parts: usize) -> Waiter {
        let tag = Tag {
            number: self.next,
            request,
            key,
            parts,
            ..Tag::default()
        };
        self.next += 1;
        let to = self.acks.clone();
        Waiter { to, tag }
    }

    fn answer(&self, request: u64, outcome: Outcome) {
        let _ = self.refused.send(Published { request, outcome });
    }

    fn refuse(&self, reason: Reason, retry_after_ms: Option<u64>) -> Outcome {
        self.pop.shared.metrics.refuse(reason.as_str());
        Outcome::refused(reason, retry_after_ms)
    }

    /// What an event says, when it is one that may be let in.
    async fn check(&self, event: &[u8]) -> Result<Written, Outcome> {
        let invalid = || self.refuse(Reason::Invalid, None);
        if event.len() > EVENT_BYTES_MAX {
            return Err(invalid());
        }
        let envelope = Envelope::read(event).ok_or_else(invalid)?;
        let stream = envelope.stream_id().ok_or_else(invalid)?;
        let author = envelope.author_id().ok_or_else(invalid)?;
        let what = match (envelope.kind, envelope.target) {
            (kind::COMMENT, None) => What::Comment,
            (kind::REMOVAL, Some(comment)) => What::Removal(comment),
            // What has no rule here is not let in.
            _ => return Err(invalid()),
        };
        let id = envelope.id;
        let ahead_ms = id.minted_at().since(clock::now());
        if ahead_ms > CLOCKS_MS {
            // Its clock is wrong: the id would sort before what is written later.
            return Err(self.refuse(Reason::Unavailable, Some(ahead_ms - CLOCKS_MS)));
        }
        if self.pop.shared.metrics.health.refuses_posts() {
            return Err(self.refuse(Reason::Unavailable, Some(UNWELL_RETRY_MS)));
        }
        if !self.pop.minted_rightly(id) {
            return Err(self.refuse(Reason::Unavailable, Some(1_000)));
        }
        let life = match what {
            What::Comment => self.check_stream(&stream).await?,
            // An ended stream is still kept in order.
            What::Removal(_) => self.find_stream(&stream).await?,
        };
        Ok(Written {
            id,
            key: envelope.key,
            author,
            role: envelope.role,
            what,
            life,
        })
    }

    async fn check_reactions(
        &self,
        stream: &StreamId,
        by: &Reactions,
        users: &[UserReactions],
    ) -> Result<(), Outcome> {
        let fits = |by: &Reactions| {
            by.len() <= TYPES_MAX
                && by.iter().all(|(kind, by)| {
                    subject::is_reaction_type(kind) && (1..=INCREMENT_MAX).contains(by)
                })
        };
        let any = !by.is_empty() || !users.is_empty();
        let of_users = users.iter().all(|it| !it.by.is_empty() && fits(&it.by));
        if !any || users.len() > REACTION_USERS_MAX || !fits(by) || !of_users {
            return Err(self.refuse(Reason::Invalid, None));
        }
        if self.pop.shared.metrics.health.refuses_posts() {
            // The PoP keeps the sum and sends it again.
            return Err(Outcome::Unknown);
        }
        self.check_stream(stream).await.map(|_| ())
    }

    async fn check_stream(&self, stream: &StreamId) -> Result<Arc<Life>, Outcome> {
        let life = self.find_stream(stream).await?;
        match life.info.status {
            StreamStatus::Live => Ok(life),
            StreamStatus::Ended => Err(self.refuse(Reason::StreamEnded, None)),
            StreamStatus::Unknown => Err(self.refuse(Reason::CommentsOff, None)),
        }
    }

    async fn find_stream(&self, stream: &StreamId) -> Result<Arc<Life>, Outcome> {
        match self.pop.shared.directory.find(stream).await {
            Ok(Some(life)) => Ok(life),
            Ok(None) => Err(self.refuse(Reason::StreamNotFound, None)),
            // Whether it exists is not known; an earlier try may even be stored.
            Err(_) => Err(Outcome::Unknown),
        }
    }
}

/// What an event is.
enum What {
    Comment,
    /// Of this comment.
    Removal(CommentId),
}

/// An event that may be let in.
struct Written {
    id: CommentId,
    key: u128,
    author: UserId,
    role: AuthorRole,
    what: What,
    life: Arc<Life>,
}

impl Written {
    /// What the limits are asked about a comment.
    fn as_comment(&self) -> Comment<'_> {
        let StreamInfo {
            stream_id,
            settings,
            ..
        } = &self.life.info;
        Comment {
            user: &self.author,
            admin: self.role == AuthorRole::Admin,
            stream: stream_id,
            key: self.key,
            slow_mode_ms: if self.role.moderates() {
                0
            } else {
                u64::from(settings.slow_mode_s) * 1_000
            },
        }
    }
}
