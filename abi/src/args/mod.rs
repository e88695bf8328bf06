//! Argument and result types of system calls, and their way from and to registers.
//!
//! A raw register becomes a typed value once, in code generated from the table: [`FromReg`] never fails and
//! truncates as the C prototype in Linux does (an `int` is the low 32 bits, sign-extended). [`IntoReg`] goes
//! the other way for results. [`ArgRegs`] hands out the six argument registers in order.

mod ids;
mod user;

pub use ids::{AT_FDCWD, DirFd, Fd, FileType, Gid, IpcKey, KeySerial, Mode, Pid, Tid, Uid};
pub use user::{UserAddr, UserPtr, UserStr};

use crate::errno::{Errno, Result};

/// A value made from a raw argument register. Infallible: handlers judge the value.
pub trait FromReg: Sized {
    /// Converts as the C declaration of the parameter would.
    fn from_reg(raw: u64) -> Self;
}

/// A value that fits the return register.
pub trait IntoReg: Sized {
    /// The value of `rax`. Signed values are sign-extended.
    fn into_reg(self) -> u64;
}

macro_rules! integers {
    ($($ty:ident)*) => {$(
        impl FromReg for $ty {
            fn from_reg(raw: u64) -> Self {
                raw as $ty
            }
        }
        impl IntoReg for $ty {
            fn into_reg(self) -> u64 {
                self as u64
            }
        }
    )*};
}

integers!(i32 u32 i64 u64 isize usize);

impl FromReg for () {
    fn from_reg(_: u64) {}
}

impl IntoReg for () {
    fn into_reg(self) -> u64 {
        0
    }
}

impl IntoReg for Errno {
    fn into_reg(self) -> u64 {
        self.to_reg()
    }
}

impl<T: IntoReg> IntoReg for Result<T> {
    fn into_reg(self) -> u64 {
        match self {
            Ok(value) => value.into_reg(),
            Err(errno) => errno.into_reg(),
        }
    }
}

/// The six argument registers (rdi, rsi, rdx, r10, r8, r9), taken one after the other.
///
/// Lets a macro over the table call a handler without counting:
/// `let mut regs = ArgRegs::new(raw); handler($(regs.next::<$ty>()),*)`.
#[derive(Clone, Debug)]
pub struct ArgRegs {
    raw: [u64; 6],
    taken: usize,
}

impl ArgRegs {
    /// Starts at the first argument.
    pub const fn new(raw: [u64; 6]) -> Self {
        ArgRegs { raw, taken: 0 }
    }

    /// The next argument. After the sixth the registers read as zero; the table has no such row.
    #[expect(
        clippy::should_implement_trait,
        reason = "the item type differs from call to call"
    )]
    pub fn next<T: FromReg>(&mut self) -> T {
        let raw = self.raw.get(self.taken).copied().unwrap_or(0);
        self.taken += 1;
        T::from_reg(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_int_is_the_low_half_sign_extended() {
        assert_eq!(i32::from_reg(0xdead_beef_ffff_ffff), -1);
        assert_eq!(u32::from_reg(0xdead_beef_ffff_ffff), 0xffff_ffff);
        assert_eq!(Fd::from_reg(0x1_0000_0003), Fd(3));
        assert_eq!(DirFd::from_reg(0xffff_ff9c), DirFd::CWD);
        assert_eq!(Mode::from_reg(0x1_01a4), Mode(0o644));
    }

    #[test]
    fn results_are_sign_extended() {
        assert_eq!((-1i32).into_reg(), u64::MAX);
        assert_eq!(Uid(u32::MAX).into_reg(), 0xffff_ffff);
        assert_eq!(Err::<usize, _>(Errno::ENOENT).into_reg(), (-2i64) as u64);
        assert_eq!(Ok(UserAddr(0x7fff_0000_0000)).into_reg(), 0x7fff_0000_0000);
    }

    #[test]
    fn registers_come_in_order() {
        let mut regs = ArgRegs::new([1, 2, 3, 4, 5, 6]);
        assert_eq!(
            (regs.next::<i32>(), regs.next::<u64>(), regs.next::<Fd>()),
            (1, 2, Fd(3))
        );
    }
}
