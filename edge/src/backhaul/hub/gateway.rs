//! What the gateway says, and what that changes.

use std::sync::Arc;

use bytes::Bytes;
use chorus_protocol::backhaul::{
    Datagram, FrameError, Published, RefusedReactions, ToPop, quiet_parts,
};
use chorus_protocol::session::Replayed;
use chorus_protocol::{Millis, Outcome, StreamId};

use super::{Hub, Now};
use crate::backhaul::metrics::{add, set};
use crate::clock;
use crate::link::ToShard;

/// Which connection of this process: never used again.
pub type Generation = u64;

/// How a connection begins.
#[derive(Clone, Copy, Debug)]
pub struct Welcome {
    /// When the gateway was greeted.
    pub hello_at: Millis,
    /// When it had answered.
    pub heard_at: Millis,
    /// Its clock, between the two.
    pub gateway_now: Millis,
    /// The worker id leased.
    pub worker: u16,
    /// Not valid from this time on, by the gateway's clock.
    pub until: Millis,
}

/// What a connection says.
#[derive(Debug)]
pub enum FromGateway {
    /// On the control lane.
    Control(Vec<ToPop>),
    /// On the posts lane.
    Published(Vec<Published>),
    /// Over a stream's own lane, or over the quiet one, where each message names its stream.
    Delivered(Option<StreamId>, Vec<Bytes>),
    /// Not on a lane.
    Datagram(Datagram),
    /// A replay's answer; `None` when there is none. Counts whatever connection it came by.
    Asked {
        /// See [`super::Ask`].
        number: u64,
        /// What came.
        replayed: Option<Replayed>,
    },
}

impl Hub {
    /// A gateway welcomed this process.
    pub fn connected(&mut self, mut now: Now, generation: Generation, welcome: &Welcome) {
        self.connected = Some(generation);
        add(&self.metrics.connects, 1);
        set(&self.metrics.connected, 1);
        let (sent, heard) = (welcome.hello_at, welcome.heard_at);
        now.wall = self.compare(now.wall, sent, welcome.gateway_now, heard);
        self.grant(now, welcome.worker, welcome.until);
        self.out.every_shard(|| ToShard::Connected(true));
        self.streams.connected(&mut self.out);
        for number in self.posts.all() {
            self.send_post(number);
        }
        self.counts.connected(now.mono);
        self.load.connected();
    }

    /// The gateway is gone.
    pub fn disconnected(&mut self) {
        if self.connected.take().is_none() {
            return;
        }
        set(&self.metrics.connected, 0);
        // What was meant for it is said anew to the next.
        self.out.control.clear();
        self.out.posts.clear();
        self.out.datagrams.clear();
        self.lease.disconnected();
        self.streams.disconnected();
        self.counts.disconnected();
        self.out.every_shard(|| ToShard::Connected(false));
    }

    /// A connection said something. Says how many outcomes and events of a log that brought.
    ///
    /// # Errors
    /// When a delivery cannot be read: the connection is to be ended, because what was meant did not arrive.
    pub fn said(
        &mut self,
        now: Now,
        generation: Generation,
        said: FromGateway,
    ) -> Result<usize, FrameError> {
        let current = self.connected == Some(generation);
        let mut brought = 0;
        match said {
            FromGateway::Asked { number, replayed } => self.asked(now, number, replayed.as_ref()),
            // What a dead connection said last: the next one says it again.
            _ if !current => {}
            FromGateway::Control(messages) => {
                for message in messages {
                    self.control(now, message);
                }
            }
            FromGateway::Published(answers) => {
                brought = answers.len();
                for answer in answers {
                    self.published(now, answer);
                }
            }
            FromGateway::Delivered(Some(stream), deliveries) => {
                for data in deliveries {
                    brought += self.delivered(now, stream.as_str(), data)?;
                }
            }
            FromGateway::Delivered(None, messages) => {
                for message in messages {
                    let (stream, at) = quiet_parts(&message)?;
                    brought += self.delivered(now, stream, message.slice(at..))?;
                }
            }
            FromGateway::Datagram(datagram) => self.datagram(&datagram),
        }
        Ok(brought)
    }

