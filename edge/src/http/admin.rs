//! The operator's listener: health, readiness and metrics. It has its own places, so that viewers never delay a probe or a
//! scrape.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::metrics::HttpMetrics;
use super::places::Places;
use super::server::{Shared, peer};

/// Connections at once, from all addresses; a further one takes the place of the one that has waited longest.
const CONNECTIONS_MAX: usize = 64;
/// Pause after a failed accept, for example when there are no descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Accepts and serves connections until the task is aborted.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    ending: watch::Receiver<bool>,
) {
    // These connections are not counted in the HTTP server's metrics.
    let uncounted = Arc::<HttpMetrics>::default();
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_MAX, uncounted);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                if let Some(place) = places.admit(peer(&socket)) {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(shared.administer(socket, place, ending.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed for the operator's listener");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
