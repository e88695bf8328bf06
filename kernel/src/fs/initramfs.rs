//! The initial RAM file system: unpacking cpio archives, plain or compressed, into the root tmpfs.
//!
//! The format is that of Linux's early userspace buffer: `newc` archives (magic 070701, or 070702 with checksums),
//! one behind the other, each perhaps compressed by gzip or zstd, with any number of zero bytes between. Archives are
//! unpacked as they are decompressed: neither the compressed nor the unpacked form is ever in memory as a whole
//! twice.

use keel_abi::args::FileType;
use keel_abi::flags::OpenFlags;

use super::namei::{LookupFlags, Parent, Walker};
use super::{File, IoSrc, Owner, Path, SetAttr, Time, change};
use crate::prelude::*;
use crate::process::Cred;

const HEADER: usize = 110;
const MAX_NAME: usize = 4096;
const TRAILER: &[u8] = b"TRAILER!!!";
/// How much is decompressed at a time.
const CHUNK: usize = 64 << 10;

/// Unpacks an initrd image into `root`; how many entries there were. EINVAL for what is no archive.
pub fn unpack(root: &Path, image: &[u8]) -> Result<usize> {
    let mut unpacker = Unpacker::new(root);
    let mut rest = image;
    loop {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = &rest[zeros..];
        rest = match rest {
            [] => break,
            [0x1f, 0x8b, ..] => gunzip(rest, &mut unpacker)?,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => unzstd(rest, &mut unpacker)?,
            [b'0', b'7', b'0', b'7', ..] => unpacker.feed_archive(rest)?,
            _ => {
                log::error!(
                    "initramfs: unknown format, {} bytes are left over",
                    rest.len()
                );
                break;
            }
        };
    }
    if unpacker.entries == 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(unpacker.entries)
    }
}

/// What follows a gzip member's header (RFC 1952).
fn gzip_body(data: &[u8]) -> Option<&[u8]> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const HEADER_CRC: u8 = 2;
    let flags = *data.get(3)?;
    let mut body = data.get(10..)?;
    if flags & EXTRA != 0 {
        let len = u16::from_le_bytes(body.first_chunk::<2>().copied()?);
        body = body.get(2 + usize::from(len)..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = body.iter().position(|byte| *byte == 0)?;
            body = body.get(end + 1..)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        body = body.get(2..)?;
    }
    Some(body)
}

/// Unpacks one gzip member; gives what is behind it.
fn gunzip<'a>(data: &'a [u8], unpacker: &mut Unpacker) -> Result<&'a [u8]> {
    use miniz_oxide::inflate::stream::{InflateState, inflate};
    use miniz_oxide::{DataFormat, MZFlush, MZStatus};
    let mut rest = gzip_body(data).ok_or(Errno::EINVAL)?;
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let mut out = vec![0; CHUNK];
    loop {
        let step = inflate(&mut state, rest, &mut out, MZFlush::None);
        rest = rest.get(step.bytes_consumed..).ok_or(Errno::EINVAL)?;
        unpacker.feed(out.get(..step.bytes_written).ok_or(Errno::EINVAL)?)?;
        match step.status {
            Ok(MZStatus::StreamEnd) => break,
            Ok(_) if step.bytes_consumed > 0 || step.bytes_written > 0 => {}
            _ => return Err(Errno::EINVAL),
        }
    }
    // Checksum and length.
    Ok(rest.get(8..).unwrap_or(&[]))
}

/// Unpacks one zstd frame; gives what is behind it.
fn unzstd<'a>(data: &'a [u8], unpacker: &mut Unpacker) -> Result<&'a [u8]> {
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
    use ruzstd::io::Read;
    let mut source = data;
    let mut decoder = FrameDecoder::new();
    decoder.reset(&mut source).map_err(|_| Errno::EINVAL)?;
    let mut out = vec![0; CHUNK];
    while !decoder.is_finished() || decoder.can_collect() > 0 {
        if !decoder.is_finished() {
            decoder
                .decode_blocks(&mut source, BlockDecodingStrategy::UptoBytes(CHUNK))
                .map_err(|_| Errno::EINVAL)?;
        }
        loop {
            let n = decoder.read(&mut out).map_err(|_| Errno::EINVAL)?;
            if n == 0 {
                break;
            }
            unpacker.feed(&out[..n])?;
        }
    }
    Ok(source)
}

/// What the next bytes are.
enum Stage {
    /// Zeroes between archives, or a header.
    Header,
    /// The name (and padding) of an entry.
    Name(Entry),
    /// Contents of a file.
    Data {
        file: Option<Arc<File>>,
        at: u64,
        left: u64,
        pad: usize,
    },
    /// The target of a symbolic link.
    Link(Entry),
    /// Padding.
    Skip(usize),
}

/// A header's fields.
#[derive(Clone, Default)]
struct Entry {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    size: u32,
    dev: (u32, u32),
    rdev: (u32, u32),
    name_size: usize,
    name: Vec<u8>,
}

