//! Words to users: heard from every region, told to the PoPs here that hold the user, and answered when they are.

use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::backhaul::ToPop;
use chorus_protocol::presence::{UserCall, UserTold};
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::GatewayShared;
use crate::log::{Call, LogError};

/// Words that are told at once; one more is not answered (metric `user_words_failed`).
const WORDS_MAX: usize = 1_024;
/// How long a PoP has to take a word.
const TELL: Duration = Duration::from_secs(1);

/// Serves them for ever.
pub(super) async fn serve(shared: Arc<GatewayShared>) {
    if let Err(error) = hear(&shared).await {
        tracing::warn!(%error, "words to users are not heard");
    }
}

async fn hear(shared: &Arc<GatewayShared>) -> Result<(), LogError> {
    let mut calls = shared.log.hear_users().await?;
    let room = Arc::new(Semaphore::new(WORDS_MAX));
    while let Some(call) = calls.next().await {
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            shared.metrics.user_words_failed.inc();
            continue;
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            answer(&shared, call).await;
            drop(permit);
        });
    }
    Ok(())
}

/// Whoever is not answered knows that a user may not have heard.
async fn answer(shared: &GatewayShared, call: Call) {
    let Some(connections) = tell(shared, &call.body).await else {
        shared.metrics.user_words_failed.inc();
        return;
    };
    shared.metrics.user_words.inc();
    let told = UserTold {
        gateway: shared.here.name(),
        connections,
    };
    // A name and a number into memory cannot fail.
    call.answer(rmp_serde::to_vec_named(&told).unwrap_or_default())
        .await;
}

/// Tells the PoPs that hold the user; how many connections those have. `None`: it cannot be read, or one did not take it.
async fn tell(shared: &GatewayShared, body: &[u8]) -> Option<u64> {
    let UserCall { user, word } = rmp_serde::from_slice(body).ok()?;
    let holding = shared.here.holding(&user);
    let message = ToPop::User { user, word };
    let told = holding.iter().map(async |(pop, connections)| {
        match timeout(TELL, pop.tell(&message)).await {
            Ok(Ok(())) => Some(u64::from(*connections)),
            // It is going: its viewers come back elsewhere.
            Ok(Err(_)) => Some(0),
            Err(_) => None,
        }
    });
    join_all(told).await.into_iter().sum()
}
