//! Half requests against a whole PoP, which goes on serving everybody else.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use chorus_tests::SOON;
use chorus_tests::dev::Dev;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// More than one address may have at once (`http.connections_per_address_max`).
const HALVES: usize = 600;
const HALF: &str = "POST /api/streams HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n1";

/// The status of a request that a client of this address sends.
async fn status(source: [u8; 4], address: SocketAddr, path: &str) -> Result<String> {
    let answered = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let mut tcp = socket.connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await?;
        anyhow::Ok(answer.get(9..12).unwrap_or_default().to_owned())
    };
    timeout(SOON, answered)
        .await
        .with_context(|| format!("{path} at {address}: no answer"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn half_requests_stop_neither_health_nor_calls() -> Result<()> {
    let admin = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let dev = Dev::start(&[
        "--edge-set",
        &format!("admin_listen=\"{admin}\""),
        "--edge-set",
        "public_metrics=false",
    ])?;
    let mut halves = Vec::new();
    for _ in 0..HALVES {
        let mut tcp = TcpStream::connect(dev.listen()).await?;
        tcp.write_all(HALF.as_bytes()).await?;
        halves.push(tcp);
    }
    for source in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        for address in [dev.listen(), admin] {
            for path in ["/healthz", "/readyz"] {
                assert_eq!(status(source, address, path).await?, "200", "{path}");
            }
        }
        let call = status(source, dev.listen(), "/api/streams/demo").await?;
        assert_eq!(call, "200");
    }
    let me = [127, 0, 0, 1];
    assert_eq!(status(me, dev.listen(), "/metrics").await?, "404");
    assert_eq!(status(me, admin, "/metrics").await?, "200");
    // The first gave its place to another, and was told.
    let mut told = [0; 12];
    timeout(SOON, halves[0].read_exact(&mut told)).await??;
    assert_eq!(&told, b"HTTP/1.1 408");
    Ok(())
}
