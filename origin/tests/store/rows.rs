//! Rows and batches as tests write them.

use chorus_origin::store::{Batch, Page, Row};
use chorus_protocol::{CommentId, Event, Offset, StreamId};

/// The log's name.
pub const LOG: &str = "dev";

pub const ALL: Page = Page {
    before: None,
    after: None,
    oldest_first: true,
    top: false,
    parent: None,
    limit: 100,
};

pub fn demo() -> StreamId {
    "demo".parse().unwrap()
}

pub fn event(id: u64, seq: u64) -> Event {
    Event {
        region: LOG.parse().unwrap(),
        epoch: 7,
        seq,
        body: id.to_be_bytes().to_vec(),
    }
}

pub fn row(id: u64, seq: u64, client_id: &str) -> Row {
    answer(id, seq, client_id, None)
}

pub fn answer(id: u64, seq: u64, client_id: &str, parent: Option<u64>) -> Row {
    let mut key = [0; 16];
    key[..client_id.len()].copy_from_slice(client_id.as_bytes());
    Row::Comment {
        id: CommentId(id),
        stream: demo(),
        user: "ada".to_owned(),
        key: u128::from_be_bytes(key),
        parent: parent.map(CommentId),
        event: event(id, seq),
    }
}

pub fn decision(id: u64, seq: u64, kind: &str, target: u64) -> Row {
    Row::Decision {
        id: CommentId(id),
        kind: kind.to_owned(),
        stream: demo(),
        target: CommentId(target),
        event: event(id, seq),
    }
}

pub fn batch(from: Option<u64>, to: u64, rows: Vec<Row>) -> Batch {
    Batch {
        log: LOG.to_owned(),
        from: from.map(|seq| Offset { epoch: 7, seq }),
        to: Offset { epoch: 7, seq: to },
        rows,
    }
}
