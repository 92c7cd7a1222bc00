//! `react`: taken here, summed here, counted by the host.

use chorus_protocol::backhaul::RefusedReactions;
use chorus_protocol::client::{React, ReactView};
use chorus_protocol::codec::{Incoming, ReadError};
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::stream::StreamStatus;
use chorus_tokens::Role;

use crate::io::{ConnectionId, Output};
use crate::session::Session;
use crate::session::replies::Refusal;

/// The reactions every stream has.
const REACTIONS: [&str; 6] = ["like", "love", "haha", "wow", "sad", "angry"];

/// One that is not of the usual form.
pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let react = React::read(&message.fields()?)?;
    if react.comment_id.is_some() {
        session.not_available(connection, &react.stream_id, None, out);
        return Ok(());
    }
    let view = ReactView {
        stream_id: react.stream_id.as_str(),
        reaction_type: &react.reaction_type,
        count: react.count,
    };
    session.react(connection, view, out);
    Ok(())
}

impl Session {
    /// A `react` counts as many reactions as its `count` says.
    pub(crate) fn react(
        &mut self,
        connection: ConnectionId,
        react: ReactView<'_>,
        out: &mut Vec<Output>,
    ) {
        if let Err(refusal) = self.try_react(connection, react) {
            self.refuse(connection, refusal.on(react.stream_id), out);
        }
    }

    fn try_react(
        &mut self,
        connection: ConnectionId,
        react: ReactView<'_>,
    ) -> Result<(), Refusal<'static>> {
        let kind = react.reaction_type;
        let Some(conn) = self.conns.get(connection) else {
            return Ok(());
        };
        let identity = super::identity(conn, self.now, "react")?;
        if !REACTIONS.contains(&kind) {
            return Err(Refusal::new(
                ErrorCode::UnknownReaction,
                "the stream has no such reaction",
            ));
        }
        let count = react.count.unwrap_or(1);
        if count == 0 || count > self.config.values.limits.reaction_count_max {
            return Err(Refusal::new(
                ErrorCode::InvalidMessage,
                "`count` is out of range",
            ));
        }
        let known = self.streams.topic(react.stream_id);
        let topic = known.filter(|&topic| conn.membership(topic).is_some());
        let live = topic.and_then(|topic| self.streams.live_mut(topic));
        let (Some(topic), Some(live)) = (topic, live) else {
            return Err(self.not_here(topic, react.stream_id));
        };
        match live.info.status {
            StreamStatus::Live => {}
            StreamStatus::Ended => {
                return Err(Refusal::new(ErrorCode::StreamEnded, "the stream has ended"));
            }
            StreamStatus::Unknown => {
                return Err(Refusal::new(
                    ErrorCode::NotAvailable,
                    "not while it is not live",
                ));
            }
        }
        let held = identity.role != Role::Admin;
        if held {
            let limits = &self.config.user;
            let users_max = self.config.values.limits.remembered_users_max;
            let now = self.now.0;
            let (used, evicted) = (self.users).entry(&identity.user, limits, now, users_max);
            self.stats.users_evicted += evicted;
            if let Err(wait) = used.uses.check_reactions(limits, now, count.into()) {
                self.stats.reactions_rate_limited += 1;
                return Err(too_many(wait));
            }
            used.uses.charge_reactions(limits, now, count.into());
            used.reacted = Some(connection);
        }
        live.react(held.then_some(&identity.user), kind, count);
        self.stats.reactions_taken += u64::from(count);
        self.streams.touch(topic);
        Ok(())
    }

    /// The gateway knows what users used at other shards and PoPs, and did not add these.
    pub(crate) fn reactions_refused(
        &mut self,
        refused: &[RefusedReactions],
        out: &mut Vec<Output>,
    ) {
        for RefusedReactions {
            user,
            count,
            retry_after_ms,
        } in refused
        {
            let Some(used) = self.users.get_mut(user) else {
                continue;
            };
            let until = self.now.plus(*retry_after_ms).0;
            let here = (used.uses).hold_reactions_off(&self.config.user, *count, until);
            if let Some(connection) = used.reacted.filter(|_| here) {
                self.stats.reactions_rate_limited += 1;
                self.refuse(connection, too_many(*retry_after_ms), out);
            }
        }
    }
}

fn too_many(wait_ms: u64) -> Refusal<'static> {
    Refusal::new(ErrorCode::RateLimited, "too many reactions").retry_after(wait_ms)
}
