//! What shards want.

use bytes::Bytes;
use chorus_protocol::backhaul::Publish;
use chorus_protocol::session::Replayed;

use super::replays::{Taken, Waiters};
use super::{Hub, Now};
use crate::backhaul::metrics::add;
use crate::link::{ShardId, ToBackhaul, ToShard};

impl Hub {
    /// A shard wants something.
    pub fn shard(&mut self, now: Now, message: ToBackhaul) {
        match message {
            ToBackhaul::Subscribe { shard, stream } => {
                self.streams
                    .subscribe(shard, stream, &mut self.out, &self.metrics);
            }
            ToBackhaul::Unsubscribe { shard, stream } => {
                self.counts.leave(now.mono, shard, &stream);
                self.streams.unsubscribe(now.mono, shard, &stream);
            }
            ToBackhaul::Publish {
                shard,
                request,
                event,
            } => {
                let number = self.number();
                let publish = Publish::Event {
                    request: number,
                    event,
                };
                add(&self.metrics.posts, 1);
                let refused = self.posts.take(now.mono, number, shard, request, publish);
                match refused {
                    Some(answer) => {
                        add(&self.metrics.posts_refused, 1);
                        self.answer(answer);
                    }
                    None if self.connected.is_some() => self.send_post(number),
                    None => {}
                }
            }
            ToBackhaul::Count {
                shard,
                stream,
                reactions,
                users,
                viewers,
            } => {
                let dropped =
                    self.counts
                        .add(now.mono, shard, &stream, (reactions, users), viewers);
                add(&self.metrics.reactions_dropped, dropped);
            }
            ToBackhaul::User {
                shard,
                user,
                connections,
            } => {
                let taken = self.users.set(now.mono, shard, user, connections);
                add(&self.metrics.users_untold, u64::from(!taken));
            }
            ToBackhaul::Restarted { shard } => self.restarted(now, shard),
            ToBackhaul::Replay {
                shard,
                request,
                stream,
                range,
            } => {
                add(&self.metrics.replays, 1);
                if let Some(replayed) = self.streams.replay(&stream, &range) {
                    add(&self.metrics.replays_cached, 1);
                    self.replayed(vec![(shard, request)], &replayed);
                    return;
                }
                match self.replays.take(now.mono, (shard, request), stream, range) {
                    Taken::Queued => {}
                    Taken::Joined => add(&self.metrics.replays_joined, 1),
                    Taken::Full => self.no_replay(vec![(shard, request)]),
                }
            }
        }
    }

    /// A shard begins anew: nobody is left there to hear of what it asked for.
    fn restarted(&mut self, now: Now, shard: ShardId) {
        for stream in self.streams.of(shard) {
            self.streams.unsubscribe(now.mono, shard, &stream);
        }
        self.counts.forget(now.mono, shard);
        self.posts.forget(shard);
        self.replays.forget(shard);
        self.users.forget(now.mono, shard);
        if let Some(answers) = self.answers.get_mut(usize::from(shard)) {
            answers.clear();
        }
        if let Some(messages) = self.out.shards.get_mut(usize::from(shard)) {
            messages.clear();
        }
        if let Some(granted) = self.lease.granted() {
            let (worker, until) = (granted.worker, granted.until);
            self.out.shard(shard, ToShard::Lease { worker, until });
        }
        let connected = self.connected.is_some();
        self.out.shard(shard, ToShard::Connected(connected));
    }

    pub(super) fn replayed(&mut self, waiters: Waiters, replayed: &Replayed) {
        // Writing into memory cannot fail.
        let data = Bytes::from(rmp_serde::to_vec_named(replayed).unwrap_or_default());
        for (shard, request) in waiters {
            let data = data.clone();
            self.out.shard(shard, ToShard::Replayed { request, data });
        }
    }

    pub(super) fn no_replay(&mut self, waiters: Waiters) {
        if waiters.is_empty() {
            return;
        }
        add(&self.metrics.replays_failed, waiters.len() as u64);
        let gap = Replayed {
            gap: true,
            events: Vec::new(),
        };
        self.replayed(waiters, &gap);
    }
}
