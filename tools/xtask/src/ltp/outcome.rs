//! From a test's exit status and output to its class.
//!
//! LTP's exit status is a sum of 1 (TFAIL), 2 (TBROK), 4 (TWARN) and 32 (TCONF). Tests print a line with TPASS, TFAIL …
//! for each thing they checked, those of the newer library a summary too. Programs of the Open POSIX Test Suite only
//! exit: 0 pass, 1 fail, 2 unresolved, 4 unsupported, 5 untested.

use crate::guest::{FailureKind, JobResult, Outcome};

/// What a test comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Everything it checked holds.
    Pass,
    /// Exit status 0 without having counted anything.
    Ok0,
    /// It does not apply here.
    Conf,
    /// Something it checked does not hold.
    Fail,
    /// It could not do its work.
    Broken,
    /// It did not end in time.
    Timeout,
    /// The whole guest stopped answering.
    Hang,
    /// The kernel panicked, or the guest ended.
    Crash,
    /// It was not run.
    Skipped,
}

impl Class {
    /// All of them, the good ones first.
    pub const ALL: [Self; 9] = [
        Self::Pass,
        Self::Ok0,
        Self::Conf,
        Self::Fail,
        Self::Broken,
        Self::Timeout,
        Self::Hang,
        Self::Crash,
        Self::Skipped,
    ];

    /// As tables have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Ok0 => "ok0",
            Self::Conf => "conf",
            Self::Fail => "fail",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Hang => "hang",
            Self::Crash => "crash",
            Self::Skipped => "skipped",
        }
    }

    /// From a table.
    pub fn from_word(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|class| class.word() == word)
            .unwrap_or(Self::Skipped)
    }

    /// Whether nothing is wrong.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Pass | Self::Ok0 | Self::Conf)
    }

    /// Whether it ran and found nothing wrong.
    pub fn is_proof(self) -> bool {
        matches!(self, Self::Pass | Self::Ok0)
    }

    /// Of a test's rounds, the one that counts: one good round shows that it can pass.
    pub fn best(self, other: Self) -> Self {
        let rank = |class: Self| Self::ALL.iter().position(|other| *other == class);
        if rank(other) < rank(self) {
            other
        } else {
            self
        }
    }
}

/// What a test counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Checks that hold.
    pub pass: u32,
    /// Checks that do not.
    pub fail: u32,
    /// Parts that could not be done.
    pub brok: u32,
    /// Parts that do not apply.
    pub conf: u32,
}

impl Counts {
    /// From what the test printed: its summary, or else its lines.
    pub fn of(output: &str) -> Self {
        let mut lines = Self::default();
        let mut summary: Option<Self> = None;
        for line in output.lines() {
            if line.trim() == "Summary:" {
                summary.get_or_insert_default();
                continue;
            }
            if let Some(sums) = &mut summary
                && let Some((what, number)) = line.split_once(' ')
                && let Ok(number) = number.trim().parse::<u32>()
            {
                match what {
                    "passed" => sums.pass += number,
                    "failed" => sums.fail += number,
                    "broken" => sums.brok += number,
                    "skipped" => sums.conf += number,
                    _ => {}
                }
                continue;
            }
            let place = match verdict(line) {
                Some("TPASS") => &mut lines.pass,
                Some("TFAIL") => &mut lines.fail,
                Some("TBROK") => &mut lines.brok,
                Some("TCONF") => &mut lines.conf,
                _ => continue,
            };
            *place += 1;
        }
        summary
            .filter(|sums| *sums != Self::default())
            .unwrap_or(lines)
    }
}

/// The verdict of a result line: `file.c:7: TPASS: …` or `name 1 TPASS : …`.
fn verdict(line: &str) -> Option<&'static str> {
    ["TPASS", "TFAIL", "TBROK", "TCONF"]
        .into_iter()
        .find(|word| {
            line.split_once(word).is_some_and(|(before, after)| {
                before.ends_with(|last: char| last.is_whitespace() || last == 'm')
                    && after
                        .trim_start_matches("\u{1b}[0m")
                        .trim_start()
                        .starts_with(':')
            })
        })
}

