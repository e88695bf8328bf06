//! Capabilities, seccomp, landlock and LSM structures.

use crate::args::UserPtr;

uapi! {
    /// The header of capget(2).
    struct CapUserHeader = "struct __user_cap_header_struct", "linux/capability.h" {
        version: u32,
        pid: i32,
    }

    /// 32 capabilities of capget(2); version 3 has two of these.
    #[derive(Eq, PartialEq)]
    struct CapUserData = "struct __user_cap_data_struct", "linux/capability.h" {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }

    /// One instruction of a classic BPF program (`struct sock_filter`).
    #[derive(Eq, PartialEq)]
    struct SockFilter = "struct sock_filter", "linux/filter.h" {
        code: u16,
        jt: u8,
        jf: u8,
        k: u32,
    }

    /// A classic BPF program (`struct sock_fprog`).
    struct SockFprog = "struct sock_fprog", "linux/filter.h" {
        len: u16,
        _pad: [u16; 3],
        filter: UserPtr<SockFilter>,
    }

    /// What a seccomp filter reads (seccomp(2)).
    struct SeccompData = "struct seccomp_data", "linux/types.h linux/seccomp.h" {
        nr: i32,
        arch: u32,
        instruction_pointer: u64,
        args: [u64; 6],
    }

    /// `SECCOMP_GET_NOTIF_SIZES`
    struct SeccompNotifSizes = "struct seccomp_notif_sizes", "linux/types.h linux/seccomp.h" {
        seccomp_notif: u16,
        seccomp_notif_resp: u16,
        seccomp_data: u16,
    }

    /// `SECCOMP_IOCTL_NOTIF_RECV` (seccomp_unotify(2))
    struct SeccompNotif = "struct seccomp_notif", "linux/types.h linux/seccomp.h" {
        id: u64,
        pid: u32,
        flags: u32,
        data: SeccompData,
    }

    /// `SECCOMP_IOCTL_NOTIF_SEND` (seccomp_unotify(2))
    struct SeccompNotifResp = "struct seccomp_notif_resp", "linux/types.h linux/seccomp.h" {
        id: u64,
        val: i64,
        error: i32,
        flags: u32,
    }

    /// `SECCOMP_IOCTL_NOTIF_ADDFD` (seccomp_unotify(2))
    struct SeccompNotifAddfd = "struct seccomp_notif_addfd", "linux/types.h linux/seccomp.h" {
        id: u64,
        flags: u32,
        srcfd: u32,
        newfd: u32,
        newfd_flags: u32,
    }

    /// `PTRACE_SECCOMP_GET_METADATA`
    struct SeccompMetadata = "struct seccomp_metadata", "linux/types.h linux/ptrace.h" {
        filter_off: u64,
        flags: u64,
    }

    /// landlock_create_ruleset(2)
    struct LandlockRulesetAttr = "struct landlock_ruleset_attr", "linux/types.h linux/landlock.h" {
        handled_access_fs: u64,
        handled_access_net: u64 = "",
        scoped: u64 = "",
    }

    /// `LANDLOCK_RULE_PATH_BENEATH`
    #[repr(packed)]
    struct LandlockPathBeneathAttr =
        "struct landlock_path_beneath_attr", "linux/types.h linux/landlock.h" {
        allowed_access: u64,
        parent_fd: i32,
    }

    /// `LANDLOCK_RULE_NET_PORT`
    struct LandlockNetPortAttr = "", "" {
        allowed_access: u64,
        port: u64,
    }

    /// The head of a security attribute; `ctx_len` bytes follow (lsm_get_self_attr(2)).
    struct LsmCtx = "", "" {
        id: u64,
        flags: u64,
        len: u64,
        ctx_len: u64,
    }
}

/// The capget(2) version with 64-bit sets.
pub const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// The old version with 32-bit sets.
pub const LINUX_CAPABILITY_VERSION_1: u32 = 0x1998_0330;
/// The deprecated version with 64-bit sets.
pub const LINUX_CAPABILITY_VERSION_2: u32 = 0x2007_1026;
/// The most instructions of a classic BPF program.
pub const BPF_MAXINSNS: usize = 4096;
