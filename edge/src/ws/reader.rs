//! A client's side of a connection: bytes in, messages and control frames out.
//!
//! A reader that holds nothing costs one pointer: what is incomplete lives in a box only as long as it is incomplete.

use super::code;
use super::deflate::{InflateError, Inflater};
use super::frame::{Header, Opcode, mask};

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message of the connection's kind, unmasked, inflated; text is UTF-8.
    Message(&'a [u8]),
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A sign of life.
    Pong,
    /// The client's last frame; nothing after it is read. The code is to be echoed; `None` when it gave none.
    Close(Option<u16>),
}

/// What a client did wrong, and the code it is closed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Violation {
    /// The close code.
    pub code: u16,
    /// For the close frame.
    pub reason: &'static str,
}

fn violation<T>(code: u16, reason: &'static str) -> Result<T, Violation> {
    Err(Violation { code, reason })
}

/// What a connection's frames are held to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes of a message, also after inflating.
    pub message_bytes_max: usize,
    /// `permessage-deflate` was negotiated.
    pub deflate: bool,
    /// The encoding has binary messages; text messages otherwise.
    pub binary: bool,
}

/// The state between two reads.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// The beginning of a frame.
    raw: Vec<u8>,
    /// The fragments of a message so far.
    message: Option<Message>,
}

#[derive(Debug)]
struct Message {
    compressed: bool,
    data: Vec<u8>,
    /// Bytes of it that are known to be UTF-8.
    checked: usize,
}

impl Message {
    /// A text that cannot become UTF-8 any more fails at once, whatever is still to come.
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
    /// Takes what was read and hands `sink` what it holds; `input` is scratch afterwards.
    ///
    /// # Errors
    /// The first thing that is wrong. The reader must not be used after that, nor after [`Event::Close`].
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
                // Rare: a frame was cut by the end of a read.
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

    /// Whether nothing is held.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

/// Reads all whole frames of `input` and says how many bytes they took; all of them after a close.
fn frames(
    rules: &Rules,
    inflater: &mut Inflater,
    input: &mut [u8],
    message: &mut Option<Message>,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<usize, Violation> {
    let mut used = 0;
    loop {
        let rest = &mut input[used..];
        let header = match Header::parse(rest) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(used),
            Err(_) => return violation(code::PROTOCOL, "malformed frame"),
        };
        check(rules, &header, message.as_ref())?;
        // `check` has bounded the length, so it fits.
        let end =
            header.bytes + usize::try_from(header.length).unwrap_or(usize::MAX - header.bytes);
        let Some(payload) = rest.get_mut(header.bytes..end) else {
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

/// What can be said of a frame by its header alone.
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
    if !header.opcode.is_control()
        && header.length.saturating_add(before as u64) > rules.message_bytes_max as u64
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
