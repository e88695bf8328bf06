//! Watching files: inotify(7).

use keel_abi::prelude::*;

use super::Ctx;
use super::fs::place_at;
use crate::fs::namei::LookupFlags;
use crate::fs::notify::inotify::{self, Existing};
use crate::fs::permission::{self, MAY_READ};

pub fn inotify_init(cx: &mut Ctx) -> Result<Fd> {
    inotify_init1(cx, InotifyInitFlags::empty())
}

pub fn inotify_init1(cx: &mut Ctx, flags: InotifyInitFlags) -> Result<Fd> {
    if !InotifyInitFlags::all().contains(flags) {
        return Err(Errno::EINVAL);
    }
    let mut status = OpenFlags::empty();
    status.set(
        OpenFlags::NONBLOCK,
        flags.contains(InotifyInitFlags::NONBLOCK),
    );
    let file = inotify::create(cx.thread.cred().uid, status)?;
    cx.thread
        .files()
        .install(file, flags.contains(InotifyInitFlags::CLOEXEC))
}

pub fn inotify_add_watch(
    cx: &mut Ctx,
    fd: Fd,
    pathname: UserStr,
    mask: InotifyMask,
) -> Result<i32> {
    if !mask.intersects(InotifyMask::all()) {
        return Err(Errno::EINVAL);
    }
    let file = cx.thread.files().get(fd)?;
    if mask.contains(InotifyMask::MASK_ADD | InotifyMask::MASK_CREATE) {
        return Err(Errno::EINVAL);
    }
    let instance = inotify::of_file(&file)?;
    let mut lookup = LookupFlags::empty();
    lookup.set(
        LookupFlags::FOLLOW,
        !mask.contains(InotifyMask::DONT_FOLLOW),
    );
    lookup.set(LookupFlags::DIRECTORY, mask.contains(InotifyMask::ONLYDIR));
    let place = place_at(cx, DirFd::CWD, pathname, lookup)?;
    let inode = place.inode()?;
    permission::check(&inode, &cx.thread.cred(), MAY_READ)?;
    let existing = if mask.contains(InotifyMask::MASK_CREATE) {
        Existing::Refuse
    } else if mask.contains(InotifyMask::MASK_ADD) {
        Existing::Add
    } else {
        Existing::Replace
    };
    instance.add(&inode, mask.bits(), existing)
}

pub fn inotify_rm_watch(cx: &mut Ctx, fd: Fd, wd: i32) -> Result<()> {
    let file = cx.thread.files().get(fd)?;
    inotify::of_file(&file)?.remove(wd)
}
