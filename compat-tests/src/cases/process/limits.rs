//! getrlimit(2), prlimit(2), getrusage(2), getpriority(2), acct(2).

use crate::prelude::*;

pub static CASES: &[Case] = &[
    case!("getrlimit setrlimit", "soft_limit_round_trip", || {
        let mut l = [0u64; 2];
        sc!(getrlimit, RLIMIT_NOFILE, &mut l).is(0);
        let new = [l[1].min(64), l[1]];
        sc!(setrlimit, RLIMIT_NOFILE, &new).is(0);
        let mut got = [0u64; 2];
        sc!(getrlimit, RLIMIT_NOFILE, &mut got).is(0);
        assert_eq!(got, new);
    }),
    case!("setrlimit", "soft_above_hard_is_einval", || {
        sc!(setrlimit, RLIMIT_NOFILE, [100u64, 50]).err(EINVAL);
    }),
    case!(
        "setrlimit",
        "raising_the_hard_limit_needs_privilege",
        || {
            as_nobody(|| {
                sc!(setrlimit, RLIMIT_CORE, [0u64, 0]).is(0);
                sc!(setrlimit, RLIMIT_CORE, [0u64, 10]).err(EPERM);
            });
        }
    ),
    case!("getrlimit", "unknown_resource_is_einval", || {
        let mut l = [0u64; 2];
        sc!(getrlimit, 99, &mut l).err(EINVAL);
        sc!(getrlimit, RLIMIT_CORE, BAD).err(EFAULT);
    }),
    case!("getrlimit", "all_sixteen_resources_exist", || {
        for which in 0..16 {
            let mut l = [0u64; 2];
            sc!(getrlimit, which, &mut l).is(0);
            assert!(l[0] <= l[1], "resource {which}");
        }
    }),
    case!("setrlimit", "nofile_above_nr_open_is_eperm", || {
        sc!(setrlimit, RLIMIT_NOFILE, [u64::MAX, u64::MAX]).err(EPERM);
    }),
    case!("prlimit64", "sets_and_gets_at_once", || {
        let mut old = [0u64; 2];
        sc!(prlimit64, 0, RLIMIT_CORE, [0u64, 100], &mut old).is(0);
        let mut now = [0u64; 2];
        sc!(prlimit64, 0, RLIMIT_CORE, 0, &mut now).is(0);
        assert_eq!(now, [0, 100]);
    }),
    case!("prlimit64", "of_a_child", || {
        let gate = Gate::new();
        let child = fork(|| {
            gate.wait();
            let mut l = [0u64; 2];
            sc!(getrlimit, RLIMIT_CORE, &mut l).is(0);
            assert_eq!(l, [5, 6]);
        });
        sc!(prlimit64, child.pid, RLIMIT_CORE, [5u64, 6], 0).is(0);
        gate.open();
        child.ok();
    }),
    case!("prlimit64", "errors", || {
        sc!(prlimit64, 1 << 22, RLIMIT_CORE, 0, 0).err(ESRCH);
        sc!(prlimit64, 0, 99, 0, 0).err(EINVAL);
        as_nobody(|| sc!(prlimit64, 1, RLIMIT_CORE, [0u64, 0], 0).err(EPERM));
    }),
    case!("setrlimit", "limits_are_inherited_and_kept_by_exec", || {
        sc!(setrlimit, RLIMIT_CORE, [3u64, 4]).is(0);
        let (r, w) = pipe();
        let child = fork(|| {
            let _ = sc!(dup2, w, 1).ok();
            let argv = ["sh", "-c", "grep 'Max core' /proc/self/limits"];
            execve("/bin/sh", &argv, &["PATH=/bin:/usr/bin"]).is(0);
        });
        child.ok();
        let line = String::from_utf8_lossy(&read_some(r, 256)).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(&words[4..6], ["3", "4"], "{line}");
    }),
    case!(
        "setrlimit",
        "cpu_limit_sends_sigxcpu",
        || {
            fork(|| {
                on_signal(SIGXCPU, 0);
                sc!(setrlimit, RLIMIT_CPU, [1u64, 5]).is(0);
                while hits(SIGXCPU) == 0 {
                    std::hint::spin_loop();
                }
                let used = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
                assert!((300 * MS..3000 * MS).contains(&used), "{used} ns");
            })
            .ok();
        },
        20
    ),
    case!("getrusage", "self_thread_and_errors", || {
        let mut ru: rusage = zeroed();
        sc!(getrusage, RUSAGE_SELF, &raw mut ru).is(0);
        assert!(ru.ru_maxrss > 0);
        sc!(getrusage, RUSAGE_THREAD, &raw mut ru).is(0);
        sc!(getrusage, 99, &raw mut ru).err(EINVAL);
        sc!(getrusage, RUSAGE_SELF, BAD).err(EFAULT);
    }),
    case!("getrusage", "counts_page_faults_and_switches", || {
        let (mut a, mut b): (rusage, rusage) = (zeroed(), zeroed());
        sc!(getrusage, RUSAGE_SELF, &raw mut a).is(0);
        let at = sc!(
            mmap,
            0,
            64 * PAGE,
            PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS,
            -1,
            0
        );
        for i in 0..64 {
            poke(at.addr() + i * PAGE, 1);
        }
        sleep_ms(2);
        sc!(getrusage, RUSAGE_SELF, &raw mut b).is(0);
        assert!(b.ru_minflt > a.ru_minflt && b.ru_nvcsw > a.ru_nvcsw);
    }),
    case!("times", "answers_ticks_since_boot", || {
        let mut t = [0i64; 4];
        let a = sc!(times, &mut t).ok();
        sleep_ms(30);
        let b = sc!(times, 0).ok();
        assert!((2..100).contains(&(b - a)), "{a} {b}");
        sc!(times, BAD).err(EFAULT);
    }),
    case!(
        "getpriority setpriority",
        "encoded_as_twenty_minus_nice",
        || {
            sc!(getpriority, PRIO_PROCESS, 0).is(20);
            sc!(setpriority, PRIO_PROCESS, 0, 5).is(0);
            sc!(getpriority, PRIO_PROCESS, 0).is(15);
            sc!(setpriority, PRIO_PROCESS, 0, 100).is(0);
            sc!(getpriority, PRIO_PROCESS, 0).is(1);
            assert_eq!(stat_field(getpid(), 19).as_deref(), Some("19"));
        }
    ),
    case!("setpriority", "lowering_nice_needs_privilege", || {
        as_nobody(|| {
            sc!(setpriority, PRIO_PROCESS, 0, 3).is(0);
            sc!(setpriority, PRIO_PROCESS, 0, 1).err(EACCES);
            sc!(setpriority, PRIO_PROCESS, 1, 5).err(EPERM);
        });
    }),
    case!("getpriority", "of_groups_and_users", || {
        let child = fork(|| {
            sc!(setpriority, PRIO_PGRP, 0, 4).is(0);
            sc!(getpriority, PRIO_PGRP, 0).is(16);
        });
        child.ok();
        sc!(getpriority, PRIO_PROCESS, 0).is(16);
        sc!(getpriority, PRIO_USER, 54321).err(ESRCH);
        sc!(getpriority, PRIO_PROCESS, 1 << 22).err(ESRCH);
        sc!(getpriority, 9, 0).err(EINVAL);
    }),
    case!("ioprio_set ioprio_get", "best_effort_levels", || {
        let value = 2 << 13 | 3;
        sc!(ioprio_set, 1, 0, value).skip_on(&[ENOSYS]).is(0);
        sc!(ioprio_get, 1, 0).is(value.into());
        sc!(ioprio_set, 1, 0, 7 << 13).err(EINVAL);
        sc!(ioprio_set, 9, 0, value).err(EINVAL);
        sc!(ioprio_get, 1, 1 << 22).err(ESRCH);
    }),
    case!("acct", "needs_privilege", || {
        as_nobody(|| sc!(acct, 0).skip_on(&[ENOSYS]).err(EPERM));
    }),
];
