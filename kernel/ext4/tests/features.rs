//! Feature sets off the beaten track: block maps, other hashes, other layouts, and what is refused.

mod common;

use std::process::Command;

use common::*;
use keel_ext4::{Errno, FallocateMode, Flavour, Fs, MountOptions, SetAttr, Timespec, inode_flags};

fn tune(img: &std::path::Path, args: &[&str]) {
    let out = Command::new("/usr/sbin/tune2fs")
        .args(args)
        .arg(img)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 23) as u8)
        .collect()
}

#[test]
fn block_maps() {
    for bs in ["1024", "4096"] {
        let t = TempDir::new("indirect");
        let img = t.path("img");
        let src = t.path("src");
        std::fs::create_dir_all(src.join("dir")).unwrap();
        // Into double indirection for 4 KiB blocks and triple for 1 KiB ones.
        let sizes = [5_000, 60_000, 700_000, 20_000_000, 75_000_000];
        for (i, &n) in sizes.iter().enumerate() {
            std::fs::write(src.join(format!("dir/f{i}")), pattern(n, i as u32)).unwrap();
        }
        let args = [
            "-b",
            bs,
            "-O",
            "^extents,^64bit,^metadata_csum",
            "-d",
            src.to_str().unwrap(),
        ];
        mkfs(&img, "160M", &args);
        let fs = mount_ro(RamDisk::load(&img));
        for (i, &n) in sizes.iter().enumerate() {
            let f = resolve(&fs, &format!("/dir/f{i}")).unwrap();
            assert!(read_all(&fs, &f) == pattern(n, i as u32));
        }
        // An upgraded file system: new files have extents, old ones their maps.
        tune(&img, &["-O", "extents"]);
        fsck(&img);
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        let dir = resolve(&fs, "/dir").unwrap();
        let open = |i: usize| resolve(&fs, &format!("/dir/f{i}")).unwrap();
        let mut want: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(i, &n)| pattern(n, i as u32))
            .collect();
        // Overwritten in place, grown, cut, deleted.
        let f = open(1);
        fs.write_at(&f, 30_000, &[0xaa; 5_000]).unwrap();
        want[1][30_000..35_000].fill(0xaa);
        fs.iput(f).unwrap();
        let f = open(2);
        assert_eq!(f.attr().flags & inode_flags::EXTENTS, 0);
        fs.write_at(&f, 700_000, &[0xbb; 9_000]).unwrap();
        assert_eq!(f.attr().flags & inode_flags::EXTENTS, 0);
        want[2].extend([0xbb; 9_000]);
        fs.iput(f).unwrap();
        let f = open(3);
        fs.truncate(&f, 300_001).unwrap();
        want[3].truncate(300_001);
        fs.iput(f).unwrap();
        let f = open(4);
        fs.unlink(&dir, b"f4", &f).unwrap();
        fs.iput(f).unwrap();
        for i in 0..200 {
            let name = format!("new-file-with-a-long-name-{i}");
            let f = fs.create(&dir, name.as_bytes(), &file(0o644)).unwrap();
            fs.iput(f).unwrap();
        }
        fs.iput(dir).unwrap();
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
        let fs = mount_ro(disk);
        for (i, w) in want.iter().enumerate().take(4) {
            let f = resolve(&fs, &format!("/dir/f{i}")).unwrap();
            assert!(read_all(&fs, &f) == *w, "f{i}");
        }
    }
}

