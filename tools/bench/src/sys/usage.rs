//! How busy the machine was besides: by others, and by its host.

use std::fs;
use std::io::Read as _;

use super::{numbers, ticks};

/// The machine's processor time so far, in ticks of all cores together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    total: u64,
    idle: u64,
    stolen: u64,
    own: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let numbers = line("cpu");
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        // This process, what it started, and what those started, ended ones that were waited for included.
        let family = super::family(std::process::id()).into_iter();
        Self {
            // Guests' time (the last two) is in user time already.
            total: numbers.iter().take(8).sum(),
            idle: at(3) + at(4),
            stolen: at(7),
            own: family.flat_map(ticks).sum(),
        }
    }

    /// The shares of all cores since an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Shares {
        let total = self.total.saturating_sub(before.total).max(1) as f64;
        let share = |now: u64, before: u64| now.saturating_sub(before) as f64 / total;
        let own = share(self.own, before.own);
        let stolen = share(self.stolen, before.stolen);
        Shares {
            // Ticks are samples: what is used by nobody but this can come out a little below nothing.
            others: (1.0 - share(self.idle, before.idle) - stolen - own).clamp(0.0, 1.0),
            own,
            stolen,
        }
    }
}

/// The numbers of a line of `/proc/stat`.
fn line(name: &str) -> Vec<u64> {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let named = |line: &&str| line.split_ascii_whitespace().next() == Some(name);
    numbers(text.lines().find(named).unwrap_or_default(), 1)
}

/// Shares of all cores' time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shares {
    /// What processes that are none of the bench's used.
    pub(crate) others: f64,
    /// What the bench and everything it started used.
    pub(crate) own: f64,
    /// What the host gave to other guests while this one wanted it.
    pub(crate) stolen: f64,
}

/// Which of the options that decide what the scheduler's figures hold this kernel was built with.
pub(crate) fn accounting() -> String {
    let mut config = String::new();
    if let Ok(file) = fs::File::open("/proc/config.gz") {
        let _ = flate2::read::GzDecoder::new(file).read_to_string(&mut config);
    }
    let options = ["IRQ_TIME_ACCOUNTING", "PARAVIRT_TIME_ACCOUNTING"];
    let has = options.map(
        |option| match config.contains(&format!("\nCONFIG_{option}=y\n")) {
            true => format!("`{option}`"),
            false => format!("not `{option}`"),
        },
    );
    match config.is_empty() {
        true => "this kernel does not say (`/proc/config.gz`)".to_owned(),
        false => format!("on this kernel {}", has.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_idle_nor_stolen_nor_own_is_others() {
        let before = Usage::default();
        let after = Usage {
            total: 200,
            idle: 80,
            stolen: 20,
            own: 60,
        };
        let shares = after.since(&before);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(shares.others, 0.2), "{shares:?}");
        assert!(close(shares.own, 0.3), "{shares:?}");
        assert!(close(shares.stolen, 0.1), "{shares:?}");
        assert!(Usage::now().total > 0);
    }
}
