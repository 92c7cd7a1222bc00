//! The checks of one lane's publications, in order for each user and stream.
//!
//! Sans-IO: fed with publications and with what was looked up; gives what is to be looked up and, for each publication
//! once, how it is let in or not. What can be decided from memory is decided at once. What needs a look-up waits, and
//! behind it what the same user publishes to the same stream; everybody else goes on. The same look-up is under way once.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use chorus_protocol::backhaul::UserReactions;
use chorus_protocol::codes::Reason;
use chorus_protocol::rate::CommentRefusal;
use chorus_protocol::server::Reactions;
use chorus_protocol::stream::{Life, StreamStatus};
use chorus_protocol::{CommentId, Outcome, Region, StreamId, UserId};

use super::ledger::{Comment, Decision};
use super::publication::{Event, Publication, What};
use super::rules::Not;
use crate::store::Author;

/// Publications of one lane that wait for a look-up; one more is answered as unknown and counted (metric
/// `admission_shed`): the PoP sends it again. Less than what a lane may have under way, so that others go on.
const WAITING_MAX: usize = 4_096;
/// Of them those of one stream, with the same policy.
const WAITING_OF_STREAM_MAX: usize = 1_024;
/// When to ask again while history cannot be read.
const RETRY_MS: u64 = 1_000;

/// What is known without a wait.
pub(in crate::gateway) trait Known {
    /// How a stream stands; within, `None` when there is none. `None`: it must be looked up.
    fn stream(&self, stream: &StreamId) -> Option<Option<Arc<Life>>>;
    /// Counts a comment in its author's limits; true when it was counted.
    ///
    /// # Errors
    /// The limit that holds it.
    fn comment(&self, comment: &Comment<'_>) -> Result<bool, CommentRefusal>;
    /// Counts reactions in their users' limits.
    fn reactions(
        &self,
        stream: &StreamId,
        key: u128,
        by: Reactions,
        users: Vec<UserReactions>,
    ) -> Arc<Decision>;
}

/// What must be looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::gateway) enum LookUp {
    Stream(StreamId),
    /// Who wrote a comment.
    Author(StreamId, CommentId),
}

/// Nobody can say now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Away;

/// What a look-up came to; within, `None` when there is no such thing.
#[derive(Clone, Debug)]
pub(in crate::gateway) enum Found {
    Stream(Result<Option<Arc<Life>>, Away>),
    Author(Result<Option<Author>, Away>),
}

/// How a publication is let in or not.
#[derive(Debug)]
pub(in crate::gateway) enum Admitted {
    /// To be published.
    Event {
        request: u64,
        key: u128,
        stream: StreamId,
        event: Event,
        /// It was counted in its author's limits.
        counted: bool,
        /// The one region whose log may have it.
        home: Option<Region>,
    },
    /// An event that is refused, unless an earlier try of it is stored.
    RefusedIfNew {
        request: u64,
        key: u128,
        stream: StreamId,
        id: CommentId,
        /// As for [`Admitted::Event`].
        home: Option<Region>,
        reason: Reason,
        retry_after_ms: Option<u64>,
    },
    /// What the limits let in is to be added.
    Reactions {
        request: u64,
        key: u128,
        stream: StreamId,
        decision: Arc<Decision>,
    },
    Refused {
        request: u64,
        reason: Reason,
        retry_after_ms: Option<u64>,
    },
    Answered {
        request: u64,
        outcome: Outcome,
    },
    /// There was no room to wait in.
    Shed {
        request: u64,
    },
}

/// The publications of a lane that wait, and what became of the others.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Checks {
    streams: HashMap<StreamId, Waiting>,
    waiting: usize,
    look_ups: LookUps,
    admitted: Vec<Admitted>,
}

/// The publications of one stream that wait: the first of each user for a look-up, the others for the one before.
/// Reactions are of no user.
#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    of_users: HashMap<Option<UserId>, VecDeque<Publication>>,
}

#[derive(Debug, Default)]
struct LookUps {
    /// Those that are not answered, and whose first publications wait for each.
    asked: HashMap<LookUp, Vec<Option<UserId>>>,
    /// Those of them that nobody has begun.
    next: VecDeque<LookUp>,
}

enum Step {
    Done(Admitted),
    Wait(Publication, LookUp),
}

