//! Which programs are accepted.

use alloc::vec;
use keel_abi::types::SockFilter;
use keel_abi::{Errno, Result};

use crate::code::{self, *};
use crate::{DATA, SCRATCH, check_length};

/// The rules of a seccomp filter: EINVAL for a program that breaks one.
pub fn seccomp(program: &[SockFilter]) -> Result<()> {
    check_length(program.len())?;
    for (at, insn) in program.iter().enumerate() {
        let rest = program.len() - at - 1;
        if !allowed(insn.code) || !operands_valid(insn) || !jumps_valid(insn, rest) {
            return Err(Errno::EINVAL);
        }
    }
    let returns = program
        .last()
        .is_some_and(|insn| code::class(insn.code) == RET);
    if !returns {
        return Err(Errno::EINVAL);
    }
    scratch_written_first(program)
}

/// Whether seccomp knows the instruction. Packet loads, and the remainder, are not among them.
fn allowed(insn: u16) -> bool {
    match code::class(insn) {
        LD => matches!(
            insn,
            0x00 /* IMM */ | 0x20 /* ABS */ | 0x60 /* MEM */ | 0x80 // LEN
        ),
        LDX => matches!(insn & !LDX, IMM | MEM | LEN),
        ST => insn == ST,
        STX => insn == STX,
        ALU => {
            let operation = code::operation(insn);
            let known = matches!(
                operation,
                ADD | SUB | MUL | DIV | OR | AND | LSH | RSH | XOR
            );
            insn & !(0xf0 | X) == ALU && (known || insn == ALU | NEG)
        }
        JMP => {
            let conditional = matches!(code::operation(insn), JEQ | JGT | JGE | JSET);
            insn == JMP | JA || insn & !(0xf0 | X) == JMP && conditional
        }
        RET => insn == RET | K || insn == RET | A,
        _ => insn == TAX || insn == TXA,
    }
}

fn operands_valid(insn: &SockFilter) -> bool {
    let k = insn.k;
    let constant = insn.code & X == 0;
    match code::class(insn.code) {
        LD | LDX => match code::mode(insn.code) {
            ABS => k.is_multiple_of(4) && (k as usize) < DATA,
            MEM => (k as usize) < SCRATCH,
            _ => true,
        },
        ST | STX => (k as usize) < SCRATCH,
        ALU if constant => match code::operation(insn.code) {
            DIV => k != 0,
            LSH | RSH => k < 32,
            _ => true,
        },
        _ => true,
    }
}

/// Whether all targets are among the `rest` instructions that follow.
fn jumps_valid(insn: &SockFilter, rest: usize) -> bool {
    if code::class(insn.code) != JMP {
        return true;
    }
    if code::operation(insn.code) == JA {
        return (insn.k as usize) < rest;
    }
    usize::from(insn.jt) < rest && usize::from(insn.jf) < rest
}

/// On no path is a scratch word read that was not written.
fn scratch_written_first(program: &[SockFilter]) -> Result<()> {
    // Words that are written on every path to an instruction; jumps only go forward.
    let mut written_at = vec![u16::MAX; program.len()];
    let mut written = 0;
    for (at, insn) in program.iter().enumerate() {
        written &= written_at[at];
        let word = 1_u16.checked_shl(insn.k).unwrap_or(0);
        match code::class(insn.code) {
            ST | STX => written |= word,
            LD | LDX if code::mode(insn.code) == MEM && written & word == 0 => {
                return Err(Errno::EINVAL);
            }
            JMP => {
                let targets = if code::operation(insn.code) == JA {
                    [insn.k as usize; 2]
                } else {
                    [insn.jt.into(), insn.jf.into()]
                };
                for target in targets {
                    if let Some(mask) = written_at.get_mut(at + 1 + target) {
                        *mask &= written;
                    }
                }
                // What follows is reached by jumps alone.
                written = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}
