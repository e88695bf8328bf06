//! ptrace(2), seccomp(2), core(5): watching and confining a process, and what it leaves behind.

use super::Family;

mod core;
mod ptrace;
mod seccomp;

pub const GROUPS: Family = &[core::CASES, ptrace::CASES, seccomp::CASES];
