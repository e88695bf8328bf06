//! Turns `syscalls.tbl` into Rust: the rows as data, the number constants, the argument tracers and the
//! macro that the kernel's dispatch table is made from. Every complaint names the line.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

const TABLE: &str = "syscalls.tbl";

/// Every family a row may belong to, in the order in which the coverage page shows them.
const FAMILIES: &[&str] = &[
    "file", "fs", "mount", "memory", "process", "cred", "signal", "sched", "time", "ipc", "poll",
    "notify", "net", "security", "module", "system", "trace", "aio", "key", "numa",
];

/// The x86_64 convention passes at most six arguments (rdi, rsi, rdx, r10, r8, r9).
const MAX_ARGS: usize = 6;

struct Row {
    line: usize,
    nr: usize,
    name: String,
    family: String,
    status: Status,
    args: Vec<(String, String)>,
    ret: String,
    note: String,
    errno: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Status {
    Full,
    Partial,
    Absent,
}

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={TABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let text = fs::read_to_string(TABLE).map_err(|e| format!("{TABLE}: {e}"))?;
    let rows = parse(&text)?;
    check(&rows)?;
    let out = env::var("OUT_DIR").map_err(|e| format!("OUT_DIR: {e}"))?;
    let file = Path::new(&out).join("table.rs");
    fs::write(&file, generate(&rows)).map_err(|e| format!("{}: {e}", file.display()))
}

fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let at = |e: String| format!("{TABLE}:{number}: {e}");
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(char::is_whitespace) {
            let row = rows
                .last_mut()
                .ok_or_else(|| at("indented line before any row".into()))?;
            parse_detail(row, line.trim()).map_err(at)?;
        } else {
            rows.push(parse_row(line, number).map_err(at)?);
        }
    }
    Ok(rows)
}

