//! Running the tests: guests, rounds, progress, logs.

use super::outcome::{Counts, judge};
use super::table::{self, Row};
use super::{Plan, Test, disk};
use crate::cache::Cache;
use crate::cmd::say;
use crate::guest::{Job, JobResult, Outcome, Payload, Progress, Session, run_batch};
use crate::host;
use crate::options::GuestOptions;
use crate::qemu::disk_name;
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The scratch disk that tests format and mount, in bytes.
const SCRATCH_DISK: u64 = 512 << 20;
/// Where a test's own folder is, on the root file system.
const WORK: &str = "/var/tmp/ltp";
/// How long a guest may be silent after a test's time limit.
const GRACE: Duration = Duration::from_secs(30);
/// Lines of the console kept in the log of a test that took the guest down.
const CONSOLE_LINES: usize = 120;

/// Runs what the plan names; returns the table, in the plan's order.
pub fn run(plan: &Plan, mut options: GuestOptions) -> Result<Vec<Row>> {
    let cache = Cache::open()?;
    let scratch = Scratch::new()?;
    let device = scratch.path().join("scratch.img");
    fs::File::create(&device)?.set_len(SCRATCH_DISK)?;
    let first = options.disks.len() + 1;
    options.disks.push(disk::get(&cache, &plan.suite)?);
    options.disks.push(device);
    options.between_jobs = GRACE;
    options.boot_tries = 3;
    let limit = options.timeout;
    let session = Session::new(options)?;
    let bench = Bench {
        plan,
        session,
        payload: payload(plan)?,
        suite_disk: disk_name(first),
        environment: environment(plan, &disk_name(first + 1)),
        limit,
        show: Mutex::new(Show::new(plan)?),
    };
    fs::create_dir_all(&plan.logs)?;
    for round in 1..=plan.rounds {
        let tests = bench.lock().begin(round);
        if tests.is_empty() {
            break;
        }
        bench.round(&tests)?;
    }
    Ok(bench.lock().rows())
}

/// The files that the guest needs beside the suite's disk.
fn payload(plan: &Plan) -> Result<Vec<Payload>> {
    let mut payload = vec![Payload {
        from: host::repo_root()?.join("tools/guest/ltp.sh"),
        name: "keel-ltp".to_owned(),
    }];
    for library in disk::libraries(&plan.suite)? {
        let name = library.file_name().context("a library without a name")?;
        let name = format!("keel-lib/{}", name.to_string_lossy());
        payload.push(Payload {
            from: library.canonicalize()?,
            name,
        });
    }
    Ok(payload)
}

/// The environment that LTP's tests run in.
fn environment(plan: &Plan, device: &str) -> Vec<String> {
    let place = &plan.suite.place;
    vec![
        format!("LTPROOT={place}"),
        format!(
            "PATH={place}/testcases/bin:{place}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ),
        "LD_LIBRARY_PATH=/media/keel-lib".to_owned(),
        format!("TMPDIR={WORK}"),
        format!("LTP_DEV={device}"),
        "LTP_SINGLE_FS_TYPE=ext4".to_owned(),
        // A machine in software is slow; tests that run for a fixed time need not.
        "LTP_VIRT_OVERRIDE=qemu".to_owned(),
        "LTP_RUNTIME_MUL=0.1".to_owned(),
        "LTP_COLORIZE_OUTPUT=n".to_owned(),
        // What a kernel can do is asked of the kernel, not of a list of its options.
        "KCONFIG_SKIP_CHECK=1".to_owned(),
    ]
}

/// Everything that the guests of a run share.
struct Bench<'a> {
    plan: &'a Plan,
    session: Session,
    payload: Vec<Payload>,
    suite_disk: String,
    environment: Vec<String>,
    limit: Duration,
    show: Mutex<Show<'a>>,
}

impl<'a> Bench<'a> {
    /// What has been found so far. A thread that died while it held the lock has left whole rows behind.
    fn lock(&self) -> std::sync::MutexGuard<'_, Show<'a>> {
        self.show
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs these tests, dealt out to as many guests as asked for.
    fn round(&self, tests: &[Test]) -> Result<()> {
        let count = self.plan.jobs.min(tests.len());
        std::thread::scope(|scope| {
            let guests: Vec<_> = (0..count)
                .map(|number| {
                    let hand: Vec<&Test> = tests.iter().skip(number).step_by(count).collect();
                    scope.spawn(move || self.guest(&hand))
                })
                .collect();
            guests.into_iter().try_for_each(|guest| {
                guest
                    .join()
                    .unwrap_or_else(|_| bail!("a guest's thread died"))
            })
        })
    }

    fn guest(&self, tests: &[&Test]) -> Result<()> {
        let jobs: Vec<Job> = tests.iter().map(|test| self.job(test)).collect();
        let mut problem = None;
        run_batch(
            &self.session,
            &jobs,
            &self.payload,
            |progress| match progress {
                Progress::Started(index) => self.lock().started(&tests[index].name),
                Progress::Finished(index, result) => {
                    let done = self.lock().finished(&tests[index].name, result);
                    problem = problem.take().or(done.err());
                }
                Progress::Stdout(_) | Progress::Stderr(_) => {}
            },
        )?;
        problem.map_or(Ok(()), Err)
    }

    fn job(&self, test: &Test) -> Job {
        let words = [
            "/bin/sh",
            "/media/keel-ltp",
            &self.suite_disk,
            &self.plan.suite.place,
            &test.command,
        ];
        let mut job = Job::new(words.map(Into::into).to_vec()).limit(self.limit);
        job.environment
            .retain(|entry| !entry.to_string_lossy().starts_with("PATH="));
        job.environment
            .extend(self.environment.iter().map(Into::into));
        job.directory = "/".to_owned();
        job
    }
}

/// The results so far, and what the person at the terminal sees.
struct Show<'a> {
    plan: &'a Plan,
    rows: BTreeMap<usize, Row>,
    place: HashMap<&'a str, usize>,
    total: usize,
    done: usize,
    start: Instant,
    saved: Instant,
}

