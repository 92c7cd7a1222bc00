//! What every store must do: functions over whatever implements [`Comments`] and [`Streams`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chorus_origin::store::memory::Memory;
use chorus_origin::store::{
    Batch, Comments, Page, Row, StoreError, Stores, StreamPage, StreamRow, Written,
};
use chorus_protocol::event::kind;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, Millis, Offset, StreamId};

use super::rows::*;

/// A store under test.
pub struct Under {
    pub here: Stores,
    /// The same record, as another process has it.
    pub there: Stores,
    /// What can be stopped in the middle of a batch.
    pub memory: Option<Arc<Memory>>,
    pub _directory: tempfile::TempDir,
}

impl Under {
    fn comments(&self) -> &dyn Comments {
        &*self.here.comments
    }

    /// Begins to write and is killed: after so many steps, where the store has steps.
    async fn write_and_die(&self, batch: Batch, steps: usize) {
        if let Some(memory) = &self.memory {
            memory.stop_after(Some(steps));
            let _ = self.here.comments.write(batch).await;
            memory.stop_after(None);
        } else {
            let written = self.here.comments.write(batch);
            let _ = tokio::time::timeout(Duration::from_micros(steps as u64), written).await;
        }
    }

    /// Writes from where the store stands, as `persist` does after a start.
    async fn write_on(&self, events: &[Logged], to: u64) {
        loop {
            let positions = self.comments().positions().await.unwrap();
            let from = positions.get(LOG).map(|at| at.seq);
            match self.comments().write(batch_of(events, from, to)).await {
                Ok(_) => return,
                // What was begun before has come to its end meanwhile.
                Err(StoreError::Fenced) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn ids(store: &dyn Comments, page: Page) -> Vec<u64> {
    let slice = store.page(demo(), page).await.unwrap();
    slice.comments.into_iter().map(|(id, _)| id.0).collect()
}

pub async fn what_is_written_is_there_for_all(under: Under) {
    let rows = vec![row(10, 1, "a"), row(20, 2, "b")];
    let written = under.comments().write(batch(None, 2, rows)).await.unwrap();
    assert_eq!(written, Written { new: 2, repeats: 0 });
    let there = &under.there.comments;
    let at = BTreeMap::from([(LOG.to_owned(), Offset { epoch: 7, seq: 2 })]);
    assert_eq!(there.positions().await.unwrap(), at);
    let slice = there.page(demo(), ALL).await.unwrap();
    assert_eq!((slice.count.comments, &slice.count.up_to), (2, &at));
    assert_eq!(slice.comments[1].1, event(20, 2));
}

/// A name is all a log has: a partition's is no region's.
pub async fn every_log_has_its_own_position(under: Under) {
    let store = under.comments();
    for (log, seq) in [("eu-1", 3), ("eu-1/3", 5), (LOG, 1)] {
        let mut batch = batch(None, seq, vec![row(seq, seq, &format!("of {seq}"))]);
        batch.log = log.to_owned();
        store.write(batch).await.unwrap();
    }
    let positions = store.positions().await.unwrap();
    let seqs: Vec<_> = positions.iter().map(|(log, at)| (&**log, at.seq)).collect();
    assert_eq!(seqs, [(LOG, 1), ("eu-1", 3), ("eu-1/3", 5)]);
    let count = store.page(demo(), ALL).await.unwrap().count;
    assert_eq!((count.comments, count.up_to), (3, positions));
}

pub async fn a_writer_that_is_not_where_it_believes_is_fenced(under: Under) {
    let (one, other) = (&under.here.comments, &under.there.comments);
    let first = batch(None, 1, vec![row(10, 1, "a")]);
    one.write(first).await.unwrap();
    let late = other.write(batch(None, 2, vec![row(20, 2, "b")])).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert_eq!(ids(&**one, ALL).await, [10]);
    let next = batch(Some(1), 2, vec![row(20, 2, "b")]);
    other.write(next).await.unwrap();
    assert_eq!(ids(&**one, ALL).await, [10, 20]);
    // A log made anew begins again, and what it holds counts.
    let mut anew = batch(Some(2), 1, vec![row(30, 1, "c")]);
    anew.to.epoch = 8;
    if let Row::Comment { event, .. } = &mut anew.rows[0] {
        event.epoch = 8;
    }
    one.write(anew).await.unwrap();
    let slice = other.page(demo(), ALL).await.unwrap();
    assert_eq!(slice.count.comments, 3);
}

/// Of two that write the same at the same time one wins, and everything counts once.
pub async fn two_writers_at_once_are_one(under: Under) {
    let events = random_log(9);
    let mut from = None;
    for to in [7, 10, 19, 40] {
        let here = under.here.comments.write(batch_of(&events, from, to));
        let there = under.there.comments.write(batch_of(&events, from, to - 1));
        let written = tokio::join!(here, there);
        let ((Ok(_), Err(StoreError::Fenced)) | (Err(StoreError::Fenced), Ok(_))) = written else {
            panic!("{written:?}")
        };
        check(under.comments(), &events).await;
        from = Some(if written.0.is_ok() { to } else { to - 1 });
    }
}

pub async fn repeats_change_nothing_and_of_one_key_the_lower_id_stays(under: Under) {
    let store = under.comments();
    let first = batch(None, 1, vec![row(20, 1, "a")]);
    store.write(first).await.unwrap();
    let rows = vec![
        row(20, 2, "a"),
        row(30, 3, "a"),
        row(10, 4, "a"),
        row(15, 5, "a"),
    ];
    let written = store.write(batch(Some(1), 5, rows)).await.unwrap();
    assert_eq!(written, Written { new: 0, repeats: 4 });
    let slice = store.page(demo(), ALL).await.unwrap();
    assert_eq!(slice.count.comments, 1);
    assert_eq!(slice.comments, [(CommentId(10), event(10, 4))]);
}

pub async fn parents_at_and_above_2_63_do_not_become_one(under: Under) {
    let store = under.comments();
    let child = |id: u64, parent| answer(id, id, &id.to_string(), Some(parent));
    let last = (1 << 63) - 1;
    let rows = vec![child(1, last), child(2, last + 1), child(3, u64::MAX)];
    store.write(batch(None, 3, rows)).await.unwrap();
    let parent = Some(CommentId(last));
    assert_eq!(ids(store, Page { parent, ..ALL }).await, [1]);
    assert_eq!(ids(store, ALL).await, [1, 2, 3]);
}

pub async fn pages_are_bounded_ordered_and_filtered(under: Under) {
    let store = under.comments();
    let mut rows: Vec<Row> = (1..=9).map(|n| row(n * 10, n, &format!("c{n}"))).collect();
    rows[4] = answer(50, 5, "c5", Some(10));
    store.write(batch(None, 9, rows)).await.unwrap();
    let newest = Page {
        oldest_first: false,
        limit: 3,
        ..ALL
    };
    assert_eq!(ids(store, newest).await, [90, 80, 70]);
    let before = Page {
        before: Some(CommentId(70)),
        ..newest
    };
    assert_eq!(ids(store, before).await, [60, 50, 40]);
    let after = Page {
        after: Some(CommentId(70)),
        ..ALL
    };
    assert_eq!(ids(store, after).await, [80, 90]);
    let replies = Page {
        parent: Some(CommentId(10)),
        ..ALL
    };
    assert_eq!(ids(store, replies).await, [50]);
    let top = Page {
        top: true,
        ..newest
    };
    assert_eq!(ids(store, top).await, [90, 80, 70]);
    let beyond = Page {
        before: Some(CommentId(u64::MAX)),
        ..newest
    };
    assert_eq!(ids(store, beyond).await, [90, 80, 70]);
    let none = store.page(demo(), Page::default()).await.unwrap();
    assert_eq!((none.comments.len(), none.count.comments), (0, 9));
}

pub async fn what_is_taken_away_is_gone_and_is_not_written_again(under: Under) {
    let store = under.comments();
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
    let count = store.page(demo(), ALL).await.unwrap().count;
    assert_eq!(count.comments, 1, "a removal counts before its comment");
    let about = [40, 30, 99].map(CommentId).to_vec();
    let decided = store.decisions(about).await.unwrap();
    let both = [event(34, 7), event(32, 5)];
    assert_eq!(decided, both, "also where the comment is not here");
    let again = vec![
        row(40, 8, "d"),
        answer(20, 9, "b", Some(10)),
        answer(15, 10, "b", Some(10)),
        decision(35, 11, kind::REMOVAL, 20),
        decision(30, 12, "applause", 30),
    ];
    store.write(batch(Some(7), 12, again)).await.unwrap();
    let slice = store.page(demo(), ALL).await.unwrap();
    assert_eq!(
        slice.comments,
        [(CommentId(10), event(10, 1)), (CommentId(30), event(30, 3))]
    );
    assert_eq!(slice.decisions, [event(32, 5)], "the later one stands");
    assert_eq!(slice.count.comments, 2);
    let parent = Some(CommentId(10));
    assert_eq!(ids(store, Page { parent, ..ALL }).await, [] as [u64; 0]);
    let author = async |id| store.author(demo(), CommentId(id)).await.unwrap();
    let gone = author(20).await.unwrap();
    assert_eq!(
        (gone.user.as_str(), gone.removed_by),
        ("ada", Some(CommentId(35)))
    );
    assert_eq!(author(40).await.unwrap().removed_by, Some(CommentId(34)));
    assert_eq!(author(10).await.unwrap().removed_by, None);
    assert_eq!(author(99).await, None);
    let elsewhere: StreamId = "other".parse().unwrap();
    let found = store.author(elsewhere, CommentId(10)).await.unwrap();
    assert_eq!(found, None, "it is of another stream");
}

/// After any step, and then goes on in other groups than before.
pub async fn a_batch_that_ended_anywhere_is_written_again(under: Under) {
    let mut draw = draws(5);
    let events = random_log(5);
    let last = events.len() as u64;
    let mut at = 0;
    for steps in 0.. {
        if at == last {
            break;
        }
        let to = (at + 1 + draw(8)).min(last);
        let from = (at > 0).then_some(at);
        let batch = batch_of(&events, from, to);
        under.write_and_die(batch, steps % 40).await;
        check(under.comments(), &events).await;
        under.write_on(&events, (at + 1 + draw(8)).min(last)).await;
        check(under.comments(), &events).await;
        at = under.comments().positions().await.unwrap()[LOG].seq;
    }
    let slice = under.comments().page(demo(), ALL).await.unwrap();
    let (shown, count) = expected(&events);
    let ids: BTreeSet<u64> = slice.comments.iter().map(|(id, _)| id.0).collect();
    assert_eq!((ids, slice.count.comments), (shown, count));
}

pub async fn pages_while_it_is_written_have_at_least_what_the_position_says(under: Under) {
    let events = random_log(7);
    let last = events.len() as u64;
    let write = async {
        let mut from = None;
        while from != Some(last) {
            let to = (from.unwrap_or(0) + 7).min(last);
            let batch = batch_of(&events, from, to);
            under.here.comments.write(batch).await.unwrap();
            from = Some(to);
        }
    };
    let read = async {
        while check(&*under.there.comments, &events).await < last {
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(write, read);
}

/// Whether a store keeps its contract with a part of a log in it; up to where it says it has it.
async fn check(store: &dyn Comments, events: &[Logged]) -> u64 {
    let positions = store.positions().await.unwrap();
    let slice = store.page(demo(), ALL).await.unwrap();
    let at = positions.get(LOG).map_or(0, |at| at.seq);
    let ids: BTreeSet<u64> = slice.comments.iter().map(|(id, _)| id.0).collect();
    let of = |to: u64| expected(&events[..to as usize]);
    let (there, _) = of(at);
    let gone: BTreeSet<u64> = events.iter().filter_map(Logged::removes).collect();
    let must: BTreeSet<u64> = there.difference(&gone).copied().collect();
    assert!(ids.is_superset(&must), "{must:?} of {ids:?} up to {at}");
    let gone_by_now = events[..at as usize].iter().filter_map(Logged::removes);
    for id in gone_by_now {
        assert!(!ids.contains(&id), "{id} was taken away before {at}");
    }
    let counted = slice.count.up_to.get(LOG).map_or(0, |at| at.seq).max(at);
    assert_eq!(slice.count.comments, of(counted).1, "up to {counted}");
    at
}

/// What is to be shown after these events, and counted.
fn expected(events: &[Logged]) -> (BTreeSet<u64>, i64) {
    let gone: BTreeSet<u64> = events.iter().filter_map(Logged::removes).collect();
    let mut keys = BTreeSet::new();
    let comments = events.iter().filter_map(|event| match event {
        Logged::Comment { id, key } => keys.insert(*key).then_some(*id),
        Logged::Decision { .. } => None,
    });
    let comments: BTreeSet<u64> = comments.collect();
    let count = comments.len() as i64 - gone.len() as i64;
    (comments.difference(&gone).copied().collect(), count)
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
        home_region: None,
    }
}

pub async fn a_later_word_on_a_stream_stands(under: Under) {
    let streams = &under.here.streams;
    for (name, at, seq, status) in [
        ("a", 1, 1, StreamStatus::Live),
        ("b", 2, 2, StreamStatus::Live),
        ("a", 1, 3, StreamStatus::Ended),
        // An old word that comes late.
        ("a", 1, 1, StreamStatus::Live),
    ] {
        let info = info(name, at, status);
        streams.write(StreamRow { info, seq }).await.unwrap();
    }
    let there = &under.there.streams;
    let a = there.read("a".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(a.status, StreamStatus::Ended);
    assert_eq!(there.read("c".parse().unwrap()).await.unwrap(), None);
    let names = async |page: StreamPage| -> Vec<String> {
        let found = there.list(page).await.unwrap();
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
    // Created anew in a log that was made anew.
    let info = info("a", 3, StreamStatus::Live);
    streams.write(StreamRow { info, seq: 1 }).await.unwrap();
    let a = there.read("a".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(a.status, StreamStatus::Live);
}

/// An event whose place in the log is its place in a list, from 1 on.
#[derive(Clone, Copy, Debug)]
pub enum Logged {
    Comment {
        id: u64,
        key: u64,
    },
    Decision {
        id: u64,
        kind: &'static str,
        of: u64,
    },
}

impl Logged {
    fn removes(&self) -> Option<u64> {
        match *self {
            Self::Decision { kind, of, .. } if kind == kind::REMOVAL => Some(of),
            Self::Comment { .. } | Self::Decision { .. } => None,
        }
    }

    fn row(self, seq: u64) -> Row {
        match self {
            Self::Comment { id, key } => row(id, seq, &format!("k{key}")),
            Self::Decision { id, kind, of } => decision(id, seq, kind, of),
        }
    }
}

fn batch_of(events: &[Logged], from: Option<u64>, to: u64) -> Batch {
    let after = from.unwrap_or(0);
    let to = to.max(after);
    let rows = (after..to).map(|at| events[at as usize].row(at + 1));
    batch(from, to, rows.collect())
}

/// Comments, repeats of them, decisions of two kinds about some, some of them before their comments. Every comment ends
/// up in the log.
fn random_log(seed: u64) -> Vec<Logged> {
    let mut draw = draws(seed);
    let mut events = Vec::new();
    for number in 1..=40 {
        let id = number * 10;
        let said = Logged::Comment { id, key: number };
        let removal = Logged::Decision {
            id: id + 1,
            kind: kind::REMOVAL,
            of: id,
        };
        match draw(6) {
            0 => events.extend([removal, said]),
            1 => events.extend([said, removal, removal]),
            2 => events.extend([said, said]),
            3 => {
                let key = number;
                let again = Logged::Comment { id: id + 2, key };
                events.extend([said, again]);
            }
            4 => {
                let applause = Logged::Decision {
                    id: id + 3,
                    kind: "applause",
                    of: id,
                };
                events.extend([said, applause]);
            }
            _ => events.push(said),
        }
    }
    events
}

fn draws(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed * 2 + 1;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}
