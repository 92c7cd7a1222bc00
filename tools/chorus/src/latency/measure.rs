//! A run: authors and viewers at every PoP, each where it lives, and how long each comment took.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_client::protocol::StreamId;
use chorus_client::protocol::server::ServerMessage;
use chorus_client::{Client, Event, Options};
use chorus_telemetry::say;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::faults::check::{Heard, Viewer};
use crate::people::{LANE, Person, Pop, Posts, Scene, Writing};
use crate::rig::{REGIONS, Rig};
use crate::wan;
use crate::wan::probe::Measured;

/// Until everybody has joined.
const JOINED_MAX: Duration = Duration::from_secs(30);
/// After the last post, for what is on its way.
const SETTLE: Duration = Duration::from_secs(3);
/// Pings to a PoP that is deployed.
const PINGS: usize = 10;

/// Where the people of a PoP are.
#[derive(Clone, Default)]
pub(crate) struct Place {
    /// Their network namespace, where it is not this process's.
    pub(crate) netns: Option<PathBuf>,
}

/// What to run.
#[derive(Clone)]
pub(crate) struct Plan {
    /// One for each PoP.
    pub(crate) places: Vec<Place>,
    pub(crate) pops: Vec<Pop>,
    pub(crate) token: Option<String>,
    pub(crate) stream: Option<String>,
    pub(crate) seconds: u32,
    pub(crate) viewers: u32,
    pub(crate) rate: u32,
}

/// Times in ms, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of them do not exceed; `None` when there is none.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        let rank = (self.0.len() as f64 * percent / 100.0).ceil().max(1.0);
        self.0.get(rank as usize - 1).copied()
    }
}

/// What was measured.
pub(crate) struct Run {
    /// The PoPs' names.
    pub(crate) names: Vec<String>,
    /// Post → durable at each PoP.
    pub(crate) durable: Vec<Times>,
    /// Post → shown, from each PoP to each.
    pub(crate) shown: Vec<Vec<Times>>,
    pub(crate) posts: usize,
    /// Posts that were not durable at the end.
    pub(crate) unanswered: usize,
    /// Viewers × comments that were not shown at the end.
    pub(crate) unseen: usize,
}

/// Posts for the plan's time and gathers what came.
///
/// # Errors
/// When not everybody can join.
pub(crate) fn run(plan: &Plan, runtime: &tokio::runtime::Runtime) -> Result<Run> {
    let (scene, quiet, over, tokens) = runtime.block_on(set(plan))?;
    let every = Duration::from_secs(1) / plan.rate;
    let mut threads = Vec::new();
    let mut viewers: Vec<Vec<Arc<Mutex<Viewer>>>> = Vec::new();
    for (at, place) in plan.places.iter().enumerate() {
        let name = &plan.pops[at].name;
        let lane = Writing {
            lane: at as u64,
            every,
            after: Duration::from_secs(2) + every.mul_f64(at as f64 / plan.pops.len() as f64),
        };
        let token = Some(tokens[at].clone());
        let author = Person::new(&scene, at, format!("author-{name}"), 1, token, Some(lane));
        let watching = (0..plan.viewers)
            .map(|it| Person::new(&scene, at, format!("viewer-{name}-{it}"), 1, None, None));
        let watching: Vec<Person> = watching.collect();
        viewers.push(watching.iter().map(Person::viewer).collect());
        let people: Vec<Person> = [author].into_iter().chain(watching).collect();
        let netns = place.netns.clone();
        // A thread of its own: it never leaves the namespace again.
        threads.push(std::thread::spawn(move || -> Result<()> {
            if let Some(netns) = netns {
                wan::enter(&netns)?;
            }
            let runtime = super::runtime()?;
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for person in people {
                    tasks.spawn(person.run());
                }
                while tasks.join_next().await.is_some() {}
            });
            Ok(())
        }));
    }
    runtime.block_on(watch_over(plan, &scene, &viewers, &quiet))?;
    over.send_replace(true);
    for thread in threads {
        let ended = thread.join();
        ended.map_err(|_| anyhow::anyhow!("the people of a place panicked"))??;
    }
    Ok(gather(plan, &scene, &viewers))
}

type Set = (Scene, watch::Sender<bool>, watch::Sender<bool>, Vec<String>);

async fn set(plan: &Plan) -> Result<Set> {
    let mut tokens = Vec::new();
    for pop in &plan.pops {
        tokens.push(match &plan.token {
            Some(token) => token.clone(),
            None => Rig::token(pop, &format!("author-{}", pop.name)).await?,
        });
    }
    let stream = match &plan.stream {
        Some(stream) => StreamId::new(stream)?,
        None => Rig::stream(&plan.pops[0], &tokens[0], "latency").await?,
    };
    let (quiet, quiet_heard) = watch::channel(false);
    let (over, over_heard) = watch::channel(false);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let scene = Scene {
        run: format!("{:x}", now.as_millis()),
        stream,
        pops: plan.pops.clone().into(),
        posts: Posts::default(),
        began: Instant::now(),
        quiet: quiet_heard,
        over: over_heard,
    };
    Ok((scene, quiet, over, tokens))
}

