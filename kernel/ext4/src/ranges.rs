//! Sets of block ranges, as maps from a range's start to its length; no two overlap.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Ranges of a sorted map `start → length` that overlap `from..to`.
fn overlaps(map: &BTreeMap<u32, u32>, from: u32, to: u64) -> Vec<(u32, u32)> {
    let start = map.range(..=from).next_back().map_or(from, |(&s, _)| s);
    map.range(start..)
        .take_while(|&(&s, _)| u64::from(s) < to)
        .filter(|&(&s, &n)| u64::from(s) + u64::from(n) > u64::from(from))
        .map(|(&s, &n)| (s, n))
        .collect()
}

/// Takes `from..to` out of a map of ranges; returns how many blocks were in it.
pub(crate) fn subtract(map: &mut BTreeMap<u32, u32>, from: u32, to: u64) -> u32 {
    let mut gone = 0;
    for (s, n) in overlaps(map, from, to) {
        map.remove(&s);
        let end = u64::from(s) + u64::from(n);
        if s < from {
            map.insert(s, from - s);
        }
        if end > to {
            map.insert(to as u32, (end - to) as u32);
        }
        gone += (end.min(to) - u64::from(s.max(from))) as u32;
    }
    gone
}

/// The first range of a map that reaches into `from..to`.
pub(crate) fn first_in<V>(
    map: &BTreeMap<u32, V>,
    len: impl Fn(&V) -> u32,
    from: u32,
    to: u64,
) -> Option<(u32, u32)> {
    let before = map
        .range(..=from)
        .next_back()
        .filter(|&(&s, v)| from - s < len(v));
    let (&s, v) = before.or_else(|| map.range(from..).next())?;
    (u64::from(s) < to).then(|| (s, len(v)))
}

/// Adds a range that overlaps none, joined with its neighbours.
pub(crate) fn add(map: &mut BTreeMap<u32, u32>, from: u32, len: u32) {
    let (mut start, mut n) = (from, len);
    if let Some((&s, &l)) = map.range(..from).next_back()
        && s + l == from
    {
        start = s;
        n += l;
    }
    if let Some(l) = from.checked_add(len).and_then(|e| map.remove(&e)) {
        n += l;
    }
    map.insert(start, n);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let mut m = BTreeMap::new();
        add(&mut m, 10, 5);
        add(&mut m, 15, 5);
        add(&mut m, 5, 5);
        assert_eq!(m.iter().collect::<Vec<_>>(), [(&5, &15)]);
        assert_eq!(subtract(&mut m, 8, 12), 4);
        assert_eq!(m.iter().collect::<Vec<_>>(), [(&5, &3), (&12, &8)]);
        assert_eq!(subtract(&mut m, 0, 1 << 32), 11);
        assert!(m.is_empty());
    }
}
