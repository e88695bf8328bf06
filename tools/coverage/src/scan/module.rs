//! One ELF file as a graph: functions, the data they refer to, and what they import; with the numbers of the system
//! calls that each function makes.
//!
//! Function bounds come from symbols, from the table of `.eh_frame_hdr` and from what is called. Data is cut where
//! something refers to it, so that a table of functions counts only for who uses that table.

use super::flow::{self, Callees};
use super::value::{Input, Value};
use anyhow::{Context, Result, bail};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};
use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::{
    Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationFlags, RelocationTarget,
    SectionKind,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The C library's function that takes the number as its first argument, in rdi.
const SYSCALL_FUNCTION: &str = "syscall";
/// The instruction's bytes.
const SYSCALL_BYTES: [u8; 2] = [0x0f, 0x05];

/// What a node of the graph leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Edge {
    /// The function with this index.
    Function(u32),
    /// The piece of data with this index.
    Datum(u32),
    /// The import with this index in [`Module::imports`].
    Import(u32),
}

/// A function.
#[derive(Debug, Default)]
pub struct Function {
    /// Its first address.
    pub start: u64,
    /// Its symbol's name; empty if it has none.
    pub name: String,
    /// The numbers of the calls it makes, itself or through functions that take the number from it.
    pub numbers: Value,
    /// What it calls and refers to.
    pub edges: Vec<Edge>,
}

/// A piece of data: what its pointers lead to.
#[derive(Debug, Default)]
pub struct Datum {
    /// Targets.
    pub edges: Vec<Edge>,
}

/// An ELF file.
#[derive(Debug, Default)]
pub struct Module {
    /// Its path in the tree.
    pub path: String,
    /// Functions, ascending. Empty if the file makes no calls of its own and is a program: then all imports count.
    pub functions: Vec<Function>,
    /// Data that something refers to, ascending.
    pub data: Vec<Datum>,
    /// Names that it takes from other files.
    pub imports: Vec<String>,
    /// Names that it gives.
    pub exports: HashMap<String, Vec<Edge>>,
    /// DT_NEEDED.
    pub needed: Vec<String>,
    /// DT_RPATH or DT_RUNPATH.
    pub search: Vec<String>,
    /// PT_INTERP.
    pub interpreter: Option<String>,
    /// What runs whenever the file is loaded: initialisers and finalisers.
    pub roots: Vec<Edge>,
    /// The function at the ELF header's entry.
    pub entry: Option<Edge>,
}

/// How much of a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// A program: all of it may run.
    Program,
    /// A library: what runs depends on who uses it.
    Library,
}

/// Whether `bytes` are an ELF file for this machine: 64-bit, x86-64.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF\x02\x01") && bytes.get(18..20) == Some(&[62, 0])
}

impl Module {
    /// Reads the file.
    pub fn parse(path: &str, bytes: &[u8], depth: Depth) -> Result<Self> {
        let elf = ElfFile64::<object::Endianness>::parse(bytes).context("a damaged ELF file")?;
        if elf.architecture() != object::Architecture::X86_64 {
            bail!("not a program for x86-64");
        }
        let mut module = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        module.read_dynamic(&elf, bytes)?;
        let mut builder = Builder::new(&elf, bytes)?;
        let own_calls = builder
            .code
            .iter()
            .any(|section| section.data.windows(2).any(|pair| pair == SYSCALL_BYTES))
            || builder.imports.iter().any(|name| name == SYSCALL_FUNCTION);
        if depth == Depth::Library || own_calls {
            builder.sweep();
            builder.follow();
        }
        builder.finish(&elf, &mut module);
        Ok(module)
    }

