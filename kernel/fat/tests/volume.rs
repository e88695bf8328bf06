//! Volumes made by mkfs.vfat, worked on, and looked at by fsck.vfat.

use keel_abi::{Errno, Result};
use keel_fat::{Device, NodeId, Time, Volume};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

struct Image(File);

impl Device for Image {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_exact_at(buf, offset).map_err(|_| Errno::EIO)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.0.write_all_at(buf, offset).map_err(|_| Errno::EIO)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

const NOW: Time = Time {
    sec: 1_700_000_000,
    nsec: 0,
};

fn have_tools() -> bool {
    Path::new("/sbin/mkfs.vfat").exists() && Path::new("/sbin/fsck.vfat").exists()
}

/// A new image of so many KiB; `None` without dosfstools.
fn image(name: &str, kib: u32, bits: u32, cluster_sectors: u32) -> Option<PathBuf> {
    if !have_tools() {
        eprintln!("dosfstools is not installed: nothing tested");
        return None;
    }
    let path = std::env::temp_dir().join(format!("keel-fat-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let (bits, sectors) = (bits.to_string(), cluster_sectors.to_string());
    let status = Command::new("/sbin/mkfs.vfat")
        .args(["-F", &bits, "-s", &sectors, "-C"])
        .arg(&path)
        .arg(kib.to_string())
        .output()
        .expect("mkfs.vfat");
    assert!(status.status.success(), "{status:?}");
    Some(path)
}

fn open(path: &Path) -> Arc<Image> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    Arc::new(Image(file.expect("image")))
}

fn check(path: &Path) {
    let out = Command::new("/sbin/fsck.vfat")
        .args(["-n", "-v"])
        .arg(path)
        .output()
        .expect("fsck.vfat");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
}

fn write_all(volume: &mut Volume, device: &Image, id: NodeId, data: &[u8]) -> Result<()> {
    volume.reserve(id, data.len() as u64)?;
    volume.set_size(id, data.len() as u64)?;
    let mut at = 0;
    while at < data.len() {
        let (place, run) = volume.map(id, at as u64)?.ok_or(Errno::EIO)?;
        let n = (data.len() - at).min(run as usize);
        device.write(place, &data[at..at + n])?;
        at += n;
    }
    Ok(())
}

fn read_all(volume: &mut Volume, device: &Image, id: NodeId) -> Result<Vec<u8>> {
    let size = volume.attr(id)?.size as usize;
    let mut data = vec![0; size];
    let mut at = 0;
    while at < size {
        let (place, run) = volume.map(id, at as u64)?.ok_or(Errno::EIO)?;
        let n = (size - at).min(run as usize);
        device.read(place, &mut data[at..at + n])?;
        at += n;
    }
    Ok(data)
}

fn names(volume: &mut Volume, dir: NodeId) -> Vec<String> {
    let mut all = Vec::new();
    volume
        .read_dir(dir, 0, &mut |entry| {
            all.push(entry.name);
            true
        })
        .expect("read_dir");
    all.sort();
    all
}

/// xorshift64
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Random operations beside a model; fsck after each round.
fn torture(name: &str, kib: u32, bits: u32, cluster_sectors: u32) {
    let Some(path) = image(name, kib, bits, cluster_sectors) else {
        return;
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(bits));
    let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for round in 0..4 {
        let device = open(&path);
        let mut volume = Volume::mount(device.clone(), false).expect("mount");
        assert!(!volume.was_dirty());
        let dir = match volume.lookup(Volume::ROOT, b"A Directory") {
            Ok(dir) => dir,
            Err(_) => volume
                .create(Volume::ROOT, b"A Directory", true, NOW)
                .expect("mkdir"),
        };
        for _ in 0..150 {
            let n = random.below(40);
            let file = match n % 4 {
                0 => format!("FILE{n}.TXT"),
                1 => format!("Ein längerer Name mit Umläuten №{n}.data"),
                2 => format!("lower{n}.c"),
                _ => format!("{n}"),
            };
            let here = volume.lookup(dir, file.as_bytes());
            assert_eq!(here.is_ok(), model.contains_key(&file), "{file}");
            match random.below(5) {
                0 | 1 => {
                    let id = match here {
                        Ok(id) => id,
                        Err(_) => volume
                            .create(dir, file.as_bytes(), false, NOW)
                            .expect("create"),
                    };
                    let data = vec![n as u8; random.below(20_000) as usize];
                    match write_all(&mut volume, &device, id, &data) {
                        Ok(()) => drop(model.insert(file, data)),
                        Err(error) => panic!("{error:?}"),
                    }
                    volume.forget(id).expect("forget");
                }
                2 => {
                    if let Ok(id) = here {
                        volume.remove(id, NOW).expect("remove");
                        volume.forget(id).expect("forget");
                        model.remove(&file);
                    }
                }
                3 => {
                    let Ok(id) = here else { continue };
                    let new = format!("renamed to {}", random.below(40));
                    let target = volume.lookup(dir, new.as_bytes()).ok();
                    volume
                        .rename(id, dir, new.as_bytes(), target, NOW)
                        .expect("rename");
                    if let Some(target) = target {
                        volume.forget(target).expect("forget");
                    }
                    let data = model.remove(&file).expect("model");
                    model.insert(new, data);
                }
                _ => {
                    if let Ok(id) = here {
                        let data = read_all(&mut volume, &device, id).expect("read");
                        assert_eq!(Some(&data), model.get(&file));
                    }
                }
            }
        }
        let expected: Vec<String> = model.keys().cloned().collect();
        assert_eq!(names(&mut volume, dir), expected, "round {round}");
        volume.unmount().expect("unmount");
        drop(volume);
        check(&path);
    }
    let _ = std::fs::remove_file(path);
}

#[test]
fn torture_fat12() {
    torture("t12", 2880, 12, 2);
}

#[test]
fn torture_fat16() {
    torture("t16", 16384, 16, 4);
}

#[test]
fn torture_fat32() {
    torture("t32", 65536, 32, 1);
}

#[test]
fn names_and_directories() {
    let Some(path) = image("names", 65536, 32, 1) else {
        return;
    };
    let device = open(&path);
    let mut volume = Volume::mount(device, false).expect("mount");
    let root = Volume::ROOT;
    let a = volume.create(root, b"Sub", true, NOW).expect("mkdir");
    assert_eq!(volume.create(root, b"SUB", false, NOW), Err(Errno::EEXIST));
    assert_eq!(volume.lookup(root, b"sUB"), Ok(a));
    for n in 0..600 {
        let name = format!("a name that needs several entries {n}");
        volume
            .create(a, name.as_bytes(), false, NOW)
            .expect("create");
    }
    assert_eq!(names(&mut volume, a).len(), 600);
    assert_eq!(volume.remove(a, NOW), Err(Errno::ENOTEMPTY));
    let b = volume.create(root, b"other", true, NOW).expect("mkdir");
    volume.rename(a, b, b"moved", None, NOW).expect("rename");
    assert_eq!(volume.attr(b).expect("attr").links, 3);
    assert_eq!(volume.lookup(root, b"Sub"), Err(Errno::ENOENT));
    assert!(
        volume
            .lookup(a, b"A NAME THAT NEEDS SEVERAL ENTRIES 7")
            .is_ok()
    );
    volume.unmount().expect("unmount");
    check(&path);
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_full_disk_gives_enospc_and_stays_sound() {
    let Some(path) = image("full", 2048, 12, 1) else {
        return;
    };
    let device = open(&path);
    let mut volume = Volume::mount(device, false).expect("mount");
    let mut made = Vec::new();
    let full = loop {
        let name = format!("file {}", made.len());
        match volume.create(Volume::ROOT, name.as_bytes(), false, NOW) {
            Ok(id) => match volume.set_size(id, 100_000) {
                Ok(()) => made.push(id),
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    assert_eq!(full, Errno::ENOSPC);
    let before = volume.statfs().expect("statfs").free;
    for id in made {
        volume.remove(id, NOW).expect("remove");
        volume.forget(id).expect("forget");
    }
    assert!(volume.statfs().expect("statfs").free > before);
    volume.unmount().expect("unmount");
    check(&path);
    let _ = std::fs::remove_file(path);
}
