//! Shared anonymous memory: `mmap(MAP_SHARED | MAP_ANONYMOUS)` and SysV segments.

use super::{MmapRegistry, VmFault, VmObject, alloc_user_frame};
use crate::prelude::*;

/// Zero-filled pages that several mappings show, allocated at first touch.
pub struct AnonObject {
    pages: SpinLock<BTreeMap<u64, Frame>>,
    /// Length in pages; faults beyond it give SIGBUS.
    len: u64,
    /// Pages that are promised.
    charged: usize,
    registry: MmapRegistry,
}

impl AnonObject {
    /// An object of `len` pages, which are promised if `account`: ENOMEM.
    pub fn new(len: u64, account: bool) -> Result<Arc<Self>> {
        let charged = if account { len as usize } else { 0 };
        super::commit::charge(charged, 0)?;
        Ok(Arc::new(Self {
            charged,
            pages: SpinLock::new(BTreeMap::new()),
            len,
            registry: MmapRegistry::new(),
        }))
    }
}

impl Drop for AnonObject {
    fn drop(&mut self) {
        super::commit::uncharge(self.charged);
    }
}

impl VmObject for AnonObject {
    fn fault(&self, pgoff: u64, _write: bool) -> core::result::Result<Frame, VmFault> {
        if pgoff >= self.len {
            return Err(VmFault::SigBus);
        }
        if let Some(frame) = self.pages.lock().get(&pgoff) {
            return Ok(frame.clone());
        }
        let fresh = alloc_user_frame(AllocFlags::ZERO).ok_or(VmFault::Oom)?;
        Ok(self.pages.lock().entry(pgoff).or_insert(fresh).clone())
    }

    fn punch(&self, first: u64, last: u64) -> bool {
        let gone = {
            let mut pages = self.pages.lock();
            let mut rest = pages.split_off(&first);
            let mut behind = rest.split_off(&last);
            pages.append(&mut behind);
            rest
        };
        self.registry.unmap_range(first, last);
        drop(gone);
        true
    }

    fn mappings(&self) -> Option<&MmapRegistry> {
        Some(&self.registry)
    }
}
