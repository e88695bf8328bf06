//! The cases, by family. Each family lists its groups; each group is a table of cases.

mod fs;

use crate::harness::Case;

/// The groups of one family.
pub type Family = &'static [&'static [Case]];

const FAMILIES: &[Family] = &[fs::GROUPS];

/// Every case, in a fixed order.
pub fn all() -> impl Iterator<Item = &'static Case> {
    FAMILIES.iter().flat_map(|family| family.iter()).flat_map(|group| group.iter())
}
