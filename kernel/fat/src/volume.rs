//! A mounted volume and its files.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use keel_abi::{Errno, Result};

use crate::Device;
use crate::blocks::Blocks;
use crate::boot::{self, Layout, Width};
use crate::dir::{self, Found, Raw, Reader, Record, Step};
use crate::name;
use crate::table::Table;
use crate::time::Time;

/// A loaded file or directory; never used again for another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub u64);

/// What is known of a file.
#[derive(Clone, Debug)]
pub struct Attr {
    /// A directory.
    pub is_dir: bool,
    /// Cannot be written.
    pub read_only: bool,
    /// Bytes; of a directory what its clusters hold.
    pub size: u64,
    /// Bytes taken on the disk.
    pub taken: u64,
    /// Links: 1, and for directories 2 and one for each directory in it.
    pub links: u32,
    /// Creation.
    pub created: Time,
    /// Last access: a day.
    pub accessed: Time,
    /// Last change of contents: even seconds.
    pub written: Time,
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// A directory.
    pub is_dir: bool,
    /// The node, if it is loaded.
    pub node: Option<NodeId>,
    /// Where its entry is on the disk: different for all.
    pub place: u64,
    /// Where to go on reading.
    pub next: u32,
}

/// Space of a volume.
#[derive(Clone, Copy, Debug)]
pub struct StatFs {
    /// Bytes of a cluster.
    pub cluster: u32,
    /// Clusters.
    pub clusters: u32,
    /// Free ones.
    pub free: u32,
}

struct Node {
    record: Record,
    is_dir: bool,
    /// The directory, the name there, and the entries; `None` for the root and for what has been deleted.
    home: Option<(NodeId, String, u32, u32)>,
    /// Its clusters in order, as far as they are known.
    chain: Vec<u32>,
    /// `chain` is all of them.
    complete: bool,
    /// The entry on the disk is older than `record`.
    dirty: bool,
    deleted: bool,
}

/// A mounted volume.
pub struct Volume {
    layout: Layout,
    blocks: Blocks,
    table: Table,
    nodes: BTreeMap<NodeId, Node>,
    /// Loaded nodes by directory and short entry.
    by_place: BTreeMap<(NodeId, u32), NodeId>,
    last: u64,
    read_only: bool,
    /// The dirty bit was set when it was mounted: it has not been unmounted properly before.
    was_dirty: bool,
}

impl Volume {
    /// The root directory.
    pub const ROOT: NodeId = NodeId(1);
    /// Most bytes of a file.
    pub const MAX_SIZE: u64 = u32::MAX as u64;

    /// Mounts a volume: EINVAL for what is no FAT.
    pub fn mount(device: Arc<dyn Device>, read_only: bool) -> Result<Self> {
        let layout = boot::read(&*device)?;
        let mut blocks = Blocks::new(device);
        let mut state = [0];
        blocks.read(layout.state, &mut state)?;
        let was_dirty = state[0] & 1 != 0;
        let table = Table::new(&layout, &mut blocks, !was_dirty)?;
        let root = Node {
            record: Record {
                short: *b"           ",
                attributes: dir::DIRECTORY,
                case: 0,
                cluster: layout.root_cluster,
                size: 0,
                created: Time::default(),
                accessed: Time::default(),
                written: Time::default(),
            },
            is_dir: true,
            home: None,
            chain: Vec::new(),
            complete: false,
            dirty: false,
            deleted: false,
        };
        let mut volume = Self {
            layout,
            blocks,
            table,
            nodes: BTreeMap::from([(Self::ROOT, root)]),
            by_place: BTreeMap::new(),
            last: Self::ROOT.0,
            read_only,
            was_dirty,
        };
        if !read_only {
            volume.set_state(true)?;
        }
        Ok(volume)
    }

    /// Whether the volume was not unmounted properly before this mount.
    pub fn was_dirty(&self) -> bool {
        self.was_dirty
    }

    /// The serial number.
    pub fn volume_id(&self) -> u32 {
        self.layout.volume_id
    }

    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> u32 {
        self.layout.cluster
    }

    /// The bit that says "in use": fsck looks at it. A volume that was dirty stays so.
    fn set_state(&mut self, in_use: bool) -> Result<()> {
        if self.was_dirty {
            return Ok(());
        }
        let mut state = [0];
        self.blocks.read(self.layout.state, &mut state)?;
        state[0] = state[0] & !1 | u8::from(in_use);
        self.blocks.write(self.layout.state, &state)?;
        self.sync()
    }

