//! File locks: flock(2), record locks of processes and of open file descriptions (fcntl_locking(2)), and leases
//! (fcntl(2), "Leases").
//!
//! Each inode has a [`LockTable`], empty until somebody locks. Owners are compared by address only: a descriptor
//! table for a process's record locks, an open file description for the other kinds. A table's spin lock is held for
//! list work only; whoever has to wait sleeps on its queue and tries again after each change.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use keel_abi::args::Pid;
use keel_abi::flags::LockType;
use keel_abi::types::Flock;

use super::{FdTable, File, Inode, sigio};
use crate::prelude::*;
use crate::process::{Cap, Cred};

/// The last byte that a lock can cover.
const OFFSET_MAX: i64 = i64::MAX;
/// How long a lease holder may take to give in (`/proc/sys/fs/lease-break-time`).
pub static LEASE_BREAK_SECS: AtomicU32 = AtomicU32::new(45);
/// Whether leases can be had (`/proc/sys/fs/leases-enable`).
pub static LEASES_ENABLED: AtomicBool = AtomicBool::new(true);

/// Who holds a record lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Owner {
    /// A process, by its descriptor table.
    Process(usize),
    /// An open file description.
    Description(usize),
}

/// A record lock on bytes `start..=end`.
#[derive(Clone, Copy, Debug)]
struct Record {
    owner: Owner,
    write: bool,
    start: i64,
    end: i64,
    pid: i32,
}

impl Record {
    fn conflicts(&self, other: &Record) -> bool {
        self.owner != other.owner
            && (self.write || other.write)
            && self.start <= other.end
            && other.start <= self.end
    }
}

/// A lock of flock(2).
#[derive(Clone, Copy, Debug)]
struct Whole {
    file: usize,
    exclusive: bool,
    pid: i32,
}

struct Lease {
    file: usize,
    holder: Weak<File>,
    /// The descriptor that it was taken by.
    fd: i32,
    write: bool,
    pid: i32,
    /// What it is being broken to, and when that happens at the latest (monotonic ns).
    breaking: Option<(Option<bool>, u64)>,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    wholes: Vec<Whole>,
    leases: Vec<Lease>,
}

/// The locks of an inode.
pub struct LockTable {
    state: SpinLock<State>,
    queue: OnceLock<Arc<WaitQueue>>,
    /// Somebody has locked it at least once.
    used: AtomicBool,
}

/// Inodes that have been locked, for /proc/locks.
static LOCKED: SpinLock<Vec<Weak<Inode>>> = SpinLock::new(Vec::new());
/// Who waits for whom, to find deadlocks.
static BLOCKED: SpinLock<Vec<(Owner, Owner)>> = SpinLock::new(Vec::new());

/// A line of /proc/locks.
pub struct LockInfo {
    /// `FLOCK`, `POSIX`, `OFDLCK` or `LEASE`.
    pub kind: &'static str,
    /// Held for writing.
    pub write: bool,
    /// Being broken (leases).
    pub breaking: bool,
    /// Process; -1 for open file descriptions.
    pub pid: i32,
    /// Device and number of the inode.
    pub inode: (u64, u64),
    /// First byte.
    pub start: u64,
    /// Last byte; `None` for the end of the file.
    pub end: Option<u64>,
}

fn address_of(file: &File) -> usize {
    core::ptr::from_ref(file) as usize
}

fn my_pid() -> i32 {
    crate::process::current_opt().map_or(0, |thread| thread.process.pid as i32)
}

impl LockTable {
    /// No locks.
    pub fn new() -> Self {
        Self {
            state: SpinLock::new(State::default()),
            queue: OnceLock::new(),
            used: AtomicBool::new(false),
        }
    }

    fn queue(&self) -> &Arc<WaitQueue> {
        self.queue.call_once(|| Arc::new(WaitQueue::new()))
    }

    fn changed(&self) {
        if let Some(queue) = self.queue.get() {
            queue.wake_all();
        }
    }

