//! Small ELF files, whole and broken, for the tests of this folder and as seeds for fuzzing.

use std::path::Path;

/// Where the code begins in a file made by [`TestElf`].
pub const CODE_OFFSET: u64 = 0x800;
/// Where a program of type `ET_EXEC` is linked to.
pub const EXEC_BASE: u64 = 0x40_0000;
/// What the code exits with unless a case changes it.
pub const EXIT_CODE: u8 = 42;

pub const ET_EXEC: u16 = 2;
pub const ET_DYN: u16 = 3;
pub const PT_LOAD: u32 = 1;
pub const PT_INTERP: u32 = 3;
pub const PT_GNU_STACK: u32 = 0x6474_e551;
pub const R: u32 = 4;
pub const W: u32 = 2;
pub const X: u32 = 1;

/// A program header.
#[derive(Clone, Copy, Debug)]
pub struct Ph {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub filesz: u64,
    pub memsz: u64,
    pub align: u64,
}

/// An ELF file to be.
#[derive(Clone, Debug)]
pub struct TestElf {
    pub ident: [u8; 16],
    pub kind: u16,
    pub machine: u16,
    pub version: u32,
    pub entry: u64,
    pub phoff: u64,
    pub ehsize: u16,
    pub phentsize: u16,
    pub phnum: Option<u16>,
    pub phs: Vec<Ph>,
    /// Bytes at offsets; they make the file long enough.
    pub data: Vec<(u64, Vec<u8>)>,
    /// Cuts the file.
    pub len: Option<usize>,
}

/// `exit(status)`.
pub fn exit_code(status: u8) -> Vec<u8> {
    // mov edi, status; mov eax, 60; syscall
    vec![0xbf, status, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]
}

/// `exit(*(unsigned char *)target)`, position-independent; the code itself runs at `at`.
pub fn exit_byte(at: u64, target: u64) -> Vec<u8> {
    // movzx edi, byte [rip + disp]; mov eax, 60; syscall
    let disp = i32::try_from(target.wrapping_sub(at + 7).cast_signed()).unwrap();
    [
        &[0x0f, 0xb6, 0x3d],
        &disp.to_le_bytes()[..],
        &[0xb8, 60, 0, 0, 0, 0x0f, 0x05],
    ]
    .concat()
}

