//! The scenarios by what they are about.

use chorus_protocol::Encoding;
use serde_json::json;

use crate::Scenario;
use crate::origin::Origin;
use crate::pop::Pop;

macro_rules! scenarios {
    ($module:literal: $($name:ident),* $(,)?) => {
        pub(crate) const ALL: &[crate::Scenario] = &[
            $(crate::Scenario { name: concat!($module, "::", stringify!($name)), run: $name },)*
        ];
    };
}

mod batching;
mod deleting;
mod joining;
mod life;
mod limits;
mod posting;
mod reacting;
mod removal;
mod repairing;
mod resuming;
mod texts;
mod tokens;
mod words;

pub(crate) fn all() -> Vec<Scenario> {
    [
        batching::ALL,
        deleting::ALL,
        joining::ALL,
        life::ALL,
        limits::ALL,
        posting::ALL,
        reacting::ALL,
        removal::ALL,
        repairing::ALL,
        resuming::ALL,
        texts::ALL,
        tokens::ALL,
        words::ALL,
    ]
    .concat()
}

/// A stream in two regions and a lease.
fn studio(pop: &mut Pop<'_>) -> Origin {
    pop.lease();
    Origin::new("demo", &["eu", "us"])
}

/// A viewer of the stream that has read what there was.
fn watch(
    pop: &mut Pop<'_>,
    origin: &Origin,
    encoding: Encoding,
    user: Option<(&str, &str)>,
) -> u64 {
    let token = user.map(|(user, role)| pop.token(user, role));
    let viewer = pop.open(encoding, token);
    let stream = origin.info.stream_id.as_str();
    let followed = pop
        .topics
        .values()
        .any(|name| *name == format!("stream:{stream}"));
    pop.say(viewer, "join_stream", &json!({"stream_id": stream}));
    if !followed {
        pop.state(stream, Some(origin.state()));
    }
    pop.take_joined(viewer);
    viewer
}

/// The ids of the comments a client got in batches, in order; everything else is passed over.
fn shown(pop: &mut Pop<'_>, viewer: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    for message in pop.take(viewer) {
        if let chorus_protocol::server::ServerMessage::CommentsBatch { comments, .. } = message {
            ids.extend(comments.iter().map(|comment| comment.id.0));
        }
    }
    ids
}
