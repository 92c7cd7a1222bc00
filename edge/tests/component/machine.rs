//! Runs the session's scenarios on the component host.

use std::sync::Arc;
use std::time::Duration;

use chorus_edge::component as wit;
use chorus_edge::component::{Bounds, Instance, Logic, Supervisor, Verdict};
use chorus_protocol::{Encoding, Millis};
use chorus_session_core as core;
use chorus_session_scenarios::Machine;

/// An instance without a supervisor, for `snapshot` and `restore`.
pub(crate) struct Bare(pub(crate) Instance);

impl Machine for Bare {
    fn init(&mut self, config: &[u8], seed: u64) -> Result<(), String> {
        self.0.init(config, seed).map_err(|fault| fault.to_string())
    }

    fn handle(&mut self, now: u64, inputs: Vec<core::Input>) -> Vec<core::Output> {
        let inputs: Vec<wit::Input> = inputs.into_iter().map(input).collect();
        let budget = Duration::from_secs(10);
        let outputs = self.0.handle(budget, Millis(now), &inputs);
        let outputs = outputs.expect("does not trap");
        outputs.into_iter().map(output).collect()
    }

    fn snapshot(&mut self) -> Vec<u8> {
        self.0.snapshot().expect("does not trap")
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.restore(bytes).map_err(|fault| fault.to_string())
    }
}

/// A supervised instance that takes a snapshot whenever it can.
pub(crate) struct Supervised {
    pub(crate) logic: Arc<Logic>,
    pub(crate) supervisor: Option<Supervisor>,
}

impl Machine for Supervised {
    fn init(&mut self, config: &[u8], seed: u64) -> Result<(), String> {
        let bounds = Bounds {
            journal_inputs_max: 1,
            cpu_ms_max: 5_000,
            ..Bounds::default()
        };
        let started = Supervisor::new(self.logic.clone(), config, seed, bounds);
        self.supervisor = Some(started.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn handle(&mut self, now: u64, inputs: Vec<core::Input>) -> Vec<core::Output> {
        let supervisor = self.supervisor.as_mut().expect("started");
        let mut inputs: Vec<wit::Input> = inputs.into_iter().map(input).collect();
        let mut outputs = Vec::new();
        let verdict = supervisor.handle(Millis(now), &mut inputs, &mut outputs);
        assert_eq!(verdict, Verdict::Fine);
        outputs.into_iter().map(output).collect()
    }

    fn snapshot(&mut self) -> Vec<u8> {
        unreachable!("a supervisor keeps its snapshots")
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        unreachable!("a supervisor keeps its snapshots")
    }

    fn keeps_its_snapshots(&self) -> bool {
        true
    }
}

fn input(input: core::Input) -> wit::Input {
    match input {
        core::Input::Configured(json) => wit::Input::Configured(json),
        core::Input::Opened(opened) => wit::Input::Opened(wit::Opened {
            connection: opened.connection,
            transport: match opened.transport {
                core::Transport::WebSocket => wit::Transport::Websocket,
                core::Transport::Sse => wit::Transport::Sse,
                core::Transport::Rest => wit::Transport::Rest,
            },
            encoding: match opened.encoding {
                Encoding::Json => wit::Encoding::Json,
                Encoding::MsgPack => wit::Encoding::Msgpack,
            },
            token: opened.token,
        }),
        core::Input::Frame { connection, data } => {
            wit::Input::Frame(wit::Frame { connection, data })
        }
        core::Input::Closed(connection) => wit::Input::Closed(connection),
        core::Input::Lagged(connection) => wit::Input::Lagged(connection),
        core::Input::Delivered { topic, data } => {
            wit::Input::Delivered(wit::Delivered { topic, data })
        }
        core::Input::Control { topic, data } => wit::Input::Control(wit::Control { topic, data }),
        core::Input::Replayed { request, data } => {
            wit::Input::Replayed(wit::Replayed { request, data })
        }
        core::Input::Published { request, outcome } => wit::Input::Published(wit::Published {
            request,
            outcome: match outcome {
                core::Outcome::Stored { id, duplicate } => wit::Outcome::Stored(wit::Stored {
                    id: id.0,
                    duplicate,
                }),
                core::Outcome::Refused {
                    reason,
                    retry_after_ms,
                } => wit::Outcome::Refused(wit::Refused {
                    reason,
                    retry_after_ms,
                }),
                core::Outcome::Unknown => wit::Outcome::Unknown,
            },
        }),
        core::Input::Counted {
            topic,
            reactions,
            viewers,
        } => wit::Input::Counted(wit::Counted {
            topic,
            reactions,
            viewers,
        }),
        core::Input::Timer => wit::Input::Timer,
    }
}

fn output(output: wit::Output) -> core::Output {
    match output {
        wit::Output::Send(wit::Send {
            connection,
            head,
            blob,
            tail,
            patient,
        }) => core::Output::Send {
            connection,
            head,
            blob,
            tail,
            patient,
        },
        wit::Output::Broadcast(broadcast) => core::Output::Broadcast {
            topic: broadcast.topic,
            audience: audience(broadcast.audience),
            encoding: match broadcast.encoding {
                wit::Encoding::Json => Encoding::Json,
                wit::Encoding::Msgpack => Encoding::MsgPack,
            },
            data: broadcast.data,
        },
        wit::Output::Keep(wit::Keep { blob, data }) => core::Output::Keep { blob, data },
        wit::Output::Forget(blob) => core::Output::Forget(blob),
        wit::Output::Join(join) => core::Output::Join {
            connection: join.connection,
            topic: join.topic,
            audience: audience(join.audience),
        },
        wit::Output::Leave(wit::Leave { connection, topic }) => {
            core::Output::Leave { connection, topic }
        }
        wit::Output::Publish(wit::Publish {
            request,
            connection,
            event,
        }) => core::Output::Publish {
            request,
            connection,
            event,
        },
        wit::Output::Count(wit::Count {
            topic,
            reactions,
            users,
            viewers,
        }) => core::Output::Count {
            topic,
            reactions,
            users: users
                .into_iter()
                .map(|of| (of.user.parse().expect("a user"), of.reactions))
                .collect(),
            viewers,
        },
        wit::Output::Subscribe(wit::Subscribe { topic, name }) => {
            core::Output::Subscribe { topic, name }
        }
        wit::Output::Unsubscribe(topic) => core::Output::Unsubscribe(topic),
        wit::Output::Replay(wit::Replay {
            request,
            topic,
            range,
        }) => core::Output::Replay {
            request,
            topic,
            range,
        },
        wit::Output::Close(wit::Close {
            connection,
            code,
            reason,
        }) => core::Output::Close {
            connection,
            code,
            reason,
        },
        wit::Output::WakeAt(at) => core::Output::WakeAt(at),
    }
}

fn audience(audience: wit::Audience) -> core::Audience {
    match audience {
        wit::Audience::Everyone => core::Audience::Everyone,
        wit::Audience::Viewers => core::Audience::Viewers,
        wit::Audience::Moderators => core::Audience::Moderators,
    }
}
