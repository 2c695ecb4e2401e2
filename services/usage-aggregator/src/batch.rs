//! What one file will cover, and when it is cut: pure, told the time.
//!
//! A file covers every offset from where the last one ended up to the last record taken, whether the record became a
//! row or not. It is cut when a record has another date, in either direction (append time can step back), when it is
//! full, when its first record has waited long enough, and on demand.

use crate::name::date_of;
use chrono::NaiveDate;
use std::time::{Duration, Instant};

/// When a batch is full or due.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows, of both tables.
    pub rows: usize,
    /// Time since the first record was taken.
    pub after: Duration,
    /// Bytes of record values, to bound memory.
    pub bytes: usize,
}

/// The largest batch by bytes of record values; all partitions' together.
pub const BATCH_MAX_BYTES: usize = 64 << 20;
/// The most rows of `usage_superseded` in a batch: they ride in the usage file's footer.
pub const SUPERSEDED_MAX_ROWS: u64 = 1000;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A row of `usage`.
    Row,
    /// A row of `usage_superseded`.
    Superseded,
    /// A redelivery: dropped.
    Duplicate,
    /// Not a usage row: dead-lettered.
    Malformed,
}

/// What a cut batch covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// First offset covered.
    pub first_offset: i64,
    /// Offset of the first record taken, which names the file.
    pub name_offset: i64,
    /// Last offset covered.
    pub last_offset: i64,
    /// Date of the records' append times, UTC.
    pub date: NaiveDate,
    /// Smallest append time.
    pub first_append_ms: i64,
    /// Greatest append time.
    pub last_append_ms: i64,
    /// Rows of `usage`.
    pub rows: u64,
    /// Rows of `usage_superseded`.
    pub superseded: u64,
    /// Redeliveries dropped.
    pub duplicates: u64,
    /// Records dead-lettered.
    pub malformed: u64,
}

/// A batch being filled.
#[derive(Debug)]
pub struct Batch {
    first_offset: i64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    covered: Covered,
    bytes: usize,
    since: Instant,
}

impl Batch {
    /// An empty batch that begins at `offset`.
    pub fn at(offset: i64) -> Self {
        Self { first_offset: offset, open: None }
    }

    /// The lowest offset not taken yet.
    pub fn position(&self) -> i64 {
        self.open.as_ref().map_or(self.first_offset, |o| o.covered.last_offset + 1)
    }

    /// Must the batch be cut before a record of this append time is taken?
    pub fn has_other_date(&self, append_ms: i64) -> bool {
        self.open.as_ref().is_some_and(|o| o.covered.date != date_of(append_ms))
    }

    /// Takes the record at `offset`, which is not below [`Self::position`] and has the batch's date.
    pub fn take(&mut self, offset: i64, append_ms: i64, bytes: usize, outcome: Outcome, now: Instant) {
        let first_offset = self.first_offset;
        let open = self.open.get_or_insert_with(|| Open {
            covered: Covered {
                first_offset,
                name_offset: offset,
                last_offset: offset,
                date: date_of(append_ms),
                first_append_ms: append_ms,
                last_append_ms: append_ms,
                rows: 0,
                superseded: 0,
                duplicates: 0,
                malformed: 0,
            },
            bytes: 0,
            since: now,
        });
        let covered = &mut open.covered;
        open.bytes += bytes;
        covered.last_offset = offset;
        covered.first_append_ms = covered.first_append_ms.min(append_ms);
        covered.last_append_ms = covered.last_append_ms.max(append_ms);
        match outcome {
            Outcome::Row => covered.rows += 1,
            Outcome::Superseded => covered.superseded += 1,
            Outcome::Duplicate => covered.duplicates += 1,
            Outcome::Malformed => covered.malformed += 1,
        }
    }

    /// Full, or waited long enough?
    pub fn is_due(&self, limits: &Limits, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|o| {
            o.covered.rows + o.covered.superseded >= limits.rows as u64
                || o.covered.superseded >= SUPERSEDED_MAX_ROWS
                || o.bytes >= limits.bytes
                || now.saturating_duration_since(o.since) >= limits.after
        })
    }

    /// When it will have waited long enough; `None`: nothing waits.
    pub fn due_at(&self, limits: &Limits) -> Option<Instant> {
        self.open.as_ref().map(|o| o.since + limits.after)
    }

    /// The oldest append time that waits, for the lag.
    pub fn oldest_append_ms(&self) -> Option<i64> {
        self.open.as_ref().map(|o| o.covered.first_append_ms)
    }

    /// Ends the batch and begins the next one behind it; `None` if nothing was taken.
    pub fn cut(&mut self) -> Option<Covered> {
        let position = self.position();
        let covered = self.open.take()?.covered;
        self.first_offset = position;
        Some(covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::DAY_MS;

    const HOUR_MS: i64 = 3_600_000;
    const LIMITS: Limits = Limits { rows: 3, after: Duration::from_secs(60), bytes: 1000 };

    #[test]
    fn covers_gaps_and_is_named_by_its_first_record() {
        let (mut batch, now) = (Batch::at(10), Instant::now());
        assert_eq!(batch.cut(), None);
        batch.take(12, DAY_MS, 1, Outcome::Duplicate, now);
        batch.take(15, DAY_MS + 5, 1, Outcome::Row, now);
        let covered = batch.cut().unwrap();
        assert_eq!((covered.first_offset, covered.name_offset, covered.last_offset), (10, 12, 15));
        assert_eq!((covered.rows, covered.duplicates), (1, 1));
        assert_eq!(batch.position(), 16);
        batch.take(16, DAY_MS, 1, Outcome::Malformed, now);
        assert_eq!(batch.cut().unwrap().first_offset, 16);
    }

    #[test]
    fn another_date_in_either_direction_needs_a_cut() {
        let (mut batch, now) = (Batch::at(0), Instant::now());
        assert!(!batch.has_other_date(DAY_MS));
        batch.take(0, DAY_MS, 1, Outcome::Row, now);
        assert!(!batch.has_other_date(DAY_MS + 23 * HOUR_MS));
        assert!(batch.has_other_date(DAY_MS + 24 * HOUR_MS));
        assert!(batch.has_other_date(DAY_MS - 1));
    }

    #[test]
    fn is_due_by_rows_bytes_and_age() {
        let (mut batch, now) = (Batch::at(0), Instant::now());
        assert!(!batch.is_due(&LIMITS, now + Duration::from_secs(999)), "nothing waits");
        batch.take(0, DAY_MS, 1, Outcome::Malformed, now);
        assert!(!batch.is_due(&LIMITS, now + Duration::from_secs(59)));
        assert!(batch.is_due(&LIMITS, now + Duration::from_secs(60)));
        assert_eq!(batch.due_at(&LIMITS), Some(now + Duration::from_secs(60)));
        batch.take(1, DAY_MS, 999, Outcome::Row, now);
        assert!(batch.is_due(&LIMITS, now));
        batch.cut();
        (0..3).for_each(|n| batch.take(2 + n, DAY_MS, 1, Outcome::Row, now));
        assert!(batch.is_due(&LIMITS, now));
    }
}
