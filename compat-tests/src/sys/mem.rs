//! Memory that the compiler must not reason about: pages a case maps, protects, shares and loses.

use std::sync::atomic::{AtomicU32, AtomicU64};

/// The page size of x86_64.
pub const PAGE: usize = 4096;

/// An address that is never mapped in a process (below `vm.mmap_min_addr` and unaligned on purpose).
pub const BAD: *mut u8 = std::ptr::without_provenance_mut(8);

/// Reads one byte at `addr`; faults where nothing is mapped, which is what some cases want.
pub fn peek(addr: usize) -> u8 {
    // SAFETY: a volatile byte read has no alignment or aliasing demand; a fault ends the case's process.
    unsafe { std::ptr::with_exposed_provenance::<u8>(addr).read_volatile() }
}

/// Writes one byte at `addr`; faults where it may not.
pub fn poke(addr: usize, value: u8) {
    // SAFETY: as `peek`; the caller owns the mapping at `addr` or means to fault.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(addr).write_volatile(value) }
}

/// Reads `len` bytes at `addr`.
pub fn peek_bytes(addr: usize, len: usize) -> Vec<u8> {
    (addr..addr + len).map(peek).collect()
}

/// Writes `bytes` at `addr`.
pub fn poke_bytes(addr: usize, bytes: &[u8]) {
    for (i, b) in bytes.iter().enumerate() {
        poke(addr + i, *b);
    }
}

/// Calls the machine code at `addr` as a C function without arguments that answers an `int`.
pub fn call_code(addr: usize) -> i32 {
    // SAFETY: the caller placed a function there (or means to fault); it takes nothing and keeps the ABI.
    unsafe {
        let f: extern "C" fn() -> i32 = std::mem::transmute(addr);
        f()
    }
}

/// An all-zero `T`. For the plain C structures of the system-call interface.
pub fn zeroed<T: Copy + 'static>() -> T {
    // SAFETY: used with UAPI structures of integers, arrays and nullable pointers, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

/// The bytes of a plain structure.
pub fn bytes_of<T: Copy + 'static>(value: &T) -> &[u8] {
    // SAFETY: reads the object's own storage; the structures used have no padding that matters to a case.
    unsafe { std::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}

/// A plain structure from the front of `bytes`.
#[track_caller]
pub fn from_bytes<T: Copy + 'static>(bytes: &[u8]) -> T {
    assert!(
        bytes.len() >= size_of::<T>(),
        "short structure: {} bytes",
        bytes.len()
    );
    // SAFETY: the length was checked, the read is unaligned, and `T` is a plain UAPI structure.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

/// An anonymous private mapping of `len` bytes with protection `prot`.
#[track_caller]
pub fn map_anon(len: usize, prot: i32) -> usize {
    crate::sc!(
        mmap,
        0,
        len,
        prot,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
        0
    )
    .addr()
}

/// A mapping of `len` bytes of `fd` from `off`.
#[track_caller]
pub fn map_fd(fd: i32, len: usize, prot: i32, flags: i32, off: i64) -> usize {
    crate::sc!(mmap, 0, len, prot, flags, fd, off).addr()
}

/// One page shared with all later children, as 32-bit words.
#[track_caller]
pub fn shared_words() -> &'static [AtomicU32] {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let addr = map_fd(-1, PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, 0);
    // SAFETY: a fresh, page-aligned, zeroed mapping that is never unmapped; atomics may be shared.
    unsafe {
        std::slice::from_raw_parts(
            std::ptr::with_exposed_provenance(addr),
            PAGE / size_of::<u32>(),
        )
    }
}

/// The 32-bit word at `addr`, which the caller has mapped.
pub fn word_at(addr: usize) -> &'static AtomicU32 {
    // SAFETY: the caller mapped `addr`, aligned to 4 bytes, for the rest of the case.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU32>(addr) }
}

/// The 64-bit word at `addr`, which the caller has mapped.
pub fn long_at(addr: usize) -> &'static AtomicU64 {
    // SAFETY: the caller mapped `addr`, aligned to 8 bytes, for the rest of the case.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(addr) }
}
