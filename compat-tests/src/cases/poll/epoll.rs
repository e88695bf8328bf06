//! epoll(7).

use crate::prelude::*;

fn event(events: i32, data: u64) -> epoll_event {
    epoll_event {
        events: events as u32,
        u64: data,
    }
}

fn add(ep: i32, fd: i32, events: i32) -> Ret {
    let e = event(events, fd as u64);
    sc!(epoll_ctl, ep, EPOLL_CTL_ADD, fd, &raw const e)
}

fn modify(ep: i32, fd: i32, events: i32) -> Ret {
    let e = event(events, fd as u64);
    sc!(epoll_ctl, ep, EPOLL_CTL_MOD, fd, &raw const e)
}

/// The ready descriptors with their events.
fn ready(ep: i32, ms: i32) -> Vec<(i32, i32)> {
    let mut out = [event(0, 0); 16];
    let n = sc!(epoll_wait, ep, &mut out, 16, ms).addr();
    let mut got: Vec<_> = out[..n]
        .iter()
        .map(|e| (e.u64 as i32, e.events as i32))
        .collect();
    got.sort();
    got
}

fn new() -> i32 {
    sc!(epoll_create1, 0).fd()
}

pub static CASES: &[Case] = &[
    case!("epoll_create1 epoll_create", "flags_and_sizes", || {
        sc!(fcntl, sc!(epoll_create1, EPOLL_CLOEXEC).fd(), F_GETFD).is(1);
        sc!(epoll_create1, 1).err(EINVAL);
        sc!(epoll_create, 1).ok();
        sc!(epoll_create, 0).err(EINVAL);
    }),
    case!("epoll_ctl epoll_wait", "level_triggered_repeats", || {
        let (r, w) = pipe();
        let ep = new();
        add(ep, r, EPOLLIN).is(0);
        assert!(ready(ep, 0).is_empty());
        write_all(w, b"x");
        assert_eq!(ready(ep, -1), [(r, EPOLLIN)]);
        assert_eq!(ready(ep, -1), [(r, EPOLLIN)]);
        let _ = read_some(r, 1);
        assert!(ready(ep, 0).is_empty());
    }),
    case!(
        "epoll_ctl epoll_wait",
        "edge_triggered_fires_once_per_write",
        || {
            let (r, w) = pipe();
            let ep = new();
            add(ep, r, EPOLLIN | EPOLLET).is(0);
            write_all(w, b"x");
            assert_eq!(ready(ep, 0).len(), 1);
            assert_eq!(ready(ep, 0).len(), 0);
            write_all(w, b"y");
            assert_eq!(ready(ep, 0).len(), 1);
        }
    ),
    case!(
        "epoll_ctl epoll_wait",
        "edge_triggered_reports_what_is_already_there",
        || {
            let (r, w) = pipe();
            write_all(w, b"x");
            let ep = new();
            add(ep, r, EPOLLIN | EPOLLET).is(0);
            assert_eq!(ready(ep, 0).len(), 1);
        }
    ),
    case!("epoll_ctl epoll_wait", "oneshot_until_rearmed", || {
        let (r, w) = pipe();
        let ep = new();
        add(ep, r, EPOLLIN | EPOLLONESHOT).is(0);
        write_all(w, b"x");
        assert_eq!(ready(ep, 0).len(), 1);
        write_all(w, b"x");
        assert_eq!(ready(ep, 0).len(), 0);
        modify(ep, r, EPOLLIN | EPOLLONESHOT).is(0);
        assert_eq!(ready(ep, 0).len(), 1);
    }),
    case!("epoll_ctl", "add_twice_is_eexist", || {
        let (r, _w) = pipe();
        let ep = new();
        add(ep, r, EPOLLIN).is(0);
        add(ep, r, EPOLLIN).err(EEXIST);
        let copy = sc!(dup, r).fd();
        add(ep, copy, EPOLLIN).is(0);
    }),
    case!("epoll_ctl", "missing_is_enoent", || {
        let (r, _w) = pipe();
        let ep = new();
        modify(ep, r, EPOLLIN).err(ENOENT);
        sc!(epoll_ctl, ep, EPOLL_CTL_DEL, r, 0).err(ENOENT);
    }),
    case!("epoll_ctl", "delete_takes_null_event", || {
        let (r, _w) = pipe();
        let ep = new();
        add(ep, r, EPOLLIN).is(0);
        sc!(epoll_ctl, ep, EPOLL_CTL_DEL, r, 0).is(0);
        add(ep, r, EPOLLIN).is(0);
    }),
    case!(
        "epoll_ctl",
        "regular_files_and_directories_are_eperm",
        || {
            add(new(), file("f", b""), EPOLLIN).err(EPERM);
            add(new(), open(".", O_RDONLY), EPOLLIN).err(EPERM);
        }
    ),
    case!("epoll_ctl", "bad_descriptors", || {
        let (r, _w) = pipe();
        let ep = new();
        add(ep, 99, EPOLLIN).err(EBADF);
        add(99, r, EPOLLIN).err(EBADF);
        add(r, ep, EPOLLIN).err(EINVAL);
        add(ep, ep, EPOLLIN).err(EINVAL);
        sc!(epoll_ctl, ep, 99, r, [0u64; 2]).err(EINVAL);
        sc!(epoll_ctl, ep, EPOLL_CTL_ADD, r, BAD).err(EFAULT);
    }),
    case!(
        "epoll_ctl",
        "nested_epoll_is_readable_when_inner_is",
        || {
            let (r, w) = pipe();
            let (inner, outer) = (new(), new());
            add(inner, r, EPOLLIN).is(0);
            add(outer, inner, EPOLLIN).is(0);
            assert!(ready(outer, 0).is_empty());
            write_all(w, b"x");
            assert_eq!(ready(outer, 0), [(inner, EPOLLIN)]);
            assert_eq!(poll_one(outer, POLLIN, 0), POLLIN);
        }
    ),
    case!("epoll_ctl", "loop_of_epolls_is_eloop", || {
        let (a, b) = (new(), new());
        add(a, b, EPOLLIN).is(0);
        add(b, a, EPOLLIN).err(ELOOP);
    }),
    case!("epoll_ctl", "exclusive_rules", || {
        let (r, _w) = pipe();
        let ep = new();
        add(ep, r, EPOLLIN | EPOLLEXCLUSIVE).is(0);
        modify(ep, r, EPOLLIN).err(EINVAL);
        let (r2, _w2) = pipe();
        add(ep, r2, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT).err(EINVAL);
        add(ep, new(), EPOLLIN | EPOLLEXCLUSIVE).err(EINVAL);
    }),
    case!("epoll_wait", "hup_and_err_come_unasked", || {
        let (r, w) = pipe();
        let ep = new();
        add(ep, r, 0).is(0);
        close(w);
        assert_eq!(ready(ep, 0), [(r, EPOLLHUP)]);
    }),
    case!("epoll_wait", "rdhup_on_shutdown", || {
        let (a, b) = socketpair(SOCK_STREAM);
        let ep = new();
        add(ep, a, EPOLLIN | EPOLLRDHUP).is(0);
        sc!(shutdown, b, SHUT_WR).is(0);
        assert_eq!(ready(ep, 0), [(a, EPOLLIN | EPOLLRDHUP)]);
    }),
    case!("epoll_wait", "maxevents_limits_and_rotates", || {
        let ep = new();
        let mut ends = Vec::new();
        for _ in 0..4 {
            let (r, w) = pipe();
            write_all(w, b"x");
            add(ep, r, EPOLLIN).is(0);
            ends.push((r, w));
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2 {
            let mut out = [event(0, 0); 2];
            sc!(epoll_wait, ep, &mut out, 2, 0).is(2);
            for e in out {
                let data = e.u64;
                seen.insert(data);
            }
        }
        assert_eq!(seen.len(), 4, "starved");
    }),
    case!("epoll_wait", "errors", || {
        let mut out = [0u64; 4];
        sc!(epoll_wait, new(), &mut out, 0, 0).err(EINVAL);
        sc!(epoll_wait, new(), &mut out, -1, 0).err(EINVAL);
        sc!(epoll_wait, 99, &mut out, 1, 0).err(EBADF);
        sc!(epoll_wait, 0, &mut out, 1, 0).err(EINVAL);
        let (r, w) = pipe();
        write_all(w, b"x");
        let ep = new();
        add(ep, r, EPOLLIN).is(0);
        sc!(epoll_wait, ep, BAD, 1, 0).err(EFAULT);
    }),
    case!("epoll_wait", "times_out", || {
        let ep = new();
        assert!(timed(|| assert!(ready(ep, 40).is_empty())) >= 40 * MS);
    }),
    case!("epoll_wait", "wakes_from_another_process", || {
        let (r, w) = pipe();
        let ep = new();
        add(ep, r, EPOLLIN).is(0);
        let child = fork(|| assert_eq!(ready(ep, -1).len(), 1));
        wait_asleep(child.pid);
        write_all(w, b"x");
        child.ok();
    }),
    case!("epoll_wait", "signal_is_eintr", || {
        let ep = new();
        let child = fork(|| {
            on_signal(SIGUSR1, SA_RESTART);
            let mut out = [0u64; 2];
            sc!(epoll_wait, ep, &mut out, 1, -1).err(EINTR);
        });
        wait_asleep(child.pid);
        child.kill(SIGUSR1);
        child.ok();
    }),
    case!(
        "epoll_wait",
        "closing_the_last_descriptor_removes_it",
        || {
            let (r, w) = pipe();
            let ep = new();
            add(ep, r, EPOLLIN).is(0);
            write_all(w, b"x");
            close(r);
            assert!(ready(ep, 0).is_empty());
        }
    ),
    case!("epoll_wait", "a_duplicate_keeps_the_registration", || {
        let (r, w) = pipe();
        let ep = new();
        add(ep, r, EPOLLIN).is(0);
        write_all(w, b"x");
        let _copy = sc!(dup, r).fd();
        close(r);
        assert_eq!(ready(ep, 0), [(r, EPOLLIN)]);
    }),
    case!("epoll_ctl", "modify_reports_a_condition_that_holds", || {
        let (a, _b) = socketpair(SOCK_STREAM);
        let ep = new();
        add(ep, a, EPOLLIN).is(0);
        assert!(ready(ep, 0).is_empty());
        modify(ep, a, EPOLLOUT).is(0);
        assert_eq!(ready(ep, 0), [(a, EPOLLOUT)]);
    }),
    case!("epoll_pwait", "mask_and_errors", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        on_signal(SIGUSR1, 0);
        sc!(kill, getpid(), SIGUSR1).is(0);
        let mut out = [0u64; 2];
        sc!(epoll_pwait, new(), &mut out, 1, -1, [0u64], 8).err(EINTR);
        assert_eq!(hits(SIGUSR1), 1);
        sc!(epoll_pwait, new(), &mut out, 1, 0, [0u64], 4).err(EINVAL);
    }),
    case!("epoll_pwait2", "nanosecond_timeout", || {
        let mut out = [0u64; 2];
        let ts = timespec(0, 20 * MS);
        let ep = new();
        sc!(epoll_pwait2, ep, &mut out, 1, [0i64, 0], 0, 8)
            .skip_on(&[ENOSYS])
            .is(0);
        assert!(timed(|| sc!(epoll_pwait2, ep, &mut out, 1, &raw const ts, 0, 8).is(0)) >= 20 * MS);
        let bad = timespec(0, 1_000_000_000);
        sc!(epoll_pwait2, ep, &mut out, 1, &raw const bad, 0, 8).err(EINVAL);
    }),
    case!("epoll_wait", "a_thousand_descriptors", || {
        let ep = new();
        let lim = [2500u64, 2500];
        sc!(setrlimit, RLIMIT_NOFILE, &lim).skip_on(&[EPERM]).is(0);
        let mut fds = Vec::new();
        for _ in 0..1000 {
            let fd = sc!(eventfd2, 0, 0).fd();
            add(ep, fd, EPOLLIN).is(0);
            fds.push(fd);
        }
        for fd in fds.iter().step_by(100) {
            write_all(*fd, 1u64.to_ne_bytes());
        }
        assert_eq!(ready(ep, 0).len(), 10);
    }),
];
