//! Disk images: from a recipe to a cached ext4 disk that runs never modify.
//!
//! The way of an image: [`recipe`] (data) → root file system tree ([`rootfs`]) → ext4 by `mke2fs -d`, and from
//! that a GPT-partitioned disk on request ([`disk`]). A cached image folder holds `disk.img`, perhaps `gpt.img`, and
//! `usr.sha256`, the host's own sums of every regular file below /usr, which tests compare with the guest's.

pub mod disk;
pub mod recipe;
mod rootfs;

use crate::cache::Cache;
use crate::cmd::{Cmd, say, step};
use crate::host;
use anyhow::{Context, Result, bail};
use recipe::Recipe;
use std::path::{Path, PathBuf};

/// A disk image that a guest can boot from.
#[derive(Debug, Clone)]
pub struct Image {
    /// Name for messages: the recipe's, or the file's.
    pub name: String,
    /// The disk, in raw format. Shared by runs and never written to.
    pub disk: PathBuf,
    /// The root file system's device inside the guest.
    pub root_device: &'static str,
    /// The folder of the image in the cache, for images made from recipes.
    pub folder: Option<PathBuf>,
    /// Hash that changes with the image's contents, for images made from recipes.
    pub hash: Option<String>,
}

/// Finds or makes the image called `name`: a recipe's name, or the path of a raw disk image.
///
/// `gpt` asks for the partitioned variant of a recipe's image.
pub fn get(cache: &Cache, name: &str, gpt: bool) -> Result<Image> {
    let root = host::repo_root()?;
    let as_path = Path::new(name);
    if as_path.is_file() {
        return existing(as_path);
    }
    if name.contains('/') || name.ends_with(".img") {
        bail!("there is no disk image {name}");
    }
    let recipe = Recipe::load(&root, name)?;
    let folder = build(cache, &recipe)?;
    let (file, root_device) = if gpt {
        ("gpt.img", "/dev/vda1")
    } else {
        ("disk.img", "/dev/vda")
    };
    let disk = folder.join(file);
    if gpt {
        let _lock = cache.lock(&format!("{}-gpt", recipe.name))?;
        if !disk.is_file() {
            host::ensure(&[host::SFDISK])?;
            disk::partition(&folder.join("disk.img"), &disk)?;
        }
    }
    Ok(Image {
        name: recipe.name,
        disk,
        root_device,
        folder: Some(folder),
        hash: Some(recipe.hash),
    })
}

/// An image that somebody else made: the root file system is the whole disk, or its first partition.
fn existing(path: &Path) -> Result<Image> {
    let disk = path
        .canonicalize()
        .with_context(|| format!("cannot use {}", path.display()))?;
    let root_device = match disk::contents(&disk)? {
        disk::Contents::Partitions => "/dev/vda1",
        disk::Contents::FileSystem | disk::Contents::Unknown => "/dev/vda",
    };
    Ok(Image {
        name: path.display().to_string(),
        disk,
        root_device,
        folder: None,
        hash: None,
    })
}

fn build(cache: &Cache, recipe: &Recipe) -> Result<PathBuf> {
    let entry = format!("images/{}-{}", recipe.name, recipe.hash);
    cache.entry(&entry, |folder| {
        step(&format!("making the {} image", recipe.name), || {
            let source = rootfs::obtain(cache, recipe, folder)?;
            if host::is_root() {
                assemble(recipe, &source, folder)?;
            } else {
                // Only root may own root's files; fakeroot lets an ordinary user say so inside the image.
                host::ensure(&[host::FAKEROOT])?;
                Cmd::new("fakeroot")
                    .arg(std::env::current_exe()?)
                    .args(["image", "--assemble", &recipe.name])
                    .args([source.as_path(), folder])
                    .run()?;
            }
            rootfs::discard(&source)
        })
    })
}

/// Makes `disk.img` and `usr.sha256` in `folder` from the tree or archive at `source`.
fn assemble(recipe: &Recipe, source: &Path, folder: &Path) -> Result<()> {
    let tree = rootfs::unpack(source, folder)?;
    for edit in &recipe.edit {
        edit.apply(&tree)?;
    }
    rootfs::write_sums(&tree, &folder.join("usr.sha256"))?;
    host::ensure(&[host::MKE2FS])?;
    let disk = folder.join("disk.img");
    disk::make_ext4(
        &disk,
        recipe.bytes()?,
        &tree,
        &recipe.label,
        Some(&recipe.uuid),
    )?;
    rootfs::discard(&tree)
}

/// `cargo xtask image [NAME…] [--gpt]`: makes images and says where they are.
pub fn command(args: &[String]) -> Result<()> {
    let root = host::repo_root()?;
    if let [flag, name, source, folder] = args
        && flag == "--assemble"
    {
        return assemble(
            &Recipe::load(&root, name)?,
            Path::new(source),
            Path::new(folder),
        );
    }
    let cache = Cache::open()?;
    let gpt = args.iter().any(|arg| arg == "--gpt");
    let mut wanted: Vec<String> = args
        .iter()
        .filter(|arg| !arg.starts_with("--"))
        .cloned()
        .collect();
    if let Some(unknown) = args
        .iter()
        .find(|arg| arg.starts_with("--") && *arg != "--gpt")
    {
        bail!("image knows no option {unknown}; usage: cargo xtask image [NAME…] [--gpt]");
    }
    if wanted.is_empty() {
        wanted = recipe::names(&root);
    }
    for name in wanted {
        let image = get(&cache, &name, gpt)?;
        outln!("{}\t{}", image.name, image.disk.display());
    }
    say(format_args!("cache: {}", cache.dir().display()));
    Ok(())
}
