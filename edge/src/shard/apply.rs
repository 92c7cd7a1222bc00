//! Applies the outputs of the session: frames, memberships, subscriptions, publications.

use std::cell::OnceCell;

use chorus_protocol::backhaul::UserReactions;
use chorus_protocol::codes::Reason;
use chorus_protocol::session::ReplayRange;
use chorus_protocol::{Millis, Outcome};

use super::conn::{ConnId, DEFLATE, MSGPACK, Phase};
use super::engine::Engine;
use super::logic::SessionLogic;
use super::outbox::{FrameRef, Outbox};
use super::topics::{self, Membership};
use crate::component::{self, Audience, Encoding, Input, Output};
use crate::link::ToBackhaul;
use crate::metrics::ShardMetrics;
use crate::ws::deflate::{self, Deflater};
use crate::ws::frame::{self, Opcode};

/// Messages for the backhaul that are pending in the shard while the channel is full. At the bound further counts,
/// subscriptions and replays are dropped and counted (`backhaul_full`): a later count corrects the number of viewers,
/// reactions are lost.
const PENDING_MAX: usize = 65_536;
/// Bytes from which a blob is compressed in a send to one viewer. Only the blob is: it is the same for many viewers.
const SHARED_BYTES_MIN: usize = 256;

/// Bytes that the session had stored (`keep`), to be sent to many viewers.
#[derive(Debug)]
pub(super) struct Blob {
    data: Vec<u8>,
    /// The compressed form, made for the first viewer with compression; `None` when it is not smaller.
    deflated: OnceCell<Option<Box<[u8]>>>,
}

impl<L: SessionLogic> Engine<L> {
    /// Applies one output.
    pub(super) fn apply(&mut self, output: Output) {
        match output {
            Output::Send(send) => self.send(&send),
            Output::Broadcast(broadcast) => self.broadcast(&broadcast),
            Output::Keep(keep) => {
                let deflated = OnceCell::new();
                self.blobs.insert(
                    keep.blob,
                    Blob {
                        data: keep.data,
                        deflated,
                    },
                );
            }
            Output::Forget(blob) => {
                self.blobs.remove(&blob);
            }
            Output::Join(join) => self.join(&join),
            Output::Leave(leave) => {
                let removed = self
                    .wire
                    .find(ConnId(leave.connection))
                    .and_then(|conn| conn.memberships.remove(leave.topic));
                if let Some(membership) = removed {
                    self.leave_topic(membership.topic, membership.group, membership.index);
                }
            }
            Output::Publish(publish) => self.publish(publish),
            Output::Count(count) => self.count(count),
            Output::Subscribe(subscribe) => {
                if let Some(stream) = self.topics.open(subscribe.topic, &subscribe.name) {
                    let shard = self.spec.shard;
                    self.tell_backhaul(ToBackhaul::Subscribe { shard, stream });
                }
            }
            Output::Unsubscribe(topic) => self.unsubscribe(topic),
            Output::Replay(replay) => self.replay(&replay),
            Output::Close(close) => self.close(ConnId(close.connection), close.code, &close.reason),
            Output::WakeAt(at) => self.wake_at = Some(Millis(at)),
        }
    }

    fn stale(&self) {
        self.spec.metrics.outputs_stale.add(1);
    }

