//! Open file descriptions, and the behaviour that their kind of file gives them.

use core::any::Any;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use keel_abi::args::FileType;
use keel_abi::flags::{Fadvise, OpenFlags};

use super::{Attr, Dentry, Inode, IoDst, IoSrc, Path, PollEvents, PollTable};
use crate::mm::{VmFlags, VmObject};
use crate::prelude::*;
use crate::process::{Cred, rlimit::Resource, signal};

/// Takes directory entries.
pub trait DirSink {
    /// An entry: `next` is the position behind it. False when there is no room for it.
    fn entry(&mut self, name: &[u8], ino: u64, file_type: FileType, next: u64) -> bool;
}

/// How one open file description behaves. Defaults give the errno of a Linux file without that operation.
#[allow(unused_variables)]
pub trait FileOps: Send + Sync + Any {
    /// Reads at `pos`; 0 at the end. Streams ignore `pos`.
    fn read(&self, file: &File, dst: &mut IoDst, pos: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Writes at `pos`. Streams ignore `pos`.
    fn write(&self, file: &File, src: &mut IoSrc, pos: u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Whether it has positions: pipes, sockets and terminals give ESPIPE.
    fn seekable(&self) -> bool {
        true
    }

    /// The end of the file for SEEK_END.
    fn seek_end(&self, file: &File) -> Result<u64> {
        Ok(file.inode.size())
    }

    /// Gives entries from the file's position on; `pos` is moved behind the last one taken.
    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        Err(Errno::ENOTDIR)
    }

    /// What is ready now; registers its wait queues with `table` first. Regular files are always ready.
    fn poll(&self, file: &File, table: &mut PollTable) -> PollEvents {
        PollEvents::READABLE | PollEvents::WRITABLE
    }

    /// Whether epoll can watch it (regular files and directories: EPERM).
    fn pollable(&self) -> bool {
        true
    }

    /// ioctl(2).
    fn ioctl(&self, file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        Err(Errno::ENOTTY)
    }

    /// The object that mappings of it show.
    fn mmap(&self, file: &Arc<File>) -> Result<Arc<dyn VmObject>> {
        Err(Errno::ENODEV)
    }

    /// Makes its contents durable. EINVAL for what has none.
    fn fsync(&self, file: &File, datasync: bool) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// A descriptor of it was closed.
    fn flush(&self, file: &File) -> Result<()> {
        Ok(())
    }

    /// The last reference is gone.
    fn release(&self, file: &File) {}

    /// O_NONBLOCK, O_APPEND or O_ASYNC changed.
    fn flags_changed(&self, file: &File, flags: OpenFlags) -> Result<()> {
        Ok(())
    }

    /// Further lines of /proc/PID/fdinfo/N.
    fn show_fdinfo(&self, file: &File, out: &mut String) {}

    /// The type itself.
    fn as_any(&self) -> &dyn Any;
}

/// An open file description (`struct file`).
pub struct File {
    /// Its behaviour.
    pub ops: Arc<dyn FileOps>,
    /// Where it was opened.
    pub path: Path,
    /// What was opened.
    pub inode: Arc<Inode>,
    flags: AtomicU32,
    pos: Mutex<u64>,
    /// Who opened it.
    pub cred: Arc<Cred>,
    /// Who gets SIGIO, and which signal (fcntl F_SETOWN, F_SETSIG).
    pub owner: SpinLock<FileOwner>,
    /// Read-ahead state of sequential readers.
    pub readahead: SpinLock<super::page_cache::ReadAhead>,
    /// It counts as a writer of the inode: it was opened by name, and for writing.
    holds_write: core::sync::atomic::AtomicBool,
    /// Registrations that send SIGIO (O_ASYNC).
    pub(super) async_tokens: SpinLock<Vec<keel_hal::sync::WaitToken>>,
    /// The descriptor that O_ASYNC was set by.
    pub(super) async_fd: core::sync::atomic::AtomicI32,
    /// It was opened to be executed: nobody can open the file for writing meanwhile (ETXTBSY).
    denies_write: core::sync::atomic::AtomicBool,
    /// Errors of write-back that happened before this were seen already.
    pub error_seen: core::sync::atomic::AtomicU64,
}

/// F_SETOWN and F_SETSIG.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FileOwner {
    /// Process (positive), process group (negative) or none.
    pub pid: i32,
    /// Whether `pid` is a thread (F_OWNER_TID).
    pub is_thread: bool,
    /// The signal; 0 for SIGIO without details.
    pub signal: i32,
    /// Credentials at the time of F_SETOWN.
    pub uid: u32,
    /// As `uid`.
    pub euid: u32,
}

