//! From a message of the log to a row of the store.

use chorus_protocol::Region;
use chorus_protocol::backhaul::{Item, ItemKind};

use crate::history;
use crate::log::Entry;
use crate::store::Row;

pub(super) fn item(region: &Region, epoch: u64, entry: &Entry) -> Item {
    Item {
        region: region.clone(),
        epoch,
        seq: entry.seq,
        kind: ItemKind::Comment,
        record: entry.payload.to_vec(),
    }
}

/// The row of an item, or why there is none and the item's record.
pub(super) fn row(item: Item) -> Result<Row, (&'static str, Vec<u8>)> {
    let Some(record) = history::decode(&item.record) else {
        return Err(("not a comment's record", item.record));
    };
    let comment = record.comment;
    if i64::try_from(comment.id.0).is_err() {
        return Err(("an id beyond 63 bits", item.record));
    }
    Ok(Row {
        id: comment.id,
        stream: comment.stream_id,
        user: comment.user_id.as_str().to_owned(),
        client_id: record.client_id.as_str().to_owned(),
        parent: comment.parent_id,
        item,
    })
}
