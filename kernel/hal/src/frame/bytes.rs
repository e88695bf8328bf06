//! Moving and filling bytes by assembly.
//!
//! Frames may be written by user programs on other CPUs and by devices at any time, which plain Rust
//! copies may not tolerate; moves in assembly do. Counts are in bytes.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::addr::PAGE_SIZE;
use crate::{cpu, mem};

/// Whether string instructions are slower than loops: so on the interpreting emulator of QEMU (TCG),
/// which takes them apart into single moves. Set once by [`init`].
static SLOW_STRINGS: AtomicBool = AtomicBool::new(false);

/// Bytes that one round of the loops moves.
pub(crate) const BLOCK: usize = 64;

/// Below this many bytes string instructions take longer to start than a loop takes in all.
pub(crate) const SHORT: usize = 256;

/// Finds out how to move bytes on this machine.
pub(crate) fn init() {
    let under_hypervisor = cpu::cpuid(1, 0)[2] & (1 << 31) != 0;
    let [_, b, c, d] = cpu::cpuid(0x4000_0000, 0);
    let name = [b"TCGT", b"CGTC", b"GTCG"].map(|part| u32::from_le_bytes(*part));
    let is_tcg = under_hypervisor && [b, c, d] == name;
    SLOW_STRINGS.store(is_tcg, Ordering::Relaxed);
    if is_tcg {
        crate::mem::avoid_strings();
    }
}

/// Whether to move `len` bytes by a loop.
#[inline]
pub(crate) fn by_loop(len: usize) -> bool {
    len >= BLOCK && SLOW_STRINGS.load(Ordering::Relaxed)
}

/// Copies `len` bytes.
///
/// # Safety
/// `src` is readable and `dst` writable for `len` bytes; they do not overlap. No Rust reference to
/// the destination is alive.
#[inline]
pub(crate) unsafe fn copy(dst: usize, src: usize, len: usize) {
    if len < SHORT {
        // SAFETY: as the caller promises.
        unsafe { mem::keel_copy(dst, src, len) };
        return;
    }
    let (mut dst, mut src, mut len) = (dst, src, len);
    if by_loop(len) {
        // SAFETY: as the caller promises: whole blocks first.
        unsafe { copy_blocks(&mut dst, &mut src, len & !(BLOCK - 1)) };
        len %= BLOCK;
    }
    // SAFETY: as the caller promises; DF is clear by the ABI.
    unsafe {
        asm!(
            "rep movsq",
            "mov rcx, {tail}",
            "rep movsb",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => _,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies `len` bytes, a positive multiple of [`BLOCK`], and moves both addresses on.
///
/// # Safety
/// As for [`copy`].
unsafe fn copy_blocks(dst: &mut usize, src: &mut usize, len: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        asm!(
            "2:",
            "mov rax, [rsi]",
            "mov rdx, [rsi + 8]",
            "mov r8, [rsi + 16]",
            "mov r9, [rsi + 24]",
            "mov [rdi], rax",
            "mov [rdi + 8], rdx",
            "mov [rdi + 16], r8",
            "mov [rdi + 24], r9",
            "mov rax, [rsi + 32]",
            "mov rdx, [rsi + 40]",
            "mov r8, [rsi + 48]",
            "mov r9, [rsi + 56]",
            "mov [rdi + 32], rax",
            "mov [rdi + 40], rdx",
            "mov [rdi + 48], r8",
            "mov [rdi + 56], r9",
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 2b",
            inout("rcx") len => _,
            inout("rdi") *dst,
            inout("rsi") *src,
            out("rax") _,
            out("rdx") _,
            out("r8") _,
            out("r9") _,
            options(nostack)
        );
    }
}

/// Sets `len` bytes to `byte`.
///
/// # Safety
/// `dst` is writable for `len` bytes; no Rust reference to them is alive.
#[inline]
pub(crate) unsafe fn fill(dst: usize, byte: u8, len: usize) {
    if len < SHORT {
        // SAFETY: as the caller promises.
        unsafe { mem::keel_fill(dst, i32::from(byte), len) };
        return;
    }
    let word = u64::from(byte) * 0x0101_0101_0101_0101;
    let (mut dst, mut len) = (dst, len);
    if by_loop(len) {
        // SAFETY: as the caller promises: whole blocks first.
        unsafe { fill_blocks(&mut dst, word, len & !(BLOCK - 1)) };
        len %= BLOCK;
    }
    // SAFETY: as the caller promises; DF is clear by the ABI.
    unsafe {
        asm!(
            "rep stosq",
            "mov rcx, {tail}",
            "rep stosb",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => _,
            inout("rdi") dst => _,
            in("rax") word,
            options(nostack, preserves_flags)
        );
    }
}

/// Sets `len` bytes, a positive multiple of [`BLOCK`], and moves the address on.
///
/// # Safety
/// As for [`fill`].
unsafe fn fill_blocks(dst: &mut usize, word: u64, len: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        asm!(
            "2:",
            "mov [rdi], rax",
            "mov [rdi + 8], rax",
            "mov [rdi + 16], rax",
            "mov [rdi + 24], rax",
            "mov [rdi + 32], rax",
            "mov [rdi + 40], rax",
            "mov [rdi + 48], rax",
            "mov [rdi + 56], rax",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 2b",
            inout("rcx") len => _,
            inout("rdi") *dst,
            in("rax") word,
            options(nostack)
        );
    }
}

/// Fills `pages` pages with zeroes.
///
/// # Safety
/// As for [`fill`]; page-aligned.
#[inline]
pub(crate) unsafe fn zero_pages(dst: usize, pages: usize) {
    // SAFETY: passed on.
    unsafe { fill(dst, 0, pages * PAGE_SIZE) }
}

/// Whether `len` bytes (a multiple of 8) are all zero.
///
/// # Safety
/// `src` is readable for `len` bytes and aligned to 8.
pub(crate) unsafe fn is_zero(src: usize, len: usize) -> bool {
    let mut at = src;
    while at < src + len {
        // SAFETY: inside the range the caller vouches for.
        if unsafe { (at as *const u64).read_volatile() } != 0 {
            return false;
        }
        at += 8;
    }
    true
}