fn copy(viewer: &Arc<Mutex<Viewer>>) -> Viewer {
    viewer
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

async fn watch_over(
    plan: &Plan,
    scene: &Scene,
    viewers: &[Vec<Arc<Mutex<Viewer>>>],
    quiet: &watch::Sender<bool>,
) -> Result<()> {
    let deadline = Instant::now() + JOINED_MAX;
    while viewers.iter().flatten().any(|it| copy(it).heard.is_empty()) {
        if Instant::now() > deadline {
            bail!("not everybody could join");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for second in 1..=plan.seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if second % 5 == 0 {
            let (posts, durable) = scene.posts.counts();
            say!("  {second:>4} s  {posts} posts, {durable} durable");
        }
    }
    quiet.send_replace(true);
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

fn gather(plan: &Plan, scene: &Scene, viewers: &[Vec<Arc<Mutex<Viewer>>>]) -> Run {
    let posts = scene.posts.all();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let count = plan.pops.len();
    let mut durable = vec![Vec::new(); count];
    for (number, post) in &posts {
        if let Some(at) = post.durable_at() {
            durable[(number / LANE) as usize].push(ms(at.saturating_sub(post.at)));
        }
    }
    let answered: usize = durable.iter().map(Vec::len).sum();
    let mut shown = vec![vec![Vec::new(); count]; count];
    let mut seen = 0;
    for (to, viewers) in viewers.iter().enumerate() {
        for viewer in viewers {
            for (number, at) in first_seen(&copy(viewer)) {
                if let Some(post) = posts.get(&number) {
                    seen += 1;
                    let took = ms(at.saturating_sub(post.at));
                    shown[(number / LANE) as usize][to].push(took);
                }
            }
        }
    }
    let due = posts.len() * viewers.iter().map(Vec::len).sum::<usize>();
    let times = |all: Vec<Vec<f64>>| all.into_iter().map(Times::of).collect::<Vec<_>>();
    Run {
        names: plan.pops.iter().map(|pop| pop.name.clone()).collect(),
        durable: times(durable),
        shown: shown.into_iter().map(times).collect(),
        posts: posts.len(),
        unanswered: posts.len() - answered,
        unseen: due - seen,
    }
}

fn first_seen(viewer: &Viewer) -> BTreeMap<u64, Duration> {
    let mut first = BTreeMap::new();
    for (at, heard) in &viewer.heard {
        let comments = match heard {
            Heard::Joined { comments, .. } | Heard::Batch(comments) => comments.as_slice(),
            Heard::Removed(_) | Heard::Lost(_) => &[],
        };
        for comment in comments {
            first.entry(comment.number).or_insert(*at);
        }
    }
    first
}

/// What the network takes alone, in ms.
pub(crate) struct Network {
    /// From a viewer over its PoP, its region, the other region and the PoP there to a viewer there; between PoPs.
    pub(crate) shown: Vec<Vec<f64>>,
    /// From a viewer over its PoP to its region and back.
    pub(crate) durable: Vec<f64>,
}

/// The ways that a comment takes, as the sums of its links' medians.
pub(crate) fn ways(links: &[Measured]) -> Network {
    let p50 = |from: &str, to: &str| {
        let link = links.iter().find(|it| it.from == from && it.to == to);
        link.and_then(|it| it.p50_ms).unwrap_or_default()
    };
    let host = |prefix: &str, region: &str| format!("{prefix}-{region}");
    let up = |region: &str| {
        let (viewer, pop) = (host("viewer", region), host("pop", region));
        p50(&viewer, &pop) + p50(&pop, region)
    };
    let down = |region: &str| {
        let (viewer, pop) = (host("viewer", region), host("pop", region));
        p50(region, &pop) + p50(&pop, &viewer)
    };
    let across = |from: &str, to: &str| if from == to { 0.0 } else { p50(from, to) };
    let row = |from: &&str| {
        let to = REGIONS.iter();
        to.map(|to| up(from) + across(from, to) + down(to))
            .collect()
    };
    Network {
        shown: REGIONS.iter().map(row).collect(),
        durable: REGIONS.iter().map(|it| up(it) + down(it)).collect(),
    }
}

/// Half round trips to deployed PoPs; what is between them is not known from here.
///
/// # Errors
/// When a PoP does not answer.
pub(crate) async fn pings(plan: &Plan) -> Result<Network> {
    let mut halves = Vec::new();
    for pop in &plan.pops {
        let mut client = Client::connect_to(&pop.endpoint, &Options::default()).await?;
        // Who says nothing else is sent away.
        if let Some(stream) = &plan.stream {
            client.join(&StreamId::new(stream)?, None).await?;
        }
        let mut took = Vec::new();
        for _ in 0..PINGS {
            let began = Instant::now();
            client.ping(serde_json::Value::Null).await?;
            loop {
                let deadline = began + Duration::from_secs(5);
                let event = client.next_until(deadline).await;
                match event.with_context(|| format!("{} answers no ping", pop.name))? {
                    Event::Message(message) if matches!(*message, ServerMessage::Pong(_)) => break,
                    Event::Closed(close) => bail!("{} closed: {close:?}", pop.name),
                    Event::Message(_) | Event::Unreadable(_) => {}
                }
            }
            took.push(began.elapsed().as_secs_f64() * 500.0);
        }
        halves.push(Times::of(took).percentile(50.0).unwrap_or_default());
    }
    let row = |from: &f64| halves.iter().map(|to| from + to).collect();
    Ok(Network {
        shown: halves.iter().map(row).collect(),
        durable: halves.iter().map(|half| half * 2.0).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let times = Times::of((1..=200).map(f64::from).collect());
        assert_eq!(times.percentile(50.0), Some(100.0));
        assert_eq!(times.percentile(99.0), Some(198.0));
        assert_eq!(Times::default().percentile(50.0), None);
    }
}
