//! The records behind the files of `/proc/PID`.

use alloc::string::String;
use alloc::vec::Vec;

use super::DevNo;
use crate::bitmap::Bitmap;

/// What a thread is doing: the letter in stat and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum State {
    #[default]
    Running,
    Sleeping,
    DiskSleep,
    Stopped,
    TracingStop,
    Dead,
    Zombie,
    Parked,
    Idle,
}

impl State {
    /// The letter.
    pub const fn letter(self) -> char {
        match self {
            State::Running => 'R',
            State::Sleeping => 'S',
            State::DiskSleep => 'D',
            State::Stopped => 'T',
            State::TracingStop => 't',
            State::Dead => 'X',
            State::Zombie => 'Z',
            State::Parked => 'P',
            State::Idle => 'I',
        }
    }

    /// The word in status.
    pub const fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Sleeping => "sleeping",
            State::DiskSleep => "disk sleep",
            State::Stopped => "stopped",
            State::TracingStop => "tracing stop",
            State::Dead => "dead",
            State::Zombie => "zombie",
            State::Parked => "parked",
            State::Idle => "idle",
        }
    }
}

/// `/proc/PID/stat`. Times in nanoseconds, sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The fields of proc_pid_stat(5), in its order.
pub struct Stat {
    pub pid: u32,
    pub comm: Vec<u8>,
    pub state: State,
    pub ppid: u32,
    pub pgrp: u32,
    pub session: u32,
    /// Controlling terminal, zero without.
    pub tty: DevNo,
    /// Foreground process group of the terminal, -1 without.
    pub tpgid: i32,
    /// `PF_*`.
    pub flags: u32,
    pub min_flt: u64,
    pub cmin_flt: u64,
    pub maj_flt: u64,
    pub cmaj_flt: u64,
    pub utime: u64,
    pub stime: u64,
    pub cutime: u64,
    pub cstime: u64,
    /// The kernel's priority less 100: 20 + nice, or -1 - rt_priority.
    pub priority: i64,
    pub nice: i64,
    pub num_threads: u64,
    /// Since boot.
    pub start_time: u64,
    pub vsize: u64,
    /// Pages.
    pub rss: u64,
    /// Soft limit.
    pub rss_limit: u64,
    pub start_code: u64,
    pub end_code: u64,
    pub start_stack: u64,
    /// Shown only while the task dumps core or has exited.
    pub esp: u64,
    pub eip: u64,
    pub signal: u64,
    pub blocked: u64,
    pub sig_ignore: u64,
    pub sig_catch: u64,
    /// Whether it waits in the kernel, as far as the reader may know.
    pub waiting: bool,
    pub exit_signal: i32,
    pub processor: u32,
    pub rt_priority: u32,
    pub policy: u32,
    pub blkio_delay: u64,
    pub guest_time: u64,
    pub cguest_time: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    pub exit_code: i32,
    /// Whether the thread has memory (no kernel thread, not exited).
    pub has_mm: bool,
    /// Whether the reader may see addresses and the exit code (`PTRACE_MODE_READ`).
    pub permitted: bool,
}

/// `/proc/PID/statm`, in pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Statm {
    pub size: u64,
    pub resident: u64,
    pub shared: u64,
    pub text: u64,
    pub data: u64,
}

/// The memory lines of status, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StatusMem {
    pub peak: u64,
    pub size: u64,
    pub locked: u64,
    pub pinned: u64,
    pub hwm: u64,
    pub rss_anon: u64,
    pub rss_file: u64,
    pub rss_shmem: u64,
    pub data: u64,
    pub stack: u64,
    pub exe: u64,
    pub lib: u64,
    pub page_tables: u64,
    pub swap: u64,
    pub hugetlb: u64,
    pub core_dumping: bool,
    pub thp_enabled: bool,
    /// Linux 6.4 and later.
    pub untag_mask: Option<u64>,
}

