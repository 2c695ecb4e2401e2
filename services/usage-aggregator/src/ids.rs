//! The request ids of the last hours, in memory: has this request a row already, and is this the same execution?
//!
//! Bounded by a window and by a count, whichever is tighter; about 40 bytes an id. What is older is asked of the files
//! ([`crate::lookup`]), and [`Ids::is_old`] says when that is needed. A request's rows all lie on one partition, because
//! the request id is their key, so each partition has its own `Ids`.
//!
//! Whether an id is older than memory is told by the time inside the id, which another clock wrote than the append time. So
//! the line is drawn in the middle of what memory reaches back: clocks may differ by half of that, an hour by default.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};
use tollgate_schemas::{ExecutionId, RequestId};

/// Ids and windows are dropped in this many steps.
const GENERATIONS: usize = 8;
/// Clocks differ by this much at least, however short memory is.
const CLOCK_SKEW_MS: i64 = 30_000;
/// An id further ahead of its record's append time than this says nothing about when it was made.
const AHEAD_MAX_MS: i64 = 3_600_000;

type Key = [u8; 16];
/// The random half of an execution id; two executions of one request that share it do not happen.
type Execution = [u8; 8];

/// How much is kept in memory of one partition.
#[derive(Debug, Clone, Copy)]
pub struct IdLimits {
    /// How far back.
    pub window: Duration,
    /// At most so many ids.
    pub ids: usize,
    /// Bytes for what is known of files, by which older ids are looked up.
    pub filter_bytes: usize,
}

/// How far back ids are in memory.
pub const WINDOW: Duration = Duration::from_secs(2 * 3600);
/// Ids in memory, of all partitions: 80 MB.
pub const IDS_MAX: usize = 2_000_000;
/// Memory for files' filters, of all partitions: those of about 500 full files.
pub const FILTERS_MAX_BYTES: usize = 64 << 20;

impl Default for IdLimits {
    /// Of a topic with one partition.
    fn default() -> Self {
        Self { window: WINDOW, ids: IDS_MAX, filter_bytes: FILTERS_MAX_BYTES }
    }
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// No row of it.
    New,
    /// This execution's row is in one of the tables: a redelivery.
    Same,
    /// Another execution's row came first.
    Other,
}

#[derive(Debug, Default)]
struct Generation {
    first: HashMap<Key, Execution>,
    again: HashSet<(Key, Execution)>,
    begin_ms: i64,
    last_ms: i64,
}

/// The ids of one partition.
#[derive(Debug)]
pub struct Ids {
    limits: IdLimits,
    generations: VecDeque<Generation>,
    count: usize,
    /// Records appended at or before this time may be missing here; `None`: nothing is missing.
    missing_to_ms: Option<i64>,
}

/// Does the id claim to have been made after the record that bears it was appended? Its time is then worth nothing.
pub fn is_ahead(request: RequestId, append_ms: i64) -> bool {
    request.unix_ms() > append_ms.saturating_add(AHEAD_MAX_MS)
}

fn key(id: RequestId) -> Key {
    *id.0.as_bytes()
}

fn execution(id: ExecutionId) -> Execution {
    id.0.as_u64_pair().1.to_be_bytes()
}

impl Ids {
    /// No ids. `missing_to_ms`: the table holds rows appended up to this time that will not be inserted here.
    pub fn new(limits: IdLimits, missing_to_ms: Option<i64>) -> Self {
        Self { limits, generations: VecDeque::new(), count: 0, missing_to_ms }
    }

    /// What memory knows of this row.
    pub fn seen(&self, request: RequestId, by: ExecutionId) -> Seen {
        let (request, by) = (key(request), execution(by));
        let Some(first) = self.generations.iter().rev().find_map(|g| g.first.get(&request)) else { return Seen::New };
        let again = || self.generations.iter().any(|g| g.again.contains(&(request, by)));
        if *first == by || again() { Seen::Same } else { Seen::Other }
    }

    /// Might the table hold a row of this request, whose record was appended at `append_ms`, that memory does not?
    pub fn is_old(&self, request: RequestId, append_ms: i64) -> bool {
        let Some(missing_to_ms) = self.missing_to_ms else { return false };
        let reach_ms = append_ms.saturating_sub(missing_to_ms).max(0);
        let made_by_ms = missing_to_ms.saturating_add((reach_ms / 2).max(CLOCK_SKEW_MS));
        (request.unix_ms() <= made_by_ms || is_ahead(request, append_ms))
            && !self.generations.iter().any(|g| g.first.contains_key(&key(request)))
    }

    /// Notes the first row of a request. `append_ms`: the record's append time.
    pub fn insert(&mut self, request: RequestId, by: ExecutionId, append_ms: i64) {
        let newest = self.newest(append_ms);
        if newest.first.insert(key(request), execution(by)).is_none() {
            self.count += 1;
        }
    }

    /// Notes a later execution's row.
    pub fn insert_again(&mut self, request: RequestId, by: ExecutionId, append_ms: i64) {
        if self.newest(append_ms).again.insert((key(request), execution(by))) {
            self.count += 1;
        }
    }

