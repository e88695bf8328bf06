//! The suite as a disk: an ext4 image of the installed tree, and the libraries that its programs need.

use super::list::Suite;
use crate::cache::{Cache, sha256_of};
use crate::cmd::step;
use crate::host;
use crate::image::disk::make_ext4;
use anyhow::{Context, Result};
use object::read::elf::{Dyn, ElfFile64, FileHeader};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Libraries that every image has: the C library's own.
const OF_LIBC: [&str; 8] = [
    "libc.so",
    "libm.so",
    "libpthread.so",
    "libdl.so",
    "librt.so",
    "libresolv.so",
    "ld-linux",
    "libanl.so",
];
/// Where this machine's libraries are.
const LIBRARY_FOLDERS: [&str; 4] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
];

/// The suite's disk, made once for each state of the tree.
pub fn get(cache: &Cache, suite: &Suite) -> Result<PathBuf> {
    let mut about = String::new();
    let mut bytes = 0;
    survey(&suite.root, &mut about, &mut bytes)?;
    let name = format!("ltp/{}", &sha256_of(about.as_bytes())[..16]);
    let folder = cache.entry(&name, |folder| {
        host::ensure(&[host::MKE2FS])?;
        step("putting the suite on a disk", || {
            // The mark by which the guest knows that it is mounted.
            let mark = suite.root.join(".keel-suite");
            fs::write(&mark, "")
                .with_context(|| format!("cannot write to {}", suite.root.display()))?;
            let size = (bytes * 5 / 4 + (64 << 20)).next_multiple_of(1 << 20);
            make_ext4(
                &folder.join("disk.img"),
                size,
                &suite.root,
                "keel-suite",
                None,
            )
        })
    })?;
    Ok(folder.join("disk.img"))
}

/// Names, sizes and times of all files, and the sum of the sizes in whole blocks.
fn survey(dir: &Path, about: &mut String, bytes: &mut u64) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let meta = entry.metadata()?;
        if entry.file_name() == ".keel-suite" {
            continue;
        }
        let path = entry.path();
        writeln!(
            about,
            "{} {:o} {} {}",
            path.display(),
            meta.mode(),
            meta.size(),
            meta.mtime()
        )?;
        *bytes += meta.size().next_multiple_of(4096) + 512;
        if meta.is_dir() {
            // The folder's own time changes with the mark.
            let line = about.trim_end().rfind('\n').map_or(0, |at| at + 1);
            about.truncate(line);
            writeln!(about, "{}/", path.display())?;
            survey(&path, about, bytes)?;
        }
    }
    Ok(())
}

/// The shared libraries that the suite's programs are linked with, apart from the C library's.
pub fn libraries(suite: &Suite) -> Result<Vec<PathBuf>> {
    let mut wanted = BTreeSet::new();
    for entry in fs::read_dir(suite.root.join("testcases/bin"))? {
        wanted.extend(needed(&entry?.path()).unwrap_or_default());
    }
    let mut found: Vec<PathBuf> = Vec::new();
    let mut queue: Vec<String> = wanted.iter().cloned().collect();
    while let Some(name) = queue.pop() {
        let place = LIBRARY_FOLDERS
            .iter()
            .map(|dir| Path::new(dir).join(&name))
            .find(|path| path.is_file());
        // A test whose library this machine does not have says so itself.
        let Some(place) = place else { continue };
        for further in needed(&place).unwrap_or_default() {
            if wanted.insert(further.clone()) {
                queue.push(further);
            }
        }
        found.push(place);
    }
    Ok(found)
}

/// The names in an ELF file's DT_NEEDED entries, without the C library's; none if it is no ELF file.
fn needed(file: &Path) -> Option<Vec<String>> {
    let data = fs::read(file).ok()?;
    let elf = ElfFile64::<object::Endianness>::parse(&*data).ok()?;
    let (header, endian) = (elf.elf_header(), elf.endian());
    let sections = header.sections(endian, &*data).ok()?;
    let (entries, strings) = sections.dynamic(endian, &*data).ok()??;
    let strings = sections.strings(endian, &*data, strings).ok()?;
    let names = entries
        .iter()
        .filter(|entry| entry.tag(endian) == object::elf::DT_NEEDED)
        .filter_map(|entry| entry.string(endian, strings).ok())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| !OF_LIBC.iter().any(|known| name.starts_with(known)));
    Some(names.collect())
}
