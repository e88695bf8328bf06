//! inotify(7) and fanotify(7).

use crate::prelude::*;

/// Watch, mask, cookie and name of the events that are there.
fn events(fd: i32) -> Vec<(i32, u32, u32, String)> {
    let mut b = vec![0u8; 4096];
    let r = sc!(read, fd, &mut b, 4096);
    if r.errno() == EAGAIN {
        return Vec::new();
    }
    let n = r.addr();
    let mut at = 0;
    let mut all = Vec::new();
    while at < n {
        let [wd, mask, cookie, len]: [u32; 4] = from_bytes(&b[at..]);
        let name = &b[at + 16..at + 16 + len as usize];
        let end = name.iter().position(|c| *c == 0).unwrap_or(name.len());
        all.push((
            wd as i32,
            mask,
            cookie,
            String::from_utf8_lossy(&name[..end]).into_owned(),
        ));
        at += 16 + len as usize;
    }
    all
}

fn watch(path: &str, mask: u32) -> i32 {
    let fd = sc!(inotify_init1, IN_NONBLOCK).fd();
    sc!(inotify_add_watch, fd, cstr(path), mask).is(1);
    fd
}

fn masks(fd: i32) -> Vec<u32> {
    events(fd).iter().map(|e| e.1).collect()
}

