//! Who may do what in NATS: the one place where the permissions of every role stand.
//!
//! The subjects are those of `chorus_protocol::subject` and of the requests that `origin/src/log/nats/` makes;
//! `tests/tests/regions.rs` runs the real origin under them and fails when nats-server refuses it anything.

use chorus_protocol::{StreamId, subject};

use super::file::{Region, Supercluster};
use super::logs;

/// Stands for every stream until it becomes a wildcard.
const ANY: &str = "any-stream";

/// A user of nats-server, named `ROLE.REGION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Gateway, persist and api in one process.
    Origin,
    Gateway,
    Persist,
    Api,
    /// Reads every event and publishes decisions.
    Moderate,
    /// Reads every event.
    Analyse,
    /// Everything in the account of Chorus, nothing of the servers themselves.
    Operator,
    /// The servers themselves (`nats server …`): the system account, none of the events.
    System,
}

/// What a user may do; `responds` is to answer what it was asked.
#[derive(Default)]
pub(super) struct Permissions {
    pub(super) publish: Vec<String>,
    pub(super) subscribe: Vec<String>,
    pub(super) responds: bool,
}

impl Role {
    pub(super) const ALL: [Self; 8] = [
        Self::Origin,
        Self::Gateway,
        Self::Persist,
        Self::Api,
        Self::Moderate,
        Self::Analyse,
        Self::Operator,
        Self::System,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Gateway => "gateway",
            Self::Persist => "persist",
            Self::Api => "api",
            Self::Moderate => "moderate",
            Self::Analyse => "analyse",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }

    /// The roles of a chorus-origin that runs as this user; none where it is no chorus-origin.
    pub(super) const fn of_origin(self) -> &'static [&'static str] {
        match self {
            Self::Origin => &["gateway", "persist", "api"],
            Self::Gateway => &["gateway"],
            Self::Persist => &["persist"],
            Self::Api => &["api"],
            Self::Moderate | Self::Analyse | Self::Operator | Self::System => &[],
        }
    }

    /// The name in its certificate.
    pub(super) fn user(self, region: &Region) -> String {
        format!("{}.{}", self.name(), region.name)
    }

    /// Where its answers come: nobody else may listen there.
    pub(super) fn inbox(self, region: &Region) -> String {
        format!("_INBOX.{}", self.user(region))
    }

    pub(super) fn permissions(self, supercluster: &Supercluster, region: &Region) -> Permissions {
        let all = |subject: &str| vec![subject.to_owned()];
        if matches!(self, Self::Operator | Self::System) {
            return Permissions {
                publish: all(">"),
                subscribe: all(">"),
                responds: true,
            };
        }
        let may = May {
            supercluster,
            region,
        };
        let mut parts = vec![read()];
        let role = |role: Self| self == role || self == Self::Origin;
        if !self.of_origin().is_empty() {
            parts.push(may.provision());
        }
        if role(Self::Gateway) {
            parts.push(may.gateway());
        }
        if role(Self::Persist) {
            parts.push(may.persist());
        }
        if role(Self::Api) {
            parts.push(may.api());
        }
        if self == Self::Moderate {
            let decisions = publish(may.events_of(region));
            parts.extend([may.consume(self.name()), decisions]);
        }
        if self == Self::Analyse {
            parts.push(may.consume(self.name()));
        }
        let mut sum = Permissions::default();
        for part in parts {
            sum.publish.extend(part.publish);
            sum.subscribe.extend(part.subscribe);
            sum.responds |= part.responds;
        }
        // It may send to itself, which shows that the server has seen what was sent before.
        for list in [&mut sum.publish, &mut sum.subscribe] {
            list.push(format!("{}.>", self.inbox(region)));
        }
        for list in [&mut sum.publish, &mut sum.subscribe] {
            list.sort();
            list.dedup();
        }
        sum
    }
}

/// What the roles are made of.
struct May<'a> {
    supercluster: &'a Supercluster,
    region: &'a Region,
}

