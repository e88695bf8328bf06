//! Trace lines, Keel's and strace's, as calls.
//!
//! Keel prints `[TID] name(args) = result`, and `[TID] name(args)` at the start of calls that may not return;
//! `strace -f -o` prints `TID name(args) = result`, in two parts where calls of several threads overlap.

use std::collections::HashMap;

/// One system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The thread that made it.
    pub tid: i32,
    /// Name.
    pub name: String,
    /// Arguments as printed.
    pub args: Vec<String>,
    /// Result as printed; `?` if it did not return.
    pub result: String,
}

impl Call {
    /// The thread that this call made, if it made one.
    pub fn child(&self) -> Option<i32> {
        let makes = matches!(self.name.as_str(), "clone" | "clone3" | "fork" | "vfork");
        self.result.parse().ok().filter(|tid| makes && *tid > 0)
    }

    /// As strace prints it, without the thread.
    pub fn text(&self) -> String {
        format!("{}({}) = {}", self.name, self.args.join(", "), self.result)
    }
}

/// Reads Keel's trace.
pub fn keel(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    // Calls that have been printed at entry, by thread.
    let mut entered: HashMap<i32, usize> = HashMap::new();
    for line in text.lines() {
        let Some((tid, rest)) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "))
        else {
            continue;
        };
        let (Ok(tid), Some((call, done))) = (tid.parse(), call(rest)) else {
            continue;
        };
        let call = Call { tid, ..call };
        match entered.remove(&tid) {
            // After execve the arguments lie in memory that is gone; those printed at entry are right.
            Some(at) if calls[at].name == call.name && done => calls[at].result = call.result,
            _ => {
                if !done {
                    entered.insert(tid, calls.len());
                }
                calls.push(call);
            }
        }
    }
    calls
}

/// Reads what `strace -f -o FILE` wrote.
pub fn strace(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<i32, (usize, String)> = HashMap::new();
    for line in text.lines() {
        let Some((tid, rest)) = line.split_once(' ') else {
            continue;
        };
        let (Ok(tid), rest) = (tid.parse::<i32>(), rest.trim_start()) else {
            continue;
        };
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            let start = start.trim_end().to_owned();
            let name = start.split('(').next().unwrap_or_default().to_owned();
            unfinished.insert(tid, (calls.len(), start));
            calls.push(Call {
                tid,
                name,
                args: Vec::new(),
                result: "?".to_owned(),
            });
            continue;
        }
        if let Some((_, end)) = rest
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"))
        {
            let Some((at, start)) = unfinished.remove(&tid) else {
                continue;
            };
            if let Some((call, _)) = call(&format!("{start}{end}")) {
                calls[at] = Call { tid, ..call };
            }
            continue;
        }
        if let Some((call, _)) = call(rest) {
            calls.push(Call { tid, ..call });
        }
    }
    calls
}

/// Reads `name(args) = result`, or `name(args)`; says whether there was a result.
fn call(text: &str) -> Option<(Call, bool)> {
    let open = text.find('(')?;
    let name = &text[..open];
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let (args, rest) = arguments(&text[open + 1..])?;
    let rest = rest.trim();
    let result = rest.strip_prefix("= ");
    let call = Call {
        tid: 0,
        name: name.to_owned(),
        args,
        result: result.unwrap_or("?").to_owned(),
    };
    Some((call, result.is_some()))
}

/// Splits the arguments at commas outside brackets and strings; returns what follows the closing parenthesis.
fn arguments(text: &str) -> Option<(Vec<String>, &str)> {
    let mut args = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'(' | b'[' | b'{' => depth += 1,
            b')' if depth == 0 => {
                let last = text[start..at].trim();
                if !last.is_empty() {
                    args.push(last.to_owned());
                }
                return Some((args, &text[at + 1..]));
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                args.push(text[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// The calls of `root` and of all threads that come from it, from its last successful execve before it made any.
pub fn family(calls: &[Call], root: i32) -> Vec<Call> {
    let first = calls
        .iter()
        .position(|call| call.tid == root && call.name == "execve" && call.result == "0");
    // A child may run before its parent's call has returned, so the family is found before its calls are kept.
    let mut members = vec![root];
    let mut settled = 0;
    while let Some(parent) = members.get(settled).copied() {
        settled += 1;
        let own = calls.iter().enumerate().filter(|(at, call)| {
            call.tid == parent && (parent != root || first.is_none_or(|first| *at >= first))
        });
        for child in own.filter_map(|(_, call)| call.child()) {
            if !members.contains(&child) {
                members.push(child);
            }
        }
    }
    let kept = calls.iter().enumerate().filter(|(at, call)| {
        members.contains(&call.tid) && (call.tid != root || first.is_none_or(|first| *at >= first))
    });
    kept.map(|(_, call)| call.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straces_split_calls_are_joined() {
        let text = "10 execve(\"/bin/a\", [\"a\", \"b, c\"], 0x7ffc /* 3 vars */) = 0\n\
                    10 wait4(-1, <unfinished ...>\n11    write(1, \"x)\\n\", 3) = 3\n\
                    10 <... wait4 resumed>[{WIFEXITED(s)}], 0, NULL) = 11\n10 exit_group(0) = ?\n+++ exited\n";
        let calls = strace(text);
        assert_eq!(calls.len(), 4);
        assert_eq!(
            calls[0].args,
            ["\"/bin/a\"", "[\"a\", \"b, c\"]", "0x7ffc /* 3 vars */"]
        );
        assert_eq!(calls[1].text(), "wait4(-1, [{WIFEXITED(s)}], 0, NULL) = 11");
        assert_eq!(calls[2].args[1], "\"x)\\n\"");
        assert_eq!(calls[3].result, "?");
    }

    #[test]
    fn keels_execve_keeps_its_arguments_and_families_are_followed() {
        let text = "noise\n[7] getpid() = 7\n[7] execve(\"/bin/a\", 0x1, 0x2)\n[7] execve(0x9, 0x1, 0x2) = 0\n\
                    [8] close(3) = 0\n[7] vfork() = 8\n[9] getpid() = 9\n[8] execve(\"/bin/b\", 0x1, 0x2)\n[8] execve(0x9, 0x1, 0x2) = 0\n\
                    [7] exit_group(0)\n";
        let calls = family(&keel(text), 7);
        let lines: Vec<String> = calls.iter().map(Call::text).collect();
        assert_eq!(
            lines,
            [
                "execve(\"/bin/a\", 0x1, 0x2) = 0",
                "close(3) = 0",
                "vfork() = 8",
                "execve(\"/bin/b\", 0x1, 0x2) = 0",
                "exit_group(0) = ?"
            ]
        );
    }
}
