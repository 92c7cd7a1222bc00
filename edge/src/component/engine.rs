//! The WebAssembly engine of the process, and the thread that advances its epoch, by which deadlines are checked.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel};

/// Interval of the epoch while no call is running. A call's CPU time may be measured this much late.
const TICK: Duration = Duration::from_millis(20);
/// Interval of the epoch while a call is running: how often it checks its CPU time. Each tick wakes a thread, so the
/// interval is longer while no call runs.
const TICK_RUNNING: Duration = Duration::from_millis(5);
/// CPU time by which a call may exceed its budget before it is interrupted.
pub(super) const OVERRUN: Duration = TICK.saturating_add(TICK_RUNNING);

/// Number of calls running now, in all shards.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Counts a call as running until it is dropped.
pub(super) struct Running(());

impl Running {
    pub(super) fn start() -> Self {
        RUNNING.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Relaxed);
    }
}

static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();

/// The engine, built when first used.
pub(super) fn engine() -> Result<&'static Engine, String> {
    ENGINE
        .get_or_init(|| start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(Clone::clone)
}

/// Identifies the engine's settings, its version and the machine: compiled code runs only with the same ones.
pub(super) fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

fn start() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed);
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    // Session logic is synchronous; without this setting each call would keep account of tasks.
    config.concurrency_support(false);
    let engine = Engine::new(&config)?;
    let ticking = engine.clone();
    std::thread::Builder::new()
        .name("epoch".to_owned())
        .stack_size(64 << 10)
        .spawn(move || {
            loop {
                let running = RUNNING.load(Relaxed) > 0;
                std::thread::sleep(if running { TICK_RUNNING } else { TICK });
                ticking.increment_epoch();
            }
        })?;
    Ok(engine)
}
