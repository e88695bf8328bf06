//! Page faults: what makes memory appear at first touch, and copies it at first write.

use core::sync::atomic::Ordering;
use keel_hal::paging::PageProt;

use super::address_space::MmState;
use super::userfault::{self, Resolved};
use super::vma::{Backing, VmFlags, Vma};
use super::{AddressSpace, VmFault, VmObject, alloc_user_frame};
use crate::prelude::*;

/// How memory was touched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// How a fault ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FaultOutcome {
    /// The page is there now.
    Handled,
    /// Nothing is mapped there: SIGSEGV, SEGV_MAPERR.
    NotMapped,
    /// The mapping forbids it: SIGSEGV, SEGV_ACCERR.
    Denied,
    /// The object has no such page: SIGBUS, BUS_ADRERR.
    Bus,
    /// No memory: the program was or will be killed.
    Oom,
}

/// How many pages around a fault are mapped when they are resident (64 KiB, as Linux's fault_around_bytes).
const FAULT_AROUND: usize = 16;

impl AddressSpace {
    /// Makes the page at `addr` accessible for `access`, as the VMAs allow. May sleep.
    pub fn fault(&self, addr: usize, access: Access) -> FaultOutcome {
        self.fault_as(addr, access, false)
    }

    /// A fault of the program itself; a signal can end it without the page.
    pub fn fault_from_user(&self, addr: usize, access: Access) -> FaultOutcome {
        self.fault_as(addr, access, true)
    }

    fn fault_as(&self, addr: usize, access: Access, from_user: bool) -> FaultOutcome {
        let va = super::page_down(addr);
        loop {
            let state = self.state.read();
            let Some(vma) = state.vmas.find(addr) else {
                drop(state);
                if self.grow_stack(addr) {
                    continue;
                }
                return FaultOutcome::NotMapped;
            };
            if !allows(vma, access) {
                return FaultOutcome::Denied;
            }
            self.faults[0].fetch_add(1, Ordering::Relaxed);
            if vma.flags.contains(VmFlags::UFFD_MISSING)
                && let Some(missing) = self.enter_userfault(vma, va, access)
            {
                drop(state);
                match userfault::wait(missing, from_user) {
                    Resolved::Bus => return FaultOutcome::Bus,
                    // The instruction is tried again, or a signal is served first.
                    Resolved::Retry if from_user => return FaultOutcome::Handled,
                    Resolved::Retry if keel_hal::task::current().killed() => {
                        return FaultOutcome::Oom;
                    }
                    Resolved::Retry => continue,
                }
            }
            match self.fault_in(vma, va, access == Access::Write) {
                Ok(()) => return FaultOutcome::Handled,
                Err(VmFault::SigBus) => return FaultOutcome::Bus,
                Err(VmFault::Retry) => {}
                Err(VmFault::Oom) => {
                    drop(state);
                    if !super::oom::out_of_memory() {
                        return FaultOutcome::Oom;
                    }
                }
            }
            if keel_hal::task::current().killed() {
                return FaultOutcome::Oom;
            }
        }
    }

    fn fault_in(&self, vma: &Vma, va: usize, write: bool) -> core::result::Result<(), VmFault> {
        match &vma.backing {
            Backing::Anon => self.fault_anon(vma, va, write),
            Backing::Object { object, .. } if vma.flags.contains(VmFlags::HUGETLB) => {
                match object.huge() {
                    Some(huge) => self.fault_hugetlb(vma, huge, va, write),
                    None => Err(VmFault::SigBus),
                }
            }
            Backing::Object { object, .. } if vma.shared() => {
                self.fault_shared(vma, &**object, va, write)
            }
            Backing::Object { object, .. } => self.fault_private(vma, &**object, va, write),
        }
    }

    /// Private zero-filled memory: the zero page for reads, a page of its own for writes.
    fn fault_anon(&self, vma: &Vma, va: usize, write: bool) -> core::result::Result<(), VmFault> {
        if !write {
            let mut cursor = self.table().cursor(va, va + PAGE_SIZE);
            if cursor.query().is_none() {
                let read_only = vma.prot.read_only();
                vma.has_anon.store(true, Ordering::Relaxed);
                cursor
                    .map(super::oom::zero_frame(), read_only)
                    .map_err(|_| VmFault::Oom)?;
            }
            return Ok(());
        }
        if self.fault_huge(vma, va) {
            return Ok(());
        }
        let fresh = alloc_user_frame(AllocFlags::ZERO).ok_or(VmFault::Oom)?;
        let mut cursor = self.table().cursor(va, va + PAGE_SIZE);
        match cursor.query() {
            Some(old) if old.prot.contains(PageProt::WRITE) => return Ok(()),
            Some(old) if old.huge => {
                drop((old, cursor, fresh));
                return self.write_huge(vma, va);
            }
            Some(old) if old.frame.same(&super::oom::zero_frame()) => {}
            Some(old) if sole_owner(&old.frame) => {
                cursor.protect(vma.prot);
                return Ok(());
            }
            Some(old) => fresh.copy_from(&old.frame),
            None => vma.has_anon.store(true, Ordering::Relaxed),
        }
        cursor
            .map(fresh, vma.prot)
            .map(drop)
            .map_err(|_| VmFault::Oom)
    }

