//! Signals: sets, actions, `siginfo_t`, alternate stacks (sigaction(2), sigaltstack(2), signalfd(2)).

use crate::args::{FromReg, IntoReg, Pid, Tid, Uid, UserAddr, UserPtr};
use crate::flags::*;

uapi! {
    /// A set of signals; bit 0 is signal 1.
    #[derive(Eq, PartialEq, Hash)]
    struct SigSet = "sigset_t", "asm/signal.h" {
        bits: u64 = "",
    }

    /// The kernel's `struct sigaction`, which is not glibc's.
    struct Sigaction = "struct sigaction", "asm/signal.h" {
        sa_handler: u64,
        sa_flags: u64,
        sa_restorer: u64,
        sa_mask: SigSet,
    }

    /// What a signal is about. The words after the head depend on `si_code`: see the constructors.
    struct Siginfo = "siginfo_t", "asm/siginfo.h" {
        si_signo: i32,
        si_errno: i32,
        si_code: i32,
        _pad: i32,
        fields: [u64; 14] = "",
    }

    /// sigaltstack(2)
    struct SigAltStack = "stack_t", "asm/signal.h" {
        ss_sp: UserAddr,
        ss_flags: i32,
        _pad: u32,
        ss_size: usize,
    }

    /// sigevent(7)
    struct Sigevent = "struct sigevent", "asm/siginfo.h" {
        sigev_value: u64,
        sigev_signo: i32,
        sigev_notify: i32,
        sigev_notify_thread_id: i32 = "_sigev_un._tid",
        _pad: [i32; 11],
    }

    /// What a signalfd gives (signalfd(2)).
    struct SignalfdSiginfo = "struct signalfd_siginfo", "linux/signalfd.h" {
        ssi_signo: u32,
        ssi_errno: i32,
        ssi_code: i32,
        ssi_pid: u32,
        ssi_uid: u32,
        ssi_fd: i32,
        ssi_tid: u32,
        ssi_band: u32,
        ssi_overrun: u32,
        ssi_trapno: u32,
        ssi_status: i32,
        ssi_int: i32,
        ssi_ptr: u64,
        ssi_utime: u64,
        ssi_stime: u64,
        ssi_addr: u64,
        ssi_addr_lsb: u16,
        _pad2: u16,
        ssi_syscall: i32,
        ssi_call_addr: u64,
        ssi_arch: u32,
        _pad: [u8; 28],
    }

    /// The last argument of pselect6(2): a set and its size.
    struct SigsetArgpack = "", "" {
        ss: UserPtr<SigSet>,
        ss_len: usize,
    }
}

/// `SIG_DFL` in `sa_handler`.
pub const SIG_DFL: u64 = 0;
/// `SIG_IGN` in `sa_handler`.
pub const SIG_IGN: u64 = 1;
/// The smallest alternate stack (`MINSIGSTKSZ`).
pub const MINSIGSTKSZ: usize = 2048;

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet { bits: 0 };
    /// All signals.
    pub const ALL: SigSet = SigSet { bits: u64::MAX };
    /// Those that cannot be blocked, caught or ignored.
    pub const UNBLOCKABLE: SigSet = SigSet {
        bits: Signal::SIGKILL.bit() | Signal::SIGSTOP.bit(),
    };

    /// The set of one signal.
    pub const fn of(signal: Signal) -> SigSet {
        SigSet { bits: signal.bit() }
    }

    /// Whether a signal is in the set.
    pub const fn contains(self, signal: Signal) -> bool {
        self.bits & signal.bit() != 0
    }

    /// Adds a signal.
    pub const fn insert(&mut self, signal: Signal) {
        self.bits |= signal.bit();
    }

    /// Takes a signal out.
    pub const fn remove(&mut self, signal: Signal) {
        self.bits &= !signal.bit();
    }

    /// The signals in either set.
    pub const fn union(self, other: SigSet) -> SigSet {
        SigSet {
            bits: self.bits | other.bits,
        }
    }

    /// The signals in both sets.
    pub const fn intersection(self, other: SigSet) -> SigSet {
        SigSet {
            bits: self.bits & other.bits,
        }
    }

    /// The signals of this set that are not in the other.
    pub const fn difference(self, other: SigSet) -> SigSet {
        SigSet {
            bits: self.bits & !other.bits,
        }
    }

    /// Whether no signal is in the set.
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// The signal with the lowest number.
    pub const fn first(self) -> Option<Signal> {
        if self.bits == 0 {
            None
        } else {
            Some(Signal(self.bits.trailing_zeros() as i32 + 1))
        }
    }

    /// The signals, ascending.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let signal = rest.first()?;
            rest.remove(signal);
            Some(signal)
        })
    }
}

impl FromReg for SigSet {
    fn from_reg(raw: u64) -> Self {
        SigSet { bits: raw }
    }
}

