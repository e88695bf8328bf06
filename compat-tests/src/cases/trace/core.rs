//! Core files (core(5)), kcmp(2), acct(2).

use crate::prelude::*;

/// Whether core files go to plain files named `core` here.
fn need_plain_cores() {
    if text("/proc/sys/kernel/core_pattern").trim() != "core" {
        skip("core_pattern is not plain");
    }
    need_root();
}

fn core_limit(soft: u64) {
    let limit = rlimit {
        rlim_cur: soft,
        rlim_max: RLIM_INFINITY,
    };
    sc!(prlimit64, 0, RLIMIT_CORE, &raw const limit, 0).is(0);
}

/// The child's core file, and whether its status says that there is one.
fn dump(limit: u64, f: impl FnOnce()) -> (Option<Vec<u8>>, bool) {
    if !exists("here") {
        dir("here");
    }
    let child = fork(|| {
        sc!(chdir, c"here").is(0);
        core_limit(limit);
        f();
    });
    let status = child.wait();
    assert_eq!(status.signal(), Some(SIGSEGV));
    let name = ["here/core".to_string(), format!("here/core.{}", child.pid)];
    let core = name.iter().find(|name| exists(name)).map(|name| get(name));
    (core, status.0 & 0x80 != 0)
}

fn half(core: &[u8], at: usize) -> u16 {
    from_bytes(&core[at..])
}

fn word(core: &[u8], at: usize) -> u32 {
    from_bytes(&core[at..])
}

fn long(core: &[u8], at: usize) -> u64 {
    from_bytes(&core[at..])
}

/// Program headers: type, offset, address, size in the file.
fn segments(core: &[u8]) -> Vec<(u32, u64, u64, u64)> {
    let (at, count) = (long(core, 32) as usize, usize::from(half(core, 56)));
    (0..count)
        .map(|i| at + 56 * i)
        .map(|at| {
            (
                word(core, at),
                long(core, at + 8),
                long(core, at + 16),
                long(core, at + 32),
            )
        })
        .collect()
}

/// The notes: type and contents.
fn notes(core: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let (_, offset, _, size) = segments(core)[0];
    let (mut at, end) = (offset as usize, (offset + size) as usize);
    let mut found = Vec::new();
    while at < end {
        let [name, len] = [word(core, at) as usize, word(core, at + 4) as usize];
        let body = at + 12 + name.next_multiple_of(4);
        found.push((word(core, at + 8), core[body..body + len].to_vec()));
        at = body + len.next_multiple_of(4);
    }
    found
}

fn crash() {
    // Without the handler that tells of stack overflows.
    set_disposition(SIGSEGV, SIG_DFL);
    sc!(kill, getpid(), SIGSEGV).is(0);
}