/// `/proc/PID/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The lines of proc_pid_status(5), in its order.
pub struct Status {
    pub comm: Vec<u8>,
    /// `None` once the thread has given up its file system information.
    pub umask: Option<u32>,
    pub state: State,
    pub tgid: u32,
    pub ngid: u32,
    pub pid: u32,
    pub ppid: u32,
    pub tracer_pid: u32,
    /// Real, effective, saved, file system.
    pub uid: [u32; 4],
    pub gid: [u32; 4],
    pub fd_size: u32,
    pub groups: Vec<u32>,
    /// Numbers in the mount's PID namespace and those below it, outermost first.
    pub ns_tgid: Vec<u32>,
    pub ns_pid: Vec<u32>,
    pub ns_pgid: Vec<u32>,
    pub ns_sid: Vec<u32>,
    /// Linux 6.8 and later.
    pub kthread: Option<bool>,
    /// `None` for kernel threads and those that have exited.
    pub mem: Option<StatusMem>,
    pub threads: u32,
    pub sig_queued: u32,
    pub sig_limit: u64,
    pub sig_pending: u64,
    pub shared_pending: u64,
    pub sig_blocked: u64,
    pub sig_ignored: u64,
    pub sig_caught: u64,
    pub cap_inheritable: u64,
    pub cap_permitted: u64,
    pub cap_effective: u64,
    pub cap_bounding: u64,
    pub cap_ambient: u64,
    pub no_new_privs: bool,
    /// Mode and number of filters, where seccomp is built in.
    pub seccomp: Option<(u32, u32)>,
    /// E.g. `vulnerable`.
    pub store_bypass: &'static str,
    /// E.g. `always enabled`.
    pub indirect_branch: &'static str,
    pub cpus_allowed: Bitmap,
    pub mems_allowed: Bitmap,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
}

/// A resource limit; `u64::MAX` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// What binds.
    pub soft: u64,
    /// What the soft one may be raised to.
    pub hard: u64,
}

/// `/proc/PID/io`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IoCounters {
    pub rchar: u64,
    pub wchar: u64,
    pub syscr: u64,
    pub syscw: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub cancelled_write_bytes: u64,
}

/// One mount, for mounts, mountinfo and mountstats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Mount ID.
    pub id: u32,
    /// Its parent's ID; its own at the top.
    pub parent: u32,
    /// Device of the file system.
    pub dev: DevNo,
    /// The directory of the file system that is mounted.
    pub root: Vec<u8>,
    /// Where it is mounted, from the process's root.
    pub point: Vec<u8>,
    /// Options of the mount: `rw,nosuid,…`, as one string.
    pub options: String,
    /// Peer group, if it is shared.
    pub shared: Option<u32>,
    /// Peer group of its master, if it is a slave.
    pub master: Option<u32>,
    /// Nearest peer group below the process's root that it gets events from, if that is not the master's.
    pub propagate_from: Option<u32>,
    /// Cannot be bound.
    pub unbindable: bool,
    /// File system type, with a subtype after a dot (`fuse.sshfs`).
    pub fs_type: String,
    /// Device or other source; `None` prints `none` (mountinfo) or `none`.
    pub source: Option<Vec<u8>>,
    /// Options of the super block: `rw,errors=continue`.
    pub super_options: String,
    /// What the file system adds in mountstats, without the leading blank.
    pub stats: Option<String>,
}

/// One open file in `fdinfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FdInfo {
    /// File position.
    pub pos: i64,
    /// `O_*` flags, `O_CLOEXEC` included.
    pub flags: u32,
    /// Mount ID.
    pub mnt_id: u32,
    /// Inode.
    pub ino: u64,
    /// Locks that the process has through it.
    pub locks: Vec<super::FileLock>,
    /// What the kind of file adds.
    pub extra: FdExtra,
}

