//! timer_create(2), setitimer(2), alarm(2), timerfd_create(2).

use crate::prelude::*;

/// Interval and value in milliseconds as an itimerspec.
fn spec(interval: i64, value: i64) -> [libc::timespec; 2] {
    [ms(interval), ms(value)]
}

/// A sigevent: value, signal, notify, thread.
fn event(sig: i32, notify: i32, tid: i32) -> [i32; 16] {
    let mut e = [0i32; 16];
    (e[0], e[2], e[3], e[4]) = (4321, sig, notify, tid);
    e
}

fn timer(clock: i32, sig: i32) -> i32 {
    let mut id = -1i32;
    sc!(timer_create, clock, event(sig, 0, 0), &raw mut id).is(0);
    *std::hint::black_box(&mut id)
}

fn timerfd(clock: i32, flags: i32) -> i32 {
    sc!(timerfd_create, clock, flags).fd()
}

fn ticks(fd: i32) -> u64 {
    from_bytes(&read_some(fd, 8))
}

pub static CASES: &[Case] = &[
    case!("alarm", "delivers_and_counts_down", || {
        on_signal(SIGALRM, 0);
        sc!(alarm, 1).is(0);
        let took = timed(|| eventually("SIGALRM", || hits(SIGALRM) == 1));
        assert!(took >= 900 * MS);
        sc!(alarm, 0).is(0);
    }),
    case!("alarm", "answers_what_was_left", || {
        sc!(alarm, 100).is(0);
        let left = sc!(alarm, 5).ok();
        assert!((99..=100).contains(&left));
        sc!(alarm, 0).is(5);
    }),
    case!("setitimer getitimer", "real_timer_repeats", || {
        on_signal(SIGALRM, SA_RESTART);
        sc!(setitimer, ITIMER_REAL, [0i64, 10_000, 0, 10_000], 0).is(0);
        eventually("five ticks", || hits(SIGALRM) >= 5);
        let mut old = [0i64; 4];
        sc!(setitimer, ITIMER_REAL, [0i64; 4], &mut old).is(0);
        assert_eq!(old[..2], [0, 10_000]);
        let mut now = [9i64; 4];
        sc!(getitimer, ITIMER_REAL, &mut now).is(0);
        assert_eq!(now, [0; 4]);
    }),
    case!(
        "setitimer",
        "virtual_and_profiling_timers_count_cpu_time",
        || {
            on_signal(SIGVTALRM, 0);
            on_signal(SIGPROF, 0);
            sc!(setitimer, ITIMER_VIRTUAL, [0i64, 0, 0, 20_000], 0).is(0);
            sc!(setitimer, ITIMER_PROF, [0i64, 0, 0, 20_000], 0).is(0);
            sleep_ms(60);
            assert_eq!((hits(SIGVTALRM), hits(SIGPROF)), (0, 0));
            let end = clock_ns(CLOCK_MONOTONIC) + 5000 * MS;
            while (hits(SIGVTALRM) == 0 || hits(SIGPROF) == 0) && clock_ns(CLOCK_MONOTONIC) < end {
                for i in 0..10_000 {
                    std::hint::black_box(i);
                }
            }
            assert_eq!((hits(SIGVTALRM), hits(SIGPROF)), (1, 1));
        }
    ),
    case!("setitimer", "errors", || {
        sc!(setitimer, 9, [0i64; 4], 0).err(EINVAL);
        sc!(setitimer, ITIMER_REAL, [0i64, 1_000_000, 0, 0], 0).err(EINVAL);
        sc!(setitimer, ITIMER_REAL, BAD, 0).err(EFAULT);
        sc!(getitimer, 9, [0i64; 4]).err(EINVAL);
    }),
    case!(
        "timer_create timer_settime",
        "one_shot_signal_with_value",
        || {
            let sig = SIGRTMIN() + 1;
            on_signal(sig, 0);
            let id = timer(CLOCK_MONOTONIC, sig);
            sc!(timer_settime, id, 0, spec(0, 20), 0).is(0);
            eventually("timer", || hits(sig) == 1);
            assert_eq!((last_code(sig), last_value(sig) as i32), (SI_TIMER, 4321));
            sleep_ms(40);
            assert_eq!(hits(sig), 1);
        }
    ),
    case!(
        "timer_settime timer_gettime",
        "periodic_and_remaining",
        || {
            let sig = SIGRTMIN() + 1;
            on_signal(sig, 0);
            let id = timer(CLOCK_MONOTONIC, sig);
            sc!(timer_settime, id, 0, spec(10, 10), 0).is(0);
            eventually("three expirations", || hits(sig) >= 3);
            let mut now = spec(0, 0);
            sc!(timer_gettime, id, &mut now).is(0);
            assert_eq!(now[0].tv_nsec, 10 * MS);
            assert!(now[1].tv_nsec <= 10 * MS);
            sc!(timer_settime, id, 0, spec(0, 0), 0).is(0);
            let n = hits(sig);
            sleep_ms(40);
            assert_eq!(hits(sig), n);
        }
    ),
    case!("timer_settime", "absolute_time", || {
        let sig = SIGRTMIN() + 1;
        on_signal(sig, 0);
        let id = timer(CLOCK_MONOTONIC, sig);
        let at = clock_ns(CLOCK_MONOTONIC) + 20 * MS;
        let t = [
            timespec(0, 0),
            timespec(at / 1_000_000_000, at % 1_000_000_000),
        ];
        sc!(timer_settime, id, TIMER_ABSTIME, &t, 0).is(0);
        eventually("timer", || hits(sig) == 1);
        assert!(clock_ns(CLOCK_MONOTONIC) >= at);
    }),
    case!(
        "timer_getoverrun",
        "counts_what_a_blocked_signal_missed",
        || {
            let sig = SIGRTMIN() + 1;
            on_signal(sig, 0);
            sigmask(SIG_BLOCK, bit(sig));
            let id = timer(CLOCK_MONOTONIC, sig);
            sc!(timer_settime, id, 0, spec(5, 5), 0).is(0);
            sleep_ms(60);
            sigmask(SIG_UNBLOCK, bit(sig));
            assert!(sc!(timer_getoverrun, id).ok() >= 5);
            sc!(timer_delete, id).is(0);
        }
    ),
    case!("timer_create", "notify_none_only_counts", || {
        let mut id = -1i32;
        sc!(timer_create, CLOCK_MONOTONIC, event(0, 1, 0), &raw mut id).is(0);
        let id = *std::hint::black_box(&mut id);
        sc!(timer_settime, id, 0, spec(0, 5000), 0).is(0);
        let mut now = spec(0, 0);
        sc!(timer_gettime, id, &mut now).is(0);
        assert!(now[1].tv_sec == 4 || now[1].tv_sec == 5);
    }),
    case!("timer_create", "thread_notification", || {
        let sig = SIGRTMIN() + 2;
        on_signal(sig, 0);
        let mut id = -1i32;
        sc!(
            timer_create,
            CLOCK_MONOTONIC,
            event(sig, 4, gettid()),
            &raw mut id
        )
        .is(0);
        sc!(
            timer_settime,
            *std::hint::black_box(&mut id),
            0,
            spec(0, 5),
            0
        )
        .is(0);
        eventually("timer", || hits(sig) == 1);
        assert_eq!(last_thread(), gettid());
    }),
    case!("timer_create", "null_event_is_sigalrm", || {
        on_signal(SIGALRM, 0);
        let mut id = -1i32;
        sc!(timer_create, CLOCK_REALTIME, 0, &raw mut id).is(0);
        sc!(
            timer_settime,
            *std::hint::black_box(&mut id),
            0,
            spec(0, 5),
            0
        )
        .is(0);
        eventually("timer", || hits(SIGALRM) == 1);
    }),
    case!("timer_create", "cpu_time_clock", || {
        let sig = SIGRTMIN() + 1;
        on_signal(sig, 0);
        let id = timer(CLOCK_PROCESS_CPUTIME_ID, sig);
        sc!(timer_settime, id, 0, spec(0, 20), 0).is(0);
        sleep_ms(50);
        assert_eq!(hits(sig), 0);
        let end = clock_ns(CLOCK_MONOTONIC) + 5000 * MS;
        while hits(sig) == 0 && clock_ns(CLOCK_MONOTONIC) < end {}
        assert_eq!(hits(sig), 1);
    }),
    case!("timer_create timer_delete", "errors", || {
        let mut id = 0i32;
        sc!(timer_create, 99, 0, &raw mut id).err(EINVAL);
        sc!(timer_create, CLOCK_MONOTONIC, event(99, 0, 0), &raw mut id).err(EINVAL);
        sc!(timer_create, CLOCK_MONOTONIC, event(0, 77, 0), &raw mut id).err(EINVAL);
        sc!(timer_create, CLOCK_MONOTONIC, 0, BAD).err(EFAULT);
        sc!(timer_delete, 9999).err(EINVAL);
        sc!(timer_gettime, 9999, spec(0, 0)).err(EINVAL);
        sc!(timer_getoverrun, 9999).err(EINVAL);
        let id = timer(CLOCK_MONOTONIC, SIGALRM);
        let bad = [timespec(0, 0), timespec(0, 1_000_000_000)];
        sc!(timer_settime, id, 0, &bad, 0).err(EINVAL);
        sc!(timer_delete, id).is(0);
        sc!(timer_delete, id).err(EINVAL);
    }),
    case!("timer_create fork", "timers_are_not_inherited", || {
        let id = timer(CLOCK_MONOTONIC, SIGALRM);
        fork(|| sc!(timer_delete, id).err(EINVAL)).ok();
        sc!(timer_delete, id).is(0);
    }),
    case!(
        "timerfd_create timerfd_settime",
        "expires_and_counts",
        || {
            let fd = timerfd(CLOCK_MONOTONIC, 0);
            sc!(timerfd_settime, fd, 0, spec(0, 20), 0).is(0);
            assert_eq!(poll_one(fd, POLLIN, 0), 0);
            assert!(timed(|| assert_eq!(ticks(fd), 1)) >= 15 * MS);
        }
    ),
    case!("timerfd_settime", "interval_accumulates", || {
        let fd = timerfd(CLOCK_MONOTONIC, 0);
        sc!(timerfd_settime, fd, 0, spec(10, 10), 0).is(0);
        sleep_ms(55);
        assert!(ticks(fd) >= 5);
    }),
    case!("timerfd_create", "nonblocking_read_is_eagain", || {
        let fd = timerfd(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        let mut b = [0u8; 8];
        sc!(read, fd, &mut b, 8).err(EAGAIN);
        sc!(fcntl, fd, F_GETFD).is(1);
        sc!(read, fd, &mut b, 7).err(EINVAL);
        sc!(write, fd, &b, 8).err(EINVAL);
    }),
    case!(
        "timerfd_gettime timerfd_settime",
        "remaining_and_old_value",
        || {
            let fd = timerfd(CLOCK_MONOTONIC, 0);
            sc!(timerfd_settime, fd, 0, spec(7000, 9000), 0).is(0);
            let mut now = spec(0, 0);
            sc!(timerfd_gettime, fd, &mut now).is(0);
            assert!(now[0].tv_sec == 7 && (8..=9).contains(&now[1].tv_sec));
            let mut old = spec(0, 0);
            sc!(timerfd_settime, fd, 0, spec(0, 0), &mut old).is(0);
            assert_eq!(old[0].tv_sec, 7);
            sc!(timerfd_gettime, fd, &mut now).is(0);
            assert_eq!((now[1].tv_sec, now[1].tv_nsec), (0, 0));
        }
    ),
    case!(
        "timerfd_settime",
        "absolute_time_in_the_past_fires_at_once",
        || {
            let fd = timerfd(CLOCK_REALTIME, 0);
            let t = [timespec(0, 0), timespec(1, 0)];
            sc!(timerfd_settime, fd, TFD_TIMER_ABSTIME, &t, 0).is(0);
            assert_eq!(ticks(fd), 1);
        }
    ),
    case!("timerfd_create timerfd_settime", "errors", || {
        sc!(timerfd_create, 99, 0).err(EINVAL);
        sc!(timerfd_create, CLOCK_MONOTONIC, 1).err(EINVAL);
        let fd = timerfd(CLOCK_BOOTTIME, 0);
        sc!(timerfd_settime, fd, 0x100, spec(0, 1), 0).err(EINVAL);
        let bad = [timespec(0, 0), timespec(0, -1)];
        sc!(timerfd_settime, fd, 0, &bad, 0).err(EINVAL);
        sc!(timerfd_settime, 0, 0, spec(0, 1), 0).err(EINVAL);
        sc!(timerfd_settime, 99, 0, spec(0, 1), 0).err(EBADF);
        sc!(timerfd_settime, fd, 0, BAD, 0).err(EFAULT);
        sc!(timerfd_gettime, 0, spec(0, 0)).err(EINVAL);
    }),
    case!("timerfd_create", "poll_wakes", || {
        let fd = timerfd(CLOCK_MONOTONIC, 0);
        sc!(timerfd_settime, fd, 0, spec(0, 30), 0).is(0);
        assert_eq!(poll_one(fd, POLLIN, 5000), POLLIN);
    }),
];
