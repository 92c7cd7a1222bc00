//! The bare loop's `io_uring` sends.
#![allow(
    unsafe_code,
    reason = "a submission names memory and sockets that the kernel uses until it completes"
)]

use std::io;

use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, types};

/// Sends per submit.
const BATCH: usize = 2_048;
const MSG_DONTWAIT: i32 = 0x40;
const MSG_NOSIGNAL: i32 = 0x4000;

/// A ring for sends.
pub(super) struct Uring {
    ring: IoUring,
}

impl Uring {
    /// Fails where the kernel has no `io_uring` or denies it.
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .build(BATCH as u32)?;
        Ok(Self { ring })
    }

    /// Sends a frame to some sockets and says how many took it whole.
    pub(super) fn send(&mut self, sockets: &[i32], frame: &[u8]) -> u64 {
        let mut sent = 0;
        for batch in sockets.chunks(BATCH) {
            let mut pushed = 0;
            {
                let mut queue = self.ring.submission();
                for socket in batch {
                    let entry =
                        opcode::Send::new(types::Fd(*socket), frame.as_ptr(), frame.len() as u32)
                            .flags(MSG_DONTWAIT | MSG_NOSIGNAL)
                            .build()
                            .flags(Flags::SKIP_SUCCESS);
                    // SAFETY: `MSG_DONTWAIT` makes the kernel finish with `frame` before `submit` returns, and the
                    // sockets are open until they leave the member list.
                    if unsafe { queue.push(&entry) }.is_err() {
                        break;
                    }
                    pushed += 1;
                }
            }
            if self.ring.submit().is_err() {
                continue;
            }
            // Only what failed has a completion.
            let failed = self.ring.completion().count() as u64;
            sent += pushed - failed.min(pushed);
        }
        sent
    }
}
