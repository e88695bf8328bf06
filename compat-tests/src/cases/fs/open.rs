//! open(2), openat(2), openat2(2), creat(2), close(2): flags, modes, errors and numbers.

use crate::prelude::*;

fn openat2(dirfd: i32, path: &str, flags: i32, mode: u64, resolve: u64) -> Ret {
    let how = [flags as u64, mode, resolve];
    sc!(openat2, dirfd, cstr(path), &how, 24)
}

pub static CASES: &[Case] = &[
    case!("openat", "enoent_without_creat", || {
        sc!(openat, AT_FDCWD, c"none", O_RDONLY, 0).err(ENOENT);
    }),
    case!("openat", "creat_applies_umask", || {
        let _ = sc!(umask, 0o027).ok();
        sc!(openat, AT_FDCWD, c"f", O_CREAT | O_WRONLY, 0o666).ok();
        assert_eq!(lstat("f").st_mode, S_IFREG | 0o640);
    }),
    case!("openat", "creat_keeps_setuid_bit", || {
        sc!(openat, AT_FDCWD, c"f", O_CREAT | O_WRONLY, 0o4755).ok();
        assert_eq!(lstat("f").st_mode & 0o7777, 0o4755);
    }),
    case!("openat", "creat_mode_zero_still_opens_for_write", || {
        let fd = sc!(openat, AT_FDCWD, c"f", O_CREAT | O_RDWR, 0).fd();
        write_all(fd, b"x");
        assert_eq!(lstat("f").st_mode & 0o7777, 0);
    }),
    case!("openat", "excl_fails_on_existing", || {
        put("f", b"");
        sc!(openat, AT_FDCWD, c"f", O_CREAT | O_EXCL | O_RDWR, 0o600).err(EEXIST);
    }),
    case!(
        "openat symlink",
        "excl_does_not_follow_dangling_symlink",
        || {
            sc!(symlink, c"none", c"l").is(0);
            sc!(openat, AT_FDCWD, c"l", O_CREAT | O_EXCL | O_RDWR, 0o600).err(EEXIST);
            assert!(!exists("none"));
        }
    ),
    case!("openat symlink", "creat_follows_dangling_symlink", || {
        sc!(symlink, c"target", c"l").is(0);
        sc!(openat, AT_FDCWD, c"l", O_CREAT | O_RDWR, 0o600).ok();
        assert!(exists("target"));
    }),
    case!("openat", "trunc_empties_the_file", || {
        put("f", b"hello");
        open("f", O_WRONLY | O_TRUNC);
        assert_eq!(lstat("f").st_size, 0);
    }),
    case!("openat", "trunc_updates_mtime", || {
        put("f", b"hello");
        let old = [timespec(1000, 0), timespec(1000, 0)];
        sc!(utimensat, AT_FDCWD, c"f", &old, 0).is(0);
        open("f", O_WRONLY | O_TRUNC);
        assert!(lstat("f").st_mtime > 1000);
    }),
    case!("openat", "append_writes_at_end_whatever_the_offset", || {
        put("f", b"abc");
        let fd = open("f", O_WRONLY | O_APPEND);
        sc!(lseek, fd, 0, SEEK_SET).is(0);
        write_all(fd, b"def");
        assert_eq!(get("f"), b"abcdef");
        sc!(lseek, fd, 0, SEEK_CUR).is(6);
    }),
    case!(
        "openat",
        "append_from_two_descriptors_loses_nothing",
        || {
            let a = open("f", O_WRONLY | O_APPEND | O_CREAT);
            let b = open("f", O_WRONLY | O_APPEND);
            write_all(a, b"1");
            write_all(b, b"2");
            write_all(a, b"3");
            assert_eq!(get("f"), b"123");
        }
    ),
    case!("openat", "directory_flag_on_file_is_enotdir", || {
        put("f", b"");
        sc!(openat, AT_FDCWD, c"f", O_DIRECTORY | O_RDONLY, 0).err(ENOTDIR);
    }),
    case!("openat", "directory_for_writing_is_eisdir", || {
        dir("d");
        sc!(openat, AT_FDCWD, c"d", O_WRONLY, 0).err(EISDIR);
        sc!(openat, AT_FDCWD, c"d", O_RDWR, 0).err(EISDIR);
    }),
    case!("openat", "creat_on_directory_is_eisdir", || {
        dir("d");
        sc!(openat, AT_FDCWD, c"d", O_CREAT | O_RDONLY, 0o600).err(EISDIR);
    }),
    case!("openat", "creat_with_trailing_slash_is_eisdir", || {
        sc!(openat, AT_FDCWD, c"new/", O_CREAT | O_RDWR, 0o600).err(EISDIR);
    }),
    case!("openat", "file_with_trailing_slash_is_enotdir", || {
        put("f", b"");
        sc!(openat, AT_FDCWD, c"f/", O_RDONLY, 0).err(ENOTDIR);
    }),
    case!("openat", "file_as_path_component_is_enotdir", || {
        put("f", b"");
        sc!(openat, AT_FDCWD, c"f/x", O_RDONLY, 0).err(ENOTDIR);
    }),
    case!("openat", "dotdot_behind_a_file_is_enotdir", || {
        put("f", b"");
        sc!(openat, AT_FDCWD, c"f/../f", O_RDONLY, 0).err(ENOTDIR);
    }),
    case!("openat", "empty_path_is_enoent", || {
        sc!(openat, AT_FDCWD, c"", O_RDONLY, 0).err(ENOENT);
    }),
    case!("openat", "bad_path_pointer_is_efault", || {
        sc!(openat, AT_FDCWD, BAD, O_RDONLY, 0).err(EFAULT);
    }),
    case!("openat", "component_of_255_bytes_works", || {
        sc!(
            openat,
            AT_FDCWD,
            cstr("n".repeat(255)),
            O_CREAT | O_RDWR,
            0o600
        )
        .ok();
    }),
    case!("openat", "component_of_256_bytes_is_enametoolong", || {
        let name = cstr("n".repeat(256));
        sc!(openat, AT_FDCWD, &name, O_CREAT | O_RDWR, 0o600).err(ENAMETOOLONG);
    }),
    case!("openat", "path_of_4096_bytes_is_enametoolong", || {
        sc!(openat, AT_FDCWD, cstr("/".repeat(4096)), O_RDONLY, 0).err(ENAMETOOLONG);
    }),
    case!("openat", "path_of_4095_slashes_is_the_root", || {
        sc!(openat, AT_FDCWD, cstr("/".repeat(4095)), O_RDONLY, 0).ok();
    }),
    case!("openat", "dirfd_is_the_start_of_relative_paths", || {
        dir("d");
        put("d/f", b"in");
        let d = open("d", O_RDONLY | O_DIRECTORY);
        let fd = sc!(openat, d, c"f", O_RDONLY, 0).fd();
        assert_eq!(read_some(fd, 10), b"in");
    }),
    case!("openat", "absolute_path_ignores_bad_dirfd", || {
        sc!(openat, -1, c"/", O_RDONLY, 0).ok();
    }),
    case!("openat", "relative_path_with_bad_dirfd_is_ebadf", || {
        sc!(openat, 999, c"f", O_RDONLY, 0).err(EBADF);
    }),
    case!("openat", "dirfd_of_a_file_is_enotdir", || {
        let fd = file("f", b"");
        sc!(openat, fd, c"x", O_RDONLY, 0).err(ENOTDIR);
    }),
    case!("openat", "lowest_free_number_is_used", || {
        let a = open("/dev/null", O_RDONLY);
        let b = open("/dev/null", O_RDONLY);
        close(a);
        assert_eq!(open("/dev/null", O_RDONLY), a);
        assert!(b > a);
    }),
    case!("openat", "cloexec_sets_the_descriptor_flag", || {
        let fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        sc!(fcntl, fd, F_GETFD).is(FD_CLOEXEC.into());
        let fd = open("/dev/null", O_RDONLY);
        sc!(fcntl, fd, F_GETFD).is(0);
    }),
    case!(
        "openat fcntl",
        "status_flags_are_kept_creation_flags_are_not",
        || {
            let fd = open("f", O_CREAT | O_EXCL | O_RDWR | O_APPEND | O_NONBLOCK);
            let got = sc!(fcntl, fd, F_GETFL).fd() & !O_LARGEFILE & !0o100000;
            assert_eq!(got, O_RDWR | O_APPEND | O_NONBLOCK);
        }
    ),
    case!("openat", "nofollow_on_symlink_is_eloop", || {
        put("f", b"");
        sc!(symlink, c"f", c"l").is(0);
        sc!(openat, AT_FDCWD, c"l", O_RDONLY | O_NOFOLLOW, 0).err(ELOOP);
    }),
    case!("openat", "nofollow_follows_inner_symlinks", || {
        dir("d");
        put("d/f", b"");
        sc!(symlink, c"d", c"l").is(0);
        sc!(openat, AT_FDCWD, c"l/f", O_RDONLY | O_NOFOLLOW, 0).ok();
    }),
    case!("openat", "directory_nofollow_on_symlink_is_enotdir", || {
        dir("d");
        sc!(symlink, c"d", c"l").is(0);
        sc!(
            openat,
            AT_FDCWD,
            c"l",
            O_RDONLY | O_NOFOLLOW | O_DIRECTORY,
            0
        )
        .err(ENOTDIR);
    }),
    case!(
        "openat",
        "forty_one_symlinks_are_eloop_forty_are_not",
        || {
            put("l0", b"end");
            for i in 1..=41 {
                sc!(symlink, cstr(format!("l{}", i - 1)), cstr(format!("l{i}"))).is(0);
            }
            sc!(openat, AT_FDCWD, c"l40", O_RDONLY, 0).ok();
            sc!(openat, AT_FDCWD, c"l41", O_RDONLY, 0).err(ELOOP);
        }
    ),
    case!("openat", "symlink_to_itself_is_eloop", || {
        sc!(symlink, c"l", c"l").is(0);
        sc!(openat, AT_FDCWD, c"l", O_RDONLY, 0).err(ELOOP);
    }),
    case!("openat", "path_descriptor_cannot_read_or_write", || {
        put("f", b"x");
        let fd = open("f", O_PATH);
        let mut b = [0u8; 1];
        sc!(read, fd, &mut b, 1).err(EBADF);
        sc!(write, fd, &b, 1).err(EBADF);
        sc!(lseek, fd, 0, SEEK_SET).err(EBADF);
        sc!(fchmod, fd, 0o600).err(EBADF);
        sc!(ioctl, fd, FIONREAD, 0).err(EBADF);
    }),
    case!("openat fstat", "path_descriptor_can_stat", || {
        put("f", b"xyz");
        assert_eq!(fstat(open("f", O_PATH)).st_size, 3);
    }),
    case!("openat", "path_nofollow_opens_the_symlink_itself", || {
        sc!(symlink, c"none", c"l").is(0);
        let fd = open("l", O_PATH | O_NOFOLLOW);
        assert_eq!(fstat(fd).st_mode & S_IFMT, S_IFLNK);
        let mut b = [0u8; 16];
        sc!(readlinkat, fd, c"", &mut b, 16).is(4);
        assert_eq!(&b[..4], b"none");
    }),
    case!("openat fcntl", "path_descriptor_reports_o_path", || {
        put("f", b"");
        let fd = open("f", O_PATH);
        assert_ne!(sc!(fcntl, fd, F_GETFL).fd() & O_PATH, 0);
    }),
    case!("openat", "path_ignores_permissions_of_the_file", || {
        put("f", b"");
        sc!(chmod, c"f", 0).is(0);
        as_nobody(|| {
            open("f", O_PATH);
            sc!(openat, AT_FDCWD, c"f", O_RDONLY, 0).err(EACCES);
        });
    }),
    case!("openat", "permission_bits_decide_for_nobody", || {
        put("r", b"");
        put("w", b"");
        sc!(chmod, c"r", 0o444).is(0);
        sc!(chmod, c"w", 0o222).is(0);
        as_nobody(|| {
            sc!(openat, AT_FDCWD, c"r", O_RDONLY, 0).ok();
            sc!(openat, AT_FDCWD, c"r", O_WRONLY, 0).err(EACCES);
            sc!(openat, AT_FDCWD, c"w", O_WRONLY, 0).ok();
            sc!(openat, AT_FDCWD, c"w", O_RDWR, 0).err(EACCES);
        });
    }),
    case!("openat", "search_permission_on_directories", || {
        dir("d");
        put("d/f", b"");
        sc!(chmod, c"d", 0o744).is(0);
        as_nobody(|| {
            sc!(openat, AT_FDCWD, c"d/f", O_RDONLY, 0).err(EACCES);
            sc!(openat, AT_FDCWD, c"d", O_RDONLY, 0).ok();
        });
    }),
    case!("openat", "root_overrides_permission_bits", || {
        need_root();
        put("f", b"x");
        sc!(chmod, c"f", 0).is(0);
        sc!(openat, AT_FDCWD, c"f", O_RDWR, 0).ok();
    }),
    case!(
        "openat",
        "creating_needs_write_permission_on_directory",
        || {
            dir("d");
            as_nobody(|| sc!(openat, AT_FDCWD, c"d/f", O_CREAT | O_RDWR, 0o600).err(EACCES));
        }
    ),
    case!("openat", "setgid_directory_gives_its_group", || {
        need_root();
        dir("d");
        sc!(chown, c"d", 0, 1234).is(0);
        sc!(chmod, c"d", 0o2755).is(0);
        open("d/f", O_CREAT | O_RDWR);
        dir("d/sub");
        assert_eq!(lstat("d/f").st_gid, 1234);
        assert_eq!(lstat("d/sub").st_gid, 1234);
        assert_eq!(lstat("d/sub").st_mode & 0o2000, 0o2000);
    }),
    case!("openat", "noatime_of_anothers_file_is_eperm", || {
        put("f", b"");
        as_nobody(|| sc!(openat, AT_FDCWD, c"f", O_RDONLY | O_NOATIME, 0).err(EPERM));
    }),
    case!("openat linkat", "tmpfile_has_no_name_until_linked", || {
        let fd = sc!(openat, AT_FDCWD, c".", O_TMPFILE | O_RDWR, 0o600);
        let fd = fd.skip_on(&[EOPNOTSUPP]).fd();
        assert_eq!(fstat(fd).st_nlink, 0);
        write_all(fd, b"tmp");
        let path = cstr(format!("/proc/self/fd/{fd}"));
        sc!(
            linkat,
            AT_FDCWD,
            &path,
            AT_FDCWD,
            c"named",
            AT_SYMLINK_FOLLOW
        )
        .is(0);
        assert_eq!(get("named"), b"tmp");
        assert_eq!(fstat(fd).st_nlink, 1);
    }),
    case!(
        "openat linkat",
        "tmpfile_with_excl_cannot_be_linked",
        || {
            let fd = sc!(openat, AT_FDCWD, c".", O_TMPFILE | O_EXCL | O_RDWR, 0o600);
            let path = cstr(format!("/proc/self/fd/{}", fd.skip_on(&[EOPNOTSUPP]).fd()));
            sc!(
                linkat,
                AT_FDCWD,
                &path,
                AT_FDCWD,
                c"named",
                AT_SYMLINK_FOLLOW
            )
            .err(ENOENT);
        }
    ),
    case!("openat", "tmpfile_for_reading_only_is_einval", || {
        sc!(openat, AT_FDCWD, c".", O_TMPFILE | O_RDONLY, 0o600).err(EINVAL);
    }),
    case!("openat setrlimit", "emfile_at_the_limit", || {
        let lim = [5u64, 5u64];
        sc!(setrlimit, RLIMIT_NOFILE, &lim).is(0);
        open("/dev/null", O_RDONLY);
        open("/dev/null", O_RDONLY);
        sc!(openat, AT_FDCWD, c"/dev/null", O_RDONLY, 0).err(EMFILE);
    }),
    case!(
        "openat execve",
        "writing_a_running_program_is_etxtbsy",
        || {
            let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default();
            std::fs::copy(exe, "prog").unwrap_or_else(|e| panic!("copying the program: {e}"));
            let gate = Gate::new();
            let (r, w) = pipe();
            let child = fork(|| {
                gate.wait();
                let _ = sc!(dup2, r, 0).ok();
                close(w);
                execve("./prog", &["prog", "--helper", "exit", "0"], &[]).is(0);
            });
            let fd = open("prog", O_WRONLY);
            close(fd);
            let fd = open("prog", O_RDWR);
            let other = fork(|| execve("./prog", &["prog"], &[]).err(ETXTBSY));
            other.ok();
            close(fd);
            gate.open();
            child.ok();
            let _ = (r, w);
        }
    ),
    case!(
        "openat",
        "fifo_nonblocking_writer_without_reader_is_enxio",
        || {
            sc!(mknod, c"p", S_IFIFO | 0o600, 0).is(0);
            sc!(openat, AT_FDCWD, c"p", O_WRONLY | O_NONBLOCK, 0).err(ENXIO);
            sc!(openat, AT_FDCWD, c"p", O_RDONLY | O_NONBLOCK, 0).ok();
            sc!(openat, AT_FDCWD, c"p", O_WRONLY | O_NONBLOCK, 0).ok();
        }
    ),
    case!("openat", "fifo_open_blocks_until_the_other_end", || {
        sc!(mknod, c"p", S_IFIFO | 0o600, 0).is(0);
        let child = fork(|| write_all(open("p", O_WRONLY), b"through"));
        wait_asleep(child.pid);
        assert_eq!(read_some(open("p", O_RDONLY), 16), b"through");
        child.ok();
    }),
    case!("openat", "unix_socket_file_is_enxio", || {
        let s = sc!(socket, AF_UNIX, SOCK_STREAM, 0).fd();
        let mut addr = [0u8; 110];
        addr[0] = AF_UNIX as u8;
        addr[2] = b's';
        sc!(bind, s, &addr, 4).is(0);
        sc!(openat, AT_FDCWD, c"s", O_RDWR, 0).err(ENXIO);
    }),
    case!("openat", "device_without_driver_is_enxio", || {
        need_root();
        let made = sc!(mknod, c"dev", S_IFCHR | 0o600, makedev(250, 250));
        made.skip_on(&[EPERM]).is(0);
        sc!(openat, AT_FDCWD, c"dev", O_RDWR, 0).err_any(&[ENXIO, EACCES]);
    }),
    case!(
        "openat",
        "access_mode_three_needs_both_and_allows_neither",
        || {
            put("f", b"x");
            let fd = open("f", O_ACCMODE);
            let mut b = [0u8; 1];
            sc!(read, fd, &mut b, 1).err(EBADF);
            sc!(write, fd, &b, 1).err(EBADF);
        }
    ),
    case!("openat", "two_opens_have_two_offsets", || {
        put("f", b"abc");
        let (a, b) = (open("f", O_RDONLY), open("f", O_RDONLY));
        assert_eq!(read_some(a, 2), b"ab");
        assert_eq!(read_some(b, 2), b"ab");
    }),
    case!("openat unlink", "unlinked_file_stays_readable", || {
        let fd = file("f", b"still here");
        sc!(unlink, c"f").is(0);
        assert_eq!(read_some(fd, 32), b"still here");
        assert_eq!(fstat(fd).st_nlink, 0);
    }),
    case!("open", "open_is_openat_of_cwd", || {
        let fd = sc!(open, c"f", O_CREAT | O_RDWR, 0o600).fd();
        write_all(fd, b"x");
        assert_eq!(get("f"), b"x");
    }),
    case!("creat", "creat_truncates_and_opens_write_only", || {
        put("f", b"old");
        let fd = sc!(creat, c"f", 0o600).fd();
        let mut b = [0u8; 1];
        sc!(read, fd, &mut b, 1).err(EBADF);
        assert_eq!(lstat("f").st_size, 0);
    }),
    case!("close", "twice_is_ebadf", || {
        let fd = open("/dev/null", O_RDONLY);
        sc!(close, fd).is(0);
        sc!(close, fd).err(EBADF);
    }),
    case!("close", "negative_is_ebadf", || sc!(close, -1).err(EBADF)),
    case!("close_range", "closes_the_range_only", || {
        for _ in 0..6 {
            open("/dev/null", O_RDONLY);
        }
        sc!(close_range, 4, 6, 0).is(0);
        for fd in 3..9 {
            let want = if (4..=6).contains(&fd) { EBADF } else { 0 };
            assert_eq!(sc!(fcntl, fd, F_GETFD).errno(), want, "descriptor {fd}");
        }
    }),
    case!("close_range", "cloexec_flag_marks_instead", || {
        let fd = open("/dev/null", O_RDONLY);
        sc!(close_range, fd, fd, CLOSE_RANGE_CLOEXEC).is(0);
        sc!(fcntl, fd, F_GETFD).is(1);
    }),
    case!("close_range", "first_above_last_is_einval", || sc!(
        close_range,
        5,
        4,
        0
    )
    .err(EINVAL)),
    case!("close_range", "unknown_flag_is_einval", || sc!(
        close_range,
        5,
        6,
        1 << 10
    )
    .err(EINVAL)),
    case!("close_range", "beyond_the_table_is_fine", || {
        sc!(close_range, 1000, u32::MAX, 0).is(0);
    }),
    case!(
        "close_range clone",
        "unshare_leaves_the_other_sharer_alone",
        || {
            let fd = open("/dev/null", O_RDONLY);
            let pid = sc!(clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0).fd();
            if pid == 0 {
                let ok = sc!(close_range, 3, u32::MAX, CLOSE_RANGE_UNSHARE).success();
                exit(if ok { 0 } else { 1 });
            }
            Child { pid }.ok();
            sc!(fcntl, fd, F_GETFD).is(0);
        }
    ),
    case!("openat2", "plain_open_works", || {
        put("f", b"x");
        openat2(AT_FDCWD, "f", O_RDONLY, 0, 0).ok();
    }),
    case!("openat2", "unknown_flags_are_einval", || {
        put("f", b"");
        let how = [1u64 << 40, 0, 0];
        sc!(openat2, AT_FDCWD, c"f", &how, 24).err(EINVAL);
    }),
    case!("openat2", "mode_without_creat_is_einval", || {
        put("f", b"");
        openat2(AT_FDCWD, "f", O_RDONLY, 0o600, 0).err(EINVAL);
    }),
    case!("openat2", "mode_with_extra_bits_is_einval", || {
        openat2(AT_FDCWD, "f", O_CREAT | O_RDWR, 0o200000, 0).err(EINVAL);
    }),
    case!("openat2", "short_structure_is_einval", || {
        sc!(openat2, AT_FDCWD, c".", [0u64; 3], 16).err(EINVAL);
    }),
    case!("openat2", "longer_structure_of_zeros_is_fine", || {
        sc!(openat2, AT_FDCWD, c".", [0u64; 5], 40).ok();
    }),
    case!("openat2", "longer_structure_with_content_is_e2big", || {
        sc!(openat2, AT_FDCWD, c".", [0u64, 0, 0, 1, 0], 40).err(E2BIG);
    }),
    case!("openat2", "unknown_resolve_bits_are_einval", || {
        openat2(AT_FDCWD, ".", O_RDONLY, 0, 1 << 30).err(EINVAL);
    }),
    case!("openat2", "no_symlinks_refuses_any_symlink", || {
        dir("d");
        put("d/f", b"");
        sc!(symlink, c"d", c"l").is(0);
        openat2(AT_FDCWD, "l/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS).err(ELOOP);
        openat2(AT_FDCWD, "d/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS).ok();
    }),
    case!("openat2", "beneath_refuses_to_leave", || {
        dir("d");
        put("out", b"");
        let d = open("d", O_PATH);
        openat2(d, "../out", O_RDONLY, 0, RESOLVE_BENEATH).err(EXDEV);
        openat2(d, "/etc", O_RDONLY, 0, RESOLVE_BENEATH).err(EXDEV);
    }),
    case!("openat2", "beneath_allows_dotdot_inside", || {
        dir("d");
        dir("d/e");
        put("d/f", b"");
        openat2(open("d", O_PATH), "e/../f", O_RDONLY, 0, RESOLVE_BENEATH).ok();
    }),
    case!("openat2", "in_root_makes_dirfd_the_root", || {
        dir("d");
        put("d/f", b"inside");
        let d = open("d", O_PATH);
        let fd = openat2(d, "/../../f", O_RDONLY, 0, RESOLVE_IN_ROOT).fd();
        assert_eq!(read_some(fd, 16), b"inside");
        sc!(symlink, c"/f", c"d/abs").is(0);
        openat2(d, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT).ok();
    }),
    case!("openat2", "no_magiclinks_refuses_proc_fd", || {
        put("f", b"");
        let path = format!("/proc/self/fd/{}", open("f", O_RDONLY));
        openat2(AT_FDCWD, &path, O_RDONLY, 0, RESOLVE_NO_MAGICLINKS).err(ELOOP);
        openat2(AT_FDCWD, &path, O_RDONLY, 0, 0).ok();
    }),
    case!("openat2", "no_xdev_refuses_another_mount", || {
        openat2(AT_FDCWD, "/proc/self/stat", O_RDONLY, 0, RESOLVE_NO_XDEV).err(EXDEV);
    }),
    case!("openat", "proc_self_fd_reopens_the_file", || {
        put("f", b"again");
        let fd = open("f", O_RDONLY);
        assert_eq!(read_some(fd, 3), b"aga");
        let again = open(&format!("/proc/self/fd/{fd}"), O_RDONLY);
        assert_eq!(read_some(again, 16), b"again");
    }),
];
