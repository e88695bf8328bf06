//! Scheduling policies, priorities, I/O priorities, membarrier.
//!
//! Plain data; names and values are those of the UAPI headers.

open_enum! {
    /// A scheduling policy (sched(7)); `SCHED_RESET_ON_FORK` (0x40000000) may be or-ed in.
    pub struct SchedPolicy: i32; manual_trace {
        SCHED_NORMAL = 0,
        SCHED_FIFO = 1,
        SCHED_RR = 2,
        SCHED_BATCH = 3,
        SCHED_IDLE = 5,
        SCHED_DEADLINE = 6,
        SCHED_EXT = 7,
    }
}

flag_type! {
    /// The flags of `struct sched_attr` (sched_setattr(2)).
    pub struct SchedFlags: u64, prefix "SCHED_FLAG_" {
        RESET_ON_FORK = 0x1,
        RECLAIM = 0x2,
        DL_OVERRUN = 0x4,
        KEEP_POLICY = 0x8,
        KEEP_PARAMS = 0x10,
        UTIL_CLAMP_MIN = 0x20,
        UTIL_CLAMP_MAX = 0x40,
    }
}

open_enum! {
    /// Whose nice value (getpriority(2)).
    pub struct PriorityWhich: i32 {
        PRIO_PROCESS = 0,
        PRIO_PGRP = 1,
        PRIO_USER = 2,
    }
}

open_enum! {
    /// Whose I/O priority (ioprio_get(2)).
    pub struct IoprioWhich: i32 {
        IOPRIO_WHO_PROCESS = 1,
        IOPRIO_WHO_PGRP = 2,
        IOPRIO_WHO_USER = 3,
    }
}

open_enum! {
    /// An I/O scheduling class, the top three bits of a priority.
    pub struct IoprioClass: i32 {
        IOPRIO_CLASS_NONE = 0,
        IOPRIO_CLASS_RT = 1,
        IOPRIO_CLASS_BE = 2,
        IOPRIO_CLASS_IDLE = 3,
    }
}

open_enum! {
    /// The command of membarrier(2).
    pub struct MembarrierCmd: i32 {
        MEMBARRIER_CMD_QUERY = 0,
        MEMBARRIER_CMD_GLOBAL = 1,
        MEMBARRIER_CMD_GLOBAL_EXPEDITED = 2,
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED = 4,
        MEMBARRIER_CMD_PRIVATE_EXPEDITED = 8,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED = 16,
        MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE = 32,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 64,
        MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ = 128,
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ = 0x100,
        MEMBARRIER_CMD_GET_REGISTRATIONS = 0x200,
    }
}

flag_type! {
    /// The flags of membarrier(2).
    pub struct MembarrierFlags: u32, prefix "MEMBARRIER_CMD_FLAG_" {
        CPU = 0x1,
    }
}
