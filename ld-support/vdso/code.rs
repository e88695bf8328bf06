//! The routines of the vDSO (vdso(7), "x86-64 functions").
//!
//! They use only registers that a call may destroy and no stack, so that one line of unwind information holds
//! everywhere. What they cannot answer from the data page they pass to the kernel unchanged. How the page is read:
//! remember the sequence (wait while it is odd), read, and start over if the sequence is another one; x86 keeps loads
//! in order, and LFENCE keeps RDTSC behind the load of the sequence.

use crate::asm::{Asm, Cond, D, Label, Mem, Q, R8, R9, R10, R11, RAX, RCX, RDI, RDX, RSI};
use crate::layout::*;

const NR_GETTIMEOFDAY: u32 = 96;
const NR_TIME: u32 = 201;
const NR_CLOCK_GETTIME: u32 = 228;
const NR_CLOCK_GETRES: u32 = 229;
const NR_GETCPU: u32 = 309;
const NSEC_PER_SEC: u32 = 1_000_000_000;

/// A function's name without `__vdso_`, and where its code lies in the text.
pub struct Routine {
    pub name: &'static str,
    pub start: usize,
    pub len: usize,
}

/// Machine code and its functions.
pub struct Text {
    pub code: Vec<u8>,
    pub routines: Vec<Routine>,
}

/// Emits one routine, given the data page's address.
type Emit = fn(&mut Asm, i64);

/// Generates the code for address `text`; the data page is at `data`.
pub fn generate(text: u64, data: i64) -> Text {
    let mut asm = Asm::new(text.cast_signed());
    let mut routines = Vec::new();
    let all: [(&str, Emit); 5] = [
        ("clock_gettime", clock_gettime),
        ("gettimeofday", gettimeofday),
        ("time", time),
        ("clock_getres", clock_getres),
        ("getcpu", getcpu),
    ];
    for (name, emit) in all {
        asm.align(16);
        let start = asm.len();
        asm.endbr64();
        emit(&mut asm, data);
        routines.push(Routine {
            name,
            start,
            len: asm.len() - start,
        });
    }
    Text {
        code: asm.finish(),
        routines,
    }
}

fn field(offset: u32) -> Mem {
    Mem(R8, offset)
}

/// Passes the call to the kernel: all arguments are still in their registers.
fn ask_kernel(asm: &mut Asm, nr: u32) {
    asm.mov_imm(RAX, nr);
    asm.syscall();
    asm.ret();
}

fn return_zero(asm: &mut Asm) {
    asm.zero(RAX);
    asm.ret();
}

/// R8 = the data page.
fn data_page(asm: &mut Asm, data: i64) {
    asm.lea_rip(R8, data);
}

/// R11 = the sequence when it is even.
fn read_begin(asm: &mut Asm) -> Label {
    let (retry, ready) = (asm.here(), asm.label());
    asm.load(D, R11, field(SEQ));
    asm.test_imm(R11, 1);
    asm.jump_if(Cond::Equal, ready);
    asm.pause();
    asm.jump(retry);
    asm.place(ready);
    retry
}

fn read_end(asm: &mut Asm, retry: Label) {
    asm.cmp_mem(R11, field(SEQ));
    asm.jump_if(Cond::NotEqual, retry);
}

