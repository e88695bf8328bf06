//! Writes the vDSO as an ELF shared object (System V gABI; GNU symbol versioning; LSB for .gnu.hash and .eh_frame).
//!
//! One read-only, executable segment starting at address 0 holds everything, section headers included, so that a
//! debugger can read them from a process's memory. libc finds the functions by hash table and version, unwinders by
//! the program header of `.eh_frame_hdr`.

use crate::code::{self, Text};

pub const SONAME: &str = "linux-vdso.so.1";
pub const VERSION: &str = "LINUX_2.6";

const EHDR_SIZE: usize = 64;
const PHDR_SIZE: usize = 56;
const SHDR_SIZE: usize = 64;
const SYM_SIZE: usize = 24;
const PH_COUNT: usize = 4;

const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
const SHT_HASH: u32 = 5;
const SHT_DYNAMIC: u32 = 6;
const SHT_NOTE: u32 = 7;
const SHT_DYNSYM: u32 = 11;
const SHT_GNU_HASH: u32 = 0x6fff_fff6;
const SHT_GNU_VERDEF: u32 = 0x6fff_fffd;
const SHT_GNU_VERSYM: u32 = 0x6fff_ffff;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const SHN_ABS: u16 = 0xfff1;

const GLOBAL_FUNC: u8 = 1 << 4 | 2;
const WEAK_FUNC: u8 = 2 << 4 | 2;
const GLOBAL_OBJECT: u8 = 1 << 4 | 1;

/// Buckets of both hash tables.
const BUCKETS: u32 = 5;
/// The version's index: 1 is the object itself.
const VERSION_INDEX: u16 = 2;

struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    offset: usize,
    len: usize,
    link: u32,
    info: u32,
    align: u64,
    entsize: u64,
}

struct Symbol {
    name: String,
    info: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// Strings with NULs, the first one empty.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, string: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(string.as_bytes());
        self.0.push(0);
        at
    }
}

/// The file under construction.
struct Image {
    bytes: Vec<u8>,
    sections: Vec<Section>,
}

impl Image {
    fn section(&mut self, name: &'static str, kind: u32, align: u64, body: &[u8]) -> &mut Section {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(align as usize), 0);
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(body);
        let len = body.len();
        let (flags, link, info, entsize) = (SHF_ALLOC, 0, 0, 0);
        self.sections.push(Section {
            name,
            kind,
            flags,
            offset,
            len,
            link,
            info,
            align,
            entsize,
        });
        self.sections.last_mut().expect("just pushed")
    }

    /// The index of a section and its offset, which is its address too.
    fn find(&self, name: &str) -> (u32, u64) {
        let index = self
            .sections
            .iter()
            .position(|section| section.name == name);
        let index = index.expect("a section that exists");
        (index as u32, self.sections[index].offset as u64)
    }
}

/// Builds the image. Its code reads the data page at `data`, relative to the image's start.
pub fn build(data: i64) -> Vec<u8> {
    // Tables come before the code and their size does not depend on addresses: a first pass finds where it begins.
    let text_start = layout(&code::generate(0, data), 0).1;
    let text = code::generate(text_start, data);
    let (bytes, second) = layout(&text, text_start);
    assert_eq!(text_start, second, "the layout depends on addresses");
    bytes
}

