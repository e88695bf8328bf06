//! Speed of the file system on an image in memory, beside Linux's on a loop mount of an equal image.
//!
//! `fsbench` measures this crate; `fsbench DIR` measures the file system mounted at DIR with the same operations
//! through system calls. Figures are per second, or MB/s for data.

#[path = "../tests/common/mod.rs"]
mod common;

use std::os::unix::fs::FileExt;
use std::time::Instant;

use common::cache::PageCache;
use common::*;

/// Files in the directory tests.
const FILES: u32 = 100_000;
const MB: u64 = 1 << 20;
/// Size of the data file.
const DATA: u64 = 1024 * MB;

fn report(what: &str, n: f64, since: Instant) {
    println!("{what:<28}{:>14.0}", n / since.elapsed().as_secs_f64());
}

fn ours() {
    let t = TempDir::new("bench");
    let img = t.path("img");
    mkfs(&img, "3G", &["-N", "400000", "-E", "lazy_itable_init=0"]);
    let disk = RamDisk::load(&img);
    std::fs::remove_file(&img).unwrap();
    let fs = mount(disk.clone());
    let root = fs.root().unwrap();

    let d = fs.create(&root, b"flat", &directory(0o755)).unwrap();
    let s = Instant::now();
    for i in 0..FILES {
        let f = fs
            .create(&d, format!("file-{i:07}").as_bytes(), &file(0o644))
            .unwrap();
        fs.iput(f).unwrap();
    }
    fs.sync().unwrap();
    report("create, one directory", f64::from(FILES), s);
    let s = Instant::now();
    for i in 0..FILES {
        let (ino, _) = fs.lookup(&d, format!("file-{i:07}").as_bytes()).unwrap();
        let f = fs.iget(ino).unwrap();
        assert_eq!(f.attr().nlink, 1);
        fs.iput(f).unwrap();
    }
    report("stat, one directory", f64::from(FILES), s);
    let s = Instant::now();
    let mut n = 0;
    fs.readdir(&d, 0, &mut |_| {
        n += 1;
        true
    })
    .unwrap();
    report("readdir", f64::from(n), s);
    let s = Instant::now();
    for i in 0..FILES {
        let name = format!("file-{i:07}");
        let (ino, _) = fs.lookup(&d, name.as_bytes()).unwrap();
        let f = fs.iget(ino).unwrap();
        fs.unlink(&d, name.as_bytes(), &f).unwrap();
        fs.iput(f).unwrap();
    }
    fs.sync().unwrap();
    report("unlink, one directory", f64::from(FILES), s);

    let s = Instant::now();
    let mut cache = PageCache::new(fs.clone(), disk.clone());
    let body = vec![7u8; 6000];
    for a in 0..100 {
        let d = fs
            .create(&root, format!("tree-{a}").as_bytes(), &directory(0o755))
            .unwrap();
        for i in 0..200 {
            let f = fs
                .create(&d, format!("file-{i}").as_bytes(), &file(0o644))
                .unwrap();
            cache.write(&f, 0, &body).unwrap();
            cache.write_back(&f).unwrap();
            cache.forget(f.ino());
            fs.iput(f).unwrap();
        }
        fs.iput(d).unwrap();
    }
    fs.sync().unwrap();
    report("tree of 6 KB files", 20_000.0, s);

    let f = fs.create(&root, b"data", &file(0o644)).unwrap();
    let chunk = vec![3u8; MB as usize];
    let s = Instant::now();
    let bs = u64::from(fs.block_size());
    for at in (0..DATA).step_by(MB as usize) {
        fs.write_begin(&f, at, MB).unwrap();
        fs.write_end(&f, at, MB).unwrap();
        let wb = fs
            .prepare_writeback(&f, (at / bs) as u32, (MB / bs) as u32)
            .unwrap();
        use keel_ext4::BlockDevice;
        for e in &wb.extents {
            let from = (u64::from(e.lblk) * bs - at) as usize;
            let len = e.len as usize * bs as usize;
            disk.write_many(&[(e.pblk * bs, &chunk[from..from + len])])
                .unwrap();
        }
        fs.finish_writeback(&f, wb, true).unwrap();
    }
    fs.fsync(&f, false).unwrap();
    report("sequential write, MB/s", (DATA / MB) as f64, s);
    let mut buf = vec![0u8; MB as usize];
    let s = Instant::now();
    for at in (0..DATA).step_by(MB as usize) {
        fs.read_at(&f, at, &mut buf).unwrap();
    }
    report("sequential read, MB/s", (DATA / MB) as f64, s);
    let mut rng = Rng(99);
    let s = Instant::now();
    for _ in 0..200_000 {
        let at = rng.below(DATA / 4096) * 4096;
        fs.read_at(&f, at, &mut buf[..4096]).unwrap();
    }
    report("random 4 KiB read", 200_000.0, s);
    let s = Instant::now();
    for _ in 0..100_000 {
        let at = rng.below(DATA / 4096) * 4096;
        fs.write_at(&f, at, &chunk[..4096]).unwrap();
    }
    fs.fsync(&f, false).unwrap();
    report("random 4 KiB overwrite", 100_000.0, s);
    let g = fs.create(&root, b"log", &file(0o644)).unwrap();
    let s = Instant::now();
    for i in 0..5000u64 {
        fs.write_at(&g, i * 100, &[1; 100]).unwrap();
        fs.fsync(&g, false).unwrap();
    }
    report("append 100 bytes + fsync", 5000.0, s);
    fs.unmount().unwrap();
}

