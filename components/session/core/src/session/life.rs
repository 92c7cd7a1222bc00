//! A stream's life: its status, title or settings change while it is watched.

use chorus_protocol::server::ServerMessage;
use chorus_protocol::stream::Life;
use chorus_protocol::{Encoding, codec};

use super::Session;
use super::replies::send;
use crate::conn::Phase;
use crate::io::{Audience, ConnectionId, Output, TopicId};
use crate::stream::resume::JobWaiter;

impl Session {
    /// The host says how the stream stands now. An older word than the last one changes nothing; of a newer one viewers
    /// are told what changed, after the comments that came before it.
    pub(crate) fn stream_life(&mut self, topic: TopicId, life: Life, out: &mut Vec<Output>) {
        let live = self.streams.live(topic);
        // Not live yet: the state to come is at least as new.
        if live.is_none_or(|live| life.revision() < live.revision()) {
            return;
        }
        if live.is_some_and(|live| live.info != life.info) {
            self.flush_stream(topic, out);
        }
        let Some((stream, live)) = self
            .streams
            .get_mut(topic)
            .and_then(|stream| Some((&stream.id, stream.live.as_mut()?)))
        else {
            return;
        };
        let (old, new) = (&live.info, &life.info);
        let settings = (old.settings != new.settings).then(|| new.settings.clone());
        let status = (old.status != new.status).then_some(new.status);
        let title = (old.title != new.title).then(|| new.title.clone());
        let told = settings.is_some() || status.is_some() || title.is_some();
        let message = ServerMessage::StreamUpdated {
            stream_id: stream.clone(),
            settings,
            status,
            title,
        };
        live.life_seq = life.seq;
        live.info = life.info;
        if told {
            self.tell_all(topic, &message, out);
        }
    }

    /// Tells every viewer whose join was answered: members, and those who still get what they missed.
    pub(crate) fn tell_all(&self, topic: TopicId, message: &ServerMessage, out: &mut Vec<Output>) {
        let Some((stream, live)) = self
            .streams
            .get(topic)
            .and_then(|stream| Some((stream, stream.live.as_ref()?)))
        else {
            return;
        };
        let waiters = live.jobs.iter().flat_map(|job| &job.waiters);
        let behind: Vec<ConnectionId> = waiters
            .filter(|waiter| {
                let JobWaiter {
                    connection, ticket, ..
                } = **waiter;
                self.conns
                    .is_at(connection, topic, ticket, Phase::CatchingUp)
            })
            .map(|waiter| waiter.connection)
            .collect();
        for encoding in Encoding::ALL {
            let mut data = Vec::new();
            if codec::encode(encoding, message, &mut data).is_err() {
                continue;
            }
            for &connection in &behind {
                if self.conns.encoding(connection) == Some(encoding) {
                    out.push(send(connection, data.clone()));
                }
            }
            if stream.members[encoding as usize] > 0 {
                out.push(Output::Broadcast {
                    topic,
                    audience: Audience::Everyone,
                    encoding,
                    data,
                });
            }
        }
    }
}
