//! Flags and advice of memory calls.
//!
//! Plain data; names and values are those of the UAPI headers.

flag_type! {
    /// Page protection (mmap(2), mprotect(2)).
    pub struct MmapProt: u64, prefix "PROT_", zero "PROT_NONE" {
        READ = 0x1,
        WRITE = 0x2,
        EXEC = 0x4,
        SEM = 0x8,
        GROWSDOWN = 0x1000000,
        GROWSUP = 0x2000000,
    }
}

flag_type! {
    /// How mmap(2) maps; exactly one of shared, private and shared-validate is needed. The huge
    /// page size is in bits 26 to 31.
    pub struct MmapFlags: u64, prefix "MAP_", zero "MAP_FILE" {
        SHARED_VALIDATE = 0x3,
        SHARED = 0x1,
        PRIVATE = 0x2,
        DROPPABLE = 0x8,
        FIXED = 0x10,
        ANONYMOUS = 0x20,
        _32BIT = 0x40,
        ABOVE4G = 0x80,
        GROWSDOWN = 0x100,
        DENYWRITE = 0x800,
        EXECUTABLE = 0x1000,
        LOCKED = 0x2000,
        NORESERVE = 0x4000,
        POPULATE = 0x8000,
        NONBLOCK = 0x10000,
        STACK = 0x20000,
        HUGETLB = 0x40000,
        SYNC = 0x80000,
        FIXED_NOREPLACE = 0x100000,
        UNINITIALIZED = 0x4000000,
    }
}

flag_type! {
    /// The flags of mremap(2).
    pub struct MremapFlags: u64, prefix "MREMAP_" {
        MAYMOVE = 0x1,
        FIXED = 0x2,
        DONTUNMAP = 0x4,
    }
}

flag_type! {
    /// The flags of msync(2).
    pub struct MsyncFlags: u32, prefix "MS_" {
        ASYNC = 0x1,
        INVALIDATE = 0x2,
        SYNC = 0x4,
    }
}

open_enum! {
    /// The advice of madvise(2).
    pub struct Madvise: i32 {
        MADV_NORMAL = 0,
        MADV_RANDOM = 1,
        MADV_SEQUENTIAL = 2,
        MADV_WILLNEED = 3,
        MADV_DONTNEED = 4,
        MADV_FREE = 8,
        MADV_REMOVE = 9,
        MADV_DONTFORK = 10,
        MADV_DOFORK = 11,
        MADV_MERGEABLE = 12,
        MADV_UNMERGEABLE = 13,
        MADV_HUGEPAGE = 14,
        MADV_NOHUGEPAGE = 15,
        MADV_DONTDUMP = 16,
        MADV_DODUMP = 17,
        MADV_WIPEONFORK = 18,
        MADV_KEEPONFORK = 19,
        MADV_COLD = 20,
        MADV_PAGEOUT = 21,
        MADV_POPULATE_READ = 22,
        MADV_POPULATE_WRITE = 23,
        MADV_DONTNEED_LOCKED = 24,
        MADV_COLLAPSE = 25,
        MADV_HWPOISON = 100,
        MADV_SOFT_OFFLINE = 101,
        MADV_GUARD_INSTALL = 102,
        MADV_GUARD_REMOVE = 103,
    }
}

flag_type! {
    /// The flags of mlock2(2).
    pub struct MlockFlags: u32, prefix "MLOCK_" {
        ONFAULT = 0x1,
    }
}

flag_type! {
    /// The flags of mlockall(2).
    pub struct MlockallFlags: u32, prefix "MCL_" {
        CURRENT = 0x1,
        FUTURE = 0x2,
        ONFAULT = 0x4,
    }
}

flag_type! {
    /// The access rights of pkey_alloc(2).
    pub struct PkeyRights: u64, prefix "PKEY_" {
        DISABLE_ACCESS = 0x1,
        DISABLE_WRITE = 0x2,
    }
}

flag_type! {
    /// The flags of userfaultfd(2).
    pub struct UserfaultfdFlags: u32, prefix "" {
        O_CLOEXEC = 0x80000,
        O_NONBLOCK = 0x800,
        UFFD_USER_MODE_ONLY = 0x1,
    }
}

flag_type! {
    /// The flags of memfd_secret(2).
    pub struct MemfdSecretFlags: u32, prefix "O_" {
        CLOEXEC = 0x80000,
    }
}

flag_type! {
    /// The flags of map_shadow_stack(2).
    pub struct ShadowStackFlags: u32, prefix "SHADOW_STACK_" {
        SET_TOKEN = 0x1,
        SET_MARKER = 0x2,
    }
}

flag_type! {
    /// The flags of mbind(2) and move_pages(2).
    pub struct MempolicyFlags: u32, prefix "MPOL_MF_" {
        STRICT = 0x1,
        MOVE = 0x2,
        MOVE_ALL = 0x4,
        LAZY = 0x8,
    }
}

flag_type! {
    /// The flags of get_mempolicy(2).
    pub struct GetMempolicyFlags: u64, prefix "MPOL_F_" {
        NODE = 0x1,
        ADDR = 0x2,
        MEMS_ALLOWED = 0x4,
    }
}

open_enum! {
    /// The memory policy of set_mempolicy(2); mode flags are in bits 13 to 15.
    pub struct MempolicyMode: i32 {
        MPOL_DEFAULT = 0,
        MPOL_PREFERRED = 1,
        MPOL_BIND = 2,
        MPOL_INTERLEAVE = 3,
        MPOL_LOCAL = 4,
        MPOL_PREFERRED_MANY = 5,
        MPOL_WEIGHTED_INTERLEAVE = 6,
    }
}

flag_type! {
    /// The flags of swapon(2); the priority is in the low 15 bits.
    pub struct SwapFlags: u32, prefix "SWAP_FLAG_" {
        PREFER = 0x8000,
        DISCARD = 0x10000,
        DISCARD_ONCE = 0x20000,
        DISCARD_PAGES = 0x40000,
    }
}
