//! Raw disk images: ext4 by `mke2fs -d`, GPT by sfdisk, sparse copies.

use crate::cmd::Cmd;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Where the first partition begins, in bytes.
const PARTITION_START: u64 = 1 << 20;
/// Room for the second copy of the partition table at the end, in bytes.
const TABLE_ROOM: u64 = 1 << 20;
/// The partitioned variant's fixed identifiers, so that `root=PARTUUID=` can name it.
const DISK_GUID: &str = "6B65656C-0000-4000-8000-000000006774";
/// PARTUUID of the root partition of every partitioned image.
pub const ROOT_PARTUUID: &str = "6B65656C-0000-4000-8000-000000000001";

/// Makes an ext4 file system with mke2fs's default features in the new file `disk`, filled from `tree`.
///
/// The hash seed and, if given, the UUID are fixed, so that the same tree gives the same directories.
pub fn make_ext4(
    disk: &Path,
    bytes: u64,
    tree: &Path,
    label: &str,
    uuid: Option<&str>,
) -> Result<()> {
    File::create(disk)?.set_len(bytes)?;
    let mut mke2fs = Cmd::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", label]);
    if let Some(uuid) = uuid {
        mke2fs = mke2fs.args(["-U", uuid, "-E", &format!("hash_seed={uuid}")]);
    }
    mke2fs.arg("-d").arg(tree).arg(disk).run()
}

/// Makes the disk `to` with a GPT whose one partition holds a copy of the file system in `from`.
pub fn partition(from: &Path, to: &Path) -> Result<()> {
    let bytes = from.metadata()?.len();
    let part = to.with_extension("part");
    File::create(&part)?.set_len(bytes + PARTITION_START + TABLE_ROOM)?;
    let script = format!(
        "label: gpt\nlabel-id: {DISK_GUID}\n\
         start={}, size={}, type=linux, uuid={ROOT_PARTUUID}, name=\"root\"\n",
        PARTITION_START / 512,
        bytes / 512,
    );
    let script_file = to.with_extension("sfdisk");
    std::fs::write(&script_file, script)?;
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    Cmd::new("sh")
        .arg("-c")
        .arg(format!(
            "PATH=$PATH:/usr/sbin:/sbin; sfdisk -q {} < {}",
            quoted(&part),
            quoted(&script_file)
        ))
        .run()?;
    copy_sparse(from, &part, PARTITION_START)?;
    std::fs::remove_file(&script_file)?;
    std::fs::rename(&part, to)?;
    Ok(())
}

/// Copies the file `from` into the existing file `to` at byte `offset`, leaving zero blocks as holes.
fn copy_sparse(from: &Path, to: &Path, offset: u64) -> Result<()> {
    let mut from = File::open(from)?;
    let mut to = OpenOptions::new().write(true).open(to)?;
    let mut buffer = vec![0; 1 << 16];
    let mut position = offset;
    loop {
        let got = from.read(&mut buffer)?;
        if got == 0 {
            return Ok(());
        }
        if buffer[..got].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(position))?;
            to.write_all(&buffer[..got])?;
        }
        position += got as u64;
    }
}

/// Copies a disk image to a new file, sharing or skipping what can be shared or skipped.
pub fn clone(from: &Path, to: &Path) -> Result<()> {
    Cmd::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .arg(from)
        .arg(to)
        .run()
}

/// What a raw disk holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Contents {
    /// An ext2/3/4 file system from the first block on.
    FileSystem,
    /// A partition table.
    Partitions,
    /// Neither.
    Unknown,
}

/// Tells what the disk image at `path` holds.
pub fn contents(path: &Path) -> Result<Contents> {
    let mut start = Vec::new();
    File::open(path)
        .with_context(|| format!("cannot open {}", path.display()))?
        .take(2048)
        .read_to_end(&mut start)?;
    let at = |offset: usize, bytes: &[u8]| start.get(offset..offset + bytes.len()) == Some(bytes);
    Ok(if at(1024 + 56, &[0x53, 0xef]) {
        Contents::FileSystem
    } else if at(512, b"EFI PART") || at(510, &[0x55, 0xaa]) {
        Contents::Partitions
    } else {
        Contents::Unknown
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn ext4_and_gpt_are_recognised_and_clean() {
        let dir = std::env::temp_dir().join(format!("keel-disk-{}", std::process::id()));
        fs::create_dir_all(dir.join("tree/etc")).unwrap();
        fs::write(dir.join("tree/etc/motd"), "hello\n").unwrap();
        let (plain, gpt) = (dir.join("a.img"), dir.join("b.img"));
        make_ext4(&plain, 16 << 20, &dir.join("tree"), "t", None).unwrap();
        assert_eq!(contents(&plain).unwrap(), Contents::FileSystem);
        Cmd::new("e2fsck").arg("-fn").arg(&plain).run().unwrap();
        if crate::cmd::find_program("sfdisk").is_some() {
            partition(&plain, &gpt).unwrap();
            assert_eq!(contents(&gpt).unwrap(), Contents::Partitions);
            let mut inside = vec![0; 16 << 20];
            let mut file = File::open(&gpt).unwrap();
            file.seek(SeekFrom::Start(PARTITION_START)).unwrap();
            file.read_exact(&mut inside).unwrap();
            assert!(inside == fs::read(&plain).unwrap());
        }
        fs::write(dir.join("c.img"), [0; 4096]).unwrap();
        assert_eq!(contents(&dir.join("c.img")).unwrap(), Contents::Unknown);
        fs::remove_dir_all(&dir).unwrap();
    }
}
