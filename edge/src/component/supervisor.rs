//! One shard's instance of the logic, and its recovery after traps.
//!
//! Every input is journaled with the call it was handled in; when the journal has grown, a snapshot replaces it. When a
//! call traps, a new instance restores the last snapshot and handles the journal again; then the call's inputs are
//! handled one by one, and the viewer whose input traps alone is closed (`recovery`). New logic is installed between two
//! calls (`swap`).

mod recovery;
mod requests;
mod swap;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_protocol::Millis;
use chorus_protocol::session::Control as SessionControl;

use super::bindings::exports::chorus::edge::session::{Control, Input, Output};
use super::bounds::Bounds;
use super::instance::{Fault, Instance, budget};
use super::journal::Journal;
use super::logic::Logic;
use super::stats::Stats;
use swap::Probation;

pub use swap::SwapError;

/// A snapshot is taken only when the journal took at least this many times as long to handle as the last snapshot took.
const SNAPSHOT_SHARE: u32 = 16;
/// At this many times its bounds the journal is replaced by a snapshot whatever that costs.
const JOURNAL_FACTOR_MAX: usize = 4;
/// After a failed snapshot the journal's bounds are doubled before the next try, up to this factor; beyond it, the session
/// is reset.
const SNAPSHOT_BACKOFF_MAX: u32 = 8;

/// Why a shard's logic does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A bound is out of its range.
    #[error("component bounds: {0}")]
    Bounds(String),
    /// `init` failed.
    #[error("session logic does not start: {0}")]
    Init(#[from] Fault),
}

/// The result of handling a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it was handled.
    Fine,
    /// Some inputs trapped; outputs close the viewers that sent them with 1011. The state is kept.
    Recovered {
        /// Calls that trapped.
        traps: u32,
    },
    /// The state is lost. The host must first close every viewer of the shard with 1001 and drop topics, members, blobs
    /// and the timer, then apply the outputs, which are those of a new instance.
    Reset,
}

/// One shard's logic: instance, journal and last snapshot.
pub struct Supervisor {
    logic: Arc<Logic>,
    instance: Instance,
    bounds: Bounds,
    seed: u64,
    /// The configuration for `init`, used when there is no snapshot.
    init_config: Vec<u8>,
    /// The latest configuration, lease and state of the backhaul, which a new instance is given after a reset.
    config: Vec<u8>,
    lease: Option<Control>,
    backhaul: Option<Control>,
    snapshot: Option<Vec<u8>>,
    snapshot_time: Duration,
    snapshot_backoff: u32,
    journal: Journal,
    now: Millis,
    /// Number of resets; it marks requests, so that answers to requests of before a reset are recognised.
    generation: u16,
    state_lost: bool,
    probation: Option<Probation>,
    counted: Counted,
    stats: Stats,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("logic", &self.logic)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// Counters of the logic, summed over its instances.
#[derive(Default)]
struct Counted {
    /// Sums up to the last snapshot.
    base: BTreeMap<String, u64>,
    /// The part of the current instance's counters that is in `base` already.
    offset: BTreeMap<String, u64>,
}

impl Counted {
    fn total(&self, own: Vec<(String, u64)>) -> BTreeMap<String, u64> {
        let mut total = self.base.clone();
        for (name, value) in own {
            let offset = self.offset.get(&name).copied().unwrap_or(0);
            *total.entry(name).or_default() += value.saturating_sub(offset);
        }
        total
    }
}

impl Supervisor {
    /// Starts the logic with an empty state.
    ///
    /// # Errors
    /// When a bound is out of its range, or `init` refuses the configuration or traps.
    pub fn new(
        logic: Arc<Logic>,
        config: &[u8],
        seed: u64,
        bounds: Bounds,
    ) -> Result<Self, StartError> {
        bounds.check().map_err(StartError::Bounds)?;
        let mut instance = Instance::new(&logic, &bounds)?;
        instance.init(config, seed)?;
        Ok(Self {
            logic,
            instance,
            bounds,
            seed,
            init_config: config.to_vec(),
            config: config.to_vec(),
            lease: None,
            backhaul: None,
            snapshot: None,
            snapshot_time: Duration::ZERO,
            snapshot_backoff: 1,
            journal: Journal::default(),
            now: Millis(0),
            generation: 0,
            state_lost: false,
            probation: None,
            counted: Counted::default(),
            stats: Stats::default(),
        })
    }

    /// Handles and empties `inputs`, and appends the logic's outputs.
    pub fn handle(
        &mut self,
        now: Millis,
        inputs: &mut Vec<Input>,
        outputs: &mut Vec<Output>,
    ) -> Verdict {
        // `now` must never go back for the logic, even when the clock is set back.
        self.now = self.now.max(now);
        let kept = outputs.len();
        self.drop_stale(inputs);
        self.settle();
        let mut traps = 0;
        let mut remaining = inputs.drain(..);
        while !self.state_lost {
            let bytes = self
                .journal
                .stage(&mut remaining, self.bounds.call_inputs_max);
            if self.journal.staged().is_empty() {
                break;
            }
            self.remember();
            if let Err(fault) = self.call(bytes, outputs) {
                traps += self.recover(&fault, outputs);
            }
        }
        if self.state_lost {
            remaining.for_each(|input| self.remember_one(&input));
            outputs.truncate(kept);
            self.reset(outputs);
        }
        self.stamp(&mut outputs[kept..]);
        match traps {
            _ if self.state_lost => {
                self.state_lost = false;
                Verdict::Reset
            }
            0 => Verdict::Fine,
            traps => Verdict::Recovered { traps },
        }
    }

