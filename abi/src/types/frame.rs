//! What a signal handler and a debugger see of the machine: signal frames and register sets (x86_64).

use super::{SigAltStack, SigSet, Siginfo};
use crate::args::UserAddr;

uapi! {
    /// The general registers in a signal frame.
    struct Sigcontext = "struct sigcontext", "linux/types.h asm/sigcontext.h" {
        r8: u64,
        r9: u64,
        r10: u64,
        r11: u64,
        r12: u64,
        r13: u64,
        r14: u64,
        r15: u64,
        rdi: u64,
        rsi: u64,
        rbp: u64,
        rbx: u64,
        rdx: u64,
        rax: u64,
        rcx: u64,
        rsp: u64,
        rip: u64,
        eflags: u64,
        cs: u16,
        gs: u16,
        fs: u16,
        ss: u16,
        err: u64,
        trapno: u64,
        oldmask: u64,
        cr2: u64,
        /// The address of an [`Fpstate`] with extended state behind it, or zero.
        fpstate: u64,
        reserved1: [u64; 8],
    }

    /// The context that a handler gets as its third argument.
    struct Ucontext = "struct ucontext", "linux/types.h asm/signal.h asm/sigcontext.h asm/ucontext.h" {
        uc_flags: u64,
        uc_link: UserAddr,
        uc_stack: SigAltStack,
        uc_mcontext: Sigcontext,
        uc_sigmask: SigSet,
    }

    /// The frame of a handler: debuggers and unwinders find it by its return address.
    struct RtSigframe = "", "" {
        /// Where the handler returns to: the action's restorer.
        pretcode: u64,
        uc: Ucontext,
        info: Siginfo,
    }

    /// What lies in the reserved bytes of [`Fpstate`] if extended state follows.
    struct FpxSwBytes = "struct _fpx_sw_bytes", "linux/types.h asm/sigcontext.h" {
        magic1: u32,
        extended_size: u32,
        xfeatures: u64,
        xstate_size: u32,
        padding: [u32; 7],
    }

    /// The FXSAVE area in a signal frame.
    struct Fpstate = "struct _fpstate", "linux/types.h asm/sigcontext.h" {
        cwd: u16,
        swd: u16,
        twd: u16,
        fop: u16,
        rip: u64,
        rdp: u64,
        mxcsr: u32,
        mxcsr_mask: u32,
        st_space: [u32; 32],
        xmm_space: [u32; 64],
        reserved2: [u32; 12],
        sw_reserved: FpxSwBytes,
    }

    /// The header of the XSAVE area, after the FXSAVE part.
    struct XstateHeader = "struct _header", "linux/types.h asm/sigcontext.h" {
        xfeatures: u64,
        reserved1: [u64; 2],
        reserved2: [u64; 5],
    }

    /// `PTRACE_GETREGS`, `NT_PRSTATUS`
    #[derive(Eq, PartialEq)]
    struct UserRegs = "struct user_regs_struct", "sys/user.h" {
        r15: u64,
        r14: u64,
        r13: u64,
        r12: u64,
        rbp: u64,
        rbx: u64,
        r11: u64,
        r10: u64,
        r9: u64,
        r8: u64,
        rax: u64,
        rcx: u64,
        rdx: u64,
        rsi: u64,
        rdi: u64,
        orig_rax: u64,
        rip: u64,
        cs: u64,
        eflags: u64,
        rsp: u64,
        ss: u64,
        fs_base: u64,
        gs_base: u64,
        ds: u64,
        es: u64,
        fs: u64,
        gs: u64,
    }

    /// `PTRACE_GETFPREGS`, `NT_PRFPREG`
    struct UserFpregs = "struct user_fpregs_struct", "sys/user.h" {
        cwd: u16,
        swd: u16,
        ftw: u16,
        fop: u16,
        rip: u64,
        rdp: u64,
        mxcsr: u32,
        mxcr_mask: u32,
        st_space: [u32; 32],
        xmm_space: [u32; 64],
        padding: [u32; 24],
    }

    /// What `PTRACE_PEEKUSR` reads from, byte by byte.
    struct User = "struct user", "sys/user.h" {
        regs: UserRegs,
        u_fpvalid: i32,
        _pad0: u32,
        i387: UserFpregs,
        u_tsize: u64,
        u_dsize: u64,
        u_ssize: u64,
        start_code: u64,
        start_stack: u64,
        signal: i64,
        reserved: i32,
        _pad1: u32,
        u_ar0: u64 = "",
        u_fpstate: u64,
        magic: u64,
        u_comm: [u8; 32],
        u_debugreg: [u64; 8],
    }

    /// `PTRACE_GET_SYSCALL_INFO` at a stop before a call, or by seccomp. After a call `nr` holds the result
    /// and the first byte of `args` says whether it is an error.
    struct PtraceSyscallInfo = "struct ptrace_syscall_info", "linux/ptrace.h" {
        op: u8,
        _pad: [u8; 3],
        arch: u32,
        instruction_pointer: u64,
        stack_pointer: u64,
        nr: u64 = "entry.nr",
        args: [u64; 6] = "entry.args",
        ret_data: u32 = "seccomp.ret_data",
        _pad1: u32,
    }

    /// `PTRACE_PEEKSIGINFO`
    struct PtracePeeksiginfoArgs = "struct ptrace_peeksiginfo_args", "linux/ptrace.h" {
        off: u64,
        flags: u32,
        nr: i32,
    }

    /// `PTRACE_GET_RSEQ_CONFIGURATION`
    struct PtraceRseqConfiguration = "struct ptrace_rseq_configuration", "linux/ptrace.h" {
        rseq_abi_pointer: u64,
        rseq_abi_size: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
}

/// `uc_flags`: extended state follows the FXSAVE area.
pub const UC_FP_XSTATE: u64 = 0x1;
/// `uc_flags`: `ss` in the context is meaningful.
pub const UC_SIGCONTEXT_SS: u64 = 0x2;
/// `uc_flags`: `ss` is restored strictly.
pub const UC_STRICT_RESTORE_SS: u64 = 0x4;
/// [`FpxSwBytes::magic1`] if extended state follows.
pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// The word right behind the extended state.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// `AUDIT_ARCH_X86_64`: the architecture in seccomp data, `SIGSYS` and ptrace.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
