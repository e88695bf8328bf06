//! Frames, heap, page tables, user copies, virtio: what they do, one thing at a time.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keel_hal::addr::{HUGE_PAGE_SIZE, PAGE_SIZE, TASK_SIZE_MAX};
use keel_hal::frame::{self, AllocFlags, Frame};
use keel_hal::paging::{PageProt, PageTable};
use keel_hal::sync::{Completion, IrqLock};
use keel_hal::virtio::{self, DeviceType, DmaSeg};
use keel_hal::{early_println, pci, random, task, user};

use crate::Runner;

const RW: PageProt = PageProt::READ.union(PageProt::WRITE);
/// User addresses that the fault hook fills.
const DEMAND: core::ops::Range<usize> = 0x1000_0000..0x1010_0000;

static SPACE: IrqLock<Option<Arc<PageTable>>> = IrqLock::new(None);
static DEMAND_ON: AtomicBool = AtomicBool::new(false);
static FAULTS: AtomicUsize = AtomicUsize::new(0);

/// The kernel's part in a fault during a user copy.
pub fn fault(addr: usize, _write: bool) -> bool {
    FAULTS.fetch_add(1, Ordering::Relaxed);
    let space = SPACE.lock().clone();
    let Some(space) = space else { return false };
    if !DEMAND.contains(&addr) || !DEMAND_ON.load(Ordering::Relaxed) {
        return false;
    }
    let Some(frame) = Frame::alloc(AllocFlags::ZERO | AllocFlags::USER) else {
        return false;
    };
    space.cursor(addr, addr + PAGE_SIZE).map(frame, RW).is_ok()
}

/// Runs all checks.
pub fn run(t: &mut Runner) {
    frames(t);
    heap(t);
    tables(t);
    huge_tables(t);
    fork_and_move(t);
    copies(t);
    seeds(t);
    devices(t);
}

fn zeroed() -> Frame {
    Frame::alloc(AllocFlags::ZERO).expect("frame")
}

fn frames(t: &mut Runner) {
    let before = frame::stats();
    early_println!("      memory: {before:?}");
    {
        let a = zeroed();
        t.check(
            "frame: zeroed",
            a.is_zero() && a.ref_count() == 1 && a.order() == 0,
        );
        let b = a.clone();
        t.check("frame: clone counts", a.ref_count() == 2 && a.same(&b));
        drop(b);
        a.write(10, b"hello");
        let mut back = [0; 5];
        a.read(10, &mut back);
        t.check("frame: write and read", &back == b"hello" && !a.is_zero());
        a.fill(0, 4096, 0xa5);
        let c = zeroed();
        c.copy_from(&a);
        t.check(
            "frame: fill and copy",
            c.load_u64(4088) == 0xa5a5_a5a5_a5a5_a5a5,
        );
        a.flags_set(3);
        a.flags_clear(1);
        t.check("frame: flags", a.flags_test(2) && !a.flags_test(1));

        let block = Frame::alloc_huge(AllocFlags::ZERO).expect("huge");
        t.check(
            "frame: huge is aligned",
            block.phys().0.is_multiple_of(HUGE_PAGE_SIZE as u64),
        );
        let page = block.subpage(511).expect("subpage");
        t.check("frame: subpage counts in the head", block.ref_count() == 2);
        page.write(0, &[7]);
        drop(block);
        t.check(
            "frame: subpage keeps the block",
            page.ref_count() == 1 && page.load_u32(0) == 7,
        );
        t.check(
            "frame: no order above the largest",
            Frame::alloc_contiguous(11, AllocFlags::empty()).is_none(),
        );
    }
    let many: Vec<_> = (0..3000).map(|_| zeroed()).collect();
    t.check("frame: all different", {
        let mut pfns: Vec<_> = many.iter().map(Frame::pfn).collect();
        pfns.sort_unstable();
        pfns.windows(2).all(|w| w[0] != w[1])
    });
    drop(many);
    frame::drain_caches();
    let after = frame::stats();
    // The heap may have kept a few for magazines and slabs.
    t.check("frame: everything came back", before.free - after.free < 40);
}

