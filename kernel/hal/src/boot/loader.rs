//! What the loader passes: memory map, command line, initial RAM disk, place of the ACPI tables.
//!
//! Everything is copied into static storage at once, since the loader's structures lie in memory
//! that is handed out later. Formats: Xen's `hvm_start_info` (x86/HVM direct boot ABI, version 0
//! and 1) and the Multiboot2 specification 2.0, section 3.6.

use core::{mem::size_of, ops::Range, slice};

use spin::Once;
use zerocopy::FromBytes;

use super::image;
use crate::{
    addr::{KERNEL_BASE, PAGE_SIZE},
    paging::phys_to_virt,
};

const PVH_MAGIC: u32 = 0x336e_c578;
const MB2_MAGIC: u32 = 0x36d7_6289;
/// Most regions of the memory map that are kept.
const MAX_REGIONS: usize = 128;
/// Longest command line, as Linux's x86 COMMAND_LINE_SIZE.
const MAX_COMMAND_LINE: usize = 2048;
/// What the boot page tables map; the loader's structures lie below.
const BOOT_MAPPED: u64 = 4 << 30;
/// Low memory that stays free for the start of the other CPUs.
const LOW_MEMORY: u64 = 0x1_0000;

/// What a range of physical memory is (the E820 types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemKind {
    /// Free for use.
    Usable,
    /// Not to be touched.
    Reserved,
    /// ACPI tables.
    AcpiReclaimable,
    /// To be kept over sleep.
    AcpiNvs,
    /// Broken memory.
    Bad,
}

/// One range of the firmware's memory map.
#[derive(Clone, Copy, Debug)]
pub struct MemRegion {
    /// First physical address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// What it is.
    pub kind: MemKind,
}

struct BootInfo {
    regions: [MemRegion; MAX_REGIONS],
    region_count: usize,
    command_line: [u8; MAX_COMMAND_LINE],
    command_line_len: usize,
    initrd: Range<u64>,
    /// Physical address of the RSDP, 0 if the loader does not say.
    rsdp: u64,
    reserved: [Range<u64>; 3],
}

static INFO: Once<BootInfo> = Once::new();
/// A copy of the RSDP that Multiboot2 passes by value.
static RSDP_COPY: Once<[u8; 36]> = Once::new();

/// The kernel command line.
pub fn command_line() -> &'static str {
    INFO.get().map_or("", |info| {
        let bytes = &info.command_line[..info.command_line_len];
        // Bytes that are not UTF-8 end it; parameters are ASCII.
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => core::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or(""),
        }
    })
}

/// The initial RAM disk, if the loader passed one.
pub fn initrd() -> Option<&'static [u8]> {
    let info = INFO.get()?;
    (!info.initrd.is_empty()).then(|| {
        let len = (info.initrd.end - info.initrd.start) as usize;
        // SAFETY: the loader put the RAM disk there, `reserved` keeps it from being handed out, and
        // nothing writes to it; the direct map covers it.
        unsafe { slice::from_raw_parts(phys_to_virt(info.initrd.start) as *const u8, len) }
    })
}

/// The firmware's memory map, sorted, cut by `mem=`.
pub fn memory_map() -> &'static [MemRegion] {
    INFO.get()
        .map_or(&[], |info| &info.regions[..info.region_count])
}

/// The ranges of physical memory that are not to be handed out: low memory, image, RAM disk.
pub(super) fn reserved() -> &'static [Range<u64>] {
    INFO.get().map_or(&[], |info| &info.reserved)
}

/// Physical address of the RSDP, if the loader says.
pub(super) fn rsdp() -> Option<u64> {
    INFO.get().map(|info| info.rsdp).filter(|&addr| addr != 0)
}

/// Reads the loader's information, `info` being its physical address.
pub(super) fn read(magic: u32, info: u32) {
    let mut boot = BootInfo {
        regions: [MemRegion {
            start: 0,
            end: 0,
            kind: MemKind::Reserved,
        }; MAX_REGIONS],
        region_count: 0,
        command_line: [0; MAX_COMMAND_LINE],
        command_line_len: 0,
        initrd: 0..0,
        rsdp: 0,
        reserved: [0..0, 0..0, 0..0],
    };
    if magic == MB2_MAGIC {
        read_multiboot2(&mut boot, u64::from(info));
    } else {
        read_pvh(&mut boot, u64::from(info));
    }
    boot.finish();
    INFO.call_once(|| boot);
}

impl BootInfo {
    fn add_region(&mut self, start: u64, len: u64, kind: u32) {
        let kind = match kind {
            1 => MemKind::Usable,
            3 => MemKind::AcpiReclaimable,
            4 => MemKind::AcpiNvs,
            5 => MemKind::Bad,
            _ => MemKind::Reserved,
        };
        if len != 0 && self.region_count < MAX_REGIONS {
            let end = start.saturating_add(len);
            self.regions[self.region_count] = MemRegion { start, end, kind };
            self.region_count += 1;
        }
    }

    fn set_command_line(&mut self, text: &[u8]) {
        let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
        let n = end.min(MAX_COMMAND_LINE);
        self.command_line[..n].copy_from_slice(&text[..n]);
        self.command_line_len = n;
    }

