//! Power cuts of a whole guest: QEMU is killed in the middle of `tar x`, `sync` and `rm -rf` on the root disk.
//!
//! Each round has two boots of the same disk, which QEMU opens with cache=none. The first works until it is killed; the
//! second must recover by itself and find every tree that was synced before, then makes the file system read-only; what
//! it leaves is judged by `e2fsck -fn` on the host.

use crate::guest::protocol::{Decoder, Event};
use crate::guest::session::{Running, Signal};
use crate::guest::{Job, Session};
use crate::host;
use crate::image::disk;
use crate::options::{GuestOptions, KernelChoice};
use crate::scratch::Scratch;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the guest unpacks: a folder that every image has, with some thousand files.
const SOURCE: &str = "usr/share";

/// Works until it is killed. Says `synced N` once tree N is on the disk, `removing N` before it goes.
const WORK: &str = r#"
set -e
mkdir -p /torture; cd /torture
if [ ! -f ready ]; then
    (cd /; find SOURCE -type f -size -200k -print0 | sort -z | head -z -n 2500 | tar --null -cf /torture/src.tar -T -)
    sync; touch ready; sync
fi
i=$(cat last 2>/dev/null || echo 0)
echo working
while :; do
    i=$((i + 1))
    mkdir -p t$i; tar xf src.tar -C t$i
    echo $i > last.new; sync; mv last.new last; sync
    echo synced $i
    old=$((i - 2))
    [ -d t$old ] && { echo removing $old; rm -rf t$old; }
    true
done
"#;

/// Compares the trees named by its arguments with the archive, clears up, and makes the file system read-only.
const VERIFY: &str = r#"
cd /torture || exit 9
bad=0
for n in "$@"; do
    tar --compare -f src.tar -C t$n > /dev/null || { echo "tree $n differs"; bad=1; }
done
rm -rf t*
sync
mount -o remount,ro / || bad=2
exit $bad
"#;

/// How long the guest works, in milliseconds, before the plug is pulled: from this, for up to this much more.
const WORK_TIME: (u64, u64) = (1500, 9000);
/// How long anything else in the guest may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the host heard of the trees before the kill.
#[derive(Default)]
struct Heard {
    synced: Vec<u64>,
    working: bool,
    text: String,
}

impl Heard {
    fn take(&mut self, bytes: &[u8]) {
        self.text.push_str(&String::from_utf8_lossy(bytes));
        while let Some((line, rest)) = self.text.split_once('\n') {
            let mut words = line.split(' ');
            let (what, number) = (words.next(), words.next().and_then(|n| n.parse().ok()));
            match (what, number) {
                (Some("working"), _) => self.working = true,
                (Some("synced"), Some(n)) => self.synced.push(n),
                (Some("removing"), Some(n)) => self.synced.retain(|&kept| kept != n),
                _ => {}
            }
            self.text = rest.to_owned();
        }
    }
}

