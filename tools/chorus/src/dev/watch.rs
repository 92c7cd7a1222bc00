//! Watches the running programs: prints each change of a program's readiness, and asks for a restart of a nats-server that
//! has stopped writing, once there is free space.
//!
//! After its first failed write nats-server stores no messages in a log until it is restarted, even if the disk has space
//! again; its `/healthz` reports this.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chorus_client::Rest;
use chorus_telemetry::say;
use rustix::fs::statvfs;
use serde_json::Value;
use tokio::time::Instant;

use super::child::{NATS, Part};
use super::dir::DataDir;

/// Interval of the checks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of a check; a program that does not answer in time counts as busy, not as unready.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Free bytes from which nats-server is restarted.
const ROOM_BYTES: u64 = 6 << 20;
/// Bytes that are written to check whether writing succeeds.
const TRIAL_BYTES: usize = 64 << 10;
/// Time between two restarts of nats-server, at least.
const RESTART_INTERVAL: Duration = Duration::from_secs(5);
/// Texts by which nats-server reports that it has stopped writing.
const STOPPED_WRITING: [&str; 3] = ["write error", "disabled", "not enabled"];

/// A watched program.
struct Watched {
    name: String,
    rest: Rest,
    target: &'static str,
    /// The reason that was printed last, while it is not ready.
    reported: Option<String>,
}

/// The watched programs and the state of the last checks.
pub(super) struct Watch {
    programs: Vec<Watched>,
    data: PathBuf,
    next: Instant,
    restart_after: Instant,
}

impl Watch {
    /// Watches these programs, which are all ready.
    pub(super) fn new<'a>(dir: &DataDir, parts: impl Iterator<Item = &'a Part>) -> Self {
        let programs = parts.filter_map(|part| {
            Some(Watched {
                name: part.name.clone(),
                rest: Rest::new(&part.ready_url).ok()?,
                target: part.watch_target,
                reported: None,
            })
        });
        Self {
            programs: programs.collect(),
            data: dir.path().to_owned(),
            next: Instant::now() + INTERVAL,
            restart_after: Instant::now(),
        }
    }

    /// Checks the programs until one must be restarted; returns its index.
    pub(super) async fn next_restart(&mut self) -> usize {
        loop {
            tokio::time::sleep_until(self.next).await;
            self.next = Instant::now() + INTERVAL;
            for index in 0..self.programs.len() {
                let Some(why) = self.programs[index].check().await else {
                    continue;
                };
                let stopped_writing = self.programs[index].name.starts_with(NATS)
                    && STOPPED_WRITING.iter().any(|words| why.contains(words));
                if stopped_writing && Instant::now() >= self.restart_after && self.has_room() {
                    self.restart_after = Instant::now() + RESTART_INTERVAL;
                    return index;
                }
            }
        }
    }

    /// Whether the disk of the data has free space and a write succeeds.
    fn has_room(&self) -> bool {
        let free =
            statvfs(&self.data).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
        let trial = self.data.join("logs").join(".trial");
        let written = fs::write(&trial, vec![1; TRIAL_BYTES]);
        // The file is absent if it could not be created.
        let _absent = fs::remove_file(&trial);
        free >= ROOM_BYTES && written.is_ok()
    }
}

impl Watched {
    /// Checks the program and prints a change; returns why it is not ready.
    async fn check(&mut self) -> Option<String> {
        let answer = tokio::time::timeout(ANSWER_MAX, self.rest.get(self.target)).await;
        let why = match answer {
            Ok(Ok(response)) if response.status == 200 => None,
            Ok(Ok(response)) => Some(words(&response.text())),
            // The program has ended or is starting, which is reported elsewhere.
            Ok(Err(_)) | Err(_) => return None,
        };
        match (&why, &self.reported) {
            // With several failed logs nats-server names a different one each time.
            (Some(_), Some(_)) if self.name.starts_with(NATS) => {}
            (Some(why), reported) if reported.as_ref() != Some(why) => {
                say!("{} is not ready: {why}", self.name);
            }
            (None, Some(_)) => say!("{} is ready again", self.name),
            (Some(_) | None, _) => {}
        }
        self.reported.clone_from(&why);
        why
    }
}

/// The error in an answer: nats-server answers in JSON, our programs in plain text.
fn words(body: &str) -> String {
    let json = serde_json::from_str::<Value>(body).ok();
    let error = json.as_ref().and_then(|json| json["error"].as_str());
    error.unwrap_or(body).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_taken_from_json_and_from_plain_words() {
        let nats = r#"{"status":"unavailable","error":"JetStream stream write error: no space left on device"}"#;
        assert!(
            STOPPED_WRITING
                .iter()
                .any(|stopped_writing| words(nats).contains(stopped_writing))
        );
        assert_eq!(
            words("the disk of the log is full\n"),
            "the disk of the log is full"
        );
    }
}
