//! Flags and commands of calls on files and paths.
//!
//! Plain data; names and values are those of the UAPI headers.

flag_type! {
    /// How to open a file (open(2)); the low two bits are the access mode, see
    /// [`OpenFlags::access`].
    pub struct OpenFlags: u32, prefix "O_"; manual_trace {
        WRONLY = 0x1,
        RDWR = 0x2,
        TMPFILE = 0x410000,
        SYNC = 0x101000,
        CREAT = 0x40,
        EXCL = 0x80,
        NOCTTY = 0x100,
        TRUNC = 0x200,
        APPEND = 0x400,
        NONBLOCK = 0x800,
        DSYNC = 0x1000,
        ASYNC = 0x2000,
        DIRECT = 0x4000,
        LARGEFILE = 0x8000,
        DIRECTORY = 0x10000,
        NOFOLLOW = 0x20000,
        NOATIME = 0x40000,
        CLOEXEC = 0x80000,
        PATH = 0x200000,
    }
}

flag_type! {
    /// How a path is looked up, for the `*at` calls. `AT_EACCESS` and `AT_HANDLE_FID` share a bit:
    /// each call gives it its own meaning.
    pub struct AtFlags: u32, prefix "AT_" {
        EACCESS = 0x200,
        SYMLINK_NOFOLLOW = 0x100,
        SYMLINK_FOLLOW = 0x400,
        NO_AUTOMOUNT = 0x800,
        EMPTY_PATH = 0x1000,
        STATX_FORCE_SYNC = 0x2000,
        STATX_DONT_SYNC = 0x4000,
        RECURSIVE = 0x8000,
        EXECVE_CHECK = 0x10000,
    }
}

flag_type! {
    /// The flags of unlinkat(2).
    pub struct UnlinkFlags: u32, prefix "AT_" {
        REMOVEDIR = 0x200,
    }
}

flag_type! {
    /// What access(2) asks for; empty (`F_OK`) asks for existence.
    pub struct AccessMode: u32, prefix "", zero "F_OK" {
        R_OK = 0x4,
        W_OK = 0x2,
        X_OK = 0x1,
    }
}

flag_type! {
    /// How openat2(2) resolves a path.
    pub struct ResolveFlags: u64, prefix "RESOLVE_" {
        NO_XDEV = 0x1,
        NO_MAGICLINKS = 0x2,
        NO_SYMLINKS = 0x4,
        BENEATH = 0x8,
        IN_ROOT = 0x10,
        CACHED = 0x20,
    }
}

open_enum! {
    /// Where lseek(2) counts from.
    pub struct Whence: i32 {
        SEEK_SET = 0,
        SEEK_CUR = 1,
        SEEK_END = 2,
        SEEK_DATA = 3,
        SEEK_HOLE = 4,
    }
}

open_enum! {
    /// The command of fcntl(2).
    pub struct FcntlCmd: i32 {
        F_DUPFD = 0,
        F_GETFD = 1,
        F_SETFD = 2,
        F_GETFL = 3,
        F_SETFL = 4,
        F_GETLK = 5,
        F_SETLK = 6,
        F_SETLKW = 7,
        F_SETOWN = 8,
        F_GETOWN = 9,
        F_SETSIG = 10,
        F_GETSIG = 11,
        F_SETOWN_EX = 15,
        F_GETOWN_EX = 16,
        F_GETOWNER_UIDS = 17,
        F_OFD_GETLK = 36,
        F_OFD_SETLK = 37,
        F_OFD_SETLKW = 38,
        F_SETLEASE = 0x400,
        F_GETLEASE = 0x401,
        F_NOTIFY = 0x402,
        F_DUPFD_QUERY = 0x403,
        F_CREATED_QUERY = 0x404,
        F_CANCELLK = 0x405,
        F_DUPFD_CLOEXEC = 0x406,
        F_SETPIPE_SZ = 0x407,
        F_GETPIPE_SZ = 0x408,
        F_ADD_SEALS = 0x409,
        F_GET_SEALS = 0x40a,
        F_GET_RW_HINT = 0x40b,
        F_SET_RW_HINT = 0x40c,
        F_GET_FILE_RW_HINT = 0x40d,
        F_SET_FILE_RW_HINT = 0x40e,
    }
}

flag_type! {
    /// The flags of a descriptor, `F_GETFD` and `F_SETFD`.
    pub struct FdFlags: u32, prefix "FD_" {
        CLOEXEC = 0x1,
    }
}

open_enum! {
    /// The type of a record lock or lease.
    pub struct LockType: i16 {
        F_RDLCK = 0,
        F_WRLCK = 1,
        F_UNLCK = 2,
    }
}

flag_type! {
    /// What may no longer be done to a memfd (`F_ADD_SEALS`).
    pub struct SealFlags: u32, prefix "F_SEAL_" {
        SEAL = 0x1,
        SHRINK = 0x2,
        GROW = 0x4,
        WRITE = 0x8,
        FUTURE_WRITE = 0x10,
        EXEC = 0x20,
    }
}

flag_type! {
    /// The operation of flock(2).
    pub struct FlockOp: u32, prefix "LOCK_" {
        SH = 0x1,
        EX = 0x2,
        NB = 0x4,
        UN = 0x8,
    }
}

flag_type! {
    /// The flags of splice(2), tee(2) and vmsplice(2).
    pub struct SpliceFlags: u32, prefix "SPLICE_F_" {
        MOVE = 0x1,
        NONBLOCK = 0x2,
        MORE = 0x4,
        GIFT = 0x8,
    }
}

