//! From acknowledgements to outcomes: several that came together are written at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use chorus_protocol::backhaul::{Published, write_frame};
use chorus_protocol::codes::Reason;
use chorus_protocol::{CommentId, Envelope, Outcome};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::SendStream;
use tokio::sync::{Semaphore, mpsc};

use crate::gateway::GatewayShared;
use crate::gateway::admission::Admission;
use crate::gateway::routes::Turn;
use crate::log::{Ack, Tag};

/// Outcomes written at once.
const GROUP_MAX: usize = 1_024;
/// Repeats whose first message is being read; more wait.
const LOOK_UPS_MAX: usize = 64;

/// Publications in several parts, some of them acknowledged: by number, how many are not and what the others came to.
type Partly = HashMap<u64, (usize, Tag, Ack)>;

/// Writes outcomes until all are written and no more can come, or the PoP is gone.
pub(super) async fn write(
    shared: Arc<GatewayShared>,
    mut send: SendStream,
    mut answers: mpsc::UnboundedReceiver<Published>,
    mut acked: mpsc::UnboundedReceiver<(Tag, Ack)>,
    room: Arc<Semaphore>,
) {
    let mut partly = Partly::new();
    let mut look_ups: FuturesUnordered<BoxFuture<'static, Published>> = FuturesUnordered::new();
    let mut known = Vec::new();
    let mut acks = Vec::new();
    let mut bytes = Vec::new();
    // Answers without the log come until the lane is read to its end, acknowledgements until all that is under way has one.
    let (mut open, mut under) = (true, true);
    while open || under || !look_ups.is_empty() {
        tokio::select! {
            count = answers.recv_many(&mut known, GROUP_MAX), if open => open = count > 0,
            count = acked.recv_many(&mut acks, GROUP_MAX), if under && look_ups.len() < LOOK_UPS_MAX => {
                under = count > 0;
            }
            Some(found) = look_ups.next(), if !look_ups.is_empty() => known.push(found),
        }
        if !acks.is_empty() {
            shared.pace.count(acks.len());
        }
        while let Ok(published) = answers.try_recv() {
            known.push(published);
        }
        for (tag, ack) in acks.drain(..) {
            let Turn::Out(tag, ack) = shared.router.came_out(tag, ack) else {
                continue;
            };
            let Some((tag, ack)) = settle(&mut partly, tag, ack) else {
                continue;
            };
            match outcome(&tag, &ack) {
                Some(outcome) => {
                    if ack == Ack::Refused {
                        give_back(&shared.admission, &tag);
                    }
                    let request = tag.request;
                    known.push(Published { request, outcome });
                }
                None => look_ups.push(Box::pin(first(Arc::clone(&shared), tag, ack))),
            }
        }
        if known.is_empty() {
            continue;
        }
        room.add_permits(known.len());
        bytes.clear();
        for published in known.drain(..) {
            // An outcome is a few words: it always fits.
            let _ = write_frame(&published, &mut bytes);
        }
        if send.write_all(&bytes).await.is_err() {
            break;
        }
    }
    // Nobody reads the lane any more: whoever waits for room stops.
    room.close();
    let _ = send.finish();
}

/// Takes a part's acknowledgement; that of the whole publication when it was the last.
fn settle(partly: &mut Partly, tag: Tag, ack: Ack) -> Option<(Tag, Ack)> {
    if tag.parts <= 1 {
        return Some((tag, ack));
    }
    let number = tag.number;
    let left = match partly.entry(number) {
        Entry::Vacant(free) => {
            let left = tag.parts - 1;
            free.insert((left, tag, ack));
            left
        }
        Entry::Occupied(mut known) => {
            let (left, first, all) = known.get_mut();
            *left -= 1;
            // Several logs were asked for one event, or several types of reactions were added.
            if tag.refusal.is_none() {
                *all = worse(all, ack);
            } else if says_more(&ack, all) {
                (*first, *all) = (tag, ack);
            }
            *left
        }
    };
    if left > 0 {
        return None;
    }
    partly.remove(&number).map(|(_, tag, ack)| (tag, ack))
}

/// Whether a log's answer counts more than another's: it is stored when one has it, and refused when none can have it.
fn says_more(one: &Ack, other: &Ack) -> bool {
    let rank = |ack: &Ack| match ack {
        Ack::Stored { .. } => 2,
        Ack::Unknown => 1,
        Ack::Refused => 0,
    };
    rank(one) > rank(other)
}

/// Of several parts the one that says least counts.
fn worse(one: &Ack, other: Ack) -> Ack {
    match (one, &other) {
        (Ack::Unknown, _) | (_, Ack::Unknown) => Ack::Unknown,
        (Ack::Refused, _) => Ack::Refused,
        (
            Ack::Stored {
                duplicate: false, ..
            },
            Ack::Stored { .. },
        ) => one.clone(),
        (Ack::Stored { .. }, _) => other,
    }
}

