//! The control socket of a run: a line of JSON each way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as Caller;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::device::Device;
use super::ends::Ends;
use super::forward::Shared;
use super::link::Change;
use super::namespaces;
use super::stats::{HostStats, Stats};

/// Of a request.
const LINE_BYTES_MAX: u64 = 65_536;
/// For a request to come and its answer to be taken.
const TURN: Duration = Duration::from_secs(5);

/// What is asked of a run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Change links.
    Set { ends: Ends, change: Change },
    /// Cut links.
    Partition { ends: Ends },
    /// Heal links, or all.
    Heal { ends: Option<Ends> },
    /// Count.
    Stats,
}

/// What a run answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// So many links were changed, each direction counted.
    Changed(usize),
    Stats(Stats),
    /// Nothing was changed.
    Refused(String),
}

/// Asks the run of that name.
///
/// # Errors
/// When it does not run, or refuses.
pub(crate) fn ask(run: &str, request: &Request) -> Result<Answer> {
    let mut caller = Caller::connect(namespaces::socket(run))
        .with_context(|| format!("no network named {run} is running"))?;
    caller.set_read_timeout(Some(TURN))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    caller.write_all(line.as_bytes())?;
    let mut answer = String::new();
    caller.read_to_string(&mut answer).context("no answer")?;
    match serde_json::from_str(&answer).context("an answer that is none")? {
        Answer::Refused(why) => bail!("{why}"),
        answer @ (Answer::Changed(_) | Answer::Stats(_)) => Ok(answer),
    }
}

/// Answers one caller after the other, for ever.
pub(crate) async fn serve(listener: UnixListener, shared: &Shared, devices: &[Device]) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // A caller that is gone or too slow gets no answer.
        let _gone = tokio::time::timeout(TURN, turn(stream, shared, devices)).await;
    }
}

async fn turn(stream: UnixStream, shared: &Shared, devices: &[Device]) -> Result<()> {
    let mut stream = tokio::io::BufReader::new(stream);
    let mut line = String::new();
    (&mut stream)
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(&request, shared, devices),
        Err(error) => Answer::Refused(format!("a request that is none: {error}")),
    };
    let text = serde_json::to_string(&answer)?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

fn answer(request: &Request, shared: &Shared, devices: &[Device]) -> Answer {
    let mut network = shared.network();
    let ends = match request {
        Request::Set { ends, .. } | Request::Partition { ends } => Some(ends),
        Request::Heal { ends } => ends.as_ref(),
        Request::Stats => None,
    };
    if let Some(unknown) = ends.and_then(|ends| ends.unknown(network.hosts())) {
        let names: Vec<&str> = network
            .hosts()
            .iter()
            .map(|host| host.name.as_str())
            .collect();
        return Answer::Refused(format!(
            "{unknown} is no host or region here; the hosts are {}",
            names.join(", ")
        ));
    }
    let changed = match request {
        Request::Set { ends, change } => network.change(ends, change),
        Request::Partition { ends } => network.cut(Some(ends), true),
        Request::Heal { ends } => network.cut(ends.as_ref(), false),
        Request::Stats => {
            let cpu = clock_gettime(ClockId::ProcessCPUTime);
            let hosts = network.hosts().iter().zip(devices);
            let hosts = hosts.map(|(host, device)| HostStats {
                name: host.name.clone(),
                address: host.address,
                dropped: device.dropped().unwrap_or(0),
            });
            return Answer::Stats(Stats {
                uptime_ms: shared.start.elapsed().as_millis() as u64,
                cpu_ms: (cpu.tv_sec * 1_000 + cpu.tv_nsec / 1_000_000) as u64,
                unroutable: network.unroutable(),
                hosts: hosts.collect(),
                links: network.stats(),
            });
        }
    };
    if changed == 0 {
        return Answer::Refused("no link is meant: both ends are the same host".to_owned());
    }
    Answer::Changed(changed)
}
