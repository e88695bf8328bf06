//! Which mappings a core file holds (core(5), "Controlling which mappings are written to the core dump").

/// Bits of `/proc/PID/coredump_filter`.
pub mod filter_bits {
    /// Private anonymous memory.
    pub const ANON_PRIVATE: u32 = 1 << 0;
    /// Shared anonymous memory.
    pub const ANON_SHARED: u32 = 1 << 1;
    /// Private file mappings.
    pub const MAPPED_PRIVATE: u32 = 1 << 2;
    /// Shared file mappings.
    pub const MAPPED_SHARED: u32 = 1 << 3;
    /// The first page of ELF files.
    pub const ELF_HEADERS: u32 = 1 << 4;
    /// Private huge pages (hugetlbfs).
    pub const HUGETLB_PRIVATE: u32 = 1 << 5;
    /// Shared huge pages.
    pub const HUGETLB_SHARED: u32 = 1 << 6;
    /// What a process starts with.
    pub const DEFAULT: u32 = ANON_PRIVATE | ANON_SHARED | ELF_HEADERS | HUGETLB_PRIVATE;
}

/// What the decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mapping {
    /// It belongs to the process as such, like the vDSO: always dumped.
    pub special: bool,
    /// `MADV_DONTDUMP`.
    pub dont_dump: bool,
    /// Device memory.
    pub io: bool,
    /// `MAP_SHARED`.
    pub shared: bool,
    /// Huge pages of hugetlbfs.
    pub hugetlb: bool,
    /// It has a file that still has a name. (Shared anonymous memory and deleted files have none.)
    pub file: bool,
    /// Some pages of a private mapping have been written to.
    pub has_anon: bool,
    /// It maps the start of its file, is readable, and the file is executable or begins like an ELF file.
    pub elf_start: bool,
}

/// How much of a mapping is dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// Nothing.
    None,
    /// The first page.
    FirstPage,
    /// All of it.
    All,
}

/// What of `mapping` goes into the core file of a process with this `coredump_filter`.
pub fn dump(mapping: &Mapping, filter: u32) -> Dump {
    use filter_bits::*;
    let all_if = |bit| {
        if filter & bit != 0 {
            Dump::All
        } else {
            Dump::None
        }
    };
    if mapping.special {
        return Dump::All;
    }
    if mapping.dont_dump {
        return Dump::None;
    }
    if mapping.hugetlb {
        return all_if(if mapping.shared {
            HUGETLB_SHARED
        } else {
            HUGETLB_PRIVATE
        });
    }
    if mapping.io {
        return Dump::None;
    }
    if mapping.shared {
        return all_if(if mapping.file {
            MAPPED_SHARED
        } else {
            ANON_SHARED
        });
    }
    if (mapping.has_anon || !mapping.file) && filter & ANON_PRIVATE != 0 {
        return Dump::All;
    }
    if !mapping.file {
        return Dump::None;
    }
    if filter & MAPPED_PRIVATE != 0 {
        return Dump::All;
    }
    if mapping.elf_start && filter & ELF_HEADERS != 0 {
        Dump::FirstPage
    } else {
        Dump::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_keep_what_cannot_be_found_elsewhere() {
        let anon = Mapping::default();
        let text = Mapping {
            file: true,
            elf_start: true,
            ..anon
        };
        let data = Mapping {
            file: true,
            has_anon: true,
            ..anon
        };
        let other = Mapping { file: true, ..anon };
        let decide = |mapping: Mapping| dump(&mapping, filter_bits::DEFAULT);
        assert_eq!(decide(anon), Dump::All);
        assert_eq!(decide(text), Dump::FirstPage);
        assert_eq!(decide(data), Dump::All);
        assert_eq!(decide(other), Dump::None);
        assert_eq!(
            decide(Mapping {
                shared: true,
                ..anon
            }),
            Dump::All
        );
        assert_eq!(
            decide(Mapping {
                shared: true,
                ..other
            }),
            Dump::None
        );
        assert_eq!(
            decide(Mapping {
                dont_dump: true,
                ..anon
            }),
            Dump::None
        );
        assert_eq!(decide(Mapping { io: true, ..anon }), Dump::None);
        assert_eq!(
            decide(Mapping {
                special: true,
                io: true,
                ..anon
            }),
            Dump::All
        );
        assert_eq!(dump(&other, filter_bits::MAPPED_PRIVATE), Dump::All);
        assert_eq!(dump(&anon, 0), Dump::None);
        assert_eq!(dump(&data, 0), Dump::None);
    }
}
