//! What the flag types can tell about themselves, and the printing of those that are more than names.

use core::fmt::{self, Write};

use super::*;
use crate::args::Tid;
use crate::trace::{TraceArg, UserText, write_flags, write_name, write_separator};

impl OpenFlags {
    /// The mask of the access mode.
    pub const ACCMODE: OpenFlags = OpenFlags::from_bits_retain(3);
    /// Access mode zero: only reading.
    pub const RDONLY: OpenFlags = OpenFlags::empty();
    /// What `F_SETFL` can change.
    pub const SETTABLE: OpenFlags = OpenFlags::APPEND
        .union(OpenFlags::NONBLOCK)
        .union(OpenFlags::DIRECT)
        .union(OpenFlags::NOATIME)
        .union(OpenFlags::ASYNC);

    /// The access mode alone: `RDONLY`, `WRONLY`, `RDWR` or both bits, which allows only ioctls.
    pub const fn access(self) -> OpenFlags {
        self.intersection(OpenFlags::ACCMODE)
    }

    /// Whether the access mode lets read(2) work.
    pub const fn is_readable(self) -> bool {
        matches!(self.bits() & 3, 0 | 2)
    }

    /// Whether the access mode lets write(2) work.
    pub const fn is_writable(self) -> bool {
        matches!(self.bits() & 3, 1 | 2)
    }
}

impl TraceArg for OpenFlags {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        out.write_str(match self.bits() & 3 {
            0 => "O_RDONLY",
            1 => "O_WRONLY",
            2 => "O_RDWR",
            _ => "O_ACCMODE",
        })?;
        let rest = self.difference(OpenFlags::ACCMODE);
        if rest.is_empty() {
            return Ok(());
        }
        out.write_char('|')?;
        write_flags(&rest, out, "O_", None)
    }
}

impl AtFlags {
    /// How far statx(2) may rely on what it knows (`AT_STATX_SYNC_TYPE`).
    pub const STATX_SYNC_TYPE: AtFlags = AtFlags::STATX_FORCE_SYNC.union(AtFlags::STATX_DONT_SYNC);
}

impl MountAttrFlags {
    /// The bits that say when access times change (`MOUNT_ATTR__ATIME`); zero is relatime.
    pub const ATIME_MASK: MountAttrFlags = MountAttrFlags::from_bits_retain(0x70);
}

impl InotifyMask {
    /// Every event that a watch can ask for (`IN_ALL_EVENTS`).
    pub const ALL_EVENTS: InotifyMask = InotifyMask::from_bits_retain(0xfff);
}

impl MmapFlags {
    /// The mask of the kind of mapping.
    pub const TYPE: MmapFlags = MmapFlags::from_bits_retain(0xf);

    /// The kind of mapping alone: `SHARED`, `PRIVATE`, `SHARED_VALIDATE`, `DROPPABLE` or something invalid.
    pub const fn map_type(self) -> MmapFlags {
        self.intersection(MmapFlags::TYPE)
    }

    /// log2 of the huge page size that is asked for; `None` for the default size.
    pub const fn huge_shift(self) -> Option<u32> {
        let shift = (self.bits() >> 26 & 0x3f) as u32;
        if shift == 0 { None } else { Some(shift) }
    }
}

impl CloneFlags {
    /// The mask of the exit signal in clone(2)'s argument.
    pub const CSIGNAL: CloneFlags = CloneFlags::from_bits_retain(0xff);

    /// The signal that the parent gets when the child ends; number zero for none.
    pub const fn exit_signal(self) -> Signal {
        Signal((self.bits() & 0xff) as i32)
    }

    /// The flags without the exit signal.
    pub const fn without_signal(self) -> CloneFlags {
        self.difference(CloneFlags::CSIGNAL)
    }
}

impl TraceArg for CloneFlags {
    fn trace(&self, out: &mut dyn Write, mem: &dyn UserText) -> fmt::Result {
        let signal = self.exit_signal();
        if self.is_empty() || !signal.is_valid() {
            return write_flags(self, out, "CLONE_", None);
        }
        let flags = self.without_signal();
        if !flags.is_empty() {
            write_flags(&flags, out, "CLONE_", None)?;
            out.write_char('|')?;
        }
        signal.trace(out, mem)
    }
}

