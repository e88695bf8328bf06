//! The packed operation of `FUTEX_WAKE_OP` (futex(2)): a change to the second word, and a test of its old value.

use crate::errno::{Errno, Result};

/// How the second word changes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Change {
    Set,
    Add,
    Or,
    AndNot,
    Xor,
}

/// How the old value is compared.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// The decoded last argument of `FUTEX_WAKE_OP`.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct FutexWakeOp {
    change: Change,
    argument: i32,
    comparison: Comparison,
    compared_to: i32,
}

/// `FUTEX_OP_OPARG_SHIFT`: the argument is the number of a bit.
const ARGUMENT_IS_SHIFT: u32 = 8;

impl FutexWakeOp {
    /// Decodes `(op << 28) | (cmp << 24) | (oparg << 12) | cmparg`; both arguments are signed 12-bit numbers.
    ///
    /// # Errors
    /// `ENOSYS` for an operation or comparison that does not exist.
    pub fn decode(raw: u32) -> Result<FutexWakeOp> {
        let op = raw >> 28;
        let mut argument = sign_extend_12(raw >> 12);
        if op & ARGUMENT_IS_SHIFT != 0 {
            // Linux takes the low five bits of a shift that is out of range.
            argument = 1i32.wrapping_shl(argument.cast_unsigned());
        }
        let change = match op & !ARGUMENT_IS_SHIFT {
            0 => Change::Set,
            1 => Change::Add,
            2 => Change::Or,
            3 => Change::AndNot,
            4 => Change::Xor,
            _ => return Err(Errno::ENOSYS),
        };
        let comparison = match raw >> 24 & 0xf {
            0 => Comparison::Eq,
            1 => Comparison::Ne,
            2 => Comparison::Lt,
            3 => Comparison::Le,
            4 => Comparison::Gt,
            5 => Comparison::Ge,
            _ => return Err(Errno::ENOSYS),
        };
        Ok(FutexWakeOp {
            change,
            argument,
            comparison,
            compared_to: sign_extend_12(raw),
        })
    }

    /// What the word becomes.
    pub const fn apply(self, old: u32) -> u32 {
        let argument = self.argument.cast_unsigned();
        match self.change {
            Change::Set => argument,
            Change::Add => old.wrapping_add(argument),
            Change::Or => old | argument,
            Change::AndNot => old & !argument,
            Change::Xor => old ^ argument,
        }
    }

    /// Whether waiters on the second word are woken.
    pub const fn matches(self, old: u32) -> bool {
        let old = old.cast_signed();
        match self.comparison {
            Comparison::Eq => old == self.compared_to,
            Comparison::Ne => old != self.compared_to,
            Comparison::Lt => old < self.compared_to,
            Comparison::Le => old <= self.compared_to,
            Comparison::Gt => old > self.compared_to,
            Comparison::Ge => old >= self.compared_to,
        }
    }
}

/// The low twelve bits as a signed number.
const fn sign_extend_12(raw: u32) -> i32 {
    (raw << 20).cast_signed() >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The macro of futex(2).
    fn futex_op(op: u32, oparg: u32, cmp: u32, cmparg: u32) -> u32 {
        (op & 0xf) << 28 | (cmp & 0xf) << 24 | (oparg & 0xfff) << 12 | cmparg & 0xfff
    }

    #[test]
    fn operations_and_comparisons() {
        let run = |op, oparg, cmp, cmparg, old| {
            let op = FutexWakeOp::decode(futex_op(op, oparg, cmp, cmparg)).unwrap();
            (op.apply(old), op.matches(old))
        };
        assert_eq!(run(0, 5, 0, 7, 7), (5, true));
        assert_eq!(run(1, 0xfff, 1, 7, 7), (6, false)); // adds -1
        assert_eq!(run(2, 6, 2, 0, u32::MAX - 1), (u32::MAX - 1, true)); // -2 < 0
        assert_eq!(run(3, 6, 3, 7, 7), (1, true));
        assert_eq!(run(4, 6, 4, 7, 7), (1, false));
        assert_eq!(run(8, 31, 5, 0xfff, 0), (1 << 31, true)); // 0 >= -1
        assert_eq!(run(9, 4, 5, 0, 1), (17, true));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        assert_eq!(
            FutexWakeOp::decode(futex_op(5, 0, 0, 0)),
            Err(Errno::ENOSYS)
        );
        assert_eq!(
            FutexWakeOp::decode(futex_op(0, 0, 6, 0)),
            Err(Errno::ENOSYS)
        );
    }
}
