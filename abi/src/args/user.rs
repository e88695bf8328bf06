//! Addresses in user space. There is no way to reach memory from here: the kernel adds that by traits of its own.

use super::{FromReg, IntoReg};
use core::fmt;
use core::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An address in user space, or a value that the kernel only compares and hands back.
#[derive(
    Copy,
    Clone,
    Default,
    Eq,
    PartialEq,
    Ord,
    PartialOrd,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
#[repr(transparent)]
pub struct UserAddr(pub u64);

/// A pointer to a `T` (or the first of several) in user space.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct UserPtr<T> {
    addr: u64,
    pointee: PhantomData<fn() -> T>,
}

/// A pointer to a NUL-terminated string in user space.
#[derive(
    Copy,
    Clone,
    Default,
    Eq,
    PartialEq,
    Ord,
    PartialOrd,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
#[repr(transparent)]
pub struct UserStr(pub u64);

impl UserAddr {
    /// The null address.
    pub const NULL: UserAddr = UserAddr(0);

    /// The address as a number.
    pub const fn addr(self) -> u64 {
        self.0
    }

    /// Whether the address is zero.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// A typed pointer to the same place.
    pub const fn cast<T>(self) -> UserPtr<T> {
        UserPtr::new(self.0)
    }

    /// The address `bytes` further on; `None` past the end of the number space.
    pub const fn checked_add(self, bytes: u64) -> Option<UserAddr> {
        match self.0.checked_add(bytes) {
            Some(addr) => Some(UserAddr(addr)),
            None => None,
        }
    }
}

impl<T> UserPtr<T> {
    /// A pointer to an address. Nothing is checked until the kernel copies.
    pub const fn new(addr: u64) -> UserPtr<T> {
        UserPtr {
            addr,
            pointee: PhantomData,
        }
    }

    /// The null pointer.
    pub const fn null() -> UserPtr<T> {
        UserPtr::new(0)
    }

    /// The address as a number.
    pub const fn addr(self) -> u64 {
        self.addr
    }

    /// The address without the type.
    pub const fn user_addr(self) -> UserAddr {
        UserAddr(self.addr)
    }

    /// Whether the pointer is null.
    pub const fn is_null(self) -> bool {
        self.addr == 0
    }

    /// `None` for null: how optional out-parameters read best.
    pub const fn non_null(self) -> Option<UserPtr<T>> {
        if self.addr == 0 { None } else { Some(self) }
    }

    /// The same address with another type behind it.
    pub const fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.addr)
    }

    /// The pointer `count` items further on. Wraps as C's arithmetic does: the copy finds out.
    pub const fn add(self, count: usize) -> UserPtr<T> {
        UserPtr::new(
            self.addr
                .wrapping_add((count as u64).wrapping_mul(size_of::<T>() as u64)),
        )
    }

    /// The pointer `bytes` bytes further on, wrapping.
    pub const fn byte_add(self, bytes: u64) -> UserPtr<T> {
        UserPtr::new(self.addr.wrapping_add(bytes))
    }
}

// By hand, since a derive would ask the same of `T`.
impl<T> Copy for UserPtr<T> {}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Default for UserPtr<T> {
    fn default() -> Self {
        UserPtr::null()
    }
}

impl<T> PartialEq for UserPtr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr
    }
}

impl<T> Eq for UserPtr<T> {}

impl<T> core::hash::Hash for UserPtr<T> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.addr.hash(state);
    }
}

impl UserStr {
    /// A string at an address.
    pub const fn new(addr: u64) -> UserStr {
        UserStr(addr)
    }

    /// The address as a number.
    pub const fn addr(self) -> u64 {
        self.0
    }

    /// Whether the pointer is null.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The bytes behind it.
    pub const fn bytes(self) -> UserPtr<u8> {
        UserPtr::new(self.0)
    }
}

impl FromReg for UserAddr {
    fn from_reg(raw: u64) -> Self {
        UserAddr(raw)
    }
}

impl<T> FromReg for UserPtr<T> {
    fn from_reg(raw: u64) -> Self {
        UserPtr::new(raw)
    }
}

impl FromReg for UserStr {
    fn from_reg(raw: u64) -> Self {
        UserStr(raw)
    }
}

impl IntoReg for UserAddr {
    fn into_reg(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.addr)
    }
}

impl fmt::Debug for UserStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
