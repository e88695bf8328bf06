//! Memory areas as maps and smaps show them.

use super::DevNo;

bitflags::bitflags! {
    /// A memory area's properties: its permissions, and the two-letter codes of `VmFlags` in smaps.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct VmaFlags: u64 {
        /// `rd` readable.
        const READ = 1 << 0;
        /// `wr` writable.
        const WRITE = 1 << 1;
        /// `ex` executable.
        const EXEC = 1 << 2;
        /// `sh` shared.
        const SHARED = 1 << 3;
        /// `mr` may become readable.
        const MAYREAD = 1 << 4;
        /// `mw` may become writable.
        const MAYWRITE = 1 << 5;
        /// `me` may become executable.
        const MAYEXEC = 1 << 6;
        /// `ms` may become shared.
        const MAYSHARE = 1 << 7;
        /// `gd` grows down.
        const GROWSDOWN = 1 << 8;
        /// `pf` maps page frames without metadata.
        const PFNMAP = 1 << 9;
        /// `lo` locked in memory.
        const LOCKED = 1 << 10;
        /// `io` maps device memory.
        const IO = 1 << 11;
        /// `sr` advised: read sequentially.
        const SEQ_READ = 1 << 12;
        /// `rr` advised: read at random.
        const RAND_READ = 1 << 13;
        /// `dc` not copied by fork.
        const DONTCOPY = 1 << 14;
        /// `de` cannot grow by mremap.
        const DONTEXPAND = 1 << 15;
        /// `lf` locked when faulted in.
        const LOCKONFAULT = 1 << 16;
        /// `ac` counts as committed memory.
        const ACCOUNT = 1 << 17;
        /// `nr` no swap reserved.
        const NORESERVE = 1 << 18;
        /// `ht` huge pages of hugetlbfs.
        const HUGETLB = 1 << 19;
        /// `sf` synchronous page faults (DAX).
        const SYNC = 1 << 20;
        /// `ar` architecture-specific.
        const ARCH_1 = 1 << 21;
        /// `wf` wiped by fork.
        const WIPEONFORK = 1 << 22;
        /// `dd` not in core dumps.
        const DONTDUMP = 1 << 23;
        /// `sd` tracks soft-dirty.
        const SOFTDIRTY = 1 << 24;
        /// `mm` mixed map.
        const MIXEDMAP = 1 << 25;
        /// `hg` advised: huge pages.
        const HUGEPAGE = 1 << 26;
        /// `nh` advised: no huge pages.
        const NOHUGEPAGE = 1 << 27;
        /// `mg` may be merged.
        const MERGEABLE = 1 << 28;
        /// `um` userfaultfd: missing.
        const UFFD_MISSING = 1 << 29;
        /// `uw` userfaultfd: write-protected.
        const UFFD_WP = 1 << 30;
        /// `ui` userfaultfd: minor faults.
        const UFFD_MINOR = 1 << 31;
        /// `ss` shadow stack.
        const SHADOW_STACK = 1 << 32;
        /// `sl` sealed.
        const SEALED = 1 << 33;
    }
}

/// What stands at the end of a maps line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VmaName<'a> {
    /// Nothing: anonymous memory.
    #[default]
    None,
    /// A file's path as the reader sees it, ` (deleted)` added by the kernel where it applies.
    Path(&'a [u8]),
    /// `[heap]`, `[stack]`, `[vdso]`, `[vvar]` and the like, with the brackets.
    Special(&'a str),
    /// Named by prctl(PR_SET_VMA): `[anon:NAME]`.
    Anon(&'a [u8]),
    /// The same on shared anonymous memory: `[anon_shmem:NAME]`.
    AnonShared(&'a [u8]),
}

/// One memory area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vma<'a> {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Permissions and more.
    pub flags: VmaFlags,
    /// Offset in the file in bytes; zero for anonymous memory.
    pub offset: u64,
    /// The file's device.
    pub dev: DevNo,
    /// The file's inode.
    pub ino: u64,
    /// What it is called.
    pub name: VmaName<'a>,
    /// Its memory policy as numa_maps names it; empty for the default.
    pub policy: &'a str,
}

/// What an area has in memory: the lines of smaps, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // The fields are the file's own names, proc_pid_smaps(5).
pub struct VmaUsage {
    pub kernel_page_size: u64,
    pub mmu_page_size: u64,
    pub rss: u64,
    pub pss: u64,
    pub pss_dirty: u64,
    pub pss_anon: u64,
    pub pss_file: u64,
    pub pss_shmem: u64,
    pub shared_clean: u64,
    pub shared_dirty: u64,
    pub private_clean: u64,
    pub private_dirty: u64,
    pub referenced: u64,
    pub anonymous: u64,
    /// Linux 6.7 and later.
    pub ksm: Option<u64>,
    pub lazy_free: u64,
    pub anon_huge_pages: u64,
    pub shmem_pmd_mapped: u64,
    pub file_pmd_mapped: u64,
    pub shared_hugetlb: u64,
    pub private_hugetlb: u64,
    pub swap: u64,
    pub swap_pss: u64,
    pub locked: u64,
    pub thp_eligible: bool,
    /// Where the CPU has protection keys.
    pub protection_key: Option<u32>,
}

impl VmaUsage {
    /// Adds another area's usage: what smaps_rollup shows.
    pub fn add(&mut self, other: &VmaUsage) {
        self.rss += other.rss;
        self.pss += other.pss;
        self.pss_dirty += other.pss_dirty;
        self.pss_anon += other.pss_anon;
        self.pss_file += other.pss_file;
        self.pss_shmem += other.pss_shmem;
        self.shared_clean += other.shared_clean;
        self.shared_dirty += other.shared_dirty;
        self.private_clean += other.private_clean;
        self.private_dirty += other.private_dirty;
        self.referenced += other.referenced;
        self.anonymous += other.anonymous;
        self.ksm = match (self.ksm, other.ksm) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        };
        self.lazy_free += other.lazy_free;
        self.anon_huge_pages += other.anon_huge_pages;
        self.shmem_pmd_mapped += other.shmem_pmd_mapped;
        self.file_pmd_mapped += other.file_pmd_mapped;
        self.shared_hugetlb += other.shared_hugetlb;
        self.private_hugetlb += other.private_hugetlb;
        self.swap += other.swap;
        self.swap_pss += other.swap_pss;
        self.locked += other.locked;
    }
}
