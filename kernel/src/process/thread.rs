//! One thread: a kernel task and what Linux keeps per thread.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use keel_hal::task::{self, Current, Task};

use super::nsproxy::NsProxy;
use super::signal::ThreadSignals;
use super::{Cred, Process};
use crate::fs::{FdTable, FsContext};
use crate::mm::AddressSpace;
use crate::prelude::*;

/// The first thread's timer slack.
const DEFAULT_TIMER_SLACK_NS: u64 = 50_000;

/// A call that restart_syscall(2) continues.
pub type RestartBlock = Box<dyn FnOnce(&mut crate::syscall::Ctx) -> Result<usize> + Send>;

/// A registered rseq(2) area.
#[derive(Clone, Copy, Debug, Default)]
pub struct RseqArea {
    /// Address of the `struct rseq`; 0 when none is registered.
    pub addr: u64,
    /// Its length.
    pub len: u32,
    /// The signature before abort handlers.
    pub sig: u32,
}

/// The I/O ports that a thread may use.
#[derive(Clone, Default)]
pub struct Ports {
    /// The level that iopl(2) set; 3 opens all ports.
    pub level: u32,
    /// What ioperm(2) opened.
    pub map: Option<Arc<task::PortMap>>,
}

impl Ports {
    /// Whether there is anything that a child inherits.
    pub fn is_open(&self) -> bool {
        self.level > 0 || self.map.is_some()
    }
}

/// A thread of a user process.
pub struct Thread {
    tid: AtomicU32,
    /// The process it belongs to.
    pub process: Arc<Process>,
    /// The kernel task; taken at exit, since the task in turn keeps the thread.
    task: SpinLock<Option<Arc<Task>>>,
    mm: SpinLock<Option<Arc<AddressSpace>>>,
    files: SpinLock<Arc<FdTable>>,
    fs: SpinLock<Arc<FsContext>>,
    cred: SpinLock<Arc<Cred>>,
    ns: SpinLock<Arc<NsProxy>>,
    comm: SpinLock<[u8; 16]>,
    /// Mask, pending signals, alternate stack.
    pub signals: ThreadSignals,
    /// Tracing state.
    pub ptrace: super::ptrace::PtraceState,
    /// Where to store 0 and wake a futex at exit (set_tid_address(2)).
    pub clear_child_tid: AtomicU64,
    /// Head of the robust futex list and its length (set_robust_list(2)).
    pub robust_list: AtomicU64,
    /// What is to be undone of semaphore operations (semop(2), SEM_UNDO).
    pub sem_undo: SpinLock<Option<Arc<crate::ipc::sysv::sem::UndoList>>>,
    /// PI futexes.
    pub pi: crate::ipc::futex::PiThread,
    /// rseq(2) registration.
    pub rseq: SpinLock<RseqArea>,
    /// The CPU that the rseq area shows, see [`super::rseq`].
    pub rseq_cpu: AtomicU32,
    /// What restart_syscall(2) does.
    pub restart_block: SpinLock<Option<RestartBlock>>,
    /// Set when the thread is to end: the run loop sees it before it returns to user mode.
    exiting: AtomicBool,
    /// The exit status in wait(2)'s form.
    pub exit_status: AtomicI32,
    /// Executing a system call (number) or not (-1), for /proc/PID/syscall.
    pub in_syscall: AtomicI32,
    /// Its keyrings.
    pub keys: SpinLock<super::keys::ThreadKeys>,
    /// iopl(2) and ioperm(2).
    pub ports: SpinLock<Ports>,
    /// set_mempolicy(2).
    pub mempolicy: SpinLock<Option<Arc<crate::mm::MemPolicy>>>,
    /// personality(2).
    pub personality: AtomicU32,
    /// prctl(PR_SET_TIMERSLACK), nanoseconds.
    pub timer_slack: AtomicU64,
    /// What a timer slack of 0 stands for: the creator's slack.
    pub default_timer_slack: AtomicU64,
    /// ioprio_set(2).
    pub ioprio: AtomicU32,
    /// Signal sent when the parent thread dies (prctl(PR_SET_PDEATHSIG)).
    pub pdeath_signal: AtomicI32,
    /// The thread that created this process's first thread (for `pdeath_signal`).
    pub creator: AtomicU32,
    /// Start time, monotonic nanoseconds.
    pub start_ns: u64,
    /// Bytes read and written by calls, and their numbers (/proc/PID/io).
    pub io: IoCounters,
    /// Held by a vfork parent that waits for exec or exit of this child.
    pub vfork_done: SpinLock<Option<Arc<keel_hal::sync::Completion>>>,
    /// Filters of its system calls.
    pub seccomp: super::seccomp::ThreadSeccomp,
    /// PR_SET_SYSCALL_USER_DISPATCH.
    pub user_dispatch: SpinLock<Option<super::user_dispatch::Dispatch>>,
    /// Why system calls take the slow way (`crate::syscall::work`).
    pub(crate) syscall_work: AtomicU32,
}

