//! Power cuts: every write to the device is recorded, and the image is cut at flush boundaries with a random part of
//! what was in flight after them (some of it torn). After recovery the structure must be clean and everything that was
//! made durable must be there.
//!
//! `EXT4_CUTS` sets how many cuts each feature set gets (default 60), `EXT4_SEED` the seed.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::cache::PageCache;
use common::*;
use keel_ext4::{BlockDevice, Errno, RenameMode, Result, WriteFlags};

/// What a device saw.
enum Event {
    Write {
        offset: u64,
        data: Vec<u8>,
        fua: bool,
    },
    Flush,
}

/// A disk that remembers its history.
struct Recorder {
    disk: Arc<RamDisk>,
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    fn now(&self) -> usize {
        self.events.lock().unwrap().len()
    }
}

impl BlockDevice for Recorder {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read(offset, buf)
    }
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        let mut e = self.events.lock().unwrap();
        if flags.preflush {
            e.push(Event::Flush);
        }
        e.push(Event::Write {
            offset,
            data: buf.to_vec(),
            fua: flags.fua,
        });
        drop(e);
        self.disk.write(offset, buf, flags)
    }
    fn flush(&self) -> Result<()> {
        self.events.lock().unwrap().push(Event::Flush);
        Ok(())
    }
}

/// Something that holds for cuts in a span of events.
struct Fact {
    from: usize,
    until: usize,
    path: String,
    /// Content it must have; `None`: it must not exist.
    content: Option<Vec<u8>>,
}

struct Workload {
    rec: Arc<Recorder>,
    cache: PageCache,
    rng: Rng,
    facts: Vec<Fact>,
    /// Versions of the file that is replaced atomically, with the events after which each was durable.
    versions: Vec<(usize, Vec<u8>)>,
}

impl Workload {
    fn now(&self) -> usize {
        self.rec.now()
    }

    fn content(&mut self, max: u64) -> Vec<u8> {
        let n = self.rng.below(max) + 1;
        let seed = self.rng.next();
        (0..n)
            .map(|i| (seed.rotate_left((i % 61) as u32) as u8).wrapping_add(i as u8))
            .collect()
    }

    /// Facts about a path end where something is about to happen to it.
    fn end_facts(&mut self, path: &str) {
        let now = self.now();
        for f in self
            .facts
            .iter_mut()
            .filter(|f| f.path == path && f.until == usize::MAX)
        {
            f.until = now;
        }
    }

    fn durable_file(&mut self, n: u64) {
        let path = format!("/d{}/f{n}", n % 4);
        self.end_facts(&path);
        let dir = resolve(&self.cache.fs, &format!("/d{}", n % 4)).unwrap();
        let name = format!("f{n}");
        let f = match self.cache.fs.create(&dir, name.as_bytes(), &file(0o644)) {
            Ok(f) => f,
            Err(Errno::EEXIST) => resolve(&self.cache.fs, &path).unwrap(),
            Err(e) => panic!("{e}"),
        };
        self.cache.truncate(&f, 0).unwrap();
        let body = self.content(20_000);
        self.cache.write(&f, 0, &body).unwrap();
        let datasync = self.rng.below(2) == 0;
        self.cache.fsync(&f, datasync).unwrap();
        self.cache.forget(f.ino());
        let from = self.now();
        self.facts.push(Fact {
            from,
            until: usize::MAX,
            path,
            content: Some(body),
        });
        self.cache.fs.iput(f).unwrap();
        self.cache.fs.iput(dir).unwrap();
    }

    fn remove(&mut self, n: u64) {
        let path = format!("/d{}/f{n}", n % 4);
        let Ok(f) = resolve(&self.cache.fs, &path) else {
            return;
        };
        self.end_facts(&path);
        let dir = resolve(&self.cache.fs, &format!("/d{}", n % 4)).unwrap();
        self.cache
            .fs
            .unlink(&dir, format!("f{n}").as_bytes(), &f)
            .unwrap();
        self.cache.forget(f.ino());
        if self.rng.below(3) == 0 {
            self.cache.fs.sync().unwrap();
            let from = self.now();
            self.facts.push(Fact {
                from,
                until: usize::MAX,
                path,
                content: None,
            });
        }
        self.cache.fs.iput(f).unwrap();
        self.cache.fs.iput(dir).unwrap();
    }

