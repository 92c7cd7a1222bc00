//! One `send` system call for each frame; works on every system.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::net::{SendFlags, send};

use super::{BatchSend, Short};

/// Sends each frame with its own system call.
#[derive(Debug)]
pub struct Plain;

impl BatchSend for Plain {
    fn send<'a>(
        &mut self,
        batch: &mut dyn Iterator<Item = (BorrowedFd<'a>, &'a [u8])>,
        short: &mut Vec<Short>,
    ) {
        for (index, (socket, data)) in batch.enumerate() {
            let sent = loop {
                match send(socket, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => break Ok(0),
                    Ok(sent) => break Ok(sent),
                    Err(error) => break Err(io::Error::from(error)),
                }
            };
            if !matches!(sent, Ok(sent) if sent == data.len()) {
                short.push(Short { index, sent });
            }
        }
    }

    fn name(&self) -> &'static str {
        "plain"
    }
}
