//! Whether threads in different directories wait for each other: `fsscale IMAGE [THREADS]`.
//!
//! Each thread creates, writes, looks up and deletes files in a directory of its own, on an image in memory; first one
//! thread alone, then all at once. For each kind of lock (named by what it protects) it prints how often it was taken,
//! how often somebody had to wait, and the waiting per operation.

#[path = "../tests/common/mod.rs"]
mod common;

use std::any::type_name;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use common::{RamDisk, directory, file};
use keel_ext4::{Fs, Lock, LogLevel, MountOptions, Platform, SharedLock, Timespec};

/// Files that each thread makes.
const FILES: u32 = 20_000;
/// Operations on each: create, write, look up, delete.
const OPS: u32 = 4;

/// What one kind of lock has seen.
#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    waits: AtomicU64,
    waited_ns: AtomicU64,
}

impl Counts {
    /// The counts of the locks around `T`.
    fn of<T>() -> &'static Self {
        let mut all = COUNTS.lock().unwrap();
        all.entry(type_name::<T>())
            .or_insert_with(|| Box::leak(Box::default()))
    }

    fn wait<G>(&self, fast: impl FnOnce() -> Option<G>, slow: impl FnOnce() -> G) -> G {
        self.taken.fetch_add(1, Ordering::Relaxed);
        if let Some(guard) = fast() {
            return guard;
        }
        let start = Instant::now();
        let guard = slow();
        let ns = start.elapsed().as_nanos() as u64;
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.waited_ns.fetch_add(ns, Ordering::Relaxed);
        guard
    }
}

static COUNTS: Mutex<BTreeMap<&'static str, &'static Counts>> = Mutex::new(BTreeMap::new());

struct TimedMutex<T>(Mutex<T>, &'static Counts);
struct TimedRwLock<T>(RwLock<T>, &'static Counts);

impl<T: Send + 'static> Lock<T> for TimedMutex<T> {
    type Guard<'a> = MutexGuard<'a, T>;
    fn new(value: T) -> Self {
        Self(Mutex::new(value), Counts::of::<T>())
    }
    fn lock(&self) -> Self::Guard<'_> {
        self.1
            .wait(|| self.0.try_lock().ok(), || self.0.lock().unwrap())
    }
    fn try_lock(&self) -> Option<Self::Guard<'_>> {
        self.0.try_lock().ok()
    }
}

impl<T: Send + Sync + 'static> SharedLock<T> for TimedRwLock<T> {
    type ReadGuard<'a> = RwLockReadGuard<'a, T>;
    type WriteGuard<'a> = RwLockWriteGuard<'a, T>;
    fn new(value: T) -> Self {
        Self(RwLock::new(value), Counts::of::<T>())
    }
    fn read(&self) -> Self::ReadGuard<'_> {
        self.1
            .wait(|| self.0.try_read().ok(), || self.0.read().unwrap())
    }
    fn write(&self) -> Self::WriteGuard<'_> {
        self.1
            .wait(|| self.0.try_write().ok(), || self.0.write().unwrap())
    }
}

struct Timed(AtomicU64);

impl Platform for Timed {
    type Mutex<T: Send + 'static> = TimedMutex<T>;
    type RwLock<T: Send + Sync + 'static> = TimedRwLock<T>;
    fn now(&self) -> Timespec {
        let sec = 1_700_000_000 + (self.0.fetch_add(1, Ordering::Relaxed) >> 20) as i64;
        Timespec { sec, nsec: 0 }
    }
    fn random_u32(&self) -> u32 {
        (self.0.fetch_add(1, Ordering::Relaxed) as u32).wrapping_mul(2_654_435_761)
    }
    fn log(&self, _: LogLevel, message: std::fmt::Arguments<'_>) {
        eprintln!("{message}");
    }
}

fn work(fs: &Fs<Timed>, name: &str) {
    let root = fs.root().unwrap();
    let d = fs
        .create(&root, name.as_bytes(), &directory(0o755))
        .unwrap();
    let body = [7; 4096];
    for i in 0..FILES {
        let name = format!("file-{i}");
        let f = fs.create(&d, name.as_bytes(), &file(0o644)).unwrap();
        fs.write_at(&f, 0, &body).unwrap();
        fs.iput(f).unwrap();
    }
    for i in 0..FILES {
        let name = format!("file-{i}");
        let (ino, _) = fs.lookup(&d, name.as_bytes()).unwrap();
        let f = fs.iget(ino).unwrap();
        fs.unlink(&d, name.as_bytes(), &f).unwrap();
        fs.iput(f).unwrap();
    }
    fs.iput(d).unwrap();
    fs.iput(root).unwrap();
}

/// Operations per second of `threads` threads together, and the locks' share.
fn run(image: &Path, threads: u32) {
    let disk = RamDisk::load(image);
    let fs = Fs::mount(disk, Timed(AtomicU64::new(0)), MountOptions::default()).unwrap();
    for counts in COUNTS.lock().unwrap().values() {
        for c in [&counts.taken, &counts.waits, &counts.waited_ns] {
            c.store(0, Ordering::Relaxed);
        }
    }
    let start = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|n| {
            let fs = Arc::clone(&fs);
            std::thread::spawn(move || work(&fs, &format!("own-{n}")))
        })
        .collect();
    for w in workers {
        w.join().unwrap();
    }
    let ops = u64::from(threads * FILES * OPS);
    let time = start.elapsed().as_secs_f64();
    println!(
        "{threads} threads: {:.0} operations per second",
        ops as f64 / time
    );
    for (name, c) in COUNTS.lock().unwrap().iter() {
        let [taken, waits, ns] =
            [&c.taken, &c.waits, &c.waited_ns].map(|c| c.load(Ordering::Relaxed));
        if waits > 0 {
            println!(
                "  {:>6.2} taken, {:>7.4} waits, {:>7.1} ns waited per operation: {name}",
                taken as f64 / ops as f64,
                waits as f64 / ops as f64,
                ns as f64 / ops as f64
            );
        }
    }
    fs.unmount().unwrap();
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(image) = args.first() else {
        eprintln!("usage: fsscale IMAGE [THREADS]");
        std::process::exit(2);
    };
    let threads = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    run(Path::new(image), 1);
    run(Path::new(image), threads);
}
