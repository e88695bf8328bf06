use alloc::vec;
use alloc::vec::Vec;
use keel_abi::types::{SeccompData, SockFilter};

use crate::Program;
use crate::code::*;

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter { code, jt, jf, k }
}

fn plain(code: u16, k: u32) -> SockFilter {
    insn(code, 0, 0, k)
}

fn accepted(code: Vec<SockFilter>) -> bool {
    Program::seccomp(code).is_ok()
}

/// `code` followed by a return of A, run over `data`.
fn result(code: Vec<SockFilter>, data: &SeccompData) -> u32 {
    let mut code = code;
    code.push(plain(RET | A, 0));
    Program::seccomp(code).unwrap().run(data)
}

fn data() -> SeccompData {
    SeccompData {
        nr: 39,
        arch: 0xc000_003e,
        instruction_pointer: 0x1111_2222_3333_4444,
        args: [1, 0x5555_6666_7777_8888, 3, 4, 5, u64::MAX],
    }
}

#[test]
fn loads_see_the_data_by_words() {
    let at = |k| result(vec![plain(LD | ABS, k)], &data());
    assert_eq!(at(0), 39);
    assert_eq!(at(4), 0xc000_003e);
    assert_eq!((at(8), at(12)), (0x3333_4444, 0x1111_2222));
    assert_eq!((at(24), at(28)), (0x7777_8888, 0x5555_6666));
    assert_eq!(at(60), u32::MAX);
    assert_eq!(result(vec![plain(LD | LEN, 0)], &data()), 64);
}

#[test]
fn arithmetic_is_of_32_bits() {
    let with =
        |op: u16, a: u32, k: u32| result(vec![plain(LD | IMM, a), plain(ALU | op, k)], &data());
    assert_eq!(with(ADD, u32::MAX, 2), 1);
    assert_eq!(with(SUB, 1, 2), u32::MAX);
    assert_eq!(with(MUL, 1 << 31, 3), 1 << 31);
    assert_eq!(with(DIV, 7, 2), 3);
    assert_eq!(with(AND, 0xf0, 0x3c), 0x30);
    assert_eq!(with(OR, 0xf0, 0x0f), 0xff);
    assert_eq!(with(XOR, 0xff, 0x0f), 0xf0);
    assert_eq!(with(LSH, 1, 31), 1 << 31);
    assert_eq!(with(RSH, 1 << 31, 31), 1);
    assert_eq!(with(NEG, 1, 0), u32::MAX);
}

#[test]
fn dividing_by_an_x_of_zero_returns_zero() {
    let code = vec![
        plain(LDX | IMM, 0),
        plain(LD | IMM, 7),
        plain(ALU | DIV | X, 0),
        plain(RET | K, 9),
    ];
    assert_eq!(Program::seccomp(code).unwrap().run(&data()), 0);
}

#[test]
fn jumps_choose() {
    let choose = |op: u16, k: u32| {
        let code = vec![
            plain(LD | ABS, 0),
            insn(JMP | op, 1, 0, k),
            plain(RET | K, 10),
            plain(RET | K, 20),
        ];
        Program::seccomp(code).unwrap().run(&data())
    };
    assert_eq!((choose(JEQ, 39), choose(JEQ, 40)), (20, 10));
    assert_eq!((choose(JGT, 38), choose(JGT, 39)), (20, 10));
    assert_eq!((choose(JGE, 39), choose(JGE, 40)), (20, 10));
    assert_eq!((choose(JSET, 1), choose(JSET, 8)), (20, 10));
    let skip = vec![plain(JMP | JA, 1), plain(RET | K, 1), plain(RET | K, 2)];
    assert_eq!(Program::seccomp(skip).unwrap().run(&data()), 2);
}

#[test]
fn scratch_and_moves() {
    let code = vec![
        plain(LD | IMM, 5),
        plain(ST, 15),
        plain(TAX, 0),
        plain(STX, 0),
        plain(LD | IMM, 0),
        plain(LD | MEM, 15),
        plain(LDX | MEM, 0),
        plain(ALU | ADD | X, 0),
    ];
    assert_eq!(result(code, &data()), 10);
    assert_eq!(result(vec![plain(LDX | IMM, 3), plain(TXA, 0)], &data()), 3);
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let ret = plain(RET | K, 0);
    assert!(accepted(vec![ret]));
    assert!(!accepted(vec![]));
    assert!(!accepted(vec![ret; 4097]));
    assert!(accepted(vec![ret; 4096]));
    assert!(!accepted(vec![plain(LD | IMM, 0)]), "no return at the end");
    for bad in [
        plain(LD | ABS, 3),
        plain(LD | ABS, 64),
        plain(0x28, 0), // half word
        plain(0x30, 0), // byte
        plain(0x40, 0), // indexed
        plain(LD | MEM, 0),
        plain(LD | MEM, 16),
        plain(ST, 16),
        plain(ALU | DIV, 0),
        plain(ALU | 0x90, 2), // remainder
        plain(ALU | LSH, 32),
        plain(ALU | NEG | X, 0),
        insn(JMP | JEQ, 1, 0, 0),
        insn(JMP | JEQ, 0, 1, 0),
        plain(JMP | JA, 1),
        plain(JMP | JA, u32::MAX),
        plain(RET | X, 0),
        plain(0xffff, 0),
    ] {
        assert!(!accepted(vec![bad, ret]), "{bad:?}");
    }
}

#[test]
fn scratch_must_be_written_on_every_path() {
    let read = plain(LD | MEM, 3);
    let ret = plain(RET | A, 0);
    let one_side = vec![
        plain(LD | ABS, 0),
        insn(JMP | JEQ, 0, 1, 1),
        plain(ST, 3),
        read,
        ret,
    ];
    assert!(!accepted(one_side));
    let both_sides = vec![
        plain(LD | ABS, 0),
        insn(JMP | JEQ, 0, 2, 1),
        plain(ST, 3),
        plain(JMP | JA, 1),
        plain(ST, 3),
        read,
        ret,
    ];
    assert!(accepted(both_sides));
}
