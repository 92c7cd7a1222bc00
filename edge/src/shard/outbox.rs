//! The frames of a turn, each built once in an arena that the next turn reuses, and the socket that each is sent to.

use std::ops::Range;
use std::rc::Rc;

/// Capacity of the arena in bytes that is kept for the next turn.
const ARENA_BYTES_KEPT: usize = 1 << 20;
/// Jobs at which the batch is sent before the turn ends.
pub(crate) const JOBS_MAX: usize = 8_192;
/// Bytes of frames at which the batch is sent before the turn ends.
const ARENA_BYTES_MAX: usize = 8 << 20;

/// Frames of a turn for one connection are joined up to this many bytes; beyond, the copy costs more than a send.
const JOINED_BYTES_MAX: usize = 16 << 10;

/// The index of a frame of this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameRef(u32);

#[derive(Debug)]
struct Built {
    bytes: Range<usize>,
    /// A copy that outlives the turn, made when the first socket does not accept the whole frame.
    shared: Option<Rc<[u8]>>,
}

/// One frame to be sent to one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) slot: u32,
    pub(crate) frame: FrameRef,
}

/// The frames of a turn and the jobs that send them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    arena: Vec<u8>,
    scratch: Vec<u8>,
    frames: Vec<Built>,
    pub(crate) jobs: Vec<Job>,
    /// Slots whose queue is to be written after the jobs.
    pub(crate) to_write: Vec<u32>,
}

impl Outbox {
    /// Builds a frame.
    pub(crate) fn build(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> FrameRef {
        let start = self.arena.len();
        write(&mut self.arena);
        let bytes = start..self.arena.len();
        self.frames.push(Built {
            bytes,
            shared: None,
        });
        FrameRef(u32::try_from(self.frames.len() - 1).unwrap_or(u32::MAX))
    }

    /// Builds a frame from another one's bytes.
    pub(crate) fn build_from(
        &mut self,
        frame: FrameRef,
        write: impl FnOnce(&[u8], &mut Vec<u8>),
    ) -> FrameRef {
        self.build_in_scratch(|outbox, into| write(outbox.bytes(frame), into))
    }

    /// Builds a frame from frames in the arena. The arena may move when it grows, so the new frame is written into a scratch
    /// buffer first.
    fn build_in_scratch(&mut self, write: impl FnOnce(&Self, &mut Vec<u8>)) -> FrameRef {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        write(self, &mut scratch);
        let built = self.build(|into| into.extend_from_slice(&scratch));
        self.scratch = scratch;
        built
    }

    /// Whether a job's frame and another one are short enough to be joined.
    pub(crate) fn can_join(&self, job: usize, frame: FrameRef) -> bool {
        let first = self
            .jobs
            .get(job)
            .map_or(0, |job| self.bytes(job.frame).len());
        first + self.bytes(frame).len() <= JOINED_BYTES_MAX
    }

    /// Appends a frame to a job's frame, so that one send has both.
    pub(crate) fn join(&mut self, job: usize, frame: FrameRef) {
        let Some(first) = self.jobs.get(job).map(|job| job.frame) else {
            return;
        };
        let both = self.build_in_scratch(|outbox, into| {
            into.extend_from_slice(outbox.bytes(first));
            into.extend_from_slice(outbox.bytes(frame));
        });
        if let Some(job) = self.jobs.get_mut(job) {
            job.frame = both;
        }
    }

    /// A frame's bytes.
    pub(crate) fn bytes(&self, frame: FrameRef) -> &[u8] {
        self.frames
            .get(frame.0 as usize)
            .and_then(|built| self.arena.get(built.bytes.clone()))
            .unwrap_or_default()
    }

    /// A copy of a frame that outlives the turn; made once and shared.
    pub(crate) fn share(&mut self, frame: FrameRef) -> Rc<[u8]> {
        let Some(built) = self.frames.get_mut(frame.0 as usize) else {
            return Rc::from([]);
        };
        let bytes = self.arena.get(built.bytes.clone()).unwrap_or_default();
        Rc::clone(built.shared.get_or_insert_with(|| Rc::from(bytes)))
    }

    /// Whether the batch must be sent before the turn ends.
    pub(crate) fn is_full(&self) -> bool {
        self.jobs.len() >= JOBS_MAX || self.arena.len() >= ARENA_BYTES_MAX
    }

    /// Whether no frame was built since the last batch was sent.
    pub(crate) fn has_no_frames(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.to_write.is_empty()
    }

    /// Drops all frames and jobs, after they are sent or queued.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.jobs.clear();
        self.arena.clear();
        if self.arena.capacity() > ARENA_BYTES_KEPT {
            self.arena.shrink_to(ARENA_BYTES_KEPT);
        }
        if self.scratch.capacity() > ARENA_BYTES_KEPT {
            self.scratch = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_built_once_and_shared() {
        let mut outbox = Outbox::default();
        let plain = outbox.build(|into| into.extend_from_slice(b"abc"));
        let sealed = outbox.build_from(plain, |bytes, into| into.extend(bytes.iter().rev()));
        assert_eq!(outbox.bytes(plain), b"abc");
        assert_eq!(outbox.bytes(sealed), b"cba");
        let (one, two) = (outbox.share(plain), outbox.share(plain));
        assert!(Rc::ptr_eq(&one, &two));
        outbox.clear();
        assert!(outbox.bytes(plain).is_empty());
        assert_eq!(&*one, b"abc");
    }
}
