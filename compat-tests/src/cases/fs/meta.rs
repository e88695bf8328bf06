//! Metadata: the stat family, modes, owners, times, access checks and sizes.

use crate::prelude::*;

fn statx_of(fd: i32, path: &str, flags: i32, mask: u32) -> (Ret, libc::statx) {
    let mut stx: libc::statx = zeroed();
    (sc!(statx, fd, cstr(path), flags, mask, &raw mut stx), stx)
}

fn set_times(name: &str, atime: libc::timespec, mtime: libc::timespec) -> Ret {
    sc!(utimensat, AT_FDCWD, cstr(name), [atime, mtime], 0)
}

pub static CASES: &[Case] = &[
    case!("stat lstat", "stat_follows_lstat_does_not", || {
        put("f", b"abc");
        sc!(symlink, c"f", c"l").is(0);
        let mut st: libc::stat = zeroed();
        sc!(stat, c"l", &raw mut st).is(0);
        assert_eq!((st.st_size, st.st_mode & S_IFMT), (3, S_IFREG));
        assert_eq!(lstat("l").st_mode & S_IFMT, S_IFLNK);
    }),
    case!("stat", "errors", || {
        let mut st: libc::stat = zeroed();
        put("f", b"");
        sc!(stat, c"none", &raw mut st).err(ENOENT);
        sc!(stat, c"f/x", &raw mut st).err(ENOTDIR);
        sc!(stat, c"", &raw mut st).err(ENOENT);
        sc!(stat, c"f", BAD).err(EFAULT);
        sc!(stat, BAD, &raw mut st).err(EFAULT);
        sc!(stat, cstr("n".repeat(256)), &raw mut st).err(ENAMETOOLONG);
    }),
    case!("stat", "dangling_symlink_is_enoent", || {
        sc!(symlink, c"none", c"l").is(0);
        let mut st: libc::stat = zeroed();
        sc!(stat, c"l", &raw mut st).err(ENOENT);
    }),
    case!("stat", "blocks_count_512_bytes", || {
        let fd = file("f", vec![1u8; 40960]);
        sc!(fsync, fd).is(0);
        let st = fstat(fd);
        assert_eq!((st.st_size, st.st_blocks), (40960, 80));
        assert_eq!(st.st_blksize, 4096);
    }),
    case!("stat", "sparse_file_has_fewer_blocks", || {
        let fd = file("f", b"");
        sc!(ftruncate, fd, 1 << 24).is(0);
        assert_eq!((fstat(fd).st_size, fstat(fd).st_blocks), (1 << 24, 0));
    }),
    case!("stat", "dev_null_is_character_1_3", || {
        let st = lstat("/dev/null");
        assert_eq!((st.st_mode & S_IFMT, st.st_rdev), (S_IFCHR, makedev(1, 3)));
    }),
    case!("fstat", "pipe_socket_and_directory_kinds", || {
        assert_eq!(fstat(pipe().0).st_mode & S_IFMT, S_IFIFO);
        assert_eq!(fstat(socketpair(SOCK_STREAM).0).st_mode & S_IFMT, S_IFSOCK);
        assert_eq!(fstat(open(".", O_RDONLY)).st_mode & S_IFMT, S_IFDIR);
    }),
    case!("fstat", "bad_descriptor_is_ebadf", || {
        let mut st: libc::stat = zeroed();
        sc!(fstat, -1, &raw mut st).err(EBADF);
        sc!(fstat, 0, BAD).err(EFAULT);
    }),
    case!("newfstatat", "empty_path_is_the_descriptor", || {
        let fd = file("f", b"ab");
        let mut st: libc::stat = zeroed();
        sc!(newfstatat, fd, c"", &raw mut st, AT_EMPTY_PATH).is(0);
        assert_eq!(st.st_size, 2);
        sc!(newfstatat, fd, c"", &raw mut st, 0).err(ENOENT);
    }),
    case!("newfstatat", "empty_path_with_cwd_is_the_cwd", || {
        let mut st: libc::stat = zeroed();
        sc!(newfstatat, AT_FDCWD, c"", &raw mut st, AT_EMPTY_PATH).is(0);
        assert_eq!(st.st_ino, lstat(".").st_ino);
    }),
    case!("newfstatat", "nofollow_and_unknown_flags", || {
        sc!(symlink, c"none", c"l").is(0);
        let mut st: libc::stat = zeroed();
        sc!(newfstatat, AT_FDCWD, c"l", &raw mut st, AT_SYMLINK_NOFOLLOW).is(0);
        sc!(newfstatat, AT_FDCWD, c"l", &raw mut st, 0x10).err(EINVAL);
    }),
    case!("statx", "basic_fields_agree_with_stat", || {
        let fd = file("f", b"abc");
        let st = fstat(fd);
        let (r, x) = statx_of(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS);
        r.is(0);
        assert_eq!(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
        assert_eq!((x.stx_ino, x.stx_size, x.stx_nlink), (st.st_ino, 3, 1));
        assert_eq!(u32::from(x.stx_mode), st.st_mode);
        assert_eq!(
            (x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec.into()),
            (st.st_mtime, st.st_mtime_nsec)
        );
        assert_eq!(
            (x.stx_dev_major, x.stx_dev_minor),
            (major(st.st_dev), minor(st.st_dev))
        );
    }),
    case!("statx", "birth_time_is_not_after_now", || {
        let fd = file("f", b"");
        let (r, x) = statx_of(fd, "", AT_EMPTY_PATH, STATX_BTIME);
        r.is(0);
        if x.stx_mask & STATX_BTIME == 0 {
            skip("the file system keeps no birth time");
        }
        let now = clock_ns(CLOCK_REALTIME) / 1_000_000_000;
        assert!((now - 60..=now).contains(&x.stx_btime.tv_sec));
    }),
    case!("statx", "mount_root_attribute", || {
        let (r, x) = statx_of(AT_FDCWD, "/proc", 0, STATX_BASIC_STATS);
        r.is(0);
        let root = STATX_ATTR_MOUNT_ROOT as u64;
        assert_eq!(x.stx_attributes_mask & root, root);
        assert_eq!(x.stx_attributes & root, root);
        let (r, x) = statx_of(AT_FDCWD, "/proc/self", 0, STATX_BASIC_STATS);
        r.is(0);
        assert_eq!(x.stx_attributes & root, 0);
    }),
    case!("statx", "mount_id_is_given", || {
        let (r, x) = statx_of(AT_FDCWD, ".", 0, STATX_MNT_ID);
        r.is(0);
        assert_ne!(x.stx_mask & STATX_MNT_ID, 0);
        let info = text("/proc/self/mountinfo");
        let id = x.stx_mnt_id.to_string();
        assert!(
            info.lines().any(|l| l.split(' ').next() == Some(&id)),
            "mount {id}"
        );
    }),
    case!("statx", "reserved_mask_and_flags_are_einval", || {
        statx_of(AT_FDCWD, ".", 0, 0x8000_0000).0.err(EINVAL);
        statx_of(AT_FDCWD, ".", 0x10, 0).0.err(EINVAL);
        statx_of(AT_FDCWD, ".", AT_STATX_SYNC_TYPE, 0).0.err(EINVAL);
    }),
    case!("statx", "sync_flags_are_accepted", || {
        statx_of(AT_FDCWD, ".", AT_STATX_FORCE_SYNC, STATX_SIZE)
            .0
            .is(0);
        statx_of(AT_FDCWD, ".", AT_STATX_DONT_SYNC, STATX_SIZE)
            .0
            .is(0);
    }),
    case!("chmod", "sets_all_twelve_bits", || {
        put("f", b"");
        sc!(chmod, c"f", 0o7654).is(0);
        assert_eq!(lstat("f").st_mode, S_IFREG | 0o7654);
    }),
    case!("chmod", "by_another_user_is_eperm", || {
        put("f", b"");
        as_nobody(|| sc!(chmod, c"f", 0o777).err(EPERM));
    }),
    case!("chmod", "setgid_is_dropped_outside_the_group", || {
        put("f", b"");
        need_root();
        sc!(chown, c"f", NOBODY, 0).is(0);
        as_nobody(|| sc!(chmod, c"f", 0o2755).is(0));
        assert_eq!(lstat("f").st_mode & 0o7777, 0o755);
    }),
    case!("chmod", "follows_symlinks", || {
        put("f", b"");
        sc!(symlink, c"f", c"l").is(0);
        sc!(chmod, c"l", 0o611).is(0);
        assert_eq!(lstat("f").st_mode & 0o777, 0o611);
    }),
    case!("fchmod fchmodat", "by_descriptor_and_directory", || {
        let fd = file("f", b"");
        sc!(fchmod, fd, 0o640).is(0);
        assert_eq!(lstat("f").st_mode & 0o777, 0o640);
        sc!(fchmodat, open(".", O_PATH), c"f", 0o600).is(0);
        assert_eq!(lstat("f").st_mode & 0o777, 0o600);
        sc!(fchmod, 99, 0o640).err(EBADF);
    }),
    case!("fchmodat2", "symlink_nofollow_is_eopnotsupp", || {
        sc!(symlink, c"none", c"l").is(0);
        let r = sc!(fchmodat2, AT_FDCWD, c"l", 0o600, AT_SYMLINK_NOFOLLOW);
        r.skip_on(&[ENOSYS]).err(EOPNOTSUPP);
    }),
    case!("fchmodat2", "empty_path_takes_the_descriptor", || {
        let fd = file("f", b"");
        sc!(fchmodat2, fd, c"", 0o604, AT_EMPTY_PATH)
            .skip_on(&[ENOSYS])
            .is(0);
        assert_eq!(lstat("f").st_mode & 0o777, 0o604);
        sc!(fchmodat2, fd, c"", 0o604, 0x10).err(EINVAL);
    }),
    case!("chown", "root_sets_any_owner_and_minus_one_keeps", || {
        need_root();
        put("f", b"");
        sc!(chown, c"f", 1000, 2000).is(0);
        sc!(chown, c"f", -1, 3000).is(0);
        assert_eq!((lstat("f").st_uid, lstat("f").st_gid), (1000, 3000));
        sc!(chown, c"f", 5, -1).is(0);
        assert_eq!((lstat("f").st_uid, lstat("f").st_gid), (5, 3000));
    }),
    case!("chown", "clears_set_id_bits_of_executables", || {
        need_root();
        put("f", b"");
        sc!(chmod, c"f", 0o6755).is(0);
        sc!(chown, c"f", 1000, 1000).is(0);
        assert_eq!(lstat("f").st_mode & 0o7777, 0o755);
    }),
    case!("chown", "setgid_without_group_execute_is_kept", || {
        need_root();
        put("f", b"");
        sc!(chmod, c"f", 0o2644).is(0);
        sc!(chown, c"f", 1000, 1000).is(0);
        assert_eq!(lstat("f").st_mode & 0o7777, 0o2644);
    }),
    case!("chown", "giving_away_is_eperm_for_nobody", || {
        need_root();
        put("f", b"");
        sc!(chown, c"f", NOBODY, NOBODY).is(0);
        as_nobody(|| {
            sc!(chown, c"f", 0, -1).err(EPERM);
            sc!(chown, c"f", -1, 0).err(EPERM);
            sc!(chown, c"f", NOBODY, NOBODY).is(0);
        });
    }),
    case!("chown", "owner_may_choose_among_own_groups", || {
        need_root();
        put("f", b"");
        sc!(chown, c"f", NOBODY, NOBODY).is(0);
        fork(|| {
            sc!(setgroups, 1, [77u32]).is(0);
            sc!(setresgid, NOBODY, NOBODY, NOBODY).is(0);
            sc!(setresuid, NOBODY, NOBODY, NOBODY).is(0);
            sc!(chown, c"f", -1, 77).is(0);
            sc!(chown, c"f", -1, 78).err(EPERM);
        })
        .ok();
        assert_eq!(lstat("f").st_gid, 77);
    }),
    case!("lchown", "changes_the_symlink", || {
        need_root();
        put("f", b"");
        sc!(symlink, c"f", c"l").is(0);
        sc!(lchown, c"l", 7, 8).is(0);
        assert_eq!((lstat("l").st_uid, lstat("f").st_uid), (7, 0));
    }),
    case!("fchown fchownat", "by_descriptor_and_flags", || {
        need_root();
        let fd = file("f", b"");
        sc!(fchown, fd, 3, 4).is(0);
        assert_eq!((lstat("f").st_uid, lstat("f").st_gid), (3, 4));
        sc!(fchownat, fd, c"", 5, 6, AT_EMPTY_PATH).is(0);
        assert_eq!((lstat("f").st_uid, lstat("f").st_gid), (5, 6));
        sc!(symlink, c"f", c"l").is(0);
        sc!(fchownat, AT_FDCWD, c"l", 9, 9, AT_SYMLINK_NOFOLLOW).is(0);
        assert_eq!((lstat("l").st_uid, lstat("f").st_uid), (9, 5));
        sc!(fchownat, AT_FDCWD, c"f", 1, 1, 0x10).err(EINVAL);
    }),
    case!("utimensat", "sets_nanoseconds", || {
        put("f", b"");
        set_times("f", timespec(1000, 123456789), timespec(2000, 987654321)).is(0);
        let st = lstat("f");
        assert_eq!((st.st_atime, st.st_atime_nsec), (1000, 123456789));
        assert_eq!((st.st_mtime, st.st_mtime_nsec), (2000, 987654321));
    }),
    case!("utimensat", "omit_keeps_now_sets_now", || {
        put("f", b"");
        set_times("f", timespec(1000, 0), timespec(2000, 0)).is(0);
        set_times("f", timespec(0, UTIME_OMIT), timespec(0, UTIME_NOW)).is(0);
        let st = lstat("f");
        assert_eq!(st.st_atime, 1000);
        assert!(st.st_mtime > 1_000_000_000);
    }),
    case!("utimensat", "both_omitted_need_no_permission", || {
        put("f", b"");
        as_nobody(|| {
            set_times("f", timespec(0, UTIME_OMIT), timespec(0, UTIME_OMIT)).is(0);
            set_times("f", timespec(1, 0), timespec(1, 0)).err(EPERM);
            set_times("f", timespec(0, UTIME_NOW), timespec(0, UTIME_NOW)).err(EACCES);
        });
    }),
    case!("utimensat", "bad_nanoseconds_are_einval", || {
        put("f", b"");
        set_times("f", timespec(0, 1_000_000_000), timespec(0, 0)).err(EINVAL);
        set_times("f", timespec(0, -1), timespec(0, 0)).err(EINVAL);
    }),
    case!("utimensat", "null_times_and_null_path", || {
        let fd = file("f", b"");
        set_times("f", timespec(1000, 0), timespec(1000, 0)).is(0);
        sc!(utimensat, fd, 0, 0, 0).is(0);
        assert!(lstat("f").st_mtime > 1_000_000_000);
        sc!(utimensat, AT_FDCWD, 0, 0, 0).err(EFAULT);
    }),
    case!("utimensat", "nofollow_touches_the_symlink", || {
        put("f", b"");
        sc!(symlink, c"f", c"l").is(0);
        let t = [timespec(1234, 0), timespec(1234, 0)];
        sc!(utimensat, AT_FDCWD, c"l", &t, AT_SYMLINK_NOFOLLOW).is(0);
        assert_eq!(lstat("l").st_mtime, 1234);
        assert_ne!(lstat("f").st_mtime, 1234);
    }),
    case!("utimensat", "times_before_1970_are_kept", || {
        put("f", b"");
        set_times("f", timespec(-1000, 5), timespec(-1000, 5)).is(0);
        assert_eq!((lstat("f").st_mtime, lstat("f").st_mtime_nsec), (-1000, 5));
    }),
    case!("utimensat", "times_after_2038_are_kept", || {
        put("f", b"");
        set_times("f", timespec(5_000_000_000, 0), timespec(5_000_000_000, 0)).is(0);
        assert_eq!(lstat("f").st_mtime, 5_000_000_000);
    }),
    case!("utime utimes futimesat", "older_calls", || {
        put("f", b"");
        sc!(utime, c"f", [100i64, 200]).is(0);
        assert_eq!((lstat("f").st_atime, lstat("f").st_mtime), (100, 200));
        sc!(utimes, c"f", [300i64, 5, 400, 6]).is(0);
        assert_eq!((lstat("f").st_atime, lstat("f").st_mtime_nsec), (300, 6000));
        sc!(futimesat, AT_FDCWD, c"f", [500i64, 0, 600, 0]).is(0);
        assert_eq!((lstat("f").st_atime, lstat("f").st_mtime), (500, 600));
        sc!(utimes, c"f", [300i64, 1_000_000, 400, 6]).err(EINVAL);
    }),
    case!("access", "checks_existence_and_bits", || {
        put("f", b"");
        sc!(chmod, c"f", 0o600).is(0);
        sc!(access, c"f", F_OK).is(0);
        sc!(access, c"f", R_OK | W_OK).is(0);
        sc!(access, c"f", X_OK).err(EACCES);
        sc!(access, c"none", F_OK).err(ENOENT);
        sc!(access, c"f", 8).err(EINVAL);
    }),
    case!("access", "root_may_execute_if_anyone_may", || {
        need_root();
        put("f", b"");
        sc!(chmod, c"f", 0o001).is(0);
        sc!(access, c"f", X_OK | R_OK | W_OK).is(0);
    }),
    case!("access", "uses_the_real_ids", || {
        need_root();
        put("f", b"");
        sc!(chmod, c"f", 0o600).is(0);
        fork(|| {
            sc!(setresuid, NOBODY, 0, 0).is(0);
            sc!(access, c"f", R_OK).err(EACCES);
            sc!(openat, AT_FDCWD, c"f", O_RDONLY, 0).ok();
        })
        .ok();
    }),
    case!(
        "faccessat faccessat2",
        "eaccess_uses_the_effective_ids",
        || {
            need_root();
            put("f", b"");
            sc!(chmod, c"f", 0o600).is(0);
            fork(|| {
                sc!(setresuid, NOBODY, 0, 0).is(0);
                sc!(faccessat, AT_FDCWD, c"f", R_OK).err(EACCES);
                sc!(faccessat2, AT_FDCWD, c"f", R_OK, AT_EACCESS).is(0);
            })
            .ok();
        }
    ),
    case!("faccessat2", "flags", || {
        sc!(symlink, c"none", c"l").is(0);
        sc!(faccessat2, AT_FDCWD, c"l", F_OK, AT_SYMLINK_NOFOLLOW).is(0);
        sc!(faccessat2, AT_FDCWD, c"l", F_OK, 0).err(ENOENT);
        sc!(faccessat2, AT_FDCWD, c"l", F_OK, 0x10).err(EINVAL);
        sc!(faccessat2, open(".", O_PATH), c"", F_OK, AT_EMPTY_PATH).is(0);
    }),
    case!("truncate", "cuts_and_extends_with_zeros", || {
        put("f", b"abcdef");
        sc!(truncate, c"f", 3).is(0);
        sc!(truncate, c"f", 6).is(0);
        assert_eq!(get("f"), b"abc\0\0\0");
    }),
    case!("truncate", "errors", || {
        put("f", b"");
        dir("d");
        sc!(truncate, c"f", -1).err(EINVAL);
        sc!(truncate, c"d", 0).err(EISDIR);
        sc!(truncate, c"none", 0).err(ENOENT);
        as_nobody(|| sc!(truncate, c"f", 0).err(EACCES));
    }),
    case!("ftruncate", "errors", || {
        put("f", b"");
        sc!(ftruncate, open("f", O_RDONLY), 0).err(EINVAL);
        sc!(ftruncate, file("f", b""), -1).err(EINVAL);
        sc!(ftruncate, pipe().1, 0).err(EINVAL);
        sc!(ftruncate, 99, 0).err(EBADF);
    }),
    case!("ftruncate", "does_not_move_the_offset", || {
        let fd = file("f", b"abcdef");
        sc!(lseek, fd, 5, SEEK_SET).is(5);
        sc!(ftruncate, fd, 2).is(0);
        sc!(lseek, fd, 0, SEEK_CUR).is(5);
        write_all(fd, b"Z");
        assert_eq!(get("f"), b"ab\0\0\0Z");
    }),
    case!(
        "ftruncate setrlimit",
        "beyond_rlimit_fsize_is_efbig",
        || {
            let fd = file("f", b"");
            on_signal(SIGXFSZ, 0);
            sc!(setrlimit, RLIMIT_FSIZE, [4096u64, 4096]).is(0);
            sc!(ftruncate, fd, 4097).err(EFBIG);
            assert_eq!(hits(SIGXFSZ), 1);
            sc!(ftruncate, fd, 4096).is(0);
        }
    ),
    case!("fallocate", "allocates_and_extends", || {
        let fd = file("f", b"");
        sc!(fallocate, fd, 0, 0, 65536).skip_on(&[EOPNOTSUPP]).is(0);
        let st = fstat(fd);
        assert!(st.st_size == 65536 && st.st_blocks >= 128);
        assert!(get("f").iter().all(|b| *b == 0));
    }),
    case!("fallocate", "keep_size_leaves_the_size", || {
        let fd = file("f", b"abc");
        sc!(fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, 65536)
            .skip_on(&[EOPNOTSUPP])
            .is(0);
        let st = fstat(fd);
        assert!(st.st_size == 3 && st.st_blocks >= 128);
    }),
    case!("fallocate", "punch_hole_zeroes_and_frees", || {
        let fd = file("f", vec![1u8; 65536]);
        sc!(fsync, fd).is(0);
        let before = fstat(fd).st_blocks;
        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        sc!(fallocate, fd, mode, 4096, 8192)
            .skip_on(&[EOPNOTSUPP])
            .is(0);
        let data = get("f");
        assert!(data[4095] == 1 && data[4096..12288].iter().all(|b| *b == 0) && data[12288] == 1);
        assert_eq!(fstat(fd).st_blocks, before - 16);
    }),
    case!("fallocate", "punch_hole_needs_keep_size", || {
        sc!(fallocate, file("f", b"abc"), FALLOC_FL_PUNCH_HOLE, 0, 1).err(EOPNOTSUPP);
    }),
    case!("fallocate", "unaligned_punch_zeroes_the_bytes", || {
        let fd = file("f", b"abcdefgh");
        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        sc!(fallocate, fd, mode, 2, 3).skip_on(&[EOPNOTSUPP]).is(0);
        assert_eq!(get("f"), b"ab\0\0\0fgh");
    }),
    case!("fallocate", "zero_range", || {
        let fd = file("f", vec![1u8; 16384]);
        sc!(fallocate, fd, FALLOC_FL_ZERO_RANGE, 100, 5000)
            .skip_on(&[EOPNOTSUPP])
            .is(0);
        let data = get("f");
        assert!(data[99] == 1 && data[100..5100].iter().all(|b| *b == 0) && data[5100] == 1);
    }),
    case!("fallocate", "collapse_range_removes_blocks", || {
        let mut data = vec![1u8; 4096];
        data.extend(vec![2u8; 4096]);
        data.extend(vec![3u8; 4096]);
        let fd = file("f", data);
        sc!(fallocate, fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 4096)
            .skip_on(&[EOPNOTSUPP])
            .is(0);
        let data = get("f");
        assert_eq!((data.len(), data[4095], data[4096]), (8192, 1, 3));
    }),
    case!("fallocate", "insert_range_makes_room", || {
        let fd = file("f", [vec![1u8; 4096], vec![2u8; 4096]].concat());
        sc!(fallocate, fd, FALLOC_FL_INSERT_RANGE, 4096, 4096)
            .skip_on(&[EOPNOTSUPP])
            .is(0);
        let data = get("f");
        assert_eq!(
            (data.len(), data[4095], data[4096], data[8192]),
            (12288, 1, 0, 2)
        );
    }),
    case!("fallocate", "errors", || {
        let fd = file("f", b"abc");
        sc!(fallocate, fd, 0, -1, 10).err(EINVAL);
        sc!(fallocate, fd, 0, 0, 0).err(EINVAL);
        sc!(fallocate, fd, 0x1000, 0, 10).err(EOPNOTSUPP);
        sc!(fallocate, pipe().1, 0, 0, 10).err(ESPIPE);
        sc!(fallocate, 99, 0, 0, 10).err(EBADF);
        sc!(fallocate, open("f", O_RDONLY), 0, 0, 10).err(EBADF);
        sc!(fallocate, fd, 0, i64::MAX, 10).err(EFBIG);
        sc!(fallocate, open("/dev/null", O_WRONLY), 0, 0, 10).err(ENODEV);
    }),
    case!("statfs", "numbers_make_sense", || {
        let mut s: libc::statfs = zeroed();
        sc!(statfs, c".", &raw mut s).is(0);
        assert!(s.f_bsize >= 512 && s.f_blocks >= s.f_bfree && s.f_bfree >= s.f_bavail);
        assert!(s.f_files >= s.f_ffree && s.f_namelen == 255);
    }),
    case!("statfs", "known_magic_numbers", || {
        let mut s: libc::statfs = zeroed();
        sc!(statfs, c"/proc", &raw mut s).is(0);
        assert_eq!(s.f_type, 0x9fa0);
        sc!(statfs, c"/sys", &raw mut s).is(0);
        assert_eq!(s.f_type, 0x62656572);
        sc!(fstatfs, pipe().0, &raw mut s).is(0);
        assert_eq!(s.f_type, 0x50495045);
    }),
    case!("statfs fstatfs", "errors", || {
        let mut s: libc::statfs = zeroed();
        sc!(statfs, c"none", &raw mut s).err(ENOENT);
        sc!(statfs, c".", BAD).err(EFAULT);
        sc!(fstatfs, 99, &raw mut s).err(EBADF);
    }),
    case!("ustat", "of_the_device_of_the_cwd", || {
        let mut b = [0u8; 32];
        let r = sc!(ustat, lstat(".").st_dev, &mut b);
        r.skip_on(&[ENOSYS]).is(0);
        sc!(ustat, 0xfffff, &mut b).err(EINVAL);
    }),
    case!("read", "atime_follows_relatime", || {
        let fd = file("f", b"abc");
        set_times("f", timespec(1000, 0), timespec(2000, 0)).is(0);
        assert_eq!(read_some(fd, 3), b"abc");
        assert!(fstat(fd).st_atime > 2000);
    }),
    case!("openat", "noatime_flag_keeps_atime", || {
        put("f", b"abc");
        set_times("f", timespec(1000, 0), timespec(2000, 0)).is(0);
        let fd = open("f", O_RDONLY | O_NOATIME);
        assert_eq!(read_some(fd, 3), b"abc");
        assert_eq!(fstat(fd).st_atime, 1000);
    }),
];
