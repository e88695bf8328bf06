//! Mounts: mount(2), umount2(2), pivot_root(2), the newer mount calls; each in its own mount namespace.

use super::Family;
use crate::prelude::*;

pub const GROUPS: Family = &[CASES];

/// Runs `f` as root in a child with a private mount namespace.
#[track_caller]
fn in_namespace(f: impl FnOnce()) {
    need_root();
    fork(|| {
        sc!(unshare, CLONE_NEWNS).skip_on(&[EINVAL, EPERM]).is(0);
        let r = sc!(mount, c"none", c"/", 0, MS_REC | MS_PRIVATE, 0);
        r.is(0);
        f();
    })
    .ok();
}

fn tmpfs(at: &str, flags: u64, data: &str) -> Ret {
    sc!(mount, c"tmpfs", cstr(at), c"tmpfs", flags, cstr(data))
}

fn mounted(at: &str) -> bool {
    let cwd = std::env::current_dir().unwrap_or_default();
    let want = format!(" {}/{at} ", cwd.display());
    text("/proc/self/mountinfo").contains(&want)
}

static CASES: &[Case] = &[
    case!("mount umount2", "tmpfs_hides_and_gives_back", || {
        in_namespace(|| {
            dir("d");
            put("d/below", b"");
            tmpfs("d", 0, "").is(0);
            assert!(mounted("d") && !exists("d/below"));
            put("d/above", b"x");
            assert_ne!(lstat("d").st_dev, lstat(".").st_dev);
            sc!(umount2, c"d", 0).is(0);
            assert!(exists("d/below") && !exists("d/above"));
        });
    }),
    case!("mount", "tmpfs_size_limit_is_enospc", || {
        in_namespace(|| {
            dir("d");
            tmpfs("d", 0, "size=64k").is(0);
            let fd = open("d/f", O_CREAT | O_RDWR);
            sc!(write, fd, vec![1u8; 65536], 65536).is(65536);
            sc!(write, fd, b"x", 1).err(ENOSPC);
            sc!(umount2, c"d", MNT_DETACH).is(0);
        });
    }),
    case!("mount", "tmpfs_mode_option", || {
        in_namespace(|| {
            dir("d");
            tmpfs("d", 0, "mode=0711,uid=5,gid=6").is(0);
            let st = lstat("d");
            assert_eq!((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o711, 5, 6));
            sc!(umount2, c"d", 0).is(0);
        });
    }),
    case!("mount", "bad_option_is_einval", || {
        in_namespace(|| {
            dir("d");
            tmpfs("d", 0, "nonsense=1").err(EINVAL);
        });
    }),
    case!("mount", "read_only_is_erofs", || {
        in_namespace(|| {
            dir("d");
            tmpfs("d", MS_RDONLY, "").is(0);
            sc!(openat, AT_FDCWD, c"d/f", O_CREAT | O_RDWR, 0o600).err(EROFS);
            sc!(mkdir, c"d/e", 0o755).err(EROFS);
            sc!(mount, c"", c"d", c"", MS_REMOUNT, c"").is(0);
            put("d/f", b"");
            sc!(umount2, c"d", 0).is(0);
        });
    }),
    case!("mount", "noexec_nosuid_nodev", || {
        in_namespace(|| {
            dir("d");
            tmpfs("d", MS_NOEXEC | MS_NODEV, "").is(0);
            put("d/s", b"#!/bin/sh\n");
            sc!(chmod, c"d/s", 0o755).is(0);
            sc!(execve, c"d/s", 0, 0).err(EACCES);
            sc!(access, c"d/s", X_OK).err(EACCES);
            sc!(mknod, c"d/null", S_IFCHR | 0o666, makedev(1, 3)).is(0);
            sc!(openat, AT_FDCWD, c"d/null", O_RDWR, 0).err(EACCES);
            // f_flags is the eleventh word of the structure.
            let mut s = [0u64; 15];
            sc!(statfs, c"d", &mut s).is(0);
            assert_eq!(s[10] & (ST_NOEXEC | ST_NODEV), ST_NOEXEC | ST_NODEV);
            sc!(umount2, c"d", 0).is(0);
        });
    }),
    case!("mount", "bind_shows_the_same_files", || {
        in_namespace(|| {
            dir("a");
            dir("b");
            put("a/f", b"same");
            sc!(mount, c"a", c"b", 0, MS_BIND, 0).is(0);
            assert_eq!(get("b/f"), b"same");
            assert_eq!(lstat("a/f").st_ino, lstat("b/f").st_ino);
            sc!(link, c"a/f", c"b/g").err(EXDEV);
            sc!(rename, c"a/f", c"b/g").err(EXDEV);
            sc!(umount2, c"b", 0).is(0);
        });
    }),
    case!("mount", "bind_of_a_file", || {
        in_namespace(|| {
            put("a", b"A");
            put("b", b"B");
            sc!(mount, c"a", c"b", 0, MS_BIND, 0).is(0);
            assert_eq!(get("b"), b"A");
            sc!(unlink, c"b").err(EBUSY);
            sc!(umount2, c"b", 0).is(0);
            assert_eq!(get("b"), b"B");
        });
    }),
    case!("mount", "bind_remount_read_only_is_per_mount", || {
        in_namespace(|| {
            dir("a");
            dir("b");
            sc!(mount, c"a", c"b", 0, MS_BIND, 0).is(0);
            sc!(mount, 0, c"b", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0).is(0);
            sc!(mkdir, c"b/x", 0o755).err(EROFS);
            dir("a/x");
            sc!(umount2, c"b", 0).is(0);
        });
    }),
    case!("mount", "bind_is_not_recursive_unless_asked", || {
        in_namespace(|| {
            dir("a");
            dir("a/sub");
            dir("b");
            tmpfs("a/sub", 0, "").is(0);
            put("a/sub/f", b"");
            sc!(mount, c"a", c"b", 0, MS_BIND, 0).is(0);
            assert!(!exists("b/sub/f"));
            sc!(umount2, c"b", 0).is(0);
            sc!(mount, c"a", c"b", 0, MS_BIND | MS_REC, 0).is(0);
            assert!(exists("b/sub/f"));
            sc!(umount2, c"b", MNT_DETACH).is(0);
        });
    }),
    case!("mount", "move_changes_the_place", || {
        in_namespace(|| {
            dir("a");
            dir("b");
            tmpfs("a", 0, "").is(0);
            put("a/f", b"");
            sc!(mount, c"a", c"b", 0, MS_MOVE, 0).is(0);
            assert!(exists("b/f") && !exists("a/f"));
            sc!(umount2, c"b", 0).is(0);
        });
    }),
    case!("mount", "shared_mounts_propagate", || {
        in_namespace(|| {
            dir("a");
            dir("b");
            tmpfs("a", 0, "").is(0);
            sc!(mount, 0, c"a", 0, MS_SHARED, 0).is(0);
            sc!(mount, c"a", c"b", 0, MS_BIND, 0).is(0);
            dir("a/x");
            tmpfs("a/x", 0, "").is(0);
            put("a/x/f", b"");
            assert!(exists("b/x/f"));
            sc!(umount2, c"b/x", 0).is(0);
            assert!(!exists("a/x/f"));
        });
    }),
    case!(
        "mount unshare",
        "namespace_hides_mounts_from_others",
        || {
            dir("d");
            in_namespace(|| {
                tmpfs("d", 0, "").is(0);
                put("d/f", b"");
            });
            assert!(!exists("d/f"));
        }
    ),
    case!("umount2", "busy_is_ebusy_and_detach_is_lazy", || {
        in_namespace(|| {
            dir("d");
            tmpfs("d", 0, "").is(0);
            let fd = file("d/f", b"held");
            sc!(umount2, c"d", 0).err(EBUSY);
            sc!(umount2, c"d", MNT_DETACH).is(0);
            assert!(!exists("d/f"));
            assert_eq!(read_some(fd, 8), b"held");
        });
    }),
    case!("umount2", "errors", || {
        in_namespace(|| {
            dir("d");
            sc!(umount2, c"d", 0).err(EINVAL);
            sc!(umount2, c"none", 0).err(ENOENT);
            sc!(umount2, c"d", 0x100).err(EINVAL);
            sc!(umount2, BAD, 0).err(EFAULT);
        });
        as_nobody(|| sc!(umount2, c"/", 0).err(EPERM));
    }),
    case!("mount", "errors", || {
        in_namespace(|| {
            dir("d");
            put("f", b"");
            sc!(mount, c"x", c"d", c"nosuchfs", 0, 0).err(ENODEV);
            sc!(mount, c"x", c"none", c"tmpfs", 0, 0).err(ENOENT);
            sc!(mount, c"x", c"f", c"tmpfs", 0, 0).err(ENOTDIR);
            sc!(mount, c"/dev/null", c"d", c"ext4", 0, 0).err_any(&[ENOTBLK, ENODEV]);
            sc!(mount, c"d", c"f", 0, MS_BIND, 0).err(ENOTDIR);
            sc!(mount, c"none", c"d", 0, MS_BIND, 0).err(ENOENT);
            sc!(mount, 0, c"d", 0, MS_REMOUNT, 0).err(EINVAL);
        });
        as_nobody(|| sc!(mount, c"x", c".", c"tmpfs", 0, 0).err(EPERM));
    }),
    case!("rmdir", "mount_point_is_ebusy", || {
        in_namespace(|| {
            dir("d");
            tmpfs("d", 0, "").is(0);
            sc!(rmdir, c"d").err(EBUSY);
            sc!(rename, c"d", c"e").err(EBUSY);
            sc!(umount2, c"d", 0).is(0);
        });
    }),
    case!("pivot_root", "swaps_the_root", || {
        in_namespace(|| {
            dir("new");
            tmpfs("new", 0, "").is(0);
            dir("new/old");
            put("new/here", b"");
            sc!(pivot_root, c"new", c"new/old").is(0);
            sc!(chdir, c"/").is(0);
            assert!(exists("/here") && exists("/old/proc"));
            sc!(umount2, c"/old", MNT_DETACH).is(0);
            assert!(!exists("/old/proc"));
        });
    }),
    case!("pivot_root", "errors", || {
        in_namespace(|| {
            dir("new");
            dir("new/old");
            sc!(pivot_root, c"new", c"new/old").err(EBUSY);
            sc!(pivot_root, c"/", c"/").err(EBUSY);
            sc!(pivot_root, c"none", c"none").err(ENOENT);
        });
        as_nobody(|| sc!(pivot_root, c".", c".").err(EPERM));
    }),
    case!("mount", "proc_can_be_mounted_again", || {
        in_namespace(|| {
            dir("p");
            sc!(mount, c"proc", c"p", c"proc", 0, 0).is(0);
            assert_eq!(text("p/self/comm"), text("/proc/self/comm"));
            sc!(umount2, c"p", 0).is(0);
        });
    }),
    case!(
        "fsopen fsconfig fsmount move_mount",
        "newer_mount_calls",
        || {
            in_namespace(|| {
                dir("d");
                let fs = sc!(fsopen, c"tmpfs", 0).skip_on(&[ENOSYS]).fd();
                sc!(fsconfig, fs, 1, c"size", c"128k", 0).is(0);
                sc!(fsconfig, fs, 6, 0, 0, 0).is(0);
                let m = sc!(fsmount, fs, 0, 0).fd();
                sc!(move_mount, m, c"", AT_FDCWD, c"d", 4).is(0);
                assert!(mounted("d"));
                close(m);
                sc!(umount2, c"d", 0).is(0);
                sc!(fsopen, c"nosuchfs", 0).err(ENODEV);
                sc!(fsopen, c"tmpfs", 2).err(EINVAL);
            });
        }
    ),
    case!("open_tree move_mount", "detached_copy_is_attached", || {
        in_namespace(|| {
            dir("a");
            dir("b");
            put("a/f", b"");
            let flags = 1 | O_CLOEXEC;
            let t = sc!(open_tree, AT_FDCWD, c"a", flags)
                .skip_on(&[ENOSYS])
                .fd();
            sc!(move_mount, t, c"", AT_FDCWD, c"b", 4).is(0);
            assert!(exists("b/f"));
            close(t);
            sc!(umount2, c"b", 0).is(0);
        });
    }),
    case!("mount_setattr", "sets_read_only", || {
        in_namespace(|| {
            dir("d");
            tmpfs("d", 0, "").is(0);
            let attr = [1u64, 0, 0, 0];
            sc!(mount_setattr, AT_FDCWD, c"d", 0, &attr, 32)
                .skip_on(&[ENOSYS])
                .is(0);
            sc!(mkdir, c"d/x", 0o755).err(EROFS);
            sc!(mount_setattr, AT_FDCWD, c"d", 0, [0u64, 1, 0, 0], 32).is(0);
            dir("d/x");
            sc!(mount_setattr, AT_FDCWD, c"d", 0, [1u64 << 40, 0, 0, 0], 32).err(EINVAL);
        });
    }),
    case!("statmount listmount", "describe_the_root", || {
        let req = [32u64, u64::MAX, 0, 0];
        let mut ids = [0u64; 64];
        let r = sc!(listmount, &req, &mut ids, 64, 0).skip_on(&[ENOSYS]);
        assert!(r.ok() >= 1);
        let req = [32u64, ids[0], 2, 0];
        let mut b = [0u64; 128];
        sc!(statmount, &req, &mut b, 1024, 0).is(0);
        sc!(statmount, &req, &mut b, 1024, 1).err(EINVAL);
    }),
];
