//! The download and build cache.
//!
//! Layout: `$KEEL_CACHE` (default: the user's cache directory) holds `images/NAME-HASH/`, `linux/`,
//! `toolchain/`, `downloads/`, `oracle/`. An entry is made in a temporary directory beside its place and renamed
//! into it, under a file lock, so a half-made entry is never seen and two runs at once do not collide.
//! A `$KEEL_CACHE` that cannot be written is used as a further source of downloads (a seed), and so are
//! `$KEEL_CACHE_SEED` and `../shared/cache` beside the checkout. Each download is pinned by SHA-256.

use crate::cmd::{Cmd, say};
use crate::host;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The cache folder and the read-only folders that downloads are looked for in first.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    seeds: Vec<PathBuf>,
}

impl Cache {
    /// Finds the cache from the environment and makes its folder.
    pub fn open() -> Result<Self> {
        let mut seeds: Vec<PathBuf> = std::env::var_os("KEEL_CACHE_SEED")
            .map(Into::into)
            .into_iter()
            .collect();
        let mut dir = default_dir()?;
        if let Some(asked) = std::env::var_os("KEEL_CACHE").map(PathBuf::from) {
            if asked.is_dir() && !is_writable(&asked) {
                seeds.push(asked);
            } else {
                dir = asked;
            }
        }
        if let Ok(root) = host::repo_root()
            && let Some(parent) = root.parent()
        {
            seeds.push(parent.join("shared/cache"));
        }
        seeds.retain(|seed| seed.is_dir());
        fs::create_dir_all(&dir).with_context(|| {
            format!(
                "cannot make the cache folder {}; set KEEL_CACHE",
                dir.display()
            )
        })?;
        Ok(Self {
            dir: dir.canonicalize()?,
            seeds,
        })
    }

    /// The cache folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Read-only folders that may hold downloads.
    pub fn seeds(&self) -> &[PathBuf] {
        &self.seeds
    }

    /// Returns the folder `name` (relative to the cache), made by `make` if it is not there.
    ///
    /// `make` is given an empty temporary folder to fill.
    pub fn entry(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let place = self.dir.join(name);
        if place.is_dir() {
            return Ok(place);
        }
        let parent = place.parent().context("cache entry without a folder")?;
        fs::create_dir_all(parent)?;
        let _lock = self.lock(name)?;
        if place.is_dir() {
            return Ok(place);
        }
        let temporary = place.with_extension("part");
        remove_tree(&temporary)?;
        fs::create_dir(&temporary)?;
        if let Err(error) = make(&temporary) {
            remove_tree(&temporary)?;
            return Err(error);
        }
        fs::rename(&temporary, &place)
            .with_context(|| format!("cannot put the finished {name} into the cache"))?;
        Ok(place)
    }

    /// Locks `name` against other runs until the returned file is dropped.
    pub fn lock(&self, name: &str) -> Result<File> {
        let folder = self.dir.join("locks");
        fs::create_dir_all(&folder)?;
        let file = File::create(folder.join(name.replace('/', "-")))?;
        if file.try_lock().is_err() {
            say(format_args!(
                "waiting for another run that is making {name}"
            ));
            file.lock()?;
        }
        Ok(file)
    }

    /// Finds the file `name` with this SHA-256 in the cache or a seed, or downloads it from one of `urls`.
    pub fn download(&self, name: &str, sha256: &str, urls: &[String]) -> Result<PathBuf> {
        let place = self.dir.join("downloads").join(name);
        let known =
            std::iter::once(place.clone()).chain(self.seeds.iter().map(|seed| seed.join(name)));
        for candidate in known.filter(|path| path.is_file()) {
            if sha256_of_file(&candidate)? == sha256 {
                return Ok(candidate);
            }
            say(format_args!(
                "{} is not the pinned file (SHA-256 differs); ignored",
                candidate.display()
            ));
        }
        host::ensure(&[host::CURL])?;
        fs::create_dir_all(self.dir.join("downloads"))?;
        let part = place.with_extension("part");
        for url in urls {
            say(format_args!("downloading {url}"));
            let fetched = Cmd::new("curl")
                .args(["-fsSL", "--retry", "2", "--connect-timeout", "20", "-o"])
                .arg(&part)
                .arg(url)
                .run();
            match fetched {
                Ok(()) if sha256_of_file(&part)? == sha256 => {
                    fs::rename(&part, &place)?;
                    return Ok(place);
                }
                Ok(()) => say(format_args!(
                    "{url} is not the pinned file (SHA-256 differs)"
                )),
                Err(error) => say(format_args!("{error:#}")),
            }
        }
        bail!(
            "{name} could not be had; put it (SHA-256 {sha256}) into {}",
            place.display()
        )
    }
}

