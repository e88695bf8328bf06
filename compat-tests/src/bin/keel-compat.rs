//! `keel-compat`: lists and runs the cases.

use compat_tests::harness::{Case, Format, Options, Report, run};
use compat_tests::{cases, helper};
use std::collections::BTreeMap;

const USAGE: &str = "usage: keel-compat [PATTERN]... [options]
  PATTERN           run the cases whose family/group/call/name contains it ('*' matches anything;
                    'call:NAME' takes the cases about that system call)
  --list            list the cases (with --json: the calls that each is about)
  --summary         count the cases by family and the calls covered
  --tap, --json     output format
  --jobs N          cases at a time (default 1)
  --from ID         start with the case ID
  --exclude PATTERN leave out
  --list-file FILE  run the ids in FILE, one a line
  --dir DIR         where cases may make files (default $TMPDIR or /var/tmp)
  --slow N          multiply time limits by N
  --announce        say each case's id on stderr before it starts
  --verbose         let cases write to stdout and stderr";

struct Cli {
    patterns: Vec<String>,
    exclude: Vec<String>,
    from: Option<String>,
    ids: Option<Vec<String>>,
    list: bool,
    summary: bool,
    format: Format,
    opts: Options,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--helper") {
        std::process::exit(helper::run(&args[1..]));
    }
    let cli = parse(args).unwrap_or_else(|message| {
        eprintln!("keel-compat: {message}\n{USAGE}");
        std::process::exit(2);
    });
    let chosen = choose(&cli);
    if cli.summary {
        return summary(&chosen);
    }
    if cli.list {
        return list(&chosen, cli.format);
    }
    if chosen.is_empty() {
        eprintln!("keel-compat: no case matches");
        std::process::exit(2);
    }
    let mut report = Report::new(cli.format, chosen.len());
    run(&chosen, &cli.opts, &mut report);
    std::process::exit(i32::from(!report.end()));
}

fn parse(args: Vec<String>) -> Result<Cli, String> {
    let dir = std::env::var("TMPDIR").unwrap_or_else(|_| "/var/tmp".to_string());
    let opts = Options {
        jobs: 1,
        dir,
        slow: 1,
        verbose: false,
        announce: false,
    };
    let mut cli = Cli {
        patterns: vec![],
        exclude: vec![],
        from: None,
        ids: None,
        list: false,
        summary: false,
        format: Format::Human,
        opts,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--list" => cli.list = true,
            "--summary" => cli.summary = true,
            "--tap" => cli.format = Format::Tap,
            "--json" => cli.format = Format::Json,
            "--verbose" => cli.opts.verbose = true,
            "--announce" => cli.opts.announce = true,
            "--jobs" => cli.opts.jobs = number(&value()?)?,
            "--slow" => cli.opts.slow = number(&value()?)? as u32,
            "--dir" => cli.opts.dir = value()?,
            "--from" => cli.from = Some(value()?),
            "--exclude" => cli.exclude.push(value()?),
            "--list-file" => {
                let name = value()?;
                let text = std::fs::read_to_string(&name).map_err(|e| format!("{name}: {e}"))?;
                let lines = text
                    .lines()
                    .map(|l| l.split('#').next().unwrap_or("").trim());
                cli.ids = Some(
                    lines
                        .filter(|l| !l.is_empty())
                        .map(str::to_string)
                        .collect(),
                );
            }
            "--help" | "-h" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            a if a.starts_with('-') => return Err(format!("unknown option {a}")),
            _ => cli.patterns.push(arg),
        }
    }
    Ok(cli)
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn choose(cli: &Cli) -> Vec<&'static Case> {
    let mut from = cli.from.clone();
    cases::all()
        .filter(|case| {
            let id = case.id();
            if from.as_deref() == Some(id.as_str()) {
                from = None;
            }
            from.is_none()
                && cli.ids.as_ref().is_none_or(|ids| ids.contains(&id))
                && (cli.patterns.is_empty() || cli.patterns.iter().any(|p| matches(case, &id, p)))
                && !cli.exclude.iter().any(|p| matches(case, &id, p))
        })
        .collect()
}

fn matches(case: &Case, id: &str, pattern: &str) -> bool {
    if let Some(call) = pattern.strip_prefix("call:") {
        return case.calls.split_whitespace().any(|c| c == call);
    }
    let mut rest = id;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn list(cases: &[&Case], format: Format) {
    if format != Format::Json {
        for case in cases {
            println!("{}\t{}", case.id(), case.calls);
        }
        return;
    }
    let rows: Vec<String> = cases
        .iter()
        .map(|case| {
            let calls: Vec<String> = case
                .calls
                .split_whitespace()
                .map(|c| format!("\"{c}\""))
                .collect();
            format!(
                "{{\"id\": \"{}\", \"syscalls\": [{}]}}",
                case.id(),
                calls.join(", ")
            )
        })
        .collect();
    println!("[\n{}\n]", rows.join(",\n"));
}

fn summary(cases: &[&Case]) {
    let mut families: BTreeMap<String, usize> = BTreeMap::new();
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        let id = case.id();
        *families
            .entry(id.split('/').next().unwrap_or("").to_string())
            .or_default() += 1;
        for call in case.calls.split_whitespace() {
            *calls.entry(call).or_default() += 1;
        }
    }
    for (family, n) in &families {
        println!("{family:12} {n:5}");
    }
    println!("{} cases over {} system calls", cases.len(), calls.len());
}
