//! Inode flags, quotas, cachestat(2), statmount(2), listmount(2), leases and directory notification.

use crate::prelude::*;

const GETFLAGS: u64 = 0x8008_6601;
const SETFLAGS: u64 = 0x4008_6602;
const FICLONE: u64 = 0x4004_9409;
const F_SETSIG: i32 = 10;
const IMMUTABLE: i32 = 0x10;
const APPEND_ONLY: i32 = 0x20;

const LSMT_ROOT: u64 = u64::MAX;

fn get_flags(fd: i32) -> i32 {
    let mut flags = 0i32;
    sc!(ioctl, fd, GETFLAGS, &raw mut flags)
        .skip_on(&[ENOTTY, EOPNOTSUPP])
        .is(0);
    flags
}

fn set_flags(fd: i32, flags: i32) -> crate::sys::Ret {
    sc!(ioctl, fd, SETFLAGS, &raw const flags)
}

/// `struct mnt_id_req` of the second version.
fn request(id: u64, param: u64) -> [u64; 4] {
    [32, id, param, 0]
}

pub static CASES: &[Case] = &[
    case!("ioctl unlink", "immutable_file_cannot_be_changed", || {
        need_root();
        let f = file("f", b"abc");
        let old = get_flags(f);
        set_flags(f, old | IMMUTABLE).skip_on(&[EOPNOTSUPP]).is(0);
        sc!(unlink, c"f").err(EPERM);
        sc!(open, c"f", O_WRONLY).err(EPERM);
        sc!(chmod, c"f", 0o600).err(EPERM);
        sc!(link, c"f", c"g").err(EPERM);
        sc!(rename, c"f", c"g").err(EPERM);
        set_flags(f, old).is(0);
        sc!(unlink, c"f").is(0);
    }),
    case!("ioctl open", "append_only_file_is_only_appended_to", || {
        need_root();
        let f = file("f", b"abc");
        let old = get_flags(f);
        set_flags(f, old | APPEND_ONLY).skip_on(&[EOPNOTSUPP]).is(0);
        sc!(open, c"f", O_WRONLY).err(EPERM);
        sc!(truncate, c"f", 0).err(EPERM);
        let a = open("f", O_WRONLY | O_APPEND);
        write_all(a, b"d");
        sc!(fcntl, a, F_SETFL, 0).err(EPERM);
        sc!(unlink, c"f").err(EPERM);
        set_flags(f, old).is(0);
        assert_eq!(get("f"), b"abcd");
    }),
    case!("ioctl", "flags_need_the_owner", || {
        need_root();
        let f = file("f", b"");
        sc!(fchmod, f, 0o666).is(0);
        let old = get_flags(f);
        as_nobody(|| {
            let flags = old;
            sc!(ioctl, f, SETFLAGS, &raw const flags).err(EPERM);
        });
    }),
    case!("ioctl", "clones_between_unlike_files_are_refused", || {
        let (f, d) = (file("f", b"abc"), sc!(open, c".", O_RDONLY).fd());
        sc!(ioctl, f, FICLONE, d).err(EISDIR);
        sc!(ioctl, f, FICLONE, 99).err(EBADF);
    }),
    case!("file_getattr", "errors", || {
        put("f", b"");
        let mut attr = [0u8; 24];
        sc!(file_getattr, AT_FDCWD, c"f", &raw mut attr, 8, 0)
            .skip_on(&[ENOSYS])
            .err(EINVAL);
        sc!(file_getattr, AT_FDCWD, c"none", &raw mut attr, 24, 0).err(ENOENT);
        sc!(file_getattr, AT_FDCWD, c"f", &raw mut attr, 24, 1).err(EINVAL);
    }),
    case!("cachestat", "written_pages_are_cached", || {
        let f = file("f", [1; 8192]);
        let (range, mut stat) = ([0u64; 2], [0u64; 5]);
        sc!(cachestat, f, &raw const range, &raw mut stat, 0)
            .skip_on(&[ENOSYS])
            .is(0);
        assert_eq!(stat[0], 2);
        sc!(cachestat, f, &raw const range, &raw mut stat, 1).err(EINVAL);
        sc!(cachestat, 99, &raw const range, &raw mut stat, 0).err(EBADF);
    }),
    case!("listmount statmount", "the_first_mount_is_the_root", || {
        let mut ids = [0u64; 64];
        let req = request(LSMT_ROOT, 0);
        let n = sc!(listmount, &raw const req, &raw mut ids, 64, 0)
            .skip_on(&[ENOSYS])
            .addr();
        assert!(n > 0 && ids[..n].is_sorted());
        let mut buf = vec![0u8; 4096];
        // STATMOUNT_MNT_BASIC and STATMOUNT_FS_TYPE
        let req = request(ids[0], 0x2 | 0x20);
        sc!(statmount, &raw const req, &mut buf, 4096, 0).is(0);
        assert_eq!(from_bytes::<u64>(&buf[8..]) & 0x22, 0x22);
        assert_eq!(from_bytes::<u64>(&buf[40..]), ids[0]);
        sc!(statmount, &raw const req, &mut buf, 4096, 1).err(EINVAL);
        let req = request(1, 0x2);
        sc!(statmount, &raw const req, &mut buf, 4096, 0).err(EINVAL);
        let req = request(u64::MAX - 1, 0x2);
        sc!(statmount, &raw const req, &mut buf, 4096, 0).err(ENOENT);
    }),
    case!("fcntl", "f_notify_signals_the_owner", || {
        let d = sc!(open, c".", O_RDONLY | O_DIRECTORY).fd();
        sigmask(SIG_BLOCK, bit(SIGRTMIN()));
        sc!(fcntl, d, F_SETSIG, SIGRTMIN()).is(0);
        // DN_CREATE
        sc!(fcntl, d, F_NOTIFY, 4).skip_on(&[EINVAL]).is(0);
        assert!(pending() & bit(SIGRTMIN()) == 0);
        put("f", b"");
        assert!(pending() & bit(SIGRTMIN()) != 0);
    }),
    case!("fcntl", "f_notify_of_a_file_is_enotdir", || {
        let f = file("f", b"");
        sc!(fcntl, f, F_NOTIFY, 4).skip_on(&[EINVAL]).err(ENOTDIR);
    }),
    case!("open fcntl", "getfl_shows_o_largefile", || {
        const LARGEFILE: i32 = 0o100_000;
        let f = file("f", b"");
        assert_eq!(sc!(fcntl, f, F_GETFL).addr() as i32 & LARGEFILE, LARGEFILE);
    }),
    case!(
        "inotify_add_watch",
        "open_file_is_deleted_when_it_is_closed",
        || {
            let f = file("f", b"");
            let fd = sc!(inotify_init1, IN_NONBLOCK).fd();
            sc!(inotify_add_watch, fd, c"f", IN_DELETE_SELF).is(1);
            sc!(unlink, c"f").is(0);
            let mut b = [0u8; 256];
            sc!(read, fd, &mut b, 256).err(EAGAIN);
            close(f);
            sc!(read, fd, &mut b, 256).is(32);
            assert_eq!(from_bytes::<u32>(&b[4..]), IN_DELETE_SELF);
        }
    ),
    case!("inotify_add_watch", "rename_over_a_file", || {
        put("a", b"");
        put("b", b"");
        let fd = sc!(inotify_init1, IN_NONBLOCK).fd();
        sc!(inotify_add_watch, fd, c"b", IN_ALL_EVENTS).is(1);
        sc!(rename, c"a", c"b").is(0);
        let mut b = [0u8; 256];
        let n = sc!(read, fd, &mut b, 256).addr();
        let masks: Vec<u32> = (0..n / 16).map(|i| from_bytes(&b[i * 16 + 4..])).collect();
        assert_eq!(masks, [IN_ATTRIB, IN_DELETE_SELF, IN_IGNORED]);
    }),
];
