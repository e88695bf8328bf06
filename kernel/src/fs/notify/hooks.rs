//! Where the VFS says what has happened. None of them sleeps, [`may_open`] and [`may_read`] excepted.

use core::sync::atomic::{AtomicU32, Ordering};

use super::{Events, Happening, Target, free_marks, tell, wanted};
use crate::fs::{Dentry, File, Inode, Path, SuperBlock};
use crate::prelude::*;

fn of_kind(events: Events, inode: &Inode) -> Events {
    if inode.is_dir() {
        events | Events::ISDIR
    } else {
        events
    }
}

fn next_cookie() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Something about the inode alone: names do not matter.
fn about_inode(inode: &Arc<Inode>, events: Events) {
    if !wanted(&inode.sb, events) {
        return;
    }
    let what = Happening {
        events: of_kind(events, inode),
        inode,
        within: None,
        moved_to: None,
        path: None,
        unlinked: false,
        cookie: 0,
    };
    // Only permission events can be refused.
    let _ = tell(&what);
}

/// Something that happened to a file where it is: its directory's watchers hear of it too.
fn about_place(dentry: &Arc<Dentry>, path: Option<&Path>, events: Events) -> Result<()> {
    let Some(inode) = dentry.inode() else {
        return Ok(());
    };
    about_inode_at(&inode, dentry, path, events)
}

fn about_inode_at(
    inode: &Arc<Inode>,
    dentry: &Arc<Dentry>,
    path: Option<&Path>,
    events: Events,
) -> Result<()> {
    if !wanted(&inode.sb, events) {
        return Ok(());
    }
    let dir = dentry.parent().and_then(|parent| parent.inode());
    let name = dentry.name();
    tell(&Happening {
        events: of_kind(events, inode),
        inode,
        within: dir.as_ref().map(|dir| (dir, &name[..])),
        moved_to: None,
        path,
        unlinked: dentry.is_unlinked(),
        cookie: 0,
    })
}

/// Something that happened to a name in a directory.
fn about_name(dir: &Arc<Inode>, name: &[u8], inode: &Arc<Inode>, events: Events, cookie: u32) {
    if !wanted(&inode.sb, events) {
        return;
    }
    let what = Happening {
        events: of_kind(events, inode),
        inode,
        within: Some((dir, name)),
        moved_to: None,
        path: None,
        unlinked: false,
        cookie,
    };
    let _ = tell(&what);
}

fn about_file(file: &File, events: Events) {
    if !file.is_path() {
        let _ = about_inode_at(&file.inode, &file.path.dentry, Some(&file.path), events);
    }
}

/// A name was made in a directory.
pub fn created(dir: &Arc<Dentry>, child: &Arc<Dentry>) {
    if let (Some(dir), Some(inode)) = (dir.inode(), child.inode()) {
        about_name(&dir, &child.name(), &inode, Events::CREATE, 0);
    }
}

/// An inode has got a link more or less.
pub fn link_count(inode: &Arc<Inode>) {
    about_inode(inode, Events::ATTRIB);
}

/// A file was opened; `exec`: to be executed.
pub fn opened(file: &Arc<File>, exec: bool) {
    let events = if exec {
        Events::OPEN | Events::OPEN_EXEC
    } else {
        Events::OPEN
    };
    about_file(file, events);
}

/// A file is about to be opened: EPERM if a watcher forbids it. May sleep.
pub fn may_open(path: &Path, exec: bool) -> Result<()> {
    if exec {
        about_place(&path.dentry, Some(path), Events::OPEN_EXEC_PERM)?;
    }
    about_place(&path.dentry, Some(path), Events::OPEN_PERM)
}

/// A file is about to be read: EPERM if a watcher forbids it. May sleep.
pub fn may_read(file: &File) -> Result<()> {
    about_inode_at(
        &file.inode,
        &file.path.dentry,
        Some(&file.path),
        Events::ACCESS_PERM,
    )
}

/// A file was truncated.
pub fn modified(dentry: &Arc<Dentry>) {
    let _ = about_place(dentry, None, Events::MODIFY);
}

