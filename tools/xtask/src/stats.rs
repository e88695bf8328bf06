//! `cargo xtask stats`: size and unsafe share of each crate, system calls by status.

use crate::host;
use anyhow::{Context, Result, bail};
use keel_abi::{SYSCALLS, Status};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The one crate that may use `unsafe`.
const UNSAFE_CRATE: &str = "kernel/hal";
/// User-space programs that make hostile system calls on purpose; not part of the kernel.
const TEST_CRATES: [&str; 1] = ["compat-tests"];

/// Lines of source, without blank lines and comments.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lines {
    code: usize,
    /// Those inside unsafe blocks, functions and impls.
    unsafe_code: usize,
}

/// Prints the statistics; fails if a crate other than hal uses `unsafe`.
pub fn command() -> Result<()> {
    let root = host::repo_root()?;
    outln!(
        "{:<20} {:>8} {:>8} {:>7}",
        "crate",
        "lines",
        "unsafe",
        "share"
    );
    let mut total = Lines::default();
    let mut strays = Vec::new();
    for name in members(&root)? {
        let lines = count_folder(&root.join(&name), &root, &name)?;
        print_row(&name, lines);
        total.code += lines.code;
        if !TEST_CRATES.contains(&name.as_str()) {
            total.unsafe_code += lines.unsafe_code;
            if lines.unsafe_code > 0 && name != UNSAFE_CRATE {
                strays.push(name);
            }
        }
    }
    print_row("total", total);
    outln!();
    print_syscalls();
    if !strays.is_empty() {
        bail!("unsafe code outside {UNSAFE_CRATE}: {}", strays.join(", "));
    }
    Ok(())
}

fn print_row(name: &str, lines: Lines) {
    let share = if lines.code == 0 {
        0.0
    } else {
        100.0 * lines.unsafe_code as f64 / lines.code as f64
    };
    outln!(
        "{name:<20} {:>8} {:>8} {share:>6.2}%",
        lines.code,
        lines.unsafe_code
    );
}

fn print_syscalls() {
    let mut families: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut total = [0; 3];
    for row in SYSCALLS {
        let column = match row.status {
            Status::Full => 0,
            Status::Partial => 1,
            Status::Absent => 2,
        };
        families.entry(row.family).or_default()[column] += 1;
        total[column] += 1;
    }
    outln!(
        "{:<20} {:>8} {:>8} {:>8}",
        "system calls",
        "full",
        "partial",
        "absent"
    );
    for (family, counts) in families {
        outln!(
            "{family:<20} {:>8} {:>8} {:>8}",
            counts[0],
            counts[1],
            counts[2]
        );
    }
    outln!(
        "{:<20} {:>8} {:>8} {:>8}",
        "total",
        total[0],
        total[1],
        total[2]
    );
}

/// The workspace's members, as paths from the root.
fn members(root: &Path) -> Result<Vec<String>> {
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml"))?.parse()?;
    let members = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(toml::Value::as_array)
        .context("Cargo.toml lists no members")?;
    Ok(members
        .iter()
        .filter_map(|member| member.as_str().map(str::to_owned))
        .collect())
}

/// Counts the Rust files below `folder`, leaving out other crates in it.
fn count_folder(folder: &Path, root: &Path, name: &str) -> Result<Lines> {
    let mut lines = Lines::default();
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            let other_crate = path.join("Cargo.toml").is_file() && path != root.join(name);
            if path.is_dir() && !other_crate && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let found = count(&fs::read_to_string(&path)?);
                lines.code += found.code;
                lines.unsafe_code += found.unsafe_code;
            }
        }
    }
    Ok(lines)
}

/// Counts a source file.
fn count(source: &str) -> Lines {
    let plain = blank_out(source);
    let marked = unsafe_ranges(&plain);
    let mut lines = Lines::default();
    let mut start = 0;
    for line in plain.split_inclusive('\n') {
        let end = start + line.len();
        if !line.trim().is_empty() {
            lines.code += 1;
            if marked.iter().any(|(from, to)| *from < end && start < *to) {
                lines.unsafe_code += 1;
            }
        }
        start = end;
    }
    lines
}

