//! Space: a full disk, what is kept for growing files, what comes back.

mod common;

use common::cache::PageCache;
use common::*;
use keel_ext4::{Errno, FallocateMode, MountOptions, SetAttr};

const MB: usize = 1 << 20;

/// Writes until the disk is full; what was accepted. The error must come with the first write that does not fit.
fn fill(cache: &mut PageCache, f: &TestInode, chunk: usize) -> u64 {
    let fs = cache.fs.clone();
    let most = fs.statfs().blocks * u64::from(fs.block_size()) + chunk as u64;
    let mut at = 0;
    loop {
        match cache.write(f, at, &vec![0x5a; chunk]) {
            Ok(()) => at += chunk as u64,
            Err(e) => {
                assert_eq!(e, Errno::ENOSPC);
                return at;
            }
        }
        assert!(at < most, "more was accepted than there is");
    }
}

/// Everything accepted before ENOSPC finds its place, the rest leaves no trace, and all space comes back.
#[test]
fn full_disk_gives_everything_back() {
    for (name, args) in [
        ("full4k", &["-b", "4096"][..]),
        ("full1k", &["-b", "1024", "-J", "size=1"]),
        ("fullnolog", &["-b", "1024", "-O", "^has_journal"]),
    ] {
        let t = TempDir::new(name);
        let img = t.path("img");
        mkfs(&img, "24M", args);
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        let root = fs.root().unwrap();
        let mut cache = PageCache::new(fs.clone(), disk.clone());
        let before = fs.statfs();
        for round in 0..3 {
            let f = fs.create(&root, b"big", &file(0o644)).unwrap();
            let size = fill(&mut cache, &f, MB >> round);
            assert!(size > 12 * MB as u64, "only {size} fitted");
            // Small files still find their inodes but no room, at once.
            let g = fs.create(&root, b"small", &file(0o644)).unwrap();
            let _ = fill(&mut cache, &g, fs.block_size() as usize);
            assert_eq!(cache.write(&g, 1 << 20, b"x"), Err(Errno::ENOSPC));
            let mode = FallocateMode::Allocate { keep_size: true };
            assert_eq!(
                fs.fallocate(&g, mode, 0, 1 << 24),
                Err(Errno::ENOSPC),
                "fallocate"
            );
            cache.write_back(&f).unwrap();
            cache.write_back(&g).unwrap();
            fs.sync().unwrap();
            assert_eq!(f.size(), size);
            let got = read_all(&fs, &f);
            assert!(got.iter().all(|&b| b == 0x5a) && got.len() as u64 == size);
            // A full disk can still be tidied up.
            fs.set_attr(
                &g,
                &SetAttr {
                    mode: Some(0o600),
                    ..SetAttr::default()
                },
            )
            .unwrap();
            fs.unlink(&root, b"big", &f).unwrap();
            fs.unlink(&root, b"small", &g).unwrap();
            for i in [f, g] {
                cache.forget(i.ino());
                fs.iput(i).unwrap();
            }
            fs.commit().unwrap();
            let now = fs.statfs();
            assert_eq!(now.blocks_free, before.blocks_free, "round {round}");
            assert_eq!(now.files_free, before.files_free);
        }
        fs.iput(root).unwrap();
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
    }
}

fn extents(fs: &TestFs, f: &TestInode) -> usize {
    let mut n = 0;
    fs.fiemap(f, 0, u64::MAX, &mut |_| {
        n += 1;
        true
    })
    .unwrap();
    n
}

