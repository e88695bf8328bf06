//! `coverage scan`: which system calls a program, a folder of programs or a whole image may make, and which of them
//! are not all there.
//!
//! [`tree`] and [`ext4`] give files, [`module`] makes a graph of each ELF file with the help of [`flow`], [`program`]
//! puts a program together with its libraries, [`text`] says what came of it. What is found is what *may* be called:
//! functions that are reached from the program by calls, pointers and tables. Libraries loaded by dlopen are not followed.

mod ext4;
mod flow;
mod module;
mod program;
mod text;
mod tree;
mod value;

pub use program::{Needs, Scanned, Way, World};
pub use text::{json, print, word};

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use tree::{Folder, Kind, Tree, resolve};

/// Folders of programs in a root file system.
const PROGRAM_FOLDERS: [&str; 8] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/games",
];

/// A file that was looked at, and what it is.
pub struct File {
    /// Its path in its tree.
    pub path: String,
    /// What was found.
    pub scanned: Result<Scanned>,
}

/// Looks at everything that `what` names: a file, a folder, a root file system, an ext4 image, or IMAGE:PATH.
pub fn scan(what: &str) -> Result<Vec<File>> {
    let (tree, places, named) = open(what)?;
    let world = World::new(tree);
    let mut paths = BTreeSet::new();
    for place in &places {
        match resolve(world.tree(), place) {
            Some((path, Kind::File)) => {
                paths.insert(path);
            }
            Some((path, Kind::Folder)) => collect(world.tree(), &path, &mut paths)?,
            // Not every root file system has all folders of programs.
            _ if !named => {}
            _ => bail!("there is no {place} in {what}"),
        }
    }
    let paths: Vec<String> = paths.into_iter().collect();
    let mut files = look(&world, &paths);
    // In a folder, what is no program is no news.
    if paths.len() > 1 {
        files.retain(|file| !matches!(file.scanned, Ok(Scanned::Other(_))));
    }
    Ok(files)
}

/// The tree, the paths in it to look at, and whether the user named them.
fn open(what: &str) -> Result<(Box<dyn Tree>, Vec<String>, bool)> {
    let everything = || PROGRAM_FOLDERS.map(str::to_owned).to_vec();
    if let Some((image, path)) = what.split_once(':')
        && Path::new(image).exists()
    {
        let image = Path::new(image);
        let tree: Box<dyn Tree> = if image.is_dir() {
            Box::new(Folder::new(image)?)
        } else {
            Box::new(ext4::Image::open(image)?)
        };
        return Ok((tree, vec![path.to_owned()], true));
    }
    let path = Path::new(what)
        .canonicalize()
        .with_context(|| format!("there is no file {what}"))?;
    if path.is_dir()
        && path.join("etc").is_dir()
        && (path.join("usr/bin").is_dir() || path.join("bin").is_dir())
    {
        return Ok((Box::new(Folder::new(&path)?), everything(), false));
    }
    if path.is_file() && is_image(&path)? {
        return Ok((Box::new(ext4::Image::open(&path)?), everything(), false));
    }
    let place = path
        .to_str()
        .context("a path that is not UTF-8")?
        .to_owned();
    Ok((Box::new(Folder::new(Path::new("/"))?), vec![place], true))
}

/// Whether a file is a disk image rather than a program: a file system's or a partition table's mark is in its place.
fn is_image(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut start = Vec::new();
    std::fs::File::open(path)?
        .take(2048)
        .read_to_end(&mut start)?;
    let at = |offset: usize, bytes: &[u8]| start.get(offset..offset + bytes.len()) == Some(bytes);
    Ok(!at(0, b"\x7fELF") && (at(1024 + 56, &[0x53, 0xef]) || at(510, &[0x55, 0xaa])))
}

/// The files below `folder`; links are followed to files only.
fn collect(tree: &dyn Tree, folder: &str, paths: &mut BTreeSet<String>) -> Result<()> {
    for name in tree.list(folder)? {
        let path = format!("{}/{name}", folder.trim_end_matches('/'));
        match tree.kind(&path) {
            Some(Kind::Folder) => collect(tree, &path, paths)?,
            Some(Kind::File) => {
                paths.insert(path);
            }
            Some(Kind::Link) => {
                if let Some((target, Kind::File)) = resolve(tree, &path) {
                    paths.insert(target);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Scans the files, on all processors.
fn look(world: &World, paths: &[String]) -> Vec<File> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(paths.len().max(1));
    let mut done: Vec<(usize, File)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(path) = paths.get(index) else {
                            return done;
                        };
                        done.push((
                            index,
                            File {
                                path: path.clone(),
                                scanned: world.scan(path),
                            },
                        ));
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, file)| file).collect()
}
