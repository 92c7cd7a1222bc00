//! What a message costs the core natively: `cargo run --release -p chorus-session-core --example handle_bench`.
//!
//! Prints the fastest and the median of several runs, in batches of 16 and singly. A word picks the workloads whose
//! name holds it; two words (`handle_bench WORD once`) play them once and print nothing, for a profiler. The component's share of the same workloads is
//! measured in its host.

use std::hint::black_box;
use std::time::Instant;

use chorus_session_scenarios::load::{Workload, all};
use chorus_session_scenarios::{Machine as _, Native};

const MESSAGES: u64 = 16_000;
const RUNS: usize = 9;

fn main() {
    let word = std::env::args().nth(1).unwrap_or_default();
    let picked = |batch| {
        let mut workloads = all(MESSAGES, batch);
        workloads.retain(|workload| workload.name.contains(&word));
        workloads
    };
    if std::env::args().nth(2).is_some() {
        for workload in picked(16) {
            black_box(play(&workload));
        }
        return;
    }
    println!(
        "{:<40} {:>16} {:>16}",
        "ns a message: fastest, median", "batches of 16", "singly"
    );
    let singly = picked(1);
    for (batched, single) in picked(16).iter().zip(&singly) {
        println!(
            "{:<40} {:>16} {:>16}",
            batched.name,
            measure(batched),
            measure(single)
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

fn measure(workload: &Workload) -> String {
    let mut runs: Vec<f64> = (0..RUNS).map(|_| play(workload)).collect();
    runs.sort_by(f64::total_cmp);
    format!("{:.0}, {:.0}", runs[0], runs[RUNS / 2])
}

fn play(workload: &Workload) -> f64 {
    let mut native = Native::default();
    workload.set_up(&mut native);
    let batches = workload.batches.clone();
    let begin = Instant::now();
    let outputs = Workload::play(&mut native, batches);
    let spent = begin.elapsed();
    assert!(outputs > 0, "the workload does something");
    spent.as_nanos() as f64 / workload.messages as f64
}
