//! A page cache as a kernel would have it, as small as it can be: blocks in memory, dirty ones written back through
//! `prepare_writeback` and `finish_writeback`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use keel_ext4::{BlockDevice, FallocateMode, MapState, Result};

use super::{TestFs, TestInode};

#[derive(Default)]
struct Pages {
    /// Block → (content, dirty).
    blocks: BTreeMap<u32, (Vec<u8>, bool)>,
}

pub struct PageCache {
    pub fs: TestFs,
    pub dev: Arc<dyn BlockDevice>,
    files: HashMap<u32, Pages>,
    bs: u64,
}

impl PageCache {
    pub fn new(fs: TestFs, dev: Arc<dyn BlockDevice>) -> Self {
        let bs = u64::from(fs.block_size());
        Self {
            fs,
            dev,
            files: HashMap::new(),
            bs,
        }
    }

    /// Brings a block into the cache.
    fn block(&mut self, inode: &TestInode, lblk: u32) -> Result<&mut (Vec<u8>, bool)> {
        let bs = self.bs;
        let pages = self.files.entry(inode.ino()).or_default();
        if let Entry::Vacant(place) = pages.blocks.entry(lblk) {
            let mut data = vec![0; bs as usize];
            let m = self.fs.map_blocks(inode, lblk, 1)?;
            let start = u64::from(lblk) * bs;
            match m.state {
                MapState::Mapped => {
                    self.dev.read(m.pblk * bs, &mut data)?;
                    // What is past the end of file is not part of it.
                    let valid = inode.size().saturating_sub(start).min(bs) as usize;
                    data[valid..].fill(0);
                }
                MapState::Inline => {
                    self.fs.read_at(inode, start, &mut data)?;
                }
                _ => {}
            }
            place.insert((data, false));
        }
        Ok(pages.blocks.get_mut(&lblk).unwrap())
    }

    pub fn read(&mut self, inode: &TestInode, pos: u64, len: usize) -> Result<Vec<u8>> {
        let size = inode.size();
        let end = (pos + len as u64).min(size);
        let mut out = Vec::new();
        let mut at = pos;
        while at < end {
            let bs = self.bs;
            let n = (bs - at % bs).min(end - at);
            let b = self.block(inode, (at / bs) as u32)?;
            out.extend_from_slice(&b.0[(at % bs) as usize..(at % bs + n) as usize]);
            at += n;
        }
        Ok(out)
    }

    pub fn write(&mut self, inode: &TestInode, pos: u64, data: &[u8]) -> Result<()> {
        let bs = self.bs;
        // The block that held the old end is in the cache before the file grows over it.
        let size = inode.size();
        if pos + data.len() as u64 > size && !size.is_multiple_of(bs) {
            self.block(inode, (size / bs) as u32)?;
        }
        self.fs.write_begin(inode, pos, data.len() as u64)?;
        let mut done = 0;
        while done < data.len() {
            let at = pos + done as u64;
            let n = ((bs - at % bs) as usize).min(data.len() - done);
            let b = self.block(inode, (at / bs) as u32)?;
            b.0[(at % bs) as usize..(at % bs) as usize + n].copy_from_slice(&data[done..done + n]);
            b.1 = true;
            done += n;
        }
        // Growing past a partial block that is on disk: its tail is zero in the cache and has to get there.
        if pos > size && !size.is_multiple_of(bs) {
            let lblk = (size / bs) as u32;
            if self.fs.map_blocks(inode, lblk, 1)?.state != MapState::Hole {
                self.block(inode, lblk)?.1 = true;
            }
        }
        self.fs.write_end(inode, pos, data.len() as u64)
    }

    /// Writes back all dirty blocks of a file.
    pub fn write_back(&mut self, inode: &TestInode) -> Result<()> {
        let Some(pages) = self.files.get_mut(&inode.ino()) else {
            return Ok(());
        };
        let dirty: Vec<u32> = pages
            .blocks
            .iter()
            .filter(|b| b.1.1)
            .map(|b| *b.0)
            .collect();
        let mut i = 0;
        while i < dirty.len() {
            let mut n = 1;
            while i + n < dirty.len() && dirty[i + n] == dirty[i] + n as u32 {
                n += 1;
            }
            let wb = self.fs.prepare_writeback(inode, dirty[i], n as u32)?;
            let mut covered = 0;
            let mut pieces = Vec::new();
            for e in &wb.extents {
                assert_eq!(e.lblk, dirty[i] + covered);
                for k in 0..e.len {
                    let data = &pages.blocks[&(e.lblk + k)].0;
                    pieces.push(((e.pblk + u64::from(k)) * self.bs, &data[..]));
                }
                covered += e.len;
            }
            let r = self.dev.write_many(&pieces);
            self.fs.finish_writeback(inode, wb, r.is_ok())?;
            r?;
            for k in 0..covered {
                pages.blocks.get_mut(&(dirty[i] + k)).unwrap().1 = false;
            }
            i += covered as usize;
        }
        Ok(())
    }

    pub fn fsync(&mut self, inode: &TestInode, datasync: bool) -> Result<()> {
        self.write_back(inode)?;
        self.fs.fsync(inode, datasync)
    }

    pub fn truncate(&mut self, inode: &TestInode, size: u64) -> Result<()> {
        let bs = self.bs;
        let old = inode.size();
        if size > old && !old.is_multiple_of(bs) {
            self.block(inode, (old / bs) as u32)?;
        }
        let zero = self.fs.truncate(inode, size)?;
        if let Some(p) = self.files.get_mut(&inode.ino()) {
            p.blocks.retain(|&b, _| u64::from(b) * bs < size);
        }
        if let Some(z) = zero {
            assert_eq!(z.from / bs, (z.to - 1) / bs);
            let b = self.block(inode, (z.from / bs) as u32)?;
            let from = (z.from % bs) as usize;
            let to = if z.to % bs == 0 {
                bs as usize
            } else {
                (z.to % bs) as usize
            };
            b.0[from..to].fill(0);
            b.1 = true;
        }
        Ok(())
    }

    pub fn fallocate(
        &mut self,
        inode: &TestInode,
        mode: FallocateMode,
        pos: u64,
        len: u64,
    ) -> Result<()> {
        if !matches!(mode, FallocateMode::Allocate { .. }) {
            self.write_back(inode)?;
            self.files.remove(&inode.ino());
        } else if pos + len > inode.size() && !inode.size().is_multiple_of(self.bs) {
            self.block(inode, (inode.size() / self.bs) as u32)?;
        }
        self.fs.fallocate(inode, mode, pos, len)
    }

    /// Forgets a file that is gone, or clean pages.
    pub fn forget(&mut self, ino: u32) {
        self.files.remove(&ino);
    }
}
