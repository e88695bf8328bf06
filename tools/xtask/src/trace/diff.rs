//! Holding two traces of the same command against each other, process by process.
//!
//! What may differ by right does not count: addresses, and what one side prints decoded and the other as an
//! address; PIDs are replaced by the order in which they appear.

use super::parse::Call;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A line of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The `.0`th process begins.
    Process(usize),
    /// Both made this call.
    Same(String),
    /// Only Linux's program made this call, or it came out differently.
    Linux(String),
    /// Only Keel's.
    Keel(String),
}

/// Compares the traces.
pub fn compare(linux: &[Call], keel: &[Call]) -> Vec<Line> {
    let (linux, keel) = (by_thread(linux), by_thread(keel));
    let mut lines = Vec::new();
    for number in 0..linux.len().max(keel.len()) {
        lines.push(Line::Process(number + 1));
        let empty = Vec::new();
        align(
            linux.get(number).unwrap_or(&empty),
            keel.get(number).unwrap_or(&empty),
            &mut lines,
        );
    }
    lines
}

/// Whether the comparison shows a difference.
pub fn differs(lines: &[Line]) -> bool {
    lines
        .iter()
        .any(|line| matches!(line, Line::Linux(_) | Line::Keel(_)))
}

/// The calls of each thread, threads in order of appearance, with thread numbers in results made comparable.
fn by_thread(calls: &[Call]) -> Vec<Vec<Call>> {
    let mut order: Vec<i32> = Vec::new();
    let mut number = HashMap::new();
    for tid in calls
        .iter()
        .flat_map(|call| [Some(call.tid), call.child()])
        .flatten()
    {
        if let Entry::Vacant(place) = number.entry(tid) {
            order.push(tid);
            place.insert(order.len());
        }
    }
    let mut threads = vec![Vec::new(); order.len()];
    for call in calls {
        let mut call = call.clone();
        let (argument, result) = pid_places(&call.name);
        let argument = argument.and_then(|index| call.args.get_mut(index));
        for word in argument
            .into_iter()
            .chain(result.then_some(&mut call.result))
        {
            if let Some(number) = word.parse::<i32>().ok().and_then(|tid| number.get(&tid)) {
                *word = format!("<process {number}>");
            }
        }
        threads[number[&call.tid] - 1].push(call);
    }
    threads
}

/// Where a call speaks of processes: which argument, and whether in its result.
fn pid_places(name: &str) -> (Option<usize>, bool) {
    match name {
        "clone" | "clone3" | "fork" | "vfork" | "getpid" | "gettid" | "getppid" | "getpgrp"
        | "setsid" | "set_tid_address" => (None, true),
        "wait4" | "getpgid" | "getsid" => (Some(0), true),
        "waitid" => (Some(1), false),
        "kill" | "tkill" | "tgkill" | "setpgid" | "prlimit64" | "pidfd_open" => (Some(0), false),
        _ if name.starts_with("sched_") => (Some(0), false),
        _ => (None, false),
    }
}

