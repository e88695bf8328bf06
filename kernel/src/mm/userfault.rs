//! Page faults that another thread resolves (userfaultfd(2)): missing pages of private anonymous memory.
//!
//! A faulting thread enters itself in the [`Userfault`] of the mapping, *then* looks whether the page is there, and
//! sleeps until its entry is taken out. Whoever puts a page there takes the entry out afterwards, so no wake-up is
//! lost. The lock of the entries is a spin lock and innermost.

use core::any::Any;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::flags::OpenFlags;

use super::vma::{Backing, VmFlags, Vma};
use super::{Access, AddressSpace, alloc_user_frame, user_range};
use crate::fs::{File, FileOps, IoDst, PollEvents, PollTable, anon_file};
use crate::mm::user::{read_bytes, write_bytes};
use crate::prelude::*;

/// `vm.unprivileged_userfaultfd`: everybody may handle faults of the kernel's copies.
pub static UNPRIVILEGED: AtomicBool = AtomicBool::new(false);

const API: u64 = 0xaa;
/// Bytes of a `struct uffd_msg`.
const MESSAGE: usize = 32;
const EVENT_PAGEFAULT: u8 = 0x12;
const FLAG_WRITE: u64 = 1;
const FEATURE_SIGBUS: u64 = 1 << 7;
const FEATURE_THREAD_ID: u64 = 1 << 8;
const FEATURES: u64 = FEATURE_SIGBUS | FEATURE_THREAD_ID;
const MODE_MISSING: u64 = 1;
const DONTWAKE: u64 = 1;

/// The ioctls of ioctl_userfaultfd(2).
mod cmd {
    pub const API: u32 = 0xc018_aa3f;
    pub const REGISTER: u32 = 0xc020_aa00;
    pub const UNREGISTER: u32 = 0x8010_aa01;
    pub const WAKE: u32 = 0x8010_aa02;
    pub const COPY: u32 = 0xc028_aa03;
    pub const ZEROPAGE: u32 = 0xc020_aa04;
}
/// Bits of the ioctls that are there: API, REGISTER, UNREGISTER; and on a range WAKE, COPY, ZEROPAGE.
const API_IOCTLS: u64 = 1 << 0x3f | 1 << 1 | 1;
const RANGE_IOCTLS: u64 = 1 << 4 | 1 << 3 | 1 << 2;

/// A thread that waits for a page.
struct Waiting {
    addr: usize,
    write: bool,
    tid: u32,
    told: bool,
}

#[derive(Default)]
struct State {
    /// UFFDIO_API came, with these features.
    features: Option<u64>,
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    closed: bool,
}

/// What a userfaultfd descriptor stands for.
pub struct Userfault {
    mm: Weak<AddressSpace>,
    /// Faults of the kernel's copies are not handled (UFFD_USER_MODE_ONLY).
    user_only: bool,
    state: SpinLock<State>,
    readers: Arc<WaitQueue>,
    sleepers: WaitQueue,
}

/// How a wait for a page ended.
pub(super) enum Resolved {
    /// Look again.
    Retry,
    /// SIGBUS is what was asked for.
    Bus,
}

/// A file for the faults of `mm`.
pub fn create(mm: &Arc<AddressSpace>, user_only: bool, flags: OpenFlags) -> Arc<File> {
    let context = Userfault {
        mm: Arc::downgrade(mm),
        user_only,
        state: SpinLock::default(),
        readers: Arc::new(WaitQueue::new()),
        sleepers: WaitQueue::new(),
    };
    let ops = Arc::new(UserfaultFile(Arc::new(context)));
    anon_file("anon_inode:[userfaultfd]", ops, flags | OpenFlags::RDWR)
}

impl Userfault {
    /// Enters a fault; `None` if nobody will handle it.
    fn enter(&self, addr: usize, write: bool) -> Option<u64> {
        let tid = crate::process::current_opt().map_or(0, |thread| thread.tid());
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.next += 1;
        let id = state.next;
        let waiting = Waiting {
            addr,
            write,
            tid,
            told: false,
        };
        state.waiting.insert(id, waiting);
        Some(id)
    }

