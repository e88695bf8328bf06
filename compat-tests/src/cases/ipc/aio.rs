//! Linux AIO: io_setup(2), io_submit(2), io_getevents(2).

use crate::prelude::*;

const PREAD: u64 = 0;
const PWRITE: u64 = 1;
const FSYNC: u64 = 2;
const POLL: u64 = 5;
const PREADV: u64 = 7;

fn setup(events: u32) -> u64 {
    let mut ctx = 0u64;
    sc!(io_setup, events, &raw mut ctx).skip_on(&[ENOSYS]).is(0);
    *std::hint::black_box(&mut ctx)
}

/// data, key and flags, opcode and descriptor, buffer, length, offset, reserved, flags and eventfd.
fn control(data: u64, opcode: u64, fd: i32, buf: u64, len: u64, offset: u64) -> [u64; 8] {
    let what = opcode | (fd as u64) << 32;
    [data, 0, what, buf, len, offset, 0, 0]
}

fn submit(ctx: u64, cb: &[u64; 8]) -> Ret {
    sc!(io_submit, ctx, 1, [cb.raw()])
}

/// Data and result of the next event.
fn event(ctx: u64) -> (u64, i64) {
    let mut ev = [0u64; 4];
    sc!(io_getevents, ctx, 1, 1, &mut ev, 0).is(1);
    (ev[0], ev[2] as i64)
}

