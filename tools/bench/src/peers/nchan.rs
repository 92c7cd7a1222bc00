//! nginx with nchan: published to by HTTP POST.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Peer, Server, find_program, free_port};
use crate::load::dialect::Dialect;

/// Its name in tables.
pub(super) const NAME: &str = "nchan";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// Starts nginx with one worker, as one core wants it.
pub(super) fn start() -> Result<Peer> {
    let nginx = find_program("nginx")
        .context("nginx is not installed (apt-get install nginx-light libnginx-mod-nchan)")?;
    if !Path::new(MODULE).is_file() {
        bail!("nchan is not installed (apt-get install libnginx-mod-nchan)");
    }
    let addr = free_port()?;
    let files = tempfile::tempdir()?;
    let dir = files.path().display();
    let conf = format!(
        "load_module {MODULE};
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 40000;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 32000; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  nchan_shared_memory_size 256m;
  server {{
    listen {addr} backlog=4096;
    location = /sub {{ nchan_subscriber websocket; nchan_channel_id bench; nchan_subscriber_first_message newest; }}
    location = /pub {{ nchan_publisher http; nchan_channel_id bench; nchan_message_buffer_length 10; nchan_message_timeout 10s; }}
  }}
}}
"
    );
    let path = files.path().join("nginx.conf");
    std::fs::write(&path, conf)?;
    let mut command = Command::new(nginx);
    command
        .arg("-p")
        .arg(files.path())
        .arg("-c")
        .arg(&path)
        .stdout(Stdio::null());
    let mut server = Server::start(&mut command, Some(files))?;
    // The master listens before it has a worker, and the worker does the work.
    server.ready(addr, 2)?;
    Ok(Peer {
        name: NAME,
        viewers: Some(Dialect::websocket(addr, "/sub", &[])),
        publisher: Some(Dialect::raw(addr, Vec::new())),
        publish,
        server,
    })
}

fn publish(text: &str) -> Vec<u8> {
    format!(
        "POST /pub HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}
