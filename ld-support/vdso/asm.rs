//! As much of an x86-64 assembler as the vDSO needs (encodings: Intel SDM volume 2).
//!
//! Memory operands are always base + 32-bit displacement, jumps always 32-bit: the code is a few hundred bytes,
//! and its speed does not depend on a byte more or less.

/// A general register, numbered as in its encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reg(pub u8);

pub const RAX: Reg = Reg(0);
pub const RCX: Reg = Reg(1);
pub const RDX: Reg = Reg(2);
pub const RSI: Reg = Reg(6);
pub const RDI: Reg = Reg(7);
pub const R8: Reg = Reg(8);
pub const R9: Reg = Reg(9);
pub const R10: Reg = Reg(10);
pub const R11: Reg = Reg(11);

/// Base register and displacement. The base is not RSP or R12, which are encoded differently.
#[derive(Clone, Copy)]
pub struct Mem(pub Reg, pub u32);

/// Operand width.
#[derive(Clone, Copy)]
pub enum Width {
    D,
    Q,
}
pub use Width::{D, Q};

/// Conditions of a jump, as in its opcode.
#[derive(Clone, Copy)]
pub enum Cond {
    Below = 0x2,
    AboveEqual = 0x3,
    Equal = 0x4,
    NotEqual = 0x5,
}

/// A place in the code, perhaps not yet known.
#[derive(Clone, Copy)]
pub struct Label(usize);

/// Machine code that will lie at a known address.
pub struct Asm {
    origin: i64,
    code: Vec<u8>,
    labels: Vec<Option<usize>>,
    fixups: Vec<(usize, Label)>,
}