fn heap(t: &mut Runner) {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for size in (1..300).chain([500, 1000, 2000, 4000, 4096, 5000, 9000, 100_000, 3_000_000]) {
        all.push((0..size).map(|i| (i * 7 + size) as u8).collect());
    }
    let right = all.iter().all(|v| {
        v.iter()
            .enumerate()
            .all(|(i, &b)| b == (i * 7 + v.len()) as u8)
    });
    t.check("heap: contents of all sizes", right);
    let aligned: Vec<Box<Aligned>> = (0..10).map(|_| Box::new(Aligned([1; 64]))).collect();
    t.check(
        "heap: alignment",
        aligned
            .iter()
            .all(|b| (&raw const **b).addr().is_multiple_of(256)),
    );
    let mut huge: Vec<u8> = Vec::new();
    t.check(
        "heap: impossible sizes fail",
        huge.try_reserve_exact(1 << 40).is_err(),
    );
    let mut large = alloc::vec![0_u8; 20 << 20];
    let clear = large.iter().all(|&b| b == 0);
    large.iter_mut().step_by(1000).for_each(|b| *b = 5);
    large.resize(25 << 20, 1);
    let right = clear && large[19_000_000] == 5 && large.last() == Some(&1);
    t.check("heap: larger than a block", right);
    drop(large);
    t.check(
        "heap: zeroed",
        alloc::vec![0_u8; 70_000].iter().all(|&b| b == 0),
    );
}

#[repr(align(256))]
#[allow(dead_code)]
struct Aligned([u8; 64]);

fn tables(t: &mut Runner) {
    let free = free_frames();
    {
        let space = PageTable::new().expect("table");
        let va = 0x40_0000;
        let frame = zeroed();
        let mut cursor = space.cursor(va, va + 16 * PAGE_SIZE);
        t.check(
            "table: empty",
            cursor.query().is_none() && cursor.next_mapped().is_none(),
        );
        cursor.jump(va);
        t.check(
            "table: map",
            matches!(cursor.map(frame.clone(), RW), Ok(None)),
        );
        let seen = cursor.query().expect("mapped");
        t.check(
            "table: query",
            seen.frame.same(&frame) && seen.prot == RW && !seen.dirty && !seen.huge,
        );
        drop(seen);
        t.check(
            "table: entry counts",
            frame.ref_count() == 2 && space.resident() == 1,
        );
        cursor.protect(PageProt::empty());
        let hidden = cursor.query().expect("still mapped");
        t.check(
            "table: no access keeps the page",
            hidden.prot.is_empty() && hidden.frame.same(&frame),
        );
        drop(hidden);
        cursor.protect(PageProt::READ | PageProt::EXEC);
        t.check(
            "table: protect",
            cursor.query().expect("mapped").prot == PageProt::READ | PageProt::EXEC,
        );
        let other = zeroed();
        let old = cursor.map(other.clone(), RW).expect("memory").expect("old");
        t.check("table: replace gives the old", old.frame.same(&frame));
        drop(old);
        t.check(
            "table: next",
            cursor.next() && cursor.addr() == va + PAGE_SIZE,
        );
        t.check("table: only one mapped", cursor.next_mapped().is_none());
        cursor.jump(va);
        let gone = cursor.unmap().expect("mapped");
        t.check(
            "table: unmap",
            gone.frame.same(&other) && space.resident() == 0,
        );
        drop(gone);
        drop(cursor);
        t.check(
            "table: references gone",
            frame.ref_count() == 1 && other.ref_count() == 1,
        );

        // Over the borders of leaf tables and of the upper levels.
        let places = [
            0x1000,
            0x1f_f000,
            0x20_0000,
            0x3fff_f000,
            0x4000_0000,
            0x7f_ffff_f000,
            TASK_SIZE_MAX - PAGE_SIZE,
        ];
        for va in places {
            space
                .cursor(va, va + PAGE_SIZE)
                .map(zeroed(), RW)
                .expect("memory");
        }
        let mut found = Vec::new();
        let mut cursor = space.cursor(0, usize::MAX);
        while let Some(va) = cursor.next_mapped() {
            found.push(va);
            if !cursor.next() {
                break;
            }
        }
        drop(cursor);
        t.check("table: iteration", found == places);
        let mut order = Vec::new();
        space.unmap_range(0x20_0000, 0x4000_1000, &mut |va, _| order.push(va));
        t.check(
            "table: unmap_range",
            order == [0x20_0000, 0x3fff_f000, 0x4000_0000] && space.resident() == 4,
        );

        for page in 0..1000 {
            space
                .cursor(0x5000_0000 + page * PAGE_SIZE, usize::MAX)
                .map(frame.clone(), RW)
                .expect("memory");
        }
        t.check("table: thousand entries", frame.ref_count() == 1001);
        let mut seen = 0;
        space.protect_range(0x5000_0000, 0x5000_0000 + 500 * PAGE_SIZE, &mut |_, m| {
            seen += usize::from(m.frame.same(&frame));
            PageProt::READ
        });
        t.check("table: protect_range", seen == 500);
        let tables = space.table_pages();
        let mut seen = 0;
        space.unmap_range(0, usize::MAX, &mut |_, _| seen += 1);
        t.check(
            "table: unmap everything",
            seen == 1004 && space.resident() == 0 && frame.ref_count() == 1,
        );
        t.check("table: leaf tables freed", space.table_pages() < tables);
        let mut space = space;
        space.free_empty_tables();
        t.check("table: only the root is left", space.table_pages() == 1);
        space
            .cursor(0x1000, usize::MAX)
            .map(zeroed(), RW)
            .expect("memory");
    }
    t.check("table: memory came back", free_frames() >= free - 2);
}

