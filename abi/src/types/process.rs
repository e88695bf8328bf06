//! Processes: limits, usage, clone, wait status, scheduling, robust futexes, rseq.

use super::Timeval;
use crate::args::UserPtr;
use crate::flags::Signal;

uapi! {
    /// getrusage(2)
    struct Rusage = "struct rusage", "linux/time.h linux/resource.h" {
        ru_utime: Timeval,
        ru_stime: Timeval,
        ru_maxrss: i64,
        ru_ixrss: i64,
        ru_idrss: i64,
        ru_isrss: i64,
        ru_minflt: i64,
        ru_majflt: i64,
        ru_nswap: i64,
        ru_inblock: i64,
        ru_oublock: i64,
        ru_msgsnd: i64,
        ru_msgrcv: i64,
        ru_nsignals: i64,
        ru_nvcsw: i64,
        ru_nivcsw: i64,
    }

    /// getrlimit(2), prlimit(2)
    #[derive(Eq, PartialEq)]
    struct Rlimit = "struct rlimit64", "linux/types.h linux/resource.h" {
        rlim_cur: u64,
        rlim_max: u64,
    }

    /// clone3(2)
    struct CloneArgs = "struct clone_args", "linux/types.h linux/sched.h" {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }

    /// The head of a thread's list of robust futexes (get_robust_list(2)).
    struct RobustListHead = "struct robust_list_head", "linux/types.h linux/futex.h" {
        list: u64,
        futex_offset: i64,
        list_op_pending: u64,
    }

    /// The area that a thread shares by rseq(2).
    #[repr(align(32))]
    struct Rseq = "struct rseq", "linux/types.h linux/rseq.h" {
        cpu_id_start: u32,
        cpu_id: u32,
        rseq_cs: u64,
        flags: u32,
        node_id: u32 = "",
        mm_cid: u32 = "",
        _pad: u32,
    }

    /// A restartable sequence (rseq(2)).
    #[repr(align(32))]
    struct RseqCs = "struct rseq_cs", "linux/types.h linux/rseq.h" {
        version: u32,
        flags: u32,
        start_ip: u64,
        post_commit_offset: u64,
        abort_ip: u64,
    }

    /// sched_setparam(2)
    struct SchedParam = "struct sched_param", "sched.h" {
        sched_priority: i32,
    }

    /// sched_setattr(2)
    struct SchedAttr = "struct sched_attr", "linux/types.h linux/sched/types.h" {
        size: u32,
        sched_policy: u32,
        sched_flags: u64,
        sched_nice: i32,
        sched_priority: u32,
        sched_runtime: u64,
        sched_deadline: u64,
        sched_period: u64,
        sched_util_min: u32,
        sched_util_max: u32,
    }

    /// `PR_SET_MM_MAP`
    struct PrctlMmMap = "struct prctl_mm_map", "linux/types.h linux/prctl.h" {
        start_code: u64,
        end_code: u64,
        start_data: u64,
        end_data: u64,
        start_brk: u64,
        brk: u64,
        start_stack: u64,
        arg_start: u64,
        arg_end: u64,
        env_start: u64,
        env_end: u64,
        auxv: UserPtr<u64>,
        auxv_size: u32,
        exe_fd: u32,
    }

    /// modify_ldt(2), set_thread_area(2). The last word holds single-bit fields.
    struct UserDesc = "struct user_desc", "asm/ldt.h" {
        entry_number: u32,
        base_addr: u32,
        limit: u32,
        bits: u32 = "",
    }

    /// kexec_load(2)
    struct KexecSegment = "struct kexec_segment", "linux/types.h stddef.h linux/kexec.h" {
        buf: UserPtr<u8>,
        bufsz: usize,
        mem: u64,
        memsz: usize,
    }
}

/// No limit (`RLIM_INFINITY`).
pub const RLIM_INFINITY: u64 = u64::MAX;
/// The first version of `struct clone_args` (`CLONE_ARGS_SIZE_VER0`).
pub const CLONE_ARGS_SIZE_VER0: usize = 64;
/// The first version of `struct sched_attr`.
pub const SCHED_ATTR_SIZE_VER0: usize = 48;
/// The size of the first `struct rseq`, which glibc up to 2.39 registers.
pub const ORIG_RSEQ_SIZE: usize = 32;
/// `rseq.cpu_id` before registration.
pub const RSEQ_CPU_ID_UNINITIALIZED: u32 = u32::MAX;

/// How a child ended or stopped, as wait4(2) stores it.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct WaitStatus(pub i32);

impl WaitStatus {
    /// The child goes on after a stop.
    pub const CONTINUED: WaitStatus = WaitStatus(0xffff);

    /// Ended by itself; only the low eight bits of the code are kept.
    pub const fn exited(code: i32) -> WaitStatus {
        WaitStatus((code & 0xff) << 8)
    }

    /// Ended by a signal, with or without a core dump.
    pub const fn signaled(signal: Signal, core: bool) -> WaitStatus {
        WaitStatus(signal.0 & 0x7f | if core { 0x80 } else { 0 })
    }

    /// Stopped by a signal.
    pub const fn stopped(signal: Signal) -> WaitStatus {
        WaitStatus((signal.0 & 0xff) << 8 | 0x7f)
    }

    /// Stopped for its tracer: a signal (`SIGTRAP` with 0x80 for calls) and a `PTRACE_EVENT_*` number.
    pub const fn traced(signal: i32, event: u8) -> WaitStatus {
        WaitStatus((signal & 0xff) << 8 | (event as i32) << 16 | 0x7f)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    #[test]
    fn wait_statuses_read_as_they_were_made() {
        let read = |status: WaitStatus| ExitStatus::from_raw(status.0);
        assert_eq!(read(WaitStatus::exited(259)).code(), Some(3));
        assert_eq!(
            read(WaitStatus::signaled(Signal::SIGSEGV, true)).signal(),
            Some(11)
        );
        assert!(read(WaitStatus::signaled(Signal::SIGSEGV, true)).core_dumped());
        assert!(!read(WaitStatus::signaled(Signal::SIGKILL, false)).core_dumped());
        assert_eq!(
            read(WaitStatus::stopped(Signal::SIGTSTP)).stopped_signal(),
            Some(20)
        );
        assert!(read(WaitStatus::CONTINUED).continued());
        assert_eq!(WaitStatus::traced(5 | 0x80, 0).0, 0x857f);
    }
}
