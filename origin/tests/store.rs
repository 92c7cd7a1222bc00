//! The stores' contract, the same for each of them, and what SQLite in a directory has of its own.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "shared by the files of this test")]

#[path = "store/rows.rs"]
mod rows;
#[path = "store/suite.rs"]
mod suite;

use std::sync::Arc;

use chorus_origin::config;
use chorus_origin::store::memory::Memory;
use chorus_origin::store::{StoreError, Stores};
use chorus_protocol::event::kind;

use rows::{ALL, batch, decision, demo, row};
use suite::Under;

async fn open(url: &str) -> Result<Stores, StoreError> {
    Stores::open(&config::Store {
        url: Some(url.to_owned()),
        ..config::Store::default()
    })
    .await
}

async fn open_in(directory: &tempfile::TempDir) -> Stores {
    let url = format!("sqlite://{}/a/chorus.db", directory.path().display());
    open(&url).await.unwrap()
}

async fn sqlite() -> Under {
    let directory = tempfile::tempdir().unwrap();
    Under {
        here: open_in(&directory).await,
        there: open_in(&directory).await,
        memory: None,
        _directory: directory,
    }
}

async fn memory() -> Under {
    let memory = Arc::new(Memory::default());
    let stores = Stores {
        comments: Arc::<Memory>::clone(&memory),
        streams: Arc::<Memory>::clone(&memory),
    };
    Under {
        here: stores.clone(),
        there: stores,
        memory: Some(memory),
        _directory: tempfile::tempdir().unwrap(),
    }
}

macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        contract!(sqlite: $($name),+);
        contract!(memory: $($name),+);
    };
    ($store:ident: $($name:ident),+) => {
        mod $store {
            $(
                #[tokio::test]
                async fn $name() {
                    super::suite::$name(super::$store().await).await;
                }
            )+
        }
    };
}

contract!(
    what_is_written_is_there_for_all,
    every_log_has_its_own_position,
    a_writer_that_is_not_where_it_believes_is_fenced,
    two_writers_at_once_are_one,
    repeats_change_nothing_and_of_one_key_the_lower_id_stays,
    parents_at_and_above_2_63_do_not_become_one,
    pages_are_bounded_ordered_and_filtered,
    what_is_taken_away_is_gone_and_is_not_written_again,
    a_batch_that_ended_anywhere_is_written_again,
    pages_while_it_is_written_have_at_least_what_the_position_says,
    a_later_word_on_a_stream_stands,
);

#[tokio::test]
async fn what_was_written_survives_and_a_removed_text_is_not_even_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let stores = open_in(&directory).await;
    let rows = vec![
        row(10, 1, "a"),
        row(20, 2, "b"),
        decision(21, 3, kind::REMOVAL, 20),
    ];
    stores.comments.write(batch(None, 3, rows)).await.unwrap();
    drop(stores);
    let slice = open_in(&directory).await.comments.page(demo(), ALL).await;
    let slice = slice.unwrap();
    assert_eq!((slice.comments.len(), slice.count.comments), (1, 1));
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

#[tokio::test]
async fn each_store_may_be_a_file_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| config::StoreOf {
        url: format!("sqlite://{}/{name}.db", directory.path().display()),
    };
    let config = config::Store {
        url: None,
        comments: Some(file("comments")),
        streams: Some(file("streams")),
    };
    let stores = Stores::open(&config).await.unwrap();
    let rows = vec![row(10, 1, "a")];
    stores.comments.write(batch(None, 1, rows)).await.unwrap();
    let count = |name: &str| -> i64 {
        let path = directory.path().join(format!("{name}.db"));
        let connection = rusqlite::Connection::open(path).unwrap();
        let count = connection.query_row("SELECT count(*) FROM comments", [], |row| row.get(0));
        count.unwrap()
    };
    assert_eq!((count("comments"), count("streams")), (1, 0));
}

#[tokio::test]
async fn other_stores_and_newer_schemas_are_refused_by_name() {
    for (url, name) in [
        ("mysql://x", "store.url: no store is called `mysql`"),
        ("chorus.db", "chorus.db"),
        ("sqlite://x.db", "absolute"),
    ] {
        let Err(error) = open(url).await else {
            panic!("{url} was opened")
        };
        assert!(error.to_string().contains(name), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let mysql = config::StoreOf {
        url: "mysql://x".to_owned(),
    };
    let config = config::Store {
        url: Some(format!("sqlite://{}/x.db", directory.path().display())),
        streams: Some(mysql),
        ..config::Store::default()
    };
    let Err(error) = Stores::open(&config).await else {
        panic!("mysql was opened")
    };
    assert!(error.to_string().contains("store.streams.url"), "{error}");
    drop(open_in(&directory).await);
    let path = directory.path().join("a/chorus.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("PRAGMA user_version = 99").unwrap();
    let newer = open(&format!("sqlite://{}", path.display())).await;
    assert!(matches!(newer, Err(StoreError::Schema { found: 99, .. })));
}
