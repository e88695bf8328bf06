//! What a tracer may ask (ptrace(2)).

use keel_abi::args::UserPtr;
use keel_abi::flags::{NoteType, PtraceEvent, PtraceOptions, PtraceRequest as Req};
use keel_abi::types::{
    AUDIT_ARCH_X86_64, Iovec, PtracePeeksiginfoArgs, PtraceRseqConfiguration, PtraceSyscallInfo,
    Siginfo, SockFilter, UserRegs,
};
use zerocopy::{FromBytes, IntoBytes};

use super::link::{self, Terms, unlink};
use super::stop::{SYSCALL_ENTRY, SYSCALL_EXIT, leave_listening};
use super::{Tracee, may_access_real, regs};
use crate::mm::user::{self, UserAccess};
use crate::prelude::*;
use crate::process::signal::{self, NSIG, SigInfo, UNBLOCKABLE, sig};
use crate::process::{Cap, Thread, seccomp, user_dispatch};
use crate::syscall::work;

/// PTRACE_ATTACH, and with options PTRACE_SEIZE. EPERM for threads of the caller's own process, for threads that
/// it has no power over, and for those that are traced already.
pub fn attach(me: &Arc<Thread>, target: &Arc<Thread>, seize: Option<PtraceOptions>) -> Result<()> {
    if Arc::ptr_eq(&me.process, &target.process) || !may_access_real(me, target) {
        return Err(Errno::EPERM);
    }
    let terms = Terms {
        seized: seize.is_some(),
        options: seize.unwrap_or_default(),
        cred: me.cred(),
    };
    if !link::link(me, target, terms)? {
        return Err(Errno::EPERM);
    }
    if seize.is_none() {
        signal::send_thread(target, SigInfo::kernel(sig::STOP));
    }
    let stopped_by = target.process.job.lock().stopped_by;
    if let Some(signo) = stopped_by {
        // From the group stop into one for the tracer, before attach returns: a wait is to find it.
        target.ptrace.tracee.lock().group_stop = Some(signo);
        target.interrupt();
        target.wake();
        let _ = me.process.child_wait.wait(SleepMode::Killable, None, || {
            let state = target.ptrace.tracee.lock();
            (state.stopped || state.tracer.is_none() || target.exiting()).then_some(())
        });
    }
    Ok(())
}