    /// The program's interpreter and the entries of its dynamic section.
    fn read_dynamic(&mut self, elf: &ElfFile64<'_>, bytes: &[u8]) -> Result<()> {
        let endian = elf.endian();
        for segment in elf.elf_program_headers() {
            if let Ok(Some(name)) = segment.interpreter(endian, bytes) {
                self.interpreter = Some(String::from_utf8_lossy(name).into_owned());
            }
        }
        let sections = elf.elf_header().sections(endian, bytes)?;
        let Some((entries, strings)) = sections.dynamic(endian, bytes)? else {
            return Ok(());
        };
        let strings = sections.strings(endian, bytes, strings)?;
        for entry in entries {
            let tag = entry.tag(endian);
            let text = || {
                entry
                    .string(endian, strings)
                    .map(|text| String::from_utf8_lossy(text).into_owned())
            };
            if tag == elf::DT_NEEDED {
                self.needed.extend(text());
            } else if tag == elf::DT_RPATH || tag == elf::DT_RUNPATH {
                self.search.extend(
                    text()
                        .iter()
                        .flat_map(|text| text.split(':').map(str::to_owned)),
                );
            }
        }
        Ok(())
    }

    /// The function's name, or its address in the file.
    pub fn function_name(&self, index: u32) -> String {
        let function = &self.functions[index as usize];
        if function.name.is_empty() {
            format!("0x{:x}", function.start)
        } else {
            function.name.clone()
        }
    }
}

struct CodeSection<'a> {
    start: u64,
    data: &'a [u8],
    plt: bool,
}

impl CodeSection<'_> {
    fn has(&self, address: u64) -> bool {
        address >= self.start && address < self.start + self.data.len() as u64
    }
}

/// What a reference in code leads to, before functions and data have numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reference {
    Address(u64),
    Import(u32),
}

struct Builder<'a> {
    code: Vec<CodeSection<'a>>,
    /// Data sections: start and end.
    data: Vec<(u64, u64)>,
    imports: Vec<String>,
    /// Pointers that the dynamic linker fills in: where, and with what.
    pointers: BTreeMap<u64, Reference>,
    /// Function starts, with names.
    starts: BTreeMap<u64, String>,
    /// References by the address of the instruction.
    references: Vec<(u64, Reference)>,
    /// Addresses that code takes.
    cuts: BTreeSet<u64>,
    /// Functions that call or mention a function, by that function's start.
    users: HashMap<u64, BTreeSet<u64>>,
    /// Functions with a syscall instruction.
    callers: BTreeSet<u64>,
    /// What the flow has found, by function.
    numbers: HashMap<u64, Value>,
    /// Whether the file is loaded at the addresses it names, so that numbers in code may be addresses.
    fixed: bool,
}

impl<'a> Builder<'a> {
    fn new(elf: &ElfFile64<'a>, bytes: &'a [u8]) -> Result<Self> {
        let mut builder = Self {
            code: Vec::new(),
            data: Vec::new(),
            imports: Vec::new(),
            pointers: BTreeMap::new(),
            starts: BTreeMap::new(),
            references: Vec::new(),
            cuts: BTreeSet::new(),
            users: HashMap::new(),
            callers: BTreeSet::new(),
            numbers: HashMap::new(),
            fixed: elf.kind() == object::ObjectKind::Executable,
        };
        for section in elf.sections() {
            let name = section.name().unwrap_or_default();
            let (start, size) = (section.address(), section.size());
            if start == 0 || size == 0 {
                continue;
            }
            if section.kind() == SectionKind::Text {
                let data = section.data().unwrap_or_default();
                builder.code.push(CodeSection {
                    start,
                    data,
                    plt: name.starts_with(".plt"),
                });
            } else {
                builder.data.push((start, start + size));
            }
        }
        if builder.code.is_empty() {
            builder.code_from_segments(elf, bytes);
        }
        builder.code.sort_by_key(|section| section.start);
        builder.find_imports(elf);
        builder.find_pointers(elf);
        builder.find_starts(elf);
        Ok(builder)
    }

    /// A file without section headers: its executable segments are code.
    fn code_from_segments(&mut self, elf: &ElfFile64<'a>, bytes: &'a [u8]) {
        let endian = elf.endian();
        for segment in elf.elf_program_headers() {
            if segment.p_type(endian) == elf::PT_LOAD
                && segment.p_flags(endian).0 & elf::PF_X.0 != 0
                && let Ok(data) = segment.data(endian, bytes)
            {
                self.code.push(CodeSection {
                    start: segment.p_vaddr(endian),
                    data,
                    plt: false,
                });
            }
        }
    }

