//! The durable consumers on the partitions.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use chorus_protocol::Region;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Memory;
use crate::log::consume::ACK_WAIT;
use crate::log::{Answer, Consume, Consumer, Entry, LogError, Regional as _, Source};

/// How far a partition was handed out.
#[derive(Default)]
pub(super) struct Durable {
    /// The highest sequence handed out.
    past: u64,
    /// How many messages were.
    handed_out: u64,
    /// Those without an acknowledgement, and when they are handed out again.
    pending: BTreeMap<u64, Instant>,
}

impl Consume for Memory {
    fn consume_events<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, Consumer> {
        Box::pin(async move {
            let name = self.registry().log_here(region, partition);
            let (created_ms, past, handed_out) = self
                .at(self.region(), |state| {
                    let created_ms = state.log(&name)?.part().created_ms;
                    let durable = state.durables.entry(name.clone()).or_default();
                    Ok((created_ms, durable.past, durable.handed_out))
                })
                .await?;
            let source = Pull {
                log: self.clone(),
                name,
                created_ms,
                last: 0,
                again: Box::pin(sleep_until(Instant::now())),
            };
            Ok(Consumer::new(source, past, handed_out))
        })
    }
}

struct Pull {
    log: Memory,
    name: String,
    created_ms: u64,
    /// The last one handed out here.
    last: u64,
    /// Until the next one is handed out again.
    again: Pin<Box<Sleep>>,
}

/// What a look at the log found.
enum Look {
    Entry(Entry),
    /// Nothing before then.
    Until(Option<Instant>),
}

impl Pull {
    fn look(&self, cx: &Context<'_>) -> Result<Look, LogError> {
        let mut world = self.log.world();
        let (now, passed) = (world.now(), world.passed);
        let own = self.log.region();
        world.reach(own, own)?;
        let state = world.state(own);
        let log = state.logs.get(&self.name);
        let log = log.filter(|log| log.part().created_ms == self.created_ms);
        let gone = || LogError::Away("the consumer is gone".to_owned());
        let log = log.ok_or_else(gone)?;
        let durable = state.durables.get_mut(&self.name).ok_or_else(gone)?;
        let late = durable.pending.iter().find(|(_, at)| **at <= now);
        let seq = match late {
            Some((seq, _)) => Some(*seq),
            None => log
                .from("*.*.*.*", durable.past + 1)
                .next()
                .map(|(seq, _)| seq),
        };
        let Some(seq) = seq else {
            let until = durable.pending.values().min().map(|at| *at - passed);
            world.wait(cx.waker().clone());
            return Ok(Look::Until(until));
        };
        durable.handed_out += 1;
        durable.past = durable.past.max(seq);
        durable.pending.insert(seq, now + ACK_WAIT);
        let behind = log.from("*.*.*.*", durable.past + 1).count();
        let payload = log
            .get(seq)
            .map_or_else(Bytes::new, |it| it.payload.clone());
        Ok(Look::Entry(Entry {
            seq,
            handed_out: durable.handed_out,
            pending: behind as u64,
            payload,
        }))
    }
}

impl Source for Pull {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Entry, LogError>> {
        loop {
            match self.look(cx) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Look::Entry(entry)) => {
                    self.last = entry.seq;
                    return Poll::Ready(Ok(entry));
                }
                Ok(Look::Until(None)) => return Poll::Pending,
                Ok(Look::Until(Some(at))) => {
                    self.again.as_mut().reset(at);
                    ready!(self.again.as_mut().poll(cx));
                }
            }
        }
    }

    fn acknowledge(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let own = self.log.region();
            self.log
                .at(own, |state| {
                    state.log(&self.name)?;
                    if let Some(durable) = state.durables.get_mut(&self.name) {
                        durable.pending = durable.pending.split_off(&(self.last + 1));
                    }
                    Ok(())
                })
                .await
        })
    }
}
