//! Devices that fail and images that are damaged: an errno at the right call, never a panic or an endless loop.
//!
//! `EXT4_MUTATIONS` sets the number of damaged images (default 300), `EXT4_SEED` the seed.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use keel_ext4::{
    BlockDevice, Errno, FallocateMode, Fs, MountOptions, RenameMode, Result, WriteFlags, XattrMode,
};

/// A disk whose writes fail once a counter runs out: one of them, or all from then on.
struct Failing {
    disk: Arc<RamDisk>,
    left: AtomicU64,
    for_good: bool,
}

impl Failing {
    fn spend(&self) -> Result<()> {
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |v| v.checked_sub(1));
        match left {
            Ok(1) => Err(Errno::EIO),
            Err(_) if self.for_good => Err(Errno::EIO),
            _ => Ok(()),
        }
    }
}

impl BlockDevice for Failing {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read(offset, buf)
    }
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        self.spend()?;
        self.disk.write(offset, buf, flags)
    }
    fn flush(&self) -> Result<()> {
        self.spend()
    }
}

/// A bit of everything; errors are handed up.
fn exercise(fs: &TestFs) -> Result<()> {
    let root = fs.root()?;
    let d = fs.create(&root, b"new-dir", &directory(0o755))?;
    for i in 0..30 {
        let f = fs.create(
            &d,
            format!("file-{i}-{}", "z".repeat(60)).as_bytes(),
            &file(0o644),
        )?;
        let r = fs
            .write_at(&f, i * 5000, &[i as u8; 9000])
            .map(|_| ())
            .and_then(|()| {
                fs.setxattr(&f, b"user.test", &[1; 200], XattrMode::Set)?;
                if i % 5 == 0 {
                    fs.fsync(&f, false)
                } else {
                    Ok(())
                }
            });
        fs.iput(f)?;
        r?;
    }
    fs.commit()?;
    for i in (0..30).step_by(2) {
        let name = format!("file-{i}-{}", "z".repeat(60));
        let f = fs.iget(fs.lookup(&d, name.as_bytes())?.0)?;
        let r = fs
            .rename(
                &d,
                name.as_bytes(),
                &f,
                &root,
                name.as_bytes(),
                None,
                RenameMode::Replace,
            )
            .and_then(|()| fs.truncate(&f, 100).map(|_| ()))
            .and_then(|()| {
                fs.fallocate(&f, FallocateMode::Allocate { keep_size: false }, 0, 50_000)
            })
            .and_then(|()| fs.unlink(&root, name.as_bytes(), &f));
        fs.iput(f)?;
        r?;
    }
    fs.iput(d)?;
    fs.iput(root)?;
    fs.sync()
}

#[test]
fn failing_writes() {
    let t = TempDir::new("failing");
    let img = t.path("img");
    mkfs(&img, "8M", &["-b", "1024", "-J", "size=1"]);
    let base = std::fs::read(&img).unwrap();
    for for_good in [true, false] {
        for k in (1..600u64).step_by(7) {
            let disk = RamDisk::new(base.clone());
            let dev = Arc::new(Failing {
                disk: disk.clone(),
                left: AtomicU64::new(k),
                for_good,
            });
            let failed = match Fs::mount(dev.clone(), Host::default(), MountOptions::default()) {
                Ok(fs) => {
                    let r = exercise(&fs).and_then(|()| fs.unmount());
                    if r.is_err() {
                        // Whatever comes now is refused or fails, and does no harm.
                        let _ = exercise(&fs);
                        let _ = fs.unmount();
                    }
                    r.is_err()
                }
                Err(e) => {
                    assert_eq!(e, Errno::EIO);
                    true
                }
            };
            let spent = dev.left.load(Ordering::SeqCst) == 0;
            // A single error may hit a write of data, whose caller is told, and nothing else.
            assert!(failed || !spent, "write {k} failed and nobody was told");
            // The device works again: recovery must lead to a clean file system.
            let fs = mount(disk.clone());
            fs.unmount().unwrap();
            disk.save(&img);
            // An aborted journal leaves its mark; e2fsck has to agree with everything else.
            let clear = debugfs(&img, true, "ssv state 1");
            assert!(!clear.contains("bad"), "{clear}");
            fsck(&img);
        }
    }
}

