//! Request numbers across a reset. A new instance numbers its requests from the beginning, while answers to requests of
//! the former instance may still arrive.
//!
//! So the number of resets is put into the upper bits of every request, and compared in every answer.

use super::super::bindings::exports::chorus::edge::session::{Input, Output};
use super::Supervisor;

/// Bits of a request's number that the component chose.
const OWN_BITS: u32 = 48;
const OWN: u64 = (1 << OWN_BITS) - 1;

impl Supervisor {
    /// Removes answers to requests of former instances.
    pub(super) fn drop_stale(&mut self, inputs: &mut Vec<Input>) {
        if self.generation == 0 {
            return;
        }
        let generation = u64::from(self.generation);
        let before = inputs.len();
        inputs.retain_mut(|input| match request(input) {
            Some(request) if *request >> OWN_BITS != generation => false,
            Some(request) => {
                *request &= OWN;
                true
            }
            None => true,
        });
        self.stats.stale_answers += (before - inputs.len()) as u64;
    }

    /// Marks the requests with the current generation.
    pub(super) fn stamp(&self, outputs: &mut [Output]) {
        if self.generation == 0 {
            return;
        }
        let mark = u64::from(self.generation) << OWN_BITS;
        for output in outputs {
            if let Output::Publish(publish) = output {
                publish.request = publish.request & OWN | mark;
            } else if let Output::Replay(replay) = output {
                replay.request = replay.request & OWN | mark;
            }
        }
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "only answers carry a request"
)]
fn request(input: &mut Input) -> Option<&mut u64> {
    match input {
        Input::Published(published) => Some(&mut published.request),
        Input::Replayed(replayed) => Some(&mut replayed.request),
        _ => None,
    }
}
