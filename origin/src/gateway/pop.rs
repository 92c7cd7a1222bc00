//! A PoP's connection: who it is, its worker number, and the lanes it opens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chorus_protocol::backhaul::{
    CloseCode, Datagram, Held, Lane, Request, Response, ToGateway, ToPop, VERSIONS, common_version,
    read_message,
};
use chorus_protocol::presence::{self, PopState};
use chorus_protocol::stream::Revision;
use chorus_protocol::{CommentId, Millis, Position, StreamId};
use quinn::{SendStream, VarInt};
use tokio::task::AbortHandle;

use super::follower::Ask;
use super::follower::core::PopProcess;
use super::lane::{self, LaneError, Reader};
use super::quiet::{self, Quiet};
use super::{GatewayShared, catch_up, hold, posts};
use crate::clock;
use crate::lock::lock;
use crate::log::Lease;

/// From connecting to `Hello`.
const HELLO: Duration = Duration::from_secs(5);
/// How long a lease is tried for while the log is away.
const LEASE_RETRY: Duration = Duration::from_millis(200);
/// Streams one PoP may hold; one more is answered `Unknown` and counted.
const HOLDS_MAX: usize = 50_000;
/// How much clocks of PoP and gateway may differ.
pub(super) const CLOCKS_MS: u64 = 2_000;

/// A connected PoP.
pub(super) struct Pop {
    pub(super) shared: Arc<GatewayShared>,
    pub(super) connection: quinn::Connection,
    pub(super) id: PopProcess,
    /// As it was when it was welcomed.
    said: presence::Pop,
    /// The way onto its quiet lane.
    pub(super) quiet: Quiet,
    welcomed_at: Millis,
    control: tokio::sync::Mutex<lane::Shared>,
    holds: Mutex<HashMap<StreamId, AbortHandle>>,
    lease: tokio::sync::Mutex<Lease>,
    /// Worker numbers this connection had, with their ends.
    workers: Mutex<Vec<(u16, Millis)>>,
}

/// Serves a connection until it is gone.
pub(super) async fn serve(shared: Arc<GatewayShared>, connection: quinn::Connection) {
    let remote = connection.remote_address();
    match welcome(shared, &connection).await {
        Ok((pop, control)) => {
            tracing::info!(pop = %pop.id.0, %remote, "a PoP is connected");
            pop.shared.metrics.pops.inc();
            pop.shared.metrics.leases.inc();
            pop.shared.here.came(&pop.id, pop.said.clone());
            let why = pop.run(control).await;
            pop.close();
            pop.shared.here.went(&pop.id, &pop.said);
            pop.shared.metrics.pops.dec();
            pop.shared.metrics.leases.dec();
            tracing::info!(pop = %pop.id.0, %remote, %why, "a PoP is gone");
        }
        Err(error) => tracing::info!(%remote, %error, "a connection came to nothing"),
    }
}

fn end(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    connection.close(VarInt::from_u32(code as u32), reason.as_bytes());
}

async fn welcome(
    shared: Arc<GatewayShared>,
    connection: &quinn::Connection,
) -> Result<(Arc<Pop>, Reader), LaneError> {
    let hello = async {
        let (send, receive) = connection.accept_bi().await.map_err(LaneError::gone)?;
        let mut control = Reader::new(receive);
        let lane = control.next::<Lane>().await?;
        let hello = control.next::<ToGateway>().await?;
        Ok::<_, LaneError>((send, control, lane, hello))
    };
    let (send, control, lane, hello) = match tokio::time::timeout(HELLO, hello).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => {
            end(connection, CloseCode::Malformed, "no hello");
            return Err(error);
        }
        Err(_) => {
            end(connection, CloseCode::Malformed, "no hello");
            return Err(LaneError::gone("no hello in time"));
        }
    };
    let (
        Some(Lane::Control),
        Some(ToGateway::Hello {
            versions,
            pop,
            process,
            region,
            url,
        }),
    ) = (lane, hello)
    else {
        end(connection, CloseCode::Malformed, "hello comes first");
        return Err(LaneError::gone("hello comes first"));
    };
    let Some(version) = common_version(VERSIONS, versions) else {
        end(connection, CloseCode::Version, "no common version");
        return Err(LaneError::gone("no common version"));
    };
    let url = url.filter(|url| match presence::check_url(url) {
        Ok(()) => true,
        Err(why) => {
            tracing::warn!(%pop, why, "the PoP's public URL cannot be used");
            false
        }
    });
    let said = presence::Pop {
        pop: pop.clone(),
        region: region.unwrap_or_else(|| shared.log.region().clone()),
        url,
        connections: 0,
        state: PopState::Serving,
        since_ms: clock::now(),
    };
    let id = (pop, process);
    let Some(lease) = lease(&shared, connection, &id).await? else {
        end(connection, CloseCode::NoWorker, "no worker id is free");
        return Err(LaneError::gone("no worker id is free"));
    };
    let welcomed_at = clock::now();
    let pop = Arc::new(Pop {
        connection: connection.clone(),
        id,
        said,
        quiet: quiet::start(connection.clone(), Arc::clone(&shared.pace)),
        welcomed_at,
        control: tokio::sync::Mutex::new(lane::Shared::new(send)),
        holds: Mutex::default(),
        workers: Mutex::new(vec![(lease.worker, lease.until)]),
        lease: tokio::sync::Mutex::new(lease.clone()),
        shared,
    });
    pop.tell(&ToPop::Welcome {
        version,
        region: pop.shared.log.region().clone(),
        now_ms: welcomed_at,
        worker: lease.worker,
        until_ms: lease.until,
    })
    .await?;
    Ok((pop, control))
}

