//! The regions as a registry: which there are, which can be seen now, and what is known of their events.
//!
//! A region is *known* or *away*, looked at continuously. One that is away costs its own events until it is back, and
//! nobody else's history, start or resume: readers go by [`Regional::regions`], which leaves it out, and say so by a
//! position without it. Where this region has a mirror of it, its events are known up to there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use chorus_protocol::timing::Backoff;
use chorus_protocol::{Region, StreamId, subject};
use futures_util::future::join_all;
use tokio::sync::watch::Receiver;

use super::{Answer, Link, Log, LogError, Part, Site, mirror};
use crate::clock;
use crate::lock::lock;
use crate::metrics::Metrics;

/// How often a region that can be seen is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long a look may take, and whatever else is asked of a peer while somebody waits.
const PEER_WAIT: Duration = Duration::from_secs(2);
/// From one look at a region that is away to the next.
const AWAY: Backoff = Backoff::new(250, 5_000);

/// What is known of one region's log of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionLog {
    /// Which incarnation, shared by all partitions.
    pub epoch: u64,
    /// The partitions, as of the last look.
    pub parts: Vec<Part>,
}

impl RegionLog {
    /// In how many partitions its events are.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.parts.len()).unwrap_or(u16::MAX)
    }

    /// Which one a stream is in.
    #[must_use]
    pub fn partition(&self, stream: &StreamId) -> u16 {
        subject::partition(stream, self.partitions())
    }
}

#[derive(Default)]
struct Seen {
    log: Option<RegionLog>,
    away: Option<Away>,
    mirror: Option<mirror::Seen>,
}

impl Seen {
    /// The mirror, where it can be read instead of the origin: it is of the same incarnation, and moves or is all there is.
    fn mirror(&self) -> Option<&RegionLog> {
        let mirror = self.mirror.as_ref()?;
        let same = |log: &RegionLog| log.epoch == mirror.log.epoch;
        let moves = mirror.stalled.is_none() || self.away.is_some();
        (self.log.as_ref().is_none_or(same) && moves).then_some(&mirror.log)
    }

    /// Which incarnation its events are of, as far as is known.
    fn epoch(&self) -> Option<u64> {
        let mirror = || self.mirror.as_ref().map(|mirror| mirror.log.epoch);
        self.log.as_ref().map(|log| log.epoch).or_else(mirror)
    }

    /// What can be read of its events now.
    fn readable(&self) -> Option<&RegionLog> {
        match self.away {
            None => self.log.as_ref(),
            Some(_) => self.mirror(),
        }
    }

    /// What is wrong with its mirror.
    fn why_behind(&self, region: &Region) -> Option<String> {
        let known = self.log.as_ref().filter(|_| self.away.is_none())?;
        let Some(mirror) = &self.mirror else {
            return Some(format!("there is no mirror of {region} yet"));
        };
        if mirror.log.epoch != known.epoch {
            return Some(format!("the mirror of {region} is of an earlier log"));
        }
        let since_s = mirror.stuck()?.as_secs();
        let behind = mirror.behind;
        Some(format!(
            "the mirror of {region} is {behind} messages behind and has not moved for {since_s} s"
        ))
    }
}

struct Away {
    since: Instant,
    why: String,
}

/// The regions of this log.
pub struct Registry {
    own: Region,
    partitions: u16,
    workers: [u16; 2],
    peers: Vec<Region>,
    seen: RwLock<BTreeMap<Region, Seen>>,
    /// Since when events of this process go to another region's log.
    elsewhere: Mutex<Option<Instant>>,
    metrics: Arc<Metrics>,
}

impl Registry {
    /// Of a region, its peers and how its events and worker numbers are configured.
    #[must_use]
    pub fn new(
        own: Region,
        peers: Vec<Region>,
        partitions: u16,
        workers: [u16; 2],
        metrics: Arc<Metrics>,
    ) -> Self {
        for region in peers.iter().chain([&own]) {
            metrics.region_away(region, false);
        }
        Self {
            own,
            partitions,
            workers,
            peers,
            seen: RwLock::default(),
            elsewhere: Mutex::default(),
            metrics,
        }
    }

    /// The region of this process.
    #[must_use]
    pub fn own(&self) -> &Region {
        &self.own
    }

    /// The other regions, whether they can be seen or not.
    #[must_use]
    pub fn peers(&self) -> &[Region] {
        &self.peers
    }

    /// In how many partitions this region's events are.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The first and the last of this region's worker numbers.
    #[must_use]
    pub fn workers(&self) -> [u16; 2] {
        self.workers
    }

    /// The partition of a region that a stream is in.
    ///
    /// # Errors
    /// When the region was never seen.
    pub(super) fn partition_of(&self, region: &Region, stream: &StreamId) -> Result<u16, LogError> {
        if *region == self.own {
            return Ok(subject::partition(stream, self.partitions));
        }
        let seen = self.read();
        let log = seen.get(region).and_then(|seen| seen.log.as_ref());
        let unseen = || LogError::Away(format!("the log of {region} was not seen yet"));
        Ok(log.ok_or_else(unseen)?.partition(stream))
    }

