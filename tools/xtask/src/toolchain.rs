//! Making the bare-metal Rust target available, by the first way that works.
//!
//! 1. The target's own component: already installed, or by `rustup target add`.
//! 2. Where rustup's server cannot be reached: the standard library's source of the same 1.N as an installed
//!    compiler, built once into a private sysroot in the cache. The source is the toolchain's own `rust-src`, Debian
//!    testing's or unstable's `rust-src` package, or a `rust-library-1.N.*.tar.xz` in the cache or a seed.
//! 3. Debian testing's rustc, cargo and rust-src, a pair that matches on any day, in a root made by mmdebstrap; its
//!    library too is built into a private sysroot.
//!
//! `KEEL_TOOLCHAIN_WAY=1|2|3` insists on one way. The kernel itself is stable Rust; only the library's build and the
//! crates in [`UNSTABLE_DEPENDENCIES`] are given unstable features.

use crate::cache::{Cache, sha256_of_file};
use crate::cmd::{Cmd, find_program, say, step};
use crate::debian::mmdebstrap;
use crate::{host, kernel_build};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The kernel's target.
pub const TARGET: &str = "x86_64-unknown-none";
/// The oldest compiler, as 1.N, that the workspace can be built with.
const OLDEST: u32 = 90;
/// Dependencies of the kernel that ask for unstable features; on a stable compiler only they may have them.
const UNSTABLE_DEPENDENCIES: &str = "acpi";
/// Debian suites whose rust-src may match an installed compiler.
const SOURCE_SUITES: [&str; 2] = ["testing", "unstable"];
/// Known library archives: file name and SHA-256.
const LIBRARY_ARCHIVES: [(&str, &str); 1] = [(
    "rust-library-1.97.1.tar.xz",
    "edbaaec5c71f79b4099f874f22462f5af61bdf826ba5a2b0507cc147bae87019",
)];

/// A compiler with the target's library.
pub struct Toolchain {
    compiler: Compiler,
    /// Where the target's library is, if not in the compiler's own sysroot.
    sysroot: Option<PathBuf>,
    how: String,
    cache: PathBuf,
}

/// A pair of rustc and cargo.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Compiler {
    /// What `cargo` is here; with a rustup toolchain's name if not the default one.
    Host(Option<String>),
    /// Debian's, in this root.
    Root(PathBuf),
}

impl Toolchain {
    /// Which compiler, and which way it got the target.
    pub fn description(&self) -> &str {
        &self.how
    }

    /// A cargo that can build for [`TARGET`] in the repository at `root`.
    pub fn cargo(&self, root: &Path) -> Result<Cmd> {
        let mut cargo = self
            .compiler
            .program("cargo", root, &self.cache)?
            .dir(root)
            .env("RUSTC_BOOTSTRAP", UNSTABLE_DEPENDENCIES);
        if let Some(sysroot) = &self.sysroot {
            let flags = format!(
                "target.{TARGET}.rustflags=['--sysroot', '{}']",
                sysroot.display()
            );
            cargo = cargo.args(["--config", &flags]);
        }
        Ok(cargo)
    }
}

impl Compiler {
    fn name(&self) -> String {
        match self {
            Self::Host(Some(name)) => name.clone(),
            Self::Host(None) => "the default toolchain".to_owned(),
            Self::Root(_) => "Debian testing's rustc".to_owned(),
        }
    }

    /// The program (cargo or rustc) of this compiler, run where it can see the repository and the cache.
    fn program(&self, program: &str, repository: &Path, cache: &Path) -> Result<Cmd> {
        Ok(match self {
            Self::Host(None) => Cmd::new(program),
            Self::Host(Some(name)) => Cmd::new(program).arg(format!("+{name}")),
            Self::Root(root) => in_root(root, program, repository, cache)?,
        })
    }

    /// A field of `rustc -vV`.
    fn field(&self, cache: &Path, name: &str) -> Result<String> {
        let root = host::repo_root()?;
        let text = self.program("rustc", &root, cache)?.arg("-vV").text()?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
            .with_context(|| format!("rustc -vV says no {name}"))
    }

    fn own_sysroot(&self) -> Result<PathBuf> {
        match self {
            Self::Root(root) => Ok(root.join("usr")),
            Self::Host(_) => {
                let here = Path::new(".");
                Ok(self
                    .program("rustc", here, here)?
                    .args(["--print", "sysroot"])
                    .text()?
                    .into())
            }
        }
    }
}

/// A way to a toolchain: `None` if it does not lead to one here.
type Way = fn(&Cache) -> Result<Option<Toolchain>>;

/// The N of version 1.N.
fn minor(version: &str) -> Option<u32> {
    version
        .strip_prefix("1.")?
        .split(['.', '-'])
        .next()?
        .parse()
        .ok()
}

