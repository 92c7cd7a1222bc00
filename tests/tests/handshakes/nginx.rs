//! Behind nginx, which reuses its connections to the PoP.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use chorus_client::{Endpoint, Options, Rest, Viewer};
use chorus_tests::dev::{Dev, Part};
use chorus_tests::{SOON, eventually};

/// How often nginx is started on another port when somebody took the first.
const STARTS_MAX: usize = 5;

/// A running nginx; it ends with this.
struct Nginx {
    child: Child,
    dir: PathBuf,
    listen: SocketAddr,
}

impl Nginx {
    async fn start(upstream: SocketAddr) -> Result<Self> {
        if let Err(error) = Command::new("nginx").arg("-v").output() {
            bail!("this test needs nginx (apt-get install nginx): {error}");
        }
        let dir = std::env::temp_dir().join(format!("chorus-nginx-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        for _ in 0..STARTS_MAX {
            let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            fs::write(dir.join("nginx.conf"), config(&dir, listen, upstream))?;
            let child = Command::new("nginx")
                .arg("-p")
                .arg(&dir)
                .arg("-c")
                .arg(dir.join("nginx.conf"))
                .arg("-e")
                .arg(dir.join("error.log"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("cannot start nginx")?;
            let mut nginx = Self {
                child,
                dir: dir.clone(),
                listen,
            };
            let deadline = tokio::time::Instant::now() + SOON;
            while nginx.child.try_wait()?.is_none() && tokio::time::Instant::now() < deadline {
                if tokio::net::TcpStream::connect(listen).await.is_ok() {
                    return Ok(nginx);
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        let log = fs::read_to_string(dir.join("error.log")).unwrap_or_default();
        bail!("nginx does not start: {log}")
    }

    fn url(&self) -> String {
        format!("http://{}", self.listen)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// As nginx's own documentation has it for WebSockets and for upstream connections that are kept.
fn config(dir: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        r#"
daemon off;
master_process off;
worker_processes 1;
pid {dir}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' '';
    }}
    upstream chorus {{
        server {upstream};
        keepalive 4;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://chorus;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_behind_nginx_gets_its_websocket_on_a_connection_that_was_used() -> Result<()> {
    let dev = Dev::shared();
    let nginx = Nginx::start(dev.listen()).await?;
    let rest = Rest::new(&nginx.url())?;
    let endpoint = Endpoint::parse(&nginx.url())?;
    let demo = dev.demo()?;
    let options = Options::default().token(dev.token("behind-nginx", "user").await?);
    for round in 0..5 {
        // What a page does: its files, a call, its socket.
        for target in ["/", "/healthz", "/api/streams/demo"] {
            assert_eq!(rest.get(target).await?.status, 200, "{target}");
        }
        let mut viewer = Viewer::connect(&endpoint, &demo, &options).await?;
        viewer
            .join_and_wait(None, SOON)
            .await
            .with_context(|| format!("round {round}"))?;
        viewer.client().ping(serde_json::json!(round)).await?;
        viewer
            .wait("a pong", SOON, |viewer| !viewer.pongs.is_empty())
            .await?;
    }
    eventually("the sockets came on used connections", SOON, || async {
        let returned = dev.metric(Part::Edge, "chorus_edge_http_returned_total");
        (returned.await.ok()?? >= 5.0).then_some(())
    })
    .await
}
