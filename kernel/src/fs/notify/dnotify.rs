//! dnotify (fcntl F_NOTIFY): a signal to the owner of an open directory when something in it changes.
//!
//! Each pair of descriptor table and open description is a group with one mark of its own.

use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::args::Fd;

use super::{Events, Group, Happening, Hit, Mark, Target};
use crate::fs::sigio::{self, POLL_MSG};
use crate::fs::{FdTable, File};
use crate::prelude::*;

const DN_ACCESS: u32 = 0x1;
const DN_MODIFY: u32 = 0x2;
const DN_CREATE: u32 = 0x4;
const DN_DELETE: u32 = 0x8;
const DN_RENAME: u32 = 0x10;
const DN_ATTRIB: u32 = 0x20;
const DN_MULTISHOT: u32 = 0x8000_0000;

const MEANING: [(u32, Events); 6] = [
    (DN_ACCESS, Events::ACCESS),
    (DN_MODIFY, Events::MODIFY),
    (DN_CREATE, Events::CREATE.union(Events::MOVED_TO)),
    (DN_DELETE, Events::DELETE.union(Events::MOVED_FROM)),
    (DN_RENAME, Events::RENAME),
    (DN_ATTRIB, Events::ATTRIB),
];

/// `fs.dir-notify-enable`.
pub static ENABLED: AtomicBool = AtomicBool::new(true);
/// Somebody has used it: only then do closed directories matter.
static USED: AtomicBool = AtomicBool::new(false);
static ALL: SpinLock<Vec<(Arc<Watch>, Arc<Mark>)>> = SpinLock::new(Vec::new());

struct Watch {
    file: Weak<File>,
    /// Addresses of description and descriptor table, to find it again.
    key: (usize, usize),
    fd: i32,
}

fn key(table: &FdTable, file: &File) -> (usize, usize) {
    (
        core::ptr::from_ref(file) as usize,
        core::ptr::from_ref(table) as usize,
    )
}

/// F_NOTIFY: ENOTDIR, EINVAL. Nothing asked for ends it.
pub fn set(table: &Arc<FdTable>, fd: Fd, file: &Arc<File>, arg: u32) -> Result<()> {
    if !ENABLED.load(Ordering::Relaxed) {
        return Err(Errno::EINVAL);
    }
    if arg & !DN_MULTISHOT == 0 {
        flush(table, file);
        return Ok(());
    }
    if !file.inode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let wanted = MEANING.iter().filter(|(bit, _)| arg & bit != 0);
    let mask = wanted.fold(Events::ON_CHILD, |all, (_, events)| all | *events);
    USED.store(true, Ordering::Relaxed);
    let key = key(table, file);
    let known = ALL.lock().iter().find(|(w, _)| w.key == key).cloned();
    if let Some((_, mark)) = known {
        mark.flags.fetch_or(arg & DN_MULTISHOT, Ordering::Relaxed);
        mark.set_masks(mark.mask() | mask, Events::empty());
        return Ok(());
    }
    let watch = Arc::new(Watch {
        file: Arc::downgrade(file),
        key,
        fd: fd.0,
    });
    let mark = Mark::new(&watch, 0, mask);
    mark.flags.store(arg & DN_MULTISHOT, Ordering::Relaxed);
    ALL.lock().push((watch, mark.clone()));
    mark.attach(Target::Inode(file.inode.clone()));
    Ok(())
}

/// A descriptor was closed: what the process had asked for by it ends.
pub fn flush(table: &FdTable, file: &File) {
    if !USED.load(Ordering::Relaxed) || !file.inode.is_dir() {
        return;
    }
    forget(key(table, file));
}

fn forget(key: (usize, usize)) {
    let gone = {
        let mut all = ALL.lock();
        let at = all.iter().position(|(watch, _)| watch.key == key);
        at.map(|at| all.swap_remove(at))
    };
    if let Some((_, mark)) = gone {
        mark.detach();
    }
}

impl Group for Watch {
    fn handle(&self, what: &Happening, hits: &[Hit]) -> Result<()> {
        let hit = hits
            .iter()
            .find(|(mark, _)| mark.mask().intersects(what.events - Events::ISDIR));
        let Some((mark, _)) = hit else { return Ok(()) };
        if let Some(file) = self.file.upgrade() {
            sigio::send(&file, self.fd, POLL_MSG);
        }
        if mark.flags.load(Ordering::Relaxed) & DN_MULTISHOT == 0 {
            forget(self.key);
        }
        Ok(())
    }

    fn freed(&self, _mark: &Arc<Mark>) {
        forget(self.key);
    }
}
