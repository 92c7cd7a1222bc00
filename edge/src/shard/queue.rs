//! Frames that a slow reader's socket has not accepted yet: bounded in bytes and frames, in order, none skipped.

use std::collections::VecDeque;
use std::rc::Rc;

/// Bounds of a viewer's queue; a viewer whose queue would pass one is closed with 4408.
#[derive(Clone, Copy, Debug)]
pub struct QueueBounds {
    /// Bytes.
    pub bytes_max: usize,
    /// Frames.
    pub frames_max: usize,
}

/// A frame in a queue; its bytes are shared by all queues that hold it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) data: Rc<[u8]>,
    /// Bytes of it that the socket has accepted.
    pub(crate) sent: usize,
    /// It is a TLS record already; otherwise, over TLS, it is sealed just before it is written.
    pub(crate) sealed: bool,
}

/// The frame does not fit into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// A viewer's queue. It exists only while it holds a frame.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// The socket accepts no bytes now; the reactor reports when it does again.
    pub(crate) blocked: bool,
}

impl Queue {
    /// Appends a frame if it fits the bounds; an empty queue accepts a frame of any length.
    pub(crate) fn push(&mut self, data: Rc<[u8]>, bounds: QueueBounds) -> Result<(), Overflow> {
        if self.bytes + data.len() > bounds.bytes_max && !self.pieces.is_empty()
            || self.pieces.len() >= bounds.frames_max
        {
            return Err(Overflow);
        }
        self.append(data);
        Ok(())
    }

    /// Appends a frame without a check of the bounds, for a close frame.
    pub(crate) fn append(&mut self, data: Rc<[u8]>) {
        self.bytes += data.len();
        self.pieces.push_back(Piece {
            data,
            sent: 0,
            sealed: false,
        });
    }

    /// Puts a partly sent or newly sealed frame at the front.
    pub(crate) fn push_front(&mut self, piece: Piece) {
        self.bytes += piece.data.len() - piece.sent;
        self.pieces.push_front(piece);
    }

    pub(crate) fn front(&self) -> Option<&Piece> {
        self.pieces.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.data.len() - piece.sent;
        Some(piece)
    }

    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    /// Removes this many bytes from the front, which the socket accepted.
    pub(crate) fn advance(&mut self, mut taken: usize) {
        self.bytes = self.bytes.saturating_sub(taken);
        while let Some(piece) = self.pieces.front_mut() {
            let left = piece.data.len() - piece.sent;
            if taken < left {
                piece.sent += taken;
                return;
            }
            taken -= left;
            self.pieces.pop_front();
        }
    }

    /// Drops all frames except a first one that is partly sent or sealed.
    pub(crate) fn keep_partly_sent(&mut self) {
        let begun = self
            .pieces
            .front()
            .is_some_and(|piece| piece.sent > 0 || piece.sealed);
        self.pieces.truncate(usize::from(begun));
        self.bytes = self
            .pieces
            .iter()
            .map(|piece| piece.data.len() - piece.sent)
            .sum();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: QueueBounds = QueueBounds {
        bytes_max: 10,
        frames_max: 3,
    };

    #[test]
    fn it_is_bounded_in_bytes_and_frames() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(Rc::from([0; 8]), BOUNDS), Ok(()));
        assert_eq!(queue.push(Rc::from([0; 3]), BOUNDS), Err(Overflow));
        assert_eq!(queue.push(Rc::from([0; 1]), BOUNDS), Ok(()));
        assert_eq!(queue.push(Rc::from([0; 0]), BOUNDS), Ok(()));
        assert_eq!(queue.push(Rc::from([0; 0]), BOUNDS), Err(Overflow));
        assert_eq!(queue.bytes(), 9);
    }

    #[test]
    fn one_frame_beyond_the_bound_still_fits_into_an_empty_queue() {
        assert_eq!(Queue::default().push(Rc::from([0; 99]), BOUNDS), Ok(()));
    }

    #[test]
    fn what_the_peer_has_begun_to_get_is_kept() {
        let mut queue = Queue::default();
        queue.append(Rc::from([1, 2, 3]));
        queue.append(Rc::from([4, 5]));
        queue.advance(1);
        assert_eq!(queue.bytes(), 4);
        queue.keep_partly_sent();
        assert_eq!(queue.bytes(), 2);
        queue.advance(2);
        assert!(queue.is_empty());
        queue.append(Rc::from([1]));
        queue.keep_partly_sent();
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }
}
