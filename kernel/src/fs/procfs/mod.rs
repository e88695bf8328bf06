//! /proc: `keel-procfs` as a file system of this kernel (proc(5)).
//!
//! * `inode`: nodes as inodes, open files and directories; names are checked again at every walk ([`ProcFs::revalidate`]).
//! * `system`, `cpu`, `memory`, `devices`: the facts about the machine ([`keel_procfs::System`]).
//! * `task` and its parts: the facts about a thread ([`keel_procfs::Task`]).
//! * `net`: the facts about the network; `sysctl`: the values below /proc/sys.
//! * `ns`: the files that the links of /proc/PID/ns lead to.
//!
//! No lock is held while text is made, but that of the open file; each fact takes the locks of its owner.

mod cpu;
mod devices;
mod inode;
mod instance;
mod ipc;
mod memory;
mod net;
pub mod ns;
mod sysctl;
mod system;
mod task;
pub use task::shown_path;

use super::superblock::{SuperBlock, anonymous_dev};
use super::{Dentry, FileSystemType, FsStats, SuperOps};
use crate::prelude::*;
use inode::ProcInode;
use instance::Instance;
use keel_procfs::Node;
pub use memory::{meminfo, vmstat};

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// All instances.
static MOUNTED: SpinLock<Vec<Weak<SuperBlock>>> = SpinLock::new(Vec::new());

/// A process has been reaped: what is cached of its directory would never be found valid again.
pub fn process_gone(pid: u32) {
    let mounted: Vec<_> = MOUNTED.lock().iter().filter_map(Weak::upgrade).collect();
    let name = format!("{pid}");
    for sb in mounted {
        let cached = sb
            .root_dentry()
            .and_then(|root| root.cached_child(name.as_bytes()));
        if let Some(dentry) = cached {
            dentry.forget();
        }
    }
}

/// `proc` of mount(2). Each mount is an instance of its own, with its own `hidepid`.
pub struct ProcFs;

impl FileSystemType for ProcFs {
    fn name(&self) -> &'static str {
        "proc"
    }

    /// Processes and descriptors come and go; what is not there is never remembered.
    fn revalidate(&self, dentry: &Arc<Dentry>) -> bool {
        let Some(inode) = dentry.inode() else {
            return false;
        };
        inode
            .ops
            .as_any()
            .downcast_ref::<ProcInode>()
            .is_some_and(|node| node.refresh(&inode))
    }

    fn mount(
        &self,
        source: Option<&[u8]>,
        read_only: bool,
        data: &[u8],
    ) -> Result<Arc<SuperBlock>> {
        let instance = Arc::new(Instance::parse(data)?);
        let ops = Box::new(ProcSuper {
            instance: instance.clone(),
        });
        let sb = SuperBlock::new(anonymous_dev(), &ProcFs, source, read_only, ops);
        sb.set_block_size(1024);
        sb.set_root(inode::make(&sb, Node::root(), &instance)?);
        let mut mounted = MOUNTED.lock();
        mounted.retain(|known| known.strong_count() > 0);
        mounted.push(Arc::downgrade(&sb));
        drop(mounted);
        Ok(sb)
    }
}

struct ProcSuper {
    instance: Arc<Instance>,
}

impl SuperOps for ProcSuper {
    fn statfs(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: PROC_SUPER_MAGIC,
            block_size: PAGE_SIZE as u64,
            name_max: 255,
            ..FsStats::default()
        })
    }

    fn remount(&self, _read_only: bool, data: &[u8]) -> Result<()> {
        self.instance.update(data)
    }

    fn show_options(&self, out: &mut String) {
        self.instance.show(out);
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// Makes the file system known.
pub fn init() {
    super::register_filesystem(&ProcFs);
}
