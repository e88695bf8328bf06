//! The Linux x86_64 system-call ABI as Keel speaks it: data and types, no behaviour.
//!
//! - [`errno`]: error numbers.
//!
//! Everything here is plain data that both the kernel and host tools use.

#![no_std]

pub mod errno;

pub use errno::{Errno, Result};
