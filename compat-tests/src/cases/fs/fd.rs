//! Descriptors: dup, fcntl, flock and record locks, leases.

use crate::prelude::*;

fn lock_of(kind: i32, start: i64, len: i64) -> flock {
    flock {
        l_type: kind as i16,
        l_whence: SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

fn lock(fd: i32, cmd: i32, kind: i32, start: i64, len: i64) -> Ret {
    let l = lock_of(kind, start, len);
    sc!(fcntl, fd, cmd, &raw const l)
}

fn get_lock(fd: i32, cmd: i32, kind: i32, start: i64, len: i64) -> flock {
    let mut l = lock_of(kind, start, len);
    sc!(fcntl, fd, cmd, &raw mut l).is(0);
    l
}

pub static CASES: &[Case] = &[
    case!("dup", "shares_the_offset_and_flags", || {
        let a = file("f", b"abcdef");
        let b = sc!(dup, a).fd();
        assert_eq!(read_some(a, 3), b"abc");
        assert_eq!(read_some(b, 3), b"def");
        sc!(fcntl, a, F_SETFL, O_APPEND).is(0);
        assert_ne!(sc!(fcntl, b, F_GETFL).fd() & O_APPEND, 0);
    }),
    case!("dup", "clears_close_on_exec", || {
        let a = open("/dev/null", O_RDONLY | O_CLOEXEC);
        sc!(fcntl, sc!(dup, a).fd(), F_GETFD).is(0);
    }),
    case!("dup", "bad_descriptor_is_ebadf", || sc!(dup, 99).err(EBADF)),
    case!("dup setrlimit", "emfile_at_the_limit", || {
        sc!(setrlimit, RLIMIT_NOFILE, [3u64, 3]).is(0);
        sc!(dup, 0).err(EMFILE);
    }),
    case!("dup2", "replaces_the_target_silently", || {
        let a = file("a", b"A");
        let b = file("b", b"B");
        sc!(dup2, a, b).is(b.into());
        assert_eq!(read_some(b, 4), b"A");
    }),
    case!("dup2", "same_number_does_nothing", || {
        let a = open("/dev/null", O_RDONLY | O_CLOEXEC);
        sc!(dup2, a, a).is(a.into());
        sc!(fcntl, a, F_GETFD).is(1);
        sc!(dup2, 99, 99).err(EBADF);
    }),
    case!("dup2", "target_out_of_range_is_ebadf", || {
        sc!(dup2, 0, -1).err(EBADF);
        sc!(dup2, 0, 1 << 30).err(EBADF);
    }),
    case!("dup2 setrlimit", "target_at_the_limit_is_ebadf", || {
        sc!(setrlimit, RLIMIT_NOFILE, [10u64, 10]).is(0);
        sc!(dup2, 0, 10).err(EBADF);
        sc!(dup2, 0, 9).is(9);
    }),
    case!("dup3", "same_number_is_einval", || {
        sc!(dup3, 0, 0, 0).err(EINVAL);
        sc!(dup3, 0, 50, 1).err(EINVAL);
        sc!(dup3, 99, 50, 0).err(EBADF);
    }),
    case!("dup3", "cloexec_flag", || {
        sc!(dup3, 0, 50, O_CLOEXEC).is(50);
        sc!(fcntl, 50, F_GETFD).is(1);
    }),
    case!("fcntl", "dupfd_takes_the_lowest_from_a_minimum", || {
        sc!(fcntl, 0, F_DUPFD, 40).is(40);
        sc!(fcntl, 0, F_DUPFD, 40).is(41);
        sc!(fcntl, 0, F_DUPFD_CLOEXEC, 40).is(42);
        sc!(fcntl, 42, F_GETFD).is(1);
        sc!(fcntl, 0, F_DUPFD, -1).err(EINVAL);
        sc!(fcntl, 0, F_DUPFD, 1 << 30).err(EINVAL);
    }),
    case!("fcntl", "setfd_changes_only_this_descriptor", || {
        let a = open("/dev/null", O_RDONLY);
        let b = sc!(dup, a).fd();
        sc!(fcntl, a, F_SETFD, FD_CLOEXEC).is(0);
        sc!(fcntl, b, F_GETFD).is(0);
    }),
    case!(
        "fcntl",
        "setfl_ignores_access_mode_and_creation_flags",
        || {
            let fd = open("/dev/null", O_RDONLY);
            sc!(fcntl, fd, F_SETFL, O_RDWR | O_CREAT | O_TRUNC | O_NONBLOCK).is(0);
            let fl = sc!(fcntl, fd, F_GETFL).fd() & !0o100000;
            assert_eq!(fl, O_RDONLY | O_NONBLOCK);
        }
    ),
    case!("fcntl", "unknown_command_is_einval", || sc!(fcntl, 0, 9999)
        .err(EINVAL)),
    case!("fcntl", "bad_descriptor_is_ebadf", || {
        sc!(fcntl, 99, F_GETFD).err(EBADF);
        sc!(fcntl, -1, F_GETFL).err(EBADF);
    }),
    case!("fcntl", "owner_is_kept", || {
        let (r, _w) = pipe();
        sc!(fcntl, r, F_SETOWN, getpid()).is(0);
        sc!(fcntl, r, F_GETOWN).is(getpid().into());
        sc!(fcntl, r, F_SETOWN, 0).is(0);
        sc!(fcntl, r, F_GETOWN).is(0);
    }),
    case!("fcntl", "owner_ex_and_signal", || {
        let (r, _w) = pipe();
        sc!(fcntl, r, 15, [0i32, gettid()]).is(0);
        let mut got = [9i32; 2];
        sc!(fcntl, r, 16, &mut got).is(0);
        assert_eq!(got, [0, gettid()]);
        sc!(fcntl, r, 10, SIGUSR1).is(0);
        sc!(fcntl, r, 11).is(SIGUSR1.into());
        sc!(fcntl, r, 10, 99).err(EINVAL);
    }),
    case!("fcntl", "async_sends_sigio", || {
        let (a, b) = socketpair(SOCK_STREAM);
        on_signal(SIGIO, 0);
        sc!(fcntl, a, F_SETOWN, getpid()).is(0);
        let fl = sc!(fcntl, a, F_GETFL).fd();
        sc!(fcntl, a, F_SETFL, fl | O_ASYNC).is(0);
        write_all(b, b"x");
        eventually("SIGIO arrives", || hits(SIGIO) > 0);
    }),
    case!("ioctl", "fionbio_and_fioclex", || {
        let (r, _w) = pipe();
        let on = 1i32;
        sc!(ioctl, r, FIONBIO, &raw const on).is(0);
        assert_ne!(sc!(fcntl, r, F_GETFL).fd() & O_NONBLOCK, 0);
        sc!(ioctl, r, FIOCLEX).is(0);
        sc!(fcntl, r, F_GETFD).is(1);
        sc!(ioctl, r, FIONCLEX).is(0);
        sc!(fcntl, r, F_GETFD).is(0);
    }),
    case!("ioctl", "fionread_counts_what_is_there", || {
        let (r, w) = pipe();
        write_all(w, b"12345");
        let mut n = 0i32;
        sc!(ioctl, r, FIONREAD, &raw mut n).is(0);
        assert_eq!(n, 5);
        let fd = file("f", b"abc");
        sc!(ioctl, fd, FIONREAD, &raw mut n).is(0);
        assert_eq!(n, 3);
    }),
    case!("ioctl", "terminal_request_on_a_file_is_enotty", || {
        let mut t = [0u8; 64];
        sc!(ioctl, file("f", b""), TCGETS, &mut t).err(ENOTTY);
        sc!(ioctl, pipe().0, TCGETS, &mut t).err(ENOTTY);
        sc!(ioctl, 0, TCGETS, &mut t).err(ENOTTY);
        sc!(ioctl, 99, TCGETS, &mut t).err(EBADF);
    }),
    case!("ioctl", "inode_flags_of_a_file", || {
        let fd = file("f", b"");
        let mut flags = 0i64;
        sc!(ioctl, fd, 0x80086601u32, &raw mut flags)
            .skip_on(&[ENOTTY, EOPNOTSUPP])
            .is(0);
        flags |= 0x80;
        sc!(ioctl, fd, 0x40086602u32, &raw const flags)
            .skip_on(&[EOPNOTSUPP])
            .is(0);
        let mut got = 0i64;
        sc!(ioctl, fd, 0x80086601u32, &raw mut got).is(0);
        assert_ne!(got as i32 & 0x80, 0, "NOATIME flag");
    }),
    case!("flock", "exclusive_excludes_another_open", || {
        put("f", b"");
        let (a, b) = (open("f", O_RDONLY), open("f", O_RDONLY));
        sc!(flock, a, LOCK_EX).is(0);
        sc!(flock, b, LOCK_EX | LOCK_NB).err(EAGAIN);
        sc!(flock, b, LOCK_SH | LOCK_NB).err(EAGAIN);
        sc!(flock, a, LOCK_UN).is(0);
        sc!(flock, b, LOCK_EX | LOCK_NB).is(0);
    }),
    case!("flock", "shared_locks_coexist", || {
        put("f", b"");
        let (a, b) = (open("f", O_RDONLY), open("f", O_RDONLY));
        sc!(flock, a, LOCK_SH).is(0);
        sc!(flock, b, LOCK_SH | LOCK_NB).is(0);
        sc!(flock, b, LOCK_EX | LOCK_NB).err(EAGAIN);
    }),
    case!("flock", "belongs_to_the_open_description", || {
        put("f", b"");
        let a = open("f", O_RDONLY);
        let dup = sc!(dup, a).fd();
        let b = open("f", O_RDONLY);
        sc!(flock, a, LOCK_EX).is(0);
        sc!(flock, dup, LOCK_EX | LOCK_NB).is(0);
        close(a);
        sc!(flock, b, LOCK_EX | LOCK_NB).err(EAGAIN);
        close(dup);
        sc!(flock, b, LOCK_EX | LOCK_NB).is(0);
    }),
    case!("flock", "waits_until_released", || {
        put("f", b"");
        let a = open("f", O_RDONLY);
        sc!(flock, a, LOCK_EX).is(0);
        let child = fork(|| sc!(flock, open("f", O_RDONLY), LOCK_EX).is(0));
        wait_asleep(child.pid);
        sc!(flock, a, LOCK_UN).is(0);
        child.ok();
    }),
    case!("flock", "a_signal_interrupts_the_wait", || {
        put("f", b"");
        let a = open("f", O_RDONLY);
        sc!(flock, a, LOCK_EX).is(0);
        let child = fork(|| {
            on_signal(SIGUSR1, 0);
            sc!(flock, open("f", O_RDONLY), LOCK_EX).err(EINTR);
        });
        wait_asleep(child.pid);
        child.kill(SIGUSR1);
        child.ok();
    }),
    case!("flock", "errors", || {
        sc!(flock, 99, LOCK_SH).err(EBADF);
        sc!(flock, file("f", b""), 0).err(EINVAL);
        sc!(flock, open("f", O_PATH), LOCK_SH).err(EBADF);
    }),
    case!("fcntl", "record_lock_excludes_another_process", || {
        let fd = file("f", b"0123456789");
        lock(fd, F_SETLK, F_WRLCK, 2, 4).is(0);
        let me = getpid();
        fork(|| {
            let fd = open("f", O_RDWR);
            lock(fd, F_SETLK, F_WRLCK, 5, 1).err_any(&[EAGAIN, EACCES]);
            lock(fd, F_SETLK, F_WRLCK, 6, 1).is(0);
            let l = get_lock(fd, F_GETLK, F_WRLCK, 0, 0);
            assert_eq!(
                (l.l_type.into(), l.l_start, l.l_len, l.l_pid),
                (F_WRLCK, 2, 4, me)
            );
        })
        .ok();
    }),
    case!("fcntl", "record_lock_getlk_says_unlocked", || {
        let fd = file("f", b"");
        assert_eq!(
            i32::from(get_lock(fd, F_GETLK, F_WRLCK, 0, 0).l_type),
            F_UNLCK
        );
    }),
    case!(
        "fcntl",
        "record_locks_of_one_process_never_conflict",
        || {
            let a = file("f", b"");
            let b = open("f", O_RDWR);
            lock(a, F_SETLK, F_WRLCK, 0, 10).is(0);
            lock(b, F_SETLK, F_WRLCK, 0, 10).is(0);
        }
    ),
    case!("fcntl", "closing_any_descriptor_drops_record_locks", || {
        let a = file("f", b"");
        lock(a, F_SETLK, F_WRLCK, 0, 0).is(0);
        close(open("f", O_RDWR));
        fork(|| lock(open("f", O_RDWR), F_SETLK, F_WRLCK, 0, 0).is(0)).ok();
    }),
    case!("fcntl", "record_locks_are_not_inherited", || {
        let fd = file("f", b"");
        lock(fd, F_SETLK, F_WRLCK, 0, 0).is(0);
        fork(|| lock(fd, F_SETLK, F_WRLCK, 0, 0).err_any(&[EAGAIN, EACCES])).ok();
    }),
    case!("fcntl", "unlocking_the_middle_splits", || {
        let fd = file("f", b"");
        lock(fd, F_SETLK, F_WRLCK, 0, 30).is(0);
        lock(fd, F_SETLK, F_UNLCK, 10, 10).is(0);
        fork(|| {
            let fd = open("f", O_RDWR);
            lock(fd, F_SETLK, F_WRLCK, 10, 10).is(0);
            lock(fd, F_SETLK, F_WRLCK, 9, 1).err(EAGAIN);
            lock(fd, F_SETLK, F_WRLCK, 20, 1).err(EAGAIN);
        })
        .ok();
    }),
    case!("fcntl", "setlkw_waits_for_release", || {
        let fd = file("f", b"");
        lock(fd, F_SETLK, F_WRLCK, 0, 0).is(0);
        let child = fork(|| lock(open("f", O_RDWR), F_SETLKW, F_WRLCK, 0, 0).is(0));
        wait_asleep(child.pid);
        lock(fd, F_SETLK, F_UNLCK, 0, 0).is(0);
        child.ok();
    }),
    case!("fcntl", "deadlock_is_edeadlk", || {
        let fd = file("f", b"");
        lock(fd, F_SETLK, F_WRLCK, 0, 1).is(0);
        let gate = Gate::new();
        let child = fork(|| {
            let fd = open("f", O_RDWR);
            lock(fd, F_SETLK, F_WRLCK, 1, 1).is(0);
            gate.open();
            lock(fd, F_SETLKW, F_WRLCK, 0, 1).is(0);
        });
        gate.wait();
        wait_asleep(child.pid);
        lock(fd, F_SETLKW, F_WRLCK, 1, 1).err(EDEADLK);
        lock(fd, F_SETLK, F_UNLCK, 0, 1).is(0);
        child.ok();
    }),
    case!("fcntl", "lock_modes_need_matching_access", || {
        put("f", b"");
        lock(open("f", O_RDONLY), F_SETLK, F_WRLCK, 0, 0).err(EBADF);
        lock(open("f", O_WRONLY), F_SETLK, F_RDLCK, 0, 0).err(EBADF);
    }),
    case!("fcntl", "record_lock_errors", || {
        let fd = file("f", b"");
        lock(fd, F_SETLK, 77, 0, 0).err(EINVAL);
        lock(fd, F_SETLK, F_WRLCK, -1, 0).err(EINVAL);
        sc!(fcntl, fd, F_SETLK, BAD).err(EFAULT);
        lock(99, F_SETLK, F_WRLCK, 0, 0).err(EBADF);
    }),
    case!("fcntl", "negative_length_locks_backwards", || {
        let fd = file("f", b"");
        lock(fd, F_SETLK, F_WRLCK, 10, -5).is(0);
        fork(|| {
            let l = get_lock(open("f", O_RDWR), F_GETLK, F_WRLCK, 0, 0);
            assert_eq!((l.l_start, l.l_len), (5, 5));
        })
        .ok();
    }),
    case!("fcntl", "ofd_locks_conflict_within_a_process", || {
        let a = file("f", b"");
        let b = open("f", O_RDWR);
        lock(a, F_OFD_SETLK, F_WRLCK, 0, 0).is(0);
        lock(b, F_OFD_SETLK, F_WRLCK, 0, 0).err(EAGAIN);
        let l = get_lock(b, F_OFD_GETLK, F_WRLCK, 0, 0);
        assert_eq!((i32::from(l.l_type), l.l_pid), (F_WRLCK, -1));
    }),
    case!("fcntl", "ofd_locks_survive_other_closes_and_fork", || {
        let a = file("f", b"");
        lock(a, F_OFD_SETLK, F_WRLCK, 0, 0).is(0);
        close(open("f", O_RDWR));
        fork(|| {
            lock(a, F_OFD_SETLK, F_WRLCK, 0, 0).is(0);
            lock(open("f", O_RDWR), F_OFD_SETLK, F_WRLCK, 0, 0).err(EAGAIN);
        })
        .ok();
    }),
    case!("fcntl", "ofd_lock_with_pid_is_einval", || {
        let fd = file("f", b"");
        let mut l = lock_of(F_WRLCK, 0, 0);
        l.l_pid = 1;
        sc!(fcntl, fd, F_OFD_SETLK, &raw const l).err(EINVAL);
    }),
    case!(
        "fcntl",
        "ofd_conflicts_with_record_lock_of_another_process",
        || {
            let a = file("f", b"");
            lock(a, F_OFD_SETLK, F_WRLCK, 0, 0).is(0);
            fork(|| lock(open("f", O_RDWR), F_SETLK, F_WRLCK, 0, 0).err(EAGAIN)).ok();
        }
    ),
    case!("fcntl", "exit_releases_record_locks", || {
        let fd = file("f", b"");
        fork(|| lock(open("f", O_RDWR), F_SETLK, F_WRLCK, 0, 0).is(0)).ok();
        lock(fd, F_SETLK, F_WRLCK, 0, 0).is(0);
    }),
    case!("fcntl", "lease_is_taken_and_reported", || {
        put("f", b"");
        let fd = open("f", O_RDONLY);
        sc!(fcntl, fd, F_SETLEASE, F_RDLCK).skip_on(&[EINVAL]).is(0);
        sc!(fcntl, fd, F_GETLEASE).is(F_RDLCK.into());
        sc!(fcntl, fd, F_SETLEASE, F_UNLCK).is(0);
        sc!(fcntl, fd, F_GETLEASE).is(F_UNLCK.into());
    }),
    case!("fcntl", "breaking_a_lease_signals_the_holder", || {
        put("f", b"");
        let fd = open("f", O_RDONLY);
        on_signal(SIGIO, 0);
        sc!(fcntl, fd, F_SETLEASE, F_RDLCK).skip_on(&[EINVAL]).is(0);
        let child = fork(|| {
            let flags = O_WRONLY | O_NONBLOCK;
            sc!(openat, AT_FDCWD, c"f", flags, 0).err(EAGAIN);
        });
        child.ok();
        assert_eq!(hits(SIGIO), 1);
    }),
    case!("kcmp", "same_and_different_files", || {
        let a = open("/dev/null", O_RDONLY);
        let b = sc!(dup, a).fd();
        let c = open("/dev/null", O_RDONLY);
        let me = getpid();
        sc!(kcmp, me, me, 0, a, b).skip_on(&[ENOSYS]).is(0);
        assert!(sc!(kcmp, me, me, 0, a, c).ok() > 0);
        sc!(kcmp, me, me, 0, a, 99).err(EBADF);
        sc!(kcmp, me, me, 99, 0, 0).err(EINVAL);
        sc!(kcmp, me, 1 << 22, 0, a, b).err(ESRCH);
    }),
    case!("name_to_handle_at open_by_handle_at", "round_trip", || {
        need_root();
        put("f", b"handle");
        let mut h = [0u8; 136];
        h[0] = 128;
        let mut mount = 0i32;
        let r = sc!(name_to_handle_at, AT_FDCWD, c"f", &mut h, &raw mut mount, 0);
        r.skip_on(&[EOPNOTSUPP, ENOSYS]).is(0);
        let fd = sc!(open_by_handle_at, AT_FDCWD, &h, O_RDONLY);
        assert_eq!(read_some(fd.skip_on(&[EPERM]).fd(), 16), b"handle");
        sc!(unlink, c"f").is(0);
    }),
    case!(
        "name_to_handle_at",
        "small_buffer_is_eoverflow_and_says_the_size",
        || {
            put("f", b"");
            let mut h = [0u8; 16];
            let mut mount = 0i32;
            let r = sc!(name_to_handle_at, AT_FDCWD, c"f", &mut h, &raw mut mount, 0);
            r.skip_on(&[EOPNOTSUPP, ENOSYS]).err(EOVERFLOW);
            assert!(h[0] > 0);
        }
    ),
];
