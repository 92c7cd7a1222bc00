//! Runs a row: people, the fault, and what is left at the end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_client::Rest;
use chorus_client::protocol::{Comment, CommentId, StreamId};
use chorus_telemetry::say;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Args;
use super::act::Stage;
use super::check::{Heard, Log, Records, Shown, Store, Verdict, Viewer, check};
use super::rows::Row;
use crate::people::{Person, Pop, Posts, Scene, Writing};
use crate::random::Random;
use crate::rig::{REGIONS, Rig};

/// Until everybody has joined.
const JOINED_MAX: Duration = Duration::from_secs(30);
/// Posts before the fault and after it, and with `--quick`.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(4);
const AFTER_QUICK: Duration = Duration::from_secs(2);
/// After the last post: an author waits 30 s for an outcome, then logs and stores have this long.
const SETTLE_MAX: Duration = Duration::from_secs(45);
/// From one look at logs and stores to the next.
const LOOK: Duration = Duration::from_millis(500);
/// A call of a region that does not answer.
const CALL_MAX: Duration = Duration::from_secs(5);

/// The people of a row.
struct Crowd {
    scene: Scene,
    viewers: Vec<Arc<Mutex<Viewer>>>,
    tasks: JoinSet<()>,
    quiet: watch::Sender<bool>,
    over: watch::Sender<bool>,
}

/// Runs one row.
///
/// # Errors
/// When it cannot be run. What it finds is in the verdict.
pub(crate) async fn row(
    args: &Args,
    row: &Row,
    stage: &Stage,
    rig: &Rig,
    seed: u64,
) -> Result<Verdict> {
    say!("{:<16} {}", row.name, row.what);
    let mut random = Random::new(seed, row.name);
    let mut crowd = gather(args, row, rig, seed).await?;
    let began = crowd.scene.began;
    // Not always in the same phase of heartbeats and turns.
    let from = began + BEFORE + Duration::from_millis(500).mul_f64(random.share());
    watch_until(&crowd, from, "before").await;
    let going = stage.begin(rig, row.fault).await?;
    say!("  {:>5.1} s  {}", began.elapsed().as_secs_f64(), going.what);
    watch_until(&crowd, from + row.lasts, "during").await;
    stage.end(rig, going)?;
    let after = if args.quick { AFTER_QUICK } else { AFTER };
    watch_until(&crowd, from + row.lasts + after, "after").await;
    crowd.quiet.send_replace(true);
    let verdict = settle(&crowd, rig).await?;
    crowd.over.send_replace(true);
    while crowd.tasks.join_next().await.is_some() {}
    let took = began.elapsed().as_secs_f64();
    say!(
        "  {took:>5.1} s  {} posts, {} acknowledged, {} refused {:?}, {} unconfirmed; lost {}, twice {}, holes {}, gaps told {}; \
         longest post → durable {} ms, durable → shown {} ms",
        verdict.posts,
        verdict.acknowledged,
        verdict.refused,
        verdict.reasons,
        verdict.unconfirmed,
        verdict.lost.len(),
        verdict.doubled.len(),
        verdict.holes.len(),
        verdict.gaps,
        verdict.write.time.as_millis(),
        verdict.read.time.as_millis(),
    );
    Ok(verdict)
}

