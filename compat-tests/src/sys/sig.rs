//! Signal handlers that count, record and time, and the faults that cases provoke.

use super::{exit, fork};
use crate::sc;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicUsize, Ordering::SeqCst};

static HITS: [AtomicU32; 65] = [const { AtomicU32::new(0) }; 65];
static CODE: [AtomicI32; 65] = [const { AtomicI32::new(0) }; 65];
static PID: [AtomicI32; 65] = [const { AtomicI32::new(0) }; 65];
static VALUE: [AtomicI64; 65] = [const { AtomicI64::new(0) }; 65];
static ADDR: [AtomicUsize; 65] = [const { AtomicUsize::new(0) }; 65];
static STACK: AtomicUsize = AtomicUsize::new(0);
static THREAD: AtomicI32 = AtomicI32::new(0);
static ORDER: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];
static ORDER_LEN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn record(sig: i32, info: *mut libc::siginfo_t, _ctx: *mut libc::c_void) {
    let i = sig as usize % 65;
    let local = 0u8;
    STACK.store((&raw const local).addr(), SeqCst);
    THREAD.store(sc!(gettid).ok() as i32, SeqCst);
    // SAFETY: the kernel passes a valid siginfo to a SA_SIGINFO handler; the fields are read as integers,
    // which each member of the union is.
    unsafe {
        if !info.is_null() {
            CODE[i].store((*info).si_code, SeqCst);
            PID[i].store((*info).si_pid(), SeqCst);
            ADDR[i].store((*info).si_addr().addr(), SeqCst);
            VALUE[i].store((*info).si_value().sival_ptr.addr() as i64, SeqCst);
        }
    }
    let at = ORDER_LEN.fetch_add(1, SeqCst);
    if let Some(slot) = ORDER.get(at) {
        slot.store(sig, SeqCst);
    }
    HITS[i].fetch_add(1, SeqCst);
}

/// Installs the recording handler for `sig` with extra `sa_flags` (SA_SIGINFO is always set).
#[track_caller]
pub fn on_signal(sig: i32, flags: i32) {
    on_signal_masking(sig, flags, 0);
}

/// Like [`on_signal`], with the signals of `mask` (bit n-1 for signal n) blocked in the handler.
#[track_caller]
pub fn on_signal_masking(sig: i32, flags: i32, mask: u64) {
    let mut act: libc::sigaction = super::zeroed();
    act.sa_sigaction = record as *const () as usize;
    act.sa_flags = flags | libc::SA_SIGINFO;
    // SAFETY: `act` is a valid structure; the handler is async-signal-safe (atomics and gettid only).
    let r = unsafe {
        (&raw mut act.sa_mask).cast::<u64>().write(mask);
        libc::sigaction(sig, &act, std::ptr::null_mut())
    };
    assert_eq!(
        r,
        0,
        "sigaction({sig}): {}",
        std::io::Error::last_os_error()
    );
}

/// Sets `sig` to `SIG_DFL` or `SIG_IGN`.
#[track_caller]
pub fn set_disposition(sig: i32, disposition: usize) {
    let mut act: libc::sigaction = super::zeroed();
    act.sa_sigaction = disposition;
    // SAFETY: a valid structure with one of the two reserved handler values.
    let r = unsafe { libc::sigaction(sig, &act, std::ptr::null_mut()) };
    assert_eq!(
        r,
        0,
        "sigaction({sig}): {}",
        std::io::Error::last_os_error()
    );
}

/// How often the recording handler ran for `sig`.
pub fn hits(sig: i32) -> u32 {
    HITS[sig as usize].load(SeqCst)
}
/// `si_code` of the last `sig`.
pub fn last_code(sig: i32) -> i32 {
    CODE[sig as usize].load(SeqCst)
}
/// `si_pid` of the last `sig`.
pub fn last_pid(sig: i32) -> i32 {
    PID[sig as usize].load(SeqCst)
}
/// `si_addr` of the last `sig`.
pub fn last_addr(sig: i32) -> usize {
    ADDR[sig as usize].load(SeqCst)
}
/// `si_value` of the last `sig`.
pub fn last_value(sig: i32) -> i64 {
    VALUE[sig as usize].load(SeqCst)
}
/// An address on the stack that the last handler ran on.
pub fn last_stack() -> usize {
    STACK.load(SeqCst)
}
/// The thread that the last handler ran on.
pub fn last_thread() -> i32 {
    THREAD.load(SeqCst)
}
/// The signals handled so far, in order.
pub fn order() -> Vec<i32> {
    let n = ORDER_LEN.load(SeqCst).min(ORDER.len());
    ORDER[..n].iter().map(|s| s.load(SeqCst)).collect()
}

