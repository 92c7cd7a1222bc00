//! A process that the bench starts: on its core, asked within a bound, ended when it is dropped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::pin;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    /// Its standard input and output, where it speaks in lines.
    talk: Option<BufReader<UnixStream>>,
    log: Option<PathBuf>,
    /// How long it may take to end when it is asked to; zero: it is killed.
    patience: Duration,
}

impl Process {
    /// Starts a program on a core.
    pub(crate) fn start(mut command: Command, core: usize, patience: Duration) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let spawned = command.spawn();
        let child = spawned.with_context(|| format!("starting {name}"))?;
        pin(child.id(), core);
        Ok(Self {
            child,
            name,
            talk: None,
            log: None,
            patience,
        })
    }

    /// Starts one that writes a log.
    pub(crate) fn logging(
        mut command: Command,
        log: &Path,
        core: usize,
        patience: Duration,
    ) -> Result<Self> {
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let mut process = Self::start(command, core, patience)?;
        process.log = Some(log.to_owned());
        Ok(process)
    }

    /// Starts one that takes and prints lines.
    pub(crate) fn talking(mut command: Command, core: usize, patience: Duration) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        command
            .stdin(OwnedFd::from(theirs.try_clone()?))
            .stdout(OwnedFd::from(theirs));
        let mut process = Self::start(command, core, patience)?;
        process.talk = Some(BufReader::new(ours));
        Ok(process)
    }

    /// Starts this program once more, with other arguments.
    pub(crate) fn another_self(args: &[&str], core: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(args);
        Self::talking(command, core, Duration::ZERO)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let talk = self.talk.as_mut().context("it takes no lines")?;
        let written = talk.get_mut().write_all(format!("{line}\n").as_bytes());
        written.with_context(|| format!("{} is gone", self.name))
    }

    /// The next line it prints, which answers `question`.
    pub(crate) fn line(&mut self, question: &str, within: Duration) -> Result<String> {
        let talk = self.talk.as_mut().context("it prints no lines")?;
        talk.get_ref().set_read_timeout(Some(within))?;
        let mut line = String::new();
        let read = talk.read_line(&mut line).with_context(|| {
            let within = within.as_secs();
            format!(
                "{} did not answer {question:?} within {within} s",
                self.name
            )
        })?;
        if read == 0 {
            bail!("{} ended before it answered {question:?}", self.name);
        }
        Ok(line.trim().to_owned())
    }

    /// Looks `every` so often until there is something; fails when the process ends before, or `within` is over.
    pub(crate) fn until<T>(
        &mut self,
        within: Duration,
        every: Duration,
        mut look: impl FnMut(u32) -> Option<T>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self.pid()) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}): {}", self.name, self.last_words());
            }
            if begun.elapsed() > within {
                let (name, within) = (&self.name, within.as_secs());
                bail!(
                    "{name} is not ready after {within} s: {}",
                    self.last_words()
                );
            }
            std::thread::sleep(every);
        }
    }

    fn last_words(&self) -> String {
        let log = self.log.as_ref().map(fs::read_to_string);
        let log = log.and_then(Result::ok).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = Pid::from_child(&self.child);
        if !self.patience.is_zero() && kill_process(asked, Signal::TERM).is_ok() {
            let begun = Instant::now();
            while begun.elapsed() < self.patience {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let mut command = Command::new("sleep");
        command.arg("30");
        let mut sleep = Process::talking(command, 0, Duration::ZERO).expect("starts");
        let error = sleep.line("stats", Duration::from_millis(50));
        let error = format!("{:#}", error.expect_err("it says nothing"));
        assert!(error.contains("\"stats\""), "{error}");
        sleep.child.kill().expect("killed");
        let error = sleep.line("stats", Duration::from_secs(5));
        let error = error.expect_err("it has ended").to_string();
        assert!(error.contains("ended"), "{error}");
    }

    #[test]
    fn lines_go_both_ways() {
        let mut cat = Process::talking(Command::new("cat"), 0, Duration::ZERO).expect("starts");
        cat.say("one\ntwo").expect("said");
        for line in ["one", "two"] {
            let answer = cat.line("echo", Duration::from_secs(5));
            assert_eq!(answer.expect("answered"), line);
        }
    }
}
