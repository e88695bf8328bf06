//! An ext4 image as a [`Tree`], read by the project's own ext4 crate without mounting it.

use super::tree::{Kind, Tree};
use anyhow::{Context, Result};
use keel_ext4::{
    BlockDevice, Errno, Fs, Inode, Lock, LogLevel, MountOptions, Platform, SharedLock, Timespec,
    WriteFlags,
};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What ext4 needs of this machine.
struct Host;

/// A mutex of the standard library.
struct Mutual<T>(Mutex<T>);

impl<T: Send + 'static> Lock<T> for Mutual<T> {
    type Guard<'a> = MutexGuard<'a, T>;
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// A reader-writer lock of the standard library.
struct Shared<T>(RwLock<T>);

impl<T: Send + Sync + 'static> SharedLock<T> for Shared<T> {
    type ReadGuard<'a> = RwLockReadGuard<'a, T>;
    type WriteGuard<'a> = RwLockWriteGuard<'a, T>;
    fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform for Host {
    type Mutex<T: Send + 'static> = Mutual<T>;
    type RwLock<T: Send + Sync + 'static> = Shared<T>;
    fn now(&self) -> Timespec {
        Timespec::default()
    }
    fn random_u32(&self) -> u32 {
        0
    }
    fn log(&self, level: LogLevel, message: fmt::Arguments<'_>) {
        if level == LogLevel::Error {
            eprintln!("ext4: {message}");
        }
    }
}

/// The image file, from where the file system starts.
struct Device {
    file: File,
    start: u64,
    size: u64,
}

impl BlockDevice for Device {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> keel_ext4::Result<()> {
        self.file
            .read_exact_at(buf, self.start + offset)
            .map_err(|_| Errno::EIO)
    }
    fn write(&self, _: u64, _: &[u8], _: WriteFlags) -> keel_ext4::Result<()> {
        Err(Errno::EROFS)
    }
    fn flush(&self) -> keel_ext4::Result<()> {
        Ok(())
    }
}

/// An ext4 file system in an image file.
pub struct Image {
    fs: Arc<Fs<Host>>,
}

impl Image {
    /// Opens the image: a file system, or a disk whose first partition has one.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let whole = file.metadata()?.len();
        let mut magic = [0; 2];
        file.read_exact_at(&mut magic, 1024 + 56)
            .with_context(|| format!("{} is no image", path.display()))?;
        let start = if magic == [0x53, 0xef] {
            0
        } else {
            first_partition(&file)?
        };
        let device = Device {
            file,
            start,
            size: whole - start,
        };
        let options = MountOptions {
            read_only: true,
            no_load: true,
            ..MountOptions::default()
        };
        let fs = Fs::mount(Arc::new(device), Host, options).map_err(|error| {
            anyhow::anyhow!(
                "{} holds no ext4 file system that can be read: {error:?}",
                path.display()
            )
        })?;
        Ok(Self { fs })
    }

    fn with<T>(&self, path: &str, work: impl FnOnce(&Inode<Host>) -> Option<T>) -> Option<T> {
        let mut inode = self.fs.root().ok()?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let next = self
                .fs
                .lookup(&inode, part.as_bytes())
                .and_then(|(number, _)| self.fs.iget(number));
            let _ = self.fs.iput(inode);
            inode = next.ok()?;
        }
        let result = work(&inode);
        let _ = self.fs.iput(inode);
        result
    }
}

/// Where the first partition of a GPT or MBR disk begins, in bytes.
fn first_partition(file: &File) -> Result<u64> {
    let mut sectors = [0; 2048];
    file.read_exact_at(&mut sectors, 0)?;
    let word = |at: usize| {
        sectors
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    let first = if &sectors[512..520] == b"EFI PART" {
        word(1024 + 32)
    } else {
        word(446 + 8)
    };
    Ok(u64::from(first) * 512)
}

impl Tree for Image {
    fn kind(&self, path: &str) -> Option<Kind> {
        self.with(path, |inode| {
            Some(match inode.attr().mode & 0o170_000 {
                0o100_000 => Kind::File,
                0o040_000 => Kind::Folder,
                0o120_000 => Kind::Link,
                _ => Kind::Other,
            })
        })
    }

    fn link(&self, path: &str) -> Option<String> {
        self.with(path, |inode| {
            let target = self.fs.readlink(inode).ok()?;
            Some(String::from_utf8_lossy(&target).into_owned())
        })
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let names = self.with(path, |inode| {
            let mut names = Vec::new();
            self.fs
                .readdir(inode, 0, &mut |entry| {
                    names.push(String::from_utf8_lossy(entry.name).into_owned());
                    true
                })
                .ok()?;
            Some(names)
        });
        let mut names = names.with_context(|| format!("cannot list {path} in the image"))?;
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.with(path, |inode| {
            let mut data = vec![0; usize::try_from(inode.attr().size).ok()?];
            let mut at = 0;
            while at < data.len() {
                match self.fs.read_at(inode, at as u64, &mut data[at..]).ok()? {
                    0 => return None,
                    got => at += got,
                }
            }
            Some(data)
        })
        .with_context(|| format!("cannot read {path} in the image"))
    }
}
