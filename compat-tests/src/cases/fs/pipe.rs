//! pipe(7), splice(2), tee(2), vmsplice(2).

use crate::prelude::*;

const PIPE_SIZE: usize = 65536;

pub static CASES: &[Case] = &[
    case!("pipe2", "bytes_come_out_in_order", || {
        let (r, w) = pipe();
        write_all(w, b"abc");
        write_all(w, b"def");
        assert_eq!(read_some(r, 4), b"abcd");
        assert_eq!(read_some(r, 9), b"ef");
    }),
    case!("pipe", "old_call_gives_two_descriptors", || {
        let mut ends = [0i32; 2];
        sc!(pipe, &mut ends).is(0);
        assert_eq!(ends, [3, 4]);
        sc!(pipe, BAD).err(EFAULT);
    }),
    case!("pipe2", "bad_pointer_leaves_no_descriptor", || {
        sc!(pipe2, BAD, 0).err(EFAULT);
        sc!(fcntl, 3, F_GETFD).err(EBADF);
    }),
    case!("pipe2", "flags", || {
        let (r, w) = pipe_with(O_CLOEXEC | O_NONBLOCK);
        for fd in [r, w] {
            sc!(fcntl, fd, F_GETFD).is(1);
            assert_ne!(sc!(fcntl, fd, F_GETFL).fd() & O_NONBLOCK, 0);
        }
        let mut e = [0i32; 2];
        sc!(pipe2, &mut e, 0x10).err(EINVAL);
    }),
    case!("read", "wrong_ends_are_ebadf", || {
        let (r, w) = pipe();
        let mut b = [0u8; 1];
        sc!(read, w, &mut b, 1).err(EBADF);
        sc!(write, r, &b, 1).err(EBADF);
    }),
    case!("read", "empty_nonblocking_is_eagain", || {
        let (r, _w) = pipe_with(O_NONBLOCK);
        let mut b = [0u8; 1];
        sc!(read, r, &mut b, 1).err(EAGAIN);
    }),
    case!("read", "no_writer_is_end_of_file", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        close(w);
        assert_eq!(read_some(r, 8), b"x");
        assert_eq!(read_some(r, 8), b"");
    }),
    case!("write", "no_reader_is_epipe_with_sigpipe", || {
        let (r, w) = pipe();
        close(r);
        on_signal(SIGPIPE, 0);
        sc!(write, w, b"x", 1).err(EPIPE);
        assert_eq!(hits(SIGPIPE), 1);
    }),
    case!("write", "sigpipe_kills_by_default", || {
        let (r, w) = pipe();
        close(r);
        fork(|| {
            let _ = sc!(write, w, b"x", 1).errno();
        })
        .dies(SIGPIPE);
    }),
    case!("write", "full_nonblocking_is_eagain", || {
        let (_r, w) = pipe_with(O_NONBLOCK);
        sc!(write, w, vec![0u8; PIPE_SIZE + 1], PIPE_SIZE + 1).is(PIPE_SIZE as i64);
        sc!(write, w, b"x", 1).err(EAGAIN);
    }),
    case!("write", "atomic_up_to_pipe_buf", || {
        let (r, w) = pipe_with(O_NONBLOCK);
        sc!(write, w, vec![0u8; PIPE_SIZE - 100], PIPE_SIZE - 100).is(PIPE_SIZE as i64 - 100);
        sc!(write, w, vec![1u8; 4096], 4096).err(EAGAIN);
        let _ = read_some(r, PIPE_SIZE);
        sc!(write, w, vec![1u8; 4096], 4096).is(4096);
    }),
    case!("write", "blocks_until_there_is_room", || {
        let (r, w) = pipe();
        write_all(w, vec![0u8; PIPE_SIZE]);
        let child = fork(|| write_all(w, b"tail"));
        wait_asleep(child.pid);
        let mut left = PIPE_SIZE;
        while left > 0 {
            left -= read_some(r, left).len();
        }
        child.ok();
        assert_eq!(read_some(r, 8), b"tail");
    }),
    case!("write", "large_write_is_complete", || {
        let (r, w) = pipe();
        let child = fork(|| write_all(w, vec![7u8; 1 << 20]));
        close(w);
        let mut total = 0;
        loop {
            let n = read_some(r, 30000).len();
            if n == 0 {
                break;
            }
            total += n;
        }
        assert_eq!(total, 1 << 20);
        child.ok();
    }),
    case!("read", "signal_interrupts_or_restarts", || {
        let (r, w) = pipe();
        for (flags, restart) in [(0, false), (SA_RESTART, true)] {
            let child = fork(|| {
                on_signal(SIGUSR1, flags);
                let mut b = [0u8; 1];
                let got = sc!(read, r, &mut b, 1);
                if restart {
                    got.is(1)
                } else {
                    got.err(EINTR)
                }
                assert_eq!(hits(SIGUSR1), 1);
            });
            wait_asleep(child.pid);
            child.kill(SIGUSR1);
            if restart {
                sleep_ms(30);
                write_all(w, b"x");
            }
            child.ok();
        }
    }),
    case!("write", "interrupted_after_some_bytes_is_short", || {
        let (r, w) = pipe();
        let child = fork(|| {
            on_signal(SIGUSR1, 0);
            let n = sc!(write, w, vec![0u8; 2 * PIPE_SIZE], 2 * PIPE_SIZE).ok();
            assert_eq!(n, PIPE_SIZE as i64);
        });
        wait_asleep(child.pid);
        child.kill(SIGUSR1);
        child.ok();
        let _ = r;
    }),
    case!("fcntl", "pipe_size_can_be_set", || {
        let (r, w) = pipe();
        sc!(fcntl, r, F_GETPIPE_SZ).is(PIPE_SIZE as i64);
        sc!(fcntl, w, F_SETPIPE_SZ, 100_000).is(131072);
        sc!(fcntl, r, F_GETPIPE_SZ).is(131072);
        sc!(fcntl, w, F_SETPIPE_SZ, 1).is(4096);
    }),
    case!("fcntl", "pipe_size_below_content_is_ebusy", || {
        let (_r, w) = pipe();
        write_all(w, vec![0u8; 20000]);
        sc!(fcntl, w, F_SETPIPE_SZ, 4096).err(EBUSY);
    }),
    case!("fcntl", "pipe_size_limit_holds_for_nobody", || {
        as_nobody(|| {
            let (_r, w) = pipe();
            sc!(fcntl, w, F_SETPIPE_SZ, 1 << 24).err(EPERM);
            sc!(fcntl, w, F_SETPIPE_SZ, 1 << 20).is(1 << 20);
        });
    }),
    case!("fcntl", "pipe_size_of_a_file_is_ebadf", || {
        sc!(fcntl, file("f", b""), F_GETPIPE_SZ).err(EBADF);
    }),
    case!("pipe2", "packet_mode_keeps_boundaries", || {
        let (r, w) = pipe_with(O_DIRECT);
        write_all(w, b"first");
        write_all(w, b"second");
        assert_eq!(read_some(r, 100), b"first");
        assert_eq!(read_some(r, 3), b"sec");
        write_all(w, b"third");
        assert_eq!(read_some(r, 100), b"third");
    }),
    case!("poll", "pipe_events", || {
        let (r, w) = pipe();
        assert_eq!(poll_one(r, POLLIN, 0), 0);
        assert_eq!(poll_one(w, POLLOUT, 0), POLLOUT);
        write_all(w, b"x");
        assert_eq!(poll_one(r, POLLIN, 0), POLLIN);
        close(w);
        assert_eq!(poll_one(r, POLLIN, 0), POLLIN | POLLHUP);
        let _ = read_some(r, 1);
        assert_eq!(poll_one(r, POLLIN, 0), POLLHUP);
    }),
    case!("poll", "pipe_without_reader_is_pollerr", || {
        let (r, w) = pipe();
        close(r);
        assert_eq!(poll_one(w, POLLOUT, 0), POLLOUT | POLLERR);
    }),
    case!("openat", "fifo_keeps_data_between_openers", || {
        sc!(mknod, c"p", S_IFIFO | 0o600, 0).is(0);
        let fd = open("p", O_RDWR);
        write_all(fd, b"kept");
        assert_eq!(read_some(open("p", O_RDONLY), 8), b"kept");
    }),
    case!("openat", "fifo_reader_sees_end_after_last_writer", || {
        sc!(mknod, c"p", S_IFIFO | 0o600, 0).is(0);
        let r = open("p", O_RDONLY | O_NONBLOCK);
        assert_eq!(read_some(r, 8), b"");
        let w = open("p", O_WRONLY);
        let mut b = [0u8; 4];
        sc!(read, r, &mut b, 4).err(EAGAIN);
        close(w);
        assert_eq!(read_some(r, 8), b"");
    }),
    case!("openat", "proc_fd_reopens_a_pipe_end", || {
        let (r, w) = pipe();
        let w2 = open(&format!("/proc/self/fd/{r}"), O_WRONLY);
        write_all(w2, b"x");
        assert_eq!(read_some(r, 4), b"x");
        let _ = w;
    }),
    case!("readlink", "proc_fd_names_a_pipe", || {
        let (r, w) = pipe();
        let name = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        assert_eq!(
            name(r).to_string_lossy(),
            format!("pipe:[{}]", fstat(r).st_ino)
        );
        assert_eq!(name(r), name(w));
    }),
    case!("splice", "file_to_pipe_and_on_to_file", || {
        let (a, b) = (file("a", b"hello world"), file("b", b""));
        let (r, w) = pipe();
        sc!(splice, a, 0, w, 0, 100, 0).is(11);
        sc!(splice, r, 0, b, 0, 100, 0).is(11);
        assert_eq!(get("b"), b"hello world");
    }),
    case!("splice", "offset_leaves_the_file_offset", || {
        let a = file("a", b"hello world");
        let (r, w) = pipe();
        let mut off = 6i64;
        sc!(splice, a, &raw mut off, w, 0, 100, 0).is(5);
        assert_eq!((off, read_some(r, 10)), (11, b"world".to_vec()));
        sc!(lseek, a, 0, SEEK_CUR).is(0);
    }),
    case!("splice", "pipe_to_pipe_moves", || {
        let (r1, w1) = pipe();
        let (r2, w2) = pipe();
        write_all(w1, b"abcdef");
        sc!(splice, r1, 0, w2, 0, 4, 0).is(4);
        assert_eq!(read_some(r2, 10), b"abcd");
        assert_eq!(read_some(r1, 10), b"ef");
    }),
    case!("splice", "without_a_pipe_is_einval", || {
        sc!(splice, file("a", b"x"), 0, file("b", b""), 0, 1, 0).err(EINVAL);
    }),
    case!("splice", "offset_on_a_pipe_is_espipe", || {
        let (r, _w) = pipe();
        let mut off = 0i64;
        sc!(splice, r, &raw mut off, file("b", b""), 0, 1, 0).err(ESPIPE);
    }),
    case!("splice", "same_pipe_is_einval", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        sc!(splice, r, 0, w, 0, 1, 0).err(EINVAL);
    }),
    case!("splice", "append_file_is_einval", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        put("f", b"");
        sc!(splice, r, 0, open("f", O_WRONLY | O_APPEND), 0, 1, 0).err(EINVAL);
    }),
    case!(
        "splice",
        "empty_pipe_nonblock_is_eagain_closed_is_zero",
        || {
            let (r, w) = pipe();
            let f = file("f", b"");
            sc!(splice, r, 0, f, 0, 1, SPLICE_F_NONBLOCK).err(EAGAIN);
            close(w);
            sc!(splice, r, 0, f, 0, 1, 0).is(0);
        }
    ),
    case!("splice", "unknown_flag_and_bad_descriptor", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        sc!(splice, r, 0, file("f", b""), 0, 1, 0x100).err(EINVAL);
        sc!(splice, r, 0, 99, 0, 1, 0).err(EBADF);
    }),
    case!("splice", "socket_to_pipe", || {
        let (a, b) = socketpair(SOCK_STREAM);
        let (r, w) = pipe();
        write_all(a, b"net");
        sc!(splice, b, 0, w, 0, 10, 0).is(3);
        assert_eq!(read_some(r, 10), b"net");
    }),
    case!("tee", "duplicates_without_consuming", || {
        let (r1, w1) = pipe();
        let (r2, w2) = pipe();
        write_all(w1, b"abc");
        sc!(tee, r1, w2, 100, 0).is(3);
        assert_eq!(read_some(r1, 10), b"abc");
        assert_eq!(read_some(r2, 10), b"abc");
    }),
    case!("tee", "errors", || {
        let (r, w) = pipe();
        sc!(tee, r, w, 1, 0).err(EINVAL);
        sc!(tee, file("f", b""), w, 1, 0).err(EINVAL);
        sc!(tee, 99, w, 1, 0).err(EBADF);
        let (_r2, w2) = pipe();
        sc!(tee, r, w2, 1, SPLICE_F_NONBLOCK).err(EAGAIN);
    }),
    case!("vmsplice", "memory_into_a_pipe", || {
        let (r, w) = pipe();
        let (a, b) = (b"abc", b"def");
        sc!(vmsplice, w, [[a.raw(), 3], [b.raw(), 3]], 2, 0).is(6);
        assert_eq!(read_some(r, 10), b"abcdef");
    }),
    case!("vmsplice", "out_of_a_pipe_into_memory", || {
        let (r, w) = pipe();
        write_all(w, b"data");
        let mut b = vec![0u8; 4];
        sc!(vmsplice, r, [[b.raw(), 4]], 1, 0).is(4);
        assert_eq!(std::hint::black_box(&mut b).as_slice(), b"data");
    }),
    case!("vmsplice", "errors", || {
        let (_r, w) = pipe();
        let part = [b"x".raw(), 1];
        sc!(vmsplice, file("f", b""), [part], 1, 0).err(EBADF);
        sc!(vmsplice, 99, [part], 1, 0).err(EBADF);
        sc!(vmsplice, w, [[BAD.addr(), 10]], 1, 0).err(EFAULT);
        sc!(vmsplice, w, vec![[0usize; 2]; 1025], 1025, 0).err(EINVAL);
    }),
];
