//! Processes and threads: creation, execution, waiting, identity.

use super::Family;

mod clone;
mod cred;
mod exec;
mod group;
mod limits;
mod pidfd;
mod prctl;
mod wait;

pub const GROUPS: Family = &[
    clone::CASES,
    exec::CASES,
    wait::CASES,
    group::CASES,
    pidfd::CASES,
    prctl::CASES,
    limits::CASES,
    cred::CASES,
];