/// Finds or makes a toolchain that can build for [`TARGET`].
pub fn prepare(cache: &Cache) -> Result<Toolchain> {
    let wish = std::env::var("KEEL_TOOLCHAIN_WAY").unwrap_or_default();
    let ways: [(&str, Way); 3] = [
        ("1", own_component),
        ("2", private_sysroot),
        ("3", debian_root),
    ];
    if !wish.is_empty() && !ways.iter().any(|(name, _)| *name == wish) {
        bail!("KEEL_TOOLCHAIN_WAY is 1, 2 or 3, not {wish}");
    }
    for (name, way) in ways {
        if !wish.is_empty() && wish != name {
            continue;
        }
        match way(cache) {
            Ok(Some(toolchain)) => return Ok(toolchain),
            Ok(None) => {}
            Err(error) => say(format_args!("toolchain, way {name}: {error:#}")),
        }
    }
    bail!("no way to the target {TARGET}; install it with: rustup target add {TARGET}")
}

/// Way 1: the compiler has the component, or rustup can get it.
fn own_component(cache: &Cache) -> Result<Option<Toolchain>> {
    let compiler = Compiler::Host(None);
    if minor(&compiler.field(cache.dir(), "release")?).is_none_or(|minor| minor < OLDEST) {
        return Ok(None);
    }
    let library = compiler
        .own_sysroot()?
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib");
    let mut how = "the installed target";
    if !library.is_dir() {
        // A sysroot made by an earlier run says that rustup could not help; do not ask it every time.
        let known = private_place(cache, &compiler)?.is_dir();
        if find_program("rustup").is_none()
            || (known && std::env::var_os("KEEL_TOOLCHAIN_WAY").is_none())
        {
            return Ok(None);
        }
        say(format_args!("rustup target add {TARGET}"));
        Cmd::new("timeout")
            .args(["300", "rustup", "target", "add", TARGET])
            .run()?;
        how = "rustup target add";
    }
    if !library.is_dir() {
        return Ok(None);
    }
    let release = compiler.field(cache.dir(), "release")?;
    Ok(Some(Toolchain {
        compiler,
        sysroot: None,
        how: format!("rustc {release} (way 1: {how})"),
        cache: cache.dir().to_owned(),
    }))
}

/// Way 2: an installed compiler and the library's source.
fn private_sysroot(cache: &Cache) -> Result<Option<Toolchain>> {
    let candidates = installed(cache)?;
    for compiler in &candidates {
        let place = private_place(cache, compiler)?;
        if place.is_dir() {
            return finished(cache, compiler, "private sysroot").map(Some);
        }
    }
    // What is at hand for any compiler comes before what has to be downloaded for one.
    for source in Source::ALL {
        for compiler in &candidates {
            let version = compiler.field(cache.dir(), "release")?;
            let wanted = minor(&version).context("rustc's version is not 1.N")?;
            match source.find(cache, compiler, wanted) {
                Ok(Some(library)) => {
                    build_sysroot(cache, compiler, &library)?;
                    return finished(cache, compiler, &source.to_string()).map(Some);
                }
                Ok(None) => say(format_args!(
                    "no library source for rustc {version} from {source}"
                )),
                Err(error) => say(format_args!("{source}: {error:#}")),
            }
        }
    }
    Ok(None)
}

/// Way 3: everything from Debian testing.
fn debian_root(cache: &Cache) -> Result<Option<Toolchain>> {
    let entry = cache.entry("toolchain/debian-testing", |folder| {
        step(
            "making a root with Debian testing's rustc, cargo and rust-src",
            || {
                mmdebstrap()?
                    .args([
                        "--variant=apt",
                        "--include=rustc,cargo,rust-src,gcc,libc6-dev,ca-certificates",
                        "testing",
                    ])
                    .arg(folder.join("root"))
                    .run()
            },
        )
    })?;
    let compiler = Compiler::Root(entry.join("root"));
    if !private_place(cache, &compiler)?.is_dir() {
        let library =
            library_below(&entry.join("root/usr/src"))?.context("rust-src brought no library")?;
        build_sysroot(cache, &compiler, &library)?;
    }
    let mut toolchain = finished(cache, &compiler, "Debian testing's rustc and rust-src")?;
    toolchain.how = toolchain.how.replace("way 2", "way 3");
    Ok(Some(toolchain))
}

fn finished(cache: &Cache, compiler: &Compiler, source: &str) -> Result<Toolchain> {
    Ok(Toolchain {
        sysroot: Some(private_place(cache, compiler)?),
        how: format!(
            "rustc {} (way 2: {source})",
            compiler.field(cache.dir(), "release")?
        ),
        compiler: compiler.clone(),
        cache: cache.dir().to_owned(),
    })
}

