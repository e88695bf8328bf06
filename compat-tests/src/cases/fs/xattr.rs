//! Extended attributes: xattr(7).

use crate::prelude::*;

fn set(path: &str, name: &str, value: &[u8], flags: i32) -> Ret {
    sc!(setxattr, cstr(path), cstr(name), value, value.len(), flags)
}

fn value_of(path: &str, name: &str) -> Vec<u8> {
    let mut b = vec![0u8; 8192];
    let n = sc!(getxattr, cstr(path), cstr(name), &mut b, 8192).addr();
    b.truncate(n);
    b
}

/// A file on which user attributes work; skips where the file system has none.
fn fresh() -> i32 {
    let fd = file("f", b"");
    let _ = set("f", "user.probe", b"x", 0).skip_on(&[EOPNOTSUPP]).ok();
    sc!(removexattr, c"f", c"user.probe").is(0);
    fd
}

pub static CASES: &[Case] = &[
    case!("setxattr getxattr", "round_trip", || {
        fresh();
        set("f", "user.a", b"value", 0).is(0);
        assert_eq!(value_of("f", "user.a"), b"value");
    }),
    case!("setxattr getxattr", "empty_value", || {
        fresh();
        set("f", "user.a", b"", 0).is(0);
        assert_eq!(value_of("f", "user.a"), b"");
    }),
    case!("setxattr", "create_flag_on_existing_is_eexist", || {
        fresh();
        set("f", "user.a", b"1", XATTR_CREATE).is(0);
        set("f", "user.a", b"2", XATTR_CREATE).err(EEXIST);
    }),
    case!("setxattr", "replace_flag_on_missing_is_enodata", || {
        fresh();
        set("f", "user.a", b"1", XATTR_REPLACE).err(ENODATA);
        set("f", "user.a", b"1", 0).is(0);
        set("f", "user.a", b"22", XATTR_REPLACE).is(0);
        assert_eq!(value_of("f", "user.a"), b"22");
    }),
    case!("setxattr", "unknown_flags_are_einval", || {
        fresh();
        set("f", "user.a", b"1", 8).err(EINVAL);
    }),
    case!("setxattr", "name_errors", || {
        fresh();
        set("f", "", b"1", 0).err(ERANGE);
        set("f", &format!("user.{}", "n".repeat(251)), b"1", 0).err(ERANGE);
        set("f", "noprefix", b"1", 0).err(EOPNOTSUPP);
        set("f", "bogus.name", b"1", 0).err(EOPNOTSUPP);
        set("f", "user.", b"1", 0).err(EINVAL);
    }),
    case!("setxattr", "value_above_64k_is_e2big", || {
        fresh();
        set("f", "user.a", &vec![0u8; 65537], 0).err(E2BIG);
    }),
    case!("setxattr", "missing_file_is_enoent", || set(
        "none", "user.a", b"", 0
    )
    .err(ENOENT)),
    case!("setxattr", "user_attribute_of_symlink_is_eperm", || {
        fresh();
        sc!(symlink, c"f", c"l").is(0);
        sc!(lsetxattr, c"l", c"user.a", b"x", 1, 0).err(EPERM);
    }),
    case!("setxattr", "follows_symlinks", || {
        fresh();
        sc!(symlink, c"f", c"l").is(0);
        set("l", "user.a", b"x", 0).is(0);
        assert_eq!(value_of("f", "user.a"), b"x");
    }),
    case!("setxattr", "user_attribute_needs_write_permission", || {
        fresh();
        as_nobody(|| set("f", "user.a", b"x", 0).err(EACCES));
    }),
    case!("setxattr", "trusted_needs_privilege", || {
        fresh();
        need_root();
        set("f", "trusted.a", b"x", 0).is(0);
        as_nobody(|| {
            set("f", "trusted.a", b"y", 0).err(EPERM);
            let mut b = [0u8; 8];
            sc!(getxattr, c"f", c"trusted.a", &mut b, 8).err(ENODATA);
            let mut b = [0u8; 256];
            sc!(listxattr, c"f", &mut b, 256).is(0);
        });
    }),
    case!("getxattr", "size_zero_asks_the_length", || {
        fresh();
        set("f", "user.a", b"12345", 0).is(0);
        sc!(getxattr, c"f", c"user.a", 0, 0).is(5);
    }),
    case!("getxattr", "short_buffer_is_erange", || {
        fresh();
        set("f", "user.a", b"12345", 0).is(0);
        let mut b = [0u8; 4];
        sc!(getxattr, c"f", c"user.a", &mut b, 4).err(ERANGE);
    }),
    case!("getxattr", "missing_is_enodata", || {
        fresh();
        sc!(getxattr, c"f", c"user.none", 0, 0).err(ENODATA);
    }),
    case!("fsetxattr fgetxattr fremovexattr", "by_descriptor", || {
        let fd = fresh();
        sc!(fsetxattr, fd, c"user.a", b"xy", 2, 0).is(0);
        let mut b = [0u8; 8];
        sc!(fgetxattr, fd, c"user.a", &mut b, 8).is(2);
        sc!(fremovexattr, fd, c"user.a").is(0);
        sc!(fgetxattr, fd, c"user.a", &mut b, 8).err(ENODATA);
        sc!(fsetxattr, 99, c"user.a", b"xy", 2, 0).err(EBADF);
    }),
    case!("fsetxattr", "path_descriptor_is_ebadf", || {
        fresh();
        sc!(fsetxattr, open("f", O_PATH), c"user.a", b"x", 1, 0).err(EBADF);
    }),
    case!("listxattr", "names_end_in_nul", || {
        fresh();
        set("f", "user.a", b"1", 0).is(0);
        set("f", "user.bb", b"2", 0).is(0);
        let mut b = [0u8; 256];
        let n = sc!(listxattr, c"f", &mut b, 256).addr();
        let mut names: Vec<&[u8]> = b[..n]
            .split(|c| *c == 0)
            .filter(|s| !s.is_empty())
            .collect();
        names.sort();
        assert_eq!(names, [&b"user.a"[..], b"user.bb"]);
        sc!(listxattr, c"f", 0, 0).is(n as i64);
        sc!(listxattr, c"f", &mut b, 3).err(ERANGE);
    }),
    case!(
        "llistxattr lgetxattr lremovexattr",
        "work_on_the_link_itself",
        || {
            fresh();
            sc!(symlink, c"f", c"l").is(0);
            set("f", "user.a", b"1", 0).is(0);
            sc!(llistxattr, c"l", 0, 0).is(0);
            sc!(lgetxattr, c"l", c"user.a", 0, 0).err_any(&[ENODATA, EPERM]);
            sc!(lremovexattr, c"l", c"user.a").err_any(&[EPERM, ENODATA]);
            sc!(lgetxattr, c"f", c"user.a", 0, 0).is(1);
        }
    ),
    case!("flistxattr", "by_descriptor", || {
        let fd = fresh();
        set("f", "user.a", b"1", 0).is(0);
        let mut b = [0u8; 64];
        sc!(flistxattr, fd, &mut b, 64).is(7);
        assert_eq!(&b[..7], b"user.a\0");
    }),
    case!("removexattr", "missing_is_enodata", || {
        fresh();
        sc!(removexattr, c"f", c"user.none").err(ENODATA);
    }),
    case!("setxattr", "many_attributes_of_some_size", || {
        fresh();
        for i in 0..8 {
            set("f", &format!("user.n{i}"), &vec![i as u8; 300], 0).is(0);
        }
        for i in 0..8 {
            assert_eq!(value_of("f", &format!("user.n{i}")), vec![i as u8; 300]);
        }
    }),
    case!("setxattr", "survives_rename_and_link", || {
        fresh();
        set("f", "user.a", b"kept", 0).is(0);
        sc!(rename, c"f", c"g").is(0);
        sc!(link, c"g", c"h").is(0);
        assert_eq!(value_of("h", "user.a"), b"kept");
    }),
    case!("setxattr", "directory_attributes", || {
        fresh();
        dir("d");
        set("d", "user.a", b"dir", 0).is(0);
        assert_eq!(value_of("d", "user.a"), b"dir");
    }),
    case!("setxattr", "ctime_changes", || {
        fresh();
        let before = lstat("f");
        sleep_ms(20);
        set("f", "user.a", b"1", 0).is(0);
        let after = lstat("f");
        assert!((after.st_ctime, after.st_ctime_nsec) > (before.st_ctime, before.st_ctime_nsec));
    }),
    case!("getxattr", "posix_acl_round_trip", || {
        fresh();
        // Version 2; user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
        let entry = |tag: u16, perm: u16, id: u32| {
            [
                &tag.to_le_bytes()[..],
                &perm.to_le_bytes(),
                &id.to_le_bytes(),
            ]
            .concat()
        };
        let none = u32::MAX;
        let acl = [
            2u32.to_le_bytes().to_vec(),
            entry(1, 6, none),
            entry(2, 4, 1000),
            entry(4, 4, none),
            entry(16, 4, none),
            entry(32, 0, none),
        ]
        .concat();
        set("f", "system.posix_acl_access", &acl, 0)
            .skip_on(&[EOPNOTSUPP])
            .is(0);
        assert_eq!(value_of("f", "system.posix_acl_access"), acl);
        assert_eq!(lstat("f").st_mode & 0o777, 0o640);
    }),
];
