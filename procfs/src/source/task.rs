//! [`Task`]: one thread, seen from a mount of procfs.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use keel_abi::{Errno, Result};

use super::task_records::*;
use super::{Net, Vma, VmaUsage};
use crate::text::Text;

/// One thread, seen from a mount of procfs.
///
/// An object may outlive its thread; [`Self::alive`] then says no and the other methods answer `ESRCH`.
/// A light handle (a weak reference and the ID) is what one wants here, since inodes keep it.
pub trait Task: Send + Sync {
    /// Thread ID in the mount's PID namespace.
    fn tid(&self) -> u32;

    /// Process ID in the mount's PID namespace.
    fn tgid(&self) -> u32;

    /// Whether it still exists (a zombie does).
    fn alive(&self) -> bool;

    /// The kernel's own object, so that it can follow links and open streams without looking the thread up again.
    fn as_any(&self) -> &dyn Any;

    /// Owner of its files: effective IDs, or root's for a process that is not dumpable.
    fn owner(&self) -> (u32, u32);

    /// The process's effective IDs, which own the directory itself whether it is dumpable or not.
    fn effective_ids(&self) -> (u32, u32);

    /// Whether the reader may look (`EACCES` or `EPERM` if not).
    fn allow(&self, access: Access) -> Result<()>;

    /// The lowest thread ID of its process not below `from`.
    fn next_thread(&self, from: u32) -> Option<u32>;

    /// Number of threads in its process.
    fn thread_count(&self) -> u32;

    /// stat; with `whole`, times and faults of the whole process.
    fn stat(&self, whole: bool) -> Result<Stat>;

    /// statm.
    fn statm(&self) -> Result<Statm>;

    /// status.
    fn status(&self) -> Result<Status>;

    /// comm.
    fn comm(&self) -> Result<Vec<u8>>;

    /// A write to comm: at most 15 bytes, already cut. Errors: `EINVAL` from another process.
    fn set_comm(&self, comm: &[u8]) -> Result<()>;

    /// cmdline: appends the argument area as it is in memory, setproctitle(3) rules applied.
    fn cmdline(&self, out: &mut Text) -> Result<()>;

    /// environ: appends the environment area.
    fn environ(&self, out: &mut Text) -> Result<()>;

    /// auxv: appends the auxiliary vector with its `AT_NULL`.
    fn auxv(&self, out: &mut Text) -> Result<()>;

    /// Target of exe, cwd and root, as text. Errors: `ENOENT` for kernel threads.
    fn path(&self, link: TaskLink) -> Result<Vec<u8>>;

