//! Coverage: what of the Linux ABI is there ([`report`]) and what a program may ask of it ([`scan`]).
//!
//! Both read data that others keep (the system-call table, the kernel's sources, the lists and results of the tests), and
//! keep no counts of their own. Running things in a guest is xtask's part.

pub mod report;
pub mod scan;