    /// A private mapping of an object: its own page read-only, a copy at the first write.
    fn fault_private(
        &self,
        vma: &Vma,
        object: &dyn VmObject,
        va: usize,
        write: bool,
    ) -> core::result::Result<(), VmFault> {
        if !write {
            if self.fault_around(vma, object, va) {
                return Ok(());
            }
            let frame = object.fault(vma.pgoff_at(va), false)?;
            let mut cursor = self.table().cursor(va, va + PAGE_SIZE);
            if cursor.query().is_none() {
                let read_only = vma.prot.read_only();
                cursor.map(frame, read_only).map_err(|_| VmFault::Oom)?;
            }
            return Ok(());
        }
        let present = {
            let mut cursor = self.table().cursor(va, va + PAGE_SIZE);
            match cursor.query() {
                Some(old) if old.prot.contains(PageProt::WRITE) => return Ok(()),
                Some(old) if sole_owner(&old.frame) => {
                    cursor.protect(vma.prot);
                    return Ok(());
                }
                present => present,
            }
        };
        let source = match present {
            Some(old) => old.frame,
            None => object.fault(vma.pgoff_at(va), false)?,
        };
        let fresh = alloc_user_frame(AllocFlags::empty()).ok_or(VmFault::Oom)?;
        fresh.copy_from(&source);
        let mut cursor = self.table().cursor(va, va + PAGE_SIZE);
        match cursor.query() {
            Some(now) if now.prot.contains(PageProt::WRITE) => Ok(()),
            Some(now) if !now.frame.same(&source) => Err(VmFault::Retry),
            _ => {
                vma.has_anon.store(true, Ordering::Relaxed);
                cursor
                    .map(fresh, vma.prot)
                    .map(drop)
                    .map_err(|_| VmFault::Oom)
            }
        }
    }

    /// A shared mapping: the object's own page; writable only once the object was told of the write.
    fn fault_shared(
        &self,
        vma: &Vma,
        object: &dyn VmObject,
        va: usize,
        write: bool,
    ) -> core::result::Result<(), VmFault> {
        if !write && self.fault_around(vma, object, va) {
            return Ok(());
        }
        let frame = object.fault(vma.pgoff_at(va), write)?;
        let prot = if write {
            vma.prot
        } else {
            vma.prot.read_only()
        };
        let mut cursor = self.table().cursor(va, va + PAGE_SIZE);
        match cursor.query() {
            Some(now) if now.frame.same(&frame) && now.prot.contains(prot) => Ok(()),
            _ => cursor.map(frame, prot).map(drop).map_err(|_| VmFault::Oom),
        }
    }

    /// Maps the resident pages around `va` read-only; true if `va` itself is mapped now.
    fn fault_around(&self, vma: &Vma, object: &dyn VmObject, va: usize) -> bool {
        let window = FAULT_AROUND * PAGE_SIZE;
        let start = (va & !(window - 1)).max(vma.start);
        let end = (va & !(window - 1)).saturating_add(window).min(vma.end);
        let first = vma.pgoff_at(start);
        let count = ((end - start) >> PAGE_SHIFT) as u64;
        let prot = vma.prot.read_only();
        let mut cursor = self.table().cursor(start, end);
        let mut hit = false;
        object.pages_nearby(first, count, &mut |pgoff, frame| {
            let at = start + (((pgoff - first) as usize) << PAGE_SHIFT);
            if at >= end {
                return;
            }
            cursor.jump(at);
            if cursor.query().is_none() && cursor.map(frame, prot).is_err() {
                return;
            }
            hit |= at == va;
        });
        hit
    }

    /// Extends the stack VMA above `addr` down to it, within RLIMIT_STACK and the guard gap.
    fn grow_stack(&self, addr: usize) -> bool {
        let mut state = self.state.write();
        if state.vmas.find(addr).is_some() {
            return true;
        }
        let Some(above) = state.vmas.find_above(addr) else {
            return false;
        };
        if !above.flags.contains(VmFlags::GROWSDOWN) {
            return false;
        }
        let (old_start, end) = (above.start, above.end);
        let new_start = super::page_down(addr);
        let guard = super::ops::STACK_GUARD;
        let too_close = state
            .vmas
            .find_below(old_start)
            .is_some_and(|below| below.end.saturating_add(guard) > new_start);
        if (end - new_start) as u64 > state.limits.stack
            || too_close
            || new_start < super::MMAP_MIN_ADDR
        {
            return false;
        }
        let pages = (old_start - new_start) >> PAGE_SHIFT;
        if !state.may_expand(pages) || state.charge_growth(old_start, pages).is_err() {
            return false;
        }
        if let Some(mut vma) = state.vmas.remove(old_start) {
            vma.start = new_start;
            if let Backing::Object { pgoff, .. } = &mut vma.backing {
                *pgoff = pgoff.saturating_sub(pages as u64);
            }
            state.vmas.insert(vma);
            state.total_pages += pages;
        }
        true
    }
}

impl MmState {
    /// Whether RLIMIT_AS allows `pages` more.
    pub(super) fn may_expand(&self, pages: usize) -> bool {
        let bytes = (self.total_pages as u64 + pages as u64) << PAGE_SHIFT;
        bytes <= self.limits.address_space
    }
}

fn allows(vma: &Vma, access: Access) -> bool {
    match access {
        Access::Read => vma
            .prot
            .intersects(PageProt::READ | PageProt::WRITE | PageProt::EXEC),
        Access::Write => vma.prot.contains(PageProt::WRITE),
        Access::Execute => vma.prot.contains(PageProt::EXEC),
    }
}

/// Whether only one page table holds `frame` (besides the handle in hand).
pub(super) fn sole_owner(frame: &Frame) -> bool {
    frame.ref_count() == 2
}