    fn control(&mut self, now: Now, message: ToPop) {
        match message {
            ToPop::Welcome { .. } => {
                add(&self.metrics.malformed, 1);
                tracing::warn!("the gateway welcomes twice");
            }
            ToPop::Renewed {
                worker,
                until_ms,
                now_ms,
            } => {
                let mut now = now;
                if let (Some(sent), Some(theirs)) = (self.lease.asked_at(), now_ms) {
                    now.wall = self.compare(now.wall, sent, theirs, now.wall);
                }
                self.grant(now, worker, until_ms);
            }
            ToPop::Held { stream, held } => {
                self.streams
                    .held(now.mono, stream, held, &mut self.out, &self.metrics);
            }
            ToPop::Life { stream, life } => {
                self.streams
                    .life(&stream, &life, &mut self.out, &self.metrics);
            }
            ToPop::ReactionsRefused(refused) => {
                let count = refused.iter().map(|it| it.count).sum();
                add(&self.metrics.reactions_refused, count);
                let refused: Arc<[RefusedReactions]> = refused.into();
                self.out
                    .every_shard(|| ToShard::ReactionsRefused(Arc::clone(&refused)));
            }
        }
    }

    fn published(&mut self, now: Now, published: Published) {
        let jitter = self.jitter();
        let Published { request, outcome } = published;
        let dropped = self.counts.answered(now.mono, request, &outcome, jitter);
        if dropped > 0 {
            tracing::warn!(dropped, "the gateway refused reactions");
            add(&self.metrics.reactions_dropped, dropped);
        }
        if matches!(&outcome, Outcome::Refused { reason, .. } if reason.is_empty()) {
            add(&self.metrics.malformed, 1);
        }
        if let Some(answer) = self.posts.answered(now.mono, request, outcome, jitter) {
            let unknown = answer.2 == Outcome::Unknown;
            add(&self.metrics.posts_unconfirmed, u64::from(unknown));
            self.answer(answer);
        }
    }

    fn delivered(&mut self, now: Now, stream: &str, data: Bytes) -> Result<usize, FrameError> {
        let (out, metrics) = (&mut self.out, &self.metrics);
        self.streams.delivered(now.mono, stream, data, out, metrics)
    }

    fn datagram(&mut self, datagram: &Datagram) {
        match datagram {
            Datagram::Totals {
                stream,
                reactions,
                viewers,
            } => self
                .streams
                .totals(stream, reactions, *viewers, &mut self.out),
            Datagram::Viewing { .. } => add(&self.metrics.malformed, 1),
        }
    }

    fn asked(&mut self, now: Now, number: u64, replayed: Option<&Replayed>) {
        match replayed {
            Some(replayed) => {
                let waiters = self.replays.answered(number);
                self.replayed(waiters, replayed);
            }
            None => {
                let jitter = self.jitter();
                self.replays.failed(now.mono, number, jitter);
            }
        }
    }

    /// Compares this process's clock with the gateway's, which was read after `sent` and before `heard`; the time now
    /// by the corrected one.
    fn compare(&mut self, wall: Millis, sent: Millis, theirs: Millis, heard: Millis) -> Millis {
        let ahead_ms = clock::ahead(sent, theirs, heard);
        if ahead_ms != 0 {
            add(&self.metrics.clock_corrections, 1);
        }
        self.out.clock_ahead_ms += ahead_ms;
        self.lease.clocks(clock::back(sent, ahead_ms), theirs);
        clock::back(wall, ahead_ms)
    }

    fn grant(&mut self, now: Now, worker: u16, until: Millis) {
        let granted = self
            .lease
            .grant(now.mono, now.wall, worker, until, self.lease_margin_ms);
        set(&self.metrics.lease_worker, u64::from(granted.worker));
        set(&self.metrics.lease_until_ms, granted.until.0);
        self.out.every_shard(|| ToShard::Lease {
            worker: granted.worker,
            until: granted.until,
        });
    }
}
