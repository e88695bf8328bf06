//! Memory: mmap and its kin.

use core::ops::Range;
use core::sync::atomic::Ordering;
use keel_abi::prelude::*;
use keel_abi::types::Iovec;
use keel_hal::addr::HUGE_PAGE_SIZE;
use keel_hal::paging::PageProt;

use super::Ctx;
use crate::fs::File;
use crate::mm::hugetlb::HugeObject;
use crate::mm::user::UserAccess;
use crate::mm::{
    self, AddressSpace, AnonObject, Backing, MapRequest, VmFlags, VmObject, page_up, user_range,
};
use crate::prelude::*;
use crate::process::Cap;

fn page_prot(prot: MmapProt) -> PageProt {
    let mut flags = PageProt::empty();
    flags.set(PageProt::READ, prot.contains(MmapProt::READ));
    flags.set(PageProt::WRITE, prot.contains(MmapProt::WRITE));
    flags.set(PageProt::EXEC, prot.contains(MmapProt::EXEC));
    flags
}

pub fn mmap(
    cx: &mut Ctx,
    addr: UserAddr,
    length: usize,
    prot: MmapProt,
    flags: MmapFlags,
    fd: Fd,
    offset: u64,
) -> Result<UserAddr> {
    if !offset.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL);
    }
    let file = if flags.contains(MmapFlags::ANONYMOUS) {
        None
    } else {
        Some(cx.thread.files().get(fd)?)
    };
    if length == 0 {
        return Err(Errno::EINVAL);
    }
    let mut len = page_up(length).ok_or(Errno::ENOMEM)?;
    if (offset >> PAGE_SHIFT)
        .checked_add((len >> PAGE_SHIFT) as u64)
        .is_none()
    {
        return Err(Errno::EOVERFLOW);
    }
    let kind = flags.bits() & 0xf;
    let shared = kind == MmapFlags::SHARED.bits() || kind == MmapFlags::SHARED_VALIDATE.bits();
    if !shared && kind != MmapFlags::PRIVATE.bits() {
        return Err(Errno::EINVAL);
    }
    let mut vm_flags = VmFlags::empty();
    vm_flags.set(VmFlags::SHARED, shared);
    vm_flags.set(VmFlags::GROWSDOWN, flags.contains(MmapFlags::GROWSDOWN));
    vm_flags.set(VmFlags::NORESERVE, flags.contains(MmapFlags::NORESERVE));
    vm_flags.set(VmFlags::LOCKED, flags.contains(MmapFlags::LOCKED));
    let mut prot = prot;
    let backing = if let Some(file) = file {
        let request = FileMapping {
            shared,
            len,
            offset,
            strict: kind == 3,
        };
        file_backing(&file, &request, prot, flags, &mut vm_flags)?
    } else {
        if flags.contains(MmapFlags::HUGETLB) {
            vm_flags |= VmFlags::HUGETLB;
            len = len
                .checked_next_multiple_of(HUGE_PAGE_SIZE)
                .ok_or(Errno::ENOMEM)?;
        }
        anonymous_backing(shared, len, flags)?
    };
    if reads_imply_exec(cx)
        && prot.contains(MmapProt::READ)
        && !vm_flags.contains(VmFlags::NO_MAYEXEC)
    {
        prot |= MmapProt::EXEC;
    }
    let request = MapRequest {
        addr: addr.addr() as usize,
        len,
        prot: page_prot(prot),
        flags: vm_flags,
        fixed: flags.intersects(MmapFlags::FIXED | MmapFlags::FIXED_NOREPLACE),
        no_replace: flags.contains(MmapFlags::FIXED_NOREPLACE),
        low_2g: flags.contains(MmapFlags::_32BIT),
        populate: flags.contains(MmapFlags::POPULATE) && !flags.contains(MmapFlags::NONBLOCK),
        backing,
    };
    cx.thread.mm().mmap(request).map(|at| UserAddr(at as u64))
}

