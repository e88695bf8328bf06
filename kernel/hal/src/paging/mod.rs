//! Page tables.
use crate::frame::Frame;
use core::marker::PhantomData;

bitflags::bitflags! {
    /// What a user mapping allows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PageProt: u32 {
        /// Readable.
        const READ = 1;
        /// Writable.
        const WRITE = 2;
        /// Executable.
        const EXEC = 4;
    }
}

/// No memory for a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// One mapped page: a reference of its own to the frame, and the entry's bits.
#[derive(Debug)]
pub struct Mapping {
    /// The frame.
    pub frame: Frame,
    /// What the mapping allows.
    pub prot: PageProt,
    /// The CPU has used the mapping since the bit was last cleared.
    pub accessed: bool,
    /// The CPU has written through the mapping since the bit was last cleared.
    pub dirty: bool,
    /// It is a 2 MiB mapping.
    pub huge: bool,
}

/// The page table of an address space.
#[derive(Debug)]
pub struct PageTable { _root: usize }

/// A position in a page table, holding the lock of the leaf table it stands in.
pub struct Cursor<'a> { _p: PhantomData<&'a PageTable> }

#[allow(unused_variables, missing_docs)]
impl PageTable {
    pub fn new() -> Option<PageTable> { todo!() }
    pub fn cursor(&self, start: usize, end: usize) -> Cursor<'_> { todo!() }
    pub fn unmap_range(&self, start: usize, end: usize, f: &mut dyn FnMut(usize, Mapping)) { todo!() }
    pub fn protect_range(&self, start: usize, end: usize, f: &mut dyn FnMut(usize, &Mapping) -> PageProt) { todo!() }
    pub fn fork_range(&self, child: &PageTable, start: usize, end: usize, cow: bool) -> Result<(), NoMemory> { todo!() }
    pub fn move_range(&self, old: usize, new: usize, len: usize) -> Result<(), NoMemory> { todo!() }
    pub fn resident(&self) -> usize { todo!() }
    pub fn table_pages(&self) -> usize { todo!() }
    pub fn free_empty_tables(&mut self) { todo!() }
}

#[allow(unused_variables, missing_docs)]
impl Cursor<'_> {
    pub fn addr(&self) -> usize { todo!() }
    pub fn jump(&mut self, va: usize) { todo!() }
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> bool { todo!() }
    pub fn next_mapped(&mut self) -> Option<usize> { todo!() }
    pub fn query(&mut self) -> Option<Mapping> { todo!() }
    pub fn map(&mut self, frame: Frame, prot: PageProt) -> Result<Option<Mapping>, NoMemory> { todo!() }
    pub fn map_huge(&mut self, frame: Frame, prot: PageProt) -> Result<Option<Mapping>, NoMemory> { todo!() }
    pub fn unmap(&mut self) -> Option<Mapping> { todo!() }
    pub fn protect(&mut self, prot: PageProt) { todo!() }
    pub fn clear_accessed(&mut self) -> bool { todo!() }
    pub fn clear_dirty(&mut self) -> bool { todo!() }
}

/// A kernel stack with a guard page below it.
#[derive(Debug)]
pub struct KernelStack { _base: usize }
#[allow(unused_variables, missing_docs)]
impl KernelStack {
    pub fn new(pages: usize) -> Option<KernelStack> { todo!() }
    pub fn top(&self) -> usize { todo!() }
    pub fn bottom(&self) -> usize { todo!() }
}

/// A window of device registers.
#[derive(Debug)]
pub struct Mmio { _base: usize, _len: usize }
#[allow(unused_variables, missing_docs)]
impl Mmio {
    pub fn read<T: zerocopy::FromBytes>(&self, off: usize) -> T { todo!() }
    pub fn write<T: zerocopy::IntoBytes + zerocopy::Immutable>(&self, off: usize, value: T) { todo!() }
    pub fn len(&self) -> usize { todo!() }
    pub fn is_empty(&self) -> bool { todo!() }
}
