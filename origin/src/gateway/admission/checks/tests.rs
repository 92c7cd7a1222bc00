//! Checks under look-ups that end late and in any order.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};

use chorus_protocol::event::{AuthorRole, kind};
use chorus_protocol::rate::UserLimits;
use chorus_protocol::stream::{Settings, StreamInfo};
use chorus_protocol::{Envelope, Millis};

use super::*;
use crate::gateway::admission::ledger::Ledger;

/// What a gateway knows, without a gateway.
struct World {
    streams: RefCell<HashMap<StreamId, Option<Arc<Life>>>>,
    ledger: RefCell<Ledger>,
}

impl World {
    fn new() -> Self {
        let limits = UserLimits::from(&chorus_protocol::limits::Limits::default());
        Self {
            streams: RefCell::default(),
            ledger: RefCell::new(Ledger::new(limits, 1_000)),
        }
    }

    fn learn(&self, name: &str, status: StreamStatus) -> Found {
        let found = Some(life(name, status));
        let id = id_of(name);
        self.streams.borrow_mut().insert(id, found.clone());
        Found::Stream(Ok(found))
    }
}

impl Known for World {
    fn stream(&self, stream: &StreamId) -> Option<Option<Arc<Life>>> {
        self.streams.borrow().get(stream).cloned()
    }

    fn comment(&self, comment: &Comment<'_>) -> Result<bool, CommentRefusal> {
        self.ledger.borrow_mut().comment(0, comment)
    }

    fn reactions(
        &self,
        stream: &StreamId,
        key: u128,
        by: Reactions,
        users: Vec<UserReactions>,
    ) -> Arc<Decision> {
        let mut ledger = self.ledger.borrow_mut();
        ledger.reactions(0, stream, key, by, users)
    }
}

fn id_of(stream: &str) -> StreamId {
    stream.parse().expect("a stream")
}

fn life(name: &str, status: StreamStatus) -> Arc<Life> {
    let info = StreamInfo {
        stream_id: id_of(name),
        title: name.to_owned(),
        description: String::new(),
        broadcaster_id: "b".parse().expect("a user"),
        status,
        created_at_ms: Millis(1),
        settings: Settings::default(),
        home_region: None,
    };
    Arc::new(Life { info, seq: 1 })
}

fn event(request: u64, stream: &str, user: &str, target: Option<u64>) -> Publication {
    let envelope = Envelope {
        id: CommentId(request),
        kind: target.map_or(kind::COMMENT, |_| kind::REMOVAL),
        stream,
        author: user,
        role: AuthorRole::Admin,
        key: request.into(),
        target: target.map(CommentId),
        record: b"",
    };
    Publication::read_event(request, envelope.write(0, |_| {})).expect("an event")
}

fn reactions(request: u64, stream: &str) -> Publication {
    let by = Reactions::from([("like".to_owned(), 1)]);
    Publication::read_reactions(request, request.into(), id_of(stream), by, Vec::new())
        .expect("reactions")
}

fn request_of(admitted: &Admitted) -> u64 {
    match admitted {
        Admitted::Event { request, .. }
        | Admitted::RefusedIfNew { request, .. }
        | Admitted::Reactions { request, .. }
        | Admitted::Refused { request, .. }
        | Admitted::Answered { request, .. }
        | Admitted::Shed { request } => *request,
    }
}

fn take(checks: &mut Checks) -> Vec<Admitted> {
    let mut admitted = Vec::new();
    checks.take_admitted(&mut admitted);
    admitted
}

fn requests(checks: &mut Checks) -> Vec<u64> {
    take(checks).iter().map(request_of).collect()
}

