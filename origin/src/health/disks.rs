//! Watching the disks of this machine: full and read-only are seen before a write fails.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;

use super::{Condition, Health};
use crate::metrics::Metrics;

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(500);

/// Directories whose disks are watched as one.
#[derive(Clone, Debug)]
pub struct Disk {
    /// What holds when it is full.
    pub condition: Condition,
    /// Whose it is, for people: `the log`.
    pub whose: &'static str,
    /// The directories; one that is bad is enough.
    pub directories: Vec<PathBuf>,
    /// Fewer free bytes are none.
    pub free_bytes_min: u64,
}

/// What a look shows.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Well,
    Bad(String),
    NoFiles(String),
}

/// Looks at them for ever.
pub async fn watch(disks: Vec<Disk>, metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for disk in &disks {
            let bad = metrics.health.has(disk.condition);
            let look = {
                let disk = disk.clone();
                // A disk behind a network may let a look wait.
                tokio::task::spawn_blocking(move || look(&disk, bad)).await
            };
            if let Ok(look) = look {
                note(&metrics.health, disk.condition, look);
            }
        }
    }
}

fn note(health: &Health, condition: Condition, look: Look) {
    match look {
        Look::Well => {
            health.end(condition);
            health.end(Condition::Files);
        }
        Look::Bad(why) => health.begin(condition, why),
        Look::NoFiles(why) => health.begin(Condition::Files, why),
    }
}

/// `bad`: it was bad at the last look; then it needs half as much again to be well, so that it does not change with
/// every small file.
fn look(disk: &Disk, bad: bool) -> Look {
    let looks = disk.directories.iter().map(|it| look_at(it, disk, bad));
    let mut wrong = looks.filter(|look| *look != Look::Well);
    wrong.next().unwrap_or(Look::Well)
}

fn look_at(directory: &Path, disk: &Disk, bad: bool) -> Look {
    let (whose, path) = (disk.whose, directory.display());
    let (free, read_only) = match stat(directory) {
        Ok(found) => found,
        Err(error) if is_no_files(&error) => {
            return Look::NoFiles(format!("no more files can be opened ({error})"));
        }
        Err(error) => return Look::Bad(format!("the disk of {whose} is away: {path}: {error}")),
    };
    if read_only {
        return Look::Bad(format!("the disk of {whose} is read-only: {path}"));
    }
    let least = disk.free_bytes_min;
    if free < if bad { least + least / 2 } else { least } {
        return Look::Bad(format!(
            "the disk of {whose} is full: {path} has less than {} KiB free",
            least.div_ceil(1 << 10)
        ));
    }
    Look::Well
}

/// Bytes that are free for us, and whether nothing can be written.
fn stat(directory: &Path) -> io::Result<(u64, bool)> {
    let found = fstatvfs(File::open(directory)?)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    Ok((free, found.f_flag.contains(StatVfsMountFlags::RDONLY)))
}

fn is_no_files(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(directory: &Path, free_bytes_min: u64) -> Disk {
        Disk {
            condition: Condition::LogDisk,
            whose: "the log",
            directories: vec![directory.to_owned()],
            free_bytes_min,
        }
    }

    #[test]
    fn a_disk_without_the_room_asked_for_is_full_and_a_lost_one_is_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        assert_eq!(look(&disk(path, 1), false), Look::Well);
        let Look::Bad(why) = look(&disk(path, u64::MAX / 2), false) else {
            panic!("so much is never free")
        };
        assert!(why.starts_with("the disk of the log is full: "), "{why}");
        let Look::Bad(why) = look(&disk(&path.join("absent"), 1), false) else {
            panic!("it is not there")
        };
        assert!(why.contains("away"), "{why}");
        let two = Disk {
            directories: vec![path.to_owned(), path.join("absent")],
            ..disk(path, 1)
        };
        assert_ne!(look(&two, false), Look::Well);
    }

    #[test]
    fn well_again_takes_half_as_much_room_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (free, _) = stat(directory.path()).expect("a disk");
        // Others write on it meanwhile: far from both bounds.
        let disk = disk(directory.path(), free / 5 * 4);
        assert_eq!(look(&disk, false), Look::Well);
        assert_ne!(look(&disk, true), Look::Well);
    }

    #[test]
    fn no_more_files_is_not_a_full_disk() {
        let error = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        assert!(is_no_files(&error));
        let metrics = Metrics::new();
        let none = Look::NoFiles("no more files".to_owned());
        note(&metrics.health, Condition::LogDisk, none);
        assert!(metrics.health.has(Condition::Files));
        assert!(!metrics.health.refuses_posts());
        note(&metrics.health, Condition::LogDisk, Look::Well);
        assert_eq!(metrics.health.why(), None);
    }
}
