//! A thread's memory: areas, what they have in memory, contents.
//!
//! Areas are copied out of the address space before anything is made of them, so that no visitor runs under its lock.

use core::ops::Range;
use keel_hal::paging::{Mapping, PageProt};
use keel_procfs::{DevNo, Stat, Statm, StatusMem, Text, Vma, VmaFlags, VmaName, VmaUsage};

use super::TaskRef;
use super::files::{dev_no, shown};
use crate::fs::File;
use crate::mm::{AddressSpace, MemPolicy, MmStats, VmFlags, VmaInfo};
use crate::prelude::*;
use crate::process::Thread;

const PAGE: u64 = PAGE_SIZE as u64;
/// Bytes of a huge page.
const HUGE_PAGE: u64 = 2 << 20;

/// What stands behind an area without a file that is shared, as Linux names it.
const SHARED_ANON: &[u8] = b"/dev/zero (deleted)";
/// The same of huge pages.
const HUGE_ANON: &[u8] = b"/anon_hugepage (deleted)";
/// Minor number of the kernel's own tmpfs.
const SHARED_ANON_DEV: DevNo = DevNo { major: 0, minor: 1 };

/// One area, by itself.
struct Area {
    start: usize,
    end: usize,
    prot: PageProt,
    flags: VmFlags,
    offset: u64,
    file: Option<Arc<File>>,
    name: Option<Arc<[u8]>>,
    policy: Option<Arc<MemPolicy>>,
}

impl Area {
    fn of(info: &VmaInfo) -> Self {
        Self {
            start: info.start,
            end: info.end,
            prot: info.prot,
            flags: info.flags,
            offset: info.offset,
            file: info.file.clone(),
            name: info.name.clone(),
            policy: info.policy.clone(),
        }
    }

    fn shared(&self) -> bool {
        self.flags.contains(VmFlags::SHARED)
    }

    /// Whether its own pages live in a tmpfs or have no file at all.
    fn is_shmem(&self) -> bool {
        match &self.file {
            Some(file) => matches!(file.inode.sb.fs_type.name(), "tmpfs" | "devtmpfs" | "ramfs"),
            None => self.shared(),
        }
    }

    /// Whether a page that is mapped in it belongs to this memory alone rather than to a file.
    fn is_anon_page(&self, page: &Mapping) -> bool {
        if self.shared() || self.flags.intersects(VmFlags::VDSO | VmFlags::VVAR) {
            return false;
        }
        // A private mapping of a file: a page that is or was written is a copy.
        self.file.is_none() || page.dirty || page.prot.contains(PageProt::WRITE)
    }

    fn proc_flags(&self) -> VmaFlags {
        let mut out = VmaFlags::MAYREAD;
        for (bit, flag) in PROT {
            out.set(flag, self.prot.contains(bit));
        }
        for (bit, flag) in FLAGS {
            out.set(flag, self.flags.contains(bit));
        }
        out.set(
            VmaFlags::MAYWRITE,
            !self.flags.contains(VmFlags::NO_MAYWRITE),
        );
        out.set(VmaFlags::MAYEXEC, !self.flags.contains(VmFlags::NO_MAYEXEC));
        out.set(VmaFlags::MAYSHARE, self.shared());
        out
    }

