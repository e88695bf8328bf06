//! Beside Linux's own ext4, over a loop mount: what it writes we read, what it leaves dirty we recover, and the other way
//! round. Needs root and a loop device; says so and passes where they are missing.

mod common;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use keel_ext4::{Errno, XattrMode};
use rustix::fs::{AtFlags, FallocateFlags, Timespec, Timestamps, XattrFlags};

/// A loop mount that ends with the test.
struct Mount(PathBuf);

impl Mount {
    fn new(img: &Path, at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let ok = Command::new("mount")
            .args(["-o", "loop"])
            .arg(img)
            .arg(&at)
            .output();
        match ok {
            Ok(o) if o.status.success() => Some(Self(at)),
            Ok(o) => {
                eprintln!(
                    "no loop mount here, skipped: {}",
                    String::from_utf8_lossy(&o.stderr)
                );
                None
            }
            Err(e) => {
                eprintln!("no mount here, skipped: {e}");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn set_time(path: &Path, sec: i64, nsec: u32) {
    let t = Timespec {
        tv_sec: sec,
        tv_nsec: nsec.into(),
    };
    let times = Timestamps {
        last_access: t,
        last_modification: t,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// The tree that the issue asks for.
fn populate(root: &Path) {
    for a in 0..20 {
        let d = root.join(format!("dir-{a}"));
        std::fs::create_dir(&d).unwrap();
        for i in 0..500 {
            std::fs::write(
                d.join(format!("file-{i}")),
                format!("{a}/{i} ").repeat(i % 40),
            )
            .unwrap();
        }
    }
    let many = root.join("many");
    std::fs::create_dir(&many).unwrap();
    for i in 0..60_000 {
        std::fs::File::create(many.join(format!("an-entry-with-a-name-{i:06}"))).unwrap();
    }
    let mut deep = root.join("deep");
    for i in 0..60 {
        deep = deep.join(format!("level-{i}"));
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("bottom"), b"here").unwrap();
    // Every other block: one extent each.
    let f = std::fs::File::create(root.join("scattered")).unwrap();
    for i in 0..6000u64 {
        f.write_all_at(&[i as u8; 4096], i * 8192).unwrap();
    }
    f.sync_all().unwrap();
    let f = std::fs::File::create(root.join("unwritten")).unwrap();
    match rustix::fs::fallocate(&f, FallocateFlags::empty(), 0, 1 << 20) {
        // Block maps have no unwritten blocks.
        Err(rustix::io::Errno::OPNOTSUPP) => f.set_len(1 << 20).unwrap(),
        r => r.unwrap(),
    }
    f.write_all_at(b"inside", 500_000).unwrap();
    let f = std::fs::File::create(root.join("hole")).unwrap();
    f.set_len(1 << 33).unwrap();
    f.write_all_at(b"end", (1 << 33) - 3).unwrap();
    let x = root.join("attrs");
    std::fs::write(&x, b"x").unwrap();
    for i in 0..12 {
        let name = format!("user.name-{i}");
        rustix::fs::setxattr(
            &x,
            name.as_str(),
            &vec![i as u8; i * 5],
            XattrFlags::empty(),
        )
        .unwrap();
    }
    rustix::fs::setxattr(&x, "trusted.t", b"trusted", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(&x, "security.s", b"secure", XattrFlags::empty()).unwrap();
    let mut acl = vec![2, 0, 0, 0];
    for (tag, perm, id) in [
        (1u16, 6u16, !0u32),
        (2, 4, 1000),
        (4, 4, !0),
        (0x10, 6, !0),
        (0x20, 0, !0),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&perm.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    rustix::fs::setxattr(&x, "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
    std::fs::write(
        root.join(std::ffi::OsStr::from_bytes(b"not-utf8-\xff\xfe")),
        b"n",
    )
    .unwrap();
    for (name, sec, nsec) in [
        ("future", 4_102_444_800, 123_456_789),
        ("past", -1_000_000_000, 5),
        ("far", 15_000_000_000, 999_999_999),
    ] {
        std::fs::write(root.join(name), name).unwrap();
        set_time(&root.join(name), sec, nsec);
    }
    std::os::unix::fs::symlink("s".repeat(59), root.join("link59")).unwrap();
    std::os::unix::fs::symlink("s".repeat(60), root.join("link60")).unwrap();
    std::os::unix::fs::symlink("s".repeat(1000), root.join("link1000")).unwrap();
    std::fs::hard_link(root.join("attrs"), root.join("deep/attrs-again")).unwrap();
    for (name, kind, dev) in [
        (
            "null",
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::makedev(1, 3),
        ),
        (
            "big-dev",
            rustix::fs::FileType::BlockDevice,
            rustix::fs::makedev(259, 100_000),
        ),
        ("fifo", rustix::fs::FileType::Fifo, 0),
        ("sock", rustix::fs::FileType::Socket, 0),
    ] {
        rustix::fs::mknodat(rustix::fs::CWD, root.join(name), kind, 0o640.into(), dev).unwrap();
    }
    std::fs::set_permissions(root.join("future"), std::fs::Permissions::from_mode(0o6751)).unwrap();
    rustix::fs::chownat(
        rustix::fs::CWD,
        root.join("past"),
        Some(rustix::fs::Uid::from_raw(70_000)),
        Some(rustix::fs::Gid::from_raw(90_000)),
        AtFlags::empty(),
    )
    .unwrap();
}

/// What is compared of a file.
#[derive(Debug, PartialEq, Clone)]
struct Facts {
    mode: u32,
    nlink: u32,
    owner: (u32, u32),
    size: u64,
    mtime: (i64, u32),
    rdev: (u32, u32),
    ino: u32,
    blocks: u64,
    content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A digest keeps large trees comparable without holding them.
fn digest(b: &[u8]) -> Vec<u8> {
    let h = b.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, &c| {
        (h ^ u64::from(c)).wrapping_mul(0x100_0000_01b3)
    });
    h.to_le_bytes().to_vec()
}

/// Content, or for very large files its first and last megabyte.
fn sample(size: u64, read: impl Fn(u64, &mut [u8])) -> Vec<u8> {
    let mut b = vec![0; size.min(1 << 26) as usize];
    if size > 1 << 26 {
        b.resize(2 << 20, 0);
        let (x, y) = b.split_at_mut(1 << 20);
        read(0, x);
        read(size - (1 << 20), y);
    } else {
        read(0, &mut b);
    }
    digest(&b)
}

fn host_facts(p: &Path) -> Facts {
    let m = std::fs::symlink_metadata(p).unwrap();
    let content = if m.is_symlink() {
        std::fs::read_link(p)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec()
    } else if m.is_file() {
        let f = std::fs::File::open(p).unwrap();
        sample(m.len(), |at, b| f.read_exact_at(b, at).unwrap())
    } else {
        Vec::new()
    };
    let mut xattrs = BTreeMap::new();
    let mut names = vec![0; 4096];
    let n = rustix::fs::llistxattr(p, &mut names[..]).unwrap_or(0);
    for name in names[..n].split(|&b| b == 0).filter(|n| !n.is_empty()) {
        let mut v = vec![0; 4096];
        let n = rustix::fs::lgetxattr(p, name, &mut v[..]).unwrap();
        xattrs.insert(name.to_vec(), v[..n].to_vec());
    }
    let rdev = m.rdev();
    Facts {
        mode: m.mode(),
        nlink: m.nlink() as u32,
        owner: (m.uid(), m.gid()),
        size: m.len(),
        mtime: (m.mtime(), m.mtime_nsec() as u32),
        rdev: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        ino: m.ino() as u32,
        blocks: m.blocks(),
        content,
        xattrs,
    }
}

fn our_facts(fs: &TestFs, i: &TestInode) -> Facts {
    let a = i.attr();
    let content = match a.mode & 0o170_000 {
        0o120_000 => fs.readlink(i).unwrap(),
        0o100_000 => sample(a.size, |at, b| {
            let mut done = 0;
            while done < b.len() {
                done += fs.read_at(i, at + done as u64, &mut b[done..]).unwrap();
            }
        }),
        _ => Vec::new(),
    };
    let names = fs.listxattr(i).unwrap();
    let xattrs = names
        .split(|&b| b == 0)
        .filter(|n| !n.is_empty())
        .map(|n| (n.to_vec(), fs.getxattr(i, n).unwrap()))
        .collect();
    Facts {
        mode: u32::from(a.mode),
        nlink: a.nlink,
        owner: (a.uid, a.gid),
        size: a.size,
        mtime: (a.mtime.sec, a.mtime.nsec),
        rdev: a.rdev,
        ino: a.ino,
        blocks: a.blocks,
        content,
        xattrs,
    }
}

type Tree = BTreeMap<Vec<u8>, Facts>;

fn host_tree(root: &Path, rel: &Path, out: &mut Tree) {
    for e in std::fs::read_dir(root.join(rel)).unwrap() {
        let rel = rel.join(e.unwrap().file_name());
        let facts = host_facts(&root.join(&rel));
        let dir = facts.mode & 0o170_000 == 0o040_000;
        out.insert(rel.as_os_str().as_bytes().to_vec(), facts);
        if dir {
            host_tree(root, &rel, out);
        }
    }
}

fn our_tree(fs: &TestFs, dir: &TestInode, rel: &[u8], out: &mut Tree) {
    for (name, ino) in list(fs, dir) {
        if name == b"." || name == b".." {
            continue;
        }
        let mut path = rel.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        assert_eq!(fs.lookup(dir, &name).unwrap().0, ino);
        let i = fs.iget(ino).unwrap();
        let facts = our_facts(fs, &i);
        let is_dir = facts.mode & 0o170_000 == 0o040_000;
        out.insert(path.clone(), facts);
        if is_dir {
            our_tree(fs, &i, &path, out);
        }
        fs.iput(i).unwrap();
    }
}

fn same(a: &Tree, b: &Tree) {
    let (x, y): (Vec<_>, Vec<_>) = (a.keys().collect(), b.keys().collect());
    assert_eq!(x.len(), y.len());
    for (path, f) in a {
        assert_eq!(Some(f), b.get(path), "{}", String::from_utf8_lossy(path));
    }
}

const SETS: [(&str, &str, &[&str]); 5] = [
    ("linux4k", "600M", &["-N", "100000"]),
    (
        "linux-ext2",
        "600M",
        &["-t", "ext2", "-b", "1024", "-N", "100000"],
    ),
    ("linux-ext3", "600M", &["-t", "ext3", "-N", "100000"]),
    (
        "linux1k",
        "600M",
        &["-b", "1024", "-N", "100000", "-O", "large_dir"],
    ),
    (
        "linuxnew",
        "600M",
        &[
            "-N",
            "100000",
            "-O",
            "orphan_file,metadata_csum_seed,inline_data",
        ],
    ),
];

#[test]
fn reads_what_linux_wrote() {
    for (name, size, args) in SETS {
        let t = TempDir::new(name);
        let img = t.path("img");
        mkfs(&img, size, args);
        let Some(m) = Mount::new(&img, t.path("mnt")) else {
            return;
        };
        populate(&m.0);
        rustix::fs::sync();
        let mut theirs = Tree::new();
        host_tree(&m.0, Path::new(""), &mut theirs);
        drop(m);
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        let root = fs.root().unwrap();
        let mut ours = Tree::new();
        our_tree(&fs, &root, b"", &mut ours);
        same(&theirs, &ours);
        figures(format_args!("{name}: {} files of Linux equal", ours.len()));
        // And remove most of it again.
        let many = resolve(&fs, "/many").unwrap();
        for (n, ino) in list(&fs, &many).into_iter().filter(|e| e.0.len() > 2) {
            let f = fs.iget(ino).unwrap();
            fs.unlink(&many, &n, &f).unwrap();
            fs.iput(f).unwrap();
        }
        fs.rmdir(&root, b"many", &many).unwrap();
        fs.iput(many).unwrap();
        let f = resolve(&fs, "/scattered").unwrap();
        fs.unlink(&root, b"scattered", &f).unwrap();
        fs.iput(f).unwrap();
        fs.iput(root).unwrap();
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
    }
}

#[test]
fn recovers_what_linux_left() {
    let rounds = env("EXT4_ROUNDS", 1) as usize;
    for round in 0..rounds {
        if !recover_from_linux(round) {
            return;
        }
    }
    figures(format_args!(
        "{} images left dirty by Linux recovered",
        5 * rounds
    ));
}

/// Takes images from under Linux, each later than in the round before; `false` where nothing can be mounted.
fn recover_from_linux(round: usize) -> bool {
    for (name, args) in [
        ("dirty", &["-b", "4096"][..]),
        ("dirty1k", &["-b", "1024"]),
        ("dirtyorphan", &["-O", "orphan_file"]),
        ("dirtyold", &["-O", "^metadata_csum,^64bit"]),
        ("dirty-ext3", &["-t", "ext3", "-b", "1024"]),
    ] {
        let t = TempDir::new(name);
        let img = t.path("img");
        mkfs(&img, "64M", args);
        let Some(m) = Mount::new(&img, t.path("mnt")) else {
            return false;
        };
        let open = std::fs::File::create(m.0.join("orphan")).unwrap();
        open.write_all_at(&[1; 100_000], 0).unwrap();
        open.sync_all().unwrap();
        std::fs::remove_file(m.0.join("orphan")).unwrap();
        let cut = std::fs::File::create(m.0.join("cut")).unwrap();
        cut.write_all_at(&[2; 300_000], 0).unwrap();
        for i in 0..300 + round * 13 {
            let d = m.0.join(format!("d{}", i % 7));
            std::fs::create_dir_all(&d).unwrap();
            let f = std::fs::File::create(d.join(format!("f{i}"))).unwrap();
            f.write_all_at(&vec![i as u8; i * (50 + round % 20)], 0)
                .unwrap();
            if i % 3 == 0 {
                std::fs::remove_file(d.join(format!("f{i}"))).unwrap();
            } else if i % 10 == 0 {
                f.sync_all().unwrap();
            }
        }
        cut.set_len(5).unwrap();
        std::fs::File::open(&m.0).unwrap().sync_all().unwrap();
        rustix::fs::syncfs(&open).unwrap();
        let mut theirs = Tree::new();
        host_tree(&m.0, Path::new(""), &mut theirs);
        // The image as a power cut at this moment would leave it.
        let dirty = std::fs::read(&img).unwrap();
        drop((open, cut));
        drop(m);
        let disk = RamDisk::new(dirty);
        let fs = mount(disk.clone());
        let root = fs.root().unwrap();
        let mut ours = Tree::new();
        our_tree(&fs, &root, b"", &mut ours);
        same(&theirs, &ours);
        fs.iput(root).unwrap();
        fs.unmount().unwrap();
        disk.save(&img);
        fsck(&img);
    }
    true
}

#[test]
fn linux_recovers_what_we_left() {
    let rounds = env("EXT4_ROUNDS", 1) as usize;
    for round in 0..rounds {
        if !recover_by_linux(round) {
            return;
        }
    }
    figures(format_args!(
        "{} images left dirty by us recovered by Linux",
        6 * rounds
    ));
}

fn recover_by_linux(round: usize) -> bool {
    for (name, args) in [
        ("ours", &["-b", "4096"][..]),
        ("ours1k", &["-b", "1024", "-J", "size=1"]),
        ("oursorphan", &["-O", "orphan_file,metadata_csum_seed"]),
        ("oursold", &["-O", "^metadata_csum,^64bit"]),
        ("ours-ext3", &["-t", "ext3", "-b", "1024", "-I", "128"]),
        ("ours-ext2", &["-t", "ext2", "-b", "1024"]),
    ] {
        let t = TempDir::new(name);
        let img = t.path("img");
        mkfs(&img, "64M", args);
        let disk = RamDisk::load(&img);
        let fs = mount(disk.clone());
        let root = fs.root().unwrap();
        let open = fs.create(&root, b"orphan", &file(0o600)).unwrap();
        fs.write_at(&open, 0, &[1; 100_000]).unwrap();
        fs.unlink(&root, b"orphan", &open).unwrap();
        for i in 0..7 {
            let d = fs
                .create(&root, format!("d{i}").as_bytes(), &directory(0o755))
                .unwrap();
            for k in 0..100 + round % 30 {
                let name = format!("f{k}-{}", "n".repeat(k));
                let f = fs.create(&d, name.as_bytes(), &file(0o640)).unwrap();
                fs.write_at(&f, 0, &vec![k as u8; k * (70 + round % 50)])
                    .unwrap();
                fs.setxattr(&f, b"user.k", name.as_bytes(), XattrMode::Set)
                    .unwrap();
                if k % 3 == 0 {
                    fs.unlink(&d, name.as_bytes(), &f).unwrap();
                }
                fs.iput(f).unwrap();
            }
            let s = fs.symlink(&d, b"link", &[b't'; 100], &file(0)).unwrap();
            fs.iput(s).unwrap();
            fs.iput(d).unwrap();
        }
        let big = fs.create(&root, b"big", &file(0o644)).unwrap();
        for i in (0..150u64).rev() {
            fs.write_at(&big, i * 97_000, &vec![i as u8; 9_000 + i as usize * 300])
                .unwrap();
        }
        fs.truncate(&big, 12_000_000).unwrap();
        fs.iput(big).unwrap();
        fs.sync().unwrap();
        let mut ours = Tree::new();
        our_tree(&fs, &root, b"", &mut ours);
        assert_eq!(fs.lookup(&root, b"orphan"), Err(Errno::ENOENT));
        if name == "ours-ext2" {
            // Nothing to recover it with.
            fs.unmount().unwrap();
        }
        disk.save(&img);
        let Some(m) = Mount::new(&img, t.path("mnt")) else {
            return false;
        };
        let mut theirs = Tree::new();
        host_tree(&m.0, Path::new(""), &mut theirs);
        same(&ours, &theirs);
        drop(m);
        fsck(&img);
    }
    true
}
