//! The posts lane: publications in, pipelined into the log, outcomes out in groups.
//!
//! What was read from the lane is published whether or not the PoP stays: the log decides what is stored, and the PoP
//! sends again under the same key.

mod outcomes;

use std::sync::Arc;

use chorus_protocol::backhaul::{
    Outcome, Publish, Published, REACTION_USERS_MAX, RefusedReactions, ToPop, UserReactions,
};
use chorus_protocol::codes::Reason;
use chorus_protocol::comment::post_key;
use chorus_protocol::server::Reactions;
use chorus_protocol::stream::{Life, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, StreamId, subject};
use quinn::SendStream;
use tokio::sync::{Semaphore, mpsc};

use super::admission::Written;
use super::lane::{LaneError, Reader};
use super::pop::{CLOCKS_MS, Pop};
use crate::clock;
use crate::history::{self, Posted, Standing};
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
            Publish::Comment {
                request,
                stream,
                key,
                id,
                record,
            } => match self.check(&stream, key, id, &record).await {
                Ok((posted, life)) => {
                    let mut waiter = self.waiter(request, key, 1);
                    waiter.tag.id = Some(id);
                    let shared = &self.pop.shared;
                    match shared.admission.comment(&written(&posted, &life.info, key)) {
                        Ok(counted) => {
                            waiter.tag.counted = counted.then_some(posted.user_id);
                            let publish = shared.log.publish_comment(&stream, key, record, waiter);
                            publish.await;
                        }
                        Err(refusal) => {
                            // Stored before it is answered by its id, whatever the limits are now.
                            waiter.tag.refusal = Some(refusal);
                            shared.log.find_repeat(&stream, key, waiter).await;
                        }
                    }
                }
                Err(outcome) => self.answer(request, outcome),
            },
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
        Outcome::Refused {
            reason: reason.as_str().to_owned(),
            retry_after_ms,
        }
    }

    async fn check(
        &self,
        stream: &StreamId,
        key: u128,
        id: CommentId,
        record: &[u8],
    ) -> Result<(Posted, Arc<Life>), Outcome> {
        let whole = history::posted(record, stream).filter(|posted| {
            posted.id == id && post_key(stream, &posted.user_id, &posted.client_id) == key
        });
        let Some(posted) = whole else {
            return Err(self.refuse(Reason::Invalid, None));
        };
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
        let life = self.check_stream(stream).await?;
        Ok((posted, life))
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
        match self.pop.shared.directory.find(stream).await {
            Ok(Some(life)) => match life.info.status {
                StreamStatus::Live => Ok(life),
                StreamStatus::Ended => Err(self.refuse(Reason::StreamEnded, None)),
                StreamStatus::Unknown => Err(self.refuse(Reason::CommentsOff, None)),
            },
            Ok(None) => Err(self.refuse(Reason::StreamNotFound, None)),
            // Whether it exists is not known; an earlier try may even be stored.
            Err(_) => Err(Outcome::Unknown),
        }
    }
}

/// What the limits are asked about a comment.
fn written<'a>(posted: &'a Posted, info: &'a StreamInfo, key: u128) -> Written<'a> {
    let slow_mode_ms = u64::from(info.settings.slow_mode_s) * 1_000;
    Written {
        user: &posted.user_id,
        admin: posted.standing == Standing::Admin,
        stream: &info.stream_id,
        key,
        slow_mode_ms: if posted.standing == Standing::User {
            slow_mode_ms
        } else {
            0
        },
    }
}