impl Checks {
    /// Checks a publication, or lets it wait.
    pub(in crate::gateway) fn offer(&mut self, known: &impl Known, publication: Publication) {
        let of_stream = self.streams.get(&publication.stream);
        let behind = of_stream.is_some_and(|waiting| {
            let user = publication.user().cloned();
            waiting.of_users.contains_key(&user)
        });
        if behind {
            self.wait(publication, None);
            return;
        }
        match check(known, publication, None) {
            Step::Done(admitted) => self.admitted.push(admitted),
            Step::Wait(publication, look_up) => self.wait(publication, Some(look_up)),
        }
    }

    /// Takes the answer of a look-up.
    pub(in crate::gateway) fn found(
        &mut self,
        known: &impl Known,
        look_up: &LookUp,
        found: &Found,
    ) {
        let stream = match look_up {
            LookUp::Stream(stream) | LookUp::Author(stream, _) => stream,
        };
        let Some(of_stream) = self.streams.get_mut(stream) else {
            return;
        };
        for user in self.look_ups.asked.remove(look_up).unwrap_or_default() {
            let Some(mut queue) = of_stream.of_users.remove(&user) else {
                continue;
            };
            while let Some(publication) = queue.pop_front() {
                match check(known, publication, Some((look_up, found))) {
                    Step::Done(admitted) => {
                        self.admitted.push(admitted);
                        of_stream.count -= 1;
                        self.waiting -= 1;
                    }
                    Step::Wait(publication, next) => {
                        queue.push_front(publication);
                        self.look_ups.ask(next, user.clone());
                        of_stream.of_users.insert(user, queue);
                        break;
                    }
                }
            }
        }
        if of_stream.count == 0 {
            self.streams.remove(stream);
        }
    }

    /// A look-up to be begun; its answer goes to [`Self::found`].
    pub(in crate::gateway) fn next_look_up(&mut self) -> Option<LookUp> {
        self.look_ups.next.pop_front()
    }

    /// What was decided since, in the order in which it is to be carried out. Swapped with an empty `spare`.
    pub(in crate::gateway) fn take_admitted(&mut self, spare: &mut Vec<Admitted>) {
        std::mem::swap(&mut self.admitted, spare);
    }

    /// How many wait.
    pub(in crate::gateway) fn waiting(&self) -> usize {
        self.waiting
    }

    fn wait(&mut self, publication: Publication, look_up: Option<LookUp>) {
        let stream = publication.stream.clone();
        let of_stream = self.streams.entry(stream).or_default();
        if self.waiting >= WAITING_MAX || of_stream.count >= WAITING_OF_STREAM_MAX {
            let request = publication.request;
            if of_stream.count == 0 {
                self.streams.remove(&publication.stream);
            }
            self.admitted.push(Admitted::Shed { request });
            return;
        }
        of_stream.count += 1;
        self.waiting += 1;
        let user = publication.user().cloned();
        if let Some(look_up) = look_up {
            self.look_ups.ask(look_up, user.clone());
        }
        let queue = of_stream.of_users.entry(user).or_default();
        queue.push_back(publication);
    }
}

impl LookUps {
    fn ask(&mut self, look_up: LookUp, user: Option<UserId>) {
        match self.asked.entry(look_up) {
            Entry::Occupied(asked) => asked.into_mut().push(user),
            Entry::Vacant(free) => {
                self.next.push_back(free.key().clone());
                free.insert(vec![user]);
            }
        }
    }
}

/// Decides about a publication with what is known and with what was `found`, or says what must be looked up.
fn check(
    known: &impl Known,
    mut publication: Publication,
    found: Option<(&LookUp, &Found)>,
) -> Step {
    let request = publication.request;
    let life = match publication.life.take() {
        Some(life) => life,
        None => match find_stream(known, &publication.stream, found) {
            Some(found) => match check_stream(found.clone(), publication.to_ended()) {
                Ok(life) => life,
                Err(Some(reason)) => {
                    let home = found.ok().flatten();
                    let home = home.and_then(|life| life.info.home_region.clone());
                    let What::Event(event) = &publication.what else {
                        return refused(request, reason, None);
                    };
                    let of = (request, publication.key, publication.stream, home);
                    return refused_if_new(of, event.id, reason, None);
                }
                // Whether it exists is not known; an earlier try may even be stored.
                Err(None) => return answered(request, Outcome::Unknown),
            },
            None => {
                let look_up = LookUp::Stream(publication.stream.clone());
                return Step::Wait(publication, look_up);
            }
        },
    };
    let (key, stream) = (publication.key, publication.stream);
    match publication.what {
        What::Event(event) => check_event(known, (request, key, stream, life), event, found),
        What::Reactions { by, users } => {
            let decision = known.reactions(&stream, key, by, users);
            Step::Done(Admitted::Reactions {
                request,
                key,
                stream,
                decision,
            })
        }
    }
}

