//! Publishing and reading events and reactions.

use std::collections::BTreeMap;

use bytes::Bytes;
use chorus_protocol::server::Reactions;
use chorus_protocol::{Event, Region, StreamId, subject};
use futures_util::future::BoxFuture;

use super::stored::{Message, Put};
use super::world::{State, World};
use super::{Cut, Memory, WriteFault};
use crate::health::Condition;
use crate::log::read::{PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
use crate::log::{Ack, Answer, LogError, Publish, Read, Regional as _, Site, Tail, Waiter};

/// How a write fares on its way to a log and back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Yes,
    /// Said at once.
    No,
    /// Never said.
    Silent,
    /// It is stored, and that is never said.
    Unanswered,
}

impl Publish for Memory {
    fn publish_event<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        key: u128,
        body: Bytes,
        mut waiter: Waiter,
    ) -> BoxFuture<'a, ()> {
        waiter.tag.region = Some(region.clone());
        let Ok(partition) = self.registry().partition_of(region, stream) else {
            return told(waiter, Ack::Unknown);
        };
        waiter.tag.partition = partition;
        let message = Message {
            subject: subject::event(region, partition, stream),
            id: Some(id(key)),
            payload: body,
        };
        let mut world = self.world();
        let State { full, writes, .. } = *world.state(region);
        let log = subject::events_log(region, partition);
        let reached = self.writes_reach(&mut world, region, writes);
        let ack = match reached {
            Reached::Yes | Reached::Unanswered => self.put(&mut world, region, &log, message, full),
            Reached::No | Reached::Silent => Ack::Unknown,
        };
        drop(world);
        if matches!(reached, Reached::Silent | Reached::Unanswered) {
            return self.tell_late(waiter);
        }
        if region == self.region() {
            let health = &self.0.metrics.health;
            let full = || "the log takes no more".to_owned();
            match ack {
                Ack::Stored { .. } => health.end(Condition::LogWrites),
                Ack::Refused => health.begin(Condition::LogWrites, full()),
                Ack::Unknown => {}
            }
        }
        told(waiter, ack)
    }

    fn find_repeat<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        key: u128,
        mut waiter: Waiter,
    ) -> BoxFuture<'a, ()> {
        waiter.tag.region = Some(region.clone());
        let Ok(partition) = self.registry().partition_of(region, stream) else {
            return told(waiter, Ack::Unknown);
        };
        waiter.tag.partition = partition;
        let mut world = self.world();
        let now = world.now();
        let writes = world.state(region).writes;
        let reached = self.writes_reach(&mut world, region, writes);
        let log = world
            .state(region)
            .log(&subject::events_log(region, partition));
        let ack = match (&reached, log) {
            (Reached::Yes, Ok(log)) => log.find(&id(key), now).map_or(Ack::Refused, repeat),
            (_, _) => Ack::Unknown,
        };
        drop(world);
        match reached {
            Reached::Yes | Reached::No => told(waiter, ack),
            Reached::Silent | Reached::Unanswered => self.tell_late(waiter),
        }
    }

    fn publish_reaction<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        reaction_type: &'a str,
        key: u128,
        by: u64,
        waiter: Waiter,
    ) -> BoxFuture<'a, ()> {
        let subject = subject::reaction(region, stream, reaction_type);
        let name = subject::reactions_log(region);
        let mut world = self.world();
        let reached = self.writes_reach(&mut world, region, WriteFault::None);
        if reached != Reached::Yes {
            drop(world);
            return told(waiter, Ack::Unknown);
        }
        let log = world.state(region).log(&name).ok();
        let before = log.and_then(|log| total(&log.last_of(&subject).pop()?.1.payload));
        let now = before.unwrap_or(0).saturating_add(by);
        let message = Message {
            subject,
            id: Some(format!("{}.{reaction_type}", id(key))),
            payload: now.to_string().into(),
        };
        let ack = self.put(&mut world, region, &name, message, false);
        drop(world);
        told(waiter, ack)
    }

    fn publish_dead<'a>(
        &'a self,
        role: &'a str,
        region: &'a Region,
        (partition, seq): (u16, u64),
        _reason: &'a str,
        payload: &'a [u8],
    ) -> Answer<'a, ()> {
        let own = self.region();
        let message = Message {
            subject: subject::dead(own, role),
            id: Some(format!("{role}.{region}.{partition}.{seq}")),
            payload: Bytes::copy_from_slice(payload),
        };
        let stored = match self.put(
            &mut self.world(),
            own,
            &subject::dead_log(own),
            message,
            false,
        ) {
            Ack::Stored { .. } => Ok(()),
            Ack::Refused | Ack::Unknown => Err(LogError::Away("no acknowledgement".to_owned())),
        };
        Box::pin(std::future::ready(stored))
    }
}

impl Memory {
    /// How a write to a region's log fares.
    fn writes_reach(&self, world: &mut World, region: &Region, writes: WriteFault) -> Reached {
        match (world.reach(self.region(), region), writes) {
            (Err(_) | Ok(Some(Cut::Refused)), _) | (_, WriteFault::NoLeader) => Reached::No,
            (Ok(Some(Cut::Silent)), _) | (_, WriteFault::Frozen) => Reached::Silent,
            (Ok(None), WriteFault::AcksLost) => Reached::Unanswered,
            (Ok(None), WriteFault::None) => Reached::Yes,
        }
    }