/// Files that grow side by side, a block and an fsync at a time, stay in a few pieces; nothing of what was kept for
/// them is missing afterwards.
#[test]
fn files_that_grow_together_stay_apart() {
    let t = TempDir::new("grow");
    let img = t.path("img");
    mkfs(&img, "64M", &["-b", "4096"]);
    let disk = RamDisk::load(&img);
    let fs = mount(disk.clone());
    let root = fs.root().unwrap();
    let before = fs.statfs().blocks_free;
    let files: Vec<TestInode> = (0..4)
        .map(|i| {
            let name = format!("log{i}");
            fs.create(&root, name.as_bytes(), &file(0o644)).unwrap()
        })
        .collect();
    for step in 0..300u64 {
        for f in &files {
            fs.write_at(f, step * 4096, &[step as u8; 4096]).unwrap();
            fs.fsync(f, false).unwrap();
        }
    }
    for f in &files {
        assert!(extents(&fs, f) <= 16, "{} extents", extents(&fs, f));
    }
    // What is kept counts as free.
    let used: u64 = files.iter().map(|f| f.attr().blocks / 8).sum();
    assert!((4 * 300..4 * 302).contains(&used));
    assert_eq!(fs.statfs().blocks_free, before - used);
    for f in files {
        let got = read_all(&fs, &f);
        assert!(
            got.chunks(4096)
                .zip(0u64..)
                .all(|(c, i)| c.iter().all(|&b| b == i as u8))
        );
        fs.iput(f).unwrap();
    }
    assert_eq!(fs.statfs().blocks_free, before - used);
    fs.iput(root).unwrap();
    fs.unmount().unwrap();
    disk.save(&img);
    fsck(&img);
}

/// Read-only and back: clean on the device while it cannot be written, by our journal's and e2fsck's word.
#[test]
fn read_only_is_clean() {
    let t = TempDir::new("rocycle");
    let img = t.path("img");
    mkfs(&img, "32M", &["-b", "1024", "-O", "orphan_file"]);
    let disk = RamDisk::load(&img);
    let fs = mount(disk.clone());
    let root = fs.root().unwrap();
    for i in 0..4 {
        let f = fs
            .create(&root, format!("f{i}").as_bytes(), &file(0o644))
            .unwrap();
        fs.write_at(&f, 0, &[1; 10_000]).unwrap();
        fs.iput(f).unwrap();
        fs.remount(true).unwrap();
        assert_eq!(
            fs.create(&root, b"no", &file(0o644)).map(drop),
            Err(Errno::EROFS)
        );
        disk.save(&img);
        let features = debugfs(&img, false, "features");
        assert!(!features.contains("needs_recovery"), "{features}");
        fsck(&img);
        fs.remount(false).unwrap();
        disk.save(&img);
        assert!(debugfs(&img, false, "features").contains("needs_recovery"));
    }
    fs.iput(root).unwrap();
    fs.unmount().unwrap();
}

/// What `errors=` asks for when damage is found, and a remount that asks for something else.
#[test]
fn errors_policies() {
    use keel_ext4::{ErrorPolicy, Fs};
    for (policy, read_only, panic) in [
        (ErrorPolicy::Continue, false, false),
        (ErrorPolicy::RemountReadOnly, true, false),
        (ErrorPolicy::Panic, true, true),
    ] {
        let t = TempDir::new("errors");
        let img = t.path("img");
        mkfs(&img, "16M", &["-b", "1024"]);
        let disk = RamDisk::load(&img);
        let fs = Fs::mount(disk.clone(), Host::default(), MountOptions::default()).unwrap();
        let options = MountOptions {
            errors: Some(policy),
            ..MountOptions::default()
        };
        fs.set_options(&options);
        let root = fs.root().unwrap();
        let f = fs.create(&root, b"f", &file(0o644)).unwrap();
        fs.iput(f).unwrap();
        fs.sync().unwrap();
        fs.remount(true).unwrap();
        fs.remount(false).unwrap();
        fs.shrink(usize::MAX);
        // The directory's block loses its checksum.
        let m = fs.map_blocks(&root, 0, 1).unwrap();
        disk.data.write().unwrap()[m.pblk as usize * 1024 + 50] ^= 0xff;
        fs.shrink(usize::MAX);
        assert!(fs.lookup(&root, b"f").is_err());
        assert_eq!(fs.is_read_only(), read_only, "{policy:?}");
        assert_eq!(fs.panic_requested(), panic);
        let made = fs.tmpfile(&root, &file(0o644)).map(|f| fs.iput(f));
        assert_eq!(made.err(), read_only.then_some(Errno::EROFS));
        disk.save(&img);
        let stats = debugfs(&img, false, "stats");
        assert!(stats.contains("with errors"), "{policy:?}: {stats}");
    }
}