/// Bit of `sig` in a kernel signal set.
pub const fn bit(sig: i32) -> u64 {
    1 << (sig - 1)
}

/// `rt_sigprocmask` with a 64-bit set; answers the previous set.
#[track_caller]
pub fn sigmask(how: i32, set: u64) -> u64 {
    let mut old = 0u64;
    sc!(rt_sigprocmask, how, &raw const set, &raw mut old, 8).is(0);
    old
}

/// Pending signals of the thread and process.
#[track_caller]
pub fn pending() -> u64 {
    let mut set = 0u64;
    sc!(rt_sigpending, &raw mut set, 8).is(0);
    set
}

/// A fault that a child took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The signal.
    pub sig: i32,
    /// Its `si_code`.
    pub code: i32,
    /// Its `si_addr`.
    pub addr: usize,
}

static FAULT_FD: AtomicI32 = AtomicI32::new(-1);

extern "C" fn report_fault(sig: i32, info: *mut libc::siginfo_t, _ctx: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo; `si_addr` is what fault signals carry.
    let (code, addr) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    let words = [sig as u64, code as u64, addr as u64];
    let _ = sc!(write, FAULT_FD.load(SeqCst), words, 24);
    exit(0);
}

/// Runs `f` in a child and answers the fault it took; fails the case when it took none.
#[track_caller]
pub fn fault_of(f: impl FnOnce()) -> Fault {
    let mut ends = [0i32; 2];
    sc!(pipe2, &mut ends, 0).is(0);
    let child = fork(|| {
        FAULT_FD.store(ends[1], SeqCst);
        for sig in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
        ] {
            let mut act: libc::sigaction = super::zeroed();
            act.sa_sigaction = report_fault as *const () as usize;
            act.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            // SAFETY: valid structure; the handler leaves the process.
            unsafe { libc::sigaction(sig, &act, std::ptr::null_mut()) };
        }
        f();
        exit(3);
    });
    let status = child.wait();
    assert_eq!(
        status.code(),
        Some(0),
        "expected a fault, but the child {status:?}"
    );
    let mut words = [0u64; 3];
    sc!(read, ends[0], &mut words, 24).is(24);
    let _ = (sc!(close, ends[0]), sc!(close, ends[1]));
    Fault {
        sig: words[0] as i32,
        code: words[1] as i32,
        addr: words[2] as usize,
    }
}

/// Executes `ud2`.
pub fn execute_ud2() {
    // SAFETY: raises SIGILL, which the caller expects.
    unsafe { std::arch::asm!("ud2") }
}
/// Executes `int3`.
pub fn execute_int3() {
    // SAFETY: raises SIGTRAP, which the caller expects.
    unsafe { std::arch::asm!("int3") }
}
/// Divides by zero.
pub fn execute_div_zero() {
    // SAFETY: raises SIGFPE, which the caller expects.
    unsafe {
        std::arch::asm!("xor ecx, ecx", "mov eax, 1", "xor edx, edx", "div ecx",
            out("eax") _, out("ecx") _, out("edx") _);
    }
}
/// Executes `hlt`, which user mode may not.
pub fn execute_hlt() {
    // SAFETY: raises SIGSEGV from the general protection fault, which the caller expects.
    unsafe { std::arch::asm!("hlt") }
}
/// Executes `rdtsc`; SIGSEGV where that was taken away.
pub fn execute_rdtsc() -> u64 {
    // SAFETY: reads the time stamp counter, or raises SIGSEGV, which the caller expects.
    unsafe { std::arch::x86_64::_rdtsc() }
}
/// Executes `inb`, which user mode may not without `ioperm`.
pub fn execute_in() {
    // SAFETY: raises SIGSEGV unless the port was permitted; reads the harmless POST port.
    unsafe { std::arch::asm!("in al, 0x80", out("al") _) }
}

/// Installs `handler` for `sig` with `flags`.
pub fn install_plain_handler(sig: i32, handler: extern "C" fn(i32), flags: i32) {
    let mut act: libc::sigaction = super::zeroed();
    act.sa_sigaction = handler as *const () as usize;
    act.sa_flags = flags;
    // SAFETY: a valid structure; the handler is the caller's and async-signal-safe.
    unsafe { libc::sigaction(sig, &act, std::ptr::null_mut()) };
}
