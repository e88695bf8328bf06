//! The sysctls that Keel knows by name: path below `/proc/sys`, mode, and the shape and range of the value.
//!
//! Which of them exist is the kernel's to say ([`crate::System::sysctl_get`]). Sorted by path, one component at a
//! time; a `*` stands for each network interface, `all` and `default`. Ranges are those of Linux 6.1
//! (proc_sys(5) and the kernel's `Documentation/admin-guide/sysctl`).

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// So many numbers, each from the second to the third figure.
    Ints(usize, i128, i128),
    /// A line of at most this many bytes, terminator included.
    Line(usize),
}

use Shape::{Ints, Line};

const MIN: i128 = i32::MIN as i128;
const INT_MAX: i128 = i32::MAX as i128;
const MAX: i128 = u64::MAX as i128;
const INT: Shape = Ints(1, MIN, INT_MAX);
const UINT: Shape = Ints(1, 0, u32::MAX as i128);
const ULONG: Shape = Ints(1, 0, MAX);

/// One sysctl.
pub(crate) struct Row {
    pub ctl: Ctl,
    pub path: &'static str,
    pub perm: u16,
    pub shape: Shape,
}

macro_rules! sysctls {
    ($($name:ident = $path:literal, $perm:literal, $shape:expr;)*) => {
        /// A sysctl, by its path below `/proc/sys`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Ctl {
            $(#[doc = concat!("`", $path, "`")] $name,)*
        }

        impl Ctl {
            /// The path below `/proc/sys`.
            pub const fn path(self) -> &'static str {
                match self { $(Ctl::$name => $path,)* }
            }
        }

        /// All rows, sorted by path.
        pub(crate) static ROWS: &[Row] =
            &[$(Row { ctl: Ctl::$name, path: $path, perm: $perm, shape: $shape },)*];
    };
}