/// Flags that are not kept after open(2).
const OPEN_ONLY: OpenFlags = OpenFlags::CREAT
    .union(OpenFlags::EXCL)
    .union(OpenFlags::NOCTTY)
    .union(OpenFlags::TRUNC)
    .union(OpenFlags::CLOEXEC);

/// Open file descriptions in the system (`fs.file-nr`).
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How many open file descriptions there are.
pub fn file_count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

impl File {
    /// A description of what is at `path`.
    pub fn new(
        path: Path,
        inode: Arc<Inode>,
        ops: Arc<dyn FileOps>,
        flags: OpenFlags,
        cred: Arc<Cred>,
    ) -> Arc<Self> {
        if !flags.contains(OpenFlags::PATH) {
            inode.opens.fetch_add(1, Ordering::AcqRel);
        }
        if flags.is_writable() && !flags.contains(OpenFlags::PATH) && inode.is_regular() {
            inode.sb.writers.fetch_add(1, Ordering::AcqRel);
        }
        let error_seen = core::sync::atomic::AtomicU64::new(inode.pages.error_sample());
        COUNT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            ops,
            path,
            inode,
            flags: AtomicU32::new((flags - OPEN_ONLY).bits()),
            pos: Mutex::new(0),
            cred,
            owner: SpinLock::new(FileOwner::default()),
            readahead: SpinLock::new(Default::default()),
            holds_write: core::sync::atomic::AtomicBool::new(false),
            async_tokens: SpinLock::new(Vec::new()),
            async_fd: core::sync::atomic::AtomicI32::new(-1),
            denies_write: core::sync::atomic::AtomicBool::new(false),
            error_seen,
        })
    }

    /// Its flags: access mode and status flags.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Replaces the flags.
    pub fn set_flags(&self, flags: OpenFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// Whether it was opened for reading.
    pub fn readable(&self) -> bool {
        !self.is_path() && self.flags().is_readable()
    }

    /// Whether it was opened for writing.
    pub fn writable(&self) -> bool {
        !self.is_path() && matches!(self.flags().bits() & 3, 1 | 2)
    }

    /// Counts as a writer of the inode if it may write: nobody can execute the file meanwhile.
    pub fn hold_write(&self) {
        if self.writable() {
            self.inode.write_count.fetch_add(1, Ordering::AcqRel);
            self.holds_write.store(true, Ordering::Relaxed);
        }
    }

    /// Keeps others from opening the file for writing while this description lives: ETXTBSY if somebody has.
    pub fn deny_write(&self) -> Result<()> {
        let count = &self.inode.write_count;
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n <= 0).then(|| n - 1)
            })
            .map_err(|_| Errno::ETXTBSY)?;
        self.denies_write.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether it only names a place (O_PATH).
    pub fn is_path(&self) -> bool {
        self.flags().contains(OpenFlags::PATH)
    }

    /// Whether calls must not sleep (O_NONBLOCK).
    pub fn nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// Its behaviour, if it is of type `T`.
    pub fn ops_as<T: 'static>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }

    /// Its position.
    pub fn position(&self) -> u64 {
        *self.pos.lock()
    }

    /// Its position as far as it can be told without waiting: 0 while a call is moving it. A file in
    /// /proc/PID/fdinfo may be read through the very description that it tells of.
    pub fn position_now(&self) -> u64 {
        self.pos.try_lock().map_or(0, |pos| *pos)
    }

    /// Reads at the file's position and moves it.
    pub fn read(&self, dst: &mut IoDst) -> Result<usize> {
        if !self.readable() {
            return Err(Errno::EBADF);
        }
        super::notify::may_read(self)?;
        if !self.ops.seekable() {
            let n = self.ops.read(self, dst, 0)?;
            self.was_read(n);
            return Ok(n);
        }
        let n = {
            let mut pos = self.pos.lock();
            let n = self.ops.read(self, dst, *pos)?;
            *pos += n as u64;
            n
        };
        self.was_read(n);
        Ok(n)
    }

    /// Writes at the file's position (or its end, with O_APPEND) and moves it.
    pub fn write(&self, src: &mut IoSrc) -> Result<usize> {
        self.write_with(src, None, self.flags().contains(OpenFlags::APPEND))
    }

    /// Reads at `pos` without moving: ESPIPE for streams.
    pub fn pread(&self, dst: &mut IoDst, pos: u64) -> Result<usize> {
        if !self.readable() {
            return Err(Errno::EBADF);
        }
        if !self.ops.seekable() {
            return Err(Errno::ESPIPE);
        }
        super::notify::may_read(self)?;
        let n = self.ops.read(self, dst, pos)?;
        self.was_read(n);
        Ok(n)
    }

    /// Writes at `pos` without moving: ESPIPE for streams. With O_APPEND at the end, as on Linux.
    pub fn pwrite(&self, src: &mut IoSrc, pos: u64) -> Result<usize> {
        self.write_with(src, Some(pos), self.flags().contains(OpenFlags::APPEND))
    }

    /// Writes at `pos`, or at the file's position and moves that; with `append` at the end of the file (pwritev2(2)).
    pub fn write_with(&self, src: &mut IoSrc, pos: Option<u64>, append: bool) -> Result<usize> {
        if !self.writable() {
            return Err(Errno::EBADF);
        }
        if !self.ops.seekable() {
            if pos.is_some() {
                return Err(Errno::ESPIPE);
            }
            let n = self.ops.write(self, src, 0)?;
            if n > 0 {
                super::notify::written(self);
            }
            return Ok(n);
        }
        let n = match pos {
            Some(mut at) => self.write_at(src, &mut at, append)?,
            None => self.write_at(src, &mut self.pos.lock(), append)?,
        };
        if n > 0 {
            super::notify::written(self);
            let sync = self.inode.attr().attributes & super::ATTR_SYNC != 0;
            if sync || self.flags().contains(OpenFlags::DSYNC) {
                self.fsync(!sync && !self.flags().contains(OpenFlags::SYNC))?;
            }
        }
        Ok(n)
    }

    /// Regular files: one writer at a time, limits, appending. `pos` is moved behind what was written.
    fn write_at(&self, src: &mut IoSrc, pos: &mut u64, append: bool) -> Result<usize> {
        if !self.inode.is_regular() {
            let n = self.ops.write(self, src, *pos)?;
            *pos += n as u64;
            return Ok(n);
        }
        let _writer = self.inode.rwsem.write();
        if append {
            *pos = self.inode.size();
        }
        self.check_size_limit(src, *pos)?;
        if src.remaining() == 0 {
            return Ok(0);
        }
        match crate::process::current_opt() {
            Some(thread) => super::attributes::remove_privileges(&self.inode, &thread.cred())?,
            None => super::attributes::remove_privileges(&self.inode, &self.cred)?,
        }
        let n = self.ops.write(self, src, *pos)?;
        *pos += n as u64;
        Ok(n)
    }

    fn was_read(&self, n: usize) {
        if n > 0 {
            if self.inode.is_regular() {
                super::times::file_accessed(self);
            }
            super::notify::accessed(self);
        }
    }

    /// posix_fadvise(2): how `len` bytes from `off` on will be used.
    pub fn advise(&self, off: u64, len: u64, advice: Fadvise) {
        let has_pages = self.inode.ops.backing().is_some();
        let (first, end) = (
            off >> PAGE_SHIFT,
            off.saturating_add(len).min(self.inode.size()),
        );
        match advice {
            Fadvise::POSIX_FADV_NORMAL => self.readahead.lock().set_scale(1),
            Fadvise::POSIX_FADV_SEQUENTIAL => self.readahead.lock().set_scale(2),
            Fadvise::POSIX_FADV_RANDOM => self.readahead.lock().set_scale(0),
            Fadvise::POSIX_FADV_WILLNEED if has_pages => {
                let pages = end.div_ceil(PAGE_SIZE as u64).saturating_sub(first);
                super::page_cache::prefetch(&self.inode, first, pages);
            }
            Fadvise::POSIX_FADV_DONTNEED if has_pages => {
                // Only whole pages: a page that is used in part may be needed still.
                let (first, last) = (
                    off.div_ceil(PAGE_SIZE as u64),
                    off.saturating_add(len) >> PAGE_SHIFT,
                );
                super::page_cache::invalidate(&self.inode, first, last);
            }
            _ => {}
        }
    }

    /// Cuts a write at RLIMIT_FSIZE and at the file system's largest file: EFBIG (and SIGXFSZ) beyond.
    fn check_size_limit(&self, src: &mut IoSrc, pos: u64) -> Result<()> {
        let limit = crate::process::current_opt().map_or(u64::MAX, |thread| {
            thread.process.rlimits.soft(Resource::Fsize)
        });
        if src.remaining() == 0 {
            return Ok(());
        }
        if pos >= limit {
            if let Some(thread) = crate::process::current_opt() {
                signal::send_thread(&thread, signal::SigInfo::kernel(25));
            }
            return Err(Errno::EFBIG);
        }
        let max = limit.min(self.inode.sb.max_bytes);
        if pos >= max {
            return Err(Errno::EFBIG);
        }
        src.truncate(usize::try_from(max - pos).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Moves the position: ESPIPE, EINVAL, ENXIO, EOVERFLOW.
    pub fn seek(&self, offset: i64, whence: i32) -> Result<u64> {
        const SEEK_SET: i32 = 0;
        const SEEK_CUR: i32 = 1;
        const SEEK_END: i32 = 2;
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        if !self.ops.seekable() {
            return Err(Errno::ESPIPE);
        }
        let mut pos = self.pos.lock();
        let new = match whence {
            SEEK_SET => Some(offset),
            SEEK_CUR => (*pos as i64).checked_add(offset),
            SEEK_END => (self.ops.seek_end(self)? as i64).checked_add(offset),
            SEEK_DATA | SEEK_HOLE => {
                let off = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                Some(
                    self.inode
                        .ops
                        .seek_hole_data(&self.inode, off, whence == SEEK_DATA)?
                        as i64,
                )
            }
            _ => return Err(Errno::EINVAL),
        };
        let new = new.ok_or(Errno::EOVERFLOW)?;
        *pos = u64::try_from(new).map_err(|_| Errno::EINVAL)?;
        Ok(*pos)
    }

    /// Directory entries from the position on.
    pub fn readdir(&self, sink: &mut dyn DirSink) -> Result<()> {
        let mut pos = self.pos.lock();
        let _dir = self.inode.rwsem.read();
        if self.path.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        self.ops.readdir(self, &mut pos, sink)?;
        super::times::file_accessed(self);
        super::notify::accessed(self);
        Ok(())
    }

    /// What is ready.
    pub fn poll(&self, table: &mut PollTable) -> PollEvents {
        self.ops.poll(self, table)
    }

    /// Makes it durable.
    pub fn fsync(&self, datasync: bool) -> Result<()> {
        self.ops.fsync(self, datasync)
    }

    /// Reads into kernel memory, whatever it was opened for (exec).
    pub fn read_at_kernel(&self, off: u64, buf: &mut [u8]) -> Result<usize> {
        let n = self.ops.read(self, &mut IoDst::from_kernel(buf), off)?;
        super::notify::accessed(self);
        Ok(n)
    }

    /// Attributes, fresh from the file system.
    pub fn attr(&self) -> Result<Attr> {
        self.inode.ops.getattr(&self.inode)
    }

    /// Further rules for a mapping (seals of memfds): may add [`VmFlags::NO_MAYWRITE`]; EPERM.
    pub fn check_mmap(&self, shared: bool, write: bool, flags: &mut VmFlags) -> Result<()> {
        let seals = super::tmpfs::seals_of(&self.inode);
        if shared && seals & super::tmpfs::SEALS_AGAINST_WRITE != 0 {
            if write {
                return Err(Errno::EPERM);
            }
            *flags |= VmFlags::NO_MAYWRITE;
        }
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        super::notify::closed(self);
        self.ops.release(self);
        super::locks::file_released(self);
        if !self.is_path() {
            self.inode.opens.fetch_sub(1, Ordering::AcqRel);
        }
        if self.denies_write.load(Ordering::Relaxed) {
            self.inode.write_count.fetch_add(1, Ordering::AcqRel);
        }
        if self.holds_write.load(Ordering::Relaxed) {
            self.inode.write_count.fetch_sub(1, Ordering::AcqRel);
        }
        if self.writable() && self.inode.is_regular() {
            self.inode.sb.writers.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A file that is in no directory (eventfd, epoll, pipe, …); `name` is what /proc/PID/fd shows.
pub fn anon_file(name: &str, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Arc<File> {
    let mount = super::anon::mount();
    let inode = super::anon::shared_inode();
    let dentry = Dentry::disconnected(name.as_bytes(), inode.clone());
    let cred = crate::process::current_opt()
        .map_or_else(|| Arc::new(Cred::root()), |thread| thread.cred());
    File::new(Path { mount, dentry }, inode, ops, flags, cred)
}
