//! The role that writes the events of all regions to the store: in groups, idempotent, one process of a region at a time.
//!
//! This region's are read from its log, the others' from its mirrors, so that nothing is read over the border and the store
//! of every region comes to hold the same.
//!
//! The store's own position is what counts, not the consumer's acknowledgements: what the consumer is past but is not in
//! the store (it lost its last commits, was restored from a copy, or the last writer was killed with messages in its
//! hands) is read again from the log at the start. Three
//! things keep two writers apart: a lease; the consumer's count of what it handed out (a hole means that another took
//! messages); and the position expected by every write.

mod partitions;
mod rows;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chorus_protocol::{Event, Offset, Region};
use futures_util::future::try_join_all;
use tokio::sync::{Mutex, watch};

pub use self::partitions::{ChangeError, change_partitions};
use crate::clock;
use crate::health::Condition;
use crate::log::{Consumer, Entry, Lease, Leases, Log, LogError, RegionLog};
use crate::metrics::Metrics;
use crate::store::{Batch, StoreError, Stores, StreamRow, position_key};

/// Events of one transaction.
const ROWS_MAX: usize = 1_000;
/// How long a group gathers after its first comment; the history needs no hurry, it reads the log's tail.
const GATHER: Duration = Duration::from_millis(20);
/// How often the control log is asked for newer words on streams' lives.
const LIVES: Duration = Duration::from_secs(1);
/// From one try to the next when something is away.
const RETRY: Duration = Duration::from_millis(500);

/// A turn that lasted longer ended for another reason than the one before, even in the same words.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Why writing stopped; it starts again from the store's position.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a stream cannot be written: {0}")]
    Streams(StoreError),
    #[error("another process writes")]
    NotOurs,
    #[error("the log was made anew")]
    Epoch,
}

/// The role's shared parts.
pub struct Persist {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The record.
    pub stores: Stores,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Set while it writes or waits for its turn.
    pub running: Arc<AtomicBool>,
    /// Set while a stream could not be written.
    pub streams_failed: AtomicBool,
}

/// A partition of a region's events, as it is written: from the region's own log, or from the mirror of another one's.
#[derive(Clone)]
struct Partition {
    region: Region,
    number: u16,
    epoch: u64,
}

