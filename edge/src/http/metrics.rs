//! Metrics of the HTTP server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

macro_rules! metrics {
    ($($name:ident: $help:literal;)*) => {
        /// The HTTP server's numbers.
        #[derive(Debug, Default)]
        pub(super) struct HttpMetrics {
            /// Open HTTP connections.
            pub(super) connections: AtomicU64,
            $(#[doc = $help] pub(super) $name: AtomicU64,)*
        }

        impl HttpMetrics {
            fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((concat!("http_", stringify!($name)), $help, self.$name.load(Relaxed)),)*].into_iter()
            }
        }
    };
}

metrics! {
    requests: "Requests answered by the HTTP server";
    head_timeouts: "HTTP connections whose head was not whole in time";
    body_timeouts: "HTTP requests whose body was not whole in time";
    idle_timeouts: "HTTP connections closed because no further request came in time";
    answer_timeouts: "HTTP connections whose peer did not take an answer in time";
    evicted: "HTTP connections that waited for their peer and gave their place to another";
    full: "HTTP connections dropped because all places, or all of their address, were at work";
    returned: "HTTP connections given back to a shard for an upgrade";
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Collects the metrics for a scrape.
#[derive(Debug)]
pub(super) struct HttpCollector(pub(super) Arc<HttpMetrics>);

impl Collector for HttpCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let open = i64::try_from(self.0.connections.load(Relaxed)).unwrap_or(i64::MAX);
        encoder
            .encode_descriptor(
                "http_connections",
                "HTTP connections",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&open)?;
        for (name, help, value) in self.0.counters() {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}
