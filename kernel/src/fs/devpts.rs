//! devpts: the directory of pseudo-terminals (Documentation/filesystems/devpts, pts(4)).
//!
//! Every mount is an [`Instance`] of its own, with its own numbers. The node of a slave is there while its master is
//! open; [`crate::device::tty::pty`] adds and removes it. `ptmx` makes new pairs in this instance. Dentries are
//! checked at each lookup rather than kept in step, so that a master can close wherever it is.

use core::any::Any;
use core::fmt::Write;
use core::sync::atomic::{AtomicUsize, Ordering};
use keel_abi::args::FileType;
use keel_abi::flags::OpenFlags;

use super::namei::{child_locked, top_mount};
use super::superblock::anonymous_dev;
use super::{
    Attr, Dentry, DirSink, File, FileOps, FileSystemType, FsStats, Inode, InodeOps, Path,
    SuperBlock, SuperOps, Time, emit_dots,
};
use crate::device::tty::dev;
use crate::device::tty::pty::{MASTER, Pty, SLAVE_MAJOR};
use crate::prelude::*;

/// `devpts` of mount(2).
pub struct Devpts;

const DEVPTS_MAGIC: u64 = 0x1cd1;
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
/// Number of the inode of slave 0.
const FIRST_SLAVE_INO: u64 = 3;
/// Position of the entry of slave 0 in the directory.
const FIRST_SLAVE_POS: u64 = 3;
/// Slaves that one instance has at most (as many as there are minor numbers).
const MAX_SLAVES: u32 = 1 << 20;

/// Pairs that there are.
static PAIRS: AtomicUsize = AtomicUsize::new(0);
/// `kernel.pty.max`: pairs that may be there at a time.
pub static MAX_PAIRS: AtomicUsize = AtomicUsize::new(4096);
/// `kernel.pty.reserve`: how many of them only an instance of its own may have; there is but one kind here.
pub const RESERVED: usize = 1024;

/// Pairs that are there (`kernel.pty.nr`).
pub fn pairs() -> usize {
    PAIRS.load(Ordering::Relaxed)
}

/// Mount options.
#[derive(Clone, Copy, Debug)]
struct Options {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: u32,
    ptmxmode: u32,
    max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            uid: None,
            gid: None,
            mode: 0o600,
            ptmxmode: 0,
            max: MAX_SLAVES,
        }
    }
}

impl Options {
    /// From the text of mount(2), which starts from the defaults, but for `max`: EINVAL for what is unknown or
    /// malformed.
    fn parse(data: &[u8], max: u32) -> Result<Self> {
        let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let mut options = Self {
            max,
            ..Self::default()
        };
        let words = text
            .trim_end_matches('\0')
            .split(',')
            .filter(|word| !word.is_empty());
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            options.set(name, value).ok_or(Errno::EINVAL)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let permissions = |text| u32::from_str_radix(text, 8).ok().map(|mode| mode & 0o7777);
        match name {
            "uid" => self.uid = Some(value.parse().ok()?),
            "gid" => self.gid = Some(value.parse().ok()?),
            "mode" => self.mode = permissions(value)?,
            "ptmxmode" => self.ptmxmode = permissions(value)?,
            "max" => self.max = value.parse().ok().filter(|max| *max <= MAX_SLAVES)?,
            // Every mount is a new instance.
            "newinstance" if value.is_empty() => {}
            _ => return None,
        }
        Some(())
    }
}

/// One mounted devpts.
pub struct Instance {
    options: SpinLock<Options>,
    /// Numbers in use: from a master's opening until both ends are closed.
    numbers: SpinLock<BTreeSet<u32>>,
    /// Slaves whose masters are open.
    nodes: RwSpinLock<BTreeMap<u32, Arc<Inode>>>,
    ptmx: OnceLock<Arc<Inode>>,
}

impl Instance {
    /// The lowest free number: ENOSPC beyond the limits.
    pub fn take_number(&self) -> Result<u32> {
        let max = self.options.lock().max;
        let most = MAX_PAIRS.load(Ordering::Relaxed);
        let fits = |n: usize| (n < most).then_some(n + 1);
        PAIRS
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .map_err(|_| Errno::ENOSPC)?;
        let mut numbers = self.numbers.lock();
        let free = (0..max).find(|number| !numbers.contains(number));
        match free {
            Some(number) => {
                numbers.insert(number);
                Ok(number)
            }
            None => {
                PAIRS.fetch_sub(1, Ordering::AcqRel);
                Err(Errno::ENOSPC)
            }
        }
    }

