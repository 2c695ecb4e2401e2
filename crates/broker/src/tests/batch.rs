//! Record batches as the tests' client sends and reads them, in every codec. Deliberately apart from `log/`: what the broker
//! stores is judged by another reader. Source: <https://kafka.apache.org/documentation/#recordbatch>.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use std::io::{Read, Write};

/// Bytes of a batch up to its records.
pub(super) const HEADER_BYTES: usize = 61;
/// Bytes before what the length field counts.
const LENGTH_END: usize = 12;
const LOG_APPEND_TIME: i16 = 1 << 3;

pub(super) const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// What a test says about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) timestamp: i64,
}

impl Entry {
    pub(super) fn new(key: &str, value: &str) -> Self {
        let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        Self { key: bytes(key), value: bytes(value), timestamp: 1_700_000_000_000 }
    }
}

/// Who a batch is from, for idempotence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) id: i64,
    pub(super) epoch: i16,
    /// Of the batch's first record.
    pub(super) sequence: i32,
}

/// A producer that is not idempotent.
pub(super) const PLAIN: Sender = Sender { id: -1, epoch: -1, sequence: -1 };

/// One batch as it was read.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) sender: Sender,
    pub(super) bytes: usize,
    pub(super) entries: Vec<(i64, Entry)>,
}

pub(super) fn encode(entries: &[Entry], sender: Sender, codec: Compression) -> Bytes {
    let record = |(index, entry): (usize, &Entry)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: sender.id,
        producer_epoch: sender.epoch,
        timestamp_type: TimestampType::Creation,
        offset: index as i64,
        sequence: sender.sequence.wrapping_add(i32::try_from(index).unwrap()),
        timestamp: entry.timestamp,
        key: entry.key.clone(),
        value: entry.value.clone(),
        headers: Default::default(),
    };
    let records: Vec<Record> = entries.iter().enumerate().map(record).collect();
    let options = RecordEncodeOptions { version: 2, compression: codec };
    let mut batch = BytesMut::new();
    let pack = |plain: &mut BytesMut, out: &mut BytesMut, codec| {
        out.put_slice(&compress(plain, codec));
        Ok(())
    };
    RecordBatchEncoder::encode_with_custom_compression(&mut batch, &records, &options, Some(pack)).unwrap();
    batch.freeze()
}

/// The whole batches at the front of `bytes`; a fetch may cut the last one.
pub(super) fn decode(mut bytes: Bytes) -> Vec<Batch> {
    let mut batches = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let len = LENGTH_END + usize::try_from((&bytes[8..]).get_i32()).unwrap();
        assert!(len >= HEADER_BYTES, "what was fetched is no batch");
        if bytes.len() < len {
            break;
        }
        batches.push(decode_one(bytes.split_to(len)));
    }
    batches
}

fn decode_one(bytes: Bytes) -> Batch {
    let base_offset = (&bytes[0..]).get_i64();
    let appended = ((&bytes[21..]).get_i16() & LOG_APPEND_TIME != 0).then(|| (&bytes[35..]).get_i64());
    let unpack = |packed: &mut Bytes, codec| Ok(decompress(packed, codec));
    let set = RecordBatchDecoder::decode_with_custom_compression(&mut bytes.clone(), Some(unpack));
    let set = set.unwrap_or_else(|error| panic!("the batch at offset {base_offset}: {error}"));
    let entry = |record: Record| {
        let timestamp = appended.unwrap_or(record.timestamp);
        (record.offset, Entry { key: record.key, value: record.value, timestamp })
    };
    Batch {
        base_offset,
        last_offset: base_offset + i64::from((&bytes[23..]).get_i32()),
        sender: Sender {
            id: (&bytes[43..]).get_i64(),
            epoch: (&bytes[51..]).get_i16(),
            sequence: (&bytes[53..]).get_i32(),
        },
        bytes: bytes.len(),
        entries: set.records.into_iter().map(entry).collect(),
    }
}

fn compress(plain: &[u8], codec: Compression) -> Vec<u8> {
    match codec {
        Compression::None => plain.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(plain, 1).unwrap(),
    }
}

fn decompress(packed: &[u8], codec: Compression) -> Bytes {
    let mut plain = Vec::new();
    match codec {
        Compression::None => plain.extend_from_slice(packed),
        Compression::Gzip => drop(flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).unwrap()),
        Compression::Snappy => plain = unsnap(packed),
        Compression::Lz4 => drop(lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut plain).unwrap()),
        Compression::Zstd => plain = zstd::decode_all(packed).unwrap(),
    }
    Bytes::from(plain)
}

/// One raw block as this client sends it, or the blocks behind a magic as Java clients (and a broker that compacts) write them.
fn unsnap(packed: &[u8]) -> Vec<u8> {
    let raw = |block: &[u8]| snap::raw::Decoder::new().decompress_vec(block).unwrap();
    let Some(mut blocks) = packed.strip_prefix(b"\x82SNAPPY\0").and_then(|rest| rest.get(8..)) else {
        return raw(packed);
    };
    let mut plain = Vec::new();
    while !blocks.is_empty() {
        let len = usize::try_from(blocks.get_u32()).unwrap();
        plain.extend(raw(&blocks[..len]));
        blocks = &blocks[len..];
    }
    plain
}
