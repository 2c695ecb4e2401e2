//! One segment of a log: what is known of its file without reading it, the sidecar that says so after a restart, and a scan
//! over its batches. A segment is plain data; files are opened through [`super::files::Files`].

use super::{
    batch::{HEADER_BYTES, Header},
    files,
    index::Index,
    records::Records,
};
use bytes::{Buf, BufMut};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

/// Read at once when batches are scanned.
const SCAN_BYTES: u64 = 64 * 1024;
/// The fixed part of a sidecar.
const SUMMARY_BYTES: usize = 42;
const SIDECAR_VERSION: u8 = 1;

/// One file of a log, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// In the cache of open files.
    pub(crate) id: u64,
    /// No offset in it is lower.
    pub(crate) base: i64,
    /// The offset after its last batch; the base if it is empty.
    pub(crate) next: i64,
    pub(crate) size: u64,
    /// The largest of any record; -1 if none has one.
    pub(crate) max_timestamp: i64,
    /// When the last batch came, if its timestamps say so (LogAppendTime); -1 otherwise.
    pub(crate) append_ms: i64,
    /// About when the first batch came; none if it is empty.
    pub(crate) first_ms: Option<i64>,
    /// Compaction has seen all of it.
    pub(crate) cleaned: bool,
    /// Something was written that was not handed out for fsync.
    pub(crate) dirty: bool,
    /// The sidecar on the disk describes it. It is written after the fsync, so that it vouches for the data.
    pub(crate) indexed: bool,
    pub(crate) index: Index,
}

impl Segment {
    pub(crate) fn new(id: u64, base: i64) -> Self {
        Self {
            id,
            base,
            next: base,
            size: 0,
            max_timestamp: -1,
            append_ms: -1,
            first_ms: None,
            cleaned: false,
            dirty: false,
            indexed: false,
            index: Index::new(base),
        }
    }

    /// Notes a batch at the end of the file. `now_ms` is about when it came.
    pub(crate) fn note(&mut self, batch: &Header, now_ms: i64) {
        self.index.note(self.next, self.size, self.max_timestamp);
        self.next = batch.next_offset();
        self.size += batch.size() as u64;
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
        if batch.is_append_time() {
            self.append_ms = batch.max_timestamp;
        }
        self.first_ms.get_or_insert(now_ms);
        (self.indexed, self.cleaned) = (false, false);
    }

    /// Whether a batch of `bytes` that ends before `next_offset` still fits what the index can name.
    pub(crate) fn has_room(&self, bytes: u64, next_offset: i64, segment_bytes: u64) -> bool {
        self.size + bytes <= segment_bytes.min(u64::from(u32::MAX)) && next_offset - self.base <= i64::from(u32::MAX)
    }