fn layout(text: &Text, text_start: u64) -> (Vec<u8>, u64) {
    let mut strings = Strings(vec![0]);
    let symbols = symbols(text, text_start);
    let names: Vec<u32> = symbols
        .iter()
        .map(|symbol| strings.add(&symbol.name))
        .collect();
    let soname = strings.add(SONAME);
    let version = strings
        .0
        .windows(VERSION.len())
        .position(|part| part == VERSION.as_bytes());
    let version = version.expect("the version is a symbol") as u32;

    let null = Section {
        name: "",
        kind: 0,
        flags: 0,
        offset: 0,
        len: 0,
        link: 0,
        info: 0,
        align: 0,
        entsize: 0,
    };
    let header = vec![0; EHDR_SIZE + PH_COUNT * PHDR_SIZE];
    let mut image = Image {
        bytes: header,
        sections: vec![null],
    };
    // Links are section numbers: .dynsym is the third section, .dynstr the fourth.
    let (dynsym, dynstr) = (3, 4);
    image
        .section(".hash", SHT_HASH, 8, &sysv_hash(&symbols))
        .link = dynsym;
    image
        .section(".gnu.hash", SHT_GNU_HASH, 8, &gnu_hash(&symbols))
        .link = dynsym;
    let section = image.section(".dynsym", SHT_DYNSYM, 8, &symbol_table(&symbols, &names));
    (section.link, section.info, section.entsize) = (dynstr, 1, SYM_SIZE as u64);
    image.section(".dynstr", SHT_STRTAB, 1, &strings.0);
    let section = image.section(".gnu.version", SHT_GNU_VERSYM, 2, &versym(symbols.len()));
    (section.link, section.entsize) = (dynsym, 2);
    let section = image.section(
        ".gnu.version_d",
        SHT_GNU_VERDEF,
        8,
        &verdef(soname, version),
    );
    (section.link, section.info) = (dynstr, 2);
    let dynamic = dynamic(&image, soname, strings.0.len());
    let section = image.section(".dynamic", SHT_DYNAMIC, 8, &dynamic);
    (section.link, section.entsize) = (dynstr, 16);
    image.section(".note.gnu.build-id", SHT_NOTE, 4, &build_id(&text.code));
    image.section(".eh_frame_hdr", SHT_PROGBITS, 4, &[0; EH_FRAME_HDR_SIZE]);
    image.section(".eh_frame", SHT_PROGBITS, 8, &[0; EH_FRAME_SIZE]);
    image.section(".text", SHT_PROGBITS, 16, &text.code).flags |= SHF_EXECINSTR;
    let start = image.find(".text").1;
    unwind(&mut image, start, text.code.len());
    section_headers(&mut image);
    headers(&mut image);
    (image.bytes, start)
}

/// All symbols but the null one, in the order that the GNU hash table wants: by bucket.
fn symbols(text: &Text, text_start: u64) -> Vec<Symbol> {
    // Section numbers again: the text is the eleventh.
    const TEXT: u16 = 11;
    let mut all = Vec::new();
    for routine in &text.routines {
        for (prefix, info) in [("__vdso_", GLOBAL_FUNC), ("", WEAK_FUNC)] {
            let name = format!("{prefix}{}", routine.name);
            let value = text_start + routine.start as u64;
            all.push(Symbol {
                name,
                info,
                section: TEXT,
                value,
                size: routine.len as u64,
            });
        }
    }
    let name = VERSION.to_owned();
    all.push(Symbol {
        name,
        info: GLOBAL_OBJECT,
        section: SHN_ABS,
        value: 0,
        size: 0,
    });
    all.sort_by_key(|symbol| gnu_hash_of(&symbol.name) % BUCKETS);
    all
}

