//! One instance of the logic; each call has a CPU budget.

use std::time::Duration;

use chorus_protocol::Millis;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline};

use super::bindings::SessionComponent;
use super::bindings::exports::chorus::edge::session::{Guest, Input, Output};
use super::bounds::Bounds;
use super::engine::{OVERRUN, Running};
use super::logic::Logic;

/// How a call failed. The instance must not be used any more, except after `Refused`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It panicked, or executed a WebAssembly trap.
    #[error("it trapped: {0}")]
    Trap(String),
    /// It took more CPU than its budget, in milliseconds.
    #[error("it took more than {0} ms of CPU")]
    Deadline(u64),
    /// It returned an error.
    #[error("it refused: {0}")]
    Refused(String),
    /// No instance can be made, or its functions do not match `wit/edge.wit`.
    #[error("it cannot be instantiated: {0}")]
    Start(String),
}

/// The host's data in an instance's store.
pub(super) struct Host {
    limits: StoreLimits,
    /// CPU time that this call may take.
    budget: Duration,
    /// This thread's CPU time at the call's first check.
    since: Option<Duration>,
}

/// One instance, which does not recover from faults: see [`super::Supervisor`]. For tools and tests.
pub struct Instance {
    store: Store<Host>,
    session: SessionComponent,
    state_budget: Duration,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

impl Instance {
    /// A new instance, not yet started.
    ///
    /// # Errors
    /// When the machine has no memory for it.
    pub fn new(logic: &Logic, bounds: &Bounds) -> Result<Self, Fault> {
        let state_budget = Duration::from_millis(bounds.state_cpu_ms_max);
        let host = Host {
            limits: StoreLimitsBuilder::new()
                .memory_size(bounds.memory_bytes_max)
                .build(),
            budget: state_budget,
            since: None,
        };
        let mut store = Store::new(logic.pre().engine(), host);
        store.limiter(|host| &mut host.limits);
        store.epoch_deadline_callback(|mut context| {
            let used = cpu();
            let host = context.data_mut();
            // The first check is at most one tick after the call began. Reading the clock here saves a system call for
            // each shorter call.
            let since = *host.since.get_or_insert(used);
            if used.saturating_sub(since) > host.budget {
                Ok(UpdateDeadline::Interrupt)
            } else {
                Ok(UpdateDeadline::Continue(1))
            }
        });
        store.set_epoch_deadline(1);
        let session = logic
            .pre()
            .instantiate(&mut store)
            .map_err(|error| Fault::Start(format!("{error:#}")))?;
        Ok(Self {
            store,
            session,
            state_budget,
        })
    }

    /// Starts the logic with an empty state; see `wit/edge.wit` for this and the following functions.
    ///
    /// # Errors
    /// When it refuses the configuration or traps.
    pub fn init(&mut self, config: &[u8], seed: u64) -> Result<(), Fault> {
        self.call(self.state_budget, |guest, store| {
            guest.call_init(store, config, seed)
        })?
        .map_err(Fault::Refused)
    }

    /// Handles a batch within `budget` of CPU.
    ///
    /// # Errors
    /// When it traps or takes longer.
    pub fn handle(
        &mut self,
        budget: Duration,
        now: Millis,
        inputs: &[Input],
    ) -> Result<Vec<Output>, Fault> {
        self.call(budget, |guest, store| {
            guest.call_handle(store, now.0, inputs)
        })
    }

    /// Writes the whole state.
    ///
    /// # Errors
    /// When it traps.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, Fault> {
        self.call(self.state_budget, |guest, store| guest.call_snapshot(store))
    }

    /// Replaces the state by one that `snapshot` wrote.
    ///
    /// # Errors
    /// When it refuses the bytes or traps.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.call(self.state_budget, |guest, store| {
            guest.call_restore(store, bytes)
        })?
        .map_err(Fault::Refused)
    }

    /// Its counters, by metric name.
    ///
    /// # Errors
    /// When it traps.
    pub fn stats(&mut self) -> Result<Vec<(String, u64)>, Fault> {
        self.call(self.state_budget, |guest, store| guest.call_stats(store))
    }

    fn call<T>(
        &mut self,
        budget: Duration,
        call: impl FnOnce(&Guest, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let host = self.store.data_mut();
        host.budget = budget;
        host.since = None;
        self.store.set_epoch_deadline(1);
        let _running = Running::start();
        call(self.session.chorus_edge_session(), &mut self.store)
            .map_err(|error| fault(&error, budget))
    }
}

/// The CPU budget of a call with this many bytes of inputs.
pub(super) fn budget(bounds: &Bounds, bytes: usize) -> Duration {
    let more = (bytes as u64).saturating_mul(bounds.cpu_ms_per_mib) >> 20;
    Duration::from_millis(bounds.cpu_ms_max + more)
}

/// This thread's CPU time.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The system's clock is neither negative nor has more nanoseconds than a second.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn fault(error: &wasmtime::Error, budget: Duration) -> Fault {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            Fault::Deadline(u64::try_from((budget + OVERRUN).as_millis()).unwrap_or(u64::MAX))
        }
        Some(trap) => Fault::Trap(trap.to_string()),
        None => Fault::Trap(error.root_cause().to_string()),
    }
}