    fn replace_atomically(&mut self) {
        let root = self.cache.fs.root().unwrap();
        let tmp = self.cache.fs.create(&root, b"tmp", &file(0o644)).unwrap();
        let body = self.content(30_000);
        self.cache.write(&tmp, 0, &body).unwrap();
        self.cache.fsync(&tmp, false).unwrap();
        let old = self
            .cache
            .fs
            .lookup(&root, b"target")
            .ok()
            .map(|(i, _)| self.cache.fs.iget(i).unwrap());
        // From here on the new version may be there.
        self.versions.push((usize::MAX, body));
        self.cache
            .fs
            .rename(
                &root,
                b"tmp",
                &tmp,
                &root,
                b"target",
                old.as_deref(),
                RenameMode::Replace,
            )
            .unwrap();
        if let Some(o) = old {
            self.cache.forget(o.ino());
            self.cache.fs.iput(o).unwrap();
        }
        if self.rng.below(2) == 0 {
            self.cache.fs.sync().unwrap();
            let now = self.now();
            self.versions.last_mut().unwrap().0 = now;
        }
        self.cache.forget(tmp.ino());
        self.cache.fs.iput(tmp).unwrap();
        self.cache.fs.iput(root).unwrap();
    }

    /// Things that nobody waits for.
    fn noise(&mut self) {
        let n = self.rng.below(30);
        let root = self.cache.fs.root().unwrap();
        let name = format!("noise-{n}");
        if let Ok((ino, _)) = self.cache.fs.lookup(&root, name.as_bytes()) {
            let i = self.cache.fs.iget(ino).unwrap();
            if i.attr().mode & 0o170_000 == 0o040_000 {
                for k in 0..20 {
                    let sub = format!("sub-{k}-{}", "x".repeat(100));
                    if let Ok((c, _)) = self.cache.fs.lookup(&i, sub.as_bytes()) {
                        let c = self.cache.fs.iget(c).unwrap();
                        self.cache.fs.unlink(&i, sub.as_bytes(), &c).unwrap();
                        self.cache.fs.iput(c).unwrap();
                    }
                }
                self.cache.fs.rmdir(&root, name.as_bytes(), &i).unwrap();
            } else if self.rng.below(2) == 0 {
                let to = self.rng.below(60_000);
                self.cache.truncate(&i, to).unwrap();
                self.cache.write_back(&i).unwrap();
            } else {
                self.cache.fs.unlink(&root, name.as_bytes(), &i).unwrap();
            }
            self.cache.forget(i.ino());
            self.cache.fs.iput(i).unwrap();
        } else if n.is_multiple_of(3) {
            let d = self
                .cache
                .fs
                .create(&root, name.as_bytes(), &directory(0o755))
                .unwrap();
            for k in 0..self.rng.below(20) {
                let sub = format!("sub-{k}-{}", "x".repeat(100));
                let c = self
                    .cache
                    .fs
                    .create(&d, sub.as_bytes(), &file(0o600))
                    .unwrap();
                self.cache.fs.iput(c).unwrap();
            }
            self.cache.fs.iput(d).unwrap();
        } else {
            let f = self
                .cache
                .fs
                .create(&root, name.as_bytes(), &file(0o600))
                .unwrap();
            let body = self.content(60_000);
            // Some far out, where block maps have more levels.
            let at = self.rng.below(50_000) << (6 * (n % 2));
            self.cache.write(&f, at, &body).unwrap();
            self.cache.write_back(&f).unwrap();
            self.cache.forget(f.ino());
            self.cache.fs.iput(f).unwrap();
        }
        self.cache.fs.iput(root).unwrap();
    }

    fn run(&mut self, steps: usize) {
        let root = self.cache.fs.root().unwrap();
        for i in 0..4 {
            let d = self
                .cache
                .fs
                .create(&root, format!("d{i}").as_bytes(), &directory(0o755))
                .unwrap();
            self.cache.fs.iput(d).unwrap();
        }
        self.cache.fs.iput(root).unwrap();
        self.cache.fs.sync().unwrap();
        // An unlinked file that stays open to the end: an orphan in every image.
        let root = self.cache.fs.root().unwrap();
        let open = self.cache.fs.create(&root, b"open", &file(0o600)).unwrap();
        self.cache.write(&open, 0, &[9; 9000]).unwrap();
        self.cache.write_back(&open).unwrap();
        self.cache.fs.unlink(&root, b"open", &open).unwrap();
        for _ in 0..steps {
            let n = self.rng.below(24);
            match self.rng.below(10) {
                0..=2 => self.durable_file(n),
                3 => self.remove(n),
                4 => self.replace_atomically(),
                5 => self.cache.fs.commit().unwrap(),
                _ => self.noise(),
            }
        }
    }
}

