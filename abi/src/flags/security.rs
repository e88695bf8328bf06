//! Capabilities, seccomp, landlock, keys, BPF.
//!
//! Plain data; names and values are those of the UAPI headers.

open_enum! {
    /// A capability (capabilities(7)).
    pub struct Capability: u8 {
        CAP_CHOWN = 0,
        CAP_DAC_OVERRIDE = 1,
        CAP_DAC_READ_SEARCH = 2,
        CAP_FOWNER = 3,
        CAP_FSETID = 4,
        CAP_KILL = 5,
        CAP_SETGID = 6,
        CAP_SETUID = 7,
        CAP_SETPCAP = 8,
        CAP_LINUX_IMMUTABLE = 9,
        CAP_NET_BIND_SERVICE = 10,
        CAP_NET_BROADCAST = 11,
        CAP_NET_ADMIN = 12,
        CAP_NET_RAW = 13,
        CAP_IPC_LOCK = 14,
        CAP_IPC_OWNER = 15,
        CAP_SYS_MODULE = 16,
        CAP_SYS_RAWIO = 17,
        CAP_SYS_CHROOT = 18,
        CAP_SYS_PTRACE = 19,
        CAP_SYS_PACCT = 20,
        CAP_SYS_ADMIN = 21,
        CAP_SYS_BOOT = 22,
        CAP_SYS_NICE = 23,
        CAP_SYS_RESOURCE = 24,
        CAP_SYS_TIME = 25,
        CAP_SYS_TTY_CONFIG = 26,
        CAP_MKNOD = 27,
        CAP_LEASE = 28,
        CAP_AUDIT_WRITE = 29,
        CAP_AUDIT_CONTROL = 30,
        CAP_SETFCAP = 31,
        CAP_MAC_OVERRIDE = 32,
        CAP_MAC_ADMIN = 33,
        CAP_SYSLOG = 34,
        CAP_WAKE_ALARM = 35,
        CAP_BLOCK_SUSPEND = 36,
        CAP_AUDIT_READ = 37,
        CAP_PERFMON = 38,
        CAP_BPF = 39,
        CAP_CHECKPOINT_RESTORE = 40,
    }
}

flag_type! {
    /// The securebits of a thread (capabilities(7)).
    pub struct Securebits: u32, prefix "SECBIT_" {
        NOROOT = 0x1,
        NOROOT_LOCKED = 0x2,
        NO_SETUID_FIXUP = 0x4,
        NO_SETUID_FIXUP_LOCKED = 0x8,
        KEEP_CAPS = 0x10,
        KEEP_CAPS_LOCKED = 0x20,
        NO_CAP_AMBIENT_RAISE = 0x40,
        NO_CAP_AMBIENT_RAISE_LOCKED = 0x80,
    }
}

open_enum! {
    /// The operation of seccomp(2).
    pub struct SeccompOp: u32 {
        SECCOMP_SET_MODE_STRICT = 0,
        SECCOMP_SET_MODE_FILTER = 1,
        SECCOMP_GET_ACTION_AVAIL = 2,
        SECCOMP_GET_NOTIF_SIZES = 3,
    }
}

flag_type! {
    /// The flags of `SECCOMP_SET_MODE_FILTER`.
    pub struct SeccompFlags: u32, prefix "SECCOMP_FILTER_FLAG_" {
        TSYNC = 0x1,
        LOG = 0x2,
        SPEC_ALLOW = 0x4,
        NEW_LISTENER = 0x8,
        TSYNC_ESRCH = 0x10,
        WAIT_KILLABLE_RECV = 0x20,
    }
}

open_enum! {
    /// What a seccomp filter decides: the upper half of its result.
    pub struct SeccompAction: u32 {
        SECCOMP_RET_KILL_PROCESS = 0x80000000,
        SECCOMP_RET_KILL_THREAD = 0,
        SECCOMP_RET_TRAP = 0x30000,
        SECCOMP_RET_ERRNO = 0x50000,
        SECCOMP_RET_USER_NOTIF = 0x7fc00000,
        SECCOMP_RET_TRACE = 0x7ff00000,
        SECCOMP_RET_LOG = 0x7ffc0000,
        SECCOMP_RET_ALLOW = 0x7fff0000,
    }
}

flag_type! {
    /// The flags of landlock_create_ruleset(2).
    pub struct LandlockCreateFlags: u32, prefix "LANDLOCK_CREATE_RULESET_" {
        VERSION = 0x1,
        ERRATA = 0x2,
    }
}