pub static CASES: &[Case] = &[
    case!("kill wait4", "core_file_holds_registers_and_memory", || {
        need_plain_cores();
        let at = map_anon(PAGE, PROT_READ | PROT_WRITE);
        let (core, said) = dump(RLIM_INFINITY, || {
            poke_bytes(at, b"found in the core");
            crash();
        });
        let core = core.expect("a core file");
        assert!(said);
        assert_eq!((&core[..4], half(&core, 16)), (&b"\x7fELF"[..], 4));
        let kinds: Vec<u32> = notes(&core).iter().map(|(kind, _)| *kind).collect();
        // NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO, NT_AUXV, NT_FILE
        for kind in [1, 3, 0x5349_4749, 6, 0x4649_4c45] {
            assert!(kinds.contains(&kind), "{kind:#x}");
        }
        let (_, siginfo) = &notes(&core)[2];
        assert_eq!(word(siginfo, 0) as i32, SIGSEGV);
        let segment = segments(&core)
            .into_iter()
            .find(|(kind, _, start, size)| {
                *kind == 1 && (*start..*start + *size).contains(&(at as u64))
            })
            .expect("the mapping");
        let offset = (segment.1 + at as u64 - segment.2) as usize;
        assert_eq!(&core[offset..offset + 17], b"found in the core");
    }),
    case!("kill wait4", "core_file_has_every_thread", || {
        need_plain_cores();
        let (core, _) = dump(RLIM_INFINITY, || {
            for _ in 0..3 {
                std::thread::spawn(|| sleep_ms(60_000));
            }
            sleep_ms(100);
            crash();
        });
        let threads = notes(&core.expect("a core file"))
            .iter()
            .filter(|(kind, _)| *kind == 1)
            .count();
        assert_eq!(threads, 4);
    }),
    case!("prlimit64 wait4", "no_core_file_beyond_the_limit", || {
        need_plain_cores();
        assert_eq!(dump(0, crash), (None, false));
        let (core, said) = dump(8192, crash);
        assert!(said);
        assert!(core.expect("a core file").len() <= 8192);
    }),
    case!("prctl wait4", "no_core_file_of_who_is_not_dumpable", || {
        need_plain_cores();
        let (core, said) = dump(RLIM_INFINITY, || {
            sc!(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0).is(0);
            crash();
        });
        assert_eq!((core, said), (None, false));
    }),
    case!("read write", "coredump_filter_is_inherited", || {
        assert_eq!(text("/proc/self/coredump_filter"), "00000033\n");
        put("/proc/self/coredump_filter", "0x10");
        fork(|| assert_eq!(text("/proc/self/coredump_filter"), "00000010\n")).ok();
        put("/proc/self/coredump_filter", "0x33");
    }),
    case!("kcmp", "tells_what_is_shared", || {
        let me = getpid();
        let f = file("f", "x");
        let same = sc!(dup, f).fd();
        let other = open("f", O_RDONLY);
        sc!(kcmp, me, me, 0, f, same).skip_on(&[ENOSYS]).is(0);
        assert_ne!(sc!(kcmp, me, me, 0, f, other).ok(), 0);
        sc!(kcmp, me, me, 0, f, 999).err(EBADF);
        let (r, w) = pipe();
        let child = fork(|| ignore(read_some(r, 1)));
        // A child has copies of memory, tables and handlers, but the same open files.
        sc!(kcmp, me, child.pid, 0, f, f).is(0);
        for kind in [1, 2, 3, 4] {
            let there = sc!(kcmp, me, child.pid, kind, 0, 0).ok();
            let back = sc!(kcmp, child.pid, me, kind, 0, 0).ok();
            assert_eq!(there + back, 3, "kind {kind}: {there} and {back}");
        }
        write_all(w, b"x");
        child.ok();
        std::thread::spawn(move || {
            for kind in [1, 2, 3, 4] {
                sc!(kcmp, me, gettid(), kind, 0, 0).is(0);
            }
        })
        .join()
        .unwrap();
        sc!(kcmp, me, me, 99, 0, 0).err(EINVAL);
        sc!(kcmp, me, 1 << 22, 1, 0, 0).err(ESRCH);
        as_nobody(|| sc!(kcmp, 1, 1, 1, 0, 0).err(EPERM));
    }),
    case!("kcmp", "finds_what_epoll_watches", || {
        let me = getpid();
        sc!(kcmp, me, me, 1, 0, 0).skip_on(&[ENOSYS]).is(0);
        let (r, _w) = pipe();
        let ep = sc!(epoll_create1, 0).fd();
        let event = [EPOLLIN as u32, 0, 0];
        sc!(epoll_ctl, ep, EPOLL_CTL_ADD, r, &event).is(0);
        let slot = [ep as u32, r as u32, 0];
        sc!(kcmp, me, me, 7, r, &slot).is(0);
        let slot = [ep as u32, r as u32, 1];
        sc!(kcmp, me, me, 7, r, &slot).err(ENOENT);
    }),
    case!("acct", "records_processes_that_end", || {
        need_root();
        put("records", "");
        sc!(acct, c"records").skip_on(&[ENOSYS, EPERM]).is(0);
        let child = fork(|| {
            sc!(prctl, PR_SET_NAME, c"accounted").is(0);
            exit(3);
        });
        child.exits(3);
        sc!(acct, 0).is(0);
        let records = get("records");
        if records.is_empty() {
            // Accounting pauses below 4% of free space, by default.
            skip("nothing is recorded here: the disk may be too full");
        }
        assert_eq!(records.len() % 64, 0);
        let record = records
            .chunks(64)
            .find(|record| record[48..].starts_with(b"accounted\0"))
            .expect("the child's record");
        // Forked without exec, version 3; exit code, pid, parent.
        assert_eq!((record[0] & 1, record[1] & 0xf), (1, 3));
        assert_eq!(word(record, 4), 3 << 8);
        assert_eq!(word(record, 16) as i32, child.pid);
        assert_eq!(word(record, 20) as i32, getpid());
    }),
    case!("acct", "errors", || {
        need_root();
        sc!(acct, c"missing").skip_on(&[ENOSYS, EPERM]).err(ENOENT);
        sc!(acct, c"/").err(EISDIR);
        sc!(acct, c"/dev/null").err(EACCES);
        as_nobody(|| sc!(acct, 0).err(EPERM));
    }),
];
