//! Processes and threads: their objects, their numbers, their life from clone to wait.
//!
//! * [`Thread`]: one thread of control (`task_struct`): a kernel task plus everything Linux keeps per thread.
//! * [`Process`]: a thread group: what its threads share, its place among parents, groups and sessions.
//! * [`pid`]: the table of numbers; [`clone`], [`exec`], [`exit`], [`wait`]: the life cycle.
//! * [`run`]: the loop that alternates between user mode and the kernel.
//! * [`Cred`]: identities and capabilities; [`signal`], [`ptrace`]: how processes act on each other; [`seccomp`],
//!   [`user_dispatch`]: which system calls a thread may make.
//!
//! Lock order: [`FAMILY`] → the pid table → a process's own spin locks → signal locks.

pub mod acct;
pub mod clone;
pub mod core_dump;
pub mod cpu_limit;
mod cred;
pub mod exec;
pub mod exit;
mod helper;
pub mod kcmp;
pub mod keys;
pub mod nsproxy;
pub mod pid;
#[allow(clippy::module_inception)] // the type is Linux's `Process` of the subsystem `process`
pub mod process;
pub mod ptrace;
pub mod rlimit;
pub mod rseq;
pub mod run;
pub mod seccomp;
pub mod signal;
pub mod thread;
pub mod user_dispatch;
pub mod wait;

pub use cred::{Cap, CapSet, Cred, SecureBits};
pub use exit::{do_exit, do_group_exit};
pub use pid::{all, find, find_thread, pgrp_members, session_members};
pub use process::{FAMILY, Process};
pub use thread::{Ports, RseqArea, Thread, current, current_opt};

/// How many threads the real user `uid` has.
pub fn user_thread_count(uid: u32) -> usize {
    all()
        .iter()
        .filter_map(|process| Some((process.cred()?, process.thread_count())))
        .filter(|(cred, _)| cred.uid == uid)
        .map(|(_, threads)| threads)
        .sum()
}
