//! Scheduling: policies, affinity, priorities: sched(7).

use super::Family;
use crate::prelude::*;

pub const GROUPS: Family = &[CASES];

/// The structure of sched_setattr(2).
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Attr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

fn setattr(attr: Attr) -> Ret {
    let attr = Attr { size: 48, ..attr };
    sc!(sched_setattr, 0, &raw const attr, 0)
}

fn cpus() -> Vec<usize> {
    let mut set = [0u64; 16];
    let n = sc!(sched_getaffinity, 0, 128, &mut set).addr();
    (0..n * 8)
        .filter(|c| set[c / 64] & 1 << (c % 64) != 0)
        .collect()
}

fn current_cpu() -> usize {
    let mut cpu = 0u32;
    sc!(getcpu, &raw mut cpu, 0, 0).is(0);
    *std::hint::black_box(&mut cpu) as usize
}

static CASES: &[Case] = &[
    case!(
        "sched_getaffinity sched_setaffinity",
        "pinning_moves_the_thread",
        || {
            for cpu in cpus() {
                let mut set = [0u64; 16];
                set[cpu / 64] = 1 << (cpu % 64);
                sc!(sched_setaffinity, 0, 128, &set).is(0);
                assert_eq!(current_cpu(), cpu);
                assert_eq!(cpus(), [cpu]);
            }
        }
    ),
    case!("sched_setaffinity", "child_inherits", || {
        let cpu = cpus()[0];
        let mut set = [0u64; 16];
        set[cpu / 64] = 1 << (cpu % 64);
        sc!(sched_setaffinity, 0, 128, &set).is(0);
        fork(|| assert_eq!(cpus(), [cpu])).ok();
    }),
    case!("sched_setaffinity sched_getaffinity", "errors", || {
        sc!(sched_setaffinity, 0, 128, [0u64; 16]).err(EINVAL);
        sc!(sched_setaffinity, 1 << 22, 128, [1u64; 16]).err(ESRCH);
        sc!(sched_setaffinity, 0, 128, BAD).err(EFAULT);
        sc!(sched_getaffinity, 0, 1, [0u64; 1]).err(EINVAL);
        sc!(sched_getaffinity, 1 << 22, 128, [0u64; 16]).err(ESRCH);
        as_nobody(|| sc!(sched_setaffinity, 1, 128, [1u64; 16]).err(EPERM));
    }),
    case!("sched_getaffinity", "status_shows_the_same", || {
        let list = status_field(getpid(), "Cpus_allowed_list");
        let all = cpus();
        let last = list.rsplit(['-', ',']).next().and_then(|s| s.parse().ok());
        assert_eq!(last, all.last().copied());
    }),
    case!(
        "sched_getscheduler sched_getparam",
        "default_is_other",
        || {
            sc!(sched_getscheduler, 0).is(SCHED_OTHER.into());
            let mut p = 9i32;
            sc!(sched_getparam, 0, &raw mut p).is(0);
            assert_eq!(p, 0);
            sc!(sched_getscheduler, -1).err(EINVAL);
            sc!(sched_getscheduler, 1 << 22).err(ESRCH);
            sc!(sched_getparam, 0, 0).err(EINVAL);
        }
    ),
    case!("sched_setscheduler", "fifo_and_round_robin_as_root", || {
        need_root();
        for policy in [SCHED_FIFO, SCHED_RR] {
            let p = 10i32;
            sc!(sched_setscheduler, 0, policy, &raw const p)
                .skip_on(&[EPERM])
                .is(0);
            sc!(sched_getscheduler, 0).is(policy.into());
            assert_eq!(stat_field(getpid(), 41), Some(policy.to_string()));
            assert_eq!(stat_field(getpid(), 18).as_deref(), Some("-11"));
        }
        let p = 0i32;
        sc!(sched_setscheduler, 0, SCHED_OTHER, &raw const p).is(0);
    }),
    case!("sched_setscheduler", "reset_on_fork", || {
        need_root();
        let p = 10i32;
        let policy = SCHED_FIFO | SCHED_RESET_ON_FORK;
        sc!(sched_setscheduler, 0, policy, &raw const p)
            .skip_on(&[EPERM])
            .is(0);
        sc!(sched_getscheduler, 0).is(policy.into());
        fork(|| sc!(sched_getscheduler, 0).is(0)).ok();
    }),
    case!("sched_setscheduler sched_setparam", "errors", || {
        let (zero, ten, hundred) = (0i32, 10i32, 100i32);
        sc!(sched_setscheduler, 0, SCHED_FIFO, &raw const zero).err(EINVAL);
        sc!(sched_setscheduler, 0, SCHED_FIFO, &raw const hundred).err(EINVAL);
        sc!(sched_setscheduler, 0, SCHED_OTHER, &raw const ten).err(EINVAL);
        sc!(sched_setscheduler, 0, 99, &raw const zero).err(EINVAL);
        sc!(sched_setparam, 0, &raw const ten).err(EINVAL);
        sc!(sched_setparam, 0, &raw const zero).is(0);
        as_nobody(|| {
            sc!(setrlimit, RLIMIT_RTPRIO, [0u64, 0]).is(0);
            sc!(sched_setscheduler, 0, SCHED_FIFO, &raw const ten).err(EPERM);
        });
    }),
    case!("sched_setscheduler", "batch_and_idle_for_everyone", || {
        as_nobody(|| {
            let p = 0i32;
            sc!(sched_setscheduler, 0, SCHED_BATCH, &raw const p).is(0);
            sc!(sched_getscheduler, 0).is(SCHED_BATCH.into());
            sc!(sched_setscheduler, 0, SCHED_IDLE, &raw const p).is(0);
        });
    }),
    case!("sched_setattr sched_getattr", "nice_and_policy", || {
        setattr(Attr {
            nice: 7,
            ..Default::default()
        })
        .is(0);
        let mut got = Attr::default();
        sc!(sched_getattr, 0, &raw mut got, 48, 0).is(0);
        let got = std::hint::black_box(&mut got);
        assert_eq!((got.policy, got.nice), (0, 7));
        assert!(got.size >= 48);
        sc!(getpriority, PRIO_PROCESS, 0).is(13);
    }),
    case!("sched_setattr sched_getattr", "errors", || {
        setattr(Attr {
            policy: 99,
            ..Default::default()
        })
        .err(EINVAL);
        setattr(Attr {
            flags: 1 << 40,
            ..Default::default()
        })
        .err(EINVAL);
        sc!(sched_setattr, 0, 0, 0).err(EINVAL);
        let small = [8u32, 0];
        sc!(sched_setattr, 0, &small, 0).err(E2BIG);
        let mut got = Attr::default();
        sc!(sched_getattr, 0, &raw mut got, 8, 0).err(EINVAL);
        sc!(sched_getattr, 0, &raw mut got, 48, 1).err(EINVAL);
        sc!(sched_getattr, 1 << 22, &raw mut got, 48, 0).err(ESRCH);
    }),
    case!(
        "sched_setscheduler",
        "runaway_fifo_thread_leaves_time_to_others",
        || {
            need_root();
            let one = [1u64];
            let spinner = fork(|| {
                sc!(sched_setaffinity, 0, 8, &one).is(0);
                let priority = [50i32];
                sc!(sched_setscheduler, 0, 1, &priority)
                    .skip_on(&[EPERM])
                    .is(0);
                let end = clock_ns(CLOCK_MONOTONIC) + 2500 * MS;
                while clock_ns(CLOCK_MONOTONIC) < end {}
            });
            sleep_ms(50);
            let other = fork(|| {
                sc!(sched_setaffinity, 0, 8, &one).is(0);
                let start = clock_ns(CLOCK_MONOTONIC);
                for _ in 0..50 {
                    sc!(getpid).ok();
                }
                assert!(clock_ns(CLOCK_MONOTONIC) - start < 2000 * MS);
            });
            other.ok();
            spinner.ok();
        }
    ),
    case!("sched_setattr", "deadline_parameters", || {
        need_root();
        let good = Attr {
            policy: 6,
            runtime: 1_000_000,
            deadline: 10_000_000,
            period: 10_000_000,
            ..Default::default()
        };
        setattr(Attr {
            runtime: 20_000_000,
            ..good
        })
        .err(EINVAL);
        setattr(good).skip_on(&[EPERM, EBUSY]).is(0);
        sc!(sched_getscheduler, 0).is(6);
    }),
    case!(
        "sched_get_priority_max sched_get_priority_min",
        "ranges",
        || {
            for (policy, min, max) in [(0, 0, 0), (1, 1, 99), (2, 1, 99), (3, 0, 0), (5, 0, 0)] {
                sc!(sched_get_priority_min, policy).is(min);
                sc!(sched_get_priority_max, policy).is(max);
            }
            sc!(sched_get_priority_max, 99).err(EINVAL);
            sc!(sched_get_priority_min, -1).err(EINVAL);
        }
    ),
    case!("sched_rr_get_interval", "answers_an_interval", || {
        let mut ts = timespec(-1, -1);
        sc!(sched_rr_get_interval, 0, &raw mut ts).is(0);
        assert!(ts.tv_sec == 0 && ts.tv_nsec >= 0);
        sc!(sched_rr_get_interval, -1, &raw mut ts).err(EINVAL);
        sc!(sched_rr_get_interval, 1 << 22, &raw mut ts).err(ESRCH);
    }),
    case!("sched_yield", "lets_another_run_on_one_cpu", || {
        let cpu = cpus()[0];
        let mut set = [0u64; 16];
        set[cpu / 64] = 1 << (cpu % 64);
        sc!(sched_setaffinity, 0, 128, &set).is(0);
        let w = shared_words();
        let child = fork(|| w[0].store(1, SeqCst));
        let end = clock_ns(CLOCK_MONOTONIC) + 5000 * MS;
        while w[0].load(SeqCst) == 0 && clock_ns(CLOCK_MONOTONIC) < end {
            sc!(sched_yield).is(0);
        }
        assert_eq!(w[0].load(SeqCst), 1);
        child.ok();
    }),
    case!(
        "sched_setaffinity",
        "two_busy_processes_on_one_cpu_share_it",
        || {
            let cpu = cpus()[0];
            let mut set = [0u64; 16];
            set[cpu / 64] = 1 << (cpu % 64);
            sc!(sched_setaffinity, 0, 128, &set).is(0);
            let w = shared_words();
            let kids: Vec<Child> = (0..2)
                .map(|i| {
                    fork(move || {
                        loop {
                            w[i].fetch_add(1, SeqCst);
                        }
                    })
                })
                .collect();
            sleep_ms(400);
            for kid in &kids {
                kid.kill(SIGKILL);
            }
            let (a, b) = (w[0].load(SeqCst), w[1].load(SeqCst));
            for kid in kids {
                kid.dies(SIGKILL);
            }
            assert!(a > b / 4 && b > a / 4, "{a} and {b}");
        }
    ),
];
