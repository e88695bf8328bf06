//! The crate's text against Linux's own: the host's /proc is parsed into the records, walked through the crate's
//! tree, and must come out byte for byte.

mod host;
mod net;
mod system;
mod task;

use host::Host;
use keel_procfs::*;
use system::HostSystem;

/// The node at a path below /proc; links on the way are followed by their text.
fn walk(sys: &HostSystem, path: &str) -> Result<Node> {
    path.split('/').try_fold(Node::root(), |node, name| {
        let next = node.lookup(sys, name.as_bytes())?;
        if next.file_type() == FileType::Symlink && next.magic().is_none() {
            let target = String::from_utf8(next.readlink(sys)?).unwrap();
            return walk(sys, &target);
        }
        Ok(next)
    })
}

fn read(sys: &HostSystem, path: &str) -> Result<Vec<u8>> {
    let mut handle = Handle::open(sys, &walk(sys, path)?)?;
    let mut all = Vec::new();
    let mut piece = [0; 1000];
    loop {
        let count = handle.read_at(sys, all.len() as u64, &mut piece)?;
        if count == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&piece[..count]);
    }
}

/// What the comparison of many files found.
#[derive(Default)]
struct Tally {
    same: u32,
    different: Vec<String>,
}

impl Tally {
    /// Compares a file with Linux's text, if Linux has it.
    fn file(&mut self, sys: &HostSystem, path: &str) {
        let own = path.replacen("self", &std::process::id().to_string(), 1);
        let Some(linux) = sys.host.snapshots.bytes(&own) else {
            return;
        };
        let ours = read(sys, path).unwrap_or_else(|e| panic!("/proc/{path}: {e:?}"));
        if ours == linux {
            self.same += 1;
            return;
        }
        let (ours, linux) = (
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&linux),
        );
        let pair = ours.lines().zip(linux.lines()).find(|(a, b)| a != b);
        let sizes = format!(
            "{} lines, Linux {}",
            ours.lines().count(),
            linux.lines().count()
        );
        self.different
            .push(format!("/proc/{path}: {sizes}: {pair:#?}"));
    }

    /// All files must be the same, and so many at least.
    fn finish(self, least: u32) {
        assert!(self.different.is_empty(), "{}", self.different.join("\n"));
        assert!(
            self.same >= least,
            "Linux has only {} of the files",
            self.same
        );
    }
}

#[test]
fn files_of_a_process_are_as_on_linux() {
    let sys = HostSystem::new();
    let mut tally = Tally::default();
    for file in [
        "stat",
        "statm",
        "status",
        "maps",
        "smaps",
        "limits",
        "io",
        "mounts",
        "mountinfo",
        "mountstats",
        "cgroup",
        "cpuset",
        "comm",
        "cmdline",
        "environ",
        "auxv",
        "oom_score",
        "oom_score_adj",
        "oom_adj",
        "wchan",
        "personality",
        "loginuid",
        "sessionid",
        "timerslack_ns",
        "coredump_filter",
        "schedstat",
        "syscall",
        "stack",
        "uid_map",
        "gid_map",
        "projid_map",
        "setgroups",
        "autogroup",
        "timens_offsets",
    ] {
        tally.file(&sys, &format!("self/{file}"));
    }
    tally.finish(25);
}

#[test]
fn stat_of_every_process_comes_out_again() {
    let sys = HostSystem::new();
    let mut from = 0;
    while let Some(pid) = sys.next_process(from) {
        from = pid + 1;
        let Ok(linux) = sys.host.snapshots.text(&format!("{pid}/stat")) else {
            continue;
        };
        let mut text = Text::new();
        task::parse_stat(&linux);
        keel_procfs::task::stat::stat(&task::parse_stat(&linux), &mut text).unwrap();
        assert_eq!(String::from_utf8_lossy(text.as_bytes()), linux);
        let Ok(linux) = sys.host.snapshots.text(&format!("{pid}/status")) else {
            continue;
        };
        let mut text = Text::new();
        keel_procfs::task::stat::status(&task::parse_status(&linux), &mut text).unwrap();
        assert_eq!(String::from_utf8_lossy(text.as_bytes()), linux);
    }
}

#[test]
fn smaps_rollup_is_as_on_linux() {
    let host = Host::default();
    let Ok(linux) = host.snapshots.text("self/smaps_rollup") else {
        return;
    };
    let (start, end, sum) = task::parse_rollup(&linux);
    let mut text = Text::new();
    keel_procfs::task::maps::rollup(start, end, &sum, &mut text).unwrap();
    assert_eq!(String::from_utf8_lossy(text.as_bytes()), linux);
}

#[test]
fn files_of_the_machine_are_as_on_linux() {
    let sys = HostSystem::new();
    let mut tally = Tally::default();
    for file in [
        "meminfo",
        "stat",
        "uptime",
        "loadavg",
        "version",
        "cmdline",
        "cpuinfo",
        "filesystems",
        "devices",
        "interrupts",
        "softirqs",
        "vmstat",
        "misc",
        "partitions",
        "diskstats",
        "swaps",
        "buddyinfo",
        "slabinfo",
        "tty/drivers",
        "tty/ldiscs",
        "cgroups",
        "key-users",
        "keys",
        "crypto",
        "iomem",
        "ioports",
        "dma",
        "execdomains",
        "pressure/cpu",
        "pressure/io",
        "pressure/memory",
        "sysvipc/shm",
        "sysvipc/sem",
        "sysvipc/msg",
    ] {
        tally.file(&sys, file);
    }
    // Linux 6.10 added a flag.
    let console = sys.host.snapshots.text("consoles").unwrap_or_default();
    if console.lines().all(|line| {
        line.find(')')
            .zip(line.find('('))
            .is_some_and(|(b, a)| b - a == 7)
    }) {
        tally.file(&sys, "consoles");
    }
    tally.finish(20);
}

