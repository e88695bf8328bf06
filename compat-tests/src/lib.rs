//! Cases that must hold on Linux and on Keel alike.
//!
//! `sys` makes raw system calls and confines `unsafe`; `harness` isolates, times and reports cases;
//! `util` holds what cases share; `cases` are the promises, grouped by family and call; `fuzz` is the
//! system-call fuzzer.

pub mod cases;
pub mod fuzz;
pub mod harness;
pub mod helper;
pub mod prelude;
pub mod sys;
pub mod util;
