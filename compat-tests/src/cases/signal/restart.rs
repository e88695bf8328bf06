//! Which calls a handler interrupts, which restart with SA_RESTART: signal(7).

use crate::prelude::*;

/// Runs `call` in a child that sleeps in it, sends a handled signal and answers the child's errno.
#[track_caller]
fn interrupted(flags: i32, call: impl FnOnce() -> Ret, release: impl FnOnce()) -> i32 {
    let w = shared_words();
    let child = fork(|| {
        on_signal(SIGUSR1, flags);
        let e = call().errno();
        w[0].store(e as u32, SeqCst);
        w[1].store(hits(SIGUSR1), SeqCst);
    });
    wait_asleep(child.pid);
    child.kill(SIGUSR1);
    sleep_ms(20);
    release();
    child.ok();
    assert_eq!(w[1].load(SeqCst), 1, "the handler ran once");
    w[0].load(SeqCst) as i32
}

pub static CASES: &[Case] = &[
    case!("nanosleep", "is_interrupted_and_tells_the_rest", || {
        let child = fork(|| {
            on_signal(SIGUSR1, SA_RESTART);
            let (t, mut rest) = (timespec(10, 0), timespec(0, 0));
            sc!(nanosleep, &raw const t, &raw mut rest).err(EINTR);
            assert!(rest.tv_sec >= 5 && rest.tv_sec < 10, "{}", rest.tv_sec);
        });
        wait_asleep(child.pid);
        child.kill(SIGUSR1);
        child.ok();
    }),
    case!("nanosleep", "stop_and_continue_does_not_interrupt", || {
        let child = fork(|| {
            let t = ms(150);
            let took = timed(|| sc!(nanosleep, &raw const t, 0).is(0));
            assert!(took >= 150 * MS);
        });
        wait_asleep(child.pid);
        child.kill(SIGSTOP);
        child.wait_for(WUNTRACED);
        child.kill(SIGCONT);
        child.ok();
    }),
    case!(
        "clock_nanosleep",
        "absolute_sleep_is_interrupted_without_rest",
        || {
            let e = interrupted(
                SA_RESTART,
                || {
                    let t = timespec(clock_ns(CLOCK_MONOTONIC) / 1_000_000_000 + 10, 0);
                    sc!(
                        clock_nanosleep,
                        CLOCK_MONOTONIC,
                        TIMER_ABSTIME,
                        &raw const t,
                        0
                    )
                },
                || (),
            );
            assert_eq!(e, EINTR);
        }
    ),
    case!("read", "pipe_read_restarts", || {
        let (r, w) = pipe();
        let buf = map_anon(PAGE, PROT_READ | PROT_WRITE);
        let e = interrupted(SA_RESTART, || sc!(read, r, buf, 1), || write_all(w, b"x"));
        assert_eq!(e, 0);
    }),
    case!("recvfrom", "socket_receive_restarts", || {
        let (a, b) = socketpair(SOCK_STREAM);
        let buf = map_anon(PAGE, PROT_READ | PROT_WRITE);
        let call = || sc!(recvfrom, a, buf, 1, 0, 0, 0);
        assert_eq!(interrupted(SA_RESTART, call, || write_all(b, b"x")), 0);
    }),
    case!(
        "recvfrom",
        "socket_receive_with_timeout_does_not_restart",
        || {
            let (a, _b) = socketpair(SOCK_STREAM);
            let tv = [10i64, 0];
            sc!(setsockopt, a, SOL_SOCKET, SO_RCVTIMEO, &tv, 16).is(0);
            let buf = map_anon(PAGE, PROT_READ | PROT_WRITE);
            assert_eq!(
                interrupted(SA_RESTART, || sc!(recvfrom, a, buf, 1, 0, 0, 0), || ()),
                EINTR
            );
        }
    ),
    case!("accept", "accept_restarts", || {
        let s = sc!(socket, AF_UNIX, SOCK_STREAM, 0).fd();
        let mut addr = [0u8; 110];
        addr[..4].copy_from_slice(&[1, 0, b's', 0]);
        sc!(bind, s, &addr, 4).is(0);
        sc!(listen, s, 1).is(0);
        let c = sc!(socket, AF_UNIX, SOCK_STREAM, 0).fd();
        let e = interrupted(
            SA_RESTART,
            || sc!(accept, s, 0, 0),
            || {
                sc!(connect, c, &addr, 4).is(0);
            },
        );
        assert_eq!(e, 0);
    }),
    case!("wait4", "wait_restarts", || {
        let e = interrupted(
            SA_RESTART,
            || {
                let inner = fork(|| sleep_ms(150));
                sc!(wait4, inner.pid, 0, 0, 0)
            },
            || (),
        );
        assert_eq!(e, 0);
    }),
    case!("futex", "futex_wait_restarts_without_timeout", || {
        let w = shared_words();
        let call = || sc!(futex, w[5].as_ptr(), FUTEX_WAIT, 0, 0, 0, 0);
        let e = interrupted(SA_RESTART, call, || {
            w[5].store(1, SeqCst);
            let _ = sc!(futex, w[5].as_ptr(), FUTEX_WAKE, 1, 0, 0, 0).ok();
        });
        assert!([0, EAGAIN].contains(&e));
        assert_eq!(
            interrupted(
                0,
                || sc!(futex, w[6].as_ptr(), FUTEX_WAIT, 0, 0, 0, 0),
                || ()
            ),
            EINTR
        );
    }),
    case!("fcntl", "record_lock_wait_restarts", || {
        let fd = file("f", b"");
        let l = flock {
            l_type: F_WRLCK as i16,
            l_whence: 0,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        sc!(fcntl, fd, F_SETLK, &raw const l).is(0);
        let call = || sc!(fcntl, open("f", O_RDWR), F_SETLKW, &raw const l);
        let e = interrupted(SA_RESTART, call, || {
            let u = flock {
                l_type: F_UNLCK as i16,
                ..l
            };
            sc!(fcntl, fd, F_SETLK, &raw const u).is(0);
        });
        assert_eq!(e, 0);
        sc!(fcntl, fd, F_SETLK, &raw const l).is(0);
        assert_eq!(
            interrupted(
                0,
                || sc!(fcntl, open("f", O_RDWR), F_SETLKW, &raw const l),
                || ()
            ),
            EINTR
        );
    }),
    case!("openat", "fifo_open_restarts", || {
        sc!(mknod, c"p", S_IFIFO | 0o600, 0).is(0);
        let e = interrupted(
            SA_RESTART,
            || sc!(openat, AT_FDCWD, c"p", O_RDONLY, 0),
            || {
                close(open("p", O_WRONLY));
            },
        );
        assert_eq!(e, 0);
        let e = interrupted(0, || sc!(openat, AT_FDCWD, c"p", O_RDONLY, 0), || ());
        assert_eq!(e, EINTR);
    }),
    case!("msgrcv semop", "system_v_calls_never_restart", || {
        let q = sc!(msgget, IPC_PRIVATE, 0o600).skip_on(&[ENOSYS]).fd();
        let s = sc!(semget, IPC_PRIVATE, 1, 0o600).fd();
        let buf = map_anon(PAGE, PROT_READ | PROT_WRITE);
        let a = interrupted(SA_RESTART, || sc!(msgrcv, q, buf, 1, 0, 0), || ());
        let b = interrupted(SA_RESTART, || sc!(semop, s, [0u16, 0xffff, 0], 1), || ());
        sc!(msgctl, q, IPC_RMID, 0).is(0);
        sc!(semctl, s, 0, IPC_RMID, 0).is(0);
        assert_eq!((a, b), (EINTR, EINTR));
    }),
    case!(
        "epoll_wait poll select",
        "waiting_calls_never_restart",
        || {
            let ep = sc!(epoll_create1, 0).fd();
            let buf = map_anon(PAGE, PROT_READ | PROT_WRITE);
            assert_eq!(
                interrupted(SA_RESTART, || sc!(epoll_wait, ep, buf, 1, -1), || ()),
                EINTR
            );
            assert_eq!(
                interrupted(SA_RESTART, || sc!(poll, 0, 0, -1), || ()),
                EINTR
            );
            assert_eq!(
                interrupted(SA_RESTART, || sc!(select, 0, 0, 0, 0, 0), || ()),
                EINTR
            );
        }
    ),
    case!("read", "eventfd_and_inotify_reads_restart", || {
        let fd = sc!(eventfd2, 0, 0).fd();
        let buf = map_anon(PAGE, PROT_READ | PROT_WRITE);
        let e = interrupted(
            SA_RESTART,
            || sc!(read, fd, buf, 8),
            || {
                write_all(fd, 1u64.to_ne_bytes());
            },
        );
        assert_eq!(e, 0);
    }),
    case!("read", "ignored_signal_does_not_interrupt", || {
        let (r, w) = pipe();
        let child = fork(|| {
            set_disposition(SIGUSR1, SIG_IGN);
            assert_eq!(read_some(r, 1), b"x");
        });
        wait_asleep(child.pid);
        child.kill(SIGUSR1);
        child.kill(SIGWINCH);
        sleep_ms(10);
        write_all(w, b"x");
        child.ok();
    }),
];
