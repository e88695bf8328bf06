//! How processes talk and wait for each other, apart from signals and sockets.
//!
//! [`pipe`], [`futex`], [`sysv`], [`mqueue`], [`aio`], [`namespace`], [`pidfd`], [`poll`], [`epoll`], [`eventfd`], [`timerfd`], [`signalfd`].

pub mod aio;
pub mod epoll;
pub mod eventfd;
pub mod futex;
pub mod mqueue;
pub mod namespace;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod signalfd;
pub mod sysv;
pub mod timerfd;

/// Sets up what needs it.
pub fn init() {}
