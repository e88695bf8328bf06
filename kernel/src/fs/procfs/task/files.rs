//! A thread's files: descriptors, links, mounts.

use keel_abi::args::Fd;
use keel_abi::flags::{MountFlags, OpenFlags};
use keel_abi::types::Dev;
use keel_procfs::{DevNo, FdExtra, FdInfo, Mount as Shown, TaskLink};

use super::TaskRef;
use crate::fs::mount::{Mount, MountNamespace};
use crate::fs::{File, Path, namei};
use crate::prelude::*;
use crate::process::{self, Cap, Thread};

/// A device number in its parts.
pub fn dev_no(raw: u64) -> DevNo {
    let dev = Dev::decode(raw as u32);
    DevNo {
        major: dev.major,
        minor: dev.minor,
    }
}

/// The text of a place as the reader sees it.
pub fn shown(place: &Path) -> Vec<u8> {
    match process::current_opt() {
        Some(me) => namei::display_path(place, &me.fs().root()),
        None => namei::display_path(place, &place.mount.root_path()),
    }
}

/// A thread that has ended has given its files up.
fn living(thread: Arc<Thread>) -> Result<Arc<Thread>> {
    if thread.task().is_some() {
        Ok(thread)
    } else {
        Err(Errno::ENOENT)
    }
}

impl TaskRef {
    /// What an open descriptor means: ENOENT.
    pub fn file(&self, fd: u32) -> Result<Arc<File>> {
        let fd = i32::try_from(fd).map_err(|_| Errno::ENOENT)?;
        self.thread()?
            .files()
            .get_any(Fd(fd))
            .map_err(|_| Errno::ENOENT)
    }

    /// Where exe, cwd or root lead: ENOENT.
    pub fn place(&self, link: TaskLink) -> Result<Path> {
        let thread = living(self.thread()?)?;
        match link {
            TaskLink::Exe => {
                let exe = thread.process.exe.lock().clone();
                exe.map(|file| file.path.clone()).ok_or(Errno::ENOENT)
            }
            TaskLink::Cwd => Ok(thread.fs().cwd()),
            TaskLink::Root => Ok(thread.fs().root()),
        }
    }

    /// The file mapped at exactly `start..end`: ENOENT; EPERM without CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
    pub fn mapped_file(&self, start: u64, end: u64) -> Result<Path> {
        if let Some(me) = process::current_opt() {
            let cred = me.cred();
            if !cred.has(Cap::SYS_ADMIN) && !cred.has(Cap::CHECKPOINT_RESTORE) {
                return Err(Errno::EPERM);
            }
        }
        let mm = self.mm()?.ok_or(Errno::ENOENT)?;
        let mut found = None;
        mm.for_each_vma(|vma| {
            let here = vma.start as u64 == start && vma.end as u64 == end;
            if here {
                found = vma.file.clone();
            }
            !here
        });
        found.map(|file| file.path.clone()).ok_or(Errno::ENOENT)
    }

    /// fdinfo.
    pub fn describe_fd(&self, fd: u32) -> Result<FdInfo> {
        let thread = self.thread()?;
        let file = self.file(fd)?;
        let mut flags = file.flags();
        let number = Fd(i32::try_from(fd).map_err(|_| Errno::ENOENT)?);
        if thread.files().cloexec(number).unwrap_or(false) {
            flags |= OpenFlags::CLOEXEC;
        }
        let mut lines = String::new();
        file.ops.show_fdinfo(&file, &mut lines);
        let key = file.inode.key();
        let locks = crate::fs::locks::all();
        let mine = locks.iter().filter(|lock| {
            lock.inode == key && (lock.pid == -1 || lock.pid == self.pid.cast_signed())
        });
        Ok(FdInfo {
            pos: file.position_now().cast_signed(),
            flags: flags.bits(),
            mnt_id: file.path.mount.id,
            ino: file.inode.ino,
            locks: mine.map(super::super::system::file_lock).collect(),
            extra: if lines.is_empty() {
                FdExtra::None
            } else {
                FdExtra::Lines(lines)
            },
        })
    }

    /// The mounts that the thread's root can see.
    pub fn list_mounts(&self) -> Result<Vec<Shown>> {
        let thread = living(self.thread()?).map_err(|_| Errno::EINVAL)?;
        let root = thread.fs().root();
        let namespace: Arc<MountNamespace> = thread.ns().mnt.clone();
        Ok(namespace
            .mounts()
            .iter()
            .filter_map(|mount| show_mount(mount, &root))
            .collect())
    }
}

/// The options of a mount, in Linux's order.
const OPTIONS: [(MountFlags, &str); 7] = [
    (MountFlags::NOSUID, ",nosuid"),
    (MountFlags::NODEV, ",nodev"),
    (MountFlags::NOEXEC, ",noexec"),
    (MountFlags::NOATIME, ",noatime"),
    (MountFlags::NODIRATIME, ",nodiratime"),
    (MountFlags::RELATIME, ",relatime"),
    (MountFlags::NOSYMFOLLOW, ",nosymfollow"),
];

fn show_mount(mount: &Arc<Mount>, root: &Path) -> Option<Shown> {
    let point = namei::path_text(&mount.root_path(), root)?;
    let flags = mount.flags();
    let access = |read_only: bool| if read_only { "ro" } else { "rw" };
    let mut options = String::from(access(flags.contains(MountFlags::RDONLY)));
    for (flag, text) in OPTIONS {
        if flags.contains(flag) {
            options.push_str(text);
        }
    }
    let mut super_options = String::from(access(mount.sb.is_read_only()));
    mount.sb.ops.show_options(&mut super_options);
    let propagation = *mount.propagation.lock();
    Some(Shown {
        id: mount.id,
        parent: mount.attached_at().map_or(mount.id, |at| at.mount.id),
        dev: dev_no(mount.sb.dev),
        root: namei::root_within(&mount.root_path()),
        point,
        options,
        shared: (propagation.shared != 0).then_some(propagation.shared),
        master: (propagation.master != 0).then_some(propagation.master),
        propagate_from: None,
        unbindable: propagation.unbindable,
        fs_type: mount.sb.fs_type.name().to_owned(),
        source: (!mount.source.is_empty()).then(|| mount.source.clone()),
        super_options,
        stats: None,
    })
}
