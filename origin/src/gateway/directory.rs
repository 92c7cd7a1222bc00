//! Which streams there are: the control log's last words, remembered for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chorus_protocol::StreamId;
use chorus_protocol::stream::StreamInfo;

use crate::log::{Log, LogError};

/// A known stream is looked up again after this long; changes come live before.
const KNOWN: Duration = Duration::from_secs(30);
/// A stream that is not there is looked up again after this long: it may be created any moment.
const UNKNOWN: Duration = Duration::from_millis(250);
/// Streams remembered; at the bound all are forgotten and looked up again.
const REMEMBERED_MAX: usize = 50_000;

type Found = Option<Arc<StreamInfo>>;

#[derive(Clone)]
pub(super) struct Directory {
    log: Log,
    known: Arc<Mutex<HashMap<StreamId, (Found, Instant)>>>,
}

impl Directory {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            known: Arc::default(),
        }
    }

    /// The stream, or `None` when there is none.
    pub(super) async fn find(&self, stream: &StreamId) -> Result<Found, LogError> {
        let (remembered, lasts) = self.remembered(stream);
        if lasts {
            return Ok(remembered);
        }
        match self.log.life(stream).await {
            Ok(life) => {
                let found = life.map(|life| Arc::new(life.info));
                self.remember(stream.clone(), found.clone());
                Ok(found)
            }
            // While the log is away the last word stands.
            Err(error) => match remembered {
                Some(info) => Ok(Some(info)),
                None => Err(error),
            },
        }
    }

    /// The last word on a stream, and whether it still counts.
    fn remembered(&self, stream: &StreamId) -> (Found, bool) {
        match self.lock().get(stream) {
            Some((found, at)) => {
                let lasts = if found.is_some() { KNOWN } else { UNKNOWN };
                (found.clone(), at.elapsed() < lasts)
            }
            None => (None, false),
        }
    }

    /// Keeps up with streams' lives.
    pub(super) async fn follow(&self) -> Result<(), LogError> {
        let mut lives = self.log.follow_lives().await?;
        while let Some(life) = lives.next().await {
            self.remember(life.info.stream_id.clone(), Some(Arc::new(life.info)));
        }
        Ok(())
    }

    fn remember(&self, stream: StreamId, found: Found) {
        let mut known = self.lock();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(stream, (found, Instant::now()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, (Found, Instant)>> {
        self.known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
