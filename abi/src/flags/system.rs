//! Reboot, kernel log, modules, random numbers, quotas, io_uring.
//!
//! Plain data; names and values are those of the UAPI headers.

open_enum! {
    /// The command of reboot(2).
    pub struct RebootCmd: u32 {
        LINUX_REBOOT_CMD_CAD_OFF = 0,
        LINUX_REBOOT_CMD_RESTART = 0x1234567,
        LINUX_REBOOT_CMD_POWER_OFF = 0x4321fedc,
        LINUX_REBOOT_CMD_KEXEC = 0x45584543,
        LINUX_REBOOT_CMD_CAD_ON = 0x89abcdef,
        LINUX_REBOOT_CMD_RESTART2 = 0xa1b2c3d4,
        LINUX_REBOOT_CMD_HALT = 0xcdef0123,
        LINUX_REBOOT_CMD_SW_SUSPEND = 0xd000fce2,
    }
}

open_enum! {
    /// The action of syslog(2).
    pub struct SyslogAction: i32 {
        SYSLOG_ACTION_CLOSE = 0,
        SYSLOG_ACTION_OPEN = 1,
        SYSLOG_ACTION_READ = 2,
        SYSLOG_ACTION_READ_ALL = 3,
        SYSLOG_ACTION_READ_CLEAR = 4,
        SYSLOG_ACTION_CLEAR = 5,
        SYSLOG_ACTION_CONSOLE_OFF = 6,
        SYSLOG_ACTION_CONSOLE_ON = 7,
        SYSLOG_ACTION_CONSOLE_LEVEL = 8,
        SYSLOG_ACTION_SIZE_UNREAD = 9,
        SYSLOG_ACTION_SIZE_BUFFER = 10,
    }
}

flag_type! {
    /// The flags of getrandom(2).
    pub struct GetrandomFlags: u32, prefix "GRND_" {
        NONBLOCK = 0x1,
        RANDOM = 0x2,
        INSECURE = 0x4,
    }
}

flag_type! {
    /// The flags of delete_module(2).
    pub struct ModuleFlags: u32, prefix "O_" {
        NONBLOCK = 0x800,
        TRUNC = 0x200,
    }
}

flag_type! {
    /// The flags of finit_module(2).
    pub struct FinitModuleFlags: u32, prefix "MODULE_INIT_" {
        IGNORE_MODVERSIONS = 0x1,
        IGNORE_VERMAGIC = 0x2,
        COMPRESSED_FILE = 0x4,
    }
}

open_enum! {
    /// The command of quotactl(2), with the quota type in the low byte: see [`QuotaCmd::parts`].
    pub struct QuotaCmd: u32; manual_trace {
        Q_SYNC = 0x800001,
        Q_QUOTAON = 0x800002,
        Q_QUOTAOFF = 0x800003,
        Q_GETFMT = 0x800004,
        Q_GETINFO = 0x800005,
        Q_SETINFO = 0x800006,
        Q_GETQUOTA = 0x800007,
        Q_SETQUOTA = 0x800008,
        Q_GETNEXTQUOTA = 0x800009,
    }
}

flag_type! {
    /// The flags of io_uring_enter(2).
    pub struct IoUringEnterFlags: u32, prefix "IORING_ENTER_" {
        GETEVENTS = 0x1,
        SQ_WAKEUP = 0x2,
        SQ_WAIT = 0x4,
        EXT_ARG = 0x8,
        REGISTERED_RING = 0x10,
        ABS_TIMER = 0x20,
        EXT_ARG_REG = 0x40,
        NO_IOWAIT = 0x80,
    }
}

open_enum! {
    /// What `f_type` of statfs(2) says.
    pub struct FsMagic: u32 {
        EXT4_SUPER_MAGIC = 0xef53,
        TMPFS_MAGIC = 0x1021994,
        PROC_SUPER_MAGIC = 0x9fa0,
        SYSFS_MAGIC = 0x62656572,
        DEVPTS_SUPER_MAGIC = 0x1cd1,
        RAMFS_MAGIC = 0x858458f6,
        CGROUP2_SUPER_MAGIC = 0x63677270,
        CGROUP_SUPER_MAGIC = 0x27e0eb,
        OVERLAYFS_SUPER_MAGIC = 0x794c7630,
        MSDOS_SUPER_MAGIC = 0x4d44,
        SQUASHFS_MAGIC = 0x73717368,
        ISOFS_SUPER_MAGIC = 0x9660,
        PIPEFS_MAGIC = 0x50495045,
        SOCKFS_MAGIC = 0x534f434b,
        ANON_INODE_FS_MAGIC = 0x9041934,
        NSFS_MAGIC = 0x6e736673,
        BDEVFS_MAGIC = 0x62646576,
        DEBUGFS_MAGIC = 0x64626720,
        TRACEFS_MAGIC = 0x74726163,
        SECURITYFS_MAGIC = 0x73636673,
        BPF_FS_MAGIC = 0xcafe4a11,
        HUGETLBFS_MAGIC = 0x958458f6,
        BINFMTFS_MAGIC = 0x42494e4d,
        PSTOREFS_MAGIC = 0x6165676c,
        EFIVARFS_MAGIC = 0xde5e81e4,
        MQUEUE_MAGIC = 0x19800202,
        PID_FS_MAGIC = 0x50494446,
        FUSE_SUPER_MAGIC = 0x65735546,
        NFS_SUPER_MAGIC = 0x6969,
        V9FS_MAGIC = 0x1021997,
    }
}
