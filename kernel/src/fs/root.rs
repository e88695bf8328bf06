//! The root file system, from the command line: `root=`, `rootfstype=`, `rootflags=`, `ro`, `rw`, `rootwait`,
//! `rootdelay=`, with Linux's meanings.
//!
//! An initramfs comes first: if the loader gave one and it has an init, it is the root and mounts the real one
//! itself.

use core::sync::atomic::{AtomicBool, Ordering};
use keel_abi::flags::MountFlags;
use keel_hal::boot;

use super::mount::{Mount, MountNamespace};
use super::namei::{LookupFlags, Walker};
use super::{Path, SuperBlock, devtmpfs, ext4, find_file_system, initramfs, tmpfs};
use crate::block::{self, BlockDevice, Identity};
use crate::cmdline;
use crate::prelude::*;
use crate::process::Cred;

static INITRAMFS: AtomicBool = AtomicBool::new(false);

/// Whether the root is an initramfs.
pub fn is_initramfs() -> bool {
    INITRAMFS.load(Ordering::Relaxed)
}

/// Mounts the root: the namespace of the first process, or why there is none.
pub fn mount() -> core::result::Result<Arc<MountNamespace>, String> {
    if let Some(archive) = boot::initrd()
        && let Some(namespace) = from_initramfs(archive)?
    {
        return Ok(namespace);
    }
    let line = cmdline::get();
    let Some(spec) = line.value("root") else {
        return Err(failure(
            "no root= on the command line and no initramfs was loaded",
            "",
        ));
    };
    if let Some(seconds) = line.value("rootdelay").and_then(|v| v.parse::<u64>().ok()) {
        crate::time::sleep_ns(seconds.saturating_mul(crate::time::NSEC_PER_SEC));
    }
    let device =
        find(spec, line.has("rootwait")).ok_or_else(|| failure("there is no such device", spec))?;
    let sb = mount_device(&device, spec)?;
    let flags = if sb.is_read_only() {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    let mount = Mount::of(&sb, b"/dev/root", flags | MountFlags::RELATIME)
        .map_err(|_| failure("it is being unmounted", spec))?;
    let namespace = MountNamespace::new(mount);
    mount_dev(&namespace);
    Ok(namespace)
}

/// Unpacks the archive into a tmpfs; `None` if there is no init in it.
fn from_initramfs(archive: &[u8]) -> core::result::Result<Option<Arc<MountNamespace>>, String> {
    let options = tmpfs::Options {
        mode: Some(0o755),
        ..tmpfs::Options::default()
    };
    let sb = tmpfs::new(&tmpfs::Ramfs, Some(b"rootfs"), &options)
        .map_err(|error| format!("cannot make a root for the initramfs: {error:?}"))?;
    let mount = Mount::of(&sb, b"rootfs", MountFlags::empty())
        .map_err(|error| format!("cannot mount the initramfs: {error:?}"))?;
    let namespace = MountNamespace::new(mount);
    let root = namespace.root().root_path();
    if let Err(error) = initramfs::unpack(&root, archive) {
        log::error!("initramfs unpacking failed: {error:?}");
        return Ok(None);
    }
    let init = cmdline::get().value("rdinit").unwrap_or("/init");
    let found = walk(&root, init.as_bytes()).and_then(|place| place.inode());
    if found.is_err() {
        log::warn!("initramfs has no {init}, going on with root=");
        return Ok(None);
    }
    INITRAMFS.store(true, Ordering::Relaxed);
    Ok(Some(namespace))
}

fn walk(root: &Path, path: &[u8]) -> Result<Path> {
    let cred = Arc::new(Cred::root());
    Walker::from_places(root.clone(), root.clone(), cred, LookupFlags::FOLLOW).lookup(path)
}

/// Puts devtmpfs on /dev, so that init has a console; as Linux with CONFIG_DEVTMPFS_MOUNT.
fn mount_dev(namespace: &Arc<MountNamespace>) {
    let Ok(place) = walk(&namespace.root().root_path(), b"/dev") else {
        log::warn!("devtmpfs: the root has no /dev");
        return;
    };
    let mounted = super::FileSystemType::mount(&devtmpfs::Devtmpfs, Some(b"devtmpfs"), false, b"")
        .and_then(|sb| {
            let flags = MountFlags::NOSUID | MountFlags::RELATIME;
            namespace.attach(Mount::of(&sb, b"devtmpfs", flags)?, &place)
        });
    match mounted {
        Ok(()) => log::info!("devtmpfs: mounted"),
        Err(error) => log::warn!("devtmpfs: error mounting {error:?}"),
    }
}

/// The device that `root=` means; with `rootwait`, once it has appeared.
fn find(spec: &str, wait: bool) -> Option<Arc<BlockDevice>> {
    const PAUSE_NS: u64 = 100_000_000;
    let mut told = false;
    loop {
        let found = block::find_by_spec(spec);
        if found.is_some() || !wait {
            return found;
        }
        if !told {
            log::info!("Waiting for root device {spec}...");
            told = true;
        }
        crate::time::sleep_ns(PAUSE_NS);
    }
}

fn mount_device(
    device: &Arc<BlockDevice>,
    spec: &str,
) -> core::result::Result<Arc<SuperBlock>, String> {
    let line = cmdline::get();
    let data = line.value("rootflags").unwrap_or("").as_bytes();
    let read_only = !line.has("rw") || device.is_read_only();
    let identity = block::identify(device);
    let types: Vec<&str> = match line.value("rootfstype") {
        Some(list) => list.split(',').collect(),
        None => identity.iter().map(|id| id.fs_type).collect(),
    };
    if types.is_empty() {
        return Err(failure(
            "no file system that this kernel knows is on it",
            spec,
        ));
    }
    let mut last = Errno::EINVAL;
    for name in types {
        let fs_type = match name {
            "ext4" => &ext4::EXT4,
            "ext3" => &ext4::EXT3,
            "ext2" => &ext4::EXT2,
            other if find_file_system(other.as_bytes()).is_some() => {
                return Err(failure(&format!("{other} cannot be the root"), spec));
            }
            other => {
                return Err(failure(
                    &format!("this kernel has no file system {other}"),
                    spec,
                ));
            }
        };
        match ext4::mount_device(fs_type, device.clone(), b"/dev/root", read_only, data) {
            Ok(sb) => {
                let mode = if read_only { "readonly" } else { "read-write" };
                let (major, minor) = (device.dev.major, device.dev.minor);
                log::info!(
                    "VFS: Mounted root ({name} filesystem) {mode} on device {major}:{minor}."
                );
                return Ok(sb);
            }
            Err(error) => last = error,
        }
    }
    Err(failure(
        &format!("mounting it failed: {}", last.message()),
        spec,
    ))
}

/// What the panic says: the reason, and what could have been meant.
fn failure(why: &str, spec: &str) -> String {
    let mut text = format!("VFS: Unable to mount root fs on \"{spec}\": {why}\n");
    let devices = block::devices();
    if devices.is_empty() {
        text.push_str("There are no disks.");
        return text;
    }
    text.push_str("Here are the available partitions:\n");
    for device in &devices {
        let (major, minor) = (device.dev.major, device.dev.minor);
        text.push_str(&format!(
            "{major:>4}:{minor:<3} {:>10} kB  /dev/{}",
            device.sectors() / 2,
            device.name
        ));
        if let Some(uuid) = &device.part_uuid {
            text.push_str(&format!("  PARTUUID={uuid}"));
        }
        if let Some(Identity {
            fs_type,
            uuid,
            label,
        }) = block::identify(device)
        {
            text.push_str(&format!("  {fs_type} UUID={uuid} LABEL=\"{label}\""));
        }
        text.push('\n');
    }
    text
}
