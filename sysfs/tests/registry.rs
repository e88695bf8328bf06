//! The registry's own promises: uevents, what goes when a device goes, listing in pieces, reading and writing.

use std::sync::{Arc, Mutex};

use keel_abi::{Errno, Result};
use keel_sysfs::block::{BlockSource, Disk, DiskSource, Partition, Queue, QueueSetting};
use keel_sysfs::*;

#[derive(Default)]
struct Sink(Mutex<Vec<String>>);

impl Sink {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl UeventSink for Sink {
    fn send(&self, event: &Uevent) {
        let text = String::from_utf8(event.message.clone()).unwrap();
        assert!(text.ends_with(&format!("SEQNUM={}\0", event.seqnum)));
        self.0.lock().unwrap().push(text);
    }
}

#[derive(Default)]
struct Store(Mutex<u64>);

impl BlockSource for Store {
    fn sectors(&self) -> u64 {
        2048
    }

    fn read_only(&self) -> bool {
        false
    }

    fn stats(&self) -> keel_procfs::DiskStats {
        keel_procfs::DiskStats {
            reads: 51045,
            reads_merged: 8185,
            ..Default::default()
        }
    }

    fn in_flight(&self) -> (u32, u32) {
        (1, 20)
    }
}

impl DiskSource for Store {
    fn queue(&self) -> Queue {
        Queue {
            read_ahead_kb: *self.0.lock().unwrap() as u32,
            ..Queue::default()
        }
    }

