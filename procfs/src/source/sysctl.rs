//! Values of sysctls as the kernel hands them over. The names are in [`Ctl`].

use alloc::vec::Vec;

pub use crate::sysctl::Ctl;

/// The value of one sysctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CtlValue {
    /// One number or several. `i128` holds all of `int` and `unsigned long`.
    Ints(Vec<i128>),
    /// A line of text without its newline.
    Text(Vec<u8>),
}

impl CtlValue {
    /// One number.
    pub fn int(value: impl Into<i128>) -> Self {
        CtlValue::Ints(alloc::vec![value.into()])
    }

    /// Several numbers.
    pub fn ints(values: &[i64]) -> Self {
        CtlValue::Ints(values.iter().map(|&v| i128::from(v)).collect())
    }

    /// A text.
    pub fn text(text: &[u8]) -> Self {
        CtlValue::Text(text.to_vec())
    }

    /// The first number, as far as it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            CtlValue::Ints(values) => values.first().and_then(|&v| i64::try_from(v).ok()),
            CtlValue::Text(_) => None,
        }
    }

    /// The first number as an unsigned long.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            CtlValue::Ints(values) => values.first().and_then(|&v| u64::try_from(v).ok()),
            CtlValue::Text(_) => None,
        }
    }

    /// The text.
    pub fn as_text(&self) -> Option<&[u8]> {
        match self {
            CtlValue::Ints(_) => None,
            CtlValue::Text(text) => Some(text),
        }
    }
}
