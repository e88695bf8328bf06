//! The kernel heap.
/// The state of the heap, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapStats {
    /// Bytes in live objects, rounded up to their size class.
    pub used: usize,
    /// Bytes of memory taken from the frame allocator.
    pub reserved: usize,
}
/// The state of the heap now.
pub fn stats() -> HeapStats { todo!() }
