//! ptrace(2), seccomp(2): watching and confining a process.

use super::Family;

mod ptrace;
mod seccomp;

pub const GROUPS: Family = &[ptrace::CASES, seccomp::CASES];
