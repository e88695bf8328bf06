//! The tables that describe the tree: one [`Entry`] for each name, with its mode, what it is, and what it needs.

use alloc::vec::Vec;

use keel_abi::Result;

use crate::node::{Magic, Stream};
use crate::source::{Access, Features, Namespace, Net, System, Task};
use crate::text::Text;

/// A task, and how it is looked at.
pub(crate) struct TaskCx<'a> {
    pub task: &'a dyn Task,
    /// Below `/proc/PID` (figures of the whole process), not below `task/TID`.
    pub whole: bool,
}

pub(crate) type SysRead = fn(&dyn System, &mut Text) -> Result<()>;
pub(crate) type TaskRead = fn(&TaskCx<'_>, &mut Text) -> Result<()>;
pub(crate) type NetRead = fn(&dyn Net, &mut Text) -> Result<()>;

/// What a name stands for.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A fixed list of names.
    Dir(&'static [Entry]),
    /// A fixed list, then `self`, `thread-self` and the processes.
    Root(&'static [Entry]),
    /// Names that come and go.
    Live(Live),
    /// Text about the machine.
    Sys(SysRead),
    /// Text about a task.
    Task(TaskRead),
    /// Text about the task's network namespace.
    Net(NetRead),
    /// A file that can only be written.
    WriteOnly,
    /// A file that is not text made at once.
    Stream(Stream),
    /// A symbolic link to this.
    Link(&'static str),
    /// A symbolic link whose text is made.
    LinkTo(fn(&dyn System) -> Result<Vec<u8>>),
    /// A link that leads to a thing, not to a path.
    Magic(Magic),
    /// A link to a namespace.
    Namespace(Namespace),
}

/// The directories whose content is alive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    /// `task/`
    Threads,
    /// `fd/`
    Fds,
    /// `fdinfo/`
    FdInfos,
    /// `map_files/`
    MapFiles,
    /// `/proc/sys`
    Sysctl,
    /// `/proc/irq`
    Irqs,
    /// `/proc/fs/ext4`
    Ext4,
}

/// What a write does.
#[derive(Clone, Copy)]
pub(crate) enum Write {
    Sys(fn(&dyn System, &[u8]) -> Result<()>),
    Task(fn(&TaskCx<'_>, &[u8]) -> Result<()>),
}

/// One name.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub name: &'static str,
    /// Permission bits.
    pub perm: u16,
    pub kind: Kind,
    pub write: Option<Write>,
    /// Exists only if the kernel has all of these.
    pub needs: Features,
    /// What the opener must be allowed.
    pub open: Option<Access>,
}

impl Entry {
    const fn new(name: &'static str, perm: u16, kind: Kind) -> Self {
        Entry {
            name,
            perm,
            kind,
            write: None,
            needs: Features::empty(),
            open: None,
        }
    }

    /// A directory with fixed content.
    pub const fn dir(name: &'static str, entries: &'static [Entry]) -> Self {
        Entry::new(name, 0o555, Kind::Dir(entries))
    }

    /// A directory with live content.
    pub const fn live(name: &'static str, perm: u16, live: Live) -> Self {
        Entry::new(name, perm, Kind::Live(live))
    }

    /// A file about the machine.
    pub const fn sys(name: &'static str, perm: u16, read: SysRead) -> Self {
        Entry::new(name, perm, Kind::Sys(read))
    }

    /// A file about a task.
    pub const fn task(name: &'static str, perm: u16, read: TaskRead) -> Self {
        Entry::new(name, perm, Kind::Task(read))
    }

    /// A file about a network namespace.
    pub const fn net(name: &'static str, read: NetRead) -> Self {
        Entry::new(name, 0o444, Kind::Net(read)).needs(Features::NET)
    }

    /// A link, or a stream.
    pub const fn other(name: &'static str, perm: u16, kind: Kind) -> Self {
        Entry::new(name, perm, kind)
    }

    /// Exists only with these features too.
    pub const fn needs(mut self, features: Features) -> Self {
        self.needs = self.needs.union(features);
        self
    }

    /// The opener must be allowed this.
    pub const fn opened_with(mut self, access: Access) -> Self {
        self.open = Some(access);
        self
    }

    /// Can be written, through the machine.
    pub const fn writes(mut self, write: fn(&dyn System, &[u8]) -> Result<()>) -> Self {
        self.write = Some(Write::Sys(write));
        self
    }

    /// Can be written, through the task.
    pub const fn task_writes(mut self, write: fn(&TaskCx<'_>, &[u8]) -> Result<()>) -> Self {
        self.write = Some(Write::Task(write));
        self
    }

    /// Whether it exists on this kernel.
    pub fn exists(&self, features: Features) -> bool {
        features.contains(self.needs)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir(_) | Kind::Root(_) | Kind::Live(_))
    }
}
