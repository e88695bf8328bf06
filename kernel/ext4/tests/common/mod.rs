//! What the host tests share: locks and clock from `std`, devices in memory, images made by `mke2fs`, and
//! `e2fsck` as the judge.
#![allow(dead_code, reason = "not every test uses everything")]

pub mod cache;
pub mod exercise;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use keel_ext4::{
    BlockDevice, Errno, Fs, Inode, Lock, LogLevel, MountOptions, NewInode, Platform, Result,
    SharedLock, Timespec, WriteFlags,
};

pub struct StdMutex<T>(Mutex<T>);
pub struct StdRwLock<T>(RwLock<T>);

impl<T: Send + 'static> Lock<T> for StdMutex<T> {
    type Guard<'a> = MutexGuard<'a, T>;
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }
    fn lock(&self) -> Self::Guard<'_> {
        self.0.lock().unwrap()
    }
    fn try_lock(&self) -> Option<Self::Guard<'_>> {
        self.0.try_lock().ok()
    }
}

impl<T: Send + Sync + 'static> SharedLock<T> for StdRwLock<T> {
    type ReadGuard<'a> = RwLockReadGuard<'a, T>;
    type WriteGuard<'a> = RwLockWriteGuard<'a, T>;
    fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }
    fn read(&self) -> Self::ReadGuard<'_> {
        self.0.read().unwrap()
    }
    fn write(&self) -> Self::WriteGuard<'_> {
        self.0.write().unwrap()
    }
}

/// The platform of the tests: a clock that counts on from yesterday, quiet unless something is wrong.
pub struct Host {
    ticks: AtomicU64,
    start: i64,
    seed: AtomicU32,
    /// Lines logged as errors.
    pub errors: Arc<Mutex<Vec<String>>>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            ticks: AtomicU64::new(0),
            start: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs() as i64
                - 86_400,
            seed: AtomicU32::new(12345),
            errors: Arc::default(),
        }
    }
}

impl Platform for Host {
    type Mutex<T: Send + 'static> = StdMutex<T>;
    type RwLock<T: Send + Sync + 'static> = StdRwLock<T>;
    fn now(&self) -> Timespec {
        let t = self.ticks.fetch_add(1, Ordering::Relaxed);
        Timespec {
            sec: self.start + (t / 1_000_000) as i64,
            nsec: (t % 1_000_000) as u32 * 1000,
        }
    }
    fn random_u32(&self) -> u32 {
        self.seed
            .fetch_add(0x9e37_79b9, Ordering::Relaxed)
            .wrapping_mul(2_654_435_761)
    }
    fn log(&self, level: LogLevel, message: std::fmt::Arguments<'_>) {
        if level == LogLevel::Error {
            self.errors.lock().unwrap().push(message.to_string());
        }
        if std::env::var_os("EXT4_LOG").is_some() {
            eprintln!("{message}");
        }
    }
}

/// A disk in memory.
pub struct RamDisk {
    pub data: RwLock<Vec<u8>>,
}

impl RamDisk {
    pub fn new(data: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            data: RwLock::new(data),
        })
    }
    pub fn load(path: &Path) -> Arc<Self> {
        Self::new(std::fs::read(path).unwrap())
    }
    pub fn save(&self, path: &Path) {
        std::fs::write(path, &*self.data.read().unwrap()).unwrap();
    }
}

impl BlockDevice for RamDisk {
    fn size(&self) -> u64 {
        self.data.read().unwrap().len() as u64
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let d = self.data.read().unwrap();
        let src = d
            .get(offset as usize..offset as usize + buf.len())
            .ok_or(Errno::EIO)?;
        buf.copy_from_slice(src);
        Ok(())
    }
    fn write(&self, offset: u64, buf: &[u8], _flags: WriteFlags) -> Result<()> {
        let mut d = self.data.write().unwrap();
        let dst = d
            .get_mut(offset as usize..offset as usize + buf.len())
            .ok_or(Errno::EIO)?;
        dst.copy_from_slice(buf);
        Ok(())
    }
    fn flush(&self) -> Result<()> {
        Ok(())
    }
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let mut d = self.data.write().unwrap();
        d[offset as usize..(offset + len) as usize].fill(0x5a);
        Ok(())
    }
}

/// A disk in memory over an image that stays as it is: cheap to make again and again.
pub struct Overlay {
    base: Arc<Vec<u8>>,
    changed: Mutex<HashMap<u64, Box<[u8]>>>,
}

/// What an overlay copies at once.
const PIECE: u64 = 1024;

impl Overlay {
    pub fn new(base: Arc<Vec<u8>>) -> Self {
        Self {
            base,
            changed: Mutex::default(),
        }
    }

    /// Bytes of the disk; all of `buf` must lie on it.
    pub fn get(&self, offset: u64, buf: &mut [u8]) {
        let changed = self.changed.lock().unwrap();
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let skip = (at % PIECE) as usize;
            let n = (PIECE as usize - skip).min(buf.len() - done);
            let from = match changed.get(&(at / PIECE)) {
                Some(piece) => &piece[skip..skip + n],
                None => &self.base[at as usize..at as usize + n],
            };
            buf[done..done + n].copy_from_slice(from);
            done += n;
        }
    }

    /// Changes bytes of the disk.
    pub fn put(&self, offset: u64, buf: &[u8]) {
        let mut changed = self.changed.lock().unwrap();
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let skip = (at % PIECE) as usize;
            let n = (PIECE as usize - skip).min(buf.len() - done);
            let start = (at - at % PIECE) as usize;
            let piece = changed.entry(at / PIECE).or_insert_with(|| {
                self.base[start..start + PIECE as usize]
                    .to_vec()
                    .into_boxed_slice()
            });
            piece[skip..skip + n].copy_from_slice(&buf[done..done + n]);
            done += n;
        }
    }

    fn check(&self, offset: u64, len: usize) -> Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.base.len() as u64 => Ok(()),
            _ => Err(Errno::EIO),
        }
    }
}

