//! One partition's records, folded into files: which table a record goes to, and where a file ends. Pure.
//!
//! The fold is a function of the log: whoever reads the same records after the same files gives every record the same
//! place. The first row of a request wins; a later one of the same execution is a redelivery and is dropped; a later one
//! of another execution is spend that happened, and goes to `usage_superseded`.

use crate::{
    batch::{Batch, Covered, Limits, Outcome},
    columns::Rows,
    ids::{Ids, Seen},
    lookup::Found,
};
use arrow_array::RecordBatch;
use std::time::Instant;
use tollgate_schemas::{RequestId, UsageRow};

/// A record's place in the log.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Its offset.
    pub offset: i64,
    /// Its append time, milliseconds since the Unix epoch.
    pub append_ms: i64,
    /// Size of its value.
    pub bytes: usize,
}

/// What becomes one file of `usage` and, if it has superseded rows, one of `usage_superseded`.
#[derive(Debug)]
pub struct Cut {
    /// What it covers.
    pub covered: Covered,
    /// Rows of `usage`.
    pub usage: RecordBatch,
    /// Rows of `usage_superseded`.
    pub superseded: RecordBatch,
}

/// The state of one partition.
#[derive(Debug)]
pub struct Fold {
    partition: i32,
    batch: Batch,
    ids: Ids,
    usage: Rows,
    superseded: Rows,
}

impl Fold {
    /// Begins at `offset`, knowing `ids`.
    pub fn new(partition: i32, offset: i64, ids: Ids) -> Self {
        Self { partition, batch: Batch::at(offset), ids, usage: Rows::new(), superseded: Rows::new() }
    }

    /// The lowest offset not taken yet. Records below it are already covered and are ignored by [`Self::push`].
    pub fn position(&self) -> i64 {
        self.batch.position()
    }

    /// Must the files be asked about this request before its row is pushed? Answer with [`Self::learn`]. `append_ms`: of
    /// the row's record.
    pub fn is_old(&self, request: RequestId, append_ms: i64) -> bool {
        self.ids.is_old(request, append_ms)
    }

    /// Has the next file no record yet?
    pub fn is_empty(&self) -> bool {
        self.batch.oldest_append_ms().is_none()
    }

    /// Notes what the files know of an old request. `append_ms`: of the record that made us ask.
    pub fn learn(&mut self, request: RequestId, found: &Found, append_ms: i64) {
        if let Some(first) = found.first {
            self.ids.insert(request, first, append_ms);
        }
        for execution in &found.again {
            self.ids.insert_again(request, *execution, append_ms);
        }
    }

    /// The batch, if it has to end before a record of this append time. To be asked before [`Self::is_old`]: a cut forgets ids.
    pub fn cut_before(&mut self, append_ms: i64) -> Option<Cut> {
        if self.batch.has_other_date(append_ms) { self.cut() } else { None }
    }

    /// Takes a record, of which [`Self::cut_before`] has been asked; `row` is `None` if it is malformed.
    pub fn push(&mut self, at: At, row: Option<UsageRow>, now: Instant) {
        if at.offset < self.batch.position() {
            return;
        }
        let outcome = match row {
            None => Outcome::Malformed,
            Some(row) => self.place(row, at),
        };
        self.batch.take(at.offset, at.append_ms, at.bytes, outcome, now);
    }

    fn place(&mut self, row: UsageRow, at: At) -> Outcome {
        let (request, execution) = (row.request_id, row.execution_id);
        match self.ids.seen(request, execution) {
            Seen::Same => Outcome::Duplicate,
            Seen::New => {
                self.ids.insert(request, execution, at.append_ms);
                self.usage.push(row, self.partition, at.offset);
                Outcome::Row
            }
            Seen::Other => {
                self.ids.insert_again(request, execution, at.append_ms);
                self.superseded.push(row, self.partition, at.offset);
                Outcome::Superseded
            }
        }
    }

    /// The batch, if it is full or due.
    pub fn due(&mut self, limits: &Limits, now: Instant) -> Option<Cut> {
        if self.batch.is_due(limits, now) { self.cut() } else { None }
    }

    /// When the batch will be due by its age.
    pub fn due_at(&self, limits: &Limits) -> Option<Instant> {
        self.batch.due_at(limits)
    }

    /// The oldest append time not in a file.
    pub fn oldest_append_ms(&self) -> Option<i64> {
        self.batch.oldest_append_ms()
    }

