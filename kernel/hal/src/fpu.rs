//! The extended register state (x87, SSE, AVX, AVX-512) of user mode.
//!
//! The kernel never touches these registers, so they hold some task's state at all times. It is
//! saved when that task is switched away from after it was in user mode, and loaded before a task
//! enters user mode unless the CPU still holds it. Areas are in XSAVE's standard format (Intel SDM
//! volume 1, chapter 13), which is also what signal frames and ptrace show. Without XSAVE, FXSAVE's.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::{
    arch::asm,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicBool, Ordering},
};

use spin::Once;

use crate::{
    cpu::features::{self, cpuid},
    task,
};

/// Features that are enabled if the CPU has them: x87, SSE, AVX, AVX-512 (three parts), protection keys.
const WANTED: u64 = 1 | 1 << 1 | 1 << 2 | 7 << 5 | PKRU;
const PKRU: u64 = 1 << PKRU_COMPONENT;
const PKRU_COMPONENT: usize = 9;
/// What a new program may touch: pages with key 0 only.
const INITIAL_PKRU: u32 = 0x5555_5554;
const X87: u64 = 1;
const SSE: u64 = 1 << 1;
/// The legacy region, as FXSAVE writes it.
const LEGACY: usize = 512;
const HEADER: usize = 64;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
/// x87 control word and MXCSR after reset: all exceptions masked.
const INITIAL_FCW: u16 = 0x37f;
const INITIAL_MXCSR: u32 = 0x1f80;
const DEFAULT_MXCSR_MASK: u32 = 0xffbf;

struct Layouts {
    xcr0: u64,
    size: usize,
    /// Offset and size of each component.
    components: [(usize, usize); 64],
    mxcsr_mask: u32,
    xsaveopt: bool,
}

static LAYOUTS: Once<Layouts> = Once::new();
static HAS_XSAVE: AtomicBool = AtomicBool::new(false);

fn layouts() -> &'static Layouts {
    LAYOUTS
        .get()
        .expect("extended registers before their set-up")
}

/// Finds out what there is, on the boot CPU.
pub(crate) fn init() {
    HAS_XSAVE.store(features::has(features::XSAVE), Ordering::Relaxed);
    LAYOUTS.call_once(|| {
        let mut layouts = Layouts {
            xcr0: X87 | SSE,
            size: LEGACY,
            components: [(0, 0); 64],
            mxcsr_mask: mxcsr_mask(),
            xsaveopt: features::has(features::XSAVEOPT),
        };
        if HAS_XSAVE.load(Ordering::Relaxed) {
            let [low, _, _, high] = cpuid(0xd, 0);
            layouts.xcr0 = (u64::from(high) << 32 | u64::from(low)) & WANTED;
            layouts.size = LEGACY + HEADER;
            for i in 2..64 {
                if layouts.xcr0 >> i & 1 != 0 {
                    let [size, offset, _, _] = cpuid(0xd, i);
                    layouts.components[i as usize] = (offset as usize, size as usize);
                    layouts.size = layouts.size.max((offset + size) as usize);
                }
            }
        }
        layouts
    });
    init_current();
}

/// Enables the features on this CPU and loads the initial state.
pub(crate) fn init_current() {
    if HAS_XSAVE.load(Ordering::Relaxed) {
        let xcr0 = layouts().xcr0;
        // SAFETY: the bits are those that CPUID offers, with x87 and SSE among them.
        unsafe {
            asm!("xsetbv", in("ecx") 0, in("eax") xcr0 as u32, in("edx") (xcr0 >> 32) as u32,
                options(nomem, nostack, preserves_flags));
        }
    }
}

