//! Answering who joins: the newest, or from memory all that was missed. What memory does not reach is asked of the logs, see
//! `catching_up.rs`.

use chorus_protocol::{CommentId, Position};

use super::Session;
use super::replies::send;
use crate::conn::Phase;
use crate::encode::{JoinedTail, array, joined_head, joined_tail};
use crate::io::{BlobId, ConnectionId, Output, TopicId};
use crate::stream::live::Flushing;
use crate::stream::resume::{AHEAD_MS_MAX, Ahead, Cut, JobWaiter, Pieces, Plan, plan};
use crate::stream::{Resume, Waiter};

/// The comments of a `joined`.
pub(super) enum Comments {
    Inline(Vec<u8>),
    Held(BlobId),
}

/// What a `joined` says of the viewer's place.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Where the viewer is after it.
    pub(super) resume: &'a str,
    pub(super) gap: bool,
    /// Taken away since the place it came from.
    pub(super) removed: &'a [CommentId],
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
        let ids: Vec<CommentId> = live.recent.ids(&missed).collect();
        let updated = live.told_after(&from, &ids);
        let encoded = live.recent.encoded(&missed, encoding);
        let comments: Vec<&[u8]> = encoded.iter().map(|(_, comment)| *comment).collect();
        let cut = Cut {
            encoding,
            stream: &stream.id,
            updated: &updated,
            first_max,
            before: &before,
            after: &after,
        };
        let Pieces { first, whole, rest } = cut.of(&comments, false);
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

    pub(super) fn send_joined(
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
