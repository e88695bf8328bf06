//! Speed of the file system on an image in memory, and of Linux's beside it: the same operations in the same order.
//!
//! `fsbench keel IMAGE` loads the image into memory and measures this crate on it; `fsbench linux DIR` measures the file
//! system mounted at DIR through system calls. Each prints lines of three words, separated by tabs: a name, a figure per
//! second, its unit. `cargo xtask fs-bench` runs both and compares.
//!
//! `stat` is measured with the names and inodes out of the cache and their blocks in it (Linux: drop_caches 2), `warm`
//! with everything in the cache, which for this crate makes no difference: names are remembered by its caller.
//! `FSBENCH_ONLY` limits the run to the groups whose name it contains (dir, tree, data, sync).

#[path = "../tests/common/mod.rs"]
mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::*;
use keel_ext4::BlockDevice;

/// Files in the directory tests, and how many of them one directory of the tree has.
const FILES: u32 = 100_000;
const PER_DIR: u32 = 1000;
const MB: u64 = 1 << 20;
/// Size of the data file.
const DATA: u64 = 1024 * MB;
/// Random reads and overwrites, and synchronous appends.
const RANDOM: u64 = 200_000;
const SYNCS: u64 = 5000;

fn report(what: &str, n: u64, unit: &str, since: Instant) {
    println!(
        "{what}\t{:.0}\t{unit}",
        n as f64 / since.elapsed().as_secs_f64()
    );
}

fn wanted(group: &str) -> bool {
    std::env::var("FSBENCH_ONLY").map_or(true, |only| only.contains(group))
}

/// What is measured, in terms that both sides have.
trait Subject {
    type Dir;
    type File;
    fn root(&self) -> Self::Dir;
    fn make_dir(&self, at: &Self::Dir, name: &str) -> Self::Dir;
    fn open_dir(&self, at: &Self::Dir, name: &str) -> Self::Dir;
    fn create(&self, dir: &Self::Dir, name: &str);
    fn stat(&self, dir: &Self::Dir, name: &str);
    fn unlink(&self, dir: &Self::Dir, name: &str);
    fn entries(&self, dir: &Self::Dir) -> u64;
    /// Everything written is durable.
    fn sync(&self);
    /// Names and inodes leave the cache.
    fn forget_names(&self);
    /// Data leaves the cache.
    fn forget_data(&self);
    fn open(&self, dir: &Self::Dir, name: &str) -> Self::File;
    fn write(&self, f: &Self::File, at: u64, data: &[u8]);
    fn read(&self, f: &Self::File, at: u64, buf: &mut [u8]);
    fn fsync(&self, f: &Self::File);
}

fn one_directory<S: Subject>(s: &S) {
    let root = s.root();
    let d = s.make_dir(&root, "flat");
    let names: Vec<String> = (0..FILES).map(|i| format!("file-{i:07}")).collect();
    let files = u64::from(FILES);
    let t = Instant::now();
    for n in &names {
        s.create(&d, n);
    }
    s.sync();
    report("dir-create", files, "files", t);
    let t = Instant::now();
    for n in &names {
        s.stat(&d, n);
    }
    report("dir-stat-warm", files, "files", t);
    s.forget_names();
    let t = Instant::now();
    for n in &names {
        s.stat(&d, n);
    }
    report("dir-stat", files, "files", t);
    let t = Instant::now();
    let n = s.entries(&d);
    report("dir-read", n, "names", t);
    s.forget_names();
    let t = Instant::now();
    for n in &names {
        s.unlink(&d, n);
    }
    s.sync();
    report("dir-unlink", files, "files", t);
}

fn tree<S: Subject>(s: &S) {
    let root = s.root();
    let files = u64::from(FILES);
    let dirs: Vec<String> = (0..FILES / PER_DIR).map(|i| format!("tree-{i}")).collect();
    let names: Vec<String> = (0..PER_DIR).map(|i| format!("file-{i}")).collect();
    let t = Instant::now();
    for d in &dirs {
        let d = s.make_dir(&root, d);
        for n in &names {
            s.create(&d, n);
        }
    }
    s.sync();
    report("tree-create", files, "files", t);
    s.forget_names();
    let t = Instant::now();
    for d in &dirs {
        let d = s.open_dir(&root, d);
        for n in &names {
            s.stat(&d, n);
        }
    }
    report("tree-stat", files, "files", t);
    s.forget_names();
    let t = Instant::now();
    for d in &dirs {
        let d = s.open_dir(&root, d);
        for n in &names {
            s.unlink(&d, n);
        }
    }
    s.sync();
    report("tree-unlink", files, "files", t);
}