/// Pulls the plug `kills` times. Returns the status to exit with.
pub fn run(image: &str, kernel: KernelChoice, kills: u64) -> Result<i32> {
    host::ensure(&[host::E2FSCK])?;
    let scratch = Scratch::new()?;
    let root = scratch.path().join("root.img");
    let mut session = Session::new(GuestOptions {
        image: image.to_owned(),
        kernel,
        persist: true,
        ..GuestOptions::default()
    })?;
    disk::clone(&session.image.disk, &root)?;
    session.image.disk = root.clone();
    session.image.hash = None;
    session.direct = true;
    let start = Instant::now();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut trees = 0;
    for round in 1..=kills {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let time = Duration::from_millis(WORK_TIME.0 + (random >> 33) % WORK_TIME.1);
        let outcome = work(&session, time).and_then(|synced| {
            trees += synced.len();
            verify(&session, &synced).and_then(|()| check(&root))
        });
        if let Err(error) = outcome {
            let keep = std::env::temp_dir().join("keel-torture-failed.img");
            std::fs::copy(&root, &keep).context("cannot keep the image")?;
            outln!(
                "guest: kill {round} of {kills} FAILED: {error:#} ({})",
                keep.display()
            );
            return Ok(1);
        }
        outln!(
            "  kill {round} after {:.1} s of work: recovered, clean",
            time.as_secs_f64()
        );
    }
    outln!(
        "guest: {kills} kills, {trees} synced trees found again, e2fsck clean each time: passed in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(0)
}

fn shell(script: &str, args: &[String]) -> Job {
    let script = script.replace("SOURCE", SOURCE);
    let mut argv = vec!["sh".into(), "-c".into(), script.into(), "sh".into()];
    argv.extend(args.iter().map(Into::into));
    Job::new(argv)
}

/// Lets the guest work for `time` and kills it; the trees that must be there.
fn work(session: &Session, time: Duration) -> Result<Vec<u64>> {
    let mut running = session.start(&[shell(WORK, &[])], &[])?;
    let mut decoder = Decoder::default();
    let mut heard = Heard::default();
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        match running.next(deadline) {
            Signal::Console => fail_on_panic(&mut running)?,
            Signal::Agent(bytes) => {
                for event in decoder.feed(&bytes) {
                    let had = heard.working;
                    match event {
                        Event::Stdout(text) => heard.take(&text),
                        Event::Ended(..) => bail!("the work ended: {}", tail(&running)),
                        _ => {}
                    }
                    if heard.working && !had {
                        deadline = Instant::now() + time;
                    }
                }
            }
            Signal::Ended(how) => bail!("the guest ended early ({how}): {}", tail(&running)),
            Signal::Timeout if heard.working => break,
            Signal::Timeout => bail!("the guest did not start to work: {}", tail(&running)),
        }
    }
    // SIGKILL: what QEMU has not handed to the host's disk is lost.
    running.finish()?;
    Ok(heard.synced)
}

/// Boots again and has the trees compared.
fn verify(session: &Session, synced: &[u64]) -> Result<()> {
    let args: Vec<String> = synced.iter().map(u64::to_string).collect();
    let mut running = session.start(&[shell(VERIFY, &args)], &[])?;
    let mut decoder = Decoder::default();
    let mut said = String::new();
    let mut status = None;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match running.next(deadline) {
            Signal::Console => fail_on_panic(&mut running)?,
            Signal::Agent(bytes) => {
                for event in decoder.feed(&bytes) {
                    match event {
                        Event::Stdout(text) | Event::Stderr(text) => {
                            said.push_str(&String::from_utf8_lossy(&text));
                        }
                        Event::Ended(_, end) => status = Some(end.shell_status()),
                        _ => {}
                    }
                }
            }
            Signal::Ended(how) if status.is_none() => {
                bail!("the guest ended early ({how}): {}", tail(&running));
            }
            Signal::Ended(_) => break,
            Signal::Timeout => bail!("the guest hangs: {}", tail(&running)),
        }
    }
    match status {
        Some(0) => Ok(()),
        status => bail!("after recovery: status {status:?}: {}", said.trim()),
    }
}

fn fail_on_panic(running: &mut Running) -> Result<()> {
    match running.panic_message() {
        Some(message) => bail!("the kernel panicked: {message}"),
        None => Ok(()),
    }
}

fn tail(running: &Running) -> String {
    let text = String::from_utf8_lossy(running.console()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join(" / ")
}

/// `e2fsck -fn` must find nothing, and nothing to replay.
fn check(image: &Path) -> Result<()> {
    let program = crate::cmd::find_program("e2fsck").context("e2fsck is not installed")?;
    let out = Command::new(program)
        .arg("-fn")
        .arg(image)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() || text.contains("skipping journal recovery") {
        bail!("e2fsck -fn: {}: {}", out.status, text.replace('\n', " / "));
    }
    Ok(())
}
