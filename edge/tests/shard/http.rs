//! What is no WebSocket, through the shard to the HTTP server and back.

use std::future::Future;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use chorus_edge::backhaul::RestError;
use chorus_edge::http::{Files, HttpServer, Rest};
use chorus_edge::pop::PopState;
use chorus_edge::ws::handshake::Origins;
use chorus_protocol::Millis;
use chorus_protocol::backhaul::{RestRequest, RestResponse};

use crate::client::connect;
use crate::harness::{Running, start};

/// A gateway's `api` that repeats the call.
struct Repeat;

impl Rest for Repeat {
    fn rest<'a>(
        &'a self,
        call: RestRequest,
    ) -> Pin<Box<dyn Future<Output = Result<RestResponse, RestError>> + Send + 'a>> {
        Box::pin(async move {
            if call.target == "/api/away" {
                return Err(RestError::Unavailable);
            }
            let body = serde_json::json!({
                "method": call.method,
                "target": call.target,
                "authorization": call.authorization,
                "body": String::from_utf8_lossy(&call.body),
            });
            Ok(RestResponse {
                status: 201,
                content_type: "application/json".to_owned(),
                body: body.to_string().into_bytes(),
            })
        })
    }
}

/// Serves the shard's other requests; ready once leased.
pub(crate) fn serve(shard: &mut Running) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("index.html"), "<title>Chorus</title>").unwrap();
    let pop = Arc::new(PopState::new(10));
    pop.connected(true);
    pop.leased(Millis(u64::MAX));
    let server = HttpServer {
        files: Files::read(dir.path()).unwrap(),
        rest: Arc::new(Repeat),
        registry: chorus_edge::metrics::registry(
            vec![Arc::clone(&shard.metrics)],
            Arc::clone(&pop),
            Arc::default(),
        ),
        pop,
        origins: Origins(Some(vec!["https://video.example".to_owned()])),
    };
    runtime.spawn(server.run(shard.http.take().unwrap()));
    runtime
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut socket = connect(address);
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

#[test]
fn page_health_readiness_and_metrics() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let page = get(shard.address, "/");
    assert!(
        page.starts_with("HTTP/1.1 200 ") && page.ends_with("<title>Chorus</title>"),
        "{page}"
    );
    assert!(page.contains("x-content-type-options: nosniff"));
    assert!(get(shard.address, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(get(shard.address, "/readyz").starts_with("HTTP/1.1 200 "));
    let metrics = get(shard.address, "/metrics");
    assert!(
        metrics.contains("application/openmetrics-text"),
        "{metrics}"
    );
    // This request may or may not be counted yet.
    assert!(
        ["3", "4"]
            .iter()
            .any(|n| metrics.contains(&format!("chorus_edge_http_handed_over_total {n}\n"))),
        "{metrics}"
    );
    let none = get(shard.address, "/../Cargo.toml");
    assert!(
        none.starts_with("HTTP/1.1 404 ") && none.contains("application/problem+json"),
        "{none}"
    );
    assert!(
        ask(
            shard.address,
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .starts_with("HTTP/1.1 405 ")
    );
}

#[test]
fn calls_go_on_to_the_gateway() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let answer = ask(
        shard.address,
        "POST /api/streams/demo/comments?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer t\r\n\
         Origin: https://video.example\r\nContent-Length: 2\r\n\r\n{}",
    );
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://video.example"));
    assert!(answer.contains(r#""target":"/api/streams/demo/comments?x=1""#));
    assert!(answer.contains(r#""authorization":"Bearer t""#) && answer.contains(r#""body":"{}""#));
    assert!(get(shard.address, "/api/away").starts_with("HTTP/1.1 503 "));
    let long = format!(
        "POST /api/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
        70_000,
        "a".repeat(70_000)
    );
    let mut socket = connect(shard.address);
    // The server may end the connection before all is written.
    let _ = socket.write_all(long.as_bytes());
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    let evil = ask(
        shard.address,
        "GET /api/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: https://evil.example\r\n\r\n",
    );
    assert!(
        evil.starts_with("HTTP/1.1 403 ") && !evil.contains("access-control-allow-origin"),
        "{evil}"
    );
}
