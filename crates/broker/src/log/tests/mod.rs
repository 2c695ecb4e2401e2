//! Tests of a partition's log, and what they share: a writer of batches and a reader that uses another decoder.

mod appending;
mod codecs;
mod compaction;
mod model;
mod reading;
mod recovery;
mod sequences;

pub(super) use super::recover::Recovery;
use super::{batch::Header, codec::Codec, *};
use bytes::{BufMut, Bytes};
use kafka_protocol::records::RecordBatchDecoder;
use std::{os::unix::fs::FileExt, path::Path};

pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) fn settings() -> Settings {
    Settings {
        segment_bytes: 1 << 30,
        segment_ms: i64::MAX,
        retention_ms: -1,
        retention_bytes: -1,
        max_message_bytes: 1 << 20,
        append_time: false,
        compact: false,
        delete: true,
        delete_retention_ms: 1_000,
        min_compaction_lag_ms: 0,
        min_dirty_permille: 500,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
    }
}

/// A record to be written, or one that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rec {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) timestamp: i64,
}

pub(super) fn rec(key: &str, value: &str) -> Rec {
    Rec { key: Some(key.into()), value: Some(value.into()), timestamp: NOW }
}

/// A batch to be written.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) records: Vec<Rec>,
    pub(super) codec: Codec,
    pub(super) attributes: i16,
    /// Id, epoch, first sequence.
    pub(super) producer: (i64, i16, i32),
    /// Written to each record.
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

pub(super) fn batch(records: Vec<Rec>) -> Batch {
    Batch { records, codec: Codec::None, attributes: 0, producer: (-1, -1, -1), headers: Vec::new() }
}

pub(super) fn varint(value: i64, to: &mut Vec<u8>) {
    let mut zigzag = (value.wrapping_shl(1) ^ (value >> 63)) as u64;
    while zigzag > 0x7f {
        to.push(zigzag as u8 & 0x7f | 0x80);
        zigzag >>= 7;
    }
    to.push(zigzag as u8);
}

fn bytes_field(value: Option<&Vec<u8>>, to: &mut Vec<u8>) {
    varint(value.map_or(-1, |value| value.len() as i64), to);
    to.extend_from_slice(value.map_or(&[], |value| value.as_slice()));
}

impl Batch {
    pub(super) fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    pub(super) fn producer(mut self, id: i64, epoch: i16, sequence: i32) -> Self {
        self.producer = (id, epoch, sequence);
        self
    }

    pub(super) fn body(&self) -> Vec<u8> {
        let base = self.records.first().map_or(-1, |record| record.timestamp);
        let mut body = Vec::new();
        for (index, record) in self.records.iter().enumerate() {
            let mut fields = vec![0];
            varint(record.timestamp - base, &mut fields);
            varint(index as i64, &mut fields);
            bytes_field(record.key.as_ref(), &mut fields);
            bytes_field(record.value.as_ref(), &mut fields);
            varint(self.headers.len() as i64, &mut fields);
            for (key, value) in &self.headers {
                bytes_field(Some(key), &mut fields);
                bytes_field(value.as_ref(), &mut fields);
            }
            varint(fields.len() as i64, &mut body);
            body.extend(fields);
        }
        body
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.with_body(&self.codec.compress(self.body()).unwrap())
    }

    /// The batch with `body` for its records.
    pub(super) fn with_body(&self, body: &[u8]) -> Vec<u8> {
        let mut checked = Vec::new();
        checked.put_i16(self.attributes | self.codec as i16);
        checked.put_i32(self.records.len() as i32 - 1);
        checked.put_i64(self.records.first().map_or(-1, |record| record.timestamp));
        checked.put_i64(self.records.iter().map(|record| record.timestamp).max().unwrap_or(-1));
        checked.put_i64(self.producer.0);
        checked.put_i16(self.producer.1);
        checked.put_i32(self.producer.2);
        checked.put_i32(self.records.len() as i32);
        checked.extend_from_slice(body);
        let mut bytes = Vec::new();
        bytes.put_i64(7);
        bytes.put_i32(checked.len() as i32 + 9);
        bytes.put_i32(-1);
        bytes.put_i8(2);
        bytes.put_u32(crc32c::crc32c(&checked));
        bytes.extend(checked);
        bytes
    }
}

