//! Finding the calls of a program that matter: delta debugging over its steps.
//!
//! A kernel that crashes takes the fuzzer with it, so the test is an outside command, which boots a machine
//! and runs `keel-fuzz --seed S --keep STEPS` in it; it fails as long as the crash is still there.

/// The smallest set of steps that `still_fails` accepts, by removing halves, quarters, … single steps.
pub fn shrink(steps: usize, mut still_fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..steps).collect();
    let mut chunk = kept.len().div_ceil(2);
    while chunk >= 1 && kept.len() > 1 {
        let mut at = 0;
        let mut progress = false;
        while at < kept.len() {
            let end = (at + chunk).min(kept.len());
            let candidate: Vec<usize> = [&kept[..at], &kept[end..]].concat();
            if !candidate.is_empty() && still_fails(&candidate) {
                kept = candidate;
                progress = true;
            } else {
                at = end;
            }
        }
        if chunk == 1 && !progress {
            break;
        }
        chunk = (chunk / 2).max(1);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn finds_the_two_steps_that_matter() {
        let mut runs = 0;
        let got = shrink(100, |keep| {
            runs += 1;
            keep.contains(&17) && keep.contains(&80)
        });
        assert_eq!(got, [17, 80]);
        assert!(runs < 100, "{runs} runs");
    }

    #[test]
    fn a_failure_that_needs_everything_keeps_everything() {
        assert_eq!(shrink(8, |keep| keep.len() == 8).len(), 8);
    }
}