#[rustfmt::skip] // One row a line, to be read as a table.
sysctls! {
    AbiVsyscall32 = "abi/vsyscall32", 0o644, Ints(1, 0, 1);
    DebugExceptionTrace = "debug/exception-trace", 0o644, INT;
    DevTtyLdiscAutoload = "dev/tty/ldisc_autoload", 0o644, Ints(1, 0, 1);
    DevTtyLegacyTiocsti = "dev/tty/legacy_tiocsti", 0o644, Ints(1, 0, 1);
    FsAioMaxNr = "fs/aio-max-nr", 0o644, ULONG;
    FsAioNr = "fs/aio-nr", 0o444, ULONG;
    FsDentryState = "fs/dentry-state", 0o444, Ints(6, MIN, INT_MAX);
    FsDirNotifyEnable = "fs/dir-notify-enable", 0o644, Ints(1, 0, 1);
    FsEpollMaxUserWatches = "fs/epoll/max_user_watches", 0o644, ULONG;
    FsFileMax = "fs/file-max", 0o644, ULONG;
    FsFileNr = "fs/file-nr", 0o444, Ints(3, 0, MAX);
    FsInodeNr = "fs/inode-nr", 0o444, Ints(2, MIN, INT_MAX);
    FsInodeState = "fs/inode-state", 0o444, Ints(7, MIN, INT_MAX);
    FsInotifyMaxQueuedEvents = "fs/inotify/max_queued_events", 0o644, Ints(1, 0, 2_147_483_647);
    FsInotifyMaxUserInstances = "fs/inotify/max_user_instances", 0o644, Ints(1, 0, 2_147_483_647);
    FsInotifyMaxUserWatches = "fs/inotify/max_user_watches", 0o644, Ints(1, 0, 2_147_483_647);
    FsLeaseBreakTime = "fs/lease-break-time", 0o644, Ints(1, 0, 2_147_483_647);
    FsLeasesEnable = "fs/leases-enable", 0o644, Ints(1, 0, 1);
    FsMountMax = "fs/mount-max", 0o644, Ints(1, 1, 2_147_483_647);
    FsMqueueMsgDefault = "fs/mqueue/msg_default", 0o644, Ints(1, 1, 65_536);
    FsMqueueMsgMax = "fs/mqueue/msg_max", 0o644, Ints(1, 1, 65_536);
    FsMqueueMsgsizeDefault = "fs/mqueue/msgsize_default", 0o644, Ints(1, 128, 16_777_216);
    FsMqueueMsgsizeMax = "fs/mqueue/msgsize_max", 0o644, Ints(1, 128, 16_777_216);
    FsMqueueQueuesMax = "fs/mqueue/queues_max", 0o644, INT;
    FsNrOpen = "fs/nr_open", 0o644, Ints(1, 64, 2_147_483_584);
    FsOverflowgid = "fs/overflowgid", 0o644, Ints(1, 0, 65_535);
    FsOverflowuid = "fs/overflowuid", 0o644, Ints(1, 0, 65_535);
    FsPipeMaxSize = "fs/pipe-max-size", 0o644, UINT;
    FsPipeUserPagesHard = "fs/pipe-user-pages-hard", 0o644, ULONG;
    FsPipeUserPagesSoft = "fs/pipe-user-pages-soft", 0o644, ULONG;
    FsProtectedFifos = "fs/protected_fifos", 0o644, Ints(1, 0, 2);
    FsProtectedHardlinks = "fs/protected_hardlinks", 0o644, Ints(1, 0, 1);
    FsProtectedRegular = "fs/protected_regular", 0o644, Ints(1, 0, 2);
    FsProtectedSymlinks = "fs/protected_symlinks", 0o644, Ints(1, 0, 1);
    FsSuidDumpable = "fs/suid_dumpable", 0o644, Ints(1, 0, 2);
    KernelAcct = "kernel/acct", 0o644, Ints(3, MIN, INT_MAX);
    KernelArch = "kernel/arch", 0o444, Line(65);
    KernelBootloaderType = "kernel/bootloader_type", 0o444, INT;
    KernelBootloaderVersion = "kernel/bootloader_version", 0o444, INT;
    KernelCadPid = "kernel/cad_pid", 0o600, Ints(1, 1, 4_194_304);
    KernelCapLastCap = "kernel/cap_last_cap", 0o444, INT;
    KernelCorePattern = "kernel/core_pattern", 0o644, Line(128);
    KernelCorePipeLimit = "kernel/core_pipe_limit", 0o644, UINT;
    KernelCoreUsesPid = "kernel/core_uses_pid", 0o644, INT;
    KernelCtrlAltDel = "kernel/ctrl-alt-del", 0o644, INT;
    KernelDmesgRestrict = "kernel/dmesg_restrict", 0o644, Ints(1, 0, 1);
    KernelDomainname = "kernel/domainname", 0o644, Line(65);
    KernelHostname = "kernel/hostname", 0o644, Line(65);
    KernelHotplug = "kernel/hotplug", 0o644, Line(256);
    KernelHungTaskTimeoutSecs = "kernel/hung_task_timeout_secs", 0o644, ULONG;
    KernelIoUringDisabled = "kernel/io_uring_disabled", 0o644, Ints(1, 0, 2);
    KernelKeysGcDelay = "kernel/keys/gc_delay", 0o644, UINT;
    KernelKeysMaxbytes = "kernel/keys/maxbytes", 0o644, Ints(1, 1, 4_294_967_295);
    KernelKeysMaxkeys = "kernel/keys/maxkeys", 0o644, Ints(1, 1, 4_294_967_295);
    KernelKeysRootMaxbytes = "kernel/keys/root_maxbytes", 0o644, Ints(1, 1, 4_294_967_295);
    KernelKeysRootMaxkeys = "kernel/keys/root_maxkeys", 0o644, Ints(1, 1, 4_294_967_295);
    KernelKptrRestrict = "kernel/kptr_restrict", 0o644, Ints(1, 0, 2);
    KernelModprobe = "kernel/modprobe", 0o644, Line(256);
    KernelModulesDisabled = "kernel/modules_disabled", 0o644, Ints(1, 1, 1);
    KernelMsgNextId = "kernel/msg_next_id", 0o644, Ints(1, 0, 2_147_483_647);
    KernelMsgmax = "kernel/msgmax", 0o644, Ints(1, 0, 2_147_483_647);
    KernelMsgmnb = "kernel/msgmnb", 0o644, Ints(1, 0, 2_147_483_647);
    KernelMsgmni = "kernel/msgmni", 0o644, Ints(1, 0, 32_768);
    KernelNgroupsMax = "kernel/ngroups_max", 0o444, INT;
    KernelNsLastPid = "kernel/ns_last_pid", 0o666, Ints(1, 0, 4_194_304);
    KernelOsrelease = "kernel/osrelease", 0o444, Line(65);
    KernelOstype = "kernel/ostype", 0o444, Line(65);
    KernelOverflowgid = "kernel/overflowgid", 0o644, Ints(1, 0, 65_535);
    KernelOverflowuid = "kernel/overflowuid", 0o644, Ints(1, 0, 65_535);
    KernelPanic = "kernel/panic", 0o644, INT;
    KernelPanicOnOops = "kernel/panic_on_oops", 0o644, INT;
    KernelPanicOnWarn = "kernel/panic_on_warn", 0o644, Ints(1, 0, 1);
    KernelPerfEventMaxSampleRate = "kernel/perf_event_max_sample_rate", 0o644, Ints(1, 1, 2_147_483_647);
    KernelPerfEventMlockKb = "kernel/perf_event_mlock_kb", 0o644, INT;
    KernelPerfEventParanoid = "kernel/perf_event_paranoid", 0o644, INT;
    KernelPidMax = "kernel/pid_max", 0o644, Ints(1, 301, 4_194_304);
    KernelPoweroffCmd = "kernel/poweroff_cmd", 0o644, Line(256);
    KernelPrintFatalSignals = "kernel/print-fatal-signals", 0o644, INT;
    KernelPrintk = "kernel/printk", 0o644, Ints(4, MIN, INT_MAX);
    KernelPrintkDelay = "kernel/printk_delay", 0o644, Ints(1, 0, 10_000);
    KernelPrintkDevkmsg = "kernel/printk_devkmsg", 0o644, Line(10);
    KernelPrintkRatelimit = "kernel/printk_ratelimit", 0o644, Ints(1, 0, 2_147_483_647);
    KernelPrintkRatelimitBurst = "kernel/printk_ratelimit_burst", 0o644, INT;
    KernelPtyMax = "kernel/pty/max", 0o644, Ints(1, 0, 1_048_576);
    KernelPtyNr = "kernel/pty/nr", 0o444, INT;
    KernelPtyReserve = "kernel/pty/reserve", 0o644, Ints(1, 0, 1_048_576);
    KernelRandomBootId = "kernel/random/boot_id", 0o444, Line(37);
    KernelRandomEntropyAvail = "kernel/random/entropy_avail", 0o444, INT;
    KernelRandomPoolsize = "kernel/random/poolsize", 0o444, INT;
    KernelRandomUrandomMinReseedSecs = "kernel/random/urandom_min_reseed_secs", 0o644, INT;
    KernelRandomUuid = "kernel/random/uuid", 0o444, Line(37);
    KernelRandomWriteWakeupThreshold = "kernel/random/write_wakeup_threshold", 0o644, INT;
    KernelRandomizeVaSpace = "kernel/randomize_va_space", 0o644, INT;
    KernelRealRootDev = "kernel/real-root-dev", 0o644, UINT;
    KernelSchedAutogroupEnabled = "kernel/sched_autogroup_enabled", 0o644, Ints(1, 0, 1);
    KernelSchedChildRunsFirst = "kernel/sched_child_runs_first", 0o644, UINT;
    KernelSchedDeadlinePeriodMaxUs = "kernel/sched_deadline_period_max_us", 0o644, UINT;
    KernelSchedDeadlinePeriodMinUs = "kernel/sched_deadline_period_min_us", 0o644, UINT;
    KernelSchedRrTimesliceMs = "kernel/sched_rr_timeslice_ms", 0o644, INT;
    KernelSchedRtPeriodUs = "kernel/sched_rt_period_us", 0o644, UINT;
    KernelSchedRtRuntimeUs = "kernel/sched_rt_runtime_us", 0o644, Ints(1, -1, 2_147_483_647);
    KernelSchedSchedstats = "kernel/sched_schedstats", 0o644, Ints(1, 0, 1);
    KernelSeccompActionsAvail = "kernel/seccomp/actions_avail", 0o444, Line(4096);
    KernelSeccompActionsLogged = "kernel/seccomp/actions_logged", 0o644, Line(4096);
    KernelSem = "kernel/sem", 0o644, Ints(4, MIN, INT_MAX);
    KernelSemNextId = "kernel/sem_next_id", 0o644, Ints(1, 0, 2_147_483_647);
    KernelShmNextId = "kernel/shm_next_id", 0o644, Ints(1, 0, 2_147_483_647);
    KernelShmRmidForced = "kernel/shm_rmid_forced", 0o644, Ints(1, 0, 1);
    KernelShmall = "kernel/shmall", 0o644, ULONG;
    KernelShmmax = "kernel/shmmax", 0o644, ULONG;
    KernelShmmni = "kernel/shmmni", 0o644, Ints(1, 0, 32_768);
    KernelSysrq = "kernel/sysrq", 0o644, INT;
    KernelTainted = "kernel/tainted", 0o644, ULONG;
    KernelThreadsMax = "kernel/threads-max", 0o644, Ints(1, 1, 2_147_483_647);
    KernelTimerMigration = "kernel/timer_migration", 0o644, Ints(1, 0, 1);
    KernelUnprivilegedBpfDisabled = "kernel/unprivileged_bpf_disabled", 0o644, Ints(1, 0, 2);
    KernelUnprivilegedUsernsClone = "kernel/unprivileged_userns_clone", 0o644, INT;
    KernelUsermodehelperBset = "kernel/usermodehelper/bset", 0o600, Ints(2, 0, MAX);
    KernelUsermodehelperInheritable = "kernel/usermodehelper/inheritable", 0o600, Ints(2, 0, MAX);
    KernelVersion = "kernel/version", 0o444, Line(65);
    KernelWatchdog = "kernel/watchdog", 0o644, Ints(1, 0, 1);
    KernelYamaPtraceScope = "kernel/yama/ptrace_scope", 0o644, Ints(1, 0, 3);
    NetCoreBpfJitEnable = "net/core/bpf_jit_enable", 0o644, Ints(1, 0, 2);
    NetCoreDefaultQdisc = "net/core/default_qdisc", 0o644, Line(16);
    NetCoreDevWeight = "net/core/dev_weight", 0o644, INT;
    NetCoreNetdevBudget = "net/core/netdev_budget", 0o644, INT;
    NetCoreNetdevBudgetUsecs = "net/core/netdev_budget_usecs", 0o644, UINT;
    NetCoreNetdevMaxBacklog = "net/core/netdev_max_backlog", 0o644, INT;
    NetCoreOptmemMax = "net/core/optmem_max", 0o644, Ints(1, 0, 2_147_483_647);
    NetCoreRmemDefault = "net/core/rmem_default", 0o644, Ints(1, 2_304, 2_147_483_647);
    NetCoreRmemMax = "net/core/rmem_max", 0o644, Ints(1, 2_304, 2_147_483_647);
    NetCoreSomaxconn = "net/core/somaxconn", 0o644, Ints(1, 0, 2_147_483_647);
    NetCoreWarnings = "net/core/warnings", 0o644, INT;
    NetCoreWmemDefault = "net/core/wmem_default", 0o644, Ints(1, 4_608, 2_147_483_647);
    NetCoreWmemMax = "net/core/wmem_max", 0o644, Ints(1, 4_608, 2_147_483_647);
    NetIpv4ConfEachAcceptLocal = "net/ipv4/conf/*/accept_local", 0o644, INT;
    NetIpv4ConfEachAcceptRedirects = "net/ipv4/conf/*/accept_redirects", 0o644, INT;
    NetIpv4ConfEachAcceptSourceRoute = "net/ipv4/conf/*/accept_source_route", 0o644, INT;
    NetIpv4ConfEachArpAccept = "net/ipv4/conf/*/arp_accept", 0o644, INT;
    NetIpv4ConfEachArpAnnounce = "net/ipv4/conf/*/arp_announce", 0o644, INT;
    NetIpv4ConfEachArpFilter = "net/ipv4/conf/*/arp_filter", 0o644, INT;
    NetIpv4ConfEachArpIgnore = "net/ipv4/conf/*/arp_ignore", 0o644, INT;
    NetIpv4ConfEachArpNotify = "net/ipv4/conf/*/arp_notify", 0o644, INT;
    NetIpv4ConfEachDisablePolicy = "net/ipv4/conf/*/disable_policy", 0o644, INT;
    NetIpv4ConfEachDisableXfrm = "net/ipv4/conf/*/disable_xfrm", 0o644, INT;
    NetIpv4ConfEachForwarding = "net/ipv4/conf/*/forwarding", 0o644, INT;
    NetIpv4ConfEachLogMartians = "net/ipv4/conf/*/log_martians", 0o644, INT;
    NetIpv4ConfEachMcForwarding = "net/ipv4/conf/*/mc_forwarding", 0o444, INT;
    NetIpv4ConfEachPromoteSecondaries = "net/ipv4/conf/*/promote_secondaries", 0o644, INT;
    NetIpv4ConfEachProxyArp = "net/ipv4/conf/*/proxy_arp", 0o644, INT;
    NetIpv4ConfEachRpFilter = "net/ipv4/conf/*/rp_filter", 0o644, INT;
    NetIpv4ConfEachSecureRedirects = "net/ipv4/conf/*/secure_redirects", 0o644, INT;
    NetIpv4ConfEachSendRedirects = "net/ipv4/conf/*/send_redirects", 0o644, INT;
    NetIpv4ConfEachSharedMedia = "net/ipv4/conf/*/shared_media", 0o644, INT;
    NetIpv4IcmpEchoIgnoreAll = "net/ipv4/icmp_echo_ignore_all", 0o644, Ints(1, 0, 1);
    NetIpv4IcmpEchoIgnoreBroadcasts = "net/ipv4/icmp_echo_ignore_broadcasts", 0o644, Ints(1, 0, 1);
    NetIpv4IcmpIgnoreBogusErrorResponses = "net/ipv4/icmp_ignore_bogus_error_responses", 0o644, Ints(1, 0, 1);
    NetIpv4IcmpRatelimit = "net/ipv4/icmp_ratelimit", 0o644, INT;
    NetIpv4IcmpRatemask = "net/ipv4/icmp_ratemask", 0o644, INT;
    NetIpv4IgmpMaxMemberships = "net/ipv4/igmp_max_memberships", 0o644, INT;
    NetIpv4IgmpMaxMsf = "net/ipv4/igmp_max_msf", 0o644, INT;
    NetIpv4IpDefaultTtl = "net/ipv4/ip_default_ttl", 0o644, Ints(1, 1, 255);
    NetIpv4IpDynaddr = "net/ipv4/ip_dynaddr", 0o644, INT;
    NetIpv4IpForward = "net/ipv4/ip_forward", 0o644, INT;
    NetIpv4IpLocalPortRange = "net/ipv4/ip_local_port_range", 0o644, Ints(2, 1, 65_535);
    NetIpv4IpLocalReservedPorts = "net/ipv4/ip_local_reserved_ports", 0o644, Line(65536);
    NetIpv4IpNoPmtuDisc = "net/ipv4/ip_no_pmtu_disc", 0o644, INT;
    NetIpv4IpNonlocalBind = "net/ipv4/ip_nonlocal_bind", 0o644, INT;
    NetIpv4IpUnprivilegedPortStart = "net/ipv4/ip_unprivileged_port_start", 0o644, Ints(1, 0, 65_535);
    NetIpv4IpfragHighThresh = "net/ipv4/ipfrag_high_thresh", 0o644, ULONG;
    NetIpv4IpfragLowThresh = "net/ipv4/ipfrag_low_thresh", 0o644, ULONG;
    NetIpv4IpfragTime = "net/ipv4/ipfrag_time", 0o644, INT;
    NetIpv4NeighEachBaseReachableTimeMs = "net/ipv4/neigh/*/base_reachable_time_ms", 0o644, INT;
    NetIpv4NeighEachDelayFirstProbeTime = "net/ipv4/neigh/*/delay_first_probe_time", 0o644, INT;
    NetIpv4NeighEachGcStaleTime = "net/ipv4/neigh/*/gc_stale_time", 0o644, INT;
    NetIpv4NeighEachMcastSolicit = "net/ipv4/neigh/*/mcast_solicit", 0o644, Ints(1, 0, 2_147_483_647);
    NetIpv4NeighEachRetransTimeMs = "net/ipv4/neigh/*/retrans_time_ms", 0o644, INT;
    NetIpv4NeighEachUcastSolicit = "net/ipv4/neigh/*/ucast_solicit", 0o644, Ints(1, 0, 2_147_483_647);
    NetIpv4PingGroupRange = "net/ipv4/ping_group_range", 0o644, Ints(2, 0, MAX);
    NetIpv4TcpAbortOnOverflow = "net/ipv4/tcp_abort_on_overflow", 0o644, INT;
    NetIpv4TcpAllowedCongestionControl = "net/ipv4/tcp_allowed_congestion_control", 0o644, Line(256);
    NetIpv4TcpAvailableCongestionControl = "net/ipv4/tcp_available_congestion_control", 0o444, Line(256);
    NetIpv4TcpCongestionControl = "net/ipv4/tcp_congestion_control", 0o644, Line(16);
    NetIpv4TcpDsack = "net/ipv4/tcp_dsack", 0o644, INT;
    NetIpv4TcpEcn = "net/ipv4/tcp_ecn", 0o644, Ints(1, 0, 2);
    NetIpv4TcpFastopen = "net/ipv4/tcp_fastopen", 0o644, INT;
    NetIpv4TcpFinTimeout = "net/ipv4/tcp_fin_timeout", 0o644, INT;
    NetIpv4TcpKeepaliveIntvl = "net/ipv4/tcp_keepalive_intvl", 0o644, INT;
    NetIpv4TcpKeepaliveProbes = "net/ipv4/tcp_keepalive_probes", 0o644, INT;
    NetIpv4TcpKeepaliveTime = "net/ipv4/tcp_keepalive_time", 0o644, INT;
    NetIpv4TcpMaxOrphans = "net/ipv4/tcp_max_orphans", 0o644, INT;
    NetIpv4TcpMaxSynBacklog = "net/ipv4/tcp_max_syn_backlog", 0o644, INT;
    NetIpv4TcpMaxTwBuckets = "net/ipv4/tcp_max_tw_buckets", 0o644, INT;
    NetIpv4TcpMem = "net/ipv4/tcp_mem", 0o644, Ints(3, 0, MAX);
    NetIpv4TcpModerateRcvbuf = "net/ipv4/tcp_moderate_rcvbuf", 0o644, INT;
    NetIpv4TcpMtuProbing = "net/ipv4/tcp_mtu_probing", 0o644, INT;
    NetIpv4TcpNoMetricsSave = "net/ipv4/tcp_no_metrics_save", 0o644, INT;
    NetIpv4TcpOrphanRetries = "net/ipv4/tcp_orphan_retries", 0o644, INT;
    NetIpv4TcpReordering = "net/ipv4/tcp_reordering", 0o644, INT;
    NetIpv4TcpRetries1 = "net/ipv4/tcp_retries1", 0o644, Ints(1, 0, 255);
    NetIpv4TcpRetries2 = "net/ipv4/tcp_retries2", 0o644, INT;
    NetIpv4TcpRfc1337 = "net/ipv4/tcp_rfc1337", 0o644, INT;
    NetIpv4TcpRmem = "net/ipv4/tcp_rmem", 0o644, Ints(3, 1, 2_147_483_647);
    NetIpv4TcpSack = "net/ipv4/tcp_sack", 0o644, INT;
    NetIpv4TcpSlowStartAfterIdle = "net/ipv4/tcp_slow_start_after_idle", 0o644, INT;
    NetIpv4TcpSynRetries = "net/ipv4/tcp_syn_retries", 0o644, Ints(1, 1, 127);
    NetIpv4TcpSynackRetries = "net/ipv4/tcp_synack_retries", 0o644, INT;
    NetIpv4TcpSyncookies = "net/ipv4/tcp_syncookies", 0o644, INT;
    NetIpv4TcpTimestamps = "net/ipv4/tcp_timestamps", 0o644, INT;
    NetIpv4TcpTwReuse = "net/ipv4/tcp_tw_reuse", 0o644, Ints(1, 0, 2);
    NetIpv4TcpWindowScaling = "net/ipv4/tcp_window_scaling", 0o644, INT;
    NetIpv4TcpWmem = "net/ipv4/tcp_wmem", 0o644, Ints(3, 1, 2_147_483_647);
    NetIpv4UdpMem = "net/ipv4/udp_mem", 0o644, Ints(3, 0, MAX);
    NetIpv4UdpRmemMin = "net/ipv4/udp_rmem_min", 0o644, Ints(1, 1, 2_147_483_647);
    NetIpv4UdpWmemMin = "net/ipv4/udp_wmem_min", 0o644, Ints(1, 1, 2_147_483_647);
    NetIpv6Bindv6only = "net/ipv6/bindv6only", 0o644, Ints(1, 0, 1);
    NetIpv6ConfEachAcceptDad = "net/ipv6/conf/*/accept_dad", 0o644, INT;
    NetIpv6ConfEachAcceptRa = "net/ipv6/conf/*/accept_ra", 0o644, INT;
    NetIpv6ConfEachAcceptRedirects = "net/ipv6/conf/*/accept_redirects", 0o644, INT;
    NetIpv6ConfEachAddrGenMode = "net/ipv6/conf/*/addr_gen_mode", 0o644, INT;
    NetIpv6ConfEachAutoconf = "net/ipv6/conf/*/autoconf", 0o644, INT;
    NetIpv6ConfEachDadTransmits = "net/ipv6/conf/*/dad_transmits", 0o644, INT;
    NetIpv6ConfEachDisableIpv6 = "net/ipv6/conf/*/disable_ipv6", 0o644, INT;
    NetIpv6ConfEachForwarding = "net/ipv6/conf/*/forwarding", 0o644, INT;
    NetIpv6ConfEachHopLimit = "net/ipv6/conf/*/hop_limit", 0o644, INT;
    NetIpv6ConfEachMtu = "net/ipv6/conf/*/mtu", 0o644, INT;
    NetIpv6ConfEachProxyNdp = "net/ipv6/conf/*/proxy_ndp", 0o644, INT;
    NetIpv6ConfEachRouterSolicitations = "net/ipv6/conf/*/router_solicitations", 0o644, INT;
    NetIpv6ConfEachUseTempaddr = "net/ipv6/conf/*/use_tempaddr", 0o644, INT;
    NetIpv6IpNonlocalBind = "net/ipv6/ip_nonlocal_bind", 0o644, Ints(1, 0, 1);
    NetUnixMaxDgramQlen = "net/unix/max_dgram_qlen", 0o644, INT;
    UserMaxCgroupNamespaces = "user/max_cgroup_namespaces", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxInotifyInstances = "user/max_inotify_instances", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxInotifyWatches = "user/max_inotify_watches", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxIpcNamespaces = "user/max_ipc_namespaces", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxMntNamespaces = "user/max_mnt_namespaces", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxNetNamespaces = "user/max_net_namespaces", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxPidNamespaces = "user/max_pid_namespaces", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxTimeNamespaces = "user/max_time_namespaces", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxUserNamespaces = "user/max_user_namespaces", 0o644, Ints(1, 0, 2_147_483_647);
    UserMaxUtsNamespaces = "user/max_uts_namespaces", 0o644, Ints(1, 0, 2_147_483_647);
    VmAdminReserveKbytes = "vm/admin_reserve_kbytes", 0o644, ULONG;
    VmCompactMemory = "vm/compact_memory", 0o200, Ints(1, 1, 1);
    VmCompactionProactiveness = "vm/compaction_proactiveness", 0o644, Ints(1, 0, 100);
    VmDirtyBackgroundBytes = "vm/dirty_background_bytes", 0o644, ULONG;
    VmDirtyBackgroundRatio = "vm/dirty_background_ratio", 0o644, Ints(1, 0, 100);
    VmDirtyBytes = "vm/dirty_bytes", 0o644, ULONG;
    VmDirtyExpireCentisecs = "vm/dirty_expire_centisecs", 0o644, UINT;
    VmDirtyRatio = "vm/dirty_ratio", 0o644, Ints(1, 0, 100);
    VmDirtyWritebackCentisecs = "vm/dirty_writeback_centisecs", 0o644, UINT;
    VmDirtytimeExpireSeconds = "vm/dirtytime_expire_seconds", 0o644, UINT;
    VmDropCaches = "vm/drop_caches", 0o200, Ints(1, 1, 4);
    VmExtfragThreshold = "vm/extfrag_threshold", 0o644, Ints(1, 0, 1_000);
    VmHugetlbShmGroup = "vm/hugetlb_shm_group", 0o644, INT;
    VmLaptopMode = "vm/laptop_mode", 0o644, INT;
    VmLegacyVaLayout = "vm/legacy_va_layout", 0o644, Ints(1, 0, 1);
    VmLowmemReserveRatio = "vm/lowmem_reserve_ratio", 0o644, Ints(5, MIN, INT_MAX);
    VmMaxMapCount = "vm/max_map_count", 0o644, Ints(1, 0, 2_147_483_647);
    VmMemoryFailureEarlyKill = "vm/memory_failure_early_kill", 0o644, Ints(1, 0, 1);
    VmMemoryFailureRecovery = "vm/memory_failure_recovery", 0o644, Ints(1, 0, 1);
    VmMinFreeKbytes = "vm/min_free_kbytes", 0o644, Ints(1, 0, 2_147_483_647);
    VmMinSlabRatio = "vm/min_slab_ratio", 0o644, Ints(1, 0, 100);
    VmMinUnmappedRatio = "vm/min_unmapped_ratio", 0o644, Ints(1, 0, 100);
    VmMmapMinAddr = "vm/mmap_min_addr", 0o644, ULONG;
    VmMmapRndBits = "vm/mmap_rnd_bits", 0o600, Ints(1, 28, 32);
    VmMmapRndCompatBits = "vm/mmap_rnd_compat_bits", 0o600, Ints(1, 8, 16);
    VmNrHugepages = "vm/nr_hugepages", 0o644, ULONG;
    VmNrHugepagesMempolicy = "vm/nr_hugepages_mempolicy", 0o644, ULONG;
    VmNrOvercommitHugepages = "vm/nr_overcommit_hugepages", 0o644, ULONG;
    VmNumaStat = "vm/numa_stat", 0o644, Ints(1, 0, 1);
    VmOomDumpTasks = "vm/oom_dump_tasks", 0o644, INT;
    VmOomKillAllocatingTask = "vm/oom_kill_allocating_task", 0o644, INT;
    VmOvercommitKbytes = "vm/overcommit_kbytes", 0o644, ULONG;
    VmOvercommitMemory = "vm/overcommit_memory", 0o644, Ints(1, 0, 2);
    VmOvercommitRatio = "vm/overcommit_ratio", 0o644, INT;
    VmPageCluster = "vm/page-cluster", 0o644, Ints(1, 0, 31);
    VmPageLockUnfairness = "vm/page_lock_unfairness", 0o644, Ints(1, 0, 2_147_483_647);
    VmPanicOnOom = "vm/panic_on_oom", 0o644, Ints(1, 0, 2);
    VmPercpuPagelistHighFraction = "vm/percpu_pagelist_high_fraction", 0o644, Ints(1, 0, 2_147_483_647);
    VmStatInterval = "vm/stat_interval", 0o644, INT;
    VmSwappiness = "vm/swappiness", 0o644, Ints(1, 0, 200);
    VmUnprivilegedUserfaultfd = "vm/unprivileged_userfaultfd", 0o644, Ints(1, 0, 1);
    VmUserReserveKbytes = "vm/user_reserve_kbytes", 0o644, ULONG;
    VmVfsCachePressure = "vm/vfs_cache_pressure", 0o644, Ints(1, 0, 2_147_483_647);
    VmWatermarkBoostFactor = "vm/watermark_boost_factor", 0o644, Ints(1, 0, 2_147_483_647);
    VmWatermarkScaleFactor = "vm/watermark_scale_factor", 0o644, Ints(1, 1, 3_000);
    VmZoneReclaimMode = "vm/zone_reclaim_mode", 0o644, Ints(1, 0, 2_147_483_647);
}
