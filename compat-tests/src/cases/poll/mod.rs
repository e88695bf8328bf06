//! Waiting for events: poll, select, epoll, eventfd, signalfd.

use super::Family;

mod epoll;
mod eventfd;
mod select;

pub const GROUPS: Family = &[select::CASES, epoll::CASES, eventfd::CASES];