fn words(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    values.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn symbol_table(symbols: &[Symbol], names: &[u32]) -> Vec<u8> {
    let mut table = vec![0; SYM_SIZE];
    for (symbol, name) in symbols.iter().zip(names) {
        table.extend(name.to_le_bytes());
        table.extend([symbol.info, 0]);
        table.extend(symbol.section.to_le_bytes());
        table.extend(symbol.value.to_le_bytes());
        table.extend(symbol.size.to_le_bytes());
    }
    table
}

fn sysv_hash_of(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(byte.into());
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

fn sysv_hash(symbols: &[Symbol]) -> Vec<u8> {
    let mut buckets = vec![0; BUCKETS as usize];
    let mut chains = vec![0; symbols.len() + 1];
    for (index, symbol) in symbols.iter().enumerate() {
        let bucket = &mut buckets[(sysv_hash_of(&symbol.name) % BUCKETS) as usize];
        chains[index + 1] = *bucket;
        *bucket = index as u32 + 1;
    }
    words([&[BUCKETS, chains.len() as u32][..], &buckets, &chains].concat())
}

fn gnu_hash_of(name: &str) -> u32 {
    name.bytes().fold(5381, |hash: u32, byte| {
        hash.wrapping_mul(33).wrapping_add(byte.into())
    })
}

fn gnu_hash(symbols: &[Symbol]) -> Vec<u8> {
    const BLOOM_SHIFT: u32 = 6;
    let mut bloom = 0u64;
    let mut buckets = vec![0; BUCKETS as usize];
    let mut chain = Vec::new();
    for (index, symbol) in symbols.iter().enumerate() {
        let hash = gnu_hash_of(&symbol.name);
        bloom |= 1 << (hash % 64) | 1 << ((hash >> BLOOM_SHIFT) % 64);
        let bucket = &mut buckets[(hash % BUCKETS) as usize];
        if *bucket == 0 {
            *bucket = index as u32 + 1;
        }
        let next = symbols
            .get(index + 1)
            .map(|next| gnu_hash_of(&next.name) % BUCKETS);
        let last = next != Some(hash % BUCKETS);
        chain.push(hash & !1 | u32::from(last));
    }
    let head = words([BUCKETS, 1, 1, BLOOM_SHIFT]);
    [
        head,
        bloom.to_le_bytes().to_vec(),
        words(buckets),
        words(chain),
    ]
    .concat()
}

fn versym(symbols: usize) -> Vec<u8> {
    let mut table = vec![0, 0];
    table.extend((0..symbols).flat_map(|_| VERSION_INDEX.to_le_bytes()));
    table
}

fn verdef(soname: u32, version: u32) -> Vec<u8> {
    const BASE: u16 = 1;
    const DEF_SIZE: u32 = 20;
    const AUX_SIZE: u32 = 8;
    let mut table = Vec::new();
    let next = DEF_SIZE + AUX_SIZE;
    for (flags, index, name, text, next) in [
        (BASE, 1, soname, SONAME, next),
        (0, VERSION_INDEX, version, VERSION, 0),
    ] {
        for half in [1, flags, index, 1] {
            table.extend(half.to_le_bytes());
        }
        table.extend(words([sysv_hash_of(text), DEF_SIZE, next, name, 0]));
    }
    table
}

fn dynamic(image: &Image, soname: u32, strings_len: usize) -> Vec<u8> {
    let addr = |name| image.find(name).1;
    let entries: [(u64, u64); 11] = [
        (14, soname.into()),                   // DT_SONAME
        (4, addr(".hash")),                    // DT_HASH
        (0x6fff_fef5, addr(".gnu.hash")),      // DT_GNU_HASH
        (5, addr(".dynstr")),                  // DT_STRTAB
        (6, addr(".dynsym")),                  // DT_SYMTAB
        (10, strings_len as u64),              // DT_STRSZ
        (11, SYM_SIZE as u64),                 // DT_SYMENT
        (0x6fff_fffc, addr(".gnu.version_d")), // DT_VERDEF
        (0x6fff_fffd, 2),                      // DT_VERDEFNUM
        (0x6fff_fff0, addr(".gnu.version")),   // DT_VERSYM
        (0, 0),                                // DT_NULL
    ];
    entries
        .into_iter()
        .flat_map(|(tag, value)| [tag, value])
        .flat_map(u64::to_le_bytes)
        .collect()
}

/// A note that names this very image: debuggers look for matching symbols by it. FNV-1a over the code, with five
/// different starts.
fn build_id(code: &[u8]) -> Vec<u8> {
    let mut note = words([4, 20, 3]);
    note.extend_from_slice(b"GNU\0");
    note.extend(words((0..5).map(|seed: u32| {
        let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        code.iter().fold(0x811c_9dc5 ^ seed, step)
    })));
    note
}

const EH_FRAME_HDR_SIZE: usize = 20;
const EH_FRAME_SIZE: usize = 24 + 24 + 4;

/// Unwind information: everywhere in the text the return address is where the stack pointer points.
fn unwind(image: &mut Image, text: u64, text_len: usize) {
    let (header, frame) = (image.find(".eh_frame_hdr").1, image.find(".eh_frame").1);
    let relative = |target: u64, from: u64| target.wrapping_sub(from) as u32;
    let fde = frame + 24;
    let mut bytes = Vec::new();
    // CIE: version 1, "zR", code alignment 1, data alignment -8, return address in column 16, one byte of
    // augmentation: pointers are relative, 4 bytes, signed. CFA = rsp + 8; the return address is at CFA - 8.
    bytes.extend(words([20, 0]));
    bytes.extend_from_slice(b"\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01");
    bytes.resize(24, 0);
    // FDE: back to the CIE, start, length, no augmentation.
    bytes.extend(words([20, 28, relative(text, fde + 8), text_len as u32]));
    bytes.resize(48, 0);
    // Terminator.
    bytes.extend(words([0]));
    image.bytes[frame as usize..][..EH_FRAME_SIZE].copy_from_slice(&bytes);

    // Version 1; pointer to .eh_frame relative; count unsigned; table relative to this header.
    let mut bytes = vec![1, 0x1b, 0x03, 0x3b];
    let entry = [relative(text, header), relative(fde, header)];
    bytes.extend(words([relative(frame, header + 4), 1, entry[0], entry[1]]));
    image.bytes[header as usize..][..EH_FRAME_HDR_SIZE].copy_from_slice(&bytes);
}

fn section_headers(image: &mut Image) {
    let mut names = Strings(vec![0]);
    let mut name_at: Vec<u32> = image.sections[1..]
        .iter()
        .map(|s| names.add(s.name))
        .collect();
    name_at.insert(0, 0);
    name_at.push(names.add(".shstrtab"));
    image.section(".shstrtab", SHT_STRTAB, 1, &names.0).flags = 0;
    image.bytes.resize(image.bytes.len().next_multiple_of(8), 0);
    for (section, name) in image.sections.iter().zip(name_at) {
        let addr = if section.flags & SHF_ALLOC != 0 {
            section.offset as u64
        } else {
            0
        };
        image.bytes.extend(words([name, section.kind]));
        for word in [
            section.flags,
            addr,
            section.offset as u64,
            section.len as u64,
        ] {
            image.bytes.extend(word.to_le_bytes());
        }
        image.bytes.extend(words([section.link, section.info]));
        image.bytes.extend(section.align.to_le_bytes());
        image.bytes.extend(section.entsize.to_le_bytes());
    }
}

fn headers(image: &mut Image) {
    let sections = image.sections.len();
    let section_table = image.bytes.len() - sections * SHDR_SIZE;
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |head: &mut Vec<u8>, value: usize| head.extend((value as u16).to_le_bytes());
    half(&mut head, 3); // ET_DYN
    half(&mut head, 62); // EM_X86_64
    head.extend(words([1]));
    for word in [
        image.find(".text").1,
        EHDR_SIZE as u64,
        section_table as u64,
    ] {
        head.extend(word.to_le_bytes());
    }
    head.extend(words([0]));
    for value in [
        EHDR_SIZE,
        PHDR_SIZE,
        PH_COUNT,
        SHDR_SIZE,
        sections,
        sections - 1,
    ] {
        half(&mut head, value);
    }
    const R: u32 = 4;
    const RX: u32 = 5;
    let whole = image.bytes.len();
    program_header(&mut head, 1, RX, 0, whole, 4096); // PT_LOAD
    for (kind, name, align) in [
        (2, ".dynamic", 8),                // PT_DYNAMIC
        (4, ".note.gnu.build-id", 4),      // PT_NOTE
        (0x6474_e550, ".eh_frame_hdr", 4), // PT_GNU_EH_FRAME
    ] {
        let section = &image.sections[image.find(name).0 as usize];
        program_header(&mut head, kind, R, section.offset, section.len, align);
    }
    image.bytes[..head.len()].copy_from_slice(&head);
}

fn program_header(head: &mut Vec<u8>, kind: u32, flags: u32, at: usize, len: usize, align: usize) {
    head.extend(words([kind, flags]));
    for word in [at, at, at, len, len, align] {
        head.extend((word as u64).to_le_bytes());
    }
}
