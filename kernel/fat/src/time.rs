//! Times of directory entries: local time without a zone, taken as UTC, from 1980 to 2107.

/// Seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Time {
    /// Seconds.
    pub sec: i64,
    /// 0 to 999,999,999.
    pub nsec: u32,
}

const DAY: i64 = 86400;

/// Days from 1970-01-01 to a date; years are counted from March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

impl Time {
    /// From an entry's date and time words, and the hundredths of seconds that creation has beside.
    pub(crate) fn from_words(date: u16, time: u16, hundredths: u8) -> Self {
        let (date, time) = (i64::from(date), i64::from(time));
        let month = (date >> 5 & 15).clamp(1, 12);
        let day = (date & 31).max(1);
        let seconds = (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2;
        let more = i64::from(hundredths);
        Self {
            sec: days(1980 + (date >> 9), month, day) * DAY + seconds + more / 100,
            nsec: (more % 100) as u32 * 10_000_000,
        }
    }

    /// Date, time and hundredths.
    pub(crate) fn words(self) -> (u16, u16, u8) {
        let (first, last) = (days(1980, 1, 1) * DAY, days(2108, 1, 1) * DAY - 1);
        let sec = self.sec.clamp(first, last);
        let (year, month, day) = date(sec.div_euclid(DAY));
        let rest = sec.rem_euclid(DAY);
        let date = (year - 1980) << 9 | month << 5 | day;
        let time = (rest / 3600) << 11 | (rest / 60 % 60) << 5 | (rest % 60 / 2);
        let hundredths = (rest % 2) * 100 + i64::from(self.nsec / 10_000_000);
        (date as u16, time as u16, hundredths as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        for sec in [315_532_800, 1_000_000_000, 1_709_210_096, 4_102_444_798] {
            let time = Time { sec, nsec: 0 };
            let (date, word, hundredths) = time.words();
            assert_eq!(Time::from_words(date, word, hundredths), time);
        }
        // 2024-02-29 12:34:56
        let (date, time, _) = Time {
            sec: 1_709_210_096,
            nsec: 0,
        }
        .words();
        assert_eq!(
            (date, time),
            (44 << 9 | 2 << 5 | 29, 12 << 11 | 34 << 5 | 28)
        );
    }
}
