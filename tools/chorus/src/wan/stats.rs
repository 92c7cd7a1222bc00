//! What is counted for each link, and how it is shown.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::link::{Dropped, Link};
use crate::histogram::Histogram;

/// What became of a link's packets.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) held_back: u64,
    pub(super) undelivered: u64,
    delivered: u64,
    bytes: u64,
    dropped_loss: u64,
    dropped_queue: u64,
    dropped_partition: u64,
    /// Made with the first packet: most links of a large network have none.
    delays: Option<Box<Histogram>>,
}

impl Counts {
    pub(super) const fn dropped(&mut self, why: Dropped) {
        match why {
            Dropped::Loss => self.dropped_loss += 1,
            Dropped::Queue => self.dropped_queue += 1,
            Dropped::Partition => self.dropped_partition += 1,
        }
    }

    pub(super) fn delivered(&mut self, bytes: usize, delay: Duration) {
        self.delivered += 1;
        self.bytes += bytes as u64;
        self.delays.get_or_insert_default().record(delay);
    }
}

/// A link's settings and counts, as `stats --json` prints them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinkStats {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) partitioned: bool,
    pub(crate) delay_ms: f64,
    pub(crate) jitter_ms: f64,
    pub(crate) loss: f64,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped_loss: u64,
    pub(crate) dropped_queue: u64,
    pub(crate) dropped_partition: u64,
    pub(crate) reordered: u64,
    /// Due, but not taken by the host's device.
    pub(crate) undelivered: u64,
    /// From the sending host's device to the receiving one's, as it was.
    pub(crate) delay_p50_ms: Option<f64>,
    pub(crate) delay_p99_ms: Option<f64>,
}

impl LinkStats {
    pub(super) fn new(from: &str, to: &str, link: &Link, counts: &Counts) -> Self {
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        let percentile = |percent| {
            let delays = counts.delays.as_ref()?;
            delays.percentile(percent).map(ms)
        };
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            partitioned: link.cut,
            delay_ms: ms(link.settings.delay),
            jitter_ms: ms(link.settings.jitter),
            loss: link.settings.loss,
            sent: counts.sent,
            delivered: counts.delivered,
            bytes: counts.bytes,
            dropped_loss: counts.dropped_loss,
            dropped_queue: counts.dropped_queue,
            dropped_partition: counts.dropped_partition,
            reordered: counts.held_back,
            undelivered: counts.undelivered,
            delay_p50_ms: percentile(50.0),
            delay_p99_ms: percentile(99.0),
        }
    }
}

/// A host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HostStats {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    /// Packets that it sent faster than they were read from its device.
    pub(crate) dropped: u64,
}

/// The whole network's.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub(crate) uptime_ms: u64,
    /// Processor time of the process that forwards.
    pub(crate) cpu_ms: u64,
    /// Packets to an address that no host has.
    pub(crate) unroutable: u64,
    pub(crate) hosts: Vec<HostStats>,
    pub(crate) links: Vec<LinkStats>,
}

impl Stats {
    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "up {:.1} s, {:.1} s of a processor, {} unroutable\n",
            self.uptime_ms as f64 / 1_000.0,
            self.cpu_ms as f64 / 1_000.0,
            self.unroutable
        );
        for HostStats { name, dropped, .. } in &self.hosts {
            if *dropped > 0 {
                let _infallible = writeln!(text, "{name}: {dropped} dropped by its full device");
            }
        }
        let _infallible = writeln!(
            text,
            "{:<27} {:>9} {:>9} {:>11} {:>7} {:>7} {:>9} {:>9} {:>8} {:>8}",
            "link",
            "sent",
            "delivered",
            "bytes",
            "loss",
            "queue",
            "partition",
            "reordered",
            "p50 ms",
            "p99 ms"
        );
        for link in self
            .links
            .iter()
            .filter(|link| link.partitioned || link.sent > 0)
        {
            let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
            let cut = if link.partitioned { " (cut)" } else { "" };
            let _infallible = writeln!(
                text,
                "{:<27} {:>9} {:>9} {:>11} {:>7} {:>7} {:>9} {:>9} {:>8} {:>8}",
                format!("{} -> {}{cut}", link.from, link.to),
                link.sent,
                link.delivered,
                link.bytes,
                link.dropped_loss,
                link.dropped_queue,
                link.dropped_partition,
                link.reordered,
                ms(link.delay_p50_ms),
                ms(link.delay_p99_ms)
            );
        }
        text
    }
}
