//! Reads a client's bytes into messages and control frames.
//!
//! An idle reader needs one pointer: an incomplete frame or message is kept in a box that exists only as long as needed.

use super::code;
use super::deflate::{InflateError, Inflater};
use super::frame::{Header, Opcode, mask};

/// A message or control frame of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete message of the connection's kind, unmasked and inflated; text is valid UTF-8.
    Message(&'a [u8]),
    /// Must be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong; its payload is ignored.
    Pong,
    /// The client's last frame; nothing after it is read. The code must be echoed; `None` when there is none.
    Close(Option<u16>),
}

/// A violation of the protocol and the close code for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Violation {
    /// The close code.
    pub code: u16,
    /// The reason in the close frame.
    pub reason: &'static str,
}

fn violation<T>(code: u16, reason: &'static str) -> Result<T, Violation> {
    Err(Violation { code, reason })
}

/// The rules that a connection's frames must obey.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes of a message after inflating, at most.
    pub message_bytes_max: usize,
    /// `permessage-deflate` was negotiated.
    pub deflate: bool,
    /// Messages are binary; otherwise text.
    pub binary: bool,
}

impl Rules {
    /// Bytes of a message before inflating, at most. This bounds memory and refuses no valid message of usual senders: in
    /// the worst case deflate makes a message an eighth longer, or five bytes longer for each flush.
    fn compressed_bytes_max(&self) -> usize {
        self.message_bytes_max * 2 + 1_024
    }
}

/// The state of a connection's reader between two reads.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// The bytes of an incomplete frame.
    raw: Vec<u8>,
    /// The fragments of an incomplete message.
    message: Option<Message>,
}

#[derive(Debug)]
struct Message {
    compressed: bool,
    data: Vec<u8>,
    /// Bytes at the front that are valid UTF-8.
    checked: usize,
}

impl Message {
    /// Fails as soon as the fragments so far cannot be the beginning of valid UTF-8.
    fn fail_early(&mut self, rules: &Rules) -> Result<(), Violation> {
        if rules.binary || self.compressed {
            return Ok(());
        }
        match std::str::from_utf8(&self.data[self.checked..]) {
            Ok(_) => self.checked = self.data.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return violation(code::INVALID_DATA, "text that is not UTF-8"),
        }
        Ok(())
    }
}

