//! Moving and filling bytes by assembly.
//!
//! Frames may be written by user programs on other CPUs and by devices at any time, which plain Rust
//! copies may not tolerate; string instructions in assembly do. Counts are in bytes.

use core::arch::asm;

use crate::addr::PAGE_SIZE;

/// Copies `len` bytes.
///
/// # Safety
/// `src` is readable and `dst` writable for `len` bytes; they do not overlap. No Rust reference to
/// the destination is alive.
#[inline]
pub(crate) unsafe fn copy(dst: usize, src: usize, len: usize) {
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

/// Sets `len` bytes to `byte`.
///
/// # Safety
/// `dst` is writable for `len` bytes; no Rust reference to them is alive.
#[inline]
pub(crate) unsafe fn fill(dst: usize, byte: u8, len: usize) {
    // SAFETY: as the caller promises; DF is clear by the ABI.
    unsafe {
        asm!(
            "rep stosq",
            "mov rcx, {tail}",
            "rep stosb",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => _,
            inout("rdi") dst => _,
            in("rax") u64::from(byte) * 0x0101_0101_0101_0101,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies one page.
///
/// # Safety
/// As for [`copy`] with `len` a page; both page-aligned.
#[inline]
pub(crate) unsafe fn copy_page(dst: usize, src: usize) {
    // SAFETY: passed on.
    unsafe { copy(dst, src, PAGE_SIZE) }
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
