//! Requests: what a driver is asked to do, and waiting for it to be done.
//!
//! Completion is a callback that may run in an interrupt. A [`Batch`] counts callbacks, so that a task can have many
//! requests in flight and wait for all of them; [`Builder`] puts pieces that are neighbours on the disk into as few
//! requests as the device's limits allow.

use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use super::{BlockDevice, SECTOR_SHIFT};
use crate::prelude::*;

/// What a request does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// Device to memory.
    Read,
    /// Memory to device (its volatile cache, perhaps).
    Write,
    /// Completed writes become durable.
    Flush,
    /// The sectors are not needed any more.
    Discard,
    /// The sectors become zeroes.
    WriteZeroes,
}

/// A piece of memory of a request: a multiple of 512 bytes within one frame.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The memory.
    pub frame: Frame,
    /// Offset in it.
    pub off: u32,
    /// Bytes.
    pub len: u32,
}

/// Called once with the outcome, possibly in an interrupt.
pub type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// A request to a block device. Dropping it unanswered answers EIO.
pub struct Request {
    /// What to do.
    pub op: Op,
    /// First sector (of 512 bytes); of the whole disk once the driver sees it.
    pub sector: u64,
    /// Number of sectors.
    pub sectors: u64,
    /// Memory of reads and writes.
    pub segments: Vec<Segment>,
    done: Vec<Done>,
    /// The device whose statistics it counts in, and when it was submitted.
    pub(super) account: Option<(Arc<BlockDevice>, u64)>,
}

impl Request {
    /// A read or write of these segments.
    pub fn transfer(op: Op, sector: u64, segments: Vec<Segment>, done: Done) -> Self {
        let bytes: u64 = segments.iter().map(|segment| u64::from(segment.len)).sum();
        let sectors = bytes >> SECTOR_SHIFT;
        Self {
            op,
            sector,
            sectors,
            segments,
            done: vec![done],
            account: None,
        }
    }

    /// A request without memory.
    pub fn command(op: Op, sector: u64, sectors: u64, done: Done) -> Self {
        Self {
            op,
            sector,
            sectors,
            segments: Vec::new(),
            done: vec![done],
            account: None,
        }
    }

    /// Joins a request that goes on where this one ends; gives it back if they do not fit together.
    pub fn merge(
        &mut self,
        mut next: Request,
        max_segments: usize,
        max_sectors: u64,
    ) -> Option<Request> {
        let fits = self.op == next.op
            && matches!(self.op, Op::Read | Op::Write)
            && self.sector + self.sectors == next.sector
            && self.segments.len() + next.segments.len() <= max_segments
            && self.sectors + next.sectors <= max_sectors
            && match (&self.account, &next.account) {
                (Some((a, _)), Some((b, _))) => Arc::ptr_eq(a, b),
                _ => false,
            };
        if !fits {
            return Some(next);
        }
        self.segments.append(&mut next.segments);
        self.sectors += next.sectors;
        self.done.append(&mut next.done);
        if let Some((device, start)) = next.account.take() {
            device.stats.merged(next.op);
            device.stats.end(next.op, 0, start);
        }
        None
    }

    /// Answers it.
    pub fn complete(mut self, result: Result<()>) {
        self.answer(result);
    }

    fn answer(&mut self, result: Result<()>) {
        if let Some((device, start)) = self.account.take() {
            device.stats.end(self.op, self.sectors, start);
        }
        for done in self.done.drain(..) {
            done(result);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.answer(Err(Errno::EIO));
    }
}

#[derive(Default)]
struct BatchState {
    left: AtomicUsize,
    /// Errno of the first failure; 0 for none.
    error: AtomicI32,
    queue: WaitQueue,
}

/// Requests that are waited for together.
#[derive(Default)]
pub struct Batch {
    state: Arc<BatchState>,
}

impl Batch {
    /// Nothing to wait for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more request: what to call when it is done.
    pub fn ticket(&self) -> Done {
        self.state.left.fetch_add(1, Ordering::Relaxed);
        let state = self.state.clone();
        Box::new(move |result| {
            if let Err(error) = result {
                let _ = state.error.compare_exchange(
                    0,
                    error.raw(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
            if state.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                state.queue.wake_all();
            }
        })
    }

    /// Waits for all requests so far: the first error.
    pub fn wait(&self) -> Result<()> {
        let state = &self.state;
        let waited = state.queue.wait(SleepMode::Uninterruptible, None, || {
            (state.left.load(Ordering::Acquire) == 0).then_some(())
        });
        debug_assert!(waited.is_ok());
        Errno::from_raw(state.error.load(Ordering::Relaxed)).map_or(Ok(()), Err)
    }
}

/// Makes requests out of pieces. `cargo` travels with each piece; `finish` makes the callback of a request out of the
/// cargo of its pieces.
pub struct Builder<'a, T> {
    device: &'a Arc<BlockDevice>,
    op: Op,
    finish: &'a dyn Fn(Vec<T>) -> Done,
    sector: u64,
    segments: Vec<Segment>,
    cargo: Vec<T>,
    bytes: u64,
}

impl<'a, T> Builder<'a, T> {
    /// No pieces yet. Requests go to the device when [`Self::submit`] is called or they are full; call
    /// [`BlockDevice::kick`] after the last.
    pub fn new(device: &'a Arc<BlockDevice>, op: Op, finish: &'a dyn Fn(Vec<T>) -> Done) -> Self {
        Self {
            device,
            op,
            finish,
            sector: 0,
            segments: Vec::new(),
            cargo: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a piece at `sector`.
    pub fn add(&mut self, sector: u64, segment: Segment, cargo: T) {
        let limits = self.device.limits();
        let follows = sector == self.sector + (self.bytes >> SECTOR_SHIFT);
        let fits = self.segments.len() < limits.max_segments
            && self.bytes + u64::from(segment.len) <= limits.max_sectors << SECTOR_SHIFT;
        if !self.segments.is_empty() && !(follows && fits) {
            self.submit();
        }
        if self.segments.is_empty() {
            self.sector = sector;
        }
        self.bytes += u64::from(segment.len);
        self.segments.push(segment);
        self.cargo.push(cargo);
    }

    /// Submits what has been added.
    pub fn submit(&mut self) {
        if self.segments.is_empty() {
            return;
        }
        let segments = core::mem::take(&mut self.segments);
        let done = (self.finish)(core::mem::take(&mut self.cargo));
        self.bytes = 0;
        self.device
            .submit(Request::transfer(self.op, self.sector, segments, done));
    }
}
