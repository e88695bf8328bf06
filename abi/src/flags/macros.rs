//! The two macros that every flag and number type is made by.

/// A `bitflags` type over an unsigned integer with the names of C constants that share a prefix.
///
/// A name that starts with a digit in C gets an underscore: `MAP_32BIT` is `_32BIT`. Names that stand for
/// several bits come before those bits, so that they are printed in their place. `zero` is how to print the
/// empty value. A type whose printing is special says `manual_trace` and implements `TraceArg` itself.
macro_rules! flag_type {
    (
        $(#[$doc:meta])*
        pub struct $name:ident: $repr:ident, prefix $prefix:literal $(, zero $zero:literal)?
        $(; $manual:ident)? {
            $($flag:ident = $value:literal,)*
        }
    ) => {
        ::bitflags::bitflags! {
            $(#[$doc])*
            #[derive(Copy, Clone, Default, Eq, PartialEq, Hash)]
            pub struct $name: $repr {
                $(#[doc = concat!("`", $prefix, stringify!($flag), "`")] const $flag = $value;)*
            }
        }

        impl $crate::args::FromReg for $name {
            fn from_reg(raw: u64) -> Self {
                Self::from_bits_retain(raw as $repr)
            }
        }

        impl $crate::args::IntoReg for $name {
            fn into_reg(self) -> u64 {
                u64::from(self.bits())
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                $crate::trace::write_plain(self, f)
            }
        }

        flag_type!(@trace $name, $prefix, [$($zero)?], [$($manual)?]);
    };
    (@trace $name:ident, $prefix:literal, [$($zero:literal)?], []) => {
        impl $crate::trace::TraceArg for $name {
            fn trace(
                &self,
                out: &mut dyn ::core::fmt::Write,
                _: &dyn $crate::trace::UserText,
            ) -> ::core::fmt::Result {
                const ZERO: &[&str] = &[$($zero)?];
                $crate::trace::write_flags(self, out, $prefix, ZERO.first().copied())
            }
        }
    };
    (@trace $name:ident, $prefix:literal, [$($zero:literal)?], [manual_trace]) => {};
}

/// An integer with named values, of which others may come: an enum as C has them.
macro_rules! open_enum {
    (
        $(#[$doc:meta])*
        pub struct $name:ident: $repr:ident $(; $manual:ident)? {
            $($item:ident = $value:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
        pub struct $name(pub $repr);

        #[allow(non_upper_case_globals, reason = "AF_DECnet is spelled so")]
        impl $name {
            $(
                #[doc = concat!("`", stringify!($item), "`")]
                pub const $item: $name = $name($value);
            )*

            /// All named values.
            pub const ALL: &'static [$name] = &[$($name::$item),*];

            /// The C name, if the value has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($item)),)*
                    _ => None,
                }
            }
        }

        impl $crate::args::FromReg for $name {
            fn from_reg(raw: u64) -> Self {
                $name(raw as $repr)
            }
        }

        impl $crate::args::IntoReg for $name {
            fn into_reg(self) -> u64 {
                self.0 as u64
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                $crate::trace::write_plain(self, f)
            }
        }

        open_enum!(@trace $name, [$($manual)?]);
    };
    (@trace $name:ident, []) => {
        impl $crate::trace::TraceArg for $name {
            fn trace(
                &self,
                out: &mut dyn ::core::fmt::Write,
                _: &dyn $crate::trace::UserText,
            ) -> ::core::fmt::Result {
                $crate::trace::write_name(self.name(), self.0, out)
            }
        }
    };
    (@trace $name:ident, [manual_trace]) => {};
}

/// Numbers that are used as plain integers.
macro_rules! constants {
    ($repr:ident { $($item:ident = $value:literal,)* }) => {
        $(
            #[doc = concat!("`", stringify!($item), "`")]
            pub const $item: $repr = $value;
        )*
    };
}