impl TestElf {
    /// A program with one segment that exits with [`EXIT_CODE`].
    pub fn new(kind: u16) -> Self {
        let base = if kind == ET_EXEC { EXEC_BASE } else { 0 };
        let mut ident = [0; 16];
        ident[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        TestElf {
            ident,
            kind,
            machine: 62,
            version: 1,
            entry: base + CODE_OFFSET,
            phoff: 64,
            ehsize: 64,
            phentsize: 56,
            phnum: None,
            phs: vec![Ph {
                kind: PT_LOAD,
                flags: R | X,
                offset: 0,
                vaddr: base,
                filesz: 0x1000,
                memsz: 0x1000,
                align: 0x1000,
            }],
            data: vec![(CODE_OFFSET, exit_code(EXIT_CODE)), (0xfff, vec![0])],
            len: None,
        }
    }

    /// The first segment.
    pub fn load(&mut self) -> &mut Ph {
        &mut self.phs[0]
    }

    /// Adds `PT_INTERP` with these bytes, put at offset 0x600.
    pub fn interp(mut self, path: &[u8]) -> Self {
        let len = path.len() as u64;
        self.data.push((0x600, path.to_vec()));
        self.phs.push(Ph {
            kind: PT_INTERP,
            flags: R,
            offset: 0x600,
            vaddr: 0x600,
            filesz: len,
            memsz: len,
            align: 1,
        });
        self
    }

    /// Applies a change.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(self.ident);
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(self.version.to_le_bytes());
        file.extend(self.entry.to_le_bytes());
        file.extend(self.phoff.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(0u32.to_le_bytes());
        let phnum = self.phnum.unwrap_or(self.phs.len() as u16);
        for half in [self.ehsize, self.phentsize, phnum, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for ph in &self.phs {
            file.extend(ph.kind.to_le_bytes());
            file.extend(ph.flags.to_le_bytes());
            for word in [ph.offset, ph.vaddr, ph.vaddr, ph.filesz, ph.memsz, ph.align] {
                file.extend(word.to_le_bytes());
            }
        }
        for (at, bytes) in &self.data {
            let (at, end) = (*at as usize, *at as usize + bytes.len());
            if file.len() < end {
                file.resize(end, 0);
            }
            file[at..end].copy_from_slice(bytes);
        }
        if let Some(len) = self.len {
            file.truncate(len);
        }
        file
    }
}

/// A named file, and what it is about.
pub struct Case {
    pub name: &'static str,
    pub file: TestElf,
}

fn case(name: &'static str, file: TestElf) -> Case {
    Case { name, file }
}

/// Files that are whole, odd or broken. `dir` is where interpreters are looked for: `interp` (a whole `ET_DYN`),
/// `interp-exec`, `interp-*` (broken ones, see [`interpreters`]).
pub fn cases(dir: &Path) -> Vec<Case> {
    let mut all = header_cases();
    all.extend(table_cases());
    all.extend(segment_cases());
    all.extend(memory_cases());
    all.extend(interp_cases(dir));
    all
}

fn exec() -> TestElf {
    TestElf::new(ET_EXEC)
}

fn header_cases() -> Vec<Case> {
    vec![
        case("exec", exec()),
        case("dyn", TestElf::new(ET_DYN)),
        case("bad-magic", exec().with(|e| e.ident[1] = b'e')),
        case("class-32", exec().with(|e| e.ident[4] = 1)),
        case("class-0", exec().with(|e| e.ident[4] = 0)),
        case("big-endian-mark", exec().with(|e| e.ident[5] = 2)),
        case("no-endian-mark", exec().with(|e| e.ident[5] = 0)),
        case("ident-version-9", exec().with(|e| e.ident[6] = 9)),
        case("osabi-7", exec().with(|e| e.ident[7] = 7)),
        case("version-0", exec().with(|e| e.version = 0)),
        case("ehsize-0", exec().with(|e| e.ehsize = 0)),
        case("type-none", exec().with(|e| e.kind = 0)),
        case("type-rel", exec().with(|e| e.kind = 1)),
        case("type-core", exec().with(|e| e.kind = 4)),
        case("machine-arm64", exec().with(|e| e.machine = 183)),
        case("machine-386", exec().with(|e| e.machine = 3)),
        case("machine-swapped", exec().with(|e| e.machine = 62 << 8)),
        case("empty", exec().with(|e| e.len = Some(0))),
        case("magic-only", exec().with(|e| e.len = Some(4))),
        case("cut-in-header", exec().with(|e| e.len = Some(40))),
        case("header-only", exec().with(|e| e.len = Some(64))),
        case("cut-in-phdr", exec().with(|e| e.len = Some(100))),
        case(
            "entry-kernel",
            exec().with(|e| e.entry = 0xffff_8000_0000_0000),
        ),
        case(
            "entry-task-size",
            exec().with(|e| e.entry = 0x7fff_ffff_f000),
        ),
        case("entry-unmapped", exec().with(|e| e.entry = 0x60_0000)),
        case("entry-zero", exec().with(|e| e.entry = 0)),
    ]
}

fn table_cases() -> Vec<Case> {
    let many = |count: u16| {
        exec().with(|e| {
            let null = Ph {
                kind: 0,
                ..e.phs[0]
            };
            e.phs.resize(usize::from(count), null);
            e.phoff = 0x1000;
            let tables = e.clone().bytes()[64..64 + 56 * usize::from(count)].to_vec();
            e.data.push((0x1000, tables));
            e.data.push((CODE_OFFSET, exit_code(EXIT_CODE)));
        })
    };
    vec![
        case("phentsize-0", exec().with(|e| e.phentsize = 0)),
        case("phentsize-32", exec().with(|e| e.phentsize = 32)),
        case("phentsize-57", exec().with(|e| e.phentsize = 57)),
        case("phnum-0", exec().with(|e| e.phnum = Some(0))),
        case("phnum-beyond-file", exec().with(|e| e.phnum = Some(500))),
        case("phnum-max", many(1170)),
        case("phnum-above-64k", many(1171)),
        case("phnum-65535", exec().with(|e| e.phnum = Some(65535))),
        case("phoff-beyond-file", exec().with(|e| e.phoff = 0x10000)),
        case("phoff-negative", exec().with(|e| e.phoff = u64::MAX - 10)),
        case(
            "phoff-huge",
            exec().with(|e| e.phoff = i64::MAX as u64 - 10),
        ),
        case("no-load", exec().with(|e| e.load().kind = 0)),
        case(
            "no-load-dyn",
            TestElf::new(ET_DYN).with(|e| e.load().kind = 0),
        ),
        case(
            "stack-exec",
            exec().with(|e| {
                e.phs.push(Ph {
                    kind: PT_GNU_STACK,
                    flags: R | W | X,
                    ..e.phs[0]
                })
            }),
        ),
    ]
}

fn segment_cases() -> Vec<Case> {
    let load = |change: fn(&mut Ph)| exec().with(|e| change(e.load()));
    let dynamic = |change: fn(&mut Ph)| TestElf::new(ET_DYN).with(|e| change(e.load()));
    vec![
        case("filesz-above-memsz", load(|p| p.memsz = 0x900)),
        case("filesz-zero", load(|p| p.filesz = 0)),
        case("memsz-zero", load(|p| (p.filesz, p.memsz) = (0, 0))),
        case(
            "filesz-huge",
            load(|p| (p.filesz, p.memsz) = (u64::MAX, u64::MAX)),
        ),
        case("memsz-huge", load(|p| p.memsz = u64::MAX)),
        case("memsz-task-size", load(|p| p.memsz = 0x7fff_ffff_f000)),
        case("vaddr-kernel", load(|p| p.vaddr = 0xffff_8000_0000_0000)),
        case("vaddr-task-size", load(|p| p.vaddr = 0x7fff_ffff_f000)),
        case(
            "vaddr-last-page",
            load(|p| (p.vaddr, p.filesz, p.memsz) = (0x7fff_ffff_e000, 0x1001, 0x1001)),
        ),
        case("vaddr-wraps", load(|p| p.vaddr = u64::MAX - 0xfff)),
        case("offset-unaligned", load(|p| p.offset = 0x10)),
        case("vaddr-unaligned", load(|p| p.vaddr += 0x10)),
        case(
            "both-unaligned",
            load(|p| (p.offset, p.vaddr, p.filesz, p.memsz) = (0x10, p.vaddr + 0x10, 0xff0, 0xff0)),
        ),
        case("offset-beyond-file", load(|p| p.offset = 0x10_0000)),
        case("offset-negative", load(|p| p.offset = u64::MAX - 0xfff)),
        case("offset-huge", load(|p| p.offset = i64::MAX as u64 - 0xfff)),
        case("not-executable", load(|p| p.flags = R)),
        case("no-rights", load(|p| p.flags = 0)),
        case("write-only", load(|p| p.flags = W)),
        case("exec-only", load(|p| p.flags = X)),
        case("align-0", load(|p| p.align = 0)),
        case("align-3", load(|p| p.align = 3)),
        case("align-2m", load(|p| p.align = 0x20_0000)),
        case("dyn-align-2m", dynamic(|p| p.align = 0x20_0000)),
        case("dyn-align-3", dynamic(|p| p.align = 3)),
        case("dyn-filesz-above-memsz", dynamic(|p| p.memsz = 0x900)),
        case("dyn-memsz-huge", dynamic(|p| p.memsz = u64::MAX)),
        case(
            "dyn-memsz-task-size",
            dynamic(|p| p.memsz = 0x7fff_ffff_f000),
        ),
        case(
            "dyn-high",
            TestElf::new(ET_DYN).with(|e| {
                e.load().vaddr = 0x7000_0000_0000;
                e.entry += 0x7000_0000_0000;
            }),
        ),
        case(
            "bss-in-readonly",
            load(|p| (p.filesz, p.memsz) = (0x900, 0x1800)),
        ),
        case(
            "bss-beyond-eof",
            load(|p| (p.flags, p.offset, p.filesz, p.memsz) = (R | W | X, 0x4000, 0x10, 0x20)),
        ),
    ]
}

/// Programs that exit with a byte of their memory: the rest of a page behind `filesz`, bss, overlaps.
fn memory_cases() -> Vec<Case> {
    const DATA: u64 = 0x60_0000;
    let peek = |target: u64, segments: Vec<Ph>| {
        exec().with(|e| {
            e.data = vec![
                (0x1000, (0..0x3000u32).map(|i| (i / 16 + 1) as u8).collect()),
                (CODE_OFFSET, exit_byte(EXEC_BASE + CODE_OFFSET, target)),
            ];
            e.phs.extend(segments);
        })
    };
    let data = |flags, offset, vaddr, filesz, memsz| Ph {
        kind: PT_LOAD,
        flags,
        offset,
        vaddr,
        filesz,
        memsz,
        align: 0x1000,
    };
    let rw = |filesz, memsz| vec![data(R | W, 0x1000, DATA, filesz, memsz)];
    vec![
        case("data-first", peek(DATA, rw(0x100, 0x100))),
        case(
            "data-behind-filesz-kept",
            peek(DATA + 0x200, rw(0x100, 0x100)),
        ),
        case(
            "data-behind-filesz-zero",
            peek(DATA + 0x200, rw(0x100, 0x101)),
        ),
        case("bss-page", peek(DATA + 0x1200, rw(0x100, 0x1201))),
        case("bss-page-end", peek(DATA + 0x1fff, rw(0x100, 0x1001))),
        case("bss-page-outside", peek(DATA + 0x2000, rw(0x100, 0x2000))),
        case("bss-only", peek(DATA + 0x10, rw(0, 0x11))),
        case(
            "bss-only-unaligned",
            peek(
                DATA + 0x10,
                vec![data(R | W, 0x1234, DATA + 0x567, 0, 0x11)],
            ),
        ),
        case(
            "readonly-behind-filesz",
            peek(DATA + 0x200, vec![data(R, 0x1000, DATA, 0x100, 0x201)]),
        ),
        case(
            "readonly-bss-page",
            peek(DATA + 0x1000, vec![data(R, 0x1000, DATA, 0x100, 0x1100)]),
        ),
        case(
            "no-rights-bss-page",
            peek(DATA + 0x1000, vec![data(0, 0x1000, DATA, 0x100, 0x1100)]),
        ),
        case(
            "overlap-later-wins",
            peek(
                DATA + 0x1010,
                vec![
                    data(R | W, 0x1000, DATA, 0x2000, 0x2000),
                    data(R | W, 0x1000, DATA + 0x1000, 0x1000, 0x1000),
                ],
            ),
        ),
        case(
            "overlap-bss-wins",
            peek(
                DATA + 0x1010,
                vec![
                    data(R | W, 0x1000, DATA + 0x1000, 0x1000, 0x1000),
                    data(R | W, 0x1000, DATA, 0x10, 0x1100),
                ],
            ),
        ),
        case(
            "overlap-same-page",
            peek(
                DATA + 0x10,
                vec![
                    data(R | W, 0x1000, DATA, 0x20, 0x20),
                    data(R | W, 0x2800, DATA + 0x800, 0x20, 0x20),
                ],
            ),
        ),
        case(
            "descending",
            peek(
                DATA,
                vec![
                    data(R | W, 0x1000, DATA + 0x8000, 0x20, 0x20),
                    data(R | W, 0x2000, DATA, 0x20, 0x20),
                ],
            ),
        ),
        case(
            "dyn-data",
            TestElf::new(ET_DYN).with(|e| {
                e.data = vec![
                    (0x1000, vec![7; 0x1000]),
                    (CODE_OFFSET, exit_byte(CODE_OFFSET, 0x20_1010)),
                ];
                e.phs.push(data(R, 0x1000, 0x20_1000, 0x100, 0x100));
            }),
        ),
        case(
            "dyn-hole",
            TestElf::new(ET_DYN).with(|e| {
                e.data = vec![
                    (0x1000, vec![7; 0x1000]),
                    (CODE_OFFSET, exit_byte(CODE_OFFSET, 0x8000)),
                ];
                e.phs.push(data(R, 0x1000, 0x20_1000, 0x100, 0x100));
            }),
        ),
    ]
}

fn interp_cases(dir: &Path) -> Vec<Case> {
    let path = |name: &str| {
        [
            dir.join(name).into_os_string().into_encoded_bytes(),
            vec![0],
        ]
        .concat()
    };
    let with = |name: &str| exec().interp(&path(name));
    let raw = |bytes: &[u8]| exec().interp(bytes);
    let mut all = vec![
        case("interp", with("interp")),
        case("interp-pie", TestElf::new(ET_DYN).interp(&path("interp"))),
        case("interp-of-type-exec", with("interp-exec")),
        case("interp-missing", with("nothing-here")),
        case("interp-is-directory", raw(b"/\0")),
        case("interp-not-executable", raw(b"/etc/passwd\0")),
        case("interp-empty", raw(b"\0\0")),
        case("interp-one-byte", raw(b"\0")),
        case("interp-no-bytes", raw(b"")),
        case("interp-no-nul", raw(b"/bin/sh")),
        case(
            "interp-nul-inside",
            raw(&[&path("interp")[..], b"rest\0"].concat()),
        ),
        case(
            "interp-too-long",
            with("interp").with(|e| e.phs[1].filesz = 4097),
        ),
        case(
            "interp-4096-cut",
            with("interp").with(|e| e.phs[1].filesz = 4096),
        ),
        case(
            "interp-beyond-file",
            with("interp").with(|e| e.phs[1].offset = 0x10_0000),
        ),
        case(
            "interp-offset-negative",
            with("interp").with(|e| e.phs[1].offset = u64::MAX - 1),
        ),
        case(
            "interp-offset-huge",
            with("interp").with(|e| e.phs[1].offset = i64::MAX as u64 - 1),
        ),
        case(
            "interp-missing-bad-load",
            with("nothing-here").with(|e| e.load().memsz = 1),
        ),
        case("interp-twice", with("interp").interp(b"/nothing\0")),
    ];
    let broken = interpreters().into_iter().skip(2);
    all.extend(broken.map(|other| case(other.name, with(other.name))));
    all
}

/// Interpreters that the cases name; the first two are whole.
pub fn interpreters() -> Vec<Case> {
    let interp = || TestElf::new(ET_DYN).with(|e| e.data[0].1 = exit_code(43));
    vec![
        case("interp", interp()),
        case(
            "interp-exec",
            TestElf::new(ET_EXEC).with(|e| {
                e.data[0].1 = exit_code(44);
                e.load().vaddr = 0x100_0000;
                e.entry = 0x100_0000 + CODE_OFFSET;
            }),
        ),
        case("interp-bad-magic", interp().with(|e| e.ident[0] = 0)),
        case("interp-bad-machine", interp().with(|e| e.machine = 3)),
        case("interp-bad-type", interp().with(|e| e.kind = 4)),
        case("interp-bad-phentsize", interp().with(|e| e.phentsize = 32)),
        case("interp-bad-phnum", interp().with(|e| e.phnum = Some(2000))),
        case("interp-bad-phoff", interp().with(|e| e.phoff = 0x10000)),
        case("interp-short", interp().with(|e| e.len = Some(63))),
        case("interp-header-only", interp().with(|e| e.len = Some(64))),
        case("interp-no-load", interp().with(|e| e.load().kind = 0)),
        case("interp-filesz", interp().with(|e| e.load().memsz = 1)),
        case("interp-entry", interp().with(|e| e.entry = 1 << 63)),
        case("interp-class-32", interp().with(|e| e.ident[4] = 1)),
        case("interp-has-interp", interp().interp(b"/nothing\0")),
    ]
}

/// A small deterministic generator (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
