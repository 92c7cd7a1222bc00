//! The inputs handled since the last snapshot.

use std::time::Duration;

use chorus_protocol::Millis;

use super::bindings::exports::chorus::edge::session::Input;

/// One call: its inputs are those from the end of the call before up to `end`.
#[derive(Clone, Copy, Debug)]
struct Mark {
    now: Millis,
    end: usize,
    bytes: usize,
}

/// The inputs handled since the last snapshot, in order, with the calls they were handled in.
#[derive(Debug, Default)]
pub(super) struct Journal {
    inputs: Vec<Input>,
    marks: Vec<Mark>,
    bytes: usize,
    handling_time: Duration,
}

impl Journal {
    /// Stages the next call's inputs, at most `most`; returns their bytes. They are in the journal only after
    /// [`Journal::commit`].
    pub(super) fn stage(&mut self, inputs: &mut impl Iterator<Item = Input>, most: usize) -> usize {
        let start = self.inputs.len();
        self.inputs.extend(inputs.take(most));
        self.inputs[start..].iter().map(input_bytes).sum()
    }

    /// The staged inputs.
    pub(super) fn staged(&self) -> &[Input] {
        &self.inputs[self.committed()..]
    }

    /// Adds the staged inputs to the journal, after they were handled in one call that took `taken`.
    pub(super) fn commit(&mut self, now: Millis, bytes: usize, taken: Duration) {
        self.marks.push(Mark {
            now,
            end: self.inputs.len(),
            bytes,
        });
        self.bytes += bytes;
        self.handling_time += taken;
    }

    /// Removes and returns the staged inputs.
    pub(super) fn unstage(&mut self) -> Vec<Input> {
        let at = self.committed();
        self.inputs.split_off(at)
    }

    /// The calls in order: `now`, inputs and bytes of each.
    pub(super) fn calls(&self) -> impl Iterator<Item = (Millis, &[Input], usize)> {
        let starts = std::iter::once(0).chain(self.marks.iter().map(|mark| mark.end));
        starts
            .zip(&self.marks)
            .map(|(start, mark)| (mark.now, &self.inputs[start..mark.end], mark.bytes))
    }

    /// Empties the journal, after a snapshot was stored.
    pub(super) fn clear(&mut self) {
        self.inputs.clear();
        self.marks.clear();
        self.bytes = 0;
        self.handling_time = Duration::ZERO;
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Time that handling all its inputs took.
    pub(super) fn handling_time(&self) -> Duration {
        self.handling_time
    }

    fn committed(&self) -> usize {
        self.marks.last().map_or(0, |mark| mark.end)
    }
}

/// Bytes of an input with its data.
pub(super) fn input_bytes(input: &Input) -> usize {
    size_of::<Input>()
        + match input {
            Input::Configured(data) => data.len(),
            Input::Opened(opened) => opened.token.as_ref().map_or(0, String::len),
            Input::Frame(frame) => frame.data.len(),
            Input::Delivered(delivered) => delivered.data.len(),
            Input::Control(control) => control.data.len(),
            Input::Replayed(replayed) => replayed.data.len(),
            Input::Counted(counted) => counted.reactions.len() * size_of::<(String, u64)>(),
            Input::Closed(_) | Input::Lagged(_) | Input::Published(_) | Input::Timer => 0,
        }
}
