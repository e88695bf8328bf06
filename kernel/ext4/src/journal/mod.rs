//! The journal (JBD2): transactions over metadata blocks, redone after a crash.
//!
//! * [`Handle`] is one operation's part in the running transaction; blocks change only through it.
//! * [`Journal::commit_to`] closes the running transaction, writes it to the log and makes it durable.
//! * A *checkpoint* writes committed blocks to their own places and frees the log.
//!
//! Without a journal on disk the same transactions are collected, and a commit writes the blocks straight
//! to their places.
//!
//! Locking: handles hold `barrier` shared, so an operation is wholly inside one transaction. A commit takes
//! `committer` (which also makes waiting `fsync` callers share one commit), then `barrier` exclusively for
//! the moment in which it swaps the running transaction for an empty one and snapshots its blocks; all
//! I/O happens after `barrier` is released. A thread never starts a handle while it has one, and
//! takes inode locks before it starts one.

mod commit;
mod log;
mod recovery;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub(crate) use commit::Committer;
pub(crate) use log::Log;
pub(crate) use recovery::recover;

use crate::buffer::{Buf, BufWrite};
use crate::platform::{Lock, Platform, SharedLock};
use crate::seal::Kind;
use crate::{Errno, Fs, Result};

/// `a` is not later than `b` in the wrapping order of transaction ids.
pub(crate) fn tid_le(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) >= 0
}

/// A run of blocks freed in a transaction; allocatable again once it has committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freed {
    pub start: u64,
    pub len: u32,
}

/// The transaction that operations join now.
pub(crate) struct Running<P: Platform> {
    pub tid: u32,
    pub bufs: Vec<Arc<Buf<P>>>,
    pub freed: Vec<Freed>,
    /// Metadata blocks freed: dropped from this transaction and revoked in the log.
    pub revoked: BTreeSet<u64>,
    /// Groups whose descriptor or bitmaps changed.
    pub groups: BTreeSet<u32>,
    /// Credits that open handles hold.
    reserved: usize,
}

impl<P: Platform> Running<P> {
    pub fn new(tid: u32) -> Self {
        Self {
            tid,
            bufs: Vec::new(),
            freed: Vec::new(),
            revoked: BTreeSet::new(),
            groups: BTreeSet::new(),
            reserved: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bufs.is_empty() && self.freed.is_empty() && self.revoked.is_empty()
    }
}

/// The journal of a mounted file system.
pub(crate) struct Journal<P: Platform> {
    barrier: P::RwLock<()>,
    running: P::Mutex<Running<P>>,
    committer: P::Mutex<Committer<P>>,
    /// The last transaction that is durable.
    committed: AtomicU32,
    aborted: AtomicBool,
    /// Blocks freed in transactions that are not durable yet.
    pending_frees: AtomicU64,
    /// Blocks a transaction may have.
    max_bufs: usize,
    pub has_log: bool,
}

impl<P: Platform> Journal<P> {
    pub fn new(log: Option<Log>, first_tid: u32) -> Self {
        let max_bufs = log
            .as_ref()
            .map_or(8192, |l| (l.capacity() as usize / 4).max(64));
        let has_log = log.is_some();
        Self {
            barrier: P::RwLock::new(()),
            running: P::Mutex::new(Running::new(first_tid)),
            committer: P::Mutex::new(Committer::new(log)),
            committed: AtomicU32::new(first_tid.wrapping_sub(1)),
            aborted: AtomicBool::new(false),
            pending_frees: AtomicU64::new(0),
            max_bufs,
            has_log,
        }
    }

    /// Whether transaction `tid` is durable.
    pub fn is_committed(&self, tid: u32) -> bool {
        tid_le(tid, self.committed.load(Ordering::Acquire))
    }

    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
    }

    /// The most blocks one handle may ask for.
    pub fn max_credits(&self) -> usize {
        self.max_bufs / 2
    }
}