/// Longest common subsequence of two threads' calls.
fn align(linux: &[Call], keel: &[Call], lines: &mut Vec<Line>) {
    // Common ends need no table.
    let start = linux
        .iter()
        .zip(keel)
        .take_while(|(left, right)| alike(left, right))
        .count();
    let rest = linux.len().min(keel.len()) - start;
    let end = (0..rest)
        .take_while(|back| alike(&linux[linux.len() - 1 - back], &keel[keel.len() - 1 - back]))
        .count();
    lines.extend(keel[..start].iter().map(|call| Line::Same(call.text())));
    let (left, right) = (
        &linux[start..linux.len() - end],
        &keel[start..keel.len() - end],
    );
    let mut table = vec![vec![0_u32; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            table[i][j] = if alike(&left[i], &right[j]) {
                table[i + 1][j + 1] + 1
            } else {
                table[i + 1][j].max(table[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && alike(&left[i], &right[j]) {
            lines.push(Line::Same(right[j].text()));
            i += 1;
            j += 1;
        } else if j >= right.len() || (i < left.len() && table[i + 1][j] >= table[i][j + 1]) {
            lines.push(Line::Linux(left[i].text()));
            i += 1;
        } else {
            lines.push(Line::Keel(right[j].text()));
            j += 1;
        }
    }
    lines.extend(
        keel[keel.len() - end..]
            .iter()
            .map(|call| Line::Same(call.text())),
    );
}

/// Whether two calls are the same but for what may differ.
fn alike(left: &Call, right: &Call) -> bool {
    // Calls that do not return have no result to compare.
    let returns = !matches!(left.name.as_str(), "exit" | "exit_group" | "rt_sigreturn");
    left.name == right.name
        && (!returns || same_word(result(&left.result), result(&right.result)))
        && left
            .args
            .iter()
            .zip(&right.args)
            .all(|(left, right)| same_word(left, right))
}

/// A result without its explanation, such as `(flags O_RDWR)`; an error keeps its name.
fn result(text: &str) -> &str {
    match text.find(" (") {
        Some(end) => &text[..end],
        None => text,
    }
}

fn same_word(left: &str, right: &str) -> bool {
    let same_number = number(left).is_some_and(|value| number(right) == Some(value));
    left == right || same_number || opaque(left) || opaque(right)
}

/// The value of a decimal, hexadecimal or octal number.
fn number(word: &str) -> Option<i128> {
    match word.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None if word.len() > 1 && word.starts_with('0') => i128::from_str_radix(word, 8).ok(),
        None => word.parse().ok(),
    }
}

/// Whether a word is an address or something decoded from memory: nothing to compare.
fn opaque(word: &str) -> bool {
    let address = word.strip_prefix("0x").is_some_and(|digits| {
        let digits = digits.split(' ').next().unwrap_or(digits);
        digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    address || word.starts_with(['{', '[']) || word.ends_with("...")
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn addresses_and_pids_do_not_differ() {
        let linux = parse::strace(
            "900 execve(\"/bin/a\", [\"a\"], 0x7ffe1 /* 2 vars */) = 0\n900 brk(NULL) = 0x55555\n\
             900 openat(AT_FDCWD, \"/x\", O_RDONLY) = -1 ENOENT (No such file or directory)\n\
             900 fork() = 901\n901 write(1, \"a\"..., 9) = 9\n900 wait4(901, NULL, 0, NULL) = 901\n900 exit_group(0) = ?\n",
        );
        let keel = parse::keel(
            "[12] execve(\"/bin/a\", 0x12345, 0x12345) = 0\n[12] brk(NULL) = 0x66666\n\
             [12] openat(AT_FDCWD, \"/x\", O_RDONLY) = -1 ENOENT (No such file or directory)\n\
             [12] fork() = 13\n[13] write(1, 0x77777, 9) = 9\n[12] wait4(13, NULL, 0, NULL) = 13\n[12] exit_group(0) = 0\n",
        );
        let lines = compare(&linux, &keel);
        assert!(!differs(&lines), "{lines:#?}");
        assert_eq!(
            lines
                .iter()
                .filter(|line| matches!(line, Line::Process(_)))
                .count(),
            2
        );
    }

    #[test]
    fn numbers_compare_by_value_and_descriptors_are_no_pids() {
        let linux = parse::strace("5 getpid() = 5\n5 rseq(0x20) = 0\n5 close(3) = 0\n");
        let keel = parse::keel("[3] getpid() = 3\n[3] rseq(32) = 0\n[3] close(3) = 0\n");
        assert!(!differs(&compare(&linux, &keel)));
        assert!(!same_word("3", "4") && same_word("010", "8"));
    }

    #[test]
    fn another_errno_and_another_call_show() {
        let linux = parse::strace("5 getpid() = 5\n5 flock(3, LOCK_EX) = 0\n5 close(3) = 0\n");
        let keel = parse::keel(
            "[5] getpid() = 5\n[5] flock(3, LOCK_EX) = -1 ENOSYS (x)\n[5] close(3) = 0\n[5] getuid() = 0\n",
        );
        let lines = compare(&linux, &keel);
        assert!(lines.contains(&Line::Linux("flock(3, LOCK_EX) = 0".into())));
        assert!(lines.contains(&Line::Keel("flock(3, LOCK_EX) = -1 ENOSYS (x)".into())));
        assert!(lines.contains(&Line::Keel("getuid() = 0".into())));
        assert_eq!(
            lines
                .iter()
                .filter(|line| matches!(line, Line::Same(_)))
                .count(),
            2
        );
    }
}