/// Counters for /proc/PID/io.
#[derive(Default)]
pub struct IoCounters {
    /// Bytes asked for and given by read calls.
    pub read_chars: AtomicU64,
    /// Bytes taken by write calls.
    pub write_chars: AtomicU64,
    /// read calls.
    pub read_calls: AtomicU64,
    /// write calls.
    pub write_calls: AtomicU64,
}

/// What a new thread starts with.
pub struct ThreadParts {
    /// Its memory.
    pub mm: Arc<AddressSpace>,
    /// Its descriptors.
    pub files: Arc<FdTable>,
    /// Its root, working directory and umask.
    pub fs: Arc<FsContext>,
    /// Its credentials.
    pub cred: Arc<Cred>,
    /// Its namespaces.
    pub ns: Arc<NsProxy>,
    /// Its name.
    pub comm: [u8; 16],
    /// Its signal state.
    pub signals: ThreadSignals,
}

impl Thread {
    /// A thread that has no task yet.
    pub fn new(tid: u32, process: Arc<Process>, parts: ThreadParts) -> Arc<Self> {
        Arc::new(Self {
            tid: AtomicU32::new(tid),
            process,
            task: SpinLock::new(None),
            mm: SpinLock::new(Some(parts.mm)),
            files: SpinLock::new(parts.files),
            fs: SpinLock::new(parts.fs),
            cred: SpinLock::new(parts.cred),
            ns: SpinLock::new(parts.ns),
            comm: SpinLock::new(parts.comm),
            signals: parts.signals,
            ptrace: super::ptrace::PtraceState::default(),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            sem_undo: SpinLock::new(None),
            pi: Default::default(),
            rseq: SpinLock::new(RseqArea::default()),
            rseq_cpu: AtomicU32::new(super::rseq::NO_AREA),
            restart_block: SpinLock::new(None),
            exiting: AtomicBool::new(false),
            exit_status: AtomicI32::new(0),
            in_syscall: AtomicI32::new(-1),
            keys: SpinLock::default(),
            ports: SpinLock::default(),
            mempolicy: SpinLock::new(None),
            personality: AtomicU32::new(0),
            timer_slack: AtomicU64::new(DEFAULT_TIMER_SLACK_NS),
            default_timer_slack: AtomicU64::new(DEFAULT_TIMER_SLACK_NS),
            ioprio: AtomicU32::new(0),
            pdeath_signal: AtomicI32::new(0),
            creator: AtomicU32::new(0),
            start_ns: crate::time::monotonic_ns(),
            io: IoCounters::default(),
            vfork_done: SpinLock::new(None),
            seccomp: super::seccomp::ThreadSeccomp::default(),
            user_dispatch: SpinLock::new(None),
            syscall_work: AtomicU32::new(crate::syscall::work::initial()),
        })
    }

    /// Sets the timer slack in nanoseconds; 0 stands for the default.
    pub fn set_timer_slack(&self, ns: u64) {
        let ns = if ns == 0 {
            self.default_timer_slack.load(Ordering::Relaxed)
        } else {
            ns
        };
        self.timer_slack.store(ns, Ordering::Relaxed);
    }

