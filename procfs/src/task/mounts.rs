//! mounts, mountinfo and mountstats (proc_pid_mounts(5), proc_pid_mountinfo(5), proc_pid_mountstats(5)).

use keel_abi::Result;

use crate::entry::TaskCx;
use crate::put;
use crate::source::Mount;
use crate::text::{MANGLED, MANGLED_PATH, Text};

pub(crate) fn read_mounts(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task
        .mounts()?
        .iter()
        .try_for_each(|mount| mounts_line(mount, out))
}

pub(crate) fn read_mountinfo(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task
        .mounts()?
        .iter()
        .try_for_each(|mount| mountinfo_line(mount, out))
}

pub(crate) fn read_mountstats(cx: &TaskCx<'_>, out: &mut Text) -> Result<()> {
    cx.task
        .mounts()?
        .iter()
        .try_for_each(|mount| mountstats_line(mount, out))
}

fn source(mount: &Mount, out: &mut Text) -> Result<()> {
    match &mount.source {
        Some(source) => out.escaped(source, MANGLED),
        None => out.str("none"),
    }
}

/// One line of mounts: the form of fstab(5). The options are those of the super block with the mount's own
/// after its `ro` or `rw`.
pub fn mounts_line(mount: &Mount, out: &mut Text) -> Result<()> {
    source(mount, out)?;
    out.str(" ")?;
    out.escaped(&mount.point, MANGLED_PATH)?;
    out.str(" ")?;
    out.escaped(mount.fs_type.as_bytes(), MANGLED)?;
    let (mount_access, mount_rest) = split_access(&mount.options);
    let (super_access, super_rest) = split_access(&mount.super_options);
    let access = if mount_access == "ro" || super_access == "ro" {
        "ro"
    } else {
        "rw"
    };
    put!(out, " {access}")?;
    let (sync, super_rest) = split_super_flags(super_rest);
    for part in [sync, mount_rest, super_rest]
        .into_iter()
        .filter(|part| !part.is_empty())
    {
        put!(out, ",{part}")?;
    }
    out.str(" 0 0\n")
}

/// `rw` or `ro`, and the options after it.
fn split_access(options: &str) -> (&str, &str) {
    options.split_once(',').unwrap_or((options, ""))
}

/// The flags of the super block that stand before the mount's (sync, dirsync, mand, lazytime), and the rest.
fn split_super_flags(options: &str) -> (&str, &str) {
    let mut end = 0;
    for option in options.split(',') {
        if !matches!(option, "sync" | "dirsync" | "mand" | "lazytime") {
            break;
        }
        end += option.len() + 1;
    }
    let flags = options.get(..end.saturating_sub(1)).unwrap_or("");
    (flags, options.get(end..).unwrap_or(""))
}

/// One line of mountinfo.
pub fn mountinfo_line(mount: &Mount, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{} {} {}:{} ",
        mount.id,
        mount.parent,
        mount.dev.major,
        mount.dev.minor
    )?;
    out.escaped(&mount.root, MANGLED_PATH)?;
    out.str(" ")?;
    out.escaped(&mount.point, MANGLED_PATH)?;
    put!(out, " {}", mount.options)?;
    if let Some(group) = mount.shared {
        put!(out, " shared:{group}")?;
    }
    if let Some(master) = mount.master {
        put!(out, " master:{master}")?;
        if let Some(from) = mount.propagate_from {
            put!(out, " propagate_from:{from}")?;
        }
    }
    if mount.unbindable {
        out.str(" unbindable")?;
    }
    out.str(" - ")?;
    out.escaped(mount.fs_type.as_bytes(), MANGLED)?;
    out.str(" ")?;
    source(mount, out)?;
    put!(out, " {}\n", mount.super_options)
}

/// One line of mountstats.
pub fn mountstats_line(mount: &Mount, out: &mut Text) -> Result<()> {
    match &mount.source {
        Some(device) => {
            out.str("device ")?;
            out.escaped(device, MANGLED)?;
        }
        None => out.str("no device")?,
    }
    out.str(" mounted on ")?;
    out.escaped(&mount.point, MANGLED_PATH)?;
    out.str(" with fstype ")?;
    out.escaped(mount.fs_type.as_bytes(), MANGLED)?;
    if let Some(stats) = &mount.stats {
        put!(out, " {stats}")?;
    }
    out.str("\n")
}