pub static CASES: &[Case] = &[
    case!("io_submit io_getevents", "write_vector_and_flush", || {
        let ctx = setup(8);
        let fd = file("f", b"");
        let text = *b"0123456789";
        submit(ctx, &control(1, PWRITE, fd, text.raw() as u64, 10, 2)).is(1);
        assert_eq!(event(ctx), (1, 10));
        assert_eq!(get("f"), b"\0\x000123456789");
        let mut a = [0u8; 3];
        let mut b = [0u8; 4];
        let pieces = [
            (&raw mut a).expose_provenance() as u64,
            3,
            (&raw mut b).expose_provenance() as u64,
            4,
        ];
        submit(ctx, &control(2, PREADV, fd, pieces.raw() as u64, 2, 2)).is(1);
        assert_eq!(event(ctx), (2, 7));
        let (a, b) = (std::hint::black_box(&mut a), std::hint::black_box(&mut b));
        assert_eq!((&a[..], &b[..]), (&b"012"[..], &b"3456"[..]));
        submit(ctx, &control(3, FSYNC, fd, 0, 0, 0)).is(1);
        assert_eq!(event(ctx), (3, 0));
        sc!(io_destroy, ctx).is(0);
    }),
    case!("io_submit", "errors", || {
        let ctx = setup(2);
        let fd = file("f", b"x");
        let buf = map_anon(PAGE, PROT_READ | PROT_WRITE) as u64;
        submit(ctx, &control(1, 99, fd, buf, 1, 0)).err(EINVAL);
        submit(ctx, &control(1, PREAD, 99, buf, 1, 0)).err(EBADF);
        let write_only = open("f", O_WRONLY);
        submit(ctx, &control(1, PREAD, write_only, buf, 1, 0)).err(EBADF);
        submit(ctx, &control(1, PREAD, fd, buf, u64::MAX, 0)).err(EINVAL);
        submit(ctx, &control(1, PREAD, fd, buf, 1, u64::MAX)).err(EINVAL);
        submit(ctx, &control(1, FSYNC, fd, 1, 0, 0)).err(EINVAL);
        sc!(io_submit, ctx, 1, BAD).err(EFAULT);
        sc!(io_submit, ctx, -1, 0).err(EINVAL);
        sc!(io_submit, ctx, 0, 0).is(0);
        submit(ctx, &control(7, PREAD, fd, BAD as u64, 1, 0)).is(1);
        assert_eq!(event(ctx), (7, -i64::from(EFAULT)));
        // The first bad one ends the list.
        let (good, bad) = (
            control(1, PREAD, fd, buf, 1, 0),
            control(2, 99, fd, buf, 1, 0),
        );
        sc!(io_submit, ctx, 2, [good.raw(), bad.raw()]).is(1);
        sc!(io_destroy, ctx).is(0);
    }),
    case!(
        "io_submit io_cancel",
        "poll_waits_and_can_be_cancelled",
        || {
            let ctx = setup(4);
            let (r, w) = pipe();
            let cb = control(5, POLL, r, POLLIN as u64, 0, 0);
            submit(ctx, &cb).skip_on(&[EINVAL]).is(1);
            let none = ms(20);
            let mut ev = [0u64; 4];
            sc!(io_getevents, ctx, 1, 1, &mut ev, &raw const none).is(0);
            write_all(w, b"x");
            let (data, events) = event(ctx);
            assert_eq!((data, events & i64::from(POLLIN)), (5, i64::from(POLLIN)));
            let _ = read_some(r, 1);
            submit(ctx, &cb).is(1);
            sc!(io_cancel, ctx, cb.raw(), &mut ev).err_any(&[EINPROGRESS]);
            assert_eq!(event(ctx), (5, 0));
            sc!(io_cancel, ctx, cb.raw(), &mut ev).err(EINVAL);
            sc!(io_destroy, ctx).is(0);
        }
    ),
    case!("io_submit eventfd2", "eventfd_counts_completions", || {
        let ctx = setup(4);
        let fd = file("f", b"abc");
        let counter = sc!(eventfd2, 0, EFD_NONBLOCK).fd();
        let buf = map_anon(PAGE, PROT_READ | PROT_WRITE) as u64;
        for _ in 0..3 {
            let mut cb = control(1, PREAD, fd, buf, 3, 0);
            cb[7] = 1 | (counter as u64) << 32;
            submit(ctx, &cb).is(1);
        }
        assert_eq!(read_some(counter, 8), 3u64.to_ne_bytes());
        let mut bad = control(1, PREAD, fd, buf, 3, 0);
        bad[7] = 1 | (fd as u64) << 32;
        submit(ctx, &bad).err(EINVAL);
        sc!(io_destroy, ctx).is(0);
    }),
    case!("io_setup", "ring_is_what_the_library_reads", || {
        let ctx = setup(10);
        let word = |at: usize| word_at(ctx as usize + at).load(SeqCst);
        assert!(word(4) >= 10);
        assert_eq!((word(8), word(12)), (0, 0));
        assert_eq!(
            (word(16), word(20), word(24), word(28)),
            (0xa10a_10a1, 1, 0, 32)
        );
        let fd = file("f", b"ring");
        let buf = map_anon(PAGE, PROT_READ | PROT_WRITE) as u64;
        submit(ctx, &control(42, PREAD, fd, buf, 4, 0)).is(1);
        assert_eq!((word(8), word(12)), (0, 1));
        assert_eq!((word(32), word(48)), (42, 4));
        // Taken out in user space.
        word_at(ctx as usize + 8).store(1, SeqCst);
        let none = ms(0);
        let mut ev = [0u64; 4];
        sc!(io_getevents, ctx, 0, 1, &mut ev, &raw const none).is(0);
        sc!(io_destroy, ctx).is(0);
    }),
    case!("io_getevents io_pgetevents", "limits_and_signals", || {
        let ctx = setup(2);
        let mut ev = [0u64; 4];
        sc!(io_getevents, ctx, 2, 1, &mut ev, 0).err(EINVAL);
        sc!(io_getevents, ctx, -1, 1, &mut ev, 0).err(EINVAL);
        sc!(io_getevents, ctx + 1, 1, 1, &mut ev, 0).err(EINVAL);
        on_signal(SIGALRM, 0);
        let timer = [0i64, 0, 0, 30_000];
        sc!(setitimer, ITIMER_REAL, &timer, 0).is(0);
        sc!(io_getevents, ctx, 1, 1, &mut ev, 0).err(EINTR);
        sc!(io_destroy, ctx).is(0);
    }),
];