#[test]
fn locks_are_as_on_linux() {
    let sys = HostSystem::new();
    let waiting = sys
        .host
        .snapshots
        .text("locks")
        .is_ok_and(|text| text.contains("->"));
    let mut tally = Tally::default();
    if !waiting {
        tally.file(&sys, "locks");
    }
    tally.finish(0);
}

#[test]
fn files_of_the_network_are_as_on_linux() {
    let sys = HostSystem::new();
    let mut tally = Tally::default();
    for file in [
        "dev",
        "dev_mcast",
        "ptype",
        "softnet_stat",
        "sockstat",
        "unix",
        "netlink",
        "arp",
        "icmp",
        "netstat",
        "raw",
        "route",
        "snmp",
        "tcp",
        "udp",
        "icmp6",
        "if_inet6",
        "ipv6_route",
        "raw6",
        "snmp6",
        "sockstat6",
        "tcp6",
        "udp6",
    ] {
        tally.file(&sys, &format!("self/net/{file}"));
    }
    // Linux 6.5 took a column away.
    let own = format!("{}/net/protocols", std::process::id());
    if sys
        .host
        .snapshots
        .text(&own)
        .is_ok_and(|text| text.contains(" sp "))
    {
        tally.file(&sys, "self/net/protocols");
    }
    tally.finish(15);
}

/// Every sysctl that the table and the host both have: same text, same mode.
#[test]
fn sysctls_are_as_on_linux() {
    use std::os::unix::fs::PermissionsExt;
    let sys = HostSystem::new();
    let mut tally = Tally::default();
    for ctl in Ctl::all() {
        let path = format!("sys/{}", ctl.path().replace('*', "lo"));
        let Ok(meta) = std::fs::metadata(format!("/proc/{path}")) else {
            continue;
        };
        let Ok(node) = walk(&sys, &path) else {
            continue;
        };
        // Random on each read.
        if ctl.path() != "kernel/random/uuid" {
            tally.file(&sys, &path);
        }
        // The mode of these depends on the reader's capabilities.
        if ctl.path().ends_with("_next_id") {
            continue;
        }
        let (ours, linux) = (
            node.attr(&sys).unwrap().mode & 0o777,
            meta.permissions().mode() & 0o777,
        );
        if ours != linux {
            tally
                .different
                .push(format!("/proc/{path}: mode {ours:o}, Linux {linux:o}"));
        }
    }
    tally.finish(150);
}

/// Names and modes of everything in the static tables that the host has too.
#[test]
fn modes_are_as_on_linux() {
    use std::os::unix::fs::MetadataExt;
    let sys = HostSystem::new();
    let mut dirs = vec![String::new(), format!("{}/", std::process::id())];
    let mut tally = Tally::default();
    while let Some(dir) = dirs.pop() {
        let node = if dir.is_empty() {
            Node::root()
        } else {
            walk(&sys, dir.trim_end_matches('/')).unwrap()
        };
        let mut names = Vec::new();
        node.readdir(&sys, 0, &mut |entry| {
            names.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.kind));
            true
        })
        .unwrap();
        for (name, kind) in names {
            let path = format!("{dir}{name}");
            let number = name.starts_with(|c: char| c.is_ascii_digit());
            if number || path == "sys" || dir.contains("map_files") {
                continue;
            }
            let Ok(meta) = std::fs::symlink_metadata(format!("/proc/{path}")) else {
                continue;
            };
            let attr = node
                .lookup(&sys, name.as_bytes())
                .unwrap()
                .attr(&sys)
                .unwrap();
            if attr.mode == meta.mode() {
                tally.same += 1;
            } else {
                let (ours, linux) = (attr.mode, meta.mode());
                tally
                    .different
                    .push(format!("/proc/{path}: mode {ours:o}, Linux {linux:o}"));
            }
            if kind == FileType::Directory {
                dirs.push(format!("{path}/"));
            }
        }
    }
    tally.finish(90);
}

#[test]
fn links_are_as_on_linux() {
    let sys = HostSystem::new();
    let pid = std::process::id();
    for path in ["self", "mounts", "net"] {
        let node = Node::root().lookup(&sys, path.as_bytes()).unwrap();
        let linux = std::fs::read_link(format!("/proc/{path}")).unwrap();
        assert_eq!(
            node.readlink(&sys).unwrap(),
            linux.into_os_string().into_encoded_bytes()
        );
    }
    for name in [
        "exe",
        "cwd",
        "root",
        "ns/net",
        "ns/pid_for_children",
        "ns/user",
        "fd/0",
    ] {
        let path = format!("{pid}/{name}");
        let Ok(linux) = std::fs::read_link(format!("/proc/{path}")) else {
            continue;
        };
        let node = walk(&sys, &path).unwrap();
        assert_eq!(
            node.readlink(&sys).unwrap(),
            linux.into_os_string().into_encoded_bytes()
        );
        assert!(node.magic().is_some());
    }
}