    /// Both ends of this pair are closed.
    pub fn free_number(&self, number: u32) {
        if self.numbers.lock().remove(&number) {
            PAIRS.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Takes the slave's name away: its master is closed.
    pub fn remove_node(&self, number: u32) {
        let gone = self.nodes.write().remove(&number);
        let Some(inode) = gone else { return };
        inode.update_attr(|attr| attr.nlink = 0);
        let name = format!("{number}");
        let root = inode.sb.root_dentry();
        if let Some(dentry) = root.and_then(|root| root.cached_child(name.as_bytes())) {
            dentry.unlink();
        }
    }

    fn node(&self, name: &[u8]) -> Option<Arc<Inode>> {
        if name == b"ptmx" {
            return self.ptmx.get().cloned();
        }
        let text = core::str::from_utf8(name).ok()?;
        let number: u32 = text.parse().ok()?;
        // Only the plain spelling: not `+1` or `01`.
        if format!("{number}") != text {
            return None;
        }
        self.nodes.read().get(&number).cloned()
    }
}

/// The instance that a file system is, if it is a devpts.
pub fn instance_of(sb: &SuperBlock) -> Option<&Arc<Instance>> {
    sb.ops
        .as_any()
        .downcast_ref::<DevptsSuper>()
        .map(|ops| &ops.instance)
}

/// The root of the devpts that a ptmx node belongs to: its own, or what is mounted on `pts` beside it (ENODEV).
pub fn root_for(ptmx: &Path) -> Result<Path> {
    let is_devpts = |path: &Path| instance_of(&path.mount.sb).is_some();
    if is_devpts(ptmx) {
        let dentry = ptmx.mount.sb.make_root_dentry()?;
        return Ok(Path {
            mount: ptmx.mount.clone(),
            dentry,
        });
    }
    let parent = ptmx.dentry.parent().ok_or(Errno::ENODEV)?;
    let dir = parent.inode().ok_or(Errno::ENODEV)?;
    let dentry = {
        let _shared = dir.rwsem.read();
        child_locked(&parent, &dir, b"pts").map_err(|_| Errno::ENODEV)?
    };
    let place = top_mount(Path {
        mount: ptmx.mount.clone(),
        dentry,
    });
    let is_root = Arc::ptr_eq(&place.dentry, &place.mount.sb.make_root_dentry()?);
    if is_devpts(&place) && is_root {
        Ok(place)
    } else {
        Err(Errno::ENODEV)
    }
}

/// Makes the node of a slave. It belongs to whoever opened the master, unless the mount says otherwise.
pub fn add_node(sb: &Arc<SuperBlock>, number: u32, pty: &Arc<Pty>) -> Result<()> {
    let instance = instance_of(sb).ok_or(Errno::ENODEV)?;
    let options = *instance.options.lock();
    let (uid, gid) = crate::process::current_opt().map_or((0, 0), |thread| {
        let cred = thread.cred();
        (cred.fsuid, cred.fsgid)
    });
    let mode = u32::from(FileType::CharDevice.mode().0) | options.mode;
    let attr = Attr {
        uid: options.uid.unwrap_or(uid),
        gid: options.gid.unwrap_or(gid),
        rdev: dev(SLAVE_MAJOR, number),
        ..new_attr(mode, 1)
    };
    let ops = Slave {
        pty: Arc::downgrade(pty),
    };
    let inode = Inode::new(FIRST_SLAVE_INO + u64::from(number), sb, attr, Box::new(ops));
    instance.nodes.write().insert(number, inode);
    Ok(())
}

/// The place of a slave's node below a devpts root: ENOENT if it is gone.
pub fn node_path(root: &Path, number: u32) -> Result<Path> {
    let dir = root.inode()?;
    let _shared = dir.rwsem.read();
    let dentry = child_locked(&root.dentry, &dir, format!("{number}").as_bytes())?;
    Ok(Path {
        mount: root.mount.clone(),
        dentry,
    })
}

/// The pair that a slave's node leads to: EIO for nodes that are not on a devpts, and when the master is closed.
pub fn pty_of(inode: &Inode) -> Result<Arc<Pty>> {
    let slave = inode
        .ops
        .as_any()
        .downcast_ref::<Slave>()
        .ok_or(Errno::EIO)?;
    slave.pty.upgrade().ok_or(Errno::EIO)
}

fn new_attr(mode: u32, nlink: u32) -> Attr {
    let now = Time::now();
    Attr {
        mode,
        nlink,
        atime: now,
        mtime: now,
        ctime: now,
        ..Attr::default()
    }
}

struct Slave {
    pty: Weak<Pty>,
}

impl InodeOps for Slave {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Ptmx;

impl InodeOps for Ptmx {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Root;

impl InodeOps for Root {
    fn lookup(&self, dir: &Arc<Inode>, name: &[u8]) -> Result<Arc<Inode>> {
        instance_of(&dir.sb)
            .and_then(|instance| instance.node(name))
            .ok_or(Errno::ENOENT)
    }

    fn open(&self, _: &Arc<Inode>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(RootFile))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The open directory.
struct RootFile;

impl FileOps for RootFile {
    fn read(&self, _: &File, _: &mut super::IoDst, _: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        if !emit_dots(file, pos, sink) {
            return Ok(());
        }
        if *pos < FIRST_SLAVE_POS {
            if !sink.entry(b"ptmx", PTMX_INO, FileType::CharDevice, FIRST_SLAVE_POS) {
                return Ok(());
            }
            *pos = FIRST_SLAVE_POS;
        }
        let Some(instance) = instance_of(&file.inode.sb) else {
            return Ok(());
        };
        let first = u32::try_from(*pos - FIRST_SLAVE_POS).unwrap_or(u32::MAX);
        let numbers: Vec<u32> = instance
            .nodes
            .read()
            .range(first..)
            .map(|(n, _)| *n)
            .collect();
        for number in numbers {
            let (ino, next) = (
                FIRST_SLAVE_INO + u64::from(number),
                FIRST_SLAVE_POS + u64::from(number) + 1,
            );
            if !sink.entry(
                format!("{number}").as_bytes(),
                ino,
                FileType::CharDevice,
                next,
            ) {
                break;
            }
            *pos = next;
        }
        Ok(())
    }

    fn pollable(&self) -> bool {
        false
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct DevptsSuper {
    instance: Arc<Instance>,
}

impl SuperOps for DevptsSuper {
    fn statfs(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: DEVPTS_MAGIC,
            block_size: PAGE_SIZE as u64,
            name_max: 255,
            ..FsStats::default()
        })
    }

    fn remount(&self, _read_only: bool, data: &[u8]) -> Result<()> {
        let mut current = self.instance.options.lock();
        let options = Options::parse(data, current.max)?;
        *current = options;
        drop(current);
        if let Some(ptmx) = self.instance.ptmx.get() {
            ptmx.update_attr(|attr| attr.mode = (attr.mode & !0o7777) | options.ptmxmode);
        }
        Ok(())
    }

    fn show_options(&self, out: &mut String) {
        let options = *self.instance.options.lock();
        // Writing to a string does not fail.
        if let Some(uid) = options.uid {
            let _ = write!(out, ",uid={uid}");
        }
        if let Some(gid) = options.gid {
            let _ = write!(out, ",gid={gid}");
        }
        let _ = write!(
            out,
            ",mode={:03o},ptmxmode={:03o}",
            options.mode, options.ptmxmode
        );
        if options.max < MAX_SLAVES {
            let _ = write!(out, ",max={}", options.max);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl FileSystemType for Devpts {
    fn name(&self) -> &'static str {
        "devpts"
    }

    fn revalidate(&self, dentry: &Arc<Dentry>) -> bool {
        // A name that meant nothing may mean something now.
        let Some(inode) = dentry.inode() else {
            return false;
        };
        let known = instance_of(&inode.sb).and_then(|instance| instance.node(&dentry.name()));
        known.is_some_and(|known| Arc::ptr_eq(&known, &inode))
    }

    fn mount(
        &self,
        source: Option<&[u8]>,
        read_only: bool,
        data: &[u8],
    ) -> Result<Arc<SuperBlock>> {
        let options = Options::parse(data, MAX_SLAVES)?;
        let instance = Arc::new(Instance {
            options: SpinLock::new(options),
            numbers: SpinLock::new(BTreeSet::new()),
            nodes: RwSpinLock::new(BTreeMap::new()),
            ptmx: OnceLock::new(),
        });
        let ops = Box::new(DevptsSuper {
            instance: instance.clone(),
        });
        let sb = SuperBlock::new(anonymous_dev(), &Devpts, source, read_only, ops);
        let directory = u32::from(FileType::Directory.mode().0) | 0o755;
        sb.set_block_size(1024);
        sb.set_root(Inode::new(
            ROOT_INO,
            &sb,
            new_attr(directory, 2),
            Box::new(Root),
        ));
        let mode = u32::from(FileType::CharDevice.mode().0) | options.ptmxmode;
        let attr = Attr {
            rdev: dev(MASTER.0, MASTER.1),
            ..new_attr(mode, 1)
        };
        instance
            .ptmx
            .call_once(|| Inode::new(PTMX_INO, &sb, attr, Box::new(Ptmx)));
        Ok(sb)
    }
}
