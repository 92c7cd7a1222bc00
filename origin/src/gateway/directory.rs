//! Which streams there are and how they stand: the control log's last words, remembered for a while, and watched for the
//! streams that are held.
//!
//! Changes come live. What was lost on that way is found by comparing with the control log, each second and after every
//! reconnect. An older word never replaces a newer one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chorus_protocol::stream::Life;
use chorus_protocol::{Region, StreamId};
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::lock::lock;
use crate::log::{Log, LogError};
use crate::metrics::Metrics;

/// A known stream is looked up again after this long; changes come live before.
const KNOWN: Duration = Duration::from_secs(30);
/// A stream that is not there is looked up again after this long: it may be created any moment.
const UNKNOWN: Duration = Duration::from_millis(250);
/// Streams remembered; at the bound all are forgotten and looked up again.
const REMEMBERED_MAX: usize = 50_000;
/// How often the control logs are compared with what is known.
const COMPARE: Duration = Duration::from_secs(1);

/// A stream, or that there is none.
pub(super) type Found = Option<Arc<Life>>;

#[derive(Default)]
struct Streams {
    known: HashMap<StreamId, (Found, Instant)>,
    /// Those that are held, bounded by the holds.
    watched: HashMap<StreamId, watch::Sender<Found>>,
}

#[derive(Clone)]
pub(super) struct Directory {
    log: Arc<dyn Log>,
    metrics: Arc<Metrics>,
    streams: Arc<Mutex<Streams>>,
}

impl Directory {
    pub(super) fn new(log: Arc<dyn Log>, metrics: Arc<Metrics>) -> Self {
        Self {
            log,
            metrics,
            streams: Arc::default(),
        }
    }

    /// The stream as it is remembered; `None` when it must be looked up.
    pub(super) fn known(&self, stream: &StreamId) -> Option<Found> {
        let (remembered, lasts) = lock(&self.streams).remembered(stream);
        lasts.then_some(remembered)
    }

    /// The stream, or `None` when there is none.
    pub(super) async fn find(&self, stream: &StreamId) -> Result<Found, LogError> {
        let (remembered, lasts) = lock(&self.streams).remembered(stream);
        if lasts {
            return Ok(remembered);
        }
        let asked = Instant::now();
        match self.log.life(stream).await {
            Ok(Some(life)) => {
                let mut streams = lock(&self.streams);
                streams.learn(life);
                Ok(streams.remembered(stream).0)
            }
            Ok(None) => {
                let mut streams = lock(&self.streams);
                streams.miss(stream, asked);
                Ok(streams.remembered(stream).0)
            }
            // While the log is away the last word stands.
            Err(error) => match remembered {
                Some(life) => Ok(Some(life)),
                None => Err(error),
            },
        }
    }

    /// The stream as it stands and every change of it, the last one at least.
    pub(super) fn watch(&self, stream: &StreamId) -> watch::Receiver<Found> {
        let mut streams = lock(&self.streams);
        let known = streams.remembered(stream).0;
        match streams.watched.entry(stream.clone()) {
            Entry::Occupied(watched) => watched.get().subscribe(),
            Entry::Vacant(free) => free.insert(watch::Sender::new(known)).subscribe(),
        }
    }

    /// Keeps up with streams' lives, for ever.
    pub(super) async fn follow(&self) {
        let regions: Vec<Region> = self.log.all_regions();
        // Each for itself: a peer that is away holds nobody up.
        let compare = join_all(regions.iter().map(|region| self.compare_on(region)));
        let (heard, _) = tokio::join!(self.hear(), compare);
        if let Err(error) = heard {
            tracing::warn!(%error, "changes of streams are not heard live");
        }
    }

    async fn hear(&self) -> Result<(), LogError> {
        let mut lives = self.log.follow_lives().await?;
        while let Some(life) = lives.next().await {
            lock(&self.streams).learn(life);
        }
        Ok(())
    }

