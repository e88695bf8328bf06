//! Event counters that are read and written as files (eventfd(2)).

use core::any::Any;
use keel_abi::flags::OpenFlags;

use crate::fs::{File, FileOps, IoDst, IoSrc, PollEvents, PollTable, anon_file};
use crate::prelude::*;

/// The largest value; one more can be asked for but never stored.
const MAX: u64 = u64::MAX - 1;

/// An event counter.
pub struct EventFd {
    count: SpinLock<u64>,
    semaphore: bool,
    readable: Arc<WaitQueue>,
    writable: Arc<WaitQueue>,
}

/// A file over a new counter.
pub fn create(initial: u32, semaphore: bool, flags: OpenFlags) -> Arc<File> {
    let event = EventFd {
        count: SpinLock::new(u64::from(initial)),
        semaphore,
        readable: Arc::new(WaitQueue::new()),
        writable: Arc::new(WaitQueue::new()),
    };
    anon_file(
        "anon_inode:[eventfd]",
        Arc::new(event),
        flags | OpenFlags::RDWR,
    )
}

/// Whether a file is one of these.
pub fn is_eventfd(file: &File) -> bool {
    file.ops_as::<EventFd>().is_some()
}

/// Adds 1 on the kernel's behalf; a counter that is at its end stays there.
pub fn signal(file: &File) {
    if let Some(event) = file.ops_as::<EventFd>() {
        event.add(1);
        event.readable.wake(1, PollEvents::READABLE.key());
    }
}

impl EventFd {
    /// Takes the count (1 of it for a semaphore), if there is one.
    fn take(&self) -> Option<u64> {
        let mut count = self.count.lock();
        let taken = match (*count, self.semaphore) {
            (0, _) => return None,
            (_, true) => 1,
            (all, false) => all,
        };
        *count -= taken;
        Some(taken)
    }

    fn add(&self, value: u64) -> Option<()> {
        let mut count = self.count.lock();
        let sum = count.checked_add(value).filter(|sum| *sum <= MAX)?;
        *count = sum;
        Some(())
    }
}

impl FileOps for EventFd {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let value = match self.take() {
            Some(value) => value,
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => self
                .readable
                .wait_exclusive(SleepMode::Interruptible, None, || self.take())
                .map_err(|_| Errno::ERESTARTSYS)?,
        };
        self.writable.wake(usize::MAX, PollEvents::WRITABLE.key());
        dst.put(&value.to_ne_bytes())
    }

    fn write(&self, file: &File, src: &mut IoSrc, _pos: u64) -> Result<usize> {
        if src.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 8];
        src.take(&mut bytes)?;
        let value = u64::from_ne_bytes(bytes);
        if value == u64::MAX {
            return Err(Errno::EINVAL);
        }
        if self.add(value).is_none() {
            if file.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            self.writable
                .wait_exclusive(SleepMode::Interruptible, None, || self.add(value))
                .map_err(|_| Errno::ERESTARTSYS)?;
        }
        self.readable.wake(1, PollEvents::READABLE.key());
        Ok(8)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.readable);
        table.add(&self.writable);
        let count = *self.count.lock();
        let mut events = PollEvents::empty();
        events.set(PollEvents::READABLE, count > 0);
        events.set(PollEvents::WRITABLE, count < MAX);
        events.set(PollEvents::ERR, count == u64::MAX);
        events
    }

    fn show_fdinfo(&self, _file: &File, out: &mut String) {
        out.push_str(&format!("eventfd-count: {:16x}\n", *self.count.lock()));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
