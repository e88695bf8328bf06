//! The system as a whole: identity, information, random numbers, logs, AIO, privileged switches.

use super::Family;

mod keys;
use crate::prelude::*;

pub const GROUPS: Family = &[CASES, keys::CASES];

fn as_text(b: &[u8]) -> String {
    b.iter()
        .take_while(|c| **c != 0)
        .map(|c| char::from(*c))
        .collect()
}

/// Expects EPERM as nobody; a kernel built without the call answers ENOSYS.
#[track_caller]
fn privileged(call: impl FnOnce() -> Ret) {
    as_nobody(|| call().skip_on(&[ENOSYS]).err(EPERM));
}

static CASES: &[Case] = &[
    case!("uname", "fields_and_machine", || {
        let mut u = [0u8; 390];
        sc!(uname, &mut u).is(0);
        assert_eq!(as_text(&u[260..]), "x86_64");
        assert_eq!(as_text(&u), "Linux");
        let release = as_text(&u[130..]);
        assert!(
            release.split('.').take(2).all(|p| p.parse::<u32>().is_ok()),
            "{release}"
        );
        assert_eq!(text("/proc/sys/kernel/osrelease").trim(), release);
        assert_eq!(text("/proc/sys/kernel/hostname").trim(), as_text(&u[65..]));
        sc!(uname, BAD).err(EFAULT);
    }),
    case!(
        "sethostname setdomainname",
        "in_a_namespace_of_ones_own",
        || {
            need_root();
            fork(|| {
                sc!(unshare, CLONE_NEWUTS).skip_on(&[EINVAL]).is(0);
                sc!(sethostname, b"keel-host", 9).is(0);
                sc!(setdomainname, b"keel.dom", 8).is(0);
                let mut u = [0u8; 390];
                sc!(uname, &mut u).is(0);
                assert_eq!(
                    (as_text(&u[65..]), as_text(&u[325..])),
                    ("keel-host".into(), "keel.dom".into())
                );
                sc!(sethostname, [b'x'; 65], 65).err(EINVAL);
                sc!(sethostname, b"x", -1).err(EINVAL);
                sc!(sethostname, BAD, 4).err(EFAULT);
            })
            .ok();
        }
    ),
    case!("sethostname setdomainname", "need_privilege", || {
        as_nobody(|| {
            sc!(sethostname, b"x", 1).err(EPERM);
            sc!(setdomainname, b"x", 1).err(EPERM);
        });
    }),
    case!("sysinfo", "memory_and_uptime", || {
        let mut s = [0u64; 14];
        sc!(sysinfo, &mut s).is(0);
        let uptime: f64 = text("/proc/uptime")
            .split(' ')
            .next()
            .unwrap_or("")
            .parse()
            .unwrap_or(0.0);
        assert!((s[0] as f64 - uptime).abs() < 5.0);
        let total = text("/proc/meminfo")
            .lines()
            .next()
            .unwrap_or("")
            .to_string();
        let kib: u64 = total
            .split_whitespace()
            .nth(1)
            .unwrap_or("")
            .parse()
            .unwrap_or(0);
        let unit = s[13] as u32 as u64;
        assert_eq!(s[4] * unit.max(1) / 1024, kib);
        assert!(s[5] <= s[4]);
        sc!(sysinfo, BAD).err(EFAULT);
    }),
    case!("getrandom", "fills_and_differs", || {
        let (mut a, mut b) = ([0u8; 64], [0u8; 64]);
        sc!(getrandom, &mut a, 64, 0).is(64);
        sc!(getrandom, &mut b, 64, GRND_NONBLOCK).is(64);
        assert!(a != b && a != [0; 64]);
        sc!(getrandom, &mut a, 0, 0).is(0);
        sc!(getrandom, &mut a, 64, 0x100).err(EINVAL);
        sc!(getrandom, &mut a, 64, 6).err(EINVAL);
        sc!(getrandom, BAD, 64, 0).err(EFAULT);
    }),
    case!("getrandom", "a_megabyte_in_one_call", || {
        let mut big = vec![0u8; 1 << 20];
        sc!(getrandom, &mut big, big.len(), 0).is(1 << 20);
        let ones: u32 = big.iter().map(|b| b.count_ones()).sum();
        assert!(
            (4_100_000..4_290_000).contains(&ones),
            "{ones} of 8388608 bits"
        );
    }),
    case!("read", "dev_urandom_and_random", || {
        let a = read_some(open("/dev/urandom", O_RDONLY), 32);
        let b = read_some(open("/dev/random", O_RDONLY), 32);
        assert!(a.len() == 32 && b.len() == 32 && a != b);
    }),
    case!("syslog", "sizes_and_privilege", || {
        need_root();
        assert!(sc!(syslog, 10, 0, 0).skip_on(&[ENOSYS]).ok() > 0);
        sc!(syslog, 99, 0, 0).err(EINVAL);
        as_nobody(|| sc!(syslog, 5, 0, 0).err(EPERM));
    }),
    case!("sync", "always_succeeds", || sc!(sync).is(0)),
    case!("reboot", "wrong_magic_and_no_privilege", || {
        as_nobody(|| sc!(reboot, 0xfee1_deadu32, 672274793, 0, 0).err(EPERM));
        need_root();
        sc!(reboot, 1, 2, 0, 0).err(EINVAL);
    }),
    case!("swapon", "needs_privilege", || privileged(|| sc!(
        swapon, c"f", 0
    ))),
    case!("swapoff", "needs_privilege", || privileged(|| sc!(
        swapoff, c"f"
    ))),
    case!("vhangup", "needs_privilege", || privileged(|| sc!(vhangup))),
    case!("init_module", "needs_privilege", || privileged(|| sc!(
        init_module,
        0,
        0,
        c""
    ))),
    case!("delete_module", "needs_privilege", || privileged(|| sc!(
        delete_module,
        c"x",
        0
    ))),
    case!("finit_module", "needs_privilege", || privileged(|| sc!(
        finit_module,
        0,
        c"",
        0
    ))),
    case!("kexec_load", "needs_privilege", || privileged(|| sc!(
        kexec_load, 0, 0, 0, 0
    ))),
    case!("iopl", "needs_privilege", || privileged(|| sc!(iopl, 3))),
    case!("ioperm", "needs_privilege", || privileged(|| sc!(
        ioperm, 0x80, 1, 1
    ))),
    case!("iopl", "bad_level_is_einval", || sc!(iopl, 4)
        .skip_on(&[ENOSYS])
        .err(EINVAL)),
    case!("ioperm", "permits_the_port", || {
        need_root();
        sc!(ioperm, 0x80, 1, 1).skip_on(&[ENOSYS, EPERM]).is(0);
        execute_in();
        sc!(ioperm, 0x80, 1, 0).is(0);
        assert_eq!(fault_of(execute_in).sig, SIGSEGV);
        sc!(ioperm, 65536, 1, 1).err(EINVAL);
    }),
    case!("bpf", "errors", || {
        as_nobody(|| {
            sc!(bpf, 0, [0u32; 18], 72)
                .skip_on(&[ENOSYS])
                .err_any(&[EPERM, EINVAL])
        });
    }),
    case!("perf_event_open", "errors", || {
        let attr = [0u64; 16];
        let r = sc!(perf_event_open, &attr, 0, -1, -1, 0x1000);
        r.skip_on(&[ENOSYS]).err(EINVAL);
    }),
    case!("userfaultfd", "flags", || {
        let r = sc!(userfaultfd, O_CLOEXEC).skip_on(&[ENOSYS, EPERM]);
        sc!(fcntl, r.fd(), F_GETFD).is(1);
        sc!(userfaultfd, 0x100).err(EINVAL);
    }),
    case!(
        "io_setup io_submit io_getevents io_destroy",
        "one_read",
        || {
            let mut ctx = 0u64;
            sc!(io_setup, 4, &raw mut ctx).skip_on(&[ENOSYS]).is(0);
            let ctx = *std::hint::black_box(&mut ctx);
            let fd = file("f", b"async");
            let buf = map_anon(PAGE, PROT_READ | PROT_WRITE);
            // data, key, opcode PREAD, fd, buf, nbytes, offset, reserved, flags.
            let cb = [77u64, 0, (fd as u64) << 32, buf as u64, 5, 0, 0, 0];
            sc!(io_submit, ctx, 1, [cb.raw()]).is(1);
            let mut ev = [0u64; 4];
            sc!(io_getevents, ctx, 1, 1, &mut ev, 0).is(1);
            assert_eq!((ev[0], ev[2]), (77, 5));
            assert_eq!(peek_bytes(buf, 5), b"async");
            sc!(io_destroy, ctx).is(0);
            sc!(io_destroy, ctx).err(EINVAL);
        }
    ),
    case!("io_setup io_cancel", "errors", || {
        let mut ctx = 0u64;
        sc!(io_setup, 0, &raw mut ctx)
            .skip_on(&[ENOSYS])
            .err(EINVAL);
        sc!(io_setup, 1, BAD).err(EFAULT);
        sc!(io_cancel, 0, 0, 0).err_any(&[EINVAL, EFAULT]);
        sc!(io_submit, 0, 1, 0).err(EINVAL);
    }),
    case!(
        "io_uring_setup io_uring_enter",
        "no_operation_completes",
        || {
            let mut p = [0u32; 30];
            let fd = sc!(io_uring_setup, 4, &mut p)
                .skip_on(&[ENOSYS, EPERM])
                .fd();
            assert_eq!((p[0], p[1]), (4, 8));
            let rw = PROT_READ | PROT_WRITE;
            let ring = map_fd(fd, 8192, rw, MAP_SHARED, 0);
            let sqes = map_fd(fd, 4 * 64, rw, MAP_SHARED, 0x1000_0000);
            // Offsets of sq_off (from word 10): head, tail, mask, entries, flags, dropped, array.
            poke_bytes(sqes + 32, &55u64.to_ne_bytes());
            word_at(ring + p[16] as usize).store(0, SeqCst);
            word_at(ring + p[11] as usize).store(1, SeqCst);
            sc!(io_uring_enter, fd, 1, 1, 1, 0, 0).is(1);
            // cq_off from word 20: head, tail, mask, entries, overflow, cqes.
            assert_eq!(word_at(ring + p[21] as usize).load(SeqCst), 1);
            assert_eq!(long_at(ring + p[25] as usize).load(SeqCst), 55);
        }
    ),
    case!("io_uring_setup io_uring_register", "errors", || {
        let mut p = [0u32; 30];
        let r = sc!(io_uring_setup, 0, &mut p);
        r.skip_on(&[ENOSYS, EPERM]).err(EINVAL);
        p[2] = 1 << 30;
        sc!(io_uring_setup, 4, &mut p).err(EINVAL);
        sc!(io_uring_enter, 99, 0, 0, 0, 0, 0).err(EBADF);
        sc!(io_uring_register, 99, 0, 0, 0).err(EBADF);
    }),
    case!("modify_ldt", "reading_an_empty_table", || {
        let mut b = [0u8; 64];
        sc!(modify_ldt, 0, &mut b, 64).skip_on(&[ENOSYS]).is(0);
        // The call answers its error in 32 bits.
        let r = sc!(modify_ldt, 99, &mut b, 64);
        assert!(r.errno() == ENOSYS || r.ok() as i32 == -ENOSYS);
    }),
    case!("sysfs", "file_system_names_by_index", || {
        let n = sc!(sysfs, 3).skip_on(&[ENOSYS]).ok();
        assert!(n > 3);
        sc!(sysfs, 1, c"proc").ok();
        sc!(sysfs, 1, c"nosuchfs").err(EINVAL);
        sc!(sysfs, 9).err(EINVAL);
    }),
    case!("quotactl", "errors", || {
        let r = sc!(quotactl, 0x800001u32 << 8, c"/none", 0, 0);
        r.skip_on(&[ENOSYS]).err_any(&[ENOENT, EINVAL, ENOTBLK]);
    }),
    case!("quotactl_fd", "errors", || {
        sc!(quotactl_fd, 99, 0x8000_0700u32, 0, 0)
            .skip_on(&[ENOSYS])
            .err_any(&[EBADF, EINVAL]);
    }),
    case!(
        "restart_syscall",
        "without_anything_to_restart_is_eintr",
        || {
            sc!(restart_syscall).err(EINTR);
        }
    ),
    case!("getpmsg", "unimplemented_calls_are_enosys", || {
        sc!(getpmsg).err(ENOSYS);
        sc!(putpmsg).err(ENOSYS);
        sc!(afs_syscall).err(ENOSYS);
        sc!(tuxcall).err(ENOSYS);
        sc!(security).err(ENOSYS);
        sc!(vserver).err(ENOSYS);
        sc!(nfsservctl).err(ENOSYS);
    }),
    case!("getpid", "numbers_without_a_call_are_enosys", || {
        for nr in [340, 400, 423, 600, 1_000_000, -1] {
            by_number(nr).err(ENOSYS);
        }
    }),
    case!("move_pages migrate_pages", "on_a_single_node", || {
        let at = map_anon(PAGE, PROT_READ | PROT_WRITE);
        poke(at, 1);
        let mut status = [9i32; 1];
        let r = sc!(move_pages, 0, 1, [at], 0, &mut status, 0);
        r.skip_on(&[ENOSYS]).is(0);
        assert_eq!(status[0], 0);
        sc!(move_pages, 1 << 22, 1, [at], 0, &mut status, 0).err(ESRCH);
        sc!(migrate_pages, 0, 64, [1u64], [1u64])
            .skip_on(&[ENOSYS])
            .is(0);
    }),
];
