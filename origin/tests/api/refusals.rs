//! What is refused, and how it is said.

use chorus_protocol::backhaul::{RestRequest, RestResponse};
use chorus_protocol::codes::ErrorCode;
use serde_json::json;

use super::start;

#[tokio::test]
async fn what_is_not_there_is_said_as_a_problem() {
    let (_region, pop) = start().await;
    let (token, _) = pop.sign_in("Ada").await;
    for (method, target, body, code) in [
        ("GET", "/api/nothing", "", ErrorCode::NotFound),
        ("GET", "/api/streams/", "", ErrorCode::StreamNotFound),
        ("GET", "/api/streams/none", "", ErrorCode::StreamNotFound),
        (
            "GET",
            "/api/streams/none/comments",
            "",
            ErrorCode::StreamNotFound,
        ),
        (
            "GET",
            "/api/streams/none/reactions",
            "",
            ErrorCode::StreamNotFound,
        ),
        (
            "GET",
            "/api/streams/none/metrics",
            "",
            ErrorCode::StreamNotFound,
        ),
        ("GET", "/api/streams/demo/", "", ErrorCode::NotFound),
        ("GET", "/api/streams/%zz", "", ErrorCode::InvalidMessage),
        (
            "GET",
            "/api/streams/demo/comments?limit=201",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?limit=-1",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?limit=abc",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?limit=1&limit=2",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?before=x",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?before=",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?sort=worst",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments?sort=top&sort=top",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/demo/comments/x/replies",
            "",
            ErrorCode::NotFound,
        ),
        (
            "GET",
            "/api/streams?before=%%%",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams?before=not-an-id",
            "",
            ErrorCode::InvalidMessage,
        ),
        (
            "GET",
            "/api/streams/live?limit=0",
            "",
            ErrorCode::InvalidMessage,
        ),
        ("PUT", "/api/streams", "", ErrorCode::MethodNotAllowed),
        ("POST", "/api/streams", "", ErrorCode::InvalidMessage),
        ("POST", "/api/streams", "{", ErrorCode::InvalidMessage),
        (
            "POST",
            "/api/streams",
            r#"["a title"]"#,
            ErrorCode::InvalidMessage,
        ),
        ("POST", "/api/streams", r#"{}"#, ErrorCode::InvalidMessage),
        (
            "POST",
            "/api/streams",
            r#"{"title":""}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":7}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":true}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":null}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a\u0000b"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","description":"\u0000"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","description":5}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","stream_id":5}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","stream_id":"a.b"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","stream_id":"live"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","stream_id":"demo"}"#,
            ErrorCode::Conflict,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"a","home_region":"moon"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams/none/end",
            "",
            ErrorCode::StreamNotFound,
        ),
        (
            "POST",
            "/api/streams/demo/end",
            "[]",
            ErrorCode::InvalidMessage,
        ),
        ("POST", "/api/streams/demo/end", "{}", ErrorCode::Forbidden),
        (
            "GET",
            "/api/streams/demo/search?q=x",
            "",
            ErrorCode::NotAvailable,
        ),
        (
            "PATCH",
            "/api/streams/demo/settings",
            "{}",
            ErrorCode::NotAvailable,
        ),
        (
            "POST",
            "/api/dev/token",
            r#"{"username":""}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/dev/token",
            r#"{"username":["a"]}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"\u200b\u202e"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/streams",
            r#"{"title":"t","description":"a\u0000b"}"#,
            ErrorCode::InvalidMessage,
        ),
        (
            "POST",
            "/api/dev/token",
            r#"{"username":"\u3164\u200d"}"#,
            ErrorCode::InvalidMessage,
        ),
    ] {
        let (status, problem) = pop.rest(method, target, Some(&token), body).await;
        let expected = code.http_status();
        assert_eq!(status, expected, "{method} {target} {body}: {problem}");
        assert_eq!(problem["code"], code.as_str(), "{method} {target} {body}");
        assert_eq!(problem["status"], json!(expected));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    // What is not known is let be, in queries as in bodies; what need not be there may be null.
    let (status, _) = pop
        .rest("GET", "/api/streams/%64emo?_=1&_=2&limt=5", None, "{")
        .await;
    assert_eq!(status, 200);
    let body = r#"{"title":"Ok","description":null,"stream_id":null,"home_region":null,"x":1}"#;
    let (status, created) = pop.rest("POST", "/api/streams", Some(&token), body).await;
    assert_eq!((status, &created["description"]), (201, &json!("")));
}

/// What an answer says beside its body: how to authenticate, which methods, what type of body.
#[tokio::test]
async fn refusals_carry_the_fields_that_http_asks_for() {
    let (_region, pop) = start().await;
    let call = |method: &str, target: &str| RestRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        authorization: None,
        body: Vec::new(),
        content_type: None,
    };
    let field = |answer: &RestResponse, name: &str| {
        let mut found = answer.headers.iter().filter(|(is, _)| is == name);
        let value = found.next().map(|(_, value)| value.clone());
        assert_eq!(found.next(), None, "{name} once");
        value.unwrap_or_default()
    };
    let none = pop.call(call("POST", "/api/streams")).await;
    assert_eq!(none.status, 401);
    assert_eq!(field(&none, "www-authenticate"), r#"Bearer realm="chorus""#);
    let bad = RestRequest {
        authorization: Some("Bearer x.y.z".to_owned()),
        ..call("POST", "/api/streams/demo/end")
    };
    let bad = pop.call(bad).await;
    assert_eq!(bad.status, 401);
    assert!(field(&bad, "www-authenticate").contains(r#"error="invalid_token""#));
    let wrong = pop.call(call("DELETE", "/api/streams/demo")).await;
    assert_eq!(
        (wrong.status, field(&wrong, "allow").as_str()),
        (405, "GET, HEAD")
    );
    let plain = RestRequest {
        body: br#"{"username":"ada"}"#.to_vec(),
        content_type: Some("text/plain".to_owned()),
        ..call("POST", "/api/dev/token")
    };
    let refused = pop.call(plain.clone()).await;
    assert_eq!(refused.status, 415);
    let json = RestRequest {
        content_type: Some("application/json; charset=utf-8".to_owned()),
        ..plain
    };
    assert_eq!(pop.call(json).await.status, 200);
    let fine = pop.call(call("GET", "/api/streams/live")).await;
    assert_eq!((fine.status, fine.headers), (200, Vec::new()));
}
