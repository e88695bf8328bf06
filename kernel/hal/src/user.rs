//! Copies between the kernel and user memory, in the page table that is loaded.
//!
//! Every instruction here that touches a user address has an entry in the exception table (section
//! `__ex_table`: address of the instruction, address to go on at). When one faults, the trap handler asks
//! the kernel's fault handler (`Hooks::page_fault_in_user_copy`), which may sleep, and then retries
//! the instruction or goes on at its fix-up, where the access has failed. Under spin locks and inside
//! [`nofault`] the kernel is not asked: the access fails at once.
//!
//! Addresses are checked against the end of the user half first, so the kernel's own memory is out of
//! reach by construction. SMAP keeps all other kernel code from touching user memory: only the
//! functions here open it, for the instructions that copy.

use alloc::vec::Vec;
use core::arch::asm;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::addr::{PAGE_SIZE, TASK_SIZE_MAX, is_user_range};
use crate::cpu;
use crate::frame::bytes;

/// The user address is bad: the caller answers EFAULT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// How [`read_cstr`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CStrEnd {
    /// The terminating NUL was found (and is not in the output).
    Found,
    /// No NUL within the limit.
    TooLong,
}

/// Copies `dst.len()` bytes from user address `src`. After a fault `dst` has been written in part.
pub fn read(src: usize, dst: &mut [u8]) -> Result<(), Fault> {
    if read_partial(src, dst) == dst.len() {
        Ok(())
    } else {
        Err(Fault)
    }
}

/// Copies `src` to user address `dst`. After a fault a part has been written.
pub fn write(dst: usize, src: &[u8]) -> Result<(), Fault> {
    if write_partial(dst, src) == src.len() {
        Ok(())
    } else {
        Err(Fault)
    }
}

/// Copies as much as possible from user address `src`; returns how many bytes.
pub fn read_partial(src: usize, dst: &mut [u8]) -> usize {
    // SAFETY: the slice is writable for its length.
    unsafe { copy_in(dst.as_mut_ptr() as usize, src, dst.len()) }
}

/// Copies as much as possible to user address `dst`; returns how many bytes.
pub fn write_partial(dst: usize, src: &[u8]) -> usize {
    // SAFETY: the slice is readable for its length.
    unsafe { copy_out(dst, src.as_ptr() as usize, src.len()) }
}

/// Clears `len` bytes at user address `dst`; returns how many it got to.
pub fn zero(dst: usize, len: usize) -> usize {
    let len = clamp(dst, len);
    // SAFETY: a user range.
    let left = with_access(|| unsafe { raw_zero(dst, len) });
    len - left
}

/// Reads an object.
pub fn read_obj<T: FromBytes>(addr: usize) -> Result<T, Fault> {
    let mut object = MaybeUninit::<T>::uninit();
    let len = size_of::<T>();
    // SAFETY: the object is writable for its size.
    if unsafe { copy_in(object.as_mut_ptr() as usize, addr, len) } != len {
        return Err(Fault);
    }
    // SAFETY: all its bytes have been written, and any bytes make a valid `T`.
    Ok(unsafe { object.assume_init() })
}

/// Reads `count` objects in one go, behind the last element of `out`, which has room for them.
pub fn read_objs<T: FromBytes>(addr: usize, count: usize, out: &mut Vec<T>) -> Result<(), Fault> {
    let spare = out.spare_capacity_mut();
    assert!(count <= spare.len(), "no room for what is to be read");
    let bytes = count * size_of::<T>();
    // SAFETY: the spare room is writable for `count` objects.
    if unsafe { copy_in(spare.as_mut_ptr() as usize, addr, bytes) } != bytes {
        return Err(Fault);
    }
    // SAFETY: all bytes of `count` more elements have been written, and any bytes make a valid `T`.
    unsafe { out.set_len(out.len() + count) };
    Ok(())
}

/// Writes an object.
pub fn write_obj<T: IntoBytes + Immutable>(addr: usize, value: &T) -> Result<(), Fault> {
    write(addr, value.as_bytes())
}

