//! One connection's state: small, as most are idle.

use chorus_protocol::event::AuthorRole;
use chorus_protocol::{Encoding, Millis, UserId};
use chorus_tokens::{Identity, Role};
use serde::{Deserialize, Serialize};

use crate::io::{Audience, TopicId, Transport};

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Conn {
    pub(crate) encoding: Encoding,
    pub(crate) transport: Transport,
    /// It has been told that its token ended.
    pub(crate) expiry_told: bool,
    /// When the first join or authentication is due; `None` once it came.
    pub(crate) silent_until: Option<Millis>,
    /// Its message bucket: the time (µs) at which it is full again.
    pub(crate) messages_us: u64,
    pub(crate) identity: Option<Box<Identity>>,
    pub(crate) joins: Vec<Membership>,
}

/// A stream a connection has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) topic: TopicId,
    /// Tells this try to join from those before and after.
    pub(crate) ticket: u32,
    pub(crate) phase: Phase,
}

/// How far a join is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Not answered yet.
    Waiting,
    /// `joined` is sent, the rest of what was missed is not.
    CatchingUp,
    /// A member.
    Joined,
}

impl Conn {
    pub(crate) fn membership(&self, topic: TopicId) -> Option<&Membership> {
        self.joins.iter().find(|join| join.topic == topic)
    }

    pub(crate) fn membership_mut(&mut self, topic: TopicId) -> Option<&mut Membership> {
        self.joins.iter_mut().find(|join| join.topic == topic)
    }

    /// One of the platform's own services, by a token that is valid.
    pub(crate) fn is_admin(&self, now: Millis) -> bool {
        let identity = self.identity.as_deref();
        identity.is_some_and(|it| it.role == Role::Admin && it.expires > now)
    }

    /// What the viewer is in the stream of `broadcaster`.
    pub(crate) fn standing(&self, broadcaster: &UserId, now: Millis) -> Standing {
        match self.identity.as_deref() {
            None => Standing::Anonymous,
            Some(identity) if identity.expires <= now => Standing::Anonymous,
            Some(identity) => Standing::of(identity, broadcaster),
        }
    }

    /// When this connection wants to be looked at again.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let expiry = match &self.identity {
            Some(identity) if !self.expiry_told => Some(identity.expires),
            _ => None,
        };
        [self.silent_until, expiry]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.0)
    }
}

/// What a viewer is in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    Anonymous,
    User,
    Moderator,
    Broadcaster,
    Admin,
}

impl Standing {
    pub(crate) fn of(identity: &Identity, broadcaster: &UserId) -> Self {
        match identity.role {
            Role::Admin => Self::Admin,
            Role::Moderator | Role::User if identity.user == *broadcaster => Self::Broadcaster,
            Role::Moderator => Self::Moderator,
            Role::User => Self::User,
        }
    }

    /// Its name in the protocol.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User => "user",
            Self::Moderator => "moderator",
            Self::Broadcaster => "broadcaster",
            Self::Admin => "admin",
        }
    }

    /// Exempt from the modes of a stream.
    pub(crate) fn moderates(self) -> bool {
        self >= Self::Moderator
    }

    /// As events say it.
    pub(crate) fn role(self) -> AuthorRole {
        match self {
            Self::Anonymous | Self::User => AuthorRole::User,
            Self::Moderator => AuthorRole::Moderator,
            Self::Broadcaster => AuthorRole::Broadcaster,
            Self::Admin => AuthorRole::Admin,
        }
    }

    pub(crate) fn audience(self) -> Audience {
        if self.moderates() {
            Audience::Moderators
        } else {
            Audience::Viewers
        }
    }

    /// The badge its comments carry.
    pub(crate) fn badge(self) -> Option<&'static str> {
        self.moderates().then(|| self.as_str())
    }
}
