//! From a method and a path to what is asked, and the query's parameters.

use chorus_protocol::{CommentId, StreamId, UserId};

use super::problem::Problem;

/// The list of live streams, in the place of a stream's id.
const LIVE: &str = "live";

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
    /// Closes all connections of a user.
    Disconnect(UserId),
    /// Tells them something.
    Notify(UserId),
    DevToken,
    /// In the protocol's table, and not built in this version.
    NotBuilt,
}

impl Route {
    pub(super) fn of(method: &str, path: &str) -> Result<Self, Problem> {
        let parts = path.strip_prefix("/api/").ok_or_else(nothing)?.split('/');
        let parts = parts
            .map(|part| unescape(part, false))
            .collect::<Result<Vec<String>, Problem>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (allowed, route) = match parts.as_slice() {
            ["streams"] if method == "POST" => ("GET, POST", Self::CreateStream),
            ["streams"] => ("GET, POST", Self::Streams),
            ["streams", word] if *word == LIVE => ("GET", Self::StreamsLive),
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
            ["users", id, "disconnect"] => ("POST", Self::Disconnect(user(id)?)),
            ["users", id, "notices"] => ("POST", Self::Notify(user(id)?)),
            ["dev", "token"] => ("POST", Self::DevToken),
            _ => return Err(nothing()),
        };
        if allowed.split(", ").any(|one| one == method) {
            Ok(route)
        } else {
            Err(Problem::not_allowed(allowed))
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
            Self::Disconnect(_) => "disconnect",
            Self::Notify(_) => "notify",
            Self::DevToken => "dev_token",
            Self::NotBuilt => "not_built",
        }
    }
}

/// Whether an id is a word of the paths: a stream of it could not be asked for.
pub(super) fn is_word(id: &StreamId) -> bool {
    id.as_str() == LIVE
}

fn nothing() -> Problem {
    Problem::not_found("there is no such resource")
}

fn stream(text: &str) -> Result<StreamId, Problem> {
    // What cannot be an id names nothing.
    text.parse().map_err(|_| Problem::no_stream())
}

fn user(text: &str) -> Result<UserId, Problem> {
    text.parse()
        .map_err(|_| Problem::not_found("there is no such user"))
}

fn comment_id(text: &str) -> Result<CommentId, Problem> {
    text.parse()
        .map_err(|_| Problem::not_found("there is no such comment"))
}

/// A query's parameters. Those that are not known are ignored, as unknown fields are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes what stands behind the `?`.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| Ok((unescape(key, true)?, unescape(value, true)?)))
            .collect::<Result<_, Problem>>()
            .map(Self)
    }

    /// A parameter; refused when it comes twice: two readers would take different ones.
    pub(super) fn get(&self, key: &str) -> Result<Option<&str>, Problem> {
        let mut found = self.0.iter().filter(|(name, _)| name == key);
        let first = found.next().map(|(_, value)| value.as_str());
        if found.next().is_some() {
            return Err(Problem::invalid(format!("`{key}` comes twice")));
        }
        Ok(first)
    }

    /// A parameter as a value; refused when it is there and is none.
    pub(super) fn value<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, Problem> {
        self.get(key)?
            .map(|text| {
                text.parse()
                    .map_err(|_| Problem::invalid(format!("`{key}` cannot be read")))
            })
            .transpose()
    }

    /// How many are asked for.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.get("limit")? else {
            return Ok(default);
        };
        // Rust's numbers may have a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(limit) if digits && (1..=max).contains(&limit) => Ok(limit),
            _ => Err(Problem::invalid(format!("`limit` is 1 to {max}"))),
        }
    }
}