/// One operation's part in the running transaction.
pub(crate) struct Handle<'a, P: Platform> {
    fs: &'a Fs<P>,
    /// The transaction this handle belongs to.
    pub tid: u32,
    credits: usize,
    used: core::cell::Cell<usize>,
    _barrier: <P::RwLock<()> as SharedLock<()>>::ReadGuard<'a>,
}

impl<P: Platform> Fs<P> {
    /// Joins the running transaction with an operation that changes up to `credits` blocks. `EROFS` when
    /// the file system is or has become read-only.
    pub(crate) fn start(&self, credits: usize) -> Result<Handle<'_, P>> {
        let j = &self.journal;
        let credits = credits.min(j.max_credits());
        loop {
            self.check_writable()?;
            let barrier = j.barrier.read();
            let mut r = j.running.lock();
            let load = r.bufs.len() + r.reserved + r.revoked.len() / 64;
            if load + credits <= j.max_bufs || r.reserved == 0 && r.is_empty() {
                r.reserved += credits;
                let tid = r.tid;
                drop(r);
                return Ok(Handle {
                    fs: self,
                    tid,
                    credits,
                    used: core::cell::Cell::new(0),
                    _barrier: barrier,
                });
            }
            let tid = r.tid;
            drop(r);
            drop(barrier);
            self.commit_to(tid)?;
        }
    }

    /// The id of the running transaction.
    pub(crate) fn running_tid(&self) -> u32 {
        self.journal.running.lock().tid
    }

    /// Whether blocks wait for a commit to become free, be it still open or under way.
    pub(crate) fn has_pending_frees(&self) -> bool {
        self.journal.pending_frees.load(Ordering::Acquire) > 0
    }
}

impl<'a, P: Platform> Handle<'a, P> {
    /// Exclusive access to a block that was read or is wholly rewritten by the caller.
    pub fn write<'b>(&self, buf: &'b Arc<Buf<P>>, kind: Kind) -> BufWrite<'b, P> {
        let mut s = buf.state.write();
        if s.tid != self.tid {
            s.tid = self.tid;
            self.fs.journal.running.lock().bufs.push(buf.clone());
            self.used.set(self.used.get() + 1);
        }
        s.kind = kind;
        s
    }

    /// A zeroed block with exclusive access, for a block just allocated.
    pub fn fresh<'b>(&self, buf: &'b Arc<Buf<P>>, kind: Kind) -> BufWrite<'b, P> {
        let mut s = self.write(buf, kind);
        s.data = Arc::new(alloc::vec![0; self.fs.sb.block_size as usize]);
        s.uptodate = true;
        s
    }

    /// Notes that a group's bitmaps or descriptor changed.
    pub fn dirty_group(&self, group: u32) {
        self.fs.journal.running.lock().groups.insert(group);
    }

    /// Notes freed blocks; `metadata` blocks were journalled and must not come back at replay.
    pub fn note_freed(&self, start: u64, len: u32, metadata: bool) {
        self.fs
            .journal
            .pending_frees
            .fetch_add(u64::from(len), Ordering::AcqRel);
        let mut r = self.fs.journal.running.lock();
        match r.freed.last_mut() {
            Some(l) if l.start + u64::from(l.len) == start && l.len.checked_add(len).is_some() => {
                l.len += len;
            }
            _ => r.freed.push(Freed { start, len }),
        }
        if metadata {
            r.revoked.extend(start..start + u64::from(len));
        }
    }

    /// Whether fewer than `n` of the credits asked for are left: time to end a long operation's step.
    pub fn low(&self, n: usize) -> bool {
        self.used.get() + n > self.credits
    }
}

impl<P: Platform> Drop for Handle<'_, P> {
    fn drop(&mut self) {
        let mut r = self.fs.journal.running.lock();
        r.reserved = r.reserved.saturating_sub(self.credits);
    }
}

/// The error for a journal that cannot be used.
pub(crate) const EBADJOURNAL: Errno = Errno::EUCLEAN;
