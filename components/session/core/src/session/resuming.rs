//! Answering who joins: the newest, or all that was missed.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::codes::CloseCode;
use chorus_protocol::server::ServerMessage;
use chorus_protocol::session::{EventView, ReplayRange};
use chorus_protocol::{CommentId, CommentView, Encoding, Envelope, Position};

use super::Session;
use super::replies::send;
use crate::conn::Phase;
use crate::encode::{JoinedTail, array, comments_batch, joined_head, joined_tail, write_comment};
use crate::io::{BlobId, ConnectionId, Output, RequestId, TopicId};
use crate::stream::live::{Decided, Flushing};
use crate::stream::recent::Entry;
use crate::stream::resume::{
    AHEAD_MS_MAX, Ahead, Job, JobWaiter, MISSED_BATCH_MAX, Missed, Plan, REPLAY_MS_MAX, cut, plan,
};
use crate::stream::{Resume, Waiter};

/// From how many viewers on what is sent to each is handed to the host once.
const SHARED_MIN: usize = 4;

/// The comments of a `joined`.
enum Comments {
    Inline(Vec<u8>),
    Held(BlobId),
}

/// What a `joined` says of the viewer's place.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Where the viewer is after it.
    resume: &'a str,
    gap: bool,
    /// Taken away since the place it came from.
    removed: &'a [CommentId],
}

impl Session {
    /// Answers a join to a live stream, or notes what must come first.
    pub(crate) fn admit(&mut self, topic: TopicId, waiter: Waiter, out: &mut Vec<Output>) {
        if !self
            .conns
            .is_at(waiter.connection, topic, waiter.ticket, Phase::Waiting)
        {
            return;
        }
        let place = match &waiter.resume {
            Resume::Fresh => return self.admit_newest(topic, waiter.connection, false, out),
            Resume::Unreadable => return self.admit_newest(topic, waiter.connection, true, out),
            Resume::From(place) => place,
        };
        let Some(mut answer) = self.plan(topic, place) else {
            return;
        };
        if answer == Plan::Ahead && self.flush_stream(topic, out) {
            // What it has seen at another PoP may just not have been shown here yet.
            answer = self
                .plan(topic, place)
                .unwrap_or(Plan::Newest { gap: true });
        }
        match answer {
            Plan::Newest { gap } => self.admit_newest(topic, waiter.connection, gap, out),
            Plan::After(from) => self.admit_after(topic, &waiter, from, out),
            Plan::Ahead => {
                let until = self.now.plus(AHEAD_MS_MAX);
                if let Some(live) = self.streams.live_mut(topic) {
                    live.ahead.push(Ahead { waiter, until });
                }
                self.streams.touch(topic);
            }
        }
    }

    pub(crate) fn plan(&self, topic: TopicId, place: &Position) -> Option<Plan> {
        let live = self.streams.get(topic)?.live.as_ref()?;
        Some(plan(place, &live.shown))
    }

    /// Shows what is pending; says whether anything was.
    pub(crate) fn flush_stream(&mut self, topic: TopicId, out: &mut Vec<Output>) -> bool {
        self.flush_first(topic, usize::MAX, out)
    }

    /// The same of what came first.
    pub(crate) fn flush_first(
        &mut self,
        topic: TopicId,
        count: usize,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(stream) = self.streams.get_mut(topic) else {
            return false;
        };
        let Some(live) = stream.live.as_mut().filter(|live| !live.pending.is_empty()) else {
            return false;
        };
        let mut flushing = Flushing {
            topic,
            stream: stream.id.as_str(),
            members: stream.members,
            now: self.now,
            limits: &self.config.values.limits,
            batching: &self.config.values.batching,
            sends: &mut self.sends,
            stats: &mut self.stats,
            out,
        };
        live.flush(count, &mut flushing);
        true
    }

    /// Answers with the newest comments, which the host holds for all who join.
    pub(crate) fn admit_newest(
        &mut self,
        topic: TopicId,
        connection: ConnectionId,
        gap: bool,
        out: &mut Vec<Output>,
    ) {
        let Some(encoding) = self.conns.encoding(connection) else {
            return;
        };
        let newest_max = self.config.values.limits.newest_max;
        let Some(live) = self.streams.live_mut(topic) else {
            return;
        };
        if gap {
            self.stats.resumes_gap += 1;
        }
        let kept = live.kept[encoding as usize];
        let comments = if let Some(blob) = kept.blob.filter(|_| kept.fresh) {
            Comments::Held(blob)
        } else {
            let newest = live.recent.newest(newest_max);
            let encoded = live.recent.encoded(&newest, encoding);
            let data = array(encoding, encoded.iter().map(|(_, comment)| *comment));
            let blob = self.numbers.blob();
            if let Some(stale) = kept.blob {
                out.push(Output::Forget(stale));
            }
            out.push(Output::Keep { blob, data });
            let kept = &mut live.kept[encoding as usize];
            kept.blob = Some(blob);
            kept.fresh = true;
            Comments::Held(blob)
        };
        let resume = live.shown.to_token();
        let place = Place {
            resume: &resume,
            gap,
            removed: &[],
        };
        self.send_joined(topic, connection, comments, place, out);
        self.become_member(connection, topic, out);
    }

