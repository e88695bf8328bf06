//! /proc and /sys: that the files exist and have the shape that programs parse.

use super::Family;
use crate::prelude::*;

pub const GROUPS: Family = &[CASES];

/// "Key:   value kB" lines.
fn has_keys(file: &str, keys: &[&str]) {
    let all = text(file);
    for key in keys {
        assert!(
            all.lines().any(|l| l.split(':').next() == Some(key)),
            "{file} has no {key}"
        );
    }
}

fn link(name: &str) -> String {
    std::fs::read_link(name)
        .map(|p| p.to_string_lossy().into_owned())
        .unwrap_or_default()
}

static CASES: &[Case] = &[
    case!("read", "self_stat_has_52_fields", || {
        let line = text("/proc/self/stat");
        let close = line.rfind(')').unwrap_or(0);
        assert_eq!(line[close + 2..].split_whitespace().count(), 50);
        assert!(
            line.starts_with(&format!("{} (keel-compat) R ", getpid())),
            "{line}"
        );
    }),
    case!("read", "self_stat_fields_agree_with_calls", || {
        let me = getpid();
        let field = |n| {
            stat_field(me, n)
                .and_then(|s| s.parse::<i64>().ok())
                .unwrap_or(-1)
        };
        assert_eq!(field(4), sc!(getppid).ok());
        assert_eq!(field(5), sc!(getpgrp).ok());
        assert_eq!(field(6), sc!(getsid, 0).ok());
        assert_eq!(field(20), 1);
        assert!(field(22) > 0 && field(23) > 0 && field(24) > 0);
    }),
    case!("read", "self_status_keys", || {
        has_keys(
            "/proc/self/status",
            &[
                "Name",
                "Umask",
                "State",
                "Tgid",
                "Ngid",
                "Pid",
                "PPid",
                "TracerPid",
                "Uid",
                "Gid",
                "FDSize",
                "Groups",
                "VmPeak",
                "VmSize",
                "VmLck",
                "VmHWM",
                "VmRSS",
                "RssAnon",
                "RssFile",
                "RssShmem",
                "VmData",
                "VmStk",
                "VmExe",
                "VmLib",
                "VmPTE",
                "VmSwap",
                "Threads",
                "SigQ",
                "SigPnd",
                "ShdPnd",
                "SigBlk",
                "SigIgn",
                "SigCgt",
                "CapInh",
                "CapPrm",
                "CapEff",
                "CapBnd",
                "CapAmb",
                "NoNewPrivs",
                "Cpus_allowed",
                "Cpus_allowed_list",
                "voluntary_ctxt_switches",
                "nonvoluntary_ctxt_switches",
            ],
        );
    }),
    case!("read", "self_status_follows_changes", || {
        let _ = sc!(umask, 0o137).ok();
        assert_eq!(status_field(getpid(), "Umask"), "0137");
        sigmask(SIG_BLOCK, bit(SIGUSR1));
        assert_eq!(status_field(getpid(), "SigBlk"), "0000000000000200");
        assert_eq!(status_field(getpid(), "Threads"), "1");
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        let t = std::thread::spawn(move || ignore(rx.recv()));
        assert_eq!(status_field(getpid(), "Threads"), "2");
        drop(tx);
        let _ = t.join();
    }),
    case!("read", "self_statm_has_seven_numbers", || {
        let line = text("/proc/self/statm");
        let n: Vec<u64> = line
            .split_whitespace()
            .filter_map(|s| s.parse().ok())
            .collect();
        assert!(n.len() == 7 && n[0] > n[1] && n[1] >= n[2]);
    }),
    case!("read", "self_maps_lines_are_well_formed", || {
        let mut last = 0;
        for line in text("/proc/self/maps").lines() {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let (from, to) = parts[0].split_once('-').unwrap_or_default();
            let hex = |s| u64::from_str_radix(s, 16).unwrap_or(u64::MAX);
            assert!(hex(from) < hex(to) && hex(from) >= last, "{line}");
            last = hex(to);
            assert!(
                parts[1].len() == 4 && parts[2].len() == 8 && parts[3].contains(':'),
                "{line}"
            );
        }
        let all = text("/proc/self/maps");
        for name in ["[stack]", "[heap]", "[vdso]"] {
            assert!(all.contains(name), "no {name}");
        }
    }),
    case!("read", "self_smaps_and_rollup", || {
        let smaps = text("/proc/self/smaps");
        for key in [
            "Size:",
            "Rss:",
            "Pss:",
            "Private_Dirty:",
            "Anonymous:",
            "VmFlags:",
        ] {
            assert!(smaps.contains(key), "no {key}");
        }
        has_keys(
            "/proc/self/smaps_rollup",
            &["Rss", "Pss", "Private_Dirty", "Swap"],
        );
    }),
    case!("read", "self_pagemap_marks_present_pages", || {
        let at = map_anon(2 * PAGE, PROT_READ | PROT_WRITE);
        poke(at, 1);
        let fd = open("/proc/self/pagemap", O_RDONLY);
        let mut e = [0u64; 2];
        sc!(pread64, fd, &mut e, 16, at / PAGE * 8).is(16);
        assert_eq!(e.map(|x| x >> 63), [1, 0]);
    }),
    case!("read", "self_mem_reads_and_writes_memory", || {
        let at = map_anon(PAGE, PROT_READ);
        let fd = open("/proc/self/mem", O_RDWR);
        sc!(pwrite64, fd, b"via mem", 7, at).is(7);
        assert_eq!(peek_bytes(at, 7), b"via mem");
        let mut b = [0u8; 1];
        sc!(pread64, fd, &mut b, 1, 8).err(EIO);
    }),
    case!("read", "self_cmdline_environ_auxv", || {
        assert!(text("/proc/self/cmdline").contains("keel-compat"));
        assert!(text("/proc/self/cmdline").ends_with('\0'));
        let _ = text("/proc/self/environ");
        let auxv = get("/proc/self/auxv");
        assert!(auxv.len().is_multiple_of(16) && auxv.ends_with(&[0; 16]));
    }),
    case!("write", "self_comm_can_be_written", || {
        std::fs::write("/proc/self/comm", "renamed").unwrap_or_else(|e| panic!("{e}"));
        let mut b = [0u8; 16];
        sc!(prctl, PR_GET_NAME, &mut b).is(0);
        assert_eq!(&b[..8], b"renamed\0");
    }),
    case!("readlink", "self_exe_cwd_root", || {
        assert!(link("/proc/self/exe").ends_with("/keel-compat"));
        let cwd = std::env::current_dir().unwrap_or_default();
        assert_eq!(link("/proc/self/cwd"), cwd.to_string_lossy());
        assert_eq!(link("/proc/self/root"), "/");
    }),
    case!("readlink", "self_and_thread_self", || {
        assert_eq!(link("/proc/self"), getpid().to_string());
        assert_eq!(
            link("/proc/thread-self"),
            format!("{}/task/{}", getpid(), gettid())
        );
    }),
    case!("readlink", "deleted_file_is_marked", || {
        let fd = file("f", b"");
        sc!(unlink, c"f").is(0);
        assert!(link(&format!("/proc/self/fd/{fd}")).ends_with("/f (deleted)"));
    }),
    case!("readlink", "fd_names_by_kind", || {
        let name = |fd| link(&format!("/proc/self/fd/{fd}"));
        assert!(name(socketpair(SOCK_STREAM).0).starts_with("socket:["));
        assert_eq!(name(sc!(eventfd2, 0, 0).fd()), "anon_inode:[eventfd]");
        assert_eq!(name(sc!(epoll_create1, 0).fd()), "anon_inode:[eventpoll]");
        assert_eq!(name(sc!(timerfd_create, 1, 0).fd()), "anon_inode:[timerfd]");
        assert_eq!(name(sc!(inotify_init1, 0).fd()), "anon_inode:inotify");
    }),
    case!("read", "fdinfo_shows_position_and_flags", || {
        let fd = open("f", O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC);
        write_all(fd, b"abc");
        let info = text(&format!("/proc/self/fdinfo/{fd}"));
        assert!(info.starts_with("pos:\t3\n"), "{info}");
        assert!(
            info.contains("flags:\t02102002\n") || info.contains("flags:\t0210200"),
            "{info}"
        );
        assert!(info.contains("mnt_id:\t"));
    }),
    case!("read", "fdinfo_of_eventfd_shows_the_count", || {
        let fd = sc!(eventfd2, 7, 0).fd();
        assert!(
            text(&format!("/proc/self/fdinfo/{fd}")).contains("eventfd-count:                7")
        );
    }),
    case!("read", "self_limits_table", || {
        let all = text("/proc/self/limits");
        assert_eq!(all.lines().count(), 17);
        assert!(all.starts_with("Limit                     Soft Limit"));
        assert!(all.contains("Max open files"));
    }),
    case!("read", "self_io_counts", || {
        let count = || -> u64 {
            let all = text("/proc/self/io");
            let line = all
                .lines()
                .find(|l| l.starts_with("wchar:"))
                .unwrap_or("")
                .to_string();
            line.split_whitespace()
                .nth(1)
                .and_then(|s| s.parse().ok())
                .unwrap_or(0)
        };
        if !exists("/proc/self/io") {
            skip("no task I/O accounting");
        }
        let before = count();
        write_all(file("f", b""), [0u8; 1000]);
        assert!(count() >= before + 1000);
    }),
    case!("getdents64", "task_lists_threads", || {
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        let t = std::thread::spawn(move || ignore(rx.recv()));
        let n = std::fs::read_dir("/proc/self/task")
            .map(Iterator::count)
            .unwrap_or(0);
        assert_eq!(n, 2);
        drop(tx);
        let _ = t.join();
    }),
    case!("read", "task_children", || {
        let child = fork(|| sleep_ms(60_000));
        let path = format!("/proc/self/task/{}/children", gettid());
        if !exists(&path) {
            skip("no children file");
        }
        assert_eq!(text(&path).trim(), child.pid.to_string());
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("read", "mounts_and_mountinfo", || {
        assert!(
            text("/proc/mounts")
                .lines()
                .all(|l| l.split(' ').count() == 6)
        );
        let info = text("/proc/self/mountinfo");
        assert!(info.lines().all(|l| l.contains(" - ")), "{info}");
        assert!(info.lines().any(|l| l.split(' ').nth(4) == Some("/")));
    }),
    case!("read", "meminfo_keys", || {
        has_keys(
            "/proc/meminfo",
            &[
                "MemTotal",
                "MemFree",
                "MemAvailable",
                "Buffers",
                "Cached",
                "SwapTotal",
                "SwapFree",
                "Dirty",
                "Writeback",
                "AnonPages",
                "Mapped",
                "Shmem",
                "Slab",
                "CommitLimit",
                "Committed_AS",
            ],
        );
    }),
    case!("read", "proc_stat_keys", || {
        let all = text("/proc/stat");
        assert!(all.starts_with("cpu  "));
        for key in [
            "cpu0 ",
            "intr ",
            "ctxt ",
            "btime ",
            "processes ",
            "procs_running ",
            "softirq ",
        ] {
            assert!(all.lines().any(|l| l.starts_with(key)), "no {key}");
        }
        assert!(
            all.lines()
                .take(2)
                .all(|l| l.split_whitespace().count() == 11)
        );
    }),
    case!("read", "btime_is_now_minus_uptime", || {
        let all = text("/proc/stat");
        let line = all
            .lines()
            .find(|l| l.starts_with("btime"))
            .unwrap_or("")
            .to_string();
        let btime: i64 = line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        let want = (clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME)) / 1_000_000_000;
        assert!((btime - want).abs() <= 2);
    }),
    case!("read", "uptime_and_loadavg", || {
        let up = text("/proc/uptime");
        assert_eq!(
            up.split_whitespace()
                .filter_map(|s| s.parse::<f64>().ok())
                .count(),
            2
        );
        let load = text("/proc/loadavg");
        let parts: Vec<&str> = load.split_whitespace().collect();
        assert!(parts.len() == 5 && parts[3].contains('/'), "{load}");
    }),
    case!("read", "cpuinfo_has_each_cpu", || {
        let info = text("/proc/cpuinfo");
        let n = info
            .lines()
            .filter(|l| l.starts_with("processor\t:"))
            .count();
        let stat = text("/proc/stat");
        let want = stat.lines().filter(|l| l.starts_with("cpu")).count() - 1;
        assert_eq!(n, want);
        assert!(info.contains("flags\t\t:") && info.contains("model name\t:"));
    }),
    case!("read", "version_and_filesystems", || {
        assert!(text("/proc/version").starts_with("Linux version "));
        let fs = text("/proc/filesystems");
        for name in ["nodev\ttmpfs", "nodev\tproc", "\text4"] {
            assert!(fs.lines().any(|l| l == name), "no {name}");
        }
    }),
    case!("read", "sys_kernel_values", || {
        let n: u64 = text("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0);
        assert!(n >= 32768);
        assert_eq!(text("/proc/sys/kernel/ostype"), "Linux\n");
        assert_eq!(text("/proc/sys/kernel/ngroups_max"), "65536\n");
        let id = text("/proc/sys/kernel/random/boot_id");
        assert_eq!((id.len(), id.matches('-').count()), (37, 4));
        assert_ne!(
            text("/proc/sys/kernel/random/uuid"),
            text("/proc/sys/kernel/random/uuid")
        );
        assert_eq!(text("/proc/sys/kernel/cap_last_cap").trim(), "40");
    }),
    case!("read", "sys_fs_and_vm_values", || {
        let n = |f: &str| {
            text(f)
                .split_whitespace()
                .next()
                .and_then(|s| s.parse::<u64>().ok())
        };
        assert!(n("/proc/sys/fs/file-max").is_some_and(|v| v > 1000));
        assert!(n("/proc/sys/fs/nr_open").is_some_and(|v| v >= 1024));
        assert_eq!(n("/proc/sys/fs/pipe-max-size"), Some(1048576));
        assert!(n("/proc/sys/vm/overcommit_memory").is_some_and(|v| v <= 2));
        assert!(n("/proc/sys/vm/max_map_count").is_some_and(|v| v >= 65530));
        assert_eq!(text("/proc/sys/fs/file-nr").split_whitespace().count(), 3);
    }),
    case!("write", "sys_values_refuse_nobody", || {
        as_nobody(|| {
            sc!(openat, AT_FDCWD, c"/proc/sys/kernel/hostname", O_WRONLY, 0).err(EACCES);
        });
    }),
    case!("openat", "other_users_processes_are_protected", || {
        as_nobody(|| {
            sc!(openat, AT_FDCWD, c"/proc/1/environ", O_RDONLY, 0).err(EACCES);
            sc!(openat, AT_FDCWD, c"/proc/1/mem", O_RDONLY, 0).err(EACCES);
            let mut b = [0u8; 64];
            sc!(readlink, c"/proc/1/exe", &mut b, 64).err(EACCES);
            sc!(openat, AT_FDCWD, c"/proc/1/status", O_RDONLY, 0).ok();
        });
    }),
    case!("openat", "a_dead_process_has_no_directory", || {
        let child = fork(|| ());
        child.ok();
        assert!(!exists(&format!("/proc/{}", child.pid)));
    }),
    case!("read", "open_file_of_a_dead_process_is_esrch", || {
        let child = fork(|| sleep_ms(60_000));
        let fd = open(&format!("/proc/{}/status", child.pid), O_RDONLY);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
        let mut b = [0u8; 64];
        sc!(read, fd, &mut b, 64).err(ESRCH);
    }),
    case!("openat", "creating_in_proc_is_refused", || {
        let r = sc!(openat, AT_FDCWD, c"/proc/new-file", O_CREAT | O_RDWR, 0o600);
        r.err_any(&[ENOENT, EACCES, EPERM]);
        sc!(mkdir, c"/proc/new-dir", 0o755).err_any(&[ENOENT, EACCES, EPERM]);
        sc!(unlink, c"/proc/version").err_any(&[EPERM, EACCES]);
    }),
    case!("readlink", "namespace_links", || {
        if !exists("/proc/self/ns/uts") {
            skip("no namespaces");
        }
        for kind in ["mnt", "uts", "pid"] {
            let l = link(&format!("/proc/self/ns/{kind}"));
            assert!(l.starts_with(&format!("{kind}:[")), "{l}");
        }
        let mine = link("/proc/self/ns/mnt");
        fork(|| assert_eq!(link("/proc/self/ns/mnt"), mine)).ok();
    }),
    case!("write", "oom_score_adj_round_trip", || {
        std::fs::write("/proc/self/oom_score_adj", "500").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(text("/proc/self/oom_score_adj"), "500\n");
        assert!(std::fs::write("/proc/self/oom_score_adj", "1001").is_err());
        let _ = text("/proc/self/oom_score");
    }),
    case!("read", "wchan_syscall_and_stack_exist", || {
        let child = fork(|| ignore(sc!(pause).errno()));
        wait_asleep(child.pid);
        let path = format!("/proc/{}/syscall", child.pid);
        if !exists(&path) {
            skip("no syscall file");
        }
        assert!(text(&path).starts_with(&format!("{} ", SYS_pause)));
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("read", "seeking_backwards_reads_again", || {
        let fd = open("/proc/self/stat", O_RDONLY);
        let first = read_some(fd, 20);
        sc!(lseek, fd, 0, SEEK_SET).is(0);
        assert_eq!(read_some(fd, 20), first);
        let all = get("/proc/self/status");
        let fd = open("/proc/self/status", O_RDONLY);
        let mut parts = Vec::new();
        loop {
            let part = read_some(fd, 7);
            if part.is_empty() {
                break;
            }
            parts.extend(part);
        }
        assert_eq!(parts[..200], all[..200]);
    }),
    case!("read", "sys_devices_and_block", || {
        let online = text("/sys/devices/system/cpu/online");
        assert!(online.starts_with('0'), "{online}");
        assert!(std::fs::read_dir("/sys/block").is_ok() && std::fs::read_dir("/sys/class").is_ok());
        assert!(exists("/sys/class/tty") && exists("/sys/class/mem/null"));
        assert_eq!(text("/sys/class/mem/null/dev"), "1:3\n");
    }),
    case!("read", "proc_net_and_devices", || {
        let dev = text("/proc/devices");
        assert!(dev.contains("Character devices:") && dev.contains("  1 mem"));
        if !exists("/proc/net/unix") {
            skip("no network");
        }
        assert!(text("/proc/net/unix").starts_with("Num "));
    }),
    case!("read", "sysvipc_and_locks", || {
        let fd = file("f", b"");
        sc!(flock, fd, LOCK_EX).is(0);
        let ino = fstat(fd).st_ino.to_string();
        let locks = text("/proc/locks");
        let want = format!(":{ino} 0 EOF");
        assert!(
            locks
                .lines()
                .any(|l| l.contains("FLOCK") && l.contains(&want)),
            "{locks}"
        );
    }),
];
