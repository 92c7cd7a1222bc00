//! Runs one shard on a free loopback port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chorus_edge::http::{HANDOVERS_MAX, Handover};
use chorus_edge::link::{self, BackhaulReceiver, ShardHandle, ToShard};
use chorus_edge::metrics::ShardMetrics;
use chorus_edge::pop::PopState;
use chorus_edge::shard::send::IoUring;
use chorus_edge::shard::{QueueBounds, Shard, ShardSpec, StartError};
use chorus_edge::ws::handshake::Origins;

use crate::logic::{Heard, Puppet};

/// Options of a test's shard.
pub(crate) struct Choice {
    pub(crate) connections_max: usize,
    pub(crate) queue_bytes_max: usize,
    pub(crate) io_uring: IoUring,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) blob: Vec<u8>,
    pub(crate) message_bytes_max: usize,
    /// The state shared with another shard, if a test has two.
    pub(crate) pop: Option<Arc<PopState>>,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            connections_max: 5_000,
            queue_bytes_max: 1 << 20,
            io_uring: IoUring::Auto,
            tls: None,
            blob: b"blob".to_vec(),
            message_bytes_max: 4_096,
            pop: None,
        }
    }
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) handle: ShardHandle,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) pop: Arc<PopState>,
    pub(crate) heard: Heard,
    pub(crate) up: BackhaulReceiver,
    pub(crate) http: Option<tokio::sync::mpsc::Receiver<Handover>>,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<Result<(), StartError>>,
}

pub(crate) fn start() -> Running {
    Choice::default().start()
}

impl Choice {
    pub(crate) fn start(self) -> Running {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::<ShardMetrics>::default();
        let (sender, up) = link::to_backhaul();
        let (http_sender, http) = tokio::sync::mpsc::channel(HANDOVERS_MAX);
        let pop = self
            .pop
            .unwrap_or_else(|| Arc::new(PopState::new(self.connections_max)));
        let spec = ShardSpec {
            shard: 3,
            tls: self.tls,
            message_bytes_max: self.message_bytes_max,
            queue: QueueBounds {
                bytes_max: self.queue_bytes_max,
                frames_max: 10_000,
            },
            origins: Origins::default(),
            io_uring: self.io_uring,
            turn_max: Duration::from_millis(4),
            pop: Arc::clone(&pop),
            metrics: Arc::clone(&metrics),
            to_backhaul: sender,
            http: http_sender,
        };
        let (shard, handle) = Shard::new(spec, listener).unwrap();
        let heard = Heard::default();
        let logic = Puppet::new(Arc::clone(&heard), self.blob);
        let (tell, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || tell.send(shard.run(logic)).unwrap());
        Running {
            address,
            handle,
            metrics,
            pop,
            heard,
            up,
            http: Some(http),
            thread: Some(thread),
            ended,
        }
    }
}

impl Running {
    pub(crate) fn drain(&self, ms: u64) {
        let grace = Duration::from_millis(ms);
        self.handle.send(ToShard::Drain { grace });
    }

    /// Waits until the shard has ended by itself.
    pub(crate) fn ended(&mut self) {
        self.ended
            .recv_timeout(Duration::from_secs(20))
            .unwrap()
            .unwrap();
        self.thread.take().unwrap().join().unwrap();
    }

    pub(crate) fn has_heard(&self, what: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|one| one == what)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.drain(0);
            let joined = thread.join();
            if !std::thread::panicking() {
                joined.unwrap();
            }
        }
    }
}

/// Polls until the condition holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
