//! The line itself: who is let in, leases, the next gateway, and words that make no sense.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use chorus_edge::backhaul::BackhaulBounds;
use chorus_edge::link::ToShard;
use chorus_protocol::backhaul::{ToGateway, ToPop};
use tokio::net::UdpSocket;

use crate::gateway::{Gateway, Seen, wall};
use crate::keys::Authority;
use crate::pop::{Pop, Shard, bounds, demo};

async fn lease(shard: &mut Shard) -> (u16, u64) {
    shard
        .next(|message| match message {
            ToShard::Lease { worker, until } => Ok((worker, until.0)),
            other => Err(other),
        })
        .await
}

#[tokio::test]
async fn a_pop_of_another_authority_is_refused_and_refuses() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let gateway = Gateway::start(&ours);
    let address = vec![gateway.address.to_string()];
    // It trusts the gateway, which does not trust it.
    let stranger = Pop::with(&ours, &theirs.identity("pop"), address.clone(), bounds());
    assert!(gateway.refused_within(Duration::from_millis(500)).await > 0);
    assert_eq!(stranger.metrics.connects.load(Relaxed), 0);
    stranger.handle.stop().await;
    // The gateway would take it, but it does not trust the gateway.
    let distrustful = Pop::with(&theirs, &ours.identity("pop"), address, bounds());
    assert!(gateway.refused_within(Duration::from_millis(500)).await > 0);
    assert_eq!(distrustful.metrics.connects.load(Relaxed), 0);
    assert!(distrustful.metrics.connect_failures.load(Relaxed) > 0);
}

#[tokio::test]
async fn a_lease_is_told_renewed_and_fenced_early() {
    let authority = Authority::new();
    let gateway = Gateway::with_lease(&authority, 9, 1_500);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let mut peer = gateway.peer().await;
    let (worker, until) = lease(&mut pop.shards[0]).await;
    assert_eq!(worker, 9);
    let margin = bounds().lease_margin_ms;
    assert!(until <= wall().0 + 1_500 - margin, "fenced a margin early");
    let asked = peer
        .next(|seen| match seen {
            Seen::Control(message @ ToGateway::Renew) => Ok(message),
            other => Err(other),
        })
        .await;
    assert_eq!(asked, ToGateway::Renew);
    let renewed = ToPop::Renewed {
        worker: 10,
        until_ms: wall().plus(60_000),
        now_ms: None,
    };
    peer.control(&renewed).await;
    let (worker, later) = lease(&mut pop.shards[0]).await;
    assert_eq!(worker, 10);
    assert!(later > until + 50_000);
    assert_eq!(lease(&mut pop.shards[1]).await.0, 9, "every shard is told");
    assert!(pop.handle.ready());
}

#[tokio::test]
async fn words_that_make_no_sense_end_the_connection_and_nothing_else() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority);
    let mut pop = Pop::start(&authority, &[&gateway], bounds());
    let nonsense: [&[u8]; 3] = [
        &[3, 0, 0, 0, 0xc1, 0xc1, 0xc1],
        &[0xff, 0xff, 0xff, 0xff],
        // A message that begins and does not end.
        &[9, 0, 0, 0, 1],
    ];
    for (times, bytes) in nonsense.into_iter().enumerate() {
        let mut peer = gateway.peer().await;
        pop.shards[0].connected(true).await;
        let bad_datagram = vec![0xc1; 5];
        peer.connection
            .send_datagram(bad_datagram.into())
            .expect("sent");
        peer.raw_control(bytes).await;
        if times == 2 {
            let mut lane = peer.connection.open_uni().await.expect("a lane");
            lane.write_all(&[1, 0, 0, 0, 0x90]).await.expect("written");
        }
        peer.connection.closed().await;
    }
    let mut peer = gateway.peer().await;
    pop.subscribe(0, &demo()).await;
    assert_eq!(peer.hold().await.0, demo());
    assert!(pop.metrics.malformed.load(Relaxed) >= 3);
}

/// Passes packets between a PoP and a gateway until it is told to swallow them: how a dead machine looks.
async fn wire(gateway: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let front = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let back = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = front.local_addr().expect("bound");
    let dead = Arc::new(AtomicBool::new(false));
    let swallow = Arc::clone(&dead);
    tokio::spawn(async move {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut pop = None;
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut up) => {
                    pop = Some(from);
                    if !swallow.load(Relaxed) {
                        let _ = back.send_to(&up[..length], gateway).await;
                    }
                }
                Ok((length, _)) = back.recv_from(&mut down) => {
                    if let Some(pop) = pop.filter(|_| !swallow.load(Relaxed)) {
                        let _ = front.send_to(&down[..length], pop).await;
                    }
                }
            }
        }
    });
    (address, dead)
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_left_for_the_next() {
    let authority = Authority::new();
    let gateways = [Gateway::start(&authority), Gateway::start(&authority)];
    let mut wires = Vec::new();
    for gateway in &gateways {
        wires.push(wire(gateway.address).await);
    }
    let mut pop = Pop::with(
        &authority,
        &authority.identity("pop"),
        wires
            .iter()
            .map(|(address, _)| address.to_string())
            .collect(),
        BackhaulBounds::default(),
    );
    // Whichever answers first is taken; then that one falls silent.
    let (taken, _peer) = tokio::select! {
        peer = gateways[0].peer() => (0, peer),
        peer = gateways[1].peer() => (1, peer),
    };
    pop.shards[0].connected(true).await;
    let connected = |pop: &Pop| pop.handle.status().gateway.map(|(address, _)| address);
    assert_eq!(connected(&pop), Some(wires[taken].0.to_string()));
    wires[taken].1.store(true, Relaxed);
    let since = Instant::now();
    let other = 1 - taken;
    let _peer = gateways[other].peer().await;
    pop.shards[0].connected(true).await;
    let took = since.elapsed();
    assert_eq!(connected(&pop), Some(wires[other].0.to_string()));
    // Two seconds are the promise; a loaded machine gets a little more before this fails.
    assert!(took < Duration::from_millis(3_500), "took {took:?}");
}
