//! People at the PoPs of several regions: each watches, some write at a steady rate. Like a browser, one whose connection ends
//! goes to the next PoP with its `resume`, and sends again what has no outcome.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chorus_client::protocol::server::{Joined, Receipt, ReceiptStatus, Refusal, ServerMessage};
use chorus_client::protocol::{ClientId, Comment, StreamId};
use chorus_client::{Client, Endpoint, Event, Options};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::faults::check::{Heard, Post, Said, Shown, Viewer};
use crate::random::Random;

/// For a connection, and for the answer to a join.
const CONNECT_MAX: Duration = Duration::from_secs(2);
const JOIN_MAX: Duration = Duration::from_secs(5);
/// The n-th wait before a connection is at most the first × 2ⁿ.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A connection that held for so long begins anew.
const HELD: Duration = Duration::from_secs(10);
/// Without a message for so long a ping is sent, and so long after it the connection is given up.
const SILENCE: Duration = Duration::from_secs(25);
const SILENCE_PINGED: Duration = Duration::from_secs(10);
/// Without an outcome a post is sent again for so long.
const UNCONFIRMED: Duration = Duration::from_secs(30);
/// A post that is later than this had to wait for a connection, and is measured from when it was due.
const LATE: Duration = Duration::from_millis(50);
/// Numbers of a lane, which are one author's, or those of several who write the same under the same keys.
pub(crate) const LANE: u64 = 1_000_000;

/// A PoP.
#[derive(Clone, Debug)]
pub(crate) struct Pop {
    /// Its region, or another name.
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) endpoint: Endpoint,
}

/// What an author writes.
#[derive(Clone, Copy)]
pub(crate) struct Writing {
    /// Its numbers are `lane * LANE` and above.
    pub(crate) lane: u64,
    /// From one post to the next.
    pub(crate) every: Duration,
    /// The first one is so late.
    pub(crate) after: Duration,
}

/// What is told about all posts; by number.
#[derive(Clone, Default)]
pub(crate) struct Posts(Arc<Mutex<BTreeMap<u64, Post>>>);

impl Posts {
    /// A copy of all.
    pub(crate) fn all(&self) -> BTreeMap<u64, Post> {
        lock(&self.0).clone()
    }