    fn finish(&mut self) {
        let limit = self.memory_limit();
        let regions = &mut self.regions[..self.region_count];
        regions.sort_unstable_by_key(|region| region.start);
        for region in regions.iter_mut().filter(|r| r.kind == MemKind::Usable) {
            region.end = region.end.min(limit).max(region.start);
        }
        let image = image();
        let page = PAGE_SIZE as u64;
        self.reserved = [
            0..LOW_MEMORY,
            (image.text.start - KERNEL_BASE) as u64..(image.data.end - KERNEL_BASE) as u64,
            self.initrd.start / page * page..self.initrd.end.div_ceil(page) * page,
        ];
    }

    /// `mem=`: one past the last byte of memory to use.
    fn memory_limit(&self) -> u64 {
        let text = core::str::from_utf8(&self.command_line[..self.command_line_len]).unwrap_or("");
        text.split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix("mem="))
            .filter_map(parse_size)
            .next_back()
            .unwrap_or(u64::MAX)
    }
}

/// A number with an optional suffix K, M, G or T.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text
        .as_bytes()
        .get(digits.len())
        .map(u8::to_ascii_lowercase)
    {
        None => 0,
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        Some(b't') => 40,
        Some(_) => return None,
    };
    digits
        .parse::<u64>()
        .ok()?
        .checked_mul(1 << shift)
        .filter(|&size| size != 0)
}

/// Bytes of physical memory that the boot page tables map; empty if out of reach.
fn physical(start: u64, len: u64) -> &'static [u8] {
    if start == 0 || start.checked_add(len).is_none_or(|end| end > BOOT_MAPPED) {
        return &[];
    }
    // SAFETY: the boot page tables map this range in the direct map, and nothing writes to the
    // loader's structures before they are copied.
    unsafe { slice::from_raw_parts(phys_to_virt(start) as *const u8, len as usize) }
}

/// A NUL-terminated string at a physical address.
fn physical_cstr(start: u64) -> &'static [u8] {
    physical(start, MAX_COMMAND_LINE as u64)
}

fn object<T: FromBytes>(start: u64) -> Option<T> {
    T::read_from_bytes(physical(start, size_of::<T>() as u64)).ok()
}

#[derive(FromBytes)]
#[repr(C)]
struct HvmStartInfo {
    magic: u32,
    version: u32,
    _flags: u32,
    nr_modules: u32,
    modlist_paddr: u64,
    cmdline_paddr: u64,
    rsdp_paddr: u64,
    // Version 1:
    memmap_paddr: u64,
    memmap_entries: u32,
    _reserved: u32,
}

#[derive(FromBytes)]
#[repr(C)]
struct HvmModule {
    paddr: u64,
    size: u64,
    _cmdline_paddr: u64,
    _reserved: u64,
}

#[derive(FromBytes)]
#[repr(C)]
struct MemMapEntry {
    addr: u64,
    size: u64,
    kind: u32,
    _reserved: u32,
}

fn read_pvh(boot: &mut BootInfo, addr: u64) {
    let Some(info) = object::<HvmStartInfo>(addr).filter(|info| info.magic == PVH_MAGIC) else {
        panic!("started by an unknown loader: neither PVH nor Multiboot2");
    };
    if info.cmdline_paddr != 0 {
        boot.set_command_line(physical_cstr(info.cmdline_paddr));
    }
    boot.rsdp = info.rsdp_paddr;
    if info.nr_modules > 0
        && let Some(module) = object::<HvmModule>(info.modlist_paddr)
    {
        boot.initrd = module.paddr..module.paddr.saturating_add(module.size);
    }
    assert!(
        info.version >= 1,
        "the loader passes no memory map (PVH version 0)"
    );
    for i in 0..u64::from(info.memmap_entries) {
        let at = info.memmap_paddr + i * size_of::<MemMapEntry>() as u64;
        if let Some(entry) = object::<MemMapEntry>(at) {
            boot.add_region(entry.addr, entry.size, entry.kind);
        }
    }
}

fn read_multiboot2(boot: &mut BootInfo, addr: u64) {
    let total = object::<u32>(addr).unwrap_or(0);
    let bytes = physical(addr, u64::from(total));
    let mut at = 8;
    while let Some(header) = bytes.get(at..at + 8) {
        let kind = le32(header, 0);
        let size = le32(header, 4) as usize;
        let Some(tag) = bytes.get(at..at + size).filter(|_| size >= 8) else {
            break;
        };
        match kind {
            0 => break,
            1 => boot.set_command_line(&tag[8..]),
            3 if boot.initrd.is_empty() && size >= 16 => {
                boot.initrd = u64::from(le32(tag, 8))..u64::from(le32(tag, 12));
            }
            6 if size >= 16 => {
                let step = le32(tag, 8).max(24) as usize;
                for entry in tag[16..].chunks_exact(step) {
                    if let Ok((entry, _)) = MemMapEntry::read_from_prefix(entry) {
                        boot.add_region(entry.addr, entry.size, entry.kind);
                    }
                }
            }
            14 | 15 => {
                // The newer one comes last or alone.
                let copy = RSDP_COPY.call_once(|| {
                    let mut copy = [0; 36];
                    let n = (size - 8).min(copy.len());
                    copy[..n].copy_from_slice(&tag[8..8 + n]);
                    copy
                });
                boot.rsdp = (copy.as_ptr().addr() - KERNEL_BASE) as u64;
            }
            _ => {}
        }
        at += size.next_multiple_of(8);
    }
}

/// The little-endian word at `at`, which the caller has checked to be there.
fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
