//! The small extra disk that brings the agent, its jobs and other files into a guest.

use super::protocol::{Job, encode_jobs};
use crate::cache::{Cache, remove_tree, sha256_of};
use crate::cmd::Cmd;
use crate::{host, image};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the disk is mounted in the guest; both Debian and Alpine have this folder, empty of files.
pub const MOUNT_POINT: &str = "/media";

/// A file or folder of this machine, and its name on the disk.
#[derive(Debug, Clone)]
pub struct Payload {
    /// What to copy, folders with all that is in them.
    pub from: PathBuf,
    /// Its path below [`MOUNT_POINT`].
    pub name: String,
}

impl Payload {
    /// A file or folder under its own name.
    pub fn named_as_here(from: &Path) -> Result<Self> {
        let name = from
            .file_name()
            .with_context(|| format!("{} has no name", from.display()))?;
        Ok(Self {
            from: from.to_owned(),
            name: name.to_string_lossy().into_owned(),
        })
    }
}

/// Makes the disk in the new file `disk`, using `scratch` for its tree.
pub fn make(
    cache: &Cache,
    disk: &Path,
    scratch: &Path,
    jobs: &[Job],
    payload: &[Payload],
) -> Result<()> {
    let tree = scratch.join("media");
    remove_tree(&tree)?;
    fs::create_dir_all(&tree)?;
    fs::copy(helper(cache, "agent")?, tree.join("keel-agent"))?;
    fs::write(tree.join("keel-jobs"), encode_jobs(jobs))?;
    for item in payload {
        let to = tree.join(&item.name);
        fs::create_dir_all(to.parent().context("payload without a name")?)?;
        Cmd::new("cp").arg("-a").arg(&item.from).arg(&to).run()?;
    }
    let blocks: u64 = Cmd::new("du")
        .args(["-s", "-k"])
        .arg(&tree)
        .text()?
        .split_whitespace()
        .next()
        .and_then(|size| size.parse().ok())
        .context("du said nothing")?;
    let bytes = (8 << 20) + blocks * 1024 * 5 / 4;
    image::disk::make_ext4(disk, bytes, &tree, "keel-media", None)?;
    remove_tree(&tree)
}

/// Builds the static guest program `tools/guest/NAME.c`, once for each version of its source.
pub fn helper(cache: &Cache, name: &str) -> Result<PathBuf> {
    let source = host::repo_root()?
        .join("tools/guest")
        .join(format!("{name}.c"));
    let text = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let folder = cache.entry(
        &format!("guest/{name}-{}", &sha256_of(&text)[..16]),
        |folder| {
            host::ensure(&[host::CC, host::STATIC_LIBC])?;
            Cmd::new("gcc")
                .args(["-O2", "-static", "-s", "-Wall", "-Wextra", "-o"])
                .arg(folder.join(name))
                .arg(&source)
                .run()
        },
    )?;
    Ok(folder.join(name))
}
