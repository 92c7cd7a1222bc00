//! Which PoPs there are, and what this one says of itself.

use std::time::Duration;

use chorus_protocol::backhaul::ToGateway;

use crate::gateway::{Gateway, Seen, listed};
use crate::keys::Authority;
use crate::pop::{Pop, bounds};

#[tokio::test]
async fn the_list_is_the_gateways_and_what_was_heard_last_while_it_is_away() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let before = pop.handle.pops().await;
    assert!(before.pops.is_empty() && before.stale.is_some());
    let mut peer = gateway.peer().await;
    pop.shards[0].connected(true).await;
    let heard = pop.handle.pops().await;
    assert_eq!((&heard.pops[..], heard.stale), (&[listed()][..], None));
    let load = peer.next(|seen| match seen {
        Seen::Control(ToGateway::Load {
            connections,
            draining,
        }) => Ok((connections, draining)),
        other => Err(other),
    });
    assert_eq!(load.await, (0, false));

    peer.connection.close(0_u32.into(), b"");
    pop.shards[0].connected(false).await;
    // What is younger is given without asking.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let heard = pop.handle.pops().await;
    assert_eq!(heard.pops[..], [listed()]);
    assert!(heard.stale.is_some_and(|age| age >= Duration::from_secs(1)));
}
