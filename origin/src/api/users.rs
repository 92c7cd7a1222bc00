//! Words to users: to all their connections, at every PoP of every region.

use std::collections::BTreeMap;
use std::time::Duration;

use chorus_protocol::UserId;
use chorus_protocol::backhaul::{RestRequest, RestResponse};
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::presence::{REASON_BYTES_MAX, UserCall, UserTold, UserWord};
use chorus_protocol::subject::is_reaction_type;
use chorus_tokens::{Identity, Role};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::problem::{self, Problem};
use super::{Api, body};

/// How long the gateways have to answer: longer than each waits for its PoPs.
const WAIT: Duration = Duration::from_millis(2_500);
/// What connections are told where no reason is given.
const REASON: &str = "disconnected by an administrator";

#[derive(Default, Deserialize)]
struct Disconnect {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Notice {
    kind: String,
    message: String,
}

#[derive(Serialize)]
struct Told {
    connections: u64,
    gateways: usize,
}

impl Api {
    pub(super) async fn disconnect(
        &self,
        caller: &Identity,
        user: UserId,
        request: &RestRequest,
    ) -> Result<RestResponse, Problem> {
        only_admin(caller)?;
        let asked: Disconnect = if request.body.is_empty() {
            Disconnect::default()
        } else {
            body::read(request)?
        };
        let reason = match &asked.reason {
            Some(reason) => body::description("reason", reason)?,
            None => REASON.to_owned(),
        };
        if reason.len() > REASON_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "`reason` is longer than {REASON_BYTES_MAX} bytes, which a close frame holds"
            )));
        }
        self.tell(user, &UserWord::Disconnect { reason }).await
    }

    pub(super) async fn notify(
        &self,
        caller: &Identity,
        user: UserId,
        request: &RestRequest,
    ) -> Result<RestResponse, Problem> {
        only_admin(caller)?;
        let Notice { kind, message } = body::read(request)?;
        if !is_reaction_type(&kind) {
            let rule = "`kind` is 1 to 32 of a to z, 0 to 9 and _";
            return Err(Problem::invalid(rule));
        }
        let message = body::description("message", &message)?;
        self.tell(user, &UserWord::Notice { kind, message }).await
    }

    /// Tells every gateway; those with a live lease must say that they told theirs.
    async fn tell(&self, user: UserId, word: &UserWord) -> Result<RestResponse, Problem> {
        let internal = |error: rmp_serde::encode::Error| Problem::internal(error.to_string());
        let word = rmp_serde::to_vec_named(word).map_err(internal)?;
        let call = UserCall { user, word };
        let message = rmp_serde::to_vec_named(&call).map_err(internal)?;
        let mut missing = self.gateways.alive();
        if missing.is_empty() {
            return Err(Problem::unavailable("no gateway is alive"));
        }
        let mut answers = self.log.tell_user(&call.user, message).await?;
        let until = Instant::now() + WAIT;
        let mut told = BTreeMap::new();
        while !missing.is_empty()
            && let Ok(Some(answer)) = timeout_at(until, answers.next()).await
        {
            // What is no answer of a gateway counts as none.
            if let Ok(UserTold {
                gateway,
                connections,
            }) = rmp_serde::from_slice(&answer)
            {
                missing.retain(|name| *name != gateway);
                told.insert(gateway, connections);
            }
        }
        let connections = told.values().sum();
        if !missing.is_empty() {
            return Err(Problem::unavailable(format!(
                "these gateways did not answer: {}; the others told {connections} connections",
                missing.join(", ")
            )));
        }
        let told = Told {
            connections,
            gateways: told.len(),
        };
        problem::json(200, &told)
    }
}

fn only_admin(caller: &Identity) -> Result<(), Problem> {
    if caller.role == Role::Admin {
        return Ok(());
    }
    Err(Problem::new(
        ErrorCode::Forbidden,
        "only the platform's own services may do that",
    ))
}