/// The byte ranges from each `unsafe` to the end of the braces (or the `;`) that it governs.
fn unsafe_ranges(plain: &str) -> Vec<(usize, usize)> {
    let bytes = plain.as_bytes();
    let word = |at: usize| {
        bytes
            .get(at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(found) = plain[at..].find("unsafe") {
        let start = at + found;
        at = start + "unsafe".len();
        if word(at) || (start > 0 && word(start - 1)) {
            continue;
        }
        // `unsafe(no_mangle)` is an attribute, `unsafe fn(…)` a type; neither has braces of its own.
        if bytes.get(at) == Some(&b'(') {
            ranges.push((start, at));
            continue;
        }
        let mut depth = 0_usize;
        let mut end = at;
        for (offset, byte) in bytes[at..].iter().enumerate() {
            end = at + offset + 1;
            match byte {
                b'{' => depth += 1,
                b'}' if depth <= 1 => break,
                b'}' => depth -= 1,
                b';' | b',' | b'=' if depth == 0 => break,
                _ => {}
            }
        }
        ranges.push((start, end));
    }
    ranges
}

/// The source with comments and the insides of string and character literals replaced by blanks, lines kept.
fn blank_out(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(source, at);
        match end {
            Some(end) => {
                // A literal keeps its line alive; a comment does not.
                let comment = bytes[at] == b'/';
                for (offset, byte) in out[at..end].iter_mut().enumerate() {
                    if *byte != b'\n' {
                        *byte = if comment || offset > 0 { b' ' } else { b'"' };
                    }
                }
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// If a comment or a literal begins at `at`, where it ends.
fn literal_end(source: &str, at: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let rest = &bytes[at..];
    let before = at.checked_sub(1).map(|index| bytes[index]);
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => Some(
            rest.iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |end| at + end),
        ),
        [b'/', b'*', ..] => Some(block_comment_end(bytes, at)),
        [b'"', ..] => Some(string_end(bytes, at + 1)),
        [b'r', b'"' | b'#', ..] if !in_word || before == Some(b'b') || before == Some(b'c') => {
            raw_string_end(bytes, at)
        }
        [b'\'', b'\\', ..] => Some(
            rest.iter()
                .skip(3)
                .position(|byte| *byte == b'\'')
                .map_or(bytes.len(), |end| at + 3 + end + 1),
        ),
        [b'\'', ..] => {
            // A character, unless it is a lifetime.
            let character = source[at + 1..].chars().next()?;
            let end = at + 1 + character.len_utf8();
            (bytes.get(end) == Some(&b'\'')).then_some(end + 1)
        }
        _ => None,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let closing: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let from = at + 2 + hashes;
    let end = bytes
        .get(from..)?
        .windows(closing.len())
        .position(|window| window == closing);
    Some(end.map_or(bytes.len(), |end| from + end + closing.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_do_not_count_as_unsafe() {
        let source = "//! unsafe { }\nfn a() {\n    // unsafe {\n    let x = \"unsafe { }\";\n    /* unsafe\n {*/\n}\n\nlet c = '\"';\n";
        assert_eq!(
            count(source),
            Lines {
                code: 4,
                unsafe_code: 0
            }
        );
    }

    #[test]
    fn unsafe_blocks_count_by_their_lines() {
        let source = "fn a() {\n    // SAFETY: fine\n    unsafe {\n        b();\n    }\n}\nunsafe fn b() {\n    c()\n}\n";
        assert_eq!(
            count(source),
            Lines {
                code: 8,
                unsafe_code: 6
            }
        );
        let one = "#![forbid(unsafe_code)]\nlet x = unsafe { *p };\nlet y = r#\"unsafe {\"#;\n#[unsafe(no_mangle)]\nlet z: unsafe fn();\n";
        assert_eq!(
            count(one),
            Lines {
                code: 5,
                unsafe_code: 3
            }
        );
    }
}
