//! The system-call layer of the cases, and the only place of this crate with `unsafe`.
//!
//! [`sc!`](crate::sc) makes one raw system call, without the C library in between, and answers a [`Ret`]
//! that cases assert on. Nothing here checks what it passes on: the point of a case is what the kernel
//! does with it. That is acceptable because every case runs in a process of its own, so what a wrong
//! pointer damages is the case that passed it.
#![allow(unsafe_code)]

mod errno;
mod mem;
pub mod nr;
mod process;
mod sig;

pub use errno::errno_name;
pub use mem::*;
pub use process::*;
pub use sig::*;

use std::ffi::{CStr, CString};

/// A value that can be put in a system call's argument register.
pub trait Arg {
    /// The register's content.
    fn raw(&self) -> usize;
}

macro_rules! int_arg {
    ($($t:ty)*) => { $(impl Arg for $t { fn raw(&self) -> usize { *self as isize as usize } })* };
}
int_arg!(i32 i64 isize u32 u64 usize u16 u8);

impl Arg for CStr {
    fn raw(&self) -> usize {
        self.as_ptr().expose_provenance()
    }
}
impl Arg for CString {
    fn raw(&self) -> usize {
        self.as_ptr().expose_provenance()
    }
}
impl<T> Arg for *const T {
    fn raw(&self) -> usize {
        (*self).expose_provenance()
    }
}
impl<T> Arg for *mut T {
    fn raw(&self) -> usize {
        (*self).expose_provenance()
    }
}
impl<T> Arg for [T] {
    fn raw(&self) -> usize {
        self.as_ptr().expose_provenance()
    }
}
impl<T, const N: usize> Arg for [T; N] {
    fn raw(&self) -> usize {
        self.as_ptr().expose_provenance()
    }
}
impl<T> Arg for Vec<T> {
    fn raw(&self) -> usize {
        self.as_ptr().expose_provenance()
    }
}
impl<A: Arg + ?Sized> Arg for &A {
    fn raw(&self) -> usize {
        (**self).raw()
    }
}
impl<A: Arg + ?Sized> Arg for &mut A {
    fn raw(&self) -> usize {
        (**self).raw()
    }
}

/// What a system call answered: the raw register, with the call's name for messages.
#[must_use = "a case has to say what it expects of the answer"]
#[derive(Clone, Copy)]
pub struct Ret {
    name: &'static str,
    raw: isize,
}

impl Ret {
    /// The error number, 0 when the call succeeded.
    pub fn errno(self) -> i32 {
        if (-4095..0).contains(&self.raw) {
            -self.raw as i32
        } else {
            0
        }
    }

    /// The register as it is: a value, or an error number negated.
    pub fn value(self) -> isize {
        self.raw
    }

    /// Did the call succeed?
    pub fn success(self) -> bool {
        self.errno() == 0
    }

    fn describe(self) -> String {
        match self.errno() {
            0 => format!("{:#x} ({})", self.raw, self.raw),
            e => errno_name(e),
        }
    }

    /// Asserts success and answers the value.
    #[track_caller]
    pub fn ok(self) -> i64 {
        assert!(
            self.success(),
            "{}: expected success, got {}",
            self.name,
            self.describe()
        );
        self.raw as i64
    }

    /// Asserts success and answers the value as a descriptor, pid or other `int`.
    #[track_caller]
    pub fn fd(self) -> i32 {
        self.ok() as i32
    }

    /// Asserts success and answers the value as an address or length.
    #[track_caller]
    pub fn addr(self) -> usize {
        self.ok() as usize
    }

    /// Asserts success with exactly `want`.
    #[track_caller]
    pub fn is(self, want: i64) {
        assert!(
            self.success() && self.raw as i64 == want,
            "{}: expected {want}, got {}",
            self.name,
            self.describe()
        );
    }

    /// Asserts failure with exactly the error `want`.
    #[track_caller]
    pub fn err(self, want: i32) {
        assert!(
            self.errno() == want,
            "{}: expected {}, got {}",
            self.name,
            errno_name(want),
            self.describe()
        );
    }

    /// Asserts failure with one of `wants` (where the manual leaves the choice to the file system).
    #[track_caller]
    pub fn err_any(self, wants: &[i32]) {
        let names: Vec<String> = wants.iter().map(|&e| errno_name(e)).collect();
        assert!(
            wants.contains(&self.errno()),
            "{}: expected {}, got {}",
            self.name,
            names.join(" or "),
            self.describe()
        );
    }

    /// Skips the case when the call failed with one of `errors`, saying so; else passes the answer on.
    pub fn skip_on(self, errors: &[i32]) -> Ret {
        if errors.contains(&self.errno()) {
            crate::harness::skip(&format!("{}: {}", self.name, errno_name(self.errno())));
        }
        self
    }
}

/// Makes the system call `nr` with raw arguments. Prefer the [`sc!`](crate::sc) macro.
pub fn raw(name: &'static str, nr: i64, a: [usize; 6]) -> Ret {
    let raw: isize;
    // SAFETY: the `syscall` instruction clobbers rcx and r11 only, as declared. What the call does to this
    // process's memory is the caller's business by the contract of this module.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") nr as isize => raw,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
        );
    }
    Ret { name, raw }
}

/// One raw system call by name: `sc!(openat, libc::AT_FDCWD, c"f", libc::O_RDONLY)`.
///
/// Integers, C strings, slices and raw pointers are taken as they are; structures by `&raw const x` or
/// `&raw mut x`. Missing arguments are zero.
#[macro_export]
macro_rules! sc {
    ($name:ident $(, $arg:expr)* $(,)?) => {
        // One expression, so that temporaries among the arguments live until the call has returned.
        $crate::sys::raw(
            stringify!($name),
            $crate::sys::nr::$name,
            $crate::sys::registers(&[$($crate::sys::Arg::raw(&$arg)),*]),
        )
    };
}

/// Argument registers holding `args`, the rest zero.
pub fn registers(args: &[usize]) -> [usize; 6] {
    let mut regs = [0; 6];
    for (reg, arg) in regs.iter_mut().zip(args) {
        *reg = *arg;
    }
    regs
}

/// A system call by number, for numbers that have no name.
pub fn by_number(nr: i64) -> Ret {
    raw("syscall", nr, [0; 6])
}

/// A C string from `text`; an inner NUL ends it.
pub fn cstr(text: impl AsRef<str>) -> CString {
    let bytes: Vec<u8> = text.as_ref().bytes().take_while(|&b| b != 0).collect();
    CString::new(bytes).unwrap_or_default()
}
