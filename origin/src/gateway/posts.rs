//! The posts lane: publications in, through admission and pipelined into the log, outcomes out in groups.
//!
//! What was read from the lane is published whether or not the PoP stays: the log decides what is stored, and the PoP
//! sends again under the same key.

mod outcomes;

use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::backhaul::{Publish, Published, RefusedReactions, ToPop};
use chorus_protocol::codes::Reason;
use chorus_protocol::{CommentId, Outcome};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::SendStream;
use tokio::sync::{Semaphore, mpsc};

use super::admission::{Admitted, Checks, Found, LookUp, Publication, What};
use super::lane::{LaneError, Reader};
use super::pop::{CLOCKS_MS, Pop};
use super::routes::Post;
use crate::clock;
use crate::log::{Ack, Tag, Waiter};

/// Publications of one posts lane that have no outcome yet; at the bound the lane is read no further.
const IN_FLIGHT_MAX: usize = 8_192;
/// Look-ups for admission under way for one lane; more wait their turn.
const LOOK_UPS_MAX: usize = 256;
/// When to try again what the log certainly does not store now.
const UNWELL_RETRY_MS: u64 = 2_000;

/// Serves a posts lane until the PoP finishes it.
pub(super) async fn serve(
    pop: Arc<Pop>,
    send: SendStream,
    mut reader: Reader,
) -> Result<(), LaneError> {
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let (answered, answers) = mpsc::unbounded_channel();
    let (acks, acked) = mpsc::unbounded_channel();
    let outcomes = outcomes::write(
        Arc::clone(&pop.shared),
        send,
        answers,
        acked,
        Arc::clone(&room),
    );
    let outcomes = tokio::spawn(outcomes);
    let mut lane = Posts {
        pop,
        room,
        answered,
        acks,
        next: 0,
        checks: Checks::default(),
        spare: Vec::new(),
        look_ups: FuturesUnordered::new(),
        waiting: 0,
    };
    let ended = lane.read(&mut reader).await;
    lane.finish().await;
    // What is under way is still answered.
    drop(lane);
    let _ = outcomes.await;
    ended
}

struct Posts {
    pop: Arc<Pop>,
    /// One for each publication without an outcome; given back when that is written.
    room: Arc<Semaphore>,
    /// What is answered without the log.
    answered: mpsc::UnboundedSender<Published>,
    acks: mpsc::UnboundedSender<(Tag, Ack)>,
    next: u64,
    checks: Checks,
    /// Empty between two turns; kept for its memory.
    spare: Vec<Admitted>,
    look_ups: FuturesUnordered<BoxFuture<'static, (LookUp, Found)>>,
    /// As the metric was told.
    waiting: i64,
}

impl Posts {
    /// Reads to the lane's end. What is there at once is checked as one batch.
    async fn read(&mut self, reader: &mut Reader) -> Result<(), LaneError> {
        loop {
            let all = self.offer_ready(reader)?;
            self.carry_out().await;
            tokio::select! {
                more = reader.fill(), if all => if !more? {
                    return Ok(());
                },
                open = has_room(&self.room), if !all => if !open {
                    return Err(LaneError::gone("the outcomes cannot be written"));
                },
                Some((look_up, found)) = self.look_ups.next() => self.found(&look_up, &found),
            }
        }
    }

    /// Decides about all that still waits.
    async fn finish(&mut self) {
        loop {
            self.carry_out().await;
            let Some((look_up, found)) = self.look_ups.next().await else {
                return;
            };
            self.found(&look_up, &found);
        }
    }

    /// Checks what is there already; false when there is no room for more.
    fn offer_ready(&mut self, reader: &mut Reader) -> Result<bool, LaneError> {
        // This task alone takes permits.
        while self.room.available_permits() > 0 {
            let Some(publish) = reader.ready::<Publish>()? else {
                return Ok(true);
            };
            // Of a later version: whoever sent it hears nothing of it, as of what was lost.
            let Some(publish) = publish else { continue };
            match self.room.try_acquire() {
                Ok(permit) => permit.forget(),
                Err(_) => return Err(LaneError::gone("the outcomes cannot be written")),
            }
            self.offer(publish);
        }
        Ok(false)
    }

    fn offer(&mut self, publish: Publish) {
        let (request, publication) = match publish {
            Publish::Event { request, event } => (request, Publication::read_event(request, event)),
            Publish::Reactions {
                request,
                stream,
                key,
                by,
                users,
            } => {
                let publication = Publication::read_reactions(request, key, stream, by, users);
                (request, publication)
            }
        };
        let Some(publication) = publication else {
            return self.refuse(request, Reason::Invalid, None);
        };
        let shared = &self.pop.shared;
        let unwell = shared.metrics.health.refuses_posts();
        // With other regions the router says whether there is a log that takes it.
        let nowhere = unwell && shared.router.is_alone();
        match &publication.what {
            What::Event(event) => {
                let ahead_ms = event.id.minted_at().since(clock::now());
                let retry_after_ms = if ahead_ms > CLOCKS_MS {
                    // Its clock is wrong: the id would sort before what is written later.
                    ahead_ms - CLOCKS_MS
                } else if nowhere {
                    UNWELL_RETRY_MS
                } else if !self.pop.minted_rightly(event.id) {
                    1_000
                } else {
                    return self.checks.offer(&self.pop.shared.admission, publication);
                };
                self.refuse(request, Reason::Unavailable, Some(retry_after_ms));
            }
            // The PoP keeps the sum and sends it again.
            What::Reactions { .. } if unwell => self.answer(request, Outcome::Unknown),
            What::Reactions { .. } => self.checks.offer(&self.pop.shared.admission, publication),
        }
    }

