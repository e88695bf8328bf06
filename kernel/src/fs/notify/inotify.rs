//! inotify(7): queues of events about watched files and directories, read as files.
//!
//! An [`Inotify`] is a group whose marks are the watches, numbered from 1. Events wait in its queue until they are read;
//! one that equals the last in the queue is not queued again. Instances and watches are counted for each user.

use core::any::Any;
use core::sync::atomic::{AtomicU32, Ordering};
use keel_abi::flags::OpenFlags;
use keel_abi::types::InotifyEvent;
use zerocopy::IntoBytes;

use super::{Events, Group, Happening, Hit, Mark, Role, Target};
use crate::fs::{File, FileOps, Inode, IoDst, PollEvents, PollTable, anon_file};
use crate::mm::user::UserAccess;
use crate::prelude::*;

/// The events that a watch can ask for (`IN_ALL_EVENTS`).
const ALL_EVENTS: u32 = 0xfff;
/// Nothing about a child that has lost its name.
const IN_EXCL_UNLINK: u32 = 0x0400_0000;
/// The watch ends with its first event.
const IN_ONESHOT: u32 = 0x8000_0000;
const EVENT_SIZE: usize = size_of::<InotifyEvent>();

/// `fs.inotify.max_queued_events`.
pub static MAX_QUEUED_EVENTS: AtomicU32 = AtomicU32::new(16384);
/// `fs.inotify.max_user_instances`.
pub static MAX_USER_INSTANCES: AtomicU32 = AtomicU32::new(128);
/// `fs.inotify.max_user_watches`; 0 until somebody asks.
static MAX_USER_WATCHES: AtomicU32 = AtomicU32::new(0);

/// `fs.inotify.max_user_watches`: what fits a hundredth of memory, unless it was set.
pub fn max_user_watches() -> u32 {
    /// What a watch keeps in memory: itself and its inode.
    const WATCH_COST: usize = 1280;
    match MAX_USER_WATCHES.load(Ordering::Relaxed) {
        0 => {
            let bytes = keel_hal::frame::stats().total * PAGE_SIZE;
            (bytes / 100 / WATCH_COST).clamp(8192, 1 << 20) as u32
        }
        set => set,
    }
}

/// Sets `fs.inotify.max_user_watches`.
pub fn set_max_user_watches(max: u32) {
    MAX_USER_WATCHES.store(max, Ordering::Relaxed);
}

/// Instances and watches of each user.
static USERS: SpinLock<BTreeMap<u32, [u32; 2]>> = SpinLock::new(BTreeMap::new());

#[derive(Clone, Copy)]
enum Counted {
    Instance,
    Watch,
}

fn charge(uid: u32, what: Counted, max: u32) -> bool {
    let mut users = USERS.lock();
    let count = &mut users.entry(uid).or_default()[what as usize];
    if *count >= max {
        return false;
    }
    *count += 1;
    true
}

fn uncharge(uid: u32, what: Counted) {
    let mut users = USERS.lock();
    if let Some(counts) = users.get_mut(&uid) {
        counts[what as usize] = counts[what as usize].saturating_sub(1);
        if *counts == [0, 0] {
            users.remove(&uid);
        }
    }
}

/// An event that waits to be read.
#[derive(Debug, Eq, PartialEq)]
struct Queued {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Queued {
    /// Bytes of the name as it is read: with a NUL, in multiples of the head's size.
    fn name_room(&self) -> usize {
        if self.name.is_empty() {
            0
        } else {
            (self.name.len() + 1).next_multiple_of(EVENT_SIZE)
        }
    }

    fn room(&self) -> usize {
        EVENT_SIZE + self.name_room()
    }

    /// Whether reading both would tell nothing more than reading one.
    fn same(&self, other: &Queued) -> bool {
        self.mask & Events::IGNORED.bits() == 0
            && self.mask == other.mask
            && self.wd == other.wd
            && self.name == other.name
    }
}

#[derive(Default)]
struct Watches {
    by_number: BTreeMap<i32, Arc<Mark>>,
    last: i32,
}

/// An inotify instance.
pub struct Inotify {
    queue: SpinLock<VecDeque<Queued>>,
    watches: SpinLock<Watches>,
    /// One change of watches at a time.
    changing: Mutex<()>,
    readable: Arc<WaitQueue>,
    uid: u32,
}

/// What the file holds: the watches end with it.
struct Instance(Arc<Inotify>);

/// A file over a new instance: EMFILE.
pub fn create(uid: u32, flags: OpenFlags) -> Result<Arc<File>> {
    let max = MAX_USER_INSTANCES.load(Ordering::Relaxed);
    if !charge(uid, Counted::Instance, max) {
        return Err(Errno::EMFILE);
    }
    let instance = Instance(Arc::new(Inotify {
        queue: SpinLock::new(VecDeque::new()),
        watches: SpinLock::new(Watches::default()),
        changing: Mutex::new(()),
        readable: Arc::new(WaitQueue::new()),
        uid,
    }));
    Ok(anon_file("anon_inode:inotify", Arc::new(instance), flags))
}

/// The instance behind a file: EINVAL.
pub fn of_file(file: &File) -> Result<&Arc<Inotify>> {
    let instance: &Instance = file.ops_as().ok_or(Errno::EINVAL)?;
    Ok(&instance.0)
}

/// How inotify_add_watch(2) treats a watch that is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// Its mask is replaced.
    Replace,
    /// Its mask is extended (IN_MASK_ADD).
    Add,
    /// EEXIST (IN_MASK_CREATE).
    Refuse,
}

