//! How a stream begins and ends here, who becomes a member of it and who ceases to be one.

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::codes::{CloseCode, ErrorCode};
use chorus_protocol::{Encoding, StreamId};

use super::Session;
use super::replies::Refusal;
use crate::conn::{Membership, Phase};
use crate::io::{ConnectionId, Output, TopicId};
use crate::stream::live::Live;
use crate::stream::resume::JobWaiter;
use crate::stream::{Resume, Waiter};
use crate::timers::Timer;

/// What the host knows a stream's topic by.
pub(crate) fn topic_name(stream: &StreamId) -> String {
    format!("stream:{stream}")
}

impl Session {
    /// A membership has ended.
    pub(crate) fn absent(&mut self, membership: &Membership, encoding: Encoding) {
        let now = self.now;
        if let Some(stream) = self.streams.get_mut(membership.topic) {
            stream.present = stream.present.saturating_sub(1);
            if membership.phase == Phase::Joined {
                let members = &mut stream.members[encoding as usize];
                *members = members.saturating_sub(1);
            }
            if stream.present == 0 {
                stream.empty_since = Some(now);
            }
            self.streams.touch(membership.topic);
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
        let (Some(conn), Some(stream)) =
            (self.conns.get_mut(connection), self.streams.get_mut(topic))
        else {
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
            stream.members[encoding as usize] += 1;
            out.push(Output::Join {
                connection,
                topic,
                audience,
            });
            self.streams.touch(topic);
        }
    }

    /// The host says how a stream stands: the answer to `Subscribe`, or again after a gap.
    pub(crate) fn stream_state(
        &mut self,
        topic: TopicId,
        mut state: StreamState,
        out: &mut Vec<Output>,
    ) {
        let Some(stream) = self.streams.found(topic) else {
            return;
        };
        let (waiting, mut before) = match stream.live.take() {
            Some(mut live) if !live.lost && live.holes.is_empty() && live.known == state.at => {
                // Nothing was missed: only what is said of the stream may have changed.
                let life = state.life();
                let reactions = state.reactions.into_iter().collect();
                live.count(reactions, Some(state.viewer_count));
                stream.live = Some(live);
                self.streams.touch(topic);
                self.stream_life(topic, life, out);
                return;
            }
            Some(mut live) => {
                state.take_life(&live.life());
                let mut again = std::mem::take(&mut stream.waiting);
                // There is a gap: who was shown the part before comes back and is told the truth.
                again.append(&mut self.close_members(topic, &mut live, out));
                drop_kept(&live, out);
                (again, Some(live))
            }
            None => (std::mem::take(&mut stream.waiting), None),
        };
        let live = Live::new(state, before.as_deref_mut(), self.now, &mut self.stats);
        if let Some(stream) = self.streams.get_mut(topic) {
            stream.live = Some(Box::new(live));
        }
        for waiter in waiting {
            self.admit(topic, waiter, out);
        }
        self.streams.touch(topic);
    }

    /// Asks the host how a stream stands, because a part of it is lost: who was shown the part before comes back, and
    /// whoever joins waits for the answer.
    pub(crate) fn state_lost(&mut self, topic: TopicId, out: &mut Vec<Output>) {
        let Some(stream) = self.streams.get_mut(topic) else {
            return;
        };
        let name = topic_name(&stream.id);
        let Some(mut live) = stream.live.take() else {
            return;
        };
        let mut again = self.close_members(topic, &mut live, out);
        live.holes.clear();
        live.pending.clear();
        live.lost = true;
        if let Some(stream) = self.streams.get_mut(topic) {
            stream.live = Some(live);
            stream.waiting.append(&mut again);
        }
        out.push(Output::Subscribe { topic, name });
        self.streams.touch(topic);
    }

    /// Closes all that were shown a part of the stream; gives back those that were not. What was asked of the logs is waited
    /// for no longer.
    fn close_members(
        &mut self,
        topic: TopicId,
        live: &mut Live,
        out: &mut Vec<Output>,
    ) -> Vec<Waiter> {
        for request in live.asked() {
            self.streams.take_asked(request);
        }
        self.close_shown(topic, out);
        let mut again: Vec<Waiter> = live.ahead.drain(..).map(|ahead| ahead.waiter).collect();
        for job in live.jobs.drain(..) {
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
        let shown = self.conns.of(topic, |join| join.phase != Phase::Waiting);
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
        let Some(stream) = self.streams.get(topic) else {
            return;
        };
        let stream_id = stream.id.clone();
        self.streams.note_missing(stream_id.clone(), self.now);
        let here = self.conns.of(topic, |_| true);
        for connection in here {
            if let Some((membership, _)) = self.conns.take_membership(connection, topic)
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
        let Some(stream) = self.streams.remove(topic) else {
            return;
        };
        self.timers.set(Timer::Stream(topic), None);
        if let Some(live) = &stream.live {
            drop_kept(live, out);
        }
        out.push(Output::Unsubscribe(topic));
    }
}

/// What the host holds of a stream is held no longer.
fn drop_kept(live: &Live, out: &mut Vec<Output>) {
    let blobs = live.kept.iter().filter_map(|kept| kept.blob);
    out.extend(blobs.map(Output::Forget));
}
