//! Rows with the binaries of two builds in turn: what changed between them, whatever else the machine does.

use std::path::Path;

use anyhow::Result;
use chorus_telemetry::say;

use super::{Context, Row, one};
use crate::Options;
use crate::stats::Spread;

/// Rounds of a row each time it runs.
const ROUNDS: usize = 2;
/// Pairs when no number is asked for.
const PAIRS: usize = 5;

/// A line's figures in every pair: before and after, each the whole and what of it is in user space.
struct Compared {
    what: String,
    pairs: Vec<[[f64; 2]; 2]>,
}

/// Runs each row with both builds, `--rounds` pairs of them, the order reversed in every second one, and prints a table.
pub(super) fn run(options: &Options, before: &Path, rows: &[&Row]) -> Result<()> {
    let pairs = if options.rounds == 0 {
        PAIRS
    } else {
        options.rounds
    };
    let mut builds = [before, options.bin_dir.as_path()].map(|bin_dir| {
        let options = Options {
            bin_dir: bin_dir.to_owned(),
            rounds: ROUNDS,
            no_peers: true,
            ..options.clone()
        };
        Context::new(options, false)
    });
    say!("| row | what | before | after | ratio (min–max) | in user space | ratio |");
    say!("| --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let mut compared: Vec<Compared> = Vec::new();
        for pair in 0..pairs {
            let [mut before, mut after] = [Vec::new(), Vec::new()];
            let [first, second] = &mut builds;
            let mut turns = [(first, &mut before), (second, &mut after)];
            if pair % 2 == 1 {
                turns.reverse();
            }
            for (context, figures) in turns {
                for line in one(context, row).lines {
                    match line.figures {
                        Some(of) => figures.push((line.what, of)),
                        None => line.notes.iter().for_each(|note| context.progress(note)),
                    }
                }
            }
            for (what, after) in after {
                let Some((_, before)) = before.iter().find(|(known, _)| *known == what) else {
                    continue;
                };
                let pair = [*before, after];
                match compared.iter_mut().find(|known| known.what == what) {
                    Some(known) => known.pairs.push(pair),
                    None => compared.push(Compared {
                        what,
                        pairs: vec![pair],
                    }),
                }
            }
        }
        for line in &compared {
            say!("| {} | {} |", row.name, line.cells());
        }
    }
    Ok(())
}

impl Compared {
    fn cells(&self) -> String {
        let of = |build: usize, part: usize| -> Vec<f64> {
            self.pairs.iter().map(|pair| pair[build][part]).collect()
        };
        let median = |build, part| Spread::of(&of(build, part)).median;
        let ratio = |part| Spread::of_ratios(&of(1, part), &of(0, part)).words(3);
        let user = match median(0, 1) {
            0.0 => "— | —".to_owned(),
            user => format!("{user:.3} → {:.3} | {}", median(1, 1), ratio(1)),
        };
        format!(
            "{} | {:.3} | {:.3} | {} | {user}",
            self.what,
            median(0, 0),
            median(1, 0),
            ratio(0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_the_pairs() {
        let line = Compared {
            what: "a delivery".to_owned(),
            pairs: vec![
                [[4.0, 1.0], [2.0, 1.0]],
                [[8.0, 1.0], [8.0, 2.0]],
                [[2.0, 1.0], [2.0, 1.0]],
            ],
        };
        let cells = "a delivery | 4.000 | 2.000 | 1.000 (0.500–1.000) | 1.000 → 1.000 | 1.000 (1.000–2.000)";
        assert_eq!(line.cells(), cells);
    }
}