fn free_frames() -> usize {
    keel_hal::sync::rcu::run_pending();
    frame::drain_caches();
    frame::stats().free
}

fn huge_tables(t: &mut Runner) {
    let free = free_frames();
    {
        let space = PageTable::new().expect("table");
        let va = 0x8000_0000;
        let block = Frame::alloc_huge(AllocFlags::ZERO).expect("huge");
        block.write(5 * PAGE_SIZE, &[55]);
        let mut cursor = space.cursor(va, va + HUGE_PAGE_SIZE);
        t.check("huge: map", cursor.map_huge(block.clone(), RW).is_ok());
        t.check(
            "huge: query",
            cursor
                .query()
                .is_some_and(|m| m.huge && m.frame.same(&block)),
        );
        t.check(
            "huge: resident",
            space.resident() == 512 && block.ref_count() == 2,
        );
        t.check("huge: next skips it", !cursor.next());
        drop(cursor);
        // A part of it: splits.
        space.protect_range(va, va + PAGE_SIZE, &mut |_, _| PageProt::READ);
        let mut cursor = space.cursor(va, va + HUGE_PAGE_SIZE);
        t.check(
            "huge: split by protect",
            cursor
                .query()
                .is_some_and(|m| !m.huge && m.prot == PageProt::READ),
        );
        cursor.jump(va + 5 * PAGE_SIZE);
        let part = cursor.query().expect("mapped");
        t.check(
            "huge: parts",
            part.prot == RW && part.frame.load_u32(0) == 55 && block.ref_count() == 514,
        );
        drop(part);
        drop(cursor);
        t.check(
            "huge: not over small pages",
            space
                .cursor(va, usize::MAX)
                .map_huge(block.clone(), RW)
                .is_err(),
        );
        let mut count = 0;
        space.unmap_range(va + PAGE_SIZE, va + HUGE_PAGE_SIZE, &mut |_, _| count += 1);
        t.check("huge: unmap parts", count == 511 && block.ref_count() == 2);
        space.unmap_range(va, va + PAGE_SIZE, &mut |_, _| ());
        t.check(
            "huge: over an empty table",
            space
                .cursor(va, usize::MAX)
                .map_huge(block.clone(), RW)
                .is_ok(),
        );
        t.check(
            "huge: not over another",
            space
                .cursor(va, usize::MAX)
                .map_huge(block.clone(), RW)
                .is_err(),
        );
        let mut whole = 0;
        space.unmap_range(0, usize::MAX, &mut |_, m| whole += usize::from(m.huge));
        t.check("huge: unmap whole", whole == 1 && block.ref_count() == 1);
        space
            .cursor(va, usize::MAX)
            .map_huge(block.clone(), RW)
            .expect("memory");
        let child = PageTable::new().expect("table");
        space
            .fork_range(&child, 0, usize::MAX, true)
            .expect("memory");
        t.check(
            "huge: fork",
            child
                .cursor(va, usize::MAX)
                .query()
                .is_some_and(|m| m.huge && m.prot == PageProt::READ)
                && block.ref_count() == 3,
        );
        let old = space.cursor(va, va + PAGE_SIZE).unmap();
        t.check(
            "huge: unmap one page splits",
            old.is_some_and(|m| !m.huge) && space.resident() == 511,
        );
    }
    t.check("huge: memory came back", free_frames() >= free - 2);
    huge_pages_fall_apart(t);
    t.check("huge: single frames came back", free_frames() >= free - 2);
}

