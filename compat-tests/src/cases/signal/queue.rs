//! Real-time signals: rt_sigqueueinfo(2), rt_sigtimedwait(2), order and limits.

use crate::prelude::*;

fn queue(sig: i32, value: i32) -> Ret {
    let mut info = [0i32; 32];
    info[0] = sig;
    info[2] = SI_QUEUE;
    info[4] = getpid();
    info[6] = value;
    sc!(rt_sigqueueinfo, getpid(), sig, &info)
}

/// Takes one signal of `set`: number, code, value.
fn take(set: u64) -> (i32, i32, i32) {
    let mut info = [0i32; 32];
    let ts = timespec(5, 0);
    let sig = sc!(rt_sigtimedwait, [set], &mut info, &raw const ts, 8).fd();
    (sig, info[2], info[6])
}

pub static CASES: &[Case] = &[
    case!(
        "rt_sigqueueinfo",
        "real_time_signals_queue_in_order",
        || {
            let sig = SIGRTMIN() + 1;
            sigmask(SIG_BLOCK, bit(sig));
            for i in 0..5 {
                queue(sig, i).is(0);
            }
            for i in 0..5 {
                assert_eq!(take(bit(sig)), (sig, SI_QUEUE, i));
            }
            assert_eq!(pending(), 0);
        }
    ),
    case!("rt_sigqueueinfo", "lower_numbers_come_first", || {
        let (a, b) = (SIGRTMIN() + 1, SIGRTMIN() + 5);
        sigmask(SIG_BLOCK, bit(a) | bit(b) | bit(SIGUSR1));
        queue(b, 1).is(0);
        queue(a, 2).is(0);
        sc!(kill, getpid(), SIGUSR1).is(0);
        let set = bit(a) | bit(b) | bit(SIGUSR1);
        assert_eq!([take(set).0, take(set).0, take(set).0], [SIGUSR1, a, b]);
    }),
    case!("rt_sigqueueinfo", "handler_sees_value_and_code", || {
        let sig = SIGRTMIN() + 1;
        on_signal(sig, 0);
        queue(sig, 4711).is(0);
        assert_eq!((last_value(sig) as i32, last_code(sig)), (4711, SI_QUEUE));
    }),
    case!("rt_sigqueueinfo", "handlers_run_for_each_queued", || {
        let sig = SIGRTMIN() + 2;
        on_signal(sig, 0);
        sigmask(SIG_BLOCK, bit(sig));
        for i in 0..10 {
            queue(sig, i).is(0);
        }
        sigmask(SIG_UNBLOCK, bit(sig));
        assert_eq!(hits(sig), 10);
    }),
    case!(
        "rt_sigqueueinfo",
        "positive_code_to_others_is_eperm",
        || {
            let child = fork(|| sleep_ms(60_000));
            let mut info = [0i32; 32];
            info[2] = SI_USER;
            sc!(rt_sigqueueinfo, child.pid, SIGUSR1, &info).err(EPERM);
            info[2] = -6;
            sc!(rt_sigqueueinfo, child.pid, SIGUSR1, &info).err(EPERM);
            child.kill(SIGKILL);
            child.dies(SIGKILL);
        }
    ),
    case!("rt_sigqueueinfo rt_tgsigqueueinfo", "errors", || {
        let mut info = [0i32; 32];
        info[2] = SI_QUEUE;
        sc!(rt_sigqueueinfo, 1 << 22, SIGUSR1, &info).err(ESRCH);
        sc!(rt_sigqueueinfo, getpid(), 99, &info).err(EINVAL);
        sc!(rt_sigqueueinfo, getpid(), SIGUSR1, BAD).err(EFAULT);
        sc!(rt_tgsigqueueinfo, getpid(), 1 << 22, SIGUSR1, &info).err(ESRCH);
        sc!(rt_tgsigqueueinfo, -1, gettid(), SIGUSR1, &info).err(EINVAL);
    }),
    case!("rt_tgsigqueueinfo", "goes_to_the_thread", || {
        let sig = SIGRTMIN() + 1;
        on_signal(sig, 0);
        let mut info = [0i32; 32];
        info[2] = SI_QUEUE;
        info[6] = 55;
        sc!(rt_tgsigqueueinfo, getpid(), gettid(), sig, &info).is(0);
        assert_eq!((last_value(sig) as i32, last_thread()), (55, gettid()));
    }),
    case!("rt_sigqueueinfo setrlimit", "limit_is_eagain", || {
        as_nobody(|| {
            let sig = SIGRTMIN() + 1;
            sigmask(SIG_BLOCK, bit(sig));
            sc!(setrlimit, RLIMIT_SIGPENDING, [3u64, 3]).is(0);
            let results: Vec<i32> = (0..6).map(|i| queue(sig, i).errno()).collect();
            assert_eq!(results.last(), Some(&EAGAIN), "{results:?}");
            assert_eq!(results[0], 0);
        });
    }),
    case!("rt_sigtimedwait", "times_out_with_eagain", || {
        let ts = ms(30);
        let took = timed(|| {
            sc!(rt_sigtimedwait, [bit(SIGUSR1)], 0, &raw const ts, 8).err(EAGAIN);
        });
        assert!(took >= 30 * MS);
    }),
    case!("rt_sigtimedwait", "zero_timeout_polls", || {
        let ts = timespec(0, 0);
        sc!(rt_sigtimedwait, [bit(SIGUSR1)], 0, &raw const ts, 8).err(EAGAIN);
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        sc!(kill, getpid(), SIGUSR1).is(0);
        sc!(rt_sigtimedwait, [bit(SIGUSR1)], 0, &raw const ts, 8).is(SIGUSR1.into());
    }),
    case!("rt_sigtimedwait", "takes_only_the_set", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1) | bit(SIGUSR2));
        sc!(kill, getpid(), SIGUSR1).is(0);
        sc!(kill, getpid(), SIGUSR2).is(0);
        assert_eq!(take(bit(SIGUSR2)).0, SIGUSR2);
        assert_eq!(pending(), bit(SIGUSR1));
    }),
    case!("rt_sigtimedwait", "wakes_when_it_comes", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        let child = fork(|| assert_eq!(take(bit(SIGUSR1)).0, SIGUSR1));
        wait_asleep(child.pid);
        child.kill(SIGUSR1);
        child.ok();
    }),
    case!("rt_sigtimedwait", "other_handler_interrupts", || {
        let child = fork(|| {
            on_signal(SIGUSR2, SA_RESTART);
            sc!(rt_sigtimedwait, [bit(SIGUSR1)], 0, 0, 8).err(EINTR);
        });
        wait_asleep(child.pid);
        child.kill(SIGUSR2);
        child.ok();
    }),
    case!("rt_sigtimedwait", "errors", || {
        let ts = timespec(0, 1_000_000_000);
        sc!(rt_sigtimedwait, [0u64], 0, &raw const ts, 8).err(EINVAL);
        sc!(rt_sigtimedwait, [0u64], 0, 0, 4).err(EINVAL);
        sc!(rt_sigtimedwait, BAD, 0, 0, 8).err(EFAULT);
    }),
    case!("rt_sigtimedwait", "childs_exit_information", || {
        sigmask(SIG_BLOCK, bit(SIGCHLD));
        let child = fork(|| exit(44));
        let mut info = [0i32; 32];
        sc!(rt_sigtimedwait, [bit(SIGCHLD)], &mut info, 0, 8).is(SIGCHLD.into());
        assert_eq!((info[2], info[4], info[6]), (CLD_EXITED, child.pid, 44));
        child.exits(44);
    }),
    case!("kill", "thread_and_process_queues_are_separate", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        sc!(kill, getpid(), SIGUSR1).is(0);
        sc!(tgkill, getpid(), gettid(), SIGUSR1).is(0);
        assert_eq!(take(bit(SIGUSR1)).1, -6);
        assert_eq!(take(bit(SIGUSR1)).1, SI_USER);
    }),
];
