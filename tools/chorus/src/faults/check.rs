//! The checker: compares what authors were told and viewers were shown with what logs and stores hold. It knows nothing of
//! how Chorus works: a comment is known by the number in its text.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chorus_client::protocol::CommentId;

/// Faults of a kind that are told one by one; further ones are counted.
const TOLD_MAX: usize = 5;

/// What an author was told about a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is stored.
    Durable(CommentId),
    /// It is certainly not stored; the reason.
    Rejected(String),
    /// Nobody knows.
    Unconfirmed,
}

/// A post, sent once or again under the same key.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// Who wrote it.
    pub(crate) author: String,
    /// When it was written, since the row began.
    pub(crate) at: Duration,
    /// What was told about it, and when.
    pub(crate) answers: Vec<(Duration, Said)>,
}

impl Post {
    /// When it was first told to be stored.
    pub(crate) fn durable_at(&self) -> Option<Duration> {
        let durable =
            |(at, said): &(Duration, Said)| matches!(said, Said::Durable(_)).then_some(*at);
        self.answers.iter().filter_map(durable).min()
    }

    /// Refused, and never told to be stored.
    fn refusal(&self) -> Option<&str> {
        if self.durable_at().is_some() {
            return None;
        }
        self.answers.iter().find_map(|(_, said)| match said {
            Said::Rejected(reason) => Some(reason.as_str()),
            Said::Durable(_) | Said::Unconfirmed => None,
        })
    }

    fn is_unconfirmed(&self) -> bool {
        self.durable_at().is_none() && self.refusal().is_none()
    }
}

/// A comment of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) id: CommentId,
    /// The number in its text.
    pub(crate) number: u64,
}

/// What a viewer heard.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    /// The answer to a join.
    Joined {
        /// There was a `resume`.
        resumed: bool,
        /// What was missed is not all there.
        gap: bool,
        comments: Vec<Shown>,
    },
    /// Comments.
    Batch(Vec<Shown>),
    /// Comments were taken away.
    Removed(Vec<CommentId>),
    /// The connection ended.
    Lost(String),
}

/// A viewer over all its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Viewer {
    pub(crate) name: String,
    /// What it heard, and when, since the row began.
    pub(crate) heard: Vec<(Duration, Heard)>,
}

/// What a region's store shows over REST, all pages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) region: String,
    pub(crate) comments: Vec<Shown>,
}

/// What a region's log holds of the stream, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) region: String,
    /// Sequence, and the number in the text.
    pub(crate) comments: Vec<(u64, u64)>,
}

/// All that was recorded of a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    /// By number.
    pub(crate) posts: BTreeMap<u64, Post>,
    pub(crate) viewers: Vec<Viewer>,
    pub(crate) stores: Vec<Store>,
    pub(crate) logs: Vec<Log>,
    /// When the row ended, since it began.
    pub(crate) end: Duration,
}

/// The longest of several waits, and whose it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Longest {
    pub(crate) time: Duration,
    pub(crate) whose: String,
}

impl Longest {
    fn take(&mut self, time: Duration, whose: impl FnOnce() -> String) {
        if time > self.time {
            let whose = whose();
            *self = Self { time, whose };
        }
    }
}

/// What the checker found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) posts: usize,
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    /// Why, and how many.
    pub(crate) reasons: BTreeMap<String, usize>,
    pub(crate) unconfirmed: usize,
    /// Acknowledged, and not in a log, or not in the store of a region.
    pub(crate) lost: Vec<String>,
    /// Shown, delivered or stored twice.
    pub(crate) doubled: Vec<String>,
    /// Stored, and neither shown to a viewer nor told by `gap`.
    pub(crate) holes: Vec<String>,
    /// Refused as certainly not stored, and stored.
    pub(crate) belied: Vec<String>,
    /// Told by `gap`, viewer by viewer.
    pub(crate) gaps: usize,
    /// Connections that ended.
    pub(crate) moves: usize,
    /// From a post to the first `durable` of its author for it or a later one.
    pub(crate) write: Longest,
    /// From `durable` of a post to a viewer to whom it was shown.
    pub(crate) read: Longest,
}

