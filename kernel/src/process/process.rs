//! A process: a group of threads that share a number, signal actions, limits and a place among the others.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use keel_ld_support::coredump::filter_bits;

use super::rlimit::RLimits;
use super::signal::ProcessSignals;
use super::{Cred, Thread};
use crate::fs::File;
use crate::prelude::*;

/// Taken to change who is whose parent, child, tracer, or which group a process is in (`tasklist_lock`).
/// Held for short times, never across a sleep.
pub static FAMILY: SpinLock<()> = SpinLock::new(());

/// Job-control state, for wait(2) and /proc.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct JobState {
    /// The signal that stopped the process, while it is stopped.
    pub stopped_by: Option<i32>,
    /// The stop has not been waited for yet.
    pub stop_unreported: bool,
    /// It continued, and that has not been waited for yet.
    pub continued_unreported: bool,
}

/// Added-up resource use, nanoseconds and counts (getrusage(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time in user mode.
    pub user_ns: u64,
    /// Time in the kernel.
    pub system_ns: u64,
    /// Faults without I/O.
    pub minor_faults: u64,
    /// Faults with I/O.
    pub major_faults: u64,
    /// Voluntary context switches.
    pub voluntary: u64,
    /// Involuntary context switches.
    pub involuntary: u64,
    /// Highest resident size, KiB.
    pub max_rss_kb: u64,
    /// 512-byte blocks read.
    pub blocks_in: u64,
    /// 512-byte blocks written.
    pub blocks_out: u64,
}

impl Usage {
    /// Adds another's use to this.
    pub fn add(&mut self, other: &Usage) {
        self.user_ns += other.user_ns;
        self.system_ns += other.system_ns;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.max_rss_kb = self.max_rss_kb.max(other.max_rss_kb);
        self.blocks_in += other.blocks_in;
        self.blocks_out += other.blocks_out;
    }
}

/// A process (`signal_struct` and what hangs on it).
pub struct Process {
    /// Its number (tgid).
    pub pid: u32,
    threads: SpinLock<Vec<Arc<Thread>>>,
    /// The first thread; kept until the process is reaped, for its credentials and name.
    leader: SpinLock<Option<Arc<Thread>>>,
    parent: SpinLock<Weak<Process>>,
    children: SpinLock<Vec<Arc<Process>>>,
    pgid: AtomicU32,
    sid: AtomicU32,
    /// Actions and shared pending signals.
    pub signals: ProcessSignals,
    /// Resource limits.
    pub rlimits: RLimits,
    /// Sleepers in wait(2) of this process.
    pub child_wait: WaitQueue,
    /// Pollers of pidfds of this process, and waiters for its exit.
    pub exit_wait: Arc<WaitQueue>,
    /// Stopped or continued.
    pub job: SpinLock<JobState>,
    /// Signal sent to the parent at exit (SIGCHLD but for clone's choice); 0 for none.
    pub exit_signal: AtomicI32,
    group_exit: AtomicBool,
    group_status: AtomicI32,
    /// Exit status once every thread is gone; `None` while alive.
    zombie: SpinLock<Option<i32>>,
    /// It ended when its parent ignored its children: it is no zombie for anybody to wait for.
    pub auto_reap: AtomicBool,
    /// Use of threads that are gone.
    pub dead_usage: SpinLock<Usage>,
    /// Use of children that were waited for.
    pub children_usage: SpinLock<Usage>,
    /// The keyring that its threads share.
    pub keyring: SpinLock<Option<Arc<super::keys::Key>>>,
    /// The controlling terminal.
    pub tty: SpinLock<Option<Arc<crate::device::tty::Tty>>>,
    /// The program file.
    pub exe: SpinLock<Option<Arc<File>>>,
    /// The auxiliary vector of the last exec (/proc/PID/auxv).
    pub auxv: SpinLock<Vec<u64>>,
    oom_score_adj: AtomicI32,
    /// PR_SET_DUMPABLE: 0, 1, or 2 (suid_dumpable).
    pub dumpable: AtomicU32,
    /// PR_SET_CHILD_SUBREAPER.
    pub child_subreaper: AtomicBool,
    /// Some ancestor is a subreaper.
    pub has_subreaper: AtomicBool,
    /// The process has called execve since fork (setpgid of a child gives EACCES then).
    pub execed: AtomicBool,
    /// Start time, monotonic nanoseconds.
    pub start_ns: u64,
    /// An exec is replacing the threads.
    pub(super) exec_in_progress: AtomicBool,
    /// Woken when a thread leaves.
    pub(super) thread_gone: WaitQueue,
    /// Timers of setitimer(2) and timer_create(2).
    pub timers: crate::time::posix_timer::ProcessTimers,
    /// What the tick counts against RLIMIT_CPU.
    pub cpu_count: super::cpu_limit::CpuCount,
    /// PR_MCE_KILL: 0 late, 1 early, 2 the default.
    pub mce_kill: AtomicU32,
    /// KiB that its memory spanned at its end, for accounting.
    pub(super) final_kb: AtomicU64,
    /// A core file of it is being written.
    pub(super) dump: SpinLock<Option<Arc<super::core_dump::Dump>>>,
    /// Which mappings go into core files (`/proc/PID/coredump_filter`).
    pub coredump_filter: AtomicU32,
    /// How many threads its threads trace.
    pub(super) tracees: AtomicUsize,
    /// Its threads that have ended and whose tracers have not heard of it yet.
    pub(super) ghosts: AtomicUsize,
    /// Held while the seccomp filters of all threads change, and while a thread joins them.
    pub(super) seccomp_sync: SpinLock<()>,
    /// Bytes of disk I/O (/proc/PID/io).
    pub io_bytes: [AtomicU64; 2],
}

