//! What was handled since the last snapshot.

use std::time::Duration;

use chorus_protocol::Millis;

use super::bindings::exports::chorus::edge::session::Input;

/// One call's inputs: those before `end` that no earlier call took.
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
    taken: Duration,
}

impl Journal {
    /// Takes the next call's inputs, at most `most`; says how many bytes they have. They are part of the journal
    /// only once [`Journal::commit`] says so.
    pub(super) fn stage(&mut self, inputs: &mut impl Iterator<Item = Input>, most: usize) -> usize {
        let start = self.inputs.len();
        self.inputs.extend(inputs.take(most));
        self.inputs[start..].iter().map(input_bytes).sum()
    }

    /// What was staged.
    pub(super) fn staged(&self) -> &[Input] {
        &self.inputs[self.committed()..]
    }

    /// What was staged has been handled.
    pub(super) fn commit(&mut self, now: Millis, bytes: usize, taken: Duration) {
        self.marks.push(Mark {
            now,
            end: self.inputs.len(),
            bytes,
        });
        self.bytes += bytes;
        self.taken += taken;
    }

    /// Gives back what was staged.
    pub(super) fn unstage(&mut self) -> Vec<Input> {
        let at = self.committed();
        self.inputs.split_off(at)
    }

    /// The calls in order: their time, inputs and bytes.
    pub(super) fn calls(&self) -> impl Iterator<Item = (Millis, &[Input], usize)> {
        let starts = std::iter::once(0).chain(self.marks.iter().map(|mark| mark.end));
        starts
            .zip(&self.marks)
            .map(|(start, mark)| (mark.now, &self.inputs[start..mark.end], mark.bytes))
    }

    /// A snapshot holds it all.
    pub(super) fn clear(&mut self) {
        self.inputs.clear();
        self.marks.clear();
        self.bytes = 0;
        self.taken = Duration::ZERO;
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long it took to handle.
    pub(super) fn taken(&self) -> Duration {
        self.taken
    }

    fn committed(&self) -> usize {
        self.marks.last().map_or(0, |mark| mark.end)
    }
}

/// The bytes an input carries, its own fields included.
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
