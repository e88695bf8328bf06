//! What the hot paths cost, in nanoseconds. Figures only; nothing is judged.

use alloc::boxed::Box;
use alloc::sync::Arc;

use keel_hal::addr::PAGE_SIZE;
use keel_hal::frame::{AllocFlags, Frame};
use keel_hal::paging::{PageProt, PageTable};
use keel_hal::sync::{Mutex, SpinLock, rcu};
use keel_hal::{early_println, task, time, user};

/// Prints all figures.
pub fn run() {
    each("frame alloc+free", 20_000, || {
        drop(Frame::alloc(AllocFlags::empty()))
    });
    each("frame alloc zeroed+free", 5_000, || {
        drop(Frame::alloc(AllocFlags::ZERO))
    });
    each("heap 64 bytes alloc+free", 50_000, || {
        drop(core::hint::black_box(Box::new([0_u8; 64])))
    });
    each("heap 8 KiB alloc+free", 10_000, || {
        drop(alloc::vec::Vec::<u8>::with_capacity(8192))
    });
    let spin = SpinLock::new(());
    each("spin lock+unlock", 100_000, || drop(spin.lock()));
    let mutex = Mutex::new(());
    each("mutex lock+unlock", 100_000, || drop(mutex.lock()));
    each("rcu read section", 100_000, || drop(rcu::read_lock()));
    each("yield to nobody", 20_000, task::yield_now);
    let (a, b) = (frame(), frame());
    each("copy a page", 5_000, || a.copy_from(&b));
    each("clear a page", 5_000, || a.fill(0, PAGE_SIZE, 0));

    let space = Arc::new(PageTable::new().expect("table"));
    let read_write = PageProt::READ | PageProt::WRITE;
    let mut va = 0x1000_0000;
    each("map a page", 5_000, || {
        let _ = space.cursor(va, va + PAGE_SIZE).map(a.clone(), read_write);
        va += PAGE_SIZE;
    });
    let before = time::now();
    let child = PageTable::new().expect("table");
    let _ = space.fork_range(&child, 0, usize::MAX, true);
    report("fork a page", time::now() - before, 5_000);
    let before = time::now();
    child.unmap_range(0, usize::MAX, &mut |_, _| ());
    report("unmap a page", time::now() - before, 5_000);
    task::current().set_page_table(Some(Arc::clone(&space)));
    space.protect_range(0, usize::MAX, &mut |_, _| read_write);
    let mut page = alloc::vec![0; PAGE_SIZE];
    each("user read 8 bytes", 50_000, || {
        let _ = user::read(0x1000_0000, &mut page[..8]);
    });
    each("user read 100 bytes", 50_000, || {
        let _ = user::read(0x1000_0000, &mut page[..100]);
    });
    each("user read a page", 5_000, || {
        let _ = user::read(0x1000_0000, &mut page);
    });
    each("user write a page", 5_000, || {
        let _ = user::write(0x1000_0000, &page);
    });
    task::current().set_page_table(None);
    each("memcpy of a page by compiler-builtins", 5_000, || {
        core::hint::black_box(&mut page).copy_within(1..PAGE_SIZE, 0);
    });
}

fn frame() -> Frame {
    Frame::alloc(AllocFlags::ZERO).expect("frame")
}

fn each(what: &str, times: u64, mut f: impl FnMut()) {
    let before = time::now();
    (0..times).for_each(|_| f());
    report(what, time::now() - before, times);
}

fn report(what: &str, ns: u64, times: u64) {
    early_println!("bench {what}: {} ns", ns / times);
}