/// Through all levels of indirection and back, with everything counted.
#[test]
fn block_map_levels() {
    for (name, bs) in [
        ("levels1k", 1024),
        ("levels2k", 2048),
        ("levels4k", 4096u64),
    ] {
        let t = TempDir::new(name);
        let img = t.path("img");
        mkfs(&img, "64M", &["-t", "ext2", "-b", &bs.to_string()]);
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        let root = fs.root().unwrap();
        let f = fs.create(&root, b"f", &file(0o644)).unwrap();
        let free = fs.statfs().blocks_free;
        let p = bs / 4;
        // The last and the first block of each tree, and one far out.
        let mut places = vec![0, 11, 12, 11 + p, 12 + p, 11 + p + p * p];
        places.extend([12 + p + p * p, 12 + p + p * p + p * p * p / 4]);
        if bs < 4096 {
            places.push(11 + p + p * p + p * p * p);
        }
        for &b in &places {
            let at = b * bs + 100;
            fs.write_at(&f, at, &pattern(500, b as u32)).unwrap();
        }
        let nodes = 1 + (1 + 2) + (1 + 2 * (places.len() as u64 - 6));
        let blocks = places.len() as u64 + nodes;
        assert_eq!(f.attr().blocks, blocks * (bs / 512), "{name}");
        assert_eq!(fs.statfs().blocks_free, free - blocks);
        let mut extents = Vec::new();
        fs.fiemap(&f, 0, u64::MAX, &mut |e| {
            extents.push((e.logical, e.length, e.flags));
            true
        })
        .unwrap();
        let found: u64 = extents.iter().map(|e| e.1 / bs).sum();
        assert_eq!(found, places.len() as u64);
        assert_eq!(extents.last().map(|e| e.2), Some(1));
        let check = || {
            fs.remount(true).unwrap();
            disk.save(&img);
            fsck(&img);
            fs.remount(false).unwrap();
        };
        check();
        for &b in &places {
            let mut got = vec![0; 500];
            fs.read_at(&f, b * bs + 100, &mut got).unwrap();
            assert!(got == pattern(500, b as u32), "{name}: block {b}");
            assert_eq!(fs.seek_data(&f, b * bs).unwrap(), b * bs);
        }
        assert_eq!(fs.seek_hole(&f, 12 * bs).unwrap(), 13 * bs);
        // A hole in the middle of all takes whole trees along.
        let hole = (12 * bs, (12 + p + p * p) * bs - 12 * bs);
        fs.fallocate(&f, FallocateMode::PunchHole, hole.0, hole.1)
            .unwrap();
        let left = blocks - 4 - 4;
        assert_eq!(f.attr().blocks, left * (bs / 512), "{name}, punched");
        for mode in [
            FallocateMode::Allocate { keep_size: true },
            FallocateMode::ZeroRange { keep_size: true },
            FallocateMode::Collapse,
            FallocateMode::Insert,
        ] {
            assert_eq!(fs.fallocate(&f, mode, 0, bs), Err(Errno::EOPNOTSUPP));
        }
        let flags = f.attr().flags;
        fs.set_flags(&f, flags | inode_flags::NODUMP).unwrap();
        assert_eq!(
            fs.set_flags(&f, flags | inode_flags::EXTENTS),
            Err(Errno::EINVAL)
        );
        for keep in [12 + p + p * p, 13, 12, 1, 0] {
            fs.truncate(&f, keep * bs).unwrap();
            check();
        }
        assert_eq!(f.attr().blocks, 0);
        assert_eq!(fs.statfs().blocks_free, free);
        let most = fs.max_size_of(&f);
        assert_eq!(fs.truncate(&f, most + 1), Err(Errno::EFBIG));
        assert_eq!(fs.write_at(&f, most - 1, &[1; 2]), Err(Errno::EFBIG));
        fs.truncate(&f, most).unwrap();
        fs.write_at(&f, most - 1, b"!").unwrap();
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
    }
}

/// A volume without a journal is in need of a check from the mount to the unmount.
#[test]
fn unclean_without_journal() {
    let t = TempDir::new("state");
    let img = t.path("img");
    mkfs(&img, "8M", &["-t", "ext2"]);
    let state = |disk: &RamDisk| disk.data.read().unwrap()[1024 + 0x3a] & 1;
    let disk = RamDisk::load(&img);
    assert_eq!(state(&disk), 1);
    let fs = mount(disk.clone());
    assert_eq!(state(&disk), 0);
    fs.unmount().unwrap();
    assert_eq!(state(&disk), 1);
    let fs = mount(disk.clone());
    fs.sync().unwrap();
    drop(fs);
    // Only e2fsck makes clean again what was left behind.
    mount(disk.clone()).unmount().unwrap();
    assert_eq!(state(&disk), 0);
}

