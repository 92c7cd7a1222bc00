//! A stream's evening, drawn from a seed: viewers come, go and come back, also at another PoP; two regions write;
//! deliveries come late, twice or not at all; the logs answer late, wrongly or never; machines are replaced.
//!
//! What must hold: a viewer that follows its `resume` tokens sees every comment exactly once, or is told of a gap;
//! each message is sorted by id.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chorus_protocol::codes::RemovalReason;
use chorus_protocol::server::ServerMessage;
use chorus_protocol::session::{Delivery, Replayed};
use chorus_protocol::{Comment, CommentId, Encoding, Position};
use serde_json::json;

use crate::machine::Make;
use crate::origin::{Origin, envelope};
use crate::pop::{Asked, Pop};

const REGIONS: [&str; 2] = ["eu", "us"];

/// A small generator: the same seed, the same evening.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number (splitmix64).
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How an evening went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Comments written.
    pub written: u64,
    /// Comments taken away.
    pub removed: u64,
    /// Times a viewer was told of one.
    pub told: u64,
    /// Comments seen, over all viewers.
    pub seen: u64,
    /// Times a viewer came back.
    pub resumes: u64,
    /// Times it was told of a gap.
    pub gaps: u64,
    /// Questions to the logs.
    pub asked: u64,
    /// Viewers closed with 1001.
    pub closed: u64,
    /// Times a part was lost to a session for good.
    pub lost: u64,
}

struct Viewer {
    encoding: Encoding,
    /// Which PoP, and the connection there.
    at: Option<(usize, u64)>,
    joined: bool,
    token: Option<String>,
    /// What it must have seen all of, from there on.
    since: Position,
    seen: BTreeSet<u64>,
    /// What it was told to have been taken away.
    removed: BTreeSet<u64>,
    /// See [`overtaken`]: a PoP that never heard of those removals shows the comments.
    overtaken: BTreeSet<u64>,
}

struct Place<'a> {
    pop: Pop<'a>,
    /// On the way from the logs.
    coming: BTreeMap<&'static str, VecDeque<Delivery>>,
    asked: Vec<Asked>,
}

