//! Joining and leaving streams, and how a stream begins and ends here.

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::codes::{CloseCode, ErrorCode};
use chorus_protocol::{Encoding, StreamId};

use super::Session;
use super::replies::Refusal;
use crate::conn::{Membership, Phase};
use crate::io::{ConnectionId, Output, TopicId};
use crate::stream::live::Live;
use crate::stream::resume::JobWaiter;
use crate::stream::{Resume, Stream, Waiter};
use crate::timers::Timer;

/// Streams remembered as not existing at the most; the oldest goes.
const MISSING_MAX: usize = 256;
/// For how long, in milliseconds: it may be created any moment.
const MISSING_MS: u64 = 5_000;

impl Session {
    pub(crate) fn join(
        &mut self,
        connection: ConnectionId,
        stream_id: &StreamId,
        resume: Option<&str>,
        out: &mut Vec<Output>,
    ) {
        let topic = self.topics.get(stream_id).copied();
        let streams_max = self.config.values.limits.streams_per_connection_max as usize;
        let Some(conn) = self.conns.get_mut(&connection) else {
            return;
        };
        if conn.silent_until.take().is_some() {
            self.timers
                .set(Timer::Connection(connection), conn.deadline());
        }
        if topic.is_some_and(|topic| conn.membership(topic).is_some()) {
            self.refuse(
                connection,
                Refusal::new(ErrorCode::AlreadyJoined, "the stream is joined already")
                    .on(stream_id.as_str()),
                out,
            );
            return;
        }
        if conn.joins.len() >= streams_max {
            let refusal = Refusal::new(ErrorCode::TooManyStreams, "leave another stream first")
                .on(stream_id.as_str());
            self.refuse(connection, refusal, out);
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let topic = topic.unwrap_or_else(|| {
            let topic = self.next_topic;
            self.next_topic = self.next_topic.wrapping_add(1).max(1);
            self.topics.insert(stream_id.clone(), topic);
            self.streams.insert(topic, Stream::new(stream_id.clone()));
            out.push(Output::Subscribe {
                topic,
                name: format!("stream:{stream_id}"),
            });
            topic
        });
        // Most connections watch one stream: no room for more.
        if conn.joins.is_empty() {
            conn.joins.reserve_exact(1);
        }
        conn.joins.push(Membership {
            topic,
            ticket,
            phase: Phase::Waiting,
        });
        let Some(stream) = self.streams.get_mut(&topic) else {
            return;
        };
        stream.present += 1;
        stream.empty_since = None;
        let waiter = Waiter {
            connection,
            ticket,
            resume: Resume::read(resume),
        };
        if stream.live.is_some() {
            self.admit(topic, waiter, out);
        } else {
            self.wait(topic, waiter);
        }
    }

    fn wait(&mut self, topic: TopicId, waiter: Waiter) {
        let Some(stream) = self.streams.get_mut(&topic) else {
            return;
        };
        // One that joins and leaves while the stream is away leaves its place behind.
        if stream.waiting.len() > 2 * stream.present as usize + 16 {
            let conns = &self.conns;
            stream.waiting.retain(|waiter| {
                conns
                    .get(&waiter.connection)
                    .and_then(|conn| conn.membership(topic))
                    .is_some_and(|membership| membership.ticket == waiter.ticket)
            });
        }
        stream.waiting.push(waiter);
    }

    pub(crate) fn leave(
        &mut self,
        connection: ConnectionId,
        stream_id: &StreamId,
        out: &mut Vec<Output>,
    ) {
        let topic = self.topics.get(stream_id).copied();
        let left = topic.and_then(|topic| self.take_membership(connection, topic));
        match left {
            Some((membership, encoding)) => {
                if membership.phase == Phase::Joined {
                    out.push(Output::Leave {
                        connection,
                        topic: membership.topic,
                    });
                }
                self.absent(&membership, encoding);
            }
            None => self.refuse(
                connection,
                Refusal::new(ErrorCode::NotJoined, "the stream is not joined")
                    .on(stream_id.as_str()),
                out,
            ),
        }
    }

    pub(crate) fn take_membership(
        &mut self,
        connection: ConnectionId,
        topic: TopicId,
    ) -> Option<(Membership, Encoding)> {
        let conn = self.conns.get_mut(&connection)?;
        let index = conn.joins.iter().position(|join| join.topic == topic)?;
        Some((conn.joins.remove(index), conn.encoding))
    }

    /// A membership has ended.
    pub(crate) fn absent(&mut self, membership: &Membership, encoding: Encoding) {
        let now = self.now;
        if let Some(stream) = self.streams.get_mut(&membership.topic) {
            stream.present = stream.present.saturating_sub(1);
            if membership.phase == Phase::Joined {
                let members = &mut stream.members[Self::member_index(encoding)];
                *members = members.saturating_sub(1);
            }
            if stream.present == 0 {
                stream.empty_since = Some(now);
            }
            self.touched.insert(membership.topic);
        }
    }

    /// From now on broadcasts reach the connection.
    pub(crate) fn become_member(
        &mut self,
        connection: ConnectionId,
        topic: TopicId,
        out: &mut Vec<Output>,
    ) {
        let now = self.now;
        let (Some(conn), Some(stream)) = (
            self.conns.get_mut(&connection),
            self.streams.get_mut(&topic),
        ) else {
            return;
        };
        let Some(live) = &stream.live else {
            return;
        };
        let audience = conn.standing(&live.info.broadcaster_id, now).audience();
        let encoding = conn.encoding;
        if let Some(membership) = conn.membership_mut(topic)
            && membership.phase != Phase::Joined
        {
            membership.phase = Phase::Joined;
            stream.members[Self::member_index(encoding)] += 1;
            out.push(Output::Join {
                connection,
                topic,
                audience,
            });
            self.touched.insert(topic);
        }
    }

    /// The host says how a stream stands: the answer to `Subscribe`, or again after a gap.
    pub(crate) fn stream_state(
        &mut self,
        topic: TopicId,
        mut state: StreamState,
        out: &mut Vec<Output>,
    ) {
        let Some(stream) = self.streams.get_mut(&topic) else {
            return;
        };
        self.missing.retain(|(_, missing)| *missing != stream.id);
        let (waiting, mut before) = match stream.live.take() {
            Some(mut live) if live.holes.is_empty() && live.known == state.at => {
                // Nothing was missed: only what is said of the stream may have changed.
                let life = state.life();
                let reactions = state.reactions.into_iter().collect();
                live.count(reactions, Some(state.viewer_count));
                stream.live = Some(live);
                self.touched.insert(topic);
                self.stream_life(topic, life, out);
                return;
            }
            Some(mut live) => {
                state.take_life(&live.life());
                // There is a gap: who was shown the part before comes back and is told the truth.
                live.holes.iter().for_each(|hole| {
                    self.asked.remove(&hole.request);
                });
                let again = self.close_members(topic, &mut live, out);
                self.drop_kept(&live, out);
                (again, Some(live))
            }
            None => (std::mem::take(&mut stream.waiting), None),
        };
        let live = Live::new(state, before.as_deref_mut(), self.now, &mut self.stats);
        if let Some(stream) = self.streams.get_mut(&topic) {
            stream.live = Some(Box::new(live));
        }
        for waiter in waiting {
            self.admit(topic, waiter, out);
        }
        self.touched.insert(topic);
    }

    /// Closes all that were shown a part of the stream; gives back those that were not.
    fn close_members(
        &mut self,
        topic: TopicId,
        live: &mut Live,
        out: &mut Vec<Output>,
    ) -> Vec<Waiter> {
        self.close_shown(topic, out);
        let mut again: Vec<Waiter> = live.ahead.drain(..).map(|ahead| ahead.waiter).collect();
        for job in live.jobs.drain(..) {
            self.asked.remove(&job.request);
            for JobWaiter {
                connection, ticket, ..
            } in job.waiters
            {
                let resume = Resume::From(job.from.clone());
                again.push(Waiter {
                    connection,
                    ticket,
                    resume,
                });
            }
        }
        again
    }

    /// Closes the members of a stream, and those that catch up, with 1001: their tokens say where they are.
    pub(crate) fn close_shown(&mut self, topic: TopicId, out: &mut Vec<Output>) {
        let mut shown: Vec<ConnectionId> = self
            .conns
            .iter()
            .filter(|(_, conn)| {
                conn.membership(topic)
                    .is_some_and(|join| join.phase != Phase::Waiting)
            })
            .map(|(&connection, _)| connection)
            .collect();
        shown.sort_unstable();
        for connection in shown {
            self.stats.gap_closed += 1;
            self.close(
                connection,
                CloseCode::GoingAway,
                "a part of the stream was missed; resume",
                out,
            );
        }
    }

    /// The host says that there is no such stream.
    pub(crate) fn stream_missing(&mut self, topic: TopicId, out: &mut Vec<Output>) {
        let Some(stream) = self.streams.get(&topic) else {
            return;
        };
        let stream_id = stream.id.clone();
        self.missing.push_back((self.now, stream_id.clone()));
        if self.missing.len() > MISSING_MAX {
            self.missing.pop_front();
        }
        let mut here: Vec<ConnectionId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.membership(topic).is_some())
            .map(|(&connection, _)| connection)
            .collect();
        here.sort_unstable();
        for connection in here {
            if let Some((membership, _)) = self.take_membership(connection, topic)
                && membership.phase == Phase::Joined
            {
                out.push(Output::Leave { connection, topic });
            }
            let refusal = Refusal::new(ErrorCode::StreamNotFound, "there is no such stream")
                .on(stream_id.as_str());
            self.refuse(connection, refusal, out);
        }
        self.drop_stream(topic, out);
    }

    /// Gives a stream up.
    pub(crate) fn drop_stream(&mut self, topic: TopicId, out: &mut Vec<Output>) {
        let Some(stream) = self.streams.remove(&topic) else {
            return;
        };
        self.topics.remove(&stream.id);
        self.timers.set(Timer::Stream(topic), None);
        self.touched.remove(&topic);
        if let Some(live) = &stream.live {
            self.drop_kept(live, out);
            let asked = live.jobs.iter().map(|job| job.request);
            for request in asked.chain(live.holes.iter().map(|hole| hole.request)) {
                self.asked.remove(&request);
            }
        }
        out.push(Output::Unsubscribe(topic));
    }

    fn drop_kept(&self, live: &Live, out: &mut Vec<Output>) {
        out.extend(
            live.kept
                .iter()
                .filter_map(|kept| kept.blob.map(Output::Forget)),
        );
    }

    /// Whether a stream was found not to exist a short while ago.
    pub(crate) fn is_missing(&self, stream_id: &str) -> bool {
        self.missing
            .iter()
            .any(|(at, missing)| missing.as_str() == stream_id && self.now.since(*at) < MISSING_MS)
    }
}