    fn found(&mut self, look_up: &LookUp, found: &Found) {
        self.checks
            .found(&self.pop.shared.admission, look_up, found);
    }

    /// Carries out what was decided, in that order, and begins what must be looked up.
    async fn carry_out(&mut self) {
        let mut admitted = std::mem::take(&mut self.spare);
        self.checks.take_admitted(&mut admitted);
        for each in admitted.drain(..) {
            self.carry_out_one(each).await;
        }
        self.spare = admitted;
        while self.look_ups.len() < LOOK_UPS_MAX
            && let Some(look_up) = self.checks.next_look_up()
        {
            let shared = Arc::clone(&self.pop.shared);
            self.look_ups.push(Box::pin(async move {
                let found = shared.admission.look_up(&look_up).await;
                (look_up, found)
            }));
        }
        let waiting = i64::try_from(self.checks.waiting()).unwrap_or(i64::MAX);
        if waiting != self.waiting {
            let gauge = &self.pop.shared.metrics.admission_waiting;
            gauge.inc_by(waiting - self.waiting);
            self.waiting = waiting;
        }
    }

    async fn carry_out_one(&mut self, admitted: Admitted) {
        let shared = Arc::clone(&self.pop.shared);
        match admitted {
            Admitted::Event {
                request,
                key,
                stream,
                event,
                counted,
                home,
            } => {
                let mut waiter = self.waiter(request, key, 1);
                waiter.tag.id = Some(event.id);
                waiter.tag.counted = counted.then_some(event.author);
                let post = Post {
                    stream: &stream,
                    key,
                    home: home.as_ref(),
                };
                let published = shared.router.publish(post, event.body, waiter).await;
                if let Err(Waiter { tag, .. }) = published {
                    outcomes::give_back(&shared.admission, &tag);
                    self.refuse(request, Reason::Unavailable, Some(UNWELL_RETRY_MS));
                }
            }
            Admitted::RefusedIfNew {
                request,
                key,
                stream,
                id,
                home,
                reason,
                retry_after_ms,
            } => {
                let age_ms = clock::now().since(id.minted_at());
                let moved = self.pop.was_elsewhere(id);
                let age = Duration::from_millis(age_ms + CLOCKS_MS);
                let regions = shared.router.may_hold(home.as_ref(), age, moved);
                let mut waiter = self.waiter(request, key, regions.len());
                waiter.tag.id = Some(id);
                // Stored before it is answered by its id, whatever holds now.
                waiter.tag.refusal = Some((reason, retry_after_ms));
                for region in &regions {
                    let waiter = waiter.clone();
                    shared.log.find_repeat(region, &stream, key, waiter).await;
                }
            }
            Admitted::Reactions {
                request,
                key,
                stream,
                decision,
            } => {
                if !decision.refused.is_empty() {
                    self.tell_refused(decision.refused.clone());
                }
                if decision.by.is_empty() {
                    // Nothing is left to be added.
                    let (id, duplicate) = (CommentId(0), false);
                    return self.answer(request, Outcome::Stored { id, duplicate });
                }
                let waiter = self.waiter(request, key, decision.by.len());
                for (kind, by) in &decision.by {
                    let waiter = waiter.clone();
                    shared
                        .log
                        .publish_reaction(&stream, kind, key, *by, waiter)
                        .await;
                }
            }
            Admitted::Refused {
                request,
                reason,
                retry_after_ms,
            } => self.refuse(request, reason, retry_after_ms),
            Admitted::Answered { request, outcome } => self.answer(request, outcome),
            Admitted::Shed { request } => {
                shared.metrics.admission_shed.inc();
                self.answer(request, Outcome::Unknown);
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

    fn refuse(&self, request: u64, reason: Reason, retry_after_ms: Option<u64>) {
        self.pop.shared.metrics.refuse(reason.as_str());
        self.answer(request, Outcome::refused(reason, retry_after_ms));
    }

    fn answer(&self, request: u64, outcome: Outcome) {
        // Nobody hears it when the PoP is gone.
        let _ = self.answered.send(Published { request, outcome });
    }
}

/// Waits for room; false when there will be none.
async fn has_room(room: &Semaphore) -> bool {
    room.acquire().await.is_ok()
}
