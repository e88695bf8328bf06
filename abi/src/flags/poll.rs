//! Readiness: poll, epoll.
//!
//! Plain data; names and values are those of the UAPI headers.

flag_type! {
    /// Events of poll(2).
    pub struct PollEvents: u16, prefix "POLL" {
        IN = 0x1,
        PRI = 0x2,
        OUT = 0x4,
        ERR = 0x8,
        HUP = 0x10,
        NVAL = 0x20,
        RDNORM = 0x40,
        RDBAND = 0x80,
        WRNORM = 0x100,
        WRBAND = 0x200,
        MSG = 0x400,
        REMOVE = 0x1000,
        RDHUP = 0x2000,
    }
}

flag_type! {
    /// Events and modes of epoll_ctl(2).
    pub struct EpollEvents: u32, prefix "EPOLL" {
        IN = 0x1,
        PRI = 0x2,
        OUT = 0x4,
        ERR = 0x8,
        HUP = 0x10,
        NVAL = 0x20,
        RDNORM = 0x40,
        RDBAND = 0x80,
        WRNORM = 0x100,
        WRBAND = 0x200,
        MSG = 0x400,
        RDHUP = 0x2000,
        EXCLUSIVE = 0x10000000,
        WAKEUP = 0x20000000,
        ONESHOT = 0x40000000,
        ET = 0x80000000,
    }
}

flag_type! {
    /// The flags of epoll_create1(2).
    pub struct EpollCreateFlags: u32, prefix "EPOLL_" {
        CLOEXEC = 0x80000,
    }
}

open_enum! {
    /// The operation of epoll_ctl(2).
    pub struct EpollOp: i32 {
        EPOLL_CTL_ADD = 1,
        EPOLL_CTL_DEL = 2,
        EPOLL_CTL_MOD = 3,
    }
}
