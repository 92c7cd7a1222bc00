//! From acknowledgements to outcomes: several that came together are written at once.

use std::collections::HashMap;
use std::sync::Arc;

use chorus_protocol::CommentId;
use chorus_protocol::backhaul::{Outcome, Published, write_frame};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::SendStream;
use tokio::sync::{Semaphore, mpsc};

use crate::gateway::GatewayShared;
use crate::history;
use crate::log::{Ack, Log};

/// Outcomes written at once.
const GROUP_MAX: usize = 1_024;
/// Repeats whose first message is being read; more wait.
const LOOK_UPS_MAX: usize = 64;

/// What became of a publication on its way to the log.
pub(super) enum Sent {
    /// It is on its way, in so many parts.
    Under {
        tag: u64,
        request: u64,
        id: Option<CommentId>,
        parts: usize,
    },
    /// It was answered without the log.
    Known(Published),
}

struct Under {
    request: u64,
    id: Option<CommentId>,
    parts: usize,
    ack: Ack,
}

/// Writes outcomes until all are written and no more can come, or the PoP is gone.
pub(super) async fn write(
    shared: Arc<GatewayShared>,
    mut send: SendStream,
    mut sent: mpsc::UnboundedReceiver<Sent>,
    mut acked: mpsc::UnboundedReceiver<(u64, Ack)>,
    room: Arc<Semaphore>,
) {
    let mut under: HashMap<u64, Under> = HashMap::new();
    let mut look_ups: FuturesUnordered<BoxFuture<'static, Published>> = FuturesUnordered::new();
    let mut sents = Vec::new();
    let mut acks = Vec::new();
    let mut open = true;
    let mut bytes = Vec::new();
    while open || !under.is_empty() || !look_ups.is_empty() {
        let mut known = Vec::new();
        tokio::select! {
            count = sent.recv_many(&mut sents, GROUP_MAX), if open => open = count > 0,
            count = acked.recv_many(&mut acks, GROUP_MAX), if look_ups.len() < LOOK_UPS_MAX => {
                if count == 0 { break }
            }
            Some(found) = look_ups.next(), if !look_ups.is_empty() => known.push(found),
        }
        if !acks.is_empty() {
            shared.pace.gather(acks.len()).await;
            while acks.len() < GROUP_MAX
                && let Ok(ack) = acked.try_recv()
            {
                acks.push(ack);
            }
        }
        // What was sent is heard of before its acknowledgement.
        while let Ok(sent) = sent.try_recv() {
            sents.push(sent);
        }
        for sent in sents.drain(..) {
            match sent {
                Sent::Known(published) => known.push(published),
                Sent::Under {
                    tag,
                    request,
                    id,
                    parts,
                } => {
                    let ack = Ack::Stored {
                        seq: 0,
                        duplicate: true,
                    };
                    under.insert(
                        tag,
                        Under {
                            request,
                            id,
                            parts,
                            ack,
                        },
                    );
                }
            }
        }
        for (tag, ack) in acks.drain(..) {
            let Some(done) = settle(&mut under, tag, ack) else {
                continue;
            };
            match outcome(&done) {
                Some(outcome) => known.push(Published {
                    request: done.request,
                    outcome,
                }),
                None => look_ups.push(Box::pin(first(shared.log.clone(), done))),
            }
        }
        if known.is_empty() {
            continue;
        }
        bytes.clear();
        for published in &known {
            // An outcome is a few words: it always fits.
            let _ = write_frame(published, &mut bytes);
        }
        room.add_permits(known.len());
        if send.write_all(&bytes).await.is_err() {
            break;
        }
    }
    // Nobody reads the lane any more: whoever waits for room stops.
    room.close();
    let _ = send.finish();
}

/// Takes a part's acknowledgement; the publication when it was the last.
fn settle(under: &mut HashMap<u64, Under>, tag: u64, ack: Ack) -> Option<Under> {
    let entry = under.get_mut(&tag)?;
    entry.parts -= 1;
    entry.ack = worse(&entry.ack, ack);
    if entry.parts == 0 {
        under.remove(&tag)
    } else {
        None
    }
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
fn outcome(done: &Under) -> Option<Outcome> {
    match done.ack {
        Ack::Unknown => Some(Outcome::Unknown),
        // An earlier try may be stored; the log itself says what it does not take.
        Ack::Refused => Some(Outcome::Refused {
            reason: "unavailable".to_owned(),
            retry_after_ms: Some(1_000),
        }),
        Ack::Stored { duplicate, .. } => match done.id {
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

/// A repeat is known by the id of the first.
async fn first(log: Log, done: Under) -> Published {
    let seq = match done.ack {
        Ack::Stored { seq, .. } => seq,
        Ack::Refused | Ack::Unknown => 0,
    };
    let outcome = match log.record_at(seq).await {
        Ok(Some(record)) => match history::glance(&record) {
            Some((id, _)) => Outcome::Stored {
                id,
                duplicate: true,
            },
            None => Outcome::Unknown,
        },
        // It is stored, but by which id cannot be said now.
        Ok(None) | Err(_) => Outcome::Unknown,
    };
    Published {
        request: done.request,
        outcome,
    }
}
