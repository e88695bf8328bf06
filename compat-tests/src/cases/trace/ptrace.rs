//! ptrace(2).

use crate::prelude::*;

fn request(req: u32, pid: i32, addr: usize, data: usize) -> Ret {
    sc!(ptrace, req, pid, addr, data)
}

/// A child that asked to be traced and stopped itself.
#[track_caller]
fn tracee(f: impl FnOnce()) -> Child {
    let child = fork(|| {
        sc!(ptrace, PTRACE_TRACEME, 0, 0, 0).is(0);
        sc!(kill, getpid(), SIGSTOP).is(0);
        f();
    });
    assert_eq!(child.wait().stopped(), Some(SIGSTOP));
    child
}

fn registers_of(pid: i32) -> user_regs_struct {
    let mut regs: user_regs_struct = zeroed();
    request(PTRACE_GETREGS, pid, 0, (&raw mut regs).expose_provenance()).is(0);
    *std::hint::black_box(&mut regs)
}

fn set_registers(pid: i32, regs: &user_regs_struct) {
    let at = (&raw const *regs).expose_provenance();
    request(PTRACE_SETREGS, pid, 0, at).is(0);
}

/// Continues to the next system-call stop.
#[track_caller]
fn next_syscall(child: Child) -> user_regs_struct {
    request(PTRACE_SYSCALL, child.pid, 0, 0).is(0);
    assert_eq!(child.wait().stopped(), Some(SIGTRAP | 0x80));
    registers_of(child.pid)
}

fn options(child: Child, bits: i32) {
    request(PTRACE_SETOPTIONS, child.pid, 0, bits as usize).is(0);
}

