//! What is asked of the machine: cores, clocks, limits, a process's CPU time and memory.

pub(crate) mod child;
pub(crate) mod usage;

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The core of whatever is measured.
pub(crate) const SERVER_CORE: usize = 0;
/// The core of the load and of everything else.
pub(crate) const LOAD_CORE: usize = 1;

/// Monotonic nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Keeps this thread, and what it starts from now on, on one core. Does nothing where there is no such core.
pub(crate) fn pin_self(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _ = sched_setaffinity(None, &set);
}

/// Keeps every thread of a process on one core; false where that is not possible.
pub(crate) fn pin(pid: u32, core: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(core);
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let mut done = true;
    for task in tasks.flatten() {
        let tid = task.file_name().to_string_lossy().parse::<i32>().ok();
        let pid = tid.and_then(Pid::from_raw);
        done &= pid.is_some() && sched_setaffinity(pid, &set).is_ok();
    }
    done
}

/// Whether this thread may run on a core.
pub(crate) fn has_core(core: usize) -> bool {
    sched_getaffinity(None).is_ok_and(|set| set.is_set(core))
}

/// Raises the number of files this process and its children may open as far as allowed, up to `wanted`.
pub(crate) fn raise_files(wanted: u64) -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    for (current, maximum) in [
        (wanted, wanted),
        (
            limit.maximum.unwrap_or(wanted),
            limit.maximum.unwrap_or(wanted),
        ),
    ] {
        let raised = Rlimit {
            current: Some(current),
            maximum: Some(maximum.max(current)),
        };
        if limit.current.is_some_and(|have| have >= current)
            || rustix::process::setrlimit(Resource::Nofile, raised).is_ok()
        {
            break;
        }
    }
    rustix::process::getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX)
}

/// What some processes had of the processor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Nanoseconds on a core.
    pub(crate) ran_ns: u64,
    /// Nanoseconds that the thread which ran most was ready to run while something else had the core.
    pub(crate) waited_ns: u64,
}

/// CPU time of some processes, summed over their threads, since the last look.
///
/// It is the scheduler's (`schedstat`): to the nanosecond, softirq work done in a thread's own context included, time
/// that the host took away not (as far as the kernel is told of it).
#[derive(Debug)]
pub(crate) struct CpuMeter {
    pids: Vec<u32>,
    seen: HashMap<(u32, String), Used>,
}

impl CpuMeter {
    /// Starts counting now.
    pub(crate) fn start(pids: &[u32]) -> Self {
        let mut meter = Self {
            pids: pids.to_vec(),
            seen: HashMap::new(),
        };
        meter.take();
        meter
    }

    /// What was used since `start` or the last `take`. A thread that ended in between loses what it used after the
    /// last look.
    pub(crate) fn take(&mut self) -> Used {
        let mut sum = Used::default();
        let mut most = 0;
        for pid in &self.pids {
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let tid = task.file_name().to_string_lossy().into_owned();
                let Some(used) = used_by(*pid, &tid) else {
                    continue;
                };
                let before = self.seen.insert((*pid, tid), used).unwrap_or_default();
                let ran_ns = used.ran_ns.saturating_sub(before.ran_ns);
                sum.ran_ns += ran_ns;
                if ran_ns >= most {
                    most = ran_ns;
                    sum.waited_ns = used.waited_ns.saturating_sub(before.waited_ns);
                }
            }
        }
        sum
    }
}

fn used_by(pid: u32, tid: &str) -> Option<Used> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(Used {
        ran_ns: numbers.next()?.ok()?,
        waited_ns: numbers.next()?.ok()?,
    })
}

/// Resident bytes of some processes together.
pub(crate) fn resident_bytes(pids: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let kib: u64 = text
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("no Rss in {path}"))?;
        sum += kib * 1024;
    }
    Ok(sum)
}

/// A process's children and theirs, itself included.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&parent) = all.get(next) {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
    }
    all
}

/// A line about the machine: processor, cores, kernel.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} cores, {model}, Linux {}", cores(), kernel.trim())
}

/// Today, `YYYY-MM-DD HH:MM` UTC.
pub(crate) fn today() -> String {
    let secs = clock_gettime(ClockId::Realtime).tv_sec;
    let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Howard Hinnant's civil_from_days: years begin in March so that the leap day is the last.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        rest / 3_600,
        rest / 60 % 60
    )
}