impl BlockDevice for Overlay {
    fn size(&self) -> u64 {
        self.base.len() as u64
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check(offset, buf.len())?;
        self.get(offset, buf);
        Ok(())
    }
    fn write(&self, offset: u64, buf: &[u8], _flags: WriteFlags) -> Result<()> {
        self.check(offset, buf.len())?;
        self.put(offset, buf);
        Ok(())
    }
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// A folder that goes away with the test.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let p = std::env::temp_dir().join(format!("keel-ext4-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&p).unwrap();
        Self(p)
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn tool(name: &str) -> String {
    for dir in ["/usr/sbin", "/sbin", "/usr/bin"] {
        let p = format!("{dir}/{name}");
        if Path::new(&p).exists() {
            return p;
        }
    }
    panic!("{name} is missing: install e2fsprogs");
}

/// Makes an image of `size` (as mke2fs takes it) with further arguments; ext4 if they do not name a type.
pub fn mkfs(path: &Path, size: &str, args: &[&str]) {
    let out = Command::new(tool("mke2fs"))
        .args([
            "-q",
            "-F",
            "-E",
            "hash_seed=01234567-89ab-cdef-0123-456789abcdef",
        ])
        .args(if args.contains(&"-t") {
            &[][..]
        } else {
            &["-t", "ext4"]
        })
        .args(args)
        .arg(path)
        .arg(size)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "mke2fs: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// `e2fsck -fn` must find nothing.
pub fn fsck(path: &Path) {
    if let Err(text) = fsck_result(path) {
        panic!("{text}");
    }
}

/// What `e2fsck -fn` says if it is not content.
pub fn fsck_result(path: &Path) -> std::result::Result<(), String> {
    let out = Command::new(tool("e2fsck"))
        .arg("-fn")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if out.status.code() == Some(0) {
        return Ok(());
    }
    Err(format!(
        "e2fsck {}: {:?}\n{}{}",
        path.display(),
        out.status.code(),
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    ))
}

/// Runs debugfs commands on an image.
pub fn debugfs(path: &Path, write: bool, commands: &str) -> String {
    let mut c = Command::new(tool("debugfs"));
    if write {
        c.arg("-w");
    }
    let out = c.arg("-R").arg(commands).arg(path).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub type TestFs = Arc<Fs<Host>>;
pub type TestInode = Arc<Inode<Host>>;

/// Mounts read-write.
pub fn mount(dev: Arc<dyn BlockDevice>) -> TestFs {
    Fs::mount(dev, Host::default(), MountOptions::default()).expect("mount")
}

/// Mounts read-only.
pub fn mount_ro(dev: Arc<dyn BlockDevice>) -> TestFs {
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    Fs::mount(dev, Host::default(), options).expect("mount")
}

/// A regular file's attributes.
pub fn file(mode: u16) -> NewInode<'static> {
    NewInode {
        mode: 0o100_000 | mode,
        ..NewInode::default()
    }
}

/// A directory's attributes.
pub fn directory(mode: u16) -> NewInode<'static> {
    NewInode {
        mode: 0o040_000 | mode,
        ..NewInode::default()
    }
}

/// Resolves a path from the root, without following links.
pub fn resolve(fs: &TestFs, path: &str) -> Result<TestInode> {
    let mut at = fs.root()?;
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let r = fs.lookup(&at, part.as_bytes());
        fs.iput(at)?;
        at = fs.iget(r?.0)?;
    }
    Ok(at)
}

/// All names of a directory with their inode numbers.
pub fn list(fs: &TestFs, dir: &Inode<Host>) -> Vec<(Vec<u8>, u32)> {
    let mut out = Vec::new();
    let mut cookie = 0;
    loop {
        // Small portions, to exercise going on from cookies.
        let mut n = 0;
        let next = fs
            .readdir(dir, cookie, &mut |e| {
                if n == 7 {
                    return false;
                }
                n += 1;
                out.push((e.name.to_vec(), e.ino));
                true
            })
            .unwrap();
        if n == 0 {
            return out;
        }
        cookie = next;
    }
}

/// A whole file.
pub fn read_all(fs: &TestFs, inode: &Inode<Host>) -> Vec<u8> {
    let mut out = vec![0; inode.size() as usize];
    let mut done = 0;
    while done < out.len() {
        let n = fs.read_at(inode, done as u64, &mut out[done..]).unwrap();
        assert!(n > 0);
        done += n;
    }
    out
}

/// The number in an environment variable, or `default`.
pub fn env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

/// One line of figures, which `cargo xtask fs-torture` collects.
pub fn figures(text: std::fmt::Arguments<'_>) {
    println!("figures: {text}");
}

/// A small reproducible random source.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
