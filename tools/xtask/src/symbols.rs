//! Names for the kernel's backtraces: fills the section `.keel_symbols` of the linked ELF.
//!
//! The format is that of `kernel/hal/src/panic.rs`: "KSYM" and a count, then that many sorted pairs
//! of u32 (offset of the function from the kernel's base, offset of its name in the section), then
//! the NUL-terminated names. All little-endian.

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const SECTION: &str = ".keel_symbols";
const MAGIC: &[u8; 4] = b"KSYM";
/// Where the kernel is linked.
const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Longer names are cut: most of a very long one is type parameters.
const LONGEST_NAME: usize = 160;

/// Fills the section of the kernel at `elf`; what is filled already stays as it is.
pub fn embed(elf: &Path) -> Result<()> {
    let mut bytes = std::fs::read(elf).with_context(|| format!("{}", elf.display()))?;
    let file = object::File::parse(&*bytes)?;
    let Some((at, size)) = file
        .section_by_name(SECTION)
        .and_then(|section| section.file_range())
    else {
        bail!("{} has no section {SECTION}", elf.display());
    };
    let functions: BTreeMap<u32, String> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text)
        .filter_map(|symbol| {
            let offset = u32::try_from(symbol.address().checked_sub(KERNEL_BASE)?).ok()?;
            Some((offset, name(symbol.name().ok()?)))
        })
        .collect();
    let table = table(&functions, size as usize);
    let Some(section) = bytes.get_mut(at as usize..(at + size) as usize) else {
        bail!("{}: {SECTION} lies beyond the end", elf.display());
    };
    if section[..table.len()] != table {
        section.fill(0);
        section[..table.len()].copy_from_slice(&table);
        std::fs::write(elf, bytes).with_context(|| format!("{}", elf.display()))?;
    }
    Ok(())
}

/// The kernel's functions, to look up addresses.
pub struct Symbols {
    /// Names by start.
    functions: BTreeMap<u64, String>,
}

impl Symbols {
    /// Reads those of the kernel at `elf`.
    pub fn read(elf: &Path) -> Result<Self> {
        let bytes = std::fs::read(elf).with_context(|| format!("{}", elf.display()))?;
        let file = object::File::parse(&*bytes)?;
        let functions = file
            .symbols()
            .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label))
            .filter_map(|symbol| Some((symbol.address(), name(symbol.name().ok()?))))
            .collect();
        Ok(Self { functions })
    }

    /// The function that an address lies in, or the address as text.
    pub fn name(&self, address: u64) -> String {
        match self.functions.range(..=address).next_back() {
            Some((_, name)) => name.clone(),
            None => format!("{address:#x}"),
        }
    }
}

/// The name without its hash, cut.
fn name(mangled: &str) -> String {
    let mut name = format!("{:#}", rustc_demangle::demangle(mangled));
    if let Some((cut, _)) = name.char_indices().nth(LONGEST_NAME) {
        name.truncate(cut);
    }
    name
}

/// The contents of the section, of at most `size` bytes: functions whose names do not fit are left out.
fn table(functions: &BTreeMap<u32, String>, size: usize) -> Vec<u8> {
    let names_at = 8 + functions.len() * 8;
    let mut entries = Vec::new();
    let mut names: Vec<u8> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (&offset, name) in functions {
        let place = match known.get(name.as_str()) {
            Some(&place) => place,
            None if names_at + names.len() + name.len() + 1 > size => continue,
            None => {
                let place = names_at + names.len();
                names.extend_from_slice(name.as_bytes());
                names.push(0);
                known.insert(name, place);
                place
            }
        };
        entries.extend_from_slice(&offset.to_le_bytes());
        entries.extend_from_slice(&(place as u32).to_le_bytes());
    }
    let count = (entries.len() / 8) as u32;
    entries.resize(names_at - 8, 0);
    [MAGIC.as_slice(), &count.to_le_bytes(), &entries, &names].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let functions = BTreeMap::from([(16, "a".into()), (32, "b".into()), (48, "a".into())]);
        let table = table(&functions, 4096);
        assert_eq!(&table[..8], b"KSYM\x03\0\0\0");
        assert_eq!(&table[8..16], [16, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(&table[24..32], [48, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(&table[32..], b"a\0b\0");
    }

    #[test]
    fn names_that_do_not_fit() {
        let functions = BTreeMap::from([(1, "long".into()), (2, "b".into())]);
        let table = table(&functions, 8 + 16 + 3);
        assert_eq!(&table[..16], b"KSYM\x01\0\0\0\x02\0\0\0\x18\0\0\0");
        assert_eq!(&table[24..], b"b\0");
    }
}
