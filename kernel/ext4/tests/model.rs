//! Random operations against a model in memory, over all block sizes, with `e2fsck` as the judge.
//!
//! `EXT4_OPS` sets the number of operations for each image (default 4000), `EXT4_SEED` the seed.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::cache::PageCache;
use common::*;
use keel_ext4::{Errno, FallocateMode, RenameMode, SetAttr, XattrMode, inode_flags};

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Dir(BTreeMap<Vec<u8>, usize>),
    File(Vec<u8>),
    Link(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Node {
    body: Body,
    mode: u16,
    links: u32,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    parent: usize,
    ino: u32,
}

struct World {
    nodes: BTreeMap<usize, Node>,
    next: usize,
    cache: PageCache,
    open: BTreeMap<usize, TestInode>,
    rng: Rng,
    max_file: u64,
}

const ROOT: usize = 0;

impl World {
    fn new(fs: TestFs, dev: Arc<RamDisk>, seed: u64, max_file: u64) -> Self {
        let mut root = BTreeMap::new();
        root.insert(b"lost+found".to_vec(), 1);
        let mut nodes = BTreeMap::new();
        let dir = |m: BTreeMap<Vec<u8>, usize>, links, mode, ino| Node {
            body: Body::Dir(m),
            mode,
            links,
            xattrs: BTreeMap::new(),
            parent: ROOT,
            ino,
        };
        nodes.insert(ROOT, dir(root, 3, 0o755, 2));
        nodes.insert(1, dir(BTreeMap::new(), 2, 0o700, 11));
        Self {
            nodes,
            next: 2,
            cache: PageCache::new(fs, dev),
            open: BTreeMap::new(),
            rng: Rng(seed | 1),
            max_file,
        }
    }

    fn inode(&mut self, id: usize) -> TestInode {
        if let Some(i) = self.open.get(&id) {
            return i.clone();
        }
        let i = self.cache.fs.iget(self.nodes[&id].ino).unwrap();
        self.open.insert(id, i.clone());
        i
    }

    fn name(&mut self) -> Vec<u8> {
        let n = self.rng.below(60);
        match self.rng.below(10) {
            0 => format!("{}-{n}", "long".repeat(50)).into_bytes(),
            1 => vec![0xff, 0xfe, n as u8 | 0x80],
            _ => format!("n{n}").into_bytes(),
        }
    }

    fn pick(&mut self, want: impl Fn(&Body) -> bool) -> Option<usize> {
        let all: Vec<usize> = self
            .nodes
            .iter()
            .filter(|(k, n)| **k != 1 && n.links > 0 && want(&n.body))
            .map(|(k, _)| *k)
            .collect();
        if all.is_empty() {
            None
        } else {
            Some(all[self.rng.below(all.len() as u64) as usize])
        }
    }

    fn dir(&mut self) -> usize {
        self.pick(|b| matches!(b, Body::Dir(_))).unwrap()
    }

    fn entries(&mut self, id: usize) -> &mut BTreeMap<Vec<u8>, usize> {
        match &mut self.nodes.get_mut(&id).unwrap().body {
            Body::Dir(m) => m,
            _ => unreachable!(),
        }
    }

    /// A random existing name: directory, name, node.
    fn entry(&mut self) -> Option<(usize, Vec<u8>, usize)> {
        for _ in 0..5 {
            let d = self.dir();
            let n = self.entries(d).len() as u64;
            if n == 0 {
                continue;
            }
            let k = self.rng.below(n) as usize;
            let (name, id) = self
                .entries(d)
                .iter()
                .nth(k)
                .map(|(a, b)| (a.clone(), *b))
                .unwrap();
            if id != 1 {
                return Some((d, name, id));
            }
        }
        None
    }

    fn is_below(&self, mut id: usize, top: usize) -> bool {
        loop {
            if id == top {
                return true;
            }
            if id == ROOT {
                return false;
            }
            id = self.nodes[&id].parent;
        }
    }

    fn create(&mut self) {
        let d = self.dir();
        let name = self.name();
        let dir = self.inode(d);
        let exists = self.entries(d).contains_key(&name);
        let (r, body, links, mode) = match self.rng.below(6) {
            0 => (
                self.cache.fs.create(&dir, &name, &directory(0o750)),
                Body::Dir(BTreeMap::new()),
                2,
                0o750,
            ),
            1 => {
                let n = 1 + self.rng.below(120) as usize;
                let target: Vec<u8> = (0..n).map(|i| b'a' + (i % 26) as u8).collect();
                (
                    self.cache.fs.symlink(&dir, &name, &target, &file(0)),
                    Body::Link(target),
                    1,
                    0o777,
                )
            }
            _ => (
                self.cache.fs.create(&dir, &name, &file(0o640)),
                Body::File(Vec::new()),
                1,
                0o640,
            ),
        };
        match r {
            Ok(i) => {
                assert!(!exists);
                let id = self.next;
                self.next += 1;
                let is_dir = matches!(body, Body::Dir(_));
                let ino = i.ino();
                let xattrs = BTreeMap::new();
                self.nodes.insert(
                    id,
                    Node {
                        body,
                        mode,
                        links,
                        xattrs,
                        parent: d,
                        ino,
                    },
                );
                self.open.insert(id, i);
                self.entries(d).insert(name, id);
                if is_dir {
                    self.nodes.get_mut(&d).unwrap().links += 1;
                }
            }
            Err(Errno::EEXIST) => assert!(exists),
            Err(Errno::ENOSPC) => {}
            Err(e) => panic!("create: {e}"),
        }
    }

    fn file(&mut self) -> Option<usize> {
        self.pick(|b| matches!(b, Body::File(_)))
    }

    fn data(&mut self, id: usize) -> &mut Vec<u8> {
        match &mut self.nodes.get_mut(&id).unwrap().body {
            Body::File(d) => d,
            _ => unreachable!(),
        }
    }

    fn position(&mut self, size: u64) -> u64 {
        match self.rng.below(4) {
            0 => size,
            1 => self.rng.below(self.max_file),
            _ => self.rng.below(size + 1),
        }
    }

    fn write(&mut self) {
        let Some(id) = self.file() else { return };
        let size = self.data(id).len() as u64;
        let pos = self.position(size);
        let len = match self.rng.below(3) {
            0 => 1 + self.rng.below(100),
            1 => 1 + self.rng.below(5000),
            _ => 1 + self.rng.below(60_000),
        };
        let fill = self.rng.next() as u8;
        let bytes: Vec<u8> = (0..len).map(|i| fill.wrapping_add(i as u8)).collect();
        let inode = self.inode(id);
        match self.cache.write(&inode, pos, &bytes) {
            Ok(()) => {
                let d = self.data(id);
                let end = (pos + len) as usize;
                if d.len() < end {
                    d.resize(end, 0);
                }
                d[pos as usize..end].copy_from_slice(&bytes);
            }
            Err(Errno::ENOSPC) => {}
            Err(e) => panic!("write: {e}"),
        }
    }

    fn truncate(&mut self) {
        let Some(id) = self.file() else { return };
        let size = self.data(id).len() as u64;
        let to = self.position(size);
        let inode = self.inode(id);
        self.cache.truncate(&inode, to).unwrap();
        self.data(id).resize(to as usize, 0);
    }

    fn fallocate(&mut self) {
        let Some(id) = self.file() else { return };
        let bs = u64::from(self.cache.fs.block_size());
        let size = self.data(id).len() as u64;
        let mut pos = self.rng.below(size + 10_000);
        let mut len = 1 + self.rng.below(40_000);
        let mode = match self.rng.below(7) {
            0 => FallocateMode::Allocate { keep_size: true },
            1 => FallocateMode::Allocate { keep_size: false },
            2 => FallocateMode::PunchHole,
            3 => FallocateMode::ZeroRange { keep_size: true },
            4 => FallocateMode::ZeroRange { keep_size: false },
            5 => FallocateMode::Collapse,
            _ => FallocateMode::Insert,
        };
        let moves = matches!(mode, FallocateMode::Collapse | FallocateMode::Insert);
        if moves {
            pos = pos / bs * bs;
            len = len.next_multiple_of(bs);
            if size + len > 4 * self.max_file {
                return;
            }
        }
        let inode = self.inode(id);
        let mapped = inode.attr().flags & inode_flags::EXTENTS == 0;
        let r = self.cache.fallocate(&inode, mode, pos, len);
        if mapped
            && inode.attr().flags & inode_flags::EXTENTS == 0
            && mode != FallocateMode::PunchHole
        {
            assert_eq!(r, Err(Errno::EOPNOTSUPP));
            return;
        }
        let expect_invalid = match mode {
            FallocateMode::Collapse => pos + len >= size,
            FallocateMode::Insert => pos >= size,
            _ => false,
        };
        if expect_invalid {
            assert_eq!(r, Err(Errno::EINVAL));
            return;
        }
        match r {
            Ok(()) => {}
            Err(Errno::ENOSPC) if !moves => {
                // Part of it may have been done; only zeroing and punching change content.
                let now = self.cache.read(&inode, 0, inode.size() as usize).unwrap();
                *self.data(id) = now;
                return;
            }
            Err(e) => panic!("fallocate {mode:?}: {e}"),
        }
        let d = self.data(id);
        let end = pos + len;
        let (p, e) = (pos as usize, end as usize);
        match mode {
            FallocateMode::Allocate { keep_size } => {
                if !keep_size && e > d.len() {
                    d.resize(e, 0);
                }
            }
            FallocateMode::PunchHole | FallocateMode::ZeroRange { keep_size: true } => {
                let n = d.len();
                d[p.min(n)..e.min(n)].fill(0);
            }
            FallocateMode::ZeroRange { keep_size: false } => {
                if e > d.len() {
                    d.resize(e, 0);
                }
                d[p..e].fill(0);
            }
            FallocateMode::Collapse => {
                d.drain(p..e);
            }
            FallocateMode::Insert => {
                let tail = d.split_off(p);
                d.resize(e, 0);
                d.extend(tail);
            }
        }
    }

    fn drop_link(&mut self, id: usize) {
        let n = self.nodes.get_mut(&id).unwrap();
        n.links = if matches!(n.body, Body::Dir(_)) {
            0
        } else {
            n.links - 1
        };
        if n.links == 0 {
            // Some unlinked files stay open for a while.
            if self.rng.below(3) != 0 {
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: usize) {
        let ino = self.nodes[&id].ino;
        if self.nodes[&id].links == 0 {
            self.cache.forget(ino);
            self.nodes.remove(&id);
        }
        if let Some(i) = self.open.remove(&id) {
            if self.nodes.contains_key(&id) {
                match self.cache.write_back(&i) {
                    Ok(()) => {}
                    Err(e) => panic!("write-back: {e}"),
                }
                self.cache.forget(ino);
            }
            self.cache.fs.iput(i).unwrap();
        }
    }

    fn remove(&mut self) {
        let Some((d, name, id)) = self.entry() else {
            return;
        };
        let dir = self.inode(d);
        let inode = self.inode(id);
        if let Body::Dir(m) = &self.nodes[&id].body {
            let empty = m.is_empty();
            let r = self.cache.fs.rmdir(&dir, &name, &inode);
            assert_eq!(r, if empty { Ok(()) } else { Err(Errno::ENOTEMPTY) });
            if !empty {
                return;
            }
            self.nodes.get_mut(&d).unwrap().links -= 1;
        } else {
            self.cache.fs.unlink(&dir, &name, &inode).unwrap();
        }
        self.entries(d).remove(&name);
        drop(inode);
        self.drop_link(id);
    }

    fn link(&mut self) {
        let Some((_, _, id)) = self.entry() else {
            return;
        };
        if matches!(self.nodes[&id].body, Body::Dir(_)) {
            return;
        }
        let d = self.dir();
        let name = self.name();
        let (dir, inode) = (self.inode(d), self.inode(id));
        let exists = self.entries(d).contains_key(&name);
        match self.cache.fs.link(&dir, &name, &inode) {
            Ok(()) => {
                assert!(!exists);
                self.entries(d).insert(name, id);
                self.nodes.get_mut(&id).unwrap().links += 1;
            }
            Err(Errno::EEXIST) => assert!(exists),
            Err(Errno::ENOSPC) => {}
            Err(e) => panic!("link: {e}"),
        }
    }

    fn rename(&mut self) {
        let Some((d, name, id)) = self.entry() else {
            return;
        };
        let to = self.dir();
        let new = if self.rng.below(3) == 0 {
            let n = self.entries(to).len() as u64;
            if n == 0 {
                return;
            }
            let k = self.rng.below(n) as usize;
            self.entries(to).keys().nth(k).cloned().unwrap()
        } else {
            self.name()
        };
        let target = self.entries(to).get(&new).copied();
        let exchange = target.is_some() && self.rng.below(3) == 0;
        let is_dir = |w: &Self, i: usize| matches!(w.nodes[&i].body, Body::Dir(_));
        if target == Some(1)
            || (is_dir(self, id) && self.is_below(to, id))
            || target.is_some_and(|t| is_dir(self, t) && self.is_below(d, t))
        {
            return;
        }
        let (a, b, i) = (self.inode(d), self.inode(to), self.inode(id));
        let t = target.map(|t| self.inode(t));
        let mode = if exchange {
            RenameMode::Exchange
        } else {
            RenameMode::Replace
        };
        let r = self
            .cache
            .fs
            .rename(&a, &name, &i, &b, &new, t.as_deref(), mode);
        drop((i, t));
        if let Some(t) = target.filter(|_| !exchange) {
            let err = match (is_dir(self, id), is_dir(self, t)) {
                (true, false) => Some(Errno::ENOTDIR),
                (false, true) => Some(Errno::EISDIR),
                (true, true) if !self.entries(t).is_empty() => Some(Errno::ENOTEMPTY),
                _ => None,
            };
            // The same directory renamed to itself is fine even when it is full.
            if let Some(e) = err.filter(|_| t != id) {
                assert_eq!(r, Err(e));
                return;
            }
            if t == id && err.is_some() {
                return;
            }
        }
        match r {
            Ok(()) => {}
            Err(Errno::ENOSPC) => return,
            Err(e) => panic!("rename: {e}"),
        }
        if target == Some(id) {
            return;
        }
        let (i_dir, t_dir) = (is_dir(self, id), target.is_some_and(|t| is_dir(self, t)));
        if let Some(t) = target.filter(|_| exchange) {
            self.entries(d).insert(name, t);
            self.entries(to).insert(new, id);
            self.nodes.get_mut(&t).unwrap().parent = d;
            self.nodes.get_mut(&id).unwrap().parent = to;
            if t_dir {
                self.nodes.get_mut(&to).unwrap().links -= 1;
                self.nodes.get_mut(&d).unwrap().links += 1;
            }
            if i_dir {
                self.nodes.get_mut(&d).unwrap().links -= 1;
                self.nodes.get_mut(&to).unwrap().links += 1;
            }
            return;
        }
        self.entries(d).remove(&name);
        self.entries(to).insert(new, id);
        self.nodes.get_mut(&id).unwrap().parent = to;
        if i_dir {
            self.nodes.get_mut(&d).unwrap().links -= 1;
            self.nodes.get_mut(&to).unwrap().links += 1;
        }
        if let Some(t) = target {
            if t_dir {
                self.nodes.get_mut(&to).unwrap().links -= 1;
            }
            self.drop_link(t);
        }
    }

    fn attributes(&mut self) {
        let Some((_, _, id)) = self.entry() else {
            return;
        };
        let inode = self.inode(id);
        if self.rng.below(3) == 0 && !matches!(self.nodes[&id].body, Body::Link(_)) {
            let mode = self.rng.below(0o10000) as u16;
            self.cache
                .fs
                .set_attr(
                    &inode,
                    &SetAttr {
                        mode: Some(mode),
                        ..SetAttr::default()
                    },
                )
                .unwrap();
            self.nodes.get_mut(&id).unwrap().mode = mode;
            return;
        }
        let name = format!("user.a{}", self.rng.below(6)).into_bytes();
        let value = vec![id as u8; self.rng.below(300) as usize];
        let had = self.nodes[&id].xattrs.contains_key(&name);
        if self.rng.below(3) == 0 {
            let r = self.cache.fs.removexattr(&inode, &name);
            assert_eq!(r, if had { Ok(()) } else { Err(Errno::ENODATA) });
            self.nodes.get_mut(&id).unwrap().xattrs.remove(&name);
            return;
        }
        match self
            .cache
            .fs
            .setxattr(&inode, &name, &value, XattrMode::Set)
        {
            Ok(()) => {
                self.nodes.get_mut(&id).unwrap().xattrs.insert(name, value);
            }
            Err(Errno::ENOSPC) => {}
            Err(e) => panic!("setxattr: {e}"),
        }
    }

    fn flush_some(&mut self) {
        let ids: Vec<usize> = self.open.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.rng.below(ids.len() as u64) as usize];
        let inode = self.open[&id].clone();
        match self.rng.below(4) {
            0 => self.cache.write_back(&inode).unwrap(),
            1 => self.cache.fsync(&inode, true).unwrap(),
            2 => self.cache.fsync(&inode, false).unwrap(),
            _ => {
                drop(inode);
                if id != ROOT {
                    self.close(id);
                }
            }
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..=19 => self.create(),
            20..=44 => self.write(),
            45..=51 => self.truncate(),
            52..=59 => self.fallocate(),
            60..=69 => self.remove(),
            70..=73 => self.link(),
            74..=83 => self.rename(),
            84..=90 => self.attributes(),
            91..=98 => self.flush_some(),
            _ => self.cache.fs.commit().unwrap(),
        }
    }

    /// Every node reachable equals the model.
    fn check(&mut self) {
        let ids: Vec<usize> = self.nodes.keys().copied().collect();
        for id in ids {
            let n = self.nodes[&id].clone();
            let inode = self.inode(id);
            let a = inode.attr();
            assert_eq!(a.nlink, n.links, "links of {id}");
            assert_eq!(a.mode & 0o7777, n.mode);
            match &n.body {
                Body::Dir(m) if n.links > 0 => {
                    let mut ours = list(&self.cache.fs, &inode);
                    ours.retain(|e| e.0 != b"." && e.0 != b"..");
                    ours.sort();
                    let theirs: Vec<(Vec<u8>, u32)> = m
                        .iter()
                        .map(|(k, v)| (k.clone(), self.nodes[v].ino))
                        .collect();
                    assert_eq!(ours, theirs);
                    let up = self.cache.fs.lookup(&inode, b"..").unwrap().0;
                    assert_eq!(up, self.nodes[&n.parent].ino);
                }
                Body::Dir(_) => {}
                Body::File(d) => {
                    assert_eq!(a.size, d.len() as u64, "size of {id}");
                    let got = self.cache.read(&inode, 0, d.len()).unwrap();
                    assert!(got == *d, "content of {id}");
                    self.check_holes(&inode, d);
                }
                Body::Link(t) => assert_eq!(self.cache.fs.readlink(&inode).unwrap(), *t),
            }
            let mut names: Vec<Vec<u8>> = self
                .cache
                .fs
                .listxattr(&inode)
                .unwrap()
                .split(|&b| b == 0)
                .filter(|n| !n.is_empty())
                .map(<[u8]>::to_vec)
                .collect();
            names.sort();
            assert_eq!(names, n.xattrs.keys().cloned().collect::<Vec<_>>());
            for (k, v) in &n.xattrs {
                assert_eq!(&self.cache.fs.getxattr(&inode, k).unwrap(), v);
            }
        }
    }

    /// What SEEK_HOLE finds holds zeroes only, and the two kinds of seek take turns up to the end.
    fn check_holes(&self, inode: &TestInode, content: &[u8]) {
        let fs = &self.cache.fs;
        let mut at = 0;
        while at < content.len() as u64 {
            let hole = fs.seek_hole(inode, at).unwrap();
            assert!(hole >= at && hole <= content.len() as u64);
            let data = match fs.seek_data(inode, hole) {
                Ok(d) => d,
                Err(e) => {
                    assert_eq!(e, Errno::ENXIO);
                    content.len() as u64
                }
            };
            assert!(
                content[hole as usize..data as usize]
                    .iter()
                    .all(|&b| b == 0)
            );
            assert!(data > at);
            at = data;
        }
    }

    /// Closes everything and unmounts.
    fn finish(mut self) -> BTreeMap<usize, Node> {
        let ids: Vec<usize> = self.open.keys().copied().collect();
        for id in ids {
            self.close(id);
        }
        self.nodes.retain(|_, n| n.links > 0);
        self.cache.fs.unmount().unwrap();
        self.nodes
    }
}

fn run(name: &str, size: &str, args: &[&str], max_file: u64) {
    let ops = env("EXT4_OPS", 4000);
    let seed = env("EXT4_SEED", 7);
    let t = TempDir::new(name);
    let img = t.path("img");
    mkfs(&img, size, args);
    let disk = RamDisk::load(&img);
    let mut w = World::new(mount(disk.clone()), disk.clone(), seed, max_file);
    let rounds = ops.div_ceil(2000).max(1);
    for _ in 0..rounds {
        for _ in 0..ops / rounds {
            w.step();
        }
        w.check();
        let (next, rng) = (w.next, Rng(w.rng.next() | 1));
        let old = w.cache.fs.clone();
        let nodes = w.finish();
        disk.save(&img);
        fsck(&img);
        let cache = PageCache::new(mount(disk.clone()), disk.clone());
        let (counted, there) = (old.statfs().blocks_free, cache.fs.statfs().blocks_free);
        assert_eq!(counted, there, "promises or claims were lost");
        w = World {
            nodes,
            next,
            cache,
            open: BTreeMap::new(),
            rng,
            max_file,
        };
        w.check();
    }
    w.finish();
    disk.save(&img);
    fsck(&img);
    figures(format_args!(
        "{name}: {} operations, {} checks against the model and e2fsck",
        ops / rounds * rounds,
        rounds + 1
    ));
}

#[test]
fn blocks_4k() {
    run("model4k", "128M", &["-b", "4096"], 400_000);
}

#[test]
fn blocks_1k() {
    run("model1k", "96M", &["-b", "1024"], 300_000);
}

#[test]
fn blocks_2k_no_journal() {
    run(
        "model2k",
        "96M",
        &["-b", "2048", "-O", "^has_journal"],
        300_000,
    );
}

#[test]
fn old_checksums() {
    run(
        "modelold",
        "96M",
        &["-O", "^metadata_csum,^64bit,uninit_bg"],
        300_000,
    );
}

#[test]
fn new_features() {
    let features = "orphan_file,metadata_csum_seed,inline_data,large_dir,ea_inode";
    run("modelnew", "96M", &["-b", "1024", "-O", features], 300_000);
}

#[test]
fn small_inodes() {
    run(
        "model128",
        "96M",
        &["-I", "128", "-O", "^extra_isize,^metadata_csum"],
        300_000,
    );
}

#[test]
fn ext2_1k() {
    let args = ["-t", "ext2", "-b", "1024"];
    run("model-ext2-1k", "96M", &args, 400_000);
}

#[test]
fn ext2_4k_small_inodes() {
    let args = ["-t", "ext2", "-b", "4096", "-I", "128", "-O", "^dir_index"];
    run("model-ext2-4k", "128M", &args, 400_000);
}

#[test]
fn ext2_revision_0() {
    run("model-ext2-r0", "96M", &["-t", "ext2", "-r", "0"], 300_000);
}

#[test]
fn ext3_1k_small_inodes() {
    let args = ["-t", "ext3", "-b", "1024", "-I", "128"];
    run("model-ext3-1k", "96M", &args, 400_000);
}

#[test]
fn ext3_2k() {
    run(
        "model-ext3-2k",
        "96M",
        &["-t", "ext3", "-b", "2048"],
        400_000,
    );
}

#[test]
fn block_maps_with_checksums() {
    let args = ["-b", "1024", "-O", "^extent,^64bit,inline_data"];
    run("model-maps", "96M", &args, 400_000);
}

/// So small that it is full most of the time.
#[test]
fn full_ext2() {
    let args = ["-t", "ext2", "-b", "1024", "-N", "200", "-m", "0"];
    run("model-full2", "4M", &args, 1_200_000);
}

/// The same with a journal.
#[test]
fn full_ext3() {
    let args = ["-t", "ext3", "-b", "1024", "-N", "200", "-J", "size=1"];
    run("model-full3", "6M", &args, 1_200_000);
}

/// So small that it is full most of the time.
#[test]
fn full_disk() {
    run("modelfull", "6M", &["-b", "1024", "-N", "200"], 200_000);
}