    fn leave(&self, id: u64) {
        self.state.lock().waiting.remove(&id);
    }

    /// Sleeps until the entry has been taken out, or a signal comes.
    fn sleep(&self, id: u64, mode: SleepMode) {
        self.readers.wake(usize::MAX, PollEvents::READABLE.key());
        let gone = || {
            let state = self.state.lock();
            (state.closed || !state.waiting.contains_key(&id)).then_some(())
        };
        if self.sleepers.wait(mode, None, gone).is_err() {
            self.leave(id);
        }
    }

    /// Lets go on who waits for a page of the range.
    fn wake(&self, range: &Range<usize>) {
        let mut state = self.state.lock();
        state
            .waiting
            .retain(|_, waiting| !range.contains(&waiting.addr));
        drop(state);
        self.sleepers.wake_all();
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.sleepers.wake_all();
        self.readers.wake_all();
    }

    /// The next fault that nobody was told of, as a `struct uffd_msg`.
    fn message(&self) -> Option<[u8; MESSAGE]> {
        let mut state = self.state.lock();
        let with_thread = state.features.unwrap_or(0) & FEATURE_THREAD_ID != 0;
        let waiting = state.waiting.values_mut().find(|waiting| !waiting.told)?;
        waiting.told = true;
        let mut message = [0; MESSAGE];
        message[0] = EVENT_PAGEFAULT;
        let flags = if waiting.write { FLAG_WRITE } else { 0 };
        message[8..16].copy_from_slice(&flags.to_ne_bytes());
        message[16..24].copy_from_slice(&(waiting.addr as u64).to_ne_bytes());
        if with_thread {
            message[24..28].copy_from_slice(&waiting.tid.to_ne_bytes());
        }
        Some(message)
    }

    fn mm(&self) -> Result<Arc<AddressSpace>> {
        self.mm.upgrade().ok_or(Errno::ESRCH)
    }

    /// UFFDIO_API: EINVAL for another interface, features there are not, and a second time.
    fn start(&self, arg: u64) -> Result<()> {
        let [api, wanted, _] = read_words::<3>(arg)?;
        let mut state = self.state.lock();
        let valid = state.features.is_none() && api == API && wanted & !FEATURES == 0;
        if valid {
            state.features = Some(wanted);
        }
        drop(state);
        if !valid {
            write_words(arg, &[0; 3])?;
            return Err(Errno::EINVAL);
        }
        write_words(arg, &[API, FEATURES, API_IOCTLS])
    }

    /// UFFDIO_COPY of one page: EEXIST, ENOENT for memory that is not registered, EFAULT.
    fn copy_page(&self, mm: &AddressSpace, dst: usize, src: u64) -> Result<()> {
        let frame = alloc_user_frame(AllocFlags::empty()).ok_or(Errno::ENOMEM)?;
        let bytes = read_bytes(src, PAGE_SIZE)?;
        frame.write(0, &bytes);
        mm.fill_missing(self, dst, frame, true)
    }
}

fn read_words<const N: usize>(addr: u64) -> Result<[u64; N]> {
    let bytes = read_bytes(addr, N * 8)?;
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().unwrap_or([0; 8]));
    }
    Ok(words)
}

fn write_words(addr: u64, words: &[u64]) -> Result<()> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    write_bytes(addr, &bytes)
}

/// A range argument: EINVAL unless whole pages of user memory.
fn range_of(start: u64, len: u64) -> Result<Range<usize>> {
    if len == 0 || !len.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL);
    }
    user_range(start as usize, len as usize).ok_or(Errno::EINVAL)
}

