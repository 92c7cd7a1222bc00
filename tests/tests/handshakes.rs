//! Connections that never become one: half-open, dripping, malformed, silent; and those that a proxy used before.

#[path = "handshakes/halves.rs"]
mod halves;
#[path = "handshakes/nginx.rs"]
mod nginx;

use std::time::Duration;

use anyhow::{Context, Result};
use chorus_client::Options;
use chorus_tests::SOON;
use chorus_tests::dev::Dev;
use chorus_tests::raw::Raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_is_ended_and_bad_ones_are_refused() -> Result<()> {
    let dev = Dev::shared();
    let mut bystander = dev.viewer(&dev.demo()?, &Options::default()).await?;
    let mut half_open = Vec::new();
    for begin in ["", "GET /v1/ws HTTP/1.1\r\nHost: x\r\n"] {
        let mut tcp = TcpStream::connect(dev.listen()).await?;
        tcp.write_all(begin.as_bytes()).await?;
        half_open.push(tcp);
    }
    // One byte a second does not keep it open either.
    let mut dripping = TcpStream::connect(dev.listen()).await?;
    let drip = tokio::spawn(async move {
        for byte in std::iter::repeat_n(b"G", 60) {
            if dripping.write_all(byte).await.is_err() {
                return true;
            }
            let mut answer = [0; 1];
            let read = dripping.read(&mut answer);
            if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_secs(1), read).await {
                return true;
            }
        }
        false
    });
    for (request, status) in [
        ("GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
        (
            "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            "426",
        ),
        (
            "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
            "400",
        ),
        ("NONSENSE\r\n\r\n", "400"),
    ] {
        let mut tcp = TcpStream::connect(dev.listen()).await?;
        tcp.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        tokio::time::timeout(SOON, tcp.read_exact(&mut answer)).await??;
        assert_eq!(
            &answer,
            format!("HTTP/1.1 {status}").as_bytes(),
            "{request}"
        );
    }
    for mut tcp in half_open {
        let mut rest = Vec::new();
        tokio::time::timeout(SOON, tcp.read_to_end(&mut rest))
            .await
            .context("left open")?
            .ok();
    }
    assert!(
        tokio::time::timeout(SOON, drip).await??,
        "one byte a second keeps a handshake open"
    );
    bystander
        .client()
        .ping(serde_json::json!("still here"))
        .await?;
    bystander
        .wait("a pong", SOON, |viewer| !viewer.pongs.is_empty())
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_neither_joins_nor_authenticates_is_closed() -> Result<()> {
    let dev = Dev::shared();
    let mut raw = Raw::open(dev.listen(), "chorus.v1.json", "").await?;
    assert_eq!(raw.close_code(SOON).await?, Some(4403));
    Ok(())
}
