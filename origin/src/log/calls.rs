//! REST calls between the roles: a gateway asks, one `api` of the region answers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Answer, Feed, Regional};

/// The longest wait for an answer.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries an answer back.
pub type Reply = Box<dyn FnOnce(Vec<u8>) -> BoxFuture<'static, ()> + Send>;

/// A call to answer.
pub struct Call {
    /// What the caller sent.
    pub body: Bytes,
    pub(super) reply: Reply,
}

/// The calls that come to this process.
pub type Calls = Feed<Call>;

impl Call {
    /// Answers it.
    pub async fn answer(self, body: Vec<u8>) {
        (self.reply)(body).await;
    }
}

/// Calls between the roles of a region.
pub trait Calling: Regional {
    /// Sends a call to one `api` of this region and waits for its answer. Fails when none is there or none answers in
    /// time.
    fn call_api(&self, body: Vec<u8>) -> Answer<'_, Bytes>;
    /// Takes this process's share of the region's calls. Fails when the connection is closed for good.
    fn answer_api(&self) -> Answer<'_, Calls>;
    /// The largest answer that can be carried.
    fn answer_bytes_max(&self) -> usize;
}