/// A huge page that only one address space maps becomes single frames, which are freed one by one.
fn huge_pages_fall_apart(t: &mut Runner) {
    let space = PageTable::new().expect("table");
    let va = 0x8000_0000;
    let block = Frame::alloc_huge(AllocFlags::ZERO).expect("huge");
    block.write(7 * PAGE_SIZE, &[77]);
    let mut cursor = space.cursor(va, va + HUGE_PAGE_SIZE);
    cursor.map_huge(block, RW).expect("memory");
    drop(cursor);
    let before = free_frames();
    space.unmap_range(va + 8 * PAGE_SIZE, va + HUGE_PAGE_SIZE, &mut |_, _| ());
    t.check("huge: parts are freed", free_frames() >= before + 500);
    let part = space.cursor(va + 7 * PAGE_SIZE, usize::MAX).query();
    t.check(
        "huge: the rest stays",
        part.is_some_and(|m| !m.huge && m.frame.load_u32(0) == 77 && m.frame.ref_count() == 2),
    );
}

fn fork_and_move(t: &mut Runner) {
    let free = free_frames();
    {
        let space = PageTable::new().expect("table");
        let frames: Vec<_> = (0..700).map(|_| zeroed()).collect();
        let base = 0x10_0000_0000 + 100 * PAGE_SIZE;
        for (i, frame) in frames.iter().enumerate() {
            frame.store_u32(0, i as u32);
            space
                .cursor(base + i * PAGE_SIZE, usize::MAX)
                .map(frame.clone(), RW)
                .expect("memory");
        }
        let child = PageTable::new().expect("table");
        space
            .fork_range(&child, base, base + 700 * PAGE_SIZE, true)
            .expect("memory");
        let same = (0..700).all(|i| {
            let m = child.cursor(base + i * PAGE_SIZE, usize::MAX).query();
            m.is_some_and(|m| m.frame.same(&frames[i]) && m.prot == PageProt::READ)
        });
        t.check(
            "fork: child maps the same, read-only",
            same && child.resident() == 700,
        );
        t.check(
            "fork: parent too",
            space
                .cursor(base, usize::MAX)
                .query()
                .is_some_and(|m| m.prot == PageProt::READ),
        );
        t.check("fork: counts", frames.iter().all(|f| f.ref_count() == 3));
        drop(child);
        t.check(
            "fork: child gone",
            frames.iter().all(|f| f.ref_count() == 2),
        );

        let to = 0x20_0000_0000 + 37 * PAGE_SIZE;
        space.move_range(base, to, 700 * PAGE_SIZE).expect("memory");
        let moved = (0..700).all(|i| {
            let m = space.cursor(to + i * PAGE_SIZE, usize::MAX).query();
            m.is_some_and(|m| m.frame.load_u32(0) == i as u32)
        });
        t.check("move: everything there", moved && space.resident() == 700);
        t.check(
            "move: nothing left",
            space
                .cursor(base, base + 700 * PAGE_SIZE)
                .next_mapped()
                .is_none(),
        );
    }
    t.check("move: memory came back", free_frames() >= free - 2);
}

