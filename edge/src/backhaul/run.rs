//! The backhaul's loop: waits for shards, the gateway and the clock, lets the hub decide and carries it out.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chorus_protocol::backhaul::CloseCode;
use chorus_quic::Pace;
use quinn::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::config::BackhaulConfig;
use super::dial::{Sockets, Up, dial, look};
use super::heard;
use super::hub::{FromGateway, Generation, Hub, Now, Out, Redial};
use super::lanes::{self, Sink, code};
use super::metrics::{Metrics, add, set};
use super::nearest::{Looks, Place};
use super::{Gateway, ShardSender, Shared};
use crate::link::{ToBackhaul, ToShard};
use crate::panics::{self, Restarts};
use crate::pop::PopState;

/// Messages taken in one go before the rest is carried out.
const BATCH_MAX: usize = 1_024;
/// With nothing due the loop looks around this often.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// The connection and its writers.
struct Link {
    generation: Generation,
    /// Of its gateway in the configuration.
    place: usize,
    connection: Connection,
    control: mpsc::UnboundedSender<Bytes>,
    posts: mpsc::UnboundedSender<Bytes>,
    tasks: JoinSet<()>,
}

pub(super) struct Runner {
    pub(super) config: Arc<BackhaulConfig>,
    pub(super) sockets: Sockets,
    pub(super) process: u64,
    pub(super) shards: Vec<Arc<dyn ShardSender>>,
    pub(super) asked: mpsc::Receiver<ToBackhaul>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pace: Arc<Pace>,
    pub(super) pop: Arc<PopState>,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: oneshot::Receiver<()>,
}

impl Runner {
    fn now(&self) -> Now {
        Now {
            mono: Instant::now(),
            wall: self.pop.clock().now(),
        }
    }

    /// Runs until the handle says stop. A panic ends a life of the backhaul and not the process: what the hub knew is
    /// lost, so every shard is told to begin anew and all that they asked for is asked for again.
    pub(super) async fn run(mut self) {
        panics::install();
        let mut restarts = Restarts::default();
        while let Err(panic) = panics::contained_future(self.life()).await {
            add(&self.metrics.panics, 1);
            set(&self.metrics.connected, 0);
            let pause = restarts.count(Instant::now());
            tracing::error!(%panic, ?pause, "the backhaul panicked; it begins anew, and so do the shards");
            self.shared.down();
            for shard in &self.shards {
                let told = panics::contained(|| {
                    shard.send(ToShard::Connected(false));
                    shard.send(ToShard::BackhaulLost);
                });
                if let Err(panic) = told {
                    tracing::error!(%panic, "a shard cannot be told that the backhaul begins anew");
                }
            }
            // The keys of reactions are made of it, and the next hub numbers them from the beginning.
            self.process = super::random();
            tokio::time::sleep(pause).await;
        }
    }