    fn visit<R>(&self, with: impl FnOnce(&Vma<'_>) -> R) -> R {
        let mut vma = Vma {
            start: self.start as u64,
            end: self.end as u64,
            flags: self.proc_flags(),
            policy: self.policy.as_ref().map_or("", |policy| policy.describe()),
            ..Vma::default()
        };
        let path;
        if let Some(file) = &self.file {
            path = shown(&file.path);
            vma.name = VmaName::Path(&path);
            vma.offset = self.offset;
            vma.dev = dev_no(file.inode.sb.dev);
            vma.ino = file.inode.ino;
        } else if let Some(name) = SPECIAL.iter().find(|(flag, _)| self.flags.contains(*flag)) {
            vma.name = VmaName::Special(name.1);
        } else if let Some(name) = &self.name {
            let anon = if self.shared() {
                VmaName::AnonShared
            } else {
                VmaName::Anon
            };
            vma.name = anon(name);
        } else if self.flags.contains(VmFlags::HUGETLB) {
            vma.name = VmaName::Path(HUGE_ANON);
        } else if self.shared() {
            vma.name = VmaName::Path(SHARED_ANON);
            vma.dev = SHARED_ANON_DEV;
        }
        with(&vma)
    }
}

const PROT: [(PageProt, VmaFlags); 3] = [
    (PageProt::READ, VmaFlags::READ),
    (PageProt::WRITE, VmaFlags::WRITE),
    (PageProt::EXEC, VmaFlags::EXEC),
];

const FLAGS: [(VmFlags, VmaFlags); 16] = [
    (VmFlags::SHARED, VmaFlags::SHARED),
    (VmFlags::GROWSDOWN, VmaFlags::GROWSDOWN),
    (VmFlags::LOCKED, VmaFlags::LOCKED),
    (VmFlags::LOCK_ONFAULT, VmaFlags::LOCKONFAULT),
    (VmFlags::DONTFORK, VmaFlags::DONTCOPY),
    (VmFlags::WIPEONFORK, VmaFlags::WIPEONFORK),
    (VmFlags::DONTDUMP, VmaFlags::DONTDUMP),
    (VmFlags::NORESERVE, VmaFlags::NORESERVE),
    (VmFlags::HUGEPAGE, VmaFlags::HUGEPAGE),
    (VmFlags::NOHUGEPAGE, VmaFlags::NOHUGEPAGE),
    (VmFlags::SEQUENTIAL, VmaFlags::SEQ_READ),
    (VmFlags::RANDOM, VmaFlags::RAND_READ),
    (VmFlags::SEALED, VmaFlags::SEALED),
    (VmFlags::ACCOUNT, VmaFlags::ACCOUNT),
    (VmFlags::HUGETLB, VmaFlags::HUGETLB),
    (VmFlags::UFFD_MISSING, VmaFlags::UFFD_MISSING),
];

const SPECIAL: [(VmFlags, &str); 4] = [
    (VmFlags::HEAP, "[heap]"),
    (VmFlags::STACK, "[stack]"),
    (VmFlags::VDSO, "[vdso]"),
    (VmFlags::VVAR, "[vvar]"),
];

fn areas(mm: &AddressSpace) -> Result<Vec<Area>> {
    let mut list = Vec::new();
    let mut failed = false;
    mm.for_each_vma(|info| {
        failed = list.try_reserve(1).is_err();
        if !failed {
            list.push(Area::of(info));
        }
        !failed
    });
    if failed { Err(Errno::ENOMEM) } else { Ok(list) }
}

/// maps.
pub fn vmas(task: &TaskRef, visit: &mut dyn FnMut(&Vma<'_>) -> Result<()>) -> Result<()> {
    let Some(mm) = task.mm()? else { return Ok(()) };
    areas(&mm)?
        .iter()
        .try_for_each(|area| area.visit(|vma| visit(vma)))
}

/// smaps.
pub fn smaps(
    task: &TaskRef,
    visit: &mut dyn FnMut(&Vma<'_>, &VmaUsage) -> Result<()>,
) -> Result<()> {
    let Some(mm) = task.mm()? else { return Ok(()) };
    areas(&mm)?.iter().try_for_each(|area| {
        let usage = usage(&mm, area);
        area.visit(|vma| visit(vma, &usage))
    })
}

/// Whether an area can have huge pages: it is private anonymous memory with room for one.
fn eligible(mm: &AddressSpace, area: &Area) -> bool {
    let first = area.start.next_multiple_of(HUGE_PAGE as usize);
    !area.shared()
        && area.file.is_none()
        && first + HUGE_PAGE as usize <= area.end
        && mm.huge_pages_allowed(area.flags)
}

/// What an area has in memory. A frame's references tell how many share it: this mapping has one, the cursor's copy
/// another, and the cache or another mapping the rest.
fn usage(mm: &AddressSpace, area: &Area) -> VmaUsage {
    let mut sum = VmaUsage {
        kernel_page_size: PAGE,
        mmu_page_size: PAGE,
        thp_eligible: eligible(mm, area),
        protection_key: keel_hal::fpu::has_protection_keys().then(|| area.prot.key()),
        ..VmaUsage::default()
    };
    if area.flags.contains(VmFlags::HUGETLB) {
        return huge_usage(mm, area, sum);
    }
    let shmem = area.is_shmem();
    mm.for_each_page(area.start, area.end, |_, page| {
        let size = if page.huge { HUGE_PAGE } else { PAGE };
        let anon = area.is_anon_page(page);
        // The mapping's own reference and the visitor's; and for a page of a file, the cache's.
        let own = if anon { 2 } else { 3 };
        let sharers = u64::from(page.frame.ref_count().saturating_sub(own)) + 1;
        let pss = size / sharers;
        sum.rss += size;
        sum.pss += pss;
        if page.accessed {
            sum.referenced += size;
        }
        let kind = match (anon, shmem) {
            (true, _) => &mut sum.pss_anon,
            (false, true) => &mut sum.pss_shmem,
            (false, false) => &mut sum.pss_file,
        };
        *kind += pss;
        if anon {
            sum.anonymous += size;
            sum.anon_huge_pages += if page.huge { size } else { 0 };
        }
        if page.dirty {
            sum.pss_dirty += pss;
        }
        let share = match (sharers > 1, page.dirty) {
            (true, true) => &mut sum.shared_dirty,
            (true, false) => &mut sum.shared_clean,
            (false, true) => &mut sum.private_dirty,
            (false, false) => &mut sum.private_clean,
        };
        *share += size;
    });
    if area.flags.contains(VmFlags::LOCKED) {
        sum.locked = sum.pss;
    }
    sum
}

/// The same for huge pages of a pool, which have lines of their own.
fn huge_usage(mm: &AddressSpace, area: &Area, mut sum: VmaUsage) -> VmaUsage {
    sum.kernel_page_size = HUGE_PAGE;
    sum.mmu_page_size = HUGE_PAGE;
    // The pool's reference, the mapping's and the visitor's.
    const SOLE: u32 = 3;
    mm.for_each_page(area.start, area.end, |_, page| {
        let slot = if page.frame.ref_count() > SOLE {
            &mut sum.shared_hugetlb
        } else {
            &mut sum.private_hugetlb
        };
        *slot += HUGE_PAGE;
    });
    sum
}

/// Resident bytes: anonymous, of files, of shared memory.
fn resident(mm: &AddressSpace) -> [u64; 3] {
    let mut sums = [0; 3];
    let Ok(areas) = areas(mm) else { return sums };
    for area in &areas {
        let own = if area.is_shmem() { 2 } else { 1 };
        let all_anon = area.file.is_none() && !area.shared();
        mm.for_each_page(area.start, area.end, |_, page| {
            let size = if page.huge { HUGE_PAGE } else { PAGE };
            let kind = if all_anon || area.is_anon_page(page) {
                0
            } else {
                own
            };
            if let Some(sum) = sums.get_mut(kind) {
                *sum += size;
            }
        });
    }
    sums
}

fn bytes(pages: usize) -> u64 {
    pages as u64 * PAGE
}

/// statm.
pub fn statm(task: &TaskRef) -> Result<Statm> {
    let Some(mm) = task.mm()? else {
        return Ok(Statm::default());
    };
    let stats = mm.stats();
    let [anon, file, shmem] = resident(&mm).map(|bytes| bytes / PAGE);
    Ok(Statm {
        size: stats.total as u64,
        resident: anon + file + shmem,
        shared: file + shmem,
        text: stats.text as u64,
        data: (stats.data + stats.stack) as u64,
    })
}

/// The memory fields of stat.
pub fn fill_stat(thread: &Thread, stat: &mut Stat) {
    let Some(mm) = thread.mm_opt() else { return };
    let (layout, stats) = (mm.layout(), mm.stats());
    stat.has_mm = true;
    stat.vsize = bytes(stats.total);
    stat.rss = stats.resident as u64;
    stat.start_code = layout.start_code as u64;
    stat.end_code = layout.end_code as u64;
    stat.start_stack = layout.start_stack as u64;
    stat.start_data = layout.start_data as u64;
    stat.end_data = layout.end_data as u64;
    stat.start_brk = layout.start_brk as u64;
    stat.arg_start = layout.arg_start as u64;
    stat.arg_end = layout.arg_end as u64;
    stat.env_start = layout.env_start as u64;
    stat.env_end = layout.env_end as u64;
}

/// The memory lines of status.
pub fn status(thread: &Thread) -> Option<StatusMem> {
    let mm = thread.mm_opt()?;
    let stats: MmStats = mm.stats();
    let [rss_anon, rss_file, rss_shmem] = resident(&mm);
    Some(StatusMem {
        core_dumping: crate::process::core_dump::in_progress(&thread.process),
        peak: bytes(stats.total),
        size: bytes(stats.total),
        locked: bytes(stats.locked),
        hwm: bytes(stats.peak_resident),
        rss_anon,
        rss_file,
        rss_shmem,
        data: bytes(stats.data),
        stack: bytes(stats.stack),
        exe: bytes(stats.text),
        lib: bytes(stats.lib),
        page_tables: bytes(mm.table().table_pages()),
        ..StatusMem::default()
    })
}

/// Memory of a process, as far as it is mapped: EIO if the first byte is not.
pub fn read(task: &TaskRef, addr: u64, out: &mut [u8]) -> Result<usize> {
    let Some(mm) = task.mm()? else { return Ok(0) };
    let addr = usize::try_from(addr).map_err(|_| Errno::EIO)?;
    match mm.read_remote(addr, out) {
        0 if !out.is_empty() => Err(Errno::EIO),
        n => Ok(n),
    }
}

/// Writes to it, whatever the protection.
pub fn write(task: &TaskRef, addr: u64, data: &[u8]) -> Result<usize> {
    let Some(mm) = task.mm()? else { return Ok(0) };
    let addr = usize::try_from(addr).map_err(|_| Errno::EIO)?;
    match mm.write_remote(addr, data, true) {
        0 if !data.is_empty() => Err(Errno::EIO),
        n => Ok(n),
    }
}

/// Appends a range of memory, as far as it can be read. True if all of it was.
fn append(mm: &AddressSpace, range: Range<usize>, out: &mut Text) -> Result<bool> {
    let mut page = vec![0; PAGE_SIZE];
    let mut at = range.start;
    while at < range.end {
        let want = (range.end - at).min(PAGE_SIZE);
        let got = mm.read_remote(at, page.get_mut(..want).unwrap_or(&mut []));
        out.bytes(page.get(..got).unwrap_or(&[]))?;
        if got < want {
            return Ok(false);
        }
        at += got;
    }
    Ok(true)
}

/// cmdline. A program that has written over the end of its arguments (setproctitle) has a title instead: it ends at the
/// first NUL, and may go on into the environment.
pub fn cmdline(task: &TaskRef, out: &mut Text) -> Result<()> {
    let Some(mm) = task.mm()? else { return Ok(()) };
    let layout = mm.layout();
    if layout.arg_end <= layout.arg_start {
        return Ok(());
    }
    let mut last = [0];
    let readable = mm.read_remote(layout.arg_end - 1, &mut last) == 1;
    if !readable || last == [0] {
        return append(&mm, layout.arg_start..layout.arg_end, out).map(|_| ());
    }
    let end = if layout.env_start == layout.arg_end {
        layout.env_end
    } else {
        layout.arg_end
    };
    let mut title = Text::new();
    append(
        &mm,
        layout.arg_start..end.min(layout.arg_start + PAGE_SIZE),
        &mut title,
    )?;
    let text = title.as_bytes();
    let len = text
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(text.len());
    out.bytes(text.get(..len).unwrap_or(text))
}

/// environ.
pub fn environ(task: &TaskRef, out: &mut Text) -> Result<()> {
    let Some(mm) = task.mm()? else { return Ok(()) };
    let layout = mm.layout();
    append(
        &mm,
        layout.env_start..layout.env_end.max(layout.env_start),
        out,
    )
    .map(|_| ())
}

/// Bits of a pagemap entry (the kernel's `Documentation/admin-guide/mm/pagemap`).
mod pm {
    pub const PRESENT: u64 = 1 << 63;
    pub const FILE: u64 = 1 << 61;
    pub const EXCLUSIVE: u64 = 1 << 56;
}

/// pagemap: entries of pages from number `first`. Frame numbers are for CAP_SYS_ADMIN.
pub fn pagemap(task: &TaskRef, first: u64, out: &mut [u64]) -> Result<usize> {
    let top = (crate::mm::TASK_SIZE_MAX / PAGE_SIZE) as u64;
    let count = out
        .len()
        .min(usize::try_from(top.saturating_sub(first)).unwrap_or(0));
    let Some(entries) = out.get_mut(..count) else {
        return Ok(0);
    };
    entries.fill(0);
    let Some(mm) = task.mm()? else { return Ok(0) };
    let shows_frames = crate::process::current_opt()
        .is_some_and(|me| me.cred().has(crate::process::Cap::SYS_ADMIN));
    let start = (first as usize) << PAGE_SHIFT;
    let end = start + (count << PAGE_SHIFT);
    for area in areas(&mm)?
        .iter()
        .filter(|area| area.start < end && start < area.end)
    {
        mm.for_each_page(area.start.max(start), area.end.min(end), |va, page| {
            let pages = if page.huge { HUGE_PAGE / PAGE } else { 1 } as usize;
            let head = va & !((pages << PAGE_SHIFT) - 1);
            for index in 0..pages {
                let at = head + (index << PAGE_SHIFT);
                let Some(slot) = at
                    .checked_sub(start)
                    .and_then(|offset| entries.get_mut(offset >> PAGE_SHIFT))
                else {
                    continue;
                };
                let anon = area.is_anon_page(page);
                let own = if anon { 2 } else { 3 };
                *slot = pm::PRESENT;
                *slot |= if anon { 0 } else { pm::FILE };
                *slot |= if page.frame.ref_count() <= own {
                    pm::EXCLUSIVE
                } else {
                    0
                };
                *slot |= if shows_frames {
                    (page.frame.pfn() + index) as u64
                } else {
                    0
                };
            }
        });
    }
    Ok(count)
}

/// clear_refs: 1 to 3 clear the accessed bits of all, anonymous or file pages; 5 forgets the peak. Soft-dirty bits (4)
/// are not kept: as on a Linux without them, the write changes nothing.
pub fn clear_refs(task: &TaskRef, what: u32) -> Result<()> {
    const ANON: u32 = 2;
    const FILE: u32 = 3;
    const SOFT_DIRTY: u32 = 4;
    const PEAK: u32 = 5;
    let Some(mm) = task.mm()? else { return Ok(()) };
    if what == PEAK {
        mm.reset_peak();
        return Ok(());
    }
    if what == SOFT_DIRTY {
        return Ok(());
    }
    for area in &areas(&mm)? {
        let of_file = area.file.is_some();
        if (what == ANON && of_file) || (what == FILE && !of_file) {
            continue;
        }
        let mut cursor = mm.table().cursor(area.start, area.end);
        while cursor.next_mapped().is_some() {
            cursor.clear_accessed();
            if !cursor.next() {
                break;
            }
        }
    }
    Ok(())
}