/// Appends the string at `addr` to `out`, without its NUL and at most `max` bytes of it.
pub fn read_cstr(addr: usize, max: usize, out: &mut Vec<u8>) -> Result<CStrEnd, Fault> {
    let mut chunk = [0; 256];
    let mut at = addr;
    let mut left = max;
    // Most strings are short.
    let mut most = 32;
    while left > 0 {
        // Not over the end of the page: the string may end before the next one, which may be bad.
        let want = left.min(most).min(PAGE_SIZE - at % PAGE_SIZE);
        most = (most * 4).min(chunk.len());
        let got = read_partial(at, &mut chunk[..want]);
        if let Some(end) = chunk[..got].iter().position(|&byte| byte == 0) {
            out.extend_from_slice(&chunk[..end]);
            return Ok(CStrEnd::Found);
        }
        if got < want {
            return Err(Fault);
        }
        out.extend_from_slice(&chunk[..got]);
        at = at.checked_add(got).ok_or(Fault)?;
        left -= got;
    }
    Ok(CStrEnd::TooLong)
}

/// Reads a 32-bit word in one piece; it must be aligned.
pub fn load_u32(addr: usize) -> Result<u32, Fault> {
    let addr = word(addr)?;
    let (value, fault): (u32, u32);
    open_access();
    // SAFETY: an aligned user address; a fault goes to the fix-up.
    unsafe {
        asm!(
            "xor {fault:e}, {fault:e}",
            "2: mov {value:e}, dword ptr [{addr}]",
            "3:",
            ".pushsection .text.fixup, \"ax\"",
            "4: mov {fault:e}, 1",
            "xor {value:e}, {value:e}",
            "jmp 3b",
            ".popsection",
            ".pushsection __ex_table, \"a\"",
            ".quad 2b, 4b",
            ".popsection",
            addr = in(reg) addr,
            value = out(reg) value,
            fault = out(reg) fault,
            options(nostack)
        );
    }
    close_access();
    if fault == 0 { Ok(value) } else { Err(Fault) }
}

/// Writes a 32-bit word in one piece; it must be aligned.
pub fn store_u32(addr: usize, value: u32) -> Result<(), Fault> {
    let addr = word(addr)?;
    let fault: u32;
    open_access();
    // SAFETY: an aligned user address; a fault goes to the fix-up.
    unsafe {
        asm!(
            "xor {fault:e}, {fault:e}",
            "2: mov dword ptr [{addr}], {value:e}",
            "3:",
            ".pushsection .text.fixup, \"ax\"",
            "4: mov {fault:e}, 1",
            "jmp 3b",
            ".popsection",
            ".pushsection __ex_table, \"a\"",
            ".quad 2b, 4b",
            ".popsection",
            addr = in(reg) addr,
            value = in(reg) value,
            fault = out(reg) fault,
            options(nostack)
        );
    }
    close_access();
    if fault == 0 { Ok(()) } else { Err(Fault) }
}

/// If the word at `addr` is `old`, replaces it by `new`, atomically; returns what was there.
pub fn cmpxchg_u32(addr: usize, old: u32, new: u32) -> Result<u32, Fault> {
    let addr = word(addr)?;
    let seen: u32;
    let fault: u32;
    open_access();
    // SAFETY: an aligned user address; a fault goes to the fix-up.
    unsafe {
        asm!(
            "xor {fault:e}, {fault:e}",
            "2: lock cmpxchg dword ptr [{addr}], {new:e}",
            "3:",
            ".pushsection .text.fixup, \"ax\"",
            "4: mov {fault:e}, 1",
            "jmp 3b",
            ".popsection",
            ".pushsection __ex_table, \"a\"",
            ".quad 2b, 4b",
            ".popsection",
            addr = in(reg) addr,
            new = in(reg) new,
            fault = out(reg) fault,
            inout("eax") old => seen,
            options(nostack)
        );
    }
    close_access();
    if fault == 0 { Ok(seen) } else { Err(Fault) }
}

/// Replaces the word at `addr` by what `f` makes of it, atomically; `f` may run several times. Inner
/// `Ok`: the value before; inner `Err`: the value for which `f` gave nothing.
pub fn fetch_update_u32(
    addr: usize,
    mut f: impl FnMut(u32) -> Option<u32>,
) -> Result<Result<u32, u32>, Fault> {
    let mut value = load_u32(addr)?;
    loop {
        let Some(new) = f(value) else {
            return Ok(Err(value));
        };
        let seen = cmpxchg_u32(addr, value, new)?;
        if seen == value {
            return Ok(Ok(value));
        }
        value = seen;
    }
}

/// Runs `f`, inside of which accesses to pages that are not ready fail at once instead of waiting for
/// them; `f` must not sleep.
pub fn nofault<R>(f: impl FnOnce() -> R) -> R {
    cpu::preempt_disable();
    let result = f();
    cpu::preempt_enable();
    result
}