    /// Between read-only and writable.
    pub fn remount(&mut self, read_only: bool) -> Result<()> {
        if read_only && !self.read_only {
            self.set_state(false)?;
        } else if !read_only && self.read_only {
            self.set_state(true)?;
        }
        self.read_only = read_only;
        Ok(())
    }

    /// The last thing: everything is written, and the volume marked clean.
    pub fn unmount(&mut self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.sync()?;
        self.set_state(false)
    }

    /// Writes all that has changed in table and directories, and makes the device keep it.
    pub fn sync(&mut self) -> Result<()> {
        let dirty: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.dirty)
            .map(|(id, _)| *id)
            .collect();
        for id in dirty {
            self.store(id)?;
        }
        self.table.store_info(&self.layout, &mut self.blocks)?;
        let copies: Vec<u64> = (1..self.layout.copies)
            .map(|n| u64::from(n) * self.layout.table_size)
            .collect();
        let (from, size) = (self.layout.tables, self.layout.table_size);
        self.blocks.sync(from, from + size, &copies)?;
        self.blocks.device.flush()
    }

    /// Space.
    pub fn statfs(&mut self) -> Result<StatFs> {
        Ok(StatFs {
            cluster: self.layout.cluster,
            clusters: self.layout.clusters,
            free: self.table.free_count(&self.layout, &mut self.blocks)?,
        })
    }

    fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(&id).ok_or(Errno::ESTALE)
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or(Errno::ESTALE)
    }

    fn is_fixed_root(&self, id: NodeId) -> bool {
        id == Self::ROOT && self.layout.width != Width::Fat32
    }

    // ---- chains ----

    /// Knows at least `count` clusters of a file, if it has so many.
    fn follow(&mut self, id: NodeId, count: usize) -> Result<()> {
        let (layout, table) = (&self.layout, &self.table);
        let node = self.nodes.get_mut(&id).ok_or(Errno::ESTALE)?;
        if node.chain.is_empty() && !node.complete {
            match node.record.cluster {
                0 => node.complete = true,
                first => node.chain.push(first),
            }
        }
        while !node.complete && node.chain.len() < count {
            let last = node.chain.last().copied().ok_or(Errno::EIO)?;
            match table.next_of(layout, &mut self.blocks, last)? {
                // A chain longer than the volume runs in a circle.
                Some(_) if node.chain.len() > layout.clusters as usize => return Err(Errno::EIO),
                Some(next) => node.chain.push(next),
                None => node.complete = true,
            }
        }
        Ok(())
    }

    /// Where the bytes from `offset` on are, and how many of them lie together; `None` behind the last cluster.
    pub fn map(&mut self, id: NodeId, offset: u64) -> Result<Option<(u64, u64)>> {
        if self.is_fixed_root(id) {
            let left = self.layout.fixed_root_size.saturating_sub(offset);
            return Ok((left > 0).then_some((self.layout.fixed_root + offset, left)));
        }
        let size = u64::from(self.layout.cluster);
        let index = usize::try_from(offset / size).map_err(|_| Errno::EFBIG)?;
        // What comes next is wanted next.
        self.follow(id, index.saturating_add(64))?;
        let chain = &self.node(id)?.chain;
        let Some(rest) = chain.get(index..).filter(|rest| !rest.is_empty()) else {
            return Ok(None);
        };
        let together = rest
            .iter()
            .zip(rest[0]..)
            .take_while(|(cluster, expected)| *cluster == expected)
            .count() as u64;
        let within = offset % size;
        let place = self.layout.place(rest[0]) + within;
        Ok(Some((place, together * size - within)))
    }

    /// Gives a file clusters for `size` bytes: ENOSPC, EFBIG.
    pub fn reserve(&mut self, id: NodeId, size: u64) -> Result<()> {
        if size > Self::MAX_SIZE && !self.node(id)?.is_dir {
            return Err(Errno::EFBIG);
        }
        let wanted = size.div_ceil(u64::from(self.layout.cluster)) as usize;
        if self.node(id)?.chain.len() >= wanted {
            return Ok(());
        }
        self.follow(id, usize::MAX)?;
        let node = self.node(id)?;
        let (have, last) = (node.chain.len(), node.chain.last().copied());
        if have >= wanted {
            return Ok(());
        }
        let count = (wanted - have) as u32;
        let taken = self
            .table
            .allocate(&self.layout, &mut self.blocks, last, count)?;
        let node = self.node_mut(id)?;
        if last.is_none() {
            node.record.cluster = taken.first().copied().unwrap_or(0);
            node.dirty = true;
        }
        node.chain.extend_from_slice(&taken);
        node.complete = true;
        Ok(())
    }

    /// Sets a file's size; clusters behind it are given back. What is between the old and a larger size must have been
    /// written.
    pub fn set_size(&mut self, id: NodeId, size: u64) -> Result<()> {
        self.reserve(id, size)?;
        let node = self.node_mut(id)?;
        node.record.size = u32::try_from(size).map_err(|_| Errno::EFBIG)?;
        node.record.attributes |= dir::ARCHIVE;
        node.dirty = true;
        self.cut(id, size)
    }

    /// Notes a size within the clusters that are there already.
    pub fn grow_to(&mut self, id: NodeId, size: u64) -> Result<()> {
        let size = u32::try_from(size).map_err(|_| Errno::EFBIG)?;
        let node = self.node_mut(id)?;
        node.record.size = node.record.size.max(size);
        node.record.attributes |= dir::ARCHIVE;
        node.dirty = true;
        Ok(())
    }

    /// Gives back the clusters behind `size` bytes.
    fn cut(&mut self, id: NodeId, size: u64) -> Result<()> {
        self.follow(id, usize::MAX)?;
        let keep = size.div_ceil(u64::from(self.layout.cluster)) as usize;
        let node = self.node_mut(id)?;
        if node.chain.len() <= keep {
            return Ok(());
        }
        let gone = node.chain.split_off(keep);
        let last = node.chain.last().copied();
        if last.is_none() {
            node.record.cluster = 0;
            node.dirty = true;
        }
        if let Some(last) = last {
            self.table.end_at(&self.layout, &mut self.blocks, last)?;
        }
        self.table.release(&self.layout, &mut self.blocks, &gone)
    }

    // ---- attributes ----

    /// What is known of a file.
    pub fn attr(&mut self, id: NodeId) -> Result<Attr> {
        self.follow(id, usize::MAX)?;
        let is_dir = self.node(id)?.is_dir;
        let links = if is_dir { self.count_dirs(id)? + 2 } else { 1 };
        let cluster = u64::from(self.layout.cluster);
        let fixed = self
            .is_fixed_root(id)
            .then_some(self.layout.fixed_root_size);
        let node = self.node(id)?;
        let taken = fixed.unwrap_or(node.chain.len() as u64 * cluster);
        let record = &node.record;
        Ok(Attr {
            is_dir,
            read_only: record.attributes & dir::READ_ONLY != 0,
            size: if is_dir {
                taken
            } else {
                u64::from(record.size)
            },
            taken,
            links: if node.deleted { 0 } else { links },
            created: record.created,
            accessed: record.accessed,
            written: record.written,
        })
    }

    /// Changes times and the read-only attribute.
    pub fn set_attr(
        &mut self,
        id: NodeId,
        read_only: Option<bool>,
        accessed: Option<Time>,
        written: Option<Time>,
    ) -> Result<()> {
        let node = self.node_mut(id)?;
        let record = &mut node.record;
        match read_only {
            Some(true) => record.attributes |= dir::READ_ONLY,
            Some(false) => record.attributes &= !dir::READ_ONLY,
            None => {}
        }
        record.accessed = accessed.unwrap_or(record.accessed);
        record.written = written.unwrap_or(record.written);
        node.dirty = true;
        Ok(())
    }

    /// Writes a file's short entry.
    fn store(&mut self, id: NodeId) -> Result<()> {
        let node = self.node_mut(id)?;
        node.dirty = false;
        let home = node.home.as_ref();
        let Some((parent, at)) = home.map(|(parent, _, first, count)| (*parent, first + count - 1))
        else {
            return Ok(());
        };
        let raw = node.record.write();
        self.write_entry(parent, at, &raw)
    }

    // ---- directories ----

    fn entry_place(&mut self, dir: NodeId, index: u32) -> Result<Option<u64>> {
        let offset = u64::from(index) * dir::SIZE as u64;
        Ok(self.map(dir, offset)?.map(|(place, _)| place))
    }

    fn write_entry(&mut self, dir: NodeId, index: u32, raw: &[u8]) -> Result<()> {
        let place = self.entry_place(dir, index)?.ok_or(Errno::EIO)?;
        self.blocks.write(place, raw)
    }

    /// Calls `each` for every file from entry `from` on until it gives false; the index of the first unused entry.
    fn scan(&mut self, dir: NodeId, from: u32, each: &mut dyn FnMut(Found) -> bool) -> Result<u32> {
        let mut reader = Reader::default();
        let mut index = from;
        loop {
            let Some(place) = self.entry_place(dir, index)? else {
                return Ok(index);
            };
            let mut raw: Raw = [0; dir::SIZE];
            self.blocks.read(place, &mut raw)?;
            match reader.step(index, &raw) {
                Step::End => return Ok(index),
                Step::File(found) => {
                    if !each(found) {
                        return Ok(index + 1);
                    }
                }
                Step::Nothing => {}
            }
            index += 1;
        }
    }

    fn is_dot(found: &Found) -> bool {
        found.record.short[0] == b'.'
    }

    fn count_dirs(&mut self, dir: NodeId) -> Result<u32> {
        let mut count = 0;
        self.scan(dir, 0, &mut |found| {
            let counts = found.record.attributes & dir::DIRECTORY != 0 && !Self::is_dot(&found);
            count += u32::from(counts);
            true
        })?;
        Ok(count)
    }

    fn find(&mut self, dir: NodeId, name: &str) -> Result<Option<Found>> {
        let mut hit = None;
        self.scan(dir, 0, &mut |found| {
            let short = name::show_short(&found.record.short, 0);
            let same = name::same(&found.name, name) || name::same(&short, name);
            if same && !Self::is_dot(&found) {
                hit = Some(found);
            }
            hit.is_none()
        })?;
        Ok(hit)
    }

    /// Loads the file of an entry, unless it is loaded.
    fn load(&mut self, dir: NodeId, found: Found) -> NodeId {
        let place = (dir, found.last());
        if let Some(id) = self.by_place.get(&place) {
            return *id;
        }
        let is_dir = found.record.attributes & dir::DIRECTORY != 0;
        self.add_node(
            dir,
            found.name,
            found.first,
            found.count,
            found.record,
            is_dir,
        )
    }

    fn add_node(
        &mut self,
        dir: NodeId,
        name: String,
        first: u32,
        count: u32,
        record: Record,
        is_dir: bool,
    ) -> NodeId {
        self.last += 1;
        let id = NodeId(self.last);
        let node = Node {
            record,
            is_dir,
            home: Some((dir, name, first, count)),
            chain: Vec::new(),
            complete: false,
            dirty: false,
            deleted: false,
        };
        self.nodes.insert(id, node);
        self.by_place.insert((dir, first + count - 1), id);
        id
    }

    /// Finds a name, whatever its case: ENOENT.
    pub fn lookup(&mut self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let text = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let found = self.find(dir, text)?.ok_or(Errno::ENOENT)?;
        Ok(self.load(dir, found))
    }

    /// Whether a loaded file still has this name in this directory.
    pub fn is_named(&self, id: NodeId, dir: NodeId, name: &[u8]) -> bool {
        let (Ok(node), Ok(name)) = (self.node(id), core::str::from_utf8(name)) else {
            return false;
        };
        let short = name::show_short(&node.record.short, 0);
        node.home.as_ref().is_some_and(|(home, own, ..)| {
            *home == dir && (name::same(own, name) || name::same(&short, name))
        })
    }

    /// Gives the files of a directory from entry `from` on until `each` gives false.
    pub fn read_dir(
        &mut self,
        dir: NodeId,
        from: u32,
        each: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<()> {
        let mut at = from;
        loop {
            let mut next = None;
            self.scan(dir, at, &mut |found| {
                if Self::is_dot(&found) {
                    return true;
                }
                next = Some(found);
                false
            })?;
            let Some(found) = next else { return Ok(()) };
            at = found.last() + 1;
            let place = self.entry_place(dir, found.last())?.unwrap_or(0);
            let entry = Entry {
                is_dir: found.record.attributes & dir::DIRECTORY != 0,
                node: self.by_place.get(&(dir, found.last())).copied(),
                place,
                next: at,
                name: found.name,
            };
            if !each(entry) {
                return Ok(());
            }
        }
    }

    /// Room for `count` entries in a row: deleted ones or the end, which grows. ENOSPC.
    fn room_for(&mut self, dir: NodeId, count: u32) -> Result<u32> {
        let (mut start, mut run, mut index) = (0, 0, 0);
        while let Some(place) = self.entry_place(dir, index)? {
            let mut first = [0];
            self.blocks.read(place, &mut first)?;
            let free = first[0] == 0 || first == dir::deleted_mark();
            if free && run == 0 {
                start = index;
            }
            run = if free { run + 1 } else { 0 };
            if run == count {
                return Ok(start);
            }
            // Behind the first entry that was never used there is no other.
            if first[0] == 0 && self.has_room_behind(dir, start + count)? {
                return Ok(start);
            }
            index += 1;
        }
        if run == 0 {
            start = index;
        }
        self.grow_dir(dir, start + count)?;
        Ok(start)
    }

    fn has_room_behind(&mut self, dir: NodeId, entries: u32) -> Result<bool> {
        Ok(self.entry_place(dir, entries - 1)?.is_some())
    }

    /// More clusters for a directory, full of zeroes.
    fn grow_dir(&mut self, dir: NodeId, entries: u32) -> Result<()> {
        const MOST_ENTRIES: u32 = 65536;
        if self.is_fixed_root(dir) || entries > MOST_ENTRIES {
            return Err(Errno::ENOSPC);
        }
        self.follow(dir, usize::MAX)?;
        let before = self.node(dir)?.chain.len();
        self.reserve(dir, u64::from(entries) * dir::SIZE as u64)?;
        let zeroes = vec![0; self.layout.cluster as usize];
        let new: Vec<u32> = self.node(dir)?.chain.iter().skip(before).copied().collect();
        for cluster in new {
            self.blocks.write(self.layout.place(cluster), &zeroes)?;
        }
        Ok(())
    }

    /// Puts the entries of a file into a directory; their first index and number.
    fn insert(&mut self, dir: NodeId, name: &str, record: &Record) -> Result<(u32, u32)> {
        let raws = dir::entries(name, record);
        let first = self.room_for(dir, raws.len() as u32)?;
        for (raw, index) in raws.iter().zip(first..) {
            self.write_entry(dir, index, raw)?;
        }
        Ok((first, raws.len() as u32))
    }

    fn erase(&mut self, dir: NodeId, first: u32, count: u32) -> Result<()> {
        for index in first..first + count {
            self.write_entry(dir, index, &dir::deleted_mark())?;
        }
        self.by_place.remove(&(dir, first + count - 1));
        Ok(())
    }

    /// The short name that goes with a name in a directory.
    fn short_for(&mut self, dir: NodeId, name: &str) -> Result<name::Short> {
        let mut taken = alloc::collections::BTreeSet::new();
        self.scan(dir, 0, &mut |found| {
            taken.insert(found.record.short);
            true
        })?;
        match name::exact_short(name) {
            Some(short) if !taken.contains(&short) => Ok(short),
            _ => name::make_short(name, |short| taken.contains(short)),
        }
    }

    /// Makes a file or directory: EEXIST, ENOSPC, EINVAL for a name that cannot be.
    pub fn create(&mut self, dir: NodeId, name: &[u8], is_dir: bool, now: Time) -> Result<NodeId> {
        let name = name::check(name)?;
        if self.find(dir, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let mut record = Record {
            short: self.short_for(dir, name)?,
            attributes: if is_dir { dir::DIRECTORY } else { dir::ARCHIVE },
            case: 0,
            cluster: 0,
            size: 0,
            created: now,
            accessed: now,
            written: now,
        };
        let mut chain = Vec::new();
        if is_dir {
            chain = self
                .table
                .allocate(&self.layout, &mut self.blocks, None, 1)?;
            record.cluster = chain.first().copied().unwrap_or(0);
            let bytes = dir::dots(
                &record,
                self.parent_cluster(dir),
                self.layout.cluster as usize,
            );
            self.blocks
                .write(self.layout.place(record.cluster), &bytes)?;
        }
        let (first, count) = match self.insert(dir, name, &record) {
            Ok(done) => done,
            Err(error) => {
                self.table.release(&self.layout, &mut self.blocks, &chain)?;
                return Err(error);
            }
        };
        self.touch(dir, now)?;
        Ok(self.add_node(dir, name.into(), first, count, record, is_dir))
    }

    /// What `..` says of a directory: 0 for the root.
    fn parent_cluster(&self, dir: NodeId) -> u32 {
        if dir == Self::ROOT {
            return 0;
        }
        self.node(dir).map_or(0, |node| node.record.cluster)
    }

    /// A directory has changed.
    fn touch(&mut self, dir: NodeId, now: Time) -> Result<()> {
        if dir != Self::ROOT {
            self.set_attr(dir, None, None, Some(now))?;
        }
        Ok(())
    }

    /// Deletes a file or an empty directory: ENOTEMPTY. Its clusters are kept until it is forgotten.
    pub fn remove(&mut self, id: NodeId, now: Time) -> Result<()> {
        let node = self.node(id)?;
        let Some((dir, _, first, count)) = node.home.clone() else {
            return Err(Errno::EBUSY);
        };
        if node.is_dir && !self.is_empty(id)? {
            return Err(Errno::ENOTEMPTY);
        }
        self.erase(dir, first, count)?;
        let node = self.node_mut(id)?;
        node.home = None;
        node.deleted = true;
        node.dirty = false;
        self.touch(dir, now)
    }

    /// Whether nothing is in a directory.
    pub fn is_empty(&mut self, dir: NodeId) -> Result<bool> {
        let mut empty = true;
        self.scan(dir, 0, &mut |found| {
            empty = Self::is_dot(&found);
            empty
        })?;
        Ok(empty)
    }

    /// Moves a file to another name, in place of `target` if there is one.
    pub fn rename(
        &mut self,
        id: NodeId,
        to: NodeId,
        name: &[u8],
        target: Option<NodeId>,
        now: Time,
    ) -> Result<()> {
        let name = name::check(name)?;
        let node = self.node(id)?;
        let Some((from, _, first, count)) = node.home.clone() else {
            return Err(Errno::EBUSY);
        };
        if let Some(target) = target {
            if self.node(target)?.is_dir && !self.is_empty(target)? {
                return Err(Errno::ENOTEMPTY);
            }
            self.remove(target, now)?;
        }
        let is_dir = self.node(id)?.is_dir;
        let mut record = self.node(id)?.record.clone();
        record.short = self.short_for(to, name)?;
        record.case = 0;
        let (new_first, new_count) = self.insert(to, name, &record)?;
        self.erase(from, first, count)?;
        if is_dir && from != to {
            self.point_up(record.cluster, self.parent_cluster(to))?;
        }
        let node = self.node_mut(id)?;
        node.record = record;
        node.home = Some((to, name.into(), new_first, new_count));
        self.by_place.insert((to, new_first + new_count - 1), id);
        self.touch(from, now)?;
        self.touch(to, now)
    }

    /// Exchanges the places of two files.
    pub fn exchange(&mut self, a: NodeId, b: NodeId, now: Time) -> Result<()> {
        let home = |node: &Node| node.home.clone().ok_or(Errno::EBUSY);
        let (dir_a, name_a, first_a, count_a) = home(self.node(a)?)?;
        let (dir_b, name_b, first_b, count_b) = home(self.node(b)?)?;
        self.erase(dir_a, first_a, count_a)?;
        self.erase(dir_b, first_b, count_b)?;
        for (id, dir, name) in [(a, dir_b, name_b), (b, dir_a, name_a)] {
            let mut record = self.node(id)?.record.clone();
            record.short = self.short_for(dir, &name)?;
            let (first, count) = self.insert(dir, &name, &record)?;
            if self.node(id)?.is_dir && dir_a != dir_b {
                self.point_up(record.cluster, self.parent_cluster(dir))?;
            }
            let node = self.node_mut(id)?;
            node.record = record;
            node.home = Some((dir, name, first, count));
            self.by_place.insert((dir, first + count - 1), id);
        }
        self.touch(dir_a, now)?;
        self.touch(dir_b, now)
    }

    /// Makes the `..` of the directory at `cluster` lead to `parent`.
    fn point_up(&mut self, cluster: u32, parent: u32) -> Result<()> {
        let place = self.layout.place(cluster) + dir::SIZE as u64;
        self.blocks
            .write(place + 20, &((parent >> 16) as u16).to_le_bytes())?;
        self.blocks
            .write(place + 26, &(parent as u16).to_le_bytes())
    }

    /// A file is not used any more: what was deleted gives its clusters back.
    pub fn forget(&mut self, id: NodeId) -> Result<()> {
        if id == Self::ROOT {
            return Ok(());
        }
        if self.node(id)?.deleted {
            self.follow(id, usize::MAX)?;
            let chain = core::mem::take(&mut self.node_mut(id)?.chain);
            self.nodes.remove(&id);
            return self.table.release(&self.layout, &mut self.blocks, &chain);
        }
        if self.node(id)?.dirty {
            self.store(id)?;
        }
        if let Some(node) = self.nodes.remove(&id)
            && let Some((dir, _, first, count)) = node.home
        {
            self.by_place.remove(&(dir, first + count - 1));
        }
        Ok(())
    }
}