/// Leases a worker number; waits while the log is away. `None`: all are taken.
async fn lease(
    shared: &GatewayShared,
    connection: &quinn::Connection,
    id: &PopProcess,
) -> Result<Option<Lease>, LaneError> {
    let holder = format!("{} {:016x}", id.0, id.1);
    loop {
        let leased = async {
            let workers = shared.log.workers(shared.lease).await?;
            workers.worker(&holder, shared.workers).await
        };
        match leased.await {
            Ok(lease) => return Ok(lease),
            Err(error) => tracing::debug!(%error, "no worker number yet"),
        }
        if let Some(reason) = connection.close_reason() {
            return Err(LaneError::gone(reason));
        }
        tokio::time::sleep(LEASE_RETRY).await;
    }
}

impl Pop {
    /// Writes on the control lane.
    pub(super) async fn tell(&self, message: &ToPop) -> Result<(), LaneError> {
        self.control.lock().await.write(message).await
    }

    /// Whether an id was minted by a worker number this process may use.
    ///
    /// Ids minted before this connection came by another gateway's lease: the PoP sends again what was under way.
    pub(super) fn minted_rightly(&self, id: CommentId) -> bool {
        let minted = id.minted_at();
        lock(&self.workers)
            .iter()
            .any(|(worker, until)| *worker == id.worker() && minted <= *until)
            || self.was_elsewhere(id)
    }

    /// Whether an id may have been minted while this PoP was connected to another gateway.
    pub(super) fn was_elsewhere(&self, id: CommentId) -> bool {
        id.minted_at() < self.welcomed_at.plus(CLOCKS_MS)
    }

    async fn run(self: &Arc<Self>, control: Reader) -> LaneError {
        let ended = tokio::select! {
            ended = self.read_control(control) => ended,
            ended = self.accept_lanes() => ended,
            ended = self.read_datagrams() => ended,
        };
        match ended {
            Ok(()) => LaneError::gone("finished"),
            Err(error) => {
                if matches!(error, LaneError::Malformed(_)) {
                    end(&self.connection, CloseCode::Malformed, "malformed");
                }
                error
            }
        }
    }

    async fn read_control(self: &Arc<Self>, mut control: Reader) -> Result<(), LaneError> {
        while let Some(message) = control.next_message::<ToGateway>().await? {
            // Of a later version.
            let Some(message) = message else { continue };
            match message {
                ToGateway::Hello { .. } => {
                    end(&self.connection, CloseCode::Malformed, "a second hello");
                    return Err(LaneError::gone("a second hello"));
                }
                // Without a coordinator that samples, everything is what a PoP gets either way.
                ToGateway::Hold {
                    stream,
                    have,
                    full: _,
                    knows,
                } => self.hold(stream, have, knows).await?,
                ToGateway::Release { stream } => {
                    if let Some(hold) = lock(&self.holds).remove(&stream) {
                        hold.abort();
                    }
                }
                ToGateway::Load {
                    connections,
                    draining,
                } => self.shared.here.load(&self.id, connections, draining),
                ToGateway::Renew => {
                    let this = Arc::clone(self);
                    tokio::spawn(async move { this.renew().await });
                }
            }
        }
        Ok(())
    }

    async fn hold(
        self: &Arc<Self>,
        stream: StreamId,
        have: Option<Position>,
        knows: Option<Revision>,
    ) -> Result<(), LaneError> {
        let full = {
            let mut holds = lock(&self.holds);
            if holds.len() >= HOLDS_MAX {
                holds.retain(|_, hold| !hold.is_finished());
            }
            holds.len() >= HOLDS_MAX
        };
        if full {
            tracing::warn!(pop = %self.id.0, "holds too many streams");
            let held = Held::Unknown;
            return self.tell(&ToPop::Held { stream, held }).await;
        }
        let task = tokio::spawn(hold::hold(Arc::clone(self), stream.clone(), have, knows));
        // Held again: the new answer and lane replace the old.
        if let Some(old) = lock(&self.holds).insert(stream, task.abort_handle()) {
            old.abort();
        }
        Ok(())
    }

