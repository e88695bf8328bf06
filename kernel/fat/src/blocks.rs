//! The cache of the table and of directories: pieces of the device, written back by `sync`.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use keel_abi::{Errno, Result};

use crate::Device;

/// Bytes of a piece; pieces begin at multiples of it.
const SIZE: u64 = 512;
/// Clean pieces are let go of beyond this many.
const MOST: usize = 16384;

struct Block {
    bytes: Vec<u8>,
    dirty: bool,
}

/// The cache.
pub(crate) struct Blocks {
    pub(crate) device: Arc<dyn Device>,
    held: BTreeMap<u64, Block>,
    dirty: usize,
}

impl Blocks {
    pub(crate) fn new(device: Arc<dyn Device>) -> Self {
        Self {
            device,
            held: BTreeMap::new(),
            dirty: 0,
        }
    }

    fn block(&mut self, index: u64) -> Result<&mut Block> {
        if !self.held.contains_key(&index) {
            if self.held.len() >= MOST {
                self.held.retain(|_, block| block.dirty);
            }
            let mut bytes = Vec::new();
            bytes
                .try_reserve_exact(SIZE as usize)
                .map_err(|_| Errno::ENOMEM)?;
            bytes.resize(SIZE as usize, 0);
            self.device.read(index * SIZE, &mut bytes)?;
            let block = Block {
                bytes,
                dirty: false,
            };
            self.held.insert(index, block);
        }
        self.held.get_mut(&index).ok_or(Errno::EIO)
    }

    /// Copies bytes out.
    pub(crate) fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            let within = (at % SIZE) as usize;
            let block = self.block(at / SIZE)?;
            let n = rest.len().min(SIZE as usize - within);
            rest[..n].copy_from_slice(&block.bytes[within..within + n]);
            done += n;
        }
        Ok(())
    }

    /// Changes bytes in the cache.
    pub(crate) fn write(&mut self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            let within = (at % SIZE) as usize;
            let n = rest.len().min(SIZE as usize - within);
            let block = self.block(at / SIZE)?;
            block.bytes[within..within + n].copy_from_slice(&rest[..n]);
            let newly = !core::mem::replace(&mut block.dirty, true);
            self.dirty += usize::from(newly);
            done += n;
        }
        Ok(())
    }

    /// Forgets a range that no longer belongs here: it has become file contents, or nobody's.
    pub(crate) fn forget(&mut self, offset: u64, len: u64) {
        let (first, last) = (offset / SIZE, (offset + len) / SIZE);
        let gone: Vec<u64> = self.held.range(first..last).map(|(at, _)| *at).collect();
        for at in gone {
            if self.held.remove(&at).is_some_and(|block| block.dirty) {
                self.dirty -= 1;
            }
        }
    }

    /// Writes what was changed; neighbours together. `copy`: writes of `[from, to)` go to these distances behind it too.
    pub(crate) fn sync(&mut self, from: u64, to: u64, copies: &[u64]) -> Result<()> {
        if self.dirty == 0 {
            return Ok(());
        }
        let dirty: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, block)| block.dirty)
            .map(|(at, _)| *at)
            .collect();
        let mut at = 0;
        while let Some(first) = dirty.get(at) {
            let mut run = vec![];
            let mut n = 0;
            while dirty.get(at + n) == Some(&(first + n as u64)) && n < 128 {
                let block = self.held.get(&(first + n as u64)).ok_or(Errno::EIO)?;
                run.extend_from_slice(&block.bytes);
                n += 1;
            }
            let offset = first * SIZE;
            self.device.write(offset, &run)?;
            let end = offset + run.len() as u64;
            if offset < to && end > from {
                // A run may reach beyond the table.
                let (low, high) = (offset.max(from), end.min(to));
                let piece = &run[(low - offset) as usize..(high - offset) as usize];
                for distance in copies {
                    self.device.write(low + distance, piece)?;
                }
            }
            for index in *first..first + n as u64 {
                if let Some(block) = self.held.get_mut(&index) {
                    block.dirty = false;
                }
            }
            self.dirty -= n;
            at += n;
        }
        Ok(())
    }
}
