//! The buffer cache: metadata blocks in memory.
//!
//! A [`Buf`] is one block with a reader-writer lock. Its bytes are an `Arc<Vec<u8>>`, so that a commit
//! takes a snapshot of a block by cloning the `Arc`, and a later change copies the block only while that
//! snapshot is still in use.
//!
//! Locking: a shard's lock covers its map only and is never held over I/O; a buffer's lock is held over
//! its first read. Buffers that belong to a transaction or wait for a checkpoint are referenced from there
//! and so are never evicted.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;

use crate::platform::{Lock, Platform, SharedLock};
use crate::seal::{Kind, verify};
use crate::superblock::Super;
use crate::{BlockDevice, Errno, Result};

/// One metadata block.
pub(crate) struct Buf<P: Platform> {
    /// Block number.
    pub block: u64,
    referenced: AtomicBool,
    /// The content.
    pub state: P::RwLock<BufState>,
}

/// The content of a buffer and its place in the journal.
pub(crate) struct BufState {
    pub data: Arc<Vec<u8>>,
    /// `data` is what the file system says now (read, or made anew).
    pub uptodate: bool,
    /// How to checksum it when it is committed.
    pub kind: Kind,
    /// The transaction it was last changed in (0: none).
    pub tid: u32,
}

/// Shared access to a buffer's content.
pub(crate) type BufRead<'a, P> =
    <<P as Platform>::RwLock<BufState> as SharedLock<BufState>>::ReadGuard<'a>;
/// Exclusive access to a buffer's content.
pub(crate) type BufWrite<'a, P> =
    <<P as Platform>::RwLock<BufState> as SharedLock<BufState>>::WriteGuard<'a>;

impl<P: Platform> Buf<P> {
    fn new(block: u64) -> Arc<Self> {
        Arc::new(Self {
            block,
            referenced: AtomicBool::new(true),
            state: P::RwLock::new(BufState {
                data: Arc::new(Vec::new()),
                uptodate: false,
                kind: Kind::Plain,
                tid: 0,
            }),
        })
    }

    /// The content, for reading.
    pub fn read(&self) -> BufRead<'_, P> {
        self.state.read()
    }
}

impl BufState {
    /// The content, for changing; only through a journal handle.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.data)
    }
}

const SHARDS: usize = 64;

struct Shard<P: Platform> {
    map: HashMap<u64, Arc<Buf<P>>>,
    clock: VecDeque<u64>,
}

/// All cached blocks.
pub(crate) struct BufCache<P: Platform> {
    shards: Vec<P::Mutex<Shard<P>>>,
    per_shard: usize,
    block_size: usize,
}

impl<P: Platform> BufCache<P> {
    pub fn new(block_size: usize, capacity: usize) -> Self {
        let shard = || Shard {
            map: HashMap::new(),
            clock: VecDeque::new(),
        };
        Self {
            shards: (0..SHARDS).map(|_| P::Mutex::new(shard())).collect(),
            per_shard: (capacity / SHARDS).max(8),
            block_size,
        }
    }

    fn shard(&self, block: u64) -> &P::Mutex<Shard<P>> {
        &self.shards[(block as usize) % SHARDS]
    }

    /// The buffer of a block, whether or not its content was read.
    fn get(&self, block: u64) -> Arc<Buf<P>> {
        let mut s = self.shard(block).lock();
        if let Some(b) = s.map.get(&block) {
            b.referenced.store(true, Ordering::Relaxed);
            return b.clone();
        }
        if s.map.len() >= self.per_shard {
            s.evict(1, 32);
        }
        let b = Buf::new(block);
        s.map.insert(block, b.clone());
        s.clock.push_back(block);
        b
    }

