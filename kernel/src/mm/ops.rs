//! The calls that change mappings: mmap, munmap, mprotect, mremap, madvise, brk, mlock and their kin.

use core::ops::Range;
use keel_hal::addr::HUGE_PAGE_SIZE;
use keel_hal::paging::PageProt;

use super::address_space::MmState;
use super::vma::{Backing, VmFlags, Vma};
use super::{Access, AddressSpace, FaultOutcome, MMAP_MIN_ADDR, TASK_SIZE_MAX, page_up};
use crate::prelude::*;

/// Free space kept below a growing stack (Linux's default `stack_guard_gap`, 256 pages).
pub(super) const STACK_GUARD: usize = 256 * PAGE_SIZE;

/// Most VMAs of one address space (`vm.max_map_count`).
pub const MAX_MAP_COUNT: usize = 65530;

/// A mapping to be made.
pub struct MapRequest {
    /// Wanted address; binding with `fixed`, else a hint.
    pub addr: usize,
    /// Length in bytes, not zero.
    pub len: usize,
    /// Protection.
    pub prot: PageProt,
    /// VMA attributes.
    pub flags: VmFlags,
    /// Take exactly `addr` (MAP_FIXED).
    pub fixed: bool,
    /// With `fixed`: fail with EEXIST rather than replace (MAP_FIXED_NOREPLACE).
    pub no_replace: bool,
    /// Only the low 2 GiB (MAP_32BIT).
    pub low_2g: bool,
    /// Fault everything in at once (MAP_POPULATE).
    pub populate: bool,
    /// Where the pages come from.
    pub backing: Backing,
}

impl MapRequest {
    /// Private anonymous memory anywhere.
    pub fn anonymous(len: usize, prot: PageProt) -> Self {
        Self {
            addr: 0,
            len,
            prot,
            flags: VmFlags::empty(),
            fixed: false,
            no_replace: false,
            low_2g: false,
            populate: false,
            backing: Backing::Anon,
        }
    }
}

/// A part of a shared mapping that MADV_REMOVE is for.
pub struct Removable {
    /// What is mapped.
    pub object: Arc<dyn super::VmObject>,
    /// Its file, if it has one.
    pub file: Option<Arc<crate::fs::File>>,
    /// Its pages.
    pub pages: Range<u64>,
}

impl AddressSpace {
    /// mmap(2): makes a mapping and gives its address.
    ///
    /// EINVAL for a bad length or alignment, ENOMEM beyond a limit, EEXIST, EPERM below `mmap_min_addr`.
    pub fn mmap(self: &Arc<Self>, request: MapRequest) -> Result<usize> {
        let len = page_up(request.len)
            .filter(|len| *len > 0)
            .ok_or(Errno::ENOMEM)?;
        if len > TASK_SIZE_MAX {
            return Err(Errno::ENOMEM);
        }
        let mut state = self.state.write();
        let start = state.place(&request, len)?;
        let end = start + len;
        let private_writable =
            !request.flags.contains(VmFlags::SHARED) && request.prot.contains(PageProt::WRITE);
        let no_reserve = request.flags.contains(VmFlags::NORESERVE) && !super::commit::is_strict();
        let account = private_writable && !no_reserve && !request.flags.contains(VmFlags::HUGETLB);
        if request.fixed {
            if request.no_replace && state.vmas.overlapping(start, end).next().is_some() {
                return Err(Errno::EEXIST);
            }
            self.unmap_locked(&mut state, start, end)?;
        }
        let pages = len >> PAGE_SHIFT;
        if !state.may_expand(pages) || state.vmas.count() >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        let mut flags = request.flags | state.default_flags;
        flags.set(VmFlags::ACCOUNT, account);
        let locked = flags.contains(VmFlags::LOCKED);
        if locked {
            state.account_lock(pages)?;
        }
        if account {
            let charged = state.charge(pages);
            if charged.is_err() && locked {
                state.locked_pages -= pages;
            }
            charged?;
        }
        let vma = Vma::new(start, end, request.prot, flags, request.backing);
        self.register(&vma);
        state.total_pages += pages;
        state.vmas.insert(vma);
        state.vmas.try_join_below(start);
        if let Some(next) = state.vmas.find(end).map(|vma| vma.start) {
            state.vmas.try_join_below(next);
        }
        drop(state);
        if request.populate || (locked && !flags.contains(VmFlags::LOCK_ONFAULT)) {
            self.populate(start, end);
        }
        Ok(start)
    }

