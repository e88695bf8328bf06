//! The macro that every structure is made by.

/// Structures with their C names and headers.
///
/// `struct Stat = "struct stat", "asm/stat.h" { st_dev: u64, … }`. A field may name its C counterpart where it
/// differs (`tv: Timespec = "inner.tv"`), or `""` if it is newer than the oldest headers the test runs with.
/// A structure without a header is part of the ABI but in no header.
macro_rules! uapi {
    ($(
        $(#[$attr:meta])*
        struct $name:ident = $c:literal, $header:literal {
            $($(#[$doc:meta])* $field:ident: $ty:ty $(= $cfield:literal)?,)*
        }
    )*) => {
        $(
            $(#[$attr])*
            #[derive(Copy, Clone, Debug)]
            #[derive(
                ::zerocopy::FromBytes,
                ::zerocopy::IntoBytes,
                ::zerocopy::KnownLayout,
                ::zerocopy::Immutable,
            )]
            #[repr(C)]
            #[allow(missing_docs, reason = "the man page and header describe the fields")]
            pub struct $name {
                $($(#[$doc])* pub $field: $ty,)*
            }

            impl Default for $name {
                fn default() -> Self {
                    ::zerocopy::FromZeros::new_zeroed()
                }
            }
        )*

        #[cfg(test)]
        pub(super) const LAYOUTS: &[super::layout_tests::Layout] = &[$(
            super::layout_tests::Layout {
                c_name: $c,
                header: $header,
                size: size_of::<$name>(),
                align: align_of::<$name>(),
                fields: &[$(
                    (
                        stringify!($field),
                        &[$($cfield)?],
                        ::core::mem::offset_of!($name, $field),
                        super::layout_tests::size_of_field(|s: &$name| s.$field),
                    ),
                )*],
            },
        )*];
    };
}