    /// A block's buffer with its content, read and verified as `kind` if it is not cached.
    pub fn bread(
        &self,
        dev: &dyn BlockDevice,
        sb: &Super,
        block: u64,
        kind: Kind,
    ) -> Result<Arc<Buf<P>>> {
        if block >= sb.blocks_count {
            return Err(Errno::EUCLEAN);
        }
        let b = self.get(block);
        if b.state.read().uptodate {
            return Ok(b);
        }
        let mut s = b.state.write();
        if !s.uptodate {
            let mut data = vec![0; self.block_size];
            dev.read(block * self.block_size as u64, &mut data)?;
            if !verify(sb, kind, block, &data) {
                return Err(Errno::EBADMSG);
            }
            s.data = Arc::new(data);
            s.kind = kind;
            s.uptodate = true;
        }
        drop(s);
        Ok(b)
    }

    /// A block's buffer for a block that is about to be filled anew: no read.
    pub fn getblk(&self, block: u64) -> Arc<Buf<P>> {
        self.get(block)
    }

    /// Reads blocks ahead in one go, as far as they are not cached; failures surface at `bread`.
    pub fn prefetch(&self, dev: &dyn BlockDevice, sb: &Super, blocks: &[u64], kind: Kind) {
        let missing: Vec<Arc<Buf<P>>> = blocks
            .iter()
            .filter(|&&b| b < sb.blocks_count)
            .map(|&b| self.get(b))
            .filter(|b| !b.state.read().uptodate)
            .collect();
        // Neighbours are read in one piece.
        let runs: Vec<&[Arc<Buf<P>>]> = missing.chunk_by(|a, b| a.block + 1 == b.block).collect();
        let mut data: Vec<Vec<u8>> = runs
            .iter()
            .map(|r| vec![0; r.len() * self.block_size])
            .collect();
        let mut pieces: Vec<(u64, &mut [u8])> = runs
            .iter()
            .zip(data.iter_mut())
            .map(|(r, d)| (r[0].block * self.block_size as u64, d.as_mut_slice()))
            .collect();
        if pieces.is_empty() || dev.read_many(&mut pieces).is_err() {
            return;
        }
        let bytes = data.iter().flat_map(|d| d.chunks(self.block_size));
        for (b, d) in missing.iter().zip(bytes) {
            let mut s = b.state.write();
            // Someone may have read and changed it meanwhile; then what was read is old.
            if !s.uptodate && verify(sb, kind, b.block, d) {
                s.data = Arc::new(d.to_vec());
                s.kind = kind;
                s.uptodate = true;
            }
        }
    }

    /// Whether a block's content is in memory.
    pub fn is_cached(&self, block: u64) -> bool {
        let b = self.shard(block).lock().map.get(&block).cloned();
        b.is_some_and(|b| b.state.read().uptodate)
    }

    /// Evicts up to `blocks` clean buffers; returns how many went.
    pub fn shrink(&self, blocks: usize) -> usize {
        let mut done = 0;
        for shard in &self.shards {
            if done >= blocks {
                break;
            }
            // Memory may be short in the middle of a change of this very map.
            let Some(mut s) = shard.try_lock() else {
                continue;
            };
            let n = s.map.len();
            done += s.evict(blocks - done, 2 * n);
        }
        done
    }

    /// Forgets everything (after recovery changed the device underneath).
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut s = shard.lock();
            s.map.clear();
            s.clock.clear();
        }
    }
}

impl<P: Platform> Shard<P> {
    /// Second-chance eviction of up to `want` buffers in at most `steps` looks.
    fn evict(&mut self, want: usize, steps: usize) -> usize {
        let mut done = 0;
        for _ in 0..steps {
            if done == want {
                break;
            }
            let Some(block) = self.clock.pop_front() else {
                break;
            };
            let Some(b) = self.map.get(&block) else {
                continue;
            };
            if Arc::strong_count(b) > 1 || b.referenced.swap(false, Ordering::Relaxed) {
                self.clock.push_back(block);
            } else {
                self.map.remove(&block);
                done += 1;
            }
        }
        done
    }
}