/// A test's class, and in a few words why it is no better.
pub fn judge(result: &JobResult, output: &str, counts: Counts, posix: bool) -> (Class, String) {
    match &result.outcome {
        Outcome::NotStarted(why) => (Class::Skipped, why.clone()),
        Outcome::GuestFailed(failure) => match &failure.kind {
            FailureKind::Hang(_) => (Class::Hang, last_word(output)),
            FailureKind::Panic(message) => (Class::Crash, message.clone()),
            FailureKind::Quit(how) => (Class::Crash, format!("the guest ended: {how}")),
        },
        Outcome::Ended(end) if end.timed_out => (Class::Timeout, last_word(output)),
        Outcome::Ended(end) => {
            let class = if posix {
                by_posix_status(end.shell_status())
            } else {
                by_status(end.shell_status(), counts)
            };
            let note = match class {
                Class::Pass | Class::Ok0 => String::new(),
                Class::Conf => first_line(output, &["TCONF"]).unwrap_or_default(),
                _ => reason(output, end.shell_status()),
            };
            (class, note)
        }
    }
}

fn by_status(status: i32, counts: Counts) -> Class {
    match status {
        0 if counts.pass > 0 => Class::Pass,
        0 if counts.conf > 0 => Class::Conf,
        0 => Class::Ok0,
        32 => Class::Conf,
        _ if status < 64 && status & 1 != 0 => Class::Fail,
        _ => Class::Broken,
    }
}

fn by_posix_status(status: i32) -> Class {
    match status {
        0 => Class::Pass,
        1 => Class::Fail,
        4 | 5 => Class::Conf,
        _ => Class::Broken,
    }
}

/// The first complaint in the output, or how the test ended.
fn reason(output: &str, status: i32) -> String {
    match first_line(output, &["TFAIL", "TBROK", "TWARN"]) {
        Some(line) => line,
        None if status > 128 => format!("killed by signal {}", status - 128),
        None => format!("exit status {status}; {}", last_word(output)),
    }
}

/// The first line with the first of these words that is there.
fn first_line(output: &str, words: &[&str]) -> Option<String> {
    words
        .iter()
        .find_map(|word| output.lines().find(|line| line.contains(word)))
        .map(tidy)
}

/// The last line with text.
fn last_word(output: &str) -> String {
    let last = output.lines().rev().find(|line| !line.trim().is_empty());
    last.map(tidy).unwrap_or_default()
}

/// A line without colours and tabs, not too long.
fn tidy(line: &str) -> String {
    let mut plain = String::new();
    let mut escape = false;
    for character in line.trim().chars() {
        match character {
            '\u{1b}' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            '\t' => plain.push(' '),
            _ if character.is_control() => {}
            _ => plain.push(character),
        }
    }
    plain.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_before_the_lines() {
        let new = "a.c:1: \u{1b}[1;32mTPASS: \u{1b}[0mx\nSummary:\npassed   12\nfailed   0\nbroken   1\nskipped  2\nwarnings 0\n";
        assert_eq!(
            Counts::of(new),
            Counts {
                pass: 12,
                fail: 0,
                brok: 1,
                conf: 2
            }
        );
        let old = "abort01     1  TPASS  :  ok\nabort01     2  TFAIL  :  no\nTPASSION\n";
        assert_eq!(
            Counts::of(old),
            Counts {
                pass: 1,
                fail: 1,
                brok: 0,
                conf: 0
            }
        );
    }

    #[test]
    fn statuses_are_sums() {
        let some = Counts {
            pass: 1,
            ..Counts::default()
        };
        assert_eq!(by_status(0, some), Class::Pass);
        assert_eq!(by_status(0, Counts::default()), Class::Ok0);
        assert_eq!(by_status(3, some), Class::Fail);
        assert_eq!(by_status(2, some), Class::Broken);
        assert_eq!(by_status(32, Counts::default()), Class::Conf);
        assert_eq!(by_status(139, some), Class::Broken);
        assert_eq!(by_posix_status(5), Class::Conf);
    }

    #[test]
    fn the_best_round_counts() {
        assert_eq!(Class::Crash.best(Class::Pass), Class::Pass);
        assert_eq!(Class::Pass.best(Class::Fail), Class::Pass);
        assert_eq!(Class::from_word(Class::Hang.word()), Class::Hang);
    }

    #[test]
    fn notes_are_plain() {
        assert_eq!(
            reason(
                "a.c:9: \u{1b}[1;31mTFAIL: \u{1b}[0mopen() failed: EPERM (1)\n",
                1
            ),
            "a.c:9: TFAIL: open() failed: EPERM (1)"
        );
        assert_eq!(reason("", 139), "killed by signal 11");
    }
}
