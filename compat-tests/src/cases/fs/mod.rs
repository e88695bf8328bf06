//! Files and directories: paths, descriptors, data, metadata.

use super::Family;

mod dirs;
mod meta;
mod names;
mod open;
mod rw;
mod xattr;

pub const GROUPS: Family =
    &[open::CASES, rw::CASES, names::CASES, meta::CASES, xattr::CASES, dirs::CASES];