fn parse_row(line: &str, number: usize) -> Result<Row, String> {
    let mut rest = line;
    let mut word = || {
        let (head, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = tail.trim_start();
        head
    };
    let (nr, name, family, status) = (word(), word(), word(), word());
    let nr = nr
        .parse()
        .map_err(|_| format!("`{nr}` is not a call number"))?;
    if !is_identifier(name) {
        return Err(format!("`{name}` is not a call name"));
    }
    if !FAMILIES.contains(&family) {
        return Err(format!(
            "no family `{family}`; there are {}",
            FAMILIES.join(", ")
        ));
    }
    let status = match status {
        "full" => Status::Full,
        "partial" => Status::Partial,
        "absent" => Status::Absent,
        other => return Err(format!("status `{other}` is none of full, partial, absent")),
    };
    let (args, ret) = parse_signature(rest)?;
    Ok(Row {
        line: number,
        nr,
        name: name.into(),
        family: family.into(),
        status,
        args,
        ret,
        note: String::new(),
        errno: None,
    })
}

/// One `name: type` pair for each argument, and the return type.
type Signature = (Vec<(String, String)>, String);

/// `(a: T, b: U) -> R`
fn parse_signature(text: &str) -> Result<Signature, String> {
    let form = "the signature must read `(name: Type, ...) -> Type`";
    let (args, ret) = text.rsplit_once("->").ok_or(form)?;
    let args = args
        .trim()
        .strip_prefix('(')
        .and_then(|a| a.strip_suffix(')'))
        .ok_or(form)?;
    let ret = ret.trim();
    if ret.is_empty() {
        return Err(form.into());
    }
    let mut list = Vec::new();
    for arg in args.split(',').map(str::trim).filter(|a| !a.is_empty()) {
        let (name, ty) = arg
            .split_once(':')
            .ok_or_else(|| format!("`{arg}` has no type"))?;
        let (name, ty) = (name.trim(), ty.trim());
        if !is_identifier(name) || ty.is_empty() {
            return Err(format!("`{arg}` is not `name: Type`"));
        }
        list.push((name.to_string(), ty.to_string()));
    }
    if list.len() > MAX_ARGS {
        return Err(format!(
            "{} arguments, but only {MAX_ARGS} registers carry them",
            list.len()
        ));
    }
    Ok((list, ret.to_string()))
}

/// An indented line: `note: …`, `errno: …`, or more of the note before it.
fn parse_detail(row: &mut Row, line: &str) -> Result<(), String> {
    if let Some(name) = line.strip_prefix("errno:") {
        if row.status != Status::Absent {
            return Err("only an absent row answers with a fixed errno".into());
        }
        row.errno = Some(name.trim().to_string());
    } else if let Some(note) = line.strip_prefix("note:") {
        if !row.note.is_empty() {
            return Err(format!("{} has a note already", row.name));
        }
        row.note = note.trim().to_string();
    } else if row.note.is_empty() {
        return Err(format!("`{line}` is neither `note:` nor `errno:`"));
    } else {
        row.note.push(' ');
        row.note.push_str(line);
    }
    Ok(())
}

fn check(rows: &[Row]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (index, row) in rows.iter().enumerate() {
        let at = format!("{TABLE}:{}", row.line);
        if index > 0 && rows[index - 1].nr >= row.nr {
            return Err(format!("{at}: {} must come after a smaller number", row.nr));
        }
        if !names.insert(&row.name) {
            return Err(format!("{at}: there are two rows named {}", row.name));
        }
        if row.status == Status::Partial && row.note.is_empty() {
            return Err(format!(
                "{at}: {} is partial, so it needs a note on what is missing",
                row.name
            ));
        }
    }
    if rows.is_empty() {
        Err(format!("{TABLE}: no rows"))
    } else {
        Ok(())
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
}

fn generate(rows: &[Row]) -> String {
    let mut out = String::new();
    generate_numbers(rows, &mut out);
    generate_rows(rows, &mut out);
    generate_index(rows, &mut out);
    generate_macro(rows, &mut out);
    out
}

/// Writing into a `String` cannot fail; this keeps the generators free of that case.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

fn generate_numbers(rows: &[Row], out: &mut String) {
    put!(out, "/// The call numbers, by upper-case name.");
    put!(out, "pub mod nr {{");
    for row in rows {
        put!(out, "/// `{}`", row.name);
        put!(
            out,
            "pub const {}: u32 = {};",
            row.name.to_uppercase(),
            row.nr
        );
    }
    put!(out, "}}");
}

fn generate_rows(rows: &[Row], out: &mut String) {
    put!(out, "/// All calls, ascending by number.");
    put!(out, "pub static SYSCALLS: [SyscallRow; {}] = [", rows.len());
    for row in rows {
        let status = match row.status {
            Status::Full => "Full",
            Status::Partial => "Partial",
            Status::Absent => "Absent",
        };
        put!(
            out,
            "SyscallRow {{ nr: {}, name: {:?}, family: {:?},",
            row.nr,
            row.name,
            row.family
        );
        put!(out, "status: Status::{status}, note: {:?},", row.note);
        put!(
            out,
            "errno: Errno::{},",
            row.errno.as_deref().unwrap_or("ENOSYS")
        );
        put!(out, "args: &[");
        for (name, ty) in &row.args {
            put!(out, "Arg {{ name: {name:?}, ty: {ty:?} }},");
        }
        put!(out, "], ret: {:?}, {} }},", row.ret, tracers(row));
    }
    put!(out, "];");
    put!(out, "/// The families in the order in which to show them.");
    put!(
        out,
        "pub static FAMILIES: [&str; {}] = {FAMILIES:?};",
        FAMILIES.len()
    );
}

/// The functions that print a row's arguments and result. They also prove that every type in the table
/// exists and can come from and go to a register.
fn tracers(row: &Row) -> String {
    let mut body = String::new();
    for (index, (_, ty)) in row.args.iter().enumerate() {
        if index > 0 {
            body.push_str("out.write_str(\", \")?; ");
        }
        let _ = write!(body, "argument::<{ty}>(regs[{index}], out, mem)?; ");
    }
    let names = if row.args.is_empty() {
        ["_"; 3]
    } else {
        ["regs", "out", "mem"]
    };
    let [regs, out, mem] = names;
    format!(
        "trace_args: |{regs}, {out}, {mem}| {{ {body}Ok(()) }}, trace_ret: result::<{}>",
        row.ret
    )
}

/// Number to row index plus one; zero where the number is not assigned.
fn generate_index(rows: &[Row], out: &mut String) {
    let len = rows.iter().map(|row| row.nr + 1).max().unwrap_or(0);
    let mut index = vec![0; len];
    for (position, row) in rows.iter().enumerate() {
        index[row.nr] = position + 1;
    }
    put!(
        out,
        "/// One more than the highest call number: the length of a dispatch table."
    );
    put!(out, "pub const NR_SYSCALLS: usize = {len};");
    put!(out, "static INDEX: [u16; NR_SYSCALLS] = {index:?};");
}

fn generate_macro(rows: &[Row], out: &mut String) {
    put!(
        out,
        "/// Calls a macro with every row that is full or partial:"
    );
    put!(
        out,
        "/// `callback! {{ (0, read, (fd: Fd, buf: UserPtr<u8>, count: usize) -> usize), … }}`."
    );
    put!(out, "///");
    put!(
        out,
        "/// The types resolve where the callback expands: `use keel_abi::prelude::*;` there."
    );
    put!(out, "#[macro_export]");
    put!(
        out,
        "macro_rules! for_each_implemented_syscall {{ ($callback:ident) => {{ $callback! {{"
    );
    for row in rows.iter().filter(|row| row.status != Status::Absent) {
        let args: Vec<_> = row
            .args
            .iter()
            .map(|(name, ty)| format!("{name}: {ty}"))
            .collect();
        put!(
            out,
            "({}, {}, ({}) -> {}),",
            row.nr,
            row.name,
            args.join(", "),
            row.ret
        );
    }
    put!(out, "}} }} }}");
}
