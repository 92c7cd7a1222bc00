//! Samples of what a PoP says to its gateway on the control lane.

use chorus_protocol::Millis;
use chorus_protocol::backhaul::ToGateway;
use chorus_protocol::presence::UserHere;
use chorus_protocol::stream::Revision;

use super::{Sample, at, demo, sample};

/// What a PoP says on the control lane.
pub(super) fn samples() -> Vec<Sample> {
    vec![
        sample(
            "ToGateway::Hello",
            ToGateway::Hello {
                versions: [4, 5],
                pop: "pop-1".parse().expect("a PoP"),
                process: u64::MAX,
                region: None,
                url: None,
            },
        ),
        sample(
            "ToGateway::Hello reachable",
            ToGateway::Hello {
                versions: [4, 4],
                pop: "pop-1".parse().expect("a PoP"),
                process: 1,
                region: Some("eu".parse().expect("a region")),
                url: Some("https://pop-1.example".to_owned()),
            },
        ),
        sample(
            "ToGateway::Hold",
            ToGateway::Hold {
                stream: demo(),
                have: Some(at(7)),
                full: true,
                knows: Some(Revision {
                    created_at_ms: Millis(1_800_000_000_000),
                    seq: 3,
                }),
            },
        ),
        sample(
            "ToGateway::Hold new",
            ToGateway::Hold {
                stream: demo(),
                have: None,
                full: false,
                knows: None,
            },
        ),
        sample("ToGateway::Release", ToGateway::Release { stream: demo() }),
        sample("ToGateway::Renew", ToGateway::Renew),
        sample(
            "ToGateway::Load",
            ToGateway::Load {
                connections: 70_000,
                draining: true,
            },
        ),
        sample(
            "ToGateway::Users",
            ToGateway::Users(vec![UserHere {
                user: "ann".parse().expect("a user"),
                connections: 3,
            }]),
        ),
    ]
}