fn copies(t: &mut Runner) {
    let space = Arc::new(PageTable::new().expect("table"));
    let frame = zeroed();
    let va = 0x70_0000;
    space
        .cursor(va, usize::MAX)
        .map(frame.clone(), RW)
        .expect("memory");
    *SPACE.lock() = Some(Arc::clone(&space));
    task::current().set_page_table(Some(Arc::clone(&space)));

    t.check("copy: out", user::write(va + 4, b"abcdefghijk").is_ok());
    let mut back = [0; 11];
    t.check(
        "copy: in",
        user::read(va + 4, &mut back).is_ok() && &back == b"abcdefghijk",
    );
    t.check(
        "copy: marks dirty",
        space
            .cursor(va, usize::MAX)
            .query()
            .is_some_and(|m| m.dirty && m.accessed),
    );
    t.check(
        "copy: fault at once",
        user::read(0x1234, &mut back) == Err(user::Fault),
    );
    t.check(
        "copy: partial up to the page",
        user::write_partial(va + PAGE_SIZE - 21, &[9; 40]) == 21,
    );
    t.check(
        "copy: partial in",
        user::read_partial(va + PAGE_SIZE - 7, &mut back) == 7 && back[..7] == [9; 7],
    );
    t.check(
        "copy: kernel addresses",
        user::write(0xffff_8880_0000_0000, &[1]).is_err()
            && user::write_partial(usize::MAX - 3, &[1; 16]) == 0,
    );
    t.check(
        "copy: non-canonical",
        user::read(0x8000_0000_0000_0000, &mut back).is_err(),
    );
    t.check(
        "copy: end of user space",
        user::read(TASK_SIZE_MAX - 5, &mut back).is_err(),
    );
    t.check(
        "copy: zero",
        user::zero(va, PAGE_SIZE + 100) == PAGE_SIZE && frame.is_zero(),
    );

    space.cursor(va, usize::MAX).protect(PageProt::READ);
    t.check(
        "copy: read-only",
        user::write(va, &[1]).is_err() && user::read(va, &mut back).is_ok(),
    );
    space.cursor(va, usize::MAX).protect(PageProt::empty());
    t.check("copy: no access", user::read(va, &mut back).is_err());
    space.cursor(va, usize::MAX).protect(RW);

    t.check(
        "word: store and load",
        user::store_u32(va, 41).is_ok() && user::load_u32(va) == Ok(41),
    );
    t.check(
        "word: cmpxchg",
        user::cmpxchg_u32(va, 41, 42) == Ok(41) && user::cmpxchg_u32(va, 41, 43) == Ok(42),
    );
    t.check(
        "word: fetch_update",
        user::fetch_update_u32(va, |v| Some(v * 2)) == Ok(Ok(42)) && user::load_u32(va) == Ok(84),
    );
    t.check(
        "word: faults",
        user::load_u32(0x10_0000).is_err()
            && user::cmpxchg_u32(0x10_0000, 0, 1).is_err()
            && user::load_u32(va + 2).is_err(),
    );

    let text = b"string\0";
    user::write(va + PAGE_SIZE - 7, text).expect("mapped");
    let mut out = Vec::new();
    t.check(
        "string: ends with the page",
        user::read_cstr(va + PAGE_SIZE - 7, 100, &mut out) == Ok(user::CStrEnd::Found)
            && out == b"string",
    );
    t.check(
        "string: too long",
        user::read_cstr(va + PAGE_SIZE - 7, 6, &mut Vec::new()) == Ok(user::CStrEnd::TooLong),
    );
    t.check(
        "string: runs off",
        user::read_cstr(va + PAGE_SIZE - 6, 0, &mut Vec::new()) == Ok(user::CStrEnd::TooLong),
    );
    user::write(va + PAGE_SIZE - 1, b"x").expect("mapped");
    t.check(
        "string: into nothing",
        user::read_cstr(va + PAGE_SIZE - 3, 100, &mut Vec::new()).is_err(),
    );

    DEMAND_ON.store(true, Ordering::Relaxed);
    let pattern: Vec<u8> = (0..40_000).map(|i| (i % 251) as u8).collect();
    let faults = FAULTS.load(Ordering::Relaxed);
    t.check(
        "demand: write over ten pages",
        user::write(DEMAND.start + 100, &pattern).is_ok(),
    );
    t.check(
        "demand: one fault for each page",
        FAULTS.load(Ordering::Relaxed) - faults == 10,
    );
    let mut all = alloc::vec![0; 40_000];
    t.check(
        "demand: read back",
        user::read(DEMAND.start + 100, &mut all).is_ok() && all == pattern,
    );
    let before = FAULTS.load(Ordering::Relaxed);
    t.check(
        "nofault: fails at once",
        user::nofault(|| user::load_u32(DEMAND.end - 4096)).is_err()
            && FAULTS.load(Ordering::Relaxed) == before,
    );
    let source = zeroed();
    source.fill(0, PAGE_SIZE, 0x33);
    t.check(
        "demand: from a frame",
        source.copy_to_user(0, DEMAND.end - 2 * PAGE_SIZE + 5, PAGE_SIZE) == PAGE_SIZE,
    );
    t.check(
        "demand: frame to the end of the area",
        source.copy_to_user(0, DEMAND.end - 5, PAGE_SIZE) == 5,
    );
    t.check(
        "demand: into a frame",
        frame.copy_from_user(0, DEMAND.end - PAGE_SIZE, PAGE_SIZE) == PAGE_SIZE
            && frame.load_u32(0) == 0x3333_3333,
    );

    DEMAND_ON.store(false, Ordering::Relaxed);
    *SPACE.lock() = None;
    task::current().set_page_table(None);
    let weak = Arc::downgrade(&space);
    drop(space);
    keel_hal::sync::rcu::run_pending();
    t.check(
        "space: freed when unloaded",
        weak.upgrade().is_none() && frame.ref_count() == 1,
    );
}

