//! The one WebAssembly engine of the process, and the thread that makes its deadlines tick.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::OnceLock;
use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel};

/// How often a running call looks at its CPU time. A call overruns its deadline by at most two of these.
pub(super) const TICK: Duration = Duration::from_millis(20);

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
                std::thread::sleep(TICK);
                ticking.increment_epoch();
            }
        })?;
    Ok(engine)
}