fn default_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir).join("keel"));
    }
    let home = std::env::var_os("HOME").context("HOME is not set; set KEEL_CACHE")?;
    Ok(PathBuf::from(home).join(".cache/keel"))
}

/// Whether files can be made in `dir`. Root can write anywhere, so the mode counts for root too.
fn is_writable(dir: &Path) -> bool {
    let locked = fs::metadata(dir).map_or(true, |meta| meta.permissions().readonly());
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    !locked && File::create(&probe).is_ok_and(|_| fs::remove_file(&probe).is_ok())
}

/// Removes a directory tree if it is there.
///
/// A root file system whose making was interrupted may still have /proc, /sys and /dev mounted in it: these
/// are unmounted first, and nothing is removed while anything is mounted below `dir`.
pub fn remove_tree(dir: &Path) -> Result<()> {
    if dir.symlink_metadata().is_err() {
        return Ok(());
    }
    let place = dir
        .canonicalize()
        .with_context(|| format!("cannot reach {}", dir.display()))?;
    for mount in mounts_below(&place)?.iter().rev() {
        Cmd::new("umount").arg("-l").arg(mount).run()?;
    }
    if let Some(mount) = mounts_below(&place)?.first() {
        bail!("unmount {} and try again", mount.display());
    }
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// The mount points below `dir`, outer ones first.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    Ok(mount_points(&table)
        .filter(|mount| mount.starts_with(dir))
        .collect())
}

/// The mount points in a mountinfo table (proc_pid_mountinfo(5)), where blanks are written as octal escapes.
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> + '_ {
    table.lines().filter_map(|line| {
        let field = line.split(' ').nth(4)?;
        let plain = [
            ("\\040", " "),
            ("\\011", "\t"),
            ("\\012", "\n"),
            ("\\134", "\\"),
        ]
        .iter()
        .fold(field.to_owned(), |text, (escape, character)| {
            text.replace(escape, character)
        });
        Some(PathBuf::from(plain))
    })
}

/// The SHA-256 of a file's contents, in hexadecimal.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let got = file
            .read(&mut buffer)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if got == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..got]);
    }
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> Cache {
        let dir =
            std::env::temp_dir().join(format!("keel-cache-test-{name}-{}", std::process::id()));
        remove_tree(&dir).unwrap();
        fs::create_dir_all(&dir).unwrap();
        Cache {
            dir,
            seeds: Vec::new(),
        }
    }

    #[test]
    fn an_entry_is_made_once() {
        let cache = scratch("once");
        let first = cache
            .entry("a/b", |dir| Ok(fs::write(dir.join("f"), "1")?))
            .unwrap();
        let second = cache.entry("a/b", |_| panic!("made twice")).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::read_to_string(second.join("f")).unwrap(), "1");
        remove_tree(cache.dir()).unwrap();
    }

    #[test]
    fn a_failed_entry_leaves_nothing() {
        let cache = scratch("failed");
        cache
            .entry("x", |dir| {
                fs::write(dir.join("f"), "1")?;
                bail!("no")
            })
            .unwrap_err();
        assert!(!cache.dir().join("x").exists() && !cache.dir().join("x.part").exists());
        remove_tree(cache.dir()).unwrap();
    }

    #[test]
    fn a_wrong_file_is_not_taken() {
        let cache = scratch("pin");
        fs::create_dir_all(cache.dir().join("downloads")).unwrap();
        fs::write(cache.dir().join("downloads/f"), "evil").unwrap();
        assert!(cache.download("f", &sha256_of(b"good"), &[]).is_err());
        assert_eq!(
            cache.download("f", &sha256_of(b"evil"), &[]).unwrap(),
            cache.dir().join("downloads/f")
        );
        remove_tree(cache.dir()).unwrap();
    }

    #[test]
    fn mount_points_are_unescaped() {
        let table =
            "36 35 98:0 / /mnt/a\\040b rw - ext4 /dev/x rw\n37 36 0:5 / /mnt/c rw - proc proc rw\n";
        let points: Vec<PathBuf> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/mnt/a b"), PathBuf::from("/mnt/c")]);
    }

    #[test]
    fn sha256_is_the_standard_one() {
        assert_eq!(
            sha256_of(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
