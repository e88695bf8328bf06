//! seccomp(2), landlock(7).

use crate::prelude::*;

const LD_NR: [u32; 2] = [0x20, 0];

/// A filter that gives `action` for call `nr` and allows the rest.
fn filter(nr: i64, action: u32) -> Vec<[u32; 2]> {
    // ld [0]; jeq #nr, 0, 1; ret action; ret allow
    vec![
        LD_NR,
        [0x15 | 1 << 24, nr as u32],
        [0x06, action],
        [0x06, 0x7fff_0000],
    ]
}

fn install(code: &[[u32; 2]], flags: u32) -> Ret {
    let prog = [code.len(), code.raw()];
    sc!(seccomp, 1, flags, &prog)
}

fn no_new_privs() {
    sc!(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).is(0);
}

/// Installs `filter(getppid, action)` and calls getppid in a child.
#[track_caller]
fn confined(action: u32, f: impl FnOnce()) -> Child {
    fork(|| {
        no_new_privs();
        install(&filter(SYS_getppid, action), 0)
            .skip_on(&[ENOSYS, EINVAL])
            .is(0);
        f();
    })
}

pub static CASES: &[Case] = &[
    case!("seccomp", "errno_action", || {
        confined(0x0005_0000 | 99, || {
            sc!(getppid).err(99);
            sc!(getpid).ok();
        })
        .ok();
    }),
    case!("seccomp", "kill_process_action", || {
        confined(0x8000_0000, || ignore(sc!(getppid).errno())).dies(SIGSYS);
    }),
    case!("seccomp", "trap_action_sends_sigsys", || {
        confined(0x0003_0000 | 7, || {
            on_signal(SIGSYS, 0);
            let _ = sc!(getppid).errno();
            assert_eq!((hits(SIGSYS), last_code(SIGSYS)), (1, 1));
        })
        .ok();
    }),
    case!("seccomp", "log_and_allow_let_it_pass", || {
        confined(0x7ffc_0000, || ignore(sc!(getppid).ok())).ok();
    }),
    case!("seccomp", "strictest_of_several_wins", || {
        confined(0x0005_0000 | 1, || {
            install(&filter(SYS_getppid, 0x0005_0000 | 2), 0).is(0);
            // Equal actions: the newest filter's value is taken.
            sc!(getppid).err(2);
        })
        .ok();
    }),
    case!("seccomp", "inherited_by_children_and_exec", || {
        confined(0x0005_0000 | 1, || {
            fork(|| sc!(getppid).err(1)).ok();
        })
        .ok();
    }),
    case!("seccomp", "arguments_can_be_examined", || {
        // Deny getpriority(0, 5) only: ld arg1.
        let nr = SYS_getpriority as u32;
        let code = [
            LD_NR,
            [0x15 | 3 << 24, nr],
            [0x20, 24],
            [0x15 | 1 << 24, 5],
            [0x06, 0x0005_0000 | 77],
            [0x06, 0x7fff_0000],
        ];
        fork(|| {
            no_new_privs();
            install(&code, 0).skip_on(&[ENOSYS, EINVAL]).is(0);
            sc!(getpriority, 0, 5).err(77);
            sc!(getpriority, 0, 0).ok();
        })
        .ok();
    }),
    case!("seccomp", "needs_no_new_privs_or_privilege", || {
        as_nobody(|| {
            let r = install(&filter(SYS_getppid, 0x7fff_0000), 0);
            r.skip_on(&[ENOSYS, EINVAL]).err(EACCES);
        });
    }),
    case!("seccomp", "bad_programs_are_einval", || {
        no_new_privs();
        let allow = [0x06u32, 0x7fff_0000];
        let _ = install(&[allow], 0).skip_on(&[ENOSYS, EINVAL]).ok();
        install(&[], 0).err(EINVAL);
        install(&[LD_NR], 0).err(EINVAL);
        install(&[[0x20, 3], allow], 0).err(EINVAL);
        install(&[[0x20, 64], allow], 0).err(EINVAL);
        install(&[[0xffff, 0], allow], 0).err(EINVAL);
        install(&[[0x15 | 9 << 16, 0], allow], 0).err(EINVAL);
        install(&[allow], 1 << 20).err(EINVAL);
        sc!(seccomp, 9, 0, 0).err(EINVAL);
    }),
    case!("seccomp prctl", "strict_mode_allows_four_calls", || {
        fork(|| {
            sc!(seccomp, 0, 0, 0).skip_on(&[ENOSYS, EINVAL]).is(0);
            let _ = sc!(write, 99, BAD, 0).errno();
            let _ = sc!(exit, 0).errno();
        })
        .ok();
        fork(|| {
            sc!(prctl, PR_SET_SECCOMP, 1).is(0);
            let _ = sc!(getpid).errno();
        })
        .dies(SIGKILL);
    }),
    case!("seccomp", "status_shows_the_mode", || {
        confined(0x7fff_0000, || {
            assert_eq!(status_field(getpid(), "Seccomp"), "2");
            assert_eq!(status_field(getpid(), "Seccomp_filters"), "1");
        })
        .ok();
    }),
    case!("seccomp", "actions_available", || {
        let errno = 0x0005_0000u32;
        sc!(seccomp, 2, 0, &raw const errno)
            .skip_on(&[ENOSYS, EINVAL])
            .is(0);
        let odd = 0x0123_0000u32;
        sc!(seccomp, 2, 0, &raw const odd).err(EOPNOTSUPP);
        let mut sizes = [0u16; 3];
        sc!(seccomp, 3, 0, &mut sizes).is(0);
        assert_eq!(sizes, [80, 24, 64]);
    }),
    case!(
        "landlock_create_ruleset landlock_add_rule landlock_restrict_self",
        "confines_writing",
        || {
            let version = sc!(landlock_create_ruleset, 0, 0, 1)
                .skip_on(&[ENOSYS, EOPNOTSUPP])
                .ok();
            assert!(version >= 1);
            dir("yes");
            dir("no");
            fork(|| {
                // Handle WRITE_FILE and MAKE_REG; allow both beneath "yes".
                let rights = 1u64 << 1 | 1 << 8;
                let set = sc!(landlock_create_ruleset, [rights], 8, 0).fd();
                let parent = open("yes", O_PATH);
                let mut rule = rights.to_ne_bytes().to_vec();
                rule.extend_from_slice(&parent.to_ne_bytes());
                sc!(landlock_add_rule, set, 1, &rule, 0).is(0);
                no_new_privs();
                sc!(landlock_restrict_self, set, 0).is(0);
                put("yes/f", b"fine");
                sc!(openat, AT_FDCWD, c"no/f", O_CREAT | O_WRONLY, 0o600).err(EACCES);
            })
            .ok();
        }
    ),
    case!("landlock_create_ruleset", "errors", || {
        sc!(landlock_create_ruleset, 0, 0, 1)
            .skip_on(&[ENOSYS, EOPNOTSUPP])
            .ok();
        sc!(landlock_create_ruleset, 0, 0, 9).err_any(&[EINVAL]);
        sc!(landlock_create_ruleset, [0u64], 8, 0).err(ENOMSG);
        sc!(landlock_create_ruleset, [1u64 << 60], 8, 0).err(EINVAL);
        sc!(landlock_restrict_self, 99, 0).err_any(&[EBADF, EPERM]);
    }),
    case!("seccomp ioctl", "supervisor_decides", || {
        const RECV: u32 = 0xc050_2100;
        const SEND: u32 = 0xc018_2101;
        const ID_VALID: u32 = 0x4008_2102;
        let parent = getpid();
        let (r, w) = pipe();
        // A thread of the child decides about the calls of another.
        let child = fork(|| {
            no_new_privs();
            // SECCOMP_FILTER_FLAG_NEW_LISTENER
            let fd = install(&filter(SYS_getppid, 0x7fc0_0000), 8)
                .skip_on(&[ENOSYS, EINVAL])
                .fd();
            let supervisor = std::thread::spawn(move || {
                for (value, error, flags) in
                    [(4711u64, 0u32, 0u32), (0, EXDEV as u32, 0), (0, 0, 1)]
                {
                    let mut call = [0u64; 10];
                    sc!(ioctl, fd, RECV, &mut call).is(0);
                    let call = std::hint::black_box(&mut call);
                    assert_eq!(call[2] as u32, SYS_getppid as u32);
                    sc!(ioctl, fd, ID_VALID, &[call[0]]).is(0);
                    let error = error.wrapping_neg();
                    let reply = [call[0], value, u64::from(error) | u64::from(flags) << 32];
                    sc!(ioctl, fd, SEND, &reply).is(0);
                    sc!(ioctl, fd, SEND, &reply).err_any(&[ENOENT, EINPROGRESS]);
                }
            });
            sc!(getppid).is(4711);
            sc!(getppid).err(EXDEV);
            sc!(getppid).is(i64::from(parent));
            supervisor.join().unwrap();
            close(fd);
            sc!(getppid).err(ENOSYS);
            write_all(w, b"done");
        });
        child.ok();
        assert_eq!(read_some(r, 8), b"done");
    }),
    case!("seccomp", "every_thread_is_confined_together", || {
        confined(0x7fff_0000, || {
            let gate = Gate::new();
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    gate.wait();
                    sc!(getppid).err(44);
                });
                // SECCOMP_FILTER_FLAG_TSYNC
                install(&filter(SYS_getppid, 0x0005_0000 | 44), 1).is(0);
                gate.open();
                thread.join().unwrap();
            });
        })
        .ok();
    }),
    case!("seccomp ptrace", "tracer_decides", || {
        // Without a tracer there is nobody to ask.
        confined(0x7ff0_0000 | 5, || sc!(getppid).err(ENOSYS)).ok();
        let child = fork(|| {
            sc!(ptrace, PTRACE_TRACEME, 0, 0, 0).is(0);
            sc!(kill, getpid(), SIGSTOP).is(0);
            no_new_privs();
            install(&filter(SYS_getppid, 0x7ff0_0000 | 5), 0).is(0);
            sc!(getppid).ok();
        });
        assert_eq!(child.wait().stopped(), Some(SIGSTOP));
        let option = PTRACE_O_TRACESECCOMP as usize;
        sc!(ptrace, PTRACE_SETOPTIONS, child.pid, 0, option).is(0);
        sc!(ptrace, PTRACE_CONT, child.pid, 0, 0).is(0);
        assert_eq!(child.wait().0 >> 16, PTRACE_EVENT_SECCOMP);
        let mut message = 0u64;
        let at = (&raw mut message).expose_provenance();
        sc!(ptrace, PTRACE_GETEVENTMSG, child.pid, 0, at).is(0);
        assert_eq!(*std::hint::black_box(&mut message), 5);
        sc!(ptrace, PTRACE_CONT, child.pid, 0, 0).is(0);
        child.ok();
    }),
    case!("seccomp", "thread_can_be_killed_alone", || {
        confined(0, || {
            let child = fork(|| {
                let dead = std::thread::spawn(|| ignore(sc!(getppid).errno()));
                sleep_ms(200);
                drop(dead);
                exit(6);
            });
            child.exits(6);
        })
        .ok();
    }),
    case!("prctl", "user_dispatch_makes_signals_of_calls", || {
        const SET: i32 = 59;
        let switch = map_anon(PAGE, PROT_READ | PROT_WRITE);
        sc!(prctl, SET, 1, 0, 0, switch).skip_on(&[EINVAL]).is(0);
        on_signal(SIGSYS, 0);
        sc!(prctl, SET, 0, 0, 0, 0).is(0);
        sc!(prctl, SET, 0, 1, 0, 0).err(EINVAL);
        sc!(prctl, SET, 2, 0, 0, 0).err(EINVAL);
        sc!(prctl, SET, 1, 8, 0, 0).err(EINVAL);
        sc!(prctl, SET, 1, 0, 0, usize::MAX).err(EFAULT);
        // All calls are blocked while the byte says so; the handler's return passes as SIGSYS would again, so the
        // child dies of it.
        let child = fork(|| {
            set_disposition(SIGSYS, SIG_DFL);
            sc!(prctl, SET, 1, 0, 0, switch).is(0);
            sc!(getppid).ok();
            poke(switch, 1);
            let _ = sc!(getppid).errno();
            poke(switch, 0);
        });
        child.dies(SIGSYS);
    }),
];
