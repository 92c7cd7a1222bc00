//! Asking the logs what viewers missed that memory does not hold, and bringing it to them.

use chorus_protocol::codes::CloseCode;
use chorus_protocol::session::ReplayRange;
use chorus_protocol::{Encoding, Position};

use super::Session;
use super::replies::send;
use super::resuming::{Comments, Place};
use crate::conn::Phase;
use crate::io::{BlobId, ConnectionId, Output, RequestId, TopicId};
use crate::stream::missed::{Brought, Missed};
use crate::stream::resume::{Cut, Job, JobWaiter, Pieces, REPLAY_MS_MAX};
use chorus_protocol::session::EventView;

/// From how many viewers on what is sent to each is handed to the host once.
const SHARED_MIN: usize = 4;

impl Session {
    /// Asks the logs what was shown after a place; viewers that stand at the same place share the answer.
    pub(crate) fn ask_logs(
        &mut self,
        topic: TopicId,
        from: Position,
        mut waiters: Vec<JobWaiter>,
        out: &mut Vec<Output>,
    ) {
        let Some(live) = self.streams.live_mut(topic) else {
            return;
        };
        self.stats.resumes_replayed += waiters.len() as u64;
        if let Some(job) = live.jobs.iter_mut().find(|job| job.from == from) {
            job.waiters.append(&mut waiters);
            return;
        }
        let request = self.numbers.request();
        let events_max = self.config.values.limits.resume_max;
        let range = ReplayRange {
            from: from.clone(),
            to: live.shown.clone(),
            events_max,
        };
        let until = self.now.plus(REPLAY_MS_MAX);
        live.jobs.push(Job {
            request,
            from,
            to: live.shown.clone(),
            waiters,
            until,
        });
        self.streams.ask(request, topic);
        out.push(Output::Replay {
            request,
            topic,
            range: rmp_serde::to_vec_named(&range).unwrap_or_default(),
        });
    }

    /// The logs' answer to a resume; `None` is a gap.
    pub(crate) fn job_answered(
        &mut self,
        topic: TopicId,
        request: RequestId,
        events: Option<&[EventView<'_>]>,
        out: &mut Vec<Output>,
    ) {
        let Some(live) = self.streams.live_mut(topic) else {
            return;
        };
        let Some(index) = live.jobs.iter().position(|job| job.request == request) else {
            return;
        };
        let Job {
            from,
            to,
            mut waiters,
            ..
        } = live.jobs.remove(index);
        waiters.retain(|waiter| {
            let phase = if waiter.joined {
                Phase::CatchingUp
            } else {
                Phase::Waiting
            };
            self.conns
                .is_at(waiter.connection, topic, waiter.ticket, phase)
        });
        let Some(events) = events else {
            for waiter in waiters {
                if waiter.joined {
                    self.close(
                        waiter.connection,
                        CloseCode::GoingAway,
                        "what was missed is gone; resume",
                        out,
                    );
                } else {
                    self.admit_newest(topic, waiter.connection, true, out);
                }
            }
            return;
        };
        let brought = Brought::read(events, &mut self.stats);
        self.bring(topic, (&from, &to), brought, &waiters, out);
    }

    /// Sends what the logs brought and what was shown since they were asked.
    pub(super) fn bring(
        &mut self,
        topic: TopicId,
        range: (&Position, &Position),
        brought: Vec<Brought<'_>>,
        waiters: &[JobWaiter],
        out: &mut Vec<Output>,
    ) {
        let first_max = self.config.values.limits.resume_first_max as usize;
        let Some(live) = self.streams.live_mut(topic) else {
            return;
        };
        let Missed {
            mut comments,
            removed,
            updated,
            again,
            lost,
            reached,
            whole,
        } = live.missed(range, brought, self.now, &mut self.stats);
        self.tell_decided(topic, lost, out);
        let answered = waiters.iter().filter(|waiter| waiter.joined);
        let answered: Vec<ConnectionId> = answered.map(|waiter| waiter.connection).collect();
        self.tell_some(topic, &answered, again, out);
        let Some(stream) = self.streams.get(topic).map(|stream| stream.id.clone()) else {
            return;
        };
        let (before, after) = (range.0.to_token(), reached.to_token());
        for (encoding, joined) in Encoding::ALL
            .into_iter()
            .flat_map(|e| [(e, false), (e, true)])
        {
            let here = |w: &&JobWaiter| {
                w.joined == joined && self.conns.encoding(w.connection) == Some(encoding)
            };
            let mine = waiters.iter().filter(here).map(|w| w.connection);
            let mine: Vec<ConnectionId> = mine.collect();
            if mine.is_empty() {
                continue;
            }
            comments
                .iter_mut()
                .for_each(|entry| entry.prepare(encoding));
            let encoded: Vec<&[u8]> = comments.iter().map(|it| it.encoded(encoding)).collect();
            let cut = Cut {
                encoding,
                stream: &stream,
                updated: &updated,
                first_max: if joined { 0 } else { first_max },
                before: &before,
                after: &after,
            };
            let pieces = cut.of(&encoded, joined);
            let place = Place {
                resume: if pieces.whole { &after } else { &before },
                gap: false,
                removed: &removed,
            };
            self.send_missed(topic, &mine, joined, pieces, place, out);
        }
        if whole {
            waiters
                .iter()
                .for_each(|waiter| self.become_member(waiter.connection, topic, out));
            return;
        }
        // Memory did not reach back to what the logs brought: once more from there.
        let again = waiters.iter().map(|waiter| {
            let conn = self.conns.get_mut(waiter.connection);
            if let Some(join) = conn.and_then(|conn| conn.membership_mut(topic)) {
                join.phase = Phase::CatchingUp;
            }
            JobWaiter {
                joined: true,
                ..*waiter
            }
        });
        let again = again.collect();
        self.ask_logs(topic, reached, again, out);
    }

    fn send_missed(
        &mut self,
        topic: TopicId,
        to: &[ConnectionId],
        joined: bool,
        missed: Pieces,
        place: Place<'_>,
        out: &mut Vec<Output>,
    ) {
        let mut held = Vec::new();
        let mut hold = |session: &mut Self, data: Vec<u8>, out: &mut Vec<Output>| {
            let blob = session.numbers.blob();
            out.push(Output::Keep { blob, data });
            held.push(blob);
            blob
        };
        if to.len() < SHARED_MIN {
            for &connection in to {
                if !joined {
                    let comments = Comments::Inline(missed.first.clone());
                    self.send_joined(topic, connection, comments, place, out);
                }
                out.extend(
                    missed
                        .rest
                        .iter()
                        .map(|batch| send(connection, batch.clone())),
                );
            }
            return;
        }
        let first = (!joined).then(|| hold(self, missed.first, out));
        let rest: Vec<BlobId> = missed
            .rest
            .into_iter()
            .map(|batch| hold(self, batch, out))
            .collect();
        for &connection in to {
            if let Some(first) = first {
                self.send_joined(topic, connection, Comments::Held(first), place, out);
            }
            out.extend(rest.iter().map(|&blob| Output::Send {
                connection,
                head: Vec::new(),
                blob: Some(blob),
                tail: Vec::new(),
                patient: false,
            }));
        }
        out.extend(held.into_iter().map(Output::Forget));
    }
}