/// What a signal does to a process that has not said otherwise (signal(7)).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// The process ends with a core dump.
    Core,
    /// Nothing.
    Ignore,
    /// The process stops.
    Stop,
    /// The process goes on if it is stopped.
    Continue,
}

impl Signal {
    /// The highest number (`_NSIG`).
    pub const MAX: i32 = 64;
    /// The first real-time signal as the kernel counts; glibc keeps the first two for itself.
    pub const SIGRTMIN: Signal = Signal(32);

    /// Whether this is the number of a signal, 1 to 64.
    pub const fn is_valid(self) -> bool {
        self.0 >= 1 && self.0 <= Signal::MAX
    }

    /// Whether several of this signal can be pending at once.
    pub const fn is_realtime(self) -> bool {
        self.0 >= Signal::SIGRTMIN.0 && self.0 <= Signal::MAX
    }

    /// Its bit in a signal set; zero if the number is not valid.
    pub const fn bit(self) -> u64 {
        if self.is_valid() {
            1 << (self.0 - 1)
        } else {
            0
        }
    }

    /// Whether a program can catch, block or ignore it.
    pub const fn is_catchable(self) -> bool {
        self.is_valid() && !matches!(self, Signal::SIGKILL | Signal::SIGSTOP)
    }

    /// What it does by default.
    pub const fn default_action(self) -> DefaultAction {
        match self {
            Signal::SIGQUIT
            | Signal::SIGILL
            | Signal::SIGTRAP
            | Signal::SIGABRT
            | Signal::SIGBUS
            | Signal::SIGFPE
            | Signal::SIGSEGV
            | Signal::SIGXCPU
            | Signal::SIGXFSZ
            | Signal::SIGSYS => DefaultAction::Core,
            Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => DefaultAction::Ignore,
            Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {
                DefaultAction::Stop
            }
            Signal::SIGCONT => DefaultAction::Continue,
            _ => DefaultAction::Terminate,
        }
    }
}

impl TraceArg for Signal {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        match self.0 {
            32 => out.write_str("SIGRTMIN"),
            33..=Signal::MAX => write!(out, "SIGRT_{}", self.0 - 32),
            _ => write_name(self.name(), self.0, out),
        }
    }
}

impl FutexOp {
    /// The word is not shared between processes.
    pub const PRIVATE_FLAG: i32 = 0x80;
    /// The timeout is on `CLOCK_REALTIME`.
    pub const CLOCK_REALTIME: i32 = 0x100;

    /// The command without the flags.
    pub const fn command(self) -> FutexOp {
        FutexOp(self.0 & !(FutexOp::PRIVATE_FLAG | FutexOp::CLOCK_REALTIME))
    }

    /// Whether the word belongs to this address space alone.
    pub const fn is_private(self) -> bool {
        self.0 & FutexOp::PRIVATE_FLAG != 0
    }

    /// Whether the timeout is on `CLOCK_REALTIME`.
    pub const fn is_realtime(self) -> bool {
        self.0 & FutexOp::CLOCK_REALTIME != 0
    }
}

impl TraceArg for FutexOp {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        write_name(self.command().name(), self.command().0, out)?;
        if self.is_private() {
            out.write_str("_PRIVATE")?;
        }
        if self.is_realtime() {
            out.write_str("|FUTEX_CLOCK_REALTIME")?;
        }
        Ok(())
    }
}

impl SocketType {
    /// The type alone, without the flags.
    pub const fn kind(self) -> SocketType {
        SocketType(self.0 & 0xf)
    }

    /// The flags that came with it.
    pub const fn flags(self) -> SocketFlags {
        SocketFlags::from_bits_retain(self.0.cast_unsigned() & !0xf)
    }
}

impl TraceArg for SocketType {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        write_name(self.kind().name(), self.kind().0, out)?;
        if self.flags().is_empty() {
            return Ok(());
        }
        out.write_char('|')?;
        write_flags(&self.flags(), out, "SOCK_", None)
    }
}

