//! Reads of the log and of the history: they take their time, and some fail.

use chorus_origin::gateway::follower::core::{CatchUp, Found, Out, Past, Read, Standing};
use chorus_protocol::StreamId;
use chorus_protocol::session::{ReplayRange, Replayed};

use crate::log::{self, Log};
use crate::world::World;

impl World {
    pub(super) fn start_reads(&mut self, gateway: usize, stream: &StreamId, out: &mut Out) {
        let life = self.gateways[gateway].life;
        if std::mem::take(&mut out.history) {
            let (reads, answers) = self.read_times();
            let of = stream.clone();
            self.after(reads, move |world| {
                let past = world.read_history(gateway, &of);
                world.note(|| {
                    let at = past.as_ref().map(|past| &past.at);
                    format!("gateway {gateway} reads the history of {of}: {at:?}")
                });
                world.after(answers, move |world| {
                    if !world.is_life(gateway, life) {
                        return;
                    }
                    world.look_at_regions(gateway);
                    let now_ms = world.now_ms;
                    let this = &mut world.gateways[gateway];
                    if let Some(follower) = this.followers.get_mut(&of) {
                        follower.core.regions(this.standings.clone());
                        follower.core.history(now_ms, past);
                        world.follow(gateway, &of);
                    }
                });
            });
        }
        for region in std::mem::take(&mut out.totals) {
            let (reads, _) = self.read_times();
            let of = stream.clone();
            self.after(reads, move |world| {
                let away = world
                    .logs
                    .iter()
                    .any(|log| log.region == region && log.away);
                let totals = (!away).then(Default::default);
                let now_ms = world.now_ms;
                if !world.is_life(gateway, life) {
                    return;
                }
                if let Some(follower) = world.gateways[gateway].followers.get_mut(&of) {
                    follower.core.totals(now_ms, region, totals);
                    world.follow(gateway, &of);
                }
            });
        }
        for read in std::mem::take(&mut out.reads) {
            let (reads, answers) = self.read_times();
            let of = stream.clone();
            self.after(reads, move |world| {
                let found = world.read_log(&of, &read);
                world.note(|| {
                    let (region, after) = (&read.region, read.after);
                    let found = found
                        .as_ref()
                        .map(|found| (found.first_seq, found.last_seq));
                    format!("gateway {gateway} reads {of} of {region} after {after}: {found:?}")
                });
                world.after(answers, move |world| {
                    let now_ms = world.now_ms;
                    if !world.is_life(gateway, life) {
                        return;
                    }
                    if let Some(follower) = world.gateways[gateway].followers.get_mut(&of) {
                        follower.core.read(now_ms, &read, found);
                        world.follow(gateway, &of);
                    }
                });
            });
        }
    }

    /// When a question reaches the log, and how long its answer takes.
    fn read_times(&mut self) -> (u64, u64) {
        let slow = !self.healed && self.chance.permille(50);
        let most = if slow { 200 } else { 6 };
        (self.chance.range(0, most), self.chance.range(0, most))
    }

    fn read_fails(&mut self, away: bool) -> bool {
        away || (!self.healed && self.chance.permille(self.plan.read_fails_permille))
    }

    fn read_history(&mut self, gateway: usize, stream: &StreamId) -> Option<Past> {
        let standings = &self.gateways[gateway].standings;
        let known = |log: &&Log| standings.get(&log.region) != Some(&Standing::Away);
        let logs: Vec<&Log> = self.logs.iter().filter(known).collect();
        let away = logs.iter().any(|log| log.away);
        let persisted = self.now_ms.is_multiple_of(2);
        let past = log::past(&logs, &self.logs, stream, self.plan.newest_max, persisted);
        (!self.read_fails(away)).then_some(past)
    }

    fn read_log(&mut self, stream: &StreamId, read: &Read) -> Option<Found> {
        let log = self.logs.iter().find(|log| log.region == read.region)?;
        let (away, found) = (log.away, log.found(stream, read.after, read.max));
        (!self.read_fails(away)).then_some(found)
    }

    /// The gateway is asked for a replay.
    pub(crate) fn gateway_replays(
        &mut self,
        gateway: usize,
        stream: &StreamId,
        range: &ReplayRange,
    ) -> Option<Replayed> {
        let gap = Some(Replayed {
            gap: true,
            events: Vec::new(),
        });
        let regions = self.gateways[gateway].standings.clone();
        let max = self.plan.resume_max.min(range.events_max as usize);
        let away = range.to.0.iter().any(|(region, to)| {
            regions.get(region) == Some(&Standing::Away) && range.from.get(region) != Some(*to)
        });
        if away {
            return gap;
        }
        let Ok(mut missed) = CatchUp::new(&range.from, &range.to, &regions, max) else {
            return gap;
        };
        while let Some((region, (after, _), max)) = missed.wants() {
            let log = self.logs.iter().find(|log| log.region == *region)?;
            let (away, found) = (log.away, log.found(stream, after, max));
            if self.read_fails(away) {
                return None;
            }
            if missed.read(found).is_err() {
                return gap;
            }
        }
        let events = missed.into_missed().into_iter();
        let mut events: Vec<_> = events.flat_map(|missed| missed.events).collect();
        events.sort_by_cached_key(|event| event.envelope().map(|envelope| envelope.id));
        Some(Replayed { gap: false, events })
    }
}