type FoundStream = Result<Option<Arc<Life>>, Away>;

/// `None`: it must be looked up.
fn find_stream(
    known: &impl Known,
    stream: &StreamId,
    found: Option<(&LookUp, &Found)>,
) -> Option<FoundStream> {
    match found {
        Some((LookUp::Stream(of), Found::Stream(found))) if of == stream => Some(found.clone()),
        _ => known.stream(stream).map(Ok),
    }
}

/// Why a stream takes nothing; `None`: whether it does is not known.
fn check_stream(found: FoundStream, to_ended: bool) -> Result<Arc<Life>, Option<Reason>> {
    let Ok(found) = found else { return Err(None) };
    let life = found.ok_or(Reason::StreamNotFound)?;
    match life.info.status {
        StreamStatus::Ended if !to_ended => Err(Some(Reason::StreamEnded)),
        StreamStatus::Unknown if !to_ended => Err(Some(Reason::CommentsOff)),
        StreamStatus::Live | StreamStatus::Ended | StreamStatus::Unknown => Ok(life),
    }
}

fn check_event(
    known: &impl Known,
    (request, key, stream, life): (u64, u128, StreamId, Arc<Life>),
    event: Event,
    found: Option<(&LookUp, &Found)>,
) -> Step {
    let home = life.info.home_region.clone();
    let mut allowed = event.rule.check_role(event.role);
    if let (Ok(()), Some(target)) = (allowed, event.target) {
        let look_up = LookUp::Author(stream.clone(), target);
        allowed = match found {
            Some((of, Found::Author(found))) if *of == look_up => match found {
                Ok(author) => {
                    let author = author.as_ref();
                    event.rule.check_target(author, &event.author, event.role)
                }
                Err(Away) => return refused(request, Reason::Unavailable, Some(RETRY_MS)),
            },
            _ => {
                let publication = Publication {
                    request,
                    key,
                    stream,
                    what: What::Event(event),
                    life: Some(life),
                };
                return Step::Wait(publication, look_up);
            }
        };
    }
    match allowed {
        Ok(()) => {}
        Err(Not::Allowed(reason)) => {
            return refused_if_new((request, key, stream, home), event.id, reason, None);
        }
        Err(Not::Needed(id)) => {
            let duplicate = true;
            return answered(request, Outcome::Stored { id, duplicate });
        }
    }
    let counted = event.rule.counted;
    let counted = counted.then(|| known.comment(&event.as_comment(&life.info, key)));
    match counted.transpose() {
        Ok(counted) => Step::Done(Admitted::Event {
            request,
            key,
            stream,
            counted: counted == Some(true),
            event,
            home,
        }),
        Err(refusal) => {
            let (reason, retry_after_ms) = (refusal.reason(), Some(refusal.retry_after_ms()));
            refused_if_new(
                (request, key, stream, home),
                event.id,
                reason,
                retry_after_ms,
            )
        }
    }
}

/// The log says whether it is new.
fn refused_if_new(
    (request, key, stream, home): (u64, u128, StreamId, Option<Region>),
    id: CommentId,
    reason: Reason,
    retry_after_ms: Option<u64>,
) -> Step {
    Step::Done(Admitted::RefusedIfNew {
        request,
        key,
        stream,
        id,
        home,
        reason,
        retry_after_ms,
    })
}

fn refused(request: u64, reason: Reason, retry_after_ms: Option<u64>) -> Step {
    Step::Done(Admitted::Refused {
        request,
        reason,
        retry_after_ms,
    })
}

fn answered(request: u64, outcome: Outcome) -> Step {
    Step::Done(Admitted::Answered { request, outcome })
}

#[cfg(test)]
mod tests;