    /// Takes a snapshot when the journal has grown enough. `handle` does so too, before it handles the batch; a shard that
    /// calls this after it applied the outputs delays no input by the snapshot.
    pub fn settle(&mut self) {
        if self
            .probation
            .as_ref()
            .is_some_and(|it| it.is_over(self.now))
        {
            self.probation = None;
        }
        if !self.snapshot_due() || self.take_snapshot() {
            return;
        }
        self.snapshot_backoff *= 2;
        if self.snapshot_backoff > SNAPSHOT_BACKOFF_MAX || self.rebuild().is_err() {
            self.state_lost = true;
        }
    }

    /// The supervisor's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            journal_inputs: self.journal.inputs() as u64,
            journal_bytes: self.journal.bytes() as u64,
            ..self.stats
        }
    }

    /// The logic's counters, by metric name; they only rise, also through recoveries and swaps.
    pub fn counted(&mut self) -> BTreeMap<String, u64> {
        match self.instance.stats() {
            Ok(own) => self.counted.total(own),
            Err(fault) => {
                tracing::error!(%fault, "session logic cannot say what it counted");
                // An instance that trapped must be replaced.
                if self.rebuild().is_err() {
                    self.state_lost = true;
                }
                self.counted.base.clone()
            }
        }
    }

    /// The logic that runs.
    #[must_use]
    pub fn logic(&self) -> &Arc<Logic> {
        &self.logic
    }

    /// Handles the staged inputs and adds them to the journal.
    fn call(&mut self, bytes: usize, outputs: &mut Vec<Output>) -> Result<(), Fault> {
        let began = Instant::now();
        let inputs = self.journal.staged();
        let mut decided = self
            .instance
            .handle(budget(&self.bounds, bytes), self.now, inputs)?;
        self.stats.calls += 1;
        self.stats.inputs += inputs.len() as u64;
        self.journal.commit(self.now, bytes, began.elapsed());
        outputs.append(&mut decided);
        Ok(())
    }

    fn snapshot_due(&self) -> bool {
        let backoff = self.snapshot_backoff as usize;
        let inputs = self.bounds.journal_inputs_max * backoff;
        let bytes = self.bounds.journal_bytes_max * backoff;
        let taken = self.journal.handling_time();
        let worth = taken >= self.snapshot_time * SNAPSHOT_SHARE;
        let grown = self.journal.inputs() >= inputs
            || self.journal.bytes() >= bytes
            || taken >= Duration::from_millis(self.bounds.journal_ms_max) * self.snapshot_backoff;
        grown && worth
            || self.journal.inputs() >= inputs * JOURNAL_FACTOR_MAX
            || self.journal.bytes() >= bytes * JOURNAL_FACTOR_MAX
    }

    /// Replaces the journal by a snapshot; `false` when that failed and the instance must be replaced.
    fn take_snapshot(&mut self) -> bool {
        let began = Instant::now();
        let taken = self
            .instance
            .snapshot()
            .and_then(|bytes| Ok((bytes, self.instance.stats()?)));
        match taken {
            Ok((bytes, own)) => {
                self.store_snapshot(bytes, own, began.elapsed());
                true
            }
            Err(fault) => {
                self.stats.snapshots_failed += 1;
                tracing::error!(%fault, "session logic gives no snapshot");
                false
            }
        }
    }

    fn store_snapshot(&mut self, bytes: Vec<u8>, own: Vec<(String, u64)>, taken: Duration) {
        self.stats.snapshots += 1;
        self.stats.snapshot_bytes += bytes.len() as u64;
        self.stats.snapshot_us += micros(taken);
        self.snapshot_time = taken;
        self.snapshot_backoff = 1;
        self.snapshot = Some(bytes);
        self.journal.clear();
        self.counted.base = self.counted.total(own.clone());
        self.counted.offset = own.into_iter().collect();
    }

    /// Remembers the staged inputs that a new instance needs after a reset.
    fn remember(&mut self) {
        let of_process = |input: &&Input| {
            matches!(input, Input::Configured(_))
                || matches!(input, Input::Control(control) if control.topic.is_none())
        };
        let found: Vec<Input> = self
            .journal
            .staged()
            .iter()
            .filter(of_process)
            .cloned()
            .collect();
        for input in &found {
            self.remember_one(input);
        }
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "only what concerns the whole process is remembered"
    )]
    fn remember_one(&mut self, input: &Input) {
        match input {
            Input::Configured(config) => self.config.clone_from(config),
            Input::Control(control) if control.topic.is_none() => {
                match rmp_serde::from_slice(&control.data) {
                    Ok(SessionControl::Lease { .. }) => self.lease = Some(control.clone()),
                    Ok(SessionControl::Backhaul { .. }) => self.backhaul = Some(control.clone()),
                    Ok(
                        SessionControl::State(_)
                        | SessionControl::Life(_)
                        | SessionControl::ReactionsRefused(_)
                        | SessionControl::User { .. },
                    )
                    | Err(_) => {}
                }
            }
            _ => {}
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