macro_rules! trace_with_permissions {
    ($($ty:ident $prefix:literal)*) => {$(
        impl $ty {
            /// The permission bits that the flags carry.
            pub const fn permissions(self) -> crate::args::Mode {
                crate::args::Mode((self.bits() & 0o777) as u16)
            }
        }

        impl TraceArg for $ty {
            fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
                let mut first = true;
                let flags = self.difference($ty::from_bits_retain(0o777));
                if !flags.is_empty() {
                    write_separator(&mut first, out)?;
                    write_flags(&flags, out, $prefix, None)?;
                }
                let mode = self.permissions().0;
                if mode != 0 {
                    write_separator(&mut first, out)?;
                    write!(out, "0{mode:o}")?;
                }
                if first { out.write_char('0') } else { Ok(()) }
            }
        }
    )*};
}

trace_with_permissions!(IpcFlags "IPC_" ShmgetFlags "");

impl SchedPolicy {
    /// `SCHED_RESET_ON_FORK`: children start with the default policy.
    pub const RESET_ON_FORK: i32 = 0x4000_0000;

    /// The policy without the flag.
    pub const fn policy(self) -> SchedPolicy {
        SchedPolicy(self.0 & !SchedPolicy::RESET_ON_FORK)
    }

    /// Whether the flag is set.
    pub const fn reset_on_fork(self) -> bool {
        self.0 & SchedPolicy::RESET_ON_FORK != 0
    }
}

impl TraceArg for SchedPolicy {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        write_name(self.policy().name(), self.policy().0, out)?;
        if self.reset_on_fork() {
            out.write_str("|SCHED_RESET_ON_FORK")
        } else {
            Ok(())
        }
    }
}

/// Which clock a negative [`ClockId`] names (clock_getcpuclockid(3), pthread_getcpuclockid(3)).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct CpuClock {
    /// The process or thread; zero for the caller.
    pub id: Tid,
    /// A thread's clock rather than a whole process's.
    pub is_thread: bool,
    /// User and system time (0), user time (1), or scheduled time (2).
    pub kind: u8,
}

impl ClockId {
    /// What CPU-time clock a negative number names; `None` for other numbers, clock devices among them.
    pub const fn cpu_clock(self) -> Option<CpuClock> {
        let kind = (self.0 & 3) as u8;
        if self.0 >= 0 || kind == 3 {
            return None;
        }
        Some(CpuClock {
            id: Tid(!(self.0 >> 3)),
            is_thread: self.0 & 4 != 0,
            kind,
        })
    }
}

impl Personality {
    /// The argument that only asks.
    pub const QUERY: Personality = Personality::from_bits_retain(0xffff_ffff);

    /// The execution domain, zero for Linux.
    pub const fn domain(self) -> u8 {
        (self.bits() & 0xff) as u8
    }
}

impl QuotaCmd {
    /// The command and the quota type: 0 user, 1 group, 2 project.
    pub const fn parts(self) -> (QuotaCmd, u8) {
        (QuotaCmd(self.0 >> 8), (self.0 & 0xff) as u8)
    }
}

impl TraceArg for QuotaCmd {
    fn trace(&self, out: &mut dyn Write, _: &dyn UserText) -> fmt::Result {
        let (cmd, ty) = self.parts();
        out.write_str("QCMD(")?;
        write_name(cmd.name(), cmd.0, out)?;
        let ty = match ty {
            0 => "USRQUOTA",
            1 => "GRPQUOTA",
            2 => "PRJQUOTA",
            other => return write!(out, ", {other})"),
        };
        write!(out, ", {ty})")
    }
}

impl Capability {
    /// The highest capability.
    pub const LAST: Capability = Capability::CAP_CHECKPOINT_RESTORE;

    /// Its bit in a capability set; zero if there is no such capability.
    pub const fn bit(self) -> u64 {
        if self.0 <= Capability::LAST.0 {
            1 << self.0
        } else {
            0
        }
    }
}
