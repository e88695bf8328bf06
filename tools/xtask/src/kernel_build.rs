//! Building the kernel.

use crate::cache::Cache;
use crate::cmd::{Cmd, say};
use crate::{host, symbols, toolchain};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Kernels that this process has built: the profile with debug assertions, and the ELF.
static BUILT: Mutex<Vec<(bool, PathBuf)>> = Mutex::new(Vec::new());

/// Builds the kernel, in the profile with debug assertions if `debug`; returns the ELF's path.
pub fn build(cache: &Cache, debug: bool) -> Result<PathBuf> {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, elf)) = built.iter().find(|(profile, _)| *profile == debug) {
        return Ok(elf.clone());
    }
    let root = host::repo_root()?;
    let toolchain = toolchain::prepare(cache)?;
    let profile = if debug { "kernel-debug" } else { "kernel" };
    say(format_args!(
        "building the kernel ({profile}) with {}",
        toolchain.description()
    ));
    toolchain
        .cargo(&root)?
        .args([
            "build",
            "-p",
            "keel",
            "--target",
            toolchain::TARGET,
            "--profile",
            profile,
        ])
        .run_visibly()?;
    let elf = target_dir(&root)
        .join(toolchain::TARGET)
        .join(profile)
        .join("keel");
    if !elf.is_file() {
        bail!("cargo built no {}", elf.display());
    }
    symbols::embed(&elf)?;
    built.push((debug, elf.clone()));
    Ok(elf)
}

/// Where cargo puts what it builds.
pub fn target_dir(root: &std::path::Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    }
}

/// The size of the kernel without symbols, in bytes.
pub fn stripped_size(elf: &std::path::Path) -> Result<u64> {
    let out = elf.with_extension("stripped");
    Cmd::new("strip").arg("-o").arg(&out).arg(elf).run()?;
    Ok(out.metadata()?.len())
}