/// The first large file is noted in the superblock.
#[test]
fn large_file_feature() {
    for args in [
        &["-t", "ext2", "-r", "0", "-O", "none"][..],
        &["-t", "ext3", "-O", "^large_file"],
    ] {
        let t = TempDir::new("large");
        let img = t.path("img");
        mkfs(&img, "16M", args);
        let disk = RamDisk::load(&img);
        let feature = || disk.data.read().unwrap()[1024 + 0x64] & 2;
        let fs = mount(disk.clone());
        let root = fs.root().unwrap();
        let f = fs.create(&root, b"f", &file(0o644)).unwrap();
        fs.truncate(&f, (1 << 31) - 1).unwrap();
        fs.sync().unwrap();
        fs.truncate(&f, 1 << 31).unwrap();
        fs.unmount().unwrap();
        assert_eq!(feature(), 2);
        disk.save(&img);
        fsck(&img);
    }
}

/// Each type takes what its own implementations know.
#[test]
fn flavours() {
    let try_as = |args: &[&str], flavour| {
        let t = TempDir::new("flavour");
        let img = t.path("img");
        mkfs(&img, "16M", args);
        let options = MountOptions {
            flavour,
            ..MountOptions::default()
        };
        Fs::mount(RamDisk::load(&img), Host::default(), options)
            .map(|fs| fs.unmount().unwrap())
            .err()
    };
    let all = [Flavour::Ext2, Flavour::Ext3, Flavour::Ext4];
    let refused = |args: &[&str]| all.map(|f| try_as(args, f));
    let no = Some(Errno::EINVAL);
    assert_eq!(refused(&["-t", "ext2"]), [None, no, None]);
    assert_eq!(refused(&["-t", "ext3"]), [None, None, None]);
    assert_eq!(refused(&["-t", "ext4"]), [no, no, None]);
}

/// Inodes without room for more keep whole seconds of 32 bits, in memory too.
#[test]
fn short_times() {
    let t = TempDir::new("times");
    let img = t.path("img");
    mkfs(&img, "16M", &["-t", "ext3", "-I", "128"]);
    let disk = RamDisk::load(&img);
    let fs = mount(disk.clone());
    let root = fs.root().unwrap();
    let f = fs.create(&root, b"f", &file(0o644)).unwrap();
    let at = |sec, nsec| Some(Timespec { sec, nsec });
    fs.touch(&f, at(1 << 40, 5), at(-(1 << 40), 7));
    let a = f.attr();
    assert_eq!((a.atime.sec, a.atime.nsec), (i64::from(i32::MAX), 0));
    assert_eq!((a.mtime.sec, a.mtime.nsec), (i64::from(i32::MIN), 0));
    let set = SetAttr {
        mtime: at(1_000_000_000, 999),
        ..SetAttr::default()
    };
    fs.set_attr(&f, &set).unwrap();
    assert_eq!(Some(f.attr().mtime), at(1_000_000_000, 0));
    let before = f.attr();
    let ino = f.ino();
    fs.iput(f).unwrap();
    let again = fs.iget(ino).unwrap().attr();
    assert_eq!(
        (again.atime, again.mtime, again.ctime, again.crtime),
        (before.atime, before.mtime, before.ctime, before.crtime)
    );
}