/// The image as it may be when the power goes after event `cut`.
fn cut_image(base: &[u8], events: &[Event], cut: usize, rng: &mut Rng, flushes: bool) -> Vec<u8> {
    let mut image = base.to_vec();
    let barrier = if flushes {
        events[..cut]
            .iter()
            .rposition(|e| matches!(e, Event::Flush))
            .unwrap_or(0)
    } else {
        0
    };
    let keep = rng.below(4);
    for (i, e) in events[..cut].iter().enumerate() {
        let Event::Write { offset, data, fua } = e else {
            continue;
        };
        let at = *offset as usize;
        let safe = i < barrier || (*fua && flushes);
        let n = match (safe, keep) {
            (true, _) => data.len(),
            (_, 0) => 0,
            (_, 1) => data.len(),
            _ => match rng.below(8) {
                0..=3 => data.len(),
                4 => data.len() / 512 / 2 * 512,
                _ => 0,
            },
        };
        image[at..at + n].copy_from_slice(&data[..n]);
    }
    image
}

/// Recovers with our code; checks the facts, then the structure.
fn check_ours(
    w: &Workload,
    image: Vec<u8>,
    cut: usize,
    file: &Path,
) -> std::result::Result<(), String> {
    let disk = RamDisk::new(image);
    let fs = keel_ext4::Fs::mount(
        disk.clone(),
        Host::default(),
        keel_ext4::MountOptions::default(),
    )
    .map_err(|e| format!("mount: {e}"))?;
    for f in w.facts.iter().filter(|f| f.from <= cut && cut < f.until) {
        let found = resolve(&fs, &f.path);
        match (&f.content, found) {
            (None, Err(Errno::ENOENT)) => {}
            (Some(c), Ok(i)) => {
                let mut got = vec![0; i.size() as usize];
                fs.read_at(&i, 0, &mut got)
                    .map_err(|e| format!("{}: {e}", f.path))?;
                if got != *c {
                    return Err(format!("{}: content lost", f.path));
                }
                fs.iput(i).map_err(|e| e.to_string())?;
            }
            (want, found) => {
                return Err(format!(
                    "{}: {} / {:?}",
                    f.path,
                    want.is_some(),
                    found.err()
                ));
            }
        }
    }
    let least = w.versions.iter().rposition(|v| v.0 <= cut);
    match (least, resolve(&fs, "/target")) {
        (None, Err(Errno::ENOENT)) => {}
        (least, Ok(i)) => {
            let got = read_all(&fs, &i);
            let allowed = &w.versions[least.unwrap_or(0)..];
            if !allowed.iter().any(|v| v.1 == got) {
                return Err("target: neither old nor new".into());
            }
            fs.iput(i).map_err(|e| e.to_string())?;
        }
        (least, r) => return Err(format!("target: {least:?} {:?}", r.err())),
    }
    fs.unmount().map_err(|e| format!("unmount: {e}"))?;
    disk.save(file);
    fsck_result(file)
}

/// Recovers with e2fsck, which must have nothing to do but replay and finish orphans.
fn check_e2fsck(image: &[u8], file: &Path) -> std::result::Result<(), String> {
    std::fs::write(file, image).unwrap();
    let out = Command::new("/usr/sbin/e2fsck")
        .arg("-fy")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // The totals in the superblock are not journalled, and e2fsck asks before it tidies an orphan file.
    let expected = [
        "Free blocks count wrong (",
        "Free inodes count wrong (",
        "Orphan file (inode",
        "Feature orphan_present is set",
    ];
    let lines: Vec<&str> = text.lines().collect();
    let surprise = lines
        .windows(2)
        .any(|w| w[1].contains('?') && !expected.iter().any(|e| w[0].starts_with(e)));
    if surprise || out.status.code().is_none_or(|c| c > 1) {
        return Err(format!("{text}{}", String::from_utf8_lossy(&out.stderr)));
    }
    fsck_result(file)
}

