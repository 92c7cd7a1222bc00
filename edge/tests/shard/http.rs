//! HTTP requests: from the shard to the HTTP server and back.

use std::future::Future;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use chorus_edge::backhaul::{Heard, RestError};
use chorus_edge::http::{Files, Here, HttpBounds, HttpServer, Rest};
use chorus_edge::pop::PopState;
use chorus_edge::ws::handshake::Origins;
use chorus_protocol::Millis;
use chorus_protocol::backhaul::{RestRequest, RestResponse};

use crate::client::connect;
use crate::harness::{Running, eventually, start};

/// A REST interface that answers with the request.
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
                "content_type": call.content_type,
                "body": String::from_utf8_lossy(&call.body),
            });
            let headers = [
                ("location", "/api/there"),
                ("www-authenticate", "Bearer"),
                ("set-cookie", "a=b"),
                ("link", "a\r\nset-cookie: a=b"),
            ];
            Ok(RestResponse {
                status: 201,
                content_type: "application/json".to_owned(),
                body: body.to_string().into_bytes(),
                headers: headers
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec(),
            })
        })
    }

    fn pops(&self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>> {
        Box::pin(std::future::ready(Heard::default()))
    }
}

/// A running HTTP server of a shard; dropping it stops it.
pub(crate) struct Served {
    /// The operator's listener.
    pub(crate) admin: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

/// Bytes of a file: more than a socket accepts at once.
pub(crate) const SCRIPT_BYTES: usize = 8 << 20;

/// Starts an HTTP server for the shard; it is ready once it has a lease.
pub(crate) fn serve(shard: &mut Running) -> Served {
    serve_with(shard, HttpBounds::default())
}

/// The same with these bounds.
pub(crate) fn serve_with(shard: &mut Running, bounds: HttpBounds) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("index.html"), "<title>Chorus</title>").unwrap();
    // A type that is not compressed, because that would take long.
    std::fs::write(dir.path().join("film.bin"), vec![b'a'; SCRIPT_BYTES]).unwrap();
    let pop = Arc::clone(&shard.pop);
    pop.connected(true);
    pop.leased(Millis(u64::MAX));
    let admin = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = admin.local_addr().unwrap();
    let server = HttpServer {
        files: Files::read(dir.path()).unwrap(),
        rest: Arc::new(Repeat),
        here: Here {
            pop: "here".parse().unwrap(),
            region: "eu".parse().unwrap(),
            url: None,
        },
        registry: chorus_edge::metrics::registry(
            vec![Arc::clone(&shard.metrics)],
            Arc::clone(&pop),
            Arc::default(),
        ),
        pop,
        origins: Origins(Some(vec!["https://video.example".to_owned()])),
        bounds,
        public_metrics: false,
        admin: Some(admin),
        shards: vec![shard.handle.clone()],
    };
    runtime.spawn(server.run(shard.http.take().unwrap()));
    Served {
        admin: address,
        _runtime: runtime,
    }
}

impl Served {
    /// A metric from a scrape.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let scrape = get(self.admin, "/metrics");
        let line = scrape
            .lines()
            .find_map(|line| line.strip_prefix(&format!("chorus_edge_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {scrape}"))
            .parse()
            .unwrap()
    }
}

