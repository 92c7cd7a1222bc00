//! Hubs and gateways' followers, both without sockets and clocks, in a world made of a seed: logs that are truncated and made
//! anew, messages lost, repeated and late, lines that are slow and break, processes that start again.
//!
//! What is held, for every seed:
//! - no shard is given an event twice within one state, out of the order of its region's log, or beyond a hole;
//! - in the end every shard has all that the logs hold, or was given a new state for what it lacks;
//! - every publication comes to exactly one outcome in its time; `Stored` is true of a log, what is `Refused` is in none;
//! - a state never shows a comment whose removal it or the shard has heard of, and shows the newest one;
//! - a replay is answered once, in its time, with all there is or as a gap;
//! - nobody mints ids beyond a lease;
//! - it all settles within the bounded time, and nobody wants to be looked at without a reason.
//!
//! `CHORUS_SEEDS=n` tries n seeds; `CHORUS_SEED=s` tries one.

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
#[path = "pair/world.rs"]
mod world;

use std::time::Instant;

use world::{Tally, World};

const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed; a fault is found again with a trace.
fn try_seed(seed: u64) -> Result<Tally, String> {
    let mut world = World::new(seed, false);
    world.run();
    if world.fault.is_none() {
        return Ok(world.tally);
    }
    let mut again = World::new(seed, true);
    again.run();
    let trace = again.trace.into_iter().collect::<Vec<_>>().join("\n");
    let fault = again.fault.or(world.fault).unwrap_or_default();
    Err(format!("{trace}\nseed {seed}: {fault}"))
}

#[test]
fn whatever_breaks_every_shard_has_everything_once_in_order_or_is_told() {
    let begin = number("CHORUS_SEED");
    let seeds = match begin {
        Some(seed) => seed..seed + 1,
        None => 0..number("CHORUS_SEEDS").unwrap_or(SEEDS),
    };
    let began = Instant::now();
    let mut all = Tally::default();
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        match try_seed(seed) {
            Ok(tally) => all.add(tally),
            Err(fault) => failed.push(fault),
        }
        if failed.len() >= 10 {
            break;
        }
    }
    println!(
        "{} seeds in {:?}: {all:?}",
        seeds.end - seeds.start,
        began.elapsed()
    );
    if let Some(first) = failed.first() {
        let faults: Vec<&str> = failed.iter().filter_map(|it| it.lines().last()).collect();
        panic!("{first}\n\nall that failed:\n{}", faults.join("\n"));
    }
    if begin.is_none() {
        all.all_happened();
    }
}

#[test]
fn a_seed_is_always_the_same_run() {
    for seed in 0..5 {
        let runs = [(); 2].map(|()| {
            let mut world = World::new(seed, true);
            world.run();
            world.trace
        });
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
}
