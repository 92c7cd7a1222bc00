//! Looking after what runs: each change of a program's readiness is said, and a nats-server that gave up writing is
//! to be started again once there is room.
//!
//! nats-server takes no more for a log after its first failed write, whatever becomes of the disk, until it is started
//! again; its `/healthz` says so.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chorus_client::Rest;
use chorus_telemetry::say;
use rustix::fs::statvfs;
use serde_json::Value;
use tokio::time::Instant;

use super::child::Part;
use super::dir::DataDir;

const NATS: &str = "nats-server";
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(500);
/// How long a program may take to answer; one that is busy says nothing of itself.
const ANSWER: Duration = Duration::from_secs(3);
/// Free bytes from which nats-server is started again.
const ROOM_BYTES: u64 = 6 << 20;
/// Written to see whether a write succeeds.
const TRIAL_BYTES: usize = 64 << 10;
/// From one start of nats-server to the next.
const AGAIN: Duration = Duration::from_secs(5);
/// How nats-server says that it gave up writing.
const GAVE_UP: [&str; 3] = ["write error", "disabled", "not enabled"];

/// One of the programs.
struct Watched {
    name: &'static str,
    rest: Rest,
    target: &'static str,
    /// Why it is not ready, as it was said.
    said: Option<String>,
}

/// What was seen last.
pub(super) struct Watch {
    programs: Vec<Watched>,
    data: PathBuf,
    next: Instant,
    again: Instant,
}

impl Watch {
    /// Of these programs, all of which are ready.
    pub(super) fn new<'a>(dir: &DataDir, parts: impl Iterator<Item = &'a Part>) -> Self {
        let programs = parts.filter_map(|part| {
            Some(Watched {
                name: part.name,
                rest: Rest::new(&part.ready_url).ok()?,
                target: part.watch_target,
                said: None,
            })
        });
        Self {
            programs: programs.collect(),
            data: dir.path().to_owned(),
            next: Instant::now() + LOOK,
            again: Instant::now(),
        }
    }

    /// Looks until the program of this index is to be started again.
    pub(super) async fn next_restart(&mut self) -> usize {
        loop {
            tokio::time::sleep_until(self.next).await;
            self.next = Instant::now() + LOOK;
            for index in 0..self.programs.len() {
                let Some(why) = self.programs[index].look().await else {
                    continue;
                };
                let gave_up = self.programs[index].name == NATS
                    && GAVE_UP.iter().any(|words| why.contains(words));
                if gave_up && Instant::now() >= self.again && self.has_room() {
                    self.again = Instant::now() + AGAIN;
                    return index;
                }
            }
        }
    }

    /// Whether there is room on the data's disk and a write succeeds.
    fn has_room(&self) -> bool {
        let free =
            statvfs(&self.data).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
        let trial = self.data.join("logs").join(".trial");
        let written = fs::write(&trial, vec![1; TRIAL_BYTES]);
        // Absent where it could not be made.
        let _absent = fs::remove_file(&trial);
        free >= ROOM_BYTES && written.is_ok()
    }
}

impl Watched {
    /// Asks it, says what changed, and tells why it is not ready.
    async fn look(&mut self) -> Option<String> {
        let answer = tokio::time::timeout(ANSWER, self.rest.get(self.target)).await;
        let why = match answer {
            Ok(Ok(response)) if response.status == 200 => None,
            Ok(Ok(response)) => Some(words(&response.text())),
            // It ended or starts: others say so.
            Ok(Err(_)) | Err(_) => return None,
        };
        match (&why, &self.said) {
            // Of several broken logs nats-server names now one, now another.
            (Some(_), Some(_)) if self.name == NATS => {}
            (Some(why), said) if said.as_ref() != Some(why) => {
                say!("{} is not ready: {why}", self.name);
            }
            (None, Some(_)) => say!("{} is ready again", self.name),
            (Some(_) | None, _) => {}
        }
        self.said.clone_from(&why);
        why
    }
}

/// nats-server answers in JSON, ours in plain words.
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
        assert!(GAVE_UP.iter().any(|gave_up| words(nats).contains(gave_up)));
        assert_eq!(
            words("the disk of the log is full\n"),
            "the disk of the log is full"
        );
    }
}
