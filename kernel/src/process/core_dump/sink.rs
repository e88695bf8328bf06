//! Where a core file goes: a regular file, with holes, or a pipe to a helper.

use keel_hal::task;

use crate::fs::{File, IoSrc};
use crate::prelude::*;

/// The growing core file.
pub struct Sink {
    file: Arc<File>,
    /// Holes are left by writing further on.
    seekable: bool,
    /// Where the next byte goes.
    pos: u64,
    /// Bytes written, which count against `limit` (holes do not).
    written: u64,
    limit: u64,
}

impl Sink {
    /// A regular file of at most `limit` bytes.
    pub fn file(file: Arc<File>, limit: u64) -> Self {
        Self {
            file,
            seekable: true,
            pos: 0,
            written: 0,
            limit,
        }
    }

    /// A pipe's writing end.
    pub fn stream(file: Arc<File>) -> Self {
        Self {
            file,
            seekable: false,
            pos: 0,
            written: 0,
            limit: u64::MAX,
        }
    }

    /// Whether anything was written.
    pub fn begun(&self) -> bool {
        self.written > 0
    }

    /// Writes all bytes: EFBIG when only those before the limit could be written, EINTR when the process is killed.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let room = self.limit.saturating_sub(self.written);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.put_all(&bytes[..fits])?;
        if fits < bytes.len() {
            return Err(Errno::EFBIG);
        }
        Ok(())
    }

    fn put_all(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if task::current().killed() {
                return Err(Errno::EINTR);
            }
            let mut src = IoSrc::from_kernel(rest);
            let result = if self.seekable {
                self.file.pwrite(&mut src, self.pos)
            } else {
                self.file.write(&mut src)
            };
            let n = match result {
                // SIGSTOP cannot be blocked, but does not stop a dump.
                Err(error) if error.is_restart() => {
                    task::current().clear_interrupt();
                    continue;
                }
                other => other?,
            };
            if n == 0 {
                return Err(Errno::EIO);
            }
            self.pos += n as u64;
            self.written += n as u64;
            rest = rest.get(n..).unwrap_or_default();
            task::cond_resched();
        }
        Ok(())
    }

    /// Leaves out bytes that are zero.
    pub fn skip(&mut self, len: u64) -> Result<()> {
        if self.seekable {
            self.pos += len;
            return Ok(());
        }
        let zeros = [0; PAGE_SIZE];
        let mut left = len;
        while left > 0 {
            let n = left.min(PAGE_SIZE as u64);
            self.put(&zeros[..n as usize])?;
            left -= n;
        }
        Ok(())
    }

    /// Ends the file: a hole at its end counts too.
    pub fn finish(&mut self, thread: &crate::process::Thread) -> Result<()> {
        if self.seekable && self.file.inode.size() < self.pos {
            let cred = thread.cred();
            crate::fs::attributes::truncate(&self.file.path, &self.file.inode, self.pos, &cred)?;
        }
        Ok(())
    }
}