/// A stream, an author and a viewer at each PoP, and for twins two more authors who are one user.
async fn gather(args: &Args, row: &Row, rig: &Rig, seed: u64) -> Result<Crowd> {
    let pops = rig.pops()?;
    let token = Rig::token(&pops[0], "host-of-faults").await?;
    let stream = Rig::stream(&pops[0], &token, row.name).await?;
    let (quiet, quiet_heard) = watch::channel(false);
    let (over, over_heard) = watch::channel(false);
    // The first posts are written when all have joined.
    let began = Instant::now();
    let scene = Scene {
        run: format!("{seed:x}-{}", row.name),
        stream,
        pops: pops.clone().into(),
        posts: Posts::default(),
        began,
        quiet: quiet_heard,
        over: over_heard,
    };
    let every = Duration::from_secs(1) / args.rate;
    let writing = |lane| Writing {
        lane,
        every,
        after: Duration::from_secs(1) + every.mul_f64(lane as f64 / 7.0),
    };
    let mut people = Vec::new();
    for (at, region) in REGIONS.iter().enumerate() {
        let token = Rig::token(&pops[at], &format!("author-{region}")).await?;
        let name = format!("author-{region}");
        let lane = writing(at as u64);
        people.push(Person::new(&scene, at, name, seed, Some(token), Some(lane)));
        let name = format!("viewer-{region}");
        people.push(Person::new(&scene, at, name, seed, None, None));
    }
    if row.twins {
        let token = Rig::token(&pops[0], "twin").await?;
        for (at, region) in REGIONS.iter().enumerate().take(2) {
            let name = format!("twin-{region}");
            let (token, lane) = (Some(token.clone()), writing(REGIONS.len() as u64));
            people.push(Person::new(&scene, at, name, seed, token, Some(lane)));
        }
    }
    let viewers: Vec<_> = people.iter().map(Person::viewer).collect();
    let mut tasks = JoinSet::new();
    for person in people {
        tasks.spawn(person.run());
    }
    let crowd = Crowd {
        scene,
        viewers,
        tasks,
        quiet,
        over,
    };
    let deadline = Instant::now() + JOINED_MAX;
    while !snapshot(&crowd).iter().all(has_joined) {
        if Instant::now() > deadline {
            bail!("not everybody could join");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(crowd)
}

fn has_joined(viewer: &Viewer) -> bool {
    let joined = |(_, heard): &(_, Heard)| matches!(heard, Heard::Joined { .. });
    viewer.heard.iter().any(joined)
}

fn snapshot(crowd: &Crowd) -> Vec<Viewer> {
    let of = |viewer: &Arc<Mutex<Viewer>>| {
        viewer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    };
    crowd.viewers.iter().map(of).collect()
}

/// Waits, and says each second how it goes.
async fn watch_until(crowd: &Crowd, until: Instant, phase: &str) {
    let second = Duration::from_secs(1);
    while Instant::now() < until {
        let next = (Instant::now() + second).min(until);
        tokio::time::sleep_until(next).await;
        let (posts, durable) = crowd.scene.posts.counts();
        let viewers = snapshot(crowd);
        let heard = viewers.iter().flat_map(|viewer| &viewer.heard);
        let moved = heard.filter(|(_, heard)| matches!(heard, Heard::Lost(_)));
        say!(
            "  {:>5.1} s  {phase:<7} {posts:>5} posts {durable:>5} durable  {} connections lost",
            crowd.scene.began.elapsed().as_secs_f64(),
            moved.count()
        );
    }
}

/// Looks at logs and stores until nothing is wrong, or for the longest time.
async fn settle(crowd: &Crowd, rig: &Rig) -> Result<Verdict> {
    let end = crowd.scene.began.elapsed();
    let deadline = Instant::now() + SETTLE_MAX;
    loop {
        let posts = crowd.scene.posts.all();
        let open = posts.values().filter(|it| it.answers.is_empty()).count();
        let is_late = Instant::now() > deadline;
        let read = read(&crowd.scene, rig).await;
        match read {
            Ok((stores, logs)) => {
                let records = Records {
                    posts,
                    viewers: snapshot(crowd),
                    stores,
                    logs,
                    end,
                };
                let verdict = check(&records);
                if (verdict.is_clean() && open == 0) || is_late {
                    for viewer in &records.viewers {
                        for (at, heard) in &viewer.heard {
                            if let Heard::Lost(why) = heard {
                                let at = at.as_secs_f64();
                                say!("  {at:>5.1} s  {} lost its connection: {why}", viewer.name);
                            }
                        }
                    }
                    return Ok(verdict);
                }
            }
            Err(error) if is_late => return Err(error),
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What logs and stores hold now.
async fn read(scene: &Scene, rig: &Rig) -> Result<(Vec<Store>, Vec<Log>)> {
    let (mut stores, mut logs) = (Vec::new(), Vec::new());
    for pop in scene.pops.iter() {
        let comments = tokio::time::timeout(CALL_MAX, history(pop, &scene.stream))
            .await
            .with_context(|| format!("the history of {} does not come", pop.name))??;
        let of = |comment: &Comment| {
            Some(Shown {
                id: comment.id,
                number: scene.number(&comment.content)?,
            })
        };
        stores.push(Store {
            region: pop.name.clone(),
            comments: comments.iter().filter_map(of).collect(),
        });
    }
    for region in REGIONS {
        let reading = async {
            let mut nats = rig.nats(region).await?;
            nats.events(region, scene.stream.as_str()).await
        };
        let events = tokio::time::timeout(CALL_MAX, reading)
            .await
            .with_context(|| format!("the log of {region} cannot be read in time"))??;
        let of = |(sequence, body): &(u64, Vec<u8>)| {
            let number = scene.number(&String::from_utf8_lossy(body))?;
            Some((*sequence, number))
        };
        logs.push(Log {
            region: region.to_owned(),
            comments: events.iter().filter_map(of).collect(),
        });
    }
    Ok((stores, logs))
}

/// A stream's history at a PoP, all pages.
async fn history(pop: &Pop, stream: &StreamId) -> Result<Vec<Comment>> {
    let rest = Rest::new(&pop.url)?;
    let mut all = Vec::new();
    let mut before: Option<CommentId> = None;
    loop {
        let cursor = before.map_or(String::new(), |id| format!("&before={id}"));
        let target = format!("/api/streams/{stream}/comments?limit=200{cursor}");
        let answer = rest.get(&target).await?;
        if answer.status != 200 {
            bail!(
                "{}: {target}: {} {}",
                pop.name,
                answer.status,
                answer.text()
            );
        }
        let mut page = answer.json()?;
        let comments: Vec<Comment> = serde_json::from_value(page["comments"].take())?;
        let Some(oldest) = comments.last() else {
            return Ok(all);
        };
        before = Some(oldest.id);
        all.extend(comments);
    }
}