/// RDX = seconds, RAX = nanoseconds of the clock whose base is at R10 and whose multiplier is at R9. Leaves RDI, RSI, R8.
fn read_precise(asm: &mut Asm, fallback: Label) {
    let (whole, positive) = (asm.label(), asm.label());
    let retry = read_begin(asm);
    asm.cmp_mem_imm(field(CLOCK_MODE), CLOCK_MODE_TSC as u8);
    asm.jump_if(Cond::NotEqual, fallback);
    asm.lfence();
    asm.rdtsc();
    asm.shl(RDX, 32);
    asm.or(RAX, RDX);
    // This CPU may be a little behind the one that set the base: then no time has passed.
    asm.sub_mem(RAX, field(CYCLE_LAST));
    asm.jump_if(Cond::AboveEqual, positive);
    asm.zero(RAX);
    asm.place(positive);
    // 128 bits: a base may be arbitrarily old.
    asm.load(D, RDX, Mem(R9, 0));
    asm.mul(RDX);
    asm.add_mem(RAX, Mem(R10, 8));
    asm.add_carry(RDX);
    asm.load(D, RCX, field(SHIFT));
    asm.shrd_cl(RAX, RDX);
    asm.load(Q, RDX, Mem(R10, 0));
    read_end(asm, retry);

    asm.mov_imm(RCX, NSEC_PER_SEC);
    asm.cmp(RAX, RCX);
    asm.jump_if(Cond::Below, whole);
    asm.mov(Q, R10, RDX);
    asm.zero(RDX);
    asm.div(RCX);
    asm.add(R10, RAX);
    asm.mov(Q, RAX, RDX);
    asm.mov(Q, RDX, R10);
    asm.place(whole);
}

/// R10 = base of the clock in EDI, which is below [`CLOCK_COUNT`].
fn clock_base(asm: &mut Asm) {
    asm.mov(D, R10, RDI);
    asm.shl(R10, CLOCK_SIZE.trailing_zeros() as u8);
    asm.add(R10, R8);
    asm.lea(R10, Mem(R10, CLOCKS));
}

fn jump_if_in(asm: &mut Asm, clocks: u32, to: Label) {
    asm.mov_imm(RAX, clocks);
    asm.bit_test(RAX, RDI);
    asm.jump_if(Cond::Below, to);
}

/// `int clock_gettime(clockid_t EDI, struct timespec *RSI)`
fn clock_gettime(asm: &mut Asm, data: i64) {
    let (precise, coarse, fallback) = (asm.label(), asm.label(), asm.label());
    asm.cmp_imm(RDI, CLOCK_COUNT);
    asm.jump_if(Cond::AboveEqual, fallback);
    data_page(asm, data);
    clock_base(asm);
    jump_if_in(asm, PRECISE, precise);
    jump_if_in(asm, COARSE, coarse);
    asm.place(fallback);
    ask_kernel(asm, NR_CLOCK_GETTIME);

    asm.place(precise);
    let disciplined = asm.label();
    asm.lea(R9, field(MONO_MULT));
    asm.cmp_imm(RDI, CLOCK_MONOTONIC_RAW);
    asm.jump_if(Cond::NotEqual, disciplined);
    asm.lea(R9, field(RAW_MULT));
    asm.place(disciplined);
    read_precise(asm, fallback);
    let store = asm.here();
    asm.store(Q, Mem(RSI, 0), RDX);
    asm.store(Q, Mem(RSI, 8), RAX);
    return_zero(asm);

    asm.place(coarse);
    let retry = read_begin(asm);
    asm.load(Q, RDX, Mem(R10, 0));
    asm.load(Q, RAX, Mem(R10, 8));
    read_end(asm, retry);
    asm.jump(store);
}

/// `int gettimeofday(struct timeval *RDI, struct timezone *RSI)`
fn gettimeofday(asm: &mut Asm, data: i64) {
    let (zone, done, fallback) = (asm.label(), asm.label(), asm.label());
    data_page(asm, data);
    asm.test(RDI);
    asm.jump_if(Cond::Equal, zone);
    asm.lea(R9, field(MONO_MULT));
    asm.lea(R10, field(CLOCKS));
    read_precise(asm, fallback);
    asm.store(Q, Mem(RDI, 0), RDX);
    asm.zero(RDX);
    asm.mov_imm(RCX, 1000);
    asm.div(RCX);
    asm.store(Q, Mem(RDI, 8), RAX);

    asm.place(zone);
    asm.test(RSI);
    asm.jump_if(Cond::Equal, done);
    asm.load(D, RAX, field(TZ_MINUTESWEST));
    asm.store(D, Mem(RSI, 0), RAX);
    asm.load(D, RAX, field(TZ_DSTTIME));
    asm.store(D, Mem(RSI, 4), RAX);
    asm.place(done);
    return_zero(asm);

    asm.place(fallback);
    ask_kernel(asm, NR_GETTIMEOFDAY);
}