    /// munmap(2): EINVAL for an unaligned address or an empty or impossible range.
    pub fn munmap(&self, addr: usize, len: usize) -> Result<()> {
        let range = user_range(addr, len)
            .filter(|r| !r.is_empty())
            .ok_or(Errno::EINVAL)?;
        let mut state = self.state.write();
        self.unmap_locked(&mut state, range.start, range.end)
    }

    /// Removes everything in `start..end`.
    fn unmap_locked(&self, state: &mut MmState, start: usize, end: usize) -> Result<()> {
        if state
            .vmas
            .overlapping(start, end)
            .any(|vma| vma.flags.contains(VmFlags::SEALED))
        {
            return Err(Errno::EPERM);
        }
        state.check_huge_edges(start, end)?;
        let mut gone = state.take_range(start, end)?;
        for vma in &gone {
            self.table().unmap_range(vma.start, vma.end, &mut |_, _| {});
        }
        gone.clear();
        Ok(())
    }

    /// The protection key of the mapping at `addr`.
    pub fn key_at(&self, addr: usize) -> Option<u32> {
        let state = self.state.read();
        state.vmas.find(addr).map(|vma| vma.prot.key())
    }

    /// mprotect(2), and pkey_mprotect(2) with a protection key. ENOMEM where nothing is mapped, EACCES where the mapping
    /// does not allow it.
    pub fn mprotect(
        &self,
        addr: usize,
        len: usize,
        prot: PageProt,
        key: Option<u32>,
    ) -> Result<()> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let range = user_range(addr, len).ok_or(Errno::ENOMEM)?;
        if range.is_empty() {
            return Ok(());
        }
        let mut state = self.state.write();
        state.check_covered(&range)?;
        for vma in state.vmas.overlapping(range.start, range.end) {
            let denied = (prot.contains(PageProt::WRITE)
                && vma.flags.contains(VmFlags::NO_MAYWRITE))
                || (prot.contains(PageProt::EXEC) && vma.flags.contains(VmFlags::NO_MAYEXEC));
            if denied {
                return Err(Errno::EACCES);
            }
            if vma.flags.contains(VmFlags::SEALED) {
                return Err(Errno::EPERM);
            }
        }
        if prot.contains(PageProt::WRITE) {
            state.charge_range(&range)?;
        }
        state.change_range(&range, |vma| {
            let prot = prot.with_key(key.unwrap_or(vma.prot.key()));
            vma.prot = prot;
            // Never adds WRITE: the next write faults, which knows about copy-on-write and dirty pages.
            self.table()
                .protect_range(vma.start, vma.end, &mut |_, mapping| {
                    if mapping.prot.contains(PageProt::WRITE) {
                        prot
                    } else {
                        prot.read_only()
                    }
                });
        })?;
        state.join_range(&range);
        Ok(())
    }

    /// brk(2): the break that is in force afterwards.
    pub fn brk(self: &Arc<Self>, wanted: usize) -> usize {
        let (start_brk, old) = {
            let state = self.state.read();
            (state.layout.start_brk, state.layout.brk)
        };
        if wanted < start_brk || wanted > TASK_SIZE_MAX {
            return old;
        }
        let (Some(new_top), Some(old_top)) = (page_up(wanted), page_up(old)) else {
            return old;
        };
        let done = if new_top < old_top {
            self.munmap(new_top, old_top - new_top)
        } else if new_top > old_top {
            let beyond = (wanted - start_brk) as u64 > self.state.read().limits.data;
            let mut request =
                MapRequest::anonymous(new_top - old_top, PageProt::READ | PageProt::WRITE);
            request.addr = old_top;
            request.fixed = true;
            request.no_replace = true;
            request.flags = VmFlags::HEAP;
            if beyond {
                Err(Errno::ENOMEM)
            } else {
                self.mmap(request).map(drop)
            }
        } else {
            Ok(())
        };
        if done.is_err() {
            return old;
        }
        self.state.write().layout.brk = wanted;
        wanted
    }

    /// mremap(2) with flags already checked: gives the new address.
    ///
    /// `target` is the fixed new address (MREMAP_FIXED); EFAULT where `old` is not one mapping, ENOMEM without room.
    pub fn mremap(
        self: &Arc<Self>,
        old: usize,
        old_len: usize,
        new_len: usize,
        may_move: bool,
        target: Option<usize>,
        keep_old: bool,
    ) -> Result<usize> {
        let old_len = page_up(old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_up(new_len)
            .filter(|len| *len > 0)
            .ok_or(Errno::EINVAL)?;
        if !old.is_multiple_of(PAGE_SIZE) || new_len > TASK_SIZE_MAX {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.write();
        let vma = state.vmas.find(old).ok_or(Errno::EFAULT)?.clone();
        let old_end = old.checked_add(old_len).ok_or(Errno::EINVAL)?;
        let sealed = |vma: &Vma| vma.flags.contains(VmFlags::SEALED);
        if sealed(&vma) || state.vmas.overlapping(old, old_end).any(sealed) {
            return Err(Errno::EPERM);
        }
        if old_len == 0 && !vma.shared() {
            return Err(Errno::EINVAL);
        }
        if target.is_none() && !keep_old && new_len <= old_len && old_len > 0 {
            if new_len < old_len {
                self.unmap_locked(&mut state, old + new_len, old_end)?;
            }
            return Ok(old);
        }
        if old_end > vma.end {
            return Err(Errno::EFAULT);
        }
        if keep_old && !matches!(vma.backing, Backing::Anon) {
            return Err(Errno::EINVAL);
        }
        let grow = new_len.saturating_sub(old_len) >> PAGE_SHIFT;
        if !state.may_expand(if keep_old {
            new_len >> PAGE_SHIFT
        } else {
            grow
        }) {
            return Err(Errno::ENOMEM);
        }
        if vma.flags.contains(VmFlags::HUGETLB) {
            return Err(Errno::EINVAL);
        }
        if vma.flags.contains(VmFlags::LOCKED) {
            state.account_lock(grow)?;
        }
        if target.is_none() && !keep_old && old_end == vma.end && old_len > 0 {
            let wanted_end = old.checked_add(new_len).filter(|end| *end <= TASK_SIZE_MAX);
            let free =
                wanted_end.is_some_and(|end| state.vmas.overlapping(old_end, end).next().is_none());
            if let (true, Some(end)) = (free, wanted_end) {
                if vma.flags.contains(VmFlags::ACCOUNT) {
                    state.charge(grow)?;
                }
                if let Some(vma) = state.vmas.find_mut(old) {
                    vma.end = end;
                }
                state.total_pages += grow;
                if let Some(next) = state.vmas.find(end).map(|vma| vma.start) {
                    state.vmas.try_join_below(next);
                }
                drop(state);
                if vma.flags.contains(VmFlags::LOCKED) {
                    self.populate(old_end, end);
                }
                return Ok(old);
            }
        }
        if !may_move {
            return Err(Errno::ENOMEM);
        }
        self.move_mapping(&mut state, &vma, old..old_end, new_len, target, keep_old)
    }

    fn move_mapping(
        self: &Arc<Self>,
        state: &mut MmState,
        vma: &Vma,
        old: Range<usize>,
        new_len: usize,
        target: Option<usize>,
        keep_old: bool,
    ) -> Result<usize> {
        let new = match target {
            Some(new) => {
                let range = user_range(new, new_len).ok_or(Errno::EINVAL)?;
                if new % PAGE_SIZE != 0 || (range.start < old.end && old.start < range.end) {
                    return Err(Errno::EINVAL);
                }
                self.unmap_locked(state, range.start, range.end)?;
                new
            }
            None => state
                .vmas
                .find_gap_down(MMAP_MIN_ADDR, state.layout.mmap_base, new_len, STACK_GUARD)
                .ok_or(Errno::ENOMEM)?,
        };
        if vma.flags.contains(VmFlags::ACCOUNT) {
            // What the old place took is given back when it is unmapped.
            state.charge(new_len >> PAGE_SHIFT)?;
        }
        let mut moved = vma.clone();
        if let Backing::Object { pgoff, .. } = &mut moved.backing {
            *pgoff += ((old.start - vma.start) >> PAGE_SHIFT) as u64;
        }
        moved.start = new;
        moved.end = new + new_len;
        // Without events of moves, the new place is nobody else's business.
        moved.userfault = None;
        moved.flags.remove(VmFlags::UFFD_MISSING);
        let carried = (old.end - old.start).min(new_len);
        if self.table().move_range(old.start, new, carried).is_err() {
            if moved.flags.contains(VmFlags::ACCOUNT) {
                state.uncharge(new_len >> PAGE_SHIFT);
            }
            return Err(Errno::ENOMEM);
        }
        self.register(&moved);
        state.total_pages += new_len >> PAGE_SHIFT;
        let locked = moved.flags.contains(VmFlags::LOCKED);
        state.vmas.insert(moved);
        if !keep_old && old.start < old.end {
            self.unmap_locked(state, old.start, old.end)?;
        }
        state.vmas.try_join_below(new);
        if locked {
            state.locked_pages += carried >> PAGE_SHIFT;
        }
        Ok(new)
    }

    /// remap_file_pages(2): shows the object that is mapped shared in `range` from page `pgoff` on. EINVAL.
    pub fn remap_pages(self: &Arc<Self>, range: Range<usize>, pgoff: u64) -> Result<()> {
        let mut state = self.state.write();
        let mut at = range.start;
        let mut first: Option<Vma> = None;
        for vma in state.vmas.overlapping(range.start, range.end) {
            let alike = match (&first, &vma.backing) {
                (None, Backing::Object { .. }) => vma.shared() && vma.start <= at,
                (Some(first), Backing::Object { object, .. }) => {
                    matches!(&first.backing, Backing::Object { object: o, .. } if Arc::ptr_eq(o, object))
                        && vma.flags == first.flags
                        && vma.start == at
                }
                (_, Backing::Anon) => false,
            };
            if !alike {
                return Err(Errno::EINVAL);
            }
            at = vma.end;
            first.get_or_insert_with(|| vma.clone());
        }
        let mut vma = first.filter(|_| at >= range.end).ok_or(Errno::EINVAL)?;
        self.unmap_locked(&mut state, range.start, range.end)?;
        let pages = (range.end - range.start) >> PAGE_SHIFT;
        if vma.flags.contains(VmFlags::LOCKED) {
            state.locked_pages += pages;
        }
        (vma.start, vma.end) = (range.start, range.end);
        if let Backing::Object { pgoff: shown, .. } = &mut vma.backing {
            *shown = pgoff;
        }
        self.register(&vma);
        state.total_pages += pages;
        state.vmas.insert(vma);
        drop(state);
        self.populate(range.start, range.end);
        Ok(())
    }

    /// Faults in every page of `start..end` as a read or, where private and writable, as a write. Stops at the
    /// first failure, like MAP_POPULATE.
    pub fn populate(&self, start: usize, end: usize) {
        let mut va = start;
        while va < end {
            let access = {
                let state = self.state.read();
                match state.vmas.find(va) {
                    Some(vma) if vma.prot.contains(PageProt::WRITE) && !vma.shared() => {
                        Access::Write
                    }
                    Some(_) => Access::Read,
                    None => return,
                }
            };
            if self.fault(va, access) != FaultOutcome::Handled {
                return;
            }
            va = self.behind(va);
            keel_hal::task::cond_resched();
        }
    }

    /// The address behind the page that is mapped at `va`.
    fn behind(&self, va: usize) -> usize {
        let mapping = self.table().cursor(va, va + PAGE_SIZE).query();
        match mapping {
            Some(mapping) if mapping.huge => super::huge::block_of(va).end,
            _ => va + PAGE_SIZE,
        }
    }

    /// Sets and clears attributes over a range (madvise, mlock): ENOMEM where nothing is mapped.
    pub fn change_flags(&self, range: Range<usize>, set: VmFlags, clear: VmFlags) -> Result<()> {
        let mut state = self.state.write();
        let covered = state.check_covered(&range);
        state.change_range(&range, |vma| vma.flags = (vma.flags - clear) | set)?;
        state.join_range(&range);
        covered
    }

    /// mlock(2) and munlock(2) over one range.
    pub fn lock_range(&self, range: Range<usize>, lock: Option<VmFlags>) -> Result<()> {
        {
            let mut state = self.state.write();
            state.check_covered(&range)?;
            let already: usize = state
                .vmas
                .overlapping(range.start, range.end)
                .filter(|vma| vma.flags.contains(VmFlags::LOCKED))
                .map(|vma| (vma.end.min(range.end) - vma.start.max(range.start)) >> PAGE_SHIFT)
                .sum();
            let all = (range.end - range.start) >> PAGE_SHIFT;
            match lock {
                Some(_) => state.account_lock(all - already)?,
                None => state.locked_pages = state.locked_pages.saturating_sub(already),
            }
            let both = VmFlags::LOCKED | VmFlags::LOCK_ONFAULT;
            state.change_range(&range, |vma| {
                vma.flags = (vma.flags - both) | lock.unwrap_or(VmFlags::empty())
            })?;
            state.join_range(&range);
        }
        if lock.is_some_and(|flags| !flags.contains(VmFlags::LOCK_ONFAULT)) {
            self.populate(range.start, range.end);
        }
        Ok(())
    }

    /// mlockall(2) (`current` and `future` give the new flags) and munlockall(2) (neither).
    pub fn lock_all(&self, current: Option<VmFlags>, future: Option<VmFlags>) -> Result<()> {
        let ranges: Vec<_> = {
            let mut state = self.state.write();
            state.default_flags = future.unwrap_or(VmFlags::empty());
            state.vmas.iter().map(|vma| vma.start..vma.end).collect()
        };
        if current.is_some() || future.is_none() {
            for range in ranges {
                match self.lock_range(range, current) {
                    Err(Errno::ENOMEM) if current.is_none() => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Drops the pages of a range; private memory reads as zero (or the file) again (MADV_DONTNEED).
    ///
    /// EINVAL for locked memory unless `even_locked`, EPERM for sealed memory that the program could not write.
    pub fn discard(&self, range: Range<usize>, even_locked: bool) -> Result<()> {
        let state = self.state.read();
        let covered = state.check_covered(&range);
        state.check_huge_edges(range.start, range.end)?;
        for vma in state.vmas.overlapping(range.start, range.end) {
            if vma.flags.contains(VmFlags::LOCKED) && !even_locked {
                return Err(Errno::EINVAL);
            }
            if vma.flags.contains(VmFlags::SEALED)
                && !vma.shared()
                && !vma.prot.contains(PageProt::WRITE)
            {
                return Err(Errno::EPERM);
            }
            let (start, end) = (vma.start.max(range.start), vma.end.min(range.end));
            self.table().unmap_range(start, end, &mut |_, _| {});
        }
        covered
    }

    /// Frees the private memory of a dying process ahead of its end (process_mrelease(2)).
    pub fn reap(&self) {
        let state = self.state.read();
        for vma in state.vmas.iter() {
            if !vma.shared() && !vma.flags.contains(VmFlags::LOCKED) {
                self.table().unmap_range(vma.start, vma.end, &mut |_, _| {});
            }
        }
    }

    /// mincore(2): for each page of the range whether it is resident here or in its object.
    pub fn residency(&self, range: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        let state = self.state.read();
        state.check_covered(&range)?;
        let pages = (range.end - range.start) >> PAGE_SHIFT;
        out.try_reserve(pages).map_err(|_| Errno::ENOMEM)?;
        for vma in state.vmas.overlapping(range.start, range.end) {
            let (start, end) = (vma.start.max(range.start), vma.end.min(range.end));
            let first = out.len();
            out.resize(first + ((end - start) >> PAGE_SHIFT), 0);
            {
                let mut cursor = self.table().cursor(start, end);
                while let Some(va) = cursor.next_mapped() {
                    let more = cursor.next();
                    let end = cursor.addr();
                    out[first + ((va - start) >> PAGE_SHIFT)
                        ..first + ((end - start) >> PAGE_SHIFT)]
                        .fill(1);
                    if !more {
                        break;
                    }
                }
            }
            if let Backing::Object { object, .. } = &vma.backing {
                let pgoff = vma.pgoff_at(start);
                object.pages_nearby(pgoff, ((end - start) >> PAGE_SHIFT) as u64, &mut |at, _| {
                    if let Some(slot) = out.get_mut(first + (at - pgoff) as usize) {
                        *slot = 1;
                    }
                });
            }
        }
        Ok(())
    }

    /// The files mapped shared in a range with their byte ranges (msync).
    pub fn shared_files(
        &self,
        range: Range<usize>,
    ) -> Result<Vec<(Arc<crate::fs::File>, Range<u64>)>> {
        let state = self.state.read();
        let covered = state.check_covered(&range);
        let mut files = Vec::new();
        for vma in state
            .vmas
            .overlapping(range.start, range.end)
            .filter(|vma| vma.shared())
        {
            if let Backing::Object {
                file: Some(file), ..
            } = &vma.backing
            {
                let (start, end) = (vma.start.max(range.start), vma.end.min(range.end));
                let from = vma.pgoff_at(start) << PAGE_SHIFT;
                files.push((file.clone(), from..from + (end - start) as u64));
            }
        }
        covered.map(|()| files)
    }

    /// What MADV_REMOVE punches holes into, with the pages: EINVAL for locked or private memory, EACCES for what may not
    /// be written.
    pub fn removable(&self, range: Range<usize>) -> Result<Vec<Removable>> {
        let state = self.state.read();
        let covered = state.check_covered(&range);
        let mut found = Vec::new();
        for vma in state.vmas.overlapping(range.start, range.end) {
            let Backing::Object { object, file, .. } = &vma.backing else {
                return Err(Errno::EINVAL);
            };
            if vma.flags.contains(VmFlags::LOCKED) {
                return Err(Errno::EINVAL);
            }
            if !vma.shared() || !vma.prot.contains(PageProt::WRITE) {
                return Err(Errno::EACCES);
            }
            let first = vma.pgoff_at(vma.start.max(range.start));
            let len = vma.end.min(range.end) - vma.start.max(range.start);
            found.push(Removable {
                object: object.clone(),
                file: file.clone(),
                pages: first..first + (len >> PAGE_SHIFT) as u64,
            });
        }
        covered.map(|()| found)
    }

    /// Whether a VMA in the range is locked (msync(MS_INVALIDATE) gives EBUSY then).
    pub fn any_locked(&self, range: &Range<usize>) -> bool {
        let state = self.state.read();
        state
            .vmas
            .overlapping(range.start, range.end)
            .any(|v| v.flags.contains(VmFlags::LOCKED))
    }

    /// Whether the page at `addr` is shared with others who map the same object.
    pub fn is_shared_mapping(&self, addr: usize) -> bool {
        self.state.read().vmas.find(addr).is_some_and(Vma::shared)
    }

    /// Whether anything but private anonymous memory is mapped in the range.
    pub fn any_object(&self, range: &Range<usize>) -> bool {
        let state = self.state.read();
        state
            .vmas
            .overlapping(range.start, range.end)
            .any(|vma| !matches!(vma.backing, Backing::Anon))
    }

    /// Faults in a range; unlike [`Self::populate`] tells why it could not (MADV_POPULATE_*): ENOMEM where nothing
    /// is mapped, EINVAL where the protection forbids it, EFAULT for a bus error.
    pub fn populate_strictly(&self, range: Range<usize>, access: Access) -> Result<()> {
        let mut va = range.start;
        while va < range.end {
            match self.fault(va, access) {
                FaultOutcome::Handled => {}
                FaultOutcome::NotMapped | FaultOutcome::Oom => return Err(Errno::ENOMEM),
                FaultOutcome::Denied => return Err(Errno::EINVAL),
                FaultOutcome::Bus => return Err(Errno::EFAULT),
            }
            va = self.behind(va);
            keel_hal::task::cond_resched();
        }
        Ok(())
    }

    /// MADV_COLLAPSE: makes huge pages of the whole aligned blocks in the range that are private anonymous memory.
    /// EINVAL where that cannot be, EAGAIN without a free block of memory.
    pub fn collapse(&self, range: Range<usize>) -> Result<()> {
        let first = range.start.next_multiple_of(HUGE_PAGE_SIZE);
        let last = range.end & !(HUGE_PAGE_SIZE - 1);
        if first >= last {
            return Ok(());
        }
        let state = self.state.write();
        state.check_covered(&range)?;
        let mut result = Ok(());
        for start in (first..last).step_by(HUGE_PAGE_SIZE) {
            let one = match state.vmas.find(start) {
                Some(vma) => self.collapse_block(vma, start),
                None => Err(Errno::ENOMEM),
            };
            result = result.and(one);
        }
        result
    }

    /// mseal(2): no call changes the range's mappings any more.
    pub fn seal(&self, range: Range<usize>) -> Result<()> {
        let mut state = self.state.write();
        state.check_covered(&range)?;
        state.change_range(&range, |vma| vma.flags |= VmFlags::SEALED)
    }

    /// Removes every mapping (exec, exit).
    pub fn clear(&self) {
        self.aio.destroy_all();
        let mut state = self.state.write();
        if let Ok(gone) = state.take_range(0, TASK_SIZE_MAX) {
            for vma in &gone {
                self.table().unmap_range(vma.start, vma.end, &mut |_, _| {});
            }
        }
    }

    /// Names private anonymous memory (prctl(PR_SET_VMA_ANON_NAME)).
    pub fn set_name(&self, range: Range<usize>, name: Option<Arc<[u8]>>) -> Result<()> {
        let mut state = self.state.write();
        state.check_covered(&range)?;
        state.change_range(&range, |vma| {
            if matches!(vma.backing, Backing::Anon) {
                vma.name = name.clone();
            }
        })
    }
}

impl MmState {
    /// Chooses the address of a new mapping.
    fn place(&self, request: &MapRequest, len: usize) -> Result<usize> {
        if request.fixed {
            if !request.addr.is_multiple_of(PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            let end = request.addr.checked_add(len).ok_or(Errno::ENOMEM)?;
            if end > TASK_SIZE_MAX {
                return Err(Errno::ENOMEM);
            }
            if request.addr < MMAP_MIN_ADDR {
                return Err(Errno::EPERM);
            }
            let huge = request.flags.contains(VmFlags::HUGETLB);
            if huge && !request.addr.is_multiple_of(HUGE_PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            return Ok(request.addr);
        }
        if request.flags.contains(VmFlags::HUGETLB) {
            let (low, high) = if request.low_2g {
                (1 << 30, 1 << 31)
            } else {
                (MMAP_MIN_ADDR, self.layout.mmap_base)
            };
            let gap = len + HUGE_PAGE_SIZE - PAGE_SIZE;
            let start = self.vmas.find_gap_down(low, high, gap, STACK_GUARD);
            return start
                .map(|start| start.next_multiple_of(HUGE_PAGE_SIZE))
                .ok_or(Errno::ENOMEM);
        }
        if request.low_2g {
            return self
                .vmas
                .find_gap_up(1 << 30, 1 << 31, len)
                .ok_or(Errno::ENOMEM);
        }
        let hint = super::page_down(request.addr.saturating_add(PAGE_SIZE - 1));
        if hint >= MMAP_MIN_ADDR
            && hint.checked_add(len).is_some_and(|end| {
                end <= TASK_SIZE_MAX && self.vmas.overlapping(hint, end).next().is_none()
            })
        {
            return Ok(hint);
        }
        let top = self.layout.mmap_base;
        let find = |len| {
            self.vmas
                .find_gap_down(MMAP_MIN_ADDR, top, len, STACK_GUARD)
        };
        // Whole huge pages are laid where huge pages can be, as newer Linux does.
        if matches!(request.backing, Backing::Anon)
            && len.is_multiple_of(HUGE_PAGE_SIZE)
            && let Some(start) = find(len + HUGE_PAGE_SIZE - PAGE_SIZE)
        {
            return Ok(start.next_multiple_of(HUGE_PAGE_SIZE));
        }
        find(len)
            .or_else(|| self.vmas.find_gap_up(top, TASK_SIZE_MAX, len))
            .ok_or(Errno::ENOMEM)
    }

    /// Takes the VMAs of `start..end` out, splitting at the edges.
    fn take_range(&mut self, start: usize, end: usize) -> Result<Vec<Vma>> {
        if self.vmas.count() + 2 > MAX_MAP_COUNT
            && self
                .vmas
                .find(start)
                .is_some_and(|vma| vma.start < start && vma.end > end)
        {
            return Err(Errno::ENOMEM);
        }
        self.vmas.split_at(start);
        self.vmas.split_at(end);
        let starts: Vec<usize> = self
            .vmas
            .overlapping(start, end)
            .map(|vma| vma.start)
            .collect();
        let mut gone = Vec::with_capacity(starts.len());
        for at in starts {
            if let Some(vma) = self.vmas.remove(at) {
                let pages = vma.len() >> PAGE_SHIFT;
                self.total_pages = self.total_pages.saturating_sub(pages);
                if vma.flags.contains(VmFlags::LOCKED) {
                    self.locked_pages = self.locked_pages.saturating_sub(pages);
                }
                if vma.flags.contains(VmFlags::ACCOUNT) {
                    self.uncharge(pages);
                }
                gone.push(vma);
            }
        }
        Ok(gone)
    }

    /// Counts pages as promised: ENOMEM.
    pub(super) fn charge(&mut self, pages: usize) -> Result<()> {
        super::commit::charge(pages, self.total_pages)?;
        self.charged += pages;
        Ok(())
    }

    fn uncharge(&mut self, pages: usize) {
        let pages = pages.min(self.charged);
        self.charged -= pages;
        super::commit::uncharge(pages);
    }

    /// Counts `pages` that the VMA at `addr` grows by.
    pub(super) fn charge_growth(&mut self, addr: usize, pages: usize) -> Result<()> {
        let accounted = |vma: &Vma| vma.flags.contains(VmFlags::ACCOUNT);
        if self.vmas.find(addr).is_some_and(accounted) {
            self.charge(pages)?;
        }
        Ok(())
    }

    /// Counts what of a range becomes writable and private: ENOMEM.
    fn charge_range(&mut self, range: &Range<usize>) -> Result<()> {
        let exempt = VmFlags::SHARED | VmFlags::ACCOUNT | VmFlags::HUGETLB | VmFlags::NORESERVE;
        let uncounted = |vma: &Vma| !vma.flags.intersects(exempt);
        let pages = self
            .vmas
            .overlapping(range.start, range.end)
            .filter(|vma| uncounted(vma))
            .map(|vma| (vma.end.min(range.end) - vma.start.max(range.start)) >> PAGE_SHIFT)
            .sum();
        self.charge(pages)?;
        let changed = self.change_range(range, |vma| {
            if uncounted(vma) {
                vma.flags |= VmFlags::ACCOUNT;
            }
        });
        if changed.is_err() {
            self.uncharge(pages);
        }
        changed
    }

    /// EINVAL if a boundary lies within a huge page of a pool.
    fn check_huge_edges(&self, start: usize, end: usize) -> Result<()> {
        let cut = |at: usize| {
            !at.is_multiple_of(HUGE_PAGE_SIZE)
                && self
                    .vmas
                    .find(at)
                    .is_some_and(|vma| vma.flags.contains(VmFlags::HUGETLB))
        };
        if cut(start) || cut(end) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// ENOMEM unless every address of the range is mapped.
    pub(super) fn check_covered(&self, range: &Range<usize>) -> Result<()> {
        let mut at = range.start;
        for vma in self.vmas.overlapping(range.start, range.end) {
            if vma.start > at {
                return Err(Errno::ENOMEM);
            }
            at = vma.end;
        }
        if at < range.end {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    /// Applies `change` to just the range, splitting VMAs at its edges.
    pub(super) fn change_range(
        &mut self,
        range: &Range<usize>,
        mut change: impl FnMut(&mut Vma),
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        if self.vmas.count() + 2 > MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        self.check_huge_edges(range.start, range.end)?;
        self.vmas.split_at(range.start);
        self.vmas.split_at(range.end);
        self.vmas
            .overlapping_mut(range.start, range.end)
            .for_each(&mut change);
        Ok(())
    }

    /// Joins alike neighbours in and at the edges of the range.
    pub(super) fn join_range(&mut self, range: &Range<usize>) {
        let starts: Vec<usize> = self
            .vmas
            .overlapping(range.start, range.end.saturating_add(1))
            .map(|vma| vma.start)
            .collect();
        for start in starts {
            self.vmas.try_join_below(start);
        }
    }

    /// Counts `pages` as locked if RLIMIT_MEMLOCK or CAP_IPC_LOCK allows it.
    fn account_lock(&mut self, pages: usize) -> Result<()> {
        let total = self.locked_pages + pages;
        let privileged = crate::process::current_opt()
            .is_none_or(|thread| thread.cred().has(crate::process::Cap::IPC_LOCK));
        if !privileged {
            if self.limits.memlock == 0 {
                return Err(Errno::EPERM);
            }
            if (total as u64) << PAGE_SHIFT > self.limits.memlock {
                return Err(Errno::ENOMEM);
            }
        }
        self.locked_pages = total;
        Ok(())
    }
}

/// `addr..addr+len` rounded up to pages; `None` when unaligned or outside user space.
pub fn user_range(addr: usize, len: usize) -> Option<Range<usize>> {
    let end = addr.checked_add(page_up(len)?)?;
    (addr.is_multiple_of(PAGE_SIZE) && end <= TASK_SIZE_MAX).then_some(addr..end)
}
