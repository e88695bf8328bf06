//! Reading what mke2fs wrote, writing, and e2fsck's opinion of the result.

mod common;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::*;
use keel_ext4::{Errno, RenameMode};

/// The feature sets every test goes over: name, image size, mke2fs arguments.
const SETS: [(&str, &str, &[&str]); 9] = [
    ("4k", "64M", &["-b", "4096"]),
    ("1k", "40M", &["-b", "1024"]),
    ("2k", "40M", &["-b", "2048"]),
    ("nojournal", "64M", &["-O", "^has_journal"]),
    ("ext2", "64M", &["-t", "ext2", "-b", "1024"]),
    ("ext3", "64M", &["-t", "ext3", "-b", "4096", "-I", "128"]),
    (
        "ext2-old",
        "64M",
        &["-t", "ext2", "-r", "0", "-O", "none", "-b", "2048"],
    ),
    (
        "plain",
        "64M",
        &["-O", "^metadata_csum,^64bit,^flex_bg,uninit_bg"],
    ),
    (
        "full",
        "64M",
        &[
            "-O",
            "orphan_file,metadata_csum_seed,inline_data,large_dir,ea_inode",
        ],
    ),
];

fn build_tree(root: &Path) {
    std::fs::create_dir_all(root.join("a/b/c")).unwrap();
    std::fs::write(root.join("hello"), b"hello world\n").unwrap();
    std::fs::write(root.join("empty"), b"").unwrap();
    let big: Vec<u8> = (0..3_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(root.join("a/big"), &big).unwrap();
    std::os::unix::fs::symlink("hello", root.join("short")).unwrap();
    std::os::unix::fs::symlink("x".repeat(200), root.join("long")).unwrap();
    std::fs::hard_link(root.join("hello"), root.join("a/hard")).unwrap();
    std::fs::create_dir(root.join("many")).unwrap();
    for i in 0..1500 {
        std::fs::write(
            root.join(format!("many/file-with-a-long-name-{i:05}")),
            format!("{i}"),
        )
        .unwrap();
    }
    std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), b"latin").unwrap();
    std::fs::set_permissions(root.join("hello"), std::fs::Permissions::from_mode(0o4711)).unwrap();
}

/// A file with holes. Not for inline_data: mke2fs 1.47 cuts such files short there.
fn build_sparse(root: &Path) {
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(5_000_000).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 2_500_000).unwrap();
}

fn compare(fs: &TestFs, host: &Path, inode: &TestInode) {
    let m = std::fs::symlink_metadata(host).unwrap();
    let a = inode.attr();
    assert_eq!(u32::from(a.mode), m.mode(), "{}", host.display());
    assert_eq!((a.uid, a.gid), (m.uid(), m.gid()));
    assert_eq!(a.mtime.sec, m.mtime());
    if m.is_dir() {
        let mut ours: Vec<Vec<u8>> = list(fs, inode).into_iter().map(|e| e.0).collect();
        ours.retain(|n| n != b"." && n != b".." && n != b"lost+found");
        ours.sort();
        let mut theirs: Vec<Vec<u8>> = std::fs::read_dir(host)
            .unwrap()
            .map(|e| e.unwrap().file_name().as_bytes().to_vec())
            .collect();
        theirs.sort();
        assert_eq!(ours, theirs, "{}", host.display());
        for name in theirs {
            let (ino, _) = fs.lookup(inode, &name).unwrap();
            let child = fs.iget(ino).unwrap();
            compare(fs, &host.join(std::ffi::OsStr::from_bytes(&name)), &child);
            fs.iput(child).unwrap();
        }
        assert_eq!(fs.lookup(inode, b"no such name"), Err(Errno::ENOENT));
    } else if m.is_symlink() {
        assert_eq!(
            fs.readlink(inode).unwrap(),
            std::fs::read_link(host).unwrap().as_os_str().as_bytes()
        );
    } else {
        assert_eq!(a.nlink, m.nlink() as u32);
        assert!(
            read_all(fs, inode) == std::fs::read(host).unwrap(),
            "{}",
            host.display()
        );
    }
}

