//! The encoding of fetched records against `kafka-protocol`'s.

use super::super::{FetchedPartition, Request, fetch_reply, reply::Part};
use crate::log::Slice;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, FetchResponse, TopicName,
        fetch_response::{FetchableTopicResponse, PartitionData},
    },
    protocol::{Decodable, StrBytes},
};
use proptest::{collection::vec, prelude::*};
use std::{fs::File, io::Write, os::unix::fs::FileExt, sync::Arc};

const FILE_BYTES: usize = 300;

#[derive(Debug, Clone)]
struct Partition {
    index: i32,
    error_code: i16,
    high_watermark: i64,
    log_start_offset: i64,
    records: Option<(usize, usize)>,
}

fn partition() -> impl Strategy<Value = Partition> {
    let range = (0..FILE_BYTES).prop_flat_map(|from| (Just(from), 0..=FILE_BYTES - from));
    (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>(), prop::option::of(range)).prop_map(
        |(index, error_code, high_watermark, log_start_offset, records)| Partition {
            index,
            error_code,
            high_watermark,
            log_start_offset,
            records,
        },
    )
}

fn topics() -> impl Strategy<Value = Vec<(String, Vec<Partition>)>> {
    vec(("[a-z]{0,200}", vec(partition(), 0..5)), 0..4)
}

fn file() -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&contents()).unwrap();
    Arc::new(file)
}

fn contents() -> Vec<u8> {
    (0..FILE_BYTES).map(|n| n as u8).collect()
}

fn given(topics: &[(String, Vec<Partition>)], file: &Arc<File>) -> Vec<(StrBytes, Vec<FetchedPartition>)> {
    let slice = |&(from, len): &(usize, usize)| Slice { file: file.clone(), position: from as u64, len };
    let partition = |p: &Partition| FetchedPartition {
        index: p.index,
        error_code: p.error_code,
        high_watermark: p.high_watermark,
        log_start_offset: p.log_start_offset,
        records: p.records.as_ref().map(slice),
    };
    let topic = |(name, partitions): &(String, Vec<_>)| {
        (StrBytes::from_string(name.clone()), partitions.iter().map(partition).collect())
    };
    topics.iter().map(topic).collect()
}

fn expected(topics: &[(String, Vec<Partition>)], version: i16) -> FetchResponse {
    let contents = contents();
    let partition = |p: &Partition| {
        let records = p.records.map_or(&[][..], |(from, len)| &contents[from..from + len]);
        PartitionData::default()
            .with_partition_index(p.index)
            .with_error_code(p.error_code)
            .with_high_watermark(p.high_watermark)
            .with_last_stable_offset(p.high_watermark)
            .with_log_start_offset(if version >= 5 { p.log_start_offset } else { -1 })
            .with_aborted_transactions(None)
            .with_preferred_read_replica((-1).into())
            .with_records(Some(Bytes::copy_from_slice(records)))
    };
    let topic = |(name, partitions): &(String, Vec<_>)| {
        FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_string(name.clone())))
            .with_partitions(partitions.iter().map(partition).collect())
    };
    FetchResponse::default().with_responses(topics.iter().map(topic).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kafka_protocol_reads_what_is_written(topics in topics(), version in 4_i16..=12) {
        let request = Request { api: ApiKey::Fetch, version, correlation_id: 9, client_id: None, body: Bytes::new() };
        let reply = fetch_reply(&request, given(&topics, &file())).unwrap();
        let (mut bytes, mut files) = (BytesMut::new(), 0);
        let parts = reply.parts.len();
        for part in reply.parts {
            match part {
                Part::Bytes(part) => bytes.extend_from_slice(&part),
                Part::File(slice) => {
                    files += 1;
                    let mut part = vec![0; slice.len];
                    slice.file.read_exact_at(&mut part, slice.position).unwrap();
                    bytes.extend_from_slice(&part);
                }
            }
        }
        prop_assert_eq!(parts, 2 * files + 1, "bytes between files are one part");
        prop_assert_eq!(bytes.get_i32() as usize, bytes.len());
        prop_assert_eq!(bytes.get_i32(), 9);
        if version >= 12 {
            prop_assert_eq!(bytes.get_u8(), 0);
        }
        let decoded = FetchResponse::decode(&mut bytes, version).unwrap();
        prop_assert!(bytes.is_empty());
        prop_assert_eq!(decoded, expected(&topics, version));
    }
}
