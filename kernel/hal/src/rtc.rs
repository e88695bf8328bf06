//! The battery-backed clock (MC146818), kept in UTC.
//!
//! Reading waits for no update to be in progress and takes two equal readings. The century register
//! is not used: years are 1970 to 2069.

use core::hint::spin_loop;

use x86_64::instructions::port::Port;

use crate::sync::IrqLock;

const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATING: u8 = 0x80;
const BINARY: u8 = 4;
const HOURS_24: u8 = 2;
const HALT: u8 = 0x80;
/// Registers of second, minute, hour, day, month, year.
const FIELDS: [u8; 6] = [0, 2, 4, 7, 8, 9];

/// The index and data ports belong together.
static LOCK: IrqLock<()> = IrqLock::new(());

fn read(register: u8) -> u8 {
    // SAFETY: the PC's CMOS ports; bit 7 of the index keeps NMIs off, as the firmware left them on
    // it stays 0.
    unsafe {
        Port::<u8>::new(0x70).write(register);
        Port::<u8>::new(0x71).read()
    }
}

fn write(register: u8, value: u8) {
    // SAFETY: as for reading; only time registers and status B are written.
    unsafe {
        Port::<u8>::new(0x70).write(register);
        Port::<u8>::new(0x71).write(value);
    }
}

fn read_fields() -> [u8; 6] {
    // An update takes at most 2 ms; a missing clock reads as 0xff forever.
    for _ in 0..100_000 {
        if read(STATUS_A) & UPDATING == 0 {
            break;
        }
        spin_loop();
    }
    FIELDS.map(read)
}

fn from_bcd(value: u8) -> u8 {
    (value >> 4) * 10 + (value & 0xf)
}

fn to_bcd(value: u8) -> u8 {
    ((value / 10) << 4) | (value % 10)
}

/// Seconds since 1970 (UTC).
pub fn now() -> i64 {
    let _guard = LOCK.lock();
    let mut fields = read_fields();
    for _ in 0..10 {
        let again = read_fields();
        if again == fields {
            break;
        }
        fields = again;
    }
    let status = read(STATUS_B);
    let afternoon = status & HOURS_24 == 0 && fields[2] & 0x80 != 0;
    fields[2] &= 0x7f;
    if status & BINARY == 0 {
        fields = fields.map(from_bcd);
    }
    let [second, minute, mut hour, day, month, year] = fields.map(i64::from);
    if status & HOURS_24 == 0 {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
}

/// Sets the clock. Years outside 1970 to 2069 are not kept.
pub fn set(seconds: i64) {
    let (year, month, day) = civil_from_days(seconds.div_euclid(86400));
    let rest = seconds.rem_euclid(86400);
    let fields = [
        rest % 60,
        rest / 60 % 60,
        rest / 3600,
        day,
        month,
        year.rem_euclid(100),
    ];
    let _guard = LOCK.lock();
    let status = read(STATUS_B);
    write(STATUS_B, status | HALT | HOURS_24);
    for (register, value) in FIELDS.into_iter().zip(fields) {
        let value = value as u8;
        write(
            register,
            if status & BINARY == 0 {
                to_bcd(value)
            } else {
                value
            },
        );
    }
    write(STATUS_B, status & !HALT | HOURS_24);
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that
/// the leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let doe = days.rem_euclid(146_097);
    let year_of_era = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let day_of_year = doe - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