    fn send(&mut self, send: &component::Send) {
        let id = ConnId(send.connection);
        let Some(conn) = self.wire.find(id).filter(|conn| conn.phase == Phase::Open) else {
            // The connection was closed while the session handled the batch.
            return self.stale();
        };
        let opcode = opcode(conn.flags.has(MSGPACK));
        let blob = match send.blob {
            None => None,
            Some(number) => match self.blobs.get(&number) {
                Some(blob) => Some(blob),
                None => return self.stale(),
            },
        };
        self.spec.metrics.sends.add(1);
        let deflater = &mut self.deflater;
        let deflated = blob
            .filter(|blob| blob.data.len() >= SHARED_BYTES_MIN && self.wire.deflates(id.slot()))
            .and_then(|blob| {
                blob.deflated
                    .get_or_init(|| deflater.blob(&blob.data))
                    .as_deref()
            });
        let whole = blob.map_or(&[][..], |blob| &blob.data);
        let length = send.head.len() + whole.len() + send.tail.len();
        let patient = send.patient && blob.is_none() && self.pace.is_busy();
        if patient && self.wire.can_defer(id.slot()) {
            return self.wire.defer(id.slot(), self.turns, |into| {
                frame::write_header(opcode, false, length, into);
                into.extend_from_slice(&send.head);
                into.extend_from_slice(&send.tail);
            });
        }
        let frame = self.wire.outbox.build(|into| match deflated {
            Some(deflated) => {
                let mut message =
                    Vec::with_capacity(deflated.len() + send.head.len() + send.tail.len() + 32);
                deflate::spliced(&send.head, deflated, &send.tail, &mut message);
                self.spec.metrics.deflate_in_bytes.add(length as u64);
                self.spec
                    .metrics
                    .deflate_out_bytes
                    .add(message.len() as u64);
                frame::write_header(opcode, true, message.len(), into);
                into.extend_from_slice(&message);
            }
            None => {
                frame::write_header(opcode, false, length, into);
                into.extend_from_slice(&send.head);
                into.extend_from_slice(whole);
                into.extend_from_slice(&send.tail);
            }
        });
        self.wire.push(id.slot(), frame);
    }

    fn broadcast(&mut self, broadcast: &component::Broadcast) {
        let Some(topic) = self.topics.get(broadcast.topic) else {
            return self.stale();
        };
        let opcode = opcode(matches!(broadcast.encoding, Encoding::Msgpack));
        let metrics = &self.spec.metrics;
        metrics.broadcasts.add(1);
        for deflate in [false, true] {
            let members: usize = topics::groups(broadcast.audience, broadcast.encoding, deflate)
                .map(|group| topic.members(group).len())
                .sum();
            if members == 0 {
                continue;
            }
            metrics.deliveries.add(members as u64);
            let payload = (opcode, &broadcast.data[..], deflate);
            let mut frame = build(&mut self.wire.outbox, &mut self.deflater, metrics, payload);
            self.wire.count(frame, members);
            for group in topics::groups(broadcast.audience, broadcast.encoding, deflate) {
                for slot in topic.members(group) {
                    self.wire.push_counted(*slot as usize, frame);
                    if self.wire.outbox.has_no_frames() {
                        // The batch was full and was sent, so the frame is not in the outbox any more.
                        frame = build(&mut self.wire.outbox, &mut self.deflater, metrics, payload);
                    }
                }
            }
        }
    }

    fn join(&mut self, join: &component::Join) {
        let id = ConnId(join.connection);
        let Some(conn) = self
            .wire
            .conns
            .get_mut(id.slot())
            .filter(|conn| conn.id == id && conn.phase == Phase::Open)
        else {
            return self.stale();
        };
        if self.topics.get(join.topic).is_none() {
            return self.stale();
        }
        let moderator = matches!(join.audience, Audience::Moderators);
        let group = topics::group(moderator, conn.flags.has(MSGPACK), conn.flags.has(DEFLATE));
        // A second join changes the audience, so the member leaves its old group first.
        let old = conn.memberships.remove(join.topic);
        let slot = id.slot() as u32;
        if let Some(old) = old {
            self.leave_topic(old.topic, old.group, old.index);
        }
        let Some(topic) = self.topics.get_mut(join.topic) else {
            return;
        };
        let index = topic.add(group, slot);
        if let Some(conn) = self.wire.find(id) {
            conn.memberships.add(Membership {
                topic: join.topic,
                index,
                group,
            });
        }
    }

    fn unsubscribe(&mut self, handle: u32) {
        let Some(topic) = self.topics.close(handle) else {
            return self.stale();
        };
        for slot in topic.slots() {
            if let Some(conn) = self.wire.conns.get_mut(slot as usize) {
                conn.memberships.remove(handle);
            }
        }
        if let Some(stream) = topic.stream {
            let shard = self.spec.shard;
            self.tell_backhaul(ToBackhaul::Unsubscribe { shard, stream });
        }
    }

