//! What other processes say, waited for no longer than a bound.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The lines a process prints, as they come.
#[derive(Debug)]
pub(crate) struct Lines {
    of: String,
    lines: Receiver<String>,
}

impl Lines {
    /// Reads on a thread of its own, which ends with the output.
    pub(crate) fn of(what: &str, output: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            of: what.to_owned(),
            lines,
        }
    }

    /// The next line, which answers `question`.
    pub(crate) fn next(&self, question: &str, within: Duration) -> Result<String> {
        self.lines
            .recv_timeout(within)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => anyhow::anyhow!(
                    "{} did not answer {question:?} within {} s",
                    self.of,
                    within.as_secs()
                ),
                RecvTimeoutError::Disconnected => {
                    anyhow::anyhow!("{} ended before it answered {question:?}", self.of)
                }
            })
    }
}

/// Waits for the end of a process; `None`: it has not ended in time.
pub(crate) fn ended_within(
    child: &mut Child,
    within: Duration,
) -> Option<std::process::ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if begun.elapsed() > within {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a program to its end with some input; it is killed when that takes too long.
pub(crate) fn run_within(command: &mut Command, input: &[u8], within: Duration) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let collect = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    };
    let stdout = collect(Box::new(child.stdout.take().context("no output")?));
    let stderr = collect(Box::new(child.stderr.take().context("no errors")?));
    if let Some(mut stdin) = child.stdin.take() {
        std::io::Write::write_all(&mut stdin, input)?;
    }
    let Some(status) = ended_within(&mut child, within) else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("{name} did not end within {} s", within.as_secs());
    };
    Ok(Output {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_named_and_not_waited_for() {
        let mut child = Command::new("sleep")
            .arg("30")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = Lines::of("sleep", child.stdout.take().expect("piped"));
        let error = lines
            .next("stats", Duration::from_millis(50))
            .expect_err("it says nothing");
        assert!(error.to_string().contains("\"stats\""), "{error}");
        assert_eq!(ended_within(&mut child, Duration::from_millis(20)), None);
        child.kill().expect("killed");
        assert!(ended_within(&mut child, Duration::from_secs(5)).is_some());
        let error = lines
            .next("stats", Duration::from_secs(5))
            .expect_err("it has ended");
        assert!(error.to_string().contains("ended"), "{error}");
    }

    #[test]
    fn a_program_gets_its_input_and_gives_its_output() {
        let output = run_within(&mut Command::new("cat"), b"text", Duration::from_secs(5));
        assert_eq!(output.expect("runs").stdout, b"text");
        let late = run_within(
            Command::new("sleep").arg("30"),
            b"",
            Duration::from_millis(50),
        );
        assert!(late.is_err());
    }
}
