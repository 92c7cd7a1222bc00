//! Receipts: two for every post, so they are put together by hand.

use chorus_protocol::codec::{json, msgpack};
use chorus_protocol::server::ReceiptStatus;
use chorus_protocol::{CommentId, Encoding};

use super::{envelope, id_text};

/// What became of a post, as [`chorus_protocol::server::Receipt`] says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiptOut<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) comment_id: Option<CommentId>,
    pub(crate) status: ReceiptStatus,
    pub(crate) reason: Option<&'a str>,
    pub(crate) retry_after_ms: Option<u64>,
}

impl<'a> ReceiptOut<'a> {
    pub(crate) fn new(client_id: &'a str, status: ReceiptStatus) -> Self {
        Self {
            client_id,
            comment_id: None,
            status,
            reason: None,
            retry_after_ms: None,
        }
    }

    /// The whole message.
    pub(crate) fn message(&self, encoding: Encoding) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes(encoding));
        match encoding {
            Encoding::Json => self.json(&mut out),
            Encoding::MsgPack => self.msgpack(&mut out),
        }
        out
    }

    /// How long the message is; less than it will be where a text has escapes or is very long.
    fn bytes(&self, encoding: Encoding) -> usize {
        let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
        let id = self.comment_id.map_or(0, |id| digits(id.0));
        let texts = self.client_id.len() + self.status.as_str().len() + id;
        let retry = self.retry_after_ms.map_or(0, digits);
        let reason = self.reason.map_or(0, str::len);
        let has = |has: bool, bytes: usize| if has { bytes } else { 0 };
        match encoding {
            Encoding::Json => {
                let fixed = r#"{"type":"receipt","payload":{"client_id":"","status":""}}"#.len();
                let fixed = fixed
                    + has(id > 0, r#","comment_id":"""#.len())
                    + has(self.reason.is_some(), r#","reason":"""#.len())
                    + has(retry > 0, r#","retry_after_ms":"#.len());
                fixed + texts + reason + retry
            }
            // A number has at most 9 bytes here.
            Encoding::MsgPack => {
                let fixed = 42 + has(self.client_id.len() > 31, 1);
                let fixed = fixed
                    + has(id > 0, 12)
                    + has(self.reason.is_some(), 8)
                    + has(retry > 0, 15 + 9);
                fixed + texts + reason
            }
        }
    }

    fn json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"receipt","payload":{"client_id":"#);
        json::write_text(out, self.client_id);
        if let Some(id) = self.comment_id {
            out.extend_from_slice(br#","comment_id":"#);
            id_text(Encoding::Json, out, id);
        }
        out.extend_from_slice(br#","status":""#);
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b'"');
        if let Some(reason) = self.reason {
            out.extend_from_slice(br#","reason":"#);
            json::write_text(out, reason);
        }
        if let Some(ms) = self.retry_after_ms {
            out.extend_from_slice(br#","retry_after_ms":"#);
            json::write_number(out, ms);
        }
        out.extend_from_slice(b"}}");
    }

    fn msgpack(&self, out: &mut Vec<u8>) {
        envelope(out, "receipt");
        let more = [
            self.comment_id.is_some(),
            self.reason.is_some(),
            self.retry_after_ms.is_some(),
        ];
        out.push(0x82 + more.into_iter().map(u8::from).sum::<u8>());
        out.extend_from_slice(b"\xa9client_id");
        msgpack::write_text(out, self.client_id);
        if let Some(id) = self.comment_id {
            out.extend_from_slice(b"\xaacomment_id");
            id_text(Encoding::MsgPack, out, id);
        }
        out.extend_from_slice(b"\xa6status");
        msgpack::write_text(out, self.status.as_str());
        if let Some(reason) = self.reason {
            out.extend_from_slice(b"\xa6reason");
            msgpack::write_text(out, reason);
        }
        if let Some(ms) = self.retry_after_ms {
            out.extend_from_slice(b"\xaeretry_after_ms");
            msgpack::write_number(out, ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::codec::encode;
    use chorus_protocol::server::{Receipt, ServerMessage};

    use super::*;

    #[test]
    fn a_receipt_is_written_as_the_protocol_defines_it() {
        let long = "k".repeat(64);
        let mut cases = Vec::new();
        for &status in ReceiptStatus::ALL {
            for client_id in ["c-1", "a \"quoted\\ one\u{e9}", &long] {
                for comment_id in [None, Some(CommentId(0)), Some(CommentId(u64::MAX >> 1))] {
                    for (reason, retry_after_ms) in [
                        (None, None),
                        (Some("rate_limited"), Some(0)),
                        (Some("spam"), Some(70_000)),
                        (None, Some(u64::MAX)),
                    ] {
                        cases.push(ReceiptOut {
                            client_id,
                            comment_id,
                            status,
                            reason,
                            retry_after_ms,
                        });
                    }
                }
            }
        }
        for receipt in cases {
            for encoding in Encoding::ALL {
                let mut expected = Vec::new();
                let whole = ServerMessage::Receipt(Receipt {
                    client_id: receipt.client_id.to_owned(),
                    comment_id: receipt.comment_id,
                    status: receipt.status,
                    reason: receipt.reason.map(str::to_owned),
                    retry_after_ms: receipt.retry_after_ms,
                });
                encode(encoding, &whole, &mut expected).expect("writes");
                assert_eq!(receipt.message(encoding), expected, "{receipt:?}");
                if receipt.retry_after_ms.is_none() && !receipt.client_id.contains('"') {
                    assert_eq!(receipt.bytes(encoding), expected.len(), "{receipt:?}");
                }
            }
        }
    }
}
