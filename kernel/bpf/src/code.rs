//! The parts of an instruction's code (`linux/bpf_common.h`).

#![allow(missing_docs)] // bpf(4) is their documentation

/// Instruction classes.
pub const LD: u16 = 0x00;
pub const LDX: u16 = 0x01;
pub const ST: u16 = 0x02;
pub const STX: u16 = 0x03;
pub const ALU: u16 = 0x04;
pub const JMP: u16 = 0x05;
pub const RET: u16 = 0x06;
pub const MISC: u16 = 0x07;

/// Sizes of loads; seccomp has words only.
pub const W: u16 = 0x00;

/// Addressing modes of loads.
pub const IMM: u16 = 0x00;
pub const ABS: u16 = 0x20;
pub const MEM: u16 = 0x60;
pub const LEN: u16 = 0x80;

/// Arithmetic.
pub const ADD: u16 = 0x00;
pub const SUB: u16 = 0x10;
pub const MUL: u16 = 0x20;
pub const DIV: u16 = 0x30;
pub const OR: u16 = 0x40;
pub const AND: u16 = 0x50;
pub const LSH: u16 = 0x60;
pub const RSH: u16 = 0x70;
pub const NEG: u16 = 0x80;
pub const XOR: u16 = 0xa0;

/// Jumps.
pub const JA: u16 = 0x00;
pub const JEQ: u16 = 0x10;
pub const JGT: u16 = 0x20;
pub const JGE: u16 = 0x30;
pub const JSET: u16 = 0x40;

/// Where the operand comes from: the constant, X, or for returns A.
pub const K: u16 = 0x00;
pub const X: u16 = 0x08;
pub const A: u16 = 0x10;

/// Whole codes of the register moves.
pub const TAX: u16 = MISC;
pub const TXA: u16 = MISC | 0x80;

pub fn class(code: u16) -> u16 {
    code & 0x07
}

pub fn mode(code: u16) -> u16 {
    code & 0xe0
}

pub fn operation(code: u16) -> u16 {
    code & 0xf0
}

pub fn return_source(code: u16) -> u16 {
    code & 0x18
}
