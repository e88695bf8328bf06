//! The kernel heap: slabs of small objects with per-CPU magazines, whole blocks for large ones.
//!
//! A request is rounded up to a size class. Each CPU keeps a magazine of free objects for each class,
//! which it alone touches, with interrupts off: the common path takes no lock. Magazines are filled
//! from and emptied into slabs in batches. A slab is a block of frames cut into objects; its list of
//! free objects is threaded through them, and its bookkeeping lives in the frame metadata of the
//! block's head. Per class one lock protects the list of slabs with free objects. A slab that becomes
//! all free goes back to the frame allocator, unless it is the class's last.
//!
//! Requests above [`MAX_SMALL`] get a block of frames or, where there is none (above 4 MiB never), single
//! frames mapped one after the other in the vmap area. Objects are aligned to the largest power of two
//! that divides their class's size. Everything is legal in interrupts.

use alloc::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::cpu;
use crate::frame::meta::{Kind, NONE, meta};
use crate::frame::{self, AllocFlags, MAX_ORDER, bytes};
use crate::paging::vmap;
use crate::sync::{IrqLock, pop_off, push_off};

/// The size classes, and the order of a slab of each.
const CLASSES: [(usize, u32); 17] = [
    (8, 0),
    (16, 0),
    (32, 0),
    (48, 0),
    (64, 0),
    (96, 0),
    (128, 0),
    (192, 0),
    (256, 0),
    (384, 1),
    (512, 1),
    (768, 1),
    (1024, 2),
    (1536, 2),
    (2048, 3),
    (3072, 3),
    (4096, 3),
];
const COUNT: usize = CLASSES.len();
/// Largest request that is served from slabs.
const MAX_SMALL: usize = CLASSES[COUNT - 1].0;

/// Class by size in units of 8 bytes, rounded up.
static CLASS_OF: [u8; MAX_SMALL / 8 + 1] = {
    let mut table = [0; MAX_SMALL / 8 + 1];
    let (mut units, mut class) = (0, 0);
    while units < table.len() {
        if units * 8 > CLASSES[class].0 {
            class += 1;
        }
        table[units] = class as u8;
        units += 1;
    }
    table
};

static RESERVED: AtomicUsize = AtomicUsize::new(0);
static LARGE: AtomicUsize = AtomicUsize::new(0);
static OBJECTS: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];

/// The state of the heap, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapStats {
    /// Bytes in live objects and magazines, rounded up to their size class.
    pub used: usize,
    /// Bytes of memory taken from the frame allocator.
    pub reserved: usize,
}

/// The state of the heap now.
pub fn stats() -> HeapStats {
    let small = (0..COUNT).map(|c| OBJECTS[c].load(Ordering::Relaxed) * CLASSES[c].0);
    let large = LARGE.load(Ordering::Relaxed);
    HeapStats {
        used: small.sum::<usize>() + large,
        reserved: RESERVED.load(Ordering::Relaxed) + large,
    }
}

/// One size class's state: (object size, objects in use including magazines). For /proc/slabinfo.
pub fn classes() -> impl Iterator<Item = (usize, usize)> {
    (0..COUNT).map(|c| (CLASSES[c].0, OBJECTS[c].load(Ordering::Relaxed)))
}

/// How a request is served.
enum Place {
    /// By an object of this class.
    Small(usize),
    /// By this many pages.
    Large(usize),
    Impossible,
}

fn place(layout: &Layout) -> Place {
    let size = layout.size().max(1);
    let align = layout.align();
    if size <= MAX_SMALL && align <= 16 {
        // Classes are multiples of 16 but for the first.
        let class = usize::from(CLASS_OF[size.div_ceil(8)]);
        return Place::Small(if align > 8 { class.max(1) } else { class });
    }
    // Rounded up to a power of two, the class is aligned to its size.
    let size = size.max(align).checked_next_power_of_two();
    match size {
        Some(size) if size <= MAX_SMALL => Place::Small(usize::from(CLASS_OF[size / 8])),
        Some(_) => large_place(layout),
        None => Place::Impossible,
    }
}

