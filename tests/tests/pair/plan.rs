//! What a seed brings: the shape, the traffic, the faults; and what must be true in the end.

use chorus_protocol::{CommentId, Outcome, StreamId};

use crate::chance::Chance;
use crate::log::{Publication, Writes};
use crate::world::World;

/// How long there are traffic and faults.
const TROUBLE_MS: u64 = 6_000;
/// How long everything has to settle: a connection that died unseen (1.8 s), an attempt to dial that nobody answers
/// (1.5 s), a comparison of last sequences (1 s) and a few tries of reads in between.
const SETTLE_MS: u64 = 8_000;
/// Beyond its bound, how long an answer may take.
const ANSWER_SLACK_MS: u64 = 200;

/// Drawn once.
pub(crate) struct Plan {
    pub(crate) regions: usize,
    pub(crate) streams: usize,
    pub(crate) gateways: usize,
    pub(crate) pops: usize,
    pub(crate) shards: usize,
    pub(crate) newest_max: usize,
    pub(crate) resume_max: usize,
    pub(crate) cache_events_max: usize,
    pub(crate) early_max: usize,
    pub(crate) unconfirmed_ms: u64,
    pub(crate) replay_ms_max: u64,
    pub(crate) jitter_permille: u64,
    pub(crate) loss_permille: u64,
    pub(crate) repeat_permille: u64,
    pub(crate) late_permille: u64,
    pub(crate) read_fails_permille: u64,
    pub(crate) refuse_permille: u64,
    pub(crate) ack_lost_permille: u64,
    pub(crate) posts: u64,
    pub(crate) bursts: u64,
    pub(crate) faults: u64,
    /// Live messages are lost from then on, until the trouble is over: nothing comes behind the last one.
    deaf_from_ms: u64,
}

impl Plan {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let rates = [0, 0, 10, 50, 250];
        Self {
            regions: chance.range(1, 2) as usize,
            streams: chance.range(1, 3) as usize,
            gateways: chance.range(1, 2) as usize,
            pops: 2,
            shards: chance.range(1, 2) as usize,
            newest_max: chance.pick(&[3, 10]),
            resume_max: chance.pick(&[5, 50, 500]),
            cache_events_max: chance.pick(&[12, 40, 2_000]),
            early_max: chance.pick(&[2, 10_000]),
            unconfirmed_ms: chance.pick(&[600, 5_000]),
            replay_ms_max: chance.pick(&[400, 3_000]),
            jitter_permille: chance.pick(&[0, 20, 300]),
            loss_permille: chance.pick(&rates),
            repeat_permille: chance.pick(&rates),
            late_permille: chance.pick(&rates),
            read_fails_permille: chance.pick(&rates),
            refuse_permille: chance.pick(&rates),
            ack_lost_permille: chance.pick(&rates),
            posts: chance.range(20, 120),
            bursts: chance.range(0, 2),
            faults: chance.range(0, 7),
            deaf_from_ms: TROUBLE_MS - chance.pick(&[0, 0, 100, 2_000]),
        }
    }

    pub(crate) fn loses(&self, now_ms: u64) -> bool {
        now_ms >= self.deaf_from_ms
    }

    pub(crate) fn end_ms(&self) -> u64 {
        TROUBLE_MS + SETTLE_MS
    }
}

