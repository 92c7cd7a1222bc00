//! The role that answers the REST interface: calls come from gateways over NATS, one `api` of the region takes each.

mod body;
mod comments;
mod problem;
mod route;
mod streams;
mod token;
mod viewers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chorus_protocol::backhaul::{REST_BODY_BYTES_MAX, RestRequest, RestResponse};
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{StreamId, UserId};
use chorus_tokens::Identity;
use tokio::sync::{Semaphore, watch};

use self::problem::Problem;
use self::route::{Query, Route};
use self::token::Tokens;
pub use self::token::TokensError;
use self::viewers::ViewerCounts;
use crate::clock;
use crate::config::Config;
use crate::history::History;
use crate::log::{Call, Log, LogError};
use crate::metrics::Metrics;
use crate::store::{StoreError, Stores, Streams};

/// Calls answered at once; one more is answered 503.
const CALLS_MAX: usize = 256;
/// The stream of the development mode.
const DEMO: &str = "demo";

/// The role's parts.
pub struct Api {
    log: Arc<dyn Log>,
    streams: Arc<dyn Streams>,
    history: History,
    tokens: Tokens,
    dev: bool,
    viewers: ViewerCounts,
    metrics: Arc<Metrics>,
    running: Arc<AtomicBool>,
}

impl Api {
    /// Puts the role together.
    ///
    /// # Errors
    /// When the configured keys cannot be used.
    pub fn try_new(
        config: &Config,
        log: Arc<dyn Log>,
        stores: Stores,
        metrics: Arc<Metrics>,
        running: Arc<AtomicBool>,
    ) -> Result<Self, TokensError> {
        let secret = config.dev.as_ref().map(|dev| dev.token_secret.as_str());
        Ok(Self {
            history: History::new(log.clone(), stores.comments),
            tokens: Tokens::try_new(&config.tokens, secret)?,
            dev: config.dev.is_some(),
            viewers: ViewerCounts::default(),
            log,
            streams: stores.streams,
            metrics,
            running,
        })
    }

    /// Answers until `stop` says otherwise; calls under way are answered.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), LogError> {
        let this = Arc::new(self);
        if this.dev {
            this.create_demo().await;
        }
        let follow = tokio::spawn({
            let this = Arc::clone(&this);
            async move { this.viewers.follow(&*this.log).await }
        });
        let mut calls = this.log.answer_api().await?;
        let room = Arc::new(Semaphore::new(CALLS_MAX));
        this.running.store(true, Ordering::Relaxed);
        loop {
            let call = tokio::select! {
                call = calls.next() => call,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Some(call) = call else { break };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                this.metrics.calls_shed.inc();
                let busy = Problem::unavailable("too many calls are under way").response();
                call.answer(encode(&busy)).await;
                continue;
            };
            let this = Arc::clone(&this);
            tokio::spawn(async move {
                this.take(call).await;
                drop(permit);
            });
        }
        this.running.store(false, Ordering::Relaxed);
        follow.abort();
        // All permits back: every call is answered.
        let _ = room.acquire_many(CALLS_MAX as u32).await;
        Ok(())
    }

    async fn take(&self, call: Call) {
        let started = Instant::now();
        let (name, response) = match rmp_serde::from_slice::<RestRequest>(&call.body) {
            Ok(request) => self.respond(&request).await,
            Err(_) => ("unreadable", Problem::invalid("unreadable call").response()),
        };
        self.metrics.call(name, response.status);
        self.metrics
            .call_seconds
            .observe(started.elapsed().as_secs_f64());
        let mut body = encode(&response);
        if body.len() > self.log.answer_bytes_max() {
            let large = "the answer is too large; ask for fewer with `limit`";
            body = encode(&Problem::internal(large).response());
        }
        call.answer(body).await;
    }

    /// Answers a call; also says which route it took.
    pub async fn respond(&self, request: &RestRequest) -> (&'static str, RestResponse) {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let route = match Route::of(&request.method, path) {
            Ok(route) => route,
            Err(problem) => return ("unknown", problem.response()),
        };
        let name = route.name();
        if request.body.len() > REST_BODY_BYTES_MAX {
            let large = Problem::new(ErrorCode::TooLarge, "the body is too large");
            return (name, large.response());
        }
        let answered = match Query::parse(query) {
            Ok(query) => self.carry_out(route, &query, request).await,
            Err(problem) => Err(problem),
        };
        (name, answered.unwrap_or_else(|problem| problem.response()))
    }

    async fn carry_out(
        &self,
        route: Route,
        query: &Query,
        request: &RestRequest,
    ) -> Result<RestResponse, Problem> {
        match route {
            Route::Streams => self.streams(query, None).await,
            Route::StreamsLive => self.streams(query, Some(StreamStatus::Live)).await,
            Route::Stream(stream) => self.stream(&stream).await,
            Route::CreateStream => self.create_stream(&self.caller(request)?, request).await,
            Route::EndStream(stream) => {
                let caller = self.caller(request)?;
                body::not_needed(request)?;
                self.end_stream(&caller, &stream).await
            }
            Route::Comments(stream) => self.comments(&stream, query, None).await,
            Route::Replies(stream, comment) => self.comments(&stream, query, Some(comment)).await,
            Route::Reactions(stream) => self.reactions(&stream).await,
            Route::Metrics(stream) => self.stream_metrics(&stream).await,
            Route::DevToken => self.dev_token(request),
            Route::NotBuilt => Err(Problem::new(
                ErrorCode::NotAvailable,
                "this version does not do that",
            )),
        }
    }

    fn caller(&self, request: &RestRequest) -> Result<Identity, Problem> {
        self.tokens.caller(request, clock::now())
    }

    fn dev_token(&self, request: &RestRequest) -> Result<RestResponse, Problem> {
        if !self.dev {
            return Err(Problem::not_found("there is no such resource"));
        }
        let asked = token::DevTokenRequest::read(request)?;
        problem::json(200, &self.tokens.issue(&asked, clock::now())?)
    }

    /// The stream that the development mode starts with; made once, whoever comes first.
    async fn create_demo(&self) {
        let (Ok(stream_id), Ok(broadcaster_id)) = (StreamId::new(DEMO), UserId::new("chorus"))
        else {
            return;
        };
        let info = StreamInfo {
            stream_id,
            title: "Demo".to_owned(),
            description: String::new(),
            broadcaster_id,
            status: StreamStatus::Live,
            created_at_ms: clock::now(),
            settings: Settings::default(),
            home_region: None,
        };
        loop {
            match self.log.create_life(&info).await {
                Ok(Some(seq)) => return self.keep(&info, seq).await,
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "the demo stream is not there yet"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
}

fn encode(response: &RestResponse) -> Vec<u8> {
    // With names, so that a gateway of a neighbouring version passes over what it does not know. Numbers, strings and
    // bytes into memory cannot fail.
    rmp_serde::to_vec_named(response).unwrap_or_default()
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        tracing::warn!(%error, "a call cannot be answered");
        Self::unavailable("the log cannot be reached")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a call cannot be answered");
        Self::unavailable("the store cannot be reached")
    }
}
