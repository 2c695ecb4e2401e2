//! A sliding window of sub-buckets: in any window of the limit's length, wherever it begins, no more than the limit is taken.
//!
//! A window of length W is cut into [`BUCKETS`] buckets; a bucket counts until all of it is older than W. What was taken can so count
//! up to W / 50 longer than it must: the price (2 %) of a bound without exceptions in a bounded space. Positions are absolute (time
//! divided by a bucket's width), so that stores, replicas and snapshots agree on them.
//!
//! Clocks that step back find buckets of the future. They count as long as they could be true, at most one window ahead; what
//! is further ahead was a mistake and is dropped.

use std::collections::VecDeque;

/// Buckets of a window.
pub(crate) const BUCKETS: i64 = 50;

/// What one meter took, by bucket, in order. At most 2 × [`BUCKETS`] + 2 entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Window {
    buckets: VecDeque<(i64, u64)>,
}

/// The bucket of an instant.
pub(crate) fn bucket(at_ms: i64, window_ms: i64) -> i64 {
    at_ms.div_euclid(width(window_ms))
}

fn width(window_ms: i64) -> i64 {
    (window_ms / BUCKETS).max(1)
}

/// Buckets that count at `now_ms`: from the one that holds the window's first instant to what a clock that stepped back could have left.
pub(crate) fn counted(now_ms: i64, window_ms: i64) -> std::ops::RangeInclusive<i64> {
    bucket(now_ms - window_ms, window_ms)..=bucket(now_ms, window_ms) + BUCKETS
}

impl Window {
    /// Forgets what no longer counts.
    pub(crate) fn trim(&mut self, now_ms: i64, window_ms: i64) {
        let counted = counted(now_ms, window_ms);
        while self.buckets.front().is_some_and(|(at, _)| at < counted.start()) {
            self.buckets.pop_front();
        }
        while self.buckets.back().is_some_and(|(at, _)| at > counted.end()) {
            self.buckets.pop_back();
        }
    }

    /// What counts, once trimmed.
    pub(crate) fn used(&self) -> u64 {
        self.buckets.iter().map(|(_, amount)| amount).sum()
    }

    /// Whether nothing counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Takes so much.
    pub(crate) fn add(&mut self, bucket: i64, amount: u64) {
        if amount == 0 {
            return;
        }
        let at = self.buckets.partition_point(|(at, _)| *at < bucket);
        match self.buckets.get_mut(at) {
            Some((found, sum)) if *found == bucket => *sum += amount,
            _ => self.buckets.insert(at, (bucket, amount)),
        }
    }

    /// Gives so much back to the bucket it was taken from, if that still counts.
    pub(crate) fn give_back(&mut self, bucket: i64, amount: u64) {
        let Ok(at) = self.buckets.binary_search_by_key(&bucket, |(at, _)| *at) else { return };
        self.buckets[at].1 = self.buckets[at].1.saturating_sub(amount);
        if self.buckets[at].1 == 0 {
            self.buckets.remove(at);
        }
    }

    /// Milliseconds until `amount` fits if nothing else is taken: 0 if it does now, `None` if it never will. Trimmed before.
    pub(crate) fn wait_ms(&self, amount: u64, limit: u64, now_ms: i64, window_ms: i64) -> Option<u64> {
        if amount > limit {
            return None;
        }
        let mut used = self.used();
        let mut wait = 0;
        for (at, taken) in &self.buckets {
            if used + amount <= limit {
                break;
            }
            used -= taken;
            wait = left_ms(*at, now_ms, window_ms);
        }
        Some(wait)
    }

    /// Milliseconds until all of it is free again.
    pub(crate) fn reset_ms(&self, now_ms: i64, window_ms: i64) -> u64 {
        self.buckets.back().map_or(0, |(at, _)| left_ms(*at, now_ms, window_ms))
    }

    /// Every bucket.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        self.buckets.iter().copied()
    }
}

/// Milliseconds until a bucket no longer counts.
fn left_ms(bucket: i64, now_ms: i64, window_ms: i64) -> u64 {
    let end_ms = (bucket + 1) * width(window_ms) + window_ms;
    u64::try_from(end_ms - now_ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOWS: [i64; 4] = [1_000, 60_000, 3_600_000, 86_400_000];

    proptest! {
        #[test]
        fn no_window_wherever_it_begins_holds_more_than_the_limit(
            window in 0usize..4, limit in 1u64..30, steps in prop::collection::vec((0.0f64..0.3, 1u64..6), 1..300),
        ) {
            let window_ms = WINDOWS[window];
            let (mut meter, mut now, mut taken) = (Window::default(), 1_700_000_000_000i64, Vec::<(i64, u64)>::new());
            for (step, amount) in steps {
                now += (step * step * window_ms as f64) as i64;
                meter.trim(now, window_ms);
                prop_assert!(meter.buckets.len() as i64 <= 2 * BUCKETS + 2);
                let wait = meter.wait_ms(amount, limit, now, window_ms);
                prop_assert_eq!(wait.is_none(), amount > limit);
                if wait == Some(0) {
                    meter.add(bucket(now, window_ms), amount);
                    taken.push((now, amount));
                    // Every window that ends at an admission; any other holds no more than one of these.
                    let held: u64 = taken.iter().filter(|(at, _)| *at >= now - window_ms).map(|(_, n)| n).sum();
                    prop_assert!(held <= limit, "{held} of {limit}");
                }
            }
        }

        #[test]
        fn a_retry_at_the_time_told_fits_and_not_a_bucket_earlier(
            window in 0usize..4, limit in 1u64..30, amount in 1u64..30, taken in prop::collection::vec((0.0f64..1.2, 1u64..9), 0..40),
        ) {
            let (window_ms, now) = (WINDOWS[window], 1_700_000_000_321i64);
            let mut meter = Window::default();
            for (ago, amount) in taken {
                meter.add(bucket(now - (ago * window_ms as f64) as i64, window_ms), amount);
            }
            meter.trim(now, window_ms);
            if let Some(wait) = meter.wait_ms(amount, limit, now, window_ms) {
                let at = |ms: i64| {
                    let mut later = meter.clone();
                    later.trim(ms, window_ms);
                    later.used() + amount <= limit
                };
                prop_assert!(at(now + wait as i64));
                prop_assert!(wait == 0 || !at(now + wait as i64 - 1), "a retry a millisecond earlier would do");
            }
            let mut later = meter.clone();
            later.trim(now + meter.reset_ms(now, window_ms) as i64, window_ms);
            prop_assert!(later.is_empty());
        }
    }

    #[test]
    fn what_comes_back_goes_to_the_bucket_it_was_taken_from() {
        let mut meter = Window::default();
        meter.add(7, 10);
        meter.add(9, 5);
        meter.give_back(7, 4);
        meter.give_back(8, 100);
        assert_eq!(meter.buckets().collect::<Vec<_>>(), [(7, 6), (9, 5)]);
        meter.give_back(9, 100);
        assert_eq!(meter.used(), 6);
    }

    #[test]
    fn a_clock_that_stepped_back_does_not_shut_the_door_for_longer_than_a_window() {
        let (window_ms, now) = (60_000, 1_700_000_000_000);
        let mut meter = Window::default();
        meter.add(bucket(now + 10 * window_ms, window_ms), 100);
        meter.add(bucket(now + window_ms / 2, window_ms), 1);
        meter.trim(now, window_ms);
        assert_eq!(meter.used(), 1);
    }
}
