//! The cases, by family. Each family lists its groups; each group is a table of cases.

mod fs;
mod ipc;
mod mem;
mod misc;
mod mount;
mod poll;
mod process;
mod procfs;
mod sched;
mod signal;
mod time;
mod trace;
mod tty;

use crate::harness::Case;

/// The groups of one family.
pub type Family = &'static [&'static [Case]];

const FAMILIES: &[Family] = &[
    fs::GROUPS,
    poll::GROUPS,
    mem::GROUPS,
    process::GROUPS,
    signal::GROUPS,
    time::GROUPS,
    ipc::GROUPS,
    sched::GROUPS,
    tty::GROUPS,
    trace::GROUPS,
    mount::GROUPS,
    misc::GROUPS,
    procfs::GROUPS,
];

/// Every case, in a fixed order.
pub fn all() -> impl Iterator<Item = &'static Case> {
    FAMILIES
        .iter()
        .flat_map(|family| family.iter())
        .flat_map(|group| group.iter())
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique() {
        let mut seen = HashSet::new();
        for case in all() {
            assert!(seen.insert(case.id()), "two cases are called {}", case.id());
        }
    }

    #[test]
    fn every_call_is_in_the_table() {
        for case in all() {
            assert!(!case.calls.is_empty(), "{} names no call", case.id());
            for call in case.calls.split_whitespace() {
                let known = keel_abi::SYSCALLS.iter().any(|row| row.name == call);
                assert!(
                    known,
                    "{} names {call}, which the table does not have",
                    case.id()
                );
            }
        }
    }
}
