//! mmap(2), munmap(2), mprotect(2), brk(2), msync(2).

use crate::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;
const ANON: i32 = MAP_PRIVATE | MAP_ANONYMOUS;

/// The line of `/proc/self/maps` that covers `addr`.
fn map_line(addr: usize) -> Option<String> {
    let parse = |s: &str| usize::from_str_radix(s, 16).unwrap_or(0);
    text("/proc/self/maps").lines().find_map(|l| {
        let (from, to) = l.split(' ').next()?.split_once('-')?;
        (parse(from)..parse(to))
            .contains(&addr)
            .then(|| l.to_string())
    })
}

fn perms(addr: usize) -> String {
    map_line(addr)
        .and_then(|l| l.split(' ').nth(1).map(str::to_string))
        .unwrap_or_default()
}

pub static CASES: &[Case] = &[
    case!("mmap", "anonymous_memory_is_zero_and_writable", || {
        let at = map_anon(3 * PAGE, RW);
        assert!(peek_bytes(at, 3 * PAGE).iter().all(|b| *b == 0));
        poke(at + 2 * PAGE, 9);
        assert_eq!(peek(at + 2 * PAGE), 9);
    }),
    case!("mmap", "length_zero_is_einval", || sc!(
        mmap, 0, 0, RW, ANON, -1, 0
    )
    .err(EINVAL)),
    case!("mmap", "length_is_rounded_up", || {
        let at = map_anon(1, RW);
        poke(at + PAGE - 1, 1);
    }),
    case!("mmap", "huge_length_is_enomem", || {
        sc!(mmap, 0, usize::MAX - PAGE, RW, ANON, -1, 0).err(ENOMEM);
        sc!(mmap, 0, 1usize << 47, RW, ANON, -1, 0).err(ENOMEM);
    }),
    case!("mmap", "neither_shared_nor_private_is_einval", || {
        sc!(mmap, 0, PAGE, RW, MAP_ANONYMOUS, -1, 0).err(EINVAL);
    }),
    case!("mmap", "unaligned_offset_is_einval", || {
        sc!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, file("f", b"x"), 100).err(EINVAL);
    }),
    case!("mmap", "bad_descriptor_is_ebadf", || {
        sc!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, 99, 0).err(EBADF);
        sc!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, -1, 0).err(EBADF);
    }),
    case!("mmap", "anonymous_ignores_the_descriptor", || {
        sc!(mmap, 0, PAGE, RW, ANON, 99, 0).ok();
    }),
    case!("mmap", "directories_and_pipes_are_enodev", || {
        sc!(
            mmap,
            0,
            PAGE,
            PROT_READ,
            MAP_PRIVATE,
            open(".", O_RDONLY),
            0
        )
        .err(ENODEV);
        sc!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, pipe().0, 0).err_any(&[ENODEV, EACCES]);
    }),
    case!("mmap", "access_mode_rules", || {
        put("f", b"x");
        let (r, w) = (open("f", O_RDONLY), open("f", O_WRONLY));
        sc!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, w, 0).err(EACCES);
        sc!(mmap, 0, PAGE, RW, MAP_SHARED, r, 0).err(EACCES);
        sc!(mmap, 0, PAGE, RW, MAP_PRIVATE, r, 0).ok();
        sc!(mmap, 0, PAGE, PROT_READ, MAP_SHARED, r, 0).ok();
        sc!(mmap, 0, PAGE, PROT_WRITE, MAP_SHARED, w, 0).err(EACCES);
    }),
    case!("mmap", "path_descriptor_is_ebadf", || {
        put("f", b"x");
        sc!(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, open("f", O_PATH), 0).err(EBADF);
    }),
    case!("mmap", "file_content_shows_and_tail_is_zero", || {
        let at = map_fd(file("f", b"hello"), PAGE, PROT_READ, MAP_PRIVATE, 0);
        assert_eq!(peek_bytes(at, 6), b"hello\0");
        assert_eq!(peek(at + PAGE - 1), 0);
    }),
    case!("mmap", "offset_selects_the_page", || {
        let fd = file("f", [vec![1u8; PAGE], vec![2u8; PAGE]].concat());
        assert_eq!(
            peek(map_fd(fd, PAGE, PROT_READ, MAP_PRIVATE, PAGE as i64)),
            2
        );
    }),
    case!("mmap", "mapping_outlives_descriptor_and_name", || {
        let fd = file("f", b"stay");
        let at = map_fd(fd, PAGE, PROT_READ, MAP_SHARED, 0);
        close(fd);
        sc!(unlink, c"f").is(0);
        assert_eq!(peek_bytes(at, 4), b"stay");
    }),
    case!("mmap", "private_writes_stay_private", || {
        let fd = file("f", b"abc");
        let at = map_fd(fd, PAGE, RW, MAP_PRIVATE, 0);
        poke(at, b'X');
        assert_eq!(get("f"), b"abc");
        sc!(pwrite64, fd, b"Z", 1, 1).is(1);
        assert_eq!(peek(at), b'X');
    }),
    case!(
        "mmap",
        "shared_writes_reach_the_file_and_other_mappings",
        || {
            let fd = file("f", b"abc");
            let (a, b) = (
                map_fd(fd, PAGE, RW, MAP_SHARED, 0),
                map_fd(fd, PAGE, PROT_READ, MAP_SHARED, 0),
            );
            poke(a + 1, b'X');
            assert_eq!(peek(b + 1), b'X');
            assert_eq!(get("f"), b"aXc");
        }
    ),
    case!("mmap", "write_call_shows_in_a_shared_mapping", || {
        let fd = file("f", b"abc");
        let at = map_fd(fd, PAGE, PROT_READ, MAP_SHARED, 0);
        assert_eq!(peek(at), b'a');
        sc!(pwrite64, fd, b"Q", 1, 0).is(1);
        assert_eq!(peek(at), b'Q');
    }),
    case!(
        "mmap",
        "writes_behind_the_end_do_not_extend_the_file",
        || {
            let fd = file("f", b"abc");
            let at = map_fd(fd, PAGE, RW, MAP_SHARED, 0);
            poke(at + 100, 1);
            sc!(msync, at, PAGE, MS_SYNC).is(0);
            assert_eq!(fstat(fd).st_size, 3);
            sc!(ftruncate, fd, 200).is(0);
            let _ = peek(at + 100);
        }
    ),
    case!("mmap", "shared_anonymous_is_shared_with_a_child", || {
        let at = map_fd(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
        fork(|| poke(at, 42)).ok();
        assert_eq!(peek(at), 42);
    }),
    case!("mmap fork", "private_anonymous_is_copied_on_write", || {
        let at = map_anon(PAGE, RW);
        poke(at, 1);
        let gate = Gate::new();
        let child = fork(|| {
            gate.wait();
            assert_eq!(peek(at), 1);
            poke(at, 3);
        });
        poke(at, 2);
        gate.open();
        child.ok();
        assert_eq!(peek(at), 2);
    }),
    case!("mmap", "fixed_replaces_what_is_there", || {
        let at = map_anon(3 * PAGE, RW);
        poke(at + PAGE, 1);
        poke(at + 2 * PAGE, 2);
        sc!(mmap, at + PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0).is(at as i64 + PAGE as i64);
        assert_eq!((peek(at + PAGE), peek(at + 2 * PAGE)), (0, 2));
    }),
    case!("mmap", "fixed_unaligned_is_einval", || {
        let at = map_anon(PAGE, RW);
        sc!(mmap, at + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0).err(EINVAL);
    }),
    case!("mmap", "fixed_noreplace_is_eexist_on_overlap", || {
        let at = map_anon(2 * PAGE, RW);
        sc!(mmap, at, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0).err(EEXIST);
        sc!(munmap, at + PAGE, PAGE).is(0);
        let want = at as i64 + PAGE as i64;
        sc!(mmap, want, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0).is(want);
    }),
    case!("mmap", "fixed_in_kernel_space_is_enomem", || {
        let at = 0xffff_8000_0000_0000u64;
        sc!(mmap, at, PAGE, RW, ANON | MAP_FIXED, -1, 0).err(ENOMEM);
    }),
    case!("mmap", "page_zero_needs_privilege", || {
        as_nobody(|| sc!(mmap, 0, PAGE, RW, ANON | MAP_FIXED, -1, 0).err(EPERM));
    }),
    case!("mmap", "hint_is_taken_when_free", || {
        let at = map_anon(PAGE, RW);
        sc!(munmap, at, PAGE).is(0);
        sc!(mmap, at, PAGE, RW, ANON, -1, 0).is(at as i64);
    }),
    case!("mmap", "hint_in_use_goes_elsewhere", || {
        let at = map_anon(PAGE, RW);
        let other = sc!(mmap, at, PAGE, RW, ANON, -1, 0).addr();
        assert_ne!(other, at);
    }),
    case!("mmap", "thirty_two_bit_flag_maps_low", || {
        let at = sc!(mmap, 0, PAGE, RW, ANON | MAP_32BIT, -1, 0).addr();
        assert!(at < 1 << 31, "{at:#x}");
    }),
    case!("mmap mincore", "populate_makes_pages_resident", || {
        let at = sc!(mmap, 0, 8 * PAGE, RW, ANON | MAP_POPULATE, -1, 0).addr();
        let mut vec = [0u8; 8];
        sc!(mincore, at, 8 * PAGE, &mut vec).is(0);
        assert!(vec.iter().all(|v| v & 1 == 1), "{vec:?}");
    }),
    case!("mmap", "shared_validate_refuses_unknown_flags", || {
        let fd = file("f", b"x");
        let flags = MAP_SHARED_VALIDATE | 0x0200_0000;
        sc!(mmap, 0, PAGE, PROT_READ, flags, fd, 0).err(EOPNOTSUPP);
        sc!(mmap, 0, PAGE, PROT_READ, MAP_SHARED_VALIDATE, fd, 0).ok();
    }),
    case!("mmap", "growsdown_grows", || {
        let at = map_anon(64 * PAGE, PROT_NONE);
        sc!(munmap, at, 64 * PAGE).is(0);
        let top = at + 60 * PAGE;
        let flags = ANON | MAP_GROWSDOWN | MAP_FIXED;
        sc!(mmap, top, PAGE, RW, flags, -1, 0).is(top as i64);
        poke(top - PAGE, 5);
        assert_eq!(peek(top - PAGE), 5);
    }),
    case!("mmap", "neighbours_are_merged_in_maps", || {
        let at = map_anon(4 * PAGE, PROT_NONE);
        sc!(mprotect, at, 2 * PAGE, RW).is(0);
        sc!(mprotect, at + 2 * PAGE, 2 * PAGE, RW).is(0);
        assert_eq!(map_line(at), map_line(at + 3 * PAGE));
    }),
    case!("mmap", "maps_shows_the_file_and_offset", || {
        let fd = file("f", vec![0u8; 2 * PAGE]);
        let at = map_fd(fd, PAGE, PROT_READ, MAP_SHARED, PAGE as i64);
        let line = map_line(at).unwrap_or_default();
        let parts: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((parts[1], parts[2]), ("r--s", "00001000"));
        assert_eq!(parts[4], fstat(fd).st_ino.to_string());
        assert!(parts[5].ends_with("/f"));
        sc!(unlink, c"f").is(0);
        assert!(map_line(at).unwrap_or_default().ends_with("/f (deleted)"));
    }),
    case!("mmap setrlimit", "rlimit_as_is_enomem", || {
        let used: u64 = text("/proc/self/statm")
            .split(' ')
            .next()
            .unwrap_or("")
            .parse()
            .unwrap_or(0);
        let limit = (used + 1000) * PAGE as u64;
        sc!(setrlimit, RLIMIT_AS, [limit, limit]).is(0);
        sc!(mmap, 0, 2000 * PAGE, RW, ANON, -1, 0).err(ENOMEM);
        sc!(mmap, 0, 100 * PAGE, RW, ANON, -1, 0).ok();
    }),
    case!("mmap", "dev_zero_private_is_anonymous", || {
        let at = map_fd(open("/dev/zero", O_RDWR), PAGE, RW, MAP_PRIVATE, 0);
        assert_eq!(peek(at), 0);
        poke(at, 1);
    }),
    case!("munmap", "whole_and_parts", || {
        let at = map_anon(5 * PAGE, RW);
        poke(at, 1);
        poke(at + 4 * PAGE, 4);
        sc!(munmap, at + PAGE, 3 * PAGE).is(0);
        assert_eq!((peek(at), peek(at + 4 * PAGE)), (1, 4));
        assert_eq!(fault_of(|| poke(at + 2 * PAGE, 1)).sig, SIGSEGV);
    }),
    case!("munmap", "unmapped_range_is_fine", || {
        let at = map_anon(2 * PAGE, RW);
        sc!(munmap, at, 2 * PAGE).is(0);
        sc!(munmap, at, 2 * PAGE).is(0);
    }),
    case!("munmap", "errors", || {
        let at = map_anon(PAGE, RW);
        sc!(munmap, at + 1, PAGE).err(EINVAL);
        sc!(munmap, at, 0).err(EINVAL);
        sc!(munmap, at, usize::MAX).err(EINVAL);
        sc!(munmap, 0xffff_8000_0000_0000u64, PAGE).err(EINVAL);
    }),
    case!("mprotect", "removes_and_restores_rights", || {
        let at = map_anon(PAGE, RW);
        poke(at, 7);
        sc!(mprotect, at, PAGE, PROT_READ).is(0);
        assert_eq!(
            fault_of(|| poke(at, 1)),
            Fault {
                sig: SIGSEGV,
                code: 2,
                addr: at
            }
        );
        sc!(mprotect, at, PAGE, PROT_NONE).is(0);
        assert_eq!(fault_of(|| ignore(peek(at))).code, 2);
        sc!(mprotect, at, PAGE, RW).is(0);
        assert_eq!(peek(at), 7);
    }),
    case!("mprotect", "splits_mappings", || {
        let at = map_anon(3 * PAGE, RW);
        sc!(mprotect, at + PAGE, PAGE, PROT_READ).is(0);
        let got = [perms(at), perms(at + PAGE), perms(at + 2 * PAGE)];
        assert_eq!(got, ["rw-p", "r--p", "rw-p"]);
    }),
    case!("mprotect", "hole_is_enomem", || {
        let at = map_anon(3 * PAGE, RW);
        sc!(munmap, at + PAGE, PAGE).is(0);
        sc!(mprotect, at, 3 * PAGE, PROT_READ).err(ENOMEM);
    }),
    case!("mprotect", "errors", || {
        let at = map_anon(PAGE, RW);
        sc!(mprotect, at + 1, PAGE, PROT_READ).err(EINVAL);
        sc!(mprotect, at, PAGE, 0x100).err(EINVAL);
        sc!(mprotect, at, 0, PROT_READ).is(0);
        sc!(
            mprotect,
            at,
            PAGE,
            PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP
        )
        .err(EINVAL);
    }),
    case!(
        "mprotect",
        "shared_mapping_of_readonly_file_is_eacces",
        || {
            put("f", b"x");
            let at = map_fd(open("f", O_RDONLY), PAGE, PROT_READ, MAP_SHARED, 0);
            sc!(mprotect, at, PAGE, RW).err(EACCES);
        }
    ),
    case!(
        "mprotect",
        "private_mapping_of_readonly_file_may_become_writable",
        || {
            put("f", b"x");
            let at = map_fd(open("f", O_RDONLY), PAGE, PROT_READ, MAP_PRIVATE, 0);
            sc!(mprotect, at, PAGE, RW).is(0);
            poke(at, 1);
            assert_eq!(get("f"), b"x");
        }
    ),
    case!("mprotect", "execute_permission_is_enforced", || {
        let at = map_anon(PAGE, RW);
        // mov eax, 42; ret
        poke_bytes(at, &[0xb8, 42, 0, 0, 0, 0xc3]);
        let fault = fault_of(|| ignore(call_code(at)));
        assert_eq!(
            fault,
            Fault {
                sig: SIGSEGV,
                code: 2,
                addr: at
            }
        );
        sc!(mprotect, at, PAGE, PROT_READ | PROT_EXEC).is(0);
        assert_eq!(call_code(at), 42);
    }),
    case!("brk", "grows_and_shrinks", || {
        let old = sc!(brk, 0).addr();
        let new = (old + 4 * PAGE).next_multiple_of(PAGE);
        sc!(brk, new).is(new as i64);
        poke(new - 1, 1);
        sc!(brk, old).is(old as i64);
        let _ = new;
    }),
    case!("brk", "impossible_request_keeps_the_old", || {
        let old = sc!(brk, 0).ok();
        sc!(brk, 1).is(old);
        sc!(brk, usize::MAX - PAGE).is(old);
    }),
    case!("brk", "new_memory_is_zero_after_shrinking", || {
        let old = sc!(brk, 0).addr().next_multiple_of(PAGE);
        sc!(brk, old + PAGE).is((old + PAGE) as i64);
        poke(old, 7);
        sc!(brk, old).is(old as i64);
        sc!(brk, old + PAGE).is((old + PAGE) as i64);
        assert_eq!(peek(old), 0);
    }),
    case!("brk setrlimit", "rlimit_data_holds", || {
        let old = sc!(brk, 0).ok();
        sc!(setrlimit, RLIMIT_DATA, [PAGE as u64, PAGE as u64]).is(0);
        sc!(brk, old + (1 << 20)).is(old);
    }),
    case!("msync", "flags_and_errors", || {
        let at = map_fd(file("f", b"x"), PAGE, RW, MAP_SHARED, 0);
        poke(at, b'y');
        sc!(msync, at, PAGE, MS_SYNC).is(0);
        sc!(msync, at, PAGE, MS_ASYNC).is(0);
        sc!(msync, at, PAGE, MS_SYNC | MS_INVALIDATE).is(0);
        sc!(msync, at, PAGE, MS_SYNC | MS_ASYNC).err(EINVAL);
        sc!(msync, at, PAGE, 0x100).err(EINVAL);
        sc!(msync, at + 1, PAGE, MS_SYNC).err(EINVAL);
        sc!(munmap, at, PAGE).is(0);
        sc!(msync, at, PAGE, MS_SYNC).err(ENOMEM);
    }),
    case!("mmap fork", "maps_are_inherited_and_stay_separate", || {
        let at = map_anon(PAGE, RW);
        fork(|| sc!(munmap, at, PAGE).is(0)).ok();
        poke(at, 1);
    }),
    case!("mmap", "hundred_mappings_with_alternating_rights", || {
        let at = map_anon(200 * PAGE, RW);
        for i in (0..200).step_by(2) {
            sc!(mprotect, at + i * PAGE, PAGE, PROT_READ).is(0);
        }
        poke(at + 199 * PAGE, 1);
        sc!(munmap, at, 200 * PAGE).is(0);
        assert_eq!(map_line(at + 100 * PAGE), None);
    }),
    case!("mmap", "shared_write_updates_mtime", || {
        let fd = file("f", b"abc");
        let t = [timespec(1000, 0), timespec(1000, 0)];
        sc!(utimensat, AT_FDCWD, c"f", &t, 0).is(0);
        let at = map_fd(fd, PAGE, RW, MAP_SHARED, 0);
        poke(at, b'z');
        sc!(msync, at, PAGE, MS_SYNC).is(0);
        assert!(fstat(fd).st_mtime > 1000);
    }),
];
