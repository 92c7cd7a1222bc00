//! Which PoPs there are: asked of the gateway, and what it said last while it is away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chorus_protocol::backhaul::{Request, Response};
use chorus_protocol::presence::Pop;

use super::lanes;
use super::metrics::{Metrics, add};
use super::{Handle, Shared};

/// An answer this old is given without asking: leases are written once in a second.
const FRESH: Duration = Duration::from_secs(1);
/// How often the gateway is asked although nobody asked us, so that there is something to say when it goes away.
pub(super) const REFRESH: Duration = Duration::from_secs(5);
/// How long the gateway has to answer.
const WAIT: Duration = Duration::from_secs(1);

/// What was heard of the PoPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// All of them, by region and name; none when nothing was heard yet.
    pub pops: Arc<[Pop]>,
    /// How long ago, where the gateway could not be asked again.
    pub stale: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Pops {
    last: Mutex<Option<(Arc<[Pop]>, Instant)>>,
    /// One asks, the others wait for its answer.
    asking: tokio::sync::Mutex<()>,
}

impl Pops {
    fn last(&self) -> Option<(Arc<[Pop]>, Duration)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .map(|(pops, at)| (Arc::clone(pops), at.elapsed()))
    }

    fn fresh(&self) -> Option<Heard> {
        let (pops, age) = self.last()?;
        (age < FRESH).then_some(Heard { pops, stale: None })
    }
}

impl Shared {
    /// The PoPs of all regions, as of now or as heard last.
    pub(super) async fn pops(&self, metrics: &Metrics) -> Heard {
        if let Some(heard) = self.pops.fresh() {
            return heard;
        }
        let _asking = self.pops.asking.lock().await;
        if let Some(heard) = self.pops.fresh() {
            return heard;
        }
        if let Some(pops) = self.ask_pops(metrics).await {
            let pops: Arc<[Pop]> = pops.into();
            let mut last = self
                .pops
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *last = Some((Arc::clone(&pops), Instant::now()));
            return Heard { pops, stale: None };
        }
        add(&metrics.pops_stale, 1);
        let (pops, age) = self.pops.last().unwrap_or_default();
        let stale = Some(age);
        Heard { pops, stale }
    }

    async fn ask_pops(&self, metrics: &Metrics) -> Option<Vec<Pop>> {
        let gateway = self.gateway.borrow().clone()?;
        let asked = lanes::request(&gateway.connection, &Request::Pops, metrics);
        match tokio::time::timeout(WAIT, asked).await {
            Ok(Some(Response::Pops(pops))) => Some(pops),
            // `Unavailable` is said by a gateway of the build before, too.
            Ok(Some(Response::Replay(_) | Response::Rest(_) | Response::Unavailable) | None)
            | Err(_) => None,
        }
    }
}

impl Handle {
    /// The PoPs of all regions, as of now or as heard last.
    pub async fn pops(&self) -> Heard {
        self.shared.pops(&self.metrics).await
    }
}

/// Asks again and again, for ever.
pub(super) async fn refresh(shared: Arc<Shared>, metrics: Arc<Metrics>) {
    let mut gateway = shared.gateway.subscribe();
    loop {
        if gateway.borrow_and_update().is_some() {
            shared.pops(&metrics).await;
        }
        // A gateway that is new is asked at once.
        let _ = tokio::time::timeout(REFRESH, gateway.changed()).await;
    }
}
