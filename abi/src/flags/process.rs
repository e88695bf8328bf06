//! Flags, commands and numbers of process calls.
//!
//! Plain data; names and values are those of the UAPI headers.

flag_type! {
    /// What clone(2), clone3(2) and unshare(2) share or make anew. For clone(2) the low byte is the
    /// exit signal.
    pub struct CloneFlags: u64, prefix "CLONE_"; manual_trace {
        VM = 0x100,
        FS = 0x200,
        FILES = 0x400,
        SIGHAND = 0x800,
        PIDFD = 0x1000,
        PTRACE = 0x2000,
        VFORK = 0x4000,
        PARENT = 0x8000,
        THREAD = 0x10000,
        NEWNS = 0x20000,
        SYSVSEM = 0x40000,
        SETTLS = 0x80000,
        PARENT_SETTID = 0x100000,
        CHILD_CLEARTID = 0x200000,
        DETACHED = 0x400000,
        UNTRACED = 0x800000,
        CHILD_SETTID = 0x1000000,
        NEWCGROUP = 0x2000000,
        NEWUTS = 0x4000000,
        NEWIPC = 0x8000000,
        NEWUSER = 0x10000000,
        NEWPID = 0x20000000,
        NEWNET = 0x40000000,
        IO = 0x80000000,
        NEWTIME = 0x80,
        CLEAR_SIGHAND = 0x100000000,
        INTO_CGROUP = 0x200000000,
    }
}

flag_type! {
    /// Which kinds of namespace setns(2) may join; empty allows any.
    pub struct NsType: u32, prefix "CLONE_" {
        NEWTIME = 0x80,
        NEWNS = 0x20000,
        NEWCGROUP = 0x2000000,
        NEWUTS = 0x4000000,
        NEWIPC = 0x8000000,
        NEWUSER = 0x10000000,
        NEWPID = 0x20000000,
        NEWNET = 0x40000000,
    }
}

flag_type! {
    /// The options of wait4(2) and waitid(2).
    pub struct WaitOptions: u32, prefix "" {
        WNOHANG = 0x1,
        WUNTRACED = 0x2,
        WEXITED = 0x4,
        WCONTINUED = 0x8,
        WNOWAIT = 0x1000000,
        __WNOTHREAD = 0x20000000,
        __WALL = 0x40000000,
        __WCLONE = 0x80000000,
    }
}

open_enum! {
    /// What waitid(2) waits for.
    pub struct IdType: i32 {
        P_ALL = 0,
        P_PID = 1,
        P_PGID = 2,
        P_PIDFD = 3,
    }
}

open_enum! {
    /// A resource limit (getrlimit(2)).
    pub struct RlimitResource: u32 {
        RLIMIT_CPU = 0,
        RLIMIT_FSIZE = 1,
        RLIMIT_DATA = 2,
        RLIMIT_STACK = 3,
        RLIMIT_CORE = 4,
        RLIMIT_RSS = 5,
        RLIMIT_NPROC = 6,
        RLIMIT_NOFILE = 7,
        RLIMIT_MEMLOCK = 8,
        RLIMIT_AS = 9,
        RLIMIT_LOCKS = 10,
        RLIMIT_SIGPENDING = 11,
        RLIMIT_MSGQUEUE = 12,
        RLIMIT_NICE = 13,
        RLIMIT_RTPRIO = 14,
        RLIMIT_RTTIME = 15,
    }
}

open_enum! {
    /// Whose usage getrusage(2) reports.
    pub struct RusageWho: i32 {
        RUSAGE_SELF = 0,
        RUSAGE_CHILDREN = -1,
        RUSAGE_THREAD = 1,
    }
}

flag_type! {
    /// The flags of pidfd_open(2).
    pub struct PidfdFlags: u32, prefix "PIDFD_" {
        NONBLOCK = 0x800,
        THREAD = 0x80,
    }
}

flag_type! {
    /// The flags of pidfd_send_signal(2).
    pub struct PidfdSignalFlags: u32, prefix "PIDFD_SIGNAL_" {
        THREAD = 0x1,
        THREAD_GROUP = 0x2,
        PROCESS_GROUP = 0x4,
    }
}

