//! System V shared memory (shmget(2), shmop(2), shmctl(2)).
//!
//! A segment is a file without a name on a tmpfs that is mounted nowhere; attaching maps it. A removed segment lives on
//! while it is attached: only the mappings keep the file then, and its end takes the segment out of the table.

use core::any::Any;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use keel_abi::args::Pid;
use keel_abi::flags::ShmFlags;
use keel_abi::types::ShmidDs;
use keel_hal::paging::PageProt;

use super::{Object, READ, Table, WRITE, now, pid};
use crate::fs::tmpfs::{self, Segment as Pages};
use crate::fs::{File, FileOps};
use crate::ipc::namespace::IpcNamespace;
use crate::mm::{Backing, MapRequest, VmFlags, VmObject};
use crate::prelude::*;
use crate::process::rlimit::Resource;
use crate::process::{Cap, Cred, Thread};

/// The segment is destroyed at the last detach (`SHM_DEST`).
const DEST: u32 = 0o1000;
/// The segment is locked in memory (`SHM_LOCKED`).
const LOCKED: u32 = 0o2000;
/// Permission to execute.
const EXECUTE: u32 = 0o111;
/// What `shmmax` and `shmall` are at first: no limit, with room to add.
const UNLIMITED: u64 = u64::MAX - (1 << 24);

/// One namespace's segments and limits.
pub struct Segments {
    /// The segments.
    pub table: Table<Segment>,
    /// Largest segment in bytes (`kernel.shmmax`).
    pub max_size: AtomicU64,
    /// Most pages of all segments (`kernel.shmall`).
    pub max_pages: AtomicU64,
    /// Most segments (`kernel.shmmni`).
    pub max_segments: AtomicUsize,
    /// Pages of all segments, touched or not.
    pages: AtomicU64,
}

impl Default for Segments {
    fn default() -> Self {
        Self {
            table: Table::default(),
            max_size: AtomicU64::new(UNLIMITED),
            max_pages: AtomicU64::new(UNLIMITED),
            max_segments: AtomicUsize::new(4096),
            pages: AtomicU64::new(0),
        }
    }
}

impl Segments {
    /// Pages of all segments, touched or not.
    pub fn total_pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }
}

/// Who keeps the file: the table, until the segment is removed, and every mapping.
enum FileRef {
    Kept(Arc<File>),
    Mapped(Weak<File>),
}

#[derive(Clone, Copy, Default)]
struct Times {
    attached: i64,
    detached: i64,
    changed: i64,
    last_pid: u32,
}

/// A segment of shared memory.
pub struct Segment {
    /// Bytes.
    pub size: usize,
    creator: u32,
    pages: Arc<Pages>,
    file: SpinLock<FileRef>,
    times: SpinLock<Times>,
}

/// A segment with its identity.
pub type SegmentObject = Arc<Object<Segment>>;

/// What the file of a segment does: tell when its last user is gone.
struct SegmentFile {
    ns: Weak<IpcNamespace>,
    pages: u64,
    /// Known once the segment is in the table.
    object: OnceLock<Weak<Object<Segment>>>,
}