impl Asm {
    pub fn new(origin: i64) -> Self {
        Asm {
            origin,
            code: Vec::new(),
            labels: Vec::new(),
            fixups: Vec::new(),
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// The code with all jumps resolved.
    pub fn finish(mut self) -> Vec<u8> {
        for (at, label) in &self.fixups {
            let target = self.labels[label.0].expect("a label is used but not placed");
            let rel = i32::try_from(target as i64 - (*at as i64 + 4)).expect("a short jump");
            self.code[*at..*at + 4].copy_from_slice(&rel.to_le_bytes());
        }
        self.code
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub fn place(&mut self, label: Label) {
        assert!(self.labels[label.0].is_none(), "a label is placed twice");
        self.labels[label.0] = Some(self.code.len());
    }

    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    /// Fills up with INT3 to a multiple of `to` bytes.
    pub fn align(&mut self, to: usize) {
        self.code.resize(self.code.len().next_multiple_of(to), 0xcc);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    fn rex(&mut self, width: Width, reg: Reg, rm: Reg) {
        let wide = match width {
            D => 0,
            Q => 8,
        };
        let rex = 0x40 | wide | reg.0 >> 3 << 2 | rm.0 >> 3;
        if rex != 0x40 {
            self.bytes(&[rex]);
        }
    }

    fn op_reg(&mut self, width: Width, op: &[u8], reg: Reg, rm: Reg) {
        self.rex(width, reg, rm);
        self.bytes(op);
        self.bytes(&[0xc0 | (reg.0 & 7) << 3 | rm.0 & 7]);
    }

    fn op_mem(&mut self, width: Width, op: &[u8], reg: Reg, Mem(base, disp): Mem) {
        assert!(base.0 & 7 != 4, "this base needs a SIB byte");
        self.rex(width, reg, base);
        self.bytes(op);
        self.bytes(&[0x80 | (reg.0 & 7) << 3 | base.0 & 7]);
        self.bytes(&disp.to_le_bytes());
    }

    fn fixup(&mut self, label: Label) {
        self.fixups.push((self.code.len(), label));
        self.bytes(&[0; 4]);
    }

    pub fn load(&mut self, width: Width, to: Reg, from: Mem) {
        self.op_mem(width, &[0x8b], to, from);
    }

    pub fn store(&mut self, width: Width, to: Mem, from: Reg) {
        self.op_mem(width, &[0x89], from, to);
    }

    pub fn store_zero(&mut self, to: Mem) {
        self.op_mem(Q, &[0xc7], Reg(0), to);
        self.bytes(&[0; 4]);
    }

    pub fn mov(&mut self, width: Width, to: Reg, from: Reg) {
        self.op_reg(width, &[0x89], from, to);
    }

    pub fn mov_imm(&mut self, to: Reg, value: u32) {
        self.rex(D, Reg(0), to);
        self.bytes(&[0xb8 | to.0 & 7]);
        self.bytes(&value.to_le_bytes());
    }

    /// Loads an address that keeps its distance from the code.
    pub fn lea_rip(&mut self, to: Reg, target: i64) {
        self.rex(Q, to, Reg(0));
        self.bytes(&[0x8d, (to.0 & 7) << 3 | 5]);
        let next = self.origin + self.code.len() as i64 + 4;
        let rel = i32::try_from(target - next).expect("a near address");
        self.bytes(&rel.to_le_bytes());
    }

    pub fn lea(&mut self, to: Reg, mem: Mem) {
        self.op_mem(Q, &[0x8d], to, mem);
    }

    pub fn add(&mut self, to: Reg, from: Reg) {
        self.op_reg(Q, &[0x01], from, to);
    }

    pub fn add_mem(&mut self, to: Reg, from: Mem) {
        self.op_mem(Q, &[0x03], to, from);
    }

    pub fn add_carry(&mut self, to: Reg) {
        self.op_reg(Q, &[0x83], Reg(2), to);
        self.bytes(&[0]);
    }

    pub fn sub_mem(&mut self, to: Reg, from: Mem) {
        self.op_mem(Q, &[0x2b], to, from);
    }

    pub fn or(&mut self, to: Reg, from: Reg) {
        self.op_reg(Q, &[0x09], from, to);
    }

    pub fn zero(&mut self, to: Reg) {
        self.op_reg(D, &[0x31], to, to);
    }

    pub fn and_imm(&mut self, to: Reg, mask: u32) {
        self.op_reg(D, &[0x81], Reg(4), to);
        self.bytes(&mask.to_le_bytes());
    }

    pub fn shl(&mut self, to: Reg, by: u8) {
        self.op_reg(Q, &[0xc1], Reg(4), to);
        self.bytes(&[by]);
    }

    pub fn shr(&mut self, to: Reg, by: u8) {
        self.op_reg(D, &[0xc1], Reg(5), to);
        self.bytes(&[by]);
    }

    /// Shifts `high:low` right by CL; the low half stays.
    pub fn shrd_cl(&mut self, low: Reg, high: Reg) {
        self.op_reg(Q, &[0x0f, 0xad], high, low);
    }

    /// RDX:RAX = RAX × `by`.
    pub fn mul(&mut self, by: Reg) {
        self.op_reg(Q, &[0xf7], Reg(4), by);
    }

    /// RAX = RDX:RAX / `by`, RDX = the rest.
    pub fn div(&mut self, by: Reg) {
        self.op_reg(Q, &[0xf7], Reg(6), by);
    }

    pub fn cmp(&mut self, a: Reg, b: Reg) {
        self.op_reg(Q, &[0x39], b, a);
    }

    pub fn cmp_imm(&mut self, a: Reg, value: u32) {
        self.op_reg(D, &[0x81], Reg(7), a);
        self.bytes(&value.to_le_bytes());
    }

    pub fn cmp_mem(&mut self, a: Reg, b: Mem) {
        self.op_mem(D, &[0x3b], a, b);
    }

    pub fn cmp_mem_imm(&mut self, a: Mem, value: u8) {
        self.op_mem(D, &[0x83], Reg(7), a);
        self.bytes(&[value]);
    }

    pub fn test(&mut self, a: Reg) {
        self.op_reg(Q, &[0x85], a, a);
    }

    pub fn test_imm(&mut self, a: Reg, mask: u32) {
        self.op_reg(D, &[0xf7], Reg(0), a);
        self.bytes(&mask.to_le_bytes());
    }

    /// Carry = bit number `index` of `of`; the condition is then [`Cond::Below`].
    pub fn bit_test(&mut self, of: Reg, index: Reg) {
        self.op_reg(D, &[0x0f, 0xa3], index, of);
    }

    pub fn jump(&mut self, to: Label) {
        self.bytes(&[0xe9]);
        self.fixup(to);
    }

    pub fn jump_if(&mut self, cond: Cond, to: Label) {
        self.bytes(&[0x0f, 0x80 | cond as u8]);
        self.fixup(to);
    }

    pub fn endbr64(&mut self) {
        self.bytes(&[0xf3, 0x0f, 0x1e, 0xfa]);
    }

    pub fn lfence(&mut self) {
        self.bytes(&[0x0f, 0xae, 0xe8]);
    }

    pub fn pause(&mut self) {
        self.bytes(&[0xf3, 0x90]);
    }

    /// EDX:EAX = the TSC.
    pub fn rdtsc(&mut self) {
        self.bytes(&[0x0f, 0x31]);
    }

    /// Like RDTSC, and ECX = `IA32_TSC_AUX`.
    pub fn rdtscp(&mut self) {
        self.bytes(&[0x0f, 0x01, 0xf9]);
    }

    /// RAX = `IA32_TSC_AUX`.
    pub fn rdpid_rax(&mut self) {
        self.bytes(&[0xf3, 0x0f, 0xc7, 0xf8]);
    }

    /// `to` = limit of the segment selected by `selector`; equal if there is such a segment.
    pub fn lsl(&mut self, to: Reg, selector: Reg) {
        self.op_reg(D, &[0x0f, 0x03], to, selector);
    }

    pub fn syscall(&mut self) {
        self.bytes(&[0x0f, 0x05]);
    }

    pub fn ret(&mut self) {
        self.bytes(&[0xc3]);
    }
}
