//! Reports: lines for people, TAP 13 and JSON (one object, one result a line).

use super::{Outcome, Record};
use std::io::Write;

/// The output format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One line for each case that did not pass, and a summary.
    Human,
    /// Test Anything Protocol, version 13.
    Tap,
    /// One JSON object.
    Json,
}

/// Collects and prints results.
pub struct Report {
    format: Format,
    seen: usize,
    counts: [usize; 5],
    names: [&'static str; 5],
}

impl Report {
    /// Starts a report of `total` cases.
    pub fn new(format: Format, total: usize) -> Report {
        match format {
            Format::Human => {}
            Format::Tap => println!("TAP version 13\n1..{total}"),
            Format::Json => {
                println!(
                    "{{\"kernel\": {}, \"results\": [",
                    json_string(&kernel_version())
                );
            }
        }
        let names = ["pass", "fail", "skip", "timeout", "crash"];
        Report {
            format,
            seen: 0,
            counts: [0; 5],
            names,
        }
    }

    /// Says that a case starts.
    pub fn announce(&self, id: &str) {
        // On stderr, where it cannot spoil the JSON.
        eprintln!("# start {id}");
    }

    /// Adds and prints a result.
    pub fn add(&mut self, r: Record) {
        self.seen += 1;
        let word = r.outcome.word();
        if let Some(at) = self.names.iter().position(|n| *n == word) {
            self.counts[at] += 1;
        }
        match self.format {
            Format::Human => self.human(&r),
            Format::Tap => self.tap(&r),
            Format::Json => self.json(&r),
        }
        let _ = std::io::stdout().flush();
    }

    fn human(&self, r: &Record) {
        if r.outcome != Outcome::Pass {
            println!("{:7} {}", r.outcome.word(), r.id);
            for line in r.message.lines() {
                println!("        {}", line.strip_prefix("skip: ").unwrap_or(line));
            }
        }
    }

    fn tap(&self, r: &Record) {
        let ok = if matches!(r.outcome, Outcome::Pass | Outcome::Skip) {
            "ok"
        } else {
            "not ok"
        };
        let reason = r
            .message
            .lines()
            .next()
            .unwrap_or("")
            .trim_start_matches("skip: ");
        let directive = match r.outcome {
            Outcome::Skip => format!(" # SKIP {reason}"),
            _ => String::new(),
        };
        println!("{ok} {} - {}{directive}", self.seen, r.id);
        if ok == "not ok" {
            println!("  ---\n  outcome: {}", r.outcome.word());
            if let Outcome::Crash(sig) = r.outcome {
                println!("  signal: {sig}");
            }
            println!("  message: |");
            for line in r.message.lines() {
                println!("    {line}");
            }
            println!("  ...");
        }
    }

    fn json(&self, r: &Record) {
        let comma = if self.seen > 1 { "," } else { "" };
        let calls: Vec<String> = r.calls.iter().map(|c| json_string(c)).collect();
        println!(
            "{comma}{{\"id\": {}, \"outcome\": \"{}\", \"seconds\": {:.3}, \"syscalls\": [{}], \"message\": {}}}",
            json_string(&r.id),
            r.outcome.word(),
            r.elapsed.as_secs_f64(),
            calls.join(", "),
            json_string(&r.message),
        );
    }

    /// Ends the report; answers whether every case passed or was skipped.
    pub fn end(&self) -> bool {
        let good = self.counts[1] + self.counts[3] + self.counts[4] == 0;
        let parts: Vec<String> = self
            .names
            .iter()
            .zip(self.counts)
            .map(|(n, c)| format!("{n} {c}"))
            .collect();
        match self.format {
            Format::Human => println!("{} cases: {}", self.seen, parts.join(", ")),
            Format::Tap => println!("# {} cases: {}", self.seen, parts.join(", ")),
            Format::Json => {
                let fields: Vec<String> = self
                    .names
                    .iter()
                    .zip(self.counts)
                    .map(|(n, c)| format!("\"{n}\": {c}"))
                    .collect();
                println!("], {}}}", fields.join(", "));
            }
        }
        good
    }
}

fn kernel_version() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|s| s.trim().to_string())
        .unwrap_or_else(|_| "unknown".to_string())
}

/// `text` as a JSON string.
pub fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
