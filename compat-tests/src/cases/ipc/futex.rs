//! futex(2) in all its operations, futex_waitv(2).

use crate::prelude::*;
use std::sync::atomic::AtomicU32;

const PRIVATE: i32 = FUTEX_PRIVATE_FLAG;

fn wake(w: &AtomicU32, n: i32) -> i64 {
    sc!(futex, w.as_ptr(), FUTEX_WAKE, n, 0, 0, 0).ok()
}

/// A child that waits on `w` being 0 and leaves with 0 when woken.
#[track_caller]
fn waiter(w: &AtomicU32) -> Child {
    let child = fork(|| sc!(futex, w.as_ptr(), FUTEX_WAIT, 0, 0, 0, 0).is(0));
    wait_asleep(child.pid);
    child
}

pub static CASES: &[Case] = &[
    case!("futex", "wait_with_other_value_is_eagain", || {
        let w = shared_words();
        sc!(futex, w[0].as_ptr(), FUTEX_WAIT, 1, 0, 0, 0).err(EAGAIN);
    }),
    case!("futex", "wait_times_out", || {
        let w = shared_words();
        let t = ms(30);
        let took = timed(|| {
            sc!(futex, w[0].as_ptr(), FUTEX_WAIT, 0, &raw const t, 0, 0).err(ETIMEDOUT);
        });
        assert!(took >= 30 * MS);
    }),
    case!("futex", "wake_without_waiters_is_zero", || assert_eq!(
        wake(&shared_words()[0], 1),
        0
    )),
    case!("futex", "wake_wakes_as_many_as_asked", || {
        let w = shared_words();
        let kids = [waiter(&w[0]), waiter(&w[0]), waiter(&w[0])];
        assert_eq!(wake(&w[0], 2), 2);
        assert_eq!(wake(&w[0], 99), 1);
        for kid in kids {
            kid.ok();
        }
    }),
    case!("futex", "shared_through_different_addresses", || {
        let fd = sc!(memfd_create, c"f", 0).fd();
        sc!(ftruncate, fd, PAGE).is(0);
        let rw = PROT_READ | PROT_WRITE;
        let a = map_fd(fd, PAGE, rw, MAP_SHARED, 0);
        let b = map_fd(fd, PAGE, rw, MAP_SHARED, 0);
        let child = waiter(word_at(a));
        assert_eq!(wake(word_at(b), 1), 1);
        child.ok();
    }),
    case!("futex", "private_flag_does_not_cross_processes", || {
        let w = shared_words();
        let child = waiter(&w[0]);
        sc!(futex, w[0].as_ptr(), FUTEX_WAKE | PRIVATE, 1, 0, 0, 0).is(0);
        assert_eq!(wake(&w[0], 1), 1);
        child.ok();
    }),
    case!("futex", "private_between_threads", || {
        let w = std::sync::Arc::new(AtomicU32::new(0));
        let v = w.clone();
        let (tx, rx) = std::sync::mpsc::channel();
        let t = std::thread::spawn(move || {
            let _ = tx.send(gettid());
            sc!(futex, v.as_ptr(), FUTEX_WAIT | PRIVATE, 0, 0, 0, 0).is(0);
        });
        wait_asleep(rx.recv().unwrap_or(0));
        sc!(futex, w.as_ptr(), FUTEX_WAKE | PRIVATE, 1, 0, 0, 0).is(1);
        let _ = t.join();
    }),
    case!("futex", "bitset_selects_waiters", || {
        let w = shared_words();
        let child = fork(|| {
            sc!(futex, w[0].as_ptr(), FUTEX_WAIT_BITSET, 0, 0, 0, 0b10).is(0);
        });
        wait_asleep(child.pid);
        sc!(futex, w[0].as_ptr(), FUTEX_WAKE_BITSET, 9, 0, 0, 0b01).is(0);
        sc!(futex, w[0].as_ptr(), FUTEX_WAKE_BITSET, 9, 0, 0, 0b11).is(1);
        child.ok();
        sc!(futex, w[0].as_ptr(), FUTEX_WAKE_BITSET, 9, 0, 0, 0).err(EINVAL);
    }),
    case!("futex", "bitset_timeout_is_absolute", || {
        let w = shared_words();
        let at = clock_ns(CLOCK_MONOTONIC) + 20 * MS;
        let t = timespec(at / 1_000_000_000, at % 1_000_000_000);
        sc!(
            futex,
            w[0].as_ptr(),
            FUTEX_WAIT_BITSET,
            0,
            &raw const t,
            0,
            -1
        )
        .err(ETIMEDOUT);
        assert!(clock_ns(CLOCK_MONOTONIC) >= at);
        let past = timespec(1, 0);
        let op = FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME;
        sc!(futex, w[0].as_ptr(), op, 0, &raw const past, 0, -1).err(ETIMEDOUT);
    }),
    case!("futex", "requeue_moves_waiters", || {
        let w = shared_words();
        let kids = [waiter(&w[0]), waiter(&w[0]), waiter(&w[0])];
        sc!(futex, w[0].as_ptr(), FUTEX_REQUEUE, 1, 9, w[1].as_ptr(), 0).is(3);
        assert_eq!(wake(&w[0], 9), 0);
        assert_eq!(wake(&w[1], 9), 2);
        for kid in kids {
            kid.ok();
        }
    }),
    case!("futex", "cmp_requeue_checks_the_value", || {
        let w = shared_words();
        let op = FUTEX_CMP_REQUEUE;
        sc!(futex, w[0].as_ptr(), op, 1, 1, w[1].as_ptr(), 5).err(EAGAIN);
        let child = waiter(&w[0]);
        sc!(futex, w[0].as_ptr(), op, 0, 1, w[1].as_ptr(), 0).is(1);
        assert_eq!(wake(&w[1], 1), 1);
        child.ok();
    }),
    case!("futex", "wake_op_changes_and_wakes", || {
        let w = shared_words();
        let child = waiter(&w[0]);
        w[1].store(3, SeqCst);
        // Add 5 to the second word; wake there too if it was 3.
        let op = 1 << 28 | 5 << 12 | 3;
        let other = fork(|| {
            let _ = sc!(futex, w[1].as_ptr(), FUTEX_WAIT, 3, 0, 0, 0).errno();
        });
        wait_asleep(other.pid);
        sc!(futex, w[0].as_ptr(), FUTEX_WAKE_OP, 1, 1, w[1].as_ptr(), op).is(2);
        assert_eq!(w[1].load(SeqCst), 8);
        child.ok();
        other.ok();
    }),
    case!("futex", "errors", || {
        let w = shared_words();
        let at = w[0].as_ptr().addr();
        sc!(futex, at + 1, FUTEX_WAIT, 0, 0, 0, 0).err(EINVAL);
        sc!(futex, 8, FUTEX_WAIT, 0, 0, 0, 0).err(EFAULT);
        sc!(futex, at, 77, 0, 0, 0, 0).err(ENOSYS);
        let bad = timespec(0, 1_000_000_000);
        sc!(futex, at, FUTEX_WAIT, 0, &raw const bad, 0, 0).err(EINVAL);
        sc!(futex, at, FUTEX_WAIT, 0, BAD, 0, 0).err(EFAULT);
        sc!(futex, at, FUTEX_FD, 0, 0, 0, 0).err(ENOSYS);
    }),
    case!("futex", "pi_lock_and_unlock", || {
        let w = shared_words();
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
        assert_eq!(w[0].load(SeqCst) as i32, gettid());
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).err(EDEADLK);
        sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        assert_eq!(w[0].load(SeqCst), 0);
        sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).err(EPERM);
    }),
    case!("futex", "pi_waiter_gets_the_lock", || {
        let w = shared_words();
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
        let child = fork(|| {
            sc!(futex, w[0].as_ptr(), FUTEX_TRYLOCK_PI, 0, 0, 0, 0).err(EAGAIN);
            sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
            assert_eq!(w[0].load(SeqCst) & 0x3fff_ffff, gettid() as u32);
            sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        });
        wait_asleep(child.pid);
        assert_ne!(w[0].load(SeqCst) & 0x8000_0000, 0, "FUTEX_WAITERS");
        sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        child.ok();
    }),
    case!("futex", "pi_lock_of_a_missing_owner_is_esrch", || {
        let w = shared_words();
        w[0].store(1 << 22, SeqCst);
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).err(ESRCH);
    }),
    case!("futex", "pi_lock_times_out", || {
        let w = shared_words();
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
        fork(|| {
            let at = clock_ns(CLOCK_REALTIME) + 30 * MS;
            let t = timespec(at / 1_000_000_000, at % 1_000_000_000);
            sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, &raw const t, 0, 0).err(ETIMEDOUT);
        })
        .ok();
    }),
    case!("futex", "requeue_pi_hands_the_lock_over", || {
        let w = shared_words();
        sc!(futex, w[1].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
        let child = fork(|| {
            sc!(
                futex,
                w[0].as_ptr(),
                FUTEX_WAIT_REQUEUE_PI,
                0,
                0,
                w[1].as_ptr(),
                0
            )
            .is(0);
            assert_eq!(w[1].load(SeqCst) & 0x3fff_ffff, gettid() as u32);
            sc!(futex, w[1].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        });
        wait_asleep(child.pid);
        sc!(
            futex,
            w[0].as_ptr(),
            FUTEX_CMP_REQUEUE_PI,
            1,
            9,
            w[1].as_ptr(),
            0
        )
        .is(1);
        sc!(futex, w[1].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        child.ok();
    }),
    case!("futex", "pi_lock_of_ones_own_is_edeadlk", || {
        let w = shared_words();
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).err(EDEADLK);
        sc!(futex, w[0].as_ptr(), FUTEX_TRYLOCK_PI, 0, 0, 0, 0).err(EDEADLK);
        sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).err(EPERM);
    }),
    case!("futex", "pi_circle_is_edeadlk", || {
        let w = shared_words();
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
        let child = fork(|| {
            sc!(futex, w[1].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
            w[2].store(1, SeqCst);
            sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
            sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
            sc!(futex, w[1].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        });
        eventually("lock", || w[2].load(SeqCst) == 1);
        wait_asleep(child.pid);
        sc!(futex, w[1].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).err(EDEADLK);
        sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        child.ok();
    }),
    case!(
        "futex exit",
        "pi_lock_of_a_dead_owner_goes_to_the_waiter",
        || {
            let w = shared_words();
            let owner = fork(|| {
                sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
                w[1].store(1, SeqCst);
                eventually("end", || w[1].load(SeqCst) == 2);
            });
            eventually("lock", || w[1].load(SeqCst) == 1);
            let waiter = fork(|| {
                sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
                let word = w[0].load(SeqCst);
                assert_eq!(word & 0x3fff_ffff, gettid() as u32);
                assert_eq!(word & 0x4000_0000, 0x4000_0000);
                sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
            });
            wait_asleep(waiter.pid);
            w[1].store(2, SeqCst);
            owner.ok();
            waiter.ok();
            assert_eq!(w[0].load(SeqCst), 0);
        }
    ),
    case!(
        "futex sched_setscheduler",
        "pi_owner_inherits_the_waiters_priority",
        || {
            need_root();
            if !std::fs::exists("/sys/devices/system/cpu/cpu1").unwrap_or(false) {
                skip("one CPU");
            }
            let w = shared_words();
            let fifo = |priority: i32| {
                sc!(sched_setscheduler, 0, 1, [priority])
                    .skip_on(&[EPERM])
                    .is(0);
            };
            let pin = |mask: u64| sc!(sched_setaffinity, 0, 8, [mask]).is(0);
            let burn = |time: i64| {
                let end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + time * MS;
                while clock_ns(CLOCK_THREAD_CPUTIME_ID) < end {}
            };
            let lock = |op: i32| sc!(futex, w[0].as_ptr(), op, 0, 0, 0, 0).is(0);
            pin(2);
            let low = fork(|| {
                fifo(10);
                pin(1);
                lock(FUTEX_LOCK_PI);
                w[1].store(1, SeqCst);
                while w[2].load(SeqCst) == 0 {}
                burn(100);
                lock(FUTEX_UNLOCK_PI);
            });
            eventually("lock", || w[1].load(SeqCst) == 1);
            let high = fork(|| {
                fifo(30);
                pin(1);
                lock(FUTEX_LOCK_PI);
                // The one in the middle must not have kept the owner from unlocking.
                assert_eq!(w[3].load(SeqCst), 0);
                lock(FUTEX_UNLOCK_PI);
            });
            wait_asleep(high.pid);
            let middle = fork(|| {
                fifo(20);
                w[2].store(1, SeqCst);
                pin(1);
                burn(300);
                w[3].store(1, SeqCst);
            });
            high.ok();
            middle.ok();
            low.ok();
        }
    ),
    case!("futex", "pi_waiters_cannot_be_woken_as_others", || {
        let w = shared_words();
        sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
        let child = fork(|| {
            sc!(futex, w[0].as_ptr(), FUTEX_LOCK_PI, 0, 0, 0, 0).is(0);
            sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        });
        wait_asleep(child.pid);
        sc!(futex, w[0].as_ptr(), FUTEX_WAKE, 1, 0, 0, 0).err(EINVAL);
        sc!(futex, w[0].as_ptr(), FUTEX_UNLOCK_PI, 0, 0, 0, 0).is(0);
        child.ok();
    }),
    case!("futex_requeue", "moves_waiters", || {
        let w = shared_words();
        let entry = |i: usize| [0u64, w[i].as_ptr().addr() as u64, 2];
        let v = [entry(0), entry(1)].concat();
        sc!(futex_requeue, &v, 0, 0, 0).skip_on(&[ENOSYS]).is(0);
        let child = fork(|| sc!(futex, w[0].as_ptr(), FUTEX_WAIT, 0, 0, 0, 0).is(0));
        wait_asleep(child.pid);
        sc!(futex_requeue, &v, 0, 0, 1).is(1);
        assert_eq!(wake(&w[0], 1), 0);
        assert_eq!(wake(&w[1], 1), 1);
        child.ok();
        sc!(futex_requeue, &v, 1, 0, 0).err(EINVAL);
        sc!(futex_requeue, &v, 0, -1, 0).err(EINVAL);
        w[0].store(1, SeqCst);
        sc!(futex_requeue, &v, 0, 1, 1).err(EAGAIN);
    }),
    case!("futex_waitv", "any_of_several_wakes", || {
        let w = shared_words();
        let entry = |i: usize| [0u64, w[i].as_ptr().addr() as u64, 2];
        let v = [entry(0), entry(1), entry(2)].concat();
        let child = fork(|| sc!(futex_waitv, &v, 3, 0, 0, 0).skip_on(&[ENOSYS]).is(1));
        eventually("sleep or end", || {
            stat_field(child.pid, 3).is_some_and(|s| s == "S" || s == "Z")
        });
        let _ = wake(&w[1], 1);
        child.ok();
    }),
    case!("futex_waitv", "errors", || {
        let w = shared_words();
        let v = [1u64, w[0].as_ptr().addr() as u64, 2];
        sc!(futex_waitv, &v, 1, 0, 0, 0)
            .skip_on(&[ENOSYS])
            .err(EAGAIN);
        sc!(futex_waitv, &v, 0, 0, 0, 0).err(EINVAL);
        sc!(futex_waitv, &v, 129, 0, 0, 0).err(EINVAL);
        sc!(futex_waitv, &v, 1, 1, 0, 0).err(EINVAL);
        sc!(futex_waitv, BAD, 1, 0, 0, 0).err(EFAULT);
    }),
    case!("futex_wait futex_wake", "the_newer_calls", || {
        let w = shared_words();
        let r = sc!(futex_wake, w[0].as_ptr(), u32::MAX, 1, 2);
        r.skip_on(&[ENOSYS]).is(0);
        sc!(futex_wait, w[0].as_ptr(), 1, u32::MAX, 2, 0, 1).err(EAGAIN);
        let child = fork(|| sc!(futex_wait, w[0].as_ptr(), 0, u32::MAX, 2, 0, 1).is(0));
        wait_asleep(child.pid);
        sc!(futex_wake, w[0].as_ptr(), u32::MAX, 1, 2).is(1);
        child.ok();
    }),
    case!(
        "futex",
        "ten_thousand_hand_offs_between_processes",
        || {
            let w = shared_words();
            let turn = |mine: u32, other: u32| {
                for _ in 0..5000 {
                    while w[0].load(SeqCst) != mine {
                        let _ = sc!(futex, w[0].as_ptr(), FUTEX_WAIT, other, 0, 0, 0).errno();
                    }
                    w[0].store(other, SeqCst);
                    let _ = wake(&w[0], 1);
                }
            };
            let child = fork(|| turn(1, 0));
            turn(0, 1);
            child.ok();
        },
        30
    ),
];