impl Inotify {
    /// Watches an inode, and gives the watch's number: EEXIST, ENOSPC.
    pub fn add(self: &Arc<Self>, inode: &Arc<Inode>, bits: u32, existing: Existing) -> Result<i32> {
        let mut mask = Events::from_bits_retain(bits & ALL_EVENTS) | Events::UNMOUNT;
        mask.set(Events::ON_CHILD, inode.is_dir());
        let flags = bits & (IN_EXCL_UNLINK | IN_ONESHOT);
        let _changing = self.changing.lock();
        if let Some(mark) = inode.marks.of_group(self) {
            match existing {
                Existing::Refuse => return Err(Errno::EEXIST),
                Existing::Add => {
                    mark.flags.fetch_or(flags, Ordering::Relaxed);
                    mark.set_masks(mark.mask() | mask, Events::empty());
                }
                Existing::Replace => {
                    mark.flags.store(flags, Ordering::Relaxed);
                    mark.set_masks(mask, Events::empty());
                }
            }
            return Ok(mark.id);
        }
        if !charge(self.uid, Counted::Watch, max_user_watches()) {
            return Err(Errno::ENOSPC);
        }
        let mark = {
            let mut watches = self.watches.lock();
            let number = watches.free_number();
            let mark = Mark::new(self, number, mask);
            mark.flags.store(flags, Ordering::Relaxed);
            watches.by_number.insert(number, mark.clone());
            watches.last = number;
            mark
        };
        mark.attach(Target::Inode(inode.clone()));
        Ok(mark.id)
    }

    /// Ends a watch: EINVAL.
    pub fn remove(&self, number: i32) -> Result<()> {
        let _changing = self.changing.lock();
        let mark = self.watches.lock().by_number.get(&number).cloned();
        let mark = mark.ok_or(Errno::EINVAL)?;
        if mark.detach() {
            self.gone(&mark);
        }
        Ok(())
    }

    /// A watch has ended: its number is free again, once the reader has heard of it.
    fn gone(&self, mark: &Arc<Mark>) {
        self.push(Queued {
            wd: mark.id,
            mask: Events::IGNORED.bits(),
            cookie: 0,
            name: Vec::new(),
        });
        self.watches.lock().by_number.remove(&mark.id);
        uncharge(self.uid, Counted::Watch);
    }

    fn push(&self, event: Queued) {
        let max = MAX_QUEUED_EVENTS.load(Ordering::Relaxed) as usize;
        {
            let mut queue = self.queue.lock();
            if queue.back().is_some_and(|last| last.same(&event)) {
                return;
            }
            let room = queue.try_reserve(2).is_ok();
            let is_overflow = |e: &Queued| e.mask == Events::Q_OVERFLOW.bits() && e.wd == -1;
            if queue.len() >= max || !room {
                // Said once, in the place that is kept for it.
                if queue.back().is_some_and(is_overflow) || !room {
                    return;
                }
                queue.push_back(Queued {
                    wd: -1,
                    mask: Events::Q_OVERFLOW.bits(),
                    cookie: 0,
                    name: Vec::new(),
                });
            } else {
                queue.push_back(event);
            }
        }
        self.readable.wake(usize::MAX, PollEvents::READABLE.key());
    }

