//! Shared anonymous memory: `mmap(MAP_SHARED | MAP_ANONYMOUS)` and SysV segments.

use super::{MmapRegistry, VmFault, VmObject, alloc_user_frame};
use crate::prelude::*;

/// Zero-filled pages that several mappings show, allocated at first touch.
pub struct AnonObject {
    pages: SpinLock<BTreeMap<u64, Frame>>,
    /// Length in pages; faults beyond it give SIGBUS.
    len: u64,
    registry: MmapRegistry,
}

impl AnonObject {
    /// An object of `len` pages.
    pub fn new(len: u64) -> Arc<Self> {
        Arc::new(Self {
            pages: SpinLock::new(BTreeMap::new()),
            len,
            registry: MmapRegistry::new(),
        })
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

    fn mappings(&self) -> Option<&MmapRegistry> {
        Some(&self.registry)
    }
}
