//! From a seed to a list of calls.

use super::Rng;
use super::values::{Value, value};
use keel_abi::{SYSCALLS, SyscallRow};

/// Calls that are never made: they end or replace the process, stop the machine, or change what other
/// processes of the machine depend on.
const NEVER: &[&str] = &[
    // The process itself.
    "exit",
    "exit_group",
    "vfork",
    "clone",
    "clone3",
    "rt_sigreturn",
    "arch_prctl",
    "map_shadow_stack",
    "uretprobe",
    "uprobe",
    "set_thread_area",
    // The machine.
    "reboot",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "iopl",
    "ioperm",
    "swapon",
    "swapoff",
    "acct",
    "syslog",
    "bpf",
    "quotactl",
    "quotactl_fd",
    // What others see.
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "vhangup",
    "mount",
    "umount2",
    "pivot_root",
    "move_mount",
    "fsmount",
    "open_tree",
    "open_tree_attr",
    "mount_setattr",
    "fsopen",
    "fspick",
    "fsconfig",
    "fanotify_init",
    "fanotify_mark",
    "keyctl",
    "open_by_handle_at",
    "file_setattr",
    "_sysctl",
    "lsm_set_self_attr",
    "sync",
];

/// Calls worth making more often, because they give the others something to work on.
const OFTEN: &[&str] = &[
    "openat",
    "read",
    "write",
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "close",
    "dup2",
    "pipe2",
    "socketpair",
    "epoll_ctl",
    "fcntl",
    "ioctl",
    "futex",
    "rename",
    "unlink",
    "splice",
    "sendmsg",
    "recvmsg",
    "ftruncate",
    "fallocate",
    "fork",
    "timerfd_settime",
];

/// One call of a program.
#[derive(Clone)]
pub struct Step {
    /// The row of the table it was made from.
    pub row: &'static SyscallRow,
    /// Its arguments.
    pub args: Vec<Value>,
}

impl Step {
    /// The call as a person reads it.
    pub fn describe(&self) -> String {
        let args: Vec<String> = self.args.iter().map(Value::describe).collect();
        format!("{}({})", self.row.name, args.join(", "))
    }
}

/// Which rows may be used.
pub fn rows(only: &[String]) -> Vec<&'static SyscallRow> {
    let wanted =
        |r: &SyscallRow| only.is_empty() || only.iter().any(|o| o == r.name || o == r.family);
    SYSCALLS
        .iter()
        .filter(|r| !NEVER.contains(&r.name) && wanted(r))
        .collect()
}

/// The program of `seed`: `len` calls out of `rows`. The same arguments give the same program anywhere.
pub fn program(seed: u64, len: usize, rows: &[&'static SyscallRow]) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let often: Vec<_> = rows
        .iter()
        .copied()
        .filter(|r| OFTEN.contains(&r.name))
        .collect();
    let mut steps = Vec::with_capacity(len);
    while steps.len() < len {
        let pool = if rng.one_in(3) && !often.is_empty() {
            &often
        } else {
            rows
        };
        let Some(row) = pool.get(rng.below(pool.len())).copied() else {
            break;
        };
        let args = row
            .args
            .iter()
            .map(|a| value(&mut rng, row.name, a.name, a.ty))
            .collect();
        steps.push(tame(Step { row, args }));
    }
    steps
}

/// Takes the harm to others out of a call.
fn tame(mut step: Step) -> Step {
    // Niceness and I/O class of a whole user's processes.
    if ["setpriority", "ioprio_set", "getpriority", "ioprio_get"].contains(&step.row.name)
        && let Some(which) = step.args.first_mut()
    {
        *which = Value::Int(if step.row.name.starts_with("io") {
            1
        } else {
            0
        });
        if let Some(who) = step.args.get_mut(1) {
            *who = Value::Int(0);
        }
    }
    step
}
