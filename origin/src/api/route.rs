//! From a method and a path to what is asked, and the query's parameters.

use chorus_protocol::{CommentId, StreamId};

use super::problem::Problem;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Streams,
    StreamsLive,
    Stream(StreamId),
    CreateStream,
    EndStream(StreamId),
    Comments(StreamId),
    Replies(StreamId, CommentId),
    Reactions(StreamId),
    Metrics(StreamId),
    DevToken,
    /// In the protocol's table, and not built in this version.
    NotBuilt,
}

impl Route {
    pub(super) fn of(method: &str, path: &str) -> Result<Self, Problem> {
        let parts: Vec<&str> = path
            .strip_prefix("/api/")
            .ok_or_else(nothing)?
            .split('/')
            .collect();
        let (allowed, route) = match parts.as_slice() {
            ["streams"] if method == "POST" => ("GET, POST", Self::CreateStream),
            ["streams"] => ("GET, POST", Self::Streams),
            ["streams", "live"] => ("GET", Self::StreamsLive),
            ["streams", id] => ("GET", Self::Stream(stream(id)?)),
            ["streams", id, "end"] => ("POST", Self::EndStream(stream(id)?)),
            // Posting without a socket meets the session's rules at the PoP; it does not come here.
            ["streams", _, "comments"] if method == "POST" => ("GET, POST", Self::NotBuilt),
            ["streams", id, "comments"] => ("GET, POST", Self::Comments(stream(id)?)),
            ["streams", id, "comments", comment, "replies"] => {
                ("GET", Self::Replies(stream(id)?, comment_id(comment)?))
            }
            ["streams", id, "reactions"] => ("GET", Self::Reactions(stream(id)?)),
            ["streams", id, "metrics"] => ("GET", Self::Metrics(stream(id)?)),
            ["streams", _, "analytics" | "search" | "export"] | ["pops"] => ("GET", Self::NotBuilt),
            ["streams", _, "settings"] => ("PATCH", Self::NotBuilt),
            ["streams", _, "bans"] => ("POST", Self::NotBuilt),
            ["streams", _, "bans", _] => ("DELETE", Self::NotBuilt),
            ["dev", "token"] => ("POST", Self::DevToken),
            _ => return Err(nothing()),
        };
        if allowed.split(", ").any(|one| one == method) {
            Ok(route)
        } else {
            Err(Problem::new(405, format!("{path} takes {allowed}")))
        }
    }

    /// Its name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::StreamsLive => "streams_live",
            Self::Stream(_) => "stream",
            Self::CreateStream => "create_stream",
            Self::EndStream(_) => "end_stream",
            Self::Comments(_) => "comments",
            Self::Replies(..) => "replies",
            Self::Reactions(_) => "reactions",
            Self::Metrics(_) => "metrics",
            Self::DevToken => "dev_token",
            Self::NotBuilt => "not_built",
        }
    }
}

fn nothing() -> Problem {
    Problem::not_found("there is no such resource")
}

fn stream(text: &str) -> Result<StreamId, Problem> {
    // What cannot be an id names nothing.
    text.parse()
        .map_err(|_| Problem::not_found("there is no such stream"))
}

fn comment_id(text: &str) -> Result<CommentId, Problem> {
    text.parse()
        .map_err(|_| Problem::not_found("there is no such comment"))
}

/// A query's parameters; of a repeated one the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (unescape(key), unescape(value)))
                .collect(),
        )
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter as a value; refused when it is there and is none.
    pub(super) fn value<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, Problem> {
        self.get(key)
            .map(|text| {
                text.parse()
                    .map_err(|_| Problem::bad_request(format!("`{key}` cannot be read")))
            })
            .transpose()
    }

    /// How many are asked for.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, Problem> {
        match self.value("limit")? {
            None => Ok(default),
            Some(limit) if (1..=max).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::bad_request(format!("`limit` is 1 to {max}"))),
        }
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| byte == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (bytes, rest) = match hex {
            Some(escaped) => (push(bytes, escaped), &after[2..]),
            None if byte == b'+' => (push(bytes, b' '), after),
            None => (push(bytes, byte), after),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn push(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_should() {
        let demo: StreamId = "demo".parse().expect("an id");
        let of = Route::of;
        assert_eq!(of("GET", "/api/streams"), Ok(Route::Streams));
        assert_eq!(of("POST", "/api/streams"), Ok(Route::CreateStream));
        assert_eq!(of("GET", "/api/streams/live"), Ok(Route::StreamsLive));
        assert_eq!(
            of("GET", "/api/streams/demo/comments/7/replies"),
            Ok(Route::Replies(demo, CommentId(7)))
        );
        assert_eq!(
            of("DELETE", "/api/streams/demo/bans/u"),
            Ok(Route::NotBuilt)
        );
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/api/streams/a.b"),
            ("GET", "/api/streams/demo/comments/x/replies"),
            ("DELETE", "/api/streams"),
        ] {
            assert!(of(method, path).is_err(), "{method} {path}");
        }
    }

    #[test]
    fn queries_are_unescaped() {
        let query = Query::parse("a=1%202+3&limit=7&bad=%zz&a=2&flag");
        assert_eq!(query.get("a"), Some("1 2 3"));
        assert_eq!(query.get("bad"), Some("%zz"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.limit(50, 200), Ok(7));
        assert!(Query::parse("limit=0").limit(50, 200).is_err());
        assert!(Query::parse("limit=x").limit(50, 200).is_err());
    }
}
