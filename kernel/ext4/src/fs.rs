//! The mounted file system: mount, unmount, remount, sync, and what happens when damage is found.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::ahead::Preallocations;
use crate::balloc::Counters;
use crate::buffer::{Buf, BufCache};
use crate::bytes::{le16, le32, lo32, put16, put32};
use crate::group::Group;
use crate::inode::{Inode, InodeCache};
use crate::journal::{Handle, Journal};
use crate::layout::{compat, incompat, ro_compat, sb};
use crate::mount::check_features;
use crate::orphan::Orphans;
use crate::platform::{LogLevel, Platform};
use crate::seal::Kind;
use crate::superblock::Super;
use crate::{
    BlockDevice, Errno, ErrorPolicy, MountOptions, Result, SetAttr, StatFs, Timespec, WriteFlags,
};

/// A mounted file system.
pub struct Fs<P: Platform> {
    pub(crate) dev: Arc<dyn BlockDevice>,
    pub(crate) platform: P,
    pub(crate) sb: Super,
    pub(crate) opts: MountOptions,
    pub(crate) cache: BufCache<P>,
    pub(crate) groups: Vec<Group<P>>,
    pub(crate) journal: Journal<P>,
    pub(crate) icache: InodeCache<P>,
    pub(crate) orphans: P::Mutex<Orphans>,
    pub(crate) counters: Counters,
    pub(crate) ahead: Preallocations<P>,
    pub(crate) overhead: u64,
    pub(crate) read_only: AtomicBool,
    pub(crate) damaged: AtomicBool,
    pub(crate) panic: AtomicBool,
    pub(crate) live: LiveOptions,
}

/// Options that a remount may change.
pub(crate) struct LiveOptions {
    /// [`ErrorPolicy`] as a number.
    policy: AtomicU8,
    barrier: AtomicBool,
    discard: AtomicBool,
}

impl LiveOptions {
    pub fn new(policy: ErrorPolicy, options: &MountOptions) -> Self {
        Self {
            policy: AtomicU8::new(policy as u8),
            barrier: AtomicBool::new(options.barrier),
            discard: AtomicBool::new(options.discard),
        }
    }

    fn policy(&self) -> ErrorPolicy {
        let value = self.policy.load(Ordering::Relaxed);
        [ErrorPolicy::RemountReadOnly, ErrorPolicy::Panic]
            .into_iter()
            .find(|p| *p as u8 == value)
            .unwrap_or(ErrorPolicy::Continue)
    }

    pub fn barrier(&self) -> bool {
        self.barrier.load(Ordering::Relaxed)
    }

    pub fn discard(&self) -> bool {
        self.discard.load(Ordering::Relaxed)
    }
}

impl<P: Platform> Fs<P> {
    /// Changes the superblock outside of any transaction; the log must be empty or not yet in use.
    pub(crate) fn update_super(&self, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let (block, off) = self.sb.location();
        let buf = self.bread(block, Kind::Super)?;
        let mut s = crate::platform::SharedLock::write(&buf.state);
        if let Some(raw) = s.bytes_mut().get_mut(off..off + sb::SIZE) {
            change(raw);
            self.sb.seal(raw);
        }
        let flags = WriteFlags {
            preflush: true,
            fua: true,
        };
        self.dev
            .write(block * u64::from(self.sb.block_size), &s.data, flags)
    }

    /// Something that needs a compatible feature bit happens for the first time: sets it in the field at `at` of the
    /// superblock, in a format that has feature bits.
    pub(crate) fn note_feature(&self, h: &Handle<'_, P>, at: usize, bit: u32) -> Result<()> {
        let (block, off) = self.sb.location();
        let buf = self.bread(block, Kind::Super)?;
        let features = le32(&buf.read().data, off + at);
        let revision = le32(&buf.read().data, off + sb::REV_LEVEL);
        if revision > 0 && features & bit != 0 {
            return Ok(());
        }
        let mut s = h.write(&buf, Kind::Super);
        let raw = s.bytes_mut();
        if revision == 0 {
            put32(raw, off + sb::REV_LEVEL, 1);
            put32(raw, off + sb::FIRST_INO, self.sb.first_ino);
            put16(raw, off + sb::INODE_SIZE, self.sb.inode_size as u16);
        }
        put32(raw, off + at, features | bit);
        Ok(())
    }

    /// Reads a metadata block through the cache.
    pub(crate) fn bread(&self, block: u64, kind: Kind) -> Result<Arc<Buf<P>>> {
        self.cache
            .bread(&*self.dev, &self.sb, block, kind)
            .inspect_err(|&e| {
                if e == Errno::EBADMSG {
                    self.damage(format_args!("block {block}: wrong checksum"));
                }
            })
    }