/// A log in a folder of its own.
pub(super) struct Fixture {
    pub(super) dir: tempfile::TempDir,
    pub(super) log: Option<Log>,
    pub(super) settings: Settings,
    pub(super) files: Rc<Files>,
}

pub(super) const FRESH: Start = Start { start_offset: 0, mark: 0, clean: true };

impl Fixture {
    pub(super) fn new(settings: Settings) -> Self {
        let mut fixture = Self { dir: tempfile::tempdir().unwrap(), log: None, settings, files: Files::new(4) };
        fixture.reopen(FRESH);
        fixture
    }

    pub(super) fn reopen(&mut self, start: Start) -> Recovery {
        self.log = None;
        let (log, recovery) = Log::open(self.dir.path(), Rc::clone(&self.files), start).unwrap();
        self.log = Some(log);
        recovery
    }

    pub(super) fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    pub(super) fn append(&mut self, batch: &Batch) -> Result<Appended, AppendError> {
        self.append_at(batch, NOW)
    }

    pub(super) fn append_at(&mut self, batch: &Batch, now_ms: i64) -> Result<Appended, AppendError> {
        let settings = self.settings;
        self.log().append(&batch.bytes(), &settings, now_ms, false)
    }

    /// One record with `value`; its offset.
    pub(super) fn put(&mut self, key: &str, value: &str) -> i64 {
        self.append(&batch(vec![rec(key, value)])).unwrap().base_offset
    }

    pub(super) fn compact_at(&mut self, now_ms: i64) -> bool {
        let settings = self.settings;
        let Some(job) = self.log().compaction(&settings, now_ms) else { return false };
        let done = job.run().unwrap();
        remove(self.log().install(done).unwrap());
        true
    }

    pub(super) fn names(&self, extension: &str) -> Vec<String> {
        names(self.dir.path(), extension)
    }
}

pub(super) fn names(dir: &Path, extension: &str) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(extension));
    names.sort();
    names
}

pub(super) fn remove(paths: Vec<PathBuf>) {
    for path in paths {
        std::fs::remove_file(path).unwrap();
    }
}

pub(super) fn content(slice: &Slice) -> Vec<u8> {
    let mut bytes = vec![0; slice.len];
    slice.file.read_exact_at(&mut bytes, slice.position).unwrap();
    bytes
}

/// The batches' headers; each is checked.
pub(super) fn headers(mut bytes: &[u8]) -> Vec<Header> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let header = Header::parse(bytes).unwrap();
        let (whole, rest) = bytes.split_at(header.size());
        assert!(header.matches(&whole[batch::HEADER_BYTES..]));
        headers.push(header);
        bytes = rest;
    }
    headers
}

/// The records in `bytes` as `kafka-protocol` sees them, with their offsets.
pub(super) fn decode(bytes: &[u8]) -> Vec<(i64, Rec)> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let header = Header::parse(&rest).unwrap();
        let plain =
            |body: &mut Bytes, _| Ok(Bytes::from(header.codec().unwrap().decompress(body).unwrap().into_owned()));
        let set = RecordBatchDecoder::decode_with_custom_compression(&mut rest, Some(plain)).unwrap();
        assert_eq!(set.records.len() as i32, header.count);
        for record in set.records {
            let timestamp = if header.is_append_time() { header.max_timestamp } else { record.timestamp };
            let [key, value] = [record.key, record.value].map(|field| field.map(|bytes| bytes.to_vec()));
            records.push((record.offset, Rec { key, value, timestamp }));
        }
    }
    records
}

/// Everything from `from` to before `visible_end`, read as a consumer does, `max_bytes` at a time.
pub(super) fn read_all(log: &Log, from: i64, visible_end: i64, max_bytes: usize) -> Vec<(i64, Rec)> {
    let mut records = Vec::new();
    let mut at = from;
    while let Some(slice) = log.read(at, visible_end, max_bytes, true).unwrap() {
        let bytes = content(&slice);
        let batches = headers(&bytes);
        assert!(batches[0].next_offset() > at, "what is read begins with the batch that holds the offset");
        assert!(bytes.len() <= max_bytes || batches.len() == 1);
        records.extend(decode(&bytes).into_iter().filter(|(offset, _)| *offset >= from));
        at = batches.last().unwrap().next_offset();
        assert!(at <= visible_end);
    }
    records
}
