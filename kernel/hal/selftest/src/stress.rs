//! Everything at once on all CPUs.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use keel_hal::addr::PAGE_SIZE;
use keel_hal::frame::{AllocFlags, Frame};
use keel_hal::paging::{PageProt, PageTable};
use keel_hal::sync::{
    Completion, IrqLock, Mutex, Rcu, RwLock, RwSpinLock, SeqLock, SpinLock, WaitError, WaitQueue,
    WakeCallback, rcu,
};
use keel_hal::{SleepMode, cpu, early_println, task, time, user};

use crate::Runner;
use crate::sched::{in_parallel, sleep, spawn};

/// Runs all checks.
pub fn run(t: &mut Runner) {
    #[cfg(feature = "lockdep")]
    lock_order(t);
    locks(t);
    waiting(t);
    rcu_readers(t);
    heap(t);
    frames(t);
    faults(t);
    shootdown(t);
}

/// A small generator, for choices.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize
    }
}

/// Takes two locks in both orders, one after the other.
#[cfg(feature = "lockdep")]
fn lock_order(t: &mut Runner) {
    let before = keel_hal::sync::lockdep::conflicts();
    let a = Mutex::new(());
    let b = SpinLock::new(());
    for _ in 0..2 {
        let (_a, _b) = (a.lock(), b.lock());
    }
    let quiet = keel_hal::sync::lockdep::conflicts() == before;
    for _ in 0..2 {
        let _b = b.lock();
        drop(a.try_lock());
        let _a = a.lock();
    }
    t.check(
        "lockdep: reports once",
        quiet && keel_hal::sync::lockdep::conflicts() == before + 1,
    );
}

fn locks(t: &mut Runner) {
    const ROUNDS: usize = 20_000;
    let spin = Arc::new(SpinLock::new(0));
    let irq = Arc::new(IrqLock::new(0));
    let rw = Arc::new(RwSpinLock::new(0));
    let mutex = Arc::new(Mutex::new(0));
    let sleeping = Arc::new(RwLock::new((0, 0)));
    let seq = Arc::new(SeqLock::new((0_u64, 0_u64)));
    let torn = Arc::new(AtomicUsize::new(0));
    let shared = (
        spin.clone(),
        irq.clone(),
        rw.clone(),
        mutex.clone(),
        sleeping.clone(),
        seq.clone(),
        torn.clone(),
    );
    in_parallel(4, move |_| {
        let (spin, irq, rw, mutex, sleeping, seq, torn) = &shared;
        for i in 0..ROUNDS {
            *spin.lock() += 1;
            *irq.lock() += 1;
            *rw.write() += 1;
            core::hint::black_box(*rw.read());
            let mut held = mutex.lock();
            *held += 1;
            if i % 100 == 0 {
                // Others find it held by a task that does not run.
                task::yield_now();
            }
            drop(held);
            if i % 4 == 0 {
                let mut pair = sleeping.write();
                pair.0 += 1;
                if i % 64 == 0 {
                    task::yield_now();
                }
                pair.1 += 1;
            } else {
                let pair = sleeping.read();
                torn.fetch_add(usize::from(pair.0 != pair.1), Ordering::Relaxed);
            }
            seq.update(|pair| {
                pair.0 += 1;
                pair.1 += 1;
            });
            let pair = seq.read();
            torn.fetch_add(usize::from(pair.0 != pair.1), Ordering::Relaxed);
            task::cond_resched();
        }
    });
    let n = 4 * ROUNDS;
    t.check(
        "locks: spinning",
        *spin.lock() == n && *irq.lock() == n && *rw.read() == n,
    );
    t.check("locks: mutex", *mutex.lock() == n);
    t.check("locks: sleeping rwlock", *sleeping.read() == (n / 4, n / 4));
    t.check("locks: seqlock", seq.read() == (n as u64, n as u64));
    t.check("locks: nothing torn", torn.load(Ordering::Relaxed) == 0);
}

struct Counter(AtomicUsize);

impl WakeCallback for Counter {
    fn woken(&self, key: u64) {
        self.0.fetch_add(key as usize, Ordering::Relaxed);
    }
}

