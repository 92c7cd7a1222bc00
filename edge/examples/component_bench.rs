//! The session component beside its native core: the same comments through both, every check on.
//!
//! `component_bench ROUNDS [COMPONENT]` prints `native µs` and `component µs` a comment for each round, and notes. A
//! comment is all that a shard's session does for it: the post (parsed, checked, limited, accepted), the log's answer
//! (the receipt `durable`) and the delivery (encoded for every viewer), in batches of 16. The inputs are recorded
//! once from the core, then replayed into both sides in turn; the component runs under its supervisor, with journal
//! and snapshots.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chorus_edge::component::{
    self as host, Bounds, Control, Delivered, Encoding as HostEncoding, Frame, Logic, Opened,
    Published, Stored, Supervisor,
};
use chorus_protocol::session::{Control as SessionControl, Delivery, SessionConfig};
use chorus_protocol::{Encoding, Envelope, Event, Millis, Outcome, Region};
use chorus_session_core::{Input, Output};
use chorus_session_scenarios::origin::Origin;
use chorus_session_scenarios::pop::START_MS;
use chorus_session_scenarios::{Machine, Native, tokens};

/// As in the PoP.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAM: &str = "bench";
const USERS: u64 = 200;
const BATCH: u64 = 16;
const BATCHES: u64 = 1_500;
const SEED: u64 = 7;

/// What a shard was told, and when.
type Script = Vec<(u64, Vec<Input>)>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let rounds: usize = args.next().map_or(Ok(5), |text| text.parse())?;
    let path = args
        .next()
        .unwrap_or_else(|| "target/components/session.wasm".to_owned());
    let bounds = Bounds::default();
    let logic = Logic::load(Path::new(&path), None, &bounds).with_context(|| path.clone())?;
    let config = serde_json::to_vec(&config())?;
    let (opening, script) = record(&config)?;
    let mut stats = host::Stats::default();
    for _ in 0..rounds {
        let mut core = Native::default();
        core.init(&config, SEED).map_err(anyhow::Error::msg)?;
        for (now, inputs) in &opening {
            core.handle(*now, inputs.clone());
        }
        let copy = script.clone();
        let mut outputs = 0;
        let began = Instant::now();
        for (now, inputs) in copy {
            outputs += core.handle(now, inputs).len();
        }
        print("native", began);

        let mut shard = Supervisor::new(logic.clone(), &config, SEED, bounds.clone())?;
        let mut decided = Vec::new();
        for (now, inputs) in &opening {
            shard.handle(Millis(*now), &mut of_host(inputs), &mut decided);
        }
        let mut copy: Vec<_> = script
            .iter()
            .map(|(now, inputs)| (*now, of_host(inputs)))
            .collect();
        let mut by_component = 0;
        let began = Instant::now();
        for (now, inputs) in &mut copy {
            decided.clear();
            shard.handle(Millis(*now), inputs, &mut decided);
            by_component += decided.len();
        }
        print("component", began);
        stats = shard.stats();
        ensure!(
            outputs == by_component,
            "the core decided {outputs} things, the component {by_component}"
        );
    }
    println!(
        "note a comment is a post, the log's answer and the delivery; {BATCH} a batch, {USERS} users, supervised with \
         journal and snapshots: {} snapshots of {:.0} KiB in a round, {:.2} µs a comment",
        stats.snapshots,
        stats.snapshot_bytes as f64 / 1024.0 / stats.snapshots.max(1) as f64,
        stats.snapshot_us as f64 / (BATCH * BATCHES) as f64,
    );
    Ok(())
}

fn print(side: &str, began: Instant) {
    println!(
        "{side} {:.4}",
        began.elapsed().as_nanos() as f64 / 1e3 / (BATCH * BATCHES) as f64
    );
}

/// Limits stay on; the buckets are raised.
fn config() -> SessionConfig {
    let mut config = SessionConfig {
        shard: 2,
        keys: vec![tokens::key()],
        ..SessionConfig::default()
    };
    config.limits.comments_per_minute = 60_000;
    config.limits.comments_per_stream_30s = 30_000;
    config.limits.messages_per_s = 1_000;
    config.limits.messages_burst = 2_000;
    config
}

