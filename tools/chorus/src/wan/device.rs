//! A host's TUN device: made in its namespace, read and written by the forwarder.
#![allow(
    unsafe_code,
    reason = "naming a TUN device is one ioctl, for which there is no safe call; this module is where that is shown to be sound"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The device's name in each namespace.
pub(crate) const NAME: &str = "wan0";

const TUN: &str = "/dev/net/tun";
/// `TUNSETIFF`, of linux/if_tun.h.
const SET_INTERFACE: Opcode = opcode::write::<i32>(b'T', 202);
/// `IFF_TUN | IFF_NO_PI`: packets as they are, without a header.
const FLAGS: u16 = 0x1 | 0x1000;
/// The column of dropped packets among the sent, after the device's name in `/proc/net/dev`.
const SENT_DROPPED: usize = 11;

/// `struct ifreq` of linux/if.h as this ioctl reads it: the name, the flags and what else is in its union.
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// A TUN device, for as long as it is held.
pub(crate) struct Device {
    file: File,
    /// `/proc/net/dev` of its namespace.
    counts: File,
}

impl Device {
    /// Makes the device in the namespace at `path`.
    pub(crate) fn open_in(path: &Path) -> Result<Self> {
        // A thread of its own: it never leaves the namespace again.
        let open = || {
            enter(path)?;
            let file = open_here().with_context(|| format!("cannot make a device with {TUN}"))?;
            let counts = File::open("/proc/thread-self/net/dev")
                .context("cannot open the device's counts")?;
            Ok(Self { file, counts })
        };
        std::thread::scope(|scope| scope.spawn(open).join())
            .unwrap_or_else(|_| anyhow::bail!("the thread that makes a device panicked"))
    }

    /// Reads one packet; the error is `WouldBlock` when there is none.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Hands the host a packet.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(|_| ())
    }

    /// Packets dropped because they were sent faster than read.
    pub(crate) fn dropped(&self) -> io::Result<u64> {
        let mut text = String::new();
        let mut counts = &self.counts;
        counts.seek(SeekFrom::Start(0))?;
        counts.read_to_string(&mut text)?;
        let dropped = text.lines().find_map(|line| {
            let columns = line.trim_start().strip_prefix(NAME)?.strip_prefix(':')?;
            columns.split_whitespace().nth(SENT_DROPPED)?.parse().ok()
        });
        Ok(dropped.unwrap_or(0))
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves this thread into a network namespace.
pub(crate) fn enter(path: &Path) -> Result<()> {
    let namespace = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {}", path.display()))
}

fn open_here() -> io::Result<File> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nonblocking)
        .open(TUN)?;
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: FLAGS,
        rest: [0; 22],
    };
    request.name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    // SAFETY: `TUNSETIFF` reads and writes one `struct ifreq` (40 bytes on 64-bit Linux, which `InterfaceRequest` has) that lives
    // until the call returns; the name ends with a zero byte.
    unsafe {
        ioctl(
            &file,
            Setter::<SET_INTERFACE, InterfaceRequest>::new(request),
        )?
    };
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_large_as_the_kernel_reads() {
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(SET_INTERFACE, 0x4004_54ca);
    }
}
