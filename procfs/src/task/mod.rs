//! Files about a task: everything below `/proc/PID` and `/proc/PID/task/TID`.
//!
//! - [`stat`]: stat, statm, status.
//! - [`maps`]: maps, smaps, smaps_rollup, map_files.
//! - [`mounts`]: mounts, mountinfo, mountstats.
//! - `fdinfo`, `values` (small files and their writing), `sched`.

mod fdinfo;
pub mod maps;
pub mod mounts;
pub mod sched;
pub mod stat;
pub mod values;

use keel_abi::{Errno, Result};

use crate::entry::TaskCx;
use crate::source::{Namespace, Task};
use crate::text::Text;

pub use fdinfo::{extra as fdinfo_extra, format as fdinfo_format};

/// `fdinfo/N`.
pub(crate) fn fdinfo(task: &dyn Task, fd: u32, out: &mut Text) -> Result<()> {
    fdinfo::format(&task.fd_info(fd)?, out)
}

/// What stands before the number in the link of a namespace.
pub(crate) fn namespace_kind(ns: Namespace) -> &'static str {
    match ns {
        Namespace::Cgroup => "cgroup",
        Namespace::Ipc => "ipc",
        Namespace::Mnt => "mnt",
        Namespace::Net => "net",
        Namespace::Pid | Namespace::PidForChildren => "pid",
        Namespace::Time | Namespace::TimeForChildren => "time",
        Namespace::User => "user",
        Namespace::Uts => "uts",
    }
}

/// Some files answer `EPERM` where others answer `EACCES`; those that wait for the exec lock do.
pub(crate) fn may_trace(cx: &TaskCx<'_>) -> Result<()> {
    cx.task
        .allow(crate::source::Access::Attach)
        .map_err(|_| Errno::EPERM)
}