    /// Calls `visit` on each memory area in order of address. No areas without memory.
    fn vmas(&self, visit: &mut dyn FnMut(&Vma<'_>) -> Result<()>) -> Result<()>;

    /// The same with each area's usage.
    fn smaps(&self, _visit: &mut dyn FnMut(&Vma<'_>, &VmaUsage) -> Result<()>) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Memory at `addr` into `out`; the number of bytes. Errors: `EIO` if the first byte is not mapped.
    fn mem_read(&self, addr: u64, out: &mut [u8]) -> Result<usize>;

    /// `data` into memory at `addr`, protection notwithstanding; the number of bytes. Errors: `EIO`.
    fn mem_write(&self, addr: u64, data: &[u8]) -> Result<usize>;

    /// The pagemap entries of the pages from number `first`; how many (fewer at the end of user space).
    fn pagemap(&self, _first: u64, _out: &mut [u64]) -> Result<usize> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A write to clear_refs: 1 to 5.
    fn clear_refs(&self, _what: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The lowest open descriptor not below `from`.
    fn next_fd(&self, from: u32) -> Option<u32>;

    /// How many descriptors are open: the size of `fd/`.
    fn fd_count(&self) -> u32;

    /// Text of the link `fd/N`: a path, `pipe:[INO]`, `anon_inode:[eventfd]`, … Errors: `ENOENT`.
    fn fd_path(&self, fd: u32) -> Result<Vec<u8>>;

    /// Whether `fd/N` is open for reading and for writing: the link's mode. Errors: `ENOENT`.
    fn fd_mode(&self, fd: u32) -> Result<(bool, bool)>;

    /// fdinfo. Errors: `ENOENT`.
    fn fd_info(&self, fd: u32) -> Result<FdInfo>;

    /// The sixteen limits by `RLIMIT_*`.
    fn limits(&self) -> Result<[Limit; 16]>;

    /// io; with `whole`, the sum over the process, threads that have exited included.
    fn io(&self, _whole: bool) -> Result<IoCounters> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The mounts of its namespace that its root can see, in order.
    fn mounts(&self) -> Result<Vec<Mount>>;

    /// cgroup.
    fn cgroups(&self) -> Result<Vec<CgroupPath>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// cpuset: the path.
    fn cpuset(&self) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// oom_score: 0 to 2000.
    fn oom_score(&self) -> Result<u32>;

    /// oom_score_adj: -1000 to 1000.
    fn oom_score_adj(&self) -> Result<i32>;

    /// Sets oom_score_adj; the value is in range. Errors: `EACCES` for lowering it without CAP_SYS_RESOURCE.
    fn set_oom_score_adj(&self, adj: i32) -> Result<()>;

    /// sched.
    fn sched(&self) -> Result<Sched> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A write to sched: forget the statistics.
    fn reset_sched(&self) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// schedstat: nanoseconds on the CPU, nanoseconds waiting for it, time slices.
    fn schedstat(&self) -> Result<(u64, u64, u64)> {
        Err(Errno::EOPNOTSUPP)
    }

    /// wchan: the function that it waits in; `None` if it runs or the reader may not know.
    fn wchan(&self) -> Result<Option<String>>;

    /// stack: the kernel functions that it is in, innermost first: `name+0xoff/0xsize`.
    fn stack(&self) -> Result<Vec<String>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// syscall.
    fn syscall(&self) -> Result<SyscallState> {
        Err(Errno::EOPNOTSUPP)
    }

    /// personality.
    fn personality(&self) -> Result<u32>;

    /// loginuid and sessionid.
    fn audit(&self) -> Result<(u32, u32)> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A write to loginuid.
    fn set_loginuid(&self, _uid: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// timerslack_ns.
    fn timer_slack(&self) -> Result<u64>;

    /// Sets timerslack_ns; zero means the default.
    fn set_timer_slack(&self, ns: u64) -> Result<()>;

    /// coredump_filter.
    fn coredump_filter(&self) -> Result<u32> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets coredump_filter.
    fn set_coredump_filter(&self, _filter: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// autogroup: number and nice value.
    fn autogroup(&self) -> Result<(u64, i32)> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets the autogroup's nice value, -20 to 19.
    fn set_autogroup(&self, _nice: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// uid_map, gid_map, projid_map, as the reader's user namespace sees them.
    fn id_map(&self, _map: IdMap) -> Result<Vec<IdMapping>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets a map; checks of overlap and privilege are the kernel's. Errors: `EPERM`, `EINVAL`.
    fn set_id_map(&self, _map: IdMap, _lines: &[IdMapping]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// setgroups: whether setgroups(2) is allowed in its user namespace.
    fn setgroups_allowed(&self) -> Result<bool> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A write to setgroups. Errors: `EPERM`.
    fn set_setgroups(&self, _allow: bool) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// timens_offsets: monotonic and boot time, seconds and nanoseconds.
    fn time_offsets(&self) -> Result<[(i64, i64); 2]> {
        Err(Errno::EOPNOTSUPP)
    }

    /// A write to timens_offsets: clock (`CLOCK_MONOTONIC` or `CLOCK_BOOTTIME`), seconds, nanoseconds.
    fn set_time_offset(&self, _clock: i32, _secs: i64, _nanos: i64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// timers.
    fn posix_timers(&self) -> Result<Vec<PosixTimer>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Process IDs of the thread's children.
    fn children(&self) -> Result<Vec<u32>> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Number of a namespace: the link says `net:[4026531840]`. Errors: `ENOENT` if it has none of the kind.
    fn namespace(&self, _ns: Namespace) -> Result<u64> {
        Err(Errno::ENOENT)
    }

    /// attr/*: the label. Errors: `EINVAL` without a security module.
    fn security_attr(&self, _attr: SecurityAttr) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    /// A write to attr/*.
    fn set_security_attr(&self, _attr: SecurityAttr, _value: &[u8]) -> Result<()> {
        Err(Errno::EINVAL)
    }

    /// Its network namespace.
    fn net(&self) -> Result<Arc<dyn Net>> {
        Err(Errno::EOPNOTSUPP)
    }
}