    fn find_imports(&mut self, elf: &ElfFile64<'a>) {
        let mut seen = HashSet::new();
        for symbol in elf.dynamic_symbols() {
            if symbol.is_undefined()
                && let Ok(name) = symbol.name()
                && !name.is_empty()
                && seen.insert(name)
            {
                self.imports.push(name.to_owned());
            }
        }
    }

    fn find_pointers(&mut self, elf: &ElfFile64<'a>) {
        let by_name: HashMap<&str, u32> = (0..)
            .zip(&self.imports)
            .map(|(index, name)| (name.as_str(), index))
            .collect();
        let mut found = Vec::new();
        for (place, relocation) in elf.dynamic_relocations().into_iter().flatten() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                continue;
            };
            let target = match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let symbols = elf.dynamic_symbol_table();
                    let Some(symbol) = symbols.and_then(|table| table.symbol_by_index(index).ok())
                    else {
                        continue;
                    };
                    match by_name.get(symbol.name().unwrap_or_default()) {
                        Some(import) if symbol.is_undefined() => Reference::Import(*import),
                        _ => Reference::Address(
                            symbol.address().wrapping_add(relocation.addend() as u64),
                        ),
                    }
                }
                _ if r_type == elf::R_X86_64_RELATIVE || r_type == elf::R_X86_64_IRELATIVE => {
                    Reference::Address(relocation.addend() as u64)
                }
                _ => continue,
            };
            found.push((place, target));
        }
        self.pointers.extend(found);
        self.find_packed_pointers(elf);
    }

    /// Relative relocations in the packed form of `.relr.dyn`: an even word is an address, an odd one a bitmap of the
    /// 63 words after it. What the pointers are stands in their places.
    fn find_packed_pointers(&mut self, elf: &ElfFile64<'a>) {
        let Some(data) = elf
            .section_by_name(".relr.dyn")
            .and_then(|section| section.data().ok())
        else {
            return;
        };
        let mut next = 0;
        let mut places = Vec::new();
        for word in data
            .chunks_exact(8)
            .filter_map(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes)
        {
            if word & 1 == 0 {
                places.push(word);
                next = word + 8;
            } else {
                places.extend(
                    (0..63)
                        .filter(|bit| word >> (bit + 1) & 1 != 0)
                        .map(|bit| next + 8 * bit),
                );
                next += 63 * 8;
            }
        }
        for place in places {
            let section = elf.sections().find(|section| {
                section.address() <= place && place < section.address() + section.size()
            });
            let value = section.and_then(|section| section.data_range(place, 8).ok().flatten());
            if let Some(value) = value
                .and_then(|bytes| bytes.try_into().ok())
                .map(u64::from_le_bytes)
            {
                self.pointers.insert(place, Reference::Address(value));
            }
        }
    }

    fn find_starts(&mut self, elf: &ElfFile64<'a>) {
        let sections: Vec<u64> = self.code.iter().map(|section| section.start).collect();
        let entry = elf.entry();
        for start in sections.into_iter().chain([entry]) {
            self.add_start(start, "");
        }
        for start in eh_frame_starts(elf) {
            self.add_start(start, "");
        }
        for pointer in self.pointers.values().copied().collect::<Vec<_>>() {
            if let Reference::Address(address) = pointer {
                self.add_start(address, "");
            }
        }
        for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
            let function = matches!(
                symbol.kind(),
                object::SymbolKind::Text | object::SymbolKind::Unknown
            );
            if symbol.is_definition() && function && symbol.address() != 0 {
                self.add_start(symbol.address(), symbol.name().unwrap_or_default());
            }
        }
    }

    fn add_start(&mut self, address: u64, name: &str) {
        if !self
            .code
            .iter()
            .any(|section| section.has(address) && !section.plt)
        {
            return;
        }
        let known = self.starts.entry(address).or_default();
        // Of several names the public one says most.
        let better = known.is_empty() || known.starts_with('_') && !name.starts_with('_');
        if better && !name.is_empty() {
            *known = name.to_owned();
        }
    }

    /// The function that `address` is in.
    fn function_at(&self, address: u64) -> Option<u64> {
        let section = self
            .code
            .iter()
            .find(|section| section.has(address) && !section.plt)?;
        self.starts
            .range(section.start..=address)
            .next_back()
            .map(|(start, _)| *start)
    }

    /// The bytes of the function that starts at `start`.
    fn body(&self, start: u64) -> &'a [u8] {
        let Some(section) = self.code.iter().find(|section| section.has(start)) else {
            return &[];
        };
        let end = section.start + section.data.len() as u64;
        let end = self
            .starts
            .range(start + 1..end)
            .next()
            .map_or(end, |(next, _)| *next);
        &section.data[(start - section.start) as usize..(end - section.start) as usize]
    }

    /// Goes through all code once: references, calls, and where the syscall instructions are.
    fn sweep(&mut self) {
        let mut calls = Vec::new();
        let mut syscalls = Vec::new();
        let mut references = Vec::new();
        let starts: Vec<u64> = self.starts.keys().copied().collect();
        let mut instruction = Instruction::default();
        for start in starts {
            let mut decoder = Decoder::with_ip(64, self.body(start), start, DecoderOptions::NONE);
            while decoder.can_decode() {
                decoder.decode_out(&mut instruction);
                if instruction.code() == Code::Syscall {
                    syscalls.push(instruction.ip());
                    continue;
                }
                if let Some(reference) = self.reference(&instruction) {
                    references.push((instruction.ip(), reference));
                    let taken = instruction.mnemonic() == Mnemonic::Lea;
                    if let Reference::Address(target) = reference
                        && (taken || instruction.flow_control() == FlowControl::Call)
                    {
                        calls.push(target);
                    }
                    // What is only read or written may be in the middle of something.
                    let access = instruction.is_ip_rel_memory_operand() && !taken;
                    if let Reference::Address(target) = reference
                        && !access
                    {
                        self.cuts.insert(target);
                    }
                }
            }
        }
        for target in calls {
            self.add_start(target, "");
        }
        for (from, reference) in &references {
            if let (Some(user), Reference::Address(target)) = (self.function_at(*from), reference)
                && let Some(function) = self.function_at(*target)
                && function != user
            {
                self.users.entry(function).or_default().insert(user);
            }
            if let Reference::Import(index) = reference
                && self.imports[*index as usize] == SYSCALL_FUNCTION
            {
                let caller = self.function_at(*from);
                self.callers.extend(caller);
            }
        }
        let callers: Vec<u64> = syscalls
            .iter()
            .filter_map(|address| self.function_at(*address))
            .collect();
        self.callers.extend(callers);
        self.references = references;
    }

    /// What an instruction refers to outside its own function.
    fn reference(&self, instruction: &Instruction) -> Option<Reference> {
        if instruction.op0_kind() == OpKind::NearBranch64 {
            return self.target(instruction.near_branch_target());
        }
        if instruction.is_ip_rel_memory_operand() {
            let address = instruction.ip_rel_memory_address();
            // A slot that the dynamic linker fills in is as good as what it is filled with.
            return match self.pointers.get(&address) {
                Some(pointer) if instruction.mnemonic() != Mnemonic::Lea => Some(*pointer),
                _ => Some(Reference::Address(address)),
            };
        }
        if !self.fixed {
            return None;
        }
        (0..instruction.op_count())
            .find(|index| {
                matches!(
                    instruction.op_kind(*index),
                    OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64
                )
            })
            .map(|index| instruction.immediate(index))
            .or_else(|| {
                let absolute = instruction.memory_base() == Register::None
                    && instruction.memory_index() == Register::None;
                absolute.then(|| instruction.memory_displacement64())
            })
            .filter(|address| self.known(*address))
            .map(Reference::Address)
    }

    fn known(&self, address: u64) -> bool {
        address >= 0x1_0000
            && (self.code.iter().any(|section| section.has(address))
                || self
                    .data
                    .iter()
                    .any(|(start, end)| address >= *start && address < *end))
    }

    /// Where a call or jump to `address` ends up: through the PLT, if it is there.
    fn target(&self, address: u64) -> Option<Reference> {
        let section = self.code.iter().find(|section| section.has(address))?;
        if !section.plt {
            return Some(Reference::Address(address));
        }
        let code = &section.data[(address - section.start) as usize..];
        let jump = Decoder::with_ip(64, code, address, DecoderOptions::NONE)
            .into_iter()
            .take(3)
            .find(|instruction| instruction.flow_control() == FlowControl::IndirectBranch)?;
        jump.is_ip_rel_memory_operand()
            .then(|| self.pointers.get(&jump.ip_rel_memory_address()).copied())?
    }

    /// Follows the numbers through the functions that make calls, and on through those that pass the number in.
    fn follow(&mut self) {
        let mut queue: Vec<u64> = self.callers.iter().copied().collect();
        let mut rounds: HashMap<u64, u32> = HashMap::new();
        while let Some(function) = queue.pop() {
            let round = rounds.entry(function).or_default();
            *round += 1;
            if *round > 20 {
                continue;
            }
            let value = flow::numbers(self.body(function), function, self);
            let before = self.numbers.insert(function, value.clone());
            let passed_on = before.is_none_or(|before| before.inputs != value.inputs)
                && !value.inputs.is_empty();
            if passed_on && let Some(users) = self.users.get(&function) {
                queue.extend(users);
            }
        }
    }

    fn finish(self, elf: &ElfFile64<'_>, module: &mut Module) {
        let swept = !self.references.is_empty() || !self.callers.is_empty();
        let starts: Vec<u64> = if swept {
            self.starts.keys().copied().collect()
        } else {
            Vec::new()
        };
        let cuts = self.data_cuts();
        let links = Links {
            builder: &self,
            functions: &starts,
            data: &cuts,
        };
        let mut edges: Vec<BTreeSet<Edge>> = vec![BTreeSet::new(); starts.len()];
        for (from, reference) in &self.references {
            let Some(Edge::Function(index)) = links.edge(Reference::Address(*from)) else {
                continue;
            };
            if let Some(edge) = links.edge(*reference)
                && edge != Edge::Function(index)
            {
                edges[index as usize].insert(edge);
            }
        }
        let mut data: Vec<BTreeSet<Edge>> = vec![BTreeSet::new(); cuts.len()];
        for (place, pointer) in &self.pointers {
            if let Some(Edge::Datum(index)) = links.edge(Reference::Address(*place)) {
                data[index as usize].extend(links.edge(*pointer));
            }
        }
        for symbol in elf
            .dynamic_symbols()
            .filter(|symbol| symbol.is_definition())
        {
            if let (Ok(name), Some(edge)) = (
                symbol.name(),
                links.edge(Reference::Address(symbol.address())),
            ) {
                module
                    .exports
                    .entry(name.to_owned())
                    .or_default()
                    .push(edge);
            }
        }
        module.entry = links.edge(Reference::Address(elf.entry()));
        for section in elf.sections() {
            let name = section.name().unwrap_or_default();
            if matches!(name, ".init" | ".fini") {
                module
                    .roots
                    .extend(links.edge(Reference::Address(section.address())));
            } else if name.ends_with("init_array") || name.ends_with("fini_array") {
                let end = section.address() + section.size();
                let pointers = self.pointers.range(section.address()..end);
                module
                    .roots
                    .extend(pointers.filter_map(|(_, pointer)| links.edge(*pointer)));
            }
        }
        module.functions = starts
            .iter()
            .zip(edges)
            .map(|(start, edges)| Function {
                start: *start,
                name: self.starts[start].clone(),
                numbers: self.numbers.get(start).cloned().unwrap_or_default(),
                edges: edges.into_iter().collect(),
            })
            .collect();
        module.data = data
            .into_iter()
            .map(|edges| Datum {
                edges: edges.into_iter().collect(),
            })
            .collect();
        module.imports = self.imports;
    }

    /// Where data is cut: at every address that code takes or a pointer holds.
    fn data_cuts(&self) -> Vec<u64> {
        let mut cuts: BTreeSet<u64> = self.data.iter().map(|(start, _)| *start).collect();
        let pointed = self.pointers.values().filter_map(|pointer| match pointer {
            Reference::Address(address) => Some(*address),
            Reference::Import(_) => None,
        });
        let inside = |address: &u64| {
            self.data
                .iter()
                .any(|(start, end)| address >= start && address < end)
        };
        cuts.extend(self.cuts.iter().copied().chain(pointed).filter(inside));
        cuts.into_iter().collect()
    }
}