flag_type! {
    /// The flags of personality(2); the low byte is the execution domain. The value 0xffffffff only
    /// queries.
    pub struct Personality: u32, prefix "" {
        UNAME26 = 0x20000,
        ADDR_NO_RANDOMIZE = 0x40000,
        FDPIC_FUNCPTRS = 0x80000,
        MMAP_PAGE_ZERO = 0x100000,
        ADDR_COMPAT_LAYOUT = 0x200000,
        READ_IMPLIES_EXEC = 0x400000,
        ADDR_LIMIT_32BIT = 0x800000,
        SHORT_INODE = 0x1000000,
        WHOLE_SECONDS = 0x2000000,
        STICKY_TIMEOUTS = 0x4000000,
        ADDR_LIMIT_3GB = 0x8000000,
    }
}

open_enum! {
    /// The option of prctl(2).
    pub struct PrctlOption: i32 {
        PR_SET_PDEATHSIG = 1,
        PR_GET_PDEATHSIG = 2,
        PR_GET_DUMPABLE = 3,
        PR_SET_DUMPABLE = 4,
        PR_GET_UNALIGN = 5,
        PR_SET_UNALIGN = 6,
        PR_GET_KEEPCAPS = 7,
        PR_SET_KEEPCAPS = 8,
        PR_GET_FPEMU = 9,
        PR_SET_FPEMU = 10,
        PR_GET_FPEXC = 11,
        PR_SET_FPEXC = 12,
        PR_GET_TIMING = 13,
        PR_SET_TIMING = 14,
        PR_SET_NAME = 15,
        PR_GET_NAME = 16,
        PR_GET_ENDIAN = 19,
        PR_SET_ENDIAN = 20,
        PR_GET_SECCOMP = 21,
        PR_SET_SECCOMP = 22,
        PR_CAPBSET_READ = 23,
        PR_CAPBSET_DROP = 24,
        PR_GET_TSC = 25,
        PR_SET_TSC = 26,
        PR_GET_SECUREBITS = 27,
        PR_SET_SECUREBITS = 28,
        PR_SET_TIMERSLACK = 29,
        PR_GET_TIMERSLACK = 30,
        PR_TASK_PERF_EVENTS_DISABLE = 31,
        PR_TASK_PERF_EVENTS_ENABLE = 32,
        PR_MCE_KILL = 33,
        PR_MCE_KILL_GET = 34,
        PR_SET_MM = 35,
        PR_SET_PTRACER = 0x59616d61,
        PR_SET_CHILD_SUBREAPER = 36,
        PR_GET_CHILD_SUBREAPER = 37,
        PR_SET_NO_NEW_PRIVS = 38,
        PR_GET_NO_NEW_PRIVS = 39,
        PR_GET_TID_ADDRESS = 40,
        PR_SET_THP_DISABLE = 41,
        PR_GET_THP_DISABLE = 42,
        PR_MPX_ENABLE_MANAGEMENT = 43,
        PR_MPX_DISABLE_MANAGEMENT = 44,
        PR_CAP_AMBIENT = 47,
        PR_GET_SPECULATION_CTRL = 52,
        PR_SET_SPECULATION_CTRL = 53,
        PR_SET_TAGGED_ADDR_CTRL = 55,
        PR_GET_TAGGED_ADDR_CTRL = 56,
        PR_SET_IO_FLUSHER = 57,
        PR_GET_IO_FLUSHER = 58,
        PR_SET_SYSCALL_USER_DISPATCH = 59,
        PR_SCHED_CORE = 62,
        PR_SET_MDWE = 65,
        PR_GET_MDWE = 66,
        PR_SET_VMA = 0x53564d41,
        PR_GET_AUXV = 0x41555856,
        PR_SET_MEMORY_MERGE = 67,
        PR_GET_MEMORY_MERGE = 68,
        PR_GET_SHADOW_STACK_STATUS = 74,
        PR_SET_SHADOW_STACK_STATUS = 75,
        PR_LOCK_SHADOW_STACK_STATUS = 76,
        PR_TIMER_CREATE_RESTORE_IDS = 77,
        PR_FUTEX_HASH = 78,
    }
}

