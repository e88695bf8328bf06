//! Root file system trees: getting one, unpacking it, summing it up.

use super::recipe::{Recipe, Source};
use crate::cache::{Cache, remove_tree, sha256_of_file};
use crate::cmd::{Cmd, say};
use crate::debian::mmdebstrap;
use crate::host;
use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where packages that are only downloaded are put in the image.
const DOWNLOADS: &str = "/srv/packages";

/// Gets the recipe's files: a tree (as root) or a tar archive, below `folder` or in the cache.
pub fn obtain(cache: &Cache, recipe: &Recipe, folder: &Path) -> Result<PathBuf> {
    match &recipe.source {
        Source::Archive { file, sha256, urls } => cache.download(file, sha256, urls),
        Source::Debian {
            suite,
            variant,
            packages,
            downloads,
        } => {
            let place = folder.join(if host::is_root() {
                "tree"
            } else {
                "rootfs.tar"
            });
            say(format_args!(
                "mmdebstrap: Debian {suite} with {} packages beside {variant}",
                packages.len()
            ));
            let mut mmdebstrap = mmdebstrap()?
                .arg(format!("--variant={variant}"))
                .arg(format!("--include={}", packages.join(",")));
            if !downloads.is_empty() {
                mmdebstrap = mmdebstrap.arg(format!(
                    "--customize-hook=chroot \"$1\" sh -c 'mkdir -p {DOWNLOADS} && cd {DOWNLOADS} && \
                     apt-get -o APT::Sandbox::User=root download {}'",
                    downloads.join(" ")
                ));
            }
            mmdebstrap.arg(suite).arg(&place).run()?;
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
    // By bytes, as sort does in the C locale; the order of paths goes by components.
    files.sort_by(|left, right| {
        left.as_os_str()
            .as_bytes()
            .cmp(right.as_os_str().as_bytes())
    });
    let mut out = std::io::BufWriter::new(fs::File::create(file)?);
    for path in files {
        let inside = path.strip_prefix(tree)?.as_os_str().as_bytes();
        let (mark, name) = escaped(inside);
        write!(out, "{mark}{}  /", sha256_of_file(&path)?)?;
        out.write_all(&name)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// A file name as sha256sum prints it, and the mark that it puts before a line with an escaped name.
fn escaped(name: &[u8]) -> (&'static str, Vec<u8>) {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\\' => out.extend(b"\\\\"),
            b'\n' => out.extend(b"\\n"),
            other => out.push(*other),
        }
    }
    (if out.len() > name.len() { "\\" } else { "" }, out)
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
