//! A check that takes long holds up what waits for it and nothing else, over a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chorus_protocol::backhaul::Publish;
use chorus_protocol::{Outcome, StreamId};
use common::pop::{Pop, reactions, stored};
use common::{Region, until};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const SOON: Duration = Duration::from_secs(15);

/// A way to NATS that holds questions about one stream's life back until told otherwise.
struct SlowLine {
    port: u16,
    let_go: watch::Sender<bool>,
    held: Arc<AtomicUsize>,
}

impl SlowLine {
    async fn new(nats_port: u16, stream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (let_go, gone) = watch::channel(false);
        let held = Arc::new(AtomicUsize::new(0));
        let about = format!("control.dev.{stream}.");
        let counted = Arc::clone(&held);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", nats_port)).await.unwrap();
                let (mut far_read, far_write) = far.into_split();
                let (near_read, mut near_write) = near.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut far_read, &mut near_write).await;
                });
                let up = (BufReader::new(near_read), far_write);
                tokio::spawn(pass(up, about.clone(), gone.clone(), Arc::clone(&counted)));
            }
        });
        Self { port, let_go, held }
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

async fn pass(
    (mut from, mut to): (
        BufReader<tokio::net::tcp::OwnedReadHalf>,
        tokio::net::tcp::OwnedWriteHalf,
    ),
    about: String,
    mut let_go: watch::Receiver<bool>,
    held: Arc<AtomicUsize>,
) {
    let mut back = Vec::new();
    let mut message = Vec::new();
    loop {
        tokio::select! {
            read = from.read_until(b'\n', &mut message) => if !matches!(read, Ok(1..)) { return },
            () = gone(&mut let_go), if !back.is_empty() => {
                to.write_all(&std::mem::take(&mut back)).await.unwrap();
                continue;
            }
        }
        let head = String::from_utf8_lossy(&message).into_owned();
        if head.starts_with("PUB ") || head.starts_with("HPUB ") {
            let length: usize = head.trim().rsplit(' ').next().unwrap().parse().unwrap();
            let mut payload = vec![0; length + 2];
            from.read_exact(&mut payload).await.unwrap();
            let question = head.contains("$JS.API.DIRECT.GET.CONTROL")
                && String::from_utf8_lossy(&payload).contains(&about);
            message.extend(payload);
            if question && !*let_go.borrow() {
                held.fetch_add(1, Ordering::Relaxed);
                back.append(&mut message);
                continue;
            }
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
        message.clear();
    }
}

async fn gone(let_go: &mut watch::Receiver<bool>) {
    let _ = let_go.wait_for(|go| *go).await;
}

#[tokio::test]
async fn a_stream_that_is_looked_up_slowly_stalls_no_other() {
    let mut region = Region::start().await;
    let demo = region.stream();
    let directory = region.directory.path().to_owned();
    let mut reader = Pop::connect(&directory, region.gateway_port, 1).await;
    let ([slow], _) = reader.create(["slow"]).await;
    reader.fresh(&slow).await;
    // A gateway that has heard of neither stream, over a line that is slow for one of them.
    let line = SlowLine::new(region.nats_port, "slow").await;
    (region.gateway_port, region.nats_port) = (common::free_udp(), line.port);
    region.start_origin(&["gateway"]);
    let port = region.gateway_port;
    until("the second gateway", SOON, async || {
        let tried = common::pop::connect(&directory, port, true);
        tried.await.is_ok()
    })
    .await;
    let mut pop = Pop::connect(&directory, port, 2).await;

    let mut late = Vec::new();
    for (request, user) in (0..).zip(["ann", "bob", "ann", "ann", "bob"]) {
        let said = pop.comment(&slow, user, &format!("s{request}"));
        pop.publish(request, &said).await;
        late.push((user, said.comment.id));
    }
    let react = |request, stream: &StreamId| Publish::Reactions {
        request,
        stream: stream.clone(),
        key: request.into(),
        by: reactions(&[("like", 1)]),
        users: Vec::new(),
        region: None,
    };
    pop.publish_raw(&react(5, &slow)).await;
    // Everything else goes on, for those who wait there too.
    for number in 0..20 {
        let said = pop.comment(&demo, "ann", &format!("d{number}"));
        assert_eq!(pop.post(&said).await, stored(said.comment.id));
    }
    pop.publish_raw(&react(6, &demo)).await;
    assert!(matches!(pop.outcome(6).await, Outcome::Stored { .. }));
    assert_eq!(line.held(), 1, "six publications, one look-up");
    assert_eq!(reader.seen(&slow), []);

    line.let_go.send_replace(true);
    let mut outcomes = std::collections::BTreeMap::new();
    while outcomes.len() < 6 {
        let next = tokio::time::timeout(SOON, pop.outcomes.recv()).await;
        let published = next.expect("answered in time").unwrap();
        outcomes.insert(published.request, published.outcome);
    }
    for (request, (_, id)) in (0..).zip(&late) {
        assert_eq!(outcomes[&request], stored(*id));
    }
    assert!(matches!(outcomes[&5], Outcome::Stored { .. }));
    until("all of them", SOON, async || reader.seen(&slow).len() == 5).await;
    let seen = reader.seen(&slow);
    for user in ["ann", "bob"] {
        let of = late.iter().filter(|(whose, _)| *whose == user);
        let of: Vec<_> = of.map(|(_, id)| *id).collect();
        let came: Vec<_> = seen.iter().filter(|id| of.contains(id)).copied().collect();
        assert_eq!(came, of, "in the order in which they were written");
    }
}
