//! Disks that are full or read-only, as the origin and its store see them: real ones, of a few hundred KiB.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use chorus_origin::config;
use chorus_origin::health::{self, Condition, Disk};
use chorus_origin::metrics::Metrics;
use chorus_origin::store::{Batch, Row, StoreError, Stores};
use chorus_protocol::{CommentId, Event, Offset, StreamId};

/// A tmpfs; unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        run(mount.arg(directory.path()));
        Self(directory)
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run(Command::new("mount")
            .args(["-o", &options])
            .arg(self.path()));
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.0.path()));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "this test needs the right to mount a tmpfs: {said}"
    );
}

async fn until(metrics: &Metrics, words: Option<&str>) {
    let seen = async {
        loop {
            let why = metrics.health.why();
            match (&why, words) {
                (None, None) => return,
                (Some(why), Some(words)) if why.contains(words) => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), seen).await;
    assert!(waited.is_ok(), "{words:?}, not {:?}", metrics.health.why());
}

#[tokio::test]
async fn a_disk_is_read_only_or_full_for_as_long_as_it_is() {
    let mounted = Mounted::new("size=1m,ro");
    let metrics = Arc::new(Metrics::new());
    let disk = Disk {
        condition: Condition::LogDisk,
        whose: "the log",
        directories: vec![mounted.path().to_owned()],
        free_bytes_min: 256 << 10,
    };
    let watch = tokio::spawn(health::watch(vec![disk], Arc::clone(&metrics)));
    until(&metrics, Some("read-only")).await;
    assert!(metrics.health.refuses_posts());
    mounted.remount("rw");
    until(&metrics, None).await;
    let filler = mounted.path().join("filler");
    std::fs::write(&filler, vec![0; 900 << 10]).unwrap();
    until(&metrics, Some("is full")).await;
    std::fs::remove_file(&filler).unwrap();
    until(&metrics, None).await;
    assert!(!metrics.health.refuses_posts());
    watch.abort();
}

fn batch(from: Option<Offset>, seq: u64) -> Batch {
    let row = Row::Comment {
        id: CommentId(seq),
        stream: StreamId::new("demo").unwrap(),
        user: "ada".to_owned(),
        key: seq.into(),
        parent: None,
        event: Event {
            region: "dev".parse().unwrap(),
            epoch: 1,
            seq,
            body: vec![7; 16 << 10],
        },
    };
    let to = Offset { epoch: 1, seq };
    let rows = vec![row];
    Batch {
        log: "dev".to_owned(),
        from,
        to,
        rows,
    }
}

#[tokio::test]
async fn a_store_whose_disk_was_full_writes_again_without_being_opened_again() {
    let mounted = Mounted::new("size=2m");
    let filler = mounted.path().join("filler");
    std::fs::write(&filler, vec![0; 1 << 20]).unwrap();
    let path = mounted.path().join("chorus.db");
    let config = config::Store {
        url: Some(format!("sqlite://{}", path.display())),
        ..config::Store::default()
    };
    let store = Stores::open(&config).await.unwrap().comments;
    let mut at = None;
    let mut seq = 0;
    let failed = loop {
        seq += 1;
        assert!(seq < 1_000, "the disk has no end");
        match store.write(batch(at, seq)).await {
            Ok(_) => at = Some(Offset { epoch: 1, seq }),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
    // What was written is read meanwhile.
    assert_eq!(store.positions().await.unwrap().get("dev").copied(), at);
    std::fs::remove_file(&filler).unwrap();
    let written = store.write(batch(at, seq)).await.unwrap();
    assert_eq!(written.new, 1, "all or nothing: it was not there");
}