impl<'a> Show<'a> {
    fn new(plan: &'a Plan) -> Result<Self> {
        let place: HashMap<&str, usize> = plan
            .tests
            .iter()
            .enumerate()
            .map(|(at, test)| (test.name.as_str(), at))
            .collect();
        let mut rows = BTreeMap::new();
        if plan.resume && plan.output.is_file() {
            for row in table::read(&plan.output)? {
                if let Some(at) = place.get(row.name.as_str()) {
                    rows.insert(*at, row);
                }
            }
            say(format_args!("{} results are there already", rows.len()));
        }
        let now = Instant::now();
        Ok(Self {
            plan,
            rows,
            place,
            total: 0,
            done: 0,
            start: now,
            saved: now,
        })
    }

    /// What this round has to run: in the first what has no result, later what is not good.
    fn begin(&mut self, round: usize) -> Vec<Test> {
        let mut seen = HashSet::new();
        let tests: Vec<Test> = self
            .plan
            .tests
            .iter()
            .filter(|test| seen.insert(test.name.as_str()))
            .filter(|test| {
                let row = self.rows.get(&self.place[test.name.as_str()]);
                if round == 1 {
                    row.is_none()
                } else {
                    row.is_some_and(|row| !row.class.is_good())
                }
            })
            .cloned()
            .collect();
        self.total = tests.len();
        self.done = 0;
        if round > 1 && self.total > 0 {
            say(format_args!(
                "round {round}: {} tests that are not good yet",
                self.total
            ));
        }
        tests
    }

    fn rows(&self) -> Vec<Row> {
        self.rows.values().cloned().collect()
    }

    fn started(&self, name: &str) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K[{:>4}/{}] {name} …", self.done + 1, self.total);
            // Nothing is lost if the terminal is gone.
            let _ = std::io::stderr().flush();
        }
    }

    fn finished(&mut self, name: &str, result: &JobResult) -> Result<()> {
        let mut output = String::from_utf8_lossy(&result.stdout).into_owned();
        output.push_str(&String::from_utf8_lossy(&result.stderr));
        let counts = Counts::of(&output);
        let (class, note) = judge(result, &output, counts, self.plan.posix);
        let (status, seconds) = match &result.outcome {
            Outcome::Ended(end) if end.timed_out => (Some(124), Some(end.elapsed.as_secs_f64())),
            Outcome::Ended(end) => (Some(end.shell_status()), Some(end.elapsed.as_secs_f64())),
            _ => (None, None),
        };
        let at = *self
            .place
            .get(name)
            .context("a result of a test that was not asked for")?;
        let mut row = Row {
            name: name.to_owned(),
            status,
            counts,
            seconds,
            class,
            history: vec![class],
            note,
        };
        self.done += 1;
        self.print(&row);
        log(&self.plan.logs, name, &output, result)?;
        if let Some(before) = self.rows.get(&at) {
            let history = [&before.history[..], &row.history[..]].concat();
            if before.class.best(class) == before.class && before.class != class {
                row = before.clone();
            }
            row.history = history;
        }
        self.rows.insert(at, row);
        if self.saved.elapsed() > Duration::from_secs(5) || self.done == self.total {
            self.saved = Instant::now();
            table::write(&self.plan.output, &self.rows())?;
        }
        Ok(())
    }

    fn print(&self, row: &Row) {
        let clear = if std::io::stderr().is_terminal() {
            "\r\x1b[K"
        } else {
            ""
        };
        let seconds = row
            .seconds
            .map_or(String::new(), |seconds| format!("{seconds:.1} s"));
        let left =
            self.start.elapsed().as_secs_f64() / self.done as f64 * (self.total - self.done) as f64;
        eprintln!(
            "{clear}[{:>4}/{}, {:.0} min left] {:<24} {:<8} {:>8}  {}",
            self.done,
            self.total,
            left / 60.0,
            row.name,
            if row.class.is_good() {
                row.class.word().to_owned()
            } else {
                row.class.word().to_uppercase()
            },
            seconds,
            row.note
        );
    }
}

/// Keeps a test's output, and the console's end where the guest failed.
fn log(folder: &Path, name: &str, output: &str, result: &JobResult) -> Result<()> {
    let mut text = output.to_owned();
    if let Outcome::GuestFailed(failure) = &result.outcome {
        text.push_str(&format!(
            "\n--- {} ---\n{}\n",
            failure.kind,
            failure.tail(CONSOLE_LINES)
        ));
    }
    let file = folder.join(format!("{}.log", name.replace('/', "_")));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}
