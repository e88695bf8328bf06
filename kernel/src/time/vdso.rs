//! The vDSO: its image and data page, and their mapping into programs.

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use keel_hal::paging::PageProt;
use keel_ld_support::vdso::{ClockMode, CpuMode, IMAGE, VVAR_SIZE, VdsoData, VvarPage};

use super::{NSEC_PER_SEC, clock};
use crate::mm::{AddressSpace, Backing, MapRequest, SpecialPages, VmFlags};
use crate::prelude::*;

/// Length of a tick for the coarse clocks, as with CONFIG_HZ=250.
pub const TICK_NS: u64 = 4_000_000;

struct Vdso {
    data: Frame,
    data_object: Arc<SpecialPages>,
    image_object: Arc<SpecialPages>,
    /// What was published last, and its sequence number; held while publishing.
    published: IrqLock<(VdsoData, u32)>,
}

/// What the coarse clocks show, for the system calls.
static COARSE_WALL: AtomicI64 = AtomicI64::new(0);
static COARSE_MONOTONIC: AtomicI64 = AtomicI64::new(0);

static VDSO: OnceLock<Vdso> = OnceLock::new();

struct Page<'a>(&'a Frame);

impl VvarPage for Page<'_> {
    fn store_u32(&self, offset: u32, value: u32) {
        self.0.store_u32(offset as usize, value);
    }

    fn store_u64(&self, offset: u32, value: u64) {
        self.0.store_u64(offset as usize, value);
    }
}

/// Allocates the pages and publishes the clocks for the first time.
pub fn init() {
    let Some(data) = Frame::alloc(AllocFlags::ZERO) else {
        return;
    };
    let mut frames = Vec::new();
    for chunk in IMAGE.chunks(PAGE_SIZE) {
        let Some(frame) = Frame::alloc(AllocFlags::ZERO) else {
            return;
        };
        frame.write(0, chunk);
        frames.push(frame);
    }
    let data_object = Arc::new(SpecialPages::new(vec![data.clone()]));
    let image_object = Arc::new(SpecialPages::new(frames));
    VDSO.call_once(|| Vdso {
        data,
        data_object,
        image_object,
        published: IrqLock::new((VdsoData::default(), 0)),
    });
    update();
}

/// Publishes the clocks anew: after a change of the wall clock, and now and then so that the arithmetic in user
/// space does not overflow.
pub fn update() {
    let Some(vdso) = VDSO.get() else { return };
    let params = keel_hal::time::tsc_params();
    let mut published = vdso.published.lock();
    let (data, seq) = &mut *published;
    let now = keel_hal::time::now();
    data.clock_mode = ClockMode::Tsc;
    data.cpu_mode = CpuMode::Rdtscp;
    data.mono_mult = params.mult;
    data.raw_mult = keel_hal::time::raw_mult();
    data.shift = params.shift;
    data.hrtimer_res = 1;
    data.coarse_res = TICK_NS as u32;
    data.cycle_last = params.base_tsc;
    let base = params.base_ns;
    let wall = (base as i64).saturating_add(clock::realtime_offset());
    let tai = wall.saturating_add(clock::tai_offset().saturating_mul(NSEC_PER_SEC as i64));
    let set = |data: &mut VdsoData, clock: u32, ns: i64| {
        let sec = ns.div_euclid(NSEC_PER_SEC as i64);
        let nsec = ns.rem_euclid(NSEC_PER_SEC as i64) as u32;
        data.set(clock, sec as u64, nsec);
    };
    set(data, 0, wall);
    set(data, 1, base as i64);
    set(data, 4, keel_hal::time::raw_at(params.base_tsc) as i64);
    set(data, 7, base as i64);
    set(data, 11, tai);
    // The coarse clocks tell when this page was written last: every tick.
    let wall = (now as i64).saturating_add(clock::realtime_offset());
    set(data, 5, wall);
    set(data, 6, now as i64);
    data.publish(&Page(&vdso.data), seq);
    COARSE_WALL.store(wall, Ordering::Relaxed);
    COARSE_MONOTONIC.store(now as i64, Ordering::Relaxed);
}

/// The coarse wall and monotonic clocks, as the data page shows them: whoever asks both by call and by the page never
/// sees them go back.
pub fn coarse() -> (i64, i64) {
    (
        COARSE_WALL.load(Ordering::Relaxed),
        COARSE_MONOTONIC.load(Ordering::Relaxed),
    )
}

/// A tick, or the end of an idle time at `now`: the coarse clocks go on.
pub fn tick(now: u64) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = now / TICK_NS;
    if LAST.load(Ordering::Relaxed) != number && LAST.swap(number, Ordering::Relaxed) != number {
        update();
    }
}

/// Maps data page and image into a new program; gives the image's address.
pub fn map(mm: &Arc<AddressSpace>) -> Result<usize> {
    let vdso = VDSO.get().ok_or(Errno::ENOMEM)?;
    let vvar = VVAR_SIZE as usize;
    let mut request = MapRequest::anonymous(vvar + IMAGE.len(), PageProt::READ);
    let base = mm.mmap(request)?;
    request = MapRequest::anonymous(vvar, PageProt::READ);
    request.addr = base;
    request.fixed = true;
    request.flags = VmFlags::VVAR | VmFlags::DONTDUMP | VmFlags::NO_MAYWRITE;
    let object = vdso.data_object.clone();
    request.backing = Backing::Object {
        object,
        pgoff: 0,
        file: None,
    };
    mm.mmap(request)?;
    request = MapRequest::anonymous(IMAGE.len(), PageProt::READ | PageProt::EXEC);
    request.addr = base + vvar;
    request.fixed = true;
    request.flags = VmFlags::VDSO;
    let object = vdso.image_object.clone();
    request.backing = Backing::Object {
        object,
        pgoff: 0,
        file: None,
    };
    mm.mmap(request)
}
