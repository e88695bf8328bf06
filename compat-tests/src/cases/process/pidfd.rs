//! pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), waiting on pidfds.

use crate::prelude::*;

fn sleeper() -> (Child, i32) {
    let child = fork(|| sleep_ms(60_000));
    let fd = sc!(pidfd_open, child.pid, 0).fd();
    (child, fd)
}

pub static CASES: &[Case] = &[
    case!("pidfd_open", "polls_readable_on_exit", || {
        let gate = Gate::new();
        let child = fork(|| gate.wait());
        let fd = sc!(pidfd_open, child.pid, 0).fd();
        assert_eq!(poll_one(fd, POLLIN, 0), 0);
        gate.open();
        assert_eq!(poll_one(fd, POLLIN, 5000) & POLLIN, POLLIN);
        child.ok();
    }),
    case!("pidfd_open", "is_close_on_exec", || {
        sc!(fcntl, sc!(pidfd_open, getpid(), 0).fd(), F_GETFD).is(1);
    }),
    case!("pidfd_open", "errors", || {
        sc!(pidfd_open, 0, 0).err(EINVAL);
        sc!(pidfd_open, -1, 0).err(EINVAL);
        sc!(pidfd_open, 1 << 22, 0).err(ESRCH);
        sc!(pidfd_open, getpid(), 1).err(EINVAL);
    }),
    case!("pidfd_open", "nonblock_flag", || {
        let fd = sc!(pidfd_open, getpid(), O_NONBLOCK)
            .skip_on(&[EINVAL])
            .fd();
        assert_ne!(sc!(fcntl, fd, F_GETFL).fd() & O_NONBLOCK, 0);
    }),
    case!("pidfd_send_signal", "delivers", || {
        let (child, fd) = sleeper();
        sc!(pidfd_send_signal, fd, 0, 0, 0).is(0);
        sc!(pidfd_send_signal, fd, SIGTERM, 0, 0).is(0);
        child.dies(SIGTERM);
        sc!(pidfd_send_signal, fd, 0, 0, 0).err(ESRCH);
    }),
    case!("pidfd_send_signal", "errors", || {
        let fd = sc!(pidfd_open, getpid(), 0).fd();
        sc!(pidfd_send_signal, fd, 99, 0, 0).err(EINVAL);
        sc!(pidfd_send_signal, fd, 0, 0, 0x100).err(EINVAL);
        sc!(pidfd_send_signal, 0, 0, 0, 0).err(EBADF);
        sc!(pidfd_send_signal, 99, 0, 0, 0).err(EBADF);
        as_nobody(|| {
            let init = sc!(pidfd_open, 1, 0).fd();
            sc!(pidfd_send_signal, init, SIGTERM, 0, 0).err(EPERM);
        });
    }),
    case!("pidfd_getfd", "copies_a_descriptor", || {
        let gate = Gate::new();
        let ready = Gate::new();
        let child = fork(|| {
            let fd = file("f", b"theirs");
            assert_eq!(sc!(dup2, fd, 70).ok(), 70);
            ready.open();
            gate.wait();
        });
        ready.wait();
        let pidfd = sc!(pidfd_open, child.pid, 0).fd();
        let fd = sc!(pidfd_getfd, pidfd, 70, 0).fd();
        assert_eq!(read_some(fd, 16), b"theirs");
        sc!(fcntl, fd, F_GETFD).is(1);
        sc!(pidfd_getfd, pidfd, 71, 0).err(EBADF);
        sc!(pidfd_getfd, pidfd, 70, 1).err(EINVAL);
        gate.open();
        child.ok();
    }),
    case!("waitid", "by_pidfd", || {
        let child = fork(|| exit(7));
        let fd = sc!(pidfd_open, child.pid, 0).fd();
        let mut info = [0i32; 32];
        sc!(waitid, P_PIDFD, fd, &mut info, WEXITED, 0).is(0);
        assert_eq!((info[4], info[6]), (child.pid, 7));
        sc!(waitid, P_PIDFD, fd, &mut info, WEXITED, 0).err(ECHILD);
        sc!(waitid, P_PIDFD, 99, &mut info, WEXITED, 0).err(EBADF);
    }),
    case!("waitid pidfd_open", "nonblocking_pidfd_is_eagain", || {
        let child = fork(|| sleep_ms(60_000));
        let fd = sc!(pidfd_open, child.pid, O_NONBLOCK)
            .skip_on(&[EINVAL])
            .fd();
        let mut info = [0i32; 32];
        sc!(waitid, P_PIDFD, fd, &mut info, WEXITED, 0).err(EAGAIN);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("pidfd_open", "fdinfo_names_the_process", || {
        let (child, fd) = sleeper();
        let info = text(&format!("/proc/self/fdinfo/{fd}"));
        assert!(info.contains(&format!("Pid:\t{}\n", child.pid)), "{info}");
        child.kill(SIGKILL);
        child.dies(SIGKILL);
        let info = text(&format!("/proc/self/fdinfo/{fd}"));
        assert!(info.contains("Pid:\t-1\n"), "{info}");
    }),
    case!("pidfd_open epoll_ctl", "in_epoll", || {
        let (child, fd) = sleeper();
        let ep = sc!(epoll_create1, 0).fd();
        let e = epoll_event {
            events: EPOLLIN as u32,
            u64: 5,
        };
        sc!(epoll_ctl, ep, EPOLL_CTL_ADD, fd, &raw const e).is(0);
        child.kill(SIGKILL);
        let mut out = [epoll_event { events: 0, u64: 0 }];
        sc!(epoll_wait, ep, &mut out, 1, 5000).is(1);
        child.dies(SIGKILL);
    }),
    case!("process_mrelease", "errors", || {
        let (child, fd) = sleeper();
        sc!(process_mrelease, fd, 0).skip_on(&[ENOSYS]).err(EINVAL);
        sc!(process_mrelease, fd, 1).err(EINVAL);
        sc!(process_mrelease, 99, 0).err(EBADF);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
];
