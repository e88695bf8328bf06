//! What the tool needs from the machine it runs on, and how it gets it.
//!
//! Missing programs are installed by the system's package manager, after saying so; where that is not
//! possible, the failure names the packages to install.

use crate::cmd::{Cmd, find_program, say};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// A file that has to be there, and the Debian package that brings it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Need {
    what: What,
    package: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Program(&'static str),
    File(&'static str),
}

impl Need {
    const fn program(name: &'static str, package: &'static str) -> Self {
        Self {
            what: What::Program(name),
            package,
        }
    }

    fn is_met(self) -> bool {
        match self.what {
            What::Program(name) => find_program(name).is_some(),
            What::File(path) => Path::new(path).exists(),
        }
    }
}

/// The emulator.
pub const QEMU: Need = Need::program("qemu-system-x86_64", "qemu-system-x86");
/// Makes Debian root file systems.
pub const MMDEBSTRAP: Need = Need::program("mmdebstrap", "mmdebstrap");
/// Signatures for mmdebstrap on machines other than Debian.
pub const DEBIAN_KEYS: Need = Need {
    what: What::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
    package: "debian-archive-keyring",
};
/// Makes ext4 file systems.
pub const MKE2FS: Need = Need::program("mke2fs", "e2fsprogs");
/// Checks ext4 file systems.
pub const E2FSCK: Need = Need::program("e2fsck", "e2fsprogs");
/// Writes partition tables.
pub const SFDISK: Need = Need::program("sfdisk", "fdisk");
/// Builds the guest's helper programs.
pub const CC: Need = Need::program("gcc", "gcc");
/// What the helper programs are linked with.
pub const STATIC_LIBC: Need = Need {
    what: What::File("/usr/lib/x86_64-linux-gnu/libc.a"),
    package: "libc6-dev",
};
/// Lets an unprivileged user own root's files inside an image.
pub const FAKEROOT: Need = Need::program("fakeroot", "fakeroot");
/// Lists what depends on what among kernel modules.
pub const DEPMOD: Need = Need::program("depmod", "kmod");
/// Unpacks the Rust library's source.
pub const XZ: Need = Need::program("xz", "xz-utils");
/// Downloads.
pub const CURL: Need = Need::program("curl", "curl");

/// Sees to it that `needs` are met, by apt if they are not.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let mut packages: Vec<&str> = needs
        .iter()
        .filter(|need| !need.is_met())
        .map(|need| need.package)
        .collect();
    if packages.is_empty() {
        return Ok(());
    }
    packages.sort_unstable();
    packages.dedup();
    let list = packages.join(" ");
    if find_program("apt-get").is_none() {
        bail!("this needs {list} (Debian's package names); install them and try again");
    }
    say(format_args!("installing {list} with apt-get"));
    apt(&["update", "-qq"]).with_context(|| format!("install {list} by hand and try again"))?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    apt(&[&install[..], &packages[..]].concat())
        .with_context(|| format!("install {list} by hand and try again"))?;
    if let Some(need) = needs.iter().find(|need| !need.is_met()) {
        bail!(
            "package {} is installed but did not bring what was expected of it",
            need.package
        );
    }
    Ok(())
}

fn apt(args: &[&str]) -> Result<()> {
    let command = if is_root() {
        Cmd::new("apt-get")
    } else if find_program("sudo").is_some() {
        Cmd::new("sudo").arg("apt-get")
    } else {
        bail!("neither root nor sudo to run apt-get {}", args.join(" "));
    };
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(args)
        .run()
}

/// Whether this process is root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Whether QEMU can use the processor's own virtualisation.
pub fn has_kvm() -> bool {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let extension = cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| {
            line.split_whitespace()
                .any(|flag| flag == "vmx" || flag == "svm")
        });
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    extension && device.is_ok()
}

/// The repository's root directory.
pub fn repo_root() -> Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::current_dir().context("cannot tell the current directory")?,
    };
    start
        .ancestors()
        .find(|dir| dir.join("distro-images").is_dir() && dir.join("Cargo.toml").is_file())
        .map(Path::to_owned)
        .context("run this inside the repository")
}
