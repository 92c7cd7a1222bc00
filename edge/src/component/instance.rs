//! One instance of the logic, every call of it under a deadline.

use std::time::Duration;

use chorus_protocol::Millis;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline};

use super::bindings::SessionComponent;
use super::bindings::exports::chorus::edge::session::{Guest, Input, Output};
use super::bounds::Bounds;
use super::engine::{OVERRUN, Running};
use super::logic::Logic;

/// How a call failed. The instance is of no use any more, but for `Refused`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It panicked, or broke a rule of WebAssembly.
    #[error("it trapped: {0}")]
    Trap(String),
    /// It took more CPU than it may.
    #[error("it took more than {0} ms of CPU")]
    Deadline(u64),
    /// It said no.
    #[error("it refused: {0}")]
    Refused(String),
    /// There is no instance to be had, or its functions are not the contract's.
    #[error("it cannot be instantiated: {0}")]
    Start(String),
}

/// What an instance's store holds for the host.
pub(super) struct Host {
    limits: StoreLimits,
    /// CPU this call may take.
    budget: Duration,
    /// This thread's CPU time when the call was first looked at.
    since: Option<Duration>,
}

/// One instance, bare: a [`super::Supervisor`] survives its faults, tools may want it alone.
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
            // The first look is at most one tick after the call began: cheaper than a system call for every call.
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

    /// Starts it empty; see `wit/edge.wit` for this and the following.
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

    /// Everything it knows.
    ///
    /// # Errors
    /// When it traps.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, Fault> {
        self.call(self.state_budget, |guest, store| guest.call_snapshot(store))
    }

    /// Becomes what `snapshot` wrote.
    ///
    /// # Errors
    /// When it refuses the bytes or traps.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.call(self.state_budget, |guest, store| {
            guest.call_restore(store, bytes)
        })?
        .map_err(Fault::Refused)
    }

    /// What it counted.
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

/// The CPU time one call may take, by the bytes of its inputs.
pub(super) fn budget(bounds: &Bounds, bytes: usize) -> Duration {
    let more = (bytes as u64).saturating_mul(bounds.cpu_ms_per_mib) >> 20;
    Duration::from_millis(bounds.cpu_ms_max + more)
}

/// This thread's CPU time.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // A clock of the system reads neither negative nor beyond a second's nanoseconds.
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