impl Persist {
    /// Writes until `stop` says otherwise; the group under way is finished.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let holder = format!("{:016x}", clock::draw());
        let mut said = Said::default();
        while !*stop.borrow() {
            let begun = Instant::now();
            let Err(why) = self.turn(&holder, stop.clone()).await else {
                break;
            };
            self.note(&why);
            said.say(&why, begun, "persist starts again");
            tokio::time::sleep(RETRY).await;
        }
        self.running.store(false, Ordering::Relaxed);
    }

    /// A store that failed is one that does not write now: the same is tried again until it does.
    fn note(&self, why: &Stop) {
        let (Stop::Store(error @ StoreError::Failed(_))
        | Stop::Streams(error @ StoreError::Failed(_))) = why
        else {
            return;
        };
        if matches!(why, Stop::Streams(_)) {
            self.streams_failed.store(true, Ordering::Relaxed);
        }
        let why = format!("comments are not written to the store: {error}");
        self.metrics.health.begin(Condition::StoreWrites, why);
    }

    /// One turn as the region's writer.
    async fn turn(&self, holder: &str, mut stop: watch::Receiver<bool>) -> Result<(), Stop> {
        let rights = self.log.rights().await?;
        self.running.store(true, Ordering::Relaxed);
        let lease = tokio::select! {
            lease = acquire(&rights, holder) => lease?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let held = Mutex::new(lease);
        // The store's fence guards a write that is under way when the lease is lost.
        let result = tokio::select! {
            result = self.write_all(stop) => result,
            () = renew(&rights, &held) => Err(Stop::NotOurs),
        };
        rights.release(&*held.lock().await).await;
        result
    }

    /// What this region's log and what each mirror holds, each for itself: one that is away or stuck holds no other up.
    async fn write_all(&self, stop: watch::Receiver<bool>) -> Result<(), Stop> {
        let own = self.log.region();
        let peers = self.log.registry().peers().iter();
        let peers = peers.map(|peer| self.write_peer(peer, stop.clone()));
        let (own, peers) = (self.write_own(own, stop.clone()), try_join_all(peers));
        // They end when they are told to, together.
        tokio::select! {
            result = async { tokio::try_join!(own, peers) } => result.map(|_| ()),
            result = self.write_lives_of(self.log.region()) => result,
            result = self.write_lives_of_peers() => result,
        }
    }

    async fn write_own(&self, own: &Region, stop: watch::Receiver<bool>) -> Result<(), Stop> {
        let known = self.log.look_at(own).await?;
        self.write_region(own, &known, stop).await
    }

    /// Writes what the mirror of a region holds, again and again: what is wrong with the mirror is over some time. What is
    /// wrong with the store ends the turn.
    async fn write_peer(&self, peer: &Region, mut stop: watch::Receiver<bool>) -> Result<(), Stop> {
        let mut said = Said::default();
        loop {
            let begun = Instant::now();
            let written = match self.log.registry().mirrored(peer) {
                Some(mirror) => self.write_region(peer, &mirror, stop.clone()).await,
                None => Err(LogError::Away("there is no mirror yet".to_owned()).into()),
            };
            match written {
                Err(why @ (Stop::Log(_) | Stop::Epoch)) => {
                    said.say(&why, begun, &format!("persist of {peer} starts again"));
                }
                ended => return ended,
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    async fn write_region(
        &self,
        region: &Region,
        known: &RegionLog,
        stop: watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        let written = (0..known.partitions()).map(|number| {
            let partition = Partition {
                region: region.clone(),
                number,
                epoch: known.epoch,
            };
            self.write_partition(partition, stop.clone())
        });
        try_join_all(written).await.map(|_| ())
    }

    async fn write_partition(
        &self,
        partition: Partition,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        let Partition { region, number, .. } = &partition;
        let mut consumer = self.log.consume_events(region, *number).await?;
        let positions = self.stores.comments.positions().await?;
        let at = positions.get(&position_key(region, *number));
        let at = self.catch_up(&partition, at.copied(), consumer.past);
        let mut at = at.await?;
        let mut handed_out = consumer.handed_out;
        loop {
            let group = tokio::select! {
                group = consumer.next_group(ROWS_MAX, GATHER) => group?,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            if self.epoch(region) != Some(partition.epoch) {
                return Err(Stop::Epoch);
            }
            handed_out = unbroken(handed_out, &group)?;
            at = self.write_group(&partition, at, &group, &consumer).await?;
        }
    }

    /// Which incarnation of a region's events is written from.
    fn epoch(&self, region: &Region) -> Option<u64> {
        if region == self.log.region() {
            return self.log.epoch(region);
        }
        Some(self.log.registry().mirrored(region)?.epoch)
    }

    /// Reads from the log what the consumer is past and the store does not have.
    async fn catch_up(
        &self,
        partition: &Partition,
        from: Option<Offset>,
        past: u64,
    ) -> Result<Option<Offset>, Stop> {
        let Partition {
            region,
            number,
            epoch,
        } = partition;
        let mut at = from;
        let mut after = at.filter(|at| at.epoch == *epoch).map_or(0, |at| at.seq);
        while after < past {
            let log = (region, *number, *epoch);
            let events = self.log.all_after(log, after, past, ROWS_MAX).await?;
            if events.is_empty() && self.holds(region, *number, past).await? {
                // A replica that is behind its leader answered.
                return Err(LogError::Away("a replica is behind".to_owned()).into());
            }
            let to = events.last().map_or(past, |event| event.seq);
            // A store that fails gets the same again and again.
            if !self.metrics.health.has(Condition::StoreWrites) {
                tracing::info!(%region, events = events.len(), to, "read again from the log");
            }
            at = Some(self.write_events(partition, at, to, events).await?);
            after = to;
        }
        Ok(at)
    }

    /// Whether the log that a partition is written from holds a sequence: nothing is deleted in its middle.
    async fn holds(&self, region: &Region, number: u16, seq: u64) -> Result<bool, LogError> {
        let part = if region == self.log.region() {
            self.log.part(region, number).await?
        } else {
            let found = self.log.mirror_part(region, number).await?;
            found.map(|mirror| mirror.part)
        };
        Ok(part.is_some_and(|part| (part.first_seq..=part.last_seq).contains(&seq)))
    }

    async fn write_group(
        &self,
        partition: &Partition,
        at: Option<Offset>,
        group: &[Entry],
        consumer: &Consumer,
    ) -> Result<Option<Offset>, Stop> {
        let Partition {
            region,
            number,
            epoch,
        } = partition;
        let known = at.filter(|at| at.epoch == *epoch).map_or(0, |at| at.seq);
        // What comes again after an acknowledgement got lost is in the store.
        let fresh: Vec<Event> = group
            .iter()
            .filter(|entry| entry.seq > known)
            .map(|entry| rows::event(region, *epoch, entry))
            .collect();
        let mut at = at;
        if let Some(last) = fresh.last() {
            let to = last.seq;
            at = Some(self.write_events(partition, at, to, fresh).await?);
        }
        consumer.acknowledge().await?;
        let lag = group.last().map_or(0, |entry| entry.pending);
        self.metrics.persist_lag(region, *number, lag);
        Ok(at)
    }

    async fn write_events(
        &self,
        Partition {
            region,
            number,
            epoch,
        }: &Partition,
        from: Option<Offset>,
        to: u64,
        events: Vec<Event>,
    ) -> Result<Offset, Stop> {
        let to = Offset {
            epoch: *epoch,
            seq: to,
        };
        let started = Instant::now();
        let mut good = Vec::with_capacity(events.len());
        for event in events {
            let seq = event.seq;
            match rows::row(event) {
                Ok(row) => good.extend(row),
                Err((reason, body)) => {
                    self.bury(region, (*number, seq), reason, &body).await?;
                }
            }
        }
        let batch = Batch {
            log: position_key(region, *number),
            from,
            to,
            rows: good,
        };
        let written = self.stores.comments.write(batch).await?;
        self.metrics.health.end(Condition::StoreWrites);
        self.metrics.persist_rows.inc_by(written.new);
        self.metrics.persist_repeats.inc_by(written.repeats);
        self.metrics
            .persist_seconds
            .observe(started.elapsed().as_secs_f64());
        Ok(to)
    }

    /// A message that can never be written must not hold the others up.
    async fn bury(
        &self,
        region: &Region,
        place: (u16, u64),
        reason: &str,
        body: &[u8],
    ) -> Result<(), Stop> {
        tracing::warn!(%region, ?place, reason, "a message of the log cannot be persisted");
        self.log
            .publish_dead("persist", region, place, reason, body)
            .await?;
        self.metrics.dead_letters.inc();
        Ok(())
    }

    /// Keeps the store's streams in step with a region's control log, which holds the last word on each: asking for what is
    /// newer than the last one read misses none.
    async fn write_lives_of(&self, region: &Region) -> Result<(), Stop> {
        let mut after = 0;
        let epoch = self.log.epoch(region);
        loop {
            if self.log.epoch(region) != epoch {
                return Err(Stop::Epoch);
            }
            let asked = self.log.lives_after(region, after);
            let (lives, to) = self.log.registry().of_peer(region, asked).await?;
            for life in lives {
                let row = StreamRow {
                    info: life.info,
                    seq: life.seq,
                };
                let written = self.stores.streams.write(row).await;
                written.map_err(Stop::Streams)?;
            }
            // Only what failed here is proved here.
            if self.streams_failed.swap(false, Ordering::Relaxed) {
                self.metrics.health.end(Condition::StoreWrites);
            }
            after = to;
            tokio::time::sleep(LIVES).await;
        }
    }

    /// The same for the other regions; one that is away is tried again. Ends by the store alone.
    async fn write_lives_of_peers(&self) -> Result<(), Stop> {
        let peers = self.log.registry().peers().iter();
        let peers = peers.map(async |peer| {
            loop {
                if !self.log.registry().is_away(peer) {
                    match self.write_lives_of(peer).await {
                        Ok(()) | Err(Stop::Log(_) | Stop::Epoch) => {}
                        Err(why) => return Err::<(), Stop>(why),
                    }
                }
                tokio::time::sleep(LIVES).await;
            }
        });
        try_join_all(peers).await?;
        // There are none.
        std::future::pending().await
    }
}

/// What was said last, so that it is said once per reason and not per try.
#[derive(Default)]
struct Said(String);

impl Said {
    fn say(&mut self, why: &Stop, begun: Instant, what: &str) {
        let why = why.to_string();
        if self.0 != why || begun.elapsed() > SAID_AGAIN {
            tracing::info!(%why, "{what}");
            self.0 = why;
        }
    }
}

/// Whether the consumer handed out these after so many, and nothing between to another; the new count.
fn unbroken(before: u64, entries: &[Entry]) -> Result<u64, Stop> {
    let mut last = before;
    for entry in entries {
        if entry.handed_out != last + 1 {
            return Err(Stop::NotOurs);
        }
        last = entry.handed_out;
    }
    Ok(last)
}

async fn acquire(rights: &Leases, holder: &str) -> Result<Lease, LogError> {
    loop {
        if let Some(lease) = rights.right("persist", holder).await? {
            return Ok(lease);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Renews until the lease is lost or runs out.
async fn renew(rights: &Leases, held: &Mutex<Lease>) {
    loop {
        tokio::time::sleep(rights.term() / 4).await;
        let lease = held.lock().await.clone();
        match rights.renew(&lease).await {
            Ok(Some(renewed)) => *held.lock().await = renewed,
            Ok(None) => return,
            // Away: held until its end.
            Err(_) if clock::now() < lease.until => {}
            Err(_) => return,
        }
    }
}
