//! Which keys memory has forgotten: Bloom filters, so that a new key is not taken for one of them more often than now and
//! then. Pure: no I/O, no clock.
//!
//! A filter takes in what is forgotten for the time that a key may matter; then the next one does, and the first goes once
//! nothing in it has mattered for as long again, because partitions are not read in step. A filter that is filled beyond its
//! size errs more often, always towards a look-up.

use super::table::Digest;
use std::collections::VecDeque;

/// Bits of a filter for each key that the table holds: 8 MiB for [`super::table::KEYS_MAX`] keys, in which 7 million forgotten
/// ones make one new key in a hundred look like one of them.
const BITS_A_KEY: usize = 320;
/// Bits that a key sets; the best number for ten bits a forgotten key.
const BITS_SET: u64 = 7;
/// One that is filled, one whose keys still matter, and one whose keys matter to a partition that lags.
const FILTERS_MAX: usize = 3;

struct Filter {
    words: Vec<u64>,
    /// When the first key came in.
    begun_ms: i64,
    /// The latest that a window of its keys can have begun.
    latest_ms: i64,
}

impl Filter {
    /// Word and mask of each of the key's bits. A digest is a piece of a SHA-256, so its halves are two hashes.
    fn places(&self, digest: &Digest) -> impl Iterator<Item = (usize, u64)> + use<> {
        let half = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&digest[from..from + 8]);
            u64::from_le_bytes(bytes)
        };
        let (first, step, bits) = (half(0), half(8) | 1, self.words.len() as u64 * 64);
        (0..BITS_SET).map(move |n| {
            let bit = first.wrapping_add(n.wrapping_mul(step)) % bits;
            (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
        })
    }

    fn add(&mut self, digest: &Digest, youngest_ms: i64) {
        for (word, mask) in self.places(digest) {
            self.words[word] |= mask;
        }
        self.latest_ms = self.latest_ms.max(youngest_ms);
    }

    fn may_hold(&self, digest: &Digest) -> bool {
        self.places(digest).all(|(word, mask)| self.words[word] & mask != 0)
    }
}

/// The keys that were forgotten while they still mattered.
pub(super) struct Forgotten {
    /// How long after the beginning of its window a key matters.
    reach_ms: i64,
    words: usize,
    filters: VecDeque<Filter>,
}

impl Forgotten {
    /// For a table of at most `keys`. Takes memory only once something is forgotten.
    pub(super) fn new(reach_ms: i64, keys: usize) -> Self {
        Self { reach_ms, words: (keys * BITS_A_KEY).div_ceil(64).max(1), filters: VecDeque::new() }
    }

    /// Takes in a key whose window began at `youngest_ms` at the latest.
    pub(super) fn add(&mut self, digest: &Digest, youngest_ms: i64, now_ms: i64) {
        let reach_ms = self.reach_ms;
        while self.filters.front().is_some_and(|oldest| oldest.latest_ms.saturating_add(2 * reach_ms) < now_ms) {
            self.filters.pop_front();
        }
        let is_over = self.filters.back().is_none_or(|filled| filled.begun_ms.saturating_add(reach_ms) < now_ms);
        if is_over && self.filters.len() < FILTERS_MAX {
            let words = vec![0; self.words];
            self.filters.push_back(Filter { words, begun_ms: now_ms, latest_ms: youngest_ms });
        }
        if let Some(filled) = self.filters.back_mut() {
            filled.add(digest, youngest_ms);
        }
    }

    /// Whether a key that comes at `now_ms` may have been forgotten. False is certain.
    pub(super) fn may_hold(&self, digest: &Digest, now_ms: i64) -> bool {
        let matters = |filter: &&Filter| now_ms <= filter.latest_ms.saturating_add(self.reach_ms);
        self.filters.iter().filter(matters).any(|filter| filter.may_hold(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REACH_MS: i64 = 1_000;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the times, and however full: what was forgotten is known for as long as it matters, in bounded memory.
        #[test]
        fn nothing_that_matters_is_lost(steps in prop::collection::vec((any::<Digest>(), 0..400i64, -300..300i64), 1..200)) {
            let (mut forgotten, mut now_ms, mut all) = (Forgotten::new(REACH_MS, 1), 10_000, Vec::new());
            for (digest, wait_ms, off_ms) in steps {
                now_ms += wait_ms;
                let youngest_ms = now_ms + off_ms;
                forgotten.add(&digest, youngest_ms, now_ms);
                all.push((digest, youngest_ms));
                for (digest, youngest_ms) in &all {
                    prop_assert!(now_ms > youngest_ms + REACH_MS || forgotten.may_hold(digest, now_ms));
                }
                prop_assert!(forgotten.filters.len() <= FILTERS_MAX);
            }
        }
    }

    #[test]
    fn what_no_longer_matters_goes() {
        let mut forgotten = Forgotten::new(REACH_MS, 1);
        forgotten.add(&[1; 16], 0, 0);
        assert!(forgotten.may_hold(&[1; 16], REACH_MS) && !forgotten.may_hold(&[1; 16], REACH_MS + 1));
        forgotten.add(&[2; 16], 5 * REACH_MS, 5 * REACH_MS);
        assert_eq!(forgotten.filters.len(), 1);
        assert!(forgotten.may_hold(&[2; 16], 5 * REACH_MS));
    }
}