/// Thousands of names in small blocks, created and removed, then counted again.
fn big_directory(fs: &TestFs, n: usize) {
    let root = fs.root().unwrap();
    let d = fs.create(&root, b"big", &directory(0o755)).unwrap();
    let name = |i: usize| match i % 3 {
        0 => format!("{i}").into_bytes(),
        1 => format!("entry-{i}-{}", "x".repeat(i % 90)).into_bytes(),
        _ => [
            format!("{i}").as_bytes(),
            &[0xe4, 0xff, 0x80 | (i % 100) as u8],
        ]
        .concat(),
    };
    let f = fs.create(&root, b"f", &file(0o600)).unwrap();
    for i in 0..n {
        if i % 50_000 == 49_999 {
            // Enough links.
            break;
        }
        fs.link(&d, &name(i), &f).unwrap();
    }
    let mut names = list(fs, &d);
    assert_eq!(names.len(), n.min(49_999) + 2);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), n.min(49_999) + 2);
    for i in (0..n.min(49_999)).step_by(2) {
        assert_eq!(fs.lookup(&d, &name(i)).unwrap().0, f.ino());
        fs.unlink(&d, &name(i), &f).unwrap();
        assert_eq!(fs.lookup(&d, &name(i)), Err(Errno::ENOENT));
    }
    for i in [f, d, root] {
        fs.iput(i).unwrap();
    }
}

#[test]
fn layouts_and_hashes() {
    let sets: [(&str, &[&str], &[&str]); 8] = [
        (
            "meta_bg",
            &["-b", "1024", "-O", "meta_bg,^resize_inode"],
            &[],
        ),
        ("sparse_super2", &["-b", "1024", "-O", "sparse_super2"], &[]),
        (
            "noflex",
            &["-b", "1024", "-O", "^flex_bg,uninit_bg,^metadata_csum"],
            &[],
        ),
        ("tea", &["-b", "1024"], &["-E", "hash_alg=tea"]),
        ("legacy", &["-b", "1024"], &["-E", "hash_alg=legacy"]),
        ("largedir", &["-b", "1024", "-O", "large_dir"], &[]),
        ("noindex", &["-b", "4096", "-O", "^dir_index"], &[]),
        (
            "project",
            &["-b", "2048", "-O", "project,quota", "-E", "quotatype="],
            &["-O", "^quota"],
        ),
    ];
    for (name, args, tuning) in sets {
        let t = TempDir::new(name);
        let img = t.path("img");
        mkfs(&img, "48M", args);
        if !tuning.is_empty() {
            tune(&img, tuning);
        }
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        let n = match name {
            "noindex" => 2_000,
            "largedir" => 40_000,
            _ => 12_000,
        };
        big_directory(&fs, n);
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
    }
}

#[test]
fn unsigned_hashes() {
    let t = TempDir::new("unsigned");
    let img = t.path("img");
    mkfs(&img, "32M", &["-b", "1024"]);
    debugfs(&img, true, "ssv flags 2");
    let disk = RamDisk::load(&img);
    let fs = mount(disk.clone());
    big_directory(&fs, 5_000);
    fs.unmount().unwrap();
    disk.save(&img);
    fsck(&img);
}

#[test]
fn refusals() {
    for (features, extra, rw) in [
        ("bigalloc", &["-C", "16384"][..], Errno::EROFS),
        ("encrypt", &[], Errno::EOPNOTSUPP),
        ("casefold", &[], Errno::EOPNOTSUPP),
        ("verity", &[], Errno::EROFS),
        ("quota", &[], Errno::EROFS),
        ("mmp", &[], Errno::EROFS),
    ] {
        let t = TempDir::new("refuse");
        let img = t.path("img");
        let mut args = vec!["-O", features];
        args.extend(extra);
        mkfs(&img, "32M", &args);
        let disk = RamDisk::load(&img);
        let host = Host::default();
        let errors = host.errors.clone();
        assert_eq!(
            Fs::mount(disk.clone(), host, MountOptions::default()).err(),
            Some(rw)
        );
        let said = errors.lock().unwrap().join("\n");
        assert!(said.contains(features), "{features}: {said}");
        let ro = MountOptions {
            read_only: true,
            ..MountOptions::default()
        };
        let r = Fs::mount(disk, Host::default(), ro).err();
        assert_eq!(
            r,
            (rw == Errno::EOPNOTSUPP).then_some(rw),
            "{features}, read-only"
        );
    }
    let zeroes = RamDisk::new(vec![0; 1 << 20]);
    assert_eq!(
        Fs::mount(zeroes, Host::default(), MountOptions::default()).err(),
        Some(Errno::EINVAL)
    );
}
