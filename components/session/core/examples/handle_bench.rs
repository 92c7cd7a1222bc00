//! What a message costs the core natively: `cargo run --release -p chorus-session-core --example handle_bench`.
//!
//! Prints the median of several runs, in batches of 16 and singly. The component's share of the same workloads is
//! measured in its host.

use std::time::Instant;

use chorus_session_scenarios::load::{Workload, all};
use chorus_session_scenarios::{Machine as _, Native};

const MESSAGES: u64 = 16_000;
const RUNS: usize = 7;

fn main() {
    println!(
        "{:<40} {:>12} {:>12}",
        "ns a message", "batches of 16", "singly"
    );
    let singly = all(MESSAGES, 1);
    for (batched, single) in all(MESSAGES, 16).iter().zip(&singly) {
        println!(
            "{:<40} {:>12.0} {:>12.0}",
            batched.name,
            median(batched),
            median(single)
        );
    }
    let mut native = Native::default();
    if let Some(workload) = singly.first() {
        workload.set_up(&mut native);
    }
    let begin = Instant::now();
    let bytes = native.snapshot();
    println!(
        "snapshot of 1,000 connections: {:?}, {} bytes",
        begin.elapsed(),
        bytes.len()
    );
    let begin = Instant::now();
    let restored = Native::default().restore(&bytes);
    println!("restored: {:?}, {restored:?}", begin.elapsed());
}

fn median(workload: &Workload) -> f64 {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let mut native = Native::default();
            workload.set_up(&mut native);
            let batches = workload.batches.clone();
            let begin = Instant::now();
            let outputs = Workload::play(&mut native, batches);
            let spent = begin.elapsed();
            assert!(outputs > 0, "the workload does something");
            spent.as_nanos() as f64 / workload.messages as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}