/// The outcome, or `None` when the first message under the key must be read.
fn outcome(tag: &Tag, ack: &Ack) -> Option<Outcome> {
    match *ack {
        Ack::Unknown => Some(Outcome::Unknown),
        Ack::Refused => Some(match tag.refusal {
            // It was not stored before either.
            Some((reason, retry_after_ms)) => Outcome::refused(reason, retry_after_ms),
            // An earlier try may be stored; the log itself says what it does not take.
            None => Outcome::refused(Reason::Unavailable, Some(1_000)),
        }),
        Ack::Stored { duplicate, .. } => match tag.id {
            Some(_) if duplicate => None,
            Some(id) => Some(Outcome::Stored { id, duplicate }),
            // Reactions have no id of their own.
            None => Some(Outcome::Stored {
                id: CommentId(0),
                duplicate,
            }),
        },
    }
}

/// A repeat is known by the id of the first; that of a comment stored before it was counted here costs nothing.
async fn first(shared: Arc<GatewayShared>, tag: Tag, ack: Ack) -> Published {
    let seq = match ack {
        Ack::Stored { seq, .. } => seq,
        Ack::Refused | Ack::Unknown => 0,
    };
    let log = &shared.log;
    let region = tag.region.as_ref().unwrap_or(log.region());
    let asked = log.event_at(region, tag.partition, seq);
    let outcome = match log.registry().of_peer(region, asked).await {
        Ok(Some(body)) => match Envelope::read(&body).map(|envelope| envelope.id) {
            Some(id) => {
                if tag.id != Some(id) {
                    give_back(&shared.admission, &tag);
                }
                Outcome::Stored {
                    id,
                    duplicate: true,
                }
            }
            None => Outcome::Unknown,
        },
        // It is stored, but by which id cannot be said now.
        Ok(None) | Err(_) => Outcome::Unknown,
    };
    let request = tag.request;
    Published { request, outcome }
}

/// Takes back what a publication was counted as.
pub(super) fn give_back(admission: &Admission, tag: &Tag) {
    match &tag.counted {
        Some(user) => admission.comment_not_stored(user, tag.key),
        // Of several parts some may be stored.
        None if tag.id.is_none() && tag.parts == 1 => admission.reactions_not_stored(tag.key),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u64, parts: usize) -> Tag {
        Tag {
            number,
            parts,
            ..Tag::default()
        }
    }

    fn stored(duplicate: bool) -> Ack {
        Ack::Stored { seq: 7, duplicate }
    }

    #[test]
    fn a_publication_is_settled_by_its_last_part_and_the_worst_one_counts() {
        let mut partly = Partly::new();
        assert!(settle(&mut partly, tag(0, 1), stored(false)).is_some());
        assert!(partly.is_empty(), "one part waits for no other");
        for (parts, whole) in [
            ([stored(true), stored(true), stored(true)], stored(true)),
            ([stored(true), stored(false), stored(true)], stored(false)),
            ([stored(false), Ack::Refused, stored(false)], Ack::Refused),
            ([Ack::Refused, Ack::Unknown, stored(false)], Ack::Unknown),
        ] {
            let [first, second, third] = parts;
            assert!(settle(&mut partly, tag(1, 3), first).is_none());
            assert!(settle(&mut partly, tag(1, 3), second).is_none());
            // Another one in between is another one.
            assert!(settle(&mut partly, tag(2, 2), stored(true)).is_none());
            let (_, settled) = settle(&mut partly, tag(1, 3), third).expect("the last part");
            assert_eq!(settled, whole);
            assert!(settle(&mut partly, tag(2, 2), stored(true)).is_some());
            assert!(partly.is_empty());
        }
    }

    #[test]
    fn an_event_is_stored_when_one_log_has_it_and_refused_when_none_can() {
        let mut partly = Partly::new();
        let part = |partition| Tag {
            partition,
            refusal: Some((Reason::RateLimited, None)),
            ..tag(1, 3)
        };
        for (parts, whole, from) in [
            ([Ack::Refused, stored(true), Ack::Unknown], stored(true), 1),
            ([Ack::Refused, Ack::Unknown, Ack::Refused], Ack::Unknown, 1),
            ([Ack::Refused, Ack::Refused, Ack::Refused], Ack::Refused, 0),
        ] {
            let mut settled = None;
            for (partition, ack) in (0..).zip(parts) {
                assert!(settled.is_none());
                settled = settle(&mut partly, part(partition), ack);
            }
            let (tag, ack) = settled.expect("the last part");
            assert_eq!((tag.partition, ack), (from, whole), "read where it is");
        }
    }
}
