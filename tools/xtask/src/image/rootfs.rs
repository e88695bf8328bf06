//! Root file system trees: getting one, unpacking it, summing it up.

use super::recipe::{Recipe, Source};
use crate::cache::{Cache, remove_tree, sha256_of_file};
use crate::cmd::{Cmd, say};
use crate::host;
use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Gets the recipe's files: a tree (as root) or a tar archive, below `folder` or in the cache.
pub fn obtain(cache: &Cache, recipe: &Recipe, folder: &Path) -> Result<PathBuf> {
    match &recipe.source {
        Source::Archive { file, sha256, urls } => cache.download(file, sha256, urls),
        Source::Debian {
            suite,
            variant,
            packages,
        } => {
            host::ensure(&[host::MMDEBSTRAP, host::DEBIAN_KEYS])?;
            let place = folder.join(if host::is_root() {
                "tree"
            } else {
                "rootfs.tar"
            });
            say(format_args!(
                "mmdebstrap: Debian {suite} with {} packages beside {variant}",
                packages.len()
            ));
            Cmd::new("mmdebstrap")
                .arg(format!("--variant={variant}"))
                .arg(format!("--include={}", packages.join(",")))
                .arg(suite)
                .arg(&place)
                .run()?;
            Ok(place)
        }
    }
}

/// The tree at `source`, or the tree unpacked from the archive `source` into `folder`.
pub fn unpack(source: &Path, folder: &Path) -> Result<PathBuf> {
    if source.is_dir() {
        return Ok(source.to_owned());
    }
    let tree = folder.join("tree");
    fs::create_dir(&tree).context("cannot make a folder for the root file system")?;
    Cmd::new("tar")
        .args(["--numeric-owner", "--same-owner", "-p", "-xf"])
        .arg(source)
        .arg("-C")
        .arg(&tree)
        .run()?;
    Ok(tree)
}

/// Removes a tree or an archive made while building. An archive in the download cache stays.
pub fn discard(path: &Path) -> Result<()> {
    if path.ends_with("tree") {
        remove_tree(path)?;
    } else if path.ends_with("rootfs.tar") {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Writes the SHA-256 sums of all regular files below /usr to `file`, as sha256sum prints them, sorted by path.
pub fn write_sums(tree: &Path, file: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect_files(&tree.join("usr"), &mut files)?;
    files.sort();
    let mut out = std::io::BufWriter::new(fs::File::create(file)?);
    for path in files {
        let inside = path.strip_prefix(tree)?;
        writeln!(out, "{}  /{}", sha256_of_file(&path)?, inside.display())?;
    }
    out.flush()?;
    Ok(())
}

fn collect_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect_files(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}