impl World {
    /// Puts all that is planned into the queue.
    pub(crate) fn arrange(&mut self) {
        for pop in 0..self.plan.pops {
            for shard in 0..self.plan.shards {
                for stream in self.streams.clone() {
                    let at_ms = self.chance.pick(&[0, 0, 100, 3_000]);
                    self.at(at_ms, move |world| world.subscribe(pop, shard, stream));
                }
            }
        }
        for _ in 0..self.plan.posts {
            let at_ms = self.chance.range(0, TROUBLE_MS);
            self.at(at_ms, World::post);
        }
        for _ in 0..self.plan.bursts {
            let begin = self.chance.range(0, TROUBLE_MS - 500);
            let (log, stream) = (
                self.chance.index(self.logs.len()),
                self.chance.index(self.streams.len()),
            );
            for index in 0..150 {
                let at_ms = begin + index * 3;
                self.at(at_ms, move |world| world.write_elsewhere(log, stream));
            }
        }
        for _ in 0..self.plan.faults {
            let at_ms = self.chance.range(0, TROUBLE_MS);
            self.at(at_ms, World::break_something);
        }
        for _ in 0..self.chance.range(0, 12) {
            let at_ms = self.chance.range(0, TROUBLE_MS);
            self.at(at_ms, World::do_something);
        }
        self.at(TROUBLE_MS, World::heal);
    }

    fn comment(&mut self, stream: usize) -> Publication {
        // Ids are of the time, and of several PoPs: nearly in order.
        let id = CommentId((1_000_000 + self.now_ms) << 22 | self.chance.range(0, (1 << 22) - 1));
        Publication {
            stream: self.streams[stream].clone(),
            key: u128::from(self.chance.next()),
            id,
            removes: None,
        }
    }

    /// Notes that something is published once more.
    fn goes_out(&mut self, publication: &Publication) {
        *self.times.entry(publication.key).or_default() += 1;
        self.published.push(publication.clone());
    }

    /// A shard publishes: a comment, a removal, or what was published before.
    fn post(&mut self) {
        let (pop, shard) = (
            self.chance.index(self.plan.pops),
            self.chance.index(self.plan.shards),
        );
        let stream = self.chance.index(self.streams.len());
        let before = match self.published.len() {
            0 => None,
            len => Some(self.published[self.chance.index(len)].clone()),
        };
        let publication = match (before, self.chance.index(10)) {
            (Some(before), 0) => before,
            (Some(before), 1) if before.removes.is_none() => {
                let removal = self.comment(stream);
                Publication {
                    stream: before.stream,
                    removes: Some(before.id),
                    key: u128::from(before.id.0) << 64,
                    ..removal
                }
            }
            _ => self.comment(stream),
        };
        self.goes_out(&publication);
        self.publish(pop, shard, publication);
    }

    /// Somebody else writes to a log.
    fn write_elsewhere(&mut self, log: usize, stream: usize) {
        if !self.logs[log].away {
            let publication = self.comment(stream);
            self.goes_out(&publication);
            self.append(log, &publication);
        }
    }

    fn break_something(&mut self) {
        let (pop, shard) = (
            self.chance.index(self.plan.pops),
            self.chance.index(self.plan.shards),
        );
        let gateway = self.chance.index(self.plan.gateways);
        let log = self.chance.index(self.logs.len());
        let lasts = self.chance.pick(&[20, 400, 2_500]);
        match self.chance.index(10) {
            0 | 1 => {
                if let Some(connection) = self.pops[pop].connection {
                    self.cut(connection);
                }
            }
            2 => {
                if self.gateways[gateway].up {
                    self.tally.count("gateways restarted", 1);
                    self.stop_gateway(gateway);
                    self.after(lasts, move |world| {
                        if !world.gateways[gateway].up {
                            world.start_gateway(gateway);
                        }
                    });
                }
            }
            3 => self.restart_pop(pop),
            4 => self.restart_shard(pop, shard),
            5 => {
                self.note(|| format!("log {log} is away for {lasts} ms"));
                self.tally.count("logs away", 1);
                self.logs[log].away = true;
                self.after(lasts, move |world| world.logs[log].away = false);
            }
            6 => {
                let epoch = self.logs[log].epoch + 1;
                self.note(|| format!("log {log} is made anew as {epoch}"));
                self.tally.count("logs made anew", 1);
                self.logs[log].renew(epoch);
            }
            7 => {
                let first = self.chance.range(0, self.compared(log));
                self.note(|| format!("log {log} begins at {first}"));
                self.tally.count("logs truncated", 1);
                self.logs[log].truncate(first);
            }
            8 => {
                let ill = [Writes::NoLeader, Writes::Frozen, Writes::AcksLost];
                let writes = self.chance.pick(&ill);
                self.note(|| format!("log {log} takes events as {writes:?} for {lasts} ms"));
                self.tally.count("logs that take no events", 1);
                self.logs[log].writes = writes;
                self.after(lasts, move |world| world.logs[log].writes = Writes::Well);
            }
            _ => {
                if let Some(connection) = self.pops[pop].connection {
                    self.note(|| format!("connection {connection} is slow for {lasts} ms"));
                    self.tally.count("lines slowed", 1);
                    self.connections[connection].slow_until_ms = self.now_ms + lasts;
                }
            }
        }
    }

