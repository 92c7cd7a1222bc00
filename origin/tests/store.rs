//! The store's own rules, over SQLite in a directory.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;

use chorus_origin::store::{
    self, Batch, Page, Row, Store, StoreError, StreamPage, StreamRow, Written,
};
use chorus_protocol::event::kind;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, Event, Millis, Offset, Region, StreamId};

fn open(directory: &tempfile::TempDir) -> Arc<dyn Store> {
    store::open(&format!(
        "sqlite://{}/a/chorus.db",
        directory.path().display()
    ))
    .unwrap()
}

fn region() -> Region {
    "dev".parse().unwrap()
}

fn demo() -> StreamId {
    "demo".parse().unwrap()
}

fn event(id: u64, seq: u64) -> Event {
    Event {
        region: region(),
        epoch: 7,
        seq,
        body: vec![id as u8],
    }
}

fn row(id: u64, seq: u64, client_id: &str) -> Row {
    answer(id, seq, client_id, None)
}

fn answer(id: u64, seq: u64, client_id: &str, parent: Option<u64>) -> Row {
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

fn decision(id: u64, seq: u64, kind: &str, target: u64) -> Row {
    Row::Decision {
        id: CommentId(id),
        kind: kind.to_owned(),
        stream: demo(),
        target: CommentId(target),
        event: event(id, seq),
    }
}

fn batch(from: Option<u64>, to: u64, rows: Vec<Row>) -> Batch {
    Batch {
        region: region(),
        from: from.map(|seq| Offset { epoch: 7, seq }),
        to: Offset { epoch: 7, seq: to },
        rows,
    }
}

async fn ids(store: &Arc<dyn Store>, page: Page) -> Vec<u64> {
    let slice = store.comments(demo(), page).await.unwrap();
    slice.comments.into_iter().map(|(id, _)| id.0).collect()
}

const ALL: Page = Page {
    before: None,
    after: None,
    oldest_first: true,
    top: false,
    parent: None,
    limit: 100,
};

#[tokio::test]
async fn rows_and_position_are_written_together_and_survive() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let rows = vec![row(10, 1, "a"), row(20, 2, "b")];
    let written = store.write(batch(None, 2, rows)).await.unwrap();
    assert_eq!(written, Written { new: 2, repeats: 0 });
    drop(store);
    let store = open(&directory);
    let slice = store.comments(demo(), ALL).await.unwrap();
    assert_eq!(slice.comment_count, 2);
    assert_eq!(slice.at, [(region(), Offset { epoch: 7, seq: 2 })]);
    assert_eq!(slice.comments[1].1, event(20, 2));
}

#[tokio::test]
async fn parents_at_and_above_2_63_do_not_become_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let child = |id: u64, parent| answer(id, id, &id.to_string(), Some(parent));
    let last = (1 << 63) - 1;
    let rows = vec![child(1, last), child(2, last + 1), child(3, u64::MAX)];
    store.write(batch(None, 3, rows)).await.unwrap();
    let parent = Some(CommentId(last));
    assert_eq!(ids(&store, Page { parent, ..ALL }).await, [1]);
    assert_eq!(ids(&store, ALL).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_writer_that_is_not_where_it_believes_is_fenced() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (open(&directory), open(&directory));
    one.write(batch(None, 1, vec![row(10, 1, "a")]))
        .await
        .unwrap();
    let late = other.write(batch(None, 2, vec![row(20, 2, "b")])).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert_eq!(ids(&one, ALL).await, [10], "nothing of it was written");
    other
        .write(batch(Some(1), 2, vec![row(20, 2, "b")]))
        .await
        .unwrap();
    assert_eq!(ids(&one, ALL).await, [10, 20]);
}

#[tokio::test]
async fn repeats_change_nothing_and_of_one_key_the_lower_id_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    store
        .write(batch(None, 1, vec![row(20, 1, "a")]))
        .await
        .unwrap();
    let rows = vec![
        row(20, 1, "a"),
        row(30, 2, "a"),
        row(10, 3, "a"),
        row(15, 4, "a"),
    ];
    let written = store.write(batch(Some(1), 4, rows)).await.unwrap();
    assert_eq!(written, Written { new: 0, repeats: 4 });
    let slice = store.comments(demo(), ALL).await.unwrap();
    assert_eq!(slice.comment_count, 1);
    assert_eq!(slice.comments, [(CommentId(10), event(10, 3))]);
}

