//! Mirrors: filled as soon as their origin can be reached, unless they are told to stand still.

use std::time::Duration;

use chorus_protocol::{Region, subject};

use super::Memory;
use super::stored::Stored;
use super::world::World;
use crate::log::{Answer, Change, LogError, Mirror, MirrorPart, Plan, RegionLog, Regional as _};

/// Which log a mirror is of.
#[derive(Clone)]
pub(super) struct Feed {
    origin: Region,
    log: String,
    /// The origin as it was when the mirror was made: another one feeds nothing.
    created_ms: u64,
    epoch: u64,
    partitions: u16,
}

impl World {
    /// Brings every mirror up to date that can be.
    pub(super) fn feed_mirrors(&mut self) {
        let feeds: Vec<(Region, String, Feed)> = self
            .regions()
            .flat_map(|(region, state)| {
                let feeds = state.feeds.iter().filter(|_| !state.mirrors_stand);
                feeds.map(|(name, feed)| (region.clone(), name.clone(), feed.clone()))
            })
            .collect();
        let mut fed = false;
        for (own, name, feed) in feeds {
            if !matches!(self.reach(&own, &feed.origin), Ok(None)) {
                continue;
            }
            let after = self
                .state(&own)
                .log(&name)
                .map_or(0, |log| log.part().last_seq);
            let Ok(origin) = self.state(&feed.origin).log(&feed.log) else {
                continue;
            };
            if origin.part().created_ms != feed.created_ms {
                continue;
            }
            let news: Vec<_> = origin.from("*.*.*.*", after + 1).collect();
            let news: Vec<_> = news
                .into_iter()
                .map(|(seq, it)| (seq, it.clone()))
                .collect();
            if let Ok(mirror) = self.state(&own).log(&name) {
                for (seq, message) in news {
                    mirror.copy(seq, message);
                    fed = true;
                }
            }
        }
        if fed {
            self.wake();
        }
    }
}

impl Mirror for Memory {
    fn mirror_part<'a>(
        &'a self,
        region: &'a Region,
        partition: u16,
    ) -> Answer<'a, Option<MirrorPart>> {
        let own = self.region();
        Box::pin(self.at(own, move |state| {
            let name = subject::mirror_log(own, region, partition);
            let feed = state.feeds.get(&name);
            Ok(feed
                .zip(state.logs.get(&name))
                .map(|(feed, log)| MirrorPart {
                    epoch: feed.epoch,
                    partitions: feed.partitions,
                    part: log.part(),
                }))
        }))
    }

    fn make_mirror<'a>(
        &'a self,
        region: &'a Region,
        of: &'a RegionLog,
        partition: u16,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let own = self.region();
            let log = subject::events_log(region, partition);
            let created_ms = self
                .at(region, |state| Ok(state.log(&log)?.part().created_ms))
                .await?;
            let mut world = self.world();
            let made_ms = world.created_ms();
            let state = world.state(own);
            let name = subject::mirror_log(own, region, partition);
            if let Some(old) = state.feeds.get(&name)
                && old.epoch != of.epoch
            {
                return Err(LogError::Refused(format!(
                    "{name} is of another incarnation"
                )));
            }
            let feed = Feed {
                origin: region.clone(),
                log,
                created_ms,
                epoch: of.epoch,
                partitions: of.partitions(),
            };
            state.feeds.insert(name.clone(), feed);
            state.durables.entry(name.clone()).or_default();
            let made = state.logs.entry(name);
            made.or_insert_with(|| Stored::new(made_ms, false));
            world.feed_mirrors();
            Ok(())
        })
    }

    /// By what is there: the twin's logs have no settings.
    fn plan(&self, _workers: Duration) -> Answer<'_, Plan> {
        Box::pin(async move {
            let own = self.region();
            let mut plan = Plan::default();
            let logs: Vec<String> = self.registry().logs().collect();
            let peers = self.registry().peers().iter();
            let mirrors = peers.flat_map(|peer| {
                let known = self.registry().origin(peer);
                let partitions = 0..known.map_or(0, |known| known.partitions());
                partitions.map(move |partition| subject::mirror_log(own, peer, partition))
            });
            let wanted: Vec<String> = logs.into_iter().chain(mirrors).collect();
            self.at(own, |state| {
                for name in wanted {
                    let there = state.logs.contains_key(&name);
                    let change = if there { Change::Leave } else { Change::Make };
                    plan.push(name, change);
                }
                Ok(plan)
            })
            .await
        })
    }

    fn remove_mirror<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, ()> {
        let own = self.region();
        Box::pin(self.at(own, move |state| {
            let name = subject::mirror_log(own, region, partition);
            state.logs.remove(&name);
            state.feeds.remove(&name);
            state.durables.remove(&name);
            Ok(())
        }))
    }
}