    fn publish(&mut self, publish: component::Publish) {
        let up = &self.spec.to_backhaul;
        let full = up.is_closed() || up.capacity() <= self.pending.len();
        self.spec.metrics.backhaul_full.add(u64::from(full));
        if full {
            // Certainly not stored, since it has not left this process.
            let refused = Outcome::refused(Reason::Unavailable, Some(1_000));
            return self.published(publish.request, refused);
        }
        self.unanswered
            .insert(publish.request, ConnId(publish.connection));
        self.pending.push_back(ToBackhaul::Publish {
            shard: self.spec.shard,
            request: publish.request,
            event: publish.event,
        });
    }

    fn count(&mut self, count: component::Count) {
        let Some(stream) = self
            .topics
            .get(count.topic)
            .and_then(|topic| topic.stream.clone())
        else {
            return self.stale();
        };
        let of_user = |of: component::UserReactions| {
            // The session takes user ids from tokens that it verified; an invalid one is skipped.
            let user = of.user.parse().ok()?;
            let by = of.reactions.into_iter().collect();
            Some(UserReactions { user, by })
        };
        let users = count.users.into_iter().filter_map(of_user).collect();
        self.tell_backhaul(ToBackhaul::Count {
            shard: self.spec.shard,
            stream,
            reactions: count.reactions.into_iter().collect(),
            users,
            viewers: count.viewers,
        });
    }

    fn replay(&mut self, replay: &component::Replay) {
        let stream = self
            .topics
            .get(replay.topic)
            .and_then(|topic| topic.stream.clone());
        let range = rmp_serde::from_slice::<ReplayRange>(&replay.range);
        let (Some(stream), Ok(range)) = (stream, range) else {
            self.stale();
            // Answered with a gap, because otherwise the viewer would wait forever.
            let gap = chorus_protocol::session::Replayed {
                gap: true,
                events: Vec::new(),
            };
            if let Ok(data) = rmp_serde::to_vec_named(&gap) {
                let request = replay.request;
                self.inputs
                    .push(Input::Replayed(component::Replayed { request, data }));
            }
            return;
        };
        self.tell_backhaul(ToBackhaul::Replay {
            shard: self.spec.shard,
            request: replay.request,
            stream,
            range,
        });
    }

    /// Queues a message for the backhaul; messages are sent in order at the end of the turn.
    pub(super) fn tell_backhaul(&mut self, message: ToBackhaul) {
        if self.pending.len() < PENDING_MAX {
            self.pending.push_back(message);
        } else {
            self.spec.metrics.backhaul_full.add(1);
        }
    }

    /// Sends the turn's messages to the backhaul, all at once, so that it is woken once. When the channel is full, the
    /// remaining ones stay pending until the next turn.
    pub(super) fn send_pending(&mut self) {
        use tokio::sync::mpsc::error::TrySendError;
        while let Some(message) = self.pending.pop_front() {
            if let Err(TrySendError::Full(message)) = self.spec.to_backhaul.try_send(message) {
                self.pending.push_front(message);
                self.spec.metrics.backhaul_full.add(1);
                break;
            }
        }
    }
}

/// Builds a frame with this payload, compressed if `deflate` is set and that makes it smaller.
fn build(
    outbox: &mut Outbox,
    deflater: &mut Deflater,
    metrics: &ShardMetrics,
    (opcode, data, deflate): (Opcode, &[u8], bool),
) -> FrameRef {
    outbox.build(|into| {
        let mut compressed = Vec::new();
        if deflate && deflater.message(data, &mut compressed) {
            metrics.deflate_in_bytes.add(data.len() as u64);
            metrics.deflate_out_bytes.add(compressed.len() as u64);
            frame::write_header(opcode, true, compressed.len(), into);
            into.extend_from_slice(&compressed);
        } else {
            frame::write_header(opcode, false, data.len(), into);
            into.extend_from_slice(data);
        }
    })
}

fn opcode(msgpack: bool) -> Opcode {
    if msgpack {
        Opcode::Binary
    } else {
        Opcode::Text
    }
}
