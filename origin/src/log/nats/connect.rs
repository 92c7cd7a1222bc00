//! The connection: made once, mended for ever.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, Event, jetstream};
use chorus_protocol::Region;
use tokio::sync::watch;

use super::live::Followed;
use super::{Inner, Nats, publish, replies};
use crate::config;
use crate::log::{Link, LogError, Registry};
use crate::metrics::Metrics;

/// Commands waiting for the connection's task; at the bound publishers wait.
const COMMANDS_MAX: usize = 8_192;
/// Messages waiting for a subscriber; beyond it they are dropped, counted, seen as a gap and repaired.
const SUBSCRIPTION_MESSAGES_MAX: usize = 65_536;
/// The longest pause between two tries to connect.
const RECONNECT_MS_MAX: u64 = 1_000;

/// How often the server is asked whether it is there. The third answer that does not come ends the connection, and another
/// server is connected to: with other regions posts need not wait for a frozen one.
fn ping(config: &config::Nats) -> Duration {
    Duration::from_millis(if config.peers.is_empty() { 5_000 } else { 400 })
}

impl Nats {
    /// Connects, or goes on trying in the background when no server answers.
    ///
    /// # Errors
    /// When the address or the credentials cannot be read.
    pub async fn connect(
        config: config::Nats,
        region: Region,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LogError> {
        let (tell, link) = watch::channel(Link::default());
        let counted = Arc::clone(&metrics);
        let mut options = ConnectOptions::new()
            .name("chorus-origin")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(Duration::from_secs(2))
            .ping_interval(ping(&config))
            .client_capacity(COMMANDS_MAX)
            .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
            .request_timeout(Some(Duration::from_secs(5)))
            .reconnect_delay_callback(|attempts| {
                let ms = 20_u64.saturating_mul(1 << attempts.min(10));
                Duration::from_millis(ms.min(RECONNECT_MS_MAX))
            })
            .event_callback(move |event| {
                note(&event, &tell, &counted);
                std::future::ready(())
            });
        if let Some(path) = &config.credentials {
            options = options
                .credentials_file(path)
                .await
                .map_err(LogError::refused)?;
        }
        if let Some(ca) = &config.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&config.cert, &config.key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        if let Some(inbox) = &config.inbox {
            options = options.custom_inbox_prefix(inbox);
        }
        let addresses: Vec<async_nats::ServerAddr> = config
            .url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(LogError::refused)?;
        // The client library does not read what a URL says of the user by itself.
        if let Some((user, password)) = addresses.iter().find_map(|address| {
            let user = address.username()?;
            Some((user.to_owned(), address.password().unwrap_or("").to_owned()))
        }) {
            options = options.user_and_password(user, password);
        }
        let client = options.connect(addresses).await.map_err(LogError::away)?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(Duration::from_secs(5));
        let replies = replies::Replies::start(&client).await?;
        let publisher =
            publish::Publisher::start(&client, link.clone(), &region, &config, &metrics).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                context,
                registry: Registry::new(
                    region,
                    config.peers.clone(),
                    config.partitions,
                    config.workers,
                    Arc::clone(&metrics),
                ),
                config,
                link,
                replies,
                publisher,
                followed: Followed::default(),
                metrics,
            }),
        })
    }
}

fn note(event: &Event, tell: &watch::Sender<Link>, metrics: &Metrics) {
    match event {
        Event::Connected => {
            tracing::info!("connected to NATS");
            metrics.nats_connected.set(1);
            tell.send_modify(|link| {
                link.connected = true;
                link.generation += 1;
            });
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!("disconnected from NATS");
            metrics.nats_connected.set(0);
            tell.send_modify(|link| link.connected = false);
        }
        Event::SlowConsumer(_) => {
            metrics.nats_slow_subscriptions.inc();
        }
        Event::ServerError(error) => tracing::warn!(%error, "NATS reports an error"),
        // Also every failed try to connect: who waits for it says so once.
        Event::ClientError(error) => tracing::debug!(%error, "the NATS client reports an error"),
        Event::LameDuckMode | Event::Draining => tracing::info!(%event, "NATS server goes away"),
    }
}
