//! Counting and printing outcomes.

use std::fmt;

/// How many checks came out how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Checks that held.
    pub passed: usize,
    /// Checks that did not.
    pub failed: usize,
    /// Checks that were not made, for a stated reason.
    pub skipped: usize,
    /// Checks among the passed that held only when they were made a second time.
    pub second_try: usize,
}

impl Tally {
    /// Adds another tally.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.second_try += other.second_try;
    }

    /// Counts and prints a check: `Ok` passed, `Err` failed with the reason.
    pub fn check(&mut self, name: &str, outcome: Result<f64, String>) {
        match outcome {
            Ok(seconds) => {
                self.passed += 1;
                outln!("ok    {name} ({seconds:.1} s)");
            }
            Err(why) => {
                self.failed += 1;
                outln!("FAIL  {name}: {}", why.replace('\n', "\n      "));
            }
        }
    }

    /// Prints that a check failed and is made once more: on a busy machine anything with a time limit may fail.
    pub fn will_retry(&mut self, name: &str, why: &str) {
        outln!("again {name}: {}", why.replace('\n', "\n      "));
    }

    /// Counts and prints the outcome of a second try.
    pub fn check_again(&mut self, name: &str, outcome: Result<f64, String>) {
        self.second_try += usize::from(outcome.is_ok());
        self.check(name, outcome);
    }

    /// Counts and prints a check that is not made.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        outln!("skip  {name}: {why}");
    }

    /// Takes in the summary lines of cargo test; returns whether there were any.
    pub fn add_cargo_test(&mut self, output: &str) -> bool {
        let mut any = false;
        for line in output.lines() {
            let Some(rest) = line.strip_prefix("test result: ") else {
                continue;
            };
            any = true;
            for part in rest.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let (Some(count), Some(what)) = (words.next(), words.next()) else {
                    continue;
                };
                let Ok(count) = count.parse::<usize>() else {
                    continue;
                };
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.skipped += count,
                    _ => {}
                }
            }
        }
        any
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(out, ", {} skipped", self.skipped)?;
        }
        if self.second_try > 0 {
            write!(out, ", {} of the passed at the second try", self.second_try)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_tests_lines_are_summed() {
        let mut tally = Tally::default();
        let text = "test a ... ok\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                    test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n";
        assert!(tally.add_cargo_test(text));
        assert_eq!(
            tally,
            Tally {
                passed: 5,
                failed: 1,
                skipped: 1,
                second_try: 0,
            }
        );
        assert_eq!(tally.to_string(), "5 passed, 1 failed, 1 skipped");
        assert!(!tally.add_cargo_test("nothing"));
    }
}
