//! Holds every structure against the C headers of the machine that runs the test.

extern crate std;

use core::mem::offset_of;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::format;
use std::process::Command;
use std::string::{String, ToString};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

/// What the `uapi!` macro records of a structure.
pub(super) struct Layout {
    pub c_name: &'static str,
    pub header: &'static str,
    pub size: usize,
    pub align: usize,
    /// Name, C name if it differs, offset, size.
    pub fields: &'static [(&'static str, &'static [&'static str], usize, usize)],
}

/// The size of what a field accessor returns.
pub(super) const fn size_of_field<S, F>(_: fn(&S) -> F) -> usize {
    size_of::<F>()
}

fn all() -> impl Iterator<Item = &'static Layout> {
    [
        super::aio::LAYOUTS,
        super::file::LAYOUTS,
        super::frame::LAYOUTS,
        super::ipc::LAYOUTS,
        super::mount::LAYOUTS,
        super::net::LAYOUTS,
        super::poll::LAYOUTS,
        super::process::LAYOUTS,
        super::security::LAYOUTS,
        super::signal::LAYOUTS,
        super::system::LAYOUTS,
        super::time::LAYOUTS,
        super::tty::LAYOUTS,
    ]
    .into_iter()
    .flatten()
}

/// The C name of a field; `None` for padding and for fields newer than the headers.
fn c_field<'a>(name: &'a str, other: &[&'a str]) -> Option<&'a str> {
    match other.first() {
        Some(&"") => None,
        Some(&other) => Some(other),
        None if name.starts_with('_') => None,
        None => Some(name.trim_start_matches("r#")),
    }
}

/// Compiles and runs a C program, and reads `key value` lines from it.
fn ask_c(includes: &str, body: &str) -> HashMap<String, i64> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("keel-abi-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (source, program) = (dir.join("ask.c"), dir.join("ask"));
    let mut text = String::from("#define _GNU_SOURCE\n#include <stddef.h>\n");
    for header in includes.split_whitespace() {
        writeln!(text, "#include <{header}>").unwrap();
    }
    write!(
        text,
        "int printf(const char *, ...);\nint main(void) {{\n{body}return 0; }}\n"
    )
    .unwrap();
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc")
        .arg("-w")
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .output()
        .expect("these tests need a C compiler, cc, and the C library's headers");
    assert!(
        built.status.success(),
        "{includes}: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    let output = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(key, value)| (key.to_string(), value.parse().unwrap()))
        .collect()
}

#[test]
fn layouts_are_those_of_the_headers() {
    let mut by_header: BTreeMap<&str, Vec<&Layout>> = BTreeMap::new();
    for layout in all().filter(|layout| !layout.header.is_empty()) {
        by_header.entry(layout.header).or_default().push(layout);
    }
    let mut wrong = Vec::new();
    for (header, layouts) in by_header {
        let mut body = String::new();
        for layout in &layouts {
            let c = layout.c_name;
            writeln!(body, "printf(\"{c} (size) %zu\\n\", sizeof({c}));").unwrap();
            writeln!(body, "printf(\"{c} (align) %zu\\n\", _Alignof({c}));").unwrap();
            for (name, other, ..) in layout.fields {
                let Some(field) = c_field(name, other) else {
                    continue;
                };
                writeln!(
                    body,
                    "printf(\"{c} {name} %zu\\n\", offsetof({c}, {field}));"
                )
                .unwrap();
                writeln!(
                    body,
                    "printf(\"{c} {name}. %zu\\n\", sizeof((({c} *)0)->{field}));"
                )
                .unwrap();
            }
        }
        let theirs = ask_c(header, &body);
        for layout in layouts {
            let is_newer = layout.fields.iter().any(|(_, other, ..)| other == &[""]);
            let mut check = |what: &str, ours: usize, may_exceed: bool| {
                let theirs = theirs[&format!("{} {what}", layout.c_name)] as usize;
                if theirs != ours && !(may_exceed && ours > theirs) {
                    wrong.push(format!("{} {what}: C {theirs}, ours {ours}", layout.c_name));
                }
            };
            check("(size)", layout.size, is_newer);
            check("(align)", layout.align, false);
            for (name, other, offset, size) in layout.fields {
                if c_field(name, other).is_some() {
                    check(name, *offset, false);
                    check(&format!("{name}."), *size, false);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares size and offsets with a structure of the bindings, field by field.
macro_rules! same_layout {
    ($ours:ident, $theirs:path { $($field:ident)* }) => {
        assert_eq!(size_of::<super::$ours>(), size_of::<$theirs>(), stringify!($ours));
        $(assert_eq!(
            offset_of!(super::$ours, $field),
            offset_of!($theirs, $field),
            concat!(stringify!($ours), ".", stringify!($field))
        );)*
    };
}

/// What Debian 12's headers do not have yet.
#[test]
fn newer_layouts_are_those_of_the_bindings() {
    use linux_raw_sys::{general, io_uring, landlock, net};
    same_layout!(Statx, general::statx {
        stx_subvol stx_atomic_write_unit_min stx_atomic_write_unit_max
        stx_atomic_write_segments_max stx_dio_read_offset_align stx_atomic_write_unit_max_opt
    });
    same_layout!(XattrArgs, general::xattr_args { value size flags });
    same_layout!(FileAttr, general::file_attr {
        fa_xflags fa_extsize fa_nextents fa_projid fa_cowextsize
    });
    same_layout!(CachestatRange, general::cachestat_range { off len });
    same_layout!(Cachestat, general::cachestat {
        nr_cache nr_dirty nr_writeback nr_evicted nr_recently_evicted
    });
    same_layout!(MntIdReq, general::mnt_id_req { size spare mnt_id param mnt_ns_id });
    same_layout!(Statmount, general::statmount {
        size mnt_opts mask sb_dev_major sb_dev_minor sb_magic sb_flags fs_type mnt_id mnt_parent_id
        mnt_id_old mnt_parent_id_old mnt_attr mnt_propagation mnt_peer_group mnt_master
        propagate_from mnt_root mnt_point mnt_ns_id fs_subtype sb_source opt_num opt_array
        opt_sec_num opt_sec_array supported_mask mnt_uidmap_num mnt_uidmap mnt_gidmap_num mnt_gidmap
    });
    same_layout!(LandlockRulesetAttr, landlock::landlock_ruleset_attr {
        handled_access_fs handled_access_net scoped
    });
    same_layout!(LandlockNetPortAttr, landlock::landlock_net_port_attr { allowed_access port });
    same_layout!(IoSqringOffsets, io_uring::io_sqring_offsets { user_addr });
    same_layout!(IoCqringOffsets, io_uring::io_cqring_offsets { user_addr });
    same_layout!(IoUringParams, io_uring::io_uring_params { sq_off cq_off });
    same_layout!(TcpInfo, net::tcp_info {
        tcpi_rcv_wnd tcpi_rehash tcpi_total_rto tcpi_total_rto_recoveries tcpi_total_rto_time
    });
}

#[test]
fn siginfo_members_are_where_c_has_them() {
    use super::Siginfo;
    let members = [
        "si_pid",
        "si_uid",
        "si_status",
        "si_utime",
        "si_stime",
        "si_value",
        "si_tid",
        "si_overrun",
        "si_addr",
        "si_addr_lsb",
        "si_pkey",
        "si_band",
        "si_fd",
        "si_call_addr",
        "si_syscall",
        "si_arch",
        "si_lower",
        "si_upper",
    ];
    let mut body = String::new();
    for member in members {
        writeln!(
            body,
            "printf(\"{member} %zu\\n\", offsetof(siginfo_t, {member}));"
        )
        .unwrap();
    }
    let theirs = ask_c("linux/types.h asm/siginfo.h", &body);
    for (member, offset) in Siginfo::MEMBERS {
        assert_eq!(theirs[*member], *offset as i64, "{member}");
    }
    assert_eq!(Siginfo::MEMBERS.len(), members.len());
}

/// The constants in the sources of `flags/`, as C names and values.
fn constants(source: &str) -> Vec<(String, i64)> {
    let mut prefix = "";
    let mut found = Vec::new();
    for line in source.lines().map(str::trim) {
        if line.ends_with('{') {
            prefix = line
                .split("prefix \"")
                .nth(1)
                .and_then(|r| r.split('"').next())
                .unwrap_or("");
        }
        let Some((name, value)) = line.strip_suffix(',').and_then(|l| l.split_once(" = ")) else {
            continue;
        };
        if !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            continue;
        }
        let value = match value.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap().cast_signed(),
            None => value.parse().unwrap(),
        };
        let digits = name
            .strip_prefix('_')
            .filter(|n| n.starts_with(|c: char| c.is_ascii_digit()));
        found.push((format!("{prefix}{}", digits.unwrap_or(name)), value));
    }
    found
}

/// Asks for the values of constants that a set of headers knows, as macros or (`enums`) as enum constants.
fn ask_constants(headers: &str, names: &[&str], enums: bool) -> HashMap<String, i64> {
    let mut body = String::new();
    for name in names {
        if !enums {
            writeln!(body, "#ifdef {name}").unwrap();
        }
        writeln!(body, "printf(\"{name} %lld\\n\", (long long)({name}));").unwrap();
        if !enums {
            writeln!(body, "#endif").unwrap();
        }
    }
    ask_c(headers, &body)
}

#[test]
fn constants_are_those_of_the_headers() {
    let sources = [
        include_str!("../flags/file.rs"),
        include_str!("../flags/ioctl.rs"),
        include_str!("../flags/ipc.rs"),
        include_str!("../flags/memory.rs"),
        include_str!("../flags/mount.rs"),
        include_str!("../flags/net.rs"),
        include_str!("../flags/notify.rs"),
        include_str!("../flags/poll.rs"),
        include_str!("../flags/process.rs"),
        include_str!("../flags/sched.rs"),
        include_str!("../flags/security.rs"),
        include_str!("../flags/signal.rs"),
        include_str!("../flags/system.rs"),
        include_str!("../flags/time.rs"),
        include_str!("../flags/tty.rs"),
    ];
    let ours: Vec<_> = sources
        .iter()
        .flat_map(|source| constants(source))
        .collect();
    let names: Vec<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
    let mut known: HashMap<String, Vec<i64>> = HashMap::new();
    for headers in HEADER_SETS {
        for (name, value) in ask_constants(headers, &names, false) {
            known.entry(name).or_default().push(value);
        }
    }
    for (headers, list) in ENUM_CONSTANTS {
        let list: Vec<&str> = list.split_whitespace().collect();
        for (name, value) in ask_constants(headers, &list, true) {
            known.entry(name).or_default().push(value);
        }
    }
    for &(name, value) in NEWER.iter().copied().flatten() {
        known.entry(name.to_string()).or_default().push(value);
    }
    // C prints an `int` with the top bit set as negative; the bindings print it as an unsigned number.
    let same = |a: i64, b: i64| a == b || (a as u32 == b as u32 && a >> 32 == -(b >> 31 & 1));
    let mut wrong = Vec::new();
    for (name, value) in &ours {
        match known.get(name) {
            Some(theirs) if theirs.iter().any(|&t| same(t, *value) || same(*value, t)) => {}
            Some(theirs) => wrong.push(format!("{name}: C {theirs:#x?}, ours {value:#x}")),
            None if ELSEWHERE.contains(&name.as_str()) => {}
            None => wrong.push(format!("{name}: in no header")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Headers that can be included together and that define constants as macros.
const HEADER_SETS: &[&str] = &[
    "linux/types.h linux/fcntl.h linux/fs.h linux/fiemap.h linux/stat.h linux/mman.h linux/memfd.h \
     linux/falloc.h linux/openat2.h linux/xattr.h linux/fadvise.h linux/close_range.h linux/mount.h \
     linux/sched.h linux/wait.h linux/resource.h linux/prctl.h asm/prctl.h linux/ptrace.h \
     asm/ptrace-abi.h linux/userfaultfd.h linux/magic.h",
    "asm/signal.h asm/siginfo.h linux/signalfd.h linux/futex.h linux/timerfd.h linux/timex.h \
     linux/inotify.h linux/fanotify.h linux/eventpoll.h asm/poll.h linux/perf_event.h",
    "asm/ioctls.h asm/termbits.h asm/termios.h linux/hdreg.h linux/sockios.h linux/vt.h linux/kd.h \
     linux/rtc.h linux/random.h linux/loop.h linux/nsfs.h linux/if_tun.h linux/cdrom.h linux/quota.h \
     linux/fs.h linux/fiemap.h linux/timerfd.h",
    "linux/capability.h linux/securebits.h linux/seccomp.h linux/landlock.h linux/keyctl.h \
     linux/reboot.h linux/module.h linux/io_uring.h linux/pidfd.h linux/elf.h \
     linux/fiemap.h",
    "sys/socket.h netinet/in.h netinet/tcp.h linux/netlink.h",
    "net/if.h sys/sem.h sys/mman.h sys/file.h sys/swap.h sys/shm.h sys/msg.h unistd.h sys/epoll.h \
     sys/wait.h sys/eventfd.h",
    "linux/in.h linux/in6.h linux/tcp.h linux/udp.h asm/socket.h",
    "linux/mempolicy.h",
];

/// Constants that are enumerators, which `#ifdef` cannot see.
const ENUM_CONSTANTS: &[(&str, &str)] = &[
    (
        "linux/kcmp.h",
        "KCMP_FILE KCMP_VM KCMP_FILES KCMP_FS KCMP_SIGHAND KCMP_IO KCMP_SYSVSEM KCMP_EPOLL_TFD",
    ),
    (
        "linux/mempolicy.h",
        "MPOL_DEFAULT MPOL_PREFERRED MPOL_BIND MPOL_INTERLEAVE MPOL_LOCAL MPOL_PREFERRED_MANY",
    ),
    (
        "linux/mount.h",
        "FSCONFIG_SET_FLAG FSCONFIG_SET_STRING FSCONFIG_SET_BINARY FSCONFIG_SET_PATH \
         FSCONFIG_SET_PATH_EMPTY FSCONFIG_SET_FD FSCONFIG_CMD_CREATE FSCONFIG_CMD_RECONFIGURE",
    ),
    (
        "sys/mount.h",
        "MNT_FORCE MNT_DETACH MNT_EXPIRE UMOUNT_NOFOLLOW",
    ),
    (
        "sys/statvfs.h",
        "ST_RDONLY ST_NOSUID ST_NODEV ST_NOEXEC ST_SYNCHRONOUS ST_MANDLOCK",
    ),
    ("sys/statvfs.h", "ST_NOATIME ST_NODIRATIME ST_RELATIME"),
    (
        "linux/personality.h",
        "UNAME26 ADDR_NO_RANDOMIZE FDPIC_FUNCPTRS MMAP_PAGE_ZERO ADDR_COMPAT_LAYOUT \
         READ_IMPLIES_EXEC ADDR_LIMIT_32BIT SHORT_INODE WHOLE_SECONDS STICKY_TIMEOUTS ADDR_LIMIT_3GB",
    ),
    (
        "linux/ioprio.h",
        "IOPRIO_WHO_PROCESS IOPRIO_WHO_PGRP IOPRIO_WHO_USER IOPRIO_CLASS_NONE IOPRIO_CLASS_RT \
         IOPRIO_CLASS_BE IOPRIO_CLASS_IDLE",
    ),
    (
        "linux/membarrier.h",
        "MEMBARRIER_CMD_QUERY MEMBARRIER_CMD_GLOBAL MEMBARRIER_CMD_GLOBAL_EXPEDITED \
         MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED MEMBARRIER_CMD_PRIVATE_EXPEDITED \
         MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE \
         MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ \
         MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ MEMBARRIER_CMD_FLAG_CPU",
    ),
    (
        "linux/types.h linux/landlock.h",
        "LANDLOCK_RULE_PATH_BENEATH",
    ),
    (
        "linux/bpf.h",
        "BPF_MAP_CREATE BPF_MAP_LOOKUP_ELEM BPF_MAP_UPDATE_ELEM BPF_MAP_DELETE_ELEM \
         BPF_MAP_GET_NEXT_KEY BPF_PROG_LOAD BPF_OBJ_PIN BPF_OBJ_GET BPF_PROG_ATTACH BPF_PROG_DETACH \
         BPF_PROG_TEST_RUN BPF_PROG_GET_NEXT_ID BPF_MAP_GET_NEXT_ID BPF_PROG_GET_FD_BY_ID \
         BPF_MAP_GET_FD_BY_ID BPF_OBJ_GET_INFO_BY_FD BPF_PROG_QUERY BPF_RAW_TRACEPOINT_OPEN \
         BPF_BTF_LOAD BPF_BTF_GET_FD_BY_ID",
    ),
    ("linux/if.h", "IFF_LOWER_UP IFF_DORMANT IFF_ECHO"),
    ("linux/rseq.h", "RSEQ_FLAG_UNREGISTER"),
    ("linux/types.h linux/signal.h", "SS_AUTODISARM"),
    ("fcntl.h", "O_ASYNC"),
    ("linux/tty.h", "N_TTY"),
    ("linux/fs.h linux/blkpg.h", "BLKPG"),
];

/// Pairs of name and value from the bindings of a later kernel than the C headers.
macro_rules! bindings {
    ($from:item $($name:ident)*) => {{
        $from
        &[$((stringify!($name), $name as i64),)*]
    }};
}

/// Constants of kernels later than 6.1, whose headers Debian 12 has.
const NEWER: &[&[(&str, i64)]] = &[
    bindings! {
        use linux_raw_sys::general::*;
        AT_EXECVE_CHECK F_DUPFD_QUERY F_CREATED_QUERY F_SEAL_EXEC FALLOC_FL_WRITE_ZEROES
        MFD_NOEXEC_SEAL MFD_EXEC STATX_MNT_ID_UNIQUE STATX_SUBVOL STATX_WRITE_ATOMIC
        STATX_DIO_READ_ALIGN STATX_ATTR_WRITE_ATOMIC FUTEX2_SIZE_U16 FUTEX2_SIZE_U32 FUTEX2_NUMA
        FUTEX2_MPOL FUTEX2_PRIVATE MAP_DROPPABLE MAP_ABOVE4G MADV_GUARD_INSTALL
        MADV_GUARD_REMOVE SHADOW_STACK_SET_TOKEN SHADOW_STACK_SET_MARKER MOVE_MOUNT_BENEATH
        STATMOUNT_SB_BASIC STATMOUNT_MNT_BASIC STATMOUNT_PROPAGATE_FROM STATMOUNT_MNT_ROOT
        STATMOUNT_MNT_POINT STATMOUNT_FS_TYPE STATMOUNT_MNT_NS_ID STATMOUNT_MNT_OPTS
        STATMOUNT_FS_SUBTYPE STATMOUNT_SB_SOURCE STATMOUNT_OPT_ARRAY STATMOUNT_OPT_SEC_ARRAY
        STATMOUNT_SUPPORTED_MASK STATMOUNT_MNT_UIDMAP STATMOUNT_MNT_GIDMAP LISTMOUNT_REVERSE
        SCHED_EXT SEGV_CPERR PID_FS_MAGIC
    },
    bindings! {
        use linux_raw_sys::general::fsconfig_command::*;
        FSCONFIG_CMD_CREATE_EXCL
    },
    bindings! {
        use linux_raw_sys::general::membarrier_cmd::*;
        MEMBARRIER_CMD_GET_REGISTRATIONS
    },
    bindings! {
        use linux_raw_sys::mempolicy::*;
        MPOL_WEIGHTED_INTERLEAVE
    },
    bindings! {
        use linux_raw_sys::net::*;
        MSG_PROBE SOL_UDP SO_PASSPIDFD SO_PEERPIDFD SCM_SECURITY
    },
    bindings! {
        use linux_raw_sys::prctl::*;
        PR_SET_MDWE PR_GET_MDWE PR_GET_AUXV PR_SET_MEMORY_MERGE PR_GET_MEMORY_MERGE
        PR_GET_SHADOW_STACK_STATUS PR_SET_SHADOW_STACK_STATUS PR_LOCK_SHADOW_STACK_STATUS
        PR_TIMER_CREATE_RESTORE_IDS PR_FUTEX_HASH
    },
    bindings! {
        use linux_raw_sys::ptrace::*;
        PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
        PTRACE_SET_SYSCALL_INFO
    },
    bindings! {
        use linux_raw_sys::landlock::*;
        LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON
        LANDLOCK_RESTRICT_SELF_LOG_SUBDOMAINS_OFF LANDLOCK_ACCESS_FS_TRUNCATE
        LANDLOCK_ACCESS_FS_IOCTL_DEV LANDLOCK_ACCESS_NET_BIND_TCP
        LANDLOCK_ACCESS_NET_CONNECT_TCP
    },
    bindings! {
        use linux_raw_sys::landlock::landlock_rule_type::*;
        LANDLOCK_RULE_NET_PORT
    },
    bindings! {
        use linux_raw_sys::io_uring::*;
        IORING_ENTER_ABS_TIMER IORING_ENTER_EXT_ARG_REG IORING_ENTER_NO_IOWAIT
    },
];

/// Constants that stand in neither: from man pages, and commands that the kernel's own headers name.
const ELSEWHERE: &[&str] = &[
    "RWF_NOAPPEND", // preadv2(2)
    "RWF_ATOMIC",
    "RWF_DONTCACHE",
    "SWAP_FLAG_DISCARD_ONCE", // swapon(8)
    "SWAP_FLAG_DISCARD_PAGES",
    "ST_VALID", // statfs(2) as the kernel gives it
    "ST_NOSYMFOLLOW",
    "SOL_VSOCK",
    "SCM_PIDFD",
    "PIDFD_THREAD", // pidfd_open(2)
    "PIDFD_SIGNAL_THREAD",
    "PIDFD_SIGNAL_THREAD_GROUP",
    "PIDFD_SIGNAL_PROCESS_GROUP",
    "ARCH_SHSTK_ENABLE",
    "ARCH_SHSTK_DISABLE",
    "ARCH_SHSTK_LOCK",
    "ARCH_SHSTK_UNLOCK",
    "ARCH_SHSTK_STATUS",
    "MQUEUE_MAGIC",
    "SYSLOG_ACTION_CLOSE", // syslog(2)
    "SYSLOG_ACTION_OPEN",
    "SYSLOG_ACTION_READ",
    "SYSLOG_ACTION_READ_ALL",
    "SYSLOG_ACTION_READ_CLEAR",
    "SYSLOG_ACTION_CLEAR",
    "SYSLOG_ACTION_CONSOLE_OFF",
    "SYSLOG_ACTION_CONSOLE_ON",
    "SYSLOG_ACTION_CONSOLE_LEVEL",
    "SYSLOG_ACTION_SIZE_UNREAD",
    "SYSLOG_ACTION_SIZE_BUFFER",
];