pub static CASES: &[Case] = &[
    case!("ptrace", "traced_child_stops_on_signals", || {
        let child = tracee(|| sc!(kill, getpid(), SIGUSR1).is(0));
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().stopped(), Some(SIGUSR1));
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().code(), Some(0));
    }),
    case!("ptrace", "signal_can_be_passed_on", || {
        let child = tracee(|| sc!(kill, getpid(), SIGUSR1).is(0));
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.wait();
        request(PTRACE_CONT, child.pid, 0, SIGUSR1 as usize).is(0);
        child.dies(SIGUSR1);
    }),
    case!("ptrace", "system_call_stops_show_number_and_result", || {
        let child = tracee(|| ignore(sc!(getppid).ok()));
        options(child, PTRACE_O_TRACESYSGOOD);
        let mut entry = next_syscall(child);
        while entry.orig_rax as i64 != SYS_getppid {
            next_syscall(child);
            entry = next_syscall(child);
        }
        assert_eq!(entry.rax as i64, -i64::from(ENOSYS));
        let leave = next_syscall(child);
        assert_eq!(leave.rax as i32, getpid());
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
    }),
    case!(
        "ptrace",
        "system_call_can_be_changed_and_suppressed",
        || {
            let child = tracee(|| sc!(getppid).is(4242));
            options(child, PTRACE_O_TRACESYSGOOD);
            loop {
                let mut regs = next_syscall(child);
                if regs.orig_rax as i64 == SYS_getppid {
                    regs.orig_rax = u64::MAX;
                    set_registers(child.pid, &regs);
                    let mut regs = next_syscall(child);
                    regs.rax = 4242;
                    set_registers(child.pid, &regs);
                    break;
                }
                next_syscall(child);
            }
            request(PTRACE_CONT, child.pid, 0, 0).is(0);
            child.ok();
        }
    ),
    case!("ptrace", "peek_and_poke", || {
        let at = map_anon(PAGE, PROT_READ | PROT_WRITE);
        poke_bytes(at, &0x1122_3344_5566_7788u64.to_ne_bytes());
        let child = tracee(|| assert_eq!(peek(at), 0xaa));
        let mut word = 0u64;
        let out = (&raw mut word).expose_provenance();
        request(PTRACE_PEEKDATA, child.pid, at, out).is(0);
        assert_eq!(*std::hint::black_box(&mut word), 0x1122_3344_5566_7788);
        request(PTRACE_POKEDATA, child.pid, at, 0xaa).is(0);
        request(PTRACE_PEEKDATA, child.pid, 8, out).err(EIO);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
        assert_eq!(peek(at), 0x88);
    }),
    case!("ptrace", "poke_writes_through_read_only_protection", || {
        let at = map_anon(PAGE, PROT_READ);
        let child = tracee(|| assert_eq!(peek(at), 5));
        request(PTRACE_POKETEXT, child.pid, at, 5).is(0);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
    }),
    case!("ptrace", "peekuser_agrees_with_registers", || {
        let child = tracee(|| ());
        let regs = registers_of(child.pid);
        let mut rip = 0u64;
        request(
            PTRACE_PEEKUSER,
            child.pid,
            16 * 8,
            (&raw mut rip).expose_provenance(),
        )
        .is(0);
        assert_eq!(*std::hint::black_box(&mut rip), regs.rip);
        request(PTRACE_KILL, child.pid, 0, 0).is(0);
        child.dies(SIGKILL);
    }),
    case!("ptrace", "single_step_advances", || {
        let child = tracee(|| ());
        let before = registers_of(child.pid).rip;
        request(PTRACE_SINGLESTEP, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().stopped(), Some(SIGTRAP));
        assert_ne!(registers_of(child.pid).rip, before);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
    }),
    case!(
        "ptrace",
        "breakpoint_instruction_traps_behind_itself",
        || {
            let at = map_anon(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
            poke_bytes(at, &[0xcc, 0xb8, 3, 0, 0, 0, 0xc3]);
            let child = tracee(|| assert_eq!(call_code(at), 3));
            request(PTRACE_CONT, child.pid, 0, 0).is(0);
            assert_eq!(child.wait().stopped(), Some(SIGTRAP));
            assert_eq!(registers_of(child.pid).rip as usize, at + 1);
            request(PTRACE_CONT, child.pid, 0, 0).is(0);
            child.ok();
        }
    ),
    case!("ptrace", "register_sets", || {
        let child = tracee(|| ());
        let mut regs: user_regs_struct = zeroed();
        let mut iov = [
            (&raw mut regs).expose_provenance(),
            size_of::<user_regs_struct>(),
        ];
        request(PTRACE_GETREGSET, child.pid, 1, iov.as_mut_ptr().raw()).is(0);
        assert_eq!(
            std::hint::black_box(&mut iov)[1],
            size_of::<user_regs_struct>()
        );
        assert_eq!(
            std::hint::black_box(&mut regs).rip,
            registers_of(child.pid).rip
        );
        let mut fp = [0u8; 512];
        request(PTRACE_GETFPREGS, child.pid, 0, fp.as_mut_ptr().raw()).is(0);
        assert_eq!(from_bytes::<u16>(std::hint::black_box(&fp)) & 0x3f, 0x3f);
        request(PTRACE_GETREGSET, child.pid, 9999, iov.as_mut_ptr().raw()).err(EINVAL);
        request(PTRACE_KILL, child.pid, 0, 0).is(0);
        child.dies(SIGKILL);
    }),
    case!("ptrace", "exec_event_and_plain_trap", || {
        let run = || execve("/proc/self/exe", &["x", "--helper", "exit", "3"], &[]).is(0);
        let child = tracee(run);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().stopped(), Some(SIGTRAP));
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.exits(3);
        let child = tracee(run);
        options(child, PTRACE_O_TRACEEXEC);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().0 >> 8, SIGTRAP | PTRACE_EVENT_EXEC << 8);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.exits(3);
    }),
    case!("ptrace", "fork_event_attaches_the_child", || {
        let child = tracee(|| fork(|| ()).ok());
        options(
            child,
            PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORK,
        );
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        let event = child.wait().0 >> 16;
        assert!(
            [PTRACE_EVENT_FORK, PTRACE_EVENT_CLONE].contains(&event),
            "{event}"
        );
        let mut new = 0u64;
        request(
            PTRACE_GETEVENTMSG,
            child.pid,
            0,
            (&raw mut new).expose_provenance(),
        )
        .is(0);
        let grand = Child {
            pid: *std::hint::black_box(&mut new) as i32,
        };
        assert_eq!(grand.wait_for(__WALL).stopped(), Some(SIGSTOP));
        request(PTRACE_CONT, grand.pid, 0, 0).is(0);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(grand.wait_for(__WALL).code(), Some(0));
        // The death of its child is a signal that stops the tracee.
        let st = child.wait();
        if st.stopped().is_some() {
            request(PTRACE_CONT, child.pid, 0, 0).is(0);
            child.ok();
        }
    }),
    case!("ptrace", "exit_event_tells_the_code", || {
        let child = tracee(|| exit(5));
        options(child, PTRACE_O_TRACEEXIT);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().0 >> 16, PTRACE_EVENT_EXIT);
        let mut code = 0u64;
        request(
            PTRACE_GETEVENTMSG,
            child.pid,
            0,
            (&raw mut code).expose_provenance(),
        )
        .is(0);
        assert_eq!(*std::hint::black_box(&mut code), 5 << 8);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.exits(5);
    }),
    case!("ptrace", "attach_stops_and_detach_lets_go", || {
        let child = fork(|| sleep_ms(60_000));
        request(PTRACE_ATTACH, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().stopped(), Some(SIGSTOP));
        assert_eq!(status_field(child.pid, "TracerPid"), getpid().to_string());
        request(PTRACE_DETACH, child.pid, 0, 0).is(0);
        assert_eq!(status_field(child.pid, "TracerPid"), "0");
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("ptrace", "seize_and_interrupt", || {
        let child = fork(|| sleep_ms(60_000));
        request(PTRACE_SEIZE, child.pid, 0, 0).is(0);
        sc!(wait4, child.pid, 0, WNOHANG | __WALL, 0).is(0);
        request(PTRACE_INTERRUPT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().0 >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8);
        request(PTRACE_DETACH, child.pid, 0, 0).is(0);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("ptrace", "siginfo_can_be_read", || {
        let child = tracee(|| sc!(kill, getpid(), SIGUSR1).is(0));
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.wait();
        let mut info = [0i32; 32];
        request(PTRACE_GETSIGINFO, child.pid, 0, info.as_mut_ptr().raw()).is(0);
        let info = std::hint::black_box(&mut info);
        assert_eq!((info[0], info[2], info[4]), (SIGUSR1, SI_USER, child.pid));
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
    }),
    case!("ptrace", "exitkill_kills_with_the_tracer", || {
        let w = shared_words();
        let (r, wr) = pipe();
        let tracer = fork(|| {
            let child = fork(|| {
                let _ = sc!(prctl, PR_SET_PDEATHSIG, 0);
                sc!(ptrace, PTRACE_TRACEME, 0, 0, 0).is(0);
                sc!(kill, getpid(), SIGSTOP).is(0);
                sleep_ms(60_000);
            });
            child.wait();
            w[0].store(child.pid as u32, SeqCst);
            options(child, PTRACE_O_EXITKILL);
            request(PTRACE_CONT, child.pid, 0, 0).is(0);
        });
        tracer.ok();
        close(wr);
        // The tracee held the pipe's other end; its death ends the pipe.
        assert_eq!(read_some(r, 4), b"");
    }),
    case!("ptrace", "errors", || {
        request(PTRACE_ATTACH, 1 << 22, 0, 0).err(ESRCH);
        request(PTRACE_ATTACH, getpid(), 0, 0).err(EPERM);
        request(PTRACE_CONT, getpid(), 0, 0).err(ESRCH);
        let child = tracee(|| ());
        request(PTRACE_ATTACH, child.pid, 0, 0).err(EPERM);
        request(PTRACE_SETOPTIONS, child.pid, 0, 1 << 30).err(EINVAL);
        request(PTRACE_CONT, child.pid, 0, 999).err(EIO);
        request(0x9999, child.pid, 0, 0).err(EIO);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
        as_nobody(|| request(PTRACE_ATTACH, 1, 0, 0).err(EPERM));
    }),
    case!("ptrace", "syscall_information", || {
        let child = tracee(|| ignore(sc!(getpriority, 0, 0).ok()));
        options(child, PTRACE_O_TRACESYSGOOD);
        let mut regs = next_syscall(child);
        while regs.orig_rax as i64 != SYS_getpriority {
            next_syscall(child);
            regs = next_syscall(child);
        }
        let mut info = [0u64; 11];
        let at = info.as_mut_ptr().raw();
        let n = request(PTRACE_GET_SYSCALL_INFO, child.pid, 88, at)
            .skip_on(&[EIO])
            .ok();
        assert!(n >= 80, "{n}");
        let info = std::hint::black_box(&mut info);
        assert_eq!((info[0] as u8, info[3] as i64), (1, SYS_getpriority));
        request(PTRACE_KILL, child.pid, 0, 0).is(0);
        child.dies(SIGKILL);
    }),
    case!("ptrace", "watchpoint_stops_behind_the_write", || {
        const DEBUGREG: usize = 848;
        let at = map_anon(PAGE, PROT_READ | PROT_WRITE);
        let child = tracee(|| poke(at + 8, 7));
        request(PTRACE_POKEUSER, child.pid, DEBUGREG, at + 8).is(0);
        // Breakpoint 0: writes, one byte.
        request(PTRACE_POKEUSER, child.pid, DEBUGREG + 56, 1 | 1 << 16).is(0);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().stopped(), Some(SIGTRAP));
        let mut status = 0u64;
        let out = (&raw mut status).expose_provenance();
        request(PTRACE_PEEKUSER, child.pid, DEBUGREG + 48, out).is(0);
        assert_eq!(*std::hint::black_box(&mut status) & 0xf, 1);
        let mut info = [0i32; 32];
        request(PTRACE_GETSIGINFO, child.pid, 0, info.as_mut_ptr().raw()).is(0);
        // TRAP_HWBKPT
        assert_eq!(std::hint::black_box(&mut info)[2], 4);
        request(PTRACE_PEEKDATA, child.pid, at + 8, out).is(0);
        assert_eq!(*std::hint::black_box(&mut status), 7);
        request(PTRACE_POKEUSER, child.pid, DEBUGREG + 32, 0).err(EIO);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
    }),
    case!("ptrace", "group_stop_can_be_listened_to", || {
        let child = fork(|| sleep_ms(60_000));
        request(PTRACE_SEIZE, child.pid, 0, 0).is(0);
        child.kill(SIGSTOP);
        // The signal itself, then the group stop that it leads to.
        assert_eq!(child.wait().0 >> 8, SIGSTOP);
        request(PTRACE_CONT, child.pid, 0, SIGSTOP as usize).is(0);
        assert_eq!(child.wait().0 >> 8, SIGSTOP | PTRACE_EVENT_STOP << 8);
        request(PTRACE_LISTEN, child.pid, 0, 0).is(0);
        request(PTRACE_CONT, child.pid, 0, 0).err(ESRCH);
        child.kill(SIGCONT);
        assert_eq!(child.wait().0 >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().0 >> 8, SIGCONT);
        request(PTRACE_DETACH, child.pid, 0, 0).is(0);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("ptrace", "signal_mask_and_queue_can_be_read", || {
        let child = tracee(|| {
            sigmask(SIG_BLOCK, bit(SIGUSR1));
            sc!(kill, getpid(), SIGUSR1).is(0);
            sc!(kill, getpid(), SIGUSR2).is(0);
        });
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().stopped(), Some(SIGUSR2));
        let mut mask = 0u64;
        let out = (&raw mut mask).expose_provenance();
        request(PTRACE_GETSIGMASK, child.pid, 8, out).is(0);
        assert_eq!(*std::hint::black_box(&mut mask), bit(SIGUSR1));
        request(PTRACE_GETSIGMASK, child.pid, 4, out).err(EINVAL);
        let mut infos = [0i32; 64];
        // From the first on, of the process's queue, two at most.
        let args = [0u64, 1 | 2 << 32];
        let at = infos.as_mut_ptr().raw();
        request(PTRACE_PEEKSIGINFO, child.pid, args.as_ptr().raw(), at).is(1);
        assert_eq!(std::hint::black_box(&mut infos)[0], SIGUSR1);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
    }),
    case!("ptrace wait4", "threads_end_one_by_one", || {
        let child = tracee(|| {
            std::thread::spawn(|| ()).join().unwrap();
        });
        options(child, PTRACE_O_TRACECLONE);
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        let mut ended = Vec::new();
        loop {
            let mut status = 0i32;
            let at = (&raw mut status).expose_provenance();
            let pid = sc!(wait4, -1, at, __WALL, 0).ok() as i32;
            let status = *std::hint::black_box(&mut status);
            if status & 0x7f == 0x7f {
                let _ = request(PTRACE_CONT, pid, 0, 0).errno();
            } else {
                ended.push(pid);
                if pid == child.pid {
                    break;
                }
            }
        }
        assert_eq!(ended.len(), 2);
        assert_eq!(ended[1], child.pid);
    }),
    case!("ptrace", "parent_waits_after_the_tracer", || {
        let (r, w) = pipe();
        let child = fork(|| ignore(read_some(r, 1)));
        let tracer = fork(|| {
            request(PTRACE_SEIZE, child.pid, 0, 0).is(0);
            write_all(w, b"x");
            assert_eq!(child.wait_for(__WALL).code(), Some(0));
        });
        tracer.ok();
        child.ok();
    }),
    case!("ptrace", "extended_registers", || {
        let child = tracee(|| ());
        let mut area = vec![0u8; 16384];
        let mut iov = [area.as_mut_ptr().raw(), area.len()];
        request(PTRACE_GETREGSET, child.pid, 0x202, iov.as_mut_ptr().raw())
            .skip_on(&[ENODEV])
            .is(0);
        let len = std::hint::black_box(&mut iov)[1];
        assert!(len >= 576, "{len}");
        // The features that are enabled: x87 and SSE at least.
        assert_eq!(area[464] & 3, 3);
        request(PTRACE_SETREGSET, child.pid, 0x202, iov.as_mut_ptr().raw()).is(0);
        let mut fp = [0u8; 512];
        request(PTRACE_GETFPREGS, child.pid, 0, fp.as_mut_ptr().raw()).is(0);
        fp[160] = 0x5a;
        request(PTRACE_SETFPREGS, child.pid, 0, fp.as_mut_ptr().raw()).is(0);
        fp[160] = 0;
        request(PTRACE_GETFPREGS, child.pid, 0, fp.as_mut_ptr().raw()).is(0);
        assert_eq!(std::hint::black_box(&mut fp)[160], 0x5a);
        fp[27] = 0xff;
        request(PTRACE_SETFPREGS, child.pid, 0, fp.as_mut_ptr().raw()).err(EINVAL);
        request(PTRACE_KILL, child.pid, 0, 0).is(0);
        child.dies(SIGKILL);
    }),
    case!("ptrace", "call_can_be_emulated", || {
        let child = tracee(|| sc!(getppid).is(77));
        loop {
            request(PTRACE_SYSEMU, child.pid, 0, 0).is(0);
            assert_eq!(child.wait().stopped(), Some(SIGTRAP));
            let mut regs = registers_of(child.pid);
            if regs.orig_rax as i64 == SYS_getppid {
                regs.rax = 77;
                set_registers(child.pid, &regs);
                break;
            }
        }
        request(PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
    }),
];
