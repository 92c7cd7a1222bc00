//! The PoP as a way to REST.

use chorus_protocol::backhaul::{Request, Response, RestRequest, RestResponse};
use chorus_protocol::{Comment, StreamId};
use serde_json::json;

use super::Pop;

impl Pop {
    pub async fn rest(
        &self,
        method: &str,
        target: &str,
        token: Option<&str>,
        body: &str,
    ) -> (u16, serde_json::Value) {
        let response = self
            .call(RestRequest {
                method: method.to_owned(),
                target: target.to_owned(),
                authorization: token.map(|token| format!("Bearer {token}")),
                body: body.as_bytes().to_vec(),
                content_type: None,
            })
            .await;
        let body = serde_json::from_slice(&response.body).unwrap();
        (response.status, body)
    }

    /// A call as it is, and the whole answer.
    pub async fn call(&self, call: RestRequest) -> RestResponse {
        match self.request(&Request::Rest(call)).await {
            Response::Rest(response) => response,
            other @ (Response::Replay(_) | Response::Pops(_) | Response::Unavailable) => {
                panic!("{other:?}")
            }
        }
    }

    /// All comments of a stream by REST, newest first.
    pub async fn history(&self, stream: &StreamId) -> Vec<Comment> {
        let mut all = Vec::new();
        let mut target = format!("/api/streams/{stream}/comments?limit=200");
        loop {
            let (status, page) = self.rest("GET", &target, None, "").await;
            assert_eq!(status, 200, "{page}");
            let comments: Vec<Comment> = serde_json::from_value(page["comments"].clone()).unwrap();
            all.extend(comments);
            match page["next"].as_str() {
                Some(next) => {
                    target = format!("/api/streams/{stream}/comments?limit=200&before={next}");
                }
                None => return all,
            }
        }
    }

    /// A user's token and id.
    pub async fn sign_in(&self, username: &str) -> (String, String) {
        let body = json!({ "username": username }).to_string();
        let (status, answer) = self.rest("POST", "/api/dev/token", None, &body).await;
        assert_eq!(status, 200, "{answer}");
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        (text("token"), text("user_id"))
    }

    /// Streams made by one user, and that user's token.
    pub async fn create<const N: usize>(&self, names: [&str; N]) -> ([StreamId; N], String) {
        let (token, _) = self.sign_in("ada").await;
        for name in names {
            let body = json!({"title": name, "stream_id": name}).to_string();
            let (status, made) = self.rest("POST", "/api/streams", Some(&token), &body).await;
            assert_eq!(status, 201, "{made}");
        }
        (names.map(|name| name.parse().unwrap()), token)
    }
}
