//! eventfd(2), signalfd(2).

use crate::prelude::*;

fn signalfd(mask: u64, flags: i32) -> i32 {
    sc!(signalfd4, -1, [mask], 8, flags).fd()
}

fn value(fd: i32) -> u64 {
    from_bytes(&read_some(fd, 8))
}

pub static CASES: &[Case] = &[
    case!("eventfd2", "counts_and_resets", || {
        let fd = sc!(eventfd2, 5, 0).fd();
        write_all(fd, 7u64.to_ne_bytes());
        assert_eq!(value(fd), 12);
        assert_eq!(poll_one(fd, POLLIN | POLLOUT, 0), POLLOUT);
    }),
    case!("eventfd2", "semaphore_gives_ones", || {
        let fd = sc!(eventfd2, 2, EFD_SEMAPHORE | EFD_NONBLOCK).fd();
        assert_eq!((value(fd), value(fd)), (1, 1));
        let mut b = [0u8; 8];
        sc!(read, fd, &mut b, 8).err(EAGAIN);
    }),
    case!("eventfd2", "short_transfers_are_einval", || {
        let fd = sc!(eventfd2, 1, 0).fd();
        let mut b = [0u8; 7];
        sc!(read, fd, &mut b, 7).err(EINVAL);
        sc!(write, fd, &b, 7).err(EINVAL);
    }),
    case!("eventfd2", "all_ones_is_einval_and_full_is_eagain", || {
        let fd = sc!(eventfd2, 0, EFD_NONBLOCK).fd();
        sc!(write, fd, u64::MAX.to_ne_bytes(), 8).err(EINVAL);
        write_all(fd, (u64::MAX - 1).to_ne_bytes());
        sc!(write, fd, 1u64.to_ne_bytes(), 8).err(EAGAIN);
        assert_eq!(poll_one(fd, POLLIN | POLLOUT, 0), POLLIN);
        assert_eq!(value(fd), u64::MAX - 1);
    }),
    case!("eventfd2 eventfd", "flags", || {
        sc!(fcntl, sc!(eventfd2, 0, EFD_CLOEXEC).fd(), F_GETFD).is(1);
        sc!(eventfd2, 0, 0x10).err(EINVAL);
        sc!(eventfd, 3).ok();
    }),
    case!("eventfd2", "blocked_reader_wakes", || {
        let fd = sc!(eventfd2, 0, 0).fd();
        let child = fork(|| assert_eq!(value(fd), 9));
        wait_asleep(child.pid);
        write_all(fd, 9u64.to_ne_bytes());
        child.ok();
    }),
    case!("eventfd2", "blocked_writer_wakes", || {
        let fd = sc!(eventfd2, 0, 0).fd();
        write_all(fd, (u64::MAX - 1).to_ne_bytes());
        let child = fork(|| write_all(fd, 1u64.to_ne_bytes()));
        wait_asleep(child.pid);
        assert_eq!(value(fd), u64::MAX - 1);
        child.ok();
    }),
    case!("eventfd2", "has_no_length_to_change", || {
        sc!(ftruncate, sc!(eventfd2, 0, 0).fd(), 0).err(EINVAL);
    }),
    case!("signalfd4", "reads_a_blocked_signal", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        let fd = signalfd(bit(SIGUSR1), SFD_NONBLOCK);
        let mut b = [0u8; 128];
        sc!(read, fd, &mut b, 128).err(EAGAIN);
        sc!(kill, getpid(), SIGUSR1).is(0);
        assert_eq!(poll_one(fd, POLLIN, 0), POLLIN);
        sc!(read, fd, &mut b, 128).is(128);
        let info: signalfd_siginfo = from_bytes(&b);
        assert_eq!(
            (info.ssi_signo as i32, info.ssi_pid as i32),
            (SIGUSR1, getpid())
        );
        assert_eq!(info.ssi_code, SI_USER);
        assert_eq!(pending(), 0);
    }),
    case!("signalfd4", "several_in_one_read", || {
        let set = bit(SIGUSR1) | bit(SIGUSR2);
        sigmask(SIG_BLOCK, set);
        let fd = signalfd(set, 0);
        sc!(kill, getpid(), SIGUSR1).is(0);
        sc!(kill, getpid(), SIGUSR2).is(0);
        assert_eq!(read_some(fd, 1280).len(), 256);
    }),
    case!("signalfd4", "carries_the_queued_value", || {
        let sig = SIGRTMIN() + 1;
        sigmask(SIG_BLOCK, bit(sig));
        let fd = signalfd(bit(sig), 0);
        let mut info = [0u32; 32];
        info[0] = sig as u32;
        info[2] = SI_QUEUE as u32;
        info[6] = 4242;
        sc!(rt_sigqueueinfo, getpid(), sig, &info).is(0);
        let got: signalfd_siginfo = from_bytes(&read_some(fd, 128));
        assert_eq!((got.ssi_code, got.ssi_int), (SI_QUEUE, 4242));
    }),
    case!("signalfd4", "short_buffer_is_einval", || {
        let mut b = [0u8; 127];
        sc!(read, signalfd(bit(SIGUSR1), 0), &mut b, 127).err(EINVAL);
    }),
    case!("signalfd4", "mask_can_be_changed", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1) | bit(SIGUSR2));
        let fd = signalfd(bit(SIGUSR1), SFD_NONBLOCK);
        sc!(signalfd4, fd, [bit(SIGUSR2)], 8, 0).is(fd.into());
        sc!(kill, getpid(), SIGUSR1).is(0);
        assert_eq!(poll_one(fd, POLLIN, 0), 0);
        sc!(kill, getpid(), SIGUSR2).is(0);
        assert_eq!(poll_one(fd, POLLIN, 0), POLLIN);
    }),
    case!("signalfd4 signalfd", "errors", || {
        sc!(signalfd4, -1, [0u64], 4, 0).err(EINVAL);
        sc!(signalfd4, -1, [0u64], 8, 1).err(EINVAL);
        sc!(signalfd4, 0, [0u64], 8, 0).err(EINVAL);
        sc!(signalfd4, 99, [0u64], 8, 0).err(EBADF);
        sc!(signalfd4, -1, BAD, 8, 0).err(EFAULT);
        sc!(signalfd, -1, [bit(SIGUSR1)], 8).ok();
    }),
    case!("signalfd4", "reports_a_childs_exit", || {
        sigmask(SIG_BLOCK, bit(SIGCHLD));
        let fd = signalfd(bit(SIGCHLD), 0);
        let child = fork(|| exit(9));
        let info: signalfd_siginfo = from_bytes(&read_some(fd, 128));
        assert_eq!(
            (info.ssi_pid as i32, info.ssi_status, info.ssi_code),
            (child.pid, 9, CLD_EXITED)
        );
        child.exits(9);
    }),
];
