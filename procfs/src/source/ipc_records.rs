//! The records behind `/proc/sysvipc`. Times are seconds since the epoch, sizes bytes.

/// One line of `/proc/sysvipc/shm`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ShmSegment {
    pub key: i32,
    pub id: i32,
    pub perms: u32,
    pub size: u64,
    pub creator_pid: u32,
    pub last_pid: u32,
    pub attached: u64,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub atime: u64,
    pub dtime: u64,
    pub ctime: u64,
    pub rss: u64,
    pub swap: u64,
}

/// One line of `/proc/sysvipc/sem`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SemSet {
    pub key: i32,
    pub id: i32,
    pub perms: u32,
    pub count: u64,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub otime: u64,
    pub ctime: u64,
}

/// One line of `/proc/sysvipc/msg`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MsgQueue {
    pub key: i32,
    pub id: i32,
    pub perms: u32,
    pub bytes: u64,
    pub messages: u64,
    pub last_send_pid: u32,
    pub last_recv_pid: u32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub stime: u64,
    pub rtime: u64,
    pub ctime: u64,
}
