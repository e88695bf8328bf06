//! `/proc/PID` and `/proc/PID/task/TID`.

use crate::entry::{Entry, Kind, Live};
use crate::net;
use crate::node::{Magic, Stream};
use crate::source::{Access, Features, Namespace, TaskLink};
use crate::task::{maps, mounts, sched, stat, values};

/// The directory of a process.
pub(crate) static PROCESS: Entry = Entry::dir("", PROCESS_FILES);

/// The directory of a thread.
pub(crate) static THREAD: Entry = Entry::dir("", THREAD_FILES);

/// The table of a process: what it has alone, then what a thread has too; and the table of a thread.
macro_rules! tables {
    (process { $($process:expr,)* } both { $($both:expr,)* } thread { $($thread:expr,)* }) => {
        static PROCESS_FILES: &[Entry] = &[$($process,)* $($both,)*];
        static THREAD_FILES: &[Entry] = &[$($both,)* $($thread,)*];
    };
}

tables! {
    process {
        Entry::live("task", 0o555, Live::Threads),
        Entry::live("map_files", 0o500, Live::MapFiles).needs(Features::MAP_FILES),
        Entry::task("autogroup", 0o644, values::read_autogroup)
            .needs(Features::AUTOGROUP)
            .task_writes(values::write_autogroup),
        Entry::task("timens_offsets", 0o644, values::read_timens)
            .needs(Features::TIME_NS)
            .task_writes(values::write_timens),
        Entry::task("mountstats", 0o400, mounts::read_mountstats).opened_with(Access::Read),
        Entry::task("coredump_filter", 0o644, values::read_coredump_filter)
            .needs(Features::COREDUMP)
            .task_writes(values::write_coredump_filter),
        Entry::task("timers", 0o444, values::read_timers).needs(Features::POSIX_TIMERS),
        Entry::task("timerslack_ns", 0o666, values::read_timerslack)
            .task_writes(values::write_timerslack),
    }
    both {
        Entry::live("fd", 0o500, Live::Fds),
        Entry::live("fdinfo", 0o555, Live::FdInfos),
        Entry::other("ns", 0o511, Kind::Dir(NS)).needs(Features::NAMESPACES),
        Entry::dir("net", NET).needs(Features::NET),
        Entry::task("environ", 0o400, values::read_environ).opened_with(Access::Read),
        Entry::task("auxv", 0o400, values::read_auxv).opened_with(Access::Read),
        Entry::task("status", 0o444, stat::read_status),
        Entry::task("personality", 0o400, values::read_personality),
        Entry::task("limits", 0o444, values::read_limits),
        Entry::task("sched", 0o644, sched::read_sched)
            .needs(Features::SCHED_DEBUG)
            .task_writes(sched::write_sched),
        Entry::task("comm", 0o644, values::read_comm).task_writes(values::write_comm),
        Entry::task("syscall", 0o400, values::read_syscall).needs(Features::SYSCALL),
        Entry::task("cmdline", 0o444, values::read_cmdline),
        Entry::task("stat", 0o444, stat::read_stat),
        Entry::task("statm", 0o444, stat::read_statm),
        Entry::task("maps", 0o444, maps::read_maps).opened_with(Access::Read),
        Entry::task("numa_maps", 0o444, maps::read_numa_maps).opened_with(Access::Read),
        Entry::other("mem", 0o600, Kind::Stream(Stream::Mem)).opened_with(Access::Attach),
        Entry::other("cwd", 0o777, Kind::Magic(Magic::Task(TaskLink::Cwd)))
            .opened_with(Access::Read),
        Entry::other("root", 0o777, Kind::Magic(Magic::Task(TaskLink::Root)))
            .opened_with(Access::Read),
        Entry::other("exe", 0o777, Kind::Magic(Magic::Task(TaskLink::Exe)))
            .opened_with(Access::Read),
        Entry::task("mounts", 0o444, mounts::read_mounts),
        Entry::task("mountinfo", 0o444, mounts::read_mountinfo),
        Entry::other("clear_refs", 0o200, Kind::WriteOnly)
            .needs(Features::PAGE_MONITOR)
            .task_writes(values::write_clear_refs),
        Entry::task("smaps", 0o444, maps::read_smaps)
            .needs(Features::PAGE_MONITOR)
            .opened_with(Access::Read),
        Entry::task("smaps_rollup", 0o444, maps::read_rollup)
            .needs(Features::PAGE_MONITOR)
            .opened_with(Access::Read),
        Entry::other("pagemap", 0o400, Kind::Stream(Stream::Pagemap))
            .needs(Features::PAGE_MONITOR)
            .opened_with(Access::Read),
        Entry::dir("attr", ATTR).needs(Features::SECURITY),
        Entry::task("wchan", 0o444, values::read_wchan),
        Entry::task("stack", 0o400, values::read_stack).needs(Features::STACKTRACE),
        Entry::task("schedstat", 0o444, sched::read_schedstat).needs(Features::SCHEDSTATS),
        Entry::task("cpuset", 0o444, values::read_cpuset).needs(Features::CPUSETS),
        Entry::task("cgroup", 0o444, values::read_cgroup).needs(Features::CGROUPS),
        Entry::task("oom_score", 0o444, values::read_oom_score),
        Entry::task("oom_adj", 0o644, values::read_oom_adj).task_writes(values::write_oom_adj),
        Entry::task("oom_score_adj", 0o644, values::read_oom_score_adj)
            .task_writes(values::write_oom_score_adj),
        Entry::task("loginuid", 0o644, values::read_loginuid)
            .needs(Features::AUDIT)
            .task_writes(values::write_loginuid),
        Entry::task("sessionid", 0o444, values::read_sessionid).needs(Features::AUDIT),
        Entry::task("io", 0o400, values::read_io).needs(Features::IO_ACCOUNTING),
        Entry::task("uid_map", 0o644, values::read_uid_map)
            .needs(Features::USER_NS)
            .task_writes(values::write_uid_map),
        Entry::task("gid_map", 0o644, values::read_gid_map)
            .needs(Features::USER_NS)
            .task_writes(values::write_gid_map),
        Entry::task("projid_map", 0o644, values::read_projid_map)
            .needs(Features::USER_NS)
            .task_writes(values::write_projid_map),
        Entry::task("setgroups", 0o644, values::read_setgroups)
            .needs(Features::USER_NS)
            .task_writes(values::write_setgroups),
    }
    thread {
        Entry::task("children", 0o444, values::read_children).needs(Features::CHILDREN),
    }
}