    /// Reports damage, notes it on disk, and does what `errors=` says.
    pub(crate) fn damage(&self, what: fmt::Arguments<'_>) {
        self.platform
            .log(LogLevel::Error, format_args!("ext4: {what}"));
        if self.read_only.load(Ordering::Acquire) {
            return;
        }
        if !self.damaged.swap(true, Ordering::AcqRel) {
            self.note_error_on_disk();
        }
        match self.live.policy() {
            ErrorPolicy::Continue => {}
            ErrorPolicy::RemountReadOnly => self.stop_writing(),
            ErrorPolicy::Panic => {
                self.panic.store(true, Ordering::Release);
                self.stop_writing();
            }
        }
    }

    fn stop_writing(&self) {
        self.journal.abort();
        self.read_only.store(true, Ordering::Release);
        self.platform
            .log(LogLevel::Error, format_args!("ext4: remounting read-only"));
    }

    /// Sets the error flag in the superblock on the device, leaving what transactions have changed in memory alone.
    pub(crate) fn note_error_on_disk(&self) {
        let (block, off) = self.sb.location();
        let bs = self.sb.block_size as usize;
        let at = block * bs as u64;
        let mut data = vec![0; bs];
        if self.dev.read(at, &mut data).is_err() {
            return;
        }
        let Some(raw) = data.get_mut(off..off + sb::SIZE) else {
            return;
        };
        let now = lo32(self.platform.now().sec as u64);
        put16(raw, sb::STATE, le16(raw, sb::STATE) | sb::STATE_ERROR);
        let count = le32(raw, sb::ERROR_COUNT);
        if count == 0 {
            put32(raw, sb::FIRST_ERROR_TIME, now);
        }
        put32(raw, sb::LAST_ERROR_TIME, now);
        put32(raw, sb::ERROR_COUNT, count.saturating_add(1));
        self.sb.seal(raw);
        // A device that fails here has failed already; there is nobody left to tell.
        let _ = self.dev.write(
            at,
            &data,
            WriteFlags {
                preflush: false,
                fua: true,
            },
        );
    }