open_enum! {
    /// The second argument of `PR_SET_MM`.
    pub struct PrctlSetMm: u64 {
        PR_SET_MM_START_CODE = 1,
        PR_SET_MM_END_CODE = 2,
        PR_SET_MM_START_DATA = 3,
        PR_SET_MM_END_DATA = 4,
        PR_SET_MM_START_STACK = 5,
        PR_SET_MM_START_BRK = 6,
        PR_SET_MM_BRK = 7,
        PR_SET_MM_ARG_START = 8,
        PR_SET_MM_ARG_END = 9,
        PR_SET_MM_ENV_START = 10,
        PR_SET_MM_ENV_END = 11,
        PR_SET_MM_AUXV = 12,
        PR_SET_MM_EXE_FILE = 13,
        PR_SET_MM_MAP = 14,
        PR_SET_MM_MAP_SIZE = 15,
    }
}

open_enum! {
    /// The second argument of `PR_CAP_AMBIENT`.
    pub struct PrctlCapAmbient: u64 {
        PR_CAP_AMBIENT_IS_SET = 1,
        PR_CAP_AMBIENT_RAISE = 2,
        PR_CAP_AMBIENT_LOWER = 3,
        PR_CAP_AMBIENT_CLEAR_ALL = 4,
    }
}

open_enum! {
    /// The code of arch_prctl(2).
    pub struct ArchPrctlCode: i32 {
        ARCH_SET_GS = 0x1001,
        ARCH_SET_FS = 0x1002,
        ARCH_GET_FS = 0x1003,
        ARCH_GET_GS = 0x1004,
        ARCH_GET_CPUID = 0x1011,
        ARCH_SET_CPUID = 0x1012,
        ARCH_GET_XCOMP_SUPP = 0x1021,
        ARCH_GET_XCOMP_PERM = 0x1022,
        ARCH_REQ_XCOMP_PERM = 0x1023,
        ARCH_GET_XCOMP_GUEST_PERM = 0x1024,
        ARCH_REQ_XCOMP_GUEST_PERM = 0x1025,
        ARCH_MAP_VDSO_X32 = 0x2001,
        ARCH_MAP_VDSO_32 = 0x2002,
        ARCH_MAP_VDSO_64 = 0x2003,
        ARCH_SHSTK_ENABLE = 0x5001,
        ARCH_SHSTK_DISABLE = 0x5002,
        ARCH_SHSTK_LOCK = 0x5003,
        ARCH_SHSTK_UNLOCK = 0x5004,
        ARCH_SHSTK_STATUS = 0x5005,
    }
}

open_enum! {
    /// What kcmp(2) compares.
    pub struct KcmpType: i32 {
        KCMP_FILE = 0,
        KCMP_VM = 1,
        KCMP_FILES = 2,
        KCMP_FS = 3,
        KCMP_SIGHAND = 4,
        KCMP_IO = 5,
        KCMP_SYSVSEM = 6,
        KCMP_EPOLL_TFD = 7,
    }
}

flag_type! {
    /// The flags of rseq(2).
    pub struct RseqFlags: u32, prefix "RSEQ_FLAG_" {
        UNREGISTER = 0x1,
    }
}