    async fn life(&mut self) {
        let bounds = &self.config.bounds;
        let mut hub = Hub::new(
            bounds,
            self.shards.len(),
            self.process,
            Arc::clone(&self.metrics),
        );
        let (sender, mut events) = mpsc::channel(bounds.events_waiting_max);
        let mut generation: Generation = 0;
        let mut link: Option<Link> = None;
        let mut dialling = JoinSet::new();
        let mut redial = Redial::new(bounds.reconnect_ms_max);
        let mut looking: JoinSet<Vec<Place>> = JoinSet::new();
        let mut looks = Looks::default();
        self.start_dialling(&mut dialling, Duration::ZERO);
        let mut wishes = Vec::with_capacity(BATCH_MAX);
        let mut happened = Vec::with_capacity(BATCH_MAX);
        let mut asked_open = true;
        loop {
            let wake = hub.next().unwrap_or_else(|| Instant::now() + LOOK_AROUND);
            let sleep = tokio::time::sleep_until(wake.into());
            let closed = async {
                match &link {
                    Some(link) => Some(link.connection.closed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut self.stop => break,
                taken = self.asked.recv_many(&mut wishes, BATCH_MAX), if asked_open => asked_open = taken > 0,
                _ = events.recv_many(&mut happened, BATCH_MAX) => {}
                reason = closed => {
                    if let Some(reason) = reason {
                        tracing::warn!(%reason, "the gateway is gone; connecting anew");
                    }
                    link = None;
                    looking.abort_all();
                    self.shared.down();
                    hub.disconnected();
                    let wait = redial.lost(Instant::now(), super::random());
                    self.start_dialling(&mut dialling, wait);
                }
                dialled = dialling.join_next(), if link.is_none() => match dialled {
                    Some(Ok(Ok(up))) => {
                        generation += 1;
                        redial.up(Instant::now());
                        looks = Looks::default();
                        self.start_looking(&mut looking, up.place);
                        link = Some(self.link_up(up, generation, &sender, &mut hub));
                    }
                    Some(Ok(Err(reason))) => {
                        let wait = redial.failed(super::random());
                        add(&self.metrics.connect_failures, 1);
                        tracing::warn!(%reason, failures = redial.failures(), "no gateway");
                        self.start_dialling(&mut dialling, wait);
                    }
                    Some(Err(_)) | None => {
                        let wait = redial.failed(super::random());
                        self.start_dialling(&mut dialling, wait);
                    }
                },
                looked = looking.join_next(), if !looking.is_empty() => {
                    if let (Some(Ok(others)), Some(link)) = (looked, &link) {
                        if looks.move_after((link.place, link.connection.rtt()), &others) {
                            add(&self.metrics.moves, 1);
                            tracing::info!("another gateway is nearer: moving to it");
                            // The next turn finds it closed, and what is under way is said again over the next one.
                            link.connection.close(code(CloseCode::GoingAway), b"a nearer gateway");
                        } else {
                            self.start_looking(&mut looking, link.place);
                        }
                    }
                }
                () = sleep => {}
            }
            let now = self.now();
            while happened.len() < BATCH_MAX
                && let Ok(event) = events.try_recv()
            {
                happened.push(event);
            }
            while wishes.len() < BATCH_MAX
                && let Ok(wish) = self.asked.try_recv()
            {
                wishes.push(wish);
            }
            for (generation, said) in happened.drain(..) {
                match hub.said(now, generation, said) {
                    Ok(messages) => self.pace.count(messages),
                    Err(error) => {
                        add(&self.metrics.malformed, 1);
                        tracing::error!(%error, "a delivery of the gateway cannot be read; connecting anew");
                        if let Some(link) = &link {
                            link.connection
                                .close(code(CloseCode::Malformed), b"malformed");
                        }
                    }
                }
            }
            for wish in wishes.drain(..) {
                hub.shard(now, wish);
            }
            set(&self.metrics.turn_us, self.pace.turn_us());
            if let Some(link) = &mut link {
                set(
                    &self.metrics.rtt_us,
                    u64::try_from(link.connection.rtt().as_micros()).unwrap_or(u64::MAX),
                );
                while link.tasks.try_join_next().is_some() {}
            }
            hub.load(self.pop.viewers() as u64, self.pop.is_draining());
            let out = hub.flush(now);
            self.carry_out(out, link.as_mut(), &sender);
            self.shared
                .lease_until
                .store(self.metrics.lease_until_ms.load(Relaxed), Relaxed);
        }
        if let Some(link) = link {
            link.connection.close(code(CloseCode::GoingAway), b"");
        }
        self.shared.down();
        self.sockets.idle().await;
    }

    fn start_dialling(&self, dialling: &mut JoinSet<Result<Up, String>>, wait: Duration) {
        let (config, sockets, process) =
            (Arc::clone(&self.config), self.sockets.clone(), self.process);
        let (metrics, clock) = (Arc::clone(&self.metrics), Arc::clone(self.pop.clock()));
        dialling.spawn(async move {
            tokio::time::sleep(wait).await;
            dial(&config, &sockets, process, &metrics, &clock).await
        });
    }

    /// A look at the other gateways after a while.
    fn start_looking(&self, looking: &mut JoinSet<Vec<Place>>, here: usize) {
        if self.config.gateways.len() < 2 {
            return;
        }
        let (config, sockets) = (Arc::clone(&self.config), self.sockets.clone());
        looking.spawn(async move {
            tokio::time::sleep(Duration::from_millis(config.bounds.look_ms)).await;
            look(&config, &sockets, here).await
        });
    }

    fn link_up(
        &self,
        up: Up,
        generation: Generation,
        sender: &mpsc::Sender<(Generation, FromGateway)>,
        hub: &mut Hub,
    ) -> Link {
        tracing::info!(gateway = %up.gateway, region = %up.region, worker = up.welcome.worker, "connected to a gateway");
        let sink = self.sink(generation, sender);
        let mut tasks = JoinSet::new();
        let (control, control_chunks) = mpsc::unbounded_channel();
        let (posts, posts_chunks) = mpsc::unbounded_channel();
        for (lane, chunks) in [(up.control.0, control_chunks), (up.posts.0, posts_chunks)] {
            let write = lanes::write(lane, chunks);
            tasks.spawn(lanes::watch(up.connection.clone(), sink.clone(), write));
        }
        lanes::start(&up.connection, up.control.1, up.posts.1, &sink, &mut tasks);
        let idle = Duration::from_millis(self.config.bounds.idle_ms_max);
        let heard = heard::watch(up.connection.clone(), idle);
        tasks.spawn(lanes::watch(up.connection.clone(), sink.clone(), heard));
        let now = self.now();
        hub.connected(now, generation, &up.welcome);
        // Only a delivery cannot be read.
        let _ = hub.said(now, generation, FromGateway::Control(up.early));
        self.shared.up(Gateway {
            address: up.gateway,
            region: up.region,
            connection: up.connection.clone(),
        });
        Link {
            generation,
            place: up.place,
            connection: up.connection,
            control,
            posts,
            tasks,
        }
    }

    fn sink(
        &self,
        generation: Generation,
        sender: &mpsc::Sender<(Generation, FromGateway)>,
    ) -> Sink {
        Sink {
            generation,
            events: sender.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }

    fn carry_out(
        &self,
        out: &mut Out,
        link: Option<&mut Link>,
        sender: &mpsc::Sender<(Generation, FromGateway)>,
    ) {
        // Before the shards are told of a lease by the corrected clock.
        let ahead_ms = std::mem::take(&mut out.clock_ahead_ms);
        if ahead_ms != 0 {
            let clock = self.pop.clock();
            clock.correct(ahead_ms);
            let wrong_ms = clock.ahead_ms().unsigned_abs();
            set(&self.metrics.clock_wrong_ms, wrong_ms);
        }
        for (messages, shard) in out.shards.iter_mut().zip(&self.shards) {
            if !messages.is_empty() {
                shard.send_all(messages);
                messages.clear();
            }
        }
        let Some(link) = link else {
            return;
        };
        // A writer that is gone means the connection is too; all of it is said anew over the next.
        if !out.control.is_empty() {
            let _ = link.control.send(std::mem::take(&mut out.control).into());
        }
        if !out.posts.is_empty() {
            let _ = link.posts.send(std::mem::take(&mut out.posts).into());
        }
        for datagram in out.datagrams.drain(..) {
            // What a datagram says may be lost.
            let _ = link.connection.send_datagram(datagram);
        }
        let timeout = Duration::from_millis(self.config.bounds.replay_ms_max / 2);
        for ask in out.asks.drain(..) {
            let sink = self.sink(link.generation, sender);
            // Not one of the link's tasks: its answer, or that there is none, has to arrive.
            tokio::spawn(lanes::ask(link.connection.clone(), ask, timeout, sink));
        }
    }
}
