//! Hubs and gateways' followers, both without sockets and clocks, in a world made of a seed: logs that are truncated and made
//! anew, messages lost, repeated and late, lines that are slow and break, processes that start again.
//!
//! What is held, for every seed:
//! - no shard is given an event twice within one state, out of the order of its region's log, or beyond a hole;
//! - in the end every shard has all that the logs hold, or was given a new state for what it lacks;
//! - every publication comes to exactly one outcome in its time; `Stored` is true of a log; what is `Refused` is in none, but
//!   for a key that was published several times;
//! - a state never shows a comment whose removal the shard has heard of or stands behind it in the same log, and shows the
//!   newest one;
//! - a replay is answered once, in its time, with all there is or as a gap;
//! - nobody mints ids beyond a lease;
//! - it all settles within the bounded time, and nobody wants to be looked at without a reason.
//!
//! Both sides are the real ones: [`chorus_edge::backhaul::hub::Hub`] and
//! [`chorus_origin::gateway::follower::core::Core`]. Around them are stand-ins for what has sockets: lines, the log, the
//! store, a gateway's holds and queues, its admission as far as refusals go. A log keeps what gateways have not compared yet.
//!
//! A failure prints its seed and the last lines of its trace. `CHORUS_SEED=s` runs seed `s` alone and prints the whole
//! trace; `CHORUS_SEEDS=n` runs the first `n` instead of a thousand:
//! `CHORUS_SEED=17 cargo test --workspace --locked --test pair`.

#[path = "pair/chance.rs"]
mod chance;
#[path = "pair/gateway.rs"]
mod gateway;
#[path = "pair/log.rs"]
mod log;
#[path = "pair/plan.rs"]
mod plan;
#[path = "pair/pop.rs"]
mod pop;
#[path = "pair/shard.rs"]
mod shard;
#[path = "pair/tally.rs"]
mod tally;
#[path = "pair/world.rs"]
mod world;

use std::time::Instant;

use tally::Tally;
use world::World;

const SEEDS: u64 = 1_000;
/// Lines of a trace that are printed.
const TRACE_LINES: usize = 80;
/// After so many seeds that failed no more are tried.
const FAILED_MAX: usize = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed; when something is wrong, again with a trace.
fn try_seed(seed: u64, trace_max: usize) -> Result<Tally, String> {
    let mut world = World::new(seed, 0);
    world.run();
    if world.fault.is_none() {
        return Ok(world.tally);
    }
    let mut again = World::new(seed, trace_max);
    again.run();
    let trace = again.trace.into_iter().collect::<Vec<_>>().join("\n");
    let fault = again.fault.or(world.fault).unwrap_or_default();
    Err(format!("{trace}\nseed {seed}: {fault}"))
}

#[test]
fn whatever_breaks_every_shard_has_everything_once_in_order_or_is_told() {
    let (seeds, trace_max) = match number("CHORUS_SEED") {
        Some(seed) => (seed..seed + 1, usize::MAX),
        None => (0..number("CHORUS_SEEDS").unwrap_or(SEEDS), TRACE_LINES),
    };
    let began = Instant::now();
    let mut all = Tally::default();
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        match try_seed(seed, trace_max) {
            Ok(tally) => all.add(&tally),
            Err(fault) => failed.push(fault),
        }
        if failed.len() >= FAILED_MAX {
            break;
        }
        if seed + 1 < seeds.end && (seed + 1) % SEEDS == 0 {
            println!("{} seeds, {} failed", seed + 1, failed.len());
        }
    }
    println!(
        "{} seeds in {:?}: {all:?}",
        seeds.end - seeds.start,
        began.elapsed()
    );
    if let Some(first) = failed.first() {
        let faults: Vec<&str> = failed.iter().filter_map(|it| it.lines().last()).collect();
        panic!(
            "{first}\n\nall that failed, played again by `make sim SEED=n`:\n{}",
            faults.join("\n")
        );
    }
    if seeds.end - seeds.start >= SEEDS {
        assert_eq!(all.missing(), [""; 0], "never happened");
    }
}

#[test]
fn a_seed_is_always_the_same_run() {
    for seed in 0..5 {
        let runs = [(); 2].map(|()| {
            let mut world = World::new(seed, usize::MAX);
            world.run();
            world.trace
        });
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
}