    /// Gives an acknowledgement up that does not come.
    fn tell_late(&self, waiter: Waiter) -> BoxFuture<'static, ()> {
        let wait = self.0.ack;
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            waiter.tell(Ack::Unknown);
        });
        Box::pin(std::future::ready(()))
    }

    fn put(
        &self,
        world: &mut World,
        region: &Region,
        log: &str,
        message: Message,
        full: bool,
    ) -> Ack {
        let own = self.region();
        if world.reach(own, own).is_err() {
            return Ack::Unknown;
        }
        self.0.metrics.publishes.inc();
        if full {
            // A repeat needs no room.
            let now = world.now();
            let known = world.state(region).log(log).ok();
            let known = known.and_then(|log| log.find(message.id.as_deref()?, now));
            return known.map_or(Ack::Refused, repeat);
        }
        match world.put(region, log, message, None) {
            Ok(Put::Stored { seq, .. }) => Ack::Stored {
                seq,
                duplicate: false,
            },
            Ok(Put::Duplicate { seq }) => repeat(seq),
            Ok(Put::Refused) | Err(_) => Ack::Unknown,
        }
    }
}

impl Read for Memory {
    fn page<'a>(&'a self, site: &'a Site, from: u64, max: usize) -> Answer<'a, Vec<Event>> {
        Box::pin(async move {
            self.at(site.holder(self.region()), |state| {
                let found = state.log(&site.log)?.from(&site.subject, from);
                Ok(page(&site.region, site.epoch, found, max))
            })
            .await
        })
    }

    fn settled<'a>(&'a self, site: &'a Site, after: u64, max: usize) -> Answer<'a, Tail> {
        self.pages(site, after, max)
    }

    fn written<'a>(&'a self, region: &'a Region) -> Answer<'a, u64> {
        Box::pin(async move {
            let own = self.region();
            let mirrored = self.registry().mirror_of(region).is_some();
            let (holder, prefix) = if mirrored {
                (own, format!("MIRROR_{own}_{region}_"))
            } else {
                (region, "EVENTS_".to_owned())
            };
            self.at(holder, move |state| {
                let events = state.logs.iter();
                let events = events.filter(|(name, _)| name.starts_with(&prefix));
                Ok(events.map(|(_, log)| log.part().last_seq).sum())
            })
            .await
        })
    }

    fn last_seqs<'a>(
        &'a self,
        region: &'a Region,
        streams: &'a [StreamId],
    ) -> Answer<'a, BTreeMap<StreamId, u64>> {
        Box::pin(async move {
            let mut last = BTreeMap::new();
            for stream in streams {
                let site = self.registry().nearest(region, stream)?;
                let seq = self.at(site.holder(self.region()), |state| {
                    let found = state.log(&site.log)?.last_of(&site.subject).pop();
                    Ok(found.map(|(seq, _)| seq))
                });
                if let Some(seq) = seq.await? {
                    last.insert(stream.clone(), seq);
                }
            }
            Ok(last)
        })
    }

    fn reaction_totals<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
    ) -> Answer<'a, Reactions> {
        Box::pin(self.at(region, move |state| {
            let log = state.log(&subject::reactions_log(region))?;
            let found = log.last_of(&subject::reaction(region, stream, "*"));
            let totals = found.into_iter().filter_map(|(_, message)| {
                let kind = message.subject.rsplit('.').next()?;
                Some((kind.to_owned(), total(&message.payload)?))
            });
            Ok(totals.collect())
        }))
    }

    fn event_at<'a>(
        &'a self,
        region: &'a Region,
        partition: u16,
        seq: u64,
    ) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let name = subject::events_log(region, partition);
            self.at(region, |state| {
                let found = state.log(&name)?.get(seq);
                Ok(found.map(|message| message.payload.to_vec()))
            })
            .await
        })
    }

    fn all_after<'a>(
        &'a self,
        (region, partition, epoch): (&'a Region, u16, u64),
        after: u64,
        to: u64,
        max: usize,
    ) -> Answer<'a, Vec<Event>> {
        Box::pin(async move {
            let own = self.region();
            let name = self.registry().log_here(region, partition);
            let subject = subject::events_of(region, partition);
            self.at(own, |state| {
                let found = state.log(&name)?.from(&subject, after + 1);
                let within = found.take_while(|(seq, _)| *seq <= to);
                Ok(page(region, epoch, within, max))
            })
            .await
        })
    }
}

/// As many as one answer holds.
fn page<'a>(
    region: &Region,
    epoch: u64,
    found: impl Iterator<Item = (u64, &'a Message)>,
    max: usize,
) -> Vec<Event> {
    let mut bytes = 0;
    let mut page = Vec::new();
    for (seq, message) in found.take(max.min(PAGE_EVENTS_MAX)) {
        bytes += message.payload.len();
        if bytes > PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(Event {
            region: region.clone(),
            epoch,
            seq,
            body: message.payload.to_vec(),
        });
    }
    page
}

fn told(waiter: Waiter, ack: Ack) -> BoxFuture<'static, ()> {
    waiter.tell(ack);
    Box::pin(std::future::ready(()))
}

fn repeat(seq: u64) -> Ack {
    let duplicate = true;
    Ack::Stored { seq, duplicate }
}

fn id(key: u128) -> String {
    format!("{key:032x}")
}

/// The total a reaction's message carries.
pub(super) fn total(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}