    /// Queues what one watch has to say.
    fn report(&self, what: &Happening, mark: &Arc<Mark>, role: Role) {
        let flags = mark.flags.load(Ordering::Relaxed);
        let child = role == Role::Parent;
        if child && what.unlinked && flags & IN_EXCL_UNLINK != 0 {
            return;
        }
        let own = Events::DELETE_SELF | Events::MOVE_SELF;
        let mut mask =
            what.events & (Events::from_bits_retain(ALL_EVENTS) | Events::UNMOUNT | Events::ISDIR);
        if what.events.intersects(own) {
            mask -= Events::ISDIR;
        }
        let name = match what.within {
            Some((_, name)) if child => name,
            _ => b"",
        };
        let mut copy = Vec::new();
        if copy.try_reserve_exact(name.len()).is_ok() {
            copy.extend_from_slice(name);
            self.push(Queued {
                wd: mark.id,
                mask: mask.bits(),
                cookie: what.cookie,
                name: copy,
            });
        }
        if flags & IN_ONESHOT != 0 && mark.detach() {
            self.gone(mark);
        }
    }

    /// Takes the first event if it fits `room`: `None` when there is none, EINVAL when it does not fit.
    fn take(&self, room: usize) -> Option<Result<Queued>> {
        let mut queue = self.queue.lock();
        if queue.front()?.room() > room {
            return Some(Err(Errno::EINVAL));
        }
        queue.pop_front().map(Ok)
    }
}

impl Watches {
    /// The next number in turn that is free.
    fn free_number(&self) -> i32 {
        let mut number = self.last;
        loop {
            number = number.checked_add(1).unwrap_or(1);
            if !self.by_number.contains_key(&number) {
                return number;
            }
        }
    }
}

impl Group for Inotify {
    fn handle(&self, what: &Happening, hits: &[Hit]) -> Result<()> {
        for (mark, role) in hits {
            let asked = mark.mask().intersects(what.events - Events::ISDIR);
            if asked && matches!(role, Role::Parent | Role::Own) {
                self.report(what, mark, *role);
            }
        }
        Ok(())
    }

    fn freed(&self, mark: &Arc<Mark>) {
        self.gone(mark);
    }
}

fn put(dst: &mut IoDst, event: &Queued) -> Result<usize> {
    let head = InotifyEvent {
        wd: event.wd,
        mask: event.mask,
        cookie: event.cookie,
        len: event.name_room() as u32,
    };
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend_from_slice(&event.name);
    bytes.resize(event.room(), 0);
    match dst.put(&bytes)? {
        n if n == bytes.len() => Ok(n),
        _ => Err(Errno::EFAULT),
    }
}

impl FileOps for Instance {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        let inotify = &self.0;
        let first = match inotify.take(dst.remaining()) {
            Some(event) => event?,
            None if file.nonblocking() => return Err(Errno::EAGAIN),
            None => inotify
                .readable
                .wait_exclusive(SleepMode::Interruptible, None, || {
                    inotify.take(dst.remaining())
                })
                .map_err(|_| Errno::ERESTARTSYS)??,
        };
        let mut done = put(dst, &first)?;
        while let Some(Ok(event)) = inotify.take(dst.remaining()) {
            match put(dst, &event) {
                Ok(n) => done += n,
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.0.readable);
        if self.0.queue.lock().is_empty() {
            PollEvents::empty()
        } else {
            PollEvents::READABLE
        }
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        const FIONREAD: u32 = 0x541b;
        if cmd != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let waiting: usize = self.0.queue.lock().iter().map(Queued::room).sum();
        keel_abi::args::UserPtr::<i32>::new(arg).write(&(waiting as i32))?;
        Ok(0)
    }

    fn release(&self, _file: &File) {
        let marks = core::mem::take(&mut self.0.watches.lock().by_number);
        for mark in marks.values() {
            if mark.detach() {
                uncharge(self.0.uid, Counted::Watch);
            }
        }
        uncharge(self.0.uid, Counted::Instance);
    }

    fn show_fdinfo(&self, _file: &File, out: &mut String) {
        let marks: Vec<_> = self.0.watches.lock().by_number.values().cloned().collect();
        for mark in marks.iter().rev() {
            let Some(inode) = mark.inode() else { continue };
            let mask = mark.mask().bits() & ALL_EVENTS | mark.flags.load(Ordering::Relaxed);
            out.push_str(&format!(
                "inotify wd:{:x} ino:{:x} sdev:{:x} mask:{mask:x} ignored_mask:0 ",
                mark.id,
                inode.ino,
                kernel_dev(inode.sb.dev)
            ));
            if let Ok((kind, handle)) = crate::fs::handle::encode(&inode, true) {
                out.push_str(&format!(
                    "fhandle-bytes:{:x} fhandle-type:{kind:x} f_handle:",
                    handle.len()
                ));
                for byte in handle {
                    out.push_str(&format!("{byte:02x}"));
                }
            }
            out.push('\n');
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A device number as the kernel writes it: the major above 20 bits of minor.
fn kernel_dev(raw: u64) -> u32 {
    let dev = keel_abi::types::Dev::decode(raw as u32);
    (dev.major << 20) | dev.minor
}
