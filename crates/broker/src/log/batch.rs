//! The header of a record batch (message format v2) as a plain value, and a batch as it is stamped on its way into the
//! log. Layout: Apache Kafka's documentation, "Message Format". Not here: what the batch holds (`records`) and older
//! formats, which Produce v3 and later cannot carry.

use super::{
    codec::{Codec, Refused},
    records::Record,
};
use std::borrow::Cow;

/// Bytes from the base offset to the record count.
pub(crate) const HEADER_BYTES: usize = 61;
/// Base offset and length; the length counts what follows it.
const PREFIX_BYTES: usize = 12;
/// Where the part begins that the checksum covers.
const CHECKED_FROM: usize = 21;
const MAGIC: i8 = 2;

const CODEC_MASK: i16 = 0x07;
const APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;

/// A batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    length: i32,
    leader_epoch: i32,
    magic: i8,
    pub(crate) crc: u32,
    attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

fn at<const N: usize>(bytes: &[u8; HEADER_BYTES], position: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[position..position + N]);
    field
}

impl Header {
    /// Reads the header that `bytes` begin with, if it is one of this format with a possible length and offsets.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let header = Self {
            base_offset: i64::from_be_bytes(at(bytes, 0)),
            length: i32::from_be_bytes(at(bytes, 8)),
            leader_epoch: i32::from_be_bytes(at(bytes, 12)),
            magic: i8::from_be_bytes(at(bytes, 16)),
            crc: u32::from_be_bytes(at(bytes, 17)),
            attributes: i16::from_be_bytes(at(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(at(bytes, 23)),
            base_timestamp: i64::from_be_bytes(at(bytes, 27)),
            max_timestamp: i64::from_be_bytes(at(bytes, 35)),
            producer_id: i64::from_be_bytes(at(bytes, 43)),
            producer_epoch: i16::from_be_bytes(at(bytes, 51)),
            base_sequence: i32::from_be_bytes(at(bytes, 53)),
            count: i32::from_be_bytes(at(bytes, 57)),
        };
        let sane = header.magic == MAGIC
            && header.length >= (HEADER_BYTES - PREFIX_BYTES) as i32
            && header.base_offset >= 0
            && header.base_offset < i64::MAX - i64::from(i32::MAX)
            && header.last_offset_delta >= 0;
        sane.then_some(header)
    }

    /// Of a batch that takes up the offsets from `base_offset` to `next_offset`, at most `i32::MAX`, and holds nothing.
    pub(crate) fn empty(base_offset: i64, next_offset: i64) -> Self {
        let mut header = Self {
            base_offset,
            length: (HEADER_BYTES - PREFIX_BYTES) as i32,
            leader_epoch: 0,
            magic: MAGIC,
            crc: 0,
            attributes: 0,
            last_offset_delta: i32::try_from(next_offset - 1 - base_offset).unwrap_or(i32::MAX - 1),
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
        };
        header.seal(&[]);
        header
    }

    /// The header as it stands in a batch.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        bytes[16..17].copy_from_slice(&self.magic.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch, header included.
    pub(crate) fn size(&self) -> usize {
        PREFIX_BYTES + self.length as usize
    }

    /// The offset after the batch's last.
    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// The sequence of the batch's last record. They wrap to 0 after `i32::MAX`, as in Apache Kafka.
    pub(crate) fn last_sequence(&self) -> i32 {
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// How the records are compressed; none if the number is unknown.
    pub(crate) fn codec(&self) -> Option<Codec> {
        Codec::numbered(self.attributes & CODEC_MASK)
    }

    /// The records in `body`, decompressed.
    pub(crate) fn records<'a>(&self, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Refused> {
        self.codec().ok_or(Refused::Broken)?.decompress(body)
    }

    /// The offset of one of its records.
    pub(crate) fn offset_of(&self, record: &Record<'_>) -> i64 {
        self.base_offset + i64::from(record.offset_delta)
    }

    /// The timestamp of one of its records.
    pub(crate) fn timestamp_of(&self, record: &Record<'_>) -> i64 {
        if self.is_append_time() {
            return self.max_timestamp;
        }
        self.base_timestamp.wrapping_add(record.timestamp_delta)
    }

    /// Whether every record has the time of its append, which is the batch's maximum.
    pub(crate) fn is_append_time(&self) -> bool {
        self.attributes & APPEND_TIME != 0
    }

    /// Whether it belongs to what only Kafka's own machinery writes: transactions, markers, compacted tombstones.
    pub(crate) fn is_reserved(&self) -> bool {
        self.attributes & (TRANSACTIONAL | CONTROL | DELETE_HORIZON) != 0
    }

    /// When its tombstones may go (KIP-534): the base timestamp stands for it once the flag is set.
    pub(crate) fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// Sets the delete horizon. The records' deltas must be written anew, for they count from it.
    pub(crate) fn set_delete_horizon_ms(&mut self, horizon_ms: i64) {
        self.attributes |= DELETE_HORIZON;
        self.base_timestamp = horizon_ms;
    }

    /// Gives the batch its place. The checksum does not cover these fields.
    pub(crate) fn place(&mut self, base_offset: i64) {
        self.base_offset = base_offset;
        self.leader_epoch = 0;
    }

    /// Sets the kind and maximum of the timestamps; the checksum is stale then.
    pub(crate) fn set_timestamps(&mut self, append_time: bool, max_timestamp: i64) {
        self.attributes = if append_time { self.attributes | APPEND_TIME } else { self.attributes & !APPEND_TIME };
        self.max_timestamp = max_timestamp;
    }

    /// Sets what depends on the records, when they have changed; the checksum is stale then.
    pub(crate) fn set_body(&mut self, count: i32, body_bytes: usize) {
        self.count = count;
        self.length = (HEADER_BYTES - PREFIX_BYTES + body_bytes) as i32;
    }

    /// Makes the checksum that of this header and `body`.
    pub(crate) fn seal(&mut self, body: &[u8]) {
        self.crc = crc32c::crc32c_append(self.header_crc(), body);
    }

    /// The checksum of the header's part; the body's is to be appended.
    pub(crate) fn header_crc(&self) -> u32 {
        crc32c::crc32c(&self.to_bytes()[CHECKED_FROM..])
    }

    /// Whether the checksum is that of this header and `body`.
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        crc32c::crc32c_append(self.header_crc(), body) == self.crc
    }
}
