//! What a stream has to send, each no more often than it may, and when it wants to be looked at again.

use std::collections::BTreeSet;

use chorus_protocol::{Encoding, Millis};

use super::Session;
use crate::encode::{ReactionsOut, ViewersOut, message};
use crate::io::{Audience, Output, RequestId, TopicId};
use crate::stream::resume::{Plan, plan};
use crate::stream::{Resume, Waiter};
use crate::timers::Timer;

/// How long a stream without a viewer is still followed, in milliseconds.
const GRACE_MS: u64 = 30_000;

/// Users whose reactions wait to be handed over together; with so many they go at once.
const REACTING_USERS_MAX: usize = 4_096;

/// Collects the deadlines that are still to come.
struct Due {
    now: Millis,
    next: Option<u64>,
}

impl Due {
    /// True when `at` has come; else it is a deadline.
    fn come(&mut self, at: Millis) -> bool {
        if at <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(at.0, |next| next.min(at.0)));
        false
    }
}

impl Session {
    pub(crate) fn settle_stream(&mut self, topic: TopicId, out: &mut Vec<Output>) {
        let mut due = Due {
            now: self.now,
            next: None,
        };
        self.settle_comments(topic, &mut due, out);
        self.settle_counts(topic, &mut due, out);
        self.settle_totals(topic, &mut due, out);
        self.settle_waiting(topic, &mut due, out);
        let empty_since = self
            .streams
            .get(topic)
            .and_then(|stream| stream.empty_since);
        if empty_since.is_some_and(|since| due.come(since.plus(GRACE_MS))) {
            self.drop_stream(topic, out);
            return;
        }
        self.timers.set(Timer::Stream(topic), due.next);
    }

    fn settle_comments(&mut self, topic: TopicId, due: &mut Due, out: &mut Vec<Output>) {
        let shard_per_s = self.sends.per_s(self.now.0);
        let Some(stream) = self.streams.get_mut(topic) else {
            return;
        };
        let members = stream.members_count();
        let batching = &self.config.values.batching;
        let at = stream
            .live
            .as_mut()
            .and_then(|live| live.flush_due(self.now, members, batching, shard_per_s));
        if at.is_some_and(|at| due.come(Millis(at))) {
            self.flush_stream(topic, out);
        }
    }

    /// What the host is to count.
    fn settle_counts(&mut self, topic: TopicId, due: &mut Due, out: &mut Vec<Output>) {
        let batching = &self.config.values.batching;
        let Some(stream) = self.streams.get_mut(topic) else {
            return;
        };
        let viewers_now = stream.members_count();
        let Some(live) = stream.live.as_mut() else {
            return;
        };
        let mut viewers = None;
        if viewers_now != stream.viewers_told
            && due.come(stream.viewers_told_at.plus(batching.viewers_ms))
        {
            viewers = Some(viewers_now);
            stream.viewers_told = viewers_now;
            stream.viewers_told_at = due.now;
        }
        let mut reactions = Vec::new();
        let mut users = Vec::new();
        let any = !live.taken.is_empty() || !live.taken_by.is_empty();
        let full = live.taken_by.len() >= REACTING_USERS_MAX;
        if any && (full || due.come(live.taken_told.plus(batching.reactions_ms))) {
            reactions = std::mem::take(&mut live.taken).into_iter().collect();
            let by_user = std::mem::take(&mut live.taken_by).into_iter();
            users = by_user
                .map(|(user, by)| (user, by.into_iter().collect()))
                .collect();
            live.taken_told = due.now;
        }
        if viewers.is_some() || !reactions.is_empty() || !users.is_empty() {
            out.push(Output::Count {
                topic,
                reactions,
                users,
                viewers,
            });
        }
    }

    /// What viewers are told of the counts.
    fn settle_totals(&mut self, topic: TopicId, due: &mut Due, out: &mut Vec<Output>) {
        let batching = &self.config.values.batching;
        let Some(stream) = self.streams.get_mut(topic) else {
            return;
        };
        let (members, id) = (stream.members, stream.id.as_str());
        let Some(live) = stream.live.as_mut() else {
            return;
        };
        let mut tell = |data: &dyn Fn(Encoding) -> Vec<u8>| {
            for encoding in Encoding::ALL {
                if members[encoding as usize] > 0 {
                    let data = data(encoding);
                    out.push(Output::Broadcast {
                        topic,
                        audience: Audience::Everyone,
                        encoding,
                        data,
                    });
                }
            }
        };
        if !live.changed.is_empty() && due.come(live.reactions_shown.plus(batching.reactions_ms)) {
            live.reactions_shown = due.now;
            let changed: BTreeSet<String> = std::mem::take(&mut live.changed);
            let total = |kind: String| {
                let total = live.reactions.get(&kind).copied().unwrap_or(0);
                (kind, total)
            };
            let counts = changed.into_iter().map(total).collect();
            tell(&|encoding| {
                message(
                    encoding,
                    "reactions_batch",
                    &ReactionsOut {
                        stream_id: id,
                        counts: &counts,
                    },
                )
            });
        }
        if live.viewers != live.viewers_shown
            && due.come(live.viewers_shown_at.plus(batching.viewers_ms))
        {
            live.viewers_shown = live.viewers;
            live.viewers_shown_at = due.now;
            let count = live.viewers;
            tell(&|encoding| {
                message(
                    encoding,
                    "viewer_count",
                    &ViewersOut {
                        stream_id: id,
                        count,
                    },
                )
            });
        }
    }

    /// Viewers that have waited long enough for what was asked.
    fn settle_waiting(&mut self, topic: TopicId, due: &mut Due, out: &mut Vec<Output>) {
        let Some(live) = self.streams.live_mut(topic) else {
            return;
        };
        let mut late: Vec<Waiter> = Vec::new();
        let shown = &live.shown;
        live.ahead.retain(|ahead| {
            let reached =
                matches!(&ahead.waiter.resume, Resume::From(place) if plan(place, shown) != Plan::Ahead);
            let come = reached || due.come(ahead.until);
            if come {
                // Else its place cannot be confirmed here.
                let resume = if reached { ahead.waiter.resume.clone() } else { Resume::Unreadable };
                late.push(Waiter { resume, ..ahead.waiter });
            }
            !come
        });
        let asked = live.jobs.iter().map(|job| (job.request, job.until));
        let asked = asked.chain(live.holes.iter().map(|hole| (hole.request, hole.until)));
        let unanswered: Vec<RequestId> = asked
            .filter(|&(_, until)| due.come(until))
            .map(|(request, _)| request)
            .collect();
        for waiter in late {
            self.admit(topic, waiter, out);
        }
        for request in unanswered {
            self.streams.take_asked(request);
            self.answered(topic, request, None, out);
        }
    }
}
