//! How busy the machine was besides: by others, and by its host.

use std::fs;
use std::io::Read as _;

use super::{TICK_NS, numbers, ticks};

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

/// How long a core has run something, whatever it was, in nanoseconds; known to a tick of 10 ms, and by samples.
pub(crate) fn core_busy_ns(core: usize) -> u64 {
    let numbers = line(&format!("cpu{core}"));
    // User, nice and system time, interrupts and softirqs; neither idle time nor what the host took away.
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|at| numbers.get(*at));
    busy.sum::<u64>() * TICK_NS
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

/// Where softirqs are charged when they are not counted apart.
const SOFTIRQS: &str = "softirqs are charged to the thread they run in: over the loopback the receiving half of TCP \
    runs in the sender's context and is part of every delivery here, of the bare loop's, the peers' and Chorus's alike.";

/// What the scheduler's figures hold on this kernel, in words, as far as it tells how it was built.
pub(crate) fn accounting() -> String {
    let mut config = String::new();
    if let Ok(file) = fs::File::open("/proc/config.gz") {
        let _ = flate2::read::GzDecoder::new(file).read_to_string(&mut config);
    }
    let has = |option: &str| config.contains(&format!("\nCONFIG_{option}=y\n"));
    if config.is_empty() {
        "This kernel does not say (`/proc/config.gz`) whether its figures leave stolen time and softirqs out.".to_owned()
    } else if has("IRQ_TIME_ACCOUNTING") {
        "This kernel counts softirqs apart (`IRQ_TIME_ACCOUNTING`): the receiving half of a loopback send, which runs \
         as a softirq of the sender, is **not** in these figures, on no side."
            .to_owned()
    } else if has("PARAVIRT_TIME_ACCOUNTING") {
        format!(
            "On this kernel time that the host took away is not in them (`PARAVIRT_TIME_ACCOUNTING`), and {SOFTIRQS}"
        )
    } else {
        format!(
            "On this kernel time that the host took away is in them as if it had been used, and {SOFTIRQS}"
        )
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
