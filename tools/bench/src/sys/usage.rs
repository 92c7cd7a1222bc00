//! How busy the machine was besides: by others, and by its host.

use std::fs;

/// The machine's processor time so far, in ticks of all cores together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    total: u64,
    idle: u64,
    stolen: u64,
    own: u64,
}

impl Usage {
    /// As of now.
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let numbers = numbers(text.lines().next().unwrap_or_default(), 1);
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        Self {
            // Guests' time (the last two) is in user time already.
            total: numbers.iter().take(8).sum(),
            idle: at(3) + at(4),
            stolen: at(7),
            own: own_ticks(),
        }
    }

    /// The shares of all cores since an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Shares {
        let total = self.total.saturating_sub(before.total).max(1) as f64;
        let idle = self.idle.saturating_sub(before.idle) as f64;
        let stolen = self.stolen.saturating_sub(before.stolen) as f64;
        let own = self.own.saturating_sub(before.own) as f64;
        Shares {
            // Ticks are samples: what is used by nobody but this can come out a little below nothing.
            others: ((total - idle - stolen - own) / total).clamp(0.0, 1.0),
            own: own / total,
            stolen: stolen / total,
        }
    }
}

/// How long a core has run something, whatever it was, in nanoseconds; known to a tick of 10 ms, and by samples.
pub(crate) fn core_busy_ns(core: usize) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core}");
    let line = text
        .lines()
        .find(|line| line.split_ascii_whitespace().next() == Some(name.as_str()));
    let numbers = numbers(line.unwrap_or_default(), 1);
    // User, nice and system time, interrupts and softirqs; neither idle time nor what the host took away.
    let busy: u64 = [0, 1, 2, 5, 6]
        .iter()
        .filter_map(|index| numbers.get(*index))
        .sum();
    busy * 10_000_000
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

/// What the scheduler's figures hold on this kernel, in words, as far as it tells how it was built.
pub(crate) fn accounting() -> &'static str {
    let config = kernel_config().unwrap_or_default();
    let has = |option: &str| {
        config
            .lines()
            .any(|line| line == format!("CONFIG_{option}=y"))
    };
    if config.is_empty() {
        "This kernel does not say (`/proc/config.gz`) whether its figures leave stolen time and softirqs out."
    } else if has("IRQ_TIME_ACCOUNTING") {
        "This kernel counts softirqs apart (`IRQ_TIME_ACCOUNTING`): the receiving half of a loopback send, which runs \
         as a softirq of the sender, is **not** in these figures, on no side."
    } else if has("PARAVIRT_TIME_ACCOUNTING") {
        "On this kernel time that the host took away is not in them (`PARAVIRT_TIME_ACCOUNTING`), and softirqs are \
         charged to the thread they run in: over the loopback the receiving half of TCP runs in the sender's context \
         and is part of every delivery here, of the bare loop's, the peers' and Chorus's alike."
    } else {
        "On this kernel time that the host took away is in them as if it had been used, and softirqs are charged to \
         the thread they run in: over the loopback the receiving half of TCP runs in the sender's context and is part \
         of every delivery here, of the bare loop's, the peers' and Chorus's alike."
    }
}

fn kernel_config() -> Option<String> {
    let mut unpack = std::process::Command::new("gzip");
    unpack.args(["-dc", "/proc/config.gz"]);
    let output = super::child::run_within(&mut unpack, b"", std::time::Duration::from_secs(5));
    (output.ok().filter(|output| output.status.success()))
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ticks of this process, of what it started, and of what those started, ended ones that were waited for included.
fn own_ticks() -> u64 {
    super::family(std::process::id())
        .into_iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .map(|text| {
            // The name, in parentheses, may hold spaces; utime, stime, cutime and cstime are fields 14 to 17.
            let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
            numbers(rest, 12).iter().take(4).sum::<u64>()
        })
        .sum()
}

/// The numbers of a line after its first `skip` words.
fn numbers(line: &str, skip: usize) -> Vec<u64> {
    line.split_ascii_whitespace()
        .skip(skip)
        .map_while(|number| number.parse().ok())
        .collect()
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
    }

    #[test]
    fn a_line_of_proc_is_read_after_its_first_words() {
        assert_eq!(numbers("cpu  12 3 4", 1), [12, 3, 4]);
        assert_eq!(numbers(" S 1 2 x", 1), [1, 2]);
        assert!(Usage::now().total > 0);
    }
}