struct Evening<'a> {
    dice: Dice,
    origin: Origin,
    places: Vec<Place<'a>>,
    viewers: Vec<Viewer>,
    ids: BTreeSet<u64>,
    /// Where each comment was written.
    written: BTreeMap<u64, (&'static str, u64)>,
    /// Where each removal was, and of which comment.
    removals: Vec<(&'static str, u64, u64)>,
    outcome: Outcome,
}

/// Plays an evening of `steps` steps; panics when a viewer saw what it should not have, or did not see what it
/// should have. Say the seed when it does.
pub fn evening(make: Make<'_>, seed: u64, steps: u64) -> Outcome {
    let mut dice = Dice(seed);
    let mut pops = Vec::new();
    for _ in 0..2 {
        let mut pop = Pop::new(make, false);
        pop.config.limits.recent_max = 20 + dice.below(100) as u32;
        pop.config.limits.messages_burst = 100_000;
        pop.config.limits.resume_max = 60 + dice.below(2_000) as u32;
        pop.config.limits.resume_first_max = 5 + dice.below(50) as u32;
        pop.config.batching.window_ms_max = [0, 100, 1_000][dice.below(3) as usize];
        pop.config.batching.comments_max = 1 + dice.below(50) as u32;
        pop.lease();
        pops.push(pop);
    }
    let places = pops.into_iter().map(|pop| Place {
        pop,
        coming: BTreeMap::new(),
        asked: Vec::new(),
    });
    let mut evening = Evening {
        origin: Origin::new("demo", &REGIONS),
        places: places.collect(),
        viewers: Vec::new(),
        ids: BTreeSet::new(),
        written: BTreeMap::new(),
        removals: Vec::new(),
        outcome: Outcome::default(),
        dice,
    };
    for i in 0..12 {
        evening.viewers.push(Viewer {
            encoding: Encoding::ALL[i % 2],
            at: None,
            joined: false,
            token: None,
            since: Position::default(),
            seen: BTreeSet::new(),
            removed: BTreeSet::new(),
            overtaken: BTreeSet::new(),
        });
    }
    for _ in 0..steps {
        evening.step();
        evening.look();
    }
    evening.end();
    evening.outcome
}

impl Evening<'_> {
    fn step(&mut self) {
        let viewer = self.dice.below(self.viewers.len() as u64) as usize;
        let place = self.dice.below(self.places.len() as u64) as usize;
        match self.dice.below(100) {
            0..35 => self.write(),
            35..60 => self.deliver(place),
            60..72 => self.pass(),
            72..78 => self.answer(place),
            78..80 => self.state_asked(place),
            80..92 => self.come_or_go(viewer, place),
            92..95 => self.places[place].pop.restart(),
            95 if self.dice.one_in(6) => self.new_state(place),
            _ => self.deliver_all(place),
        }
    }

    fn write(&mut self) {
        for _ in 0..=self.dice.below(4) {
            let mut id = 1_000 + 16 * self.outcome.written + self.dice.below(400);
            while !self.ids.insert(id) {
                id += 1;
            }
            self.outcome.written += 1;
            let region = REGIONS[self.dice.below(2) as usize];
            let delivery = self.origin.write(region, id, "hi");
            self.written.insert(id, (region, delivery.to));
            self.send(region, &delivery);
            if self.dice.one_in(6) {
                self.remove();
            }
        }
    }

    /// Takes one of the last comments away, which may overtake the comment.
    fn remove(&mut self) {
        let which = self.dice.below(30) as usize;
        let Some(&target) = self.ids.iter().rev().nth(which) else {
            return;
        };
        let region = REGIONS[self.dice.below(2) as usize];
        let reason = RemovalReason::ALL[self.dice.below(2) as usize];
        self.outcome.removed += 1;
        // Ids of decisions are none of the comments'.
        let id = (1 << 40) + self.outcome.removed;
        let delivery = self.origin.remove(region, id, target, reason);
        self.removals.push((region, delivery.to, target));
        self.send(region, &delivery);
    }

    fn send(&mut self, region: &'static str, delivery: &Delivery) {
        for place in &mut self.places {
            if place.pop.topics.is_empty() {
                continue;
            }
            // One in fifty is lost on the way; the next one shows it.
            if !self.dice.one_in(50) {
                place
                    .coming
                    .entry(region)
                    .or_default()
                    .push_back(delivery.clone());
            }
        }
    }

    fn deliver(&mut self, place: usize) {
        let region = REGIONS[self.dice.below(2) as usize];
        let mut inputs = Vec::new();
        let count = 1 + self.dice.below(5);
        let twice = self.dice.one_in(10);
        let place = &mut self.places[place];
        if place.pop.topics.is_empty() {
            return;
        }
        let coming = place.coming.entry(region).or_default();
        let count = coming.len().min(count as usize);
        for delivery in coming.drain(..count) {
            inputs.push(place.pop.delivery("demo", &delivery));
            if twice {
                inputs.push(place.pop.delivery("demo", &delivery));
            }
        }
        place.pop.feed(inputs);
    }

    fn deliver_all(&mut self, place: usize) {
        let place = &mut self.places[place];
        if place.pop.topics.is_empty() {
            return;
        }
        for region in REGIONS {
            for delivery in place.coming.entry(region).or_default().drain(..) {
                place.pop.deliver("demo", &delivery);
            }
        }
    }

    fn pass(&mut self) {
        let ms = match self.dice.below(40) {
            0 => 70_000,
            1..4 => 3_000,
            _ => self.dice.below(200),
        };
        for place in &mut self.places {
            place.pop.pass(ms);
            if place.pop.topics.is_empty() {
                // The stream was given up: nothing more comes of it.
                place.coming.clear();
            }
        }
    }

    fn answer(&mut self, place: usize) {
        let gap = self.dice.one_in(15);
        let never = self.dice.one_in(15);
        let which = self.dice.roll() as usize;
        let place = &mut self.places[place];
        place.asked.extend(place.pop.asked.drain(..));
        if place.asked.is_empty() {
            return;
        }
        let asked = place.asked.remove(which % place.asked.len());
        self.outcome.asked += 1;
        if never {
            return;
        }
        let replayed = if gap {
            Replayed {
                gap: true,
                events: vec![],
            }
        } else {
            self.origin.replay(&asked.range)
        };
        place.pop.replay(asked.request, &replayed);
    }

    /// The host lost its place and tells how the stream stands now.
    fn new_state(&mut self, place: usize) {
        let place = &mut self.places[place];
        place.pop.lost.clear();
        if !place.pop.topics.is_empty() {
            place.coming.clear();
            place.pop.state("demo", Some(self.origin.state()));
        }
    }

    /// A session that lost a part is told how the stream stands.
    fn state_asked(&mut self, place: usize) {
        if !self.places[place].pop.lost.is_empty() {
            self.outcome.lost += 1;
            self.new_state(place);
        }
    }

    fn come_or_go(&mut self, viewer: usize, place: usize) {
        if let Some((place, connection)) = self.viewers[viewer].at.take() {
            // What was sent before it went has arrived.
            self.read(viewer, place, connection);
            self.places[place].pop.gone(connection);
            self.viewers[viewer].joined = false;
            return;
        }
        let viewer = &mut self.viewers[viewer];
        let pop = &mut self.places[place].pop;
        let connection = pop.open(viewer.encoding, None);
        viewer.at = Some((place, connection));
        let mut payload = json!({"stream_id": "demo"});
        if let Some(token) = &viewer.token {
            payload["resume"] = json!(token);
            self.outcome.resumes += 1;
        }
        let followed = !pop.topics.is_empty();
        pop.say(connection, "join_stream", &payload);
        if !followed {
            self.places[place].coming.clear();
            self.places[place]
                .pop
                .state("demo", Some(self.origin.state()));
        }
    }

    /// Every viewer reads what came.
    fn look(&mut self) {
        for viewer in 0..self.viewers.len() {
            let Some((place, connection)) = self.viewers[viewer].at else {
                continue;
            };
            self.read(viewer, place, connection);
            if let Some(code) = self.places[place].pop.closed(connection) {
                assert_eq!(code, 1001);
                self.outcome.closed += 1;
                let viewer = &mut self.viewers[viewer];
                viewer.at = None;
                viewer.joined = false;
            }
        }
    }

    fn read(&mut self, viewer: usize, place: usize, connection: u64) {
        for message in self.places[place].pop.take(connection) {
            match message {
                ServerMessage::Joined(joined) => {
                    let viewer = &mut self.viewers[viewer];
                    assert!(!viewer.joined, "joined once");
                    viewer.joined = true;
                    if joined.gap || viewer.token.is_none() {
                        self.outcome.gaps += u64::from(joined.gap);
                        viewer.seen.clear();
                        viewer.removed.clear();
                        viewer.since = Position::from_token(&joined.resume).expect("a token");
                    }
                    for place in [&viewer.token, &Some(joined.resume.clone())] {
                        let early = overtaken(&self.removals, &self.written, place.as_deref());
                        viewer.overtaken.extend(early);
                    }
                    viewer.token = Some(joined.resume);
                    viewer.forget(&joined.removed, &mut self.outcome);
                    viewer.see(&joined.comments, &mut self.outcome);
                }
                ServerMessage::CommentsBatch {
                    comments, resume, ..
                } => {
                    let viewer = &mut self.viewers[viewer];
                    assert!(viewer.joined, "nothing comes before `joined`");
                    viewer.token = Some(resume);
                    viewer.see(&comments, &mut self.outcome);
                }
                ServerMessage::CommentsRemoved { comment_ids, .. } => {
                    let viewer = &mut self.viewers[viewer];
                    assert!(viewer.joined, "nothing comes before `joined`");
                    viewer.forget(&comment_ids, &mut self.outcome);
                }
                ServerMessage::ViewerCount { .. } | ServerMessage::ReactionsBatch { .. } => {}
                other => panic!("not expected: {other:?}"),
            }
        }
    }

    /// Everything arrives, and everybody must have seen it.
    fn end(&mut self) {
        for _ in 0..120 {
            for viewer in 0..self.viewers.len() {
                if self.viewers[viewer].at.is_none() {
                    let place = self.dice.below(2) as usize;
                    self.come_or_go(viewer, place);
                }
            }
            for place in 0..self.places.len() {
                self.state_asked(place);
                self.deliver_all(place);
                let place = &mut self.places[place];
                place.asked.extend(place.pop.asked.drain(..));
                for asked in place.asked.drain(..) {
                    place
                        .pop
                        .replay(asked.request, &self.origin.replay(&asked.range));
                }
                place.pop.pass(200);
            }
            // The last of a log may be lost without a trace behind it: gateways say so, as a delivery of nothing.
            for place in &mut self.places {
                for (region, (epoch, events)) in &self.origin.logs {
                    let seq = events.last().map_or(0, |event| event.seq);
                    let delivery = Delivery {
                        region: region.clone(),
                        epoch: *epoch,
                        from: seq,
                        to: seq,
                        events: vec![],
                    };
                    place.pop.deliver("demo", &delivery);
                }
            }
            self.look();
        }
        let removed = self.origin.removed();
        for (number, viewer) in self.viewers.iter().enumerate() {
            assert!(viewer.joined, "viewer {number} is answered");
            for (region, (epoch, events)) in &self.origin.logs {
                let since = viewer
                    .since
                    .get(region)
                    .filter(|offset| offset.epoch == *epoch);
                let since = since.map_or(0, |offset| offset.seq);
                for event in events.iter().filter(|event| event.seq > since) {
                    let envelope = envelope(&event.body);
                    let id = envelope.id.0;
                    assert!(
                        !envelope.is_comment()
                            || viewer.seen.contains(&id)
                            || removed.contains(&id),
                        "viewer {number} never saw {id}, {region} {}",
                        event.seq
                    );
                }
            }
            let still: Vec<&u64> = removed
                .intersection(&viewer.seen)
                .filter(|id| !viewer.removed.contains(id) && !viewer.overtaken.contains(id))
                .collect();
            assert!(still.is_empty(), "viewer {number} still shows {still:?}");
        }
    }
}