fn reads_imply_exec(cx: &Ctx) -> bool {
    const READ_IMPLIES_EXEC: u32 = 0x0040_0000;
    cx.thread.personality.load(Ordering::Relaxed) & READ_IMPLIES_EXEC != 0
}

/// Where the pages of memory without a file come from: EINVAL for a size of huge pages that there is not, ENOMEM.
fn anonymous_backing(shared: bool, len: usize, flags: MmapFlags) -> Result<Backing> {
    /// Where the size of huge pages is in the flags, as a power of two; 0 for the usual one.
    const HUGE_SHIFT: u32 = 26;
    let reserve = !flags.contains(MmapFlags::NORESERVE);
    let object: Arc<dyn VmObject> = if flags.contains(MmapFlags::HUGETLB) {
        let size = flags.bits() >> HUGE_SHIFT & 0x3f;
        if size != 0 && size != u64::from(HUGE_PAGE_SIZE.trailing_zeros()) {
            return Err(Errno::EINVAL);
        }
        HugeObject::new((len / HUGE_PAGE_SIZE) as u64, reserve)?
    } else if shared {
        AnonObject::new((len >> PAGE_SHIFT) as u64, reserve)?
    } else {
        return Ok(Backing::Anon);
    };
    Ok(Backing::Object {
        object,
        pgoff: 0,
        file: None,
    })
}

struct FileMapping {
    shared: bool,
    len: usize,
    offset: u64,
    strict: bool,
}

/// Checks a file against the wanted mapping: EACCES for its open mode, EPERM for noexec, ENODEV where it cannot
/// be mapped, EOPNOTSUPP for unknown flags with MAP_SHARED_VALIDATE.
fn file_backing(
    file: &Arc<File>,
    mapping: &FileMapping,
    prot: MmapProt,
    flags: MmapFlags,
    vm_flags: &mut VmFlags,
) -> Result<Backing> {
    let known = MmapFlags::all() - MmapFlags::SYNC;
    if mapping.strict && !known.contains(flags) {
        return Err(Errno::EOPNOTSUPP);
    }
    if !file.readable() {
        return Err(Errno::EACCES);
    }
    if mapping.shared && !file.writable() {
        if prot.contains(MmapProt::WRITE) {
            return Err(Errno::EACCES);
        }
        *vm_flags |= VmFlags::NO_MAYWRITE;
    }
    if file.path.mount.is_noexec() {
        if prot.contains(MmapProt::EXEC) {
            return Err(Errno::EPERM);
        }
        *vm_flags |= VmFlags::NO_MAYEXEC;
    }
    file.check_mmap(mapping.shared, prot.contains(MmapProt::WRITE), vm_flags)?;
    let object = file.ops.mmap(file)?;
    debug_assert!(mapping.len > 0);
    Ok(Backing::Object {
        object,
        pgoff: mapping.offset >> PAGE_SHIFT,
        file: Some(file.clone()),
    })
}

pub fn userfaultfd(cx: &mut Ctx, flags: UserfaultfdFlags) -> Result<Fd> {
    if !UserfaultfdFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let user_only = flags.contains(UserfaultfdFlags::UFFD_USER_MODE_ONLY);
    if !user_only && !mm::userfault::UNPRIVILEGED.load(Ordering::Relaxed) {
        cx.thread.cred().require(Cap::SYS_PTRACE)?;
    }
    let mut status = OpenFlags::empty();
    status.set(
        OpenFlags::NONBLOCK,
        flags.contains(UserfaultfdFlags::O_NONBLOCK),
    );
    let file = mm::userfault::create(&cx.thread.mm(), user_only, status);
    let cloexec = flags.contains(UserfaultfdFlags::O_CLOEXEC);
    cx.thread.files().install(file, cloexec)
}

pub fn munmap(cx: &mut Ctx, addr: UserAddr, len: usize) -> Result<()> {
    cx.thread.mm().munmap(addr.addr() as usize, len)
}

