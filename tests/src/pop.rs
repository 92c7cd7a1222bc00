//! One more PoP beside that of a `chorus dev`, at the same gateway.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chorus_client::{Endpoint, Options, Rest, Viewer};

use crate::dev::Dev;
use crate::{SOON, house};

/// Until it is ready: the component is compiled already.
const START_MAX: Duration = Duration::from_secs(60);

/// A running `chorus-edge`; dropping it kills it.
pub struct Pop {
    child: Child,
    listen: SocketAddr,
}

impl Pop {
    /// Starts one in the configuration of `dev`'s own and waits until it takes viewers.
    ///
    /// # Errors
    /// When it does not come up; the error has what it logged.
    pub async fn start(dev: &Dev, name: &str, shards: u8) -> Result<Self> {
        // Free a moment ago.
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let data = dev.data();
        let mut config: toml::Table = toml::from_str(&fs::read_to_string(data.join("edge.toml"))?)?;
        let state = data.join(format!("edge-{name}"));
        for (key, value) in [
            ("listen", listen.to_string().into()),
            ("pop", name.into()),
            ("shards", i64::from(shards).into()),
            ("state_dir", state.display().to_string().into()),
        ] {
            let _before: Option<toml::Value> = config.insert(key.to_owned(), value);
        }
        let path = data.join(format!("edge-{name}.toml"));
        fs::write(&path, toml::to_string(&config)?)?;
        let log = data.join(format!("edge-{name}.log"));
        let child = Command::new(house::binary("chorus-edge")?)
            .arg("--config")
            .arg(&path)
            .arg("--exit-with-parent")
            .current_dir(house::root()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot start chorus-edge")?;
        let mut pop = Self { child, listen };
        let deadline = Instant::now() + START_MAX;
        while !pop.ready().await {
            if pop.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{name} is not up\n{}", fs::read_to_string(&log)?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(pop)
    }

    async fn ready(&self) -> bool {
        let Ok(rest) = Rest::new(&self.url()) else {
            return false;
        };
        let answer = rest.get("/readyz").await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// `http://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// A viewer here who has joined `demo`.
    ///
    /// # Errors
    /// When the join is not answered.
    pub async fn viewer(&self, dev: &Dev, options: &Options) -> Result<Viewer> {
        let endpoint = Endpoint::parse(&self.url())?;
        let mut viewer = Viewer::connect(&endpoint, &dev.demo()?, options).await?;
        viewer.join_and_wait(None, SOON).await?;
        Ok(viewer)
    }
}

impl Drop for Pop {
    fn drop(&mut self) {
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}
