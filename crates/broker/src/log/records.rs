//! Walks the records of a batch once they are decompressed: no allocation, no trust in any count. Layout: Apache Kafka's
//! documentation, "Message Format". A record is kept as the bytes it came in, so that compaction copies it whole, with
//! header keys that occur twice.

/// One record, as slices of the batch it stands in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// The whole record with its length.
    pub(crate) raw: &'a [u8],
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    /// Whether it deletes its key: the value is null.
    pub(crate) tombstone: bool,
    attributes: u8,
    after_timestamp: &'a [u8],
}

/// The records were not what the header promised; says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

/// The records of one batch, in order. After an error it ends.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Records<'a> {
    /// Walks `count` records in `records`, which must hold nothing else.
    pub(crate) fn new(records: &'a [u8], count: i32) -> Self {
        Self { rest: records, left: count }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            let rest = std::mem::take(&mut self.rest);
            return (!rest.is_empty()).then_some(Err(Broken("bytes after the last record")));
        }
        self.left -= 1;
        let record = take_record(&mut self.rest);
        if record.is_err() {
            (self.left, self.rest) = (0, &[]);
        }
        Some(record)
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, Broken> {
    let from = *rest;
    let length = take_length(rest)?.ok_or(Broken("a record without a length"))?;
    let mut body = take(rest, length)?;
    let raw = &from[..from.len() - rest.len()];
    let attributes = take(&mut body, 1)?[0];
    let timestamp_delta = take_varint(&mut body)?;
    let after_timestamp = body;
    let offset_delta = take_i32(&mut body)?;
    let key = take_bytes(&mut body)?;
    let tombstone = take_bytes(&mut body)?.is_none();
    let headers = take_i32(&mut body)?;
    if headers < 0 {
        return Err(Broken("a record with a negative count of headers"));
    }
    for _ in 0..headers {
        let name = take_bytes(&mut body)?.ok_or(Broken("a header without a key"))?;
        // Some clients hold header keys as text and fail on anything else.
        std::str::from_utf8(name).map_err(|_| Broken("a header key that is not UTF-8"))?;
        take_bytes(&mut body)?;
    }
    if !body.is_empty() {
        return Err(Broken("a record longer than its fields"));
    }
    Ok(Record { raw, timestamp_delta, offset_delta, key, tombstone, attributes, after_timestamp })
}

impl Record<'_> {
    /// Writes the record with another timestamp delta.
    pub(crate) fn write_with_delta(&self, timestamp_delta: i64, to: &mut Vec<u8>) {
        let mut varint = [0; VARINT_BYTES];
        let delta = put_varint(timestamp_delta, &mut varint);
        let mut length = [0; VARINT_BYTES];
        to.extend_from_slice(put_varint((1 + delta.len() + self.after_timestamp.len()) as i64, &mut length));
        to.push(self.attributes);
        to.extend_from_slice(delta);
        to.extend_from_slice(self.after_timestamp);
    }
}

/// A 64-bit number takes at most so many.
const VARINT_BYTES: usize = 10;

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Broken> {
    let (taken, after) = rest.split_at_checked(length).ok_or(Broken("a field longer than what is left"))?;
    *rest = after;
    Ok(taken)
}

/// A signed number in zig-zag varint encoding.
fn take_varint(rest: &mut &[u8]) -> Result<i64, Broken> {
    let mut value = 0u64;
    for (index, byte) in rest.iter().take(VARINT_BYTES).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if index == VARINT_BYTES - 1 && bits > 1 {
            break;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(Broken("a number cut off or too long"))
}

fn take_i32(rest: &mut &[u8]) -> Result<i32, Broken> {
    let before = rest.len();
    let value = i32::try_from(take_varint(rest)?).map_err(|_| Broken("a number out of range"))?;
    // A padded number fits the range all the same, but readers of 32-bit ones stop after 5 bytes.
    if before - rest.len() > 5 { Err(Broken("a number too long")) } else { Ok(value) }
}

fn take_length(rest: &mut &[u8]) -> Result<Option<usize>, Broken> {
    match take_i32(rest)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| Broken("a negative length")),
    }
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Broken> {
    take_length(rest)?.map(|length| take(rest, length)).transpose()
}

fn put_varint(value: i64, to: &mut [u8; VARINT_BYTES]) -> &[u8] {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    let mut length = 0;
    while left >= 0x80 {
        to[length] = left as u8 | 0x80;
        left >>= 7;
        length += 1;
    }
    to[length] = left as u8;
    &to[..=length]
}