/// Does `one` for each page, and stores how much was done, or why nothing was. EAGAIN if it was not all.
fn each_page(
    range: Range<usize>,
    result_at: u64,
    mut one: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    let mut error = None;
    for addr in range.clone().step_by(PAGE_SIZE) {
        if let Err(failure) = one(addr) {
            error = Some(failure);
            break;
        }
        done += PAGE_SIZE;
        keel_hal::task::cond_resched();
    }
    let told = match error {
        Some(error) if done == 0 => -i64::from(error.raw()),
        _ => done as i64,
    };
    write_words(result_at, &[told.cast_unsigned()])?;
    match error {
        None => Ok(()),
        Some(error) if done == 0 => Err(error),
        Some(_) => Err(Errno::EAGAIN),
    }
}

/// The open file; the last close ends the handling.
struct UserfaultFile(Arc<Userfault>);

impl UserfaultFile {
    fn register(&self, arg: u64) -> Result<()> {
        let [start, len, mode, _] = read_words::<4>(arg)?;
        if mode != MODE_MISSING {
            return Err(Errno::EINVAL);
        }
        let range = range_of(start, len)?;
        self.0.mm()?.set_userfault(range, Some(&self.0))?;
        write_words(arg + 24, &[RANGE_IOCTLS])
    }

    fn unregister(&self, arg: u64) -> Result<()> {
        let [start, len] = read_words::<2>(arg)?;
        let range = range_of(start, len)?;
        self.0.mm()?.set_userfault(range.clone(), None)?;
        self.0.wake(&range);
        Ok(())
    }

    fn copy(&self, arg: u64) -> Result<()> {
        let [dst, src, len, mode, _] = read_words::<5>(arg)?;
        let range = range_of(dst, len)?;
        if mode & !DONTWAKE != 0 || src.checked_add(len).is_none() {
            return Err(Errno::EINVAL);
        }
        let mm = self.0.mm()?;
        let result = each_page(range.clone(), arg + 32, |addr| {
            let from = src + (addr - range.start) as u64;
            self.0.copy_page(&mm, addr, from)
        });
        if mode & DONTWAKE == 0 {
            self.0.wake(&range);
        }
        result
    }

    fn zero(&self, arg: u64) -> Result<()> {
        let [start, len, mode, _] = read_words::<4>(arg)?;
        let range = range_of(start, len)?;
        if mode & !DONTWAKE != 0 {
            return Err(Errno::EINVAL);
        }
        let mm = self.0.mm()?;
        let result = each_page(range.clone(), arg + 24, |addr| {
            mm.fill_missing(&self.0, addr, super::oom::zero_frame(), false)
        });
        if mode & DONTWAKE == 0 {
            self.0.wake(&range);
        }
        result
    }
}