impl FileOps for SegmentFile {
    fn release(&self, _file: &File) {
        let Some(ns) = self.ns.upgrade() else { return };
        ns.shm.pages.fetch_sub(self.pages, Ordering::Relaxed);
        if let Some(object) = self.object.get().and_then(Weak::upgrade) {
            ns.shm.table.remove(&object);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn page_count(size: usize) -> u64 {
    size.div_ceil(PAGE_SIZE) as u64
}

/// Makes a segment's contents: EINVAL and ENOSPC beyond the limits, ENOMEM.
pub fn create(
    ns: &Arc<IpcNamespace>,
    thread: &Thread,
    key: i32,
    size: usize,
    mode: u32,
) -> Result<Segment> {
    let segments = &ns.shm;
    if size == 0 || size as u64 > segments.max_size.load(Ordering::Relaxed) {
        return Err(Errno::EINVAL);
    }
    let pages = page_count(size);
    let limit = segments.max_pages.load(Ordering::Relaxed);
    segments
        .pages
        .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
            used.checked_add(pages).filter(|sum| *sum <= limit)
        })
        .map_err(|_| Errno::ENOSPC)?;
    let ops = Arc::new(SegmentFile {
        ns: Arc::downgrade(ns),
        pages,
        object: OnceLock::new(),
    });
    let name = format!("/SYSV{:08x} (deleted)", key.cast_unsigned());
    let made = tmpfs::create_segment(thread, name.as_bytes(), size, mode, ops);
    let (file, contents) = made.inspect_err(|_| {
        segments.pages.fetch_sub(pages, Ordering::Relaxed);
    })?;
    Ok(Segment {
        size,
        creator: pid(),
        pages: contents,
        file: SpinLock::new(FileRef::Kept(file)),
        times: SpinLock::new(Times {
            changed: now(),
            ..Times::default()
        }),
    })
}

/// The segment has its identity now: it can be destroyed when its last user leaves.
pub fn register(segment: &SegmentObject) {
    if let Some(file) = segment.data.file()
        && let Some(ops) = file.ops_as::<SegmentFile>()
    {
        ops.object.call_once(|| Arc::downgrade(segment));
    }
}

impl Segment {
    fn file(&self) -> Option<Arc<File>> {
        match &*self.file.lock() {
            FileRef::Kept(file) => Some(file.clone()),
            FileRef::Mapped(file) => file.upgrade(),
        }
    }

    /// How many mappings show it.
    fn attached(&self) -> u64 {
        self.pages
            .mappings()
            .map_or(0, |registry| registry.count_mappings() as u64)
    }
}

/// shmat(2): maps the segment, and gives the address. EACCES, EINVAL, ENOMEM, EIDRM.
pub fn attach(
    thread: &Thread,
    segment: &SegmentObject,
    addr: usize,
    flags: ShmFlags,
) -> Result<usize> {
    let mut start = addr;
    if addr != 0 && !addr.is_multiple_of(PAGE_SIZE) {
        if !flags.contains(ShmFlags::RND) {
            return Err(Errno::EINVAL);
        }
        start = crate::mm::page_down(addr);
        if start == 0 && flags.contains(ShmFlags::REMAP) {
            return Err(Errno::EINVAL);
        }
    } else if addr == 0 && flags.contains(ShmFlags::REMAP) {
        return Err(Errno::EINVAL);
    }
    let (mut prot, mut wanted, mut vm_flags) = (PageProt::READ, READ, VmFlags::SHARED);
    if flags.contains(ShmFlags::RDONLY) {
        vm_flags |= VmFlags::NO_MAYWRITE;
    } else {
        prot |= PageProt::WRITE;
        wanted |= WRITE;
    }
    if flags.contains(ShmFlags::EXEC) {
        prot |= PageProt::EXEC;
        wanted |= EXECUTE;
    }
    segment.check(&thread.cred(), wanted)?;
    let file = segment.data.file().ok_or(Errno::EIDRM)?;
    let request = MapRequest {
        addr: start,
        len: segment.data.size,
        prot,
        flags: vm_flags,
        fixed: start != 0,
        no_replace: start != 0 && !flags.contains(ShmFlags::REMAP),
        low_2g: false,
        populate: false,
        backing: Backing::Object {
            object: segment.data.pages.clone(),
            pgoff: 0,
            file: Some(file),
        },
    };
    let at = thread.mm().mmap(request).map_err(|error| match error {
        Errno::EEXIST => Errno::EINVAL,
        error => error,
    })?;
    let mut times = segment.data.times.lock();
    times.attached = now();
    times.last_pid = pid();
    Ok(at)
}

/// shmdt(2): EINVAL if no segment is attached at the address.
pub fn detach(thread: &Thread, addr: usize) -> Result<()> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let mm = thread.mm();
    // The parts of the mapping that are left where shmat put them: others may have been unmapped or moved.
    let mut found: Option<Arc<File>> = None;
    let mut parts = Vec::new();
    mm.for_each_vma(|vma| {
        let in_place = vma.start >= addr && (vma.start - addr) as u64 == vma.offset;
        let Some(file) = vma.file.as_ref().filter(|_| in_place) else {
            return true;
        };
        if file.ops_as::<SegmentFile>().is_some()
            && found.as_ref().is_none_or(|found| Arc::ptr_eq(found, file))
        {
            found = Some(file.clone());
            parts.push((vma.start, vma.end - vma.start));
        }
        true
    });
    let file = found.ok_or(Errno::EINVAL)?;
    for (start, len) in parts {
        mm.munmap(start, len)?;
    }
    let ops = file.ops_as::<SegmentFile>();
    let object = ops.and_then(|ops| ops.object.get()).and_then(Weak::upgrade);
    if let Some(segment) = object {
        let mut times = segment.data.times.lock();
        times.detached = now();
        times.last_pid = pid();
    }
    Ok(())
}

