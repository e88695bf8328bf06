//! Waiting for events: poll, select, epoll, eventfd, signalfd.

use super::Family;

mod epoll;
mod eventfd;
mod poll;

pub const GROUPS: Family = &[poll::CASES, epoll::CASES, eventfd::CASES];
