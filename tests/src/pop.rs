//! A second PoP at the gateway of `chorus dev`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chorus_client::protocol::StreamId;
use chorus_client::{Endpoint, Options, Rest, Viewer};

use crate::dev::Dev;
use crate::{SOON, house};

/// Time until the PoP listens; the component is compiled already.
const START_MAX: Duration = Duration::from_secs(60);

/// A running `chorus-edge`; dropping it ends it.
pub struct Pop {
    child: Child,
    url: String,
}

impl Pop {
    /// Starts a PoP with the configuration of the one in `chorus dev`, but another address and name.
    ///
    /// # Errors
    /// When it does not start; the error has its log.
    pub async fn start(dev: &Dev, name: &str, shards: u8) -> Result<Self> {
        let log = dev.data().join(format!("logs/{name}.log"));
        let child = Command::new(house::binary("chorus-edge")?)
            .arg("--config")
            .arg(dev.data().join("edge.toml"))
            .args(["--listen", "127.0.0.1:0", "--pop", name])
            .args(["--shards", &shards.to_string()])
            .arg("--exit-with-parent")
            .env("RUST_LOG", "info")
            .current_dir(house::root()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).context("no log")?)
            .spawn()
            .context("cannot start chorus-edge")?;
        let mut pop = Self {
            child,
            url: String::new(),
        };
        pop.url = format!("http://{}", pop.listening(&log).await?);
        let rest = Rest::new(&pop.url)?;
        crate::eventually("the other PoP is ready", SOON, async || {
            let ready = rest.get("/readyz").await.ok()?;
            (ready.status == 200).then_some(())
        })
        .await?;
        Ok(pop)
    }

    async fn listening(&mut self, log: &Path) -> Result<String> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let said = fs::read_to_string(log).unwrap_or_default();
            let told = said.lines().find(|line| line.contains("listening"));
            if let Some((_, rest)) = told.and_then(|line| line.split_once("address=")) {
                let address = rest.split_whitespace().next();
                return Ok(address.context("no address")?.to_owned());
            }
            let ended = self.child.try_wait().context("cannot wait for it")?;
            if ended.is_some() || Instant::now() > deadline {
                bail!("the other PoP does not come up\n{said}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `http://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects a viewer to this PoP and joins a stream.
    ///
    /// # Errors
    /// When the join is not answered.
    pub async fn viewer(&self, stream: &StreamId, options: &Options) -> Result<Viewer> {
        let endpoint = Endpoint::parse(&self.url)?;
        let mut viewer = Viewer::connect(&endpoint, stream, options).await?;
        viewer.join_and_wait(None, SOON).await?;
        Ok(viewer)
    }
}

impl Drop for Pop {
    fn drop(&mut self) {
        // A PoP has no data to be saved.
        let _gone = self
            .child
            .kill()
            .and_then(|()| self.child.wait().map(|_| ()));
    }
}
