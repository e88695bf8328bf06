//! Between processes: futexes, System V IPC, message queues, sockets.

use super::Family;

mod aio;
mod futex;
mod mqueue;
mod socket;
mod sysv;
mod unix;

pub const GROUPS: Family = &[
    futex::CASES,
    sysv::CASES,
    mqueue::CASES,
    aio::CASES,
    socket::CASES,
    unix::CASES,
];
