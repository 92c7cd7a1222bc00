//! The thread between the devices and the network: reads packets, asks the core, writes what is due.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chorus_telemetry::complain;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::setpriority_process;
use rustix::thread::{gettid, set_current_timer_slack};

use super::device::Device;
use super::network::Network;

/// Packets read from one device before what is due is written: 64 take well below a millisecond.
const READS_MAX: usize = 64;
/// What a device says once it was removed, for which there would be no rest.
const GONE: PollFlags = PollFlags::ERR.union(PollFlags::HUP).union(PollFlags::NVAL);
/// The largest packet: the MTU is below.
const PACKET_BYTES_MAX: usize = 2_048;
/// How long the end of a run may take to be noticed.
const LOOK: Duration = Duration::from_millis(50);
/// Above all programs under test: they are late when the network is.
const PRIORITY: i32 = -15;
/// Ten times less than what is common: a timer of 1 ms is late by 5 µs, not 50.
const TIMER_SLACK_NS: u64 = 5_000;

/// Network and devices, of which the forwarder and the control socket take turns.
pub(crate) struct Shared {
    /// When the network started; its times are since then.
    pub(crate) start: Instant,
    network: Mutex<Network>,
}

impl Shared {
    /// A network that starts now.
    pub(crate) fn new(network: Network) -> Self {
        Self {
            start: Instant::now(),
            network: Mutex::new(network),
        }
    }

    /// The network, for a moment.
    pub(crate) fn network(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running thread; it ends with this value.
pub(crate) struct Forwarder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Forwards between `devices`, which are in the order of the network's hosts, until dropped.
    pub(crate) fn start(shared: Arc<Shared>, devices: Arc<[Device]>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("wan".to_owned())
            .spawn(move || {
                // Less exact without.
                let _denied = setpriority_process(Some(gettid()), PRIORITY);
                let _denied = set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));
                forward(&shared, &devices, &stopped);
            })
            .context("cannot start the forwarder")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Whether the thread has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panicked: said by the panic.
            let _panicked = thread.join();
        }
    }
}

fn forward(shared: &Shared, devices: &[Device], stop: &AtomicBool) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let mut fds: Vec<PollFd<'_>> = devices
        .iter()
        .map(|device| PollFd::new(device, PollFlags::IN))
        .collect();
    let mut more = false;
    while !stop.load(Ordering::Relaxed) {
        let next_due = shared.network().next_due();
        let wait = match next_due {
            _ if more => Duration::ZERO,
            Some(due) => due.saturating_sub(shared.start.elapsed()).min(LOOK),
            None => LOOK,
        };
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        // Interrupted, it finds nothing and comes again.
        let ready = poll(&mut fds, Some(&timeout)).unwrap_or(0);
        let mut network = shared.network();
        more = false;
        if ready > 0 {
            for (host, (fd, device)) in fds.iter().zip(devices).enumerate() {
                if fd.revents().intersects(GONE) {
                    complain!(
                        "chorus: the device of {} is gone",
                        network.hosts()[host].name
                    );
                    return;
                }
                if fd.revents().contains(PollFlags::IN) {
                    more |= read(shared, &mut network, host, device, &mut buffer);
                }
            }
        }
        write_due(shared, &mut network, devices);
    }
}

/// Reads what a host sent; tells whether there may be more.
fn read(
    shared: &Shared,
    network: &mut Network,
    host: usize,
    device: &Device,
    buffer: &mut [u8],
) -> bool {
    for _ in 0..READS_MAX {
        // Nothing is there, or the device is down for a moment.
        let Ok(length) = device.read(buffer) else {
            return false;
        };
        network.send(shared.start.elapsed(), host, &buffer[..length]);
    }
    true
}

fn write_due(shared: &Shared, network: &mut Network, devices: &[Device]) {
    let mut now = shared.start.elapsed();
    while let Some(delivery) = network.due(now) {
        let taken = devices[delivery.host].write(&delivery.packet).is_ok();
        now = shared.start.elapsed();
        network.delivered(now, &delivery, taken);
    }
}