#[tokio::test]
async fn pages_are_bounded_ordered_and_filtered() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let mut rows: Vec<Row> = (1..=9).map(|n| row(n * 10, n, &format!("c{n}"))).collect();
    rows[4] = answer(50, 5, "c5", Some(10));
    store.write(batch(None, 9, rows)).await.unwrap();
    let newest = Page {
        oldest_first: false,
        limit: 3,
        ..ALL
    };
    assert_eq!(ids(&store, newest).await, [90, 80, 70]);
    let before = Page {
        before: Some(CommentId(70)),
        ..newest
    };
    assert_eq!(ids(&store, before).await, [60, 50, 40]);
    let after = Page {
        after: Some(CommentId(70)),
        ..ALL
    };
    assert_eq!(ids(&store, after).await, [80, 90]);
    let replies = Page {
        parent: Some(CommentId(10)),
        ..ALL
    };
    assert_eq!(ids(&store, replies).await, [50]);
    let top = Page {
        top: true,
        ..newest
    };
    assert_eq!(ids(&store, top).await, [90, 80, 70]);
    let beyond = Page {
        before: Some(CommentId(u64::MAX)),
        ..newest
    };
    assert_eq!(ids(&store, beyond).await, [90, 80, 70]);
}

fn info(name: &str, at: u64, status: StreamStatus) -> StreamInfo {
    StreamInfo {
        stream_id: name.parse().unwrap(),
        title: name.to_owned(),
        description: String::new(),
        broadcaster_id: "ada".parse().unwrap(),
        status,
        created_at_ms: Millis(at),
        settings: Settings::default(),
    }
}

#[tokio::test]
async fn a_later_word_on_a_stream_stands() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    for (name, at, seq, status) in [
        ("a", 1, 1, StreamStatus::Live),
        ("b", 2, 2, StreamStatus::Live),
        ("a", 1, 3, StreamStatus::Ended),
        // An old word that comes late.
        ("a", 1, 1, StreamStatus::Live),
    ] {
        let info = info(name, at, status);
        store.write_stream(StreamRow { info, seq }).await.unwrap();
    }
    let a = store.stream("a".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(a.status, StreamStatus::Ended);
    let names = async |page: StreamPage| -> Vec<String> {
        let found = store.streams(page).await.unwrap();
        found.into_iter().map(|info| info.title).collect()
    };
    let all = StreamPage {
        limit: 10,
        ..StreamPage::default()
    };
    assert_eq!(names(all.clone()).await, ["b", "a"]);
    let live = StreamPage {
        status: Some(StreamStatus::Live),
        ..all.clone()
    };
    assert_eq!(names(live).await, ["b"]);
    let rest = StreamPage {
        before: Some((2, "b".to_owned())),
        ..all
    };
    assert_eq!(names(rest).await, ["a"]);
}

#[tokio::test]
async fn other_stores_and_newer_schemas_are_refused_by_name() {
    for (url, name) in [
        ("mysql://x", "`mysql`"),
        ("chorus.db", "chorus.db"),
        ("sqlite://x.db", "absolute"),
    ] {
        let Err(error) = store::open(url) else {
            panic!("{url} was opened")
        };
        assert!(error.to_string().contains(name), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    let path = directory.path().join("a/chorus.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("PRAGMA user_version = 99").unwrap();
    let newer = store::open(&format!("sqlite://{}", path.display()));
    assert!(matches!(newer, Err(StoreError::Schema { found: 99, .. })));
}

#[tokio::test]
async fn what_is_taken_away_is_gone_and_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let rows = vec![
        row(10, 1, "a"),
        answer(20, 2, "b", Some(10)),
        row(30, 3, "c"),
        // A kind of tomorrow stands beside it, the later one; of 40 the removal comes first.
        decision(31, 4, "applause", 30),
        decision(32, 5, "applause", 30),
        decision(33, 6, kind::REMOVAL, 20),
        decision(34, 7, kind::REMOVAL, 40),
    ];
    store.write(batch(None, 7, rows)).await.unwrap();
    let again = vec![
        row(40, 8, "d"),
        answer(20, 9, "b", Some(10)),
        answer(15, 10, "b", Some(10)),
        decision(35, 11, kind::REMOVAL, 20),
        decision(30, 12, "applause", 30),
    ];
    store.write(batch(Some(7), 12, again)).await.unwrap();
    let slice = store.comments(demo(), ALL).await.unwrap();
    assert_eq!(
        slice.comments,
        [(CommentId(10), event(10, 1)), (CommentId(30), event(30, 3))]
    );
    assert_eq!(slice.decisions, [event(32, 5)], "the later one stands");
    assert_eq!(slice.comment_count, 2);
    let parent = Some(CommentId(10));
    assert_eq!(ids(&store, Page { parent, ..ALL }).await, [] as [u64; 0]);
    let author = async |id| store.author(demo(), CommentId(id)).await.unwrap();
    let gone = author(20).await.unwrap();
    assert_eq!(
        (gone.user.as_str(), gone.removed_by),
        ("ada", Some(CommentId(35)))
    );
    assert_eq!(author(40).await.unwrap().removed_by, Some(CommentId(34)));
    assert_eq!(author(10).await.unwrap().removed_by, None);
    assert_eq!(author(99).await, None);
    // Not even in the file.
    drop(store);
    let connection = rusqlite::Connection::open(directory.path().join("a/chorus.db")).unwrap();
    let texts: i64 = connection
        .query_row(
            "SELECT count(*) FROM comments WHERE removed = 1 AND event <> x''",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(texts, 0);
}
