//! `memcpy`, `memmove`, `memset`, `memcmp` and `bcmp`, which compiled Rust calls.
//!
//! The versions that come with the compiler for this target use string instructions whatever the length, which cost
//! tens of cycles to start on processors and far more under emulation. Most moves in the kernel are of a few words: here
//! those are plain loads and stores, the last of which overlaps the one before instead of counting bytes. Only long ones
//! use string instructions, and those only where they are fast ([`crate::frame::bytes`]). General registers alone are
//! used: the others belong to user mode.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU8, Ordering};

/// From this length on string instructions are worth their start.
const LONG: usize = 512;

/// 1 where string instructions are slow at any length.
static AVOID_STRINGS: AtomicU8 = AtomicU8::new(0);

/// Never uses string instructions from now on.
pub(crate) fn avoid_strings() {
    AVOID_STRINGS.store(1, Ordering::Relaxed);
}

unsafe extern "C" {
    /// `memcpy` by a name of which the compiler assumes nothing: for memory that others may write meanwhile.
    pub(crate) fn keel_copy(dst: usize, src: usize, len: usize) -> usize;
    /// `memset` likewise.
    pub(crate) fn keel_fill(dst: usize, byte: i32, len: usize) -> usize;
}

global_asm!(
    r#"
.text
.balign 32
.global memcpy
.global keel_copy
memcpy:
keel_copy:
    mov rax, rdi
    cmp rdx, 16
    jbe 2f
    cmp rdx, 32
    ja 5f
    mov rcx, [rsi]
    mov r8, [rsi + 8]
    mov r9, [rsi + rdx - 16]
    mov r10, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + 8], r8
    mov [rdi + rdx - 16], r9
    mov [rdi + rdx - 8], r10
    ret
2:  cmp edx, 8
    jb 3f
    mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
3:  cmp edx, 4
    jb 4f
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
4:  test edx, edx
    jz 6f
    movzx ecx, byte ptr [rsi]
    movzx r8d, byte ptr [rsi + rdx - 1]
    mov [rdi], cl
    mov [rdi + rdx - 1], r8b
    cmp edx, 3
    jb 6f
    movzx ecx, byte ptr [rsi + 1]
    mov [rdi + 1], cl
6:  ret
5:  cmp rdx, {long}
    jae 8f
    /* 32 bytes at a time while more than 32 are left, then the last 32 */
7:  mov rcx, [rsi]
    mov r8, [rsi + 8]
    mov r9, [rsi + 16]
    mov r10, [rsi + 24]
    mov [rdi], rcx
    mov [rdi + 8], r8
    mov [rdi + 16], r9
    mov [rdi + 24], r10
    add rsi, 32
    add rdi, 32
    sub rdx, 32
    cmp rdx, 32
    ja 7b
    mov rcx, [rsi + rdx - 32]
    mov r8, [rsi + rdx - 24]
    mov r9, [rsi + rdx - 16]
    mov r10, [rsi + rdx - 8]
    mov [rdi + rdx - 32], rcx
    mov [rdi + rdx - 24], r8
    mov [rdi + rdx - 16], r9
    mov [rdi + rdx - 8], r10
    ret
8:  cmp byte ptr [rip + {avoid}], 0
    jne 7b
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
    rep movsq
    mov ecx, edx
    rep movsb
    ret

.balign 32
.global memmove
memmove:
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jb 4f                       /* the destination begins inside the source */
    neg rcx
    cmp rcx, rdx
    jae memcpy                  /* apart */
    mov rax, rdi
    cmp rdx, 8
    jb 3f
2:  mov rcx, [rsi]
    mov [rdi], rcx
    add rsi, 8
    add rdi, 8
    sub rdx, 8
    cmp rdx, 8
    jae 2b
3:  test rdx, rdx
    jz 7f
    movzx ecx, byte ptr [rsi]
    mov [rdi], cl
    inc rsi
    inc rdi
    dec rdx
    jmp 3b
4:  mov rax, rdi
    cmp rdx, 8
    jb 6f
5:  mov rcx, [rsi + rdx - 8]
    mov [rdi + rdx - 8], rcx
    sub rdx, 8
    cmp rdx, 8
    jae 5b
6:  test rdx, rdx
    jz 7f
    movzx ecx, byte ptr [rsi + rdx - 1]
    mov [rdi + rdx - 1], cl
    dec rdx
    jmp 6b
7:  ret

.balign 32
.global memset
.global keel_fill
memset:
keel_fill:
    mov r9, rdi
    movzx eax, sil
    movabs rcx, 0x0101010101010101
    imul rax, rcx
    cmp rdx, 16
    jbe 2f
    cmp rdx, 32
    ja 5f
    mov [rdi], rax
    mov [rdi + 8], rax
    mov [rdi + rdx - 16], rax
    mov [rdi + rdx - 8], rax
    mov rax, r9
    ret
2:  cmp edx, 8
    jb 3f
    mov [rdi], rax
    mov [rdi + rdx - 8], rax
    mov rax, r9
    ret
3:  cmp edx, 4
    jb 4f
    mov [rdi], eax
    mov [rdi + rdx - 4], eax
    mov rax, r9
    ret
4:  test edx, edx
    jz 6f
    mov [rdi], al
    mov [rdi + rdx - 1], al
    cmp edx, 3
    jb 6f
    mov [rdi + 1], al
6:  mov rax, r9
    ret
5:  cmp rdx, {long}
    jae 8f
7:  mov [rdi], rax
    mov [rdi + 8], rax
    mov [rdi + 16], rax
    mov [rdi + 24], rax
    add rdi, 32
    sub rdx, 32
    cmp rdx, 32
    ja 7b
    mov [rdi + rdx - 32], rax
    mov [rdi + rdx - 24], rax
    mov [rdi + rdx - 16], rax
    mov [rdi + rdx - 8], rax
    mov rax, r9
    ret
8:  cmp byte ptr [rip + {avoid}], 0
    jne 7b
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
    rep stosq
    mov ecx, edx
    rep stosb
    mov rax, r9
    ret

.balign 32
.global memcmp
.global bcmp
memcmp:
bcmp:
    cmp rdx, 8
    jb 3f
2:  mov rax, [rdi]
    mov rcx, [rsi]
    cmp rax, rcx
    jne 5f
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    cmp rdx, 8
    jae 2b
3:  test rdx, rdx
    jz 4f
    movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    sub eax, ecx
    jne 6f
    inc rdi
    inc rsi
    dec rdx
    jmp 3b
4:  xor eax, eax
6:  ret
5:  /* the words as big-endian numbers compare as their bytes do */
    bswap rax
    bswap rcx
    cmp rax, rcx
    sbb eax, eax
    or eax, 1
    ret
"#,
    long = const LONG,
    avoid = sym AVOID_STRINGS,
);
