//! Commit and checkpoint.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use hashbrown::HashMap;

use super::{Log, Running};
use crate::buffer::Buf;
use crate::platform::{Lock, LogLevel, Platform, SharedLock};
use crate::seal::seal;
use crate::{Errno, Fs, Result};

/// A committed block that is not yet at its own place.
struct Pending<P: Platform> {
    data: Arc<Vec<u8>>,
    /// Keeps the buffer cached: what is on the device at its place is old.
    _buf: Arc<Buf<P>>,
}

/// What the committing thread works with, under one mutex.
pub(crate) struct Committer<P: Platform> {
    log: Option<Log>,
    pending: HashMap<u64, Pending<P>>,
}

impl<P: Platform> Committer<P> {
    pub fn new(log: Option<Log>) -> Self {
        Self {
            log,
            pending: HashMap::new(),
        }
    }
}

/// A closed transaction: the blocks as they were at its end.
struct Closed<P: Platform> {
    running: Running<P>,
    blocks: Vec<(u64, Arc<Vec<u8>>)>,
}

impl<P: Platform> Fs<P> {
    /// Makes transaction `tid` and all before it durable.
    pub(crate) fn commit_to(&self, tid: u32) -> Result<()> {
        let j = &self.journal;
        if tid == 0 || j.is_committed(tid) {
            return Ok(());
        }
        let mut c = j.committer.lock();
        if j.is_committed(tid) {
            return Ok(());
        }
        if j.is_aborted() {
            return Err(Errno::EROFS);
        }
        self.commit_locked(&mut c)
    }

    /// Commits whatever is running.
    pub(crate) fn commit_running(&self) -> Result<()> {
        let tid = {
            let r = self.journal.running.lock();
            if r.is_empty() && r.reserved == 0 {
                r.tid.wrapping_sub(1)
            } else {
                r.tid
            }
        };
        self.commit_to(tid)
    }

    /// Commits, writes every committed block to its place and empties the log.
    pub(crate) fn checkpoint_all(&self) -> Result<()> {
        let mut c = self.journal.committer.lock();
        if self.journal.is_aborted() {
            return Err(Errno::EROFS);
        }
        self.commit_locked(&mut c)?;
        self.checkpoint(&mut c)
    }

    /// After [`Fs::checkpoint_all`]: records that nothing needs replaying.
    pub(crate) fn mark_log_clean(&self) -> Result<()> {
        match &mut self.journal.committer.lock().log {
            Some(log) => log.write_clean(&*self.dev),
            None => Ok(()),
        }
    }

    /// Prepares the log for new transactions after recovery or a clean period.
    pub(crate) fn mark_log_live(&self) -> Result<()> {
        match &mut self.journal.committer.lock().log {
            Some(log) => log.write_tail(&*self.dev),
            None => Ok(()),
        }
    }

    fn commit_locked(&self, c: &mut Committer<P>) -> Result<()> {
        let closed = self.close_transaction()?;
        let Some(closed) = closed else { return Ok(()) };
        let tid = closed.running.tid;
        match self.write_out(c, &closed) {
            Ok(()) => {}
            Err(e) => {
                self.abort_journal(e, "commit failed");
                return Err(e);
            }
        }
        for b in &closed.running.revoked {
            c.pending.remove(b);
        }
        self.journal.committed.store(tid, Ordering::Release);
        for f in &closed.running.freed {
            if self.live.discard() {
                let bs = u64::from(self.sb.block_size);
                // Advice only: a device that cannot discard loses nothing.
                let _ = self.dev.discard(f.start * bs, u64::from(f.len) * bs);
            }
            self.release_freed(f.start, f.len);
            self.journal
                .pending_frees
                .fetch_sub(u64::from(f.len), Ordering::AcqRel);
        }
        Ok(())
    }

