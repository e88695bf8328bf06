//! Reading through the page cache.

use super::{Fill, Inode, Page, ReadAhead, backing, mapping, readahead};
use crate::fs::IoDst;
use crate::prelude::*;

/// The valid page `index` of a file, read if need be: EIO, ENOMEM. The caller has checked that
/// it is not beyond the end of file; a page that a truncation takes away meanwhile reads as zeroes would.
pub fn read_page(
    inode: &Inode,
    state: &SpinLock<ReadAhead>,
    index: u64,
    wanted: u64,
) -> Result<Arc<Page>> {
    let mapping = mapping(inode);
    loop {
        let Some(page) = mapping.find(index) else {
            readahead::on_miss(inode, state, index, wanted)?;
            // Nothing was read if the file has become shorter.
            if index >= inode.size().div_ceil(PAGE_SIZE as u64) {
                return Err(Errno::ENXIO);
            }
            continue;
        };
        if page.take_marker() {
            readahead::on_marker(inode, state, index);
        }
        if let Some(page) = settle(inode, page)? {
            state.lock().note(index);
            return Ok(page);
        }
    }
}

/// Makes a page that was found valid: waits for a read in flight, or tries again what failed. `None` if it is gone.
pub(super) fn settle(inode: &Inode, page: Arc<Page>) -> Result<Option<Arc<Page>>> {
    if page.is_uptodate() {
        page.touch();
        return Ok(Some(page));
    }
    page.wait_unlocked();
    if page.is_uptodate() {
        page.touch();
        return Ok(Some(page));
    }
    let _fills = mapping(inode).fills.read();
    page.lock();
    if page.is_gone() || page.is_uptodate() {
        let valid = page.is_uptodate() && !page.is_gone();
        page.unlock();
        return Ok(valid.then_some(page));
    }
    backing(inode).read_pages(inode, vec![Fill::new(page.clone())]);
    page.wait_unlocked();
    if page.is_uptodate() {
        Ok(Some(page))
    } else {
        Err(Errno::EIO)
    }
}

/// read(2) of a file through the cache.
pub fn generic_read(
    inode: &Inode,
    state: &SpinLock<ReadAhead>,
    dst: &mut IoDst,
    pos: u64,
) -> Result<usize> {
    let mut done = 0;
    while dst.remaining() > 0 {
        let at = pos.saturating_add(done as u64);
        let size = inode.size();
        if at >= size {
            break;
        }
        let off = at as usize % PAGE_SIZE;
        let index = at >> PAGE_SHIFT;
        let n = ((size - at).min((PAGE_SIZE - off) as u64) as usize).min(dst.remaining());
        let wanted = ((off + dst.remaining()) as u64).div_ceil(PAGE_SIZE as u64);
        let moved = match read_page(inode, state, index, wanted) {
            Ok(page) => dst.put_frame(page.frame(), off, n),
            // The file has become shorter.
            Err(Errno::ENXIO) => break,
            Err(error) => Err(error),
        };
        match moved {
            Ok(moved) => {
                done += moved;
                if moved < n {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        if keel_hal::task::current().killed() {
            break;
        }
        keel_hal::task::cond_resched();
    }
    Ok(done)
}
