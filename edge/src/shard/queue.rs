//! What a slow reader's socket has not taken yet: bounded in bytes and frames, in order, nothing skipped.

use std::collections::VecDeque;
use std::rc::Rc;

/// How much a viewer's queue may hold; one more frame and the viewer is too slow.
#[derive(Clone, Copy, Debug)]
pub struct QueueBounds {
    /// Bytes.
    pub bytes_max: usize,
    /// Frames.
    pub frames_max: usize,
}

/// A frame, shared by all that still have to get it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) data: Rc<[u8]>,
    /// Bytes of it that the socket has taken.
    pub(crate) sent: usize,
    /// It is a TLS record already; otherwise, over TLS, it is sealed when its turn comes.
    pub(crate) sealed: bool,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// A viewer's queue. It exists only while something is in it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// The socket said that it takes no more; its writability will be an event.
    pub(crate) blocked: bool,
}

impl Queue {
    /// Puts a frame at the end.
    pub(crate) fn push(&mut self, data: Rc<[u8]>, bounds: QueueBounds) -> Result<(), Overflow> {
        if self.bytes + data.len() > bounds.bytes_max && !self.pieces.is_empty()
            || self.pieces.len() >= bounds.frames_max
        {
            return Err(Overflow);
        }
        self.append(data);
        Ok(())
    }

    /// Puts a frame at the end whatever the bounds say: for a close frame.
    pub(crate) fn append(&mut self, data: Rc<[u8]>) {
        self.bytes += data.len();
        self.pieces.push_back(Piece {
            data,
            sent: 0,
            sealed: false,
        });
    }

    /// Puts the rest of what was being sent before all others.
    pub(crate) fn put_back(&mut self, piece: Piece) {
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

    /// The socket took this many bytes.
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

    /// Throws away all but a frame that the peer has got a part of.
    pub(crate) fn keep_begun(&mut self) {
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
        queue.keep_begun();
        assert_eq!(queue.bytes(), 2);
        queue.advance(2);
        assert!(queue.is_empty());
        queue.append(Rc::from([1]));
        queue.keep_begun();
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }
}
