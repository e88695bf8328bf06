//! The structures that system calls read and write, laid out as in the UAPI headers.
//!
//! Each derives zerocopy's traits, so that it can be copied from and to user memory without `unsafe`, and
//! starts as all zeroes by `Default`. Fields have C's names; names that start with `_` are padding. A host
//! test compiles the C headers and compares size, alignment and every offset.

#[macro_use]
mod macros;

mod aio;
mod file;
mod frame;
mod ipc;
mod mount;
mod net;
mod poll;
mod process;
mod security;
mod signal;
mod system;
mod time;
mod tty;

#[cfg(test)]
mod layout_tests;

pub use aio::*;
pub use file::*;
pub use frame::*;
pub use ipc::*;
pub use mount::*;
pub use net::*;
pub use poll::*;
pub use process::*;
pub use security::*;
pub use signal::*;
pub use system::*;
pub use time::*;
pub use tty::*;