impl Verdict {
    /// Nothing lost, doubled or silently missing.
    pub(crate) fn is_clean(&self) -> bool {
        let kinds = [&self.lost, &self.doubled, &self.holes, &self.belied];
        kinds.iter().all(|found| found.is_empty())
    }

    /// What failed, in words. Without bounds, of `write` and of `read`, times are not judged.
    pub(crate) fn failures(&self, longest_max: Option<(Duration, Duration)>) -> Vec<String> {
        let mut words = Vec::new();
        let kinds = [&self.lost, &self.doubled, &self.holes, &self.belied];
        for found in kinds {
            words.extend(found.iter().take(TOLD_MAX).cloned());
            if found.len() > TOLD_MAX {
                words.push(format!("… and {} more of these", found.len() - TOLD_MAX));
            }
        }
        let Some((write_max, read_max)) = longest_max else {
            return words;
        };
        if self.posts > 0 && self.acknowledged == 0 {
            words.push("no post was acknowledged".to_owned());
        }
        let times = [
            ("post → durable", &self.write, write_max),
            ("durable → shown", &self.read, read_max),
        ];
        for (what, longest, max) in times {
            if longest.time > max {
                words.push(format!(
                    "{what} took {} ms, at most {} expected: {}",
                    longest.time.as_millis(),
                    max.as_millis(),
                    longest.whose
                ));
            }
        }
        words
    }
}

/// Compares everything with everything.
pub(crate) fn check(records: &Records) -> Verdict {
    let posts = &records.posts;
    let acknowledged: BTreeSet<u64> = posts
        .iter()
        .filter(|(_, post)| post.durable_at().is_some())
        .map(|(number, _)| *number)
        .collect();
    let mut verdict = Verdict {
        posts: posts.len(),
        acknowledged: acknowledged.len(),
        refused: posts.values().filter(|it| it.refusal().is_some()).count(),
        unconfirmed: posts.values().filter(|it| it.is_unconfirmed()).count(),
        ..Verdict::default()
    };
    for reason in posts.values().filter_map(Post::refusal) {
        *verdict.reasons.entry(reason.to_owned()).or_default() += 1;
    }
    logs(records, &acknowledged, &mut verdict);
    stores(records, &acknowledged, &mut verdict);
    refusals(records, &mut verdict);
    let stored = records.stores.iter().flat_map(|store| &store.comments);
    let mut due = acknowledged;
    due.extend(stored.map(|it| it.number));
    for viewer in &records.viewers {
        watch(viewer, records, &due, &mut verdict);
    }
    writes(records, &mut verdict);
    verdict
}

fn id_of(post: &Post) -> String {
    let id = post.answers.iter().find_map(|(_, said)| match said {
        Said::Durable(id) => Some(id.to_string()),
        Said::Rejected(_) | Said::Unconfirmed => None,
    });
    id.map_or_else(String::new, |id| format!(" (id {id}, by {})", post.author))
}

fn named(records: &Records, number: u64) -> String {
    let post = records.posts.get(&number);
    format!("#{number}{}", post.map(id_of).unwrap_or_default())
}

fn logs(records: &Records, acknowledged: &BTreeSet<u64>, verdict: &mut Verdict) {
    let mut in_any = BTreeSet::new();
    for log in &records.logs {
        let mut sequences: BTreeMap<u64, u64> = BTreeMap::new();
        for (sequence, number) in &log.comments {
            if let Some(first) = sequences.insert(*number, *sequence) {
                verdict.doubled.push(format!(
                    "{} is twice in the log of {}: at {first} and {sequence}",
                    named(records, *number),
                    log.region
                ));
            }
        }
        in_any.extend(sequences.into_keys());
    }
    if records.logs.is_empty() {
        return;
    }
    for number in acknowledged.difference(&in_any) {
        let words = format!("{} was durable and is in no log", named(records, *number));
        verdict.lost.push(words);
    }
}

fn stores(records: &Records, acknowledged: &BTreeSet<u64>, verdict: &mut Verdict) {
    for store in &records.stores {
        let mut ids: BTreeMap<u64, CommentId> = BTreeMap::new();
        for shown in &store.comments {
            if let Some(first) = ids.insert(shown.number, shown.id) {
                verdict.doubled.push(format!(
                    "#{} is twice in the history of {}: as {first} and {}",
                    shown.number, store.region, shown.id
                ));
            }
        }
        for number in acknowledged {
            if !ids.contains_key(number) {
                verdict.lost.push(format!(
                    "{} was durable and is not in the history of {}",
                    named(records, *number),
                    store.region
                ));
            }
        }
    }
}