const fn namespace(name: &'static str, ns: Namespace) -> Entry {
    Entry::other(name, 0o777, Kind::Namespace(ns)).opened_with(Access::Read)
}

static NS: &[Entry] = &[
    namespace("cgroup", Namespace::Cgroup).needs(Features::CGROUPS),
    namespace("ipc", Namespace::Ipc),
    namespace("mnt", Namespace::Mnt),
    namespace("net", Namespace::Net).needs(Features::NET),
    namespace("pid", Namespace::Pid),
    namespace("pid_for_children", Namespace::PidForChildren),
    namespace("time", Namespace::Time).needs(Features::TIME_NS),
    namespace("time_for_children", Namespace::TimeForChildren).needs(Features::TIME_NS),
    namespace("user", Namespace::User).needs(Features::USER_NS),
    namespace("uts", Namespace::Uts),
];

static ATTR: &[Entry] = &[
    Entry::task("current", 0o666, values::read_attr_current)
        .task_writes(values::write_attr_current),
    Entry::task("prev", 0o444, values::read_attr_prev),
    Entry::task("exec", 0o666, values::read_attr_exec).task_writes(values::write_attr_exec),
    Entry::task("fscreate", 0o666, values::read_attr_fscreate)
        .task_writes(values::write_attr_fscreate),
    Entry::task("keycreate", 0o666, values::read_attr_keycreate)
        .task_writes(values::write_attr_keycreate),
    Entry::task("sockcreate", 0o666, values::read_attr_sockcreate)
        .task_writes(values::write_attr_sockcreate),
];

static NET: &[Entry] = &[
    Entry::net("dev", net::read_dev),
    Entry::net("dev_mcast", net::read_dev_mcast),
    Entry::net("protocols", net::read_protocols),
    Entry::net("ptype", net::read_ptype),
    Entry::net("softnet_stat", net::read_softnet_stat),
    Entry::net("sockstat", net::read_sockstat),
    Entry::net("unix", net::read_unix).needs(Features::UNIX),
    Entry::net("netlink", net::read_netlink).needs(Features::NETLINK),
    Entry::net("packet", net::read_packet).needs(Features::PACKET),
    Entry::net("arp", net::read_arp).needs(Features::INET),
    Entry::net("icmp", net::read_icmp).needs(Features::INET),
    Entry::net("netstat", net::read_netstat).needs(Features::INET),
    Entry::net("raw", net::read_raw).needs(Features::INET),
    Entry::net("route", net::read_route).needs(Features::INET),
    Entry::net("snmp", net::read_snmp).needs(Features::INET),
    Entry::net("tcp", net::read_tcp).needs(Features::INET),
    Entry::net("udp", net::read_udp).needs(Features::INET),
    Entry::net("icmp6", net::read_icmp6).needs(Features::IPV6),
    Entry::net("if_inet6", net::read_if_inet6).needs(Features::IPV6),
    Entry::net("ipv6_route", net::read_ipv6_route).needs(Features::IPV6),
    Entry::net("raw6", net::read_raw6).needs(Features::IPV6),
    Entry::net("snmp6", net::read_snmp6).needs(Features::IPV6),
    Entry::net("sockstat6", net::read_sockstat6).needs(Features::IPV6),
    Entry::net("tcp6", net::read_tcp6).needs(Features::IPV6),
    Entry::net("udp6", net::read_udp6).needs(Features::IPV6),
];