impl FileOps for UserfaultFile {
    fn read(&self, file: &File, dst: &mut IoDst, _pos: u64) -> Result<usize> {
        if self.0.state.lock().features.is_none() || dst.remaining() < MESSAGE {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        while dst.remaining() >= MESSAGE {
            let message = match self.0.message() {
                Some(message) => message,
                None if done > 0 => break,
                None if file.nonblocking() => return Err(Errno::EAGAIN),
                None => self
                    .0
                    .readers
                    .wait(SleepMode::Interruptible, None, || self.0.message())
                    .map_err(|_| Errno::ERESTARTSYS)?,
            };
            done += dst.put(&message)?;
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, file: &File, table: &mut PollTable) -> PollEvents {
        table.add(&self.0.readers);
        let state = self.0.state.lock();
        // As on Linux, only descriptors that do not block can be waited for.
        if state.features.is_none() || !file.nonblocking() {
            return PollEvents::ERR;
        }
        if state.waiting.values().any(|waiting| !waiting.told) {
            PollEvents::READABLE
        } else {
            PollEvents::empty()
        }
    }

    fn ioctl(&self, _file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
        let started = self.0.state.lock().features.is_some();
        match cmd {
            cmd::API => self.0.start(arg)?,
            _ if !started => return Err(Errno::EINVAL),
            cmd::REGISTER => self.register(arg)?,
            cmd::UNREGISTER => self.unregister(arg)?,
            cmd::WAKE => {
                let [start, len] = read_words::<2>(arg)?;
                self.0.wake(&range_of(start, len)?);
            }
            cmd::COPY => self.copy(arg)?,
            cmd::ZEROPAGE => self.zero(arg)?,
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    fn release(&self, _file: &File) {
        if let Some(mm) = self.0.mm.upgrade() {
            mm.drop_userfault(&self.0);
        }
        self.0.close();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl AddressSpace {
    /// Registers a range, or takes it back: EINVAL for what is not private anonymous memory, EBUSY for what another
    /// descriptor has.
    fn set_userfault(
        self: &Arc<Self>,
        range: Range<usize>,
        context: Option<&Arc<Userfault>>,
    ) -> Result<()> {
        let mut state = self.state.write();
        if state
            .vmas
            .overlapping(range.start, range.end)
            .next()
            .is_none()
        {
            return Err(Errno::EINVAL);
        }
        for vma in state.vmas.overlapping(range.start, range.end) {
            if !matches!(vma.backing, Backing::Anon) || vma.flags.contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            let other = vma.userfault.as_ref().zip(context);
            if other.is_some_and(|(old, new)| !Arc::ptr_eq(old, new)) {
                return Err(Errno::EBUSY);
            }
        }
        state.change_range(&range, |vma| {
            vma.userfault = context.cloned();
            vma.flags.set(VmFlags::UFFD_MISSING, context.is_some());
        })?;
        state.join_range(&range);
        Ok(())
    }

    /// Takes everything back that is registered with `context`.
    fn drop_userfault(&self, context: &Arc<Userfault>) {
        let mut state = self.state.write();
        for vma in state.vmas.overlapping_mut(0, super::TASK_SIZE_MAX) {
            if vma
                .userfault
                .as_ref()
                .is_some_and(|own| Arc::ptr_eq(own, context))
            {
                vma.userfault = None;
                vma.flags.remove(VmFlags::UFFD_MISSING);
            }
        }
    }

    /// Puts a page where none is: ENOENT if the memory is not registered with `context`, EEXIST.
    fn fill_missing(
        &self,
        context: &Userfault,
        addr: usize,
        frame: Frame,
        writable: bool,
    ) -> Result<()> {
        let state = self.state.read();
        let vma = state.vmas.find(addr).ok_or(Errno::ENOENT)?;
        let own = vma.userfault.as_ref();
        if !own.is_some_and(|own| core::ptr::eq(&**own, context)) {
            return Err(Errno::ENOENT);
        }
        let mut cursor = self.table().cursor(addr, addr + PAGE_SIZE);
        if cursor.query().is_some() {
            return Err(Errno::EEXIST);
        }
        let prot = if writable {
            vma.prot
        } else {
            vma.prot.read_only()
        };
        vma.has_anon.store(true, Ordering::Relaxed);
        cursor.map(frame, prot).map(drop).map_err(|_| Errno::ENOMEM)
    }

    /// If a missing page of `vma` is for somebody else to provide, enters the fault: what to wait for.
    pub(super) fn enter_userfault(
        &self,
        vma: &Vma,
        va: usize,
        access: Access,
    ) -> Option<(Arc<Userfault>, u64)> {
        let context = vma.userfault.as_ref()?;
        let id = context.enter(va, access == Access::Write)?;
        if self.table().cursor(va, va + PAGE_SIZE).query().is_some() {
            context.leave(id);
            return None;
        }
        Some((context.clone(), id))
    }
}

/// Waits for the page. `from_user`: the program itself touched it, and a signal may end the wait.
pub(super) fn wait((context, id): (Arc<Userfault>, u64), from_user: bool) -> Resolved {
    let sigbus = context.state.lock().features.unwrap_or(0) & FEATURE_SIGBUS != 0;
    if sigbus || (context.user_only && !from_user) {
        context.leave(id);
        return Resolved::Bus;
    }
    let mode = if from_user {
        SleepMode::Interruptible
    } else {
        SleepMode::Killable
    };
    context.sleep(id, mode);
    Resolved::Retry
}