/// The MXCSR bits that may be set.
fn mxcsr_mask() -> u32 {
    #[repr(align(16))]
    struct Image([u8; LEGACY]);
    let mut image = Image([0; LEGACY]);
    // SAFETY: the image is large and aligned enough.
    unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut image.0, options(nostack, preserves_flags)) };
    match u32_at(&image.0, MXCSR_MASK) {
        0 => DEFAULT_MXCSR_MASK,
        mask => mask,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// Bytes of the XSAVE area (standard format) with all enabled features.
pub fn area_size() -> usize {
    layouts().size
}

/// The enabled features (XCR0).
pub fn features() -> u64 {
    layouts().xcr0
}

/// Stores the current task's state; an `area` shorter than [`area_size`] gets the first part.
pub fn save_current(area: &mut [u8]) {
    task::current().fpu_read(area);
}

/// Loads the current task's state from a full area or a legacy image of 512 bytes.
/// Fails, changing nothing, if the size or the contents are not valid.
pub fn restore_current(area: &[u8]) -> Result<(), task::Refused> {
    task::current().fpu_write(area)
}

/// Gives the current task the initial state (exec).
pub fn reset_current() {
    // Cannot fail for the current task.
    let _ = task::current().fpu_reset();
}

/// Whether the CPU has protection keys for user pages.
pub fn has_protection_keys() -> bool {
    layouts().xcr0 & PKRU != 0
}

/// Makes PKRU `value` on this CPU. Interrupts are off.
pub(crate) fn load_pkru(value: u32) {
    if !features::pku_enabled() {
        return;
    }
    let old: u32;
    // SAFETY: the CPU has the registers; the value only matters to accesses of user pages.
    unsafe {
        asm!("rdpkru", in("ecx") 0, out("eax") old, out("edx") _, options(nomem, nostack, preserves_flags));
        if old != value {
            asm!("wrpkru", in("ecx") 0, in("eax") value, in("edx") 0, options(nostack, preserves_flags));
        }
    }
}

/// A task's saved state.
pub(crate) struct Area {
    bytes: NonNull<u8>,
}

// SAFETY: the area owns its bytes; who may touch them when is the owning task's protocol.
unsafe impl Send for Area {}

impl Area {
    fn layout() -> Layout {
        // A whole number of cache lines, aligned as XSAVE demands.
        Layout::from_size_align(area_size().next_multiple_of(64), 64).expect("small and aligned")
    }

    /// An area with the initial state.
    pub(crate) fn new() -> Option<Area> {
        // SAFETY: the layout is not empty.
        let bytes = NonNull::new(unsafe { alloc_zeroed(Self::layout()) })?;
        let area = Area { bytes };
        area.set_initial();
        Some(area)
    }

    /// The bytes. Only for whoever has the task's state to itself: see `task::access`.
    #[allow(clippy::mut_from_ref)]
    fn bytes(&self) -> &mut [u8] {
        // SAFETY: the allocation has this size; the callers in this module are reached only for the
        // current task or for one that is held, and keep no reference.
        unsafe { slice::from_raw_parts_mut(self.bytes.as_ptr(), area_size()) }
    }

    fn set_initial(&self) {
        let bytes = self.bytes();
        bytes[..2].copy_from_slice(&INITIAL_FCW.to_le_bytes());
        bytes[MXCSR..MXCSR + 4].copy_from_slice(&INITIAL_MXCSR.to_le_bytes());
        self.set_pkru(INITIAL_PKRU);
    }

    /// The rights of protection keys; 0 without them.
    pub(crate) fn pkru(&self) -> u32 {
        let (offset, size) = layouts().components[PKRU_COMPONENT];
        let bytes = self.bytes();
        if size == 0 || u64_at(bytes, LEGACY) & PKRU == 0 {
            return 0;
        }
        u32_at(bytes, offset)
    }

    /// Sets them, if the CPU has protection keys.
    pub(crate) fn set_pkru(&self, value: u32) {
        let (offset, size) = layouts().components[PKRU_COMPONENT];
        if size == 0 {
            return;
        }
        let bytes = self.bytes();
        bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        let present = u64_at(bytes, LEGACY) | PKRU;
        bytes[LEGACY..LEGACY + 8].copy_from_slice(&present.to_le_bytes());
    }

    /// Back to the initial state.
    pub(crate) fn reset(&self) {
        self.bytes().fill(0);
        self.set_initial();
    }

    pub(crate) fn copy_from(&self, other: &Area) {
        self.bytes().copy_from_slice(other.bytes());
    }

    /// Copies the state out; components that are in their initial state, which the CPU may not have
    /// written, are filled in.
    pub(crate) fn export(&self, out: &mut [u8]) {
        let bytes = self.bytes();
        let n = out.len().min(bytes.len());
        out[..n].copy_from_slice(&bytes[..n]);
        if n <= LEGACY && bytes.len() <= LEGACY {
            return;
        }
        let present = u64_at(bytes, LEGACY);
        let mut clear = |start: usize, len: usize| {
            if let Some(part) = out.get_mut(start.min(n)..(start + len).min(n)) {
                part.fill(0);
            }
        };
        if present & X87 == 0 {
            clear(0, MXCSR);
            clear(32, 128);
        }
        if present & SSE == 0 {
            clear(160, 256);
        }
        for (i, &(offset, size)) in layouts().components.iter().enumerate() {
            if size != 0 && present >> i & 1 == 0 {
                clear(offset, size);
            }
        }
        if present & X87 == 0 && n >= 2 {
            out[..2].copy_from_slice(&INITIAL_FCW.to_le_bytes());
        }
    }

    /// Takes a state from outside.
    pub(crate) fn import(&self, image: &Image<'_>) {
        let bytes = self.bytes();
        bytes.fill(0);
        bytes[..image.bytes.len()].copy_from_slice(image.bytes);
        if bytes.len() > LEGACY {
            bytes[LEGACY..LEGACY + 8].copy_from_slice(&image.present.to_le_bytes());
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.bytes.as_ptr(), Self::layout()) };
    }
}