fn refusals(records: &Records, verdict: &mut Verdict) {
    let stored = records.stores.iter().flat_map(|store| &store.comments);
    let stored = stored.map(|it| it.number);
    let logged = records.logs.iter().flat_map(|log| &log.comments);
    let held: BTreeSet<u64> = stored.chain(logged.map(|(_, number)| *number)).collect();
    for (number, post) in &records.posts {
        if let Some(reason) = post.refusal()
            && held.contains(number)
        {
            let words = format!(
                "#{number} by {} was refused ({reason}) and is stored",
                post.author
            );
            verdict.belied.push(words);
        }
    }
}

/// What is shown to a viewer now.
#[derive(Default)]
struct Screen {
    by_id: BTreeMap<CommentId, u64>,
    removed: BTreeSet<CommentId>,
    /// When each number was shown first.
    first: BTreeMap<u64, Duration>,
}

fn watch(viewer: &Viewer, records: &Records, due: &BTreeSet<u64>, verdict: &mut Verdict) {
    let mut screen = Screen::default();
    // What was written before is not missed.
    let mut excused = None;
    for (at, heard) in &viewer.heard {
        match heard {
            Heard::Joined {
                resumed,
                gap,
                comments,
            } => {
                let is_anew = *gap || !resumed;
                if is_anew {
                    excused = Some(*at);
                }
                if *gap && *resumed {
                    verdict.gaps += 1;
                }
                show(viewer, &mut screen, comments, *at, is_anew, verdict);
            }
            Heard::Batch(comments) => show(viewer, &mut screen, comments, *at, false, verdict),
            Heard::Removed(ids) => {
                for id in ids {
                    screen.by_id.remove(id);
                    screen.removed.insert(*id);
                }
            }
            Heard::Lost(_) => verdict.moves += 1,
        }
    }
    let mut numbers: BTreeMap<u64, CommentId> = BTreeMap::new();
    for (id, number) in &screen.by_id {
        if let Some(other) = numbers.insert(*number, *id) {
            verdict.doubled.push(format!(
                "#{number} is shown twice to {}: as {other} and {id}",
                viewer.name
            ));
        }
    }
    for number in due {
        let post = records.posts.get(number);
        if let Some(shown) = screen.first.get(number) {
            if let Some(durable) = post.and_then(Post::durable_at) {
                verdict.read.take(shown.saturating_sub(durable), || {
                    format!("{} to {}", named(records, *number), viewer.name)
                });
            }
            continue;
        }
        let is_excused = excused.is_some_and(|excused| post.is_none_or(|post| post.at < excused));
        if !is_excused {
            verdict.holes.push(format!(
                "{} was never shown to {}, who was told of no gap",
                named(records, *number),
                viewer.name
            ));
        }
    }
}

fn show(
    viewer: &Viewer,
    screen: &mut Screen,
    comments: &[Shown],
    at: Duration,
    may_repeat: bool,
    verdict: &mut Verdict,
) {
    for Shown { id, number } in comments {
        if screen.removed.contains(id) {
            continue;
        }
        screen.first.entry(*number).or_insert(at);
        if screen.by_id.insert(*id, *number).is_some() && !may_repeat {
            verdict.doubled.push(format!(
                "#{number} (id {id}) was delivered again to {} after {} ms",
                viewer.name,
                at.as_millis()
            ));
        }
    }
}

fn writes(records: &Records, verdict: &mut Verdict) {
    let mut authors: BTreeMap<&str, Vec<(u64, &Post)>> = BTreeMap::new();
    for (number, post) in &records.posts {
        let posts = authors.entry(&post.author).or_default();
        posts.push((*number, post));
    }
    for (author, mut posts) in authors {
        posts.sort_by_key(|(_, post)| post.at);
        let mut served = records.end;
        for (number, post) in posts.into_iter().rev() {
            served = served.min(post.durable_at().unwrap_or(Duration::MAX));
            let waited = served.saturating_sub(post.at);
            verdict
                .write
                .take(waited, || format!("#{number} by {author}"));
        }
    }
}
