//! poll(2), ppoll(2), select(2), pselect6(2).

use crate::prelude::*;

fn set_of(fds: &[i32]) -> [u64; 16] {
    let mut set = [0u64; 16];
    for fd in fds {
        set[*fd as usize / 64] |= 1 << (fd % 64);
    }
    set
}

fn fds(set: &[u64; 16]) -> Vec<i32> {
    (0..1024)
        .filter(|fd| set[*fd as usize / 64] & 1 << (fd % 64) != 0)
        .collect()
}

pub static CASES: &[Case] = &[
    case!("poll", "times_out", || {
        let took = timed(|| assert_eq!(poll_one(pipe().0, POLLIN, 50), 0));
        assert!((50 * MS..2000 * MS).contains(&took), "{took} ns");
    }),
    case!("poll", "counts_ready_descriptors", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        let p = |fd, events| pollfd {
            fd,
            events,
            revents: 77,
        };
        let mut v = [p(r, POLLIN), p(w, POLLOUT), p(-1, POLLIN), p(99, POLLIN)];
        sc!(poll, &mut v, 4, 0).is(3);
        assert_eq!(v.map(|x| x.revents), [POLLIN, POLLOUT, 0, POLLNVAL]);
    }),
    case!("poll", "no_descriptors_just_sleeps", || {
        let took = timed(|| sc!(poll, 0, 0, 30).is(0));
        assert!(took >= 30 * MS);
    }),
    case!("poll", "regular_files_are_always_ready", || {
        assert_eq!(
            poll_one(file("f", b""), POLLIN | POLLOUT, -1),
            POLLIN | POLLOUT
        );
    }),
    case!("poll", "bad_array_is_efault", || sc!(poll, BAD, 1, 0)
        .err(EFAULT)),
    case!(
        "poll setrlimit",
        "more_than_rlimit_nofile_is_einval",
        || {
            sc!(setrlimit, RLIMIT_NOFILE, [10u64, 10]).is(0);
            sc!(poll, vec![[0u64; 1]; 11], 11, 0).err(EINVAL);
        }
    ),
    case!("poll", "signal_is_eintr_even_with_restart", || {
        let (r, _w) = pipe();
        let child = fork(|| {
            on_signal(SIGUSR1, SA_RESTART);
            let mut p = [pollfd {
                fd: r,
                events: POLLIN,
                revents: 0,
            }];
            sc!(poll, &mut p, 1, -1).err(EINTR);
        });
        wait_asleep(child.pid);
        child.kill(SIGUSR1);
        child.ok();
    }),
    case!("poll", "wakes_when_data_comes", || {
        let (r, w) = pipe();
        let child = fork(|| assert_eq!(poll_one(r, POLLIN, -1), POLLIN));
        wait_asleep(child.pid);
        write_all(w, b"x");
        child.ok();
    }),
    case!("poll", "hangup_comes_unasked", || {
        let (r, w) = pipe();
        close(w);
        assert_eq!(poll_one(r, 0, -1), POLLHUP);
    }),
    case!("poll", "unix_socket_peer_close_is_hup_in_rdhup", || {
        let (a, b) = socketpair(SOCK_STREAM);
        close(b);
        let got = poll_one(a, POLLIN | POLLRDHUP | POLLOUT, 0);
        assert_eq!(got, POLLIN | POLLHUP | POLLRDHUP | POLLOUT);
    }),
    case!("ppoll", "timeout_is_written_back", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        let mut p = [pollfd {
            fd: r,
            events: POLLIN,
            revents: 0,
        }];
        let mut ts = timespec(10, 0);
        sc!(ppoll, &mut p, 1, &raw mut ts, 0, 8).is(1);
        assert!(ts.tv_sec == 9 || ts.tv_sec == 10 && ts.tv_nsec == 0);
    }),
    case!("ppoll", "bad_timeout_is_einval", || {
        let ts = timespec(0, 1_000_000_000);
        sc!(ppoll, 0, 0, &raw const ts, 0, 8).err(EINVAL);
        let ts = timespec(-1, 0);
        sc!(ppoll, 0, 0, &raw const ts, 0, 8).err(EINVAL);
    }),
    case!("ppoll", "bad_mask_size_is_einval", || {
        let ts = timespec(0, 0);
        sc!(ppoll, 0, 0, &raw const ts, [0u64], 4).err(EINVAL);
    }),
    case!("ppoll", "mask_is_swapped_atomically", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        on_signal(SIGUSR1, 0);
        sc!(kill, getpid(), SIGUSR1).is(0);
        assert_eq!(hits(SIGUSR1), 0);
        sc!(ppoll, 0, 0, 0, [0u64], 8).err(EINTR);
        assert_eq!(hits(SIGUSR1), 1);
        assert_eq!(sigmask(SIG_BLOCK, 0), bit(SIGUSR1));
    }),
    case!("select", "reports_sets_and_count", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        let (mut rs, mut ws) = (set_of(&[r]), set_of(&[w]));
        sc!(select, w + 1, &mut rs, &mut ws, 0, 0).is(2);
        assert_eq!((fds(&rs), fds(&ws)), (vec![r], vec![w]));
    }),
    case!("select", "timeout_clears_sets_and_counts_down", || {
        let (r, _w) = pipe();
        let mut rs = set_of(&[r]);
        let mut tv = [0i64, 20_000];
        sc!(select, r + 1, &mut rs, 0, 0, &mut tv).is(0);
        assert!(fds(&rs).is_empty());
        assert_eq!(tv, [0, 0]);
    }),
    case!("select", "remaining_time_is_written_back", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        let mut rs = set_of(&[r]);
        let mut tv = [10i64, 0];
        sc!(select, r + 1, &mut rs, 0, 0, &mut tv).is(1);
        assert!(tv[0] == 9 || tv == [10, 0], "{tv:?}");
    }),
    case!("select", "errors", || {
        let mut rs = set_of(&[50]);
        sc!(select, 51, &mut rs, 0, 0, [0i64, 0]).err(EBADF);
        sc!(select, -1, 0, 0, 0, [0i64, 0]).err(EINVAL);
        sc!(select, 1, BAD, 0, 0, [0i64, 0]).err(EFAULT);
        sc!(select, 0, 0, 0, 0, [-1i64, 0]).err(EINVAL);
    }),
    case!("select", "descriptors_beyond_nfds_are_ignored", || {
        let (r, w) = pipe();
        write_all(w, b"x");
        let mut rs = set_of(&[r, 60]);
        sc!(select, r + 1, &mut rs, 0, 0, [0i64, 0]).is(1);
    }),
    case!("pselect6", "mask_and_const_timeout", || {
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        on_signal(SIGUSR1, 0);
        sc!(kill, getpid(), SIGUSR1).is(0);
        let none = 0u64;
        let arg = [(&raw const none).expose_provenance(), 8];
        sc!(pselect6, 0, 0, 0, 0, 0, &arg).err(EINTR);
        assert_eq!(hits(SIGUSR1), 1);
        let bad = [(&raw const none).expose_provenance(), 4];
        sc!(pselect6, 0, 0, 0, 0, 0, &bad).err(EINVAL);
        let ts = timespec(0, -1);
        sc!(pselect6, 0, 0, 0, 0, &raw const ts, 0).err(EINVAL);
    }),
    case!("pselect6", "sleeps_for_the_timeout", || {
        let ts = ms(30);
        assert!(timed(|| sc!(pselect6, 0, 0, 0, 0, &raw const ts, 0).is(0)) >= 30 * MS);
    }),
];
