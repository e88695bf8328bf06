//! Which tests to run: runtest files of an installed tree, lists of names, patterns.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A test of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Its name in the runtest file.
    pub name: String,
    /// What the shell runs.
    pub command: String,
}

/// An installed test suite.
#[derive(Debug)]
pub struct Suite {
    /// The folder that has `runtest` and `testcases` in it.
    pub root: PathBuf,
    /// Where the tests were told at build time that they would be.
    pub place: String,
}

impl Suite {
    /// Finds the suite in `dir`: the installed tree itself, or what `make DESTDIR=dir install` left there.
    pub fn find(dir: &Path) -> Result<Self> {
        for (below, place) in [
            ("", "/opt/ltp"),
            ("opt/ltp", "/opt/ltp"),
            ("usr/lib/ltp", "/usr/lib/ltp"),
        ] {
            let root = dir.join(below);
            if root.join("runtest").is_dir() && root.join("testcases/bin").is_dir() {
                let root = root.canonicalize()?;
                return Ok(Self {
                    root,
                    place: place.to_owned(),
                });
            }
        }
        bail!(
            "{} holds no installed LTP (runtest and testcases/bin); build it with: make autotools && ./configure \
             --prefix=/opt/ltp && make && make DESTDIR=DIR install, then give --ltp-dir DIR",
            dir.display()
        )
    }

    /// The tests of the list `name`: runtest files by name (several with commas), a file of that format, or a file
    /// of test names, one a line.
    pub fn tests(&self, name: &str) -> Result<Vec<Test>> {
        if Path::new(name).is_file() {
            return self.tests_in(Path::new(name));
        }
        let mut tests = Vec::new();
        for part in name.split(',') {
            if part == "posix" {
                tests.extend(self.posix()?);
                continue;
            }
            let file = self.root.join("runtest").join(part);
            let text = fs::read_to_string(&file).with_context(|| {
                format!(
                    "no list {part}; there are: posix {}",
                    self.lists().join(" ")
                )
            })?;
            tests.extend(parse(&text));
        }
        Ok(tests)
    }

    /// The names of the runtest files.
    fn lists(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.root.join("runtest"))
            .map(|entries| {
                entries
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }

    fn tests_in(&self, file: &Path) -> Result<Vec<Test>> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut known: Option<Vec<Test>> = None;
        let mut tests = Vec::new();
        for line in lines(&text) {
            if let Some(test) = entry(line) {
                tests.push(test);
                continue;
            }
            let known = match &mut known {
                Some(known) => known,
                None => known.insert(self.everything()?),
            };
            let test = known.iter().find(|test| test.name == line);
            tests.push(
                test.cloned().with_context(|| {
                    format!("{} names {line}, which no list has", file.display())
                })?,
            );
        }
        Ok(tests)
    }

    /// The tests of all lists, those of `syscalls` first.
    fn everything(&self) -> Result<Vec<Test>> {
        let mut all = self.tests("syscalls")?;
        for name in self.lists() {
            all.extend(self.tests(&name)?);
        }
        all.extend(self.posix()?);
        Ok(all)
    }

    /// The programs of the Open POSIX Test Suite, where the tree has them, named by folder and file.
    fn posix(&self) -> Result<Vec<Test>> {
        let mut files = Vec::new();
        let mut tests = Vec::new();
        for folder in ["conformance", "functional"] {
            collect(&self.root.join(folder), &mut files)?;
        }
        files.sort();
        for file in files {
            let below = file
                .strip_prefix(&self.root)?
                .to_string_lossy()
                .into_owned();
            let (folder, program) = below.rsplit_once('/').unwrap_or(("", &below));
            let name = below
                .trim_start_matches("conformance/")
                .trim_start_matches("interfaces/")
                .trim_end_matches(".run-test")
                .trim_end_matches(".test");
            let command = format!("cd {}/{folder} && exec ./{program}", self.place);
            tests.push(Test {
                name: name.to_owned(),
                command,
            });
        }
        Ok(tests)
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if path.is_dir() {
            collect(&path, files)?;
        } else if name.ends_with(".run-test") || name.ends_with(".test") {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines that say something, without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn entry(line: &str) -> Option<Test> {
    let (name, command) = line.split_once(char::is_whitespace)?;
    Some(Test {
        name: name.to_owned(),
        command: command.trim().to_owned(),
    })
}

fn parse(text: &str) -> Vec<Test> {
    lines(text).filter_map(entry).collect()
}

/// Whether `name` is one of those meant by `patterns`, which are separated by commas; `*` and `?` stand for any text
/// and any character.
pub fn matches(patterns: &str, name: &str) -> bool {
    patterns
        .split(',')
        .any(|pattern| glob(pattern.trim().as_bytes(), name.as_bytes()))
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            glob(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, name)| glob(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => glob(rest, name),
        (Some((want, rest)), Some((have, name))) => want == have && glob(rest, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtest_files_have_names_and_commands() {
        let tests =
            parse("#DESCRIPTION: x\n\nabort01 abort01\nfork13 fork13 -i 1000000\n  a\tb c # why\n");
        let all: Vec<(&str, &str)> = tests
            .iter()
            .map(|test| (test.name.as_str(), test.command.as_str()))
            .collect();
        assert_eq!(
            all,
            [
                ("abort01", "abort01"),
                ("fork13", "fork13 -i 1000000"),
                ("a", "b c")
            ]
        );
    }

    #[test]
    fn patterns_are_globs() {
        assert!(matches("wait0?,fork*", "fork13") && matches("wait0?,fork*", "wait01"));
        assert!(
            matches("fork13", "fork13") && !matches("fork1", "fork13") && !matches("k*", "fork13")
        );
    }
}
