//! Timeouts and numbers of slow, incomplete and idle HTTP connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use chorus_edge::http::HttpBounds;
use socket2::{Domain, Protocol, Socket, Type};

use crate::client::connect;
use crate::harness::{eventually, start};
use crate::http::{SCRIPT_BYTES, ask, get, serve_with};

/// A request answered within this did not wait for the timeouts of others, which are many times as long.
const SOON: Duration = Duration::from_secs(10);

const HALVES: [&str; 3] = [
    "POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n1",
    "POST /api/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na",
    "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HT",
];

fn long() -> HttpBounds {
    HttpBounds {
        connections_max: 300,
        connections_per_address_max: 200,
        head_ms_max: 300_000,
        body_ms_max: 300_000,
        idle_ms_max: 300_000,
        answer_ms_max: 300_000,
    }
}

fn half(address: SocketAddr, request: &str) -> TcpStream {
    let mut socket = connect(address);
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

/// A request from another address of this machine.
fn get_from(source: [u8; 4], address: SocketAddr, path: &str) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut socket: TcpStream = socket.into();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn half_requests_keep_nobody_waiting() {
    let mut shard = start();
    let server = serve_with(&mut shard, long());
    // More than all places of the server and of the operator's listener.
    let mut halves: Vec<TcpStream> = (0..400)
        .map(|index| half(shard.address, HALVES[index % HALVES.len()]))
        .collect();
    let _of_admin: Vec<TcpStream> = (0..100)
        .map(|_| half(server.admin, "GET /metrics HTTP/1.1\r\nHo"))
        .collect();
    eventually("half of them gave their places to others", || {
        server.counted("http_evicted_total") >= 200
    });
    assert_eq!(server.counted("http_connections"), 200);
    for address in [shard.address, server.admin] {
        for path in ["/healthz", "/readyz"] {
            // From the address whose places are all used, and from another one.
            assert!(get(address, path).starts_with("HTTP/1.1 200 "), "{path}");
            let other = get_from([127, 0, 0, 2], address, path);
            assert!(other.starts_with("HTTP/1.1 200 "), "{path}: {other}");
        }
    }
    let api = get_from([127, 0, 0, 2], shard.address, "/api/streams");
    assert!(api.starts_with("HTTP/1.1 201 "), "{api}");
    assert_eq!(server.counted("http_full_total"), 0);
    assert_eq!(server.counted("http_body_timeouts_total"), 0);
    // Connections that lost their places got an answer.
    let mut answer = String::new();
    halves[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn addresses_that_take_all_places_make_room_together() {
    let mut shard = start();
    let bounds = HttpBounds {
        connections_max: 16,
        ..long()
    };
    let server = serve_with(&mut shard, bounds);
    let _halves: Vec<TcpStream> = (0..40).map(|_| half(shard.address, HALVES[0])).collect();
    eventually("all places are taken", || {
        server.counted("http_evicted_total") >= 24
    });
    let other = get_from([127, 0, 0, 2], shard.address, "/healthz");
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
}

#[test]
fn each_part_of_a_request_has_its_time() {
    let mut shard = start();
    let server = serve_with(
        &mut shard,
        HttpBounds {
            head_ms_max: 300,
            body_ms_max: 300,
            idle_ms_max: 300,
            ..long()
        },
    );
    // Single bytes do not extend the timeout.
    let mut socket = half(shard.address, HALVES[0]);
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let (began, mut first) = (Instant::now(), [0]);
    while socket.read_exact(&mut first).is_err() {
        assert!(began.elapsed() < SOON, "one byte at a time keeps it open");
        let _ = socket.write_all(b"a");
    }
    let late = |request: &str| {
        let mut answer = String::new();
        half(shard.address, request)
            .read_to_string(&mut answer)
            .unwrap();
        answer
    };
    let chunked = late(HALVES[1]);
    assert!(chunked.starts_with("HTTP/1.1 408 "), "{chunked}");
    let twice = late(HALVES[2]);
    let (first, second) = twice.split_once("ok\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    assert!(second.starts_with("HTTP/1.1 408 "), "{second}");
    assert!(second.contains("connection: close\r\n"), "{second}");
    assert!(second.contains(r#""code":"timeout""#), "{second}");
    let idle = late("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        idle.starts_with("HTTP/1.1 200 ") && idle.ends_with("ok\n"),
        "{idle}"
    );
    assert_eq!(server.counted("http_body_timeouts_total"), 2);
    assert_eq!(server.counted("http_head_timeouts_total"), 1);
    assert_eq!(server.counted("http_idle_timeouts_total"), 1);
}

#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    let mut shard = start();
    let server = serve_with(
        &mut shard,
        HttpBounds {
            answer_ms_max: 300,
            ..long()
        },
    );
    let mut socket = half(shard.address, "GET /film.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("it is given up", || {
        server.counted("http_answer_timeouts_total") == 1
    });
    let mut taken = Vec::new();
    let _ = socket.read_to_end(&mut taken);
    assert!(taken.len() < SCRIPT_BYTES);
    let next = ask(shard.address, "GET /healthz HTTP/1.0\r\n\r\n");
    assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
}