fn large_place(layout: &Layout) -> Place {
    // Blocks are aligned to their size; in the vmap area only to pages.
    if layout.align() > PAGE_SIZE && layout.size().max(layout.align()) > PAGE_SIZE << MAX_ORDER {
        return Place::Impossible;
    }
    Place::Large(layout.size().max(layout.align()).div_ceil(PAGE_SIZE))
}

/// The order of the block for `pages` pages.
fn order_for(pages: usize) -> u32 {
    pages.next_power_of_two().trailing_zeros()
}

/// Objects that a magazine of `class` holds at most; half of it moves at a time.
const fn capacity(class: usize) -> usize {
    let by_bytes = 8192 / CLASSES[class].0;
    if by_bytes > MAGAZINE {
        MAGAZINE
    } else if by_bytes < 4 {
        4
    } else {
        by_bytes
    }
}

const MAGAZINE: usize = 64;

/// Free objects of one class on one CPU.
struct Magazine {
    len: usize,
    objects: [*mut u8; MAGAZINE],
}

/// All magazines of a CPU, made when it first allocates.
struct Magazines([UnsafeCell<Magazine>; COUNT]);

static MAGAZINES: [AtomicPtr<Magazines>; cpu::MAX_CPUS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; cpu::MAX_CPUS];

/// Runs `f` on this CPU's magazine of `class`, interrupts off. `None` without memory for magazines.
#[inline]
fn with_magazine<R>(class: usize, f: impl FnOnce(&mut Magazine) -> R) -> Option<R> {
    push_off();
    let mut mine = MAGAZINES[cpu::id()].load(Ordering::Relaxed);
    if mine.is_null() {
        mine = make_magazines();
    }
    let result = if mine.is_null() {
        None
    } else {
        // SAFETY: never freed; only this CPU uses it, with interrupts off, and `f` does not call back.
        Some(f(unsafe { &mut *(*mine).0[class].get() }))
    };
    pop_off();
    result
}

#[cold]
fn make_magazines() -> *mut Magazines {
    let order = size_of::<Magazines>()
        .div_ceil(PAGE_SIZE)
        .next_power_of_two()
        .trailing_zeros();
    let Some(pfn) = frame::alloc_block(order, AllocFlags::ZERO) else {
        return ptr::null_mut();
    };
    RESERVED.fetch_add(PAGE_SIZE << order, Ordering::Relaxed);
    // All zero is a set of empty magazines.
    let made = PhysAddr::from_pfn(pfn).direct() as *mut Magazines;
    MAGAZINES[cpu::id()].store(made, Ordering::Relaxed);
    made
}

/// Slabs with free objects of one class.
struct Slabs {
    head: u32,
    count: usize,
}

static SLABS: [IrqLock<Slabs>; COUNT] = [const {
    IrqLock::new(Slabs {
        head: NONE,
        count: 0,
    })
}; COUNT];

impl Slabs {
    fn link(&mut self, pfn: usize) {
        let slab = meta(pfn);
        slab.prev.store(NONE, Ordering::Relaxed);
        slab.next.store(self.head, Ordering::Relaxed);
        if self.head != NONE {
            meta(self.head as usize)
                .prev
                .store(pfn as u32, Ordering::Relaxed);
        }
        self.head = pfn as u32;
        self.count += 1;
    }

    fn unlink(&mut self, pfn: usize) {
        let slab = meta(pfn);
        let (prev, next) = (
            slab.prev.load(Ordering::Relaxed),
            slab.next.load(Ordering::Relaxed),
        );
        if prev == NONE {
            self.head = next;
        } else {
            meta(prev as usize).next.store(next, Ordering::Relaxed);
        }
        if next != NONE {
            meta(next as usize).prev.store(prev, Ordering::Relaxed);
        }
        self.count -= 1;
    }

