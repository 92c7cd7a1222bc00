//! Store and log read as one, wherever either ends.

use chorus_protocol::event::kind;
use chorus_protocol::{CommentRecord, Millis};

use super::*;
use crate::store::memory::Memory;
use crate::store::{Batch, Row};

const LOG: &str = "dev";

fn demo() -> StreamId {
    "demo".parse().expect("a stream")
}

/// An event at a sequence that is its id, too.
fn event(seq: u64, kind: &str, target: Option<u64>) -> Event {
    let envelope = Envelope {
        id: CommentId(seq),
        kind,
        stream: "demo",
        author: "ada",
        role: chorus_protocol::event::AuthorRole::User,
        key: seq.into(),
        target: target.map(CommentId),
        record: b"",
    };
    let record = CommentRecord {
        username: "Ada".to_owned(),
        content: format!("said at {seq}"),
        created_at_ms: Millis(seq),
        parent_id: None,
        mentions: Vec::new(),
        media_ms: None,
        badges: Vec::new(),
    };
    Event {
        region: LOG.parse().expect("a region"),
        epoch: 7,
        seq,
        body: envelope.write_record(&record),
    }
}

fn row(event: &Event) -> Row {
    let envelope = event.envelope().expect("an event");
    let (id, event) = (envelope.id, event.clone());
    match envelope.target {
        None => Row::Comment {
            id,
            stream: demo(),
            user: envelope.author.to_owned(),
            key: envelope.key,
            parent: None,
            event: event.clone(),
        },
        Some(target) => Row::Decision {
            id,
            kind: envelope.kind.to_owned(),
            stream: demo(),
            target,
            event: event.clone(),
        },
    }
}

fn batch(from: Option<u64>, events: &[Event]) -> Batch {
    let at = |seq| Offset { epoch: 7, seq };
    Batch {
        log: LOG.to_owned(),
        from: from.map(at),
        to: at(events.last().map_or(0, |event| event.seq)),
        rows: events.iter().map(row).collect(),
    }
}

/// As [`History::read`] does, with what the log holds.
async fn read(store: &Memory, log: &[Event]) -> Part {
    let page = Page {
        limit: 10,
        ..Page::default()
    };
    let store: &dyn Comments = store;
    let stored = store.positions().await.expect("positions");
    let mut slice = store.page(demo(), page).await.expect("a page");
    let after = stored.get(LOG).map_or(0, |at| at.seq);
    let events = log.iter().filter(|event| event.seq > after).cloned();
    let tail = Tail(BTreeMap::from([(LOG.to_owned(), events.collect())]));
    decide_tail(store, &stored, &tail, &mut slice)
        .await
        .expect("reads");
    tail.part(slice, Position::default(), page)
}

#[tokio::test]
async fn a_decision_that_is_stored_before_its_comment_holds() {
    let store = Memory::default();
    // Another region's log, which `persist` read before this one.
    let decided = [
        event(101, kind::REMOVAL, Some(1)),
        event(102, "applause", Some(2)),
    ];
    let other = Batch {
        log: "other".to_owned(),
        ..batch(None, &decided)
    };
    Comments::write(&store, other).await.expect("is written");
    let log = [1, 2].map(|seq| event(seq, kind::COMMENT, None));
    let part = read(&store, &log).await;
    let shown: Vec<u64> = part.comments.iter().map(|(id, _)| id.0).collect();
    assert_eq!((shown, part.comment_count), (vec![2], 1));
    assert_eq!(part.decisions.len(), 1);
}

#[tokio::test]
async fn what_is_in_store_and_log_is_shown_and_counted_once_wherever_a_batch_ended() {
    let comment = |seq| event(seq, kind::COMMENT, None);
    let log = [
        comment(1),
        comment(2),
        event(3, kind::REMOVAL, Some(1)),
        event(4, "applause", Some(2)),
        comment(5),
        event(6, kind::REMOVAL, Some(2)),
        comment(7),
        event(8, "applause", Some(5)),
        event(9, "applause", Some(5)),
    ];
    let check = async |store: &Memory, log: &[Event], ids: &[u64], decided: &[u64], when: &str| {
        let part = read(store, log).await;
        let shown: Vec<u64> = part.comments.iter().map(|(id, _)| id.0).collect();
        assert_eq!(shown, ids, "{when}");
        assert_eq!(part.comment_count, ids.len() as u64, "{when}");
        let about = part.decisions.iter().filter(|event| {
            let envelope = event.envelope();
            envelope.is_some_and(|envelope| envelope.removes().is_none())
        });
        let stands: Vec<u64> = about.map(|event| event.seq).collect();
        assert_eq!(stands, decided, "{when}");
    };
    let store = Memory::default();
    check(&store, &log[..4], &[2], &[4], "all in the log").await;
    for steps in 0..40 {
        let store = Memory::default();
        let write = async |batch| Comments::write(&store, batch).await;
        write(batch(None, &log[..4])).await.expect("is written");
        store.stop_after(Some(steps));
        let stopped = write(batch(Some(4), &log[4..])).await;
        let when = format!("stopped after {steps}");
        check(&store, &log, &[7, 5], &[9], &when).await;
        store.stop_after(None);
        if stopped.is_err() {
            // In other groups than before.
            write(batch(Some(4), &log[4..6])).await.expect("is written");
            check(&store, &log, &[7, 5], &[9], &when).await;
            write(batch(Some(6), &log[6..])).await.expect("is written");
        } else {
            assert!(steps > 5, "a batch has as many steps as rows");
        }
        check(&store, &log, &[7, 5], &[9], &when).await;
        check(&store, &[], &[7, 5], &[9], "all in the store").await;
    }
}
