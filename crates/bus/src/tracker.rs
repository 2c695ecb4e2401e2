//! Which offsets of one partition are done: out-of-order completion, in-order commit. No I/O, no clock.
//!
//! Only what is open is remembered: below [`Tracker::end`] everything else is completed, or was never there (compaction,
//! transactions). So one slow record may stay open below millions of completed ones, and what is kept grows with the
//! records in flight alone. The completed offsets above the commit ride in its metadata ([`commit_metadata`]); intake
//! pauses before they could outgrow it, whatever completes next. See [`Tracker::is_full`].

use crate::commit_metadata::{self, bytes_of};
use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
};

/// What a fetched offset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// To be handled, and in flight from now on.
    New,
    /// To be skipped: done before this assignment, or fetched twice.
    Known,
    /// Below what is committed: the log was cut or made anew under this reader, and what stands there now may never have been
    /// read.
    Rewound,
}

/// The state of one assignment of one partition.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// Taken in and not done, also what was handed back.
    open: BTreeSet<i64>,
    in_flight: usize,
    /// The highest offset that was fetched.
    fetched: Option<i64>,
    /// One past the highest offset known to be taken in or done, once there is one.
    end: Option<i64>,
    /// Where the newest commit that the broker is known to have stands: the one that this assignment began with, or a later one
    /// of its own.
    committed: i64,
    /// Above `end` and done before this assignment, with the bytes that each takes in the metadata.
    done_before: VecDeque<(Range<i64>, usize)>,
    /// The most that the metadata of `open` can take, however completions go on; see [`Tracker::is_full`].
    open_bytes: usize,
    completions: u64,
}

impl Tracker {
    /// The tracker of a partition whose group committed `offset` with this metadata.
    pub(crate) fn resume(offset: i64, metadata: &str) -> Self {
        let known = commit_metadata::parse(metadata).filter(|(base, _)| *base == offset);
        let mut at = offset;
        let done_before = known.map(|(_, ranges)| ranges).unwrap_or_default().into_iter().map(|range| {
            let bytes = bytes_of(range.start - at) + bytes_of(range.end - range.start);
            at = range.end;
            (range, bytes)
        });
        Self { done_before: done_before.collect(), committed: offset, ..Self::default() }
    }

    /// Takes an offset in.
    pub(crate) fn begin(&mut self, offset: i64) -> Fetched {
        let is_again = self.fetched.is_some_and(|fetched| offset <= fetched);
        self.fetched = self.fetched.max(Some(offset));
        match self.end {
            // Nobody goes back below a commit, whatever is fetched twice: these are other records. (A commit can be ahead of what
            // is fetched, over what was done before this assignment.)
            Some(_) if is_again && offset < self.committed => return Fetched::Rewound,
            Some(end) if offset < end => return Fetched::Known,
            // The log was cut or made anew before this assignment: what was completed were other records.
            None if offset < self.committed => {
                self.done_before.clear();
                self.committed = offset;
            }
            _ => {}
        }
        self.move_end(offset);
        if self.end.is_some_and(|end| offset < end) {
            self.completions += 1;
            return Fetched::Known;
        }
        self.open.insert(offset);
        self.in_flight += 1;
        self.open_bytes += 1 + bytes_of(0);
        self.end = Some(offset + 1);
        self.move_end(offset + 1);
        Fetched::New
    }

    /// Notes that the broker has a commit of this assignment at `offset`.
    pub(crate) fn acknowledged(&mut self, offset: i64) {
        self.committed = self.committed.max(offset);
    }

    /// Where the newest commit that the broker is known to have stands.
    pub(crate) fn committed(&self) -> i64 {
        self.committed
    }

    /// Moves the end up, and over what was done before and begins there.
    fn move_end(&mut self, to: i64) {
        let mut end = to;
        while let Some((range, _)) = self.done_before.pop_front_if(|(range, _)| range.start <= end) {
            end = end.max(range.end);
        }
        if let (Some(last), Some(old)) = (self.open.last(), self.end) {
            self.open_bytes -= bytes_of(old - last - 1);
            self.open_bytes += bytes_of(end - last - 1);
        }
        self.end = Some(end);
    }

    /// Marks an offset done. False if it is not open (already done, or never taken in).
    pub(crate) fn complete(&mut self, offset: i64) -> bool {
        if !self.open.remove(&offset) {
            return false;
        }
        let next = self.open.range(offset..).next().copied().or(self.end).unwrap_or(offset + 1);
        self.open_bytes -= 1 + bytes_of(next - offset - 1);
        if let Some(before) = self.open.range(..offset).next_back() {
            self.open_bytes -= bytes_of(offset - before - 1);
            self.open_bytes += bytes_of(next - before - 1);
        }
        self.in_flight -= 1;
        self.completions += 1;
        true
    }

    /// Leaves an offset to the partition's next reader: it is not in flight any more, and never done.
    pub(crate) fn hand_back(&mut self, offset: i64) -> bool {
        let is_open = self.open.contains(&offset);
        if is_open {
            self.in_flight -= 1;
        }
        is_open
    }

    /// What may be committed: the lowest offset that is not done, and the metadata. `None` before the first record.
    pub(crate) fn commit(&self) -> Option<(i64, String)> {
        let end = self.end?;
        let lowest = self.open.first().copied().unwrap_or(end);
        let above = self.open.range(lowest + 1..).copied().chain([end]);
        let between = self.open.iter().zip(above).map(|(open, next)| open + 1..next).filter(|run| !run.is_empty());
        let before = self.done_before.iter().map(|(range, _)| range.clone());
        // Too long only if a reader with other bounds left more open: then work repeats, and nothing is lost.
        let metadata = commit_metadata::encode(lowest, between.chain(before)).unwrap_or_default();
        Some((lowest, metadata))
    }

    /// Grows whenever [`Tracker::commit`] has more to say.
    pub(crate) fn completions(&self) -> u64 {
        self.completions
    }

    /// Taken in, and neither done nor handed back.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether intake must pause: so many records are in flight, or the metadata could outgrow its bound. Completions
    /// lengthen it too (every second of 1,000 done makes 1,000 runs), so what counts is the worst case: every open record a
    /// run by itself and a run of completed ones after it. No completion makes that more. Records that the last reader
    /// already had open are taken in regardless: they made no more then.
    pub(crate) fn is_full(&self, max_in_flight: usize) -> bool {
        self.in_flight >= max_in_flight || self.open_bytes >= OPEN_BYTES_MAX && self.done_before.is_empty()
    }

    /// Whether a paused intake may resume.
    pub(crate) fn is_half_empty(&self, max_in_flight: usize) -> bool {
        let is_known = self.in_flight == 0 || !self.done_before.is_empty();
        self.in_flight <= max_in_flight / 2 && (is_known || self.open_bytes <= OPEN_BYTES_MAX / 2)
    }
}

/// Where intake pauses: a record that is taken in just below it, after the longest gap there can be, still fits.
const OPEN_BYTES_MAX: usize = commit_metadata::MAX_RUNS_BYTES - 16;

#[cfg(test)]
mod tests;