/// A state from outside that is safe to load.
pub(crate) struct Image<'a> {
    bytes: &'a [u8],
    present: u64,
}

impl<'a> Image<'a> {
    /// Checks all that XRSTOR and FXRSTOR would fault on.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Image<'a>> {
        let layouts = layouts();
        let mxcsr_valid = |bytes: &[u8]| u32_at(bytes, MXCSR) & !layouts.mxcsr_mask == 0;
        if bytes.len() == LEGACY {
            return mxcsr_valid(bytes).then_some(Image {
                bytes,
                present: X87 | SSE,
            });
        }
        let header = bytes.get(LEGACY..LEGACY + HEADER)?;
        let present = u64_at(header, 0);
        let valid = bytes.len() == layouts.size
            && mxcsr_valid(bytes)
            && present & !layouts.xcr0 == 0
            && header[8..].iter().all(|&b| b == 0);
        valid.then_some(Image { bytes, present })
    }
}

/// Saves this CPU's registers into the area of the task they belong to. Interrupts are off.
pub(crate) fn save(area: &Area) {
    let layouts = layouts();
    let pointer = area.bytes.as_ptr();
    // SAFETY: the area has the size and alignment for the enabled features; it belongs to the
    // current task.
    unsafe {
        if !HAS_XSAVE.load(Ordering::Relaxed) {
            asm!("fxsave64 [{}]", in(reg) pointer, options(nostack, preserves_flags));
        } else if layouts.xsaveopt {
            asm!("xsaveopt64 [{}]", in(reg) pointer, in("eax") u32::MAX, in("edx") u32::MAX,
                options(nostack, preserves_flags));
        } else {
            asm!("xsave64 [{}]", in(reg) pointer, in("eax") u32::MAX, in("edx") u32::MAX,
                options(nostack, preserves_flags));
        }
    }
}

/// Loads this CPU's registers from the area of the current task. Interrupts are off.
pub(crate) fn load(area: &Area) {
    let pointer = area.bytes.as_ptr();
    // SAFETY: the area holds what `save` wrote, the initial state, or a checked image.
    unsafe {
        if HAS_XSAVE.load(Ordering::Relaxed) {
            asm!("xrstor64 [{}]", in(reg) pointer, in("eax") u32::MAX, in("edx") u32::MAX,
                options(nostack, preserves_flags));
        } else {
            asm!("fxrstor64 [{}]", in(reg) pointer, options(nostack, preserves_flags));
        }
    }
}
