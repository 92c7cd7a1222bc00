//! `chorus wan probe`: what each link does, measured by datagrams from every host to every other.
//!
//! Sender and receiver are one process with one clock, so each direction is measured by itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chorus_telemetry::say;
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::matrix::Matrix;
use super::stats::{HostStats, LinkStats, Stats};
use super::{Named, device, namespaces};

/// Without an arrival for this long, beyond what the slowest link may take, the rest is lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// From which host, which probe, and when it was sent in ns since the start.
const PROBE_BYTES: usize = 2 + 4 + 8;

/// Options of `chorus wan probe`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    named: Named,
    /// Datagrams over each link.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// From one to the next, in ms.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    every_ms: u64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A link as it was asked for and as it was.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) from: String,
    pub(crate) to: String,
    asked_ms: f64,
    min_ms: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    max_ms: Option<f64>,
    sent: u32,
    lost: u32,
    /// Arrived behind one that was sent later.
    overtaken: u32,
}

struct Arrival {
    to: usize,
    from: usize,
    number: u32,
    took: Duration,
}

/// Measures and prints.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let name = args.named.find()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let every = Duration::from_millis(args.every_ms);
    let measured = runtime.block_on(all(&name, args.count, every))?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&measured)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut matrix = Matrix::default();
    for link in &measured {
        matrix.put(&link.from, &link.to, link.p50_ms);
    }
    for link in &measured {
        say!("{}", line(link));
    }
    say!("\n{}", matrix.table("p50 one way, ms"));
    Ok(ExitCode::SUCCESS)
}

/// Sends `count` datagrams over every link of a network, one each `every`.
///
/// # Errors
/// When the network does not run.
pub(crate) async fn all(run: &str, count: u32, every: Duration) -> Result<Vec<Measured>> {
    let stats = super::stats(run)?;
    let arrivals = probe(count, every, run, &stats).await?;
    let mut by_link: BTreeMap<(&str, &str), Vec<&Arrival>> = BTreeMap::new();
    for arrival in &arrivals {
        let [from, to] = [arrival.from, arrival.to].map(|host| stats.hosts.get(host));
        if let (Some(from), Some(to)) = (from, to) {
            let link = by_link.entry((&from.name, &to.name)).or_default();
            link.push(arrival);
        }
    }
    let measured = stats.links.iter().map(|link| {
        let arrivals = by_link.remove(&(link.from.as_str(), link.to.as_str()));
        measure(link, count, &arrivals.unwrap_or_default())
    });
    Ok(measured.collect())
}

async fn probe(count: u32, every: Duration, run: &str, stats: &Stats) -> Result<Vec<Arrival>> {
    let start = Instant::now();
    let (tell, mut arrived) = mpsc::unbounded_channel();
    let mut sockets = Vec::new();
    for (to, host) in stats.hosts.iter().enumerate() {
        let socket = std::sync::Arc::new(socket(run, host)?);
        let (receiver, tell) = (std::sync::Arc::clone(&socket), tell.clone());
        tokio::spawn(async move {
            let mut bytes = [0; PROBE_BYTES];
            while let Ok(length) = receiver.recv(&mut bytes).await {
                let took = |sent_at| start.elapsed().saturating_sub(sent_at);
                if length == PROBE_BYTES {
                    let (from, number, sent_at) = decode(bytes);
                    let took = took(sent_at);
                    let _ended = tell.send(Arrival {
                        to,
                        from,
                        number,
                        took,
                    });
                }
            }
        });
        let port = socket
            .local_addr()
            .context("a socket without a port")?
            .port();
        sockets.push((socket, SocketAddrV4::new(host.address, port)));
    }
    let mut expected = 0;
    let mut every = tokio::time::interval(every);
    for number in 0..count {
        every.tick().await;
        for (from, (socket, _)) in sockets.iter().enumerate() {
            for (to, (_, address)) in sockets.iter().enumerate() {
                if from != to {
                    let probe = encode(from, number, start.elapsed());
                    // One that cannot be sent is as lost as any.
                    let _lost = socket.send_to(&probe, address).await;
                    expected += 1;
                }
            }
        }
    }
    let slowest = stats
        .links
        .iter()
        .map(|link| link.delay_ms + link.jitter_ms);
    let slowest = Duration::from_secs_f64(slowest.fold(0.0, f64::max) / 1_000.0);
    let mut arrivals = Vec::new();
    while arrivals.len() < expected {
        match tokio::time::timeout(slowest + PATIENCE, arrived.recv()).await {
            Ok(Some(arrival)) => arrivals.push(arrival),
            Ok(None) | Err(_) => break,
        }
    }
    Ok(arrivals)
}

/// A socket of a host, made by a thread that never leaves its namespace.
fn socket(run: &str, host: &HostStats) -> Result<UdpSocket> {
    let path = namespaces::find(run, &host.name)?;
    let open = || {
        device::enter(&path)?;
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
            .with_context(|| format!("cannot open a socket in {}", host.name))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let socket = std::thread::scope(|scope| scope.spawn(open).join())
        .unwrap_or_else(|_| anyhow::bail!("the thread that opens a socket panicked"))?;
    UdpSocket::from_std(socket).context("cannot use a socket")
}

fn encode(from: usize, number: u32, sent_at: Duration) -> [u8; PROBE_BYTES] {
    let mut bytes = [0; PROBE_BYTES];
    // A file has fewer hosts than 65,536, and a probe takes less than 500 years.
    bytes[..2].copy_from_slice(&(from as u16).to_be_bytes());
    bytes[2..6].copy_from_slice(&number.to_be_bytes());
    bytes[6..].copy_from_slice(&(sent_at.as_nanos() as u64).to_be_bytes());
    bytes
}

fn decode(bytes: [u8; PROBE_BYTES]) -> (usize, u32, Duration) {
    let [a, b, c, d, e, f, nanos @ ..] = bytes;
    let sent_at = Duration::from_nanos(u64::from_be_bytes(nanos));
    let from = usize::from(u16::from_be_bytes([a, b]));
    (from, u32::from_be_bytes([c, d, e, f]), sent_at)
}

/// `arrivals` are in the order they came.
fn measure(link: &LinkStats, sent: u32, arrivals: &[&Arrival]) -> Measured {
    let mut took = Vec::new();
    let (mut newest, mut overtaken) = (0, 0);
    for arrival in arrivals {
        overtaken += u32::from(arrival.number < newest);
        newest = newest.max(arrival.number);
        took.push(arrival.took.as_secs_f64() * 1_000.0);
    }
    took.sort_by(f64::total_cmp);
    Measured {
        from: link.from.clone(),
        to: link.to.clone(),
        asked_ms: link.delay_ms,
        min_ms: took.first().copied(),
        p50_ms: took.get(took.len() / 2).copied(),
        max_ms: took.last().copied(),
        sent,
        lost: sent.saturating_sub(took.len() as u32),
        overtaken,
    }
}

fn line(link: &Measured) -> String {
    let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    format!(
        "{:<27} asked {:>7.2} ms   min {:>7}   p50 {:>7}   max {:>7}   {} of {} lost   {} overtaken",
        format!("{} -> {}", link.from, link.to),
        link.asked_ms,
        ms(link.min_ms),
        ms(link.p50_ms),
        ms(link.max_ms),
        link.lost,
        link.sent,
        link.overtaken,
    )
}
