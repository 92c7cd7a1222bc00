//! The commands on standard input.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;

/// Lines of a pipe.
///
/// One read may bring several lines, and the pipe is then no longer readable for epoll: whoever waits for it must go
/// on until `has_more` is false, or a command stays behind until the next one comes — and a `stats` for ever, for
/// its sender waits for the answer.
pub(super) struct Commands {
    reader: BufReader<File>,
}

impl Commands {
    /// Those of a pipe.
    pub(super) fn new(pipe: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self {
            reader: BufReader::new(File::from(pipe.try_clone_to_owned()?)),
        })
    }

    /// The next; `None` when there are no more. Waits for it.
    pub(super) fn next(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line)?;
        Ok((read > 0).then_some(line))
    }

    /// Whether another has been read already.
    pub(super) fn has_more(&self) -> bool {
        !self.reader.buffer().is_empty()
    }
}

impl AsFd for Commands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn commands_that_come_together_are_all_taken() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let mut commands = Commands::new(reader.as_fd()).expect("a file");
        writer
            .write_all(b"flat write 200\nstats\n")
            .expect("written");
        let mut taken = Vec::new();
        loop {
            taken.extend(commands.next().expect("read"));
            if !commands.has_more() {
                break;
            }
        }
        assert_eq!(taken, ["flat write 200\n", "stats\n"]);
        drop(writer);
        assert_eq!(commands.next().expect("read"), None);
    }
}