fn data<S: Subject>(s: &S) {
    let f = s.open(&s.root(), "data");
    let chunk = vec![3u8; MB as usize];
    let t = Instant::now();
    for at in (0..DATA).step_by(MB as usize) {
        s.write(&f, at, &chunk);
    }
    s.fsync(&f);
    report("data-write", DATA / MB, "MB", t);
    let mut buf = vec![0u8; MB as usize];
    for name in ["data-read-warm", "data-read"] {
        let t = Instant::now();
        for at in (0..DATA).step_by(MB as usize) {
            s.read(&f, at, &mut buf);
        }
        report(name, DATA / MB, "MB", t);
        s.forget_data();
    }
    let mut rng = Rng(99);
    let t = Instant::now();
    for _ in 0..RANDOM {
        s.read(&f, rng.below(DATA / 4096) * 4096, &mut buf[..4096]);
    }
    report("data-random-read", RANDOM, "reads", t);
    let t = Instant::now();
    for _ in 0..RANDOM / 2 {
        s.write(&f, rng.below(DATA / 4096) * 4096, &chunk[..4096]);
    }
    s.fsync(&f);
    report("data-overwrite", RANDOM / 2, "writes", t);
}

fn synced<S: Subject>(s: &S) {
    let f = s.open(&s.root(), "log");
    let t = Instant::now();
    for i in 0..SYNCS {
        s.write(&f, i * 100, &[1; 100]);
        s.fsync(&f);
    }
    report("sync-append", SYNCS, "fsyncs", t);
}