    /// `EROFS` unless the file system takes writes.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.is_read_only() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// Whether writes are refused (mounted so, or after an error).
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire) || self.journal.is_aborted()
    }

    /// Set once an error was met under `errors=panic`.
    pub fn panic_requested(&self) -> bool {
        self.panic.load(Ordering::Acquire)
    }

    /// Bytes per file-system block (1024, 2048 or 4096).
    pub fn block_size(&self) -> u32 {
        self.sb.block_size
    }

    /// The UUID.
    pub fn uuid(&self) -> [u8; 16] {
        self.sb.uuid
    }

    /// The volume label without trailing NULs.
    pub fn label(&self) -> Vec<u8> {
        self.sb.volume_name.clone()
    }

    /// Space and inode counts.
    pub fn statfs(&self) -> StatFs {
        let c = &self.counters;
        let free =
            c.free.load(Ordering::Relaxed) - c.delayed.load(Ordering::Relaxed) + self.ahead.held();
        let free = free.max(0) as u64;
        let kept = self.sb.reserved_blocks + c.pool as u64;
        let half = |b: &[u8]| b.iter().rev().fold(0, |v, &x| v << 8 | u64::from(x));
        StatFs {
            block_size: self.sb.block_size,
            blocks: self.sb.blocks_count.saturating_sub(self.overhead),
            blocks_free: free,
            blocks_available: free.saturating_sub(kept),
            files: u64::from(self.sb.inodes_count),
            files_free: c.free_inodes.load(Ordering::Relaxed).max(0) as u64,
            fsid: half(&self.sb.uuid[..8]) ^ half(&self.sb.uuid[8..]),
            name_max: 255,
        }
    }

    /// Commits the running transaction and, when the log is filling, writes blocks to their places; to be called every
    /// `commit_interval` seconds.
    pub fn commit(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        self.write_all_lazy()?;
        self.commit_running()?;
        self.checkpoint_if_filling()
    }

    /// `sync(2)`/`syncfs(2)`: everything written through this crate is durable afterwards.
    pub fn sync(&self) -> Result<()> {
        if self.journal.is_aborted() {
            return Err(Errno::EROFS);
        }
        if self.is_read_only() {
            return Ok(());
        }
        self.write_all_lazy()?;
        self.commit_running()?;
        // Data blocks overwritten in place have no transaction.
        if self.live.barrier() {
            self.dev.flush()
        } else {
            Ok(())
        }
    }

    /// Writes everything, empties the journal, marks the superblock clean. Further writes give `EROFS`.
    pub fn unmount(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        self.write_all_lazy()?;
        self.read_only.store(true, Ordering::Release);
        self.make_clean()
    }

    fn make_clean(&self) -> Result<()> {
        self.checkpoint_all()?;
        self.dev.flush()?;
        self.mark_log_clean()?;
        let orphans = self.has_orphans();
        let now = self.platform.now();
        self.update_super(|raw| {
            put32(
                raw,
                sb::INCOMPAT,
                le32(raw, sb::INCOMPAT) & !incompat::RECOVER,
            );
            // What was not clean before stays so until e2fsck has seen it.
            let clean = self.sb.state & sb::STATE_VALID != 0;
            if !self.journal.has_log && clean && !self.damaged.load(Ordering::Acquire) {
                put16(raw, sb::STATE, le16(raw, sb::STATE) | sb::STATE_VALID);
            }
            put32(raw, sb::WTIME, now.sec as u32);
            self.put_totals(raw);
            self.put_orphan_present(raw, orphans);
        })
    }

    /// Remounts read-only (after committing everything) or read-write.
    pub fn remount(&self, read_only: bool) -> Result<()> {
        if read_only {
            return self.unmount();
        }
        if !self.is_read_only() {
            return Ok(());
        }
        if self.journal.is_aborted() || self.dev.read_only() {
            return Err(Errno::EROFS);
        }
        if self.opts.no_load || self.sb.has(compat::HAS_JOURNAL) != self.journal.has_log {
            return Err(Errno::EINVAL);
        }
        check_features(
            &self.platform,
            &self.sb,
            &MountOptions {
                read_only: false,
                ..self.opts.clone()
            },
        )?;
        self.go_live()
    }

    /// Takes over the options of a remount that may change while mounted: `errors=`, `barrier`, `discard`.
    pub fn set_options(&self, options: &MountOptions) {
        if let Some(policy) = options.errors {
            self.live.policy.store(policy as u8, Ordering::Relaxed);
        }
        self.live.barrier.store(options.barrier, Ordering::Relaxed);
        self.live.discard.store(options.discard, Ordering::Relaxed);
    }

    /// Brings the device to a clean state while mounted (FIFREEZE). The caller holds back all changes until
    /// [`Fs::thaw`]; those that come all the same give `EROFS`.
    pub fn freeze(&self) -> Result<()> {
        self.check_writable()?;
        self.unmount()
    }

    /// Ends [`Fs::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.remount(false)
    }

    /// FITRIM: discards free extents of at least `min_len` bytes in the byte range; returns bytes discarded.
    pub fn trim(&self, start: u64, len: u64, min_len: u64) -> Result<u64> {
        self.check_writable()?;
        let bits = self.sb.block_bits;
        let from = start >> bits;
        if from >= self.sb.blocks_count {
            return Err(Errno::EINVAL);
        }
        let to = (start.saturating_add(len) >> bits).min(self.sb.blocks_count);
        let min = (min_len >> bits).max(1);
        let min = u32::try_from(min).map_err(|_| Errno::EINVAL)?;
        // Freed blocks count only once they are free for good.
        self.commit_running()?;
        self.trim_blocks(from, to, min)
    }

    /// Drops up to `blocks` clean cached metadata blocks; returns how many went.
    pub fn shrink(&self, blocks: usize) -> usize {
        self.cache.shrink(blocks)
    }

    /// The root directory.
    pub fn root(&self) -> Result<Arc<Inode<P>>> {
        self.iget(crate::ROOT_INO)
    }

    /// Changes attributes.
    pub fn set_attr(&self, inode: &Inode<P>, set: &SetAttr) -> Result<()> {
        let mut st = inode.write();
        let h = self.start(4)?;
        if let Some(m) = set.mode {
            st.mode = (st.mode & crate::layout::mode::S_IFMT) | (m & 0o7777);
        }
        st.uid = set.uid.unwrap_or(st.uid);
        st.gid = set.gid.unwrap_or(st.gid);
        st.atime = set.atime.unwrap_or(st.atime);
        st.mtime = set.mtime.unwrap_or(st.mtime);
        st.ctime = set.ctime.unwrap_or_else(|| self.platform.now());
        self.store_inode(&h, inode, &mut st, false)
    }

    /// Sets the project id. `EOPNOTSUPP` where the file system has no room for ids, or the inode.
    pub fn set_project(&self, inode: &Inode<P>, project: u32) -> Result<()> {
        let mut st = inode.write();
        if st.project == project {
            return Ok(());
        }
        if !self.sb.ro(ro_compat::PROJECT) || !st.has_project() {
            return Err(Errno::EOPNOTSUPP);
        }
        let h = self.start(4)?;
        st.project = project;
        st.ctime = self.platform.now();
        self.store_inode(&h, inode, &mut st, false)
    }

    /// Sets times in memory only; they reach the disk with the next sync, commit or last iput (atime updates, mtime of
    /// writes).
    pub fn touch(&self, inode: &Inode<P>, atime: Option<Timespec>, mtime: Option<Timespec>) {
        if self.is_read_only() {
            return;
        }
        let mut st = inode.write();
        st.atime = atime.unwrap_or(st.atime);
        if let Some(t) = mtime {
            st.mtime = t;
            st.ctime = t;
        }
        self.mark_lazy(inode, &mut st);
    }
}