#[test]
fn what_is_known_is_decided_at_once() {
    let (world, mut checks) = (World::new(), Checks::default());
    world.learn("live", StreamStatus::Live);
    world.learn("ended", StreamStatus::Ended);
    world.streams.borrow_mut().insert(id_of("none"), None);
    checks.offer(&world, event(1, "live", "ann", None));
    checks.offer(&world, event(2, "ended", "ann", None));
    checks.offer(&world, event(3, "none", "ann", None));
    checks.offer(&world, reactions(4, "live"));
    let admitted = take(&mut checks);
    let reason = |admitted: &Admitted| {
        let Admitted::RefusedIfNew { reason, .. } = admitted else {
            return None;
        };
        Some(*reason)
    };
    assert!(matches!(admitted[0], Admitted::Event { request: 1, .. }));
    assert_eq!(reason(&admitted[1]), Some(Reason::StreamEnded));
    assert_eq!(reason(&admitted[2]), Some(Reason::StreamNotFound));
    assert!(matches!(
        admitted[3],
        Admitted::Reactions { request: 4, .. }
    ));
    assert_eq!((checks.waiting(), checks.next_look_up()), (0, None));
}

#[test]
fn a_slow_stream_and_a_slow_removal_stall_nobody_else() {
    let (world, mut checks) = (World::new(), Checks::default());
    world.learn("demo", StreamStatus::Live);
    // One look-up for all that is about the unknown stream.
    checks.offer(&world, event(1, "slow", "ann", None));
    checks.offer(&world, event(2, "slow", "bob", None));
    checks.offer(&world, reactions(3, "slow"));
    checks.offer(&world, event(4, "demo", "ann", None));
    // Behind a removal only the same user waits.
    checks.offer(&world, event(5, "demo", "bob", Some(4)));
    checks.offer(&world, event(6, "demo", "bob", None));
    checks.offer(&world, event(7, "demo", "ann", None));
    checks.offer(&world, reactions(8, "demo"));
    assert_eq!(requests(&mut checks), [4, 7, 8]);
    let slow = LookUp::Stream(id_of("slow"));
    let author = LookUp::Author(id_of("demo"), CommentId(4));
    assert_eq!(checks.next_look_up(), Some(slow.clone()));
    assert_eq!(checks.next_look_up(), Some(author.clone()));
    assert_eq!(checks.next_look_up(), None);
    let user = "ann".to_owned();
    let found = Author {
        user,
        removed_by: Some(CommentId(99)),
    };
    checks.found(&world, &author, &Found::Author(Ok(Some(found))));
    let admitted = take(&mut checks);
    let outcome = Outcome::Stored {
        id: CommentId(99),
        duplicate: true,
    };
    assert!(
        matches!(&admitted[0], Admitted::Answered { request: 5, outcome: it } if *it == outcome)
    );
    assert!(matches!(admitted[1], Admitted::Event { request: 6, .. }));
    checks.found(&world, &slow, &world.learn("slow", StreamStatus::Live));
    assert_eq!(requests(&mut checks), [1, 2, 3]);
    assert_eq!(checks.waiting(), 0);
}

#[test]
fn nobody_can_say_is_said_to_all_that_wait_for_it() {
    let (world, mut checks) = (World::new(), Checks::default());
    for request in 1..=3 {
        checks.offer(&world, event(request, "slow", "ann", None));
    }
    let look_up = checks.next_look_up().expect("one");
    checks.found(&world, &look_up, &Found::Stream(Err(Away)));
    for admitted in take(&mut checks) {
        let unknown = matches!(
            &admitted,
            Admitted::Answered { outcome, .. } if *outcome == Outcome::Unknown
        );
        assert!(unknown, "{admitted:?}");
    }
    assert_eq!((checks.waiting(), checks.next_look_up()), (0, None));
    world.learn("demo", StreamStatus::Live);
    checks.offer(&world, event(4, "demo", "ann", Some(9)));
    let look_up = checks.next_look_up().expect("one");
    checks.found(&world, &look_up, &Found::Author(Err(Away)));
    assert!(matches!(
        take(&mut checks)[..],
        [Admitted::Refused {
            reason: Reason::Unavailable,
            retry_after_ms: Some(RETRY_MS),
            ..
        }]
    ));
}

