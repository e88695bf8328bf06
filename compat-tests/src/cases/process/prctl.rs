//! prctl(2), arch_prctl(2), personality(2), robust lists, rseq(2), membarrier(2).

use crate::prelude::*;

pub static CASES: &[Case] = &[
    case!("prctl", "name_is_cut_at_fifteen_bytes", || {
        sc!(prctl, PR_SET_NAME, c"a-name-that-is-too-long").is(0);
        let mut b = [9u8; 16];
        sc!(prctl, PR_GET_NAME, &mut b).is(0);
        assert_eq!(&b, b"a-name-that-is-\0");
        assert_eq!(text("/proc/self/comm"), "a-name-that-is-\n");
    }),
    case!("prctl", "name_is_per_thread", || {
        sc!(prctl, PR_SET_NAME, c"main").is(0);
        std::thread::spawn(|| sc!(prctl, PR_SET_NAME, c"other").is(0))
            .join()
            .unwrap_or(());
        let mut b = [0u8; 16];
        sc!(prctl, PR_GET_NAME, &mut b).is(0);
        assert_eq!(&b[..5], b"main\0");
    }),
    case!("prctl", "parent_death_signal", || {
        let (r, w) = pipe();
        let outer = fork(|| {
            let ready = Gate::new();
            let _inner = fork(|| {
                sc!(prctl, PR_SET_PDEATHSIG, SIGUSR1).is(0);
                let mut got = 0i32;
                sc!(prctl, PR_GET_PDEATHSIG, &raw mut got).is(0);
                assert_eq!(got, SIGUSR1);
                on_signal(SIGUSR1, 0);
                ready.open();
                eventually("death signal", || hits(SIGUSR1) == 1);
                write_all(w, b"orphan");
            });
            ready.wait();
        });
        outer.ok();
        close(w);
        assert_eq!(read_some(r, 8), b"orphan");
    }),
    case!("prctl", "pdeathsig_errors_and_fork", || {
        sc!(prctl, PR_SET_PDEATHSIG, 99).err(EINVAL);
        sc!(prctl, PR_SET_PDEATHSIG, SIGUSR2).is(0);
        let pid = sc!(fork).fd();
        if pid == 0 {
            let mut got = 9i32;
            sc!(prctl, PR_GET_PDEATHSIG, &raw mut got).is(0);
            exit(got);
        }
        Child { pid }.exits(0);
    }),
    case!("prctl", "dumpable", || {
        sc!(prctl, PR_GET_DUMPABLE).is(1);
        sc!(prctl, PR_SET_DUMPABLE, 0).is(0);
        sc!(prctl, PR_GET_DUMPABLE).is(0);
        sc!(prctl, PR_SET_DUMPABLE, 2).err(EINVAL);
    }),
    case!("prctl", "dumpable_is_cleared_by_changing_uid", || {
        as_nobody(|| sc!(prctl, PR_GET_DUMPABLE).is(0));
    }),
    case!("prctl", "child_subreaper_adopts_orphans", || {
        sc!(prctl, PR_SET_CHILD_SUBREAPER, 1).is(0);
        let mut on = 0i32;
        sc!(prctl, PR_GET_CHILD_SUBREAPER, &raw mut on).is(0);
        assert_eq!(on, 1);
        let w = shared_words();
        fork(|| {
            let inner = fork(|| {
                let _ = sc!(prctl, PR_SET_PDEATHSIG, 0);
                sleep_ms(30);
                exit(17);
            });
            w[0].store(inner.pid as u32, SeqCst);
        })
        .ok();
        Child {
            pid: w[0].load(SeqCst) as i32,
        }
        .exits(17);
    }),
    case!("prctl", "no_new_privs_is_one_way_and_inherited", || {
        sc!(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0).is(0);
        sc!(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).is(0);
        sc!(prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0).err(EINVAL);
        sc!(prctl, PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0).err(EINVAL);
        fork(|| sc!(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0).is(1)).ok();
        assert_eq!(status_field(getpid(), "NoNewPrivs"), "1");
    }),
    case!("prctl", "timer_slack", || {
        sc!(prctl, PR_GET_TIMERSLACK).is(50_000);
        sc!(prctl, PR_SET_TIMERSLACK, 12345).is(0);
        sc!(prctl, PR_GET_TIMERSLACK).is(12345);
        sc!(prctl, PR_SET_TIMERSLACK, 0).is(0);
        sc!(prctl, PR_GET_TIMERSLACK).is(50_000);
    }),
    case!("prctl", "keepcaps", || {
        need_root();
        sc!(prctl, PR_GET_KEEPCAPS).is(0);
        sc!(prctl, PR_SET_KEEPCAPS, 1).is(0);
        sc!(setresuid, NOBODY, NOBODY, NOBODY).is(0);
        assert_ne!(status_field(getpid(), "CapPrm"), "0000000000000000");
        assert_eq!(status_field(getpid(), "CapEff"), "0000000000000000");
        sc!(prctl, PR_SET_KEEPCAPS, 2).err(EINVAL);
    }),
    case!("prctl", "bounding_set", || {
        need_root();
        sc!(prctl, PR_CAPBSET_READ, 0).is(1);
        sc!(prctl, PR_CAPBSET_DROP, 0).is(0);
        sc!(prctl, PR_CAPBSET_READ, 0).is(0);
        sc!(prctl, PR_CAPBSET_READ, 99).err(EINVAL);
        as_nobody(|| sc!(prctl, PR_CAPBSET_DROP, 1).err(EPERM));
    }),
    case!("prctl", "ambient_capabilities", || {
        need_root();
        sc!(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 10, 0, 0).is(0);
        sc!(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 10, 0, 0).err(EPERM);
        sc!(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0).is(0);
        sc!(prctl, PR_CAP_AMBIENT, 99, 0, 0, 0).err(EINVAL);
    }),
    case!("prctl", "securebits", || {
        need_root();
        sc!(prctl, PR_GET_SECUREBITS).is(0);
        sc!(prctl, PR_SET_SECUREBITS, 1).is(0);
        sc!(prctl, PR_GET_SECUREBITS).is(1);
        as_nobody(|| sc!(prctl, PR_SET_SECUREBITS, 3).err(EPERM));
    }),
    case!("prctl", "seccomp_mode_starts_off", || {
        sc!(prctl, PR_GET_SECCOMP).skip_on(&[EINVAL]).is(0);
    }),
    case!("prctl", "thp_disable", || {
        sc!(prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0)
            .skip_on(&[EINVAL])
            .is(0);
        sc!(prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0).is(0);
        sc!(prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0).is(1);
    }),
    case!("prctl", "unknown_operation_is_einval", || sc!(
        prctl, 9999, 0, 0, 0, 0
    )
    .err(EINVAL)),
    case!("prctl", "tid_address", || {
        let mut at = 0usize;
        sc!(prctl, PR_GET_TID_ADDRESS, &raw mut at)
            .skip_on(&[EINVAL])
            .is(0);
        assert_ne!(at, 0);
    }),
    case!("prctl", "anonymous_vma_name", || {
        let at = map_anon(PAGE, PROT_READ);
        let r = sc!(prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, PAGE, c"label");
        r.skip_on(&[EINVAL]).is(0);
        assert!(text("/proc/self/maps").contains("[anon:label]"));
    }),
    case!("arch_prctl", "fs_and_gs_base", || {
        let mut fs = 0usize;
        sc!(arch_prctl, 0x1003, &raw mut fs).is(0);
        assert_ne!(fs, 0);
        let mut gs = 0usize;
        sc!(arch_prctl, 0x1001, 0x1234_5000usize).is(0);
        sc!(arch_prctl, 0x1004, &raw mut gs).is(0);
        assert_eq!(gs, 0x1234_5000);
        sc!(arch_prctl, 0x1001, 0x8000_0000_0000_0000usize).err(EPERM);
        sc!(arch_prctl, 0x9999, 0).err(EINVAL);
    }),
    case!("personality", "read_set_and_inherit", || {
        sc!(personality, 0xffff_ffffu32).is(0);
        sc!(personality, ADDR_NO_RANDOMIZE).is(0);
        sc!(personality, 0xffff_ffffu32).is(ADDR_NO_RANDOMIZE.into());
        fork(|| sc!(personality, 0xffff_ffffu32).is(ADDR_NO_RANDOMIZE.into())).ok();
        assert_eq!(text("/proc/self/personality"), "00040000\n");
    }),
    case!("set_robust_list get_robust_list", "set_and_get", || {
        let head = [0usize; 3];
        sc!(set_robust_list, &head, 24).is(0);
        sc!(set_robust_list, &head, 23).err(EINVAL);
        let (mut at, mut len) = (0usize, 0usize);
        sc!(get_robust_list, 0, &raw mut at, &raw mut len).is(0);
        assert_eq!((at, len), (head.raw(), 24));
        sc!(get_robust_list, 1 << 22, &raw mut at, &raw mut len).err(ESRCH);
        as_nobody(|| sc!(get_robust_list, 1, &raw mut at, &raw mut len).err(EPERM));
    }),
    case!(
        "set_robust_list futex",
        "dying_owner_marks_its_locks",
        || {
            let w = shared_words();
            // Word 100 is the lock; words 0.. hold list head (next, offset, pending) and one entry.
            let base = w[0].as_ptr().addr() as u64;
            let entry = base + 64;
            fork(|| {
                let l = |i: usize, v: u64| long_at(base as usize + i * 8).store(v, SeqCst);
                l(0, entry);
                l(1, 400 - 64);
                l(2, 0);
                l(8, base);
                w[100].store(gettid() as u32, SeqCst);
                sc!(set_robust_list, base, 24).is(0);
            })
            .ok();
            assert_eq!(w[100].load(SeqCst), 0x4000_0000, "FUTEX_OWNER_DIED");
        }
    ),
    case!("rseq", "registered_by_the_c_library_or_free", || {
        let area = map_anon(PAGE, PROT_READ | PROT_WRITE);
        let r = sc!(rseq, area, 32, 0, 0x5305_3053u32);
        // glibc registers at start: then another area is refused.
        r.skip_on(&[ENOSYS]).err_any(&[EINVAL, EBUSY, EPERM, 0]);
        sc!(rseq, area + 4, 32, 0, 0x5305_3053u32).err(EINVAL);
        sc!(rseq, area, 8, 0, 0x5305_3053u32).err(EINVAL);
        sc!(rseq, area, 32, 4, 0x5305_3053u32).err(EINVAL);
    }),
    case!("membarrier", "query_and_commands", || {
        let mask = sc!(membarrier, 0, 0, 0).skip_on(&[ENOSYS]).ok();
        assert_eq!(mask & 1, 1, "MEMBARRIER_CMD_GLOBAL");
        sc!(membarrier, 1, 0, 0).is(0);
        sc!(membarrier, 8, 0, 0).err(EPERM);
        sc!(membarrier, 16, 0, 0).is(0);
        sc!(membarrier, 8, 0, 0).is(0);
        sc!(membarrier, 1 << 20, 0, 0).err(EINVAL);
        sc!(membarrier, 0, 1, 0).err(EINVAL);
    }),
    case!("getcpu", "is_a_cpu_that_exists", || {
        let (mut cpu, mut node) = (999u32, 999u32);
        sc!(getcpu, &raw mut cpu, &raw mut node, 0).is(0);
        let online = text("/proc/stat")
            .lines()
            .filter(|l| l.starts_with("cpu"))
            .count()
            - 1;
        assert!((cpu as usize) < online && node == 0);
        sc!(getcpu, 0, 0, 0).is(0);
        sc!(getcpu, BAD, 0, 0).err(EFAULT);
    }),
    case!("arch_prctl", "tells_of_cpuid_and_extended_features", || {
        const GET_CPUID: i32 = 0x1011;
        const GET_XCOMP_SUPP: i32 = 0x1021;
        const GET_XCOMP_PERM: i32 = 0x1022;
        const REQ_XCOMP_PERM: i32 = 0x1023;
        sc!(arch_prctl, GET_CPUID, 0).is(1);
        let mut features = [0u64; 2];
        let at = features.as_mut_ptr().raw();
        sc!(arch_prctl, GET_XCOMP_SUPP, at).skip_on(&[EINVAL]).is(0);
        sc!(arch_prctl, GET_XCOMP_PERM, at + 8).is(0);
        let features = std::hint::black_box(&mut features);
        assert_eq!((features[0] & 3, features[1] & 3), (3, 3));
        sc!(arch_prctl, REQ_XCOMP_PERM, 99).err(EINVAL);
        sc!(arch_prctl, 0x1fff, 0).err(EINVAL);
    }),
    case!("prctl", "time_stamp_counter_can_be_taken_away", || {
        const GET: i32 = 25;
        const SET: i32 = 26;
        let mut state = [0i32];
        let at = state.as_mut_ptr().raw();
        sc!(prctl, GET, at).is(0);
        assert_eq!(std::hint::black_box(&mut state)[0], 1);
        sc!(prctl, SET, 3).err(EINVAL);
        fork(|| {
            set_disposition(SIGSEGV, SIG_DFL);
            sc!(prctl, SET, 2).is(0);
            ignore(std::hint::black_box(execute_rdtsc()));
        })
        .dies(SIGSEGV);
        fork(|| {
            sc!(prctl, SET, 2).is(0);
            sc!(prctl, SET, 1).is(0);
            assert_ne!(execute_rdtsc(), 0);
        })
        .ok();
    }),
];
