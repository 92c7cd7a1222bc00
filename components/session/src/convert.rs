//! Between the contract's types and the logic's.

use chorus_protocol::{CommentId, Encoding, UserId};
use chorus_session_core as core;

use crate::bindings::exports::chorus::edge::session as wit;

pub(crate) fn input(input: wit::Input) -> core::Input {
    match input {
        wit::Input::Configured(json) => core::Input::Configured(json),
        wit::Input::Opened(opened) => core::Input::Opened(core::Opened {
            connection: opened.connection,
            transport: match opened.transport {
                wit::Transport::Websocket => core::Transport::WebSocket,
                wit::Transport::Sse => core::Transport::Sse,
                wit::Transport::Rest => core::Transport::Rest,
            },
            encoding: match opened.encoding {
                wit::Encoding::Json => Encoding::Json,
                wit::Encoding::Msgpack => Encoding::MsgPack,
            },
            token: opened.token,
        }),
        wit::Input::Frame(wit::Frame { connection, data }) => {
            core::Input::Frame { connection, data }
        }
        wit::Input::Closed(connection) => core::Input::Closed(connection),
        wit::Input::Lagged(connection) => core::Input::Lagged(connection),
        wit::Input::Delivered(wit::Delivered { topic, data }) => {
            core::Input::Delivered { topic, data }
        }
        wit::Input::Control(wit::Control { topic, data }) => core::Input::Control { topic, data },
        wit::Input::Replayed(wit::Replayed { request, data }) => {
            core::Input::Replayed { request, data }
        }
        wit::Input::Published(wit::Published { request, outcome }) => core::Input::Published {
            request,
            outcome: self::outcome(outcome),
        },
        wit::Input::Counted(wit::Counted {
            topic,
            reactions,
            viewers,
        }) => core::Input::Counted {
            topic,
            reactions,
            viewers,
        },
        wit::Input::Timer => core::Input::Timer,
    }
}

fn outcome(outcome: wit::Outcome) -> core::Outcome {
    match outcome {
        wit::Outcome::Stored(wit::Stored { id, duplicate }) => core::Outcome::Stored {
            id: CommentId(id),
            duplicate,
        },
        wit::Outcome::Refused(wit::Refused {
            reason,
            retry_after_ms,
        }) => core::Outcome::Refused {
            reason,
            retry_after_ms,
        },
        wit::Outcome::Unknown => core::Outcome::Unknown,
    }
}

pub(crate) fn output(output: core::Output) -> wit::Output {
    match output {
        core::Output::Send {
            connection,
            head,
            blob,
            tail,
            patient,
        } => wit::Output::Send(wit::Send {
            connection,
            head,
            blob,
            tail,
            patient,
        }),
        core::Output::Broadcast {
            topic,
            audience,
            encoding,
            data,
        } => {
            let encoding = match encoding {
                Encoding::Json => wit::Encoding::Json,
                Encoding::MsgPack => wit::Encoding::Msgpack,
            };
            wit::Output::Broadcast(wit::Broadcast {
                topic,
                audience: self::audience(audience),
                encoding,
                data,
            })
        }
        core::Output::Keep { blob, data } => wit::Output::Keep(wit::Keep { blob, data }),
        core::Output::Forget(blob) => wit::Output::Forget(blob),
        core::Output::Join {
            connection,
            topic,
            audience,
        } => wit::Output::Join(wit::Join {
            connection,
            topic,
            audience: self::audience(audience),
        }),
        core::Output::Leave { connection, topic } => {
            wit::Output::Leave(wit::Leave { connection, topic })
        }
        core::Output::Publish {
            request,
            connection,
            event,
        } => wit::Output::Publish(wit::Publish {
            request,
            connection,
            event,
        }),
        core::Output::Count {
            topic,
            reactions,
            users,
            viewers,
        } => wit::Output::Count(wit::Count {
            topic,
            reactions,
            users: users.into_iter().map(of_user).collect(),
            viewers,
        }),
        core::Output::Subscribe { topic, name } => {
            wit::Output::Subscribe(wit::Subscribe { topic, name })
        }
        core::Output::Unsubscribe(topic) => wit::Output::Unsubscribe(topic),
        core::Output::Replay {
            request,
            topic,
            range,
        } => wit::Output::Replay(wit::Replay {
            request,
            topic,
            range,
        }),
        core::Output::Close {
            connection,
            code,
            reason,
        } => wit::Output::Close(wit::Close {
            connection,
            code,
            reason,
        }),
        core::Output::WakeAt(at) => wit::Output::WakeAt(at),
    }
}

fn of_user((user, reactions): (UserId, Vec<(String, u64)>)) -> wit::UserReactions {
    let user = user.as_str().to_owned();
    wit::UserReactions { user, reactions }
}

fn audience(audience: core::Audience) -> wit::Audience {
    match audience {
        core::Audience::Everyone => wit::Audience::Everyone,
        core::Audience::Viewers => wit::Audience::Viewers,
        core::Audience::Moderators => wit::Audience::Moderators,
    }
}
