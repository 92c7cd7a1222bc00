//! What a server's acknowledgement says.

use async_nats::Message;
use serde::Deserialize;

use crate::log::Ack;
use crate::metrics::{AckLabel, Metrics};

/// The server's codes for what it certainly did not store. The log takes no more, by its own bounds, the server's or the
/// account's; or the message was to be stored behind another one only.
const NOT_STORED: [u64; 6] = [10_077, 10_054, 10_023, 10_047, 10_002, 10_070];

pub(super) fn count(metrics: &Metrics, ack: &Ack) {
    let label = match ack {
        Ack::Stored {
            duplicate: false, ..
        } => AckLabel::Stored,
        Ack::Stored {
            duplicate: true, ..
        } => AckLabel::Duplicate,
        Ack::Refused => AckLabel::Refused,
        Ack::Unknown => AckLabel::Unknown,
    };
    metrics.ack(label);
}

#[derive(Deserialize)]
struct AckBody {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    #[serde(default)]
    err_code: u64,
}

pub(super) fn read_ack(message: &Message) -> Ack {
    // 503: no responders.
    if message.status.is_some() {
        return Ack::Unknown;
    }
    match serde_json::from_slice::<AckBody>(&message.payload) {
        Ok(AckBody {
            error: Some(error), ..
        }) if NOT_STORED.contains(&error.err_code) => Ack::Refused,
        Ok(AckBody {
            error: None,
            seq: seq @ 1..,
            duplicate,
        }) => Ack::Stored { seq, duplicate },
        Ok(_) | Err(_) => Ack::Unknown,
    }
}
