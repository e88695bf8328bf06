//! /dev/kmsg: the log record by record, and a way for programs to write to it (Documentation/ABI: dev-kmsg).

use core::any::Any;
use keel_abi::flags::OpenFlags;

use crate::fs::{File, FileOps, IoDst, IoSrc, PollEvents, PollTable};
use crate::prelude::*;

/// Facility of messages that programs write without one (`LOG_USER`).
const LOG_USER: u8 = 1 << 3;
/// Longest message that a program may write.
const MAX_LINE: usize = 1024 - 32;
const DEFAULT_LEVEL: u8 = 4;

/// An open log: where its reader is.
struct Kmsg {
    next: Mutex<u64>,
}

/// Opens the log at its oldest record.
pub fn open_kmsg(_flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
    Ok(Arc::new(Kmsg {
        next: Mutex::new(super::bounds().0),
    }))
}

impl FileOps for Kmsg {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        let mut next = self.next.lock();
        loop {
            let (oldest, _, end) = super::bounds();
            if *next < oldest {
                // Records were overwritten before they were read: tell it once, then go on.
                *next = oldest;
                return Err(Errno::EPIPE);
            }
            if let Some(record) = super::record_at(*next) {
                let line = super::kmsg_line(&record);
                if dst.remaining() < line.len() {
                    return Err(Errno::EINVAL);
                }
                *next = record.seq + 1;
                return dst.put(&line);
            }
            if file.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            let waited = super::readers().wait(SleepMode::Interruptible, None, || {
                (super::bounds().2 > end).then_some(())
            });
            waited.map_err(|_| Errno::ERESTARTSYS)?;
        }
    }

    fn write(&self, _file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        let len = src.remaining();
        if len > MAX_LINE {
            return Err(Errno::EINVAL);
        }
        let mut text = vec![0; len];
        src.take(&mut text)?;
        let (priority, text) = parse_priority(&text);
        let end = text
            .iter()
            .rposition(|b| *b != b'\n')
            .map_or(0, |at| at + 1);
        super::store(priority, &text[..end]);
        Ok(len)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(super::readers());
        let more = super::bounds().2 > *self.next.lock();
        if more {
            PollEvents::READABLE | PollEvents::WRITABLE
        } else {
            PollEvents::WRITABLE
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Takes a `<N>` prefix off.
fn parse_priority(text: &[u8]) -> (u8, &[u8]) {
    let default = (LOG_USER | DEFAULT_LEVEL, text);
    let Some(rest) = text.strip_prefix(b"<") else {
        return default;
    };
    let Some(end) = rest.iter().position(|b| *b == b'>').filter(|end| *end <= 3) else {
        return default;
    };
    let number = core::str::from_utf8(&rest[..end])
        .ok()
        .and_then(|n| n.parse::<u8>().ok());
    match number {
        // Programs cannot pretend to be the kernel (facility 0).
        Some(n) if n >> 3 == 0 => (LOG_USER | n, &rest[end + 1..]),
        Some(n) => (n, &rest[end + 1..]),
        None => default,
    }
}
