//! Files and directories: paths, descriptors, data, metadata.

use super::Family;

mod open;
mod rw;

pub const GROUPS: Family = &[open::CASES, rw::CASES];
