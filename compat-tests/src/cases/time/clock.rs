//! clock_gettime(2), clock_settime(2), gettimeofday(2), nanosleep(2), adjtimex(2).

use crate::prelude::*;

/// All but the alarm clocks, which need a real-time clock chip.
const CLOCKS: [i32; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 11];

pub static CASES: &[Case] = &[
    case!("clock_gettime", "every_clock_answers", || {
        for clock in CLOCKS {
            let mut ts = timespec(-1, -1);
            sc!(clock_gettime, clock, &raw mut ts).is(0);
            assert!(
                ts.tv_sec >= 0 && (0..1_000_000_000).contains(&ts.tv_nsec),
                "clock {clock}"
            );
        }
    }),
    case!("clock_gettime", "monotonic_never_goes_back", || {
        let mut last = 0;
        for _ in 0..10_000 {
            let now = clock_ns(CLOCK_MONOTONIC);
            assert!(now >= last);
            last = now;
        }
    }),
    case!("clock_gettime", "monotonic_agrees_between_threads", || {
        let a = clock_ns(CLOCK_MONOTONIC);
        let b = std::thread::spawn(|| clock_ns(CLOCK_MONOTONIC))
            .join()
            .unwrap_or(0);
        let c = clock_ns(CLOCK_MONOTONIC);
        assert!(a <= b && b <= c);
    }),
    case!("clock_gettime", "c_library_and_kernel_agree", || {
        for _ in 0..50 {
            let before = clock_ns(CLOCK_MONOTONIC);
            let mid = vdso_clock_ns(CLOCK_MONOTONIC);
            let after = clock_ns(CLOCK_MONOTONIC);
            assert!(before <= mid && mid <= after, "{before} {mid} {after}");
        }
        let before = clock_ns(CLOCK_REALTIME);
        let mid = vdso_clock_ns(CLOCK_REALTIME);
        assert!((mid - before).abs() < 1000 * MS);
    }),
    case!("clock_gettime", "unknown_clock_is_einval", || {
        let mut ts = timespec(0, 0);
        sc!(clock_gettime, 99, &raw mut ts).err(EINVAL);
        sc!(clock_gettime, CLOCK_REALTIME, BAD).err(EFAULT);
    }),
    case!(
        "clock_gettime",
        "cpu_clock_of_process_moves_with_work",
        || {
            let a = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            sleep_ms(50);
            let b = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            assert!(b - a < 40 * MS, "sleeping costs {} ns", b - a);
            while clock_ns(CLOCK_PROCESS_CPUTIME_ID) < b + 20 * MS {}
        }
    ),
    case!(
        "clock_gettime",
        "cpu_clock_of_thread_is_part_of_the_process",
        || {
            let t = clock_ns(CLOCK_THREAD_CPUTIME_ID);
            let p = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            assert!(t <= p);
        }
    ),
    case!("clock_gettime", "cpu_clock_of_another_process", || {
        let child = fork(|| sleep_ms(60_000));
        wait_asleep(child.pid);
        let clock = !child.pid << 3 | 2;
        assert!(clock_ns(clock) > 0);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
        let mut ts = timespec(0, 0);
        sc!(clock_gettime, clock, &raw mut ts).err(EINVAL);
    }),
    case!("clock_gettime", "boottime_is_not_before_monotonic", || {
        let m = clock_ns(CLOCK_MONOTONIC);
        assert!(clock_ns(CLOCK_BOOTTIME) >= m);
    }),
    case!("clock_gettime", "coarse_clocks_are_close", || {
        let coarse = clock_ns(CLOCK_MONOTONIC_COARSE);
        let fine = clock_ns(CLOCK_MONOTONIC);
        assert!(fine >= coarse && fine - coarse < 1000 * MS);
    }),
    case!("clock_gettime", "tai_is_within_a_minute_of_utc", || {
        let d = clock_ns(CLOCK_TAI) - clock_ns(CLOCK_REALTIME);
        assert!(d.abs() < 60_000 * MS);
    }),
    case!("clock_getres", "one_nanosecond_and_coarse_ticks", || {
        let mut ts = timespec(0, 0);
        sc!(clock_getres, CLOCK_MONOTONIC, &raw mut ts).is(0);
        assert_eq!((ts.tv_sec, ts.tv_nsec), (0, 1));
        sc!(clock_getres, CLOCK_MONOTONIC_COARSE, &raw mut ts).is(0);
        assert!((1_000_000..=10_000_000).contains(&ts.tv_nsec));
        sc!(clock_getres, CLOCK_REALTIME, 0).is(0);
        sc!(clock_getres, 99, 0).err(EINVAL);
    }),
    case!(
        "gettimeofday time",
        "agree_with_the_real_time_clock",
        || {
            let mut tv = [0i64; 2];
            sc!(gettimeofday, &mut tv, 0).is(0);
            let now = clock_ns(CLOCK_REALTIME) / 1_000_000_000;
            assert!((now - 1..=now).contains(&tv[0]) && (0..1_000_000).contains(&tv[1]));
            let mut t = 0i64;
            let r = sc!(time, &raw mut t).ok();
            assert!(r == t && (now - 1..=now + 1).contains(&r));
        }
    ),
    case!("clock_settime settimeofday", "need_privilege", || {
        as_nobody(|| {
            let ts = timespec(1, 0);
            sc!(clock_settime, CLOCK_REALTIME, &raw const ts).err(EPERM);
            sc!(settimeofday, [1i64, 0], 0).err(EPERM);
        });
    }),
    case!("clock_settime", "monotonic_cannot_be_set", || {
        let ts = timespec(1, 0);
        sc!(clock_settime, CLOCK_MONOTONIC, &raw const ts).err(EINVAL);
        let ts = timespec(1, 2_000_000_000);
        sc!(clock_settime, CLOCK_REALTIME, &raw const ts).err(EINVAL);
    }),
    case!(
        "adjtimex clock_adjtime",
        "reading_needs_no_privilege",
        || {
            as_nobody(|| {
                let mut t = [0u64; 26];
                let state = sc!(adjtimex, &mut t).ok();
                assert!((0..=5).contains(&state));
                let mut t = [0u64; 26];
                sc!(clock_adjtime, CLOCK_REALTIME, &mut t).ok();
                let mut t = [1u64; 26];
                sc!(adjtimex, &mut t).err(EPERM);
            });
        }
    ),
    case!("nanosleep", "sleeps_at_least_that_long", || {
        for want in [1, 5, 20] {
            let t = ms(want);
            assert!(timed(|| sc!(nanosleep, &raw const t, 0).is(0)) >= want * MS);
        }
    }),
    case!("nanosleep", "errors", || {
        let t = timespec(0, 1_000_000_000);
        sc!(nanosleep, &raw const t, 0).err(EINVAL);
        let t = timespec(-1, 0);
        sc!(nanosleep, &raw const t, 0).err(EINVAL);
        sc!(nanosleep, BAD, 0).err(EFAULT);
    }),
    case!("nanosleep", "zero_returns_at_once", || {
        let t = timespec(0, 0);
        assert!(timed(|| sc!(nanosleep, &raw const t, 0).is(0)) < 500 * MS);
    }),
    case!("clock_nanosleep", "absolute_time", || {
        let now = clock_ns(CLOCK_MONOTONIC) + 30 * MS;
        let t = timespec(now / 1_000_000_000, now % 1_000_000_000);
        sc!(
            clock_nanosleep,
            CLOCK_MONOTONIC,
            TIMER_ABSTIME,
            &raw const t,
            0
        )
        .is(0);
        assert!(clock_ns(CLOCK_MONOTONIC) >= now);
    }),
    case!("clock_nanosleep", "absolute_past_returns_at_once", || {
        let t = timespec(1, 0);
        let took = timed(|| {
            sc!(
                clock_nanosleep,
                CLOCK_REALTIME,
                TIMER_ABSTIME,
                &raw const t,
                0
            )
            .is(0);
        });
        assert!(took < 500 * MS);
    }),
    case!("clock_nanosleep", "errors", || {
        let t = ms(1);
        sc!(clock_nanosleep, 99, 0, &raw const t, 0).err(EINVAL);
        sc!(clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &raw const t, 0)
            .err_any(&[EINVAL, EOPNOTSUPP]);
        let bad = timespec(0, -1);
        sc!(clock_nanosleep, CLOCK_MONOTONIC, 0, &raw const bad, 0).err(EINVAL);
    }),
    case!("clock_nanosleep", "other_clocks", || {
        for clock in [CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_TAI] {
            let t = ms(3);
            assert!(timed(|| sc!(clock_nanosleep, clock, 0, &raw const t, 0).is(0)) >= 3 * MS);
        }
    }),
    case!("nanosleep", "many_sleepers_wake_in_order", || {
        let (r, w) = pipe();
        let kids: Vec<Child> = [60u8, 20, 40]
            .iter()
            .map(|t| {
                fork(|| {
                    sleep_ms(u64::from(*t) * 4);
                    write_all(w, [*t]);
                })
            })
            .collect();
        for kid in kids {
            kid.ok();
        }
        assert_eq!(read_some(r, 8), [20, 40, 60]);
    }),
];
