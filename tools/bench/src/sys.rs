//! What is asked of the machine: cores, clocks, limits, a process's CPU time and memory.

pub(crate) mod process;
pub(crate) mod usage;

use std::collections::HashMap;
use std::fs;
use std::ops::Add;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{
    ClockId, Itimerspec, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_settime,
};

/// The core of whatever is measured.
pub(crate) const SERVER_CORE: usize = 0;
/// The core of the load and of everything else.
pub(crate) const LOAD_CORE: usize = 1;
/// The unit of CPU times in `/proc/PID/stat` and `/proc/stat` (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// Monotonic nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Lets a timer expire every so often, first after one interval; 0: never.
pub(crate) fn arm(timer: impl AsFd, interval_ns: u64) -> Result<()> {
    let interval = timespec(Duration::from_nanos(interval_ns));
    let timing = Itimerspec {
        it_interval: interval,
        it_value: interval,
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &timing).context("timer")?;
    Ok(())
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Keeps this thread, and what it starts from now on, on one core.
pub(crate) fn pin_self(core: usize) {
    let _ = sched_setaffinity(None, &only(core));
}

/// Keeps every thread of a process on one core.
pub(crate) fn pin(pid: u32, core: usize) {
    for tid in tasks(pid) {
        if let Some(tid) = tid.parse().ok().and_then(Pid::from_raw) {
            let _ = sched_setaffinity(Some(tid), &only(core));
        }
    }
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

fn tasks(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let names = tasks.into_iter().flatten().flatten();
    names
        .map(|task| task.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Whether this thread may run on a core.
pub(crate) fn has_core(core: usize) -> bool {
    sched_getaffinity(None).is_ok_and(|set| set.is_set(core))
}

/// Raises the number of files this process and its children may open as far as allowed, up to `wanted`.
pub(crate) fn raise_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = |files: u64| Rlimit {
        current: Some(files),
        maximum: Some(files),
    };
    if limit.current.is_some_and(|have| have < wanted)
        && setrlimit(Resource::Nofile, raised(wanted)).is_err()
    {
        let _ = setrlimit(Resource::Nofile, raised(limit.maximum.unwrap_or(wanted)));
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// CPU time of some processes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// Nanoseconds on a core.
    pub(crate) ran_ns: u64,
    /// Of these in user space, known to a tick of 10 ms.
    pub(crate) user_ns: u64,
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            ran_ns: self.ran_ns + other.ran_ns,
            user_ns: self.user_ns + other.user_ns,
        }
    }
}

/// CPU time of some processes, summed over their threads, since the last look.
///
/// It is the scheduler's (`schedstat`): to the nanosecond, softirq work done in a thread's own context included, time
/// that the host took away not (as far as the kernel is told of it).
#[derive(Debug)]
pub(crate) struct CpuMeter {
    pids: Vec<u32>,
    /// Nanoseconds run, by thread.
    seen: HashMap<(u32, String), u64>,
    user_ns: u64,
}

impl CpuMeter {
    pub(crate) fn start(pids: &[u32]) -> Self {
        let mut meter = Self {
            pids: pids.to_vec(),
            seen: HashMap::new(),
            user_ns: 0,
        };
        meter.take();
        meter
    }

    /// What was used since `start` or the last `take`. A thread that ended in between loses what it used after the
    /// last look.
    pub(crate) fn take(&mut self) -> Cpu {
        let mut sum = Cpu::default();
        let mut user_ns = 0;
        for pid in self.pids.clone() {
            for tid in tasks(pid) {
                let path = format!("/proc/{pid}/task/{tid}/schedstat");
                let text = fs::read_to_string(path).unwrap_or_default();
                let Some(ran) = numbers(&text, 0).first().copied() else {
                    continue;
                };
                let before = self.seen.insert((pid, tid), ran).unwrap_or_default();
                sum.ran_ns += ran.saturating_sub(before);
            }
            user_ns += ticks(pid).first().copied().unwrap_or_default() * TICK_NS;
        }
        sum.user_ns = user_ns.saturating_sub(self.user_ns);
        self.user_ns = user_ns;
        sum
    }
}

/// A process's ticks in user space and in the kernel, and those of its ended children.
fn ticks(pid: u32) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold spaces; utime, stime, cutime and cstime are fields 14 to 17.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    numbers(rest, 11).into_iter().take(4).collect()
}

/// The numbers of a line after its first `skip` words.
fn numbers(line: &str, skip: usize) -> Vec<u64> {
    line.split_ascii_whitespace()
        .skip(skip)
        .map_while(|number| number.parse().ok())
        .collect()
}

/// Resident bytes of some processes together.
pub(crate) fn resident_bytes(pids: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let rss = text.lines().find(|line| line.starts_with("Rss:"));
        let kib = rss.and_then(|line| numbers(line, 1).first().copied());
        sum += kib.with_context(|| format!("no Rss in {path}"))? * 1024;
    }
    Ok(sum)
}

/// A process's children and theirs, itself included.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&parent) = all.get(next) {
        next += 1;
        for tid in tasks(parent) {
            let path = format!("/proc/{parent}/task/{tid}/children");
            let children = numbers(&fs::read_to_string(path).unwrap_or_default(), 0);
            all.extend(children.into_iter().map(|child| child as u32));
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
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {model}, Linux {}", kernel.trim())
}

/// Today, `YYYY-MM-DD HH:MM UTC`.
pub(crate) fn today() -> String {
    let date = std::process::Command::new("date")
        .args(["-u", "+%F %H:%M UTC"])
        .output();
    date.map_or_else(
        |_| "an unknown day".to_owned(),
        |date| String::from_utf8_lossy(&date.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_after_its_first_words() {
        assert_eq!(numbers("cpu  12 3 4", 1), [12, 3, 4]);
        assert_eq!(numbers(" S 1 2 x", 1), [1, 2]);
    }

    #[test]
    fn time_in_user_space_is_part_of_the_whole() {
        let mut meter = CpuMeter::start(&[std::process::id()]);
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let cpu = meter.take();
        assert!(cpu.ran_ns > 0, "{cpu:?}");
        assert!(cpu.user_ns > 0, "{cpu:?}");
        assert!(cpu.user_ns <= cpu.ran_ns + 4 * TICK_NS, "{cpu:?}");
    }
}
