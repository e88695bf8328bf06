//! Devices that fail and images that are damaged: an errno at the right call, never a panic or an endless loop.
//!
//! `EXT4_MUTATIONS` sets the number of damaged images (default 300), `EXT4_STEP` which writes fail (every seventh),
//! `EXT4_SEED` the seed.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::exercise::{Mutator, base_images, exercise, poke};
use common::*;
use keel_ext4::{BlockDevice, Errno, Fs, MountOptions, Result, WriteFlags};

/// A disk whose writes (or reads) fail once a counter runs out: one of them, or all from then on.
struct Failing {
    disk: Arc<RamDisk>,
    left: AtomicU64,
    for_good: bool,
    reads: bool,
}

impl Failing {
    fn spend(&self) -> Result<()> {
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |v| v.checked_sub(1));
        match left {
            Ok(1) => Err(Errno::EIO),
            Err(_) if self.for_good => Err(Errno::EIO),
            _ => Ok(()),
        }
    }
}

impl BlockDevice for Failing {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if self.reads {
            self.spend()?;
        }
        self.disk.read(offset, buf)
    }
    fn write(&self, offset: u64, buf: &[u8], flags: WriteFlags) -> Result<()> {
        if !self.reads {
            self.spend()?;
        }
        self.disk.write(offset, buf, flags)
    }
    fn flush(&self) -> Result<()> {
        if self.reads { Ok(()) } else { self.spend() }
    }
}

#[test]
fn failing_writes() {
    let t = TempDir::new("failing");
    let img = t.path("img");
    mkfs(&img, "8M", &["-b", "1024", "-J", "size=1"]);
    let base = std::fs::read(&img).unwrap();
    let step = env("EXT4_STEP", 7) as usize;
    let mut tried = 0;
    for for_good in [true, false] {
        for k in (1..600u64).step_by(step) {
            tried += 1;
            let disk = RamDisk::new(base.clone());
            let dev = Arc::new(Failing {
                disk: disk.clone(),
                left: AtomicU64::new(k),
                for_good,
                reads: false,
            });
            let failed = match Fs::mount(dev.clone(), Host::default(), MountOptions::default()) {
                Ok(fs) => {
                    let r = exercise(&fs).and_then(|()| fs.unmount());
                    if r.is_err() {
                        // Whatever comes now is refused or fails, and does no harm.
                        let _ = exercise(&fs);
                        let _ = fs.unmount();
                    }
                    r.is_err()
                }
                Err(e) => {
                    assert_eq!(e, Errno::EIO);
                    true
                }
            };
            let spent = dev.left.load(Ordering::SeqCst) == 0;
            // A single error may hit a write of data, whose caller is told, and nothing else.
            assert!(failed || !spent, "write {k} failed and nobody was told");
            // The device works again: recovery must lead to a clean file system.
            let fs = mount(disk.clone());
            fs.unmount().unwrap();
            disk.save(&img);
            // An aborted journal leaves its mark; e2fsck has to agree with everything else.
            let clear = debugfs(&img, true, "ssv state 1");
            assert!(!clear.contains("bad"), "{clear}");
            fsck(&img);
        }
    }
    figures(format_args!("{tried} runs with failing writes and flushes"));
}

/// Reads that fail: an error for whoever needed the block, no damage.
#[test]
fn failing_reads() {
    let t = TempDir::new("failingreads");
    let img = t.path("img");
    let src = t.path("src");
    std::fs::create_dir_all(src.join("sub")).unwrap();
    for i in 0..200 {
        std::fs::write(src.join(format!("sub/old-{i}")), vec![i as u8; 3000]).unwrap();
    }
    let args = ["-b", "1024", "-J", "size=1", "-d", src.to_str().unwrap()];
    mkfs(&img, "8M", &args);
    let base = std::fs::read(&img).unwrap();
    let step = env("EXT4_STEP", 7) as usize;
    let mut tried = 0;
    for for_good in [true, false] {
        for k in (1..160u64).step_by(step) {
            tried += 1;
            let disk = RamDisk::new(base.clone());
            let dev = Arc::new(Failing {
                disk: disk.clone(),
                left: AtomicU64::new(k),
                for_good,
                reads: true,
            });
            match Fs::mount(dev, Host::default(), MountOptions::default()) {
                Ok(fs) => {
                    poke(&fs, 300);
                    let _ = exercise(&fs);
                    let _ = fs.unmount();
                }
                Err(e) => assert_eq!(e, Errno::EIO),
            }
            let fs = mount(disk.clone());
            fs.unmount().unwrap();
            disk.save(&img);
            let clear = debugfs(&img, true, "ssv state 1");
            assert!(!clear.contains("bad"), "{clear}");
            fsck(&img);
        }
    }
    figures(format_args!("{tried} runs with failing reads"));
}

#[test]
fn mutated_images() {
    let n = env("EXT4_MUTATIONS", 300);
    let bases = base_images();
    let mut rng = Rng(env("EXT4_SEED", 17) | 1);
    let mut mounted = 0;
    for k in 0..n {
        let mut m = Mutator::new(&bases[k as usize % bases.len()]);
        for _ in 0..1 + rng.below(12) {
            m.change(rng.next(), rng.next(), rng.next(), rng.next() >> 3);
        }
        if let Ok(fs) = Fs::mount(m.finish(), Host::default(), MountOptions::default()) {
            mounted += 1;
            poke(&fs, 300);
        }
    }
    // The damage must not all be of the kind that mount refuses.
    assert!(mounted > n / 3, "only {mounted} of {n} could be mounted");
    figures(format_args!(
        "{n} damaged images, {mounted} of them mounted"
    ));
}
