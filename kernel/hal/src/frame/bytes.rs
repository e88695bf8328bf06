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
pub mod exp {
    use core::arch::asm;
    pub fn zero_unrolled(dst: usize) { unsafe { asm!(
        "2:", "mov [rdi], rax","mov [rdi+8], rax","mov [rdi+16], rax","mov [rdi+24], rax","mov [rdi+32], rax","mov [rdi+40], rax","mov [rdi+48], rax","mov [rdi+56], rax",
        "add rdi, 64","sub rcx, 64","jnz 2b", inout("rcx") 4096usize=>_, inout("rdi") dst=>_, in("rax") 0usize, options(nostack)); } }
    pub fn copy_unrolled(dst: usize, src: usize) { unsafe { asm!(
        "2:",
        "mov rax,[rsi]","mov rdx,[rsi+8]","mov r8,[rsi+16]","mov r9,[rsi+24]","mov [rdi],rax","mov [rdi+8],rdx","mov [rdi+16],r8","mov [rdi+24],r9",
        "mov rax,[rsi+32]","mov rdx,[rsi+40]","mov r8,[rsi+48]","mov r9,[rsi+56]","mov [rdi+32],rax","mov [rdi+40],rdx","mov [rdi+48],r8","mov [rdi+56],r9",
        "add rdi,64","add rsi,64","sub rcx,64","jnz 2b", inout("rcx") 4096usize=>_, inout("rdi") dst=>_, inout("rsi") src=>_, out("rax") _, out("rdx") _, out("r8") _, out("r9") _, options(nostack)); } }
    pub fn zero_rep(dst: usize) { unsafe { super::fill(dst,0,4096) } }
    pub fn zero_repb(dst: usize) { unsafe { asm!("rep stosb", inout("rcx") 4096usize=>_, inout("rdi") dst=>_, in("rax") 0usize, options(nostack)); } }
    pub fn copy_rep(dst: usize, src: usize) { unsafe { super::copy(dst,src,4096) } }
    pub fn pushf() { unsafe { asm!("pushfq","pop {}", out(reg) _) } }
    pub fn clisti() { unsafe { asm!("cli","sti") } }
    pub fn gsload() { unsafe { asm!("mov {0:e}, gs:[0x24]", out(reg) _) } }
    pub fn stac() { unsafe { asm!("stac","clac") } }
    pub fn lockadd(p: usize) { unsafe { asm!("lock add qword ptr [{0}], 1", in(reg) p) } }
    pub fn invlpg(p: usize) { unsafe { asm!("invlpg [{0}]", in(reg) p) } }
    pub fn cr3() { unsafe { asm!("mov {0}, cr3","mov cr3,{0}", out(reg) _) } }
    pub fn rdtsc() { unsafe { asm!("rdtsc", out("rax") _, out("rdx") _) } }
    pub fn id() { core::hint::black_box(crate::cpu::id()); }
}
