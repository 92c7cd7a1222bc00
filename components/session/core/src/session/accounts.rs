//! Connections and who is behind them.

use chorus_protocol::codes::{CloseCode, ErrorCode};

use super::Session;
use super::replies::Refusal;
use crate::conn::{Conn, Phase};
use crate::io::{ConnectionId, Opened, Output};
use crate::timers::Timer;

impl Session {
    pub(crate) fn open(&mut self, opened: Opened, out: &mut Vec<Output>) {
        let Opened {
            connection,
            transport,
            encoding,
            token,
        } = opened;
        // A number that is opened again is another connection.
        self.forget(connection);
        let mut conn = Conn {
            encoding,
            transport,
            silent_until: Some(
                self.now
                    .plus(self.config.values.limits.first_message_ms_max),
            ),
            ..Conn::default()
        };
        if let Some(token) = token {
            match self.config.verifier.verify(&token, self.now) {
                Ok(identity) => {
                    self.present.came(&identity.user);
                    conn.identity = Some(Box::new(identity));
                }
                Err(error) => {
                    self.stats.tokens_refused += 1;
                    let reason = error.to_string();
                    out.push(Output::Close {
                        connection,
                        code: CloseCode::BadToken.number(),
                        reason,
                    });
                    return;
                }
            }
        }
        self.timers
            .set(Timer::Connection(connection), conn.deadline());
        self.conns.insert(connection, conn);
    }

    /// The connection did not speak in time, or its token has ended.
    pub(crate) fn connection_due(&mut self, connection: ConnectionId, out: &mut Vec<Output>) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(connection) else {
            return;
        };
        if conn.silent_until.is_some_and(|until| until <= now) {
            self.stats.silent_closed += 1;
            self.close(
                connection,
                CloseCode::Forbidden,
                "nothing was joined in time",
                out,
            );
            return;
        }
        let ended = conn
            .identity
            .as_ref()
            .is_some_and(|identity| identity.expires <= now);
        if ended && !conn.expiry_told {
            conn.expiry_told = true;
        }
        self.timers
            .set(Timer::Connection(connection), conn.deadline());
        if ended {
            let refusal = Refusal::new(
                ErrorCode::TokenExpired,
                "the token has expired; reading goes on",
            );
            self.refuse(connection, refusal, out);
            self.regroup(connection, out);
        }
    }

    /// Puts a connection among the members that its token lets it be among.
    pub(super) fn regroup(&self, connection: ConnectionId, out: &mut Vec<Output>) {
        let Some(conn) = self.conns.get(connection) else {
            return;
        };
        for join in conn.joins.iter().filter(|join| join.phase == Phase::Joined) {
            if let Some(live) = self.streams.live(join.topic) {
                let audience = conn
                    .standing(&live.info.broadcaster_id, self.now)
                    .audience();
                out.push(Output::Join {
                    connection,
                    topic: join.topic,
                    audience,
                });
            }
        }
    }
}
