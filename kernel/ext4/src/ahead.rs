//! Preallocation: blocks kept behind the end of files that grow.
//!
//! A file that grows in many small steps (a log with an fsync for each line) would share its surroundings with every
//! other file that grows meanwhile. So when it takes blocks at its end it takes more than it needs; the rest stays
//! claimed in memory for the blocks that follow, and never shows on disk. What is kept counts as free space: it is
//! given back with the file's last use, with a truncation, and all of it as soon as space is short.
//!
//! Locking: a shard's lock is taken with an inode's lock held and is never held while another lock is taken.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashMap;

use crate::Fs;
use crate::platform::{Lock, Platform};

/// Claimed blocks that wait for the logical blocks from `lblk` on.
#[derive(Clone, Copy)]
struct Kept {
    lblk: u32,
    len: u32,
    pblk: u64,
}

const SHARDS: usize = 16;
/// The least and the most that is kept for one file, in blocks.
const LEAST: u32 = 8;
const MOST: u32 = 512;

/// What is kept for the files in use.
pub(crate) struct Preallocations<P: Platform> {
    shards: Vec<P::Mutex<HashMap<u32, Kept>>>,
    /// Blocks kept in all.
    held: AtomicI64,
}

impl<P: Platform> Preallocations<P> {
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| P::Mutex::new(HashMap::new())).collect(),
            held: AtomicI64::new(0),
        }
    }

    fn shard(&self, ino: u32) -> &P::Mutex<HashMap<u32, Kept>> {
        &self.shards[ino as usize % SHARDS]
    }

    /// Blocks kept in all.
    pub fn held(&self) -> i64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl<P: Platform> Fs<P> {
    /// How many blocks more to take for a file that takes `len` blocks at `lblk`, up to its end.
    pub(crate) fn ahead_wanted(&self, lblk: u32, len: u32) -> u32 {
        if lblk == 0 {
            // Most new files never grow again.
            return 0;
        }
        let want = lblk.saturating_add(len).clamp(LEAST, MOST);
        let free = self.counters.free.load(Ordering::Relaxed);
        let room = free / 16 - self.ahead.held();
        if room > i64::from(want) { want } else { 0 }
    }

    /// Takes up to `want` of the blocks kept for `lblk`, if that is where they belong.
    pub(crate) fn take_ahead(&self, ino: u32, lblk: u32, want: u32) -> Option<(u64, u32)> {
        if self.ahead.held() == 0 {
            return None;
        }
        let mut shard = self.ahead.shard(ino).lock();
        let kept = shard.get_mut(&ino).filter(|k| k.lblk == lblk)?;
        let n = want.min(kept.len);
        let start = kept.pblk;
        kept.lblk += n;
        kept.pblk += u64::from(n);
        kept.len -= n;
        if kept.len == 0 {
            shard.remove(&ino);
        }
        drop(shard);
        self.ahead.held.fetch_sub(i64::from(n), Ordering::Relaxed);
        Some((start, n))
    }

    /// Keeps claimed blocks for the logical blocks from `lblk` on.
    pub(crate) fn keep_ahead(&self, ino: u32, lblk: u32, pblk: u64, len: u32) {
        let kept = Kept { lblk, len, pblk };
        self.ahead.held.fetch_add(i64::from(len), Ordering::Relaxed);
        let old = self.ahead.shard(ino).lock().insert(ino, kept);
        if let Some(old) = old {
            self.let_go(old);
        }
    }

    /// Gives back what is kept for a file.
    pub(crate) fn drop_ahead(&self, ino: u32) {
        if self.ahead.held() == 0 {
            return;
        }
        let old = self.ahead.shard(ino).lock().remove(&ino);
        if let Some(old) = old {
            self.let_go(old);
        }
    }

    /// Gives back what is kept for any file; whether there was something.
    pub(crate) fn drop_all_ahead(&self) -> bool {
        let mut any = false;
        for shard in &self.ahead.shards {
            let old = core::mem::take(&mut *shard.lock());
            for kept in old.into_values() {
                self.let_go(kept);
                any = true;
            }
        }
        any
    }

    fn let_go(&self, kept: Kept) {
        self.unclaim(kept.pblk, kept.len);
        self.ahead
            .held
            .fetch_sub(i64::from(kept.len), Ordering::Relaxed);
    }
}
