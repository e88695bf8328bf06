//! File contents between the page cache and the disk.
//!
//! Reading asks where the blocks are and reads them straight into the pages; holes are zeroed. Writing takes blocks
//! from the allocator ([`keel_ext4::Fs::prepare_writeback`]), writes the pages to them, and makes them part of the
//! file only when they are written.

use keel_ext4::{MapState, Mapping, Writeback};

use super::inode::Ext4Inode;
use crate::block::{Batch, Builder, Done, Op, SECTOR_SHIFT, Segment};
use crate::fs::Inode;
use crate::fs::page_cache::{Backing, Fill, Page};
use crate::prelude::*;

impl Ext4Inode {
    fn block_size(&self) -> u64 {
        u64::from(self.volume.fs.block_size())
    }

    /// Reads pages of a file whose contents lie in its inode.
    fn read_inline(&self, fills: Vec<Fill>) {
        for fill in fills {
            let mut bytes = vec![0; PAGE_SIZE];
            if self
                .volume
                .fs
                .read_at(&self.disk, fill.page().offset(), &mut bytes)
                .is_ok()
            {
                fill.page().frame().write(0, &bytes);
                fill.done();
            }
        }
    }

    fn map(&self, block: u64, most: u64) -> Result<Mapping> {
        let block = u32::try_from(block).map_err(|_| Errno::EFBIG)?;
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        self.volume.fs.map_blocks(&self.disk, block, most)
    }

    /// Reads one page's blocks, with `run` as the mapping that was looked at last.
    fn read_blocks(
        &self,
        fill: &Fill,
        end: u64,
        run: &mut Option<Mapping>,
        requests: &mut Builder<'_, Fill>,
    ) -> Result<()> {
        let size = self.block_size();
        let first = fill.page().offset() / size;
        let last = first + PAGE_SIZE as u64 / size;
        let mut at = first;
        while at < last {
            let covers = |m: &Mapping| {
                (u64::from(m.lblk)..u64::from(m.lblk) + u64::from(m.len)).contains(&at)
            };
            let m = match *run {
                Some(m) if covers(&m) => m,
                _ => *run.insert(self.map(at, end - at)?),
            };
            let skip = at - u64::from(m.lblk);
            let n = (u64::from(m.len) - skip).min(last - at);
            let (off, len) = ((at - first) * size, n * size);
            if m.state == MapState::Mapped {
                let sector = ((m.pblk + skip) * size) >> SECTOR_SHIFT;
                let frame = fill.page().frame().clone();
                requests.add(
                    sector,
                    Segment {
                        frame,
                        off: off as u32,
                        len: len as u32,
                    },
                    fill.clone(),
                );
            } else {
                fill.page().frame().fill(off as usize, len as usize, 0);
            }
            at += n;
        }
        Ok(())
    }

    /// Starts writing consecutive pages; what to wait for, and what to finish then.
    fn start_run(&self, pages: &[Arc<Page>], file_size: u64) -> Result<Run> {
        let size = self.block_size();
        let mut run = Run {
            batch: Batch::new(),
            parts: Vec::new(),
        };
        let (Some(first), Some(last)) = (pages.first(), pages.last()) else {
            return Ok(run);
        };
        let start = first.offset() / size;
        let end = (last.offset() + PAGE_SIZE as u64)
            .min(file_size)
            .div_ceil(size);
        let finish = |_: Vec<()>| run.batch.ticket();
        let mut requests = Builder::new(&self.volume.device, Op::Write, &finish);
        let mut at = start;
        let mut result = Ok(());
        while at < end {
            let block = u32::try_from(at).map_err(|_| Errno::EFBIG)?;
            let count = u32::try_from(end - at).map_err(|_| Errno::EFBIG)?;
            let part = match self.volume.fs.prepare_writeback(&self.disk, block, count) {
                Ok(part) => part,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            for extent in &part.extents {
                let base = extent.pblk.wrapping_sub(u64::from(extent.lblk));
                let stop = u64::from(extent.lblk) + u64::from(extent.len);
                at = u64::from(extent.lblk);
                while at < stop {
                    let byte = at * size;
                    let index = ((byte - first.offset()) >> PAGE_SHIFT) as usize;
                    let off = byte % PAGE_SIZE as u64;
                    let len = (PAGE_SIZE as u64 - off).min((stop - at) * size);
                    if let Some(page) = pages.get(index) {
                        let sector = (base.wrapping_add(at) * size) >> SECTOR_SHIFT;
                        let frame = page.frame().clone();
                        let segment = Segment {
                            frame,
                            off: off as u32,
                            len: len as u32,
                        };
                        requests.add(sector, segment, ());
                    }
                    at += len / size;
                }
            }
            run.parts.push(part);
        }
        requests.submit();
        drop(requests);
        match result {
            Ok(()) => Ok(run),
            Err(error) => {
                self.volume.device.kick();
                // What was started is finished all the same.
                let _ = self.finish_run(run);
                Err(error)
            }
        }
    }

    fn finish_run(&self, run: Run) -> Result<()> {
        let mut result = run.batch.wait();
        let ok = result.is_ok();
        for part in run.parts {
            result = result.and(self.volume.fs.finish_writeback(&self.disk, part, ok));
        }
        result
    }
}

/// A write-back in flight.
struct Run {
    batch: Batch,
    parts: Vec<Writeback>,
}

impl Backing for Ext4Inode {
    fn read_pages(&self, _inode: &Inode, fills: Vec<Fill>) {
        let (Some(first), Some(last)) = (fills.first(), fills.last()) else {
            return;
        };
        let size = self.block_size();
        let end = (last.page().offset() + PAGE_SIZE as u64) / size;
        let mut run = match self.map(
            first.page().offset() / size,
            end - first.page().offset() / size,
        ) {
            Ok(m) if m.state == MapState::Inline => return self.read_inline(fills),
            Ok(m) => Some(m),
            Err(_) => return,
        };
        let finish = |fills: Vec<Fill>| -> Done {
            Box::new(move |result| {
                for fill in fills {
                    fill.finish(result.is_ok());
                }
            })
        };
        let mut requests = Builder::new(&self.volume.device, Op::Read, &finish);
        for fill in fills {
            let ok = self
                .read_blocks(&fill, end, &mut run, &mut requests)
                .is_ok();
            fill.finish(ok);
        }
        requests.submit();
        self.volume.device.kick();
    }

    fn write_pages(&self, inode: &Inode, pages: &[Arc<Page>]) -> Result<()> {
        let size = inode.size();
        let mut result = Ok(());
        let mut runs = Vec::new();
        for run in pages.chunk_by(|a, b| a.index() + 1 == b.index()) {
            match self.start_run(run, size) {
                Ok(run) => runs.push(run),
                Err(error) => result = Err(error),
            }
        }
        self.volume.device.kick();
        for run in runs {
            result = result.and(self.finish_run(run));
        }
        result
    }

    fn write_begin(&self, _inode: &Arc<Inode>, pos: u64, len: u64) -> Result<()> {
        self.volume.fs.write_begin(&self.disk, pos, len)
    }

    fn write_end(&self, inode: &Arc<Inode>, pos: u64, len: u64) -> Result<()> {
        self.volume.fs.write_end(&self.disk, pos, len)?;
        self.refresh(inode);
        Ok(())
    }
}