/// Whether faults on user memory fail at once here: inside [`nofault`] and under spin locks.
pub(crate) fn nofault_active() -> bool {
    cpu::preempt_count() > 0
}

/// Copies from user memory to `dst`; returns how many bytes it got to.
///
/// # Safety
/// `dst` is kernel memory that is writable for `len` bytes.
pub(crate) unsafe fn copy_in(dst: usize, src: usize, len: usize) -> usize {
    let len = clamp(src, len);
    // SAFETY: the caller answers for `dst`; `src` is a user range.
    len - with_access(|| unsafe { raw_copy(dst, src, len) })
}

/// Copies to user memory from `src`; returns how many bytes it got to.
///
/// # Safety
/// `src` is kernel memory that is readable for `len` bytes.
pub(crate) unsafe fn copy_out(dst: usize, src: usize, len: usize) -> usize {
    let len = clamp(dst, len);
    // SAFETY: the caller answers for `src`; `dst` is a user range.
    len - with_access(|| unsafe { raw_copy(dst, src, len) })
}

/// As much of `[addr, addr + len)` as lies in the user half from `addr` on.
fn clamp(addr: usize, len: usize) -> usize {
    len.min(TASK_SIZE_MAX.saturating_sub(addr))
}

/// Checks the address of an aligned 32-bit word.
fn word(addr: usize) -> Result<usize, Fault> {
    if addr.is_multiple_of(4) && is_user_range(addr, 4) {
        Ok(addr)
    } else {
        Err(Fault)
    }
}

/// Copies with the exception table's help; returns how many bytes are left.
///
/// # Safety
/// One side is a user range, the other kernel memory that the caller may access for `len` bytes.
#[inline(never)]
unsafe fn raw_copy(dst: usize, src: usize, len: usize) -> usize {
    let (mut dst, mut src, mut len) = (dst, src, len);
    if bytes::by_loop(len) {
        let tail = len % bytes::BLOCK;
        // SAFETY: as the caller promises.
        len = unsafe { raw_copy_blocks(&mut dst, &mut src, len - tail) } + tail;
    }
    if len < bytes::SHORT {
        // SAFETY: as the caller promises.
        return unsafe { raw_copy_words(dst, src, len) };
    }
    let left;
    // SAFETY: as the caller promises; a fault on the user side goes to a fix-up. The fix-up of the
    // words goes on with the bytes, to find the exact place.
    unsafe {
        asm!(
            "2: rep movsq",
            "mov rcx, {tail}",
            "3: rep movsb",
            "4:",
            ".pushsection .text.fixup, \"ax\"",
            "5: lea rcx, [{tail} + rcx * 8]",
            "jmp 3b",
            ".popsection",
            ".pushsection __ex_table, \"a\"",
            ".quad 2b, 5b",
            ".quad 3b, 4b",
            ".popsection",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => left,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags)
        );
    }
    left
}

/// Copies word by word, then byte by byte; returns how many bytes are left. After a fault in a word the bytes before the
/// bad one are still copied.
///
/// # Safety
/// As for [`raw_copy`].
#[inline(always)]
unsafe fn raw_copy_words(dst: usize, src: usize, len: usize) -> usize {
    let left;
    // SAFETY: as the caller promises; a fault on the user side goes on with the bytes, or ends there.
    unsafe {
        asm!(
            "cmp rcx, 8",
            "jb 22f",
            "20: mov {word}, [rsi]",
            "21: mov [rdi], {word}",
            "add rsi, 8",
            "add rdi, 8",
            "sub rcx, 8",
            "cmp rcx, 8",
            "jae 20b",
            "22: test ecx, ecx",
            "jz 25f",
            "23: movzx {word:e}, byte ptr [rsi]",
            "24: mov [rdi], {word:l}",
            "inc rsi",
            "inc rdi",
            "dec rcx",
            "jmp 22b",
            "25:",
            ".pushsection __ex_table, \"a\"",
            ".quad 20b, 22b, 21b, 22b, 23b, 25b, 24b, 25b",
            ".popsection",
            word = out(reg_abcd) _,
            inout("rcx") len => left,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack)
        );
    }
    left
}

