//! Clocks, sleeping and timers.

use super::Family;

mod clock;
mod timer;

pub const GROUPS: Family = &[clock::CASES, timer::CASES];
