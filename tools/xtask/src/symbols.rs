//! Names for the addresses in a panic's backtrace, by binutils' addr2line.

use crate::cmd::{Cmd, find_program};
use std::path::Path;

/// `console` with function, file and line behind each line that is nothing but a kernel address.
///
/// What cannot be named stays as it is: this is a help for reading, not a check.
pub fn annotate(kernel: &Path, console: &str) -> String {
    let addresses: Vec<&str> = console.lines().filter_map(address).collect();
    if addresses.is_empty() || find_program("addr2line").is_none() {
        return console.to_owned();
    }
    let named = Cmd::new("addr2line")
        .args(["-f", "-C", "-s", "-e"])
        .arg(kernel)
        .args(&addresses)
        .text();
    let Ok(named) = named else {
        return console.to_owned();
    };
    // Two lines for each address: the function, and FILE:LINE.
    let mut names = named.lines();
    let mut text = String::new();
    for line in console.lines() {
        text.push_str(line);
        if address(line).is_some()
            && let (Some(function), Some(place)) = (names.next(), names.next())
        {
            text.push_str(&format!("  {function}  {place}"));
        }
        text.push('\n');
    }
    text
}

/// The address on a backtrace line that has no name yet.
fn address(line: &str) -> Option<&str> {
    let word = line.trim().trim_start_matches("0x");
    let kernel = word.len() == 16
        && word.starts_with("ffff")
        && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    kernel.then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_kernel_addresses_are_named() {
        assert_eq!(address("  ffffffff803a22b1\r"), Some("ffffffff803a22b1"));
        assert_eq!(address("  ffffffff803a22b1 main"), None);
        assert_eq!(address("RAX: 0000000000000100"), None);
        assert_eq!(
            annotate(Path::new("/nonexistent"), "a\nffffffff803a22b1\n"),
            "a\nffffffff803a22b1\n"
        );
    }
}
