//! Timers: the session's own, opening and closing timeouts, heartbeats, idle connections, the drain.

use std::time::Duration;

use super::conn::Phase;
use super::engine::Engine;
use super::logic::SessionLogic;
use crate::component::Input;
use crate::ws::code;
use crate::ws::frame::{self, Opcode};

/// Interval of the tick, which does all work that is not urgent.
const TICK: Duration = Duration::from_secs(1);
/// Seconds in which every connection gets one ping: each tick handles one part in this many of the connections.
const PING_S: usize = 30;
/// Seconds without received bytes after which a viewer is closed.
const SILENT_S: u32 = 300;

impl<L: SessionLogic> Engine<L> {
    /// Handles all timers that are due.
    pub(super) fn timers(&mut self) {
        if self.wake_at.is_some_and(|at| at <= self.now) {
            self.wake_at = None;
            self.inputs.push(Input::Timer);
        }
        while let Some((_, id)) = self.openings.pop_front_if(|(at, _)| *at <= self.turn_start) {
            if self
                .wire
                .find(id)
                .is_some_and(|conn| conn.phase == Phase::Opening)
            {
                self.spec.metrics.opening_timed_out.add(1);
                self.remove(id);
            }
        }
        while let Some((_, id)) = self.closings.pop_front_if(|(at, _)| *at <= self.turn_start) {
            self.reset_connection(id);
        }
        if self.drain.is_some() {
            self.continue_drain();
        }
        if self.turn_start >= self.next_tick {
            self.next_tick = self.turn_start + TICK;
            self.tick();
        }
    }

    fn tick(&mut self) {
        if self
            .paused_until
            .is_some_and(|until| until <= self.turn_start)
        {
            self.resume();
        }
        if std::mem::take(&mut self.accept_later) {
            self.accept_again = true;
        }
        self.heartbeats();
        let metrics = &self.spec.metrics;
        metrics.topics.set(self.topics.len() as u64);
        metrics.queue_bytes.set(self.wire.queue_bytes as u64);
        let turn = u64::try_from(self.pace.turn_min().as_micros()).unwrap_or(u64::MAX);
        metrics.turn_us.set(turn);
        metrics
            .io_uring
            .set(u64::from(self.wire.sender.name() == "io_uring"));
        let counted = self.logic.counted();
        // A poisoned lock means that a scrape panicked; the value is replaced as a whole, so it is consistent.
        let mut logic = metrics
            .logic
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *logic = (self.logic.stats(), counted);
    }

    /// Pings the next part of the connections and closes idle ones. Needs no timer per connection and no ordered list.
    fn heartbeats(&mut self) {
        self.ticks = (self.ticks + 1) % PING_S;
        let second = self.second();
        let mut ping = None;
        for slot in (self.ticks..self.slots).step_by(PING_S) {
            let conns = &self.wire.conns;
            let Some(conn) = conns.get(slot).filter(|conn| conn.phase == Phase::Open) else {
                continue;
            };
            if second.saturating_sub(conn.heard_s) >= SILENT_S {
                let id = conn.id;
                self.spec.metrics.silent.add(1);
                self.close(id, code::GOING_AWAY, "no sign of life");
                continue;
            }
            if self.wire.outbox.has_no_frames() {
                ping = None;
            }
            let outbox = &mut self.wire.outbox;
            let frame = *ping.get_or_insert_with(|| {
                outbox.build(|into| frame::write_control(Opcode::Ping, &[], into))
            });
            self.wire.push(slot, frame);
        }
    }
}
