//! CPUID: what the CPU can, and what /proc/cpuinfo tells.

use alloc::{string::String, vec::Vec};
use core::{
    arch::x86_64::__cpuid_count,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{CpuInfo, local};
use crate::time;

/// A register of CPUID's answer.
#[derive(Clone, Copy)]
enum Reg {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// A feature bit: leaf, sub-leaf, register, bit.
#[derive(Clone, Copy)]
pub(crate) struct Feature(u32, u32, Reg, u8);

use Reg::{Eax, Ebx, Ecx, Edx};

pub(crate) const FXSR: Feature = Feature(1, 0, Edx, 24);
pub(crate) const SSE2: Feature = Feature(1, 0, Edx, 26);
pub(crate) const TSC: Feature = Feature(1, 0, Edx, 4);
pub(crate) const MSR: Feature = Feature(1, 0, Edx, 5);
pub(crate) const MCE: Feature = Feature(1, 0, Edx, 7);
pub(crate) const APIC: Feature = Feature(1, 0, Edx, 9);
pub(crate) const PGE: Feature = Feature(1, 0, Edx, 13);
pub(crate) const X2APIC: Feature = Feature(1, 0, Ecx, 21);
pub(crate) const TSC_DEADLINE: Feature = Feature(1, 0, Ecx, 24);
pub(crate) const XSAVE: Feature = Feature(1, 0, Ecx, 26);
pub(crate) const FSGSBASE: Feature = Feature(7, 0, Ebx, 0);
pub(crate) const SMEP: Feature = Feature(7, 0, Ebx, 7);
pub(crate) const SMAP: Feature = Feature(7, 0, Ebx, 20);
pub(crate) const UMIP: Feature = Feature(7, 0, Ecx, 2);
pub(crate) const PKU: Feature = Feature(7, 0, Ecx, 3);
pub(crate) const RDPID: Feature = Feature(7, 0, Ecx, 22);
pub(crate) const RDTSCP: Feature = Feature(0x8000_0001, 0, Edx, 27);
pub(crate) const XSAVEOPT: Feature = Feature(0xd, 1, Eax, 0);

/// Executes CPUID: eax, ebx, ecx, edx.
pub(crate) fn cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    let r = __cpuid_count(leaf, sub);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// Whether the CPU has `feature`.
pub(crate) fn has(feature: Feature) -> bool {
    let Feature(leaf, sub, reg, bit) = feature;
    let highest = cpuid(leaf & 0x8000_0000, 0)[0];
    leaf <= highest && cpuid(leaf, sub)[reg as usize] >> bit & 1 != 0
}

static SMAP_ON: AtomicBool = AtomicBool::new(false);
static FSGSBASE_ON: AtomicBool = AtomicBool::new(false);
static PKU_ON: AtomicBool = AtomicBool::new(false);

/// Notes what the boot CPU turned on; all CPUs do the same.
pub(super) fn note_enabled() {
    SMAP_ON.store(has(SMAP), Ordering::Relaxed);
    FSGSBASE_ON.store(has(FSGSBASE), Ordering::Relaxed);
    PKU_ON.store(has(PKU) && has(XSAVE), Ordering::Relaxed);
}

/// Whether user memory is closed to the kernel unless opened by STAC.
#[inline]
pub(crate) fn smap_enabled() -> bool {
    SMAP_ON.load(Ordering::Relaxed)
}

/// Whether pages have protection keys.
#[inline]
pub(crate) fn pku_enabled() -> bool {
    PKU_ON.load(Ordering::Relaxed)
}

/// Whether the FS and GS base instructions may be used.
#[inline]
pub(crate) fn fsgsbase_enabled() -> bool {
    FSGSBASE_ON.load(Ordering::Relaxed)
}

/// Panics with a clear message if the CPU lacks what the kernel is built on.
pub(crate) fn check_required() {
    let required = [
        (TSC, "TSC"),
        (MSR, "MSR"),
        (APIC, "APIC"),
        (FXSR, "FXSR"),
        (SSE2, "SSE2"),
    ];
    for (feature, name) in required {
        assert!(has(feature), "this CPU lacks {name}, which Keel needs");
    }
}

/// Linux's names of feature bits, in the order of its list.
const NAMES: &[(Feature, &str)] = &[
    (Feature(1, 0, Edx, 0), "fpu"),
    (Feature(1, 0, Edx, 1), "vme"),
    (Feature(1, 0, Edx, 2), "de"),
    (Feature(1, 0, Edx, 3), "pse"),
    (TSC, "tsc"),
    (MSR, "msr"),
    (Feature(1, 0, Edx, 6), "pae"),
    (MCE, "mce"),
    (Feature(1, 0, Edx, 8), "cx8"),
    (APIC, "apic"),
    (Feature(1, 0, Edx, 11), "sep"),
    (Feature(1, 0, Edx, 12), "mtrr"),
    (PGE, "pge"),
    (Feature(1, 0, Edx, 14), "mca"),
    (Feature(1, 0, Edx, 15), "cmov"),
    (Feature(1, 0, Edx, 16), "pat"),
    (Feature(1, 0, Edx, 17), "pse36"),
    (Feature(1, 0, Edx, 19), "clflush"),
    (Feature(1, 0, Edx, 23), "mmx"),
    (FXSR, "fxsr"),
    (Feature(1, 0, Edx, 25), "sse"),
    (SSE2, "sse2"),
    (Feature(1, 0, Edx, 27), "ss"),
    (Feature(1, 0, Edx, 28), "ht"),
    (Feature(0x8000_0001, 0, Edx, 11), "syscall"),
    (Feature(0x8000_0001, 0, Edx, 20), "nx"),
    (Feature(0x8000_0001, 0, Edx, 22), "mmxext"),
    (Feature(0x8000_0001, 0, Edx, 25), "fxsr_opt"),
    (Feature(0x8000_0001, 0, Edx, 26), "pdpe1gb"),
    (RDTSCP, "rdtscp"),
    (Feature(0x8000_0001, 0, Edx, 29), "lm"),
    (Feature(0x8000_0001, 0, Edx, 30), "3dnowext"),
    (Feature(0x8000_0001, 0, Edx, 31), "3dnow"),
    (Feature(0x8000_0007, 0, Edx, 8), "constant_tsc"),
    (Feature(0x8000_0007, 0, Edx, 8), "nonstop_tsc"),
    (Feature(1, 0, Ecx, 0), "pni"),
    (Feature(1, 0, Ecx, 1), "pclmulqdq"),
    (Feature(1, 0, Ecx, 3), "monitor"),
    (Feature(1, 0, Ecx, 9), "ssse3"),
    (Feature(1, 0, Ecx, 12), "fma"),
    (Feature(1, 0, Ecx, 13), "cx16"),
    (Feature(1, 0, Ecx, 17), "pcid"),
    (Feature(1, 0, Ecx, 19), "sse4_1"),
    (Feature(1, 0, Ecx, 20), "sse4_2"),
    (X2APIC, "x2apic"),
    (Feature(1, 0, Ecx, 22), "movbe"),
    (Feature(1, 0, Ecx, 23), "popcnt"),
    (TSC_DEADLINE, "tsc_deadline_timer"),
    (Feature(1, 0, Ecx, 25), "aes"),
    (XSAVE, "xsave"),
    (Feature(1, 0, Ecx, 28), "avx"),
    (Feature(1, 0, Ecx, 29), "f16c"),
    (Feature(1, 0, Ecx, 30), "rdrand"),
    (Feature(1, 0, Ecx, 31), "hypervisor"),
    (Feature(0x8000_0001, 0, Ecx, 0), "lahf_lm"),
    (Feature(0x8000_0001, 0, Ecx, 2), "svm"),
    (Feature(0x8000_0001, 0, Ecx, 4), "cr8_legacy"),
    (Feature(0x8000_0001, 0, Ecx, 5), "abm"),
    (Feature(0x8000_0001, 0, Ecx, 6), "sse4a"),
    (Feature(0x8000_0001, 0, Ecx, 7), "misalignsse"),
    (Feature(0x8000_0001, 0, Ecx, 8), "3dnowprefetch"),
    (FSGSBASE, "fsgsbase"),
    (Feature(7, 0, Ebx, 1), "tsc_adjust"),
    (Feature(7, 0, Ebx, 3), "bmi1"),
    (Feature(7, 0, Ebx, 5), "avx2"),
    (SMEP, "smep"),
    (Feature(7, 0, Ebx, 8), "bmi2"),
    (Feature(7, 0, Ebx, 9), "erms"),
    (Feature(7, 0, Ebx, 10), "invpcid"),
    (Feature(7, 0, Ebx, 14), "mpx"),
    (Feature(7, 0, Ebx, 16), "avx512f"),
    (Feature(7, 0, Ebx, 17), "avx512dq"),
    (Feature(7, 0, Ebx, 18), "rdseed"),
    (Feature(7, 0, Ebx, 19), "adx"),
    (SMAP, "smap"),
    (Feature(7, 0, Ebx, 21), "avx512ifma"),
    (Feature(7, 0, Ebx, 23), "clflushopt"),
    (Feature(7, 0, Ebx, 24), "clwb"),
    (Feature(7, 0, Ebx, 28), "avx512cd"),
    (Feature(7, 0, Ebx, 29), "sha_ni"),
    (Feature(7, 0, Ebx, 30), "avx512bw"),
    (Feature(7, 0, Ebx, 31), "avx512vl"),
    (XSAVEOPT, "xsaveopt"),
    (Feature(0xd, 1, Eax, 1), "xsavec"),
    (Feature(0xd, 1, Eax, 2), "xgetbv1"),
    (Feature(0xd, 1, Eax, 3), "xsaves"),
    (Feature(0x8000_0008, 0, Ebx, 0), "clzero"),
    (Feature(0x8000_0008, 0, Ebx, 9), "wbnoinvd"),
    (Feature(6, 0, Eax, 2), "arat"),
    (Feature(7, 0, Ecx, 1), "avx512vbmi"),
    (UMIP, "umip"),
    (PKU, "pku"),
    (PKU, "ospke"),
    (Feature(7, 0, Ecx, 6), "avx512_vbmi2"),
    (Feature(7, 0, Ecx, 8), "gfni"),
    (Feature(7, 0, Ecx, 9), "vaes"),
    (Feature(7, 0, Ecx, 10), "vpclmulqdq"),
    (Feature(7, 0, Ecx, 11), "avx512_vnni"),
    (Feature(7, 0, Ecx, 12), "avx512_bitalg"),
    (Feature(7, 0, Ecx, 14), "avx512_vpopcntdq"),
    (Feature(7, 0, Ecx, 16), "la57"),
    (RDPID, "rdpid"),
    (Feature(7, 0, Edx, 4), "fsrm"),
    (Feature(7, 0, Edx, 10), "md_clear"),
    (Feature(7, 0, Edx, 14), "serialize"),
    (Feature(7, 0, Edx, 29), "arch_capabilities"),
];

/// The features that the kernel leaves off: user code cannot use them, so the list omits them.
const NOT_ENABLED: &[&str] = &["pcid", "la57", "svm"];

fn text(registers: &[u32]) -> String {
    let bytes: Vec<u8> = registers.iter().flat_map(|r| r.to_le_bytes()).collect();
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().into()
}

/// The largest cache that CPUID leaf 4 (or AMD's 0x8000001d) describes, in KiB.
fn last_level_cache(amd: bool) -> u32 {
    let leaf = if amd { 0x8000_001d } else { 4 };
    if cpuid(leaf & 0x8000_0000, 0)[0] < leaf {
        return 0;
    }
    (0..16)
        .map(|sub| cpuid(leaf, sub))
        .take_while(|[eax, ..]| eax & 0x1f != 0)
        .map(|[_, ebx, ecx, _]| {
            let ways = u64::from(ebx >> 22) + 1;
            let partitions = u64::from(ebx >> 12 & 0x3ff) + 1;
            let line = u64::from(ebx & 0xfff) + 1;
            (ways * partitions * line * (u64::from(ecx) + 1) / 1024) as u32
        })
        .max()
        .unwrap_or(0)
}

/// About CPU number `cpu`: all CPUs have the same model, they differ in their APIC ids.
pub(super) fn info(cpu: usize) -> CpuInfo {
    let [level, v0, v2, v1] = cpuid(0, 0);
    let vendor = text(&[v0, v1, v2]);
    let [signature, misc, _, _] = cpuid(1, 0);
    let base_family = signature >> 8 & 0xf;
    let family = base_family
        + if base_family == 0xf {
            signature >> 20 & 0xff
        } else {
            0
        };
    let extended_model = if family >= 6 {
        (signature >> 16 & 0xf) << 4
    } else {
        0
    };
    let extended = cpuid(0x8000_0000, 0)[0];
    let model_name = if extended >= 0x8000_0004 {
        let words: Vec<u32> = (0x8000_0002..=0x8000_0004)
            .flat_map(|leaf| cpuid(leaf, 0))
            .collect();
        text(&words)
    } else {
        String::new()
    };
    let sizes = if extended >= 0x8000_0008 {
        cpuid(0x8000_0008, 0)[0]
    } else {
        36 | 48 << 8
    };
    let apic_id = local::of(cpu).map_or(0, |block| block.apic_id.load(Ordering::Relaxed));
    // Bits of the APIC id below the socket number.
    let package_shift = if level >= 0xb {
        cpuid(0xb, 1)[0] & 0x1f
    } else {
        0
    };
    let threads_shift = if level >= 0xb {
        cpuid(0xb, 0)[0] & 0x1f
    } else {
        0
    };
    let package = if package_shift > 0 {
        apic_id >> package_shift
    } else {
        0
    };
    CpuInfo {
        family,
        model: extended_model | signature >> 4 & 0xf,
        stepping: signature & 0xf,
        khz: time::tsc_hz() / 1000,
        cache_kib: last_level_cache(vendor == "AuthenticAMD"),
        vendor,
        model_name,
        apic_id,
        package,
        core: (apic_id & ((1u32 << package_shift) - 1)) >> threads_shift,
        cpuid_level: level,
        clflush: (misc >> 8 & 0xff) * 8,
        phys_bits: sizes & 0xff,
        virt_bits: sizes >> 8 & 0xff,
        flags: NAMES
            .iter()
            .filter(|(feature, name)| has(*feature) && !NOT_ENABLED.contains(name))
            .map(|&(_, name)| name)
            .collect(),
    }
}
