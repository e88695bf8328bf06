//! What the file system asks of its surroundings: a block device, sleeping locks, a clock, random
//! numbers and a log.
//!
//! Everything here is safe to implement: locks come as generic associated types rather than as raw
//! locks, so that the kernel plugs in its sleeping locks and host tests plug in `std::sync`.

use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::Result;

/// A mutual exclusion lock; `lock` may sleep.
pub trait Lock<T>: Send + Sync {
    /// Gives exclusive access until dropped.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a;
    /// Wraps `value`.
    fn new(value: T) -> Self;
    /// Waits for the lock.
    fn lock(&self) -> Self::Guard<'_>;
    /// Takes the lock if it is free right now.
    fn try_lock(&self) -> Option<Self::Guard<'_>>;
}

/// A reader-writer lock; both ways in may sleep. It must not starve writers, and the crate never
/// takes it for reading twice in one thread.
pub trait SharedLock<T>: Send + Sync {
    /// Gives shared access until dropped.
    type ReadGuard<'a>: Deref<Target = T>
    where
        Self: 'a;
    /// Gives exclusive access until dropped.
    type WriteGuard<'a>: DerefMut<Target = T>
    where
        Self: 'a;
    /// Wraps `value`.
    fn new(value: T) -> Self;
    /// Waits for shared access.
    fn read(&self) -> Self::ReadGuard<'_>;
    /// Waits for exclusive access.
    fn write(&self) -> Self::WriteGuard<'_>;
}

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// The file system is damaged or a device failed.
    Error,
    /// Something is off, the operation goes on.
    Warning,
    /// Worth a line in the kernel log (mount, recovery).
    Info,
}

/// A point in time: seconds since the epoch (negative before it) and nanoseconds below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub sec: i64,
    /// Nanoseconds, 0 ..= 999_999_999.
    pub nsec: u32,
}

/// Locks, clock, randomness and log.
pub trait Platform: Send + Sync + 'static {
    /// A sleeping mutex.
    type Mutex<T: Send + 'static>: Lock<T>;
    /// A sleeping reader-writer lock.
    type RwLock<T: Send + Sync + 'static>: SharedLock<T>;

    /// The wall-clock time used for inode times.
    fn now(&self) -> Timespec;
    /// A random number (inode generations, directory spreading). Need not be cryptographic.
    fn random_u32(&self) -> u32;
    /// Whether the calling thread may use the blocks reserved for root (CAP_SYS_RESOURCE or `resuid=`).
    fn may_use_reserved(&self) -> bool {
        true
    }
    /// Writes one line to the kernel log.
    fn log(&self, level: LogLevel, message: fmt::Arguments<'_>);
}

/// Ordering asked of one write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteFlags {
    /// Flush the device's volatile cache before this write starts.
    pub preflush: bool,
    /// The write itself is on stable storage when the call returns.
    pub fua: bool,
}

/// A block device. Offsets and lengths are in bytes and multiples of [`BlockDevice::sector_size`].
///
/// All calls block until the device has answered. Writes that have returned are in the device's
/// volatile cache; only [`BlockDevice::flush`] or FUA makes them durable. Errors are `EIO`, `ENOSPC`,
/// `EROFS` and the like and are handed to the caller.
pub trait BlockDevice: Send + Sync + 'static {
    /// Size of the device in bytes.
    fn size(&self) -> u64;
    /// Smallest unit of I/O in bytes (512 or 4096).
    fn sector_size(&self) -> u32 {
        512
    }
    /// Whether writes are refused.
    fn read_only(&self) -> bool {
        false
    }
    /// Reads `buf.len()` bytes at `offset`.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
    /// Reads several pieces; a device with a queue keeps them all in flight.
    fn read_many(&self, pieces: &mut [(u64, &mut [u8])]) -> Result<()> {
        for (offset, buf) in pieces {
            self.read(*offset, buf)?;
        }
        Ok(())
    }
    /// Writes `buf` at `offset` with the ordering `flags` asks for.
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()>;
    /// Writes several pieces in any order; a device with a queue keeps them all in flight and merges
    /// neighbours. Returns when all are done, with the first error if there was one.
    fn write_many(&self, pieces: &[(u64, &[u8])]) -> Result<()> {
        for (offset, buf) in pieces {
            self.write(*offset, buf, WriteFlags::default())?;
        }
        Ok(())
    }
    /// Makes all completed writes durable.
    fn flush(&self) -> Result<()>;
    /// Tells the device that a range is unused. `EOPNOTSUPP` if it cannot.
    fn discard(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(crate::Errno::EOPNOTSUPP)
    }
    /// Zeroes a range. `EOPNOTSUPP` makes the caller write zeroes itself.
    fn write_zeroes(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(crate::Errno::EOPNOTSUPP)
    }
}
