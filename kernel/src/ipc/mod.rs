//! How processes talk and wait for each other, apart from signals and sockets.
//!
//! [`pipe`], [`futex`], [`pidfd`], [`inotify`], [`timerfd`].

pub mod futex;
pub mod inotify;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod timerfd;

/// Sets up what needs it.
pub fn init() {}