/// The lines that kinds of file add to fdinfo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The lines of proc_pid_fdinfo(5).
pub enum FdExtra {
    #[default]
    None,
    Eventfd {
        count: u64,
        id: u32,
        semaphore: Option<bool>,
    },
    Epoll(Vec<EpollTarget>),
    Signalfd {
        mask: u64,
    },
    /// Nanoseconds.
    Timerfd {
        clock: i32,
        ticks: u64,
        flags: u32,
        value: u64,
        interval: u64,
    },
    Inotify(Vec<InotifyWatch>),
    /// The number in the reader's namespace (-1 exited, 0 not visible), and those below it.
    Pidfd {
        pid: i64,
        ns_pids: Vec<u32>,
    },
    /// Lines that the file has made itself, each with its newline.
    Lines(String),
    /// Index of a pty's other side.
    TtyIndex(u32),
}

/// One file that an epoll watches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct EpollTarget {
    pub fd: i32,
    pub events: u32,
    pub data: u64,
    pub pos: i64,
    pub ino: u64,
    pub sdev: u32,
}

/// One inotify watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InotifyWatch {
    pub wd: i32,
    pub ino: u64,
    pub sdev: u32,
    pub mask: u32,
    /// Type and bytes of the file handle, where the file system has them.
    pub handle: Option<(u32, Vec<u8>)>,
}

/// One group in cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupPath {
    /// Hierarchy, 0 for version 2.
    pub hierarchy: u32,
    /// Controllers, or `name=…`; empty for version 2.
    pub controllers: String,
    /// Path from the reader's cgroup namespace root.
    pub path: Vec<u8>,
}

/// `/proc/PID/sched`; times in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Sched {
    pub threads: u32,
    pub exec_start: u64,
    pub vruntime: i64,
    pub sum_exec_runtime: u64,
    pub migrations: u64,
    pub switches: u64,
    pub voluntary: u64,
    pub involuntary: u64,
    pub load_weight: u64,
    /// load_sum, runnable_sum, util_sum, load_avg, runnable_avg, util_avg, last_update_time, util_est.
    pub averages: Option<[u64; 8]>,
    pub policy: u32,
    pub prio: u32,
    pub slice: Option<u64>,
    pub clock_delta: u64,
}

/// What a thread was doing when it entered the kernel: `/proc/PID/syscall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SyscallState {
    Running,
    /// In a system call.
    Call {
        nr: i64,
        args: [u64; 6],
        sp: u64,
        pc: u64,
    },
    /// Blocked, but not in a system call.
    Blocked {
        sp: u64,
        pc: u64,
    },
}

/// One line of uid_map or gid_map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IdMapping {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// The three maps of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IdMap {
    Uid,
    Gid,
    Projid,
}

/// One POSIX timer in `timers`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PosixTimer {
    /// Timer ID.
    pub id: i32,
    /// Signal.
    pub signal: i32,
    /// Its value.
    pub value: u64,
    /// `SIGEV_*` without the thread bit.
    pub notify: u32,
    /// Whether it is for one thread.
    pub to_thread: bool,
    /// Who gets it.
    pub pid: u32,
    /// Clock.
    pub clock: i32,
}

/// The namespaces of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Namespace {
    Cgroup,
    Ipc,
    Mnt,
    Net,
    Pid,
    PidForChildren,
    Time,
    TimeForChildren,
    User,
    Uts,
}

/// The attributes that a security module keeps for a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SecurityAttr {
    Current,
    Prev,
    Exec,
    Fscreate,
    Keycreate,
    Sockcreate,
}

/// What a reader wants of another process (`ptrace_may_access` with the file system credentials).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `PTRACE_MODE_READ_FSCREDS`.
    Read,
    /// `PTRACE_MODE_ATTACH_FSCREDS`.
    Attach,
}

/// The links of `/proc/PID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskLink {
    /// The program.
    Exe,
    /// The working directory.
    Cwd,
    /// The root directory.
    Root,
}
