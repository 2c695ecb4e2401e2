//! One partition's log: segment files of record batches as clients sent them (message format v2), appended at the end, read
//! from anywhere, cut off at the front. Single-threaded, plain blocking file calls on the page cache; positions are kept in
//! memory, so that an append is one write and a read by a consumer that keeps up none.
//!
//! Not here: fsync (the caller takes [`Log::dirty`] to another thread), what is durable when, replication, transactions.
//!
//! On the disk, all names begin with an offset of 20 digits: `.log` batches; `.index` a sidecar that vouches for a segment
//! that is on the disk; `.producers` who had written what before that offset; `.cleaned` and `.swap` a compaction under way;
//! `.log.deleted` what another thread removes.

mod append;
mod batch;
mod codec;
mod compact;
mod files;
mod index;
mod producers;
mod records;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use append::{AppendError, Appended};
pub(crate) use files::Files;

use batch::Header;
use index::Tail;
use producers::Producers;
use segment::{Scan, Segment};
use std::{fs::File, io, path::PathBuf, rc::Rc, sync::Arc};

/// What the topic's configuration says, in plain numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) segment_bytes: u64,
    pub(crate) segment_ms: i64,
    /// -1: for ever.
    pub(crate) retention_ms: i64,
    /// -1: any.
    pub(crate) retention_bytes: i64,
    pub(crate) max_message_bytes: usize,
    /// Records get the time of their append instead of their own.
    pub(crate) append_time: bool,
    pub(crate) compact: bool,
    pub(crate) delete: bool,
    pub(crate) delete_retention_ms: i64,
    pub(crate) min_compaction_lag_ms: i64,
    /// How much of what can be compacted must be new, in thousandths.
    pub(crate) min_dirty_permille: u64,
    pub(crate) timestamp_before_max_ms: i64,
    pub(crate) timestamp_after_max_ms: i64,
}

/// What is known of the partition before its files are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// Nothing below is served.
    pub(crate) start_offset: i64,
    /// Offsets below may have been handed out, so after an unclean end none of them is given again.
    pub(crate) mark: i64,
    /// The log was closed.
    pub(crate) clean: bool,
}

/// Whole batches in a segment's file. The file stays readable even if the log drops it.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) file: Arc<File>,
    pub(crate) position: u64,
    pub(crate) len: usize,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the offset is outside of the log")]
    OutOfRange,
    #[error("the log could not be read: {0}")]
    Io(#[from] io::Error),
}

/// The offset lies beyond the log's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the offset is outside of the log")]
pub(crate) struct OutOfRange;

/// One partition's log.
pub(crate) struct Log {
    dir: PathBuf,
    files: Rc<Files>,
    /// By offset; never empty. The last one is appended to.
    segments: Vec<Segment>,
    start: i64,
    tail: Tail,
    producers: Producers,
    /// The offsets at which the producers were written down, ascending.
    snapshots: Vec<i64>,
    /// The last time given to a batch, so that append times never step back.
    append_ms: i64,
    /// Compaction has seen everything below.
    cleaned_upto: i64,
    /// A sealed segment has no sidecar yet.
    unindexed: bool,
    /// Files were made or renamed since the folder was last handed out for fsync.
    dir_dirty: bool,
    /// A failed write may have left bytes after the end.
    torn: bool,
}

impl Log {
    /// The first offset that is served.
    pub(crate) fn start_offset(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets.
    pub(crate) fn end_offset(&self) -> i64 {
        self.active().next
    }

    /// Bytes of all segments.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    fn active(&self) -> &Segment {
        self.segments.last().expect("a log has at least one segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has at least one segment")
    }

    fn file(&self, segment: &Segment) -> io::Result<Arc<File>> {
        self.files.get(segment.id, || files::offset_path(&self.dir, segment.base, "log"))
    }

