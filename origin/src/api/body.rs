//! Bodies of calls: JSON objects, and the texts in them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::backhaul::RestRequest;
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::text::{self, TextError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;

/// Reads a body: one JSON object, of which members that are not known are ignored.
pub(super) fn read<T: DeserializeOwned>(request: &RestRequest) -> Result<T, Problem> {
    // Serde would take an array for a struct.
    match first(request) {
        None => return Err(Problem::invalid("the body is empty: send a JSON object")),
        Some(b'{') => {}
        Some(_) => return Err(Problem::invalid("the body must be a JSON object")),
    }
    check_type(request)?;
    serde_json::from_slice(&request.body)
        .map_err(|error| Problem::invalid(format!("the body cannot be read: {error}")))
}

/// Checks the body of a call that needs none: there is none, or an object of which nothing is known.
pub(super) fn not_needed(request: &RestRequest) -> Result<(), Problem> {
    match first(request) {
        None => Ok(()),
        Some(_) => read::<Map<String, Value>>(request).map(drop),
    }
}

fn first(request: &RestRequest) -> Option<&u8> {
    request.body.iter().find(|byte| !byte.is_ascii_whitespace())
}

/// A body that says that it is something else than JSON is not read as JSON. Without a type it is.
fn check_type(request: &RestRequest) -> Result<(), Problem> {
    let Some(given) = request.content_type.as_deref() else {
        return Ok(());
    };
    let essence = given.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    if essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
    {
        return Ok(());
    }
    Err(Problem::new(
        ErrorCode::UnsupportedMediaType,
        "send the body with `Content-Type: application/json`",
    ))
}

/// A user's name, by the rules that every name meets.
pub(super) fn name(field: &str, given: &str) -> Result<String, Problem> {
    taken(field, text::name(given))
}

/// A stream's title.
pub(super) fn title(field: &str, given: &str) -> Result<String, Problem> {
    taken(field, text::title(given))
}

/// A stream's description.
pub(super) fn description(field: &str, given: &str) -> Result<String, Problem> {
    taken(field, text::description(given))
}

fn taken(field: &str, text: Result<Cow<'_, str>, TextError>) -> Result<String, Problem> {
    text.map(Cow::into_owned)
        .map_err(|error| Problem::invalid(format!("`{field}` cannot be taken: {error}")))
}

/// The bytes of base64url without padding.
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Asked {
        title: String,
        #[serde(rename = "count")]
        _count: Option<u32>,
    }

    fn call(content_type: Option<&str>, body: &[u8]) -> RestRequest {
        RestRequest {
            method: "POST".to_owned(),
            target: "/".to_owned(),
            authorization: None,
            body: body.to_vec(),
            content_type: content_type.map(str::to_owned),
        }
    }

    #[test]
    fn a_body_is_one_json_object() {
        for good in [
            r#"{"title":"a"}"#,
            " \r\n\t{\"title\":\"a\",\"more\":[1,{}],\"count\":null}\n",
            r#"{"title":"a","count":7}"#,
        ] {
            let asked: Asked = read(&call(None, good.as_bytes())).expect(good);
            assert_eq!(asked.title, "a");
        }
        for bad in [
            "",
            "  ",
            "null",
            "true",
            "7",
            r#""a""#,
            r#"["a"]"#,
            r#"[{"title":"a"}]"#,
            "{",
            "{}",
            r#"{"title":1}"#,
            r#"{"title":true}"#,
            r#"{"title":null}"#,
            r#"{"title":["a"]}"#,
            r#"{"title":{"a":"b"}}"#,
            r#"{"title":"a","count":-1}"#,
            r#"{"title":"a","count":1.5}"#,
            r#"{"title":"a","count":"1"}"#,
            r#"{"title":"a","title":"b"}"#,
            r#"{"title":"a"}{"title":"b"}"#,
            r#"{"title":"\ud800"}"#,
            "\u{feff}{\"title\":\"a\"}",
            "title=a",
        ] {
            let refused = read::<Asked>(&call(None, bad.as_bytes())).expect_err(bad);
            assert_eq!(refused.code(), ErrorCode::InvalidMessage, "{bad}");
        }
        let bytes = call(None, b"{\"title\":\"\xff\"}");
        assert!(read::<Asked>(&bytes).is_err(), "not UTF-8");
    }

    #[test]
    fn a_body_of_another_type_is_refused() {
        let body = br#"{"title":"a"}"#;
        for json in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/vnd.chorus+json",
        ] {
            assert!(read::<Asked>(&call(Some(json), body)).is_ok(), "{json}");
        }
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=application/json",
            "application/jsonp",
            "text/json",
            "",
        ] {
            let refused = read::<Asked>(&call(Some(other), body)).expect_err(other);
            assert_eq!(refused.status(), 415, "{other}");
        }
    }

    #[test]
    fn a_body_where_none_is_needed_is_none_or_an_object() {
        assert!(not_needed(&call(Some("text/plain"), b"")).is_ok());
        assert!(not_needed(&call(None, b"{}")).is_ok());
        assert!(not_needed(&call(None, br#"{"why":"over"}"#)).is_ok());
        for bad in ["null", "[]", "over", "{"] {
            assert!(not_needed(&call(None, bad.as_bytes())).is_err(), "{bad}");
        }
    }

    #[test]
    fn control_characters_are_in_no_title_name_or_description() {
        for given in ["a\0b", "\u{1b}[31mred", "a\u{7f}b"] {
            assert!(title("title", given).is_err(), "{given:?}");
            assert!(description("description", given).is_err(), "{given:?}");
            let name = name("username", given).expect("without them");
            assert!(!name.chars().any(char::is_control), "{name:?}");
        }
        for nothing in ["", "  ", "\u{200b}\u{202e}", "\u{3164}"] {
            assert!(title("title", nothing).is_err(), "{nothing:?}");
            assert!(name("username", nothing).is_err(), "{nothing:?}");
            assert_eq!(description("description", nothing), Ok(String::new()));
        }
        let lines = description("description", "one\ntwo").expect("lines are fine");
        assert_eq!(lines, "one\ntwo");
    }
}
