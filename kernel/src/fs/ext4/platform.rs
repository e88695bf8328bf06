//! What keel-ext4 asks of the kernel: sleeping locks, time, randomness, the log, and a block device.

use core::fmt;
use keel_ext4::{self as ext4, LogLevel, SharedLock, Timespec, WriteFlags};
use keel_hal::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

use crate::block::{Batch, BlockDevice, Op, SECTOR_SHIFT};
use crate::fs::block_file;
use crate::prelude::*;
use crate::process::Cap;

/// The kernel's sleeping mutex.
pub struct SleepingMutex<T>(Mutex<T>);

impl<T: Send + 'static> ext4::Lock<T> for SleepingMutex<T> {
    type Guard<'a> = MutexGuard<'a, T>;

    #[track_caller]
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }
}

/// The kernel's sleeping reader-writer lock.
pub struct SleepingRwLock<T>(RwLock<T>);

impl<T: Send + Sync + 'static> SharedLock<T> for SleepingRwLock<T> {
    type ReadGuard<'a> = RwLockReadGuard<'a, T>;
    type WriteGuard<'a> = RwLockWriteGuard<'a, T>;

    #[track_caller]
    fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write()
    }
}

/// The kernel as one mounted file system sees it.
pub struct Platform {
    /// The device's name, for messages.
    pub(super) device: String,
    /// Who may use the reserved blocks beside the privileged (`resuid=`, or the superblock's, which is root).
    pub(super) reserved_uid: u32,
}

impl ext4::Platform for Platform {
    type Mutex<T: Send + 'static> = SleepingMutex<T>;
    type RwLock<T: Send + Sync + 'static> = SleepingRwLock<T>;

    fn now(&self) -> Timespec {
        let (sec, nsec) = crate::time::clock::realtime();
        Timespec { sec, nsec }
    }

    fn random_u32(&self) -> u32 {
        u32::from_le_bytes(crate::random::bytes())
    }

    fn may_use_reserved(&self) -> bool {
        crate::process::current_opt().is_none_or(|thread| {
            let cred = thread.cred();
            cred.has(Cap::SYS_RESOURCE) || cred.fsuid == self.reserved_uid
        })
    }

    fn log(&self, level: LogLevel, message: fmt::Arguments<'_>) {
        let device = &self.device;
        match level {
            LogLevel::Error => log::error!("EXT4-fs ({device}): {message}"),
            LogLevel::Warning => log::warn!("EXT4-fs ({device}): {message}"),
            LogLevel::Info => log::info!("EXT4-fs ({device}): {message}"),
        }
    }
}

/// A block device as keel-ext4 uses it for metadata and the journal.
pub struct Device(pub(super) Arc<BlockDevice>);

impl ext4::BlockDevice for Device {
    fn size(&self) -> u64 {
        self.0.bytes()
    }

    fn sector_size(&self) -> u32 {
        self.0.limits().logical_block
    }

    fn read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_bytes(offset, buf)
    }

    fn read_many(&self, pieces: &mut [(u64, &mut [u8])]) -> Result<()> {
        let batch = Batch::new();
        let mut started = Vec::new();
        for (offset, buf) in pieces.iter() {
            started.push(
                self.0
                    .start_bytes(Op::Read, *offset, buf.len(), None, &|| batch.ticket()),
            );
        }
        self.0.kick();
        batch.wait()?;
        for (frames, (_, buf)) in started.into_iter().zip(pieces) {
            let mut at = 0;
            for (frame, n) in frames? {
                if let Some(part) = buf.get_mut(at..at + n) {
                    frame.read(0, part);
                }
                at += n;
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        if flags.preflush {
            self.0.flush()?;
        }
        let written = self.0.write_bytes(offset, buf);
        block_file::overwritten(&self.0, offset, buf.len() as u64);
        written?;
        if flags.fua { self.0.flush() } else { Ok(()) }
    }

    fn write_many(&self, pieces: &[(u64, &[u8])]) -> Result<()> {
        let batch = Batch::new();
        let mut result = Ok(());
        for (offset, buf) in pieces {
            let started = self
                .0
                .start_bytes(Op::Write, *offset, buf.len(), Some(buf), &|| batch.ticket());
            result = result.and(started.map(drop));
        }
        self.0.kick();
        result = batch.wait().and(result);
        for (offset, buf) in pieces {
            block_file::overwritten(&self.0, *offset, buf.len() as u64);
        }
        result
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.0.discard(offset >> SECTOR_SHIFT, len >> SECTOR_SHIFT)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.0
            .write_zeroes(offset >> SECTOR_SHIFT, len >> SECTOR_SHIFT)
    }
}