fn seeds(t: &mut Runner) {
    let (mut a, mut b) = ([0; 37], [0; 37]);
    let hardware = random::seed(&mut a);
    random::seed(&mut b);
    early_println!("      random: hardware {hardware}");
    t.check("random: differs", a != b && a.iter().any(|&x| x != 0));
}

fn devices(t: &mut Runner) {
    for device in pci::devices() {
        let class = device.class();
        early_println!(
            "      {device:?} class {class:02x?} msix {}",
            device.msix_len()
        );
    }
    t.check("pci: found devices", !pci::devices().is_empty());
    for device in virtio::devices() {
        early_println!("      {device:?}, {} queues", device.num_queues());
        match device.kind {
            DeviceType::Block => block(t, &device),
            DeviceType::EntropySource => entropy(t, &device),
            _ => {}
        }
    }
}

fn entropy(t: &mut Runner, device: &Arc<virtio::VirtioDevice>) {
    device.begin(0).expect("features");
    let done = Arc::new(Completion::new());
    let signal = Arc::clone(&done);
    let queue = device
        .setup_queue(0, 64, Box::new(move || signal.complete()), 0)
        .expect("queue");
    device.finish();
    let frame = zeroed();
    let seg = DmaSeg {
        frame: frame.clone(),
        off: 0,
        len: 64,
        device_writes: true,
    };
    queue.submit(alloc::vec![seg], 5).expect("room");
    queue.kick();
    done.wait();
    let got = queue.pop().expect("completion");
    t.check(
        "virtio-rng: fills",
        got.cookie == 5 && got.written > 0 && !frame.is_zero(),
    );
}

fn block(t: &mut Runner, device: &Arc<virtio::VirtioDevice>) {
    device.begin(0).expect("features");
    let sectors: u64 = device.config(0).expect("capacity");
    early_println!("      disk of {sectors} sectors");
    let done = Arc::new(Completion::new());
    let signal = Arc::clone(&done);
    let cpu = keel_hal::cpu::count() - 1;
    let queue = device
        .setup_queue(0, 128, Box::new(move || signal.complete()), cpu)
        .expect("queue");
    device.finish();
    let requests = 20_u64;
    for i in 0..requests {
        let header = zeroed();
        header.store_u64(8, i % sectors);
        let data = zeroed();
        let chain = alloc::vec![
            DmaSeg {
                frame: header.clone(),
                off: 0,
                len: 16,
                device_writes: false
            },
            DmaSeg {
                frame: data,
                off: 512,
                len: 512,
                device_writes: true
            },
            DmaSeg {
                frame: header,
                off: 100,
                len: 1,
                device_writes: true
            },
        ];
        queue.submit(chain, i).expect("room");
    }
    queue.kick();
    let mut right = 0;
    let mut seen = 0;
    while seen < requests {
        let Some(done_one) = queue.pop() else {
            done.wait();
            continue;
        };
        seen += 1;
        // The test disk's sectors begin with their own number.
        let data = &done_one.chain[1].frame;
        right +=
            usize::from(done_one.written == 513 && data.load_u32(512) == done_one.cookie as u32);
    }
    t.check(
        "virtio-blk: twenty reads in flight",
        right == requests as usize,
    );
    t.check(
        "virtio-blk: queue is empty again",
        queue.free_slots() == queue.size(),
    );
}
