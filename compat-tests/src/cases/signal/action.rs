//! rt_sigaction(2), rt_sigprocmask(2), sigaltstack(2), kill(2), tgkill(2): delivery and its rules.

use crate::prelude::*;

/// The kernel's sigaction: handler, flags, restorer, mask.
fn query(sig: i32) -> [u64; 4] {
    let mut act = [0u64; 4];
    sc!(rt_sigaction, sig, 0, &mut act, 8).is(0);
    act
}

pub static CASES: &[Case] = &[
    case!("rt_sigaction", "new_process_has_defaults", || {
        for sig in 1..=64 {
            if ![SIGPIPE, 32, 33].contains(&sig) && ![SIGSEGV, SIGBUS].contains(&sig) {
                assert_eq!(query(sig)[0], SIG_DFL as u64, "signal {sig}");
            }
        }
    }),
    case!("rt_sigaction", "old_action_is_given_back", || {
        on_signal_masking(SIGUSR1, SA_RESTART, bit(SIGUSR2));
        let act = query(SIGUSR1);
        assert_ne!(act[0], 0);
        let want = (SA_RESTART | SA_SIGINFO) as u64;
        assert_eq!(act[1] & !0x0400_0000, want);
        assert_eq!(act[3], bit(SIGUSR2));
    }),
    case!("rt_sigaction", "kill_and_stop_are_einval", || {
        let act = [SIG_IGN as u64, 0, 0, 0];
        sc!(rt_sigaction, SIGKILL, &act, 0, 8).err(EINVAL);
        sc!(rt_sigaction, SIGSTOP, &act, 0, 8).err(EINVAL);
        let mut old = [0u64; 4];
        sc!(rt_sigaction, SIGKILL, 0, &mut old, 8).is(0);
    }),
    case!("rt_sigaction", "bad_numbers_sizes_pointers", || {
        let act = [SIG_IGN as u64, 0, 0, 0];
        sc!(rt_sigaction, 0, &act, 0, 8).err(EINVAL);
        sc!(rt_sigaction, 65, &act, 0, 8).err(EINVAL);
        sc!(rt_sigaction, SIGUSR1, &act, 0, 4).err(EINVAL);
        sc!(rt_sigaction, SIGUSR1, BAD, 0, 8).err(EFAULT);
        sc!(rt_sigaction, SIGUSR1, 0, BAD, 8).err(EFAULT);
    }),
    case!(
        "rt_sigaction",
        "handler_runs_and_signal_is_blocked_in_it",
        || {
            on_signal(SIGUSR1, 0);
            sc!(kill, getpid(), SIGUSR1).is(0);
            assert_eq!(hits(SIGUSR1), 1);
            assert_eq!(sigmask(SIG_BLOCK, 0), 0);
        }
    ),
    case!("rt_sigaction", "resethand_resets_to_default", || {
        fork(|| {
            on_signal(SIGUSR1, SA_RESETHAND);
            sc!(kill, getpid(), SIGUSR1).is(0);
            assert_eq!(query(SIGUSR1)[0], 0);
            sc!(kill, getpid(), SIGUSR1).is(0);
        })
        .dies(SIGUSR1);
    }),
    case!("rt_sigaction", "nodefer_allows_nesting", || {
        extern "C" fn nest(_: i32) {
            let w = WORDS.load(SeqCst);
            let depth = word_at(w).fetch_add(1, SeqCst);
            if depth < 3 {
                let _ = sc!(kill, getpid(), SIGUSR1);
                word_at(w + 4).fetch_max(depth + 1, SeqCst);
            }
        }
        static WORDS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        WORDS.store(shared_words()[0].as_ptr().addr(), SeqCst);
        install_plain_handler(SIGUSR1, nest, SA_NODEFER);
        sc!(kill, getpid(), SIGUSR1).is(0);
        assert_eq!(word_at(WORDS.load(SeqCst) + 4).load(SeqCst), 3);
    }),
    case!(
        "rt_sigaction",
        "mask_blocks_others_during_the_handler",
        || {
            extern "C" fn first(_: i32) {
                let _ = sc!(kill, getpid(), SIGUSR2);
            }
            install_plain_handler(SIGUSR1, first, 0);
            on_signal(SIGUSR2, 0);
            sc!(kill, getpid(), SIGUSR1).is(0);
            assert_eq!(hits(SIGUSR2), 1);
            on_signal_masking(SIGUSR1, 0, bit(SIGUSR2));
            assert_eq!(query(SIGUSR1)[3], bit(SIGUSR2));
        }
    ),
    case!("rt_sigaction", "siginfo_of_kill", || {
        on_signal(SIGUSR1, 0);
        sc!(kill, getpid(), SIGUSR1).is(0);
        assert_eq!((last_code(SIGUSR1), last_pid(SIGUSR1)), (SI_USER, getpid()));
    }),
    case!("rt_sigaction", "siginfo_of_tgkill", || {
        on_signal(SIGUSR1, 0);
        sc!(tgkill, getpid(), gettid(), SIGUSR1).is(0);
        assert_eq!((last_code(SIGUSR1), last_pid(SIGUSR1)), (-6, getpid()));
    }),
    case!("rt_sigaction", "ignoring_discards_what_is_pending", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        sc!(kill, getpid(), SIGUSR1).is(0);
        assert_eq!(pending(), bit(SIGUSR1));
        set_disposition(SIGUSR1, SIG_IGN);
        assert_eq!(pending(), 0);
    }),
    case!(
        "rt_sigaction",
        "default_of_ignored_signals_discards_too",
        || {
            on_signal(SIGCHLD, 0);
            sigmask(SIG_BLOCK, bit(SIGCHLD));
            sc!(kill, getpid(), SIGCHLD).is(0);
            set_disposition(SIGCHLD, SIG_DFL);
            assert_eq!(pending(), 0);
        }
    ),
    case!("kill", "default_actions", || {
        for sig in [
            SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO,
        ] {
            fork(|| sc!(kill, getpid(), sig).is(0)).dies(sig);
        }
        for sig in [SIGCHLD, SIGURG, SIGWINCH, SIGCONT] {
            fork(|| sc!(kill, getpid(), sig).is(0)).ok();
        }
    }),
    case!("kill", "core_signals_kill", || {
        sc!(setrlimit, RLIMIT_CORE, [0u64, 0]).is(0);
        for sig in [
            SIGQUIT, SIGILL, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGSYS, SIGTRAP, SIGXCPU,
        ] {
            fork(|| {
                set_disposition(sig, SIG_DFL);
                sc!(kill, getpid(), sig).is(0);
            })
            .dies(sig);
        }
    }),
    case!("kill", "real_time_default_kills", || {
        fork(|| sc!(kill, getpid(), SIGRTMIN() + 3).is(0)).dies(SIGRTMIN() + 3);
    }),
    case!("kill", "errors", || {
        sc!(kill, getpid(), 65).err(EINVAL);
        sc!(kill, getpid(), -1).err(EINVAL);
        sc!(kill, 1 << 22, 0).err(ESRCH);
        sc!(kill, -(1 << 22), SIGTERM).err(ESRCH);
        sc!(kill, getpid(), 0).is(0);
    }),
    case!("kill", "group_zero_is_the_own_group", || {
        on_signal(SIGUSR1, 0);
        let ready = Gate::new();
        let child = fork(|| {
            ready.open();
            eventually("signal from the group", || hits(SIGUSR1) == 1);
        });
        ready.wait();
        sc!(kill, 0, SIGUSR1).is(0);
        assert_eq!(hits(SIGUSR1), 1);
        child.ok();
    }),
    case!("tgkill tkill", "errors", || {
        sc!(tgkill, getpid(), 1 << 22, 0).err(ESRCH);
        sc!(tgkill, 1, gettid(), 0).err(ESRCH);
        sc!(tgkill, -1, 1, 0).err(EINVAL);
        sc!(tgkill, getpid(), 0, 0).err(EINVAL);
        sc!(tgkill, getpid(), gettid(), 99).err(EINVAL);
        sc!(tkill, 0, SIGUSR1).err(EINVAL);
        sc!(tkill, 1 << 22, 0).err(ESRCH);
        sc!(tkill, gettid(), 0).is(0);
    }),
    case!("tgkill", "goes_to_the_chosen_thread", || {
        on_signal(SIGUSR1, 0);
        let (tx, rx) = std::sync::mpsc::channel();
        let t = std::thread::spawn(move || {
            let _ = tx.send(gettid());
            eventually("signal in the thread", || hits(SIGUSR1) == 1);
            gettid()
        });
        let tid = rx.recv().unwrap_or(0);
        sc!(tgkill, getpid(), tid, SIGUSR1).is(0);
        assert_eq!(t.join().unwrap_or(0), last_thread());
    }),
    case!(
        "kill",
        "process_signal_goes_to_a_thread_that_takes_it",
        || {
            on_signal(SIGUSR1, 0);
            let t = std::thread::spawn(|| {
                eventually("signal", || hits(SIGUSR1) == 1);
                gettid()
            });
            sigmask(SIG_BLOCK, bit(SIGUSR1));
            sc!(kill, getpid(), SIGUSR1).is(0);
            // The new thread inherited an open mask only if it was created before the block.
            let tid = t.join().unwrap_or(0);
            assert_eq!(last_thread(), tid);
        }
    ),
    case!("rt_sigprocmask", "block_unblock_setmask", || {
        let (a, b) = (bit(SIGUSR1), bit(SIGUSR2));
        assert_eq!(sigmask(SIG_BLOCK, a), 0);
        assert_eq!(sigmask(SIG_BLOCK, b), a);
        assert_eq!(sigmask(SIG_UNBLOCK, a), a | b);
        assert_eq!(sigmask(SIG_SETMASK, 0), b);
        assert_eq!(sigmask(SIG_BLOCK, 0), 0);
    }),
    case!("rt_sigprocmask", "kill_and_stop_cannot_be_blocked", || {
        sigmask(SIG_SETMASK, u64::MAX);
        let all = sigmask(SIG_BLOCK, 0);
        assert_eq!(all, !(bit(SIGKILL) | bit(SIGSTOP)));
    }),
    case!("rt_sigprocmask", "errors", || {
        sc!(rt_sigprocmask, 9, [0u64], 0, 8).err(EINVAL);
        sc!(rt_sigprocmask, 9, 0, 0, 8).is(0);
        sc!(rt_sigprocmask, SIG_BLOCK, [0u64], 0, 4).err(EINVAL);
        sc!(rt_sigprocmask, SIG_BLOCK, BAD, 0, 8).err(EFAULT);
    }),
    case!(
        "rt_sigprocmask",
        "unblocking_delivers_before_returning",
        || {
            on_signal(SIGUSR1, 0);
            sigmask(SIG_BLOCK, bit(SIGUSR1));
            sc!(kill, getpid(), SIGUSR1).is(0);
            assert_eq!(hits(SIGUSR1), 0);
            sigmask(SIG_UNBLOCK, bit(SIGUSR1));
            assert_eq!(hits(SIGUSR1), 1);
        }
    ),
    case!("rt_sigprocmask", "masks_are_per_thread", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        let t = std::thread::spawn(|| {
            let inherited = sigmask(SIG_SETMASK, 0);
            assert_eq!(inherited, bit(SIGUSR1));
        });
        let _ = t.join();
        assert_eq!(sigmask(SIG_BLOCK, 0), bit(SIGUSR1));
    }),
    case!("rt_sigpending", "standard_signals_do_not_queue", || {
        on_signal(SIGUSR1, 0);
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        for _ in 0..3 {
            sc!(kill, getpid(), SIGUSR1).is(0);
        }
        assert_eq!(pending(), bit(SIGUSR1));
        sigmask(SIG_UNBLOCK, bit(SIGUSR1));
        assert_eq!(hits(SIGUSR1), 1);
    }),
    case!("rt_sigpending", "size_and_pointer", || {
        let mut s = [0u64];
        sc!(rt_sigpending, &mut s, 16).err(EINVAL);
        sc!(rt_sigpending, BAD, 8).err(EFAULT);
    }),
    case!("rt_sigsuspend", "waits_with_another_mask", || {
        on_signal(SIGUSR1, 0);
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        sc!(kill, getpid(), SIGUSR1).is(0);
        sc!(rt_sigsuspend, [0u64], 8).err(EINTR);
        assert_eq!(hits(SIGUSR1), 1);
        assert_eq!(sigmask(SIG_BLOCK, 0), bit(SIGUSR1));
        sc!(rt_sigsuspend, [0u64], 4).err(EINVAL);
    }),
    case!("pause", "returns_after_a_handler", || {
        let child = fork(|| {
            on_signal(SIGUSR1, SA_RESTART);
            sc!(pause).err(EINTR);
        });
        wait_asleep(child.pid);
        child.kill(SIGUSR1);
        child.ok();
    }),
    case!("sigaltstack", "handler_runs_on_it", || {
        let at = map_anon(16 * PAGE, PROT_READ | PROT_WRITE);
        sc!(sigaltstack, [at, 0, 16 * PAGE], 0).is(0);
        on_signal(SIGUSR1, SA_ONSTACK);
        sc!(kill, getpid(), SIGUSR1).is(0);
        assert!((at..at + 16 * PAGE).contains(&last_stack()));
        on_signal(SIGUSR1, 0);
        sc!(kill, getpid(), SIGUSR1).is(0);
        assert!(!(at..at + 16 * PAGE).contains(&last_stack()));
    }),
    case!("sigaltstack", "query_and_disable", || {
        let at = map_anon(16 * PAGE, PROT_READ | PROT_WRITE);
        sc!(sigaltstack, [at, 0, 16 * PAGE], 0).is(0);
        let mut old = [0usize; 3];
        sc!(sigaltstack, 0, &mut old).is(0);
        assert_eq!((old[0], old[1] as u32, old[2]), (at, 0, 16 * PAGE));
        sc!(sigaltstack, [0usize, SS_DISABLE as usize, 0], 0).is(0);
        sc!(sigaltstack, 0, &mut old).is(0);
        assert_eq!(old[1] as i32, SS_DISABLE);
    }),
    case!("sigaltstack", "errors", || {
        let at = map_anon(PAGE, PROT_READ | PROT_WRITE);
        sc!(sigaltstack, [at, 0, 1024], 0).err(ENOMEM);
        sc!(sigaltstack, [at, 0x40, 16 * PAGE], 0).err(EINVAL);
        sc!(sigaltstack, BAD, 0).err(EFAULT);
    }),
    case!("sigaltstack", "cannot_change_while_in_use", || {
        extern "C" fn change(_: i32) {
            let mut now = [0usize; 3];
            sc!(sigaltstack, 0, &mut now).is(0);
            assert_eq!(now[1] as i32, SS_ONSTACK);
            sc!(sigaltstack, [now[0], 0, now[2]], 0).err(EPERM);
        }
        let at = map_anon(64 * PAGE, PROT_READ | PROT_WRITE);
        sc!(sigaltstack, [at, 0, 64 * PAGE], 0).is(0);
        install_plain_handler(SIGUSR1, change, SA_ONSTACK);
        sc!(kill, getpid(), SIGUSR1).is(0);
    }),
    case!("sigaltstack", "autodisarm", || {
        extern "C" fn look(_: i32) {
            let mut now = [0usize; 3];
            sc!(sigaltstack, 0, &mut now).is(0);
            assert_eq!(now[1] as i32 & SS_DISABLE, SS_DISABLE);
        }
        let at = map_anon(64 * PAGE, PROT_READ | PROT_WRITE);
        sc!(sigaltstack, [at, 1 << 31, 64 * PAGE], 0).is(0);
        install_plain_handler(SIGUSR1, look, SA_ONSTACK);
        sc!(kill, getpid(), SIGUSR1).is(0);
        let mut now = [0usize; 3];
        sc!(sigaltstack, 0, &mut now).is(0);
        assert_eq!((now[0], now[1] as u32), (at, 1 << 31));
    }),
    case!("kill", "stop_and_continue", || {
        let child = fork(|| sleep_ms(60_000));
        child.kill(SIGSTOP);
        assert_eq!(child.wait_for(WUNTRACED).stopped(), Some(SIGSTOP));
        assert_eq!(stat_field(child.pid, 3).as_deref(), Some("T"));
        child.kill(SIGTERM);
        sc!(wait4, child.pid, 0, WNOHANG, 0).is(0);
        child.kill(SIGCONT);
        child.dies(SIGTERM);
    }),
    case!("kill", "sigkill_ends_a_stopped_process", || {
        let child = fork(|| sleep_ms(60_000));
        child.kill(SIGSTOP);
        child.wait_for(WUNTRACED);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("kill", "sigcont_discards_pending_stops", || {
        sigmask(SIG_BLOCK, bit(SIGTSTP));
        sc!(kill, getpid(), SIGTSTP).is(0);
        assert_eq!(pending(), bit(SIGTSTP));
        sc!(kill, getpid(), SIGCONT).is(0);
        assert_eq!(pending(), 0);
    }),
    case!("kill", "caught_sigtstp_does_not_stop", || {
        on_signal(SIGTSTP, 0);
        sc!(kill, getpid(), SIGTSTP).is(0);
        assert_eq!(hits(SIGTSTP), 1);
    }),
    case!("kill", "stop_stops_all_threads", || {
        let w = shared_words();
        let child = fork(|| {
            for word in &w[..3] {
                std::thread::spawn(move || {
                    loop {
                        word.fetch_add(1, SeqCst);
                        sleep_ms(1);
                    }
                });
            }
            sleep_ms(60_000);
        });
        eventually("threads run", || (0..3).all(|i| w[i].load(SeqCst) > 2));
        child.kill(SIGSTOP);
        child.wait_for(WUNTRACED);
        let before: Vec<u32> = (0..3).map(|i| w[i].load(SeqCst)).collect();
        sleep_ms(50);
        let after: Vec<u32> = (0..3).map(|i| w[i].load(SeqCst)).collect();
        assert_eq!(before, after);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!(
        "rt_sigreturn",
        "floating_point_state_survives_a_handler",
        || {
            extern "C" fn spoil(_: i32) {
                let mut x = std::hint::black_box(1.5f64);
                for i in 0..100 {
                    x = std::hint::black_box(x * 1.1 + f64::from(i));
                }
            }
            install_plain_handler(SIGUSR1, spoil, 0);
            let (a, b) = (std::hint::black_box(0.1f64), std::hint::black_box(0.7f64));
            let want = a.mul_add(3.0, b);
            sc!(kill, getpid(), SIGUSR1).is(0);
            assert_eq!(a.mul_add(3.0, b).to_bits(), want.to_bits());
        }
    ),
];
