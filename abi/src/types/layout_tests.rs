//! Holds every structure against the C headers of the machine that runs the test.

extern crate std;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::format;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::string::{String, ToString};
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
        .unwrap();
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
    let mut wrong = Vec::new();
    let newer: Vec<&str> = NEWER.split_whitespace().collect();
    for (name, value) in &ours {
        match known.get(name) {
            // A C `int` constant with the top bit set prints as negative.
            Some(theirs)
                if theirs.iter().any(|t| {
                    t == value || *t as u32 as i64 == *value as u32 as i64 && t >> 31 == -1
                }) => {}
            Some(theirs) => wrong.push(format!("{name}: C {theirs:#x?}, ours {value:#x}")),
            None if newer.contains(&name.as_str()) => {}
            None => wrong.push(format!("{name}: in no header")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Headers that can be included together and that define constants as macros.
const HEADER_SETS: &[&str] = &[
    "linux/types.h linux/fcntl.h linux/fs.h linux/fiemap.h linux/stat.h linux/mman.h linux/memfd.h linux/falloc.h \
     linux/openat2.h linux/xattr.h linux/fadvise.h linux/close_range.h linux/mount.h linux/sched.h \
     linux/wait.h linux/resource.h linux/prctl.h asm/prctl.h linux/ptrace.h asm/ptrace-abi.h \
     linux/userfaultfd.h linux/mempolicy.h linux/magic.h",
    "asm/signal.h asm/siginfo.h linux/signalfd.h linux/futex.h linux/timerfd.h linux/time.h \
     linux/timex.h linux/eventfd.h linux/inotify.h linux/fanotify.h linux/eventpoll.h asm/poll.h \
     linux/ipc.h linux/shm.h linux/sem.h linux/msg.h linux/pidfd.h linux/perf_event.h",
    "asm/ioctls.h asm/termbits.h linux/hdreg.h linux/sockios.h linux/vt.h linux/kd.h linux/rtc.h \
     linux/random.h linux/loop.h linux/nsfs.h linux/if_tun.h linux/cdrom.h linux/quota.h linux/fs.h",
    "linux/capability.h linux/securebits.h linux/seccomp.h linux/landlock.h linux/keyctl.h \
     linux/reboot.h linux/random.h linux/module.h linux/io_uring.h linux/membarrier.h linux/sched.h",
    "sys/socket.h netinet/in.h netinet/tcp.h linux/netlink.h linux/ioprio.h",
    "net/if.h sys/sem.h sys/mman.h sys/file.h sys/swap.h sys/statvfs.h sys/klog.h sys/timerfd.h \
     sys/ipc.h sys/shm.h sys/msg.h unistd.h sys/resource.h sys/epoll.h sys/inotify.h sys/wait.h \
     sys/signalfd.h sys/eventfd.h sys/personality.h sys/timex.h sys/ptrace.h sys/mount.h",
    "linux/in.h linux/in6.h linux/tcp.h linux/udp.h linux/socket.h asm/socket.h linux/if.h",
];

/// Constants that are enumerators, which `#ifdef` cannot see.
const ENUM_CONSTANTS: &[(&str, &str)] = &[(
    "linux/kcmp.h",
    "KCMP_FILE KCMP_VM KCMP_FILES KCMP_FS KCMP_SIGHAND KCMP_IO KCMP_SYSVSEM KCMP_EPOLL_TFD",
)];

/// Constants of kernels later than 6.1, Debian 12's headers, and those that stand in no UAPI header.
const NEWER: &str = "";