impl Process {
    /// A process without threads.
    pub fn new(
        pid: u32,
        pgid: u32,
        sid: u32,
        signals: ProcessSignals,
        rlimits: RLimits,
        exit_signal: i32,
    ) -> Arc<Self> {
        Arc::new(Self {
            pid,
            threads: SpinLock::new(Vec::new()),
            leader: SpinLock::new(None),
            parent: SpinLock::new(Weak::new()),
            children: SpinLock::new(Vec::new()),
            pgid: AtomicU32::new(pgid),
            sid: AtomicU32::new(sid),
            signals,
            rlimits,
            child_wait: WaitQueue::new(),
            exit_wait: Arc::new(WaitQueue::new()),
            job: SpinLock::new(JobState::default()),
            exit_signal: AtomicI32::new(exit_signal),
            group_exit: AtomicBool::new(false),
            group_status: AtomicI32::new(0),
            zombie: SpinLock::new(None),
            auto_reap: AtomicBool::new(false),
            dead_usage: SpinLock::new(Usage::default()),
            children_usage: SpinLock::new(Usage::default()),
            keyring: SpinLock::new(None),
            tty: SpinLock::new(None),
            exe: SpinLock::new(None),
            auxv: SpinLock::new(Vec::new()),
            oom_score_adj: AtomicI32::new(0),
            dumpable: AtomicU32::new(1),
            child_subreaper: AtomicBool::new(false),
            has_subreaper: AtomicBool::new(false),
            execed: AtomicBool::new(false),
            start_ns: crate::time::monotonic_ns(),
            exec_in_progress: AtomicBool::new(false),
            thread_gone: WaitQueue::new(),
            timers: crate::time::posix_timer::ProcessTimers::default(),
            cpu_count: super::cpu_limit::CpuCount::default(),
            mce_kill: AtomicU32::new(2),
            final_kb: AtomicU64::new(0),
            dump: SpinLock::new(None),
            coredump_filter: AtomicU32::new(filter_bits::DEFAULT),
            tracees: AtomicUsize::new(0),
            ghosts: AtomicUsize::new(0),
            seccomp_sync: SpinLock::new(()),
            io_bytes: [const { AtomicU64::new(0) }; 2],
        })
    }

    /// Its living threads.
    pub fn threads(&self) -> Vec<Arc<Thread>> {
        self.threads.lock().clone()
    }

    /// How many threads live.
    pub fn thread_count(&self) -> usize {
        self.threads.lock().len()
    }

    pub(super) fn add_thread(&self, thread: &Arc<Thread>) {
        let mut threads = self.threads.lock();
        if threads.is_empty() {
            *self.leader.lock() = Some(thread.clone());
        }
        threads.push(thread.clone());
    }

    /// Enters the first thread of the first process.
    pub fn adopt_thread(&self, thread: &Arc<Thread>) {
        self.add_thread(thread);
    }

    /// Puts the first process outside of any session (group and session 0).
    pub fn leave_session(&self) {
        self.set_ids(0, 0);
    }

    /// Takes a thread out; true if it was the last.
    pub(super) fn remove_thread(&self, thread: &Arc<Thread>) -> bool {
        let (gone, last) = {
            let mut threads = self.threads.lock();
            let at = threads.iter().position(|other| Arc::ptr_eq(other, thread));
            let gone = at.map(|at| threads.remove(at));
            (gone, threads.is_empty())
        };
        self.thread_gone.wake_all();
        drop(gone);
        last
    }

    /// Makes `thread` the leader (exec of another thread).
    pub(super) fn set_leader(&self, thread: &Arc<Thread>) {
        let old = self.leader.lock().replace(thread.clone());
        drop(old);
    }

    /// Forgets the first thread, which in turn keeps the process (reaping).
    pub(super) fn drop_leader(&self) {
        let old = self.leader.lock().take();
        drop(old);
    }

    /// A thread to ask about the process: its leader if that lives, else any living one.
    pub fn main_thread(&self) -> Option<Arc<Thread>> {
        let threads = self.threads.lock();
        threads
            .iter()
            .find(|thread| thread.is_leader())
            .or(threads.first())
            .cloned()
    }

    /// The leader, also after its exit, until the process is reaped.
    pub fn leader(&self) -> Option<Arc<Thread>> {
        self.leader.lock().clone()
    }

