//! nginx with nchan: published to by HTTP POST.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::{Dialects, Peer, find_program, free_port};
use crate::load::dialect::Dialect;

const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// Starts nginx with one worker, as one core wants it.
pub(super) fn start() -> Result<(Peer, Dialects)> {
    let nginx = find_program("nginx")?;
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
    command.arg("-p").arg(files.path()).arg("-c").arg(&path);
    let mut peer = Peer::start(command, files)?;
    // The master listens before it has a worker, and the worker does the work.
    peer.ready(addr, 2)?;
    let dialects = Dialects {
        viewers: Dialect::websocket(addr, "/sub", &[]),
        publisher: Dialect::raw(addr, Vec::new()),
        publish,
    };
    Ok((peer, dialects))
}

fn publish(text: &str) -> Vec<u8> {
    let length = text.len();
    format!("POST /pub HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n\r\n{text}")
        .into_bytes()
}
