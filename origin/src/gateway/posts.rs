//! The posts lane: publications in, pipelined into the log, outcomes out in groups.
//!
//! What was read from the lane is published whether or not the PoP stays: the log decides what is stored, and the PoP
//! sends again under the same key.

mod outcomes;

use std::sync::Arc;

use chorus_protocol::backhaul::{Outcome, Publish, Published};
use chorus_protocol::comment::post_key;
use chorus_protocol::server::Reactions;
use chorus_protocol::{CommentId, StreamId, subject};
use quinn::SendStream;
use tokio::sync::{Semaphore, mpsc};

use self::outcomes::Sent;
use super::lane::{LaneError, Reader};
use super::pop::{CLOCKS_MS, Pop};
use crate::clock;
use crate::history;
use crate::log::Waiter;

/// Publications of one posts lane waiting for the log; at the bound the lane is read no further.
const IN_FLIGHT_MAX: usize = 8_192;
/// Reaction types in one publication.
const TYPES_MAX: usize = 64;
/// The most one publication may add to a total.
const INCREMENT_MAX: u64 = 1 << 32;

/// Serves a posts lane until the PoP finishes it.
pub(super) async fn serve(
    pop: Arc<Pop>,
    send: SendStream,
    mut reader: Reader,
) -> Result<(), LaneError> {
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let (sent, sents) = mpsc::unbounded_channel();
    let (acks, acked) = mpsc::unbounded_channel();
    let answers = outcomes::write(
        Arc::clone(&pop.shared),
        send,
        sents,
        acked,
        Arc::clone(&room),
    );
    let answers = tokio::spawn(answers);
    let mut lane = Posts {
        pop,
        sent,
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
    sent: mpsc::UnboundedSender<Sent>,
    acks: mpsc::UnboundedSender<(u64, crate::log::Ack)>,
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
                Ok(()) => {
                    let waiter = self.waiter(request, Some(id), 1);
                    let log = &self.pop.shared.log;
                    log.publish_comment(&stream, key, record, waiter).await;
                }
                Err(outcome) => self.answer(request, outcome),
            },
            Publish::Reactions {
                request,
                stream,
                key,
                by,
            } => match self.check_reactions(&stream, &by).await {
                Ok(()) => {
                    let waiter = self.waiter(request, None, by.len());
                    for (kind, by) in by {
                        let log = &self.pop.shared.log;
                        log.publish_reaction(&stream, &kind, key, by, waiter.clone())
                            .await;
                    }
                }
                Err(outcome) => self.answer(request, outcome),
            },
        }
    }

    fn waiter(&mut self, request: u64, id: Option<CommentId>, parts: usize) -> Waiter {
        let tag = self.next;
        self.next += 1;
        let _ = self.sent.send(Sent::Under {
            tag,
            request,
            id,
            parts,
        });
        Waiter {
            to: self.acks.clone(),
            tag,
        }
    }

    fn answer(&self, request: u64, outcome: Outcome) {
        let _ = self.sent.send(Sent::Known(Published { request, outcome }));
    }

    fn refuse(&self, reason: &'static str, retry_after_ms: Option<u64>) -> Outcome {
        self.pop.shared.metrics.refuse(reason);
        Outcome::Refused {
            reason: reason.to_owned(),
            retry_after_ms,
        }
    }

    async fn check(
        &self,
        stream: &StreamId,
        key: u128,
        id: CommentId,
        record: &[u8],
    ) -> Result<(), Outcome> {
        let Some(decoded) = history::decode(record) else {
            return Err(self.refuse("invalid", None));
        };
        let comment = &decoded.comment;
        let whole = comment.id == id
            && comment.stream_id == *stream
            && post_key(stream, &comment.user_id, &decoded.client_id) == key;
        if !whole {
            return Err(self.refuse("invalid", None));
        }
        let ahead_ms = id.minted_at().since(clock::now());
        if ahead_ms > CLOCKS_MS {
            // Its clock is wrong: the id would sort before what is written later.
            return Err(self.refuse("unavailable", Some(ahead_ms - CLOCKS_MS)));
        }
        if !self.pop.minted_rightly(id) {
            return Err(self.refuse("unavailable", Some(1_000)));
        }
        self.check_stream(stream).await
    }

    async fn check_reactions(&self, stream: &StreamId, by: &Reactions) -> Result<(), Outcome> {
        let whole = (1..=TYPES_MAX).contains(&by.len())
            && by.iter().all(|(kind, by)| {
                subject::is_reaction_type(kind) && (1..=INCREMENT_MAX).contains(by)
            });
        if !whole {
            return Err(self.refuse("invalid", None));
        }
        self.check_stream(stream).await
    }

    async fn check_stream(&self, stream: &StreamId) -> Result<(), Outcome> {
        use chorus_protocol::stream::StreamStatus;
        match self.pop.shared.directory.find(stream).await {
            Ok(Some(info)) if info.status == StreamStatus::Live => Ok(()),
            Ok(Some(_)) => Err(self.refuse("comments_off", None)),
            Ok(None) => Err(self.refuse("invalid", None)),
            // Whether it exists is not known; an earlier try may even be stored.
            Err(_) => Err(Outcome::Unknown),
        }
    }
}
