//! The calls that make, move and remove names: link, symlink, rename, unlink, mkdir, rmdir, mknod.

use crate::prelude::*;

fn sticky_dir() {
    dir("d");
    sc!(chmod, c"d", 0o1777).is(0);
}

pub static CASES: &[Case] = &[
    case!("link", "second_name_of_the_same_inode", || {
        put("a", b"x");
        sc!(link, c"a", c"b").is(0);
        assert_eq!(
            (lstat("a").st_ino, lstat("a").st_nlink),
            (lstat("b").st_ino, 2)
        );
    }),
    case!("link", "existing_target_is_eexist", || {
        put("a", b"");
        put("b", b"");
        sc!(link, c"a", c"b").err(EEXIST);
    }),
    case!("link", "directory_is_eperm", || {
        dir("d");
        sc!(link, c"d", c"e").err(EPERM);
    }),
    case!("link", "missing_source_is_enoent", || sc!(link, c"a", c"b")
        .err(ENOENT)),
    case!("link", "across_mounts_is_exdev", || {
        sc!(link, c"/proc/self/stat", c"b").err(EXDEV);
    }),
    case!("link", "does_not_follow_a_symlink", || {
        sc!(symlink, c"none", c"l").is(0);
        sc!(link, c"l", c"m").is(0);
        assert_eq!(lstat("m").st_mode & S_IFMT, S_IFLNK);
        assert_eq!(lstat("l").st_nlink, 2);
    }),
    case!("link", "ctime_of_the_inode_changes", || {
        put("a", b"");
        let before = lstat("a");
        sleep_ms(20);
        sc!(link, c"a", c"b").is(0);
        let after = lstat("a");
        assert!((after.st_ctime, after.st_ctime_nsec) > (before.st_ctime, before.st_ctime_nsec));
        assert_eq!(
            (after.st_mtime, after.st_mtime_nsec),
            (before.st_mtime, before.st_mtime_nsec)
        );
    }),
    case!("linkat", "follow_flag_links_the_target", || {
        put("a", b"x");
        sc!(symlink, c"a", c"l").is(0);
        sc!(linkat, AT_FDCWD, c"l", AT_FDCWD, c"b", AT_SYMLINK_FOLLOW).is(0);
        assert_eq!(lstat("b").st_ino, lstat("a").st_ino);
    }),
    case!("linkat", "empty_path_needs_the_flag", || {
        let fd = file("a", b"");
        sc!(linkat, fd, c"", AT_FDCWD, c"b", 0).err(ENOENT);
        need_root();
        sc!(linkat, fd, c"", AT_FDCWD, c"b", AT_EMPTY_PATH).is(0);
    }),
    case!("linkat", "unknown_flag_is_einval", || {
        put("a", b"");
        sc!(linkat, AT_FDCWD, c"a", AT_FDCWD, c"b", 0x8000).err(EINVAL);
    }),
    case!("linkat", "two_directory_descriptors", || {
        dir("d");
        dir("e");
        put("d/a", b"");
        let (d, e) = (open("d", O_PATH), open("e", O_PATH));
        sc!(linkat, d, c"a", e, c"b", 0).is(0);
        assert!(exists("e/b"));
    }),
    case!("symlink readlink", "holds_its_text", || {
        sc!(symlink, c"any/thing at all", c"l").is(0);
        let mut b = [0u8; 64];
        sc!(readlink, c"l", &mut b, 64).is(16);
        assert_eq!(&b[..16], b"any/thing at all");
        assert_eq!(
            (lstat("l").st_size, lstat("l").st_mode),
            (16, S_IFLNK | 0o777)
        );
    }),
    case!("symlink", "empty_target_is_enoent", || sc!(
        symlink, c"", c"l"
    )
    .err(ENOENT)),
    case!("symlink", "existing_name_is_eexist", || {
        put("l", b"");
        sc!(symlink, c"x", c"l").err(EEXIST);
    }),
    case!("symlink", "target_of_4095_bytes_works", || {
        let target = "t".repeat(4095);
        sc!(symlink, cstr(&target), c"l").is(0);
        let mut b = vec![0u8; 5000];
        sc!(readlink, c"l", &mut b, 5000).is(4095);
    }),
    case!("symlink", "target_of_4096_bytes_is_enametoolong", || {
        sc!(symlink, cstr("t".repeat(4096)), c"l").err(ENAMETOOLONG);
    }),
    case!("symlinkat", "relative_to_a_directory", || {
        dir("d");
        sc!(symlinkat, c"x", open("d", O_PATH), c"l").is(0);
        assert!(exists("d/l"));
        sc!(symlinkat, c"x", 99, c"l").err(EBADF);
    }),
    case!("readlink", "short_buffer_truncates_silently", || {
        sc!(symlink, c"abcdef", c"l").is(0);
        let mut b = [0u8; 3];
        sc!(readlink, c"l", &mut b, 3).is(3);
        assert_eq!(&b, b"abc");
    }),
    case!("readlink", "of_a_file_is_einval", || {
        put("f", b"");
        let mut b = [0u8; 3];
        sc!(readlink, c"f", &mut b, 3).err(EINVAL);
    }),
    case!("readlink", "size_zero_and_negative_are_einval", || {
        sc!(symlink, c"a", c"l").is(0);
        sc!(readlink, c"l", BAD, 0).err(EINVAL);
        sc!(readlink, c"l", BAD, -1).err(EINVAL);
    }),
    case!("readlinkat", "relative_and_missing", || {
        dir("d");
        sc!(symlink, c"abc", c"d/l").is(0);
        let d = open("d", O_PATH);
        let mut b = [0u8; 8];
        sc!(readlinkat, d, c"l", &mut b, 8).is(3);
        sc!(readlinkat, d, c"m", &mut b, 8).err(ENOENT);
        sc!(readlinkat, d, c"", &mut b, 8).err(ENOENT);
    }),
    case!("rename", "moves_and_keeps_the_inode", || {
        put("a", b"x");
        let ino = lstat("a").st_ino;
        sc!(rename, c"a", c"b").is(0);
        assert!(!exists("a"));
        assert_eq!(lstat("b").st_ino, ino);
    }),
    case!("rename", "replaces_an_existing_file", || {
        put("a", b"new");
        let old = file("b", b"old");
        sc!(rename, c"a", c"b").is(0);
        assert_eq!(get("b"), b"new");
        assert_eq!(read_some(old, 8), b"old");
        assert_eq!(fstat(old).st_nlink, 0);
    }),
    case!(
        "rename",
        "between_two_names_of_one_inode_does_nothing",
        || {
            put("a", b"");
            sc!(link, c"a", c"b").is(0);
            sc!(rename, c"a", c"b").is(0);
            assert!(exists("a") && exists("b"));
        }
    ),
    case!("rename", "directory_over_empty_directory", || {
        dir("a");
        dir("b");
        put("a/f", b"");
        sc!(rename, c"a", c"b").is(0);
        assert!(exists("b/f") && !exists("a"));
    }),
    case!(
        "rename",
        "directory_over_full_directory_is_enotempty",
        || {
            dir("a");
            dir("b");
            put("b/f", b"");
            sc!(rename, c"a", c"b").err_any(&[ENOTEMPTY, EEXIST]);
        }
    ),
    case!("rename", "file_over_directory_is_eisdir", || {
        put("a", b"");
        dir("d");
        sc!(rename, c"a", c"d").err(EISDIR);
    }),
    case!("rename", "directory_over_file_is_enotdir", || {
        put("a", b"");
        dir("d");
        sc!(rename, c"d", c"a").err(ENOTDIR);
    }),
    case!("rename", "into_its_own_subdirectory_is_einval", || {
        dir("d");
        dir("d/e");
        sc!(rename, c"d", c"d/e/f").err(EINVAL);
    }),
    case!("rename", "over_its_own_ancestor_is_enotempty", || {
        dir("d");
        dir("d/e");
        sc!(rename, c"d/e", c"d").err(ENOTEMPTY);
    }),
    case!("rename", "missing_source_is_enoent", || sc!(
        rename, c"a", c"b"
    )
    .err(ENOENT)),
    case!("rename", "dot_is_ebusy", || {
        dir("d");
        sc!(rename, c"d/.", c"e").err_any(&[EBUSY, EINVAL]);
        sc!(rename, c"d", c"d/..").err_any(&[EBUSY, EINVAL, ENOTEMPTY]);
    }),
    case!("rename", "file_with_trailing_slash_is_enotdir", || {
        put("a", b"");
        sc!(rename, c"a/", c"b").err(ENOTDIR);
        sc!(rename, c"a", c"b/").err(ENOTDIR);
    }),
    case!("rename", "directory_to_new_name_with_slash_works", || {
        dir("d");
        sc!(rename, c"d/", c"e/").is(0);
        assert!(exists("e"));
    }),
    case!("rename", "dotdot_of_a_moved_directory_changes", || {
        dir("a");
        dir("b");
        dir("a/x");
        sc!(rename, c"a/x", c"b/x").is(0);
        assert_eq!(lstat("b/x/..").st_ino, lstat("b").st_ino);
        assert_eq!((lstat("a").st_nlink, lstat("b").st_nlink), (2, 3));
    }),
    case!("rename", "symlink_itself_is_moved", || {
        sc!(symlink, c"none", c"l").is(0);
        sc!(rename, c"l", c"m").is(0);
        assert_eq!(lstat("m").st_mode & S_IFMT, S_IFLNK);
    }),
    case!("rename", "across_mounts_is_exdev", || {
        put("a", b"");
        sc!(rename, c"a", c"/proc/a").err(EXDEV);
    }),
    case!(
        "rename",
        "needs_write_permission_on_both_directories",
        || {
            dir("d");
            dir("e");
            put("d/f", b"");
            sc!(chmod, c"e", 0o777).is(0);
            as_nobody(|| sc!(rename, c"d/f", c"e/f").err(EACCES));
        }
    ),
    case!("rename", "sticky_directory_protects_others_files", || {
        sticky_dir();
        put("d/f", b"");
        as_nobody(|| sc!(rename, c"d/f", c"d/g").err(EPERM));
    }),
    case!("renameat2", "noreplace_keeps_the_target", || {
        put("a", b"");
        put("b", b"b");
        sc!(renameat2, AT_FDCWD, c"a", AT_FDCWD, c"b", RENAME_NOREPLACE).err(EEXIST);
        sc!(renameat2, AT_FDCWD, c"a", AT_FDCWD, c"c", RENAME_NOREPLACE).is(0);
        assert_eq!(get("b"), b"b");
    }),
    case!("renameat2", "exchange_swaps_any_kinds", || {
        put("a", b"file");
        dir("d");
        put("d/in", b"");
        sc!(renameat2, AT_FDCWD, c"a", AT_FDCWD, c"d", RENAME_EXCHANGE).is(0);
        assert_eq!(get("d"), b"file");
        assert!(exists("a/in"));
    }),
    case!("renameat2", "exchange_with_missing_is_enoent", || {
        put("a", b"");
        sc!(renameat2, AT_FDCWD, c"a", AT_FDCWD, c"b", RENAME_EXCHANGE).err(ENOENT);
    }),
    case!("renameat2", "contradicting_flags_are_einval", || {
        put("a", b"");
        let both = RENAME_EXCHANGE | RENAME_NOREPLACE;
        sc!(renameat2, AT_FDCWD, c"a", AT_FDCWD, c"b", both).err(EINVAL);
        sc!(renameat2, AT_FDCWD, c"a", AT_FDCWD, c"b", 1 << 10).err(EINVAL);
    }),
    case!("renameat", "relative_to_directories", || {
        dir("d");
        dir("e");
        put("d/f", b"");
        sc!(renameat, open("d", O_PATH), c"f", open("e", O_PATH), c"g").is(0);
        assert!(exists("e/g"));
        sc!(renameat, 99, c"f", AT_FDCWD, c"g").err(EBADF);
    }),
    case!("unlink", "removes_one_name", || {
        put("a", b"");
        sc!(link, c"a", c"b").is(0);
        sc!(unlink, c"a").is(0);
        assert_eq!(lstat("b").st_nlink, 1);
    }),
    case!("unlink", "directory_is_eisdir", || {
        dir("d");
        sc!(unlink, c"d").err(EISDIR);
    }),
    case!("unlink", "missing_is_enoent", || sc!(unlink, c"a")
        .err(ENOENT)),
    case!("unlink", "trailing_slash_on_file_is_enotdir", || {
        put("a", b"");
        sc!(unlink, c"a/").err(ENOTDIR);
    }),
    case!("unlink", "symlink_not_its_target", || {
        put("a", b"");
        sc!(symlink, c"a", c"l").is(0);
        sc!(unlink, c"l").is(0);
        assert!(exists("a"));
    }),
    case!("unlink", "needs_write_permission_on_the_directory", || {
        put("a", b"");
        sc!(chmod, c".", 0o755).is(0);
        as_nobody(|| sc!(unlink, c"a").err(EACCES));
    }),
    case!("unlink", "sticky_directory_protects_others_files", || {
        sticky_dir();
        put("d/f", b"");
        as_nobody(|| {
            sc!(unlink, c"d/f").err(EPERM);
            put("d/mine", b"");
            sc!(unlink, c"d/mine").is(0);
        });
    }),
    case!(
        "unlinkat",
        "removedir_flag_removes_directories_only",
        || {
            dir("d");
            put("f", b"");
            sc!(unlinkat, AT_FDCWD, c"d", 0).err(EISDIR);
            sc!(unlinkat, AT_FDCWD, c"f", AT_REMOVEDIR).err(ENOTDIR);
            sc!(unlinkat, AT_FDCWD, c"d", AT_REMOVEDIR).is(0);
            sc!(unlinkat, AT_FDCWD, c"f", 1).err(EINVAL);
        }
    ),
    case!("mkdir", "mode_is_masked", || {
        let _ = sc!(umask, 0o077).ok();
        sc!(mkdir, c"d", 0o777).is(0);
        assert_eq!(lstat("d").st_mode, S_IFDIR | 0o700);
    }),
    case!("mkdir", "link_counts", || {
        dir("d");
        dir("d/e");
        dir("d/f");
        assert_eq!((lstat("d").st_nlink, lstat("d/e").st_nlink), (4, 2));
    }),
    case!("mkdir", "existing_is_eexist_even_with_slash", || {
        dir("d");
        put("f", b"");
        sc!(mkdir, c"d", 0o755).err(EEXIST);
        sc!(mkdir, c"d/", 0o755).err(EEXIST);
        sc!(mkdir, c"f", 0o755).err(EEXIST);
        sc!(mkdir, c"/", 0o755).err(EEXIST);
    }),
    case!("mkdir", "dangling_symlink_is_eexist", || {
        sc!(symlink, c"none", c"l").is(0);
        sc!(mkdir, c"l", 0o755).err(EEXIST);
    }),
    case!("mkdir", "missing_parent_is_enoent", || sc!(
        mkdir, c"a/b", 0o755
    )
    .err(ENOENT)),
    case!("mkdir", "trailing_slash_is_fine", || {
        sc!(mkdir, c"d/", 0o755).is(0);
        sc!(mkdir, c"d/e///", 0o755).is(0);
        assert!(exists("d/e"));
    }),
    case!("mkdir", "sticky_bit_is_kept", || {
        sc!(mkdir, c"d", 0o1777).is(0);
        assert_eq!(lstat("d").st_mode & 0o7777, 0o1755);
    }),
    case!("mkdirat", "relative_to_a_directory", || {
        dir("d");
        sc!(mkdirat, open("d", O_PATH), c"e", 0o755).is(0);
        assert!(exists("d/e"));
        sc!(mkdirat, 99, c"e", 0o755).err(EBADF);
    }),
    case!("rmdir", "empty_directory", || {
        dir("d");
        sc!(rmdir, c"d").is(0);
        assert!(!exists("d"));
    }),
    case!("rmdir", "full_directory_is_enotempty", || {
        dir("d");
        put("d/f", b"");
        sc!(rmdir, c"d").err(ENOTEMPTY);
    }),
    case!("rmdir", "file_is_enotdir", || {
        put("f", b"");
        sc!(rmdir, c"f").err(ENOTDIR);
    }),
    case!("rmdir", "dot_is_einval_dotdot_is_enotempty", || {
        dir("d");
        sc!(rmdir, c"d/.").err(EINVAL);
        dir("d/e");
        sc!(rmdir, c"d/e/..").err(ENOTEMPTY);
    }),
    case!("rmdir", "symlink_to_directory_is_enotdir", || {
        dir("d");
        sc!(symlink, c"d", c"l").is(0);
        sc!(rmdir, c"l").err(ENOTDIR);
    }),
    case!("rmdir", "root_is_ebusy", || sc!(rmdir, c"/").err(EBUSY)),
    case!("rmdir", "removed_cwd_creates_nothing", || {
        dir("d");
        sc!(chdir, c"d").is(0);
        sc!(rmdir, c"../d").is(0);
        sc!(openat, AT_FDCWD, c"f", O_CREAT | O_RDWR, 0o600).err(ENOENT);
        sc!(openat, AT_FDCWD, c".", O_RDONLY, 0).ok();
        let mut b = [0u8; 256];
        sc!(getcwd, &mut b, 256).err(ENOENT);
    }),
    case!("rmdir", "removed_directory_has_no_links", || {
        dir("d");
        let fd = open("d", O_RDONLY);
        sc!(rmdir, c"d").is(0);
        assert_eq!(fstat(fd).st_nlink, 0);
    }),
    case!("mknod", "fifo_and_regular_file", || {
        sc!(mknod, c"p", S_IFIFO | 0o640, 0).is(0);
        sc!(mknod, c"f", S_IFREG | 0o604, 0).is(0);
        sc!(mknod, c"g", 0o600, 0).is(0);
        assert_eq!(lstat("p").st_mode, S_IFIFO | 0o640);
        assert_eq!(lstat("f").st_mode, S_IFREG | 0o604);
        assert_eq!(lstat("g").st_mode, S_IFREG | 0o600);
    }),
    case!("mknod", "device_numbers_are_kept", || {
        need_root();
        let dev = makedev(4000, 70000);
        sc!(mknod, c"c", S_IFCHR | 0o600, dev)
            .skip_on(&[EPERM])
            .is(0);
        sc!(mknod, c"b", S_IFBLK | 0o600, makedev(7, 1)).is(0);
        assert_eq!(
            (major(lstat("c").st_rdev), minor(lstat("c").st_rdev)),
            (4000, 70000)
        );
        assert_eq!(lstat("b").st_mode & S_IFMT, S_IFBLK);
    }),
    case!("mknod", "null_device_works_through_a_new_node", || {
        need_root();
        sc!(mknod, c"n", S_IFCHR | 0o666, makedev(1, 3))
            .skip_on(&[EPERM])
            .is(0);
        let fd = sc!(openat, AT_FDCWD, c"n", O_RDWR, 0)
            .skip_on(&[EACCES])
            .fd();
        write_all(fd, b"gone");
        assert!(read_some(fd, 4).is_empty());
    }),
    case!("mknod", "device_as_nobody_is_eperm", || {
        as_nobody(|| sc!(mknod, c"c", S_IFCHR | 0o600, makedev(1, 3)).err(EPERM));
    }),
    case!("mknod", "directory_type_is_eperm_unknown_is_einval", || {
        sc!(mknod, c"x", S_IFDIR | 0o600, 0).err(EPERM);
        sc!(mknod, c"x", 0o070000 | 0o600, 0).err(EINVAL);
    }),
    case!("mknod", "existing_is_eexist", || {
        put("f", b"");
        sc!(mknod, c"f", S_IFIFO | 0o600, 0).err(EEXIST);
    }),
    case!("mknodat", "relative_to_a_directory", || {
        dir("d");
        sc!(mknodat, open("d", O_PATH), c"p", S_IFIFO | 0o600, 0).is(0);
        assert!(exists("d/p"));
    }),
    case!("chdir getcwd", "changes_where_relative_paths_start", || {
        dir("d");
        let mut b = [0u8; 4096];
        let n = sc!(getcwd, &mut b, 4096).addr();
        sc!(chdir, c"d").is(0);
        let mut c = [0u8; 4096];
        sc!(getcwd, &mut c, 4096).is(n as i64 + 2);
        assert_eq!(&c[n - 1..n + 2], b"/d\0");
    }),
    case!("getcwd", "small_buffer_is_erange_bad_is_efault", || {
        let mut b = [0u8; 4];
        sc!(getcwd, &mut b, 4).err(ERANGE);
        sc!(getcwd, BAD, 4096).err(EFAULT);
    }),
    case!("getcwd", "exact_size_fits", || {
        sc!(chdir, c"/proc").is(0);
        let mut b = [0u8; 6];
        sc!(getcwd, &mut b, 5).err(ERANGE);
        sc!(getcwd, &mut b, 6).is(6);
    }),
    case!("chdir", "errors", || {
        put("f", b"");
        sc!(chdir, c"f").err(ENOTDIR);
        sc!(chdir, c"none").err(ENOENT);
        sc!(chdir, c"").err(ENOENT);
        sc!(chdir, BAD).err(EFAULT);
    }),
    case!("chdir", "needs_search_permission", || {
        dir("d");
        sc!(chmod, c"d", 0o644).is(0);
        as_nobody(|| sc!(chdir, c"d").err(EACCES));
    }),
    case!("fchdir", "by_descriptor", || {
        dir("d");
        put("d/f", b"");
        sc!(fchdir, open("d", O_RDONLY)).is(0);
        assert!(exists("f"));
        sc!(fchdir, open("f", O_RDONLY)).err(ENOTDIR);
        sc!(fchdir, 99).err(EBADF);
    }),
    case!("fchdir", "path_descriptor_is_enough", || {
        dir("d");
        sc!(fchdir, open("d", O_PATH)).is(0);
    }),
    case!("chroot", "moves_the_root_and_stops_dotdot", || {
        need_root();
        dir("d");
        put("d/f", b"jail");
        fork(|| {
            sc!(chroot, c"d").is(0);
            sc!(chdir, c"/").is(0);
            assert_eq!(get("/../../f"), b"jail");
            let mut b = [0u8; 64];
            sc!(getcwd, &mut b, 64).is(2);
        })
        .ok();
        assert!(!exists("/f"));
    }),
    case!(
        "chroot getcwd",
        "cwd_outside_the_root_is_unreachable",
        || {
            need_root();
            dir("d");
            sc!(chroot, c"d").is(0);
            let mut b = [0u8; 4096];
            assert!(sc!(getcwd, &mut b, 4096).ok() > 0);
            assert!(b.starts_with(b"(unreachable)"));
        }
    ),
    case!("chroot", "errors", || {
        put("f", b"");
        need_root();
        sc!(chroot, c"f").err(ENOTDIR);
        sc!(chroot, c"none").err(ENOENT);
        as_nobody(|| sc!(chroot, c"/").err(EPERM));
    }),
    case!("umask", "answers_the_old_and_keeps_nine_bits", || {
        sc!(umask, 0o123).is(0o022);
        sc!(umask, 0o7777).is(0o123);
        sc!(umask, 0).is(0o777);
    }),
];