#[test]
fn there_is_room_for_so_many_and_one_stream_does_not_take_it_all() {
    let (world, mut checks) = (World::new(), Checks::default());
    let mut request = 0;
    for stream in ["a", "b", "c", "d", "e"] {
        for _ in 0..=WAITING_OF_STREAM_MAX {
            request += 1;
            checks.offer(&world, event(request, stream, "ann", None));
        }
    }
    assert_eq!(checks.waiting(), WAITING_MAX);
    let admitted = take(&mut checks);
    assert_eq!(admitted.len(), 4 + WAITING_OF_STREAM_MAX + 1);
    assert!(
        (admitted.iter()).all(|each| matches!(each, Admitted::Shed { .. })),
        "shed, and nothing else"
    );
    let found = world.learn("a", StreamStatus::Live);
    checks.found(&world, &LookUp::Stream(id_of("a")), &found);
    assert_eq!(take(&mut checks).len(), WAITING_OF_STREAM_MAX);
    checks.offer(&world, event(0, "e", "ann", None));
    assert_eq!(requests(&mut checks), [] as [u64; 0], "there is room again");
}

/// Look-ups end late and in any order; the seed is in the failure.
#[test]
fn the_order_of_a_user_and_stream_holds_under_any_delays() {
    for seed in 0..1_000 {
        run(seed);
    }
}

fn run(seed: u64) {
    let state = Cell::new(seed * 2 + 1);
    let draw = |below: u64| {
        state.set(
            state
                .get()
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407),
        );
        (state.get() >> 33) % below
    };
    let (world, mut checks) = (World::new(), Checks::default());
    let mut under_way: Vec<LookUp> = Vec::new();
    let mut offered: BTreeMap<(StreamId, Option<UserId>), Vec<u64>> = BTreeMap::new();
    let mut places = HashMap::new();
    let mut came: BTreeMap<(StreamId, Option<UserId>), Vec<u64>> = BTreeMap::new();
    let mut left = 200;
    while left > 0 || checks.waiting() > 0 {
        if left > 0 && draw(3) > 0 {
            left -= 1;
            let request = 200 - left;
            let stream = ["a", "b", "c"][draw(3) as usize];
            let publication = match draw(6) {
                0 => reactions(request, stream),
                1 | 2 => event(
                    request,
                    stream,
                    ["ann", "bob"][draw(2) as usize],
                    Some(draw(3)),
                ),
                _ => event(request, stream, ["ann", "bob"][draw(2) as usize], None),
            };
            let place = (publication.stream.clone(), publication.user().cloned());
            offered.entry(place.clone()).or_default().push(request);
            places.insert(request, place);
            checks.offer(&world, publication);
        } else if !under_way.is_empty() {
            let look_up = under_way.swap_remove(draw(under_way.len() as u64) as usize);
            let found = match &look_up {
                LookUp::Stream(_) if draw(4) == 0 => Found::Stream(Err(Away)),
                LookUp::Stream(stream) if draw(4) == 0 => {
                    Found::Stream(Ok(Some(life(stream.as_str(), StreamStatus::Live))))
                }
                LookUp::Stream(stream) => world.learn(stream.as_str(), StreamStatus::Live),
                LookUp::Author(..) if draw(4) == 0 => Found::Author(Err(Away)),
                LookUp::Author(..) => Found::Author(Ok(None)),
            };
            checks.found(&world, &look_up, &found);
            if draw(8) == 0 {
                // The directory forgets.
                world.streams.borrow_mut().clear();
            }
        }
        under_way.extend(std::iter::from_fn(|| checks.next_look_up()));
        let different: HashSet<&LookUp> = under_way.iter().collect();
        assert_eq!(different.len(), under_way.len(), "seed {seed}: asked twice");
        for request in requests(&mut checks) {
            came.entry(places[&request].clone())
                .or_default()
                .push(request);
        }
    }
    assert_eq!(came, offered, "seed {seed}");
}