    /// How many there are, and how many of them are durable.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let posts = lock(&self.0);
        let durable = posts.values().filter(|it| it.durable_at().is_some());
        (posts.len(), durable.count())
    }

    fn wrote(&self, number: u64, author: &str, at: Duration) {
        // Another of the same lane may have written it.
        lock(&self.0).entry(number).or_insert_with(|| Post {
            author: author.to_owned(),
            at,
            answers: Vec::new(),
        });
    }

    fn answered(&self, number: u64, at: Duration, said: Said) {
        if let Some(post) = lock(&self.0).get_mut(&number) {
            post.answers.push((at, said));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all people of a run have in common.
#[derive(Clone)]
pub(crate) struct Scene {
    /// Marks this run's texts and keys.
    pub(crate) run: String,
    pub(crate) stream: StreamId,
    pub(crate) pops: Arc<[Pop]>,
    pub(crate) posts: Posts,
    pub(crate) began: Instant,
    /// No more is written.
    pub(crate) quiet: watch::Receiver<bool>,
    /// All leave.
    pub(crate) over: watch::Receiver<bool>,
}

impl Scene {
    /// The text of the comment with this number.
    fn text(&self, number: u64) -> String {
        format!("chorus {} #{number}.", self.run)
    }

    /// The number in a text; `None` for a text of another run.
    pub(crate) fn number(&self, text: &str) -> Option<u64> {
        let (_, rest) = text.split_once(&format!("chorus {} #", self.run))?;
        rest.split_once('.')?.0.parse().ok()
    }

    fn key(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    fn shown(&self, comments: &[Comment]) -> Vec<Shown> {
        let of = |comment: &Comment| {
            Some(Shown {
                id: comment.id,
                number: self.number(&comment.content)?,
            })
        };
        comments.iter().filter_map(of).collect()
    }
}

/// A person.
pub(crate) struct Person {
    scene: Scene,
    /// Which PoP is next, modulo their number.
    at: usize,
    options: Options,
    writing: Option<Writing>,
    viewer: Arc<Mutex<Viewer>>,
    name: String,
    random: Random,
    resume: Option<String>,
    /// Sent or to be sent, without an outcome: when it was written.
    open: BTreeMap<u64, Instant>,
    by_key: HashMap<String, u64>,
    next: u64,
}

/// Why a connection is not used any more.
enum End {
    Over,
    Lost(String),
}

impl Person {
    /// One whose first PoP is the one at `at`; with a token and `writing` it is an author.
    pub(crate) fn new(
        scene: &Scene,
        at: usize,
        name: String,
        seed: u64,
        token: Option<String>,
        writing: Option<Writing>,
    ) -> Self {
        let options = Options {
            token,
            connect_ms_max: CONNECT_MAX.as_millis() as u64,
            ..Options::default()
        };
        let viewer = Viewer {
            name: name.clone(),
            heard: Vec::new(),
        };
        Self {
            scene: scene.clone(),
            at,
            options,
            writing,
            viewer: Arc::new(Mutex::new(viewer)),
            random: Random::new(seed, &name),
            name,
            resume: None,
            open: BTreeMap::new(),
            by_key: HashMap::new(),
            next: 0,
        }
    }

    /// What it hears, also while it runs.
    pub(crate) fn viewer(&self) -> Arc<Mutex<Viewer>> {
        Arc::clone(&self.viewer)
    }

    /// Watches and writes until all is over.
    pub(crate) async fn run(mut self) {
        let mut tries = 0;
        loop {
            let began = Instant::now();
            let end = self.visit().await;
            let End::Lost(why) = end else {
                return;
            };
            let pop = &self.scene.pops[self.at % self.scene.pops.len()];
            let words = format!("{}: {why}", pop.name);
            self.heard(Heard::Lost(words));
            self.at += 1;
            tries = if began.elapsed() > HELD { 0 } else { tries + 1 };
            let most = (BACKOFF_FIRST * 2_u32.saturating_pow(tries)).min(BACKOFF_MAX);
            let wait = most.mul_f64(self.random.share());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.scene.over.wait_for(|&over| over) => return,
            }
        }
    }

    fn since(&self) -> Duration {
        self.scene.began.elapsed()
    }

    fn heard(&self, heard: Heard) {
        let at = self.since();
        lock(&self.viewer).heard.push((at, heard));
    }

    async fn visit(&mut self) -> End {
        let pop = self.scene.pops[self.at % self.scene.pops.len()].clone();
        let mut client = match Client::connect_to(&pop.endpoint, &self.options).await {
            Ok(client) => client,
            Err(error) => return End::Lost(error.to_string()),
        };
        let stream = self.scene.stream.clone();
        if let Err(error) = client.join(&stream, self.resume.as_deref()).await {
            return End::Lost(error.to_string());
        }
        let end = match self.stay(&mut client).await {
            Ok(()) => return End::Over,
            Err(why) => End::Lost(why),
        };
        // Nothing is awaited of a PoP that may be dead.
        drop(client);
        end
    }

    /// Until all is over; the error says why the connection is not used any more.
    async fn stay(&mut self, client: &mut Client) -> Result<(), String> {
        let mut is_joined = false;
        let mut pinged = None;
        let mut last = Instant::now();
        let join_by = last + JOIN_MAX;
        loop {
            let post_at = if is_joined { self.due() } else { None };
            let look_at = match (is_joined, pinged) {
                (false, _) => join_by,
                (true, None) => last + SILENCE,
                (true, Some(at)) => at + SILENCE_PINGED,
            };
            let wake_at = post_at.map_or(look_at, |at| at.min(look_at));
            let mut over = self.scene.over.clone();
            let event = tokio::select! {
                _ = over.wait_for(|&over| over) => return Ok(()),
                event = client.next_until(wake_at) => event,
            };
            let Some(event) = event else {
                if post_at.is_some_and(|at| at <= Instant::now()) {
                    self.write(client).await?;
                } else if !is_joined {
                    return Err("the join was not answered".to_owned());
                } else if pinged.is_some() {
                    return Err("silent, also after a ping".to_owned());
                } else {
                    pinged = Some(Instant::now());
                    self.sent(client.ping(serde_json::Value::Null).await)?;
                }
                continue;
            };
            (last, pinged) = (Instant::now(), None);
            match event {
                Event::Message(message) => {
                    if self.take(*message)? {
                        is_joined = true;
                        self.send_open(client).await?;
                    }
                }
                Event::Unreadable(why) => return Err(why),
                Event::Closed(close) => return Err(format!("{close:?}")),
            }
        }
    }

    fn sent<E: std::fmt::Display>(&self, result: Result<(), E>) -> Result<(), String> {
        result.map_err(|error| error.to_string())
    }

    /// When the next post is due.
    fn due(&self) -> Option<Instant> {
        let writing = self.writing?;
        if *self.scene.quiet.borrow() {
            return None;
        }
        let after = writing.after + writing.every * u32::try_from(self.next).ok()?;
        Some(self.scene.began + after)
    }

    /// Writes what is due, also what was due while there was no connection.
    async fn write(&mut self, client: &mut Client) -> Result<(), String> {
        while let (Some(writing), Some(due)) = (self.writing, self.due()) {
            if due > Instant::now() {
                return Ok(());
            }
            let number = writing.lane * LANE + self.next;
            self.next += 1;
            // Late because of this machine's timers, or because there was no connection.
            let at = if due.elapsed() < LATE {
                self.since()
            } else {
                due.saturating_duration_since(self.scene.began)
            };
            self.scene.posts.wrote(number, &self.name, at);
            self.open.insert(number, due);
            self.by_key.insert(self.scene.key(number), number);
            self.post(client, number).await?;
        }
        Ok(())
    }

    async fn post(&self, client: &mut Client, number: u64) -> Result<(), String> {
        let key = ClientId::new(&self.scene.key(number)).map_err(|error| error.to_string())?;
        let text = self.scene.text(number);
        self.sent(client.post(&self.scene.stream, &key, &text).await)
    }

    /// Sends again what has no outcome, and gives up what has none for too long.
    async fn send_open(&mut self, client: &mut Client) -> Result<(), String> {
        let open: Vec<(u64, Instant)> = self.open.iter().map(|(it, at)| (*it, *at)).collect();
        for (number, at) in open {
            if at.elapsed() > UNCONFIRMED {
                self.answered(number, Said::Unconfirmed);
            } else {
                self.post(client, number).await?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, number: u64, said: Said) {
        self.open.remove(&number);
        self.scene.posts.answered(number, self.since(), said);
    }

    /// Takes in a message; returns whether it answers the join.
    fn take(&mut self, message: ServerMessage) -> Result<bool, String> {
        if let ServerMessage::Joined(joined) = message {
            self.joined(&joined);
            return Ok(true);
        }
        match message {
            ServerMessage::CommentsBatch {
                comments, resume, ..
            } => {
                self.resume = Some(resume);
                self.heard(Heard::Batch(self.scene.shown(&comments)));
            }
            ServerMessage::CommentsRemoved { comment_ids, .. } => {
                self.heard(Heard::Removed(comment_ids));
            }
            ServerMessage::Receipt(receipt) => self.receipt(&receipt),
            ServerMessage::Error(refusal) => self.refused(&refusal)?,
            ServerMessage::Joined(_)
            | ServerMessage::CommentUpdated { .. }
            | ServerMessage::ReactionsBatch { .. }
            | ServerMessage::ViewerCount { .. }
            | ServerMessage::StreamUpdated { .. }
            | ServerMessage::Notice { .. }
            | ServerMessage::Mention { .. }
            | ServerMessage::Pong(_) => {}
        }
        Ok(false)
    }

    fn joined(&mut self, joined: &Joined) {
        let resumed = self.resume.is_some();
        self.resume = Some(joined.resume.clone());
        if !joined.removed.is_empty() {
            self.heard(Heard::Removed(joined.removed.clone()));
        }
        self.heard(Heard::Joined {
            resumed,
            gap: joined.gap,
            comments: self.scene.shown(&joined.comments),
        });
    }

    fn receipt(&mut self, receipt: &Receipt) {
        let Some(&number) = self.by_key.get(&receipt.client_id) else {
            return;
        };
        match (&receipt.status, receipt.comment_id) {
            (ReceiptStatus::Durable, Some(id)) => self.answered(number, Said::Durable(id)),
            (ReceiptStatus::Rejected, _) => {
                let reason = receipt.reason.clone().unwrap_or_default();
                self.answered(number, Said::Rejected(reason));
            }
            _ => {}
        }
    }

    fn refused(&mut self, refusal: &Refusal) -> Result<(), String> {
        let number = refusal
            .client_id
            .as_ref()
            .and_then(|key| self.by_key.get(key));
        match number {
            Some(&number) if refusal.code == "unconfirmed" => {
                self.answered(number, Said::Unconfirmed);
                Ok(())
            }
            Some(&number) => {
                self.answered(number, Said::Rejected(refusal.code.clone()));
                Ok(())
            }
            None => Err(format!("{}: {}", refusal.code, refusal.message)),
        }
    }
}