fn workload(name: &str, args: &[&str], seed: u64, steps: usize) -> (TempDir, Vec<u8>, Workload) {
    let t = TempDir::new(name);
    let img = t.path("img");
    mkfs(&img, "16M", args);
    let base = std::fs::read(&img).unwrap();
    let rec = Arc::new(Recorder {
        disk: RamDisk::new(base.clone()),
        events: Mutex::new(Vec::new()),
    });
    let fs = mount(rec.clone());
    let cache = PageCache::new(fs, rec.clone());
    let mut w = Workload {
        rec,
        cache,
        rng: Rng(seed | 1),
        facts: Vec::new(),
        versions: Vec::new(),
    };
    w.run(steps);
    (t, base, w)
}

/// Cuts that one workload gets before the next, with another seed, starts.
const CUTS_PER_WORKLOAD: u64 = 250;

fn torture(name: &str, args: &[&str]) {
    let cuts = env("EXT4_CUTS", 60);
    let seed = env("EXT4_SEED", 3);
    let mut done = 0;
    let mut events = 0;
    while done < cuts {
        let n = (cuts - done).min(CUTS_PER_WORKLOAD);
        events += torture_workload(name, args, seed.wrapping_add(done), n);
        done += n;
    }
    figures(format_args!(
        "{name}: {cuts} cuts in {events} writes and flushes"
    ));
}

/// Cuts one workload's history `cuts` times; how long the history was.
fn torture_workload(name: &str, args: &[&str], seed: u64, cuts: u64) -> usize {
    let (t, base, w) = workload(name, args, seed, 250);
    let events = std::mem::take(&mut *w.rec.events.lock().unwrap());
    let boundaries: Vec<usize> = events
        .iter()
        .enumerate()
        .filter(|(_, e)| matches!(e, Event::Flush | Event::Write { fua: true, .. }))
        .map(|(i, _)| i)
        .collect();
    let mut rng = Rng(seed.wrapping_mul(77) | 1);
    for k in 0..cuts {
        let cut = if k % 3 == 0 {
            1 + rng.below(events.len() as u64) as usize
        } else {
            boundaries[rng.below(boundaries.len() as u64) as usize]
        };
        let image = cut_image(&base, &events, cut, &mut rng, true);
        let file = t.path("cut");
        let keep = image.clone();
        let mut r = check_ours(&w, image, cut, &file);
        if r.is_ok() && k % 4 == 0 {
            r = check_e2fsck(&keep, &file).map_err(|e| format!("e2fsck recovery: {e}"));
        }
        if let Err(e) = r {
            std::fs::write(t.path("failed"), &keep).unwrap();
            panic!(
                "{name}: seed {seed}, cut {k} at event {cut} of {}: {e}\n{}",
                events.len(),
                t.path("failed").display()
            );
        }
    }
    events.len()
}

#[test]
fn blocks_4k() {
    torture("cut4k", &["-b", "4096"]);
}

#[test]
fn blocks_1k_small_journal() {
    torture("cut1k", &["-b", "1024", "-J", "size=1"]);
}

#[test]
fn old_checksums() {
    torture(
        "cutold",
        &[
            "-b",
            "1024",
            "-J",
            "size=1",
            "-O",
            "^metadata_csum,^64bit,uninit_bg",
        ],
    );
}

#[test]
fn new_features() {
    let f = "orphan_file,metadata_csum_seed,inline_data,large_dir";
    torture("cutnew", &["-b", "2048", "-J", "size=2", "-O", f]);
}

#[test]
fn ext3() {
    torture("cut3", &["-t", "ext3", "-b", "1024", "-J", "size=1"]);
}

#[test]
fn ext3_4k_small_inodes() {
    torture("cut3-4k", &["-t", "ext3", "-b", "4096", "-I", "128"]);
}

/// With flushes ignored the same test must fail, or it would prove nothing.
#[test]
fn control_without_flushes() {
    let (t, base, w) = workload("cutcontrol", &["-b", "1024", "-J", "size=1"], 5, 120);
    let events = std::mem::take(&mut *w.rec.events.lock().unwrap());
    let mut rng = Rng(11);
    let failed = (0..40).position(|_| {
        let cut = events.len() / 2 + rng.below(events.len() as u64 / 2) as usize;
        let image = cut_image(&base, &events, cut, &mut rng, false);
        check_ours(&w, image, cut, &t.path("cut")).is_err()
    });
    let failed = failed.expect("ignoring flushes went unnoticed");
    figures(format_args!(
        "control: with flushes ignored, cut {} was found out",
        failed + 1
    ));
}
