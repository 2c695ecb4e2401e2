//! Where batches lie in one segment: a sparse index by offset and time, and its sidecar file. Positions that are known
//! exactly make the reads of a consumer that goes on where it stopped free of scans.

use bytes::{Buf, BufMut};

/// Bytes of the log between two entries, so 16 bytes of memory for each 64 KiB of log.
const SPACING_BYTES: u64 = 64 * 1024;
const ENTRY_BYTES: usize = 16;
/// The batches appended last whose positions are known: consumers at the tail, and a visible end that waits for an fsync.
const TAIL_BATCHES: usize = 256;

/// The sparse index of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    base: i64,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// From the segment's base. Every batch before the position ends at or before this offset, every later one beyond it.
    offset: u32,
    position: u32,
    /// The largest timestamp before the position.
    max_timestamp: i64,
}

impl Index {
    pub(crate) fn new(base: i64) -> Self {
        Self { base, entries: vec![Entry { offset: 0, position: 0, max_timestamp: i64::MIN }] }
    }

    /// Notes that a batch begins at `position`, that what came before ends before `next_offset` and has no timestamp beyond
    /// `max_timestamp`.
    pub(crate) fn note(&mut self, next_offset: i64, position: u64, max_timestamp: i64) {
        let last = self.entries.last().map_or(0, |entry| u64::from(entry.position));
        if position < last + SPACING_BYTES {
            return;
        }
        if let (Ok(offset), Ok(position)) = (u32::try_from(next_offset - self.base), u32::try_from(position)) {
            self.entries.push(Entry { offset, position, max_timestamp });
        }
    }

    /// The last known position before which no batch reaches beyond `offset`, and the offset it is exact for.
    pub(crate) fn before_offset(&self, offset: i64) -> (i64, u64) {
        let after = self.entries.partition_point(|entry| self.base + i64::from(entry.offset) <= offset);
        self.entries[after.saturating_sub(1)].place(self.base)
    }

    /// The last known position before which every timestamp is below `time_ms`.
    pub(crate) fn before_time(&self, time_ms: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.max_timestamp < time_ms);
        self.entries[after.saturating_sub(1)].place(self.base).1
    }

    /// The last known boundary between two batches beyond `from` and at most at `to`.
    pub(crate) fn boundary(&self, from: u64, to: u64) -> Option<u64> {
        let after = self.entries.partition_point(|entry| u64::from(entry.position) <= to);
        let position = u64::from(self.entries[after.saturating_sub(1)].position);
        (position > from).then_some(position)
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        for entry in &self.entries {
            to.put_u32(entry.offset);
            to.put_u32(entry.position);
            to.put_i64(entry.max_timestamp);
        }
    }

    /// Reads what [`Self::write`] wrote, all of `bytes`.
    pub(crate) fn read(base: i64, mut bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return None;
        }
        let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        while bytes.has_remaining() {
            let (offset, position) = (bytes.get_u32(), bytes.get_u32());
            entries.push(Entry { offset, position, max_timestamp: bytes.get_i64() });
        }
        Some(Self { base, entries })
    }
}

impl Entry {
    fn place(&self, base: i64) -> (i64, u64) {
        (base + i64::from(self.offset), u64::from(self.position))
    }
}

/// Exact positions of the batches appended last to the active segment.
#[derive(Default)]
pub(crate) struct Tail(std::collections::VecDeque<(i64, u64)>);

impl Tail {
    /// Notes that whatever ends before `next_offset` ends at `position`.
    pub(crate) fn note(&mut self, next_offset: i64, position: u64) {
        if self.0.len() == TAIL_BATCHES {
            self.0.pop_front();
        }
        self.0.push_back((next_offset, position));
    }

    /// The position of the batch that begins at `offset`, if it is known.
    pub(crate) fn find(&self, offset: i64) -> Option<u64> {
        let found = self.0.binary_search_by_key(&offset, |&(next_offset, _)| next_offset).ok()?;
        self.0.get(found).map(|&(_, position)| position)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