    /// Answers with what was shown after a place: from memory, or by asking the logs.
    fn admit_after(
        &mut self,
        topic: TopicId,
        waiter: &Waiter,
        from: Position,
        out: &mut Vec<Output>,
    ) {
        let connection = waiter.connection;
        let Some(encoding) = self.conns.encoding(connection) else {
            return;
        };
        let first_max = self.config.values.limits.resume_first_max as usize;
        let Some(stream) = self.streams.get_mut(topic) else {
            return;
        };
        let Some(live) = stream.live.as_mut() else {
            return;
        };
        if !live.recent.covers(&from, &live.shown) {
            let job = JobWaiter {
                connection,
                ticket: waiter.ticket,
                joined: false,
            };
            self.ask_logs(topic, from, vec![job], out);
            return;
        }
        self.stats.resumes_recent += 1;
        let (before, after) = (from.to_token(), live.shown.to_token());
        let removed: Vec<CommentId> = live.removed_after(&from).into_iter().collect();
        let missed = live.recent.after(&from);
        let encoded = live.recent.encoded(&missed, encoding);
        let comments: Vec<&[u8]> = encoded.iter().map(|(_, comment)| *comment).collect();
        let Missed { first, whole, rest } = cut(
            encoding,
            stream.id.as_str(),
            &comments,
            first_max,
            &before,
            &after,
        );
        let resume = if whole { &after } else { &before };
        let place = Place {
            resume,
            gap: false,
            removed: &removed,
        };
        self.send_joined(topic, connection, Comments::Inline(first), place, out);
        out.extend(rest.into_iter().map(|batch| send(connection, batch)));
        self.become_member(connection, topic, out);
    }

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
        self.bring_missed(topic, &from, &to, events, &waiters, out);
    }

    /// Sends what the logs brought and what was shown since they were asked.
    fn bring_missed(
        &mut self,
        topic: TopicId,
        from: &Position,
        to: &Position,
        events: &[EventView<'_>],
        waiters: &[JobWaiter],
        out: &mut Vec<Output>,
    ) {
        let first_max = self.config.values.limits.resume_first_max as usize;
        let Some(live) = self.streams.live_mut(topic) else {
            return;
        };
        // By id: sorted, and each once even if two regions' logs hold it.
        let mut missed: BTreeMap<u64, Entry> = BTreeMap::new();
        let mut removed: BTreeSet<CommentId> = live.removed_after(from);
        // Who was answered before may not have heard of them.
        let mut again: BTreeMap<String, Vec<CommentId>> = BTreeMap::new();
        // Their comments were here: the removals lay in a part that was lost.
        let mut lost: BTreeMap<String, Vec<CommentId>> = BTreeMap::new();
        for event in events {
            let Some(envelope) = Envelope::read(event.body) else {
                self.stats.deliveries_malformed += 1;
                continue;
            };
            if let Some(Decided { id, reason, .. }) = Decided::read(&envelope, event.seq) {
                removed.insert(id);
                if !live.removed.contains(id)
                    && let Some(region) = live.region(event.region)
                {
                    let place = (region, event.epoch, event.seq);
                    if live.learn_removal(id, place, &mut self.stats) {
                        lost.entry(reason.clone()).or_default().push(id);
                    }
                }
                again.entry(reason).or_default().push(id);
                continue;
            }
            match CommentView::read(&envelope) {
                Some(comment) if live.removed.contains(comment.id) => {}
                Some(comment) => {
                    let entry = Entry {
                        id: comment.id,
                        log: 0,
                        seq: event.seq,
                        at: self.now,
                        json: write_comment(&comment, Encoding::Json),
                        msgpack: None,
                    };
                    missed.insert(comment.id.0, entry);
                }
                None if envelope.is_comment() => self.stats.deliveries_malformed += 1,
                None => self.stats.events_unknown += 1,
            }
        }
        let whole = live.recent.covers(to, &live.shown);
        let reached = if whole {
            live.shown.clone()
        } else {
            to.clone()
        };
        if whole {
            for i in live.recent.after(to) {
                if let Some(entry) = live.recent.entries.get(i) {
                    missed.insert(entry.id.0, entry.clone());
                }
            }
        }
        missed.retain(|&id, _| !removed.contains(&CommentId(id)));
        let removed: Vec<CommentId> = removed.into_iter().collect();
        let mut missed: Vec<Entry> = missed.into_values().collect();
        self.tell_all_removed(topic, lost, out);
        let answered = waiters.iter().filter(|waiter| waiter.joined);
        let answered: Vec<ConnectionId> = answered.map(|waiter| waiter.connection).collect();
        self.tell_removed(topic, &answered, again, out);
        let (before, after) = (from.to_token(), reached.to_token());
        for encoding in Encoding::ALL {
            let mine: Vec<JobWaiter> = waiters
                .iter()
                .copied()
                .filter(|waiter| self.conns.encoding(waiter.connection) == Some(encoding))
                .collect();
            for joined in [false, true] {
                let mine: Vec<ConnectionId> = mine
                    .iter()
                    .filter(|w| w.joined == joined)
                    .map(|w| w.connection)
                    .collect();
                if mine.is_empty() {
                    continue;
                }
                missed.iter_mut().for_each(|entry| entry.prepare(encoding));
                let comments: Vec<&[u8]> =
                    missed.iter().map(|entry| entry.encoded(encoding)).collect();
                let first_max = if joined { 0 } else { first_max };
                let cut = self.cut_for(topic, encoding, &comments, first_max, &before, &after);
                let place = Place {
                    resume: if cut.whole { &after } else { &before },
                    gap: false,
                    removed: &removed,
                };
                self.send_missed(topic, &mine, joined, cut, place, out);
            }
        }
        if whole {
            waiters
                .iter()
                .for_each(|waiter| self.become_member(waiter.connection, topic, out));
            return;
        }
        // Memory did not reach back to what the logs brought: once more from there.
        for waiter in waiters {
            if let Some(join) = self
                .conns
                .get_mut(waiter.connection)
                .and_then(|c| c.membership_mut(topic))
            {
                join.phase = Phase::CatchingUp;
            }
        }
        let again = waiters
            .iter()
            .map(|waiter| JobWaiter {
                joined: true,
                ..*waiter
            })
            .collect();
        self.ask_logs(topic, reached, again, out);
    }

    /// Tells some viewers of removals, by reason.
    fn tell_removed(
        &self,
        topic: TopicId,
        to: &[ConnectionId],
        by_reason: BTreeMap<String, Vec<CommentId>>,
        out: &mut Vec<Output>,
    ) {
        let Some(stream) = self.streams.get(topic).filter(|_| !to.is_empty()) else {
            return;
        };
        for (reason, comment_ids) in by_reason {
            let message = ServerMessage::CommentsRemoved {
                stream_id: stream.id.clone(),
                comment_ids,
                reason,
            };
            to.iter()
                .for_each(|&connection| self.tell(connection, &message, out));
        }
    }

    fn cut_for(
        &self,
        topic: TopicId,
        encoding: Encoding,
        comments: &[&[u8]],
        first_max: usize,
        before: &str,
        after: &str,
    ) -> Missed {
        let stream = self
            .streams
            .get(topic)
            .map_or("", |stream| stream.id.as_str());
        let mut missed = cut(encoding, stream, comments, first_max, before, after);
        if first_max == 0 && missed.rest.is_empty() {
            // Nothing new, but the place moved on.
            missed
                .rest
                .push(comments_batch(encoding, stream, std::iter::empty(), after));
        }
        missed
    }

    fn send_missed(
        &mut self,
        topic: TopicId,
        to: &[ConnectionId],
        joined: bool,
        missed: Missed,
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

    fn send_joined(
        &self,
        topic: TopicId,
        connection: ConnectionId,
        comments: Comments,
        place: Place<'_>,
        out: &mut Vec<Output>,
    ) {
        let (Some(conn), Some(stream)) = (self.conns.get(connection), self.streams.get(topic))
        else {
            return;
        };
        let Some(live) = &stream.live else {
            return;
        };
        let Place {
            resume,
            gap,
            removed,
        } = place;
        let mut head = joined_head(conn.encoding, stream.id.as_str(), resume, gap);
        let tail = joined_tail(
            conn.encoding,
            &JoinedTail {
                title: &live.info.title,
                status: live.info.status,
                removed,
                pinned: None,
                reactions: &live.reactions,
                // The total over all PoPs lags; it is never less than what is here.
                viewer_count: live.viewers.max(stream.members_count() + 1),
                comment_count: live.comment_count,
                settings: &live.info.settings,
                role: conn.standing(&live.info.broadcaster_id, self.now).as_str(),
            },
        );
        let (blob, tail) = match comments {
            Comments::Held(blob) => (Some(blob), tail),
            Comments::Inline(array) => {
                head.extend_from_slice(&array);
                head.extend_from_slice(&tail);
                (None, Vec::new())
            }
        };
        out.push(Output::Send {
            connection,
            head,
            blob,
            tail,
            patient: false,
        });
    }
}

// Batches must not be larger than what one broadcast may hold by default.
const _: () = assert!(MISSED_BATCH_MAX <= 500);