/// Copies `len` bytes, a positive multiple of [`bytes::BLOCK`], block by block, up to the first that
/// faults; moves the addresses on and returns how many bytes are left. A block may be half copied.
///
/// # Safety
/// As for [`raw_copy`].
unsafe fn raw_copy_blocks(dst: &mut usize, src: &mut usize, len: usize) -> usize {
    let left;
    // SAFETY: as the caller promises; a fault on the user side goes to the end of the loop.
    unsafe {
        asm!(
            "20: mov rax, [rsi]",
            "21: mov rdx, [rsi + 8]",
            "22: mov r8, [rsi + 16]",
            "23: mov r9, [rsi + 24]",
            "24: mov [rdi], rax",
            "25: mov [rdi + 8], rdx",
            "26: mov [rdi + 16], r8",
            "27: mov [rdi + 24], r9",
            "28: mov rax, [rsi + 32]",
            "29: mov rdx, [rsi + 40]",
            "30: mov r8, [rsi + 48]",
            "31: mov r9, [rsi + 56]",
            "32: mov [rdi + 32], rax",
            "33: mov [rdi + 40], rdx",
            "34: mov [rdi + 48], r8",
            "35: mov [rdi + 56], r9",
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 20b",
            "36:",
            ".pushsection __ex_table, \"a\"",
            ".quad 20b, 36b, 21b, 36b, 22b, 36b, 23b, 36b, 24b, 36b, 25b, 36b, 26b, 36b, 27b, 36b",
            ".quad 28b, 36b, 29b, 36b, 30b, 36b, 31b, 36b, 32b, 36b, 33b, 36b, 34b, 36b, 35b, 36b",
            ".popsection",
            inout("rcx") len => left,
            inout("rdi") *dst,
            inout("rsi") *src,
            out("rax") _,
            out("rdx") _,
            out("r8") _,
            out("r9") _,
            options(nostack)
        );
    }
    left
}

/// Clears with the exception table's help; returns how many bytes are left.
///
/// # Safety
/// `[dst, dst + len)` is a user range.
#[inline(never)]
unsafe fn raw_zero(dst: usize, len: usize) -> usize {
    let left;
    // SAFETY: a user range; a fault goes to a fix-up.
    unsafe {
        asm!(
            "2: rep stosq",
            "mov rcx, {tail}",
            "3: rep stosb",
            "4:",
            ".pushsection .text.fixup, \"ax\"",
            "5: lea rcx, [{tail} + rcx * 8]",
            "jmp 3b",
            ".popsection",
            ".pushsection __ex_table, \"a\"",
            ".quad 2b, 5b",
            ".quad 3b, 4b",
            ".popsection",
            tail = in(reg) len & 7,
            in("rax") 0,
            inout("rcx") len >> 3 => left,
            inout("rdi") dst => _,
            options(nostack, preserves_flags)
        );
    }
    left
}

/// Whether the CPUs have SMAP, and with it the STAC and CLAC instructions.
static SMAP: AtomicBool = AtomicBool::new(false);

/// Finds out about SMAP. Runs once, before the first copy.
pub(crate) fn init() {
    SMAP.store(cpu::cpuid(7, 0)[1] & (1 << 20) != 0, Ordering::Relaxed);
}

fn with_access<R>(f: impl FnOnce() -> R) -> R {
    open_access();
    let result = f();
    close_access();
    result
}

/// Lets the kernel touch user pages until [`close_access`].
#[inline(always)]
fn open_access() {
    if SMAP.load(Ordering::Relaxed) {
        // SAFETY: only changes the AC flag, which matters to SMAP alone in kernel mode.
        unsafe { asm!("stac", options(nostack)) };
    }
}

#[inline(always)]
fn close_access() {
    if SMAP.load(Ordering::Relaxed) {
        // SAFETY: as above.
        unsafe { asm!("clac", options(nostack)) };
    }
}

/// An entry of the exception table.
#[repr(C)]
struct ExceptionEntry {
    at: u64,
    resume: u64,
}

unsafe extern "C" {
    static __start___ex_table: ExceptionEntry;
    static __stop___ex_table: ExceptionEntry;
}

/// Where to go on after a fault at `rip`, if that instruction may fault.
pub(crate) fn fixup(rip: usize) -> Option<usize> {
    let start = &raw const __start___ex_table;
    let bytes = (&raw const __stop___ex_table).addr() - start.addr();
    // SAFETY: the linker puts the whole table between the two symbols; it is constant.
    let table = unsafe { core::slice::from_raw_parts(start, bytes / size_of::<ExceptionEntry>()) };
    table
        .iter()
        .find(|entry| entry.at == rip as u64)
        .map(|entry| entry.resume as usize)
}
