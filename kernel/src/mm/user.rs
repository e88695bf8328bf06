//! User memory as handlers see it: typed access through the pointers of a call's signature.

use keel_abi::args::{UserPtr, UserStr};
use keel_hal::user::{self, CStrEnd};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::prelude::*;

/// Longest path that a call takes, its NUL included (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;

/// Typed access to what a [`UserPtr`] points to. All give EFAULT where memory is not accessible.
pub trait UserAccess<T> {
    /// Reads one value.
    fn read(self) -> Result<T>
    where
        T: FromBytes;
    /// Writes one value.
    fn write(self, value: &T) -> Result<()>
    where
        T: IntoBytes + Immutable;
    /// Writes one value unless the pointer is null.
    fn write_if_given(self, value: &T) -> Result<()>
    where
        T: IntoBytes + Immutable;
    /// Reads one value unless the pointer is null.
    fn read_if_given(self) -> Result<Option<T>>
    where
        T: FromBytes;
    /// Reads `count` values; ENOMEM when there is no memory for them.
    fn read_array(self, count: usize) -> Result<Vec<T>>
    where
        T: FromBytes;
    /// Writes all values, one behind the other.
    fn write_array(self, values: &[T]) -> Result<()>
    where
        T: IntoBytes + Immutable;
}

impl<T> UserAccess<T> for UserPtr<T> {
    fn read(self) -> Result<T>
    where
        T: FromBytes,
    {
        user::read_obj(self.addr() as usize).map_err(|_| Errno::EFAULT)
    }

    fn write(self, value: &T) -> Result<()>
    where
        T: IntoBytes + Immutable,
    {
        user::write_obj(self.addr() as usize, value).map_err(|_| Errno::EFAULT)
    }

    fn write_if_given(self, value: &T) -> Result<()>
    where
        T: IntoBytes + Immutable,
    {
        if self.is_null() {
            Ok(())
        } else {
            self.write(value)
        }
    }

    fn read_if_given(self) -> Result<Option<T>>
    where
        T: FromBytes,
    {
        if self.is_null() {
            Ok(None)
        } else {
            self.read().map(Some)
        }
    }

    fn read_array(self, count: usize) -> Result<Vec<T>>
    where
        T: FromBytes,
    {
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        user::read_objs(self.addr() as usize, count, &mut values).map_err(|_| Errno::EFAULT)?;
        Ok(values)
    }

    fn write_array(self, values: &[T]) -> Result<()>
    where
        T: IntoBytes + Immutable,
    {
        user::write(self.addr() as usize, values.as_bytes()).map_err(|_| Errno::EFAULT)
    }
}

/// Reads of NUL-terminated strings.
pub trait UserStrAccess {
    /// A path without its NUL: EFAULT, ENAMETOOLONG. May be empty.
    fn read_path(self) -> Result<Vec<u8>>;
    /// A string of at most `max` bytes without its NUL; `too_long` when it has no NUL within them.
    fn read_string(self, max: usize, too_long: Errno) -> Result<Vec<u8>>;
}

impl UserStrAccess for UserStr {
    fn read_path(self) -> Result<Vec<u8>> {
        self.read_string(PATH_MAX - 1, Errno::ENAMETOOLONG)
    }

    fn read_string(self, max: usize, too_long: Errno) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match user::read_cstr(self.addr() as usize, max + 1, &mut out) {
            Ok(CStrEnd::Found) => Ok(out),
            Ok(CStrEnd::TooLong) => Err(too_long),
            Err(_) => Err(Errno::EFAULT),
        }
    }
}

/// Copies user bytes `addr..addr+len` into a new vector: EFAULT, ENOMEM.
pub fn read_bytes(addr: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    user::read(addr as usize, &mut bytes).map_err(|_| Errno::EFAULT)?;
    Ok(bytes)
}

/// Writes bytes to user memory: EFAULT.
pub fn write_bytes(addr: u64, bytes: &[u8]) -> Result<()> {
    user::write(addr as usize, bytes).map_err(|_| Errno::EFAULT)
}