    async fn renew(&self) {
        let mut held = self.lease.lock().await;
        let renewed = async {
            let workers = self.shared.log.workers(self.shared.lease).await?;
            match workers.renew(&held).await? {
                Some(lease) => Ok(Some(lease)),
                // Lost: perhaps another number is free.
                None => {
                    let holder = format!("{} {:016x}", self.id.0, self.id.1);
                    workers.worker(&holder, self.shared.workers).await
                }
            }
        };
        let lease = match renewed.await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                return end(
                    &self.connection,
                    CloseCode::NoWorker,
                    "no worker id is free",
                );
            }
            // The PoP asks again before its lease ends.
            Err(error) => return tracing::debug!(%error, "a lease was not renewed"),
        };
        {
            let mut workers = lock(&self.workers);
            match workers
                .iter_mut()
                .find(|(worker, _)| *worker == lease.worker)
            {
                Some((_, until)) => *until = lease.until,
                None => workers.push((lease.worker, lease.until)),
            }
        }
        let answer = ToPop::Renewed {
            worker: lease.worker,
            until_ms: lease.until,
            now_ms: Some(clock::now()),
        };
        *held = lease;
        if let Err(error) = self.tell(&answer).await {
            tracing::debug!(%error, "a renewal was not told");
        }
    }

    async fn accept_lanes(self: &Arc<Self>) -> Result<(), LaneError> {
        loop {
            let (send, receive) = self.connection.accept_bi().await.map_err(LaneError::gone)?;
            let this = Arc::clone(self);
            tokio::spawn(async move {
                match this.lane(send, Reader::new(receive)).await {
                    Ok(()) => {}
                    Err(LaneError::Malformed(error)) => {
                        tracing::warn!(pop = %this.id.0, %error, "a lane cannot be read");
                        end(&this.connection, CloseCode::Malformed, "malformed");
                    }
                    Err(LaneError::Gone(why)) => tracing::debug!(why, "a lane ended"),
                }
            });
        }
    }

    async fn lane(self: &Arc<Self>, send: SendStream, mut reader: Reader) -> Result<(), LaneError> {
        match reader.next_message::<Lane>().await?.flatten() {
            Some(Lane::Posts) => posts::serve(Arc::clone(self), send, reader).await,
            Some(Lane::Request) => self.answer(send, reader).await,
            Some(Lane::Control | Lane::Deliveries { .. } | Lane::Quiet) => {
                end(&self.connection, CloseCode::Malformed, "no lane to open");
                Ok(())
            }
            // It ended, or is of a later version: whoever opened it hears that nobody reads it.
            None => Ok(()),
        }
    }

    async fn answer(&self, mut send: SendStream, mut reader: Reader) -> Result<(), LaneError> {
        let Some(request) = reader.next_message::<Request>().await? else {
            return Ok(());
        };
        let Some(request) = request else {
            // Of a later version.
            lane::write(&mut send, &Response::Unavailable).await?;
            return send.finish().map_err(LaneError::gone);
        };
        let response = match request {
            Request::Replay { stream, range } => {
                let shared = &self.shared;
                let replay = catch_up::replay(&*shared.log, &stream, range, shared.resume_max);
                replay.await.map(Response::Replay)
            }
            Request::Rest(request) => self.call_api(&request).await,
            Request::Pops => Ok(Response::Pops(self.shared.gateways.pops())),
        };
        let response = response.unwrap_or_else(|error| {
            tracing::debug!(%error, "a request cannot be answered");
            Response::Unavailable
        });
        lane::write(&mut send, &response).await?;
        send.finish().map_err(LaneError::gone)
    }

    async fn call_api(
        &self,
        request: &chorus_protocol::backhaul::RestRequest,
    ) -> Result<Response, crate::log::LogError> {
        use crate::log::LogError;
        // With names, so that an `api` of a neighbouring version passes over what it does not know.
        let body = rmp_serde::to_vec_named(request).map_err(LogError::malformed)?;
        let answer = self.shared.log.call_api(body).await?;
        rmp_serde::from_slice(&answer)
            .map(Response::Rest)
            .map_err(LogError::malformed)
    }

    async fn read_datagrams(&self) -> Result<(), LaneError> {
        loop {
            let bytes = self
                .connection
                .read_datagram()
                .await
                .map_err(LaneError::gone)?;
            // Datagrams may be of a later version; what cannot be read is let go.
            if let Ok(Some(Datagram::Viewing { stream, count })) = read_message(&bytes) {
                let pop = self.id.clone();
                let viewers = count;
                self.shared
                    .followers
                    .ask(&stream, Ask::Viewing { pop, viewers });
            }
        }
    }

    fn close(&self) {
        for (_, hold) in lock(&self.holds).drain() {
            hold.abort();
        }
        let pop = self.id.clone();
        self.shared
            .followers
            .ask_all(|| Ask::Gone { pop: pop.clone() });
    }
}
