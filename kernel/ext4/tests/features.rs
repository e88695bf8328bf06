//! Feature sets off the beaten track: block maps, other hashes, other layouts, and what is refused.

mod common;

use std::process::Command;

use common::*;
use keel_ext4::{Errno, Fs, MountOptions};

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
        let disk = RamDisk::load(&img);
        let err = Fs::mount(disk.clone(), Host::default(), MountOptions::default()).err();
        assert_eq!(err, Some(Errno::EROFS), "writing needs extents");
        let fs = mount_ro(disk);
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
        fs.write_at(&f, 700_000, &[0xbb; 9_000]).unwrap();
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