    /// Writes the sidecar; only after the data is on the disk.
    pub(crate) fn write_index(&mut self, dir: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SUMMARY_BYTES);
        bytes.put_u8(SIDECAR_VERSION);
        bytes.put_u8(u8::from(self.cleaned));
        bytes.put_u64(self.size);
        bytes.put_i64(self.next);
        bytes.put_i64(self.max_timestamp);
        bytes.put_i64(self.append_ms);
        bytes.put_i64(self.first_ms.unwrap_or(-1));
        self.index.write(&mut bytes);
        files::write_sidecar(&files::offset_path(dir, self.base, "index"), &bytes)?;
        self.indexed = true;
        Ok(())
    }

    /// The segment as its sidecar has it, if that fits a file of `size` bytes.
    pub(crate) fn read_index(dir: &Path, id: u64, base: i64, size: u64) -> Option<Self> {
        let bytes = files::read_sidecar(&files::offset_path(dir, base, "index"))?;
        let (mut summary, entries) = bytes.split_at_checked(SUMMARY_BYTES)?;
        let mut segment = Self::new(id, base);
        if summary.get_u8() != SIDECAR_VERSION {
            return None;
        }
        segment.cleaned = summary.get_u8() != 0;
        segment.size = summary.get_u64();
        segment.next = summary.get_i64();
        segment.max_timestamp = summary.get_i64();
        segment.append_ms = summary.get_i64();
        segment.first_ms = Some(summary.get_i64()).filter(|_| segment.size > 0);
        segment.index = Index::read(base, entries)?;
        segment.indexed = true;
        (segment.size == size && segment.next >= base).then_some(segment)
    }

    /// The position of the first batch that reaches beyond `offset`.
    pub(crate) fn locate(&self, file: &File, offset: i64) -> io::Result<u64> {
        if offset >= self.next {
            return Ok(self.size);
        }
        let (known, position) = self.index.before_offset(offset);
        if known >= offset {
            return Ok(position);
        }
        let mut scan = Scan::new(file, position, self.size);
        while let Some((position, batch)) = scan.next()? {
            if batch.next_offset() > offset {
                return Ok(position);
            }
        }
        Ok(self.size)
    }

    /// The first record from `offset` on that is as late as `time_ms`: its offset and timestamp.
    pub(crate) fn find_time(&self, file: &File, offset: i64, time_ms: i64) -> io::Result<Option<(i64, i64)>> {
        let mut from = self.index.before_time(time_ms);
        if offset > self.base {
            from = from.max(self.locate(file, offset)?);
        }
        let mut scan = Scan::new(file, from, self.size);
        while let Some((position, batch)) = scan.next()? {
            if batch.max_timestamp >= time_ms {
                let body = read_body(file, position, &batch)?;
                let found = match batch.records(&body) {
                    Ok(records) => times(&batch, &records, offset).find(|&(_, timestamp)| timestamp >= time_ms),
                    // What a trusted client compressed was not looked into: the batch's own numbers must do.
                    Err(_) => Some((batch.base_offset.max(offset), batch.max_timestamp)),
                };
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// The largest timestamp from `offset` on; -1 if there is none.
    pub(crate) fn max_timestamp_from(&self, file: &File, offset: i64) -> io::Result<i64> {
        let mut largest = -1;
        let mut scan = Scan::new(file, self.locate(file, offset)?, self.size);
        while let Some((position, batch)) = scan.next()? {
            let max_timestamp = if batch.base_offset >= offset || batch.is_append_time() {
                batch.max_timestamp
            } else {
                let body = read_body(file, position, &batch)?;
                let records = batch.records(&body).unwrap_or_default();
                times(&batch, &records, offset).map(|(_, timestamp)| timestamp).max().unwrap_or(-1)
            };
            largest = largest.max(max_timestamp);
        }
        Ok(largest)
    }
}

/// Offset and timestamp of each record from `offset` on.
fn times<'a>(batch: &'a Header, records: &'a [u8], offset: i64) -> impl Iterator<Item = (i64, i64)> + 'a {
    let all = Records::new(records, batch.count).map_while(Result::ok);
    all.map(|record| (batch.offset_of(&record), batch.timestamp_of(&record))).filter(move |&(at, _)| at >= offset)
}

/// The records of the batch at `position`, as they were written.
pub(crate) fn read_body(file: &File, position: u64, batch: &Header) -> io::Result<Vec<u8>> {
    let mut body = vec![0; batch.size() - HEADER_BYTES];
    file.read_exact_at(&mut body, position + HEADER_BYTES as u64)?;
    Ok(body)
}

/// Goes from batch to batch in part of a segment's file. Bodies are not looked at.
pub(crate) struct Scan<'a> {
    file: &'a File,
    position: u64,
    end: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Scan<'a> {
    /// From a batch's beginning to `end`.
    pub(crate) fn new(file: &'a File, from: u64, end: u64) -> Self {
        Self { file, position: from, end, chunk: Vec::new(), chunk_at: from }
    }

    /// The next batch and its position; an error if what follows is no whole batch.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Header)>> {
        if self.position >= self.end {
            return Ok(None);
        }
        if !self.has(HEADER_BYTES) {
            self.chunk.resize((self.end - self.position).min(SCAN_BYTES) as usize, 0);
            self.chunk_at = self.position;
            self.file.read_exact_at(&mut self.chunk, self.position)?;
        }
        let position = self.position;
        let batch = Header::parse(&self.chunk[self.offset()..]).filter(|it| position + it.size() as u64 <= self.end);
        let Some(batch) = batch else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no batch at byte {position} of a log file"),
            ));
        };
        self.position += batch.size() as u64;
        Ok(Some((position, batch)))
    }

    /// Whether the checksum of the batch at `position`, the last that was returned, is right.
    pub(crate) fn verify(&mut self, position: u64, batch: &Header) -> io::Result<bool> {
        let mut crc = batch.header_crc();
        let mut from = position + HEADER_BYTES as u64;
        let buffered = &self.chunk[((from - self.chunk_at) as usize).min(self.chunk.len())..];
        let buffered = &buffered[..buffered.len().min(batch.size() - HEADER_BYTES)];
        crc = crc32c::crc32c_append(crc, buffered);
        from += buffered.len() as u64;
        while from < self.position {
            self.chunk.resize((self.position - from).min(SCAN_BYTES) as usize, 0);
            self.chunk_at = from;
            self.file.read_exact_at(&mut self.chunk, from)?;
            crc = crc32c::crc32c_append(crc, &self.chunk);
            from += self.chunk.len() as u64;
        }
        Ok(crc == batch.crc)
    }

    fn offset(&self) -> usize {
        ((self.position - self.chunk_at) as usize).min(self.chunk.len())
    }

    fn has(&self, bytes: usize) -> bool {
        self.chunk.len() - self.offset() >= bytes
    }
}
