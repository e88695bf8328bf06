//! POSIX message queues: mq_overview(7).

use crate::prelude::*;

/// An open queue that has already lost its name.
fn queue(flags: i32, maxmsg: i64, size: i64) -> i32 {
    let name = cstr(format!("keel-compat-{}", getpid()));
    let attr = [0i64, maxmsg, size, 0, 0, 0, 0, 0];
    let r = sc!(mq_open, &name, O_RDWR | O_CREAT | flags, 0o600, &attr);
    let fd = r.skip_on(&[ENOSYS]).fd();
    sc!(mq_unlink, &name).is(0);
    fd
}

fn send(q: i32, text: &str, prio: u32) -> Ret {
    sc!(mq_timedsend, q, text.as_bytes(), text.len(), prio, 0)
}

fn receive(q: i32) -> (String, u32) {
    let mut b = vec![0u8; 64];
    let mut prio = 99u32;
    let n = sc!(mq_timedreceive, q, &mut b, 64, &raw mut prio, 0).addr();
    (
        String::from_utf8_lossy(&b[..n]).into_owned(),
        *std::hint::black_box(&mut prio),
    )
}

pub static CASES: &[Case] = &[
    case!("mq_open mq_unlink", "names", || {
        let name = cstr(format!("keel-names-{}", getpid()));
        let r = sc!(mq_open, &name, O_RDWR | O_CREAT | O_EXCL, 0o600, 0);
        close(r.skip_on(&[ENOSYS]).fd());
        sc!(mq_open, &name, O_RDWR | O_CREAT | O_EXCL, 0o600, 0).err(EEXIST);
        sc!(mq_open, &name, O_RDONLY, 0, 0).ok();
        sc!(mq_unlink, &name).is(0);
        sc!(mq_unlink, &name).err(ENOENT);
        sc!(mq_open, &name, O_RDONLY, 0, 0).err(ENOENT);
        sc!(mq_open, c"a/b", O_RDWR | O_CREAT, 0o600, 0).err(EACCES);
    }),
    case!(
        "mq_timedsend mq_timedreceive",
        "priority_then_order",
        || {
            let q = queue(0, 8, 64);
            send(q, "low", 1).is(0);
            send(q, "high", 9).is(0);
            send(q, "high2", 9).is(0);
            assert_eq!(receive(q), ("high".into(), 9));
            assert_eq!(receive(q), ("high2".into(), 9));
            assert_eq!(receive(q), ("low".into(), 1));
        }
    ),
    case!("mq_timedsend mq_timedreceive", "nonblocking_limits", || {
        let q = queue(O_NONBLOCK, 2, 64);
        let mut b = [0u8; 64];
        sc!(mq_timedreceive, q, &mut b, 64, 0, 0).err(EAGAIN);
        send(q, "a", 0).is(0);
        send(q, "b", 0).is(0);
        send(q, "c", 0).err(EAGAIN);
    }),
    case!("mq_timedsend mq_timedreceive", "sizes", || {
        let q = queue(0, 2, 64);
        send(q, &"x".repeat(65), 0).err(EMSGSIZE);
        send(q, "", 0).is(0);
        let mut b = [0u8; 63];
        sc!(mq_timedreceive, q, &mut b, 63, 0, 0).err(EMSGSIZE);
        send(q, "x", 32768).err(EINVAL);
    }),
    case!("mq_timedreceive", "times_out", || {
        let q = queue(0, 2, 64);
        let at = clock_ns(CLOCK_REALTIME) + 30 * MS;
        let t = timespec(at / 1_000_000_000, at % 1_000_000_000);
        let mut b = [0u8; 64];
        sc!(mq_timedreceive, q, &mut b, 64, 0, &raw const t).err(ETIMEDOUT);
    }),
    case!("mq_timedreceive", "blocked_receiver_wakes", || {
        let q = queue(0, 2, 64);
        let child = fork(|| assert_eq!(receive(q).0, "late"));
        wait_asleep(child.pid);
        send(q, "late", 0).is(0);
        child.ok();
    }),
    case!("mq_getsetattr", "shows_limits_and_count", || {
        let q = queue(0, 5, 33);
        send(q, "x", 0).is(0);
        let mut a = [9i64; 8];
        sc!(mq_getsetattr, q, 0, &mut a).is(0);
        assert_eq!(a[..4], [0, 5, 33, 1]);
        sc!(
            mq_getsetattr,
            q,
            [i64::from(O_NONBLOCK), 0, 0, 0, 0, 0, 0, 0],
            0
        )
        .is(0);
        sc!(mq_getsetattr, q, 0, &mut a).is(0);
        assert_eq!(a[0], O_NONBLOCK.into());
    }),
    case!(
        "mq_notify",
        "signal_when_a_message_comes_to_an_empty_queue",
        || {
            let q = queue(0, 4, 64);
            on_signal(SIGUSR1, 0);
            let mut ev = [0i32; 16];
            (ev[0], ev[2], ev[3]) = (77, SIGUSR1, 0);
            sc!(mq_notify, q, &ev).is(0);
            sc!(mq_notify, q, &ev).err(EBUSY);
            send(q, "x", 0).is(0);
            assert_eq!(
                (
                    hits(SIGUSR1),
                    last_code(SIGUSR1),
                    last_value(SIGUSR1) as i32
                ),
                (1, SI_MESGQ, 77)
            );
            sc!(mq_notify, q, &ev).is(0);
            sc!(mq_notify, q, 0).is(0);
        }
    ),
    case!("mq_open poll", "queues_can_be_polled", || {
        let q = queue(0, 1, 64);
        assert_eq!(poll_one(q, POLLIN | POLLOUT, 0), POLLOUT);
        send(q, "x", 0).is(0);
        assert_eq!(poll_one(q, POLLIN | POLLOUT, 0), POLLIN);
    }),
];