pub static CASES: &[Case] = &[
    case!("inotify_init1 inotify_init", "flags", || {
        let fd = sc!(inotify_init1, IN_CLOEXEC | IN_NONBLOCK).fd();
        sc!(fcntl, fd, F_GETFD).is(1);
        sc!(inotify_init1, 1).err(EINVAL);
        sc!(inotify_init).ok();
    }),
    case!(
        "inotify_add_watch",
        "create_and_delete_in_a_directory",
        || {
            let fd = watch(".", IN_CREATE | IN_DELETE);
            put("f", b"");
            dir("d");
            sc!(unlink, c"f").is(0);
            let got: Vec<_> = events(fd).into_iter().map(|e| (e.1, e.3)).collect();
            let want = [
                (IN_CREATE, "f"),
                (IN_CREATE | IN_ISDIR, "d"),
                (IN_DELETE, "f"),
            ];
            assert_eq!(got, want.map(|(m, n)| (m, n.to_string())));
        }
    ),
    case!("inotify_add_watch", "open_write_close_of_a_file", || {
        put("f", b"");
        let fd = watch("f", IN_ALL_EVENTS);
        let f = open("f", O_WRONLY);
        write_all(f, b"x");
        close(f);
        assert_eq!(masks(fd), [IN_OPEN, IN_MODIFY, IN_CLOSE_WRITE]);
    }),
    case!(
        "inotify_add_watch",
        "read_is_access_and_close_nowrite",
        || {
            put("f", b"abc");
            let fd = watch("f", IN_ALL_EVENTS);
            let f = open("f", O_RDONLY);
            let _ = read_some(f, 2);
            close(f);
            assert_eq!(masks(fd), [IN_OPEN, IN_ACCESS, IN_CLOSE_NOWRITE]);
        }
    ),
    case!(
        "inotify_add_watch",
        "rename_gives_two_events_with_one_cookie",
        || {
            put("a", b"");
            let fd = watch(".", IN_MOVE);
            sc!(rename, c"a", c"b").is(0);
            let got = events(fd);
            assert_eq!((got[0].1, got[0].3.as_str()), (IN_MOVED_FROM, "a"));
            assert_eq!((got[1].1, got[1].3.as_str()), (IN_MOVED_TO, "b"));
            assert!(got[0].2 == got[1].2 && got[0].2 != 0);
        }
    ),
    case!("inotify_add_watch", "move_self", || {
        put("a", b"");
        let fd = watch("a", IN_MOVE_SELF);
        sc!(rename, c"a", c"b").is(0);
        assert_eq!(masks(fd), [IN_MOVE_SELF]);
    }),
    case!("inotify_add_watch", "chmod_is_attrib", || {
        put("f", b"");
        let fd = watch("f", IN_ATTRIB);
        sc!(chmod, c"f", 0o600).is(0);
        assert_eq!(masks(fd), [IN_ATTRIB]);
    }),
    case!(
        "inotify_add_watch",
        "unlink_gives_attrib_delete_self_ignored",
        || {
            put("f", b"");
            let fd = watch("f", IN_ALL_EVENTS);
            sc!(unlink, c"f").is(0);
            assert_eq!(masks(fd), [IN_ATTRIB, IN_DELETE_SELF, IN_IGNORED]);
        }
    ),
    case!("inotify_rm_watch", "gives_ignored", || {
        let fd = watch(".", IN_CREATE);
        sc!(inotify_rm_watch, fd, 1).is(0);
        put("f", b"");
        assert_eq!(masks(fd), [IN_IGNORED]);
        sc!(inotify_rm_watch, fd, 1).err(EINVAL);
        sc!(inotify_rm_watch, 99, 1).err(EBADF);
        sc!(inotify_rm_watch, 0, 1).err(EINVAL);
    }),
    case!("inotify_add_watch", "oneshot_fires_once", || {
        let fd = watch(".", IN_CREATE | IN_ONESHOT);
        put("a", b"");
        put("b", b"");
        assert_eq!(masks(fd), [IN_CREATE, IN_IGNORED]);
    }),
    case!("inotify_add_watch", "same_inode_keeps_its_number", || {
        put("f", b"");
        sc!(link, c"f", c"g").is(0);
        let fd = watch("f", IN_OPEN);
        sc!(inotify_add_watch, fd, c"g", IN_ATTRIB).is(1);
        sc!(inotify_add_watch, fd, c".", IN_ATTRIB).is(2);
    }),
    case!("inotify_add_watch", "mask_add_and_mask_create", || {
        put("f", b"");
        let fd = watch("f", IN_OPEN);
        sc!(inotify_add_watch, fd, c"f", IN_ATTRIB | IN_MASK_ADD).is(1);
        close(open("f", O_RDONLY));
        assert_eq!(masks(fd), [IN_OPEN]);
        sc!(inotify_add_watch, fd, c"f", IN_ATTRIB | IN_MASK_CREATE).err(EEXIST);
    }),
    case!("inotify_add_watch", "errors", || {
        let fd = sc!(inotify_init1, 0).fd();
        put("f", b"");
        sc!(inotify_add_watch, fd, c"none", IN_OPEN).err(ENOENT);
        sc!(inotify_add_watch, fd, c"f", 0).err(EINVAL);
        sc!(inotify_add_watch, fd, c"f", IN_OPEN | IN_ONLYDIR).err(ENOTDIR);
        sc!(inotify_add_watch, 99, c"f", IN_OPEN).err(EBADF);
        sc!(inotify_add_watch, 0, c"f", IN_OPEN).err(EINVAL);
        sc!(inotify_add_watch, fd, BAD, IN_OPEN).err(EFAULT);
        sc!(chmod, c"f", 0).is(0);
        as_nobody(|| sc!(inotify_add_watch, fd, c"f", IN_OPEN).err(EACCES));
    }),
    case!("inotify_init1", "read_with_small_buffer_is_einval", || {
        let fd = watch(".", IN_CREATE);
        put("f", b"");
        let mut b = [0u8; 8];
        sc!(read, fd, &mut b, 8).err(EINVAL);
    }),
    case!("inotify_init1", "poll_and_fionread", || {
        let fd = watch(".", IN_CREATE);
        assert_eq!(poll_one(fd, POLLIN, 0), 0);
        put("f", b"");
        assert_eq!(poll_one(fd, POLLIN, 0), POLLIN);
        let mut n = 0i32;
        sc!(ioctl, fd, FIONREAD, &raw mut n).is(0);
        assert_eq!(n, 32);
    }),
    case!("inotify_init1", "identical_events_are_merged", || {
        let f = file("f", b"");
        let fd = watch("f", IN_MODIFY);
        for _ in 0..5 {
            write_all(f, b"x");
        }
        assert_eq!(masks(fd), [IN_MODIFY]);
    }),
    case!("inotify_init1", "blocking_read_wakes", || {
        let fd = sc!(inotify_init1, 0).fd();
        sc!(inotify_add_watch, fd, c".", IN_CREATE).is(1);
        let child = fork(|| assert_eq!(events(fd)[0].3, "f"));
        wait_asleep(child.pid);
        put("f", b"");
        child.ok();
    }),
    case!("inotify_add_watch", "ftruncate_and_link_events", || {
        let f = file("f", b"abc");
        let fd = watch("f", IN_MODIFY | IN_ATTRIB);
        sc!(ftruncate, f, 1).is(0);
        sc!(link, c"f", c"g").is(0);
        assert_eq!(masks(fd), [IN_MODIFY, IN_ATTRIB]);
    }),
    case!(
        "fanotify_init fanotify_mark",
        "open_event_names_the_process",
        || {
            need_root();
            let fd = sc!(fanotify_init, 0x2u32, O_RDONLY)
                .skip_on(&[ENOSYS, EPERM])
                .fd();
            put("f", b"");
            sc!(fanotify_mark, fd, 1, 0x20u64, AT_FDCWD, c"f").is(0);
            let pid = fork(|| close(open("f", O_RDONLY)));
            pid.ok();
            let b = read_some(fd, 256);
            assert_eq!(b.len(), 24);
            assert_eq!(from_bytes::<u64>(&b[8..]), 0x20);
            assert_eq!(from_bytes::<i32>(&b[20..]), pid.pid);
        }
    ),
    case!("fanotify_init", "unknown_flags_are_einval", || {
        sc!(fanotify_init, 1 << 30, O_RDONLY)
            .skip_on(&[ENOSYS, EPERM])
            .err(EINVAL);
    }),
];