/// Turns addresses into nodes.
struct Links<'a, 'b> {
    builder: &'a Builder<'b>,
    functions: &'a [u64],
    data: &'a [u64],
}

impl Links<'_, '_> {
    fn edge(&self, reference: Reference) -> Option<Edge> {
        let address = match reference {
            Reference::Import(index) => return Some(Edge::Import(index)),
            Reference::Address(address) => address,
        };
        if let Some(start) = self.builder.function_at(address) {
            let index = self.functions.binary_search(&start).ok()?;
            return Some(Edge::Function(u32::try_from(index).ok()?));
        }
        self.builder
            .data
            .iter()
            .find(|(start, end)| address >= *start && address < *end)?;
        let index = self
            .data
            .partition_point(|start| *start <= address)
            .checked_sub(1)?;
        Some(Edge::Datum(u32::try_from(index).ok()?))
    }
}

impl Callees for Builder<'_> {
    fn inputs(&self, address: u64) -> Vec<Input> {
        match self.target(address) {
            Some(Reference::Import(index)) => self.import_inputs(index),
            Some(Reference::Address(address)) => self
                .numbers
                .get(&address)
                .map(|value| value.inputs.clone())
                .unwrap_or_default(),
            None => Vec::new(),
        }
    }

    fn inputs_of_import(&self, instruction: &Instruction) -> Vec<Input> {
        if !instruction.is_ip_rel_memory_operand() {
            return Vec::new();
        }
        match self.pointers.get(&instruction.ip_rel_memory_address()) {
            Some(Reference::Import(index)) => self.import_inputs(*index),
            Some(Reference::Address(address)) => self
                .numbers
                .get(address)
                .map(|value| value.inputs.clone())
                .unwrap_or_default(),
            None => Vec::new(),
        }
    }
}