    /// Its number.
    pub fn tid(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// Takes over the number of the thread-group leader (exec of another thread).
    pub(super) fn set_tid(&self, tid: u32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// The kernel task that runs it; `None` before it starts and past its exit.
    pub fn task(&self) -> Option<Arc<Task>> {
        self.task.lock().clone()
    }

    pub(super) fn set_task(&self, task: Option<Arc<Task>>) {
        let old = core::mem::replace(&mut *self.task.lock(), task);
        drop(old);
    }

    /// Gives the first process's thread its task.
    pub fn adopt_task(&self, task: Arc<Task>) {
        self.set_task(Some(task));
    }

    /// Marks a signal as pending: ends an interruptible sleep.
    pub fn interrupt(&self) {
        if let Some(task) = self.task() {
            task.interrupt();
        }
    }

    /// As [`Self::interrupt`], and ends killable sleeps too.
    pub fn kill(&self) {
        let stood = super::ptrace::end_stop(self);
        if let Some(task) = self.task() {
            task.kill();
            if stood {
                task.wake();
            }
        }
    }

    /// Wakes it from whatever sleep.
    pub fn wake(&self) {
        if let Some(task) = self.task() {
            task.wake();
        }
    }

    /// Its memory. Only for the thread itself, which has memory for as long as it runs system calls.
    pub fn mm(&self) -> Arc<AddressSpace> {
        self.mm_opt()
            .unwrap_or_else(|| panic!("thread {} has no memory", self.tid()))
    }

    /// Its memory, unless it is past exit.
    pub fn mm_opt(&self) -> Option<Arc<AddressSpace>> {
        self.mm.lock().clone()
    }

    /// Exchanges its memory; gives the old one, to be dropped without locks held.
    pub(super) fn replace_mm(&self, mm: Option<Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        core::mem::replace(&mut *self.mm.lock(), mm)
    }

    /// Its descriptor table.
    pub fn files(&self) -> Arc<FdTable> {
        self.files.lock().clone()
    }

    /// Exchanges the descriptor table (unshare, exec, exit).
    pub fn replace_files(&self, files: Arc<FdTable>) -> Arc<FdTable> {
        core::mem::replace(&mut *self.files.lock(), files)
    }

    /// Root, working directory, umask.
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.lock().clone()
    }

    /// Exchanges root, working directory and umask (unshare).
    pub fn replace_fs(&self, fs: Arc<FsContext>) -> Arc<FsContext> {
        core::mem::replace(&mut *self.fs.lock(), fs)
    }

    /// Its credentials.
    pub fn cred(&self) -> Arc<Cred> {
        self.cred.lock().clone()
    }

    /// Installs new credentials.
    pub fn set_cred(&self, cred: Cred) {
        let old = core::mem::replace(&mut *self.cred.lock(), Arc::new(cred));
        drop(old);
    }

    /// Its namespaces.
    pub fn ns(&self) -> Arc<NsProxy> {
        self.ns.lock().clone()
    }

    /// Installs new namespaces.
    pub fn set_ns(&self, ns: NsProxy) {
        let old = core::mem::replace(&mut *self.ns.lock(), Arc::new(ns));
        drop(old);
    }

    /// Its name, NUL padded (`comm`).
    pub fn comm_bytes(&self) -> [u8; 16] {
        *self.comm.lock()
    }

    /// Its name as text.
    pub fn comm(&self) -> String {
        let bytes = self.comm_bytes();
        let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    /// Names it; at most 15 bytes are kept.
    pub fn set_comm(&self, name: &[u8]) {
        *self.comm.lock() = comm_from(name);
    }

    /// Whether a wait should end because of a signal.
    pub fn interrupted(&self) -> bool {
        self.task
            .lock()
            .as_ref()
            .is_some_and(|task| task.interrupted())
    }

    /// Whether it is to end before it returns to user mode.
    pub fn exiting(&self) -> bool {
        self.exiting.load(Ordering::Acquire)
    }

    /// Lets it end; the first status counts.
    pub(super) fn request_exit(&self, status: i32) {
        if !self.exiting.swap(true, Ordering::AcqRel) {
            self.exit_status.store(status, Ordering::Relaxed);
        }
    }

    /// Whether it is the thread whose number is the process's.
    pub fn is_leader(&self) -> bool {
        self.tid() == self.process.pid
    }

    /// Lets a vfork parent go on.
    pub(super) fn complete_vfork(&self) {
        if let Some(done) = self.vfork_done.lock().take() {
            done.complete_all();
        }
    }
}

/// A thread name from a program's name: at most 15 bytes.
pub fn comm_from(name: &[u8]) -> [u8; 16] {
    let mut comm = [0; 16];
    let len = name.len().min(15);
    comm[..len].copy_from_slice(&name[..len]);
    comm
}

/// The running thread.
pub struct CurrentThread {
    task: Current,
}

impl core::ops::Deref for CurrentThread {
    type Target = Arc<Thread>;

    fn deref(&self) -> &Arc<Thread> {
        thread_of(&self.task).unwrap_or_else(|| panic!("not in a user thread"))
    }
}

/// The user thread that `task` runs, if it runs one.
pub fn thread_of(task: &Task) -> Option<&Arc<Thread>> {
    task.data()
        .downcast_ref::<TaskLink>()
        .and_then(|link| link.0.get())
}

/// Ties a task to its thread; made first, since the task is made with it.
#[derive(Default)]
pub struct TaskLink(pub OnceLock<Arc<Thread>>);

/// The running thread; panics in a kernel thread, where no system-call code runs.
pub fn current() -> CurrentThread {
    CurrentThread {
        task: task::current(),
    }
}

/// The running thread, or `None` in a kernel thread.
pub fn current_opt() -> Option<CurrentThread> {
    let task = task::current();
    thread_of(&task).is_some().then_some(CurrentThread { task })
}