    fn mark_used(&self, inode: &Arc<Inode>) {
        if !self.used.swap(true, Ordering::AcqRel) {
            let mut known = LOCKED.lock();
            known.retain(|weak| weak.strong_count() > 0);
            known.push(Arc::downgrade(inode));
        }
    }

    /// Sets (or with `wanted.write == None` removes) a record lock; the lock in the way otherwise.
    fn try_record(&self, lock: Record, unlock: bool) -> core::result::Result<(), Record> {
        let mut state = self.state.lock();
        if !unlock && let Some(other) = state.records.iter().find(|r| r.conflicts(&lock)) {
            return Err(*other);
        }
        state.cut(lock.owner, lock.start, lock.end);
        if !unlock {
            state.add(lock);
        }
        drop(state);
        self.changed();
        Ok(())
    }

    fn try_whole(&self, file: usize, exclusive: bool) -> bool {
        let mut state = self.state.lock();
        if state
            .wholes
            .iter()
            .any(|w| w.file == file && w.exclusive == exclusive)
        {
            return true;
        }
        // A conversion gives the old lock up first, even if the new one cannot be had (flock(2)).
        let before = state.wholes.len();
        state.wholes.retain(|w| w.file != file);
        let released = state.wholes.len() < before;
        let free = !state.wholes.iter().any(|w| exclusive || w.exclusive);
        if free {
            state.wholes.push(Whole {
                file,
                exclusive,
                pid: my_pid(),
            });
        }
        drop(state);
        if released {
            self.changed();
        }
        free
    }

    fn release(&self, which: impl FnOnce(&mut State) -> bool) {
        if !self.used.load(Ordering::Acquire) {
            return;
        }
        let changed = which(&mut self.state.lock());
        if changed {
            self.changed();
        }
    }
}

impl State {
    /// Takes bytes `start..=end` out of an owner's record locks.
    fn cut(&mut self, owner: Owner, start: i64, end: i64) {
        let mut rest = Vec::new();
        self.records.retain(|r| {
            if r.owner != owner || r.end < start || end < r.start {
                return true;
            }
            if r.start < start {
                rest.push(Record {
                    end: start - 1,
                    ..*r
                });
            }
            if r.end > end {
                rest.push(Record {
                    start: end + 1,
                    ..*r
                });
            }
            false
        });
        self.records.extend(rest);
    }

    /// Adds a lock, joined with its neighbours of the same kind.
    fn add(&mut self, mut lock: Record) {
        self.records.retain(|r| {
            let touches = r.owner == lock.owner
                && r.write == lock.write
                && (r.end.checked_add(1) == Some(lock.start)
                    || lock.end.checked_add(1) == Some(r.start));
            if touches {
                lock.start = lock.start.min(r.start);
                lock.end = lock.end.max(r.end);
            }
            !touches
        });
        let at = self.records.partition_point(|r| r.start <= lock.start);
        self.records.insert(at, lock);
    }
}

