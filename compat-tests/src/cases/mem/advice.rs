//! madvise(2), mincore(2), mlock(2) and relatives, mseal(2), pkeys(7).

use crate::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;

fn locked_kib() -> u64 {
    status_field(getpid(), "VmLck")
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .unwrap_or(0)
}

pub static CASES: &[Case] = &[
    case!("madvise", "dontneed_zeroes_private_anonymous", || {
        let at = map_anon(2 * PAGE, RW);
        poke(at, 1);
        sc!(madvise, at, 2 * PAGE, MADV_DONTNEED).is(0);
        assert_eq!(peek(at), 0);
    }),
    case!("madvise", "dontneed_rereads_private_file_pages", || {
        let at = map_fd(file("f", b"abc"), PAGE, RW, MAP_PRIVATE, 0);
        poke(at, b'X');
        sc!(madvise, at, PAGE, MADV_DONTNEED).is(0);
        assert_eq!(peek(at), b'a');
    }),
    case!("madvise", "dontneed_keeps_shared_content", || {
        let at = map_fd(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
        poke(at, 6);
        sc!(madvise, at, PAGE, MADV_DONTNEED).is(0);
        assert_eq!(peek(at), 6);
    }),
    case!("madvise", "remove_punches_shared_memory", || {
        let at = map_fd(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
        poke(at, 6);
        sc!(madvise, at, PAGE, MADV_REMOVE).is(0);
        assert_eq!(peek(at), 0);
    }),
    case!("madvise", "free_keeps_or_zeroes", || {
        let at = map_anon(PAGE, RW);
        poke(at, 6);
        sc!(madvise, at, PAGE, MADV_FREE).is(0);
        assert!([0, 6].contains(&peek(at)));
        poke(at, 7);
        assert_eq!(peek(at), 7);
    }),
    case!("madvise", "free_of_shared_is_einval", || {
        let at = map_fd(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
        sc!(madvise, at, PAGE, MADV_FREE).err(EINVAL);
    }),
    case!(
        "madvise fork",
        "dontfork_keeps_the_range_from_the_child",
        || {
            let at = map_anon(PAGE, RW);
            sc!(madvise, at, PAGE, MADV_DONTFORK).is(0);
            fork(|| ignore(peek(at))).dies(SIGSEGV);
            sc!(madvise, at, PAGE, MADV_DOFORK).is(0);
            fork(|| ignore(peek(at))).ok();
        }
    ),
    case!("madvise fork", "wipeonfork_zeroes_in_the_child", || {
        let at = map_anon(PAGE, RW);
        poke(at, 9);
        sc!(madvise, at, PAGE, MADV_WIPEONFORK).is(0);
        fork(|| assert_eq!(peek(at), 0)).ok();
        assert_eq!(peek(at), 9);
    }),
    case!("madvise", "hints_are_accepted", || {
        let at = map_anon(2 * PAGE, RW);
        for advice in [MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED] {
            sc!(madvise, at, 2 * PAGE, advice).is(0);
        }
        sc!(madvise, at, 2 * PAGE, MADV_DONTDUMP).is(0);
        sc!(madvise, at, 2 * PAGE, MADV_DODUMP).is(0);
    }),
    case!("madvise", "populate_write_makes_resident", || {
        let at = map_anon(4 * PAGE, RW);
        sc!(madvise, at, 4 * PAGE, MADV_POPULATE_WRITE)
            .skip_on(&[EINVAL])
            .is(0);
        let mut v = [0u8; 4];
        sc!(mincore, at, 4 * PAGE, &mut v).is(0);
        assert!(v.iter().all(|b| b & 1 == 1));
    }),
    case!("madvise", "populate_without_rights_is_efault", || {
        let at = map_anon(PAGE, PROT_READ);
        let r = sc!(madvise, at, PAGE, MADV_POPULATE_WRITE);
        r.err_any(&[EFAULT, EINVAL]);
    }),
    case!("madvise", "errors", || {
        let at = map_anon(PAGE, RW);
        sc!(madvise, at + 1, PAGE, MADV_NORMAL).err(EINVAL);
        sc!(madvise, at, PAGE, 9999).err(EINVAL);
        sc!(madvise, at, 0, MADV_NORMAL).is(0);
        sc!(munmap, at, PAGE).is(0);
        sc!(madvise, at, PAGE, MADV_WILLNEED).err(ENOMEM);
    }),
    case!("process_madvise", "on_oneself_and_errors", || {
        let at = map_anon(PAGE, RW);
        let pid = sc!(pidfd_open, getpid(), 0).fd();
        sc!(process_madvise, pid, [[at, PAGE]], 1, MADV_COLD, 0).is(PAGE as i64);
        sc!(process_madvise, pid, [[at, PAGE]], 1, MADV_COLD, 1).err(EINVAL);
        sc!(process_madvise, 99, [[at, PAGE]], 1, MADV_COLD, 0).err(EBADF);
    }),
    case!("mincore", "untouched_anonymous_is_absent", || {
        let at = map_anon(4 * PAGE, RW);
        poke(at + PAGE, 1);
        let mut v = [0xffu8; 4];
        sc!(mincore, at, 4 * PAGE, &mut v).is(0);
        assert_eq!(v.map(|b| b & 1), [0, 1, 0, 0]);
    }),
    case!("mincore", "cached_file_pages_are_present", || {
        let at = map_fd(
            file("f", vec![1u8; 2 * PAGE]),
            2 * PAGE,
            PROT_READ,
            MAP_SHARED,
            0,
        );
        let _ = (peek(at), peek(at + PAGE));
        let mut v = [0u8; 2];
        sc!(mincore, at, 2 * PAGE, &mut v).is(0);
        assert_eq!(v.map(|b| b & 1), [1, 1]);
    }),
    case!("mincore", "errors", || {
        let at = map_anon(PAGE, RW);
        let mut v = [0u8; 1];
        sc!(mincore, at + 1, PAGE, &mut v).err(EINVAL);
        sc!(mincore, at, PAGE, BAD).err(EFAULT);
        sc!(munmap, at, PAGE).is(0);
        sc!(mincore, at, PAGE, &mut v).err(ENOMEM);
    }),
    case!(
        "mlock munlock",
        "counts_in_vmlck_and_makes_resident",
        || {
            let at = map_anon(8 * PAGE, RW);
            let before = locked_kib();
            sc!(mlock, at, 8 * PAGE).is(0);
            assert_eq!(locked_kib(), before + 32);
            let mut v = [0u8; 8];
            sc!(mincore, at, 8 * PAGE, &mut v).is(0);
            assert!(v.iter().all(|b| b & 1 == 1));
            sc!(munlock, at, 8 * PAGE).is(0);
            assert_eq!(locked_kib(), before);
        }
    ),
    case!("mlock", "unaligned_start_is_rounded", || {
        let at = map_anon(2 * PAGE, RW);
        sc!(mlock, at + 100, PAGE).is(0);
        assert_eq!(locked_kib(), 8);
    }),
    case!("mlock", "limit_holds_for_nobody", || {
        as_nobody(|| {
            let at = map_anon(16 * PAGE, RW);
            sc!(
                setrlimit,
                RLIMIT_MEMLOCK,
                [4 * PAGE as u64, 4 * PAGE as u64]
            )
            .is(0);
            sc!(mlock, at, 5 * PAGE).err(ENOMEM);
            sc!(mlock, at, 4 * PAGE).is(0);
            sc!(setrlimit, RLIMIT_MEMLOCK, [0u64, 0]).is(0);
            sc!(mlock, at + 8 * PAGE, PAGE).err(EPERM);
        });
    }),
    case!("mlock", "unmapped_is_enomem", || {
        let at = map_anon(PAGE, RW);
        sc!(munmap, at, PAGE).is(0);
        sc!(mlock, at, PAGE).err(ENOMEM);
        sc!(munlock, at, PAGE).err(ENOMEM);
    }),
    case!("mlock2", "onfault_locks_without_populating", || {
        let at = map_anon(2 * PAGE, RW);
        sc!(mlock2, at, 2 * PAGE, MLOCK_ONFAULT).is(0);
        assert_eq!(locked_kib(), 8);
        let mut v = [0u8; 2];
        sc!(mincore, at, 2 * PAGE, &mut v).is(0);
        assert_eq!(v.map(|b| b & 1), [0, 0]);
        sc!(mlock2, at, PAGE, 2).err(EINVAL);
    }),
    case!("mlock fork", "locks_are_not_inherited", || {
        let at = map_anon(2 * PAGE, RW);
        sc!(mlock, at, 2 * PAGE).is(0);
        fork(|| assert_eq!(locked_kib(), 0)).ok();
    }),
    case!("mlockall munlockall", "future_mappings_are_locked", || {
        fork(|| {
            sc!(mlockall, MCL_FUTURE).is(0);
            let at = map_anon(4 * PAGE, RW);
            let mut v = [0u8; 4];
            sc!(mincore, at, 4 * PAGE, &mut v).is(0);
            assert!(v.iter().all(|b| b & 1 == 1));
            assert!(locked_kib() >= 16);
            sc!(munlockall).is(0);
            assert_eq!(locked_kib(), 0);
        })
        .ok();
    }),
    case!("mlockall", "flags_are_checked", || {
        sc!(mlockall, 0).err(EINVAL);
        sc!(mlockall, 8).err(EINVAL);
        sc!(mlockall, MCL_ONFAULT).err(EINVAL);
    }),
    case!("mseal", "sealed_range_cannot_change", || {
        let at = map_anon(2 * PAGE, RW);
        sc!(mseal, at, PAGE, 0).skip_on(&[ENOSYS]).is(0);
        sc!(munmap, at, PAGE).err(EPERM);
        sc!(mprotect, at, PAGE, PROT_READ).err(EPERM);
        sc!(mremap, at, PAGE, 2 * PAGE, MREMAP_MAYMOVE).err(EPERM);
        sc!(munmap, at + PAGE, PAGE).is(0);
        sc!(mseal, at, PAGE, 1).err(EINVAL);
    }),
    case!(
        "pkey_alloc pkey_free pkey_mprotect",
        "without_hardware_or_with",
        || {
            let at = map_anon(PAGE, RW);
            sc!(pkey_mprotect, at, PAGE, PROT_READ, -1).is(0);
            sc!(pkey_alloc, 1, 0).err_any(&[EINVAL, ENOSYS, ENOSPC]);
            let key = sc!(pkey_alloc, 0, 0);
            if key.success() {
                sc!(pkey_mprotect, at, PAGE, RW, key.fd()).is(0);
                sc!(pkey_free, key.fd()).is(0);
            } else {
                key.err_any(&[ENOSPC, EINVAL]);
            }
            sc!(pkey_free, 99).err(EINVAL);
        }
    ),
    case!("cachestat", "counts_cached_pages", || {
        let fd = file("f", vec![1u8; 4 * PAGE]);
        let range = [0u64, 4 * PAGE as u64];
        let mut cs = [0u64; 5];
        sc!(cachestat, fd, &range, &mut cs, 0)
            .skip_on(&[ENOSYS])
            .is(0);
        assert_eq!(cs[0], 4);
        sc!(cachestat, fd, &range, &mut cs, 1).err(EINVAL);
        sc!(cachestat, 99, &range, &mut cs, 0).err(EBADF);
    }),
    case!(
        "set_mempolicy get_mempolicy mbind",
        "default_policy",
        || {
            let mut mode = 9i32;
            let r = sc!(get_mempolicy, &raw mut mode, 0, 0, 0, 0);
            r.skip_on(&[ENOSYS]).is(0);
            assert_eq!(mode, 0);
            sc!(set_mempolicy, 0, 0, 0).is(0);
            sc!(set_mempolicy, 99, 0, 0).err(EINVAL);
            sc!(mbind, map_anon(PAGE, RW), PAGE, 0, 0, 0, 0).is(0);
        }
    ),
];