/// EPERM for PTRACE_O_SUSPEND_SECCOMP without CAP_SYS_ADMIN or from a confined thread.
pub fn check_options(me: &Arc<Thread>, options: PtraceOptions) -> Result<()> {
    if options.contains(PtraceOptions::SUSPEND_SECCOMP)
        && (!me.cred().has(Cap::SYS_ADMIN) || seccomp::mode(me) != 0 || super::suspends_seccomp(me))
    {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// A request about a tracee of `me`: ESRCH if it is not one, or not stopped.
pub fn request(
    me: &Arc<Thread>,
    tracee: &Arc<Thread>,
    request: Req,
    addr: u64,
    data: u64,
) -> Result<i64> {
    let running_too = matches!(request, Req::PTRACE_KILL | Req::PTRACE_INTERRUPT);
    {
        let state = tracee.ptrace.tracee.lock();
        if !state.traced_by(me) || !(running_too || (state.stopped && !state.listening)) {
            return Err(Errno::ESRCH);
        }
    }
    match request {
        Req::PTRACE_PEEKTEXT | Req::PTRACE_PEEKDATA => peek(tracee, addr, data)?,
        Req::PTRACE_POKETEXT | Req::PTRACE_POKEDATA => poke(tracee, addr, data)?,
        Req::PTRACE_PEEKUSR => {
            UserPtr::<u64>::new(data).write(&regs::peek_user(tracee, addr)?)?;
        }
        Req::PTRACE_POKEUSR => regs::poke_user(tracee, addr, data)?,
        Req::PTRACE_CONT
        | Req::PTRACE_SYSCALL
        | Req::PTRACE_SINGLESTEP
        | Req::PTRACE_SYSEMU
        | Req::PTRACE_SYSEMU_SINGLESTEP => resume(tracee, request, data)?,
        Req::PTRACE_KILL => signal::send_thread(
            tracee,
            SigInfo::user(sig::KILL, 0, me.process.pid, me.cred().uid),
        ),
        Req::PTRACE_DETACH => detach(tracee, data)?,
        Req::PTRACE_INTERRUPT => interrupt(tracee)?,
        Req::PTRACE_LISTEN => listen(tracee)?,
        Req::PTRACE_GETREGS => {
            UserPtr::<u64>::new(data).write_array(&regs::read_words(tracee)?)?;
        }
        Req::PTRACE_SETREGS => {
            let words = UserPtr::<u64>::new(data).read_array(size_of::<UserRegs>() / 8)?;
            regs::write_words(tracee, 0, &words)?;
        }
        Req::PTRACE_GETFPREGS => user::write_bytes(data, &regs::read_fpregs(tracee)?)?,
        Req::PTRACE_SETFPREGS => regs::write_fpregs(tracee, &user::read_bytes(data, 512)?)?,
        Req::PTRACE_GETREGSET => get_regset(tracee, addr, data)?,
        Req::PTRACE_SETREGSET => set_regset(tracee, addr, data)?,
        Req::PTRACE_SETOPTIONS | Req::PTRACE_OLDSETOPTIONS => {
            let options = PtraceOptions::from_bits(data).ok_or(Errno::EINVAL)?;
            check_options(me, options)?;
            tracee.ptrace.tracee.lock().options = options;
        }
        Req::PTRACE_GETEVENTMSG => {
            let message = tracee.ptrace.tracee.lock().message;
            UserPtr::<u64>::new(data).write(&message)?;
        }
        Req::PTRACE_GETSIGINFO => {
            let info = tracee.ptrace.tracee.lock().info.ok_or(Errno::EINVAL)?;
            UserPtr::<Siginfo>::new(data).write(&info.raw)?;
        }
        Req::PTRACE_SETSIGINFO => {
            let raw = UserPtr::<Siginfo>::new(data).read()?;
            let mut state = tracee.ptrace.tracee.lock();
            *state.info.as_mut().ok_or(Errno::EINVAL)? = SigInfo::new(raw);
        }
        Req::PTRACE_PEEKSIGINFO => return peek_signals(tracee, addr, data),
        Req::PTRACE_GETSIGMASK if addr == 8 => {
            UserPtr::<u64>::new(data).write(&tracee.signals.mask_to_restore())?;
        }
        Req::PTRACE_SETSIGMASK if addr == 8 => {
            let mask = UserPtr::<u64>::new(data).read()?;
            tracee.signals.forget_saved_mask();
            tracee.set_blocked(mask & !UNBLOCKABLE);
        }
        Req::PTRACE_GETSIGMASK | Req::PTRACE_SETSIGMASK => return Err(Errno::EINVAL),
        Req::PTRACE_GET_SYSCALL_INFO => return syscall_info(tracee, addr, data),
        Req::PTRACE_SET_SYSCALL_INFO => set_syscall_info(tracee, addr, data)?,
        Req::PTRACE_SECCOMP_GET_FILTER => return seccomp_filter(me, tracee, addr, data),
        Req::PTRACE_SECCOMP_GET_METADATA => return seccomp_metadata(me, tracee, addr, data),
        Req::PTRACE_GET_RSEQ_CONFIGURATION => return rseq_configuration(tracee, addr, data),
        Req::PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG => {
            user_dispatch::get_config(tracee, addr, data)?;
        }
        Req::PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG => {
            user_dispatch::set_config(tracee, addr, data)?;
        }
        Req::PTRACE_ARCH_PRCTL => arch_prctl(tracee, data, addr)?,
        // Linux without 32-bit programs and without branch stepping answers EIO to the rest.
        _ => return Err(Errno::EIO),
    }
    Ok(0)
}

fn peek(tracee: &Arc<Thread>, addr: u64, data: u64) -> Result<()> {
    let mm = tracee.mm_opt().ok_or(Errno::EIO)?;
    let mut word = [0; 8];
    if mm.read_remote(addr as usize, &mut word) != word.len() {
        return Err(Errno::EIO);
    }
    UserPtr::<u64>::new(data).write(&u64::from_le_bytes(word))
}

fn poke(tracee: &Arc<Thread>, addr: u64, data: u64) -> Result<()> {
    let mm = tracee.mm_opt().ok_or(Errno::EIO)?;
    if mm.write_remote(addr as usize, &data.to_le_bytes(), true) != 8 {
        return Err(Errno::EIO);
    }
    Ok(())
}

/// EIO unless the number is 0 or a signal's.
fn chosen_signal(data: u64) -> Result<i32> {
    if data <= NSIG as u64 {
        Ok(data as i32)
    } else {
        Err(Errno::EIO)
    }
}

fn resume(tracee: &Arc<Thread>, request: Req, data: u64) -> Result<()> {
    let code = chosen_signal(data)?;
    let emulate = matches!(request, Req::PTRACE_SYSEMU | Req::PTRACE_SYSEMU_SINGLESTEP);
    let step = matches!(
        request,
        Req::PTRACE_SINGLESTEP | Req::PTRACE_SYSEMU_SINGLESTEP
    );
    tracee.set_work(work::TRACE, request == Req::PTRACE_SYSCALL);
    tracee.set_work(work::EMULATE, emulate);
    tracee.set_work(work::STEP, step);
    {
        let mut state = tracee.ptrace.tracee.lock();
        if !state.stopped {
            return Err(Errno::ESRCH);
        }
        state.step = step;
        state.code = code;
        state.stopped = false;
    }
    tracee.wake();
    Ok(())
}

fn detach(tracee: &Arc<Thread>, data: u64) -> Result<()> {
    let code = chosen_signal(data)?;
    regs::parked(tracee)?;
    tracee.ptrace.tracee.lock().code = code;
    unlink(tracee);
    Ok(())
}

/// PTRACE_INTERRUPT: EIO unless it was seized.
fn interrupt(tracee: &Arc<Thread>) -> Result<()> {
    let listened = {
        let mut state = tracee.ptrace.tracee.lock();
        if !state.seized {
            return Err(Errno::EIO);
        }
        state.interrupt = true;
        leave_listening(&mut state)
    };
    if listened {
        tracee.wake();
    }
    tracee.interrupt();
    Ok(())
}

/// PTRACE_LISTEN: EIO unless it was seized and stands in a PTRACE_EVENT_STOP.
fn listen(tracee: &Arc<Thread>) -> Result<()> {
    let again = {
        let mut state = tracee.ptrace.tracee.lock();
        let event = i32::from(PtraceEvent::PTRACE_EVENT_STOP.0);
        let in_event_stop = state.info.is_some_and(|info| info.code() >> 8 == event);
        if !state.seized || !in_event_stop {
            return Err(Errno::EIO);
        }
        state.listening = true;
        let notify = state.notify;
        if notify {
            leave_listening(&mut state);
        }
        notify
    };
    if again {
        tracee.wake();
    }
    Ok(())
}

/// The register set of a note type, and the size of its units.
fn get_regset(tracee: &Arc<Thread>, kind: u64, data: u64) -> Result<()> {
    let (iov, len) = regset_iovec(data)?;
    let bytes = match note_type(kind)? {
        NoteType::NT_PRSTATUS => regs::read_words(tracee)?.as_bytes().to_vec(),
        NoteType::NT_PRFPREG => regs::read_fpregs(tracee)?,
        NoteType::NT_X86_XSTATE => regs::read_xstate(tracee)?,
        _ => return Err(Errno::EINVAL),
    };
    let len = len.min(bytes.len());
    user::write_bytes(iov.iov_base.addr(), &bytes[..len])?;
    write_regset_len(data, len)
}

fn set_regset(tracee: &Arc<Thread>, kind: u64, data: u64) -> Result<()> {
    let (iov, len) = regset_iovec(data)?;
    let kind = note_type(kind)?;
    let size = match kind {
        NoteType::NT_PRSTATUS => size_of::<UserRegs>(),
        NoteType::NT_PRFPREG => 512,
        NoteType::NT_X86_XSTATE => keel_hal::fpu::area_size(),
        _ => return Err(Errno::EINVAL),
    };
    let len = len.min(size);
    let bytes = user::read_bytes(iov.iov_base.addr(), len)?;
    match kind {
        NoteType::NT_PRSTATUS => {
            let words: Vec<u64> = bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|word| u64::from_le_bytes(*word))
                .collect();
            regs::write_words(tracee, 0, &words)?;
        }
        NoteType::NT_PRFPREG => regs::write_fpregs(tracee, &bytes)?,
        _ => regs::write_xstate(tracee, &bytes)?,
    }
    write_regset_len(data, len)
}

fn note_type(kind: u64) -> Result<NoteType> {
    u32::try_from(kind).map(NoteType).map_err(|_| Errno::EINVAL)
}

/// The vector that PTRACE_GETREGSET points to: EINVAL unless its length is made of whole words.
fn regset_iovec(data: u64) -> Result<(Iovec, usize)> {
    let iov = UserPtr::<Iovec>::new(data).read()?;
    let len = iov.iov_len;
    if len % 8 != 0 {
        return Err(Errno::EINVAL);
    }
    Ok((iov, len))
}

fn write_regset_len(data: u64, len: usize) -> Result<()> {
    let at = core::mem::offset_of!(Iovec, iov_len) as u64;
    UserPtr::<u64>::new(data.wrapping_add(at)).write(&(len as u64))
}

/// PTRACE_PEEKSIGINFO: how many of the pending signals were copied.
fn peek_signals(tracee: &Arc<Thread>, addr: u64, data: u64) -> Result<i64> {
    /// The process's queue instead of the thread's.
    const SHARED: u32 = 1;
    let args = UserPtr::<PtracePeeksiginfoArgs>::new(addr).read()?;
    if args.flags & !SHARED != 0 || args.nr < 0 {
        return Err(Errno::EINVAL);
    }
    let shared = args.flags & SHARED != 0;
    let mut copied = 0;
    while copied < i64::from(args.nr) {
        let at = args.off.checked_add(copied as u64).map(usize::try_from);
        let Some(Ok(at)) = at else { break };
        let Some(info) = signal::peek_queue(tracee, shared, at) else {
            break;
        };
        let out = data.wrapping_add(copied as u64 * size_of::<Siginfo>() as u64);
        match UserPtr::<Siginfo>::new(out).write(&info.raw) {
            Err(error) if copied == 0 => return Err(error),
            Err(_) => break,
            Ok(()) => copied += 1,
        }
    }
    Ok(copied)
}

/// Kinds of stops in `struct ptrace_syscall_info`.
mod op {
    pub const NONE: u8 = 0;
    pub const ENTRY: u8 = 1;
    pub const EXIT: u8 = 2;
    pub const SECCOMP: u8 = 3;
}

/// Bytes of `struct ptrace_syscall_info` that each kind of stop fills.
fn info_size(kind: u8) -> usize {
    match kind {
        op::ENTRY => core::mem::offset_of!(PtraceSyscallInfo, ret_data),
        op::EXIT => core::mem::offset_of!(PtraceSyscallInfo, args) + 1,
        op::SECCOMP => core::mem::offset_of!(PtraceSyscallInfo, ret_data) + 4,
        _ => core::mem::offset_of!(PtraceSyscallInfo, nr),
    }
}

fn kind_of_stop(state: &Tracee) -> u8 {
    const GOOD: i32 = sig::TRAP | 0x80;
    const SECCOMP: i32 = sig::TRAP | (PtraceEvent::PTRACE_EVENT_SECCOMP.0 as i32) << 8;
    match (state.info.map(|info| info.code()), state.message) {
        (Some(GOOD), SYSCALL_ENTRY) => op::ENTRY,
        (Some(GOOD), SYSCALL_EXIT) => op::EXIT,
        (Some(SECCOMP), _) => op::SECCOMP,
        _ => op::NONE,
    }
}

/// PTRACE_GET_SYSCALL_INFO: as much as fits into `size` bytes; gives how much there is.
fn syscall_info(tracee: &Arc<Thread>, size: u64, data: u64) -> Result<i64> {
    let (kind, info) = {
        let state = tracee.ptrace.tracee.lock();
        let kind = kind_of_stop(&state);
        (kind, describe_call(&state, kind))
    };
    let actual = info_size(kind);
    let len = actual.min(usize::try_from(size).unwrap_or(usize::MAX));
    let bytes = info.as_bytes();
    user::write_bytes(data, &bytes[..len.min(bytes.len())])?;
    Ok(actual as i64)
}

fn describe_call(state: &Tracee, kind: u8) -> PtraceSyscallInfo {
    let regs = &state.regs;
    let mut info = PtraceSyscallInfo {
        op: kind,
        arch: AUDIT_ARCH_X86_64,
        instruction_pointer: regs.rip,
        stack_pointer: regs.rsp,
        ..PtraceSyscallInfo::default()
    };
    match kind {
        op::ENTRY | op::SECCOMP => {
            info.nr = regs.orig_rax;
            info.args = crate::syscall::arguments(regs);
            if kind == op::SECCOMP {
                info.ret_data = state.message as u32;
            }
        }
        op::EXIT => {
            info.nr = regs.rax;
            info.args[0] = Errno::from_reg(regs.rax).is_some().into();
        }
        _ => {}
    }
    info
}

/// PTRACE_SET_SYSCALL_INFO: changes the call or its result at the stop that the info names. EINVAL when the kind
/// differs or what is reserved is not zero, ERANGE for numbers that do not fit.
fn set_syscall_info(tracee: &Arc<Thread>, size: u64, data: u64) -> Result<()> {
    let full = size_of::<PtraceSyscallInfo>();
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    if len < full {
        return Err(Errno::EINVAL);
    }
    let bytes = user::read_bytes(data, full)?;
    let info = PtraceSyscallInfo::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?;
    let mut state = tracee.ptrace.tracee.lock();
    let kind = kind_of_stop(&state);
    if info._pad != [0; 3] || info.op != kind {
        return Err(Errno::EINVAL);
    }
    let regs = &mut state.regs;
    match kind {
        op::ENTRY | op::SECCOMP => {
            if i32::try_from(info.nr.cast_signed()).is_err() {
                return Err(Errno::ERANGE);
            }
            regs.orig_rax = info.nr;
            if info.nr == u64::MAX {
                regs.rax = Errno::ENOSYS.to_reg();
            } else {
                [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = info.args;
            }
        }
        op::EXIT => regs.rax = info.nr,
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// Only an unconfined administrator may read filters.
fn check_filter_reader(me: &Arc<Thread>) -> Result<()> {
    if !me.cred().has(Cap::SYS_ADMIN) || seccomp::mode(me) != 0 {
        return Err(Errno::EACCES);
    }
    Ok(())
}

fn seccomp_filter(me: &Arc<Thread>, tracee: &Arc<Thread>, at: u64, data: u64) -> Result<i64> {
    check_filter_reader(me)?;
    let filter = seccomp::nth_filter(tracee, at)?;
    let program: &[SockFilter] = filter.source();
    if data != 0 {
        UserPtr::<SockFilter>::new(data).write_array(program)?;
    }
    Ok(program.len() as i64)
}

fn seccomp_metadata(me: &Arc<Thread>, tracee: &Arc<Thread>, size: u64, data: u64) -> Result<i64> {
    use keel_abi::types::SeccompMetadata;
    check_filter_reader(me)?;
    let full = size_of::<SeccompMetadata>();
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(full);
    if size < 8 {
        return Err(Errno::EINVAL);
    }
    let off = UserPtr::<u64>::new(data).read()?;
    let filter = seccomp::nth_filter(tracee, off)?;
    let metadata = SeccompMetadata {
        filter_off: off,
        flags: filter.user_flags(),
    };
    user::write_bytes(data, &metadata.as_bytes()[..size])?;
    Ok(size as i64)
}

fn rseq_configuration(tracee: &Arc<Thread>, size: u64, data: u64) -> Result<i64> {
    let full = size_of::<PtraceRseqConfiguration>();
    if size != full as u64 {
        return Err(Errno::EINVAL);
    }
    let area = *tracee.rseq.lock();
    UserPtr::<PtraceRseqConfiguration>::new(data).write(&PtraceRseqConfiguration {
        rseq_abi_pointer: area.addr,
        rseq_abi_size: area.len,
        signature: area.sig,
        ..PtraceRseqConfiguration::default()
    })?;
    Ok(full as i64)
}

/// PTRACE_ARCH_PRCTL: arch_prctl(2) for the tracee; results go to the tracer's memory.
fn arch_prctl(tracee: &Arc<Thread>, code: u64, addr: u64) -> Result<()> {
    use keel_abi::flags::ArchPrctlCode as Code;
    let task = regs::parked(tracee)?;
    let (fs, gs) = task.segment_bases();
    let set = |fs, gs| task.set_segment_bases(fs, gs).map_err(|_| Errno::EPERM);
    match Code(code as i32) {
        Code::ARCH_SET_FS => set(addr, gs),
        Code::ARCH_SET_GS => set(fs, addr),
        Code::ARCH_GET_FS => UserPtr::<u64>::new(addr).write(&fs),
        Code::ARCH_GET_GS => UserPtr::<u64>::new(addr).write(&gs),
        _ => Err(Errno::EINVAL),
    }
}
