//! The table against an independent list of the x86_64 calls, and against its own rules.

use keel_abi::table::{self, FAMILIES, NR_SYSCALLS, SYSCALLS, Status};
use syscalls::x86_64::Sysno;

#[test]
fn numbers_and_names_are_linuxes() {
    for nr in 0..=Sysno::last().id() as usize {
        let theirs = Sysno::new(nr).map(|sysno| sysno.name());
        let ours = table::lookup(nr as u64).map(|row| row.name);
        assert_eq!(ours, theirs, "number {nr}");
    }
    assert_eq!(NR_SYSCALLS, Sysno::last().id() as usize + 1);
}

#[test]
fn lookup_knows_only_assigned_numbers() {
    for nr in (0..NR_SYSCALLS as u64 + 10).chain([u64::MAX, 1 << 32, 0x4000_0000]) {
        let row = table::lookup(nr);
        assert_eq!(
            row.is_some(),
            SYSCALLS.iter().any(|r| u64::from(r.nr) == nr),
            "{nr}"
        );
        assert!(row.is_none_or(|r| u64::from(r.nr) == nr));
    }
    assert_eq!(
        table::by_name("openat").map(|r| r.nr),
        Some(table::nr::OPENAT)
    );
}

#[test]
fn partial_rows_say_what_is_missing() {
    for row in &SYSCALLS {
        assert!(
            row.status != Status::Partial || !row.note.is_empty(),
            "{} has no note",
            row.name
        );
        assert!(FAMILIES.contains(&row.family));
        assert!(row.args.len() <= 6);
    }
}

mod macro_rows {
    //! What dispatch sees: every type resolves, and each row arrives with its number.

    use keel_abi::args::{FromReg, IntoReg};
    use keel_abi::for_each_implemented_syscall;
    #[allow(unused_imports, reason = "which types are named depends on the table")]
    use keel_abi::prelude::*;

    #[allow(dead_code, reason = "only called for rows with arguments")]
    const fn is_argument<T: FromReg>() {}
    #[allow(dead_code, reason = "only called if any row is implemented")]
    const fn is_result<T: IntoReg>() {}

    macro_rules! rows {
        ($(($nr:literal, $name:ident, ($($arg:ident: $ty:ty),*) -> $ret:ty),)*) => {
            pub const ROWS: &[(u32, &str, usize)] = &[$((
                $nr,
                stringify!($name),
                { is_result::<$ret>(); [$({ is_argument::<$ty>(); stringify!($arg) }),*] as [&str; _] }.len(),
            ),)*];
        };
    }

    for_each_implemented_syscall!(rows);
}

#[test]
fn the_macro_lists_what_is_implemented() {
    let implemented: Vec<_> = SYSCALLS
        .iter()
        .filter(|row| row.status != Status::Absent)
        .map(|row| (row.nr, row.name, row.args.len()))
        .collect();
    assert_eq!(macro_rows::ROWS, implemented);
}
