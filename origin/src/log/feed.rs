//! What comes by itself and is waited for.

use std::future::poll_fn;
use std::task::{Context, Poll};

use futures_util::stream::{BoxStream, Stream, StreamExt as _};

/// A subscription. Its end means that the connection is closed for good.
pub struct Feed<T>(BoxStream<'static, T>);

impl<T> Feed<T> {
    /// Of a stream.
    pub fn new(stream: impl Stream<Item = T> + Send + 'static) -> Self {
        Self(stream.boxed())
    }

    /// Waits for one. `None`: closed for good.
    pub async fn next(&mut self) -> Option<T> {
        self.0.next().await
    }

    /// Waits for one and takes up to `max - 1` more that are there already, into an empty group. It stays empty: closed
    /// for good. Nothing is lost when this is given up.
    pub async fn next_group(&mut self, max: usize, group: &mut Vec<T>) {
        poll_fn(|cx| self.poll_group(cx, max, group)).await;
    }

    fn poll_group(&mut self, cx: &mut Context<'_>, max: usize, group: &mut Vec<T>) -> Poll<()> {
        while group.len() < max {
            match self.0.poll_next_unpin(cx) {
                Poll::Ready(Some(item)) => group.push(item),
                Poll::Pending if group.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(())
    }
}
