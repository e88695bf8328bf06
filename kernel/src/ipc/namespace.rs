//! IPC namespaces (ipc_namespaces(7)): System V objects, POSIX message queues, and the limits on both.

use core::sync::atomic::{AtomicU64, Ordering};

use super::mqueue::QueueTable;
use super::sysv::{msg, sem, shm};
use crate::prelude::*;

/// Inode number of the first IPC namespace, as on Linux.
const INITIAL: u64 = 0xefff_ffff;
/// Where the numbers of the others begin.
const FURTHER: u64 = 0xf200_0000;

/// A set of System V objects and message queues (`ipc_namespace`).
pub struct IpcNamespace {
    /// Its inode number under /proc/PID/ns.
    pub id: u64,
    /// Shared memory segments.
    pub shm: shm::Segments,
    /// Semaphore sets.
    pub sem: sem::Sets,
    /// Message queues.
    pub msg: msg::Queues,
    /// POSIX message queues.
    pub mqueue: QueueTable,
}

impl IpcNamespace {
    fn with_id(id: u64) -> Arc<Self> {
        Arc::new(Self {
            id,
            shm: shm::Segments::default(),
            sem: sem::Sets::default(),
            msg: msg::Queues::default(),
            mqueue: QueueTable::default(),
        })
    }

    /// The first one.
    pub fn initial() -> Arc<Self> {
        Self::with_id(INITIAL)
    }

    /// An empty one.
    pub fn fresh() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(FURTHER);
        Self::with_id(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
