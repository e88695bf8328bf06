//! Signal numbers, actions and codes (signal(7), sigaction(2)).
//!
//! Plain data; names and values are those of the UAPI headers.

open_enum! {
    /// A signal number as passed by a program; zero asks kill(2) only to check. See
    /// [`Signal::is_valid`].
    pub struct Signal: i32; manual_trace {
        SIGHUP = 1,
        SIGINT = 2,
        SIGQUIT = 3,
        SIGILL = 4,
        SIGTRAP = 5,
        SIGABRT = 6,
        SIGBUS = 7,
        SIGFPE = 8,
        SIGKILL = 9,
        SIGUSR1 = 10,
        SIGSEGV = 11,
        SIGUSR2 = 12,
        SIGPIPE = 13,
        SIGALRM = 14,
        SIGTERM = 15,
        SIGSTKFLT = 16,
        SIGCHLD = 17,
        SIGCONT = 18,
        SIGSTOP = 19,
        SIGTSTP = 20,
        SIGTTIN = 21,
        SIGTTOU = 22,
        SIGURG = 23,
        SIGXCPU = 24,
        SIGXFSZ = 25,
        SIGVTALRM = 26,
        SIGPROF = 27,
        SIGWINCH = 28,
        SIGIO = 29,
        SIGPWR = 30,
        SIGSYS = 31,
    }
}

open_enum! {
    /// How rt_sigprocmask(2) combines the sets.
    pub struct SigprocmaskHow: i32 {
        SIG_BLOCK = 0,
        SIG_UNBLOCK = 1,
        SIG_SETMASK = 2,
    }
}

flag_type! {
    /// The flags of an action.
    pub struct SaFlags: u64, prefix "SA_" {
        NOCLDSTOP = 0x1,
        NOCLDWAIT = 0x2,
        SIGINFO = 0x4,
        UNSUPPORTED = 0x400,
        EXPOSE_TAGBITS = 0x800,
        RESTORER = 0x4000000,
        ONSTACK = 0x8000000,
        RESTART = 0x10000000,
        NODEFER = 0x40000000,
        RESETHAND = 0x80000000,
    }
}

flag_type! {
    /// The flags of an alternate stack (sigaltstack(2)).
    pub struct SsFlags: u32, prefix "SS_" {
        ONSTACK = 0x1,
        DISABLE = 0x2,
        AUTODISARM = 0x80000000,
    }
}

open_enum! {
    /// How a timer or message queue notifies (sigevent(7)).
    pub struct SigevNotify: i32 {
        SIGEV_SIGNAL = 0,
        SIGEV_NONE = 1,
        SIGEV_THREAD = 2,
        SIGEV_THREAD_ID = 4,
    }
}

flag_type! {
    /// The flags of signalfd4(2).
    pub struct SignalfdFlags: u32, prefix "SFD_" {
        CLOEXEC = 0x80000,
        NONBLOCK = 0x800,
    }
}

// The `si_code` values: where a signal came from (sigaction(2)).
constants! {
    i32 {
        SI_USER = 0,
        SI_KERNEL = 128,
        SI_QUEUE = -1,
        SI_TIMER = -2,
        SI_MESGQ = -3,
        SI_ASYNCIO = -4,
        SI_SIGIO = -5,
        SI_TKILL = -6,
        SI_DETHREAD = -7,
        SI_ASYNCNL = -60,
        ILL_ILLOPC = 1,
        ILL_ILLOPN = 2,
        ILL_ILLADR = 3,
        ILL_ILLTRP = 4,
        ILL_PRVOPC = 5,
        ILL_PRVREG = 6,
        ILL_COPROC = 7,
        ILL_BADSTK = 8,
        ILL_BADIADDR = 9,
        FPE_INTDIV = 1,
        FPE_INTOVF = 2,
        FPE_FLTDIV = 3,
        FPE_FLTOVF = 4,
        FPE_FLTUND = 5,
        FPE_FLTRES = 6,
        FPE_FLTINV = 7,
        FPE_FLTSUB = 8,
        FPE_FLTUNK = 14,
        FPE_CONDTRAP = 15,
        SEGV_MAPERR = 1,
        SEGV_ACCERR = 2,
        SEGV_BNDERR = 3,
        SEGV_PKUERR = 4,
        SEGV_CPERR = 10,
        BUS_ADRALN = 1,
        BUS_ADRERR = 2,
        BUS_OBJERR = 3,
        BUS_MCEERR_AR = 4,
        BUS_MCEERR_AO = 5,
        TRAP_BRKPT = 1,
        TRAP_TRACE = 2,
        TRAP_BRANCH = 3,
        TRAP_HWBKPT = 4,
        TRAP_UNK = 5,
        TRAP_PERF = 6,
        CLD_EXITED = 1,
        CLD_KILLED = 2,
        CLD_DUMPED = 3,
        CLD_TRAPPED = 4,
        CLD_STOPPED = 5,
        CLD_CONTINUED = 6,
        POLL_IN = 1,
        POLL_OUT = 2,
        POLL_MSG = 3,
        POLL_ERR = 4,
        POLL_PRI = 5,
        POLL_HUP = 6,
        SYS_SECCOMP = 1,
        SYS_USER_DISPATCH = 2,
    }
}