pub fn mprotect(cx: &mut Ctx, addr: UserAddr, len: usize, prot: MmapProt) -> Result<()> {
    protect(cx, addr, len, prot, None)
}

pub fn pkey_mprotect(
    cx: &mut Ctx,
    addr: UserAddr,
    len: usize,
    prot: MmapProt,
    pkey: i32,
) -> Result<()> {
    if pkey == -1 {
        return protect(cx, addr, len, prot, None);
    }
    let in_use = cx.thread.mm().keys.load(Ordering::Relaxed);
    match u32::try_from(pkey) {
        Ok(key) if key < PROTECTION_KEYS && in_use & 1 << key != 0 => {
            protect(cx, addr, len, prot, Some(key))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// How many protection keys there are.
const PROTECTION_KEYS: u32 = 16;

pub fn pkey_alloc(cx: &mut Ctx, flags: u64, access_rights: PkeyRights) -> Result<i32> {
    if flags != 0 || !PkeyRights::all().contains(access_rights) {
        return Err(Errno::EINVAL);
    }
    if !keel_hal::fpu::has_protection_keys() {
        return Err(Errno::ENOSPC);
    }
    let lowest_free = |used: u32| used | (used + 1);
    let in_range = |used: u32| (used.trailing_ones() < PROTECTION_KEYS).then(|| lowest_free(used));
    let mm = cx.thread.mm();
    let used = mm
        .keys
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, in_range)
        .map_err(|_| Errno::ENOSPC)?;
    let key = used.trailing_ones();
    keel_hal::task::current()
        .set_key_rights(key, access_rights.bits() as u32)
        .map_err(|_| Errno::EINVAL)?;
    Ok(key as i32)
}

pub fn pkey_free(cx: &mut Ctx, pkey: i32) -> Result<()> {
    let key = u32::try_from(pkey)
        .ok()
        .filter(|key| *key < PROTECTION_KEYS)
        .ok_or(Errno::EINVAL)?;
    let old = cx
        .thread
        .mm()
        .keys
        .fetch_and(!(1 << key), Ordering::Relaxed);
    if old & 1 << key == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn protect(
    cx: &mut Ctx,
    addr: UserAddr,
    len: usize,
    prot: MmapProt,
    key: Option<u32>,
) -> Result<()> {
    let both = MmapProt::GROWSDOWN | MmapProt::GROWSUP;
    if prot.contains(both) || !MmapProt::all().contains(prot) || prot.contains(MmapProt::GROWSUP) {
        return Err(Errno::EINVAL);
    }
    let mut prot = prot;
    if reads_imply_exec(cx) && prot.contains(MmapProt::READ) {
        prot |= MmapProt::EXEC;
    }
    cx.thread
        .mm()
        .mprotect(addr.addr() as usize, len, page_prot(prot), key)
}

pub fn brk(cx: &mut Ctx, addr: UserAddr) -> Result<UserAddr> {
    Ok(UserAddr(cx.thread.mm().brk(addr.addr() as usize) as u64))
}

pub fn mremap(
    cx: &mut Ctx,
    old_address: UserAddr,
    old_size: usize,
    new_size: usize,
    flags: MremapFlags,
    new_address: UserAddr,
) -> Result<UserAddr> {
    let may_move = flags.contains(MremapFlags::MAYMOVE);
    let keep_old = flags.contains(MremapFlags::DONTUNMAP);
    let fixed = flags.contains(MremapFlags::FIXED);
    if !MremapFlags::all().contains(flags)
        || ((fixed || keep_old) && !may_move)
        || (keep_old && old_size != new_size)
        || new_size == 0
    {
        return Err(Errno::EINVAL);
    }
    let target = fixed.then_some(new_address.addr() as usize);
    let old = old_address.addr() as usize;
    let new = cx
        .thread
        .mm()
        .mremap(old, old_size, new_size, may_move, target, keep_old)?;
    Ok(UserAddr(new as u64))
}

/// A page-aligned range: EINVAL when unaligned, ENOMEM when outside user space.
fn range(addr: UserAddr, len: usize) -> Result<Range<usize>> {
    if !(addr.addr() as usize).is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    user_range(addr.addr() as usize, len).ok_or(Errno::ENOMEM)
}

/// A range widened to whole pages (mlock).
fn page_range(addr: UserAddr, len: usize) -> Result<Range<usize>> {
    let start = mm::page_down(addr.addr() as usize);
    let end = (addr.addr() as usize)
        .checked_add(len)
        .and_then(page_up)
        .ok_or(Errno::EINVAL)?;
    if end > mm::TASK_SIZE_MAX {
        return Err(Errno::ENOMEM);
    }
    Ok(start..end)
}

pub fn remap_file_pages(
    cx: &mut Ctx,
    addr: UserAddr,
    size: usize,
    prot: MmapProt,
    pgoff: u64,
    _flags: MmapFlags,
) -> Result<()> {
    let start = mm::page_down(addr.addr() as usize);
    let size = mm::page_down(size);
    let fits = pgoff.checked_add((size >> PAGE_SHIFT) as u64).is_some();
    let range = user_range(start, size).filter(|range| !range.is_empty() && fits);
    match range {
        Some(range) if prot.is_empty() => cx.thread.mm().remap_pages(range, pgoff),
        _ => Err(Errno::EINVAL),
    }
}

pub fn madvise(cx: &mut Ctx, addr: UserAddr, length: usize, advice: Madvise) -> Result<()> {
    // Memory failures cannot be injected: as a Linux without that option.
    let range = range(addr, length).map_err(|_| Errno::EINVAL)?;
    advise(&cx.thread.mm(), range, advice)
}

fn advise(mm: &Arc<AddressSpace>, range: Range<usize>, advice: Madvise) -> Result<()> {
    let flags = |set: VmFlags, clear: VmFlags| {
        if range.is_empty() {
            Ok(())
        } else {
            mm.change_flags(range.clone(), set, clear)
        }
    };
    let none = VmFlags::empty();
    match advice {
        Madvise::MADV_NORMAL => flags(none, VmFlags::RANDOM | VmFlags::SEQUENTIAL),
        Madvise::MADV_RANDOM => flags(VmFlags::RANDOM, VmFlags::SEQUENTIAL),
        Madvise::MADV_SEQUENTIAL => flags(VmFlags::SEQUENTIAL, VmFlags::RANDOM),
        Madvise::MADV_WILLNEED | Madvise::MADV_COLD | Madvise::MADV_PAGEOUT => flags(none, none),
        Madvise::MADV_DONTNEED => mm.discard(range, false),
        Madvise::MADV_DONTNEED_LOCKED => mm.discard(range, true),
        // Freeing at once is one of the outcomes that MADV_FREE allows.
        Madvise::MADV_FREE if mm.any_object(&range) => Err(Errno::EINVAL),
        Madvise::MADV_FREE => mm.discard(range, false),
        Madvise::MADV_COLLAPSE => mm.collapse(range),
        Madvise::MADV_REMOVE => remove_pages(mm, range),
        Madvise::MADV_DONTFORK => flags(VmFlags::DONTFORK, none),
        Madvise::MADV_DOFORK => flags(none, VmFlags::DONTFORK),
        Madvise::MADV_WIPEONFORK => {
            if mm.any_object(&range) {
                return Err(Errno::EINVAL);
            }
            flags(VmFlags::WIPEONFORK, none)
        }
        Madvise::MADV_KEEPONFORK => flags(none, VmFlags::WIPEONFORK),
        Madvise::MADV_DONTDUMP => flags(VmFlags::DONTDUMP, none),
        Madvise::MADV_DODUMP => flags(none, VmFlags::DONTDUMP),
        Madvise::MADV_HUGEPAGE => flags(VmFlags::HUGEPAGE, VmFlags::NOHUGEPAGE),
        Madvise::MADV_NOHUGEPAGE => flags(VmFlags::NOHUGEPAGE, VmFlags::HUGEPAGE),
        Madvise::MADV_POPULATE_READ => mm.populate_strictly(range, mm::Access::Read),
        Madvise::MADV_POPULATE_WRITE => mm.populate_strictly(range, mm::Access::Write),
        _ => Err(Errno::EINVAL),
    }
}

/// MADV_REMOVE punches a hole into what is mapped shared.
fn remove_pages(mm: &Arc<AddressSpace>, range: Range<usize>) -> Result<()> {
    for part in mm.removable(range)? {
        let Some(file) = part.file else {
            if part.object.punch(part.pages.start, part.pages.end) {
                continue;
            }
            return Err(Errno::EINVAL);
        };
        let mode = FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE;
        let start = part.pages.start << PAGE_SHIFT;
        let len = (part.pages.end << PAGE_SHIFT) - start;
        file.inode.ops.fallocate(&file.inode, mode, start, len)?;
    }
    Ok(())
}

pub fn msync(cx: &mut Ctx, addr: UserAddr, length: usize, flags: MsyncFlags) -> Result<()> {
    if !MsyncFlags::all().contains(flags)
        || flags.contains(MsyncFlags::ASYNC | MsyncFlags::SYNC)
        || !(addr.addr() as usize).is_multiple_of(PAGE_SIZE)
    {
        return Err(Errno::EINVAL);
    }
    let range = range(addr, length)?;
    let mm = cx.thread.mm();
    if flags.contains(MsyncFlags::INVALIDATE) && mm.any_locked(&range) {
        return Err(Errno::EBUSY);
    }
    let files = mm.shared_files(range)?;
    if flags.contains(MsyncFlags::SYNC) {
        for (file, _) in files {
            file.fsync(false)?;
        }
    }
    Ok(())
}

pub fn mincore(cx: &mut Ctx, addr: UserAddr, length: usize, vec: UserPtr<u8>) -> Result<()> {
    let mut at = range(addr, length)?;
    let mm = cx.thread.mm();
    let mut out = Vec::new();
    let mut done = 0;
    while !at.is_empty() {
        let end = at.end.min(at.start + (4096 << PAGE_SHIFT));
        out.clear();
        mm.residency(at.start..end, &mut out)?;
        vec.add(done).write_array(&out)?;
        done += out.len();
        at.start = end;
    }
    Ok(())
}

pub fn mlock(cx: &mut Ctx, addr: UserAddr, len: usize) -> Result<()> {
    let range = page_range(addr, len)?;
    cx.thread.mm().lock_range(range, Some(VmFlags::LOCKED))
}

pub fn mlock2(cx: &mut Ctx, addr: UserAddr, len: usize, flags: MlockFlags) -> Result<()> {
    if !MlockFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mut set = VmFlags::LOCKED;
    set.set(VmFlags::LOCK_ONFAULT, flags.contains(MlockFlags::ONFAULT));
    cx.thread.mm().lock_range(page_range(addr, len)?, Some(set))
}

pub fn munlock(cx: &mut Ctx, addr: UserAddr, len: usize) -> Result<()> {
    cx.thread.mm().lock_range(page_range(addr, len)?, None)
}

pub fn mlockall(cx: &mut Ctx, flags: MlockallFlags) -> Result<()> {
    if flags.is_empty() || !MlockallFlags::all().contains(flags) || flags == MlockallFlags::ONFAULT
    {
        return Err(Errno::EINVAL);
    }
    let mm = cx.thread.mm();
    let limit = cx
        .thread
        .process
        .rlimits
        .soft(crate::process::rlimit::Resource::Memlock);
    if !cx.thread.cred().has(Cap::IPC_LOCK) {
        if limit == 0 {
            return Err(Errno::EPERM);
        }
        let total = (mm.stats().total as u64) << PAGE_SHIFT;
        if flags.contains(MlockallFlags::CURRENT) && total > limit {
            return Err(Errno::ENOMEM);
        }
    }
    let mut set = VmFlags::LOCKED;
    set.set(
        VmFlags::LOCK_ONFAULT,
        flags.contains(MlockallFlags::ONFAULT),
    );
    let now = flags.contains(MlockallFlags::CURRENT).then_some(set);
    let later = flags.contains(MlockallFlags::FUTURE).then_some(set);
    mm.lock_all(now, later)
}

pub fn munlockall(cx: &mut Ctx) -> Result<()> {
    cx.thread.mm().lock_all(None, None)
}

pub fn mseal(cx: &mut Ctx, addr: UserAddr, len: usize, flags: u64) -> Result<()> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let start = addr.addr() as usize;
    let end = page_up(len).and_then(|len| start.checked_add(len));
    let end = end
        .filter(|_| start.is_multiple_of(PAGE_SIZE))
        .ok_or(Errno::EINVAL)?;
    if len > 0 && page_up(len) == Some(0) {
        return Err(Errno::EINVAL);
    }
    let range = user_range(start, end - start).ok_or(Errno::ENOMEM)?;
    if range.is_empty() {
        return Ok(());
    }
    cx.thread.mm().seal(range)
}

/// Most bytes that one process_vm call moves at a time.
const REMOTE_CHUNK: usize = 16 * PAGE_SIZE;
/// Most segments of either side (`UIO_MAXIOV`).
const UIO_MAXIOV: usize = 1024;

pub fn process_vm_readv(
    cx: &mut Ctx,
    pid: Pid,
    local_iov: UserPtr<Iovec>,
    liovcnt: usize,
    remote_iov: UserPtr<Iovec>,
    riovcnt: usize,
    flags: u64,
) -> Result<usize> {
    let transfer = Transfer {
        local_iov,
        liovcnt,
        remote_iov,
        riovcnt,
        flags,
    };
    transfer.run(cx, pid, false)
}

pub fn process_vm_writev(
    cx: &mut Ctx,
    pid: Pid,
    local_iov: UserPtr<Iovec>,
    liovcnt: usize,
    remote_iov: UserPtr<Iovec>,
    riovcnt: usize,
    flags: u64,
) -> Result<usize> {
    let transfer = Transfer {
        local_iov,
        liovcnt,
        remote_iov,
        riovcnt,
        flags,
    };
    transfer.run(cx, pid, true)
}

struct Transfer {
    local_iov: UserPtr<Iovec>,
    liovcnt: usize,
    remote_iov: UserPtr<Iovec>,
    riovcnt: usize,
    flags: u64,
}

impl Transfer {
    fn run(&self, cx: &mut Ctx, pid: Pid, write: bool) -> Result<usize> {
        if self.flags != 0 || self.liovcnt > UIO_MAXIOV || self.riovcnt > UIO_MAXIOV {
            return Err(Errno::EINVAL);
        }
        let local = self.local_iov.read_array(self.liovcnt)?;
        let remote = self.remote_iov.read_array(self.riovcnt)?;
        let positive = |iov: &[Iovec]| iov.iter().all(|v| v.iov_len <= isize::MAX as usize);
        if !positive(&local) || !positive(&remote) {
            return Err(Errno::EINVAL);
        }
        let target = crate::process::find_thread(pid.0.unsigned_abs())
            .filter(|_| pid.0 > 0)
            .ok_or(Errno::ESRCH)?;
        if !Arc::ptr_eq(&target.process, &cx.thread.process)
            && !crate::process::ptrace::may_access(cx.thread, &target)
        {
            return Err(Errno::EPERM);
        }
        let mm = target.mm_opt().ok_or(Errno::ESRCH)?;
        let mut locals = Segments::new(&local);
        let mut remotes = Segments::new(&remote);
        let mut buffer = vec![0; REMOTE_CHUNK];
        let mut done = 0;
        while let (Some((here, m)), Some((there, n))) = (locals.peek(), remotes.peek()) {
            let len = m.min(n).min(REMOTE_CHUNK);
            let chunk = &mut buffer[..len];
            let moved = if write {
                keel_hal::user::read(here, chunk)
                    .map_err(|_| Errno::EFAULT)
                    .map(|()| mm.write_remote(there, chunk, false))
            } else {
                let got = mm.read_remote(there, chunk);
                crate::mm::user::write_bytes(here as u64, &chunk[..got]).map(|()| got)
            };
            let moved = match moved {
                Ok(moved) => moved,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            done += moved;
            locals.advance(moved);
            remotes.advance(moved);
            if moved < len {
                break;
            }
        }
        let nothing = done == 0 && locals.peek().is_some() && remotes.peek().is_some();
        if nothing {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }
}

/// A walk over an iovec.
struct Segments<'a> {
    list: &'a [Iovec],
    used: usize,
}

impl<'a> Segments<'a> {
    fn new(list: &'a [Iovec]) -> Self {
        let mut segments = Self { list, used: 0 };
        segments.skip_empty();
        segments
    }

    fn skip_empty(&mut self) {
        while let Some((first, rest)) = self.list.split_first() {
            if first.iov_len > self.used {
                break;
            }
            self.list = rest;
            self.used = 0;
        }
    }

    /// Address and length of what is left of the current segment.
    fn peek(&self) -> Option<(usize, usize)> {
        let first = self.list.first()?;
        let addr = (first.iov_base.addr() as usize).wrapping_add(self.used);
        Some((addr, first.iov_len - self.used))
    }

    fn advance(&mut self, bytes: usize) {
        self.used += bytes;
        self.skip_empty();
    }
}

pub fn process_mrelease(cx: &mut Ctx, pidfd: Fd, flags: u32) -> Result<()> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (process, _) = crate::ipc::pidfd::process_of(cx.thread, pidfd)?;
    let thread = process.main_thread().ok_or(Errno::ESRCH)?;
    let mm = thread.mm_opt().ok_or(Errno::ESRCH)?;
    // Whoever shares the memory must be dying, too.
    let lives = crate::process::all().iter().any(|other| {
        let shares = other
            .main_thread()
            .and_then(|thread| thread.mm_opt())
            .is_some_and(|other| Arc::ptr_eq(&other, &mm));
        shares && !other.group_exiting()
    });
    if lives {
        return Err(Errno::EINVAL);
    }
    mm.reap();
    Ok(())
}

pub fn process_madvise(
    cx: &mut Ctx,
    pidfd: Fd,
    iovec: UserPtr<Iovec>,
    vlen: usize,
    advice: Madvise,
    flags: u32,
) -> Result<usize> {
    if flags != 0 || vlen > UIO_MAXIOV {
        return Err(Errno::EINVAL);
    }
    let segments = iovec.read_array(vlen)?;
    let (process, _) = crate::ipc::pidfd::process_of(cx.thread, pidfd)?;
    let target = process.main_thread().ok_or(Errno::ESRCH)?;
    let allowed = [
        Madvise::MADV_COLD,
        Madvise::MADV_PAGEOUT,
        Madvise::MADV_WILLNEED,
    ];
    if !allowed.contains(&advice) {
        return Err(Errno::EINVAL);
    }
    if !crate::process::ptrace::may_access(cx.thread, &target)
        || !cx.thread.cred().has(Cap::SYS_NICE)
    {
        return Err(Errno::EPERM);
    }
    let mm = target.mm_opt().ok_or(Errno::ESRCH)?;
    let mut done = 0;
    for segment in &segments {
        let range = range(segment.iov_base.user_addr(), segment.iov_len)?;
        match advise(&mm, range, advice) {
            Ok(()) => done += segment.iov_len,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}
