//! Several threads at once: in directories of their own, and all in the same ones. Nothing may hang, fail or be lost.

mod common;

use std::sync::Arc;

use common::*;
use keel_ext4::{Errno, RenameMode};

fn own_directory(fs: &TestFs, n: usize) {
    let root = fs.root().unwrap();
    let d = fs
        .create(&root, format!("own-{n}").as_bytes(), &directory(0o755))
        .unwrap();
    for i in 0..400 {
        let name = format!("f{i}");
        let f = fs.create(&d, name.as_bytes(), &file(0o644)).unwrap();
        fs.write_at(&f, 0, name.repeat(i + 1).as_bytes()).unwrap();
        if i % 40 == 0 {
            fs.fsync(&f, false).unwrap();
        }
        fs.iput(f).unwrap();
        if i % 3 == 0 {
            let f = fs.iget(fs.lookup(&d, name.as_bytes()).unwrap().0).unwrap();
            fs.unlink(&d, name.as_bytes(), &f).unwrap();
            fs.iput(f).unwrap();
        }
    }
    fs.iput(d).unwrap();
    fs.iput(root).unwrap();
}

fn shared_directories(fs: &TestFs, n: usize) {
    let root = fs.root().unwrap();
    let dirs: Vec<TestInode> = (0..3)
        .map(|i| {
            fs.iget(
                fs.lookup(&root, format!("shared-{i}").as_bytes())
                    .unwrap()
                    .0,
            )
            .unwrap()
        })
        .collect();
    let mut rng = Rng(n as u64 * 7919 + 1);
    for _ in 0..1500 {
        let (a, b) = (&dirs[rng.below(3) as usize], &dirs[rng.below(3) as usize]);
        let x = format!("x{}", rng.below(20));
        let y = format!("x{}", rng.below(20));
        let get = |d: &TestInode, name: &str| -> Option<TestInode> {
            let (ino, _) = fs.lookup(d, name.as_bytes()).ok()?;
            fs.iget(ino).ok()
        };
        // Another thread may be faster at any point; then these errors are right.
        let lost_race = |e: Errno| matches!(e, Errno::ENOENT | Errno::EEXIST | Errno::ESTALE);
        let r = match rng.below(5) {
            0 | 1 => fs.create(a, x.as_bytes(), &file(0o600)).and_then(|f| {
                fs.write_at(&f, 0, &[n as u8; 3000])?;
                fs.iput(f)
            }),
            2 => match get(a, &x) {
                Some(f) => {
                    let r = fs.unlink(a, x.as_bytes(), &f);
                    fs.iput(f).unwrap();
                    r
                }
                None => Ok(()),
            },
            3 => match get(a, &x) {
                Some(f) => {
                    let t = get(b, &y);
                    let r = fs.rename(
                        a,
                        x.as_bytes(),
                        &f,
                        b,
                        y.as_bytes(),
                        t.as_deref(),
                        RenameMode::Replace,
                    );
                    fs.iput(f).unwrap();
                    if let Some(t) = t {
                        fs.iput(t).unwrap();
                    }
                    r
                }
                None => Ok(()),
            },
            _ => {
                let _ = list(fs, a);
                fs.commit()
            }
        };
        if let Err(e) = r {
            assert!(lost_race(e), "{e}");
        }
    }
    for d in dirs {
        fs.iput(d).unwrap();
    }
    fs.iput(root).unwrap();
}

#[test]
fn threads() {
    for args in [
        &["-b", "4096"][..],
        &["-b", "1024", "-J", "size=1"],
        &["-O", "orphan_file", "-b", "1024"],
    ] {
        let t = TempDir::new("threads");
        let img = t.path("img");
        mkfs(&img, "96M", args);
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        let root = fs.root().unwrap();
        for i in 0..3 {
            let d = fs
                .create(&root, format!("shared-{i}").as_bytes(), &directory(0o755))
                .unwrap();
            fs.iput(d).unwrap();
        }
        fs.iput(root).unwrap();
        let workers: Vec<_> = (0..6)
            .map(|n| {
                let fs = Arc::clone(&fs);
                std::thread::spawn(move || {
                    if n % 2 == 0 {
                        own_directory(&fs, n)
                    } else {
                        shared_directories(&fs, n)
                    }
                })
            })
            .collect();
        for w in workers {
            w.join().unwrap();
        }
        for n in [0usize, 2, 4] {
            for i in 0..400 {
                let name = format!("f{i}");
                match resolve(&fs, &format!("/own-{n}/{name}")) {
                    Ok(f) => {
                        assert!(i % 3 != 0);
                        assert!(read_all(&fs, &f) == name.repeat(i + 1).as_bytes());
                        fs.iput(f).unwrap();
                    }
                    Err(e) => assert!(i % 3 == 0 && e == Errno::ENOENT),
                }
            }
        }
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
    }
}
