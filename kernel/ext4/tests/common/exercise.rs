//! Work that touches most of the file system, for good images and damaged ones, and images to damage.

use keel_ext4::{FallocateMode, RenameMode, Result, XattrMode};

use super::*;

/// A bit of everything; errors are handed up.
pub fn exercise(fs: &TestFs) -> Result<()> {
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

/// Walks and changes whatever a damaged image offers, as far as `most` inodes.
pub fn poke(fs: &TestFs, most: usize) {
    let mut todo = vec![2u32];
    let mut seen = 0;
    while let Some(ino) = todo.pop() {
        seen += 1;
        if seen > most {
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

/// An image to damage.
#[derive(Clone)]
pub struct Base {
    pub image: Arc<Vec<u8>>,
    /// Blocks (of 1 KiB) with content; only those are interesting.
    used: Arc<Vec<usize>>,
}

impl Base {
    fn new(image: Vec<u8>) -> Self {
        let used = (1..image.len() / 1024)
            .filter(|b| image[b * 1024..(b + 1) * 1024].iter().any(|&v| v != 0))
            .collect();
        Self {
            image: Arc::new(image),
            used: Arc::new(used),
        }
    }
}

/// Small populated images without checksums (and one with), left in use so that their journals are replayed.
pub fn base_images() -> Vec<Base> {
    let t = TempDir::new("mutate");
    let src = t.path("src");
    std::fs::create_dir_all(src.join("a/b")).unwrap();
    for i in 0..60 {
        std::fs::write(
            src.join(format!("a/file-with-some-name-{i}")),
            vec![i as u8; i * 60],
        )
        .unwrap();
    }
    std::os::unix::fs::symlink("y".repeat(100), src.join("link")).unwrap();
    let src = src.to_str().unwrap();
    let sets: [&[&str]; 4] = [
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
        &[
            "-b",
            "1024",
            "-J",
            "size=1",
            "-O",
            "^metadata_csum,uninit_bg,ea_inode,large_dir,orphan_file,project",
            "-d",
            src,
        ],
    ];
    let mut bases = Vec::new();
    for (k, args) in sets.iter().enumerate() {
        let img = t.path(&format!("img{k}"));
        mkfs(&img, "4M", args);
        // Left in use, so that the journal is replayed too.
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        exercise(&fs).unwrap();
        drop(fs);
        bases.push(Base::new(disk.data.read().unwrap().clone()));
    }
    bases
}

/// Changes bytes of an image in one of the ways that damage happens.
pub struct Mutator {
    disk: Overlay,
    used: Arc<Vec<usize>>,
}

impl Mutator {
    pub fn new(base: &Base) -> Self {
        Self {
            disk: Overlay::new(base.image.clone()),
            used: base.used.clone(),
        }
    }

    fn block(&self, n: u64) -> u64 {
        self.used[(n % self.used.len() as u64) as usize] as u64 * 1024
    }

    /// `kind`, `block` and `at` choose the change; any values do.
    pub fn change(&mut self, kind: u64, block: u64, at: u64, value: u64) {
        let b = self.block(block);
        let at = b + at % 1024;
        match kind % 4 {
            0 => self.disk.put(at, &[value as u8]),
            1 => {
                let mut old = [0];
                self.disk.get(at, &mut old);
                self.disk.put(at, &[old[0] ^ 1 << (value % 8)]);
            }
            2 => {
                let v = [
                    0u32,
                    1,
                    0xffff_ffff,
                    0x7fff_ffff,
                    0x8000,
                    (value >> 8) as u32,
                ];
                let v = v[(value % 6) as usize];
                self.disk.put(at & !3, &v.to_le_bytes());
            }
            _ => {
                let mut other = [0; 1024];
                self.disk.get(self.block(value), &mut other);
                self.disk.put(b, &other);
            }
        }
    }

    pub fn finish(self) -> Arc<Overlay> {
        Arc::new(self.disk)
    }
}
