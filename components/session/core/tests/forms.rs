//! A session goes on from a snapshot that an earlier build wrote: one of each form since 4 is recorded in
//! `data/snapshots/FORM`, taken in the middle of the same evening.
//!
//! `CHORUS_WRITE=1` records the form of this build; what is recorded is never written over.

use std::fs;
use std::path::{Path, PathBuf};

use chorus_protocol::codes::RemovalReason;
use chorus_protocol::server::{ReceiptStatus, ServerMessage};
use chorus_protocol::{CommentId, Encoding, Outcome};
use chorus_session_core::{Input, Output};
use chorus_session_scenarios::origin::Origin;
use chorus_session_scenarios::pop::Publication;
use chorus_session_scenarios::{Machine, Native, Pop};
use serde_json::json;

/// The form that this build writes.
const NEWEST: u32 = 6;

/// The core; when it is restored it takes the recorded snapshot for its own.
struct Recorded {
    core: Native,
    bytes: Vec<u8>,
}

impl Machine for Recorded {
    fn init(&mut self, config: &[u8], seed: u64) -> Result<(), String> {
        self.core.init(config, seed)
    }

    fn handle(&mut self, now: u64, inputs: Vec<Input>) -> Vec<Output> {
        self.core.handle(now, inputs)
    }

    fn snapshot(&mut self) -> Vec<u8> {
        self.core.snapshot()
    }

    fn restore(&mut self, _own: &[u8]) -> Result<(), String> {
        self.core.restore(&self.bytes)
    }
}

/// What is under way when the snapshot is taken.
struct UnderWay {
    origin: Origin,
    author: u64,
    viewer: u64,
    post: Publication,
    removal: Publication,
}

fn join(pop: &mut Pop<'_>, encoding: Encoding, user: Option<&str>) -> u64 {
    let token = user.map(|user| pop.token(user, "user"));
    let viewer = pop.open(encoding, token);
    pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
    viewer
}

/// Three comments, one of them taken away; a comment and a removal that have no answer yet.
fn first_half(pop: &mut Pop<'_>) -> UnderWay {
    pop.lease();
    let mut origin = Origin::new("demo", &["eu", "us"]);
    let author = join(pop, Encoding::Json, Some("ann"));
    pop.state("demo", Some(origin.state()));
    let viewer = join(pop, Encoding::MsgPack, None);
    for id in 1..=3 {
        let delivery = origin.write("eu", id, "hi");
        pop.deliver("demo", &delivery);
    }
    let removal = origin.remove("eu", 1_001, 2, RemovalReason::Author);
    pop.deliver("demo", &removal);
    pop.pass(1_000);
    pop.post(author, "demo", "c1", "under way");
    let post = pop.publication();
    let payload = json!({"stream_id": "demo", "comment_id": "3", "client_id": "d1"});
    pop.say(author, "delete_comment", &payload);
    let removal = pop.publication();
    for connection in [author, viewer] {
        pop.take(connection);
    }
    UnderWay {
        origin,
        author,
        viewer,
        post,
        removal,
    }
}

fn stored(pop: &mut Pop<'_>, origin: &mut Origin, publication: &Publication) {
    let id = CommentId(publication.id);
    let duplicate = false;
    pop.answer(publication.request, Outcome::Stored { id, duplicate });
    let delivery = origin.store("eu", publication.bytes.clone());
    pop.deliver("demo", &delivery);
    pop.pass(1_000);
}

fn statuses(pop: &mut Pop<'_>, connection: u64) -> Vec<(String, ReceiptStatus)> {
    let told = pop.take(connection);
    let receipts = told.into_iter().filter_map(|message| {
        if let ServerMessage::Receipt(receipt) = message {
            Some((receipt.client_id, receipt.status))
        } else {
            None
        }
    });
    receipts.collect()
}

fn second_half(pop: &mut Pop<'_>, under_way: UnderWay) {
    let UnderWay {
        mut origin,
        author,
        viewer,
        post,
        removal,
    } = under_way;
    stored(pop, &mut origin, &post);
    let durable = ("c1".to_owned(), ReceiptStatus::Durable);
    assert_eq!(statuses(pop, author), [durable]);
    let ServerMessage::CommentsBatch { comments, .. } = pop.take_one(viewer) else {
        panic!("the comment");
    };
    assert_eq!(comments[0].id, CommentId(post.id));
    stored(pop, &mut origin, &removal);
    let applied = ("d1".to_owned(), ReceiptStatus::Applied);
    assert_eq!(statuses(pop, author), [applied]);
    let ServerMessage::CommentsRemoved { comment_ids, .. } = pop.take_one(viewer) else {
        panic!("the removal");
    };
    assert_eq!(comment_ids, [CommentId(3)]);
    // What was removed before the snapshot does not come back by a slow replay.
    let late = origin.store(
        "us",
        chorus_session_scenarios::origin::comment("demo", 2, "hi"),
    );
    pop.deliver("demo", &late);
    pop.pass(1_000);
    assert!(
        pop.take(viewer)
            .iter()
            .all(|message| !matches!(message, ServerMessage::CommentsBatch { comments, .. } if !comments.is_empty()))
    );
    let fresh = join(pop, Encoding::Json, None);
    let joined = pop.take_joined(fresh);
    let shown: Vec<u64> = joined.comments.iter().map(|it| it.id.0).collect();
    assert_eq!(shown, [1, post.id]);
}

fn path(form: u32) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/snapshots");
    folder.join(form.to_string())
}

#[test]
fn a_snapshot_of_every_recorded_form_is_taken_over() {
    if std::env::var_os("CHORUS_WRITE").is_some() && !path(NEWEST).exists() {
        let make = || -> Box<dyn Machine> { Box::new(Native::default()) };
        let mut pop = Pop::new(&make, false);
        first_half(&mut pop);
        fs::write(path(NEWEST), pop.snapshot()).expect("the file can be written");
    }
    for form in 4..=NEWEST {
        let bytes = fs::read(path(form)).unwrap_or_else(|error| {
            panic!("form {form} is not recorded ({error}): CHORUS_WRITE=1 runs this and records the newest")
        });
        let make = || -> Box<dyn Machine> {
            Box::new(Recorded {
                core: Native::default(),
                bytes: bytes.clone(),
            })
        };
        let mut pop = Pop::new(&make, false);
        let under_way = first_half(&mut pop);
        pop.restart();
        second_half(&mut pop, under_way);
    }
    // The newest one recorded is of the form that this build writes.
    let newest = fs::read(path(NEWEST)).expect("recorded");
    let value = rmpv::decode::read_value(&mut newest.as_slice()).expect("reads");
    let form = value.as_map().and_then(|fields| {
        let mut fields = fields.iter();
        fields.find_map(|(name, value)| value.as_u64().filter(|_| name.as_str() == Some("form")))
    });
    assert_eq!(form, Some(u64::from(NEWEST)));
}
