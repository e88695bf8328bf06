//! `cargo xtask fs-bench`: Keel's ext4 beside Linux's, on equal images in memory, one thread, in one run.
//!
//! The measuring program is `kernel/ext4/examples/fsbench.rs`. Linux's side is a loop mount, which needs root.

use crate::cmd::{Cmd, say};
use crate::host;
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Size of the images: room for 1 GiB of data and the journal.
const SIZE: u64 = 3 << 30;
/// What the figures should reach.
const TARGET: f64 = 0.8;

/// A loop mount that ends with its owner.
struct LoopMount(PathBuf);

impl Drop for LoopMount {
    fn drop(&mut self) {
        // A mount that stays is seen by everyone; nothing here could do more about it.
        let _ = Cmd::new("umount").arg(&self.0).run();
    }
}

/// A figure of the measuring program.
struct Figure {
    name: String,
    value: f64,
    unit: String,
}

fn figures(text: &str) -> Vec<Figure> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('\t');
            Some(Figure {
                name: words.next()?.to_owned(),
                value: words.next()?.parse().ok()?,
                unit: words.next()?.to_owned(),
            })
        })
        .collect()
}

/// Measures and prints the table. Returns the status to exit with: 1 if a figure misses the target.
pub fn command(args: &[String]) -> Result<i32> {
    if let Some(word) = args.first() {
        bail!("fs-bench takes no arguments, not {word}");
    }
    host::ensure(&[host::MKE2FS])?;
    let root = host::repo_root()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = [
        "build",
        "-q",
        "--release",
        "-p",
        "keel-ext4",
        "--example",
        "fsbench",
    ];
    Cmd::new(&cargo).args(build).dir(&root).run()?;
    let program = target_dir(&cargo, &root)?.join("release/examples/fsbench");
    let scratch = Scratch::in_memory()?;
    say("Keel …");
    let image = scratch.path().join("image");
    make_image(&image)?;
    let ours = Cmd::new(&program).arg("keel").arg(&image).text()?;
    std::fs::remove_file(&image)?;
    say("Linux …");
    make_image(&image)?;
    let place = scratch.path().join("mnt");
    std::fs::create_dir(&place)?;
    Cmd::new("mount")
        .args(["-o", "loop"])
        .args([&image, &place])
        .run()
        .context("Linux's side needs root and a loop device")?;
    let mounted = LoopMount(place.clone());
    let theirs = Cmd::new(&program).arg("linux").arg(&place).text()?;
    drop(mounted);
    Ok(i32::from(!print(&figures(&ours), &figures(&theirs))))
}

/// Prints both sides; whether all figures reach the target.
fn print(ours: &[Figure], theirs: &[Figure]) -> bool {
    let mut good = true;
    outln!(
        "{:<18}{:>12}{:>12}{:>8}",
        "per second",
        "Keel",
        "Linux",
        "ratio"
    );
    for figure in ours {
        let Some(other) = theirs.iter().find(|other| other.name == figure.name) else {
            continue;
        };
        let ratio = figure.value / other.value;
        // What Linux answers from its caches of names and pages, Keel's kernel answers from its own, not this crate.
        let counts = !figure.name.ends_with("-warm");
        good &= ratio >= TARGET || !counts;
        outln!(
            "{:<18}{:>12.0}{:>12.0}{:>7.2}x  {}",
            figure.name,
            figure.value,
            other.value,
            ratio,
            figure.unit
        );
    }
    good
}

fn make_image(image: &Path) -> Result<()> {
    std::fs::File::create(image)?.set_len(SIZE)?;
    Cmd::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-N", "400000"])
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(image)
        .run()
}

/// Where cargo puts what it builds.
fn target_dir(cargo: &std::ffi::OsStr, root: &Path) -> Result<PathBuf> {
    let text = Cmd::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .dir(root)
        .text()?;
    let (_, rest) = text
        .split_once("\"target_directory\":\"")
        .context("cargo metadata names no target directory")?;
    let (dir, _) = rest.split_once('"').context("cargo metadata is cut off")?;
    Ok(PathBuf::from(dir))
}
