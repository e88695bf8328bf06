//! Futexes, System V IPC and eventfd.
//!
//! Plain data; names and values are those of the UAPI headers.

open_enum! {
    /// The operation of futex(2): a command and two flags, see [`FutexOp::command`].
    pub struct FutexOp: i32; manual_trace {
        FUTEX_WAIT = 0,
        FUTEX_WAKE = 1,
        FUTEX_FD = 2,
        FUTEX_REQUEUE = 3,
        FUTEX_CMP_REQUEUE = 4,
        FUTEX_WAKE_OP = 5,
        FUTEX_LOCK_PI = 6,
        FUTEX_UNLOCK_PI = 7,
        FUTEX_TRYLOCK_PI = 8,
        FUTEX_WAIT_BITSET = 9,
        FUTEX_WAKE_BITSET = 10,
        FUTEX_WAIT_REQUEUE_PI = 11,
        FUTEX_CMP_REQUEUE_PI = 12,
        FUTEX_LOCK_PI2 = 13,
    }
}

flag_type! {
    /// The flags of futex_wait(2) and its like; the size is in the low two bits.
    pub struct Futex2Flags: u32, prefix "FUTEX2_" {
        SIZE_U16 = 0x1,
        SIZE_U32 = 0x2,
        NUMA = 0x4,
        MPOL = 0x8,
        PRIVATE = 0x80,
    }
}

// Bits of a futex word that robust and PI futexes use.
constants! {
    u32 {
        FUTEX_WAITERS = 0x80000000,
        FUTEX_OWNER_DIED = 0x40000000,
        FUTEX_TID_MASK = 0x3fffffff,
        FUTEX_BITSET_MATCH_ANY = 0xffffffff,
    }
}

flag_type! {
    /// Flags of the System V calls; the low nine bits are permissions.
    pub struct IpcFlags: u32, prefix "IPC_"; manual_trace {
        CREAT = 0x200,
        EXCL = 0x400,
        NOWAIT = 0x800,
    }
}

flag_type! {
    /// The flags of shmget(2); the low nine bits are permissions, the huge page size is in bits 26
    /// to 31.
    pub struct ShmgetFlags: u32, prefix ""; manual_trace {
        IPC_CREAT = 0x200,
        IPC_EXCL = 0x400,
        SHM_HUGETLB = 0x800,
        SHM_NORESERVE = 0x1000,
    }
}

flag_type! {
    /// The flags of shmat(2).
    pub struct ShmFlags: u32, prefix "SHM_" {
        RDONLY = 0x1000,
        RND = 0x2000,
        REMAP = 0x4000,
        EXEC = 0x8000,
    }
}

flag_type! {
    /// The flags of msgrcv(2).
    pub struct MsgrcvFlags: u32, prefix "" {
        IPC_NOWAIT = 0x800,
        MSG_NOERROR = 0x1000,
        MSG_EXCEPT = 0x2000,
        MSG_COPY = 0x4000,
    }
}

open_enum! {
    /// The command of shmctl(2), semctl(2) and msgctl(2), without `IPC_64`. `MSG_STAT` and
    /// `MSG_INFO` share numbers with `SHM_LOCK` and `SHM_UNLOCK`.
    pub struct IpcCmd: i32 {
        IPC_RMID = 0,
        IPC_SET = 1,
        IPC_STAT = 2,
        IPC_INFO = 3,
        SHM_LOCK = 11,
        SHM_UNLOCK = 12,
        SHM_STAT = 13,
        SHM_INFO = 14,
        SHM_STAT_ANY = 15,
        SEM_STAT = 18,
        SEM_INFO = 19,
        SEM_STAT_ANY = 20,
    }
}

open_enum! {
    /// The commands that only semctl(2) has.
    pub struct SemCmd: i32 {
        GETPID = 11,
        GETVAL = 12,
        GETALL = 13,
        GETNCNT = 14,
        GETZCNT = 15,
        SETVAL = 16,
        SETALL = 17,
    }
}

open_enum! {
    /// The commands that only msgctl(2) has.
    pub struct MsgCmd: i32 {
        MSG_STAT = 11,
        MSG_INFO = 12,
        MSG_STAT_ANY = 13,
    }
}

flag_type! {
    /// The flags of eventfd2(2).
    pub struct EventfdFlags: u32, prefix "EFD_" {
        SEMAPHORE = 0x1,
        CLOEXEC = 0x80000,
        NONBLOCK = 0x800,
    }
}
