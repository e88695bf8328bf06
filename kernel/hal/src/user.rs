//! Copies between the kernel and user memory.
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The user address is bad: the caller answers EFAULT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// How [`read_cstr`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CStrEnd {
    /// The terminating NUL was found (and is not in the output).
    Found,
    /// No NUL within the limit.
    TooLong,
}
#[allow(unused_variables, missing_docs)]
mod todo_ {
    use super::*;
    pub fn read(src: usize, dst: &mut [u8]) -> Result<(), Fault> { todo!() }
    pub fn write(dst: usize, src: &[u8]) -> Result<(), Fault> { todo!() }
    pub fn read_partial(src: usize, dst: &mut [u8]) -> usize { todo!() }
    pub fn write_partial(dst: usize, src: &[u8]) -> usize { todo!() }
    pub fn zero(dst: usize, len: usize) -> usize { todo!() }
    pub fn read_obj<T: FromBytes>(addr: usize) -> Result<T, Fault> { todo!() }
    pub fn write_obj<T: IntoBytes + Immutable>(addr: usize, value: &T) -> Result<(), Fault> { todo!() }
    pub fn read_cstr(addr: usize, max: usize, out: &mut Vec<u8>) -> Result<CStrEnd, Fault> { todo!() }
    pub fn load_u32(addr: usize) -> Result<u32, Fault> { todo!() }
    pub fn store_u32(addr: usize, value: u32) -> Result<(), Fault> { todo!() }
    pub fn cmpxchg_u32(addr: usize, old: u32, new: u32) -> Result<u32, Fault> { todo!() }
    pub fn fetch_update_u32(addr: usize, f: impl FnMut(u32) -> Option<u32>) -> Result<Result<u32, u32>, Fault> { todo!() }
    pub fn nofault<R>(f: impl FnOnce() -> R) -> R { todo!() }
}
pub use todo_::*;
