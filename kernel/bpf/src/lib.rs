//! Classic BPF as seccomp(2) uses it: which programs are accepted, and what they compute.
//!
//! [`Program::seccomp`] checks a program by the rules of `SECCOMP_SET_MODE_FILTER`: only known instructions, jumps
//! that stay inside, no division by a constant zero, no scratch word that is read before it is written, loads only of
//! aligned words of `struct seccomp_data`, a return at the end. A checked program always ends and never fails, so
//! [`Program::run`] gives a plain number.
//!
//! Follows the BSD packet filter's machine (McCanne and Jacobson, 1993) and `linux/filter.h`: an accumulator A, an
//! index register X, 16 scratch words.

#![no_std]

extern crate alloc;

mod check;
pub mod code;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use keel_abi::types::{SeccompData, SockFilter};
use keel_abi::{Errno, Result};

/// Scratch words of the machine (`BPF_MEMWORDS`).
const SCRATCH: usize = 16;
/// Bytes of `struct seccomp_data`.
const DATA: usize = size_of::<SeccompData>();

/// A program that has been checked.
#[derive(Debug)]
pub struct Program {
    code: Vec<SockFilter>,
}

impl Program {
    /// Checks a seccomp filter: EINVAL if it breaks a rule.
    pub fn seccomp(code: Vec<SockFilter>) -> Result<Self> {
        check::seccomp(&code)?;
        Ok(Self { code })
    }

    /// The instructions, as they were given.
    pub fn code(&self) -> &[SockFilter] {
        &self.code
    }

    /// Runs it over a system call: the action and its data.
    pub fn run(&self, data: &SeccompData) -> u32 {
        let words = words_of(data);
        Machine {
            words: &words,
            a: 0,
            x: 0,
            scratch: [0; SCRATCH],
        }
        .run(&self.code)
    }
}

/// The 32-bit words of the data, by offset / 4.
fn words_of(data: &SeccompData) -> [u32; DATA / 4] {
    let mut words = [0; DATA / 4];
    let halves = |value: u64| [value as u32, (value >> 32) as u32];
    words[0] = data.nr.cast_unsigned();
    words[1] = data.arch;
    words[2..4].copy_from_slice(&halves(data.instruction_pointer));
    for (at, arg) in data.args.iter().enumerate() {
        words[4 + 2 * at..6 + 2 * at].copy_from_slice(&halves(*arg));
    }
    words
}

struct Machine<'a> {
    words: &'a [u32; DATA / 4],
    a: u32,
    x: u32,
    scratch: [u32; SCRATCH],
}

/// What comes after an instruction.
enum Next {
    /// The one this many further on (0: the next).
    Skip(u32),
    Return(u32),
}

impl Machine<'_> {
    fn run(mut self, code: &[SockFilter]) -> u32 {
        let mut pc = 0;
        // The check has seen to it that jumps go forward and that the last instruction returns.
        while let Some(insn) = code.get(pc) {
            match self.step(insn) {
                Next::Skip(n) => pc += 1 + n as usize,
                Next::Return(value) => return value,
            }
        }
        0
    }

    fn step(&mut self, insn: &SockFilter) -> Next {
        let k = insn.k;
        match code::class(insn.code) {
            code::LD => self.a = self.load(insn),
            code::LDX => self.x = self.load(insn),
            code::ST => self.store(k, self.a),
            code::STX => self.store(k, self.x),
            code::ALU => {
                let operand = self.operand(insn);
                match alu(insn.code, self.a, operand) {
                    Some(value) => self.a = value,
                    // A division by an X of zero ends the program.
                    None => return Next::Return(0),
                }
            }
            code::JMP => return Next::Skip(self.jump(insn)),
            code::RET => {
                let value = if code::return_source(insn.code) == code::A {
                    self.a
                } else {
                    k
                };
                return Next::Return(value);
            }
            _ if insn.code == code::TAX => self.x = self.a,
            _ => self.a = self.x,
        }
        Next::Skip(0)
    }

    fn load(&self, insn: &SockFilter) -> u32 {
        let at = insn.k as usize;
        match code::mode(insn.code) {
            code::ABS => self.words.get(at / 4).copied().unwrap_or(0),
            code::MEM => self.scratch.get(at).copied().unwrap_or(0),
            code::LEN => DATA as u32,
            _ => insn.k,
        }
    }

    fn store(&mut self, at: u32, value: u32) {
        if let Some(word) = self.scratch.get_mut(at as usize) {
            *word = value;
        }
    }

    fn operand(&self, insn: &SockFilter) -> u32 {
        if insn.code & code::X != 0 {
            self.x
        } else {
            insn.k
        }
    }

    fn jump(&self, insn: &SockFilter) -> u32 {
        let operand = self.operand(insn);
        let taken = match code::operation(insn.code) {
            code::JEQ => self.a == operand,
            code::JGT => self.a > operand,
            code::JGE => self.a >= operand,
            code::JSET => self.a & operand != 0,
            _ => return insn.k,
        };
        u32::from(if taken { insn.jt } else { insn.jf })
    }
}

/// The result of an arithmetic instruction; `None` for a division by zero.
fn alu(code: u16, a: u32, b: u32) -> Option<u32> {
    Some(match code::operation(code) {
        code::ADD => a.wrapping_add(b),
        code::SUB => a.wrapping_sub(b),
        code::MUL => a.wrapping_mul(b),
        code::DIV => return a.checked_div(b),
        code::OR => a | b,
        code::AND => a & b,
        code::XOR => a ^ b,
        code::LSH => a.wrapping_shl(b),
        code::RSH => a.wrapping_shr(b),
        _ => a.wrapping_neg(),
    })
}

/// The most instructions of one program.
pub const MAX_INSTRUCTIONS: usize = keel_abi::types::BPF_MAXINSNS;

/// EINVAL unless a program may have this many instructions.
pub fn check_length(len: usize) -> Result<()> {
    if (1..=MAX_INSTRUCTIONS).contains(&len) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}