open_enum! {
    /// The request of ptrace(2).
    pub struct PtraceRequest: i64 {
        PTRACE_TRACEME = 0,
        PTRACE_PEEKTEXT = 1,
        PTRACE_PEEKDATA = 2,
        PTRACE_PEEKUSR = 3,
        PTRACE_POKETEXT = 4,
        PTRACE_POKEDATA = 5,
        PTRACE_POKEUSR = 6,
        PTRACE_CONT = 7,
        PTRACE_KILL = 8,
        PTRACE_SINGLESTEP = 9,
        PTRACE_GETREGS = 12,
        PTRACE_SETREGS = 13,
        PTRACE_GETFPREGS = 14,
        PTRACE_SETFPREGS = 15,
        PTRACE_ATTACH = 16,
        PTRACE_DETACH = 17,
        PTRACE_GETFPXREGS = 18,
        PTRACE_SETFPXREGS = 19,
        PTRACE_OLDSETOPTIONS = 21,
        PTRACE_SYSCALL = 24,
        PTRACE_GET_THREAD_AREA = 25,
        PTRACE_SET_THREAD_AREA = 26,
        PTRACE_ARCH_PRCTL = 30,
        PTRACE_SYSEMU = 31,
        PTRACE_SYSEMU_SINGLESTEP = 32,
        PTRACE_SINGLEBLOCK = 33,
        PTRACE_SETOPTIONS = 0x4200,
        PTRACE_GETEVENTMSG = 0x4201,
        PTRACE_GETSIGINFO = 0x4202,
        PTRACE_SETSIGINFO = 0x4203,
        PTRACE_GETREGSET = 0x4204,
        PTRACE_SETREGSET = 0x4205,
        PTRACE_SEIZE = 0x4206,
        PTRACE_INTERRUPT = 0x4207,
        PTRACE_LISTEN = 0x4208,
        PTRACE_PEEKSIGINFO = 0x4209,
        PTRACE_GETSIGMASK = 0x420a,
        PTRACE_SETSIGMASK = 0x420b,
        PTRACE_SECCOMP_GET_FILTER = 0x420c,
        PTRACE_SECCOMP_GET_METADATA = 0x420d,
        PTRACE_GET_SYSCALL_INFO = 0x420e,
        PTRACE_GET_RSEQ_CONFIGURATION = 0x420f,
        PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG = 0x4210,
        PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211,
        PTRACE_SET_SYSCALL_INFO = 0x4212,
    }
}

flag_type! {
    /// The options of `PTRACE_SETOPTIONS` and `PTRACE_SEIZE`.
    pub struct PtraceOptions: u64, prefix "PTRACE_O_" {
        TRACESYSGOOD = 0x1,
        TRACEFORK = 0x2,
        TRACEVFORK = 0x4,
        TRACECLONE = 0x8,
        TRACEEXEC = 0x10,
        TRACEVFORKDONE = 0x20,
        TRACEEXIT = 0x40,
        TRACESECCOMP = 0x80,
        EXITKILL = 0x100000,
        SUSPEND_SECCOMP = 0x200000,
    }
}

open_enum! {
    /// The event in the third byte of a ptrace stop's status.
    pub struct PtraceEvent: u8 {
        PTRACE_EVENT_FORK = 1,
        PTRACE_EVENT_VFORK = 2,
        PTRACE_EVENT_CLONE = 3,
        PTRACE_EVENT_EXEC = 4,
        PTRACE_EVENT_VFORK_DONE = 5,
        PTRACE_EVENT_EXIT = 6,
        PTRACE_EVENT_SECCOMP = 7,
        PTRACE_EVENT_STOP = 128,
    }
}

open_enum! {
    /// The type of a register set (`PTRACE_GETREGSET`) or of a core file's note (elf(5)).
    pub struct NoteType: u32 {
        NT_PRSTATUS = 1,
        NT_PRFPREG = 2,
        NT_PRPSINFO = 3,
        NT_AUXV = 6,
        NT_386_TLS = 0x200,
        NT_386_IOPERM = 0x201,
        NT_X86_XSTATE = 0x202,
        NT_SIGINFO = 0x53494749,
        NT_FILE = 0x46494c45,
    }
}

open_enum! {
    /// A thread's seccomp mode (prctl(2), `PR_SET_SECCOMP`).
    pub struct SeccompMode: u32 {
        SECCOMP_MODE_DISABLED = 0,
        SECCOMP_MODE_STRICT = 1,
        SECCOMP_MODE_FILTER = 2,
    }
}

flag_type! {
    /// The flags of perf_event_open(2).
    pub struct PerfEventFlags: u64, prefix "PERF_FLAG_" {
        FD_NO_GROUP = 0x1,
        FD_OUTPUT = 0x2,
        PID_CGROUP = 0x4,
        FD_CLOEXEC = 0x8,
    }
}
