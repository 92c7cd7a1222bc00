//! Streams: lists, one, creation and end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::backhaul::{RestRequest, RestResponse};
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{Region, StreamId};
use chorus_tokens::{Identity, Role};
use serde::{Deserialize, Serialize};

use super::problem::{self, Problem};
use super::route::{Query, is_word};
use super::{Api, body};
use crate::clock;
use crate::store::{StreamPage, StreamRow};

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;
/// How often a change is made anew because another one came in between.
const CHANGE_TRIES: u32 = 5;

#[derive(Serialize)]
struct StreamsPage {
    streams: Vec<StreamInfo>,
    /// Opaque: goes on as `before`.
    next: Option<String>,
}

#[derive(Deserialize)]
struct NewStream {
    title: String,
    description: Option<String>,
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
        let before = match query.get("before")? {
            None => None,
            Some(token) => Some(
                read_token(token)
                    .ok_or_else(|| Problem::invalid("`before` is no token of ours"))?,
            ),
        };
        let page = StreamPage {
            status,
            before,
            limit: limit + 1,
        };
        let mut streams = self.streams.list(page).await?;
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
                self.streams.read(stream.clone()).await?
            }
        };
        found.ok_or_else(Problem::no_stream)
    }

    pub(super) async fn create_stream(
        &self,
        caller: &Identity,
        request: &RestRequest,
    ) -> Result<RestResponse, Problem> {
        let asked: NewStream = body::read(request)?;
        let title = body::title("title", &asked.title)?;
        let description = asked.description.as_deref().unwrap_or_default();
        let description = body::description("description", description)?;
        if let Some(id) = asked.stream_id.as_ref().filter(|id| is_word(id)) {
            return Err(Problem::invalid(format!(
                "`stream_id`: `{id}` is a word of this interface; choose another"
            )));
        }
        if let Some(home) = &asked.home_region {
            let regions = self.log.all_regions();
            if !regions.contains(home) {
                let names: Vec<&str> = regions.iter().map(Region::as_str).collect();
                return Err(Problem::invalid(format!(
                    "`home_region`: there is no region `{home}`; there are {}",
                    names.join(", ")
                )));
            }
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
            home_region: asked.home_region,
        };
        match self.log.create_life(&info).await? {
            Some(seq) => {
                self.keep(&info, seq).await;
                problem::json(201, &info)
            }
            None if named => Err(Problem::new(
                ErrorCode::Conflict,
                "there is such a stream already",
            )),
            None => Err(Problem::unavailable("try again")),
        }
    }

    pub(super) async fn end_stream(
        &self,
        caller: &Identity,
        stream: &StreamId,
    ) -> Result<RestResponse, Problem> {
        for _ in 0..CHANGE_TRIES {
            // Where the stream is at home: a word in another region's log would not replace the one there.
            let (home, life) = self
                .log
                .life_at_home(stream)
                .await?
                .ok_or_else(Problem::no_stream)?;
            let mut info = life.info;
            if info.broadcaster_id != caller.user && caller.role != Role::Admin {
                return Err(Problem::new(
                    ErrorCode::Forbidden,
                    "only its broadcaster may end a stream",
                ));
            }
            if info.status == StreamStatus::Ended {
                return problem::json(200, &info);
            }
            info.status = StreamStatus::Ended;
            if let Some(seq) = self.log.change_life(&home, &info, life.seq).await? {
                self.keep(&info, seq).await;
                return problem::json(200, &info);
            }
        }
        Err(Problem::unavailable("the stream changes too often"))
    }

    /// So that lists show it at once; where it fails `persist` writes it from the log.
    pub(super) async fn keep(&self, info: &StreamInfo, seq: u64) {
        let row = StreamRow {
            info: info.clone(),
            seq,
        };
        if let Err(error) = self.streams.write(row).await {
            tracing::warn!(%error, "a stream is written to the store later");
        }
    }
}

fn write_token(info: &StreamInfo) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", info.created_at_ms.0, info.stream_id))
}

fn read_token(token: &str) -> Option<(u64, String)> {
    let text = String::from_utf8(body::base64url(token)?).ok()?;
    let (ms, id) = text.split_once(' ')?;
    Some((ms.parse().ok()?, id.to_owned()))
}
