//! From an event of the log to a row of the store.

use chorus_protocol::{CommentView, Event, Region};

use crate::log::Entry;
use crate::store::Row;

pub(super) fn event(region: &Region, epoch: u64, entry: &Entry) -> Event {
    Event {
        region: region.clone(),
        epoch,
        seq: entry.seq,
        body: entry.payload.to_vec(),
    }
}

/// The row of an event, `None` where the store has no place for one, or why it cannot be read and its body.
pub(super) fn row(event: Event) -> Result<Option<Row>, (&'static str, Vec<u8>)> {
    match read(&event) {
        Ok(Some(Place::Comment { user, parent, head })) => Ok(Some(Row::Comment {
            id: head.id,
            stream: head.stream,
            user,
            key: head.key,
            parent,
            event,
        })),
        Ok(Some(Place::Decision { kind, target, head })) => Ok(Some(Row::Decision {
            id: head.id,
            kind,
            stream: head.stream,
            target,
            event,
        })),
        Ok(None) => Ok(None),
        Err(reason) => Err((reason, event.body)),
    }
}

struct Head {
    id: chorus_protocol::CommentId,
    stream: chorus_protocol::StreamId,
    key: u128,
}

enum Place {
    Comment {
        user: String,
        parent: Option<chorus_protocol::CommentId>,
        head: Head,
    },
    Decision {
        kind: String,
        target: chorus_protocol::CommentId,
        head: Head,
    },
}

fn read(event: &Event) -> Result<Option<Place>, &'static str> {
    let envelope = event.envelope().ok_or("not an event")?;
    let stream = envelope.stream_id().ok_or("not a stream")?;
    let user = envelope.author_id().ok_or("not a user")?;
    if i64::try_from(envelope.id.0).is_err() {
        return Err("an id beyond 63 bits");
    }
    let head = Head {
        id: envelope.id,
        stream,
        key: envelope.key,
    };
    if envelope.is_comment() {
        let comment = CommentView::read(&envelope).ok_or("not a comment's record")?;
        return Ok(Some(Place::Comment {
            user: user.as_str().to_owned(),
            parent: comment.parent_id,
            head,
        }));
    }
    // Of a kind that is not known: what is about a comment is kept with it.
    Ok(envelope.target.map(|target| Place::Decision {
        kind: envelope.kind.to_owned(),
        target,
        head,
    }))
}
