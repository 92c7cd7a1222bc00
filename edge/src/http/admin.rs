//! The operator's listener: health, readiness and metrics, with places of their own, so that no number of viewers
//! keeps a probe or a scrape waiting.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::metrics::HttpMetrics;
use super::places::Places;
use super::server::{Shared, peer};

/// Connections at once, from whatever addresses; one more takes the place of the one that waits the longest.
const CONNECTIONS_MAX: usize = 64;
/// Before the next try to accept when there are no descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Answers until it is aborted.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    ending: watch::Receiver<bool>,
) {
    // Its connections are not among the viewers' in the metrics.
    let uncounted = Arc::<HttpMetrics>::default();
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_MAX, uncounted);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                if let Some(place) = places.take(peer(&socket)) {
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
