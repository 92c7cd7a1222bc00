//! A viewer that only watches and counts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chorus_client::protocol::server::ServerMessage;
use chorus_client::protocol::{Comment, StreamId};
use chorus_client::{Client, Close, Endpoint, Event, Options};
use tokio::sync::{Semaphore, watch};

use super::tally::Tally;

/// Watches until told to stop or until the connection ends.
pub(crate) async fn watch(
    endpoint: Endpoint,
    stream: StreamId,
    options: Options,
    opening: Arc<Semaphore>,
    tally: Arc<Tally>,
    mut stopped: watch::Receiver<bool>,
) {
    let opened = {
        let _permit = opening.acquire().await;
        open(&endpoint, &stream, &options).await
    };
    let mut client = match opened {
        Ok(client) => client,
        Err(why) => {
            tally.failed(why);
            tally.broken.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    tally.watching.fetch_add(1, Ordering::Relaxed);
    let mut seen = HashSet::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|&stopped| stopped) => break,
            event = client.next() => match event {
                Event::Message(message) => {
                    if let ServerMessage::CommentsBatch { comments, .. } = *message {
                        count(&tally, &mut seen, &comments);
                    }
                }
                Event::Unreadable(why) => tally.failed(why),
                Event::Closed(close) => {
                    tally.failed(format!("a viewer's connection ended: {close:?}"));
                    tally.lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
    client.close().await;
}

/// Connects, joins and waits for the answer.
async fn open(endpoint: &Endpoint, stream: &StreamId, options: &Options) -> Result<Client, String> {
    let mut client = Client::connect_to(endpoint, options)
        .await
        .map_err(|error| error.to_string())?;
    client
        .join(stream, None)
        .await
        .map_err(|error| error.to_string())?;
    loop {
        match client.next().await {
            Event::Message(message) => {
                if let ServerMessage::Error(refusal) = *message {
                    return Err(format!("{}: {}", refusal.code, refusal.message));
                } else if matches!(*message, ServerMessage::Joined(_)) {
                    return Ok(client);
                }
            }
            Event::Unreadable(why) => return Err(why),
            Event::Closed(Close::Frame { code, reason }) => {
                return Err(format!("closed with {code} {reason}"));
            }
            Event::Closed(Close::Broken(why)) => return Err(why),
        }
    }
}

fn count(tally: &Tally, seen: &mut HashSet<u64>, comments: &[Comment]) {
    for comment in comments {
        let Some(number) = tally.number(&comment.content) else {
            continue;
        };
        if !seen.insert(number) {
            tally.repeats.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if let Some(took) = tally.since_post(number) {
            tally.to_viewer.record(took);
        }
        tally.seen.fetch_add(1, Ordering::Relaxed);
    }
}