    /// Where a stream's events of a region are read: in this region's log or mirror, else in the region's own log.
    ///
    /// # Errors
    /// When the region was never seen.
    pub(super) fn nearest(&self, region: &Region, stream: &StreamId) -> Result<Site, LogError> {
        let seen = self.read();
        let seen = seen.get(region);
        if let Some(mirror) = seen.and_then(Seen::mirror) {
            return Ok(Site::of(&self.own, region, mirror, stream, true));
        }
        let unseen = || LogError::Away(format!("the log of {region} was not seen yet"));
        let known = seen.and_then(|seen| seen.log.as_ref()).ok_or_else(unseen)?;
        Ok(Site::of(&self.own, region, known, stream, false))
    }

    /// The name of the log of this region's servers that a partition of a region's events is in.
    pub(super) fn log_here(&self, region: &Region, partition: u16) -> String {
        mirror::log_of(&self.own, region, partition, *region != self.own)
    }

    /// What is known of a region's own log, where it can be seen.
    pub(super) fn origin(&self, region: &Region) -> Option<RegionLog> {
        let seen = self.read();
        let seen = seen.get(region)?;
        let sees = seen.away.is_none() || *region == self.own;
        seen.log.clone().filter(|_| sees)
    }

    /// The mirror of a region, where it can be read instead of the origin.
    pub(super) fn mirror_of(&self, region: &Region) -> Option<RegionLog> {
        self.read().get(region)?.mirror().cloned()
    }

    /// Whether a region's own log cannot be read now.
    #[must_use]
    pub fn is_away(&self, region: &Region) -> bool {
        let seen = self.read();
        seen.get(region).is_some_and(|seen| seen.away.is_some())
    }

    /// Which incarnation of a region's events the mirror is of, whatever the region says now.
    #[must_use]
    pub fn mirrored(&self, region: &Region) -> Option<RegionLog> {
        let seen = self.read();
        Some(seen.get(region)?.mirror.as_ref()?.log.clone())
    }

    /// The peers that can be seen and whose mirror is missing or of another incarnation.
    #[must_use]
    pub fn unmirrored(&self) -> Vec<Region> {
        let seen = self.read();
        let lacks = |region: &&Region| {
            seen.get(*region).is_some_and(|seen| {
                let mirror = seen.mirror.as_ref().map(|mirror| mirror.log.epoch);
                let log = seen.log.as_ref().filter(|_| seen.away.is_none());
                log.is_some_and(|log| mirror != Some(log.epoch))
            })
        };
        self.peers.iter().filter(lacks).cloned().collect()
    }

    /// All logs of this region that need a leader.
    pub(super) fn logs(&self) -> impl Iterator<Item = String> {
        let own = &self.own;
        let events = (0..self.partitions).map(|partition| subject::events_log(own, partition));
        events.chain([subject::control_log(own), subject::reactions_log(own)])
    }

    /// The region of that name and its incarnation, where it was seen.
    pub(super) fn named(&self, name: &str) -> Option<(Region, u64)> {
        let regions = self.read();
        let (region, seen) = regions.get_key_value(name)?;
        Some((region.clone(), seen.epoch()?))
    }

    /// This region, then the peers that are not known to be away.
    pub(super) fn seen(&self) -> Vec<Region> {
        let seen = self.read();
        let away = |region: &&Region| seen.get(*region).is_some_and(|seen| seen.away.is_some());
        let peers = self.peers.iter().filter(|region| !away(region));
        std::iter::once(&self.own).chain(peers).cloned().collect()
    }

    /// Whether events may be written to a region's log: it was seen, and is not away. This region's own may be.
    pub(crate) fn is_writable(&self, region: &Region) -> bool {
        let seen = self.read();
        let known = |seen: &Seen| seen.log.is_some() && seen.away.is_none();
        *region == self.own || seen.get(region).is_some_and(known)
    }

    /// For how long a region has been away; `None` when it is not.
    pub(crate) fn away_for(&self, region: &Region) -> Option<Duration> {
        let seen = self.read();
        let away = seen.get(region)?.away.as_ref()?;
        Some(away.since.elapsed())
    }

    /// Notes whether events of this process go to another region's log.
    pub(crate) fn note_elsewhere(&self, elsewhere: bool) {
        let mut since = lock(&self.elsewhere);
        *since = match (elsewhere, *since) {
            (true, None) => Some(Instant::now()),
            (true, since) => since,
            (false, _) => None,
        };
    }

    /// A line on the mirrors that are missing or get no further; `None` when all is well.
    #[must_use]
    pub fn why_behind(&self) -> Option<String> {
        let seen = self.read();
        let peers = self.peers.iter();
        let why = peers.filter_map(|peer| seen.get(peer)?.why_behind(peer));
        let why: Vec<String> = why.collect();
        (!why.is_empty()).then(|| why.join("; "))
    }