    fn newest(&mut self, append_ms: i64) -> &mut Generation {
        let step_ms = i64::try_from(self.limits.window.as_millis()).unwrap_or(i64::MAX) / GENERATIONS as i64;
        let step_ids = (self.limits.ids / GENERATIONS).max(1);
        let full = |g: &Generation| {
            g.first.len() + g.again.len() >= step_ids || append_ms.saturating_sub(g.begin_ms) > step_ms
        };
        if self.generations.back().is_none_or(full) {
            self.generations.push_back(Generation { begin_ms: append_ms, last_ms: append_ms, ..Generation::default() });
        }
        // One is there: it was just made if not.
        let last = self.generations.len() - 1;
        let newest = &mut self.generations[last];
        newest.last_ms = newest.last_ms.max(append_ms);
        newest
    }

    /// Forgets what is beyond the limits. All that was inserted must be in the table, or on its way there before the next
    /// look-up: an id that neither memory nor a file knows would be taken for new. So memory holds a batch more than the limits.
    pub fn evict(&mut self) {
        let window_ms = i64::try_from(self.limits.window.as_millis()).unwrap_or(i64::MAX);
        while self.generations.len() > 1 {
            let (Some(oldest), Some(newest)) = (self.generations.front(), self.generations.back()) else { return };
            let too_old = oldest.last_ms < newest.last_ms.saturating_sub(window_ms);
            if !too_old && self.count <= self.limits.ids {
                return;
            }
            self.count -= oldest.first.len() + oldest.again.len();
            self.missing_to_ms = self.missing_to_ms.max(Some(oldest.last_ms));
            self.generations.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAY_MS, execution, id_at};

    #[test]
    fn tells_redeliveries_from_other_executions() {
        let mut ids = Ids::new(IdLimits::default(), None);
        let id = id_at(1, DAY_MS);
        assert_eq!(ids.seen(id, execution(1)), Seen::New);
        ids.insert(id, execution(1), DAY_MS);
        assert_eq!(ids.seen(id, execution(1)), Seen::Same);
        assert_eq!(ids.seen(id, execution(2)), Seen::Other);
        ids.insert_again(id, execution(2), DAY_MS);
        assert_eq!(ids.seen(id, execution(2)), Seen::Same);
        assert_eq!(ids.seen(id, execution(3)), Seen::Other);
    }

    #[test]
    fn is_bounded_and_says_what_it_has_forgotten() {
        let mut ids = Ids::new(IdLimits { window: Duration::from_secs(3600), ids: 800, ..IdLimits::default() }, None);
        for n in 0..5000_i64 {
            ids.insert(id_at(n as u64, DAY_MS + n * 100), execution(n as u64), DAY_MS + n * 100);
            ids.evict();
            assert!(ids.count <= 800);
        }
        let at = |n: i64| id_at(n as u64, DAY_MS + n * 100);
        assert_eq!(ids.seen(at(4999), execution(4999)), Seen::Same);
        let now_ms = DAY_MS + 500_000;
        assert!(!ids.is_old(at(4999), now_ms), "known");
        assert!(!ids.is_old(id_at(9999, now_ms), now_ms), "new");
        assert!(ids.is_old(at(0), now_ms), "forgotten");
        for n in 0..5000 {
            assert!(ids.is_old(at(n), now_ms) || ids.seen(at(n), execution(n as u64)) == Seen::Same, "{n}");
        }
    }

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let mut ids = Ids::new(IdLimits { window: Duration::from_secs(80), ids: 1000, ..IdLimits::default() }, None);
        ids.insert(id_at(1, DAY_MS), execution(1), DAY_MS);
        ids.insert(id_at(2, DAY_MS + 60_000), execution(2), DAY_MS + 60_000);
        assert_eq!(ids.seen(id_at(1, DAY_MS), execution(1)), Seen::Same);
        ids.insert(id_at(3, DAY_MS + 120_000), execution(3), DAY_MS + 120_000);
        assert_eq!(ids.seen(id_at(1, DAY_MS), execution(1)), Seen::Same, "its file may not be written yet");
        ids.evict();
        assert!(ids.is_old(id_at(1, DAY_MS), DAY_MS + 120_000));
        assert_eq!(ids.seen(id_at(2, DAY_MS + 60_000), execution(2)), Seen::Same);
    }

    #[test]
    fn ids_of_clocks_that_are_wrong_are_asked_for() {
        let (hour_ms, ids) = (3_600_000, Ids::new(IdLimits::default(), Some(DAY_MS)));
        let now_ms = DAY_MS + 2 * hour_ms;
        assert!(ids.is_old(id_at(1, DAY_MS + hour_ms), now_ms), "made by a clock that is an hour ahead, then recorded");
        assert!(!ids.is_old(id_at(1, DAY_MS + hour_ms + 1), now_ms), "what is made now is not asked for");
        assert!(!ids.is_old(id_at(1, now_ms + hour_ms), now_ms));
        assert!(ids.is_old(id_at(1, now_ms + hour_ms + 1), now_ms), "made in the future: its time says nothing");
        assert!(ids.is_old(RequestId(uuid::Uuid::from_u128(7)), now_ms), "an id without a time");
    }
}