impl Reader {
    /// Reads received bytes and passes each event to `sink`; `input` is overwritten.
    ///
    /// # Errors
    /// The first violation. The reader must not be used after it, nor after [`Event::Close`].
    pub fn read(
        &mut self,
        rules: &Rules,
        inflater: &mut Inflater,
        input: &mut [u8],
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Violation> {
        let mut message = None;
        let used;
        if let Some(mut partial) = self.partial.take() {
            message = partial.message.take();
            if partial.raw.is_empty() {
                used = frames(rules, inflater, input, &mut message, sink)?;
            } else {
                // Rare: the last read ended within a frame.
                let mut raw = std::mem::take(&mut partial.raw);
                raw.extend_from_slice(input);
                let used = frames(rules, inflater, &mut raw, &mut message, sink)?;
                raw.drain(..used);
                self.keep(raw, message);
                return Ok(());
            }
        } else {
            used = frames(rules, inflater, input, &mut message, sink)?;
        }
        if used < input.len() || message.is_some() {
            self.keep(input[used..].to_vec(), message);
        }
        Ok(())
    }

    fn keep(&mut self, mut raw: Vec<u8>, message: Option<Message>) {
        if !raw.is_empty() || message.is_some() {
            raw.shrink_to_fit();
            self.partial = Some(Box::new(Partial { raw, message }));
        }
    }

    /// Whether no frame or message is incomplete.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

/// Reads all complete frames of `input`; returns their bytes. After a close frame all bytes count as read.
fn frames(
    rules: &Rules,
    inflater: &mut Inflater,
    input: &mut [u8],
    message: &mut Option<Message>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<usize, Violation> {
    let mut used = 0;
    loop {
        let remaining = &mut input[used..];
        let header = match Header::parse(remaining) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(used),
            Err(_) => return violation(code::PROTOCOL, "malformed frame"),
        };
        check(rules, &header, message.as_ref())?;
        // `check` has bounded the length, so it fits into `usize`.
        let end =
            header.bytes + usize::try_from(header.length).unwrap_or(usize::MAX - header.bytes);
        let Some(payload) = remaining.get_mut(header.bytes..end) else {
            return Ok(used);
        };
        mask(payload, header.mask);
        used += end;
        match header.opcode {
            Opcode::Ping => sink(Event::Ping(payload)),
            Opcode::Pong => sink(Event::Pong),
            Opcode::Close => {
                sink(Event::Close(close(payload)?));
                return Ok(input.len());
            }
            Opcode::Text | Opcode::Binary if header.fin => {
                deliver(rules, inflater, header.rsv1, payload, sink)?;
            }
            Opcode::Text | Opcode::Binary => {
                let mut part = Message {
                    compressed: header.rsv1,
                    data: payload.to_vec(),
                    checked: 0,
                };
                part.fail_early(rules)?;
                *message = Some(part);
            }
            Opcode::Continuation => {
                if let Some(part) = message {
                    part.data.extend_from_slice(payload);
                    part.fail_early(rules)?;
                }
                if header.fin
                    && let Some(whole) = message.take()
                {
                    deliver(rules, inflater, whole.compressed, &whole.data, sink)?;
                }
            }
        }
    }
}

/// Checks a frame by its header alone.
fn check(rules: &Rules, header: &Header, message: Option<&Message>) -> Result<(), Violation> {
    let first = matches!(header.opcode, Opcode::Text | Opcode::Binary);
    if header.rsv1 && !(first && rules.deflate) {
        return violation(code::PROTOCOL, "a reserved bit is set");
    }
    match (header.opcode, message) {
        (Opcode::Continuation, None) => return violation(code::PROTOCOL, "nothing to continue"),
        (Opcode::Text | Opcode::Binary, Some(_)) => {
            return violation(code::PROTOCOL, "a message within a message");
        }
        (Opcode::Text, None) if rules.binary => {
            return violation(code::UNSUPPORTED, "this connection's messages are binary");
        }
        (Opcode::Binary, None) if !rules.binary => {
            return violation(code::UNSUPPORTED, "this connection's messages are text");
        }
        _ => {}
    }
    let before = message.map_or(0, |message| message.data.len());
    let compressed = header.rsv1 || message.is_some_and(|message| message.compressed);
    let bytes_max = if compressed {
        rules.compressed_bytes_max()
    } else {
        rules.message_bytes_max
    };
    if !header.opcode.is_control() && header.length.saturating_add(before as u64) > bytes_max as u64
    {
        return violation(code::TOO_BIG, "the message is too long");
    }
    Ok(())
}

fn deliver(
    rules: &Rules,
    inflater: &mut Inflater,
    compressed: bool,
    data: &[u8],
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<(), Violation> {
    let data = if compressed {
        match inflater.inflate(data, rules.message_bytes_max) {
            Ok(data) => data,
            Err(InflateError::TooLong) => {
                return violation(code::TOO_BIG, "the message is too long");
            }
            Err(InflateError::Malformed) => {
                return violation(code::INVALID_DATA, "malformed compression");
            }
        }
    } else {
        data
    };
    if !rules.binary && std::str::from_utf8(data).is_err() {
        return violation(code::INVALID_DATA, "text that is not UTF-8");
    }
    sink(Event::Message(data));
    Ok(())
}

fn close(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((number, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            violation(code::PROTOCOL, "half a close code")
        };
    };
    let number = u16::from_be_bytes(*number);
    if !code::may_be_received(number) {
        return violation(code::PROTOCOL, "a close code that never travels");
    }
    if std::str::from_utf8(reason).is_err() {
        return violation(code::INVALID_DATA, "a close reason that is not UTF-8");
    }
    Ok(Some(number))
}

#[cfg(test)]
mod tests;