    fn do_something(&mut self) {
        let (pop, shard) = (
            self.chance.index(self.plan.pops),
            self.chance.index(self.plan.shards),
        );
        let stream = self.streams[self.chance.index(self.streams.len())].clone();
        match self.chance.index(8) {
            0..4 => self.replay(pop, shard, &stream),
            4..7 => {
                self.unsubscribe(pop, shard, stream.clone());
                let life = self.pops[pop].life;
                let away = self.chance.pick(&[0, 200, 1_500]);
                self.after(away, move |world| {
                    if world.pops[pop].life == life {
                        world.subscribe(pop, shard, stream);
                    }
                });
            }
            _ => {
                let ghost: StreamId = "no-such-stream".parse().expect("a stream");
                self.subscribe(pop, shard, ghost);
            }
        }
    }

    /// No more faults and no more traffic.
    fn heal(&mut self) {
        self.note(|| "all is well from here on".to_owned());
        self.healed = true;
        self.plan.jitter_permille = 0;
        for log in &mut self.logs {
            log.away = false;
            log.writes = Writes::Well;
        }
        for connection in &mut self.connections {
            connection.slow_until_ms = 0;
        }
        for gateway in 0..self.gateways.len() {
            if !self.gateways[gateway].up {
                self.start_gateway(gateway);
            }
        }
    }

    /// What must be true in the end.
    pub(crate) fn settled(&mut self) {
        for pop in 0..self.pops.len() {
            self.count_pop(pop);
            let now_ms = self.plan.end_ms();
            let bounds = [self.plan.unconfirmed_ms, self.plan.replay_ms_max];
            for shard in 0..self.plan.shards {
                let it = &self.pops[pop].shards[shard];
                let fault = it
                    .lacks(&self.logs, &self.streams)
                    .or_else(|| it.unanswered(now_ms, bounds.map(|ms| ms + ANSWER_SLACK_MS)))
                    .or_else(|| self.untrue(pop, shard))
                    .or_else(|| (!it.connected).then(|| "is not connected".to_owned()));
                if let Some(fault) = fault {
                    self.fail(|| format!("in the end pop {pop} shard {shard}: {fault}"));
                }
            }
        }
        let followers = self.followers();
        if followers > self.streams.len() * self.gateways.len() {
            self.fail(|| format!("{followers} followers are left"));
        }
    }

    /// A publication that is refused and yet stored. One of several under the same key says nothing of the others.
    fn untrue(&self, pop: usize, shard: usize) -> Option<String> {
        let all = self.pops[pop].shards[shard].publications.values();
        let mut refused =
            all.filter(|asked| matches!(asked.answer, Some((_, Outcome::Refused { .. }))));
        refused.find_map(|asked| {
            let key = asked.publication.key;
            let alone = self.times.get(&key) == Some(&1);
            let stored = |it: &crate::log::Stored| it.key == key;
            let stored = self.logs.iter().any(|log| log.ever.iter().any(stored));
            (alone && stored).then(|| format!("refused and yet stored: {asked:?}"))
        })
    }
}