/// The default toolchain and rustup's others, those that are new enough.
fn installed(cache: &Cache) -> Result<Vec<Compiler>> {
    let mut compilers = vec![Compiler::Host(None)];
    if find_program("rustup").is_some() {
        let list = Cmd::new("rustup").args(["toolchain", "list"]).text()?;
        let names = list
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        compilers.extend(names.map(|name| Compiler::Host(Some(name.to_owned()))));
    }
    // The default toolchain is in rustup's list too.
    let mut known = Vec::new();
    compilers.retain(|compiler| {
        let release = compiler.field(cache.dir(), "release").unwrap_or_default();
        let fresh = !known.contains(&release);
        known.push(release.clone());
        fresh && minor(&release).is_some_and(|minor| minor >= OLDEST)
    });
    Ok(compilers)
}

/// Where the private sysroot of this compiler is, or will be.
fn private_place(cache: &Cache, compiler: &Compiler) -> Result<PathBuf> {
    let release = compiler.field(cache.dir(), "release")?;
    let commit = compiler.field(cache.dir(), "commit-hash")?;
    let commit: String = commit
        .chars()
        .take(9)
        .filter(char::is_ascii_alphanumeric)
        .collect();
    Ok(cache
        .dir()
        .join("toolchain")
        .join(format!("sysroot-{release}-{commit}")))
}

/// Where a library source can come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Own,
    Debian(&'static str),
    Archive,
}

impl std::fmt::Display for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own => write!(out, "its own rust-src"),
            Self::Debian(suite) => write!(out, "Debian {suite}'s rust-src"),
            Self::Archive => write!(out, "a library archive"),
        }
    }
}

impl Source {
    const ALL: [Self; 4] = [
        Self::Own,
        Self::Archive,
        Self::Debian(SOURCE_SUITES[0]),
        Self::Debian(SOURCE_SUITES[1]),
    ];

    /// The folder `library` with the source of version 1.`wanted`, if this source has it.
    fn find(self, cache: &Cache, compiler: &Compiler, wanted: u32) -> Result<Option<PathBuf>> {
        let library = match self {
            Self::Own => compiler.own_sysroot()?.join("lib/rustlib/src/rust/library"),
            Self::Debian(suite) => match debian_source(cache, suite)? {
                Some(library) if minor_in_path(&library) == Some(wanted) => library,
                _ => return Ok(None),
            },
            Self::Archive => match archive(cache, wanted)? {
                Some(library) => library,
                None => return Ok(None),
            },
        };
        Ok(library.join("core/Cargo.toml").is_file().then_some(library))
    }
}

/// Debian's rust-src of this suite, unpacked in the cache.
fn debian_source(cache: &Cache, suite: &str) -> Result<Option<PathBuf>> {
    let entry = cache.entry(&format!("toolchain/rust-src-{suite}"), |folder| {
        step(&format!("getting Debian {suite}'s rust-src"), || {
            mmdebstrap()?
                .args(["--variant=extract", "--include=rust-src", suite])
                .arg(folder.join("root"))
                .run()
        })
    })?;
    library_below(&entry.join("root/usr/src"))
}

/// The `library` folder of /usr/src/rustc-1.N.P.
fn library_below(sources: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(sources).into_iter().flatten() {
        let library = entry?.path().join("library");
        if library.is_dir() {
            return Ok(Some(library));
        }
    }
    Ok(None)
}

/// The N of a path like /usr/src/rustc-1.N.P/library.
fn minor_in_path(library: &Path) -> Option<u32> {
    let name = library.parent()?.file_name()?.to_str()?;
    minor(name.strip_prefix("rustc-")?)
}

/// A known library archive of this version, unpacked in the cache.
fn archive(cache: &Cache, wanted: u32) -> Result<Option<PathBuf>> {
    let folders =
        std::iter::once(cache.dir().join("downloads")).chain(cache.seeds().iter().cloned());
    for folder in folders {
        for (name, sha256) in LIBRARY_ARCHIVES {
            let file = folder.join(name);
            let version = name.strip_prefix("rust-library-").and_then(minor);
            if version != Some(wanted) || !file.is_file() || sha256_of_file(&file)? != sha256 {
                continue;
            }
            let entry = cache.entry(
                &format!("toolchain/{}", name.trim_end_matches(".tar.xz")),
                |made| {
                    host::ensure(&[host::XZ])?;
                    Cmd::new("tar")
                        .arg("-xJf")
                        .arg(&file)
                        .arg("-C")
                        .arg(made)
                        .run()
                },
            )?;
            for place in ["library", "rust/library", "lib/rustlib/src/rust/library"] {
                if entry.join(place).is_dir() {
                    return Ok(Some(entry.join(place)));
                }
            }
            bail!("{} holds no library folder", file.display());
        }
    }
    Ok(None)
}

