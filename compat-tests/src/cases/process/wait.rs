//! wait4(2), waitid(2): which child, which change, what is told.

use crate::prelude::*;

/// waitid into the raw 128 bytes of siginfo: signo, errno, code, pad, pid, uid, status.
fn waitid(which: u32, id: i32, options: i32) -> (Ret, [i32; 32]) {
    let mut info = [0i32; 32];
    (sc!(waitid, which, id, &mut info, options, 0), info)
}

fn stopped_child() -> Child {
    let child = fork(|| {
        loop {
            sleep_ms(1000);
        }
    });
    child.kill(SIGSTOP);
    child
}

pub static CASES: &[Case] = &[
    case!("wait4", "no_children_is_echild", || sc!(wait4, -1, 0, 0, 0)
        .err(ECHILD)),
    case!("wait4", "not_my_child_is_echild", || sc!(wait4, 1, 0, 0, 0)
        .err(ECHILD)),
    case!("wait4", "exit_code_and_pid", || {
        let child = fork(|| exit(42));
        let mut st = 0i32;
        sc!(wait4, -1, &raw mut st, 0, 0).is(child.pid.into());
        assert_eq!(st, 42 << 8);
        sc!(wait4, -1, &raw mut st, 0, 0).err(ECHILD);
    }),
    case!("wait4", "killing_signal", || {
        for sig in [SIGKILL, SIGTERM, SIGHUP, SIGALRM, SIGUSR1] {
            let child = fork(|| sleep_ms(60_000));
            child.kill(sig);
            assert_eq!(child.wait().0 & 0x7f, sig);
        }
    }),
    case!("wait4", "nohang_is_zero_while_running", || {
        let gate = Gate::new();
        let child = fork(|| gate.wait());
        let mut st = 77i32;
        sc!(wait4, child.pid, &raw mut st, WNOHANG, 0).is(0);
        assert_eq!(st, 77);
        gate.open();
        child.ok();
    }),
    case!("wait4", "stopped_only_with_untraced", || {
        let child = stopped_child();
        eventually("the child stops", || {
            stat_field(child.pid, 3).as_deref() == Some("T")
        });
        sc!(wait4, child.pid, 0, WNOHANG, 0).is(0);
        assert_eq!(child.wait_for(WUNTRACED).stopped(), Some(SIGSTOP));
        sc!(wait4, child.pid, 0, WNOHANG | WUNTRACED, 0).is(0);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("wait4", "continued", || {
        let child = stopped_child();
        child.wait_for(WUNTRACED);
        child.kill(SIGCONT);
        let st = child.wait_for(WCONTINUED);
        assert!(st.continued() && st.0 == 0xffff, "{:#x}", st.0);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("wait4", "by_process_group", || {
        let a = fork(|| {
            sc!(setpgid, 0, 0).is(0);
            sleep_ms(50);
        });
        let _ = sc!(setpgid, a.pid, a.pid).errno();
        let b = fork(|| ());
        sc!(wait4, 0, 0, 0, 0).is(b.pid.into());
        sc!(wait4, -a.pid, 0, 0, 0).is(a.pid.into());
        sc!(wait4, 0, 0, 0, 0).err(ECHILD);
    }),
    case!("wait4", "resource_usage_counts_cpu_time", || {
        let child = fork(|| {
            let end = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + 60 * MS;
            while clock_ns(CLOCK_PROCESS_CPUTIME_ID) < end {}
        });
        let mut ru: rusage = zeroed();
        sc!(wait4, child.pid, 0, 0, &raw mut ru).is(child.pid.into());
        let us = (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1_000_000
            + ru.ru_utime.tv_usec
            + ru.ru_stime.tv_usec;
        assert!((40_000..5_000_000).contains(&us), "{us} us");
        assert!(ru.ru_maxrss > 0 && ru.ru_minflt > 0);
    }),
    case!("wait4", "errors", || {
        let child = fork(|| ());
        sc!(wait4, child.pid, 0, 0x100, 0).err(EINVAL);
        sc!(wait4, child.pid, BAD, 0, 0).err(EFAULT);
        sc!(wait4, i32::MIN, 0, 0, 0).err(ESRCH);
    }),
    case!("wait4", "null_status_is_fine", || {
        let child = fork(|| ());
        sc!(wait4, child.pid, 0, 0, 0).is(child.pid.into());
    }),
    case!("wait4", "ignored_sigchld_reaps_by_itself", || {
        set_disposition(SIGCHLD, SIG_IGN);
        let _child = fork(|| sleep_ms(20));
        sc!(wait4, -1, 0, 0, 0).err(ECHILD);
    }),
    case!("wait4", "nocldwait_reaps_by_itself", || {
        on_signal(SIGCHLD, SA_NOCLDWAIT | SA_RESTART);
        let _child = fork(|| sleep_ms(20));
        sc!(wait4, -1, 0, 0, 0).err(ECHILD);
        assert_eq!(hits(SIGCHLD), 1);
    }),
    case!("wait4", "signal_interrupts", || {
        let outer = fork(|| {
            on_signal(SIGUSR1, 0);
            let _inner = fork(|| sleep_ms(60_000));
            sc!(wait4, -1, 0, 0, 0).err(EINTR);
        });
        wait_asleep(outer.pid);
        outer.kill(SIGUSR1);
        outer.ok();
    }),
    case!("wait4", "any_thread_may_wait", || {
        let child = fork(|| exit(6));
        std::thread::spawn(move || child.exits(6))
            .join()
            .unwrap_or(());
        sc!(wait4, -1, 0, 0, 0).err(ECHILD);
    }),
    case!("wait4", "nothread_sees_only_own_children", || {
        let child = fork(|| ());
        let other = std::thread::spawn(|| sc!(wait4, -1, 0, __WNOTHREAD, 0).err(ECHILD));
        other.join().unwrap_or(());
        child.ok();
    }),
    case!("waitid", "exited_fills_siginfo", || {
        let child = fork(|| exit(300));
        let (r, info) = waitid(P_PID, child.pid, WEXITED);
        r.is(0);
        let uid = sc!(getuid).ok() as i32;
        assert_eq!(
            (info[0], info[2], info[4], info[5]),
            (SIGCHLD, CLD_EXITED, child.pid, uid)
        );
        assert_eq!(info[6], 300 & 0xff);
    }),
    case!("waitid", "killed_fills_siginfo", || {
        let child = fork(|| sleep_ms(60_000));
        child.kill(SIGKILL);
        let (r, info) = waitid(P_ALL, 0, WEXITED);
        r.is(0);
        assert_eq!((info[2], info[6]), (CLD_KILLED, SIGKILL));
    }),
    case!("waitid", "nowait_leaves_it_waitable", || {
        let child = fork(|| exit(1));
        waitid(P_PID, child.pid, WEXITED | WNOWAIT).0.is(0);
        waitid(P_PID, child.pid, WEXITED | WNOWAIT).0.is(0);
        child.exits(1);
    }),
    case!("waitid", "nohang_with_nothing_zeroes_pid", || {
        let gate = Gate::new();
        let child = fork(|| gate.wait());
        let mut info = [7i32; 32];
        sc!(waitid, P_PID, child.pid, &mut info, WEXITED | WNOHANG, 0).is(0);
        assert_eq!((info[0], info[4]), (0, 0));
        gate.open();
        child.ok();
    }),
    case!("waitid", "stopped_and_continued", || {
        let child = stopped_child();
        let (r, info) = waitid(P_PID, child.pid, WSTOPPED);
        r.is(0);
        assert_eq!((info[2], info[6]), (CLD_STOPPED, SIGSTOP));
        child.kill(SIGCONT);
        let (r, info) = waitid(P_PID, child.pid, WCONTINUED);
        r.is(0);
        assert_eq!((info[2], info[6]), (CLD_CONTINUED, SIGCONT));
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("waitid", "without_state_options_is_einval", || {
        fork(|| ());
        waitid(P_ALL, 0, 0).0.err(EINVAL);
        waitid(P_ALL, 0, WNOHANG).0.err(EINVAL);
        waitid(P_ALL, 0, WEXITED | 0x100).0.err(EINVAL);
        waitid(99, 0, WEXITED).0.err(EINVAL);
        waitid(P_PID, 0, WEXITED).0.err(EINVAL);
    }),
    case!("waitid", "by_group", || {
        let child = fork(|| ());
        let pgid = sc!(getpgid, 0).fd();
        let (r, info) = waitid(P_PGID, pgid, WEXITED);
        r.is(0);
        assert_eq!(info[4], child.pid);
        waitid(P_PGID, 0, WEXITED).0.err(ECHILD);
    }),
    case!("waitid", "null_info_is_allowed", || {
        fork(|| ());
        sc!(waitid, P_ALL, 0, 0, WEXITED, 0).is(0);
    }),
    case!("wait4 rt_sigaction", "sigchld_tells_pid_and_code", || {
        on_signal(SIGCHLD, SA_RESTART);
        let child = fork(|| exit(3));
        child.exits(3);
        assert_eq!(
            (hits(SIGCHLD), last_pid(SIGCHLD), last_code(SIGCHLD)),
            (1, child.pid, CLD_EXITED)
        );
    }),
    case!(
        "wait4 rt_sigaction",
        "sigchld_on_stop_unless_nocldstop",
        || {
            on_signal(SIGCHLD, SA_RESTART);
            let child = stopped_child();
            child.wait_for(WUNTRACED);
            assert_eq!(last_code(SIGCHLD), CLD_STOPPED);
            on_signal(SIGCHLD, SA_RESTART | SA_NOCLDSTOP);
            let before = hits(SIGCHLD);
            child.kill(SIGCONT);
            child.wait_for(WCONTINUED);
            assert_eq!(hits(SIGCHLD), before);
            child.kill(SIGKILL);
            child.dies(SIGKILL);
        }
    ),
    case!("wait4", "zombie_shows_until_reaped", || {
        let child = fork(|| ());
        eventually("zombie", || {
            stat_field(child.pid, 3).as_deref() == Some("Z")
        });
        sc!(kill, child.pid, 0).is(0);
        child.ok();
        sc!(kill, child.pid, 0).err(ESRCH);
    }),
    case!("getrusage times", "children_are_added_when_reaped", || {
        let spin = || {
            let end = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + 50 * MS;
            while clock_ns(CLOCK_PROCESS_CPUTIME_ID) < end {}
        };
        let mut ru: rusage = zeroed();
        let child = fork(spin);
        eventually("zombie", || {
            stat_field(child.pid, 3).as_deref() == Some("Z")
        });
        sc!(getrusage, RUSAGE_CHILDREN, &raw mut ru).is(0);
        assert_eq!(ru.ru_utime.tv_usec, 0);
        child.ok();
        sc!(getrusage, RUSAGE_CHILDREN, &raw mut ru).is(0);
        assert!(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec > 20_000);
        let mut t = [0i64; 4];
        let _ = sc!(times, &mut t).ok();
        assert!(t[2] + t[3] >= 2, "{t:?}");
    }),
];