fn waiting(t: &mut Runner) {
    // Ping-pong between two CPUs.
    let turn = Arc::new((AtomicUsize::new(0), WaitQueue::new()));
    let shared = turn.clone();
    in_parallel(2, move |me| {
        for round in 0..5000 {
            let want = 2 * round + me;
            let got = shared.1.wait(SleepMode::Uninterruptible, None, || {
                (shared.0.load(Ordering::Acquire) == want).then_some(())
            });
            assert!(got.is_ok());
            shared.0.store(want + 1, Ordering::Release);
            shared.1.wake_all();
        }
    });
    t.check("wait: ping-pong", turn.0.load(Ordering::Relaxed) == 10_000);

    let queue = WaitQueue::new();
    let before = time::now();
    let end = queue.wait(SleepMode::Interruptible, Some(before + 20_000_000), || {
        None::<()>
    });
    let took = time::now() - before;
    t.check(
        "wait: times out",
        end == Err(WaitError::TimedOut) && (20_000_000..200_000_000).contains(&took),
    );

    let gate = Arc::new((AtomicUsize::new(0), WaitQueue::new()));
    let through = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let (gate, through) = (gate.clone(), through.clone());
        spawn("waiter", move || {
            let got = gate.1.wait_exclusive(SleepMode::Uninterruptible, None, || {
                (gate.0.load(Ordering::Acquire) > 0).then_some(())
            });
            assert!(got.is_ok());
            through.fetch_add(1, Ordering::Relaxed);
        });
    }
    sleep(20_000_000);
    gate.0.store(1, Ordering::Release);
    let one = gate.1.wake_one();
    sleep(20_000_000);
    t.check(
        "wait: exclusive wakes one",
        one == 1 && through.load(Ordering::Relaxed) == 1,
    );
    gate.1.wake_all();
    sleep(20_000_000);
    t.check(
        "wait: wake all",
        through.load(Ordering::Relaxed) == 3 && !gate.1.has_waiters(),
    );

    let queue = Arc::new(WaitQueue::new());
    let counter = Arc::new(Counter(AtomicUsize::new(0)));
    let token = queue.register(counter.clone(), false);
    queue.wake(1, 5);
    queue.wake(1, 5);
    drop(token);
    queue.wake(1, 5);
    t.check("wait: callbacks", counter.0.load(Ordering::Relaxed) == 10);

    // As many completions as waits, from and on all CPUs: none may be lost.
    let many = Arc::new(Completion::new());
    let shared = many.clone();
    in_parallel(8, move |me| {
        for i in 0..2000 {
            if me % 2 == 0 {
                shared.complete();
            } else if i % 3 == 0 {
                let soon = Some(time::now() + 20_000);
                if shared.wait_until(SleepMode::Uninterruptible, soon).is_err() {
                    shared.wait();
                }
            } else {
                shared.wait();
            }
            if i % 16 == 0 {
                task::yield_now();
            }
        }
    });
    t.check("wait: no completion lost", !many.is_done());

    let victim = Arc::new(Mutex::new(None));
    let slot = victim.clone();
    let ended = Arc::new(Completion::new());
    let (signal, interrupted) = (ended.clone(), Arc::new(AtomicBool::new(false)));
    let flag = interrupted.clone();
    spawn("victim", move || {
        *slot.lock() = Some(Arc::clone(&task::current()));
        let end = WaitQueue::new().wait(SleepMode::Interruptible, None, || None::<()>);
        flag.store(end == Err(WaitError::Interrupted), Ordering::Relaxed);
        task::current().clear_interrupt();
        signal.complete();
    });
    sleep(10_000_000);
    let task = victim.lock().take();
    if let Some(task) = task {
        task.interrupt();
    }
    ended.wait();
    t.check("wait: interrupted", interrupted.load(Ordering::Relaxed));
}

static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// A value whose two halves agree as long as it lives.
struct Canary {
    a: AtomicU64,
    b: u64,
}

