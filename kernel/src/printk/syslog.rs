//! The log as syslog(2) and /proc/kmsg give it: text, with one place for all readers.
//!
//! [`Place`] is where the next read goes on; readers share it, so that each record is read once.

use core::sync::atomic::{AtomicU8, Ordering};

use super::{LogRecord, bounds, console_level, record_at, set_console_level, syslog_line};
use crate::prelude::*;

/// Where the readers are.
struct Place {
    /// The record to read next.
    seq: u64,
    /// Bytes of it that have been read already.
    partial: usize,
}

static PLACE: SpinLock<Place> = SpinLock::new(Place { seq: 0, partial: 0 });
/// The console's level before SYSLOG_ACTION_CONSOLE_OFF; 0 when that is not in force.
static SAVED_LEVEL: AtomicU8 = AtomicU8::new(0);
/// Only the most severe messages (`minimum_console_loglevel`).
const QUIET_LEVEL: u8 = 1;

impl Place {
    /// The record to read next. Records that were overwritten are passed over.
    fn record(&mut self) -> Option<LogRecord> {
        let oldest = bounds().0;
        if self.seq < oldest {
            *self = Self {
                seq: oldest,
                partial: 0,
            };
        }
        record_at(self.seq)
    }
}

/// Whether there is something to read.
pub fn has_unread() -> bool {
    PLACE.lock().seq < bounds().2
}

/// Bytes that are left to read (SYSLOG_ACTION_SIZE_UNREAD).
pub fn unread_len() -> usize {
    let mut place = PLACE.lock();
    let mut total = 0_usize;
    let mut next = place.record();
    while let Some(record) = next {
        total += syslog_line(&record).len();
        next = record_at(record.seq + 1);
    }
    total.saturating_sub(place.partial)
}

/// Takes whole records as far as they fit, or the part that fits of one that is too long.
fn take(out: &mut [u8]) -> usize {
    let mut place = PLACE.lock();
    let mut done = 0;
    while let Some(record) = place.record() {
        let line = syslog_line(&record);
        let rest = line.get(place.partial..).unwrap_or(&[]);
        let Some(room) = out.get_mut(done..) else {
            break;
        };
        if rest.len() <= room.len() {
            room[..rest.len()].copy_from_slice(rest);
            done += rest.len();
            *place = Place {
                seq: record.seq + 1,
                partial: 0,
            };
        } else if done == 0 {
            done = room.len();
            room.copy_from_slice(&rest[..done]);
            place.partial += done;
            break;
        } else {
            break;
        }
    }
    done
}

/// Reads at least one byte; waits for it (SYSLOG_ACTION_READ).
pub fn read(out: &mut [u8]) -> Result<usize> {
    let some = || match take(out) {
        0 => None,
        n => Some(n),
    };
    let waited = super::readers().wait(SleepMode::Interruptible, None, some);
    waited.map_err(|_| Errno::ERESTARTSYS)
}

/// The newest records since the last clear that fit into `len` bytes together, in order (SYSLOG_ACTION_READ_ALL).
pub fn newest(len: usize) -> Vec<u8> {
    let (_, first, end) = bounds();
    let mut lines = Vec::new();
    let mut total = 0;
    for seq in (first..end).rev() {
        // What is overwritten meanwhile is found under a later number.
        let Some(record) = record_at(seq).filter(|record| record.seq == seq) else {
            break;
        };
        let line = syslog_line(&record);
        if total + line.len() > len {
            break;
        }
        total += line.len();
        lines.push(line);
    }
    lines.reverse();
    lines.concat()
}

/// Keeps all but the most severe messages off the console.
pub fn console_off() {
    let level = console_level();
    if SAVED_LEVEL
        .compare_exchange(0, level, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
    {
        set_console_level(QUIET_LEVEL);
    }
}

/// Ends [`console_off`].
pub fn console_on() {
    let saved = SAVED_LEVEL.swap(0, Ordering::AcqRel);
    if saved != 0 {
        set_console_level(saved);
    }
}

/// Sets the console's level; [`console_on`] will not change it any more.
pub fn set_level(level: u8) {
    SAVED_LEVEL.store(0, Ordering::Release);
    set_console_level(level);
}
