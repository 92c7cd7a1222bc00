//! Waits until a program is ready.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_client::Rest;
use tokio::time::Instant;

use super::child::Child;

const POLL: Duration = Duration::from_millis(25);

/// Waits until the program is ready. If it ends or takes too long, the error has the end of its log.
pub(crate) async fn wait(child: &mut Child) -> Result<()> {
    let rest = Rest::new(&child.part.ready_url).context("no address to ask")?;
    let deadline = Instant::now() + child.part.ready_max;
    let mut last = String::from("it did not answer");
    loop {
        if let Some(how) = child.ended() {
            bail!(
                "{} ended at its start ({how})\n{}",
                child.part.name,
                child.log_tail()
            );
        }
        let call = tokio::time::timeout_at(deadline, rest.get(child.part.ready_target)).await;
        match call {
            Ok(Ok(response)) if response.status == 200 => return Ok(()),
            Ok(Ok(response)) => {
                last = format!("it says {}: {}", response.status, response.text().trim())
            }
            // The program does not listen yet.
            Ok(Err(_)) => {}
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            bail!(
                "{} is not ready after {} s ({last})\n{}",
                child.part.name,
                child.part.ready_max.as_secs(),
                child.log_tail()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}
