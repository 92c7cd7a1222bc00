//! The control logs, and calls between the roles.

use bytes::Bytes;
use chorus_protocol::stream::Life;
use chorus_protocol::{Region, StreamId, subject};
use tokio::sync::{mpsc, oneshot};

use super::Memory;
use super::live::feed;
use super::stored::{Message, Put};
use crate::log::calls::CALL_TIMEOUT;
use crate::log::control::{lives_of, read_lives};
use crate::log::read::PAGE_EVENTS_MAX;
use crate::log::{Answer, Call, Calling, Calls, Control, LogError, Regional as _};

/// The largest answer carried, as by a server with its default.
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Control for Memory {
    fn last_control<'a>(
        &'a self,
        region: &'a Region,
        subject: String,
    ) -> Answer<'a, Option<(u64, Bytes)>> {
        Box::pin(self.at(region, move |state| {
            let log = state.log(&subject::control_log(region))?;
            let last = log.last_of(&subject).pop();
            Ok(last.map(|(seq, message)| (seq, message.payload.clone())))
        }))
    }

    fn put_control(&self, subject: String, body: Vec<u8>, after: u64) -> Answer<'_, u64> {
        Box::pin(async move {
            let region = subject.split('.').nth(1).and_then(|name| name.parse().ok());
            let region: Region = region.ok_or_else(|| LogError::refused(&subject))?;
            self.at(&region, |_| Ok(())).await?;
            let message = Message {
                subject,
                id: None,
                payload: body.into(),
            };
            let log = subject::control_log(&region);
            match self.world().put(&region, &log, message, Some(after))? {
                Put::Stored { seq, .. } => Ok(seq),
                Put::Duplicate { .. } | Put::Refused => {
                    Err(LogError::Refused("another word was first".to_owned()))
                }
            }
        })
    }

    fn lives_after<'a>(&'a self, region: &'a Region, after: u64) -> Answer<'a, (Vec<Life>, u64)> {
        Box::pin(self.at(region, move |state| {
            let log = state.log(&subject::control_log(region))?;
            let pattern = lives_of(region);
            let found = log.from(&pattern, after + 1).take(PAGE_EVENTS_MAX);
            let found: Vec<(u64, Bytes)> = found
                .map(|(seq, message)| (seq, message.payload.clone()))
                .collect();
            let to = found.last().map_or(after, |(seq, _)| *seq);
            Ok((read_lives(found), to))
        }))
    }

    fn lives<'a>(&'a self, region: &'a Region, streams: &'a [StreamId]) -> Answer<'a, Vec<Life>> {
        Box::pin(self.at(region, move |state| {
            let log = state.log(&subject::control_log(region))?;
            let found = streams.iter().filter_map(|stream| {
                let (seq, message) = log.last_of(&subject::stream_life(region, stream)).pop()?;
                Some((seq, message.payload.clone()))
            });
            Ok(read_lives(found.collect()))
        }))
    }
}

impl Calling for Memory {
    fn call_api(&self, body: Vec<u8>) -> Answer<'_, Bytes> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            {
                let mut world = self.world();
                let own = self.region();
                world.reach(own, own)?;
                let callees = world.callees.entry(own.clone()).or_default();
                callees.retain(|callee| !callee.is_closed());
                let Some(callee) = callees.first() else {
                    return Err(LogError::Away("no responders".to_owned()));
                };
                let reply = |body: Vec<u8>| {
                    // Whoever asked may be gone.
                    let _ = answer.send(body);
                };
                let _ = callee.send(Call {
                    body: body.into(),
                    reply: Box::new(move |body| {
                        reply(body);
                        Box::pin(std::future::ready(()))
                    }),
                });
                callees.rotate_left(1);
            }
            match tokio::time::timeout(CALL_TIMEOUT, answered).await {
                Ok(Ok(body)) => Ok(body.into()),
                Ok(Err(_)) | Err(_) => Err(LogError::Away("no answer in time".to_owned())),
            }
        })
    }

    fn answer_api(&self) -> Answer<'_, Calls> {
        let (to, calls) = mpsc::unbounded_channel();
        let own = self.region().clone();
        self.world().callees.entry(own).or_default().push(to);
        Box::pin(std::future::ready(Ok(feed(calls, Some))))
    }

    fn answer_bytes_max(&self) -> usize {
        ANSWER_BYTES_MAX
    }
}
