//! All followers of a gateway, and the comparison of last sequences that finds what was lost at the very end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chorus_protocol::{Offset, Region, StreamId};
use chorus_quic::Pace;
use tokio::sync::{mpsc, watch};

use super::follower::core::{Bounds, LaneId, Regions};
use super::follower::{self, ASKS_MAX, Ask, standings};
use crate::history::History;
use crate::lock::lock;
use crate::log::{Log, LogError};
use crate::metrics::Metrics;

/// How often last sequences are compared.
const SWEEP: Duration = Duration::from_secs(1);

/// What all followers use.
pub(super) struct Shared {
    pub(super) log: Arc<dyn Log>,
    pub(super) history: History,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pace: Arc<Pace>,
    /// This gateway's id within its region.
    pub(super) id: String,
    /// `<region>.<id>`.
    pub(super) name: String,
    pub(super) bounds: Bounds,
    /// The regions as of the last comparison of last sequences.
    pub(super) regions: watch::Sender<Regions>,
}

/// The followers by stream.
pub(super) struct Followers {
    shared: Arc<Shared>,
    running: Mutex<HashMap<StreamId, mpsc::Sender<Ask>>>,
    next_lane: AtomicU64,
}

impl Followers {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            running: Mutex::default(),
            next_lane: AtomicU64::new(0),
        }
    }

    /// A number for a lane, never used again.
    pub(super) fn lane(&self) -> LaneId {
        self.next_lane.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks something of the stream's follower, starting one when there is none; waits while it is busy.
    pub(super) async fn send(self: &Arc<Self>, stream: &StreamId, ask: Ask) {
        let mut ask = ask;
        while let Err(mpsc::error::SendError(unheard)) = self.follower(stream).send(ask).await {
            // It ended in between; the next one is started. It gives way to whoever removes it.
            ask = unheard;
            tokio::task::yield_now().await;
        }
    }

    /// Asks something of a stream's follower, where there is one with room; true when it will hear it.
    pub(super) fn ask(&self, stream: &StreamId, ask: Ask) -> bool {
        let running = lock(&self.running);
        running
            .get(stream)
            .is_some_and(|follower| follower.try_send(ask).is_ok())
    }

    /// Asks something of all.
    pub(super) fn ask_all(&self, ask: impl Fn() -> Ask) {
        for follower in lock(&self.running).values() {
            let _ = follower.try_send(ask());
        }
    }

    fn follower(self: &Arc<Self>, stream: &StreamId) -> mpsc::Sender<Ask> {
        let mut running = lock(&self.running);
        if let Some(follower) = running.get(stream).filter(|asks| !asks.is_closed()) {
            return follower.clone();
        }
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        running.insert(stream.clone(), asks.clone());
        drop(running);
        let this = Arc::clone(self);
        let stream = stream.clone();
        let mine = asks.clone().downgrade();
        tokio::spawn(async move {
            let shared = Arc::clone(&this.shared);
            shared.metrics.followers.inc();
            let ended = follower::run(stream.clone(), Arc::clone(&shared), asked).await;
            tracing::debug!(%stream, %ended, "a follower ended");
            shared.metrics.followers.dec();
            let mut running = lock(&this.running);
            let same =
                |now: &mpsc::Sender<Ask>| mine.upgrade().is_some_and(|me| me.same_channel(now));
            if running
                .get(&stream)
                .is_some_and(|now| now.is_closed() || same(now))
            {
                running.remove(&stream);
            }
        });
        asks
    }

    /// Compares last sequences, each second and after every reconnect, for ever.
    pub(super) async fn sweep(self: Arc<Self>) {
        let mut link = self.shared.log.link();
        let mut generation = link.borrow_and_update().generation;
        let mut told: HashMap<Region, Told> = HashMap::new();
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                changed = link.changed() => if changed.is_err() { return },
            }
            let turn_us = i64::try_from(self.shared.pace.turn_us()).unwrap_or(i64::MAX);
            self.shared.metrics.turn_us.set(turn_us);
            let now = *link.borrow_and_update();
            if !now.connected {
                continue;
            }
            if now.generation != generation {
                generation = now.generation;
                told.clear();
                self.ask_all(|| Ask::Reconnected);
            }
            let regions = standings(&*self.shared.log);
            let known = regions.clone();
            let changed = self.shared.regions.send_if_modified(|before| {
                let changed = *before != regions;
                *before = regions;
                changed
            });
            if changed {
                self.ask_all(|| Ask::Regions);
            }
            for (region, standing) in known {
                let Some(epoch) = standing.epoch() else {
                    continue;
                };
                let told = told.entry(region.clone()).or_default();
                if told.epoch != epoch {
                    // A log made anew may come to the same sequences.
                    *told = Told {
                        epoch,
                        ..Told::default()
                    };
                }
                let compared = Box::pin(self.compare(&region, told));
                let compared = self.shared.log.registry().of_peer(&region, compared);
                if let Err(error) = compared.await {
                    tracing::debug!(%region, %error, "last sequences cannot be compared");
                    *told = Told::default();
                }
            }
        }
    }

    async fn compare(&self, region: &Region, told: &mut Told) -> Result<(), LogError> {
        let streams: Vec<StreamId> = lock(&self.running).keys().cloned().collect();
        if streams.is_empty() {
            return Ok(());
        }
        let last = self.shared.log.written(region).await?;
        // Followers that came since then read the history themselves, up to a later sequence.
        if last == told.last {
            return Ok(());
        }
        let found = self.shared.log.last_seqs(region, &streams).await?;
        let mut now = Told {
            epoch: told.epoch,
            last,
            ..Told::default()
        };
        for (stream, seq) in found {
            let ask = Ask::Last {
                region: region.clone(),
                last: Offset {
                    epoch: told.epoch,
                    seq,
                },
            };
            if told.streams.get(&stream) == Some(&seq) || self.ask(&stream, ask) {
                now.streams.insert(stream, seq);
            } else {
                // It was too busy to hear: once more at the next comparison.
                now.last = 0;
            }
        }
        *told = now;
        Ok(())
    }
}

/// What the followers were told of a region's log.
#[derive(Default)]
struct Told {
    epoch: u64,
    last: u64,
    streams: std::collections::BTreeMap<StreamId, u64>,
}