/// `time_t time(time_t *RDI)`: whole seconds, one load and so never torn.
fn time(asm: &mut Asm, data: i64) {
    let (done, fallback) = (asm.label(), asm.label());
    data_page(asm, data);
    // A page that was never written has no time.
    asm.load(Q, RAX, field(CLOCKS + CLOCK_SIZE * CLOCK_REALTIME_COARSE));
    asm.test(RAX);
    asm.jump_if(Cond::Equal, fallback);
    asm.test(RDI);
    asm.jump_if(Cond::Equal, done);
    asm.store(Q, Mem(RDI, 0), RAX);
    asm.place(done);
    asm.ret();
    asm.place(fallback);
    ask_kernel(asm, NR_TIME);
}

/// `int clock_getres(clockid_t EDI, struct timespec *RSI)`
fn clock_getres(asm: &mut Asm, data: i64) {
    let (precise, coarse, store) = (asm.label(), asm.label(), asm.label());
    let (done, fallback) = (asm.label(), asm.label());
    asm.cmp_imm(RDI, CLOCK_COUNT);
    asm.jump_if(Cond::AboveEqual, fallback);
    data_page(asm, data);
    jump_if_in(asm, PRECISE, precise);
    jump_if_in(asm, COARSE, coarse);
    asm.place(fallback);
    ask_kernel(asm, NR_CLOCK_GETRES);
    asm.place(coarse);
    asm.load(D, RAX, field(COARSE_RES));
    asm.jump(store);
    asm.place(precise);
    asm.load(D, RAX, field(HRTIMER_RES));
    asm.place(store);
    asm.test(RSI);
    asm.jump_if(Cond::Equal, done);
    asm.store_zero(Mem(RSI, 0));
    asm.store(Q, Mem(RSI, 8), RAX);
    asm.place(done);
    return_zero(asm);
}

/// `int getcpu(unsigned *RDI, unsigned *RSI, void *)`
fn getcpu(asm: &mut Asm, data: i64) {
    let (rdpid, rdtscp, known) = (asm.label(), asm.label(), asm.label());
    let (no_cpu, done, fallback) = (asm.label(), asm.label(), asm.label());
    data_page(asm, data);
    asm.load(D, RAX, field(CPU_MODE));
    asm.cmp_imm(RAX, CPU_MODE_RDPID);
    asm.jump_if(Cond::Equal, rdpid);
    asm.cmp_imm(RAX, CPU_MODE_RDTSCP);
    asm.jump_if(Cond::Equal, rdtscp);
    asm.cmp_imm(RAX, CPU_MODE_LSL);
    asm.jump_if(Cond::NotEqual, fallback);
    asm.mov_imm(RAX, CPU_SELECTOR.into());
    asm.lsl(RAX, RAX);
    asm.jump_if(Cond::Equal, known);
    asm.place(fallback);
    ask_kernel(asm, NR_GETCPU);
    asm.place(rdtscp);
    asm.rdtscp();
    asm.mov(D, RAX, RCX);
    asm.jump(known);
    asm.place(rdpid);
    asm.rdpid_rax();

    asm.place(known);
    asm.test(RDI);
    asm.jump_if(Cond::Equal, no_cpu);
    asm.mov(D, RCX, RAX);
    asm.and_imm(RCX, (1 << CPU_BITS) - 1);
    asm.store(D, Mem(RDI, 0), RCX);
    asm.place(no_cpu);
    asm.test(RSI);
    asm.jump_if(Cond::Equal, done);
    asm.shr(RAX, CPU_BITS as u8);
    asm.store(D, Mem(RSI, 0), RAX);
    asm.place(done);
    return_zero(asm);
}
