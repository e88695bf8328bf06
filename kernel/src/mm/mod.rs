//! Memory as user programs see it: address spaces, VMAs, page faults, user-memory access.
//!
//! * [`AddressSpace`]: one process's memory (`mm_struct`): its VMAs and its page table.
//! * [`Vma`]: one mapped range with one set of attributes; [`VmaMap`] keeps them ordered.
//! * [`VmObject`]: what a mapping shows: an inode's page cache, shared anonymous memory, special pages.
//! * [`MmapRegistry`]: the reverse map of a `VmObject`, for truncation and write-back.
//!
//! Lock order: inode `rwsem` → [`AddressSpace`] lock → page lock → file-system locks → spin locks. A page
//! fault holds the address-space lock shared, so `VmObject::fault` never takes an inode's `rwsem`.

mod address_space;
mod anon;
pub mod commit;
mod fault;
pub mod huge;
pub mod hugetlb;
mod object;
pub mod oom;
mod ops;
pub mod policy;
mod remote;
pub mod user;
pub mod userfault;
mod vma;

pub use address_space::{AddressSpace, MmLimits, MmStats};
pub use anon::AnonObject;
pub use fault::{Access, FaultOutcome};
pub use object::{MmapRegistry, SpecialPages, VmFault, VmObject};
pub use oom::{OOM_KILLS, alloc_user_frame};
pub use ops::{MAX_MAP_COUNT, MapRequest, user_range};
pub use policy::MemPolicy;
pub use vma::{Backing, VmFlags, VmaInfo};

/// The highest user address plus one (`TASK_SIZE_MAX`).
pub use keel_hal::addr::TASK_SIZE_MAX;

/// The lowest address that an unprivileged program may map (`vm.mmap_min_addr`).
pub const MMAP_MIN_ADDR: usize = 65536;

/// `addr` rounded up to a page boundary; `None` on overflow.
pub fn page_up(addr: usize) -> Option<usize> {
    Some(addr.checked_add(PAGE_SIZE - 1)? & !(PAGE_SIZE - 1))
}

/// `addr` rounded down to a page boundary.
pub fn page_down(addr: usize) -> usize {
    addr & !(PAGE_SIZE - 1)
}

use keel_hal::addr::PAGE_SIZE;
