//! Access to the memory of an address space that is not loaded: ptrace, /proc/PID/mem, process_vm_readv.

use keel_hal::paging::PageProt;

use super::vma::Backing;
use super::{Access, AddressSpace, FaultOutcome};
use crate::prelude::*;

impl AddressSpace {
    /// Reads from `addr` on; the number of bytes that could be read (0: nothing is mapped there).
    pub fn read_remote(&self, addr: usize, buf: &mut [u8]) -> usize {
        self.each_page(addr, buf.len(), Access::Read, &mut |frame, off, range| {
            frame.read(off, &mut buf[range]);
        })
    }

    /// Writes from `addr` on; the number of bytes that could be written. With `force` (ptrace), private
    /// mappings that the program itself may not write get a copy of their own, as on Linux (FOLL_FORCE).
    pub fn write_remote(&self, addr: usize, bytes: &[u8], force: bool) -> usize {
        if force {
            let writable = self.each_forced(addr, bytes);
            if writable > 0 {
                return writable;
            }
        }
        self.each_page(
            addr,
            bytes.len(),
            Access::Write,
            &mut |frame, off, range| {
                frame.write(off, &bytes[range]);
            },
        )
    }

    fn each_page(
        &self,
        addr: usize,
        len: usize,
        access: Access,
        f: &mut dyn FnMut(&Frame, usize, core::ops::Range<usize>),
    ) -> usize {
        let mut done = 0;
        while done < len {
            let Some(at) = addr
                .checked_add(done)
                .filter(|at| *at < super::TASK_SIZE_MAX)
            else {
                break;
            };
            let va = super::page_down(at);
            let n = (va + PAGE_SIZE - at).min(len - done);
            let Some(frame) = self.frame_at(va, access) else {
                break;
            };
            f(&frame, at - va, done..done + n);
            done += n;
        }
        done
    }

    /// The frame mapped at `va` after faulting it in.
    pub fn frame_at(&self, va: usize, access: Access) -> Option<Frame> {
        // A page can be taken away between the fault and the look; a few rounds are plenty.
        for _ in 0..8 {
            if self.fault(va, access) != FaultOutcome::Handled {
                return None;
            }
            let mapping = self.table().cursor(va, va + PAGE_SIZE).query();
            match mapping {
                Some(m) if access != Access::Write || m.prot.contains(PageProt::WRITE) => {
                    return Some(m.page_at(va));
                }
                _ => {}
            }
        }
        None
    }

    /// Writes into private mappings whatever their protection: the page is copied first (breakpoints).
    fn each_forced(&self, addr: usize, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let Some(at) = addr.checked_add(done) else {
                break;
            };
            let va = super::page_down(at);
            let n = (va + PAGE_SIZE - at).min(bytes.len() - done);
            if !self.force_private(va, at - va, &bytes[done..done + n]) {
                break;
            }
            done += n;
        }
        done
    }

    fn force_private(&self, va: usize, off: usize, bytes: &[u8]) -> bool {
        if self.fault(va, Access::Read) != FaultOutcome::Handled
            && self.fault(va, Access::Execute) != FaultOutcome::Handled
        {
            return false;
        }
        let state = self.state.read();
        let Some(vma) = state.vmas.find(va) else {
            return false;
        };
        if vma.shared()
            || vma.prot.contains(PageProt::WRITE)
            || vma.flags.contains(super::VmFlags::HUGETLB)
        {
            return false;
        }
        let Some(fresh) = super::alloc_user_frame(AllocFlags::empty()) else {
            return false;
        };
        let mut cursor = self.table().cursor(va, va + PAGE_SIZE);
        let Some(old) = cursor.query() else {
            return false;
        };
        let from_object = matches!(vma.backing, Backing::Object { .. });
        let sole = super::fault::sole_owner(&old.frame);
        let page = old.page_at(va);
        if !from_object && sole {
            page.write(off, bytes);
            return true;
        }
        fresh.copy_from(&page);
        fresh.write(off, bytes);
        vma.has_anon
            .store(true, core::sync::atomic::Ordering::Relaxed);
        cursor.map(fresh, old.prot).is_ok()
    }
}