    /// Adds a fresh slab; `false` without memory.
    fn grow(&mut self, class: usize) -> bool {
        let (size, order) = CLASSES[class];
        let Some(pfn) = frame::alloc_block(order, AllocFlags::empty()) else {
            return false;
        };
        RESERVED.fetch_add(PAGE_SIZE << order, Ordering::Relaxed);
        let base = PhysAddr::from_pfn(pfn).direct();
        let objects = (PAGE_SIZE << order) / size;
        let mut next = 0;
        for object in (0..objects).rev().map(|i| base + i * size) {
            // SAFETY: inside the block, which is ours, and aligned to 8.
            unsafe { (object as *mut usize).write(next) };
            next = object;
        }
        let slab = meta(pfn);
        slab.set_kind(Kind::Slab);
        slab.class.store(class as u8, Ordering::Relaxed);
        slab.count.store(0, Ordering::Relaxed);
        slab.private.store(next as u64, Ordering::Relaxed);
        self.link(pfn);
        true
    }

    /// Takes one object.
    fn take(&mut self, class: usize) -> Option<*mut u8> {
        if self.head == NONE && !self.grow(class) {
            return None;
        }
        let pfn = self.head as usize;
        let slab = meta(pfn);
        let object = slab.private.load(Ordering::Relaxed) as *mut usize;
        // SAFETY: a slab on the list has a free object, whose first word links to the next.
        let next = unsafe { object.read() };
        slab.private.store(next as u64, Ordering::Relaxed);
        slab.count
            .store(slab.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if next == 0 {
            self.unlink(pfn);
        }
        Some(object.cast())
    }

    /// Puts one object back.
    ///
    /// # Safety
    /// `object` was taken from this class, and nothing refers to it.
    unsafe fn put(&mut self, class: usize, object: *mut u8) {
        let order = CLASSES[class].1;
        // Blocks are aligned to their size.
        let base = object as usize & !((PAGE_SIZE << order) - 1);
        let pfn = PhysAddr((base - PhysAddr(0).direct()) as u64).pfn();
        let slab = meta(pfn);
        debug_assert!(slab.kind() == Kind::Slab);
        debug_assert_eq!(usize::from(slab.class.load(Ordering::Relaxed)), class);
        let first = slab.private.load(Ordering::Relaxed);
        // SAFETY: a free object's first word is ours.
        unsafe { object.cast::<u64>().write(first) };
        slab.private.store(object as u64, Ordering::Relaxed);
        let left = slab.count.load(Ordering::Relaxed) - 1;
        slab.count.store(left, Ordering::Relaxed);
        if first == 0 {
            self.link(pfn);
        }
        if left == 0 && self.count > 1 {
            self.unlink(pfn);
            RESERVED.fetch_sub(PAGE_SIZE << order, Ordering::Relaxed);
            // SAFETY: all its objects are free.
            unsafe { frame::free_block(pfn, order) };
        }
    }
}

fn alloc_small(class: usize) -> *mut u8 {
    with_magazine(class, |magazine| {
        if magazine.len == 0 {
            let mut slabs = SLABS[class].lock();
            while magazine.len < capacity(class) / 2 {
                let Some(object) = slabs.take(class) else {
                    break;
                };
                magazine.objects[magazine.len] = object;
                magazine.len += 1;
            }
            OBJECTS[class].fetch_add(magazine.len, Ordering::Relaxed);
        }
        if magazine.len == 0 {
            return ptr::null_mut();
        }
        magazine.len -= 1;
        magazine.objects[magazine.len]
    })
    .unwrap_or_else(|| SLABS[class].lock().take(class).unwrap_or(ptr::null_mut()))
}

/// # Safety
/// `object` came from `alloc_small(class)`, and nothing refers to it.
unsafe fn free_small(class: usize, object: *mut u8) {
    let done = with_magazine(class, |magazine| {
        if magazine.len == capacity(class) {
            let batch = capacity(class) / 2;
            let mut slabs = SLABS[class].lock();
            // The oldest go back; the newest are warm in the CPU's caches.
            for &old in &magazine.objects[..batch] {
                // SAFETY: objects in the magazine are of this class and free.
                unsafe { slabs.put(class, old) };
            }
            drop(slabs);
            magazine.objects.copy_within(batch..magazine.len, 0);
            magazine.len -= batch;
            OBJECTS[class].fetch_sub(batch, Ordering::Relaxed);
        }
        magazine.objects[magazine.len] = object;
        magazine.len += 1;
    });
    if done.is_none() {
        // SAFETY: passed on.
        unsafe { SLABS[class].lock().put(class, object) };
    }
}

fn alloc_large(pages: usize, align: usize, flags: AllocFlags) -> *mut u8 {
    let order = order_for(pages);
    if order <= MAX_ORDER
        && let Some(pfn) = frame::alloc_block(order, flags)
    {
        LARGE.fetch_add(PAGE_SIZE << order, Ordering::Relaxed);
        return PhysAddr::from_pfn(pfn).direct() as *mut u8;
    }
    if order == 0 || align > PAGE_SIZE {
        return ptr::null_mut();
    }
    match vmap::alloc_pages(pages, flags) {
        Some(va) => {
            LARGE.fetch_add(PAGE_SIZE * pages, Ordering::Relaxed);
            va as *mut u8
        }
        None => ptr::null_mut(),
    }
}

/// # Safety
/// `object` came from `alloc_large` for as many pages, and nothing refers to it.
unsafe fn free_large(object: *mut u8, pages: usize) {
    let va = object as usize;
    if vmap::contains(va) {
        LARGE.fetch_sub(PAGE_SIZE * pages, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { vmap::free_pages(va, pages) };
    } else {
        let order = order_for(pages);
        LARGE.fetch_sub(PAGE_SIZE << order, Ordering::Relaxed);
        let pfn = PhysAddr((va - PhysAddr(0).direct()) as u64).pfn();
        // SAFETY: passed on; the block was handed out as a whole.
        unsafe { frame::free_block(pfn, order) };
    }
}

/// The global allocator.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: every request gets memory of its own, large and aligned enough, which stays allocated until
// `dealloc`: slab objects and blocks are handed out once. Nothing here panics.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match place(&layout) {
            Place::Small(class) => alloc_small(class),
            Place::Large(pages) => alloc_large(pages, layout.align(), AllocFlags::empty()),
            Place::Impossible => ptr::null_mut(),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match place(&layout) {
            Place::Small(class) => {
                let object = alloc_small(class);
                if !object.is_null() {
                    // SAFETY: a fresh object of at least this size.
                    unsafe { bytes::fill(object as usize, 0, layout.size()) };
                }
                object
            }
            Place::Large(pages) => alloc_large(pages, layout.align(), AllocFlags::ZERO),
            Place::Impossible => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        match place(&layout) {
            // SAFETY: by the caller's promise, it came from `alloc` with the same layout.
            Place::Small(class) => unsafe { free_small(class, object) },
            // SAFETY: as above.
            Place::Large(pages) => unsafe { free_large(object, pages) },
            Place::Impossible => {}
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `new_size` with this alignment is a valid layout.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let same = match (place(&layout), place(&new)) {
            (Place::Small(old), Place::Small(new)) => old == new,
            (Place::Large(old), Place::Large(new)) => {
                old == new || !vmap::contains(object as usize) && order_for(old) == order_for(new)
            }
            _ => false,
        };
        if same {
            return object;
        }
        // SAFETY: a valid layout.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both are at least as large as the smaller size, and distinct; then the old one
            // is given back with its own layout.
            unsafe {
                bytes::copy(moved as usize, object as usize, layout.size().min(new_size));
                self.dealloc(object, layout);
            }
        }
        moved
    }
}
