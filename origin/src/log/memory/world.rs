//! All regions of a cluster, and what is repeated between them.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::Region;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::bucket::Keys;
use super::consume::Durable;
use super::mirror::Feed;
use super::stored::{Message, Put, Stored, matches};
use super::{Cut, LiveFault, WriteFault};
use crate::clock;
use crate::log::{Call, Link, LogError};

/// What a region's servers hold, and how they fare.
pub(super) struct State {
    pub(super) logs: BTreeMap<String, Stored>,
    pub(super) buckets: BTreeMap<String, Keys>,
    pub(super) durables: BTreeMap<String, Durable>,
    /// What this region's mirrors are of, by their names.
    pub(super) feeds: BTreeMap<String, Feed>,
    /// Its mirrors get nothing new.
    pub(super) mirrors_stand: bool,
    pub(super) link: watch::Sender<Link>,
    pub(super) cut: Option<Cut>,
    pub(super) stopped: bool,
    pub(super) full: bool,
    pub(super) fault: LiveFault,
    pub(super) writes: WriteFault,
    /// A live event that waits for the one behind it.
    pub(super) kept: Option<Repeated>,
}

impl Default for State {
    fn default() -> Self {
        let link = Link {
            connected: true,
            generation: 1,
        };
        Self {
            logs: BTreeMap::new(),
            buckets: BTreeMap::new(),
            durables: BTreeMap::new(),
            feeds: BTreeMap::new(),
            mirrors_stand: false,
            link: watch::Sender::new(link),
            cut: None,
            stopped: false,
            full: false,
            fault: LiveFault::None,
            writes: WriteFault::None,
            kept: None,
        }
    }
}

impl State {
    pub(super) fn log(&mut self, name: &str) -> Result<&mut Stored, LogError> {
        let found = self.logs.get_mut(name);
        found.ok_or_else(|| LogError::Away(format!("there is no log {name}")))
    }
}

/// A message as a log repeats it after it was stored.
#[derive(Clone)]
pub(super) struct Repeated {
    pub(super) subject: String,
    pub(super) seq: u64,
    /// The sequence of the one before it on the same subject.
    pub(super) previous: u64,
    pub(super) payload: Bytes,
}

struct Subscription {
    region: Region,
    pattern: String,
    to: mpsc::UnboundedSender<Repeated>,
}

#[derive(Default)]
pub(super) struct World {
    regions: BTreeMap<Region, State>,
    subscriptions: Vec<Subscription>,
    wakers: Vec<Waker>,
    /// Who answers calls, by region; they take turns.
    pub(super) callees: BTreeMap<Region, Vec<mpsc::UnboundedSender<Call>>>,
    /// What was let pass of the time.
    pub(super) passed: Duration,
    /// The youngest log's time: no two have the same.
    created_ms: u64,
}

impl World {
    pub(super) fn state(&mut self, region: &Region) -> &mut State {
        self.regions.entry(region.clone()).or_default()
    }

    pub(super) fn regions(&self) -> impl Iterator<Item = (&Region, &State)> {
        self.regions.iter()
    }

    /// How one region is reached from another: `None`, well.
    pub(super) fn reach(&mut self, from: &Region, to: &Region) -> Result<Option<Cut>, LogError> {
        if self.state(from).stopped {
            return Err(LogError::Away("no connection".to_owned()));
        }
        if from == to {
            return Ok(None);
        }
        if let Some(cut) = self.state(from).cut.or(self.state(to).cut) {
            return Ok(Some(cut));
        }
        if self.state(to).stopped {
            return Ok(Some(Cut::Refused));
        }
        Ok(None)
    }

    /// The logs' time.
    pub(super) fn now(&self) -> Instant {
        Instant::now() + self.passed
    }

    /// The time a log is made at.
    pub(super) fn created_ms(&mut self) -> u64 {
        self.created_ms = clock::now().0.max(self.created_ms + 1);
        self.created_ms
    }

    pub(super) fn subscribe(
        &mut self,
        region: &Region,
        pattern: String,
    ) -> mpsc::UnboundedReceiver<Repeated> {
        let (to, receiver) = mpsc::unbounded_channel();
        self.subscriptions.push(Subscription {
            region: region.clone(),
            pattern,
            to,
        });
        receiver
    }

    /// Stores a message in a region's log and repeats it.
    pub(super) fn put(
        &mut self,
        region: &Region,
        log: &str,
        message: Message,
        after: Option<u64>,
    ) -> Result<Put, LogError> {
        let (subject, payload) = (format!("live.{}", message.subject), message.payload.clone());
        let now = self.now();
        let put = self.state(region).log(log)?.put(message, after, now);
        if let Put::Stored { seq, previous } = put {
            self.repeat(
                region,
                Repeated {
                    subject,
                    seq,
                    previous,
                    payload,
                },
            );
            self.wake();
            self.feed_mirrors();
        }
        Ok(put)
    }

    fn repeat(&mut self, region: &Region, message: Repeated) {
        let state = self.state(region);
        let fault = if message.subject.starts_with("live.event.") {
            state.fault
        } else {
            LiveFault::None
        };
        match fault {
            LiveFault::None => self.send(region, &message),
            LiveFault::Lose => {}
            LiveFault::Repeat => {
                self.send(region, &message);
                self.send(region, &message);
            }
            LiveFault::Reorder => match state.kept.take() {
                None => state.kept = Some(message),
                Some(kept) => {
                    self.send(region, &message);
                    self.send(region, &kept);
                }
            },
        }
    }

    /// Repeats what waits for another one.
    pub(super) fn release(&mut self, region: &Region) {
        if let Some(kept) = self.state(region).kept.take() {
            self.send(region, &kept);
        }
    }

    /// Hands a message to all who subscribed to it and can be reached from its region.
    pub(super) fn send(&mut self, from: &Region, message: &Repeated) {
        let mut subscriptions = std::mem::take(&mut self.subscriptions);
        subscriptions.retain(|subscription| {
            if matches(&subscription.pattern, &message.subject)
                && !self.state(&subscription.region).stopped
                && matches!(self.reach(from, &subscription.region), Ok(None))
            {
                return subscription.to.send(message.clone()).is_ok();
            }
            !subscription.to.is_closed()
        });
        self.subscriptions = subscriptions;
    }

    pub(super) fn wait(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// Wakes all who wait for a message to be stored.
    pub(super) fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}