    fn set(&self, setting: QueueSetting, value: u64) -> Result<()> {
        if setting != QueueSetting::ReadAheadKb {
            return Err(Errno::EINVAL);
        }
        *self.0.lock().unwrap() = value;
        Ok(())
    }
}

fn disk() -> Disk {
    Disk {
        name: "vda".into(),
        dev: DevNo {
            major: 254,
            minor: 0,
        },
        parent: None,
        minors: 16,
        partitioned: true,
        removable: false,
        events: "",
        diskseq: 9,
        attrs: Attrs::new(),
    }
}

/// A registry with a virtual disk and one partition.
fn machine() -> (Registry, Arc<Sink>, Id, Id) {
    let sink = Arc::new(Sink::default());
    let mut registry = Registry::new(sink.clone());
    let store = Arc::new(Store::default());
    let disk = registry.add_disk(disk(), store.clone()).unwrap();
    let partition = Partition {
        name: "vda1".into(),
        dev: DevNo {
            major: 254,
            minor: 1,
        },
        number: 1,
        start: 2048,
        label: Some("root".into()),
        diskseq: 9,
    };
    let partition = registry.add_partition(disk, partition, store).unwrap();
    (registry, sink, disk, partition)
}

fn read(registry: &Registry, path: &str) -> Result<String> {
    let mut buffer = [0; 4096];
    let count = registry
        .open(registry.find(path)?)?
        .read_at(0, &mut buffer)?;
    Ok(String::from_utf8(buffer[..count].to_vec()).unwrap())
}

fn write(registry: &Registry, path: &str, data: &str) -> Result<usize> {
    registry
        .open(registry.find(path)?)?
        .write_at(0, data.as_bytes())
}

#[test]
fn devices_announce_themselves() {
    let (registry, sink, disk, _) = machine();
    let events = sink.take();
    assert_eq!(
        events,
        [
            "add@/devices/virtual/block/vda\0ACTION=add\0DEVPATH=/devices/virtual/block/vda\0\
             SUBSYSTEM=block\0MAJOR=254\0MINOR=0\0DEVNAME=vda\0DEVTYPE=disk\0DISKSEQ=9\0SEQNUM=1\0",
            "add@/devices/virtual/block/vda/vda1\0ACTION=add\0\
             DEVPATH=/devices/virtual/block/vda/vda1\0SUBSYSTEM=block\0MAJOR=254\0MINOR=1\0\
             DEVNAME=vda1\0DEVTYPE=partition\0DISKSEQ=9\0PARTN=1\0PARTNAME=root\0SEQNUM=2\0",
        ]
    );
    registry.send_uevent(disk, Action::Change).unwrap();
    assert!(sink.take()[0].starts_with("change@/devices/virtual/block/vda\0"));
}

#[test]
fn udev_can_ask_again() {
    let (registry, sink, ..) = machine();
    sink.take();
    let file = "block/vda/uevent";
    assert_eq!(
        registry.find(file),
        Err(Errno::ENOTDIR),
        "links are not followed"
    );
    let file = "devices/virtual/block/vda/uevent";
    assert_eq!(write(&registry, file, "add\n"), Ok(4));
    assert!(sink.take()[0].contains("\0SUBSYSTEM=block\0SYNTH_UUID=0\0MAJOR=254\0"));
    let uuid = "fe4d7c9d-b8c6-4a70-9ef1-3d8a58d18eed";
    write(&registry, file, &format!("change {uuid} A=1 B=abc")).unwrap();
    assert!(sink.take()[0].contains(&format!(
        "\0SYNTH_UUID={uuid}\0SYNTH_ARG_A=1\0SYNTH_ARG_B=abc\0MAJOR"
    )));
    for bad in [
        "",
        "frob",
        "add x",
        &format!("add {uuid} A"),
        &format!("add {uuid} A=a/b"),
    ] {
        if !bad.is_empty() {
            assert_eq!(write(&registry, file, bad), Err(Errno::EINVAL), "{bad:?}");
        }
    }
    assert!(sink.take().is_empty());
    let text = "MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\nDISKSEQ=9\n";
    assert_eq!(read(&registry, file).unwrap(), text);
}

#[test]
fn links_lead_to_the_device_and_go_with_it() {
    let (mut registry, sink, disk, partition) = machine();
    let links = [
        ("block/vda", "../devices/virtual/block/vda"),
        ("class/block/vda1", "../../devices/virtual/block/vda/vda1"),
        ("dev/block/254:1", "../../devices/virtual/block/vda/vda1"),
        (
            "devices/virtual/block/vda/vda1/subsystem",
            "../../../../../class/block",
        ),
    ];
    for (path, target) in links {
        let link = registry.find(path).unwrap();
        assert_eq!(
            registry.readlink(link).unwrap(),
            target.as_bytes(),
            "{path}"
        );
    }
    assert_eq!(registry.find("block/vda1"), Err(Errno::ENOENT));
    let mut size = registry
        .open(registry.find("devices/virtual/block/vda/size").unwrap())
        .unwrap();
    sink.take();
    registry.remove_device(disk).unwrap();
    let events = sink.take();
    assert!(events[0].starts_with("remove@/devices/virtual/block/vda/vda1\0"));
    assert!(events[1].starts_with("remove@/devices/virtual/block/vda\0"));
    for (path, _) in links {
        assert!(registry.find(path).is_err(), "{path}");
    }
    assert!(!registry.valid(disk) && !registry.valid(partition));
    assert_eq!(registry.remove_device(disk), Err(Errno::ENOENT));
    let mut buffer = [0; 16];
    assert_eq!(size.read_at(0, &mut buffer), Ok(5), "open files stay");
    // The name is free again, under another number.
    assert_ne!(
        registry
            .add_disk(self::disk(), Arc::new(Store::default()))
            .unwrap(),
        disk
    );
}

#[test]
fn a_name_is_taken_once() {
    let (mut registry, ..) = machine();
    assert_eq!(
        registry.add_disk(disk(), Arc::new(Store::default())),
        Err(Errno::EEXIST)
    );
    assert!(
        registry
            .find("devices/virtual/block/vda/vda1/partition")
            .is_ok()
    );
    for bad in ["", ".", "..", "a/b"] {
        assert_eq!(
            registry.make_dir(Id::ROOT, bad),
            Err(Errno::EINVAL),
            "{bad:?}"
        );
    }
    let file = registry.find("devices/virtual/block/vda/size").unwrap();
    assert_eq!(registry.make_dir(file, "x"), Err(Errno::ENOTDIR));
    assert_eq!(registry.lookup(file, b"x"), Err(Errno::ENOTDIR));
    assert_eq!(registry.remove(Id::ROOT), Err(Errno::EBUSY));
}

#[test]
fn attributes_show_and_store() {
    let (registry, ..) = machine();
    let dir = "devices/virtual/block/vda";
    assert_eq!(read(&registry, &format!("{dir}/size")).unwrap(), "2048\n");
    assert_eq!(
        read(&registry, &format!("{dir}/inflight")).unwrap(),
        "       1       20\n"
    );
    let stat = read(&registry, &format!("{dir}/stat")).unwrap();
    assert!(stat.starts_with("   51045     8185        0 "));
    assert_eq!(stat.len(), 17 * 9);
    let ahead = format!("{dir}/queue/read_ahead_kb");
    assert_eq!(write(&registry, &ahead, "256\n"), Ok(4));
    assert_eq!(read(&registry, &ahead).unwrap(), "256\n");
    assert_eq!(write(&registry, &ahead, "x"), Err(Errno::EINVAL));
    assert_eq!(
        write(&registry, &format!("{dir}/queue/nomerges"), "1"),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        write(&registry, &format!("{dir}/size"), "1"),
        Err(Errno::EIO)
    );
    assert_eq!(
        write(&registry, &format!("{dir}/queue/scheduler"), "bfq"),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        write(&registry, &format!("{dir}/events_poll_msecs"), "10"),
        Err(Errno::ENODEV)
    );
    assert_eq!(read(&registry, dir), Err(Errno::EISDIR));
}

#[test]
fn listings_go_on_where_they_stopped() {
    let (mut registry, _, disk, _) = machine();
    let list = |registry: &Registry, from: u64| {
        let mut names = Vec::new();
        registry
            .readdir(disk, from, &mut |e| {
                names.push((String::from_utf8(e.name.to_vec()).unwrap(), e.next));
                true
            })
            .unwrap();
        names
    };
    let all = list(&registry, 0);
    assert!(all.len() > 15);
    for (index, (_, next)) in all.iter().enumerate() {
        assert_eq!(list(&registry, *next), all[index + 1..]);
    }
    let gone = registry.lookup(disk, all[3].0.as_bytes()).unwrap();
    registry.remove(gone).unwrap();
    assert_eq!(list(&registry, all[3].1), all[4..]);
}