flag_type! {
    /// The flags of preadv2(2) and pwritev2(2).
    pub struct RwFlags: u32, prefix "RWF_" {
        HIPRI = 0x1,
        DSYNC = 0x2,
        SYNC = 0x4,
        NOWAIT = 0x8,
        APPEND = 0x10,
        NOAPPEND = 0x20,
        ATOMIC = 0x40,
        DONTCACHE = 0x80,
    }
}

flag_type! {
    /// The mode of fallocate(2); empty allocates and may grow the file.
    pub struct FallocateMode: u32, prefix "FALLOC_FL_" {
        KEEP_SIZE = 0x1,
        PUNCH_HOLE = 0x2,
        NO_HIDE_STALE = 0x4,
        COLLAPSE_RANGE = 0x8,
        ZERO_RANGE = 0x10,
        INSERT_RANGE = 0x20,
        UNSHARE_RANGE = 0x40,
        WRITE_ZEROES = 0x80,
    }
}

flag_type! {
    /// The flags of sync_file_range(2).
    pub struct SyncFileRangeFlags: u32, prefix "SYNC_FILE_RANGE_" {
        WAIT_BEFORE = 0x1,
        WRITE = 0x2,
        WAIT_AFTER = 0x4,
    }
}

open_enum! {
    /// The advice of fadvise64(2).
    pub struct Fadvise: i32 {
        POSIX_FADV_NORMAL = 0,
        POSIX_FADV_RANDOM = 1,
        POSIX_FADV_SEQUENTIAL = 2,
        POSIX_FADV_WILLNEED = 3,
        POSIX_FADV_DONTNEED = 4,
        POSIX_FADV_NOREUSE = 5,
    }
}

flag_type! {
    /// The flags of renameat2(2).
    pub struct RenameFlags: u32, prefix "RENAME_" {
        NOREPLACE = 0x1,
        EXCHANGE = 0x2,
        WHITEOUT = 0x4,
    }
}

flag_type! {
    /// The flags of setxattr(2).
    pub struct XattrFlags: u32, prefix "XATTR_" {
        CREATE = 0x1,
        REPLACE = 0x2,
    }
}

flag_type! {
    /// The flags of close_range(2).
    pub struct CloseRangeFlags: u32, prefix "CLOSE_RANGE_" {
        UNSHARE = 0x2,
        CLOEXEC = 0x4,
    }
}

flag_type! {
    /// The flags of memfd_create(2); the huge page size is in bits 26 to 31.
    pub struct MemfdFlags: u32, prefix "MFD_" {
        CLOEXEC = 0x1,
        ALLOW_SEALING = 0x2,
        HUGETLB = 0x4,
        NOEXEC_SEAL = 0x8,
        EXEC = 0x10,
    }
}

flag_type! {
    /// Which fields statx(2) is asked for, and which it has filled in.
    pub struct StatxMask: u32, prefix "STATX_" {
        BASIC_STATS = 0x7ff,
        TYPE = 0x1,
        MODE = 0x2,
        NLINK = 0x4,
        UID = 0x8,
        GID = 0x10,
        ATIME = 0x20,
        MTIME = 0x40,
        CTIME = 0x80,
        INO = 0x100,
        SIZE = 0x200,
        BLOCKS = 0x400,
        BTIME = 0x800,
        MNT_ID = 0x1000,
        DIOALIGN = 0x2000,
        MNT_ID_UNIQUE = 0x4000,
        SUBVOL = 0x8000,
        WRITE_ATOMIC = 0x10000,
        DIO_READ_ALIGN = 0x20000,
    }
}

flag_type! {
    /// File attributes in `struct statx`.
    pub struct StatxAttributes: u64, prefix "STATX_ATTR_" {
        COMPRESSED = 0x4,
        IMMUTABLE = 0x10,
        APPEND = 0x20,
        NODUMP = 0x40,
        ENCRYPTED = 0x800,
        AUTOMOUNT = 0x1000,
        MOUNT_ROOT = 0x2000,
        VERITY = 0x100000,
        DAX = 0x200000,
        WRITE_ATOMIC = 0x400000,
    }
}

flag_type! {
    /// Inode attributes of `FS_IOC_GETFLAGS` (ioctl_iflags(2)).
    pub struct InodeFlags: u32, prefix "FS_" {
        SECRM_FL = 0x1,
        UNRM_FL = 0x2,
        COMPR_FL = 0x4,
        SYNC_FL = 0x8,
        IMMUTABLE_FL = 0x10,
        APPEND_FL = 0x20,
        NODUMP_FL = 0x40,
        NOATIME_FL = 0x80,
        DIRTY_FL = 0x100,
        COMPRBLK_FL = 0x200,
        NOCOMP_FL = 0x400,
        ENCRYPT_FL = 0x800,
        INDEX_FL = 0x1000,
        IMAGIC_FL = 0x2000,
        JOURNAL_DATA_FL = 0x4000,
        NOTAIL_FL = 0x8000,
        DIRSYNC_FL = 0x10000,
        TOPDIR_FL = 0x20000,
        HUGE_FILE_FL = 0x40000,
        EXTENT_FL = 0x80000,
        VERITY_FL = 0x100000,
        EA_INODE_FL = 0x200000,
        EOFBLOCKS_FL = 0x400000,
        NOCOW_FL = 0x800000,
        DAX_FL = 0x2000000,
        INLINE_DATA_FL = 0x10000000,
        PROJINHERIT_FL = 0x20000000,
        CASEFOLD_FL = 0x40000000,
    }
}