/// IPC_RMID: EPERM. The segment goes at once if it is not attached, else with its last mapping.
pub fn remove(segments: &Segments, segment: &SegmentObject, cred: &Cred) -> Result<()> {
    segment.check_owner(cred)?;
    segments.table.make_private(segment);
    segment.perm.lock().mode |= DEST;
    let kept = {
        let mut file = segment.data.file.lock();
        match &*file {
            FileRef::Kept(kept) => {
                let mapped = FileRef::Mapped(Arc::downgrade(kept));
                Some(core::mem::replace(&mut *file, mapped))
            }
            FileRef::Mapped(_) => None,
        }
    };
    drop(kept);
    Ok(())
}

/// IPC_SET: EPERM, EINVAL.
pub fn set(segment: &SegmentObject, cred: &Cred, new: &ShmidDs) -> Result<()> {
    segment.check_owner(cred)?;
    segment.perm.lock().update(&new.shm_perm)?;
    segment.data.times.lock().changed = now();
    Ok(())
}

/// SHM_LOCK and SHM_UNLOCK: EPERM, ENOMEM beyond RLIMIT_MEMLOCK. There is no swap, so pages that were touched stay
/// either way.
pub fn set_locked(thread: &Thread, segment: &SegmentObject, locked: bool) -> Result<()> {
    let cred = thread.cred();
    if !cred.has(Cap::IPC_LOCK) {
        let perm = *segment.perm.lock();
        if cred.euid != perm.uid && cred.euid != perm.cuid {
            return Err(Errno::EPERM);
        }
        let limit = thread.process.rlimits.soft(Resource::Memlock);
        if locked && limit == 0 {
            return Err(Errno::EPERM);
        }
        if locked && segment.data.size as u64 > limit {
            return Err(Errno::ENOMEM);
        }
    }
    let mut perm = segment.perm.lock();
    perm.mode = if locked {
        perm.mode | LOCKED
    } else {
        perm.mode & !LOCKED
    };
    Ok(())
}

/// IPC_STAT.
pub fn status(segment: &SegmentObject) -> ShmidDs {
    let attached = segment.data.attached();
    let perm = *segment.perm.lock();
    let times = *segment.data.times.lock();
    ShmidDs {
        shm_perm: perm.to_user(segment.id),
        shm_segsz: segment.data.size,
        shm_atime: times.attached,
        shm_dtime: times.detached,
        shm_ctime: times.changed,
        shm_cpid: Pid(segment.data.creator.cast_signed()),
        shm_lpid: Pid(times.last_pid.cast_signed()),
        shm_nattch: attached,
        ..ShmidDs::default()
    }
}

/// Pages of a segment that have been touched.
pub fn resident_pages(segment: &SegmentObject) -> usize {
    segment.data.pages.page_count()
}