/// What `struct flock` says, in bytes from the start of the file: EINVAL, EOVERFLOW.
fn range_of(file: &File, flock: &Flock) -> Result<(i64, i64)> {
    let base = match flock.l_whence {
        0 => 0,
        1 => file.position() as i64,
        2 => file.inode.size() as i64,
        _ => return Err(Errno::EINVAL),
    };
    let at = base.checked_add(flock.l_start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match flock.l_len {
        0 => (at, OFFSET_MAX),
        len if len > 0 => (at, at.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => (at.checked_add(len).ok_or(Errno::EINVAL)?, at - 1),
    };
    if at < 0 || start < 0 {
        Err(Errno::EINVAL)
    } else {
        Ok((start, end))
    }
}

fn owner_of(table: &Arc<FdTable>, file: &File, description: bool) -> Owner {
    if description {
        Owner::Description(address_of(file))
    } else {
        Owner::Process(Arc::as_ptr(table) as usize)
    }
}

fn record(table: &Arc<FdTable>, file: &File, flock: &Flock, description: bool) -> Result<Record> {
    if description && flock.l_pid.0 != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, end) = range_of(file, flock)?;
    let pid = if description { -1 } else { my_pid() };
    let write = flock.l_type == LockType::F_WRLCK.0;
    Ok(Record {
        owner: owner_of(table, file, description),
        write,
        start,
        end,
        pid,
    })
}

/// F_GETLK and F_OFD_GETLK: the first lock in the way of `flock`, or F_UNLCK.
pub fn get_record(
    table: &Arc<FdTable>,
    file: &File,
    flock: &Flock,
    description: bool,
) -> Result<Flock> {
    if !matches!(
        LockType(flock.l_type),
        LockType::F_RDLCK | LockType::F_WRLCK
    ) {
        return Err(Errno::EINVAL);
    }
    let wanted = record(table, file, flock, description)?;
    let state = file.inode.locks.state.lock();
    let mut answer = *flock;
    match state.records.iter().find(|r| r.conflicts(&wanted)) {
        Some(other) => {
            let kind = if other.write {
                LockType::F_WRLCK
            } else {
                LockType::F_RDLCK
            };
            answer.l_type = kind.0;
            answer.l_whence = 0;
            answer.l_start = other.start;
            answer.l_len = if other.end == OFFSET_MAX {
                0
            } else {
                other.end - other.start + 1
            };
            answer.l_pid = Pid(other.pid);
        }
        None => answer.l_type = LockType::F_UNLCK.0,
    }
    Ok(answer)
}

/// F_SETLK, F_SETLKW and their OFD kin: EAGAIN, EDEADLK, EBADF for the wrong access mode.
pub fn set_record(
    table: &Arc<FdTable>,
    file: &File,
    flock: &Flock,
    description: bool,
    wait: bool,
) -> Result<()> {
    let lock = record(table, file, flock, description)?;
    let unlock = match LockType(flock.l_type) {
        LockType::F_RDLCK if !file.readable() => return Err(Errno::EBADF),
        LockType::F_WRLCK if !file.writable() => return Err(Errno::EBADF),
        LockType::F_RDLCK | LockType::F_WRLCK => false,
        LockType::F_UNLCK => true,
        _ => return Err(Errno::EINVAL),
    };
    let locks = &file.inode.locks;
    if !unlock {
        locks.mark_used(&file.inode);
    }
    if !wait {
        return locks.try_record(lock, unlock).map_err(|_| Errno::EAGAIN);
    }
    let attempt = || match locks.try_record(lock, unlock) {
        Ok(()) => Some(Ok(())),
        Err(other) => note_blocked(lock.owner, other.owner).err().map(Err),
    };
    let outcome = locks.queue().wait(SleepMode::Interruptible, None, attempt);
    forget_blocked(lock.owner);
    outcome.map_err(|_| Errno::ERESTARTSYS)?
}

/// Notes that a process waits for another: EDEADLK if that waits for it in turn.
fn note_blocked(waiter: Owner, holder: Owner) -> Result<()> {
    if matches!(waiter, Owner::Description(_)) {
        return Ok(());
    }
    let mut blocked = BLOCKED.lock();
    let mut at = holder;
    for _ in 0..=blocked.len() {
        if at == waiter {
            return Err(Errno::EDEADLK);
        }
        match blocked.iter().find(|(who, _)| *who == at) {
            Some((_, next)) => at = *next,
            None => break,
        }
    }
    blocked.retain(|(who, _)| *who != waiter);
    blocked.push((waiter, holder));
    Ok(())
}

fn forget_blocked(waiter: Owner) {
    BLOCKED.lock().retain(|(who, _)| *who != waiter);
}

/// flock(2): EAGAIN, or a restart when a signal ends the wait.
pub fn flock(file: &Arc<File>, exclusive: bool, wait: bool) -> Result<()> {
    let locks = &file.inode.locks;
    locks.mark_used(&file.inode);
    let me = address_of(file);
    if !wait {
        return if locks.try_whole(me, exclusive) {
            Ok(())
        } else {
            Err(Errno::EAGAIN)
        };
    }
    let attempt = || locks.try_whole(me, exclusive).then_some(());
    locks
        .queue()
        .wait(SleepMode::Interruptible, None, attempt)
        .map_err(|_| Errno::ERESTARTSYS)
}

/// flock(2) with LOCK_UN.
pub fn flock_unlock(file: &File) {
    let me = address_of(file);
    file.inode.locks.release(|state| {
        let before = state.wholes.len();
        state.wholes.retain(|w| w.file != me);
        state.wholes.len() < before
    });
}

/// A descriptor was closed: the process's record locks on the file go, whichever descriptor set them.
pub fn descriptor_closed(table: &FdTable, file: &Arc<File>) {
    if file.is_path() {
        return;
    }
    let owner = Owner::Process(core::ptr::from_ref(table) as usize);
    file.inode.locks.release(|state| state.drop_records(owner));
}

impl State {
    fn drop_records(&mut self, owner: Owner) -> bool {
        let before = self.records.len();
        self.records.retain(|r| r.owner != owner);
        self.records.len() < before
    }
}

/// An open file description is gone, and with it its locks and its lease.
pub fn file_released(file: &File) {
    let me = address_of(file);
    file.inode.locks.release(|state| {
        let before = state.wholes.len() + state.leases.len();
        state.wholes.retain(|w| w.file != me);
        state.leases.retain(|l| l.file != me);
        let fewer = state.wholes.len() + state.leases.len() < before;
        state.drop_records(Owner::Description(me)) | fewer
    });
}

/// F_SETLEASE: `kind` is F_RDLCK, F_WRLCK or F_UNLCK. EACCES, EINVAL, EAGAIN.
pub fn set_lease(file: &Arc<File>, fd: i32, kind: LockType, cred: &Cred) -> Result<()> {
    let inode = &file.inode;
    if inode.attr().uid != cred.fsuid && !cred.has(Cap::LEASE) {
        return Err(Errno::EACCES);
    }
    if !inode.is_regular() {
        return Err(Errno::EINVAL);
    }
    let write = match kind {
        LockType::F_RDLCK => false,
        LockType::F_WRLCK => true,
        LockType::F_UNLCK => return drop_lease(file),
        _ => return Err(Errno::EINVAL),
    };
    if !LEASES_ENABLED.load(Ordering::Relaxed) {
        return Err(Errno::EINVAL);
    }
    let writers = inode.write_count.load(Ordering::Acquire);
    let opens = inode.opens.load(Ordering::Acquire);
    if (!write && writers > 0) || (write && opens > 1) {
        return Err(Errno::EAGAIN);
    }
    let me = address_of(file);
    inode.locks.mark_used(inode);
    let mut state = inode.locks.state.lock();
    let in_the_way = |l: &Lease| l.file != me && (write || l.write || l.breaking.is_some());
    if state.leases.iter().any(in_the_way) {
        return Err(Errno::EAGAIN);
    }
    state.leases.retain(|l| l.file != me);
    let (holder, pid) = (Arc::downgrade(file), my_pid());
    state.leases.push(Lease {
        file: me,
        holder,
        fd,
        write,
        pid,
        breaking: None,
    });
    drop(state);
    inode.locks.changed();
    let mut owner = file.owner.lock();
    if owner.pid == 0 {
        (owner.pid, owner.uid, owner.euid) = (pid, cred.uid, cred.euid);
    }
    Ok(())
}

fn drop_lease(file: &Arc<File>) -> Result<()> {
    let me = address_of(file);
    let mut found = false;
    file.inode.locks.release(|state| {
        let before = state.leases.len();
        state.leases.retain(|l| l.file != me);
        found = state.leases.len() < before;
        found
    });
    if found { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// F_GETLEASE: what is held, or what it is being broken to.
pub fn get_lease(file: &File) -> LockType {
    let me = address_of(file);
    let state = file.inode.locks.state.lock();
    let held = state
        .leases
        .iter()
        .find(|l| l.file == me)
        .and_then(|l| match l.breaking {
            Some((target, _)) => target,
            None => Some(l.write),
        });
    match held {
        Some(true) => LockType::F_WRLCK,
        Some(false) => LockType::F_RDLCK,
        None => LockType::F_UNLCK,
    }
}

/// Called before a file is opened (`write`: for writing) or truncated: tells holders of leases in the way, and waits
/// for them. EAGAIN when that must not sleep.
pub fn break_leases(inode: &Arc<Inode>, write: bool, nonblocking: bool) -> Result<()> {
    let locks = &inode.locks;
    if !locks.used.load(Ordering::Acquire) {
        return Ok(());
    }
    let seconds = u64::from(LEASE_BREAK_SECS.load(Ordering::Relaxed));
    let deadline = crate::time::monotonic_ns() + seconds * crate::time::NSEC_PER_SEC;
    let target = (!write).then_some(false);
    let mut told = Vec::new();
    let mut until = 0;
    {
        let mut state = locks.state.lock();
        for lease in state.leases.iter_mut().filter(|l| write || l.write) {
            match &mut lease.breaking {
                Some((to, _)) if write => *to = None,
                Some(_) => {}
                None => {
                    lease.breaking = Some((target, deadline));
                    told.extend(lease.holder.upgrade().map(|holder| (holder, lease.fd)));
                }
            }
            until = until.max(lease.breaking.map_or(0, |(_, at)| at));
        }
    }
    if until == 0 {
        return Ok(());
    }
    for (holder, fd) in told {
        sigio::send(&holder, fd, sigio::POLL_MSG);
    }
    if nonblocking {
        return Err(Errno::EAGAIN);
    }
    let free = || {
        let state = locks.state.lock();
        let in_the_way = state
            .leases
            .iter()
            .any(|l| l.breaking.is_some() && (write || l.write));
        (!in_the_way).then_some(())
    };
    match locks
        .queue()
        .wait(SleepMode::Interruptible, Some(until), free)
    {
        Ok(()) => Ok(()),
        Err(WaitError::Interrupted) => Err(Errno::ERESTARTSYS),
        Err(WaitError::TimedOut) => {
            locks.state.lock().break_now();
            locks.changed();
            Ok(())
        }
    }
}

impl State {
    /// Takes away what was not given up in time.
    fn break_now(&mut self) {
        self.leases.retain_mut(|l| match l.breaking.take() {
            Some((Some(write), _)) => {
                l.write = write;
                true
            }
            Some((None, _)) => false,
            None => true,
        });
    }
}

/// All locks that are held, for /proc/locks.
pub fn all() -> Vec<LockInfo> {
    let inodes: Vec<Arc<Inode>> = LOCKED.lock().iter().filter_map(Weak::upgrade).collect();
    let mut out = Vec::new();
    for inode in inodes {
        let state = inode.locks.state.lock();
        let key = inode.key();
        let whole = |kind, write, breaking, pid| LockInfo {
            kind,
            write,
            breaking,
            pid,
            inode: key,
            start: 0,
            end: None,
        };
        out.extend(
            state
                .wholes
                .iter()
                .map(|w| whole("FLOCK", w.exclusive, false, w.pid)),
        );
        out.extend(
            state
                .leases
                .iter()
                .map(|l| whole("LEASE", l.write, l.breaking.is_some(), l.pid)),
        );
        out.extend(state.records.iter().map(|r| LockInfo {
            kind: if matches!(r.owner, Owner::Process(_)) {
                "POSIX"
            } else {
                "OFDLCK"
            },
            write: r.write,
            breaking: false,
            pid: r.pid,
            inode: key,
            start: r.start as u64,
            end: (r.end != OFFSET_MAX).then_some(r.end as u64),
        }));
    }
    out
}
