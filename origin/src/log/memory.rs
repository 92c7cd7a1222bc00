//! The log in memory: the twin of the one over NATS, for tests of whatever uses a log.
//!
//! Regions of one [`Cluster`] see each other as those of a supercluster do. The same behaviour suite holds both
//! implementations to the same; faults that a real server shows seldom can be switched on here, and time can be let pass.
//! Queues are not bounded.

mod bucket;
mod consume;
mod control;
mod events;
mod gateways;
mod live;
mod mirror;
mod provision;
mod stored;
mod world;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chorus_protocol::Region;
use tokio::sync::watch;

use self::world::{State, World};
use super::publish::ack_wait;
use super::{Link, Log, LogError, Regional, Registry};
use crate::config;
use crate::lock::lock;
use crate::metrics::Metrics;

/// How a region is cut off from the others; within itself it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What is asked over the border fails at once.
    Refused,
    /// It is never answered.
    Silent,
}

/// What happens to the events that a region repeats live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LiveFault {
    /// Nothing.
    #[default]
    None,
    /// They are lost.
    Lose,
    /// Each comes twice.
    Repeat,
    /// Each second one comes before the one it follows.
    Reorder,
}

/// What happens to the events that are written to a region's log. It is read as ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteFault {
    /// Nothing.
    #[default]
    None,
    /// Its leader is gone: that is said at once.
    NoLeader,
    /// Its leader takes nothing and says nothing.
    Frozen,
    /// They are stored, and the acknowledgements are lost.
    AcksLost,
}

/// Regions that see each other; clones are the same.
#[derive(Clone, Default)]
pub struct Cluster(Arc<Mutex<World>>);

impl Cluster {
    /// Another process of a region.
    #[must_use]
    pub fn join(
        &self,
        region: &Region,
        config: &config::Nats,
        metrics: &Arc<Metrics>,
    ) -> Arc<dyn Log> {
        let link = self.lock().state(region).link.subscribe();
        metrics.nats_connected.set(1);
        Arc::new(Memory(Arc::new(Inner {
            cluster: self.clone(),
            link,
            registry: Registry::new(
                region.clone(),
                config.peers.clone(),
                config.partitions,
                config.workers,
                Arc::clone(metrics),
            ),
            metrics: Arc::clone(metrics),
            ack: ack_wait(config),
        })))
    }

    /// Cuts a region off from the others, or ends that.
    pub fn cut(&self, region: &Region, cut: Option<Cut>) {
        let mut world = self.lock();
        world.state(region).cut = cut;
        world.feed_mirrors();
    }

    /// Stops a region's servers, or starts them again with what they hold.
    pub fn stop(&self, region: &Region, stopped: bool) {
        let mut world = self.lock();
        let state = world.state(region);
        state.stopped = stopped;
        state.link.send_modify(|link| {
            link.connected = !stopped;
            link.generation += u64::from(!stopped);
        });
        world.wake();
        world.feed_mirrors();
    }

    /// Takes everything from a region, as a restart with empty disks does.
    pub fn wipe(&self, region: &Region) {
        let mut world = self.lock();
        let State { link, .. } = world.state(region);
        link.send_modify(|link| link.generation += 1);
        let link = link.clone();
        *world.state(region) = State {
            link,
            ..State::default()
        };
        world.wake();
    }

    /// Lets time pass for the logs: windows of repeats, leases and acknowledgements end.
    pub fn pass(&self, time: Duration) {
        let mut world = self.lock();
        world.passed += time;
        world.wake();
    }

    /// Makes a region's mirrors get nothing new, or ends that.
    pub fn stand(&self, region: &Region, stand: bool) {
        let mut world = self.lock();
        world.state(region).mirrors_stand = stand;
        world.feed_mirrors();
    }

    /// Makes a region take no more events, or ends that.
    pub fn full(&self, region: &Region, full: bool) {
        self.lock().state(region).full = full;
    }

    /// What happens from now on to the events that are written to a region's log.
    pub fn writes(&self, region: &Region, fault: WriteFault) {
        self.lock().state(region).writes = fault;
    }

    /// What happens from now on to the events that a region repeats live.
    pub fn live(&self, region: &Region, fault: LiveFault) {
        let mut world = self.lock();
        world.state(region).fault = fault;
        if fault != LiveFault::Reorder {
            world.release(region);
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.0)
    }
}

/// One process of a region.
#[derive(Clone)]
struct Memory(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    link: watch::Receiver<Link>,
    registry: Registry,
    metrics: Arc<Metrics>,
    /// How long an acknowledgement is waited for.
    ack: Duration,
}

impl Regional for Memory {
    fn registry(&self) -> &Registry {
        &self.0.registry
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.0.link.clone()
    }

    fn connected(&self) -> bool {
        self.0.link.borrow().connected
    }
}

impl Memory {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.cluster.lock()
    }

    /// Does something with a region's logs, where they can be reached from here.
    async fn at<T>(
        &self,
        region: &Region,
        work: impl FnOnce(&mut State) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let cut = {
            let mut world = self.world();
            match world.reach(self.region(), region)? {
                None => {
                    let done = work(world.state(region));
                    drop(world);
                    return done;
                }
                Some(cut) => cut,
            }
        };
        match cut {
            Cut::Refused => Err(LogError::Away("no responders".to_owned())),
            Cut::Silent => std::future::pending().await,
        }
    }
}