/// Comments that a place is before although it is behind their removals.
fn overtaken(
    removals: &[(&'static str, u64, u64)],
    written: &BTreeMap<u64, (&'static str, u64)>,
    place: Option<&str>,
) -> Vec<u64> {
    let Some(place) = place.and_then(Position::from_token) else {
        return Vec::new();
    };
    let reached = |region: &str, seq| {
        let offset = place.0.get(region);
        offset.is_some_and(|offset| offset.seq >= seq)
    };
    let early = removals.iter().filter(|&&(region, seq, target)| {
        let of = written.get(&target);
        reached(region, seq) && of.is_some_and(|&(region, seq)| !reached(region, seq))
    });
    early.map(|&(_, _, target)| target).collect()
}

impl Viewer {
    fn see(&mut self, comments: &[Comment], outcome: &mut Outcome) {
        assert!(
            comments.windows(2).all(|pair| pair[0].id < pair[1].id),
            "sorted by id"
        );
        for comment in comments {
            outcome.seen += 1;
            // A PoP that is behind may not have heard what another told: then it tells it again.
            self.removed.remove(&comment.id.0);
            assert!(
                self.seen.insert(comment.id.0),
                "{} is shown twice",
                comment.id
            );
        }
    }

    fn forget(&mut self, ids: &[CommentId], outcome: &mut Outcome) {
        outcome.told += ids.len() as u64;
        self.removed.extend(ids.iter().map(|id| id.0));
    }
}
