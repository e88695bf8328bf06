//! Signals: actions, masks, queues, stacks, restarts.

use super::Family;

mod action;
mod queue;
mod restart;

pub const GROUPS: Family = &[action::CASES, queue::CASES, restart::CASES];