    /// The batch as it is; `None` if it is empty. It must be in the table before the files are asked about anything.
    pub fn cut(&mut self) -> Option<Cut> {
        let covered = self.batch.cut()?;
        self.ids.evict();
        Some(Cut { covered, usage: self.usage.take(), superseded: self.superseded.take() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{columns::row_ids, ids::IdLimits, testing};
    use proptest::prelude::*;
    use std::{
        collections::{BTreeMap, HashMap, HashSet},
        time::Duration,
    };

    /// A record of the log: (request, execution, malformed, step of append time in half days).
    type Entry = (u64, u64, bool, i64);

    const ROWS: usize = 5;

    fn limits() -> Limits {
        Limits { rows: ROWS, after: Duration::from_secs(60), bytes: 1 << 20 }
    }

    fn log() -> impl Strategy<Value = Vec<(i64, Entry)>> {
        let step = prop_oneof![8 => Just(0_i64), 1 => Just(1), 1 => Just(-1)];
        let entry = (0..8_u64, 0..3_u64, prop::bool::weighted(0.1), step);
        // Gaps of the log: offsets grow by one to three.
        prop::collection::vec((prop_oneof![9 => Just(1_i64), 1 => 2..4_i64], entry), 1..60).prop_map(|entries| {
            let mut offset = -1;
            entries
                .into_iter()
                .map(|(gap, entry)| {
                    offset += gap;
                    (offset, entry)
                })
                .collect()
        })
    }

    /// The table: files by the offset in their name, as put-if-absent keeps them.
    type Table = BTreeMap<i64, Cut>;

    fn resume(table: &Table) -> Fold {
        let limits = IdLimits { window: Duration::from_secs(86_400 * 365), ids: 1000, ..IdLimits::default() };
        let mut ids = Ids::new(limits, None);
        for cut in table.values() {
            for (request, execution) in row_ids(&cut.usage).unwrap() {
                ids.insert(request, execution, cut.covered.last_append_ms);
            }
            for (request, execution) in row_ids(&cut.superseded).unwrap() {
                ids.insert_again(request, execution, cut.covered.last_append_ms);
            }
        }
        let next = table.values().map(|c| c.covered.last_offset + 1).max().unwrap_or(0);
        Fold::new(0, next, ids)
    }

    struct Log(Vec<(i64, Entry)>, Vec<i64>);

    impl Log {
        fn new(entries: Vec<(i64, Entry)>) -> Self {
            let mut half_days = 10;
            let times = entries
                .iter()
                .map(|(_, e)| {
                    half_days += e.3;
                    testing::DAY_MS + half_days * 43_200_000
                })
                .collect();
            Self(entries, times)
        }

        /// Gives a writer its next record; false at the log's end.
        fn feed(&self, fold: &mut Fold, cuts: &mut Vec<Cut>, now: Instant) -> bool {
            let position = fold.position();
            let Some(index) = self.0.iter().position(|(offset, _)| *offset >= position) else { return false };
            let (offset, (request, execution, malformed, _)) = self.0[index];
            let mut row = testing::row(request);
            row.execution_id = testing::execution(execution);
            let at = At { offset, append_ms: self.1[index], bytes: 100 };
            cuts.extend(fold.cut_before(at.append_ms));
            fold.push(at, (!malformed).then_some(row), now);
            cuts.extend(fold.due(&limits(), now));
            true
        }
    }

    proptest! {
        /// Two writers race, crash, flush early and lose, in any order: the tables come out as the log says.
        #[test]
        fn any_run_of_any_writers_gives_the_same_tables(log in log(), steps in prop::collection::vec((0..2_usize, 0..10_u8), 0..120)) {
            let (log, now) = (Log::new(log), Instant::now());
            let mut table = Table::new();
            let mut writers = [resume(&table), resume(&table)];
            let finish = (0..log.0.len() * 2).flat_map(|_| [(0, 9)]).chain([(0, 1)]);
            for (who, action) in steps.into_iter().chain([(0, 0)]).chain(finish) {
                let mut cuts = Vec::new();
                match action {
                    0 => writers[who] = resume(&table),
                    1 => cuts.extend(writers[who].cut()),
                    _ => { log.feed(&mut writers[who], &mut cuts, now); }
                }
                for cut in cuts {
                    let name = cut.covered.name_offset;
                    if let Some(winner) = table.get(&name) {
                        if winner.covered != cut.covered {
                            writers[who] = resume(&table);
                            break;
                        }
                    } else {
                        table.insert(name, cut);
                    }
                }
            }
            // A lost race may have cost the last writer its end; one more, alone, finishes.
            let mut last = resume(&table);
            let mut cuts = Vec::new();
            while log.feed(&mut last, &mut cuts, now) {}
            cuts.extend(last.cut());
            table.extend(cuts.into_iter().map(|c| (c.covered.name_offset, c)));
            check(&log, &table)?;
        }
    }

    fn check(log: &Log, table: &Table) -> Result<(), TestCaseError> {
        let mut next = 0;
        for cut in table.values() {
            prop_assert_eq!(cut.covered.first_offset, next, "ranges are contiguous and disjoint");
            next = cut.covered.last_offset + 1;
            prop_assert!(cut.usage.num_rows() + cut.superseded.num_rows() <= ROWS);
        }
        prop_assert_eq!(next, log.0.last().map_or(0, |(offset, _)| offset + 1), "everything is covered");
        let mut first = HashMap::new();
        let (mut usage, mut superseded, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (_, (request, execution, malformed, _)) in &log.0 {
            let pair = (testing::row(*request).request_id, testing::execution(*execution));
            if *malformed || !seen.insert(pair) {
                continue;
            }
            if first.insert(pair.0, ()).is_none() { usage.push(pair) } else { superseded.push(pair) }
        }
        let all =
            |of: fn(&Cut) -> &RecordBatch| table.values().flat_map(|c| row_ids(of(c)).unwrap()).collect::<Vec<_>>();
        prop_assert_eq!(all(|c| &c.usage), usage, "each request once, its first row");
        prop_assert_eq!(all(|c| &c.superseded), superseded, "each later execution once");
        Ok(())
    }
}
