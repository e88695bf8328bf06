//! Flags and commands of the mount calls, old and new.
//!
//! Plain data; names and values are those of the UAPI headers.

flag_type! {
    /// The flags of mount(2).
    pub struct MountFlags: u64, prefix "MS_" {
        RDONLY = 0x1,
        NOSUID = 0x2,
        NODEV = 0x4,
        NOEXEC = 0x8,
        SYNCHRONOUS = 0x10,
        REMOUNT = 0x20,
        MANDLOCK = 0x40,
        DIRSYNC = 0x80,
        NOSYMFOLLOW = 0x100,
        NOATIME = 0x400,
        NODIRATIME = 0x800,
        BIND = 0x1000,
        MOVE = 0x2000,
        REC = 0x4000,
        SILENT = 0x8000,
        POSIXACL = 0x10000,
        UNBINDABLE = 0x20000,
        PRIVATE = 0x40000,
        SLAVE = 0x80000,
        SHARED = 0x100000,
        RELATIME = 0x200000,
        KERNMOUNT = 0x400000,
        I_VERSION = 0x800000,
        STRICTATIME = 0x1000000,
        LAZYTIME = 0x2000000,
        SUBMOUNT = 0x4000000,
        NOREMOTELOCK = 0x8000000,
        NOSEC = 0x10000000,
        BORN = 0x20000000,
        ACTIVE = 0x40000000,
        NOUSER = 0x80000000,
    }
}

flag_type! {
    /// The flags of umount2(2).
    pub struct UmountFlags: u32, prefix "" {
        MNT_FORCE = 0x1,
        MNT_DETACH = 0x2,
        MNT_EXPIRE = 0x4,
        UMOUNT_NOFOLLOW = 0x8,
    }
}

flag_type! {
    /// The mount flags in `struct statfs` (statfs(2)).
    pub struct StatfsFlags: u64, prefix "ST_" {
        RDONLY = 0x1,
        NOSUID = 0x2,
        NODEV = 0x4,
        NOEXEC = 0x8,
        SYNCHRONOUS = 0x10,
        VALID = 0x20,
        MANDLOCK = 0x40,
        NOATIME = 0x400,
        NODIRATIME = 0x800,
        RELATIME = 0x1000,
        NOSYMFOLLOW = 0x2000,
    }
}

flag_type! {
    /// The attributes of fsmount(2) and mount_setattr(2).
    pub struct MountAttrFlags: u64, prefix "MOUNT_ATTR_" {
        RDONLY = 0x1,
        NOSUID = 0x2,
        NODEV = 0x4,
        NOEXEC = 0x8,
        NOATIME = 0x10,
        STRICTATIME = 0x20,
        NODIRATIME = 0x80,
        IDMAP = 0x100000,
        NOSYMFOLLOW = 0x200000,
    }
}

flag_type! {
    /// The flags of open_tree(2).
    pub struct OpenTreeFlags: u32, prefix "" {
        OPEN_TREE_CLONE = 0x1,
        AT_SYMLINK_NOFOLLOW = 0x100,
        AT_NO_AUTOMOUNT = 0x800,
        AT_EMPTY_PATH = 0x1000,
        AT_RECURSIVE = 0x8000,
        OPEN_TREE_CLOEXEC = 0x80000,
    }
}

flag_type! {
    /// The flags of move_mount(2).
    pub struct MoveMountFlags: u32, prefix "MOVE_MOUNT_" {
        F_SYMLINKS = 0x1,
        F_AUTOMOUNTS = 0x2,
        F_EMPTY_PATH = 0x4,
        T_SYMLINKS = 0x10,
        T_AUTOMOUNTS = 0x20,
        T_EMPTY_PATH = 0x40,
        SET_GROUP = 0x100,
        BENEATH = 0x200,
    }
}

flag_type! {
    /// The flags of fsopen(2).
    pub struct FsopenFlags: u32, prefix "FSOPEN_" {
        CLOEXEC = 0x1,
    }
}

flag_type! {
    /// The flags of fsmount(2).
    pub struct FsmountFlags: u32, prefix "FSMOUNT_" {
        CLOEXEC = 0x1,
    }
}

flag_type! {
    /// The flags of fspick(2).
    pub struct FspickFlags: u32, prefix "FSPICK_" {
        CLOEXEC = 0x1,
        SYMLINK_NOFOLLOW = 0x2,
        NO_AUTOMOUNT = 0x4,
        EMPTY_PATH = 0x8,
    }
}

open_enum! {
    /// The command of fsconfig(2).
    pub struct FsconfigCmd: u32 {
        FSCONFIG_SET_FLAG = 0,
        FSCONFIG_SET_STRING = 1,
        FSCONFIG_SET_BINARY = 2,
        FSCONFIG_SET_PATH = 3,
        FSCONFIG_SET_PATH_EMPTY = 4,
        FSCONFIG_SET_FD = 5,
        FSCONFIG_CMD_CREATE = 6,
        FSCONFIG_CMD_RECONFIGURE = 7,
        FSCONFIG_CMD_CREATE_EXCL = 8,
    }
}

flag_type! {
    /// What statmount(2) is asked for, and what it has filled in.
    pub struct StatmountMask: u64, prefix "STATMOUNT_" {
        SB_BASIC = 0x1,
        MNT_BASIC = 0x2,
        PROPAGATE_FROM = 0x4,
        MNT_ROOT = 0x8,
        MNT_POINT = 0x10,
        FS_TYPE = 0x20,
        MNT_NS_ID = 0x40,
        MNT_OPTS = 0x80,
        FS_SUBTYPE = 0x100,
        SB_SOURCE = 0x200,
        OPT_ARRAY = 0x400,
        OPT_SEC_ARRAY = 0x800,
        SUPPORTED_MASK = 0x1000,
        MNT_UIDMAP = 0x2000,
        MNT_GIDMAP = 0x4000,
    }
}

flag_type! {
    /// The flags of listmount(2).
    pub struct ListmountFlags: u32, prefix "LISTMOUNT_" {
        REVERSE = 0x1,
    }
}
