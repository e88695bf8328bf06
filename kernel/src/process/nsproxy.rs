//! The namespaces a thread lives in (namespaces(7)).
//!
//! Mount, UTS and IPC namespaces are real; the other kinds exist once for the whole system.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::fs::mount::MountNamespace;
use crate::ipc::namespace::IpcNamespace;
use crate::prelude::*;

/// Longest host or domain name (`__NEW_UTS_LEN`).
pub const UTS_LEN: usize = 64;

/// Names that uname(2) tells and sethostname(2) sets.
pub struct UtsNamespace {
    /// Its inode number under /proc/PID/ns.
    pub id: u64,
    names: SpinLock<UtsNames>,
}

/// Inode number of the first UTS namespace, as on Linux.
const INITIAL_UTS: u64 = 0xefff_fffe;
/// Where the numbers of the others begin.
const FURTHER_UTS: u64 = 0xf100_0000;

/// Host and NIS domain name.
#[derive(Clone)]
pub struct UtsNames {
    /// `nodename`.
    pub host: Vec<u8>,
    /// `domainname`.
    pub domain: Vec<u8>,
}

impl UtsNamespace {
    /// The first one, with Linux's initial names.
    pub fn initial() -> Arc<Self> {
        let none = b"(none)".to_vec();
        let names = UtsNames {
            host: none.clone(),
            domain: none,
        };
        Arc::new(Self {
            id: INITIAL_UTS,
            names: SpinLock::new(names),
        })
    }

    /// A copy of both names.
    pub fn names(&self) -> UtsNames {
        self.names.lock().clone()
    }

    /// Changes the names.
    pub fn update(&self, change: impl FnOnce(&mut UtsNames)) {
        change(&mut self.names.lock());
    }

    /// A namespace of its own with the same names.
    pub fn copy(&self) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(FURTHER_UTS);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id,
            names: SpinLock::new(self.names()),
        })
    }
}

/// A thread's set of namespaces (`nsproxy`).
#[derive(Clone)]
pub struct NsProxy {
    /// Mounts.
    pub mnt: Arc<MountNamespace>,
    /// Host name.
    pub uts: Arc<UtsNamespace>,
    /// System V IPC and POSIX message queues.
    pub ipc: Arc<IpcNamespace>,
}