    /// Swaps the running transaction for an empty one and snapshots its blocks.
    fn close_transaction(&self) -> Result<Option<Closed<P>>> {
        let j = &self.journal;
        let barrier = j.barrier.write();
        let mut running = {
            let mut r = j.running.lock();
            if r.is_empty() {
                return Ok(None);
            }
            let next = r.tid.wrapping_add(1).max(1);
            core::mem::replace(&mut *r, Running::new(next))
        };
        self.seal_groups(&running.groups);
        let revoked = &running.revoked;
        running.bufs.retain(|b| !revoked.contains(&b.block));
        let mut blocks = Vec::with_capacity(running.bufs.len());
        for b in &running.bufs {
            let mut s = b.state.write();
            let kind = s.kind;
            if self.sb.has_csum() && kind != crate::seal::Kind::Plain {
                seal(&self.sb, kind, b.block, s.bytes_mut());
            }
            blocks.push((b.block, s.data.clone()));
        }
        drop(barrier);
        Ok(Some(Closed { running, blocks }))
    }

    fn write_out(&self, c: &mut Committer<P>, closed: &Closed<P>) -> Result<()> {
        let tid = closed.running.tid;
        if c.log.is_none() {
            self.write_home(closed.blocks.iter().map(|(b, d)| (*b, &d[..])).collect())?;
            return if self.live.barrier() {
                self.dev.flush()
            } else {
                Ok(())
            };
        }
        let revoked: Vec<u64> = closed.running.revoked.iter().copied().collect();
        let need = c
            .log
            .as_ref()
            .map_or(0, |l| l.blocks_for(closed.blocks.len(), revoked.len()));
        if c.log.as_ref().is_some_and(|l| l.free() < need) {
            self.checkpoint(c)?;
        }
        let Some(log) = &mut c.log else { return Ok(()) };
        let now = self.platform.now();
        log.write_transaction(
            &*self.dev,
            tid,
            &closed.blocks,
            &revoked,
            now,
            self.live.barrier(),
        )?;
        for ((block, data), buf) in closed.blocks.iter().zip(&closed.running.bufs) {
            c.pending.insert(
                *block,
                Pending {
                    data: data.clone(),
                    _buf: buf.clone(),
                },
            );
        }
        Ok(())
    }

    fn checkpoint(&self, c: &mut Committer<P>) -> Result<()> {
        let r = self.checkpoint_inner(c);
        if let Err(e) = r {
            self.abort_journal(e, "checkpoint failed");
        }
        r
    }

    fn checkpoint_inner(&self, c: &mut Committer<P>) -> Result<()> {
        let Some(log) = &mut c.log else { return Ok(()) };
        if log.is_empty() {
            return Ok(());
        }
        self.write_home(c.pending.iter().map(|(b, p)| (*b, &p.data[..])).collect())?;
        if self.live.barrier() {
            self.dev.flush()?;
        }
        log.reset_tail();
        log.write_tail(&*self.dev)?;
        c.pending.clear();
        Ok(())
    }

    /// Writes blocks to their own places, in block order, many at a time.
    fn write_home(&self, mut blocks: Vec<(u64, &[u8])>) -> Result<()> {
        blocks.sort_unstable_by_key(|b| b.0);
        let bs = u64::from(self.sb.block_size);
        for b in &mut blocks {
            b.0 *= bs;
        }
        blocks
            .chunks(1024)
            .try_for_each(|part| self.dev.write_many(part))
    }

    /// Stops all writing after an error that the journal cannot survive.
    pub(crate) fn abort_journal(&self, e: Errno, what: &str) {
        if self.journal.aborted.swap(true, Ordering::AcqRel) {
            return;
        }
        self.platform.log(
            LogLevel::Error,
            format_args!("ext4: journal aborted: {what}: {e}; the file system is read-only now"),
        );
        self.note_error_on_disk();
    }

    /// `fsync` of something last changed in `tid`, with data that may only be in the device's cache.
    pub(crate) fn sync_tid(&self, tid: u32) -> Result<()> {
        // A transaction that is still open flushes the device after this point; one that is already being
        // written may have flushed before the caller's data arrived.
        let open = tid != 0 && self.running_tid() == tid;
        self.commit_to(tid)?;
        if !open && self.live.barrier() {
            self.dev.flush()
        } else {
            Ok(())
        }
    }

    /// Free space of the log in blocks and whether a checkpoint is worthwhile now.
    pub(crate) fn checkpoint_if_filling(&self) -> Result<()> {
        let mut c = self.journal.committer.lock();
        let filling = c.log.as_ref().is_some_and(|l| l.free() < l.capacity() / 2);
        if filling && !self.journal.is_aborted() {
            self.checkpoint(&mut c)
        } else {
            Ok(())
        }
    }
}