    /// Credentials of its main thread; `None` for a zombie.
    pub fn cred(&self) -> Option<Arc<Cred>> {
        self.main_thread().map(|thread| thread.cred())
    }

    /// Name of its main thread; empty for a process whose threads are all gone.
    pub fn comm(&self) -> String {
        self.main_thread()
            .or_else(|| self.leader())
            .map_or_else(String::new, |t| t.comm())
    }

    /// Its parent; init is its own end of the line.
    pub fn parent(&self) -> Option<Arc<Process>> {
        self.parent.lock().upgrade()
    }

    /// The number of the thread that made it; 0 once its first thread is gone.
    pub(super) fn creator(&self) -> u32 {
        self.leader()
            .map_or(0, |leader| leader.creator.load(Ordering::Relaxed))
    }

    /// Its parent's number, 0 for init.
    pub fn ppid(&self) -> u32 {
        self.parent().map_or(0, |parent| parent.pid)
    }

    /// Its children, oldest first.
    pub fn children(&self) -> Vec<Arc<Process>> {
        self.children.lock().clone()
    }

    /// Makes this a child of `parent`. The caller holds [`FAMILY`].
    pub(super) fn set_parent(self: &Arc<Self>, parent: &Arc<Process>) {
        *self.parent.lock() = Arc::downgrade(parent);
        parent.children.lock().push(self.clone());
    }

    /// Takes a child out of the list. The caller holds [`FAMILY`].
    pub(super) fn remove_child(&self, child: &Arc<Process>) {
        self.children
            .lock()
            .retain(|other| !Arc::ptr_eq(other, child));
    }

    /// Takes all children out of the list. The caller holds [`FAMILY`].
    pub(super) fn take_children(&self) -> Vec<Arc<Process>> {
        core::mem::take(&mut *self.children.lock())
    }

    /// Process group.
    pub fn pgid(&self) -> u32 {
        self.pgid.load(Ordering::Relaxed)
    }

    /// Session.
    pub fn sid(&self) -> u32 {
        self.sid.load(Ordering::Relaxed)
    }

    pub(super) fn set_ids(&self, pgid: u32, sid: u32) {
        self.pgid.store(pgid, Ordering::Relaxed);
        self.sid.store(sid, Ordering::Relaxed);
    }

    /// Whether it leads its session.
    pub fn is_session_leader(&self) -> bool {
        self.sid() == self.pid
    }

    /// Whether all its threads are to end.
    pub fn group_exiting(&self) -> bool {
        self.group_exit.load(Ordering::Acquire)
    }

    /// Starts the end of all threads with this status; the first caller's counts. True for that one.
    pub(super) fn begin_group_exit(&self, status: i32) -> bool {
        let first = !self.group_exit.swap(true, Ordering::AcqRel);
        if first {
            self.group_status.store(status, Ordering::Relaxed);
        }
        first
    }

    /// The status of [`Self::begin_group_exit`].
    pub(super) fn group_status(&self) -> i32 {
        self.group_status.load(Ordering::Relaxed)
    }

    /// Exit status in wait(2)'s form, if every thread is gone.
    pub fn zombie_status(&self) -> Option<i32> {
        *self.zombie.lock()
    }

    pub(super) fn become_zombie(&self, status: i32) {
        *self.zombie.lock() = Some(status);
    }

    /// Whether it still has memory.
    pub fn mm_alive(&self) -> bool {
        self.main_thread()
            .is_some_and(|thread| thread.mm_opt().is_some())
    }

    /// Resident pages.
    pub fn resident(&self) -> usize {
        self.main_thread()
            .and_then(|thread| thread.mm_opt())
            .map_or(0, |mm| mm.resident())
    }

    /// `/proc/PID/oom_score_adj`, -1000 to 1000.
    pub fn oom_score_adj(&self) -> i32 {
        self.oom_score_adj.load(Ordering::Relaxed)
    }

    /// Sets `oom_score_adj`.
    pub fn set_oom_score_adj(&self, value: i32) {
        self.oom_score_adj
            .store(value.clamp(-1000, 1000), Ordering::Relaxed);
    }

    /// Resource use of all threads, living and gone.
    pub fn usage(&self) -> Usage {
        let mut sum = *self.dead_usage.lock();
        for thread in self.threads() {
            sum.add(&thread_usage(&thread));
        }
        sum
    }
}

/// Resource use of one thread.
pub fn thread_usage(thread: &Thread) -> Usage {
    let Some(task) = thread.task() else {
        return Usage::default();
    };
    let (user_ns, system_ns) = task.cpu_time();
    let (voluntary, involuntary) = crate::sched::entity(&task).switches();
    let mm = thread.mm_opt();
    let (minor_faults, major_faults) = mm.as_ref().map_or((0, 0), |mm| mm.fault_counts());
    let max_rss_kb = mm.map_or(0, |mm| mm.stats().peak_resident as u64 * 4);
    Usage {
        user_ns,
        system_ns,
        minor_faults,
        major_faults,
        voluntary,
        involuntary,
        max_rss_kb,
        blocks_in: 0,
        blocks_out: 0,
    }
}
