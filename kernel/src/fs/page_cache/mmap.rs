//! Mappings of files: the page cache as the source of a mapping's pages.

use super::{Inode, Page, backing, mapping, mark_dirty, read, readahead, writeback};
use crate::mm::{MmapRegistry, VmFault, VmObject};
use crate::prelude::*;

/// The pages of an inode, shown by a mapping.
struct FilePages {
    inode: Arc<Inode>,
}

/// The object that mappings of `inode` show.
pub fn mapping_of(inode: &Arc<Inode>) -> Arc<dyn VmObject> {
    Arc::new(FilePages {
        inode: inode.clone(),
    })
}

fn fault_of(error: Errno) -> VmFault {
    if error == Errno::ENOMEM {
        VmFault::Oom
    } else {
        VmFault::SigBus
    }
}

impl FilePages {
    /// The valid page `pgoff`; SIGBUS beyond the end of file.
    fn page(&self, pgoff: u64) -> core::result::Result<Arc<Page>, VmFault> {
        let inode = &*self.inode;
        let mapping = mapping(inode);
        loop {
            if pgoff >= inode.size().div_ceil(PAGE_SIZE as u64) {
                return Err(VmFault::SigBus);
            }
            let Some(page) = mapping.find(pgoff) else {
                readahead::around(inode, pgoff).map_err(fault_of)?;
                continue;
            };
            if let Some(page) = read::settle(inode, page).map_err(fault_of)? {
                return Ok(page);
            }
        }
    }

    /// A store is about to become possible: space for the page is reserved, and the page is dirty from now on.
    fn make_writable(&self, page: &Page) -> core::result::Result<(), VmFault> {
        let inode = &self.inode;
        let mapping = mapping(inode);
        let _fills = mapping.fills.read();
        let len = inode
            .size()
            .saturating_sub(page.offset())
            .min(PAGE_SIZE as u64);
        if len == 0 {
            return Err(VmFault::SigBus);
        }
        if !page.is_dirty() {
            backing(inode)
                .write_begin(inode, page.offset(), len)
                .map_err(fault_of)?;
        }
        // Nothing has been written yet, but the times change now (mmap(2)).
        backing(inode)
            .write_end(inode, page.offset(), 0)
            .map_err(fault_of)?;
        page.lock();
        let gone = page.is_gone();
        if !gone {
            mark_dirty(inode, mapping, page);
        }
        page.unlock();
        if gone { Err(VmFault::Retry) } else { Ok(()) }
    }
}

impl VmObject for FilePages {
    fn fault(&self, pgoff: u64, write: bool) -> core::result::Result<Frame, VmFault> {
        let page = self.page(pgoff)?;
        if write {
            self.make_writable(&page)?;
            writeback::wake_if_many();
        }
        page.touch();
        Ok(page.frame().clone())
    }

    fn mappings(&self) -> Option<&MmapRegistry> {
        Some(self.inode.pages.mappings())
    }

    fn pages_nearby(&self, pgoff: u64, count: u64, give: &mut dyn FnMut(u64, Frame)) {
        let Some(mapping) = self.inode.pages.mapping.get() else {
            return;
        };
        let end = self
            .inode
            .size()
            .div_ceil(PAGE_SIZE as u64)
            .min(pgoff.saturating_add(count));
        if pgoff >= end {
            return;
        }
        mapping
            .tree
            .read()
            .visit(pgoff, end - 1, false, &mut |page| {
                if page.is_uptodate() {
                    give(page.index(), page.frame().clone());
                }
                true
            });
    }
}
