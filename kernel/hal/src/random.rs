//! Seed material from the CPU: RDSEED, RDRAND, and the jitter of the time-stamp counter.
//!
//! This only feeds the kernel's generator; it is not one itself.

use core::arch::asm;
use core::arch::x86_64::_rdtsc;

use crate::cpu;

/// Fills `out` with seed material; returns whether a hardware generator gave all of it. Without one it
/// is the timing jitter of memory accesses, which is weak on virtual machines.
pub fn seed(out: &mut [u8]) -> bool {
    let mut hardware = true;
    for chunk in out.chunks_mut(8) {
        let word = match hardware_word() {
            Some(word) => word,
            None => {
                hardware = false;
                jitter_word()
            }
        };
        chunk.copy_from_slice(&word.to_ne_bytes()[..chunk.len()]);
    }
    hardware
}

/// Tries of a generator that may be drained for a moment (Intel SDM volume 1, 7.3.17).
const TRIES: usize = 10;

fn hardware_word() -> Option<u64> {
    let has_rdseed = cpu::cpuid(7, 0)[1] & (1 << 18) != 0;
    let has_rdrand = cpu::cpuid(1, 0)[2] & (1 << 30) != 0;
    let seeded = has_rdseed
        .then(|| (0..TRIES).find_map(|_| rdseed()))
        .flatten();
    seeded.or_else(|| {
        has_rdrand
            .then(|| (0..TRIES).find_map(|_| rdrand()))
            .flatten()
    })
}

fn rdseed() -> Option<u64> {
    let (word, ok): (u64, u8);
    // SAFETY: the CPU has the instruction; it only writes its operand and flags.
    unsafe {
        asm!("rdseed {}", "setc {}", out(reg) word, out(reg_byte) ok, options(nostack, nomem))
    };
    (ok != 0).then_some(word)
}

fn rdrand() -> Option<u64> {
    let (word, ok): (u64, u8);
    // SAFETY: the CPU has the instruction; it only writes its operand and flags.
    unsafe {
        asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) ok, options(nostack, nomem))
    };
    (ok != 0).then_some(word)
}

/// Folds 64 time differences of work that goes through memory into a word.
fn jitter_word() -> u64 {
    let mut scratch = [0_u64; 64];
    let mut word = 0_u64;
    let mut last = tsc();
    for round in 0..64 {
        let at = (word as usize ^ round) % scratch.len();
        scratch[at] = core::hint::black_box(scratch[at].wrapping_add(last));
        let now = tsc();
        word = (word.rotate_left(7) ^ now.wrapping_sub(last)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        last = now;
    }
    word ^ scratch.iter().fold(0, |sum, x| sum ^ x)
}

fn tsc() -> u64 {
    // SAFETY: reads the time-stamp counter, which every 64-bit CPU has.
    unsafe { _rdtsc() }
}
