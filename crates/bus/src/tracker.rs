//! Which offsets of one partition are done: out-of-order completion, in-order commit. No I/O, no clock.
//!
//! Bounded by its caller: [`Tracker::in_flight`] counts what has been taken in and not completed, and intake pauses on it.

use std::collections::VecDeque;

/// The state of one assignment of one partition.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// Offsets taken in, ascending, from the lowest incomplete one; gaps (compaction, transactions) do not appear.
    window: VecDeque<(i64, bool)>,
    in_flight: usize,
    /// One past the highest offset ever taken in, once there was one.
    end: Option<i64>,
}

impl Tracker {
    /// Takes an offset in. False if it is not above all earlier ones: a duplicate fetch, to be skipped.
    pub(crate) fn begin(&mut self, offset: i64) -> bool {
        if self.end.is_some_and(|end| offset < end) {
            return false;
        }
        self.window.push_back((offset, false));
        self.end = Some(offset + 1);
        self.in_flight += 1;
        true
    }

    /// Marks an offset done. False if it is not in flight (already done, or never taken in).
    pub(crate) fn complete(&mut self, offset: i64) -> bool {
        let Ok(at) = self.window.binary_search_by_key(&offset, |(o, _)| *o) else { return false };
        if std::mem::replace(&mut self.window[at].1, true) {
            return false;
        }
        self.in_flight -= 1;
        while self.window.front().is_some_and(|(_, done)| *done) {
            self.window.pop_front();
        }
        true
    }

    /// Leaves an offset to the partition's next reader: it is not in flight any more, and never done.
    pub(crate) fn hand_back(&mut self, offset: i64) -> bool {
        let is_open = self.window.binary_search_by_key(&offset, |(o, _)| *o).is_ok_and(|at| !self.window[at].1);
        if is_open {
            self.in_flight -= 1;
        }
        is_open
    }

    /// What may be committed: the lowest incomplete offset, or one past the last when all are done. `None` at first.
    pub(crate) fn committable(&self) -> Option<i64> {
        self.window.front().map(|(offset, _)| *offset).or(self.end)
    }

    /// Taken in and not done.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// From the lowest incomplete offset to the highest taken in, done ones included: what has to be remembered.
    pub(crate) fn span(&self) -> usize {
        self.window.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn commits_only_below_the_lowest_incomplete() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.committable(), None);
        for offset in [10, 11, 15] {
            assert!(tracker.begin(offset));
        }
        assert!(!tracker.begin(11));
        assert!(tracker.complete(11));
        assert_eq!(tracker.committable(), Some(10));
        assert!(tracker.complete(10));
        assert_eq!(tracker.committable(), Some(15));
        assert!(tracker.complete(15));
        assert!(!tracker.complete(15));
        assert_eq!((tracker.committable(), tracker.in_flight()), (Some(16), 0));
    }

    proptest! {
        /// Against a set: whatever the order of completions and the gaps, what is committed has nothing incomplete below
        /// it, never goes back, and ends one past the last.
        #[test]
        fn agrees_with_a_set(gaps in prop::collection::vec(1i64..4, 1..60), order in any::<u64>()) {
            let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut tracker = Tracker::default();
            let mut open: BTreeSet<i64> = BTreeSet::new();
            let mut waiting = offsets.clone();
            let (mut seed, mut last) = (order, i64::MIN);
            while !waiting.is_empty() || !open.is_empty() {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let pick = (seed >> 33) as usize;
                if !waiting.is_empty() && (open.is_empty() || pick.is_multiple_of(2)) {
                    let next = waiting.remove(0);
                    prop_assert!(tracker.begin(next));
                    open.insert(next);
                } else {
                    let done = *open.iter().nth(pick / 2 % open.len()).expect("not empty");
                    open.remove(&done);
                    prop_assert!(tracker.complete(done));
                }
                let committable = tracker.committable().expect("something was taken in");
                prop_assert_eq!(tracker.in_flight(), open.len());
                prop_assert!(open.first().is_none_or(|lowest| committable == *lowest));
                prop_assert!(committable >= last);
                last = committable;
            }
            prop_assert_eq!(tracker.committable(), offsets.last().map(|o| o + 1));
        }
    }
}
