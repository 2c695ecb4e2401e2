//! What a produced batch must be to enter the log, and the errors if it is not. The codes are those that Apache Kafka's
//! brokers answer in the same case. Not here: sequences (`producers`) and the write itself.

use super::{
    Settings,
    batch::{HEADER_BYTES, Header},
    codec::{self, Codec},
    records::{Broken, Records},
};
use kafka_protocol::ResponseError;
use std::io;

const NO_TIMESTAMP: i64 = -1;

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    /// The time that all its records got; -1 if they keep their own (CreateTime).
    pub(crate) append_time_ms: i64,
    /// It had been appended before; nothing was written now.
    pub(crate) duplicate: bool,
}

/// Why a batch was not appended. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the batch is damaged: {0}")]
    Corrupt(&'static str),
    #[error("the batch has {bytes} bytes, more than max.message.bytes ({max})")]
    TooLarge { bytes: usize, max: usize },
    #[error("the batch is larger than {} bytes once decompressed", codec::DECOMPRESSED_BYTES)]
    Bomb,
    #[error("the batch breaks a rule: {0}")]
    InvalidRecord(&'static str),
    #[error("the timestamp {0} is out of the topic's range")]
    InvalidTimestamp(i64),
    #[error("the batch does not follow the producer's last one")]
    OutOfOrderSequence,
    #[error("a newer instance of the producer has taken over")]
    OldProducerEpoch,
    #[error("the compression is unknown; use gzip, snappy, lz4 or zstd")]
    UnknownCompression,
    #[error("the batch could not be written: {0}")]
    Storage(#[from] io::Error),
}

impl AppendError {
    /// The code for the client.
    pub(crate) fn code(&self) -> ResponseError {
        match self {
            Self::Corrupt(_) => ResponseError::CorruptMessage,
            Self::TooLarge { .. } | Self::Bomb => ResponseError::MessageTooLarge,
            Self::InvalidRecord(_) => ResponseError::InvalidRecord,
            Self::InvalidTimestamp(_) => ResponseError::InvalidTimestamp,
            Self::OutOfOrderSequence => ResponseError::OutOfOrderSequenceNumber,
            Self::OldProducerEpoch => ResponseError::InvalidProducerEpoch,
            Self::UnknownCompression => ResponseError::UnsupportedCompressionType,
            Self::Storage(_) => ResponseError::KafkaStorageError,
        }
    }
}

impl From<Broken> for AppendError {
    fn from(Broken(why): Broken) -> Self {
        Self::InvalidRecord(why)
    }
}

/// A batch that may be appended: its header, with the timestamps that the topic wants, and its body.
pub(super) struct Accepted<'a> {
    pub(super) header: Header,
    pub(super) body: &'a [u8],
}

/// Checks that `bytes` are exactly one batch that the topic takes.
pub(super) fn accept<'a>(
    bytes: &'a [u8],
    settings: &Settings,
    now_ms: i64,
    trusted: bool,
) -> Result<Accepted<'a>, AppendError> {
    if bytes.len() > settings.max_message_bytes {
        return Err(AppendError::TooLarge { bytes: bytes.len(), max: settings.max_message_bytes });
    }
    let (mut header, body) = split(bytes)?;
    check_header(&header)?;
    let codec = header.codec().ok_or(AppendError::UnknownCompression)?;
    let times = match trusted && !settings.compact {
        true => Times { min: header.base_timestamp, max: header.max_timestamp },
        false => walk(&header, body, codec, settings.compact)?,
    };
    if settings.append_time {
        return Ok(Accepted { header, body });
    }
    if header.is_append_time() {
        return Err(AppendError::InvalidTimestamp(header.max_timestamp));
    }
    times.check(settings, now_ms)?;
    if times.max != header.max_timestamp {
        header.set_timestamps(false, times.max);
        header.seal(body);
    }
    Ok(Accepted { header, body })
}

fn split(bytes: &[u8]) -> Result<(Header, &[u8]), AppendError> {
    let (head, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(AppendError::Corrupt("it is cut off"))?;
    let mut head = *head;
    // The offset is the broker's to give; clients send anything.
    head[..8].fill(0);
    let header = Header::parse(&head).ok_or(AppendError::InvalidRecord("only record batches of format 2 are taken"))?;
    match header.size() {
        size if size > bytes.len() => Err(AppendError::Corrupt("it is cut off")),
        size if size < bytes.len() => Err(AppendError::InvalidRecord("one batch for each partition, not more")),
        _ if !header.matches(body) => Err(AppendError::Corrupt("its checksum is wrong")),
        _ => Ok((header, body)),
    }
}

fn check_header(header: &Header) -> Result<(), AppendError> {
    if header.is_reserved() {
        return Err(AppendError::InvalidRecord("transactions and control batches are not taken"));
    }
    if header.count < 1 || header.last_offset_delta != header.count - 1 {
        return Err(AppendError::InvalidRecord("the record count and the last offset differ"));
    }
    if header.producer_id >= 0 && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(AppendError::InvalidRecord("a producer id needs an epoch and a sequence"));
    }
    Ok(())
}

/// The range of the records' timestamps.
struct Times {
    min: i64,
    max: i64,
}

impl Times {
    fn check(&self, settings: &Settings, now_ms: i64) -> Result<(), AppendError> {
        for time in [self.min, self.max] {
            let early = now_ms.saturating_sub(time) > settings.timestamp_before_max_ms;
            let late = time.saturating_sub(now_ms) > settings.timestamp_after_max_ms;
            if time != NO_TIMESTAMP && (early || late || time < 0) {
                return Err(AppendError::InvalidTimestamp(time));
            }
        }
        Ok(())
    }
}

/// Looks at every record, so that no consumer meets one that it cannot read.
fn walk(header: &Header, body: &[u8], codec: Codec, keyed: bool) -> Result<Times, AppendError> {
    let records = codec.decompress(body).map_err(|refused| match refused {
        codec::Refused::Broken => AppendError::InvalidRecord("the records do not decompress"),
        codec::Refused::TooLarge => AppendError::Bomb,
    })?;
    let mut times = Times { min: i64::MAX, max: NO_TIMESTAMP };
    let mut expected = 0..header.count;
    for record in Records::new(&records, header.count) {
        let record = record?;
        if expected.next() != Some(record.offset_delta) {
            return Err(AppendError::InvalidRecord("the records' offsets do not count up from 0"));
        }
        if keyed && record.key.is_none() {
            return Err(AppendError::InvalidRecord("a compacted topic needs a key in each record"));
        }
        let time = header.base_timestamp.wrapping_add(record.timestamp_delta);
        times.max = times.max.max(time);
        if time != NO_TIMESTAMP {
            times.min = times.min.min(time);
        }
    }
    times.min = times.min.min(times.max);
    Ok(times)
}
