//! inotify and fanotify.
//!
//! Plain data; names and values are those of the UAPI headers.

flag_type! {
    /// The flags of inotify_init1(2).
    pub struct InotifyInitFlags: u32, prefix "IN_" {
        CLOEXEC = 0x80000,
        NONBLOCK = 0x800,
    }
}

flag_type! {
    /// Events and options of a watch (inotify(7)).
    pub struct InotifyMask: u32, prefix "IN_" {
        ACCESS = 0x1,
        MODIFY = 0x2,
        ATTRIB = 0x4,
        CLOSE_WRITE = 0x8,
        CLOSE_NOWRITE = 0x10,
        OPEN = 0x20,
        MOVED_FROM = 0x40,
        MOVED_TO = 0x80,
        CREATE = 0x100,
        DELETE = 0x200,
        DELETE_SELF = 0x400,
        MOVE_SELF = 0x800,
        UNMOUNT = 0x2000,
        Q_OVERFLOW = 0x4000,
        IGNORED = 0x8000,
        ONLYDIR = 0x1000000,
        DONT_FOLLOW = 0x2000000,
        EXCL_UNLINK = 0x4000000,
        MASK_CREATE = 0x10000000,
        MASK_ADD = 0x20000000,
        ISDIR = 0x40000000,
        ONESHOT = 0x80000000,
    }
}

flag_type! {
    /// The flags of fanotify_init(2).
    pub struct FanotifyInitFlags: u32, prefix "FAN_" {
        CLOEXEC = 0x1,
        NONBLOCK = 0x2,
        CLASS_CONTENT = 0x4,
        CLASS_PRE_CONTENT = 0x8,
        UNLIMITED_QUEUE = 0x10,
        UNLIMITED_MARKS = 0x20,
        ENABLE_AUDIT = 0x40,
        REPORT_PIDFD = 0x80,
        REPORT_TID = 0x100,
        REPORT_FID = 0x200,
        REPORT_DIR_FID = 0x400,
        REPORT_NAME = 0x800,
        REPORT_TARGET_FID = 0x1000,
    }
}

flag_type! {
    /// The flags of fanotify_mark(2).
    pub struct FanotifyMarkFlags: u32, prefix "FAN_MARK_" {
        ADD = 0x1,
        REMOVE = 0x2,
        DONT_FOLLOW = 0x4,
        ONLYDIR = 0x8,
        MOUNT = 0x10,
        IGNORED_MASK = 0x20,
        IGNORED_SURV_MODIFY = 0x40,
        FLUSH = 0x80,
        FILESYSTEM = 0x100,
        EVICTABLE = 0x200,
        IGNORE = 0x400,
    }
}

flag_type! {
    /// The events of a fanotify mark.
    pub struct FanotifyMask: u64, prefix "FAN_" {
        ACCESS = 0x1,
        MODIFY = 0x2,
        ATTRIB = 0x4,
        CLOSE_WRITE = 0x8,
        CLOSE_NOWRITE = 0x10,
        OPEN = 0x20,
        MOVED_FROM = 0x40,
        MOVED_TO = 0x80,
        CREATE = 0x100,
        DELETE = 0x200,
        DELETE_SELF = 0x400,
        MOVE_SELF = 0x800,
        OPEN_EXEC = 0x1000,
        Q_OVERFLOW = 0x4000,
        FS_ERROR = 0x8000,
        OPEN_PERM = 0x10000,
        ACCESS_PERM = 0x20000,
        OPEN_EXEC_PERM = 0x40000,
        EVENT_ON_CHILD = 0x8000000,
        RENAME = 0x10000000,
        ONDIR = 0x40000000,
    }
}