    /// A line on the regions that are away, and on posts that go to another region's log; `None` when there is nothing.
    #[must_use]
    pub fn why_away(&self) -> Option<String> {
        let elsewhere = lock(&self.elsewhere).map(|since| {
            let since_s = since.elapsed().as_secs();
            format!("posts go to another region's log for {since_s} s")
        });
        let seen = self.read();
        let away = seen.iter().filter_map(|(region, seen)| {
            let away = seen.away.as_ref()?;
            let since_s = away.since.elapsed().as_secs();
            Some(format!(
                "region {region} away for {since_s} s: {}",
                away.why
            ))
        });
        let away: Vec<String> = elsewhere.into_iter().chain(away).collect();
        (!away.is_empty()).then(|| away.join("; "))
    }

    /// Waits for an answer that somebody waits for: a peer's only for a moment, and a peer that does not give one is
    /// away.
    ///
    /// # Errors
    /// As the answer, and when a peer's takes too long.
    pub async fn of_peer<T>(&self, region: &Region, asked: Answer<'_, T>) -> Result<T, LogError> {
        if *region == self.own {
            return asked.await;
        }
        let answered = match tokio::time::timeout(PEER_WAIT, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(LogError::Away("no answer in time".to_owned())),
        };
        if let Err(LogError::Away(why)) = &answered {
            self.note_away(region, why);
        }
        answered
    }

    pub(super) fn note(&self, region: &Region, log: RegionLog) {
        let mut regions = self.write();
        let seen = regions.entry(region.clone()).or_default();
        seen.log = Some(log);
        if let Some(away) = seen.away.take() {
            let seconds = away.since.elapsed().as_secs();
            tracing::info!(%region, seconds, "a region is back");
            self.metrics.region_away(region, false);
        }
    }

    pub(super) fn note_mirror(&self, region: &Region, log: Option<RegionLog>) {
        let mut regions = self.write();
        let seen = regions.entry(region.clone()).or_default();
        let origin = seen.log.as_ref().filter(|_| seen.away.is_none());
        let now = log.map(|log| mirror::Seen::after(log, seen.mirror.as_ref(), origin));
        let behind = match (&now, origin) {
            (Some(mirror), _) => mirror.behind,
            // It lacks all of it.
            (None, Some(origin)) => origin.parts.iter().map(|part| part.last_seq).sum(),
            (None, None) => 0,
        };
        self.metrics.mirror_lag(region, behind);
        seen.mirror = now;
    }

    fn note_away(&self, region: &Region, why: &str) {
        let mut regions = self.write();
        let seen = regions.entry(region.clone()).or_default();
        if let Some(away) = &mut seen.away {
            why.clone_into(&mut away.why);
            return;
        }
        tracing::warn!(%region, why, "a region is away");
        self.metrics.region_away(region, true);
        seen.away = Some(Away {
            since: Instant::now(),
            why: why.to_owned(),
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Region, Seen>> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Region, Seen>> {
        self.seen.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a log knows without asking.
pub trait Regional: Send + Sync {
    /// The regions.
    fn registry(&self) -> &Registry;

    /// How the connection stands; changes wake the receiver.
    fn link(&self) -> Receiver<Link>;

    /// Whether there is a connection.
    fn connected(&self) -> bool;

    /// The region of this process.
    fn region(&self) -> &Region {
        self.registry().own()
    }

    /// The regions whose events can be read now, in their logs or in this region's mirrors, and what is known of them.
    fn regions(&self) -> BTreeMap<Region, RegionLog> {
        let own = self.region();
        let seen = self.registry().read();
        let known = seen.iter().filter_map(|(region, seen)| {
            let log = if region == own {
                seen.log.as_ref()
            } else {
                seen.readable()
            };
            Some((region.clone(), log?.clone()))
        });
        known.collect()
    }

    /// A region's incarnation, as seen last.
    fn epoch(&self, region: &Region) -> Option<u64> {
        let seen = self.registry().read();
        seen.get(region)?.epoch()
    }

    /// This region and its peers, whether they can be seen or not; this one first.
    fn all_regions(&self) -> Vec<Region> {
        let registry = self.registry();
        let own = std::iter::once(&registry.own);
        own.chain(&registry.peers).cloned().collect()
    }
}

/// Looks at every region for ever: each for itself, so that one that is away holds no other up.
pub async fn watch(log: Arc<dyn Log>) {
    let regions = log.all_regions();
    join_all(regions.iter().map(|region| watch_one(&log, region))).await;
}

async fn watch_one(log: &Arc<dyn Log>, region: &Region) {
    let mut tries = 0;
    loop {
        let looked = match tokio::time::timeout(PEER_WAIT, log.look_at(region)).await {
            Ok(looked) => looked,
            Err(_) => Err(LogError::Away("no answer in time".to_owned())),
        };
        if let Err(error) = &looked {
            log.registry().note_away(region, &error.to_string());
        }
        if region != log.region()
            && let Err(error) = log.look_at_mirror(region).await
        {
            tracing::debug!(%region, %error, "the mirror cannot be seen");
        }
        let wait = match looked {
            Ok(_) => {
                tries = 0;
                LOOK
            }
            Err(_) => {
                tries += 1;
                Duration::from_millis(AWAY.ms(tries, clock::draw()))
            }
        };
        tokio::time::sleep(wait).await;
    }
}