impl Entry {
    fn parse(header: &[u8]) -> Option<Self> {
        if !matches!(header.get(..6)?, b"070701" | b"070702") {
            return None;
        }
        let field = |index: usize| {
            let text = core::str::from_utf8(header.get(6 + 8 * index..14 + 8 * index)?).ok()?;
            u32::from_str_radix(text, 16).ok()
        };
        Some(Self {
            ino: field(0)?,
            mode: field(1)?,
            uid: field(2)?,
            gid: field(3)?,
            nlink: field(4)?,
            mtime: field(5)?,
            size: field(6)?,
            dev: (field(7)?, field(8)?),
            rdev: (field(9)?, field(10)?),
            name_size: field(11)? as usize,
            name: Vec::new(),
        })
    }

    fn file_type(&self) -> FileType {
        super::file_type_of(self.mode)
    }

    /// Padding behind the contents.
    fn data_padding(&self) -> usize {
        (self.size as usize).next_multiple_of(4) - self.size as usize
    }
}

/// Makes files from a stream of bytes.
struct Unpacker<'a> {
    root: &'a Path,
    cred: Arc<Cred>,
    stage: Stage,
    /// Bytes of a header, name or link target that came in part.
    partial: Vec<u8>,
    /// First names of files with several, by device and inode number.
    links: BTreeMap<(u32, u32, u32), Vec<u8>>,
    /// Times of directories, set when their contents are there.
    dir_times: Vec<(Path, u32)>,
    entries: usize,
    ended: bool,
}

impl<'a> Unpacker<'a> {
    fn new(root: &'a Path) -> Self {
        Self {
            root,
            cred: Arc::new(Cred::root()),
            stage: Stage::Header,
            partial: Vec::new(),
            links: BTreeMap::new(),
            dir_times: Vec::new(),
            entries: 0,
            ended: false,
        }
    }

