//! The role that writes the log to the store: in groups, idempotent, one process of a region at a time.
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

use chorus_protocol::{Event, Offset};
use futures_util::future::try_join_all;
use tokio::sync::{Mutex, watch};

pub use self::partitions::{ChangeError, change_partitions};
use crate::clock;
use crate::health::Condition;
use crate::log::{Consumer, Entry, Lease, Leases, Log, LogError};
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

/// A partition of this region's events, as it is written.
#[derive(Clone, Copy)]
struct Partition {
    number: u16,
    epoch: u64,
}

impl Persist {
    /// Writes until `stop` says otherwise; the group under way is finished.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let holder = format!("{:016x}", clock::draw());
        let mut said = String::new();
        while !*stop.borrow() {
            let begun = Instant::now();
            let Err(why) = self.turn(&holder, stop.clone()).await else {
                break;
            };
            self.note(&why);
            let why = why.to_string();
            // Once per reason, not per try.
            if said != why || begun.elapsed() > SAID_AGAIN {
                tracing::info!(%why, "persist starts again");
                said = why;
            }
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
            result = self.write_lives() => result,
            () = renew(&rights, &held) => Err(Stop::NotOurs),
        };
        rights.release(&*held.lock().await).await;
        result
    }

    async fn write_all(&self, stop: watch::Receiver<bool>) -> Result<(), Stop> {
        let region = self.log.region();
        let epoch = self.log.look_at(region).await?.epoch;
        let partitions = 0..self.log.registry().partitions();
        let written = partitions.map(|number| {
            let partition = Partition { number, epoch };
            self.write_partition(partition, stop.clone())
        });
        try_join_all(written).await.map(|_| ())
    }

    async fn write_partition(
        &self,
        partition: Partition,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        let region = self.log.region();
        let mut consumer = self.log.consume_events(partition.number).await?;
        let positions = self.stores.comments.positions().await?;
        let at = positions.get(&position_key(region, partition.number));
        let mut at = self.catch_up(partition, at.copied(), consumer.past).await?;
        let mut handed_out = consumer.handed_out;
        loop {
            let group = tokio::select! {
                group = consumer.next_group(ROWS_MAX, GATHER) => group?,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            if self.log.epoch(region) != Some(partition.epoch) {
                return Err(Stop::Epoch);
            }
            handed_out = unbroken(handed_out, &group)?;
            at = self.write_group(partition, at, &group, &consumer).await?;
        }
    }

    /// Reads from the log what the consumer is past and the store does not have.
    async fn catch_up(
        &self,
        partition: Partition,
        from: Option<Offset>,
        past: u64,
    ) -> Result<Option<Offset>, Stop> {
        let Partition { number, epoch } = partition;
        let mut at = from;
        let mut after = at.filter(|at| at.epoch == epoch).map_or(0, |at| at.seq);
        while after < past {
            let events = self.log.all_after(number, after, past, ROWS_MAX).await?;
            if events.is_empty()
                && self
                    .log
                    .event_at(self.log.region(), number, past)
                    .await?
                    .is_some()
            {
                // A replica that is behind its leader answered.
                return Err(LogError::Away("a replica is behind".to_owned()).into());
            }
            let to = events.last().map_or(past, |event| event.seq);
            // A store that fails gets the same again and again.
            if !self.metrics.health.has(Condition::StoreWrites) {
                tracing::info!(events = events.len(), to, "read again from the log");
            }
            at = Some(self.write_events(partition, at, to, events).await?);
            after = to;
        }
        Ok(at)
    }

    async fn write_group(
        &self,
        partition: Partition,
        at: Option<Offset>,
        group: &[Entry],
        consumer: &Consumer,
    ) -> Result<Option<Offset>, Stop> {
        let epoch = partition.epoch;
        let region = self.log.region();
        let known = at.filter(|at| at.epoch == epoch).map_or(0, |at| at.seq);
        // What comes again after an acknowledgement got lost is in the store.
        let fresh: Vec<Event> = group
            .iter()
            .filter(|entry| entry.seq > known)
            .map(|entry| rows::event(region, epoch, entry))
            .collect();
        let mut at = at;
        if let Some(last) = fresh.last() {
            let to = last.seq;
            at = Some(self.write_events(partition, at, to, fresh).await?);
        }
        consumer.acknowledge().await?;
        let lag = group.last().map_or(0, |entry| entry.pending);
        self.metrics.persist_lag(partition.number, lag);
        Ok(at)
    }

    async fn write_events(
        &self,
        Partition { number, epoch }: Partition,
        from: Option<Offset>,
        to: u64,
        events: Vec<Event>,
    ) -> Result<Offset, Stop> {
        let to = Offset { epoch, seq: to };
        let started = Instant::now();
        let mut good = Vec::with_capacity(events.len());
        for event in events {
            let seq = event.seq;
            match rows::row(event) {
                Ok(row) => good.extend(row),
                Err((reason, body)) => self.bury((number, seq), reason, &body).await?,
            }
        }
        let batch = Batch {
            log: position_key(self.log.region(), number),
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
    async fn bury(&self, place: (u16, u64), reason: &str, body: &[u8]) -> Result<(), Stop> {
        tracing::warn!(?place, reason, "a message of the log cannot be persisted");
        self.log
            .publish_dead("persist", self.log.region(), place, reason, body)
            .await?;
        self.metrics.dead_letters.inc();
        Ok(())
    }

    /// Keeps the store's streams in step with the control log, which holds the last word on each: asking for what is
    /// newer than the last one read misses none.
    async fn write_lives(&self) -> Result<(), Stop> {
        let mut after = 0;
        let epoch = self.log.epoch(self.log.region());
        loop {
            if self.log.epoch(self.log.region()) != epoch {
                return Err(Stop::Epoch);
            }
            let (lives, to) = self.log.lives_after(self.log.region(), after).await?;
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