/// Runs the core once and keeps what it was told: the joins, then the comments.
fn record(config: &[u8]) -> Result<(Script, Script)> {
    let mut core = Native::default();
    core.init(config, SEED).map_err(anyhow::Error::msg)?;
    let mut opening = Script::new();
    let mut now = START_MS;
    let lease = SessionControl::Lease {
        worker: 5,
        until_ms: Millis(now + 3_600_000),
    };
    let state = SessionControl::State(Some(Box::new(Origin::new(STREAM, &["eu"]).state())));
    let connected = SessionControl::Backhaul { connected: true };
    let control = |topic, what: &SessionControl| -> Result<Input> {
        Ok(Input::Control {
            topic,
            data: rmp_serde::to_vec_named(what)?,
        })
    };
    let tell =
        |core: &mut Native, script: &mut Script, now: u64, inputs: Vec<Input>| -> Vec<Output> {
            script.push((now, inputs.clone()));
            core.handle(now, inputs)
        };
    tell(
        &mut core,
        &mut opening,
        now,
        vec![control(None, &lease)?, control(None, &connected)?],
    );
    let mut topic = None;
    for user in 0..USERS {
        let token = Some(tokens::token(
            &format!("user{user}"),
            "user",
            now + 3_600_000,
        ));
        let opened = Input::Opened(chorus_session_core::Opened {
            connection: user + 1,
            transport: chorus_session_core::Transport::WebSocket,
            encoding: if user % 2 == 0 {
                Encoding::Json
            } else {
                Encoding::MsgPack
            },
            token,
        });
        let join = json_or_msgpack(
            user,
            &serde_json::json!({"type": "join_stream", "payload": {"stream_id": STREAM}}),
        )?;
        for output in tell(&mut core, &mut opening, now, vec![opened, join]) {
            if let Output::Subscribe { topic: number, .. } = output {
                topic = Some(number);
            }
        }
        if user == 0 {
            tell(&mut core, &mut opening, now, vec![control(topic, &state)?]);
        }
    }
    let topic = topic.context("the core followed no topic")?;

    let region: Region = "eu".parse()?;
    let mut script = Script::new();
    let mut seq = 0;
    for batch in 0..BATCHES {
        now += BATCH;
        let posts = (0..BATCH)
            .map(|at| {
                let number = batch * BATCH + at;
                let user = number % USERS;
                let content = format!("comment number {number} of an evening that goes on and on");
                json_or_msgpack(user, &serde_json::json!({
                    "type": "post_comment",
                    "payload": {"stream_id": STREAM, "client_id": format!("c{number}"), "content": content}
                }))
            })
            .collect::<Result<Vec<_>>>()?;
        let (mut answers, mut events) = (Vec::new(), Vec::new());
        let from = seq;
        for output in tell(&mut core, &mut script, now, posts) {
            if let Output::Publish { request, event, .. } = output {
                let envelope = Envelope::read(&event).context("no event was published")?;
                let outcome = Outcome::Stored {
                    id: envelope.id,
                    duplicate: false,
                };
                answers.push(Input::Published { request, outcome });
                seq += 1;
                events.push(Event {
                    region: region.clone(),
                    epoch: 100,
                    seq,
                    body: event,
                });
            }
        }
        ensure!(
            events.len() as u64 == BATCH,
            "{} of {BATCH} posts were published",
            events.len()
        );
        tell(&mut core, &mut script, now, answers);
        let delivery = Delivery {
            region: region.clone(),
            epoch: 100,
            from,
            to: seq,
            events,
        };
        let data = rmp_serde::to_vec_named(&delivery)?;
        tell(
            &mut core,
            &mut script,
            now,
            vec![Input::Delivered { topic, data }],
        );
        tell(&mut core, &mut script, now + 1, vec![Input::Timer]);
    }
    Ok((opening, script))
}

/// Odd users speak MessagePack.
fn json_or_msgpack(user: u64, message: &serde_json::Value) -> Result<Input> {
    let data = if user.is_multiple_of(2) {
        serde_json::to_vec(message)?
    } else {
        rmp_serde::to_vec_named(message)?
    };
    Ok(Input::Frame {
        connection: user + 1,
        data,
    })
}

/// The same in the host's types.
fn of_host(inputs: &[Input]) -> Vec<host::Input> {
    inputs.iter().filter_map(one_of_host).collect()
}

#[allow(clippy::wildcard_enum_match_arm, reason = "only what the script says")]
fn one_of_host(input: &Input) -> Option<host::Input> {
    Some(match input.clone() {
        Input::Opened(opened) => host::Input::Opened(Opened {
            connection: opened.connection,
            transport: host::Transport::Websocket,
            encoding: match opened.encoding {
                Encoding::Json => HostEncoding::Json,
                Encoding::MsgPack => HostEncoding::Msgpack,
            },
            token: opened.token,
        }),
        Input::Frame { connection, data } => host::Input::Frame(Frame { connection, data }),
        Input::Control { topic, data } => host::Input::Control(Control { topic, data }),
        Input::Delivered { topic, data } => host::Input::Delivered(Delivered { topic, data }),
        Input::Published {
            request,
            outcome: Outcome::Stored { id, duplicate },
        } => host::Input::Published(Published {
            request,
            outcome: host::Outcome::Stored(Stored {
                id: id.0,
                duplicate,
            }),
        }),
        Input::Timer => host::Input::Timer,
        _ => return None,
    })
}