pub(crate) fn ask(address: SocketAddr, request: &str) -> String {
    let mut socket = connect(address);
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

#[test]
fn page_health_readiness_and_metrics() {
    let mut shard = start();
    let server = serve(&mut shard);
    let page = get(shard.address, "/");
    assert!(
        page.starts_with("HTTP/1.1 200 ") && page.ends_with("<title>Chorus</title>"),
        "{page}"
    );
    assert!(page.contains("x-content-type-options: nosniff") && page.contains("\r\ndate: "));
    for address in [shard.address, server.admin] {
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    }
    let none = get(shard.address, "/../Cargo.toml");
    assert!(
        none.starts_with("HTTP/1.1 404 ") && none.contains("application/problem+json"),
        "{none}"
    );
    assert!(none.contains(r#""code":"not_found""#), "{none}");
    let encoded = get(shard.address, "/%69ndex%2Ehtml");
    assert!(encoded.ends_with("<title>Chorus</title>"), "{encoded}");
}

#[test]
fn metrics_are_the_operators() {
    let mut shard = start();
    let server = serve(&mut shard);
    assert!(get(shard.address, "/metrics").starts_with("HTTP/1.1 404 "));
    let metrics = get(server.admin, "/metrics");
    for line in [
        "application/openmetrics-text",
        "chorus_edge_http_requests_total 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // The shard's metrics are there too; it counts shortly after the handover.
    eventually("the shard's count", || {
        server.counted("http_handed_over_total") == 1
    });
    // Nothing else is served there, and malformed requests are refused.
    for path in ["/", "/film.bin", "/api/streams"] {
        assert!(
            get(server.admin, path).starts_with("HTTP/1.1 404 "),
            "{path}"
        );
    }
    let upgrade = ask(
        server.admin,
        &crate::used::upgrade("HTTP/1.1", "Connection: close\r\n"),
    );
    assert!(upgrade.starts_with("HTTP/1.1 404 "), "{upgrade}");
    let hosts = ask(server.admin, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert!(hosts.starts_with("HTTP/1.1 400 "), "{hosts}");
}

#[test]
fn a_head_request_has_the_fields_of_its_get_and_no_body() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let of = |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = ask(shard.address, &request);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let fields = head.lines().filter(|line| !line.starts_with("date:"));
        let fields: Vec<String> = fields.map(str::to_owned).collect();
        (fields, body.len())
    };
    for path in ["/", "/healthz", "/nowhere", "/api/away"] {
        let (get, head) = (of("GET", path), of("HEAD", path));
        assert_eq!(get.0, head.0, "{path}");
        assert!(get.1 > 0 && head.1 == 0, "{path}");
    }
    let (refused, body) = of("HEAD", "/v1/ws");
    assert_eq!(
        (refused[0].as_str(), body),
        ("HTTP/1.1 405 Method Not Allowed", 0)
    );
}

#[test]
fn a_method_that_is_not_served_is_told_those_that_are() {
    let mut shard = start();
    let _server = serve(&mut shard);
    for (method, path, allow) in [
        ("POST", "/", "allow: GET, HEAD\r\n"),
        ("DELETE", "/healthz", "allow: GET, HEAD\r\n"),
        ("POST", "/api/pops", "allow: GET, HEAD\r\n"),
        (
            "TRACE",
            "/api/x",
            "allow: GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS\r\n",
        ),
        ("POST", "/v1/ws", "Allow: GET\r\n"),
    ] {
        let answer = ask(
            shard.address,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        );
        assert!(
            answer.starts_with("HTTP/1.1 405 "),
            "{method} {path}: {answer}"
        );
        assert!(answer.contains(allow), "{method} {path}: {answer}");
        assert!(
            answer.contains(r#""code":"method_not_allowed""#),
            "{answer}"
        );
    }
}

#[test]
fn calls_go_on_to_the_gateway() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let answer = ask(
        shard.address,
        "POST /api/streams/demo/comments?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer t\r\n\
         Origin: https://video.example\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    );
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://video.example"));
    assert!(answer.contains(r#""target":"/api/streams/demo/comments?x=1""#));
    assert!(answer.contains(r#""authorization":"Bearer t""#) && answer.contains(r#""body":"{}""#));
    assert!(
        answer.contains(r#""content_type":"application/json""#),
        "{answer}"
    );
    // Of the gateway's header fields those on the list are forwarded.
    assert!(answer.contains("location: /api/there\r\n"), "{answer}");
    assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
    assert!(answer.contains("access-control-expose-headers: WWW-Authenticate"));
    assert!(!answer.contains("set-cookie"), "{answer}");
    // Pages of other PoPs ask for these, to choose one.
    for path in ["/healthz", "/api/pops"] {
        let from = |origin: &str| {
            let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
            ask(shard.address, &format!("{head}Origin: {origin}\r\n\r\n"))
        };
        let shared = from("https://video.example");
        assert!(shared.starts_with("HTTP/1.1 200 "), "{shared}");
        assert!(shared.contains("cache-control: no-store\r\n"), "{shared}");
        let allowed = "access-control-allow-origin: https://video.example\r\n";
        assert!(shared.contains(allowed), "{shared}");
        let other = from("https://other.example");
        assert!(!other.contains("access-control-allow-origin"), "{other}");
    }
    let pops = get(shard.address, "/api/pops");
    assert!(
        pops.ends_with(
            r#"{"here":"here","pops":[{"pop":"here","region":"eu","url":null,"connections":0,"state":"serving"}]}"#
        ),
        "{pops}"
    );
    let away = get(shard.address, "/api/away");
    assert!(away.starts_with("HTTP/1.1 503 ") && away.contains("retry-after: 1\r\n"));
    assert!(away.contains(r#""code":"unavailable""#), "{away}");
    let chunked = ask(
        shard.address,
        "POST http://x/api/y HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nab\r\n1;x\r\nc\r\n0\r\nT: t\r\n\r\n",
    );
    assert!(chunked.contains(r#""body":"abc""#), "{chunked}");
    assert!(chunked.contains(r#""target":"/api/y""#), "{chunked}");
    let long = format!(
        "POST /api/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
        70_000,
        "a".repeat(70_000)
    );
    let mut socket = connect(shard.address);
    // The server may close the connection before all bytes are written.
    let _ = socket.write_all(long.as_bytes());
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn a_body_is_asked_for_when_the_client_waits_for_that() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let mut socket = connect(shard.address);
    let head = "POST /api/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n\
                Content-Length: 2\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    socket.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"{}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    // The server does not ask for a body that it refuses by its length.
    let refused = ask(shard.address, &head.replace("Length: 2", "Length: 70000"));
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
}

#[test]
fn an_origin_that_may_not_or_cannot_be_read_may_not_call() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let call = |origin: &[u8]| {
        let mut socket = connect(shard.address);
        socket
            .write_all(b"GET /api/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
            .unwrap();
        socket.write_all(origin).unwrap();
        socket.write_all(b"\r\n").unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    };
    assert!(call(b"Origin: https://video.example\r\n").starts_with("HTTP/1.1 201 "));
    assert!(
        call(b"").contains("\r\nvary: Origin\r\n"),
        "caches are told"
    );
    for origin in [
        &b"Origin: https://evil.example\r\n"[..],
        b"Origin: https://video.example\r\nOrigin: https://evil.example\r\n",
        b"Origin: https://video.example\r\nOrigin: https://video.example\r\n",
        b"Origin: https://evil.example\r\nOrigin: https://video.example\r\n",
        b"Origin: https://video.ex\xc3\xa4mple\r\n",
        b"Origin: \xff\r\n",
        b"Origin: \r\n",
        b"Origin: null\r\n",
    ] {
        let answer = call(origin);
        let name = String::from_utf8_lossy(origin);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{name}: {answer}");
        assert!(answer.contains(r#""code":"forbidden""#), "{answer}");
        assert!(
            !answer.contains("access-control-allow-origin"),
            "{name}: {answer}"
        );
    }
}