#[test]
fn reads_what_mke2fs_wrote() {
    for (name, size, args) in SETS {
        let t = TempDir::new(name);
        let src = t.path("src");
        build_tree(&src);
        if name != "full" {
            build_sparse(&src);
        }
        let img = t.path("img");
        let mut args = args.to_vec();
        let src_arg = src.to_str().unwrap();
        args.extend(["-d", src_arg]);
        mkfs(&img, size, &args);
        let fs = mount_ro(RamDisk::load(&img));
        let root = fs.root().unwrap();
        for e in list(&fs, &root)
            .iter()
            .filter(|e| !matches!(&e.0[..], b"." | b".." | b"lost+found"))
        {
            let child = fs.iget(e.1).unwrap();
            compare(&fs, &src.join(std::ffi::OsStr::from_bytes(&e.0)), &child);
            fs.iput(child).unwrap();
        }
    }
}

#[test]
fn writes_and_stays_clean() {
    for (name, size, args) in SETS {
        let t = TempDir::new(name);
        let img = t.path("img");
        mkfs(&img, size, args);
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        let root = fs.root().unwrap();
        let d = fs.create(&root, b"dir", &directory(0o755)).unwrap();
        for i in 0..2000 {
            let n = format!("some-file-name-{i:06}");
            let f = fs.create(&d, n.as_bytes(), &file(0o644)).unwrap();
            if i % 10 == 0 {
                let body = n.repeat(i % 700);
                assert_eq!(fs.write_at(&f, 0, body.as_bytes()).unwrap(), body.len());
                assert!(read_all(&fs, &f) == body.as_bytes());
            }
            fs.iput(f).unwrap();
        }
        assert_eq!(list(&fs, &d).len(), 2002);
        for i in (0..2000).step_by(3) {
            let n = format!("some-file-name-{i:06}");
            let f = fs.iget(fs.lookup(&d, n.as_bytes()).unwrap().0).unwrap();
            fs.unlink(&d, n.as_bytes(), &f).unwrap();
            fs.iput(f).unwrap();
        }
        let s = fs.symlink(&root, b"s1", b"target", &file(0)).unwrap();
        assert_eq!(fs.readlink(&s).unwrap(), b"target");
        let s2 = fs.symlink(&root, b"s2", &[b'y'; 300], &file(0)).unwrap();
        assert_eq!(fs.readlink(&s2).unwrap(), [b'y'; 300]);
        let sub = fs.create(&d, b"sub", &directory(0o700)).unwrap();
        fs.rename(&d, b"sub", &sub, &root, b"sub2", None, RenameMode::Replace)
            .unwrap();
        assert_eq!(fs.lookup(&sub, b"..").unwrap().0, 2);
        assert_eq!(root.attr().nlink, 5);
        fs.rename(&root, b"s1", &s, &sub, b"s1", None, RenameMode::Replace)
            .unwrap();
        fs.rmdir(&root, b"sub2", &sub).unwrap_err();
        fs.setxattr(&sub, b"user.one", b"value", keel_ext4::XattrMode::Set)
            .unwrap();
        fs.setxattr(&sub, b"user.big", &[7; 800], keel_ext4::XattrMode::Set)
            .unwrap();
        assert_eq!(fs.getxattr(&sub, b"user.one").unwrap(), b"value");
        assert_eq!(fs.getxattr(&sub, b"user.big").unwrap(), [7; 800]);
        let open = fs.create(&root, b"open", &file(0o600)).unwrap();
        fs.write_at(&open, 123_456, &[1; 10_000]).unwrap();
        fs.truncate(&open, 130_000).unwrap();
        fs.unlink(&root, b"open", &open).unwrap();
        assert_eq!(open.attr().nlink, 0);
        for i in [root, d, s, s2, sub, open] {
            fs.iput(i).unwrap();
        }
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
        drop(fs);
        let fs = mount(disk.clone());
        let d = resolve(&fs, "/dir").unwrap();
        assert_eq!(list(&fs, &d).len(), 2 + 2000 - 667);
        let f = resolve(&fs, "/dir/some-file-name-000100").unwrap();
        assert!(read_all(&fs, &f) == "some-file-name-000100".repeat(100).as_bytes());
        let _ = resolve(&fs, "/sub2/s1").unwrap();
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
    }
}
