//! Image recipes: `distro-images/*.toml` as data.
//!
//! A recipe says where the files come from ([`Source`]) and which configuration files are edited
//! afterwards ([`Edit`]). Its hash, together with [`BUILDER_VERSION`], names the cached image.

use crate::cache::sha256_of;
use anyhow::{Context, Result, bail};
use regex_lite::Regex;
use serde::Deserialize;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Raised when the builder makes something else of the same recipe.
const BUILDER_VERSION: u32 = 1;

/// One image recipe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The image's name on the command line.
    pub name: String,
    /// Size of the root file system: a number with suffix M or G.
    pub size: String,
    /// The file system's UUID, fixed so that fstab can name it.
    pub uuid: String,
    /// The file system's label, at most 16 bytes.
    pub label: String,
    /// Where the files come from.
    pub source: Source,
    /// Changes to configuration files, in order.
    #[serde(default)]
    pub edit: Vec<Edit>,
    /// Hash of the recipe's text and the builder's version.
    #[serde(skip)]
    pub hash: String,
}

/// Where an image's files come from.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// Debian packages, put together by mmdebstrap.
    Debian {
        /// Release, such as `bookworm`.
        suite: String,
        /// mmdebstrap's variant, such as `minbase`.
        variant: String,
        /// Packages beside those of the variant.
        packages: Vec<String>,
        /// Packages that are put into the image's /srv/packages as files, not installed.
        #[serde(default)]
        downloads: Vec<String>,
    },
    /// A tar archive of a root file system.
    Archive {
        /// File name in the cache.
        file: String,
        /// What the file must be.
        sha256: String,
        /// Where to download it from.
        urls: Vec<String>,
    },
}

/// A change to one file of the root file system: `write` it whole, or `replace` a pattern `with` a text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    file: String,
    write: Option<String>,
    replace: Option<String>,
    #[serde(rename = "with")]
    with: Option<String>,
}

impl Recipe {
    /// Reads the recipe `name` of the repository at `root`.
    pub fn load(root: &Path, name: &str) -> Result<Self> {
        let path = root.join("distro-images").join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "no image is called {name}; there are: {}",
                names(root).join(", ")
            )
        })?;
        let mut recipe = Self::parse(&text).with_context(|| format!("in {}", path.display()))?;
        recipe.hash = sha256_of(format!("{BUILDER_VERSION}\n{text}").as_bytes())[..16].to_owned();
        Ok(recipe)
    }

    fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text)?;
        recipe.bytes()?;
        if recipe.label.len() > 16 {
            bail!("label {} is longer than ext4's 16 bytes", recipe.label);
        }
        Ok(recipe)
    }

    /// The root file system's size in bytes.
    pub fn bytes(&self) -> Result<u64> {
        let (digits, shift) = match self.size.as_bytes().last() {
            Some(b'M') => (&self.size[..self.size.len() - 1], 20),
            Some(b'G') => (&self.size[..self.size.len() - 1], 30),
            _ => (self.size.as_str(), 0),
        };
        let number: u64 = digits
            .parse()
            .with_context(|| format!("bad size {}", self.size))?;
        number
            .checked_shl(shift)
            .with_context(|| format!("bad size {}", self.size))
    }
}

/// The names of all recipes, sorted.
pub fn names(root: &Path) -> Vec<String> {
    let folder = fs::read_dir(root.join("distro-images"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = folder
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".toml")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

impl Edit {
    /// Makes the change in the tree at `rootfs`.
    pub fn apply(&self, rootfs: &Path) -> Result<()> {
        let path = within(rootfs, &self.file)?;
        let (text, mode) = match (&self.write, &self.replace, &self.with) {
            (Some(text), None, None) => (text.clone(), 0o644),
            (None, Some(pattern), Some(with)) => {
                let old = fs::read_to_string(&path)
                    .with_context(|| format!("cannot edit {}", self.file))?;
                let pattern = Regex::new(pattern)?;
                if !pattern.is_match(&old) {
                    bail!("{} has nothing that matches {pattern}", self.file);
                }
                let mode = fs::metadata(&path)?.permissions().mode();
                (pattern.replace_all(&old, with.as_str()).into_owned(), mode)
            }
            _ => bail!(
                "edit of {}: give either `write`, or `replace` and `with`",
                self.file
            ),
        };
        fs::write(&path, text).with_context(|| format!("cannot write {}", self.file))?;
        fs::set_permissions(&path, PermissionsExt::from_mode(mode & 0o7777))?;
        Ok(())
    }
}

/// `file` (absolute in the image) as a path below `rootfs`; a symlink on the way would lead out, so there may be none.
fn within(rootfs: &Path, file: &str) -> Result<PathBuf> {
    let mut path = rootfs.to_owned();
    for part in file.split('/').filter(|part| !part.is_empty()) {
        path.push(part);
        if part == ".." || path.is_symlink() {
            bail!("{file} leads through a symlink or out of the image");
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_of_the_repository_parses() {
        let root = crate::host::repo_root().unwrap();
        let names = names(&root);
        assert!(names.iter().any(|name| name == "debian"), "{names:?}");
        for name in names {
            let recipe = Recipe::load(&root, &name).unwrap();
            assert_eq!(recipe.name, name);
            assert_eq!(recipe.hash.len(), 16);
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        let text = "name='x'\nsize='3G'\nuuid=''\nlabel=''\n[source]\nkind='debian'\nsuite='s'\nvariant='v'\npackages=[]";
        assert_eq!(Recipe::parse(text).unwrap().bytes().unwrap(), 3 << 30);
        assert!(Recipe::parse(&text.replace("3G", "3Q")).is_err());
        assert!(Recipe::parse(&text.replace("label=''", "label='12345678901234567'")).is_err());
    }

    #[test]
    fn edits_change_only_what_matches() {
        let dir = std::env::temp_dir().join(format!("keel-edit-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("shadow"), "root:*:1:\nbin:!:2:\n").unwrap();
        let edit = |pattern: &str| Edit {
            file: "/shadow".into(),
            write: None,
            replace: Some(pattern.into()),
            with: Some("root::".into()),
        };
        edit("(?m)^root:[^:]*:").apply(&dir).unwrap();
        assert_eq!(
            fs::read_to_string(dir.join("shadow")).unwrap(),
            "root::1:\nbin:!:2:\n"
        );
        assert!(edit("(?m)^nobody:").apply(&dir).is_err());
        std::os::unix::fs::symlink("/etc", dir.join("out")).unwrap();
        assert!(within(&dir, "/out/passwd").is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