/// Resolves percent-encoding (RFC 3986, 2.1), and `+` in a query. What is no encoding, or is none of UTF-8, is refused.
fn unescape(text: &str, in_query: bool) -> Result<String, Problem> {
    let wrong = || Problem::invalid("the percent-encoding of the target is wrong");
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = rest.next().and_then(digit).ok_or_else(wrong)?;
                let low = rest.next().and_then(digit).ok_or_else(wrong)?;
                (high << 4 | low) as u8
            }
            b'+' if in_query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use chorus_protocol::codes::ErrorCode;

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
            Ok(Route::Replies(demo.clone(), CommentId(7)))
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
        // What need not be encoded may be (RFC 3986, 6.2.2.2).
        assert_eq!(of("GET", "/api/streams/%64emo"), Ok(Route::Stream(demo)));
        assert_eq!(of("GET", "/api/%73treams"), Ok(Route::Streams));
        assert_eq!(of("GET", "/api/streams/l%69ve"), Ok(Route::StreamsLive));
    }

    #[test]
    fn paths_that_are_none_are_refused_by_what_is_wrong() {
        for (path, code) in [
            ("/api", ErrorCode::NotFound),
            ("/api/", ErrorCode::NotFound),
            ("/api//streams", ErrorCode::NotFound),
            ("/apistreams", ErrorCode::NotFound),
            ("/api/Streams", ErrorCode::NotFound),
            ("/api/streams/", ErrorCode::StreamNotFound),
            ("/api/streams/demo/", ErrorCode::NotFound),
            ("/api/streams//comments", ErrorCode::StreamNotFound),
            ("/api/streams/demo/comments/", ErrorCode::NotFound),
            ("/api/streams/demo%2Fcomments", ErrorCode::StreamNotFound),
            ("/api/streams/demo%00", ErrorCode::StreamNotFound),
            ("/api/streams/demo+x", ErrorCode::StreamNotFound),
            ("/api/streams/%", ErrorCode::InvalidMessage),
            ("/api/streams/%6", ErrorCode::InvalidMessage),
            ("/api/streams/%zz", ErrorCode::InvalidMessage),
            ("/api/streams/%+6", ErrorCode::InvalidMessage),
            ("/api/streams/%ff", ErrorCode::InvalidMessage),
            ("/api/streams/%c3%28", ErrorCode::InvalidMessage),
        ] {
            let refused = Route::of("GET", path).expect_err(path);
            assert_eq!(refused.code(), code, "{path}");
        }
        let long = format!("/api/streams/{}", "x".repeat(65));
        assert!(Route::of("GET", &long).is_err());
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        for (method, path, allow) in [
            ("DELETE", "/api/streams", "GET, HEAD, POST"),
            ("POST", "/api/streams/live", "GET, HEAD"),
            ("PUT", "/api/streams/demo", "GET, HEAD"),
            ("GET", "/api/streams/demo/end", "POST"),
            ("GET", "/api/dev/token", "POST"),
            ("get", "/api/streams", "GET, HEAD, POST"),
        ] {
            let refused = Route::of(method, path).expect_err(path);
            assert_eq!(refused.code(), ErrorCode::MethodNotAllowed, "{path}");
            let headers = refused.response().headers;
            assert_eq!(headers, [("allow".to_owned(), allow.to_owned())], "{path}");
        }
    }

    #[test]
    fn every_word_in_the_place_of_an_id_is_kept_for_it() {
        for word in ["live", "Live", "lives", "demo", "s0123456789abcdef"] {
            let id: StreamId = word.parse().expect("an id");
            let asked = Route::of("GET", &format!("/api/streams/{word}"));
            // Either the path reads the stream, or no stream can have the id.
            assert_eq!(
                asked == Ok(Route::Stream(id.clone())),
                !is_word(&id),
                "{word}"
            );
        }
    }

    #[test]
    fn queries_are_unescaped_once_and_strictly() {
        let query = Query::parse("a=1%202+3&limit=7&&b=x=y%26z&flag&%63=%252B").expect("sane");
        assert_eq!(query.get("a"), Ok(Some("1 2 3")));
        assert_eq!(query.get("b"), Ok(Some("x=y&z")));
        assert_eq!(query.get("c"), Ok(Some("%2B")));
        assert_eq!(query.get("flag"), Ok(Some("")));
        assert_eq!(query.get("none"), Ok(None));
        assert_eq!(query.limit(50, 200), Ok(7));
        for wrong in ["a=%", "a=%z1", "a=%+1", "%=1", "a=%ff", "unknown=%zz"] {
            let refused = Query::parse(wrong).expect_err(wrong);
            assert_eq!(refused.code(), ErrorCode::InvalidMessage, "{wrong}");
        }
    }

    #[test]
    fn a_parameter_that_comes_twice_is_refused_where_it_is_known() {
        let twice = Query::parse("limit=1&limit=2&_=1&_=2").expect("sane");
        assert!(twice.limit(50, 200).is_err());
        assert_eq!(twice.value::<CommentId>("before"), Ok(None));
        let same = Query::parse("before=7&before=7").expect("sane");
        assert!(same.value::<CommentId>("before").is_err());
        let escaped = Query::parse("limit=1&%6cimit=2").expect("sane");
        assert!(escaped.limit(50, 200).is_err());
    }

    #[test]
    fn a_limit_is_a_number_within_its_bounds() {
        let limit = |text: &str| Query::parse(text).expect("sane").limit(50, 200);
        assert_eq!(limit(""), Ok(50));
        assert_eq!(limit("limit=1"), Ok(1));
        assert_eq!(limit("limit=200"), Ok(200));
        for wrong in [
            "limit",
            "limit=",
            "limit=0",
            "limit=-1",
            "limit=%2B5",
            "limit=+5",
            "limit=201",
            "limit=abc",
            "limit=5.0",
            "limit=1e2",
            "limit=0x10",
            "limit=%20",
            "limit=99999999999999999999",
            "limit=%EF%BC%95",
        ] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "before=",
            "before=x",
            "before=-1",
            "before=%2B1",
            "before=18446744073709551616",
        ] {
            let query = Query::parse(wrong).expect("sane");
            assert!(query.value::<CommentId>("before").is_err(), "{wrong}");
        }
    }
}
