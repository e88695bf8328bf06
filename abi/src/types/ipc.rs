//! System V IPC, POSIX message queues and futexes (sysvipc(7), mq_overview(7), futex(2)).

use crate::args::{Gid, IpcKey, Pid, Uid};

uapi! {
    /// Owner and permissions of an object (`struct ipc64_perm`).
    struct IpcPerm = "struct ipc64_perm", "linux/types.h linux/posix_types.h asm/ipcbuf.h" {
        key: IpcKey,
        uid: Uid,
        gid: Gid,
        cuid: Uid,
        cgid: Gid,
        mode: u32,
        _pad1: [u8; 0],
        seq: u16,
        _pad2: u16,
        _pad3: u32,
        _unused1: u64,
        _unused2: u64,
    }

    /// shmctl(2)
    struct ShmidDs = "struct shmid64_ds", "linux/types.h asm/ipcbuf.h asm/shmbuf.h" {
        shm_perm: IpcPerm,
        shm_segsz: usize,
        shm_atime: i64,
        shm_dtime: i64,
        shm_ctime: i64,
        shm_cpid: Pid,
        shm_lpid: Pid,
        shm_nattch: u64,
        _unused4: u64,
        _unused5: u64,
    }

    /// `IPC_INFO` of shmctl(2)
    struct Shminfo = "struct shminfo64", "linux/types.h asm/ipcbuf.h asm/shmbuf.h" {
        shmmax: u64,
        shmmin: u64,
        shmmni: u64,
        shmseg: u64,
        shmall: u64,
        _unused: [u64; 4],
    }

    /// `SHM_INFO` of shmctl(2)
    struct ShmInfo = "struct shm_info", "linux/types.h linux/ipc.h linux/shm.h" {
        used_ids: i32,
        _pad: u32,
        shm_tot: u64,
        shm_rss: u64,
        shm_swp: u64,
        swap_attempts: u64,
        swap_successes: u64,
    }

    /// semctl(2)
    struct SemidDs = "struct semid64_ds", "linux/types.h asm/ipcbuf.h asm/sembuf.h" {
        sem_perm: IpcPerm,
        sem_otime: i64,
        _unused1: u64,
        sem_ctime: i64,
        _unused2: u64,
        sem_nsems: u64,
        _unused3: u64,
        _unused4: u64,
    }

    /// semop(2)
    struct Sembuf = "struct sembuf", "linux/types.h linux/ipc.h linux/sem.h" {
        sem_num: u16,
        sem_op: i16,
        sem_flg: i16,
    }

    /// `IPC_INFO` and `SEM_INFO` of semctl(2)
    struct Seminfo = "struct seminfo", "linux/types.h linux/ipc.h linux/sem.h" {
        semmap: i32,
        semmni: i32,
        semmns: i32,
        semmnu: i32,
        semmsl: i32,
        semopm: i32,
        semume: i32,
        semusz: i32,
        semvmx: i32,
        semaem: i32,
    }

    /// msgctl(2)
    struct MsqidDs = "struct msqid64_ds", "linux/types.h asm/ipcbuf.h asm/msgbuf.h" {
        msg_perm: IpcPerm,
        msg_stime: i64,
        msg_rtime: i64,
        msg_ctime: i64,
        msg_cbytes: u64,
        msg_qnum: u64,
        msg_qbytes: u64,
        msg_lspid: Pid,
        msg_lrpid: Pid,
        _unused4: u64,
        _unused5: u64,
    }

    /// `IPC_INFO` and `MSG_INFO` of msgctl(2)
    struct Msginfo = "struct msginfo", "linux/types.h linux/ipc.h linux/msg.h" {
        msgpool: i32,
        msgmap: i32,
        msgmax: i32,
        msgmnb: i32,
        msgmni: i32,
        msgssz: i32,
        msgtql: i32,
        msgseg: u16,
        _pad: u16,
    }

    /// The head of a message; its text follows (msgsnd(2)).
    struct Msgbuf = "", "" {
        mtype: i64,
    }

    /// mq_getattr(3)
    struct MqAttr = "struct mq_attr", "linux/types.h linux/mqueue.h" {
        mq_flags: i64,
        mq_maxmsg: i64,
        mq_msgsize: i64,
        mq_curmsgs: i64,
        _reserved: [i64; 4],
    }

    /// futex_waitv(2)
    struct FutexWaitv = "struct futex_waitv", "linux/types.h linux/futex.h" {
        val: u64,
        uaddr: u64,
        flags: u32,
        _reserved: u32,
    }
}

/// The flag that old C libraries or into a command (`IPC_64`); without meaning on x86_64.
pub const IPC_64: i32 = 0x100;
/// `SEM_UNDO` in `sem_flg`: take the operation back when the process ends.
pub const SEM_UNDO: i16 = 0x1000;
/// The most futexes that one futex_waitv(2) waits for.
pub const FUTEX_WAITV_MAX: u32 = 128;
