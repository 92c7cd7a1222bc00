//! The one WebAssembly engine of the process, and the thread that makes its deadlines tick.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel};

/// How often somebody looks whether a call is running: its deadline may begin so much late.
const TICK: Duration = Duration::from_millis(20);
/// How often a call that was found running looks at its CPU time. Each tick is a wake-up, so there are few without need.
const TICK_RUNNING: Duration = Duration::from_millis(5);
/// By how much a call may overrun its deadline.
pub(super) const OVERRUN: Duration = TICK.saturating_add(TICK_RUNNING);

/// Calls that are running now, in all shards.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A call that is running until this is dropped.
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

/// The engine, built at the first call.
pub(super) fn engine() -> Result<&'static Engine, String> {
    ENGINE
        .get_or_init(|| start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(Clone::clone)
}

/// What compiled code must have been compiled with to run here: the engine's settings, its version and the machine.
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
    // Session logic is synchronous; this leaves out the bookkeeping of tasks in every call.
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
