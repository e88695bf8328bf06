//! Address spaces: mappings, protection, faults, locking, shared memory.

use super::Family;

mod advice;
mod fault;
mod memfd;
mod mmap;
mod numa;
mod remap;

pub const GROUPS: Family = &[
    mmap::CASES,
    remap::CASES,
    advice::CASES,
    fault::CASES,
    memfd::CASES,
    numa::CASES,
];
