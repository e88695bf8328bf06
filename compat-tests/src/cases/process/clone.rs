//! fork(2), vfork(2), clone(2), clone3(2), exit(2), threads.

use crate::prelude::*;
use std::sync::atomic::AtomicU32;

/// The structure of clone3(2).
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// clone3 without a new stack: like fork. The child runs `f` and exits 0.
fn clone3(args: CloneArgs, f: impl FnOnce()) -> Ret {
    let r = sc!(clone3, &raw const args, size_of::<CloneArgs>());
    if r.success() && r.ok() == 0 {
        f();
        exit(0);
    }
    r
}

fn clone_flags(flags: i32, f: impl FnOnce()) -> Ret {
    let r = sc!(clone, flags | SIGCHLD, 0, 0, 0, 0);
    if r.success() && r.ok() == 0 {
        f();
        exit(0);
    }
    r
}

pub static CASES: &[Case] = &[
    case!("fork", "returns_twice_with_right_ids", || {
        let me = getpid();
        let w = shared_words();
        let pid = sc!(fork).fd();
        if pid == 0 {
            w[0].store(sc!(getppid).ok() as u32, SeqCst);
            w[1].store(getpid() as u32, SeqCst);
            exit(0);
        }
        Child { pid }.ok();
        assert_eq!(
            (w[0].load(SeqCst) as i32, w[1].load(SeqCst) as i32),
            (me, pid)
        );
    }),
    case!("fork", "memory_is_a_copy", || {
        let mut x = vec![1u8; 100_000];
        fork(|| {
            x.fill(2);
            assert!(x.iter().all(|b| *b == 2));
        })
        .ok();
        assert!(x.iter().all(|b| *b == 1));
    }),
    case!("fork", "descriptors_are_copied", || {
        let (r, w) = pipe();
        fork(|| {
            close(r);
            write_all(w, b"c");
        })
        .ok();
        assert_eq!(read_some(r, 4), b"c");
    }),
    case!("fork", "pending_signals_are_not_inherited", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        sc!(kill, getpid(), SIGUSR1).is(0);
        fork(|| {
            assert_eq!(pending(), 0);
            assert_eq!(sigmask(SIG_BLOCK, 0), bit(SIGUSR1));
        })
        .ok();
        assert_eq!(pending(), bit(SIGUSR1));
    }),
    case!("fork", "timers_and_alarms_are_not_inherited", || {
        let _ = sc!(alarm, 100).ok();
        fork(|| sc!(alarm, 0).is(0)).ok();
        assert!(sc!(alarm, 0).ok() > 90);
    }),
    case!("fork", "dispositions_umask_and_cwd_are_inherited", || {
        set_disposition(SIGUSR2, SIG_IGN);
        let _ = sc!(umask, 0o055).ok();
        dir("d");
        sc!(chdir, c"d").is(0);
        fork(|| {
            sc!(kill, getpid(), SIGUSR2).is(0);
            sc!(umask, 0).is(0o055);
            put("here", b"");
        })
        .ok();
        assert!(exists("here"));
    }),
    case!("fork setrlimit", "process_limit_is_eagain", || {
        as_nobody(|| {
            sc!(setrlimit, RLIMIT_NPROC, [0u64, 0]).is(0);
            sc!(fork).err(EAGAIN);
        });
    }),
    case!("fork", "hundred_children_one_after_another", || {
        for i in 0..100 {
            fork(|| exit(i)).exits(i);
        }
    }),
    case!(
        "fork",
        "fifty_children_at_once",
        || {
            let kids: Vec<Child> = (0..50).map(|i| fork(|| exit(i))).collect();
            for (i, kid) in kids.into_iter().enumerate() {
                kid.exits(i as i32);
            }
        },
        20
    ),
    case!("vfork", "shares_memory_and_runs_first", || {
        let x = AtomicU32::new(1);
        let st = vfork_store(&x, 99);
        assert_eq!((x.load(SeqCst), st.code()), (99, Some(7)));
    }),
    case!("exit_group", "code_is_masked_to_eight_bits", || fork(
        || exit(0x1234)
    )
    .exits(0x34)),
    case!("exit", "of_the_only_thread_ends_the_process", || {
        fork(|| ignore(sc!(exit, 5).errno())).exits(5);
    }),
    case!("exit_group", "ends_all_threads", || {
        fork(|| {
            for _ in 0..4 {
                std::thread::spawn(|| sleep_ms(60_000));
            }
            exit(4);
        })
        .exits(4);
    }),
    case!("exit", "leader_may_exit_before_its_threads", || {
        let (r, w) = pipe();
        let child = fork(|| {
            std::thread::spawn(move || {
                sleep_ms(50);
                write_all(w, b"later");
                exit(6);
            });
            let _ = sc!(exit, 1).errno();
        });
        assert_eq!(read_some(r, 8), b"later");
        child.exits(6);
    }),
    case!("exit", "leader_is_a_zombie_while_threads_live", || {
        let gate = Gate::new();
        let child = fork(|| {
            std::thread::spawn(move || gate.wait());
            let _ = sc!(exit, 3).errno();
        });
        eventually("zombie leader", || {
            stat_field(child.pid, 3).as_deref() == Some("Z")
        });
        let mut st = 0i32;
        sc!(wait4, child.pid, &raw mut st, WNOHANG, 0).is(0);
        sc!(kill, child.pid, SIGKILL).is(0);
        child.dies(SIGKILL);
    }),
    case!("clone", "thread_shares_memory_and_pid", || {
        let me = getpid();
        let t = std::thread::spawn(|| (getpid(), gettid()));
        let (pid, tid) = t.join().unwrap_or((0, 0));
        assert_eq!(pid, me);
        assert_ne!(tid, me);
    }),
    case!("clone", "sixteen_threads_count_together", || {
        let total = std::sync::Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let total = total.clone();
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        total.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        for t in threads {
            let _ = t.join();
        }
        assert_eq!(total.load(SeqCst), 16000);
    }),
    case!("clone", "flag_combinations_that_are_einval", || {
        for flags in [CLONE_THREAD, CLONE_SIGHAND, CLONE_THREAD | CLONE_SIGHAND] {
            sc!(clone, flags, 0, 0, 0, 0).err(EINVAL);
        }
        sc!(clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0).err(EINVAL);
    }),
    case!("clone", "shared_files", || {
        let pid = clone_flags(CLONE_FILES, || {
            assert_eq!(open("/dev/null", O_RDONLY), 3);
        });
        Child { pid: pid.fd() }.ok();
        sc!(fcntl, 3, F_GETFD).is(0);
    }),
    case!("clone", "shared_fs_shares_cwd_and_umask", || {
        dir("d");
        let pid = clone_flags(CLONE_FS, || {
            sc!(chdir, c"d").is(0);
            let _ = sc!(umask, 0o70).ok();
        });
        Child { pid: pid.fd() }.ok();
        put("f", b"");
        assert_eq!(lstat("../d/f").st_mode & 0o777, 0o606);
    }),
    case!("clone", "parent_settid_and_child_settid", || {
        let w = shared_words();
        let flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD;
        let pid = sc!(clone, flags, 0, w[0].as_ptr(), w[1].as_ptr(), 0).fd();
        if pid == 0 {
            exit(if w[1].load(SeqCst) == getpid() as u32 {
                0
            } else {
                1
            });
        }
        assert_eq!(w[0].load(SeqCst) as i32, pid);
        Child { pid }.ok();
    }),
    case!("clone", "clone_parent_makes_a_sibling", || {
        let w = shared_words();
        let child = fork(|| {
            let pid = clone_flags(CLONE_PARENT, || exit(8)).fd();
            w[0].store(pid as u32, SeqCst);
            sc!(wait4, pid, 0, 0, 0).err(ECHILD);
        });
        child.ok();
        Child {
            pid: w[0].load(SeqCst) as i32,
        }
        .exits(8);
    }),
    case!("clone", "exit_signal_other_than_sigchld", || {
        on_signal(SIGUSR1, 0);
        let pid = sc!(clone, SIGUSR1, 0, 0, 0, 0).fd();
        if pid == 0 {
            exit(0);
        }
        eventually("SIGUSR1 on exit", || hits(SIGUSR1) == 1);
        sc!(wait4, pid, 0, WNOHANG, 0).err(ECHILD);
        sc!(wait4, pid, 0, __WCLONE, 0).is(pid.into());
    }),
    case!("clone3", "plain_child", || {
        let args = CloneArgs {
            exit_signal: SIGCHLD as u64,
            ..Default::default()
        };
        let r = clone3(args, || exit(11)).skip_on(&[ENOSYS]);
        Child { pid: r.fd() }.exits(11);
    }),
    case!("clone3", "pidfd_is_given", || {
        let mut fd = -1i32;
        let args = CloneArgs {
            flags: CLONE_PIDFD as u64,
            pidfd: (&raw mut fd).expose_provenance() as u64,
            exit_signal: SIGCHLD as u64,
            ..Default::default()
        };
        let pid = clone3(args, || ()).skip_on(&[ENOSYS]).fd();
        let fd = std::hint::black_box(&mut fd);
        assert_eq!(poll_one(*fd, POLLIN, 5000), POLLIN);
        sc!(fcntl, *fd, F_GETFD).is(1);
        Child { pid }.ok();
    }),
    case!("clone3", "set_tid_chooses_the_pid", || {
        need_root();
        let probe = fork(|| ());
        probe.ok();
        let want = [probe.pid];
        let args = CloneArgs {
            exit_signal: SIGCHLD as u64,
            set_tid: want.raw() as u64,
            set_tid_size: 1,
            ..Default::default()
        };
        let r = clone3(args, || ());
        r.skip_on(&[ENOSYS, EPERM]).is(probe.pid.into());
        probe.ok();
    }),
    case!("clone3", "set_tid_in_use_is_eexist", || {
        need_root();
        let want = [getpid()];
        let args = CloneArgs {
            exit_signal: SIGCHLD as u64,
            set_tid: want.raw() as u64,
            set_tid_size: 1,
            ..Default::default()
        };
        clone3(args, || ()).skip_on(&[ENOSYS, EPERM]).err(EEXIST);
    }),
    case!("clone3", "errors", || {
        let args = CloneArgs::default();
        sc!(clone3, &raw const args, 8)
            .skip_on(&[ENOSYS])
            .err(EINVAL);
        let bad = |a: CloneArgs| clone3(a, || ()).err(EINVAL);
        bad(CloneArgs {
            exit_signal: 99,
            ..args
        });
        bad(CloneArgs { flags: 1, ..args });
        bad(CloneArgs {
            stack: 4096,
            ..args
        });
        bad(CloneArgs {
            stack_size: 4096,
            ..args
        });
        bad(CloneArgs {
            flags: CLONE_DETACHED as u64,
            ..args
        });
        bad(CloneArgs {
            flags: CLONE_THREAD as u64 | CLONE_SIGHAND as u64,
            ..args
        });
        sc!(clone3, BAD, 88).err(EFAULT);
        sc!(clone3, vec![0u64; 600], 4800).err(E2BIG);
        let mut long = [0u64; 12];
        long[11] = 1;
        sc!(clone3, &long, 96).err(E2BIG);
    }),
    case!("clone3", "clear_sighand_resets_handlers", || {
        on_signal(SIGUSR1, 0);
        set_disposition(SIGUSR2, SIG_IGN);
        let flags = 0x1_0000_0000u64;
        let args = CloneArgs {
            flags,
            exit_signal: SIGCHLD as u64,
            ..Default::default()
        };
        let r = clone3(args, || {
            sc!(kill, getpid(), SIGUSR2).is(0);
            sc!(kill, getpid(), SIGUSR1).is(0);
        });
        Child {
            pid: r.skip_on(&[ENOSYS]).fd(),
        }
        .dies(SIGUSR1);
    }),
    case!("set_tid_address", "answers_the_thread_id", || {
        let w = shared_words();
        sc!(set_tid_address, w[0].as_ptr()).is(gettid().into());
    }),
    case!(
        "set_tid_address futex",
        "word_is_zeroed_and_woken_at_thread_exit",
        || {
            let w = shared_words();
            w[0].store(77, SeqCst);
            // Not joined: the C library waits on the word that it had registered itself.
            std::thread::spawn(|| sc!(set_tid_address, w[0].as_ptr()).is(gettid().into()));
            while w[0].load(SeqCst) == 77 {
                let r = sc!(futex, w[0].as_ptr(), FUTEX_WAIT, 77, 0, 0, 0);
                assert!(r.success() || r.errno() == EAGAIN);
            }
            assert_eq!(w[0].load(SeqCst), 0);
        }
    ),
    case!("gettid getpid getppid", "leader_has_tid_equal_pid", || {
        assert_eq!(gettid(), getpid());
        let me = getpid();
        fork(|| sc!(getppid).is(me.into())).ok();
    }),
    case!("getppid", "orphans_go_to_a_reaper", || {
        let w = shared_words();
        let gate = Gate::new();
        fork(|| {
            let child = fork(|| {
                let _ = sc!(prctl, PR_SET_PDEATHSIG, 0);
                gate.wait();
                w[0].store(sc!(getppid).ok() as u32, SeqCst);
                w[1].store(1, SeqCst);
            });
            w[2].store(child.pid as u32, SeqCst);
        })
        .ok();
        let me = getpid() as u32;
        gate.open();
        eventually("the orphan runs", || w[1].load(SeqCst) == 1);
        assert_ne!(w[0].load(SeqCst), me);
    }),
    case!("unshare", "files_become_separate", || {
        let pid = clone_flags(CLONE_FILES, || {
            sc!(unshare, CLONE_FILES).is(0);
            open("/dev/null", O_RDONLY);
        });
        Child { pid: pid.fd() }.ok();
        sc!(fcntl, 3, F_GETFD).err(EBADF);
    }),
    case!("unshare", "unknown_flags_are_einval", || {
        sc!(unshare, 1).err(EINVAL);
        sc!(unshare, 0).is(0);
    }),
    case!("unshare", "namespaces_need_privilege", || {
        as_nobody(|| sc!(unshare, CLONE_NEWNS).err(EPERM));
    }),
    case!("unshare", "uts_namespace_isolates_the_host_name", || {
        need_root();
        fork(|| {
            sc!(unshare, CLONE_NEWUTS).skip_on(&[EINVAL]).is(0);
            sc!(sethostname, b"inner", 5).is(0);
            assert_eq!(text("/proc/sys/kernel/hostname"), "inner\n");
        })
        .ok();
        assert_ne!(text("/proc/sys/kernel/hostname"), "inner\n");
    }),
    case!("unshare", "pid_namespace_starts_with_one", || {
        need_root();
        fork(|| {
            sc!(unshare, CLONE_NEWPID).skip_on(&[EINVAL]).is(0);
            fork(|| assert_eq!(getpid(), 1)).ok();
        })
        .ok();
    }),
    case!("setns", "errors", || {
        sc!(setns, 99, 0).err(EBADF);
        sc!(setns, file("f", b""), 0).err(EINVAL);
        as_nobody(|| {
            let r = sc!(openat, AT_FDCWD, c"/proc/self/ns/uts", O_RDONLY, 0);
            sc!(setns, r.skip_on(&[ENOENT]).fd(), 0).err(EPERM);
        });
    }),
];
