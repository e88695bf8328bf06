//! Writing through the page cache.

use keel_hal::user;

use super::{
    Backing, Inode, Mapping, Page, ReadAhead, add_page, backing, mapping, mark_dirty, read_page,
    writeback,
};
use crate::fs::IoSrc;
use crate::prelude::*;

/// Pages that are filled before the file system is told.
const BATCH: usize = 64;

/// Pages that were written to, locked, in order.
struct Batch<'a> {
    inode: &'a Arc<Inode>,
    mapping: &'a Arc<Mapping>,
    pages: Vec<Arc<Page>>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for page in &self.pages {
            page.unlock();
        }
    }
}

/// write(2) of a file through the cache. The caller holds `rwsem` exclusively.
pub fn generic_write(inode: &Arc<Inode>, src: &mut IoSrc, pos: u64) -> Result<usize> {
    let backing = backing(inode);
    let mut done = 0;
    while src.remaining() > 0 {
        let at = pos + done as u64;
        match write_batch(inode, backing, src, at) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        writeback::throttle(inode);
        if keel_hal::task::current().killed() {
            break;
        }
        keel_hal::task::cond_resched();
    }
    Ok(done)
}

/// Writes at most [`BATCH`] pages; how many bytes.
fn write_batch(
    inode: &Arc<Inode>,
    backing: &dyn Backing,
    src: &mut IoSrc,
    pos: u64,
) -> Result<usize> {
    let off = pos as usize % PAGE_SIZE;
    let mut len = src.remaining().min(BATCH * PAGE_SIZE - off);
    // Under the page locks the source is not waited for, so it had better be there.
    src.fault_in(len)?;
    if let Err(error) = backing.write_begin(inode, pos, len as u64) {
        // A part may fit.
        let first = len.min(PAGE_SIZE - off);
        if error != Errno::ENOSPC || first == len {
            return Err(error);
        }
        len = first;
        backing.write_begin(inode, pos, len as u64)?;
    }
    let mapping = mapping(inode);
    let mut batch = Batch {
        inode,
        mapping,
        pages: Vec::new(),
    };
    let mut done = 0;
    let mut result = Ok(());
    while done < len {
        let at = pos + done as u64;
        let off = at as usize % PAGE_SIZE;
        let n = (PAGE_SIZE - off).min(len - done);
        match batch.copy(src, at, off, n) {
            Ok(copied) => {
                done += copied;
                if copied < n {
                    break;
                }
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if done > 0 {
        backing.write_end(inode, pos, done as u64)?;
        for page in &batch.pages {
            mark_dirty(inode, mapping, page);
        }
        return Ok(done);
    }
    match result {
        // The source went away between its check and the copy; the next round notices.
        Err(Errno::EFAULT) => {
            drop(batch);
            src.fault_in(1)?;
            write_slowly(inode, backing, src, pos)
        }
        Err(error) => Err(error),
        Ok(()) => Ok(0),
    }
}

/// Writes one piece by way of a kernel buffer: for sources whose pages keep disappearing (or that are the very page
/// that is written).
fn write_slowly(
    inode: &Arc<Inode>,
    backing: &dyn Backing,
    src: &mut IoSrc,
    pos: u64,
) -> Result<usize> {
    let mut bytes = [0; 512];
    let off = pos as usize % PAGE_SIZE;
    let n = bytes.len().min(PAGE_SIZE - off);
    let n = src.take(&mut bytes[..n])?;
    let mapping = mapping(inode);
    let mut batch = Batch {
        inode,
        mapping,
        pages: Vec::new(),
    };
    let n = batch.copy(&mut IoSrc::from_kernel(&bytes[..n]), pos, off, n)?;
    backing.write_end(inode, pos, n as u64)?;
    for page in &batch.pages {
        mark_dirty(inode, mapping, page);
    }
    Ok(n)
}

impl Batch<'_> {
    /// Copies `n` bytes to `off` in the page of position `at`; the page joins the batch. EFAULT if nothing could be
    /// copied without waiting.
    fn copy(&mut self, src: &mut IoSrc, at: u64, off: usize, n: usize) -> Result<usize> {
        let page = self.locked_page(at, off, n)?;
        let fresh = !page.is_uptodate();
        let copied = match user::nofault(|| src.take_to_frame(page.frame(), off, n)) {
            Ok(copied) => copied,
            Err(error) => {
                page.unlock();
                return Err(error);
            }
        };
        if fresh {
            // It was not read because all of it (that lies in the file) was to be overwritten.
            let end = off + copied;
            if copied < n {
                page.frame().fill(end, n - copied, 0);
            }
            page.set_uptodate();
        }
        page.touch();
        self.pages.push(page);
        Ok(copied)
    }

    /// The page of position `at`, locked, with valid contents unless all of them are about to be overwritten.
    fn locked_page(&self, at: u64, off: usize, n: usize) -> Result<Arc<Page>> {
        let index = at >> PAGE_SHIFT;
        let start = index << PAGE_SHIFT;
        loop {
            let found = self.mapping.find(index);
            let page = match found {
                Some(page) => {
                    page.lock();
                    if page.is_gone() {
                        page.unlock();
                        continue;
                    }
                    page
                }
                None => {
                    let (page, added) = add_page(self.mapping, index, true)?;
                    if !added {
                        continue;
                    }
                    page
                }
            };
            if page.is_uptodate() {
                return Ok(page);
            }
            if start >= self.inode.size() {
                page.frame().fill(0, off, 0);
                page.frame().fill(off + n, PAGE_SIZE - off - n, 0);
                return Ok(page);
            }
            if n == PAGE_SIZE {
                return Ok(page);
            }
            page.unlock();
            // Read it by itself; more would be of no use.
            let state = SpinLock::new(ReadAhead::default());
            state.lock().set_scale(0);
            read_page(self.inode, &state, index, 1)?;
        }
    }
}
