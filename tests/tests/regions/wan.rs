//! A supercluster over `chorus wan`.

use std::fs;
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::ConnectOptions;
use chorus_tests::wan::{Wan, missing};
use chorus_tests::{SOON, house};
use futures_util::StreamExt as _;

use crate::supercluster::{REGIONS, operator, place, render, small};

/// Three hosts, one of each region: 40 ms between the first two.
const WAN: &str = r#"
[default]
delay_ms = 60
[hosts.eu-central]
address = "10.78.0.1"
[hosts.us-east]
address = "10.78.0.2"
[hosts.ap-southeast]
address = "10.78.0.3"
[[links]]
between = ["eu-central", "us-east"]
delay_ms = 40
"#;
const ONE_WAY: Duration = Duration::from_millis(40);

/// What a region hears of `test.wan`: the number and when it came.
fn hear(
    wan: &Wan,
    options: ConnectOptions,
    region: usize,
) -> Result<mpsc::Receiver<(u64, Instant)>> {
    let (tell, heard) = mpsc::channel();
    let url = format!("tls://10.78.0.{}:4222", region + 1);
    wan.spawn(REGIONS[region], move || {
        alone(async {
            let client = options.retry_on_initial_connect().connect(url).await?;
            let mut messages = client.subscribe("test.wan").await?;
            while let Some(message) = messages.next().await {
                let number = std::str::from_utf8(&message.payload)?.parse()?;
                let _ended = tell.send((number, Instant::now()));
            }
            Ok(())
        })
    })?;
    Ok(heard)
}

/// Runs on this thread alone, whose sockets are its namespace's.
fn alone<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(work)
}

#[test]
fn over_the_wan_a_message_takes_one_trip_and_a_region_cut_off_comes_back() -> Result<()> {
    if let Some(why) = missing() {
        eprintln!("skipped: {why}");
        return Ok(());
    }
    let wan = Wan::start("regions", WAN)?;
    let (out, _) = place()?;
    render(&small("10.78.0.")?, &out)?;
    let mut servers = Vec::new();
    for region in REGIONS {
        let conf = out.join(format!("{region}-1/nats.conf"));
        let log = fs::File::create(out.join(format!("{region}-1/log")))?;
        let child = house::supervised(&house::binary("chorus")?)?
            .args([
                "wan",
                "exec",
                "--name",
                &wan.name,
                region,
                "--",
                "nats-server",
                "-c",
            ])
            .arg(conf)
            .stderr(log)
            .spawn()?;
        servers.push(Ended(child));
    }
    let [us, ap] = [1, 2].map(|region| hear(&wan, operator(&out, REGIONS[region]), region));
    let (us, ap) = (us?, ap?);
    let mut eu = Publisher::start(&wan, operator(&out, REGIONS[0]))?;
    eu.reach(&us)?;
    eu.reach(&ap)?;
    while us.recv_timeout(2 * ONE_WAY).is_ok() {}

    let mut trips = Vec::new();
    for _ in 0..20 {
        let (number, at) = eu.publish()?;
        let (came, when) = us.recv_timeout(SOON)?;
        assert_eq!(came, number);
        trips.push(when.duration_since(at));
    }
    trips.sort();
    assert!(trips[0] >= ONE_WAY, "faster than the network: {trips:?}");
    eprintln!(
        "from eu-central to us-east, {ONE_WAY:?} apart: {:?} at the median",
        trips[10]
    );

    wan.does(&["partition", "us-east"])?;
    while ap.try_recv().is_ok() {}
    let (number, _) = eu.publish()?;
    while ap.recv_timeout(SOON)?.0 != number {}
    assert!(us.recv_timeout(4 * ONE_WAY).is_err(), "cut, and it came");
    wan.does(&["heal"])?;
    eu.reach(&us)?;
    drop(servers);
    fs::remove_dir_all(out)?;
    Ok(())
}

/// Publishes numbers to `test.wan` in eu-central.
struct Publisher {
    next: u64,
    ask: tokio::sync::mpsc::UnboundedSender<u64>,
    published: mpsc::Receiver<Instant>,
}

impl Publisher {
    fn start(wan: &Wan, options: ConnectOptions) -> Result<Self> {
        let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel::<u64>();
        let (tell, published) = mpsc::channel();
        wan.spawn(REGIONS[0], move || {
            alone(async {
                let url = "tls://10.78.0.1:4222";
                let client = options.retry_on_initial_connect().connect(url).await?;
                while let Some(number) = asked.recv().await {
                    let at = Instant::now();
                    client
                        .publish("test.wan", number.to_string().into())
                        .await?;
                    let _ended = tell.send(at);
                }
                Ok(())
            })
        })?;
        Ok(Self {
            next: 0,
            ask,
            published,
        })
    }

    /// The next number and when it was published.
    fn publish(&mut self) -> Result<(u64, Instant)> {
        self.next += 1;
        self.ask.send(self.next)?;
        Ok((self.next, self.published.recv_timeout(SOON)?))
    }

    /// Publishes until one comes: the gateways stand, or stand again.
    fn reach(&mut self, heard: &mpsc::Receiver<(u64, Instant)>) -> Result<()> {
        let deadline = Instant::now() + 2 * SOON;
        loop {
            let (number, _) = self.publish()?;
            while let Ok((came, _)) = heard.recv_timeout(Duration::from_millis(500)) {
                if came == number {
                    return Ok(());
                }
            }
            ensure!(Instant::now() < deadline, "nothing comes");
        }
    }
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}