flag_type! {
    /// The flags of landlock_restrict_self(2).
    pub struct LandlockRestrictFlags: u32, prefix "LANDLOCK_RESTRICT_SELF_" {
        LOG_SAME_EXEC_OFF = 0x1,
        LOG_NEW_EXEC_ON = 0x2,
        LOG_SUBDOMAINS_OFF = 0x4,
    }
}

open_enum! {
    /// The kind of a landlock rule.
    pub struct LandlockRuleType: i32 {
        LANDLOCK_RULE_PATH_BENEATH = 1,
        LANDLOCK_RULE_NET_PORT = 2,
    }
}

flag_type! {
    /// Actions on files that landlock can deny (landlock(7)).
    pub struct LandlockAccessFs: u64, prefix "LANDLOCK_ACCESS_FS_" {
        EXECUTE = 0x1,
        WRITE_FILE = 0x2,
        READ_FILE = 0x4,
        READ_DIR = 0x8,
        REMOVE_DIR = 0x10,
        REMOVE_FILE = 0x20,
        MAKE_CHAR = 0x40,
        MAKE_DIR = 0x80,
        MAKE_REG = 0x100,
        MAKE_SOCK = 0x200,
        MAKE_FIFO = 0x400,
        MAKE_BLOCK = 0x800,
        MAKE_SYM = 0x1000,
        REFER = 0x2000,
        TRUNCATE = 0x4000,
        IOCTL_DEV = 0x8000,
    }
}

flag_type! {
    /// Network actions that landlock can deny.
    pub struct LandlockAccessNet: u64, prefix "LANDLOCK_ACCESS_NET_" {
        BIND_TCP = 0x1,
        CONNECT_TCP = 0x2,
    }
}

open_enum! {
    /// The operation of keyctl(2).
    pub struct KeyctlOp: i32 {
        KEYCTL_GET_KEYRING_ID = 0,
        KEYCTL_JOIN_SESSION_KEYRING = 1,
        KEYCTL_UPDATE = 2,
        KEYCTL_REVOKE = 3,
        KEYCTL_CHOWN = 4,
        KEYCTL_SETPERM = 5,
        KEYCTL_DESCRIBE = 6,
        KEYCTL_CLEAR = 7,
        KEYCTL_LINK = 8,
        KEYCTL_UNLINK = 9,
        KEYCTL_SEARCH = 10,
        KEYCTL_READ = 11,
        KEYCTL_INSTANTIATE = 12,
        KEYCTL_NEGATE = 13,
        KEYCTL_SET_REQKEY_KEYRING = 14,
        KEYCTL_SET_TIMEOUT = 15,
        KEYCTL_ASSUME_AUTHORITY = 16,
        KEYCTL_GET_SECURITY = 17,
        KEYCTL_SESSION_TO_PARENT = 18,
        KEYCTL_REJECT = 19,
        KEYCTL_INSTANTIATE_IOV = 20,
        KEYCTL_INVALIDATE = 21,
        KEYCTL_GET_PERSISTENT = 22,
        KEYCTL_DH_COMPUTE = 23,
        KEYCTL_PKEY_QUERY = 24,
        KEYCTL_PKEY_ENCRYPT = 25,
        KEYCTL_PKEY_DECRYPT = 26,
        KEYCTL_PKEY_SIGN = 27,
        KEYCTL_PKEY_VERIFY = 28,
        KEYCTL_RESTRICT_KEYRING = 29,
        KEYCTL_MOVE = 30,
        KEYCTL_CAPABILITIES = 31,
        KEYCTL_WATCH_KEY = 32,
    }
}

open_enum! {
    /// The command of bpf(2).
    pub struct BpfCmd: i32 {
        BPF_MAP_CREATE = 0,
        BPF_MAP_LOOKUP_ELEM = 1,
        BPF_MAP_UPDATE_ELEM = 2,
        BPF_MAP_DELETE_ELEM = 3,
        BPF_MAP_GET_NEXT_KEY = 4,
        BPF_PROG_LOAD = 5,
        BPF_OBJ_PIN = 6,
        BPF_OBJ_GET = 7,
        BPF_PROG_ATTACH = 8,
        BPF_PROG_DETACH = 9,
        BPF_PROG_TEST_RUN = 10,
        BPF_PROG_GET_NEXT_ID = 11,
        BPF_MAP_GET_NEXT_ID = 12,
        BPF_PROG_GET_FD_BY_ID = 13,
        BPF_MAP_GET_FD_BY_ID = 14,
        BPF_OBJ_GET_INFO_BY_FD = 15,
        BPF_PROG_QUERY = 16,
        BPF_RAW_TRACEPOINT_OPEN = 17,
        BPF_BTF_LOAD = 18,
        BPF_BTF_GET_FD_BY_ID = 19,
    }
}