impl Canary {
    fn new(value: u64) -> Canary {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Canary {
            a: AtomicU64::new(value),
            b: value,
        }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.a.store(u64::MAX, Ordering::Relaxed);
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

fn rcu_readers(t: &mut Runner) {
    let cell = Arc::new(Rcu::new(Arc::new(Canary::new(0))));
    let bad = Arc::new(AtomicUsize::new(0));
    let (shared, failures) = (cell.clone(), bad.clone());
    in_parallel(4, move |me| {
        for i in 0..20_000 {
            if me == 0 {
                shared.replace(Arc::new(Canary::new(i)));
                if i % 100 == 0 {
                    rcu::run_pending();
                }
            } else {
                let guard = rcu::read_lock();
                let value = shared.read(&guard);
                for _ in 0..20 {
                    failures.fetch_add(
                        usize::from(value.a.load(Ordering::Relaxed) != value.b),
                        Ordering::Relaxed,
                    );
                }
                drop(guard);
                let own = shared.load();
                failures.fetch_add(
                    usize::from(own.a.load(Ordering::Relaxed) != own.b),
                    Ordering::Relaxed,
                );
            }
            task::cond_resched();
        }
    });
    while ALIVE.load(Ordering::Relaxed) > 1 {
        rcu::run_pending();
        sleep(1_000_000);
    }
    t.check(
        "rcu: readers saw living values",
        bad.load(Ordering::Relaxed) == 0,
    );
    drop(cell);
    rcu::run_pending();
    sleep(20_000_000);
    t.check("rcu: everything freed", ALIVE.load(Ordering::Relaxed) == 0);
}

fn heap(t: &mut Runner) {
    let bad = Arc::new(AtomicUsize::new(0));
    let failures = bad.clone();
    // Objects also change hands, so that they are freed on other CPUs.
    let pool: Arc<SpinLock<Vec<Vec<u8>>>> = Arc::new(SpinLock::new(Vec::new()));
    in_parallel(6, move |me| {
        let mut random = Random(me as u64 + 1);
        let mut mine: Vec<Vec<u8>> = Vec::new();
        for i in 0..20_000 {
            let size = match random.next() % 100 {
                0 => random.next() % 60_000,
                1..10 => random.next() % 5000,
                _ => random.next() % 300,
            } + 1;
            let fill = random.next() as u8;
            mine.push(alloc::vec![fill; size]);
            if mine.len() > 50 {
                let victim = mine.swap_remove(random.next() % mine.len());
                failures.fetch_add(
                    usize::from(victim.iter().any(|&b| b != victim[0])),
                    Ordering::Relaxed,
                );
                if random.next() % 4 == 0 {
                    let mut pool = pool.lock();
                    pool.push(victim);
                    let other = (pool.len() > 20).then(|| pool.swap_remove(random.next() % 20));
                    drop(pool);
                    mine.extend(other);
                }
            }
            if i % 32 == 0 {
                task::yield_now();
            }
        }
    });
    t.check("heap: stress", bad.load(Ordering::Relaxed) == 0);
}

fn frames(t: &mut Runner) {
    let bad = Arc::new(AtomicUsize::new(0));
    let failures = bad.clone();
    in_parallel(4, move |me| {
        let mut random = Random(me as u64 + 77);
        let mut mine: Vec<(Frame, u64)> = Vec::new();
        for i in 0..10_000 {
            let order = if random.next() % 20 == 0 {
                random.next() as u32 % 6
            } else {
                0
            };
            if let Some(frame) = Frame::alloc_contiguous(order, AllocFlags::USER) {
                let mark = random.next() as u64;
                frame.store_u64(0, mark);
                frame.store_u64(frame.size() - 8, mark);
                mine.push((frame, mark));
            }
            if mine.len() > 100 {
                let (frame, mark) = mine.swap_remove(random.next() % mine.len());
                let right = frame.load_u64(0) == mark && frame.load_u64(frame.size() - 8) == mark;
                failures.fetch_add(usize::from(!right), Ordering::Relaxed);
            }
            if i % 64 == 0 {
                task::yield_now();
            }
        }
    });
    t.check("frames: stress", bad.load(Ordering::Relaxed) == 0);
}

/// Several tasks map, query, protect and unmap in one address space, each its own pages, interleaved.
fn faults(t: &mut Runner) {
    let space = Arc::new(PageTable::new().expect("table"));
    let bad = Arc::new(AtomicUsize::new(0));
    let (shared, failures) = (space.clone(), bad.clone());
    in_parallel(4, move |me| {
        let mut random = Random(me as u64 + 5);
        let read_write = PageProt::READ | PageProt::WRITE;
        for i in 0..10_000 {
            let page = (random.next() % 2048) * 4 + me;
            let va = 0x6000_0000 + page * PAGE_SIZE;
            let mut cursor = shared.cursor(va, va + PAGE_SIZE);
            let wrong = match random.next() % 4 {
                0 | 1 => {
                    let Some(frame) = Frame::alloc(AllocFlags::USER) else {
                        continue;
                    };
                    frame.store_u64(0, va as u64);
                    cursor.map(frame, read_write).is_err()
                }
                2 => cursor
                    .unmap()
                    .is_some_and(|m| m.frame.load_u64(0) != va as u64),
                _ => {
                    cursor.protect(PageProt::READ);
                    cursor
                        .query()
                        .is_some_and(|m| m.frame.load_u64(0) != va as u64)
                }
            };
            drop(cursor);
            failures.fetch_add(usize::from(wrong), Ordering::Relaxed);
            if i % 200 == 0 && me == 0 {
                // Its own pages only, but whole tables may go.
                let base = 0x6000_0000 + (random.next() % 16) * 0x20_0000;
                for page in (0..512).step_by(4) {
                    let va = base + page * PAGE_SIZE;
                    shared.unmap_range(va, va + PAGE_SIZE, &mut |_, _| ());
                }
            }
            task::cond_resched();
        }
    });
    let mut left = 0;
    space.unmap_range(0, usize::MAX, &mut |_, _| left += 1);
    t.check(
        "tables: stress",
        bad.load(Ordering::Relaxed) == 0 && space.resident() == 0 && left > 0,
    );
}

/// One task writes to a page through its user mapping, as fast as it can; another takes the page away
/// and looks whether any write still reaches it.
fn shootdown(t: &mut Runner) {
    if cpu::count() < 2 {
        early_println!("      shootdown needs two CPUs");
        return;
    }
    let space = Arc::new(PageTable::new().expect("table"));
    let va = 0x30_0000;
    let stop = Arc::new(AtomicBool::new(false));
    let late = Arc::new(AtomicUsize::new(0));
    let hits = Arc::new(AtomicUsize::new(0));
    let cpus = Arc::new((AtomicUsize::new(99), AtomicUsize::new(99)));
    let shared = (space, stop, late.clone(), hits.clone(), cpus.clone());
    in_parallel(2, move |me| {
        let (space, stop, late, hits, cpus) = &shared;
        if me == 0 {
            task::current().set_page_table(Some(Arc::clone(space)));
            cpus.0.store(cpu::id(), Ordering::Relaxed);
            while !stop.load(Ordering::Relaxed) {
                let hit = user::nofault(|| user::store_u32(va, 1)).is_ok();
                hits.fetch_add(usize::from(hit), Ordering::Relaxed);
                task::cond_resched();
            }
            task::current().set_page_table(None);
            return;
        }
        cpus.1.store(cpu::id(), Ordering::Relaxed);
        for round in 0..200 {
            let frame = Frame::alloc(AllocFlags::ZERO).expect("frame");
            let mapped = space
                .cursor(va, va + PAGE_SIZE)
                .map(frame.clone(), PageProt::READ | PageProt::WRITE);
            assert!(mapped.is_ok());
            let start = hits.load(Ordering::Relaxed);
            let patience = time::now() + 5_000_000;
            while hits.load(Ordering::Relaxed) == start && time::now() < patience {
                core::hint::spin_loop();
            }
            if round % 2 == 0 {
                drop(space.cursor(va, va + PAGE_SIZE).unmap());
            } else {
                space.protect_range(va, va + PAGE_SIZE, &mut |_, _| PageProt::READ);
            }
            frame.store_u32(0, 0);
            time::spin_wait(2_000);
            late.fetch_add(frame.load_u32(0) as usize, Ordering::Relaxed);
            if round % 2 == 1 {
                space.unmap_range(va, va + PAGE_SIZE, &mut |_, _| ());
            }
            task::cond_resched();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let apart = cpus.0.load(Ordering::Relaxed) != cpus.1.load(Ordering::Relaxed);
    early_println!(
        "      shootdown: {} writes went through, on different CPUs: {apart}",
        hits.load(Ordering::Relaxed)
    );
    t.check(
        "tlb: no write after unmapping",
        late.load(Ordering::Relaxed) == 0 && hits.load(Ordering::Relaxed) > 50 && apart,
    );
}
