//! getdents64(2) and what directories show.

use crate::prelude::*;

/// Name, inode and type of every entry.
fn entries(fd: i32, size: usize) -> Vec<(String, u64, u8)> {
    let mut all = Vec::new();
    loop {
        let mut b = vec![0u8; size];
        let n = sc!(getdents64, fd, &mut b, size).addr();
        if n == 0 {
            return all;
        }
        let mut at = 0;
        while at < n {
            let ino: u64 = from_bytes(&b[at..]);
            let reclen: u16 = from_bytes(&b[at + 16..]);
            let end = b[at + 19..].iter().position(|c| *c == 0).unwrap_or(0);
            let name = String::from_utf8_lossy(&b[at + 19..at + 19 + end]).into_owned();
            assert_eq!(reclen % 8, 0, "record length {reclen}");
            all.push((name, ino, b[at + 18]));
            at += usize::from(reclen);
        }
    }
}

fn names(fd: i32, size: usize) -> Vec<String> {
    let mut all: Vec<String> = entries(fd, size).into_iter().map(|e| e.0).collect();
    all.sort();
    all
}

pub static CASES: &[Case] = &[
    case!("getdents64", "lists_all_with_dot_and_dotdot", || {
        dir("d");
        put("d/a", b"");
        put("d/b", b"");
        assert_eq!(names(open("d", O_RDONLY), 4096), [".", "..", "a", "b"]);
    }),
    case!("getdents64", "types_and_inodes", || {
        put("f", b"");
        dir("d");
        sc!(symlink, c"f", c"l").is(0);
        sc!(mknod, c"p", S_IFIFO | 0o600, 0).is(0);
        for (name, ino, kind) in entries(open(".", O_RDONLY), 4096) {
            let want = match name.as_str() {
                "f" => DT_REG,
                "d" | "." | ".." => DT_DIR,
                "l" => DT_LNK,
                "p" => DT_FIFO,
                other => panic!("unexpected {other}"),
            };
            assert_eq!(kind, want, "{name}");
            if name != ".." {
                assert_eq!(ino, lstat(&name).st_ino, "{name}");
            }
        }
    }),
    case!("getdents64", "many_entries_with_a_small_buffer", || {
        dir("d");
        for i in 0..300 {
            put(&format!("d/file-number-{i}"), b"");
        }
        let got = names(open("d", O_RDONLY), 128);
        assert_eq!(got.len(), 302);
        assert!(got.windows(2).all(|w| w[0] != w[1]));
    }),
    case!("getdents64", "buffer_too_small_is_einval", || {
        let mut b = [0u8; 16];
        sc!(getdents64, open(".", O_RDONLY), &mut b, 16).err(EINVAL);
    }),
    case!("getdents64", "errors", || {
        let mut b = [0u8; 512];
        sc!(getdents64, file("f", b""), &mut b, 512).err(ENOTDIR);
        sc!(getdents64, 99, &mut b, 512).err(EBADF);
        sc!(getdents64, open(".", O_RDONLY), BAD, 512).err(EFAULT);
        sc!(getdents64, open(".", O_PATH), &mut b, 512).err(EBADF);
    }),
    case!("getdents64 lseek", "rewinding_lists_again", || {
        put("a", b"");
        let fd = open(".", O_RDONLY);
        let first = names(fd, 4096);
        put("b", b"");
        sc!(lseek, fd, 0, SEEK_SET).is(0);
        assert_eq!(names(fd, 4096).len(), first.len() + 1);
    }),
    case!(
        "getdents64 lseek",
        "d_off_continues_after_the_entry",
        || {
            for name in ["a", "b", "c", "d"] {
                put(name, b"");
            }
            let fd = open(".", O_RDONLY);
            let mut b = vec![0u8; 4096];
            let n = sc!(getdents64, fd, &mut b, 4096).addr();
            let first: u16 = from_bytes(&b[16..]);
            let off: i64 = from_bytes(&b[8..]);
            sc!(lseek, fd, off, SEEK_SET).is(off);
            let mut c = vec![0u8; 4096];
            let m = sc!(getdents64, fd, &mut c, 4096).addr();
            assert_eq!(m, n - usize::from(first));
            assert_eq!(&c[..m], &b[usize::from(first)..n]);
        }
    ),
    case!("getdents64", "removal_while_reading_keeps_the_rest", || {
        dir("d");
        for i in 0..100 {
            put(&format!("d/{i:03}"), b"");
        }
        let fd = open("d", O_RDONLY);
        let mut seen = 0;
        loop {
            let mut b = vec![0u8; 256];
            let n = sc!(getdents64, fd, &mut b, 256).addr();
            if n == 0 {
                break;
            }
            let mut at = 0;
            while at < n {
                let reclen: u16 = from_bytes(&b[at + 16..]);
                let end = b[at + 19..].iter().position(|c| *c == 0).unwrap_or(0);
                let name = String::from_utf8_lossy(&b[at + 19..at + 19 + end]).into_owned();
                if !name.starts_with('.') {
                    sc!(unlink, cstr(format!("d/{name}"))).is(0);
                    seen += 1;
                }
                at += usize::from(reclen);
            }
        }
        assert_eq!(seen, 100);
        sc!(rmdir, c"d").is(0);
    }),
    case!("getdents64", "removed_directory_is_empty_or_enoent", || {
        dir("d");
        let fd = open("d", O_RDONLY);
        sc!(rmdir, c"d").is(0);
        let mut b = [0u8; 512];
        let r = sc!(getdents64, fd, &mut b, 512);
        assert!(r.errno() == ENOENT || r.ok() == 0);
    }),
    case!("getdents64", "proc_lists_this_process", || {
        let me = getpid().to_string();
        assert!(names(open("/proc", O_RDONLY), 1024).contains(&me));
    }),
    case!("getdents64", "proc_self_fd_lists_open_descriptors", || {
        let fd = open("/proc/self/fd", O_RDONLY);
        let got = names(fd, 1024);
        assert!(got.contains(&"0".into()) && got.contains(&fd.to_string()));
    }),
    case!("getdents", "old_layout_has_the_type_last", || {
        put("f", b"");
        let mut b = vec![0u8; 4096];
        let n = sc!(getdents, open(".", O_RDONLY), &mut b, 4096)
            .skip_on(&[ENOSYS])
            .addr();
        let mut at = 0;
        let mut found = false;
        while at < n {
            let reclen = usize::from(from_bytes::<u16>(&b[at + 16..]));
            if b[at + 18] == b'f' && b[at + 19] == 0 {
                assert_eq!(b[at + reclen - 1], DT_REG);
                found = true;
            }
            at += reclen;
        }
        assert!(found);
    }),
    case!(
        "mkdir",
        "two_thousand_entries",
        || {
            dir("d");
            for i in 0..2000 {
                put(&format!("d/{i}"), b"");
            }
            assert_eq!(names(open("d", O_RDONLY), 32768).len(), 2002);
            for i in 0..2000 {
                sc!(unlink, cstr(format!("d/{i}"))).is(0);
            }
            sc!(rmdir, c"d").is(0);
        },
        30
    ),
    case!("mkdir", "two_hundred_levels_deep", || {
        let mut path = String::from(".");
        for i in 0..200 {
            path.push_str(&format!("/{i}"));
            dir(&path);
        }
        put(&format!("{path}/f"), b"deep");
        assert_eq!(get(&format!("{path}/f")), b"deep");
    }),
];
