//! Where files are looked up: a folder of this machine as the root, or an ext4 image.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// What a name in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// A root file system that is only read. Paths are absolute, without `.`, `..` and symbolic links.
pub trait Tree: Send + Sync {
    /// What is at `path`; none if there is nothing.
    fn kind(&self, path: &str) -> Option<Kind>;
    /// Where the link at `path` points.
    fn link(&self, path: &str) -> Option<String>;
    /// The names in the folder at `path`.
    fn list(&self, path: &str) -> Result<Vec<String>>;
    /// The contents of the file at `path`.
    fn read(&self, path: &str) -> Result<Vec<u8>>;
}

/// The path without links that `path` leads to, and what is there.
pub fn resolve(tree: &dyn Tree, path: &str) -> Option<(String, Kind)> {
    let mut done: Vec<String> = Vec::new();
    let mut todo: Vec<String> = parts(path).rev().collect();
    let mut links = 0;
    let mut kind = Kind::Folder;
    while let Some(part) = todo.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                kind = Kind::Folder;
                continue;
            }
            _ => {}
        }
        done.push(part);
        let here = join(&done);
        kind = tree.kind(&here)?;
        if kind == Kind::Link {
            links += 1;
            if links > 40 {
                return None;
            }
            let target = tree.link(&here)?;
            done.pop();
            if target.starts_with('/') {
                done.clear();
            }
            todo.extend(parts(&target).rev());
            kind = Kind::Folder;
        }
    }
    Some((join(&done), kind))
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
}

fn join(parts: &[String]) -> String {
    format!("/{}", parts.join("/"))
}

/// A folder of this machine.
pub struct Folder {
    root: std::path::PathBuf,
}

impl Folder {
    /// The tree below `root`.
    pub fn new(root: &Path) -> Result<Self> {
        let root = root
            .canonicalize()
            .with_context(|| format!("there is no {}", root.display()))?;
        if !root.is_dir() {
            bail!("{} is no folder", root.display());
        }
        Ok(Self { root })
    }

    fn place(&self, path: &str) -> std::path::PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Tree for Folder {
    fn kind(&self, path: &str) -> Option<Kind> {
        let kind = fs::symlink_metadata(self.place(path)).ok()?.file_type();
        Some(if kind.is_symlink() {
            Kind::Link
        } else if kind.is_dir() {
            Kind::Folder
        } else if kind.is_file() {
            Kind::File
        } else {
            Kind::Other
        })
    }

    fn link(&self, path: &str) -> Option<String> {
        Some(
            fs::read_link(self.place(path))
                .ok()?
                .to_string_lossy()
                .into_owned(),
        )
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let entries =
            fs::read_dir(self.place(path)).with_context(|| format!("cannot list {path}"))?;
        Ok(entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.place(path)).with_context(|| format!("cannot read {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Links by path; everything else is a folder.
    struct Links(HashMap<&'static str, &'static str>);

    impl Tree for Links {
        fn kind(&self, path: &str) -> Option<Kind> {
            Some(if self.0.contains_key(path) {
                Kind::Link
            } else {
                Kind::Folder
            })
        }
        fn link(&self, path: &str) -> Option<String> {
            self.0.get(path).map(|target| (*target).to_owned())
        }
        fn list(&self, _: &str) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
        fn read(&self, _: &str) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn links_are_followed_inside_the_tree() {
        let tree = Links(HashMap::from([
            ("/lib", "usr/lib"),
            ("/usr/lib/x", "/a/../b"),
            ("/loop", "loop"),
        ]));
        assert_eq!(resolve(&tree, "/lib/x").unwrap().0, "/b");
        assert_eq!(resolve(&tree, "/lib/./y/../z").unwrap().0, "/usr/lib/z");
        assert!(resolve(&tree, "/loop/x").is_none());
    }
}