    /// Compares with a region's control log, each second and after every reconnect.
    async fn compare_on(&self, region: &Region) {
        let mut link = self.log.link();
        let mut generation = link.borrow_and_update().generation;
        let mut read = None;
        let mut tick = tokio::time::interval(COMPARE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                changed = link.changed() => if changed.is_err() { return },
            }
            let now = *link.borrow_and_update();
            if !now.connected {
                continue;
            }
            if now.generation != generation {
                generation = now.generation;
                read = None;
            }
            match self.compare(region, read).await {
                Ok(to) => read = Some(to),
                Err(error) => tracing::debug!(%region, %error, "streams cannot be compared"),
            }
            // Nobody holds them any more.
            let watched = &mut lock(&self.streams).watched;
            watched.retain(|_, watched| watched.receiver_count() > 0);
        }
    }

    /// Learns what a region's control log says after what was `read`; says up to where it is read now.
    async fn compare(&self, region: &Region, read: Option<u64>) -> Result<u64, LogError> {
        let last = self.log.last_life(region).await?;
        match read {
            Some(read) if read == last => Ok(read),
            Some(mut read) if read < last => loop {
                let (lives, to) = self.log.lives_after(region, read).await?;
                self.repair(lives);
                // A replica may be behind its leader: the rest comes with the next comparison.
                if to == read || to >= last {
                    return Ok(to);
                }
                read = to;
            },
            // Never read, away for a while, or a log that was made anew: all that is held is looked at.
            Some(_) | None => {
                let held: Vec<StreamId> = lock(&self.streams).watched.keys().cloned().collect();
                self.repair(self.log.lives(region, &held).await?);
                Ok(last)
            }
        }
    }

    fn repair(&self, lives: Vec<Life>) {
        for life in lives {
            if lock(&self.streams).learn(life) {
                self.metrics.lives_repaired.inc();
            }
        }
    }
}

impl Streams {
    /// The last word on a stream, and whether it still counts.
    fn remembered(&self, stream: &StreamId) -> (Found, bool) {
        match self.known.get(stream) {
            Some((found, at)) => {
                let lasts = if found.is_some() { KNOWN } else { UNKNOWN };
                (found.clone(), at.elapsed() < lasts)
            }
            None => (None, false),
        }
    }

    /// Takes a word on a stream in, unless there is a newer one. True when it is held and that was news.
    fn learn(&mut self, life: Life) -> bool {
        let revision = life.revision();
        let stream = life.info.stream_id.clone();
        let mut life = Arc::new(life);
        if let Some((Some(known), _)) = self.known.get(&stream)
            && known.revision() >= revision
        {
            life = Arc::clone(known);
        }
        self.remember(&stream, Some(Arc::clone(&life)));
        self.watched.get(&stream).is_some_and(|watched| {
            watched.send_if_modified(|now| {
                let news = now
                    .as_ref()
                    .is_none_or(|now| now.revision() < life.revision());
                if news {
                    *now = Some(life);
                }
                news
            })
        })
    }

    /// There was no such stream when the log was `asked`; what was heard since counts more.
    fn miss(&mut self, stream: &StreamId, asked: Instant) {
        if self.known.get(stream).is_none_or(|(_, at)| *at <= asked) {
            self.remember(stream, None);
        }
    }

    fn remember(&mut self, stream: &StreamId, found: Found) {
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert(stream.clone(), (found, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::Millis;
    use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};

    use super::*;

    fn life(seq: u64, title: &str) -> Life {
        let info = StreamInfo {
            stream_id: "demo".parse().expect("a stream"),
            title: title.to_owned(),
            description: String::new(),
            broadcaster_id: "b".parse().expect("a user"),
            status: StreamStatus::Live,
            created_at_ms: Millis(1),
            settings: Settings::default(),
            home_region: None,
        };
        Life { info, seq }
    }

    fn title(found: Found) -> Option<String> {
        found.map(|life| life.info.title.clone())
    }

    #[test]
    fn an_older_word_never_replaces_a_newer_one() {
        let mut streams = Streams::default();
        let demo: StreamId = "demo".parse().expect("a stream");
        let (sender, receiver) = watch::channel(None);
        streams.watched.insert(demo.clone(), sender);
        assert!(streams.learn(life(5, "five")));
        assert!(!streams.learn(life(4, "four")));
        assert!(!streams.learn(life(5, "five")));
        assert_eq!(title(streams.remembered(&demo).0).as_deref(), Some("five"));
        // Forgotten meanwhile: whoever holds it is not told the older one either.
        streams.known.clear();
        assert!(!streams.learn(life(4, "four")));
        assert_eq!(title(receiver.borrow().clone()).as_deref(), Some("five"));
        let mut anew = life(1, "anew");
        anew.info.created_at_ms = Millis(2);
        assert!(streams.learn(anew), "created anew in a log made anew");
        assert_eq!(title(receiver.borrow().clone()).as_deref(), Some("anew"));
    }

    #[test]
    fn a_stream_created_while_it_was_looked_up_is_there() {
        let mut streams = Streams::default();
        let demo: StreamId = "demo".parse().expect("a stream");
        let asked = Instant::now();
        streams.miss(&demo, asked);
        assert_eq!(streams.remembered(&demo), (None, true));
        streams.learn(life(1, "one"));
        streams.miss(&demo, asked);
        assert_eq!(title(streams.remembered(&demo).0).as_deref(), Some("one"));
    }
}
