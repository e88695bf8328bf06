//! Debian's own kernel, the oracle and the baseline that Keel is held against.
//!
//! The package linux-image-cloud-amd64 is unpacked (not installed) by mmdebstrap into the cache; the initramfs is ours:
//! `tools/guest/init.c` and the modules that a virtio disk with ext4 needs, in the order of their dependencies.

use crate::cache::{Cache, remove_tree};
use crate::cmd::{Cmd, step};
use crate::cpio::Archive;
use crate::debian::mmdebstrap;
use crate::guest::media::helper;
use crate::host;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Debian release whose kernel is used.
const SUITE: &str = "bookworm";
/// Modules that are loaded before the root file system is mounted, where the kernel does not have them built in.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_rng", "ext4", "overlay"];

/// A Linux kernel that can be started.
pub struct Linux {
    /// The bzImage.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initrd: PathBuf,
    /// Its release, as uname prints it.
    pub release: String,
}

/// Finds the kernel in the cache, or downloads it, and makes its initramfs.
pub fn get(cache: &Cache) -> Result<Linux> {
    let folder = cache.entry(&format!("linux/{SUITE}"), |folder| {
        step("getting Debian's linux-image-cloud-amd64", || {
            download(folder)
        })
    })?;
    let release = fs::read_to_string(folder.join("release"))?
        .trim()
        .to_owned();
    let init = helper(cache, "init")?;
    let tag = init
        .parent()
        .and_then(Path::file_name)
        .context("helper without a folder")?;
    let name = format!("linux/initrd-{SUITE}-{}", tag.to_string_lossy());
    let initrd = cache.entry(&name, |made| {
        let archive = initramfs(&folder, &release, &init)?;
        Ok(fs::write(made.join("initrd.cpio"), archive)?)
    })?;
    Ok(Linux {
        kernel: folder.join("vmlinuz"),
        initrd: initrd.join("initrd.cpio"),
        release,
    })
}

/// Downloads and unpacks the kernel package; keeps the image and the modules.
fn download(folder: &Path) -> Result<()> {
    let tree = folder.join("tree");
    mmdebstrap()?
        .args([
            "--variant=extract",
            "--include=linux-image-cloud-amd64",
            SUITE,
        ])
        .arg(&tree)
        .run()?;
    let boot = fs::read_dir(tree.join("boot")).context("the kernel package has no /boot")?;
    let release = boot
        .flatten()
        .find_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("vmlinuz-")
                .map(str::to_owned)
        })
        .context("the kernel package has no vmlinuz")?;
    fs::rename(
        tree.join("boot").join(format!("vmlinuz-{release}")),
        folder.join("vmlinuz"),
    )?;
    // /lib may be a symlink to usr/lib, or a folder of its own where only this package was unpacked.
    let modules = ["lib/modules", "usr/lib/modules"]
        .map(|place| tree.join(place).join(&release))
        .into_iter()
        .find(|place| place.is_dir())
        .context("the kernel package has no modules")?;
    fs::rename(modules, folder.join("modules"))?;
    fs::write(folder.join("release"), &release)?;
    remove_tree(&tree)
}

fn initramfs(folder: &Path, release: &str, init: &Path) -> Result<Vec<u8>> {
    let modules = folder.join("modules");
    if !modules.join("modules.dep").is_file() {
        // depmod wants the modules in lib/modules/RELEASE.
        let base = folder.join("depmod");
        fs::create_dir_all(base.join("lib/modules"))?;
        let link = base.join("lib/modules").join(release);
        if !link.exists() {
            std::os::unix::fs::symlink(&modules, link)?;
        }
        host::ensure(&[host::DEPMOD])?;
        Cmd::new("depmod").arg("-b").arg(&base).arg(release).run()?;
    }
    let builtin = fs::read_to_string(modules.join("modules.builtin"))?;
    let order = load_order(
        &fs::read_to_string(modules.join("modules.dep"))?,
        &builtin,
        &MODULES,
    )?;
    let mut archive = Archive::new();
    for name in ["dev", "proc", "sys", "root", "modules"] {
        archive.directory(name);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("init", 0o755, &fs::read(init)?);
    let mut list = String::new();
    for path in order {
        let name = format!("modules/{}", path.rsplit('/').next().unwrap_or(&path));
        let data =
            fs::read(modules.join(&path)).with_context(|| format!("cannot read module {path}"))?;
        archive.file(&name, 0o644, &data);
        list.push_str(&format!("/{name}\n"));
    }
    archive.file("modules/list", 0o644, list.as_bytes());
    Ok(archive.finish())
}

/// The files to load for `wanted`, dependencies first; what is built in needs no file.
fn load_order(modules_dep: &str, builtin: &str, wanted: &[&str]) -> Result<Vec<String>> {
    let mut by_name = HashMap::new();
    for line in modules_dep.lines() {
        let (path, needs) = line.split_once(':').context("modules.dep is damaged")?;
        by_name.insert(
            module_name(path),
            (path, needs.split_whitespace().collect::<Vec<_>>()),
        );
    }
    let built_in: Vec<String> = builtin.lines().map(module_name).collect();
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let Some((path, needs)) = by_name.get(*name) else {
            if built_in.iter().any(|other| other == name) {
                continue;
            }
            bail!("the kernel has no module {name}");
        };
        // modules.dep lists all dependencies, the deepest last.
        for file in needs.iter().rev().chain([path]) {
            if !order.iter().any(|known| known == file) {
                order.push((*file).to_owned());
            }
        }
    }
    Ok(order)
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let dep =
            "k/ext4.ko: k/jbd2.ko k/crc32c-x.ko\nk/jbd2.ko:\nk/crc32c-x.ko:\nk/mb.ko: k/jbd2.ko\n";
        let order = load_order(
            dep,
            "kernel/drivers/virtio-pci.ko\n",
            &["ext4", "virtio_pci", "mb"],
        )
        .unwrap();
        assert_eq!(
            order,
            ["k/crc32c-x.ko", "k/jbd2.ko", "k/ext4.ko", "k/mb.ko"]
        );
        assert!(load_order(dep, "", &["nfs"]).is_err());
    }
}