impl IntoReg for SigSet {
    fn into_reg(self) -> u64 {
        self.bits
    }
}

/// Two 32-bit members in one word, the lower address first.
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl Siginfo {
    /// Where the members of the union lie, by the names that C uses for them.
    pub const MEMBERS: &'static [(&'static str, usize)] = &[
        ("si_pid", 16),
        ("si_uid", 20),
        ("si_status", 24),
        ("si_utime", 32),
        ("si_stime", 40),
        ("si_value", 24),
        ("si_tid", 16),
        ("si_overrun", 20),
        ("si_addr", 16),
        ("si_addr_lsb", 24),
        ("si_lower", 32),
        ("si_upper", 40),
        ("si_pkey", 32),
        ("si_band", 16),
        ("si_fd", 24),
        ("si_call_addr", 16),
        ("si_syscall", 24),
        ("si_arch", 28),
    ];

    fn new(signal: Signal, code: i32, words: [u64; 4]) -> Siginfo {
        let mut info = Siginfo {
            si_signo: signal.0,
            si_code: code,
            ..Siginfo::default()
        };
        if let Some(head) = info.fields.first_chunk_mut() {
            *head = words;
        }
        info
    }

    /// From the kernel itself, with no more to say (`SI_KERNEL`).
    pub fn kernel(signal: Signal) -> Siginfo {
        Siginfo::new(signal, SI_KERNEL, [0; 4])
    }

    /// From kill(2) (`SI_USER`) or tgkill(2) (`SI_TKILL`).
    pub fn kill(signal: Signal, code: i32, pid: Pid, uid: Uid) -> Siginfo {
        Siginfo::new(signal, code, [pair(pid.0.cast_unsigned(), uid.0), 0, 0, 0])
    }

    /// With a value: sigqueue(3) (`SI_QUEUE`), message queues (`SI_MESGQ`), AIO (`SI_ASYNCIO`).
    pub fn queue(signal: Signal, code: i32, pid: Pid, uid: Uid, value: u64) -> Siginfo {
        Siginfo::new(
            signal,
            code,
            [pair(pid.0.cast_unsigned(), uid.0), value, 0, 0],
        )
    }

    /// From a POSIX timer (`SI_TIMER`).
    pub fn timer(signal: Signal, timer: i32, overrun: i32, value: u64) -> Siginfo {
        let ids = pair(timer.cast_unsigned(), overrun.cast_unsigned());
        Siginfo::new(signal, SI_TIMER, [ids, value, 0, 0])
    }

    /// `SIGCHLD`: a `CLD_*` code, the exit status or signal, and times in ticks of 1/[`super::USER_HZ`] s.
    pub fn child(code: i32, pid: Pid, uid: Uid, status: i32, utime: u64, stime: u64) -> Siginfo {
        let status = pair(status.cast_unsigned(), 0);
        let ids = pair(pid.0.cast_unsigned(), uid.0);
        Siginfo::new(Signal::SIGCHLD, code, [ids, status, utime, stime])
    }

    /// A fault at an address: `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`, `SIGTRAP`.
    pub fn fault(signal: Signal, code: i32, addr: u64) -> Siginfo {
        Siginfo::new(signal, code, [addr, 0, 0, 0])
    }

    /// A fault because of a protection key (`SEGV_PKUERR`).
    pub fn pkey_fault(addr: u64, pkey: u32) -> Siginfo {
        Siginfo::new(Signal::SIGSEGV, SEGV_PKUERR, [addr, 0, pair(pkey, 0), 0])
    }

    /// Readiness of a descriptor (`POLL_*`), for `F_SETSIG`.
    pub fn poll(signal: Signal, code: i32, band: i64, fd: i32) -> Siginfo {
        Siginfo::new(
            signal,
            code,
            [band.cast_unsigned(), pair(fd.cast_unsigned(), 0), 0, 0],
        )
    }

    /// A call that seccomp or syscall user dispatch refused (`SIGSYS`).
    pub fn sys(code: i32, addr: u64, nr: i32, arch: u32) -> Siginfo {
        Siginfo::new(
            Signal::SIGSYS,
            code,
            [addr, pair(nr.cast_unsigned(), arch), 0, 0],
        )
    }

    /// The signal.
    pub const fn signal(&self) -> Signal {
        Signal(self.si_signo)
    }

    /// Whether it comes from a program rather than from the kernel (`si_code` not positive).
    pub const fn is_from_user(&self) -> bool {
        self.si_code <= 0
    }

    /// `si_pid`, for kill, queue and child.
    pub const fn pid(&self) -> Pid {
        Pid(self.fields[0] as i32)
    }

    /// `si_uid`, for kill, queue and child.
    pub const fn uid(&self) -> Uid {
        Uid((self.fields[0] >> 32) as u32)
    }

    /// `si_status`, for child.
    pub const fn status(&self) -> i32 {
        self.fields[1] as i32
    }

    /// `si_value`, for queue and timer.
    pub const fn value(&self) -> u64 {
        self.fields[1]
    }

    /// `si_timerid`, for timer.
    pub const fn timer_id(&self) -> i32 {
        self.fields[0] as i32
    }

    /// `si_overrun`, for timer.
    pub const fn overrun(&self) -> i32 {
        (self.fields[0] >> 32) as i32
    }

    /// `si_addr` or `si_call_addr`, for fault and sys.
    pub const fn addr(&self) -> u64 {
        self.fields[0]
    }

    /// `si_band`, for poll.
    pub const fn band(&self) -> i64 {
        self.fields[0].cast_signed()
    }

    /// `si_fd`, for poll.
    pub const fn fd(&self) -> i32 {
        self.fields[1] as i32
    }

    /// `si_syscall`, for sys.
    pub const fn syscall(&self) -> i32 {
        self.fields[1] as i32
    }

    /// `si_arch`, for sys.
    pub const fn arch(&self) -> u32 {
        (self.fields[1] >> 32) as u32
    }
}