impl May<'_> {
    /// Makes this region's logs and brings them up to date: each process does so at its start. None may delete a log but a
    /// mirror.
    fn provision(&self) -> Permissions {
        let logs = logs::of(self.supercluster, self.region);
        let mut may = publish(logs.iter().flat_map(|log| {
            ["CREATE", "UPDATE"].map(|verb| format!("$JS.API.STREAM.{verb}.{}", log.name))
        }));
        let durables = self.events_logs().flat_map(|log| {
            [
                format!("$JS.API.CONSUMER.CREATE.{log}.persist.>"),
                format!("$JS.API.CONSUMER.INFO.{log}.persist"),
            ]
        });
        may.publish.extend(durables);
        // A mirror is a copy: one of an earlier incarnation of its origin gives way.
        for (origin, mirror) in self.mirrors() {
            let feed = subject::mirror_durable(&self.region.name);
            may.publish.extend([
                format!("$JS.API.STREAM.DELETE.{mirror}"),
                format!("$JS.API.CONSUMER.CREATE.{mirror}.persist.>"),
                format!("$JS.API.CONSUMER.INFO.{mirror}.persist"),
                format!("$JS.API.CONSUMER.CREATE.{origin}.{feed}"),
                format!("$JS.API.CONSUMER.INFO.{origin}.{feed}"),
            ]);
        }
        may.publish.push(subject::region_record(&self.region.name));
        may
    }

    fn gateway(&self) -> Permissions {
        let region = &self.region.name;
        // Of every region: they go to another one's log while this one's is away, or their stream is at home there.
        let regions = self.supercluster.regions.iter();
        let mut may = publish(regions.flat_map(|region| self.events_of(region)));
        may.publish.extend([
            any(|stream| subject::reaction(region, stream, "*")),
            any(|stream| subject::presence(region, "*", stream)),
            subject::api(region),
            format!("$KV.{}.>", subject::workers_bucket(region)),
            subject::gateway_lease(region, "*"),
        ]);
        may.subscribe = [
            subject::live("event.*.*.*"),
            subject::live("reaction.*.*.*"),
            subject::live("control.*.*.stream"),
            "presence.*.*.*".to_owned(),
            subject::live("gateway.*.*"),
        ]
        .into();
        may
    }

    fn persist(&self) -> Permissions {
        let mut may = self.consume("persist");
        let rights = subject::rights_bucket(&self.region.name);
        may.publish.push(format!("$KV.{rights}.>"));
        may
    }

    fn api(&self) -> Permissions {
        let region = &self.region.name;
        let regions = self.supercluster.regions.iter();
        let lives = regions.map(|it| any(|stream| subject::stream_life(&it.name, stream)));
        Permissions {
            // A stream may be at home in another region than that of whoever makes or ends it.
            publish: lives.collect(),
            subscribe: vec![subject::api(region), "presence.*.*.*".to_owned()],
            responds: true,
        }
    }

    fn events_of(&self, region: &Region) -> impl Iterator<Item = String> + use<> {
        let name = region.name.clone();
        let partitions = 0..self.supercluster.partitions;
        partitions.map(move |partition| subject::events_of(&name, partition))
    }

    /// All events by the durable of a role, those of the other regions from this one's mirrors, and its dead letters.
    fn consume(&self, durable: &str) -> Permissions {
        let mirrors = self.mirrors().map(|(_, mirror)| mirror);
        let mut may = publish(self.events_logs().chain(mirrors).flat_map(|log| {
            [
                format!("$JS.API.CONSUMER.INFO.{log}.{durable}"),
                format!("$JS.API.CONSUMER.MSG.NEXT.{log}.{durable}"),
                format!("$JS.ACK.{log}.{durable}.>"),
            ]
        }));
        may.publish.push(subject::dead(&self.region.name, durable));
        may
    }

    /// The other regions' logs of events, and this one's mirror of each.
    fn mirrors(&self) -> impl Iterator<Item = (String, String)> {
        let own = &self.region.name;
        logs::peers(self.supercluster, self.region).flat_map(move |peer| {
            (0..self.supercluster.partitions).map(move |partition| {
                let origin = subject::events_log(&peer.name, partition);
                (origin, subject::mirror_log(own, &peer.name, partition))
            })
        })
    }

    fn events_logs(&self) -> impl Iterator<Item = String> {
        let partitions = 0..self.supercluster.partitions;
        partitions.map(|partition| subject::events_log(&self.region.name, partition))
    }
}

/// Every log of the supercluster.
fn read() -> Permissions {
    publish([
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.INFO.*",
        "$JS.API.STREAM.MSG.GET.*",
        "$JS.API.DIRECT.GET.*",
        "$JS.API.DIRECT.GET.*.>",
    ])
}

/// A subject of all streams.
fn any(subject: impl Fn(&StreamId) -> String) -> String {
    StreamId::new(ANY).map_or_else(|_| String::new(), |any| subject(&any).replace(ANY, "*"))
}

fn publish(subjects: impl IntoIterator<Item = impl Into<String>>) -> Permissions {
    Permissions {
        publish: subjects.into_iter().map(Into::into).collect(),
        ..Permissions::default()
    }
}
