//! `/sys/kernel`, `/sys/power`, `/sys/fs`, `/sys/module`: what is no device.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};
use keel_procfs::{Text, put};

use crate::attr::{Attrs, number};
use crate::registry::{Id, Registry};

/// Settings of transparent huge pages.
pub trait HugePageSource: Send + Sync {
    /// 0 always, 1 madvise, 2 never.
    fn enabled(&self) -> usize;

    /// Sets it. Errors: `EINVAL`.
    fn set_enabled(&self, choice: usize) -> Result<()>;

    /// 0 always, 1 defer, 2 defer+madvise, 3 madvise, 4 never.
    fn defrag(&self) -> usize;

    /// Sets it. Errors: `EINVAL`.
    fn set_defrag(&self, choice: usize) -> Result<()>;

    /// 0 always, 1 within_size, 2 advise, 3 never, 4 deny, 5 force.
    fn shmem(&self) -> usize {
        3
    }

    /// Sets it. Errors: `EINVAL`.
    fn set_shmem(&self, _choice: usize) -> Result<()> {
        Err(Errno::EINVAL)
    }
}

const ENABLED: &[&str] = &["always", "madvise", "never"];
const DEFRAG: &[&str] = &["always", "defer", "defer+madvise", "madvise", "never"];
const SHMEM: &[&str] = &["always", "within_size", "advise", "never", "deny", "force"];

/// Words with the chosen one in brackets.
fn choice(words: &[&str], chosen: usize, out: &mut Text) -> Result<()> {
    for (index, word) in words.iter().enumerate() {
        let blank = if index > 0 { " " } else { "" };
        if index == chosen {
            put!(out, "{blank}[{word}]")?;
        } else {
            put!(out, "{blank}{word}")?;
        }
    }
    out.str("\n")
}

fn chosen(words: &[&str], data: &[u8]) -> Result<usize> {
    let word = data.trim_ascii();
    words
        .iter()
        .position(|known| known.as_bytes() == word)
        .ok_or(Errno::EINVAL)
}

impl Registry {
    /// Adds what `/sys/kernel` and `/sys/power` always have. Errors: as [`Registry::make_dir`].
    pub fn add_kernel(&mut self) -> Result<()> {
        let kernel = self.find("kernel")?;
        let uevents = self.uevents.clone();
        let attrs = Attrs::new()
            .value("uevent_seqnum", move || uevents.last())
            .fixed("fscaps", 1)
            .fixed("cpu_byteorder", "little")
            .fixed("address_bits", 64);
        self.add_attributes(kernel, attrs)?;
        // Mount points for securityfs, debugfs and tracefs; empty until something is mounted there.
        for name in ["security", "debug", "tracing"] {
            self.add_mount_point(kernel, name)?;
        }
        self.make_path(kernel, "mm")?;
        let power = self.find("power")?;
        // No sleep states.
        let state = Attrs::new().show_store("state", |_| Ok(()), |_| Err(Errno::EINVAL));
        self.add_attributes(power, state)
    }

    /// Adds an empty directory for something to be mounted on. Errors: as [`Registry::make_dir`].
    pub fn add_mount_point(&mut self, dir: Id, name: &str) -> Result<Id> {
        let id = self.make_dir(dir, name)?;
        self.set_perm(id, 0o555)?;
        Ok(id)
    }

    /// Adds `/sys/kernel/mm/transparent_hugepage`. Errors: as [`Registry::make_dir`].
    pub fn add_huge_pages(&mut self, source: Arc<dyn HugePageSource>) -> Result<()> {
        /// Size of a huge page in bytes.
        const HUGE_PAGE: u32 = 2 << 20;
        let dir = self.make_path(Id::ROOT, "kernel/mm/transparent_hugepage")?;
        let (a, b) = (source.clone(), source.clone());
        let (c, d) = (source.clone(), source.clone());
        let (e, f) = (source.clone(), source);
        let attrs = Attrs::new()
            .show_store(
                "enabled",
                move |out| choice(ENABLED, a.enabled(), out),
                move |data| b.set_enabled(chosen(ENABLED, data)?),
            )
            .show_store(
                "defrag",
                move |out| choice(DEFRAG, c.defrag(), out),
                move |data| d.set_defrag(chosen(DEFRAG, data)?),
            )
            .show_store(
                "shmem_enabled",
                move |out| choice(SHMEM, e.shmem(), out),
                move |data| f.set_shmem(chosen(SHMEM, data)?),
            )
            .fixed("hpage_pmd_size", HUGE_PAGE);
        self.add_attributes(dir, attrs)
    }

    /// Adds a directory below `/sys/fs` for a file system type that has attributes. Errors: as [`Registry::make_dir`].
    pub fn add_fs(&mut self, name: &str, attrs: Attrs) -> Result<Id> {
        let dir = self.make_path(Id::ROOT, &format!("fs/{name}"))?;
        self.add_attributes(dir, attrs)?;
        Ok(dir)
    }

    /// Adds `/sys/fs/ext4/DISK` for a mount. Errors: as [`Registry::make_dir`].
    pub fn add_ext4(&mut self, disk: &str, source: Arc<dyn Ext4Source>) -> Result<Id> {
        let dir = self.make_path(Id::ROOT, "fs/ext4")?;
        let mount = self.make_dir(dir, disk)?;
        let (a, b, c, d) = (source.clone(), source.clone(), source.clone(), source);
        let attrs = Attrs::new()
            .value("errors_count", move || a.errors())
            .value("delayed_allocation_blocks", move || b.delayed_blocks())
            .value("lifetime_write_kbytes", move || c.lifetime_write_kb())
            .value("session_write_kbytes", move || d.session_write_kb());
        self.add_attributes(mount, attrs)?;
        Ok(mount)
    }

    /// Adds `/sys/module/NAME` with its parameters: name, permissions, and the value. Errors: as [`Registry::make_dir`].
    pub fn add_module(&mut self, name: &str, parameters: Vec<(String, Parameter)>) -> Result<Id> {
        let dir = self.make_path(Id::ROOT, &format!("module/{name}"))?;
        let mut attrs = Attrs::new();
        for (parameter, value) in parameters {
            let path = format!("parameters/{parameter}");
            attrs = match value {
                Parameter::Fixed(text) => attrs.fixed(path, text),
                Parameter::Number(source) => {
                    let (shown, stored) = (source.clone(), source);
                    attrs.show_store(
                        path,
                        move |out| put!(out, "{}\n", shown.get()),
                        move |data| stored.set(number(data)?),
                    )
                }
            };
        }
        self.add_attributes(dir, attrs)?;
        Ok(dir)
    }
}

/// A module's parameter.
#[derive(Clone)]
pub enum Parameter {
    /// Was given at boot.
    Fixed(String),
    /// Can be changed.
    Number(Arc<dyn NumberSource>),
}

/// A number that can be changed.
pub trait NumberSource: Send + Sync {
    /// Its value.
    fn get(&self) -> u64;

    /// Sets it. Errors: `EINVAL`.
    fn set(&self, value: u64) -> Result<()>;
}

/// What a mounted ext4 says.
pub trait Ext4Source: Send + Sync {
    /// Errors found since the last fsck.
    fn errors(&self) -> u64;

    /// Blocks written but not allocated yet.
    fn delayed_blocks(&self) -> u64;

    /// Kilobytes written in its life.
    fn lifetime_write_kb(&self) -> u64;

    /// Kilobytes written since it was mounted.
    fn session_write_kb(&self) -> u64;
}
