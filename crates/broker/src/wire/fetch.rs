//! The answer to Fetch, versions 4 to 12, whose records come straight from files. `kafka-protocol` can only encode
//! records that are in memory. Deliberately absent: fetch sessions (session id 0: none), aborted transactions,
//! followers.

use super::{Refused, Reply, Request, reply::Draft};
use crate::log::Slice;
use bytes::{BufMut, BytesMut};
use kafka_protocol::protocol::StrBytes;

/// The first version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;
/// More than the bytes of a partition besides its records, or of a topic besides its name and partitions.
const ENTRY_BYTES: usize = 64;

/// What a consumer gets of one partition.
#[derive(Debug)]
pub(crate) struct FetchedPartition {
    pub(crate) index: i32,
    pub(crate) error_code: i16,
    /// The last stable offset too, as nothing is transactional.
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
    /// None are sent as no bytes, not as null, which some clients refuse.
    pub(crate) records: Option<Slice>,
}

/// Fields in the order of the protocol guide.
pub(crate) fn fetch_reply(request: &Request, topics: Vec<(StrBytes, Vec<FetchedPartition>)>) -> Result<Reply, Refused> {
    let size = |(name, partitions): &(StrBytes, Vec<_>)| name.len() + (1 + partitions.len()) * ENTRY_BYTES;
    let mut draft = Draft::new(request, ENTRY_BYTES + topics.iter().map(size).sum::<usize>());
    let version = request.version;
    draft.bytes.put_i32(0); // throttle time
    if version >= 7 {
        draft.bytes.put_i16(0); // error code
        draft.bytes.put_i32(0); // session id
    }
    put_length(&mut draft.bytes, version, topics.len())?;
    for (name, partitions) in topics {
        put_text(&mut draft.bytes, version, &name)?;
        put_length(&mut draft.bytes, version, partitions.len())?;
        for partition in partitions {
            put_partition(&mut draft, version, partition)?;
        }
        put_no_tags(&mut draft.bytes, version);
    }
    put_no_tags(&mut draft.bytes, version);
    draft.finish()
}

fn put_partition(draft: &mut Draft, version: i16, partition: FetchedPartition) -> Result<(), Refused> {
    let bytes = &mut draft.bytes;
    bytes.put_i32(partition.index);
    bytes.put_i16(partition.error_code);
    bytes.put_i64(partition.high_watermark);
    bytes.put_i64(partition.high_watermark); // last stable offset
    if version >= 5 {
        bytes.put_i64(partition.log_start_offset);
    }
    put_null(bytes, version); // aborted transactions
    if version >= 11 {
        bytes.put_i32(-1); // preferred read replica
    }
    let records = partition.records.filter(|slice| slice.len > 0);
    put_length(bytes, version, records.as_ref().map_or(0, |slice| slice.len))?;
    if let Some(slice) = records {
        draft.file(slice);
    }
    put_no_tags(&mut draft.bytes, version);
    Ok(())
}

fn put_text(bytes: &mut BytesMut, version: i16, text: &str) -> Result<(), Refused> {
    if version >= FLEXIBLE {
        put_length(bytes, version, text.len())?;
    } else {
        bytes.put_i16(i16::try_from(text.len()).map_err(|_| too_long(text.len()))?);
    }
    bytes.put_slice(text.as_bytes());
    Ok(())
}

/// Of an array or of records.
fn put_length(bytes: &mut BytesMut, version: i16, length: usize) -> Result<(), Refused> {
    let signed = i32::try_from(length).map_err(|_| too_long(length))?;
    if version < FLEXIBLE {
        bytes.put_i32(signed);
        return Ok(());
    }
    let mut compact = length + 1;
    while compact >= 0x80 {
        bytes.put_u8((compact & 0x7f) as u8 | 0x80);
        compact >>= 7;
    }
    bytes.put_u8(compact as u8);
    Ok(())
}

fn put_null(bytes: &mut BytesMut, version: i16) {
    if version >= FLEXIBLE { bytes.put_u8(0) } else { bytes.put_i32(-1) }
}

fn put_no_tags(bytes: &mut BytesMut, version: i16) {
    if version >= FLEXIBLE {
        bytes.put_u8(0);
    }
}

fn too_long(length: usize) -> Refused {
    Refused::Close(format!("an answer to Fetch cannot hold a length of {length}; ask for less at a time"))
}