    /// Takes bytes of one uncompressed archive up to its end; gives what is behind it.
    fn feed_archive<'d>(&mut self, data: &'d [u8]) -> Result<&'d [u8]> {
        self.ended = false;
        let mut rest = data;
        while !rest.is_empty() && !self.ended {
            rest = self.step(rest)?;
        }
        Ok(rest)
    }

    fn feed(&mut self, data: &[u8]) -> Result<()> {
        let mut rest = data;
        while !rest.is_empty() {
            rest = self.step(rest)?;
        }
        Ok(())
    }

    /// Collects bytes until there are `want`; true when complete.
    fn collect(&mut self, rest: &mut &[u8], want: usize) -> bool {
        let n = want.saturating_sub(self.partial.len()).min(rest.len());
        self.partial.extend_from_slice(&rest[..n]);
        *rest = &rest[n..];
        self.partial.len() >= want
    }

    fn step<'d>(&mut self, data: &'d [u8]) -> Result<&'d [u8]> {
        let mut rest = data;
        match core::mem::replace(&mut self.stage, Stage::Header) {
            Stage::Header => {
                if self.partial.is_empty() {
                    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
                    rest = &rest[zeros..];
                }
                if !rest.is_empty() && self.collect(&mut rest, HEADER) {
                    let entry = Entry::parse(&self.partial).ok_or(Errno::EINVAL)?;
                    if entry.name_size == 0 || entry.name_size > MAX_NAME {
                        return Err(Errno::EINVAL);
                    }
                    self.partial.clear();
                    self.stage = Stage::Name(entry);
                }
            }
            Stage::Name(mut entry) => {
                // Header and name together are padded to four bytes.
                let want = (HEADER + entry.name_size).next_multiple_of(4) - HEADER;
                if self.collect(&mut rest, want) {
                    entry.name = self.partial[..entry.name_size - 1].to_vec();
                    self.partial.clear();
                    self.stage = self.start(entry);
                } else {
                    self.stage = Stage::Name(entry);
                }
            }
            Stage::Link(entry) => {
                if self.collect(&mut rest, (entry.size as usize).next_multiple_of(4)) {
                    let target = self.partial[..entry.size as usize].to_vec();
                    self.partial.clear();
                    self.make_link(&entry, &target);
                } else {
                    self.stage = Stage::Link(entry);
                }
            }
            Stage::Data {
                file,
                at,
                left,
                pad,
            } => {
                let n = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                if let Some(file) = &file {
                    write_all(file, &rest[..n], at)?;
                }
                rest = &rest[n..];
                let (at, left) = (at + n as u64, left - n as u64);
                self.stage = if left > 0 {
                    Stage::Data {
                        file,
                        at,
                        left,
                        pad,
                    }
                } else {
                    Stage::Skip(pad)
                };
            }
            Stage::Skip(count) => {
                let n = count.min(rest.len());
                rest = &rest[n..];
                if n < count {
                    self.stage = Stage::Skip(count - n);
                }
            }
        }
        Ok(rest)
    }

    /// An entry's name is known: makes it. What cannot be made is told of and skipped.
    fn start(&mut self, entry: Entry) -> Stage {
        let pad = entry.data_padding();
        if entry.name == TRAILER {
            self.links.clear();
            self.ended = true;
            for (path, mtime) in core::mem::take(&mut self.dir_times) {
                set_mtime(&path, mtime);
            }
            return Stage::Skip(entry.size as usize + pad);
        }
        self.entries += 1;
        if entry.file_type() == FileType::Symlink && (1..=MAX_NAME as u32).contains(&entry.size) {
            return Stage::Link(entry);
        }
        let file = match self.make(&entry) {
            Ok(file) => file,
            Err(error) => {
                let name = String::from_utf8_lossy(&entry.name);
                log::warn!("initramfs: cannot make {name}: {error:?}");
                None
            }
        };
        match entry.size {
            0 => Stage::Skip(pad),
            size => Stage::Data {
                file,
                at: 0,
                left: u64::from(size),
                pad,
            },
        }
    }

    fn walker(&self) -> Walker {
        let (root, start) = (self.root.clone(), self.root.clone());
        Walker::from_places(root, start, self.cred.clone(), LookupFlags::empty())
    }

    fn parent(&self, name: &[u8]) -> Result<Parent> {
        self.walker().parent(name)
    }

    /// Makes a directory, file or special file; a regular file with contents is given back open.
    fn make(&mut self, entry: &Entry) -> Result<Option<Arc<File>>> {
        let perm = entry.mode & 0o7777;
        let existing = self.walker().lookup(&entry.name).ok();
        let place = match entry.file_type() {
            FileType::Directory => {
                let place = match existing {
                    Some(place) if place.inode()?.is_dir() => place,
                    _ => change::mkdir(&self.parent(&entry.name)?, perm, 0, &self.cred)?,
                };
                self.own(&place, entry)?;
                self.dir_times.push((place, entry.mtime));
                return Ok(None);
            }
            FileType::Regular => {
                let key = (entry.dev.0, entry.dev.1, entry.ino);
                if entry.nlink > 1
                    && let Some(first) = self.links.get(&key).cloned()
                {
                    let source = self.walker().lookup(&first)?;
                    self.clear(&entry.name);
                    change::link(&source, &self.parent(&entry.name)?, &self.cred)?;
                    return self.open(&source, entry);
                }
                self.clear(&entry.name);
                let mode = u32::from(FileType::Regular.mode().0) | perm;
                let place = change::mknod(&self.parent(&entry.name)?, mode, 0, 0, &self.cred)?;
                if entry.nlink > 1 {
                    self.links.insert(key, entry.name.clone());
                }
                place
            }
            file_type => {
                self.clear(&entry.name);
                let mode = u32::from(file_type.mode().0) | perm;
                let rdev = keel_abi::types::Dev::new(entry.rdev.0, entry.rdev.1).encode();
                change::mknod(&self.parent(&entry.name)?, mode, rdev, 0, &self.cred)?
            }
        };
        self.own(&place, entry)?;
        self.open(&place, entry)
    }

    /// A later entry replaces an earlier one of the same name.
    fn clear(&self, name: &[u8]) {
        if let Ok(parent) = self.parent(name) {
            let _ = change::unlink(&parent, &self.cred);
        }
    }

    fn open(&self, place: &Path, entry: &Entry) -> Result<Option<Arc<File>>> {
        if entry.file_type() != FileType::Regular || entry.size == 0 {
            return Ok(None);
        }
        super::open::open_place(place, OpenFlags::WRONLY, &self.cred, true).map(Some)
    }

    fn own(&self, place: &Path, entry: &Entry) -> Result<()> {
        let inode = place.inode()?;
        let time = Time {
            sec: i64::from(entry.mtime),
            nsec: 0,
        };
        let owner = Owner {
            uid: entry.uid,
            gid: entry.gid,
        };
        let set = SetAttr {
            mode: (!inode.is_symlink()).then_some(entry.mode & 0o7777),
            uid: Some(owner.uid),
            gid: Some(owner.gid),
            atime: Some(time),
            mtime: Some(time),
            ..SetAttr::default()
        };
        inode.ops.setattr(&inode, &set)
    }

    fn make_link(&mut self, entry: &Entry, target: &[u8]) {
        self.clear(&entry.name);
        let made = self
            .parent(&entry.name)
            .and_then(|parent| change::symlink(&parent, target, &self.cred))
            .and_then(|place| self.own(&place, entry));
        if let Err(error) = made {
            let name = String::from_utf8_lossy(&entry.name);
            log::warn!("initramfs: cannot make {name}: {error:?}");
        }
    }
}

fn set_mtime(path: &Path, mtime: u32) {
    let time = Time {
        sec: i64::from(mtime),
        nsec: 0,
    };
    let set = SetAttr {
        mtime: Some(time),
        ..SetAttr::default()
    };
    if let Ok(inode) = path.inode() {
        let _ = inode.ops.setattr(&inode, &set);
    }
}

fn write_all(file: &File, bytes: &[u8], at: u64) -> Result<()> {
    let mut src = IoSrc::from_kernel(bytes);
    let mut pos = at;
    while src.remaining() > 0 {
        match file.pwrite(&mut src, pos)? {
            0 => return Err(Errno::EIO),
            n => pos += n as u64,
        }
    }
    Ok(())
}
