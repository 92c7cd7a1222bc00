//! Streams: lists, one, creation and end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::backhaul::RestResponse;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{Region, StreamId, text};
use serde::{Deserialize, Serialize};

use super::Api;
use super::problem::{self, Problem};
use super::route::Query;
use super::token::Claims;
use crate::clock;
use crate::store::{StreamPage, StreamRow};

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;

#[derive(Serialize)]
struct StreamsPage {
    streams: Vec<StreamInfo>,
    /// Opaque: goes on as `before`.
    next: Option<String>,
}

#[derive(Deserialize)]
struct NewStream {
    title: String,
    #[serde(default)]
    description: String,
    stream_id: Option<StreamId>,
    home_region: Option<Region>,
}

impl Api {
    pub(super) async fn streams(
        &self,
        query: &Query,
        status: Option<StreamStatus>,
    ) -> Result<RestResponse, Problem> {
        let limit = query.limit(LIMIT, LIMIT_MAX)?;
        let before = match query.get("before") {
            None => None,
            Some(token) => Some(
                read_token(token)
                    .ok_or_else(|| Problem::bad_request("`before` is no token of ours"))?,
            ),
        };
        let page = StreamPage {
            status,
            before,
            limit: limit + 1,
        };
        let mut streams = self.store.streams(page).await?;
        let more = streams.len() > limit;
        streams.truncate(limit);
        let next = streams.last().filter(|_| more).map(write_token);
        problem::json(200, &StreamsPage { streams, next })
    }

    pub(super) async fn stream(&self, stream: &StreamId) -> Result<RestResponse, Problem> {
        problem::json(200, &self.find(stream).await?)
    }

    /// The last word on a stream: the control log's; the store's while the log is away.
    pub(super) async fn find(&self, stream: &StreamId) -> Result<StreamInfo, Problem> {
        let found = match self.log.life(stream).await {
            Ok(Some(life)) => Some(life.info),
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "the store answers for the log");
                self.store.stream(stream.clone()).await?
            }
        };
        found.ok_or_else(|| Problem::not_found("there is no such stream"))
    }

    pub(super) async fn create_stream(
        &self,
        caller: &Claims,
        body: &[u8],
    ) -> Result<RestResponse, Problem> {
        let asked: NewStream = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))?;
        let refused = |field: &'static str| {
            move |error| Problem::bad_request(format!("`{field}` cannot be taken: {error}"))
        };
        let title = text::title(&asked.title)
            .map_err(refused("title"))?
            .into_owned();
        let description = text::description(&asked.description)
            .map_err(refused("description"))?
            .into_owned();
        if asked
            .home_region
            .is_some_and(|region| region != *self.log.region())
        {
            return Err(Problem::new(
                501,
                "streams are created in the region that is asked",
            ));
        }
        let named = asked.stream_id.is_some();
        let stream_id = match asked.stream_id {
            Some(id) => id,
            None => StreamId::new(&format!("s{:016x}", clock::draw()))
                .map_err(|error| Problem::internal(error.to_string()))?,
        };
        let info = StreamInfo {
            stream_id,
            title,
            description,
            broadcaster_id: caller.user.clone(),
            status: StreamStatus::Live,
            created_at_ms: clock::now(),
            settings: Settings::default(),
        };
        match self.log.create_life(&info).await? {
            Some(seq) => {
                self.keep(&info, seq).await;
                problem::json(201, &info)
            }
            None if named => Err(Problem::new(409, "there is such a stream already")),
            None => Err(Problem::unavailable("try again")),
        }
    }

    pub(super) async fn end_stream(
        &self,
        caller: &Claims,
        stream: &StreamId,
    ) -> Result<RestResponse, Problem> {
        let life = self
            .log
            .life(stream)
            .await?
            .ok_or_else(|| Problem::not_found("there is no such stream"))?;
        let mut info = life.info;
        if info.broadcaster_id != caller.user && caller.role != "admin" {
            return Err(Problem::new(403, "only its broadcaster may end a stream"));
        }
        if info.status != StreamStatus::Ended {
            info.status = StreamStatus::Ended;
            let seq = self.log.write_life(&info).await?;
            self.keep(&info, seq).await;
        }
        problem::json(200, &info)
    }

    /// So that lists show it at once; where it fails `persist` writes it from the log.
    async fn keep(&self, info: &StreamInfo, seq: u64) {
        let row = StreamRow {
            info: info.clone(),
            seq,
        };
        if let Err(error) = self.store.write_stream(row).await {
            tracing::warn!(%error, "a stream is written to the store later");
        }
    }
}

fn write_token(info: &StreamInfo) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", info.created_at_ms.0, info.stream_id))
}

fn read_token(token: &str) -> Option<(u64, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (ms, id) = text.split_once(' ')?;
    Some((ms.parse().ok()?, id.to_owned()))
}