fn measure<S: Subject>(s: &S) {
    type Group<S> = (&'static str, fn(&S));
    let groups: [Group<S>; 4] = [
        ("dir", one_directory),
        ("tree", tree),
        ("data", data),
        ("sync", synced),
    ];
    for (name, run) in groups {
        if wanted(name) {
            run(s);
        }
    }
}

/// This crate on an image in memory. Data goes from and to the device without a page cache, written back at once.
struct Ours {
    fs: TestFs,
    disk: Arc<RamDisk>,
}

impl Ours {
    fn get(&self, dir: &TestInode, name: &str) -> TestInode {
        let (ino, _) = self.fs.lookup(dir, name.as_bytes()).unwrap();
        self.fs.iget(ino).unwrap()
    }

    /// Whole blocks, as write-back of a page cache hands them over.
    fn write_blocks(&self, f: &TestInode, at: u64, data: &[u8]) {
        let bs = u64::from(self.fs.block_size());
        let len = data.len() as u64;
        self.fs.write_begin(f, at, len).unwrap();
        self.fs.write_end(f, at, len).unwrap();
        let (mut block, end) = ((at / bs) as u32, ((at + len) / bs) as u32);
        while block < end {
            let wb = self.fs.prepare_writeback(f, block, end - block).unwrap();
            for e in &wb.extents {
                let from = (u64::from(e.lblk) * bs - at) as usize;
                let bytes = &data[from..from + e.len as usize * bs as usize];
                self.disk.write_many(&[(e.pblk * bs, bytes)]).unwrap();
                block = e.lblk + e.len;
            }
            self.fs.finish_writeback(f, wb, true).unwrap();
        }
    }
}

impl Subject for Ours {
    type Dir = TestInode;
    type File = TestInode;
    fn root(&self) -> TestInode {
        self.fs.root().unwrap()
    }
    fn make_dir(&self, at: &TestInode, name: &str) -> TestInode {
        self.fs
            .create(at, name.as_bytes(), &directory(0o755))
            .unwrap()
    }
    fn open_dir(&self, at: &TestInode, name: &str) -> TestInode {
        self.get(at, name)
    }
    fn create(&self, dir: &TestInode, name: &str) {
        let f = self.fs.create(dir, name.as_bytes(), &file(0o644)).unwrap();
        self.fs.iput(f).unwrap();
    }
    fn stat(&self, dir: &TestInode, name: &str) {
        let f = self.get(dir, name);
        assert_eq!(f.attr().nlink, 1);
        self.fs.iput(f).unwrap();
    }
    fn unlink(&self, dir: &TestInode, name: &str) {
        let f = self.get(dir, name);
        self.fs.unlink(dir, name.as_bytes(), &f).unwrap();
        self.fs.iput(f).unwrap();
    }
    fn entries(&self, dir: &TestInode) -> u64 {
        let mut n = 0;
        self.fs
            .readdir(dir, 0, &mut |_| {
                n += 1;
                true
            })
            .unwrap();
        n
    }
    fn sync(&self) {
        self.fs.sync().unwrap();
    }
    fn forget_names(&self) {}
    fn forget_data(&self) {}
    fn open(&self, dir: &TestInode, name: &str) -> TestInode {
        self.fs.create(dir, name.as_bytes(), &file(0o644)).unwrap()
    }
    fn write(&self, f: &TestInode, at: u64, data: &[u8]) {
        let bs = u64::from(self.fs.block_size());
        if at.is_multiple_of(bs) && (data.len() as u64).is_multiple_of(bs) {
            self.write_blocks(f, at, data);
        } else {
            self.fs.write_at(f, at, data).unwrap();
        }
    }
    fn read(&self, f: &TestInode, at: u64, buf: &mut [u8]) {
        assert_eq!(self.fs.read_at(f, at, buf).unwrap(), buf.len());
    }
    fn fsync(&self, f: &TestInode) {
        self.fs.fsync(f, false).unwrap();
    }
}

/// The file system mounted at a directory.
struct Mounted(String);

impl Mounted {
    fn drop_caches(&self, what: &str) {
        // Needs root, as the mount did; without it the figures are those of a warm cache.
        let _ = std::fs::write("/proc/sys/vm/drop_caches", what);
    }
}

impl Subject for Mounted {
    type Dir = String;
    type File = std::fs::File;
    fn root(&self) -> String {
        self.0.clone()
    }
    fn make_dir(&self, at: &String, name: &str) -> String {
        let path = format!("{at}/{name}");
        std::fs::create_dir(&path).unwrap();
        path
    }
    fn open_dir(&self, at: &String, name: &str) -> String {
        format!("{at}/{name}")
    }
    fn create(&self, dir: &String, name: &str) {
        std::fs::File::create(format!("{dir}/{name}")).unwrap();
    }
    fn stat(&self, dir: &String, name: &str) {
        std::fs::metadata(format!("{dir}/{name}")).unwrap();
    }
    fn unlink(&self, dir: &String, name: &str) {
        std::fs::remove_file(format!("{dir}/{name}")).unwrap();
    }
    fn entries(&self, dir: &String) -> u64 {
        std::fs::read_dir(dir).unwrap().count() as u64
    }
    fn sync(&self) {
        let f = std::fs::File::open(&self.0).unwrap();
        rustix::fs::syncfs(&f).unwrap();
    }
    fn forget_names(&self) {
        self.drop_caches("2");
    }
    fn forget_data(&self) {
        self.drop_caches("1");
    }
    fn open(&self, dir: &String, name: &str) -> std::fs::File {
        std::fs::File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(format!("{dir}/{name}"))
            .unwrap()
    }
    fn write(&self, f: &std::fs::File, at: u64, data: &[u8]) {
        f.write_all_at(data, at).unwrap();
    }
    fn read(&self, f: &std::fs::File, at: u64, buf: &mut [u8]) {
        f.read_exact_at(buf, at).unwrap();
    }
    fn fsync(&self, f: &std::fs::File) {
        f.sync_all().unwrap();
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["keel", image] => {
            let disk = RamDisk::load(Path::new(image));
            let fs = mount(disk.clone());
            measure(&Ours {
                fs: fs.clone(),
                disk,
            });
            fs.unmount().unwrap();
        }
        ["linux", dir] => measure(&Mounted(dir.to_owned())),
        _ => {
            eprintln!("usage: fsbench keel IMAGE | fsbench linux DIR");
            std::process::exit(2);
        }
    }
}
