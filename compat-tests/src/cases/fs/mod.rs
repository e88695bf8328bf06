//! Files and directories: paths, descriptors, data, metadata.

use super::Family;

mod dirs;
mod fd;
mod flags;
mod meta;
mod names;
mod notify;
mod open;
mod pipe;
mod rw;
mod xattr;

pub const GROUPS: Family = &[
    open::CASES,
    rw::CASES,
    names::CASES,
    meta::CASES,
    xattr::CASES,
    dirs::CASES,
    fd::CASES,
    flags::CASES,
    pipe::CASES,
    notify::CASES,
];