impl Builder<'_> {
    fn import_inputs(&self, index: u32) -> Vec<Input> {
        if self.imports[index as usize] == SYSCALL_FUNCTION {
            vec![Input::Register(7)]
        } else {
            Vec::new()
        }
    }
}

/// Function starts from the search table of `.eh_frame_hdr` (LSB core specification, 10.6.2).
fn eh_frame_starts(elf: &ElfFile64<'_>) -> Vec<u64> {
    let Some(section) = elf.section_by_name(".eh_frame_hdr") else {
        return Vec::new();
    };
    let data = section.data().unwrap_or_default();
    // Version 1; pointer as 4 bytes; count as 4 bytes; pairs of 4 bytes from the section's start.
    let (Some([1, pointer, 0x03, 0x3b]), Some(count)) = (data.first_chunk::<4>(), data.get(8..12))
    else {
        return Vec::new();
    };
    if pointer & 0x0f != 0x0b {
        return Vec::new();
    }
    let count = count.try_into().map_or(0, u32::from_le_bytes) as usize;
    data[12..]
        .chunks_exact(8)
        .take(count)
        .filter_map(|pair| pair[..4].try_into().ok())
        .map(|bytes| {
            section
                .address()
                .wrapping_add(i64::from(i32::from_le_bytes(bytes)) as u64)
        })
        .collect()
}
