//! Publishes events by the routes, for all lanes of a gateway.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chorus_protocol::{Region, StreamId};

use super::{Routes, Turned};
use crate::lock::lock;
use crate::log::{Ack, Again, Log, Tag, Waiter};
use crate::metrics::Metrics;

/// Publishes events to the nearest region's log and to the next one's when that does not take them.
pub(in crate::gateway) struct Router {
    log: Arc<dyn Log>,
    routes: Mutex<Routes>,
    since: Instant,
    metrics: Arc<Metrics>,
}

/// An event to be published.
pub(in crate::gateway) struct Post<'a> {
    pub(in crate::gateway) stream: &'a StreamId,
    pub(in crate::gateway) key: u128,
    /// The one region whose log may have it.
    pub(in crate::gateway) home: Option<&'a Region>,
}

/// What became of a publication.
pub(in crate::gateway) enum Turn {
    /// It came out.
    Out(Tag, Ack),
    /// It goes to another log, or nobody asked.
    On,
}

impl Router {
    pub(in crate::gateway) fn new(log: Arc<dyn Log>, metrics: Arc<Metrics>) -> Self {
        let regions = log.all_regions();
        for region in &regions {
            metrics.log_breaker(region, false);
        }
        Self {
            routes: Mutex::new(Routes::new(regions)),
            log,
            since: Instant::now(),
            metrics,
        }
    }

    /// Whether there is one region alone, as in one cluster.
    pub(in crate::gateway) fn is_alone(&self) -> bool {
        self.log.registry().peers().is_empty()
    }

    /// Publishes an event; gives the waiter back when no log can be tried now, so that it is certainly not stored.
    pub(in crate::gateway) async fn publish(
        &self,
        post: Post<'_>,
        body: Vec<u8>,
        mut waiter: Waiter,
    ) -> Result<(), Waiter> {
        let Post { stream, key, home } = post;
        let body = Bytes::from(body);
        if self.is_alone() {
            let own = self.log.region();
            self.log.publish_event(own, stream, key, body, waiter).await;
            return Ok(());
        }
        let now_ms = self.now_ms();
        let way = lock(&self.routes).choose(now_ms, home, |region| self.is_usable(region));
        let Some(way) = way else { return Err(waiter) };
        for probe in &way.probes {
            let to = waiter.to.clone();
            let tag = Tag {
                key,
                id: waiter.tag.id,
                probe: true,
                ..Tag::default()
            };
            let copy = Waiter { to, tag };
            self.log
                .publish_event(probe, stream, key, body.clone(), copy)
                .await;
        }
        if home.is_none() {
            waiter.tag.again = Some(Box::new(Again {
                stream: stream.clone(),
                body: body.clone(),
                to: waiter.to.clone(),
                unsettled: false,
            }));
        }
        self.log
            .publish_event(&way.to, stream, key, body, waiter)
            .await;
        Ok(())
    }

    /// Takes an acknowledgement. An event that a log did not take goes on to the next one.
    pub(in crate::gateway) fn came_out(&self, mut tag: Tag, ack: Ack) -> Turn {
        let is_event = tag.id.is_some() && tag.refusal.is_none();
        let Some(region) = tag.region.clone().filter(|_| is_event) else {
            return Turn::Out(tag, ack);
        };
        self.note(&region, &ack);
        if tag.probe {
            return Turn::On;
        }
        let Some(mut again) = tag.again.take() else {
            return Turn::Out(tag, ack);
        };
        if matches!(ack, Ack::Stored { .. }) {
            return Turn::Out(tag, ack);
        }
        again.unsettled |= ack == Ack::Unknown;
        // Without a connection no log can be reached.
        let next = self.log.connected().then(|| {
            let now_ms = self.now_ms();
            lock(&self.routes).next(now_ms, &region, |region| self.is_usable(region))
        });
        let Some(next) = next.flatten() else {
            let ack = if again.unsettled { Ack::Unknown } else { ack };
            return Turn::Out(tag, ack);
        };
        tracing::debug!(from = %region, to = %next, "an event goes to the next region's log");
        let log = Arc::clone(&self.log);
        // Room in the connection's queue is waited for elsewhere: acknowledgements go on being read.
        tokio::spawn(async move {
            let Again {
                stream, body, to, ..
            } = (*again).clone();
            let key = tag.key;
            tag.again = Some(again);
            let waiter = Waiter { to, tag };
            log.publish_event(&next, &stream, key, body, waiter).await;
        });
        Turn::On
    }

    /// The logs that an earlier try of an event may lie in: an event minted `age` ago, `moved` when by a PoP that was
    /// connected elsewhere then.
    pub(in crate::gateway) fn may_hold(
        &self,
        home: Option<&Region>,
        age: Duration,
        moved: bool,
    ) -> Vec<Region> {
        if let Some(home) = home {
            return vec![home.clone()];
        }
        let registry = self.log.registry();
        let mut regions = vec![registry.own().clone()];
        if moved || lock(&self.routes).went_elsewhere(self.now_ms()) {
            // What was away before the event was there has none of it.
            let was_there = |region: &&Region| {
                let away = registry.away_for(region);
                away.is_none_or(|away| away < age)
            };
            regions.extend(registry.peers().iter().filter(was_there).cloned());
        }
        regions
    }

    fn note(&self, region: &Region, ack: &Ack) {
        if matches!(ack, Ack::Stored { .. }) {
            self.metrics.event_stored(region);
        }
        if self.is_alone() || !self.log.connected() {
            return;
        }
        let mut routes = lock(&self.routes);
        let Some(turned) = routes.came_out(self.now_ms(), region, ack) else {
            return;
        };
        let away = routes.nearest_away().is_some();
        drop(routes);
        self.log.registry().note_elsewhere(away);
        let open = turned == Turned::Opened;
        self.metrics.log_breaker(region, open);
        if open {
            tracing::warn!(%region, "a log takes no events: they go to the next region's");
        } else {
            tracing::info!(%region, "a log takes events again");
        }
    }

    fn is_usable(&self, region: &Region) -> bool {
        let registry = self.log.registry();
        let unwell = region == registry.own() && self.metrics.health.refuses_posts();
        !unwell && registry.is_writable(region)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