impl Sigaction {
    /// The flags.
    pub const fn flags(&self) -> SaFlags {
        SaFlags::from_bits_retain(self.sa_flags)
    }
}

impl SigAltStack {
    /// The flags.
    pub const fn flags(&self) -> SsFlags {
        SsFlags::from_bits_retain(self.ss_flags.cast_unsigned())
    }

    /// Whether an address lies on the stack.
    pub const fn contains(&self, addr: u64) -> bool {
        // As x86 pushes before it writes, the top itself counts and the bottom does not.
        addr > self.ss_sp.0 && addr - self.ss_sp.0 <= self.ss_size as u64
    }
}

impl Sigevent {
    /// How to notify. `SIGEV_THREAD_ID` may be or-ed with `SIGEV_SIGNAL`, which is zero.
    pub const fn notify(&self) -> SigevNotify {
        SigevNotify(self.sigev_notify)
    }

    /// The thread to signal, for `SIGEV_THREAD_ID`.
    pub const fn thread(&self) -> Tid {
        Tid(self.sigev_notify_thread_id)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use zerocopy::IntoBytes;

    /// Reads a 32-bit member where C has it.
    fn member(info: &Siginfo, name: &str) -> i32 {
        let (_, offset) = Siginfo::MEMBERS
            .iter()
            .find(|(member, _)| *member == name)
            .unwrap();
        i32::from_le_bytes(info.as_bytes()[*offset..offset + 4].try_into().unwrap())
    }

    #[test]
    fn constructors_fill_the_members_that_c_reads() {
        let info = Siginfo::child(CLD_EXITED, Pid(7), Uid(1000), 3, 11, 12);
        assert_eq!((info.si_signo, info.si_code), (17, CLD_EXITED));
        let names = ["si_pid", "si_uid", "si_status", "si_utime", "si_stime"];
        assert_eq!(names.map(|name| member(&info, name)), [7, 1000, 3, 11, 12]);
        assert_eq!(
            (info.pid(), info.uid(), info.status()),
            (Pid(7), Uid(1000), 3)
        );

        let info = Siginfo::timer(Signal::SIGALRM, 4, 2, 0x55);
        assert_eq!(
            ["si_tid", "si_overrun", "si_value"].map(|n| member(&info, n)),
            [4, 2, 0x55]
        );

        let info = Siginfo::sys(SYS_SECCOMP, 0x4000, 59, 62);
        let names = ["si_call_addr", "si_syscall", "si_arch"];
        assert_eq!(names.map(|name| member(&info, name)), [0x4000, 59, 62]);
        assert_eq!((info.addr(), info.syscall(), info.arch()), (0x4000, 59, 62));

        let info = Siginfo::poll(Signal::SIGIO, POLL_IN, 0x41, 5);
        assert_eq!(
            ["si_band", "si_fd"].map(|name| member(&info, name)),
            [0x41, 5]
        );
        assert_eq!(member(&Siginfo::pkey_fault(1, 9), "si_pkey"), 9);
        assert!(Siginfo::kill(Signal::SIGTERM, SI_USER, Pid(1), Uid(0)).is_from_user());
        assert!(!info.is_from_user());
    }

    #[test]
    fn sets_hold_the_64_signals() {
        let mut set = SigSet::of(Signal(64)).union(SigSet::of(Signal::SIGHUP));
        assert_eq!(set.bits, 1 << 63 | 1);
        assert!(set.contains(Signal(64)) && !set.contains(Signal(0)) && !set.contains(Signal(65)));
        assert!(set.iter().eq([Signal::SIGHUP, Signal(64)]));
        set.remove(Signal::SIGHUP);
        set.insert(Signal(0));
        assert_eq!(set.first(), Some(Signal(64)));
        assert_eq!(SigSet::EMPTY.first(), None);
        assert_eq!(SigSet::ALL.iter().count(), 64);
    }
}