fn linux(dir: &str) {
    let sync = || {
        let f = std::fs::File::open(dir).unwrap();
        f.sync_all().unwrap();
    };
    let flat = format!("{dir}/flat");
    std::fs::create_dir(&flat).unwrap();
    let s = Instant::now();
    for i in 0..FILES {
        std::fs::File::create(format!("{flat}/file-{i:07}")).unwrap();
    }
    sync();
    report("create, one directory", f64::from(FILES), s);
    let s = Instant::now();
    for i in 0..FILES {
        std::fs::metadata(format!("{flat}/file-{i:07}")).unwrap();
    }
    report("stat, one directory", f64::from(FILES), s);
    let s = Instant::now();
    let n = std::fs::read_dir(&flat).unwrap().count();
    report("readdir", n as f64, s);
    let s = Instant::now();
    for i in 0..FILES {
        std::fs::remove_file(format!("{flat}/file-{i:07}")).unwrap();
    }
    sync();
    report("unlink, one directory", f64::from(FILES), s);
    let s = Instant::now();
    let body = vec![7u8; 6000];
    for a in 0..100 {
        std::fs::create_dir(format!("{dir}/tree-{a}")).unwrap();
        for i in 0..200 {
            std::fs::write(format!("{dir}/tree-{a}/file-{i}"), &body).unwrap();
        }
    }
    sync();
    report("tree of 6 KB files", 20_000.0, s);
    let f = std::fs::File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(format!("{dir}/data"))
        .unwrap();
    let chunk = vec![3u8; MB as usize];
    let s = Instant::now();
    for at in (0..DATA).step_by(MB as usize) {
        f.write_all_at(&chunk, at).unwrap();
    }
    f.sync_all().unwrap();
    report("sequential write, MB/s", (DATA / MB) as f64, s);
    let mut buf = vec![0u8; MB as usize];
    let s = Instant::now();
    for at in (0..DATA).step_by(MB as usize) {
        f.read_exact_at(&mut buf, at).unwrap();
    }
    report("sequential read (warm), MB/s", (DATA / MB) as f64, s);
    let mut rng = Rng(99);
    let s = Instant::now();
    for _ in 0..200_000 {
        f.read_exact_at(&mut buf[..4096], rng.below(DATA / 4096) * 4096)
            .unwrap();
    }
    report("random 4 KiB read (warm)", 200_000.0, s);
    let s = Instant::now();
    for _ in 0..100_000 {
        f.write_all_at(&chunk[..4096], rng.below(DATA / 4096) * 4096)
            .unwrap();
    }
    f.sync_all().unwrap();
    report("random 4 KiB overwrite", 100_000.0, s);
    let g = std::fs::File::create(format!("{dir}/log")).unwrap();
    let s = Instant::now();
    for i in 0..5000u64 {
        g.write_all_at(&[1; 100], i * 100).unwrap();
        g.sync_all().unwrap();
    }
    report("append 100 bytes + fsync", 5000.0, s);
}

fn main() {
    match std::env::args().nth(1) {
        Some(dir) => linux(&dir),
        None => ours(),
    }
}