    /// Appends `batch`, one whole record batch, at the end. Untrusted batches are looked into, record by record. If the write
    /// fails, the log is as it was.
    pub(crate) fn append(
        &mut self,
        batch: &[u8],
        settings: &Settings,
        now_ms: i64,
        trusted: bool,
    ) -> Result<Appended, AppendError> {
        let append::Accepted { mut header, body } = append::accept(batch, settings, now_ms, trusted)?;
        if let Some(known) = self.producers.check(&header, now_ms)? {
            return Ok(Appended {
                base_offset: known.base_offset,
                last_offset: known.base_offset + i64::from(header.last_offset_delta),
                append_time_ms: if settings.append_time { known.timestamp } else { -1 },
                duplicate: true,
            });
        }
        header.place(self.end_offset());
        if settings.append_time {
            header.set_timestamps(true, self.append_ms.max(now_ms));
            header.seal(body);
        }
        self.roll_if_due(&header, settings, now_ms)?;
        self.write(&header, body)?;
        crate::fault::point("log::append::written");

        self.active_mut().note(&header, now_ms);
        self.active_mut().dirty = true;
        let (end, size) = (self.active().next, self.active().size);
        self.tail.note(end, size);
        self.producers.record(&header, now_ms);
        self.append_ms = self.append_ms.max(self.active().append_ms);
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: end - 1,
            append_time_ms: if settings.append_time { header.max_timestamp } else { -1 },
            duplicate: false,
        })
    }

    fn write(&mut self, header: &Header, body: &[u8]) -> io::Result<()> {
        let file = self.file(self.active())?;
        if self.torn {
            file.set_len(self.active().size)?;
            self.torn = false;
        }
        files::append(&file, &header.to_bytes(), body).inspect_err(|_| {
            // Appends go to the file's end, so nothing may be left there.
            self.torn = file.set_len(self.active().size).is_err();
        })
    }

    /// The batch that holds `offset` and those after it that fit `max_bytes`, whole batches only, none at or beyond
    /// `visible_end`; none if there is nothing yet. A first batch larger than that is given if `at_least_one`. What follows in
    /// the next segment is for the next call.
    pub(crate) fn read(
        &self,
        offset: i64,
        visible_end: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<Slice>, ReadError> {
        if offset < self.start || offset > self.end_offset() {
            return Err(ReadError::OutOfRange);
        }
        for segment in &self.segments[self.holder(offset)..] {
            if offset >= segment.next || segment.size == 0 {
                continue;
            }
            if segment.base >= visible_end {
                break;
            }
            let file = self.file(segment)?;
            let from = self.locate(segment, &file, offset)?;
            let end = self.locate(segment, &file, visible_end)?;
            if from >= end {
                break;
            }
            let until = fit(segment, &file, from..end, max_bytes, at_least_one)?;
            let len = (until - from) as usize;
            return Ok((len > 0).then_some(Slice { file, position: from, len }));
        }
        Ok(None)
    }

    /// The last segment that begins at or before `offset`.
    fn holder(&self, offset: i64) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    fn locate(&self, segment: &Segment, file: &File, offset: i64) -> io::Result<u64> {
        let known = if segment.base == self.active().base { self.tail.find(offset) } else { None };
        known.map_or_else(|| segment.locate(file, offset), Ok)
    }

    /// The first record that is as late as `time_ms`: its offset and timestamp.
    pub(crate) fn offset_for_time(&self, time_ms: i64) -> io::Result<Option<(i64, i64)>> {
        for segment in &self.segments {
            if segment.next <= self.start || segment.size == 0 || segment.max_timestamp < time_ms {
                continue;
            }
            let file = self.file(segment)?;
            if let Some(found) = segment.find_time(&file, self.start, time_ms)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp (KIP-734): its offset and timestamp.
    pub(crate) fn max_timestamp(&self) -> io::Result<Option<(i64, i64)>> {
        let mut largest = -1;
        for segment in self.segments.iter().filter(|segment| segment.next > self.start) {
            largest = largest.max(if segment.base >= self.start {
                segment.max_timestamp
            } else {
                let file = self.file(segment)?;
                segment.max_timestamp_from(&file, self.start)?
            });
        }
        if largest < 0 { Ok(None) } else { self.offset_for_time(largest) }
    }

    /// Serves nothing below `offset` any more; the next [`Log::retain`] drops the segments that are wholly below.
    pub(crate) fn delete_before(&mut self, offset: i64) -> Result<i64, OutOfRange> {
        if offset < 0 || offset > self.end_offset() {
            return Err(OutOfRange);
        }
        self.start = self.start.max(offset);
        Ok(self.start)
    }
}

/// Looks into a batch as one from a client is looked into.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_records(data: &[u8]) {
    let settings = Settings { max_message_bytes: 1 << 20, ..Settings::default() };
    let _ = append::accept(data, &settings, 0, false);
}

impl Drop for Log {
    fn drop(&mut self) {
        for segment in &self.segments {
            self.files.forget(segment.id);
        }
    }
}

/// The end of the whole batches in `range` that fit `max_bytes`. Where the index knows a boundary, nothing is read, and the
/// next read begins where the index knows the position.
fn fit(
    segment: &Segment,
    file: &File,
    range: std::ops::Range<u64>,
    max_bytes: usize,
    at_least_one: bool,
) -> io::Result<u64> {
    let limit = range.start.saturating_add(max_bytes as u64);
    if range.end <= limit {
        return Ok(range.end);
    }
    if let Some(boundary) = segment.index.boundary(range.start, limit) {
        return Ok(boundary);
    }
    let mut until = range.start;
    let mut scan = Scan::new(file, range.start, range.end);
    while let Some((position, batch)) = scan.next()? {
        let end = position + batch.size() as u64;
        if end > limit && (position > range.start || !at_least_one) {
            break;
        }
        until = end;
        if end > limit {
            break;
        }
    }
    Ok(until)
}