/// Walks and changes whatever a damaged image offers.
fn poke(fs: &TestFs) {
    let mut todo = vec![2u32];
    let mut seen = 0;
    while let Some(ino) = todo.pop() {
        seen += 1;
        if seen > 300 {
            break;
        }
        let Ok(inode) = fs.iget(ino) else { continue };
        let a = inode.attr();
        let mut names = Vec::new();
        let mut left = 2000;
        let _ = fs.readdir(&inode, 0, &mut |e| {
            names.push((e.name.to_vec(), e.ino));
            left -= 1;
            left > 0
        });
        for (n, i) in &names {
            let _ = fs.lookup(&inode, n);
            if n != b"." && n != b".." {
                todo.push(*i);
            }
        }
        let _ = fs.readlink(&inode);
        let mut buf = vec![0; 3000];
        for at in [0, 1000, 70_000, a.size.saturating_sub(100)] {
            let _ = fs.read_at(&inode, at, &mut buf);
        }
        let _ = fs.seek_hole(&inode, 0);
        let mut n = 0;
        let _ = fs.fiemap(&inode, 0, u64::MAX, &mut |_| {
            n += 1;
            n < 500
        });
        if let Ok(l) = fs.listxattr(&inode) {
            for name in l.split(|&b| b == 0).filter(|n| !n.is_empty()) {
                let _ = fs.getxattr(&inode, name);
            }
        }
        let _ = fs.setxattr(&inode, b"user.poke", &[5; 100], XattrMode::Set);
        if a.mode & 0o170_000 == 0o100_000 {
            let _ = fs.write_at(&inode, 5000, &[1; 3000]);
            let _ = fs.fallocate(&inode, FallocateMode::PunchHole, 1024, 2048);
            let _ = fs.truncate(&inode, 2000);
        } else if a.mode & 0o170_000 == 0o040_000 {
            for i in 0..4 {
                let name = format!("poke-{i}-{}", "q".repeat(100));
                if let Ok(f) = fs.create(&inode, name.as_bytes(), &file(0o600)) {
                    let _ = fs.write_at(&f, 0, &[1; 100]);
                    let _ = fs.iput(f);
                }
            }
            for (n, i) in names.iter().take(20) {
                if let Ok(c) = fs.iget(*i) {
                    let _ = fs.unlink(&inode, n, &c);
                    let _ = fs.rmdir(&inode, n, &c);
                    let _ = fs.iput(c);
                }
            }
        }
        let _ = fs.iput(inode);
    }
    let _ = fs.commit();
    let _ = fs.sync();
    let _ = fs.unmount();
}

#[test]
fn mutated_images() {
    let n: u64 = std::env::var("EXT4_MUTATIONS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(300);
    let seed: u64 = std::env::var("EXT4_SEED")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(17);
    let t = TempDir::new("mutate");
    let src = t.path("src");
    std::fs::create_dir_all(src.join("a/b")).unwrap();
    for i in 0..120 {
        std::fs::write(
            src.join(format!("a/file-with-some-name-{i}")),
            vec![i as u8; i * 100],
        )
        .unwrap();
    }
    std::os::unix::fs::symlink("y".repeat(100), src.join("link")).unwrap();
    let src = src.to_str().unwrap();
    let sets: [&[&str]; 3] = [
        &[
            "-b",
            "1024",
            "-J",
            "size=1",
            "-O",
            "^metadata_csum,^64bit",
            "-d",
            src,
        ],
        &[
            "-b",
            "1024",
            "-O",
            "^metadata_csum,^has_journal,inline_data",
            "-d",
            src,
        ],
        &["-b", "1024", "-J", "size=1", "-O", "orphan_file", "-d", src],
    ];
    let mut bases = Vec::new();
    for (k, args) in sets.iter().enumerate() {
        let img = t.path(&format!("img{k}"));
        mkfs(&img, "8M", args);
        // Left in use, so that the journal is replayed too.
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        exercise(&fs).unwrap();
        drop(fs);
        bases.push(disk.data.read().unwrap().clone());
    }
    let mut rng = Rng(seed);
    let mut mounted = 0;
    for k in 0..n {
        let mut image = bases[(k % 3) as usize].clone();
        // Only blocks with content are interesting.
        let used: Vec<usize> = (1..image.len() / 1024)
            .filter(|b| image[b * 1024..(b + 1) * 1024].iter().any(|&v| v != 0))
            .collect();
        for _ in 0..1 + rng.below(12) {
            let b = used[rng.below(used.len() as u64) as usize];
            let at = b * 1024 + rng.below(1024) as usize;
            match rng.below(4) {
                0 => image[at] = rng.next() as u8,
                1 => image[at] ^= 1 << rng.below(8),
                2 => {
                    let at = at & !3;
                    let v = [0u32, 1, 0xffff_ffff, 0x7fff_ffff, 0x8000, rng.next() as u32]
                        [rng.below(6) as usize];
                    image[at..at + 4].copy_from_slice(&v.to_le_bytes());
                }
                _ => {
                    let from = used[rng.below(used.len() as u64) as usize] * 1024;
                    image.copy_within(from..from + 1024, b * 1024);
                }
            }
        }
        let keep = std::env::var_os("EXT4_KEEP").map(|p| (p, image.clone()));
        if let Some((p, image)) = keep {
            std::fs::write(p, image).unwrap();
        }
        let disk = RamDisk::new(image);
        if let Ok(fs) = Fs::mount(disk, Host::default(), MountOptions::default()) {
            mounted += 1;
            poke(&fs);
        }
    }
    // The damage must not all be of the kind that mount refuses.
    assert!(mounted > n / 3, "only {mounted} of {n} could be mounted");
}
