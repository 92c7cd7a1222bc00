//! Which machine measured, when, how busy it was, and by which command.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// How busy the machine was before it was measured.
pub(crate) struct Before {
    line: String,
    load: String,
    busy: f64,
}

impl Before {
    /// In words, for a document.
    pub(crate) fn words(&self) -> String {
        format!(
            "Machine: {}. In the second before the run it was busy to {:.0} % (load {}).",
            self.line,
            self.busy * 100.0,
            self.load
        )
    }
}

/// Looks at this machine, for a second.
pub(crate) fn look() -> Before {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = text("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model
        .and_then(|it| it.split_once(": "))
        .map_or("", |it| it.1);
    let kernel = text("/proc/sys/kernel/osrelease");
    let load = text("/proc/loadavg");
    let first = ticks();
    std::thread::sleep(Duration::from_secs(1));
    let last = ticks();
    let (idle, all) = (last.0 - first.0, last.1 - first.1);
    Before {
        line: format!("{cores} cores, {model}, Linux {}", kernel.trim()),
        load: load.split(' ').next().unwrap_or_default().to_owned(),
        busy: 1.0 - idle / all.max(1.0),
    }
}

/// Idle and all ticks of all cores since the machine began.
fn ticks() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.split_whitespace().skip(1).take(8);
    let ticks: Vec<f64> = numbers.filter_map(|it| it.parse().ok()).collect();
    let idle = ticks.get(3).unwrap_or(&0.0) + ticks.get(4).unwrap_or(&0.0);
    (idle, ticks.iter().sum())
}

/// Today and the time, UTC.
pub(crate) fn today() -> String {
    let date = Command::new("date")
        .args(["-u", "+%Y-%m-%d %H:%M UTC"])
        .output();
    let text = date.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// How this program was begun.
pub(crate) fn command() -> String {
    let args = std::env::args().skip(1);
    let words: Vec<String> = ["chorus".to_owned()].into_iter().chain(args).collect();
    words.join(" ")
}