/// A name was removed from a directory; `child` is what it meant.
pub fn deleted(dir: &Arc<Dentry>, child: &Arc<Dentry>) {
    let (Some(dir), Some(inode)) = (dir.inode(), child.inode()) else {
        return;
    };
    if !wanted(&inode.sb, Events::all()) {
        return;
    }
    if !inode.is_dir() {
        link_count(&inode);
    }
    // With nobody else using the name, the file goes before its directory's watchers are told.
    if Arc::strong_count(child) == 1 {
        name_dropped(&inode);
    }
    about_name(&dir, &child.name(), &inode, Events::DELETE, 0);
}

/// A name moved: `child` has its new place already. `replaced` is what the new name meant before.
pub fn moved(
    old_dir: &Arc<Dentry>,
    old_name: &[u8],
    child: &Arc<Dentry>,
    replaced: Option<&Arc<Inode>>,
) {
    let new_dir = child.parent().and_then(|dir| dir.inode());
    let (Some(old_dir), Some(new_dir), Some(inode)) = (old_dir.inode(), new_dir, child.inode())
    else {
        return;
    };
    if !wanted(&inode.sb, Events::all()) {
        return;
    }
    let new_name = child.name();
    let cookie = next_cookie();
    let both = Happening {
        events: of_kind(Events::RENAME, &inode),
        inode: &inode,
        within: Some((&old_dir, old_name)),
        moved_to: Some((&new_dir, &new_name)),
        path: None,
        unlinked: false,
        cookie,
    };
    let _ = tell(&both);
    about_name(&old_dir, old_name, &inode, Events::MOVED_FROM, cookie);
    about_name(&new_dir, &new_name, &inode, Events::MOVED_TO, cookie);
    if let Some(replaced) = replaced {
        link_count(replaced);
    }
    about_inode(&inode, Events::MOVE_SELF);
}

/// Attributes of a file changed.
pub fn attributes(dentry: &Arc<Dentry>) {
    let _ = about_place(dentry, None, Events::ATTRIB);
}

/// Times of a file were set (utimensat(2)): one alone counts as the access or the change that it tells of.
pub fn times_set(dentry: &Arc<Dentry>, atime: bool, mtime: bool) {
    let events = match (atime, mtime) {
        (true, true) => Events::ATTRIB,
        (true, false) => Events::ACCESS,
        (false, true) => Events::MODIFY,
        (false, false) => return,
    };
    let _ = about_place(dentry, None, events);
}

/// A file was read.
pub fn accessed(file: &File) {
    about_file(file, Events::ACCESS);
}

/// A file was written.
pub fn written(file: &File) {
    about_file(file, Events::MODIFY);
}

/// The last descriptor of an open file description is gone.
pub fn closed(file: &File) {
    let events = if file.writable() {
        Events::CLOSE_WRITE
    } else {
        Events::CLOSE_NOWRITE
    };
    about_file(file, events);
}

/// A dentry lets go of its inode: if that has no name left, this is its end for whoever watches it.
pub fn name_dropped(inode: &Arc<Inode>) {
    if wanted(&inode.sb, Events::DELETE_SELF) && inode.attr().nlink == 0 {
        about_inode(inode, Events::DELETE_SELF);
        free_marks(inode);
    }
}

/// A file system is being unmounted: all marks on it go.
pub fn unmounted(sb: &SuperBlock) {
    let marks: Vec<_> = {
        let all = sb.notify.all.lock();
        all.values().filter_map(Weak::upgrade).collect()
    };
    for mark in marks {
        if let Some(Target::Inode(inode)) = mark.target() {
            let what = Happening {
                events: Events::UNMOUNT,
                inode: &inode,
                within: None,
                moved_to: None,
                path: None,
                unlinked: false,
                cookie: 0,
            };
            if let Some(group) = mark.group.upgrade() {
                let _ = group.handle(&what, &[(mark.clone(), super::Role::Own)]);
            }
        }
        mark.free();
    }
}