/// Builds core and alloc from `library` for [`TARGET`] and puts them where [`private_place`] says.
fn build_sysroot(cache: &Cache, compiler: &Compiler, library: &Path) -> Result<()> {
    let place = private_place(cache, compiler)?;
    let name = place
        .strip_prefix(cache.dir())
        .context("sysroot outside the cache")?
        .to_string_lossy()
        .into_owned();
    cache.entry(&name, |folder| {
        step(
            &format!("building the library for {TARGET} with {}", compiler.name()),
            || {
                let work = folder.join("build");
                fs::create_dir_all(work.join("src"))?;
                fs::write(work.join("src/lib.rs"), "#![no_std]\n")?;
                fs::write(
                    work.join("Cargo.toml"),
                    sysroot_manifest(compiler, library)?,
                )?;
                compiler
                    .program("cargo", &host::repo_root()?, cache.dir())?
                    .dir(&work)
                    .args(["build", "--release", "--target", TARGET, "--target-dir"])
                    .arg(work.join("target"))
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env(
                        "RUSTFLAGS",
                        "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes",
                    )
                    .env("__CARGO_DEFAULT_LIB_METADATA", "keel")
                    .run()?;
                let lib = folder.join("lib/rustlib").join(TARGET).join("lib");
                fs::create_dir_all(&lib)?;
                for entry in fs::read_dir(work.join("target").join(TARGET).join("release/deps"))? {
                    let path = entry?.path();
                    let name = path
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned();
                    if name.ends_with(".rlib") && !name.starts_with("libsysroot-") {
                        fs::copy(&path, lib.join(&name))?;
                    }
                }
                fs::remove_dir_all(&work)?;
                Ok(())
            },
        )
    })?;
    Ok(())
}

fn sysroot_manifest(compiler: &Compiler, library: &Path) -> Result<String> {
    let inside = match compiler {
        Compiler::Root(root) => Path::new("/").join(library.strip_prefix(root)?),
        Compiler::Host(_) => library.to_owned(),
    };
    let builtins = ["compiler-builtins/compiler-builtins", "compiler-builtins"]
        .into_iter()
        .find(|place| library.join(place).join("src/lib.rs").is_file())
        .context("the library's source has no compiler-builtins")?;
    let inside = inside.display();
    Ok(format!(
        "[package]\nname = \"sysroot\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\ncore = {{ path = '{inside}/core' }}\nalloc = {{ path = '{inside}/alloc' }}\n\
         compiler_builtins = {{ path = '{inside}/{builtins}', features = ['mem', 'compiler-builtins'] }}\n\n\
         [profile.release]\nopt-level = 3\ndebug = \"line-tables-only\"\npanic = \"abort\"\n"
    ))
}

/// `program` in Debian's root, with the repository, the cache, the target folder and cargo's home at their own paths.
fn in_root(root: &Path, program: &str, repository: &Path, cache: &Path) -> Result<Cmd> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    let target = kernel_build::target_dir(repository);
    fs::create_dir_all(&target)?;
    fs::create_dir_all(&cargo_home)?;
    let mut script = String::from("set -e; root=$1; program=$2; shift 2; here=$PWD\n");
    for path in [repository, &target, cache, &cargo_home] {
        let path = path.canonicalize()?;
        let path = path.display();
        script.push_str(&format!(
            "mkdir -p \"$root{path}\"; mount --rbind '{path}' \"$root{path}\"\n"
        ));
    }
    script.push_str(
        "mount --rbind /proc \"$root/proc\"; mount --rbind /dev \"$root/dev\"\n\
         cp /etc/resolv.conf \"$root/etc/resolv.conf\" 2>/dev/null || :\n\
         exec chroot \"$root\" /usr/bin/env -u RUSTUP_TOOLCHAIN -u RUSTC -u CARGO PATH=/usr/bin:/bin \
         sh -c 'cd \"$1\"; shift; exec \"$@\"' sh \"$here\" \"$program\" \"$@\"\n",
    );
    let mut unshare = Cmd::new("unshare").arg("--mount");
    if !host::is_root() {
        unshare = unshare.arg("--map-root-user");
    }
    Ok(unshare
        .args(["sh", "-c", &script, "sh"])
        .arg(root)
        .arg(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(minor("1.97.0-nightly"), Some(97));
        assert_eq!(minor("1.9"), Some(9));
        assert_eq!(minor("2.0"), None);
        assert_eq!(
            minor_in_path(Path::new("/usr/src/rustc-1.95.1/library")),
            Some(95)
        );
    }
}
