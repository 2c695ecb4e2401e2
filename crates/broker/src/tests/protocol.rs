//! What the protocol promises, over the wire: answers in order, long polls, limits and their errors. Not here: what a principal
//! may do (`locked`), state over time (`model`, `crash`).

use super::{
    Running,
    batch::{Entry, PLAIN, Sender, encode},
    calls::{EARLIEST, From, LATEST, NO_WAIT, Wait, fetch, refusal},
    client::Client,
    group_calls::Member,
};
use crate::{Broker, Config};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{AddPartitionsToTxnRequest, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, ProduceRequest},
    protocol::{Decodable, Request, StrBytes},
    records::Compression,
};
use std::time::{Duration, Instant};

/// A wait no test sits through: whoever gets an answer much earlier was woken.
const LONG: Wait = Wait { max_ms: 50_000, min_bytes: 1, max_bytes: 1 << 20 };
const MUCH_EARLIER: Duration = Duration::from_secs(25);

fn one(value: &str) -> Bytes {
    encode(&[Entry::new("k", value)], PLAIN, Compression::None)
}

fn start_of(topic: &str) -> From<'_> {
    From { topic, partition: 0, offset: 0, max_bytes: 1 << 20 }
}

#[test]
fn ten_brokers_run_in_one_process() {
    let brokers: Vec<Running> = (0..10).map(|_| Running::start()).collect();
    for (index, broker) in brokers.iter().enumerate() {
        let mut client = broker.client();
        client.create_topic("t", 1, &[]).unwrap();
        for _ in 0..=index {
            client.produce("t", 0, one("v")).unwrap();
        }
    }
    let mut clusters: Vec<String> = Vec::new();
    for (index, broker) in brokers.into_iter().enumerate() {
        let mut client = broker.client();
        assert_eq!(client.list_offset("t", 0, LATEST).unwrap().0, index as i64 + 1);
        clusters.push(client.metadata(None).unwrap().cluster_id.unwrap().to_string());
        broker.handle.shutdown().unwrap();
    }
    clusters.sort();
    clusters.dedup();
    assert_eq!(clusters.len(), 10, "each is a cluster of its own");
}

#[test]
fn a_folder_belongs_to_one_broker() {
    let first = Running::start();
    let refused = Broker::start(Config::open_to_all(first.dir.path())).unwrap_err().to_string();
    assert!(refused.contains(first.dir.path().to_str().unwrap()), "it names the folder: {refused}");
    first.client().create_topic("t", 1, &[]).unwrap();
    first.handle.shutdown().unwrap();
    let second = Broker::start(Config::open_to_all(first.dir.path())).unwrap();
    let mut client = Client::connect(second.address()).unwrap();
    assert_eq!(client.list_offset("t", 0, LATEST).unwrap().0, 0);
}

#[test]
fn every_codec_comes_back_as_it_went() {
    let broker = Running::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).unwrap();
    let entries = [
        Entry::new("a", "1"),
        Entry { key: None, ..Entry::new("", "2") },
        Entry { value: None, ..Entry::new("c", "") },
    ];
    for (index, codec) in super::batch::CODECS.into_iter().enumerate() {
        let produced = client.produce("t", 0, encode(&entries, PLAIN, codec)).unwrap();
        assert_eq!(produced.base_offset, 3 * index as i64);
    }
    let read = client.fetch_to_end("t", 0, 0).unwrap();
    let expected = (0..5).flat_map(|_| entries.iter().cloned()).enumerate();
    let expected: Vec<_> = expected.map(|(offset, entry)| (offset as i64, entry)).collect();
    assert_eq!(read.into_iter().flat_map(|batch| batch.entries).collect::<Vec<_>>(), expected);
}

/// Names are asked for since version 3 (KIP-511).
fn hello() -> ApiVersionsRequest {
    let word = StrBytes::from_static_str("tests");
    ApiVersionsRequest::default().with_client_software_name(word.clone()).with_client_software_version(word)
}

/// The body of a request whose version the broker does not have, as a client of the future sends it.
fn future_api_versions() -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i16(ApiVersionsRequest::KEY);
    frame.put_i16(99);
    frame.put_i32(7);
    frame.put_slice(b"\0\x05tests\0");
    framed(&frame)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[test]
fn a_client_of_the_future_is_told_what_there_is() {
    let broker = Running::start();
    let mut client = broker.client();
    client.send_raw(&future_api_versions()).unwrap();
    let mut answer = client.receive_raw().unwrap();
    assert_eq!(answer.get_i32(), 7);
    let answer = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!(answer.error_code, ResponseError::UnsupportedVersion.code());
    assert!(answer.api_keys.iter().any(|api| api.api_key == ApiVersionsRequest::KEY && api.max_version >= 3));
    let again = client.call(3, &hello()).unwrap();
    assert_eq!(again.error_code, 0, "the connection goes on");
}

/// A frame with a header of version 1 and nothing else.
fn bare(api: i16, version: i16) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i16(api);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    framed(&frame)
}

#[test]
fn what_it_does_not_have_closes_the_connection() {
    let broker = Running::with(|config| config.limits.request_bytes = 1 << 20);
    let mut refused = vec![
        bare(9_999, 0),
        bare(-1, 0),
        bare(AddPartitionsToTxnRequest::KEY, 0),
        bare(MetadataRequest::KEY, 99),
        bare(MetadataRequest::KEY, -1),
        ((1 << 20) + 1_i32).to_be_bytes().to_vec(),
        i32::MAX.to_be_bytes().to_vec(),
        (-1_i32).to_be_bytes().to_vec(),
        framed(b""),
        framed(b"\0"),
    ];
    // Advertised from version 0, as librdkafka wants it (KAFKA-18659), served from 3.
    refused.extend((0..3).map(|version| bare(ProduceRequest::KEY, version)));
    for frame in refused {
        let mut client = broker.client();
        client.send_raw(&frame).unwrap();
        client.expect_closed();
    }
    assert!(broker.client().metadata(None).is_ok(), "others are not disturbed");
}

#[test]
fn a_long_poll_wakes_at_a_produce() {
    let broker = Running::start();
    let (mut reader, mut writer) = (broker.client(), broker.client());
    writer.create_topic("t", 1, &[]).unwrap();
    for round in 0..20 {
        let since = Instant::now();
        let from = [From { offset: round, ..start_of("t") }];
        reader.send(12, &fetch(&from, LONG)).unwrap();
        writer.produce("t", 0, one("v")).unwrap();
        let fetched = reader.receive_fetched(12, &from).unwrap().remove(0).unwrap();
        assert_eq!(fetched.batches[0].base_offset, round);
        assert!(since.elapsed() < MUCH_EARLIER);
    }
}

#[test]
fn a_long_poll_waits_for_enough_or_the_time() {
    let broker = Running::start();
    let (mut reader, mut writer) = (broker.client(), broker.client());
    writer.create_topic("t", 1, &[]).unwrap();
    writer.produce("t", 0, one("v")).unwrap();
    let since = Instant::now();
    let (from, patient) = ([start_of("t")], Wait { max_ms: 200, min_bytes: 10_000, ..LONG });
    let fetched = reader.fetch_all(&from, patient).unwrap().remove(0).unwrap();
    assert!(since.elapsed() >= Duration::from_millis(200), "it waited for more");
    assert_eq!(fetched.batches.len(), 1, "and gives what there is");
    reader.send(12, &fetch(&from, Wait { min_bytes: 10_000, ..LONG })).unwrap();
    writer.produce("t", 0, one(&"v".repeat(20_000))).unwrap();
    assert_eq!(reader.receive_fetched(12, &from).unwrap().remove(0).unwrap().batches.len(), 2);
}

#[test]
fn a_request_behind_a_long_poll_does_not_wait_for_it() {
    let broker = Running::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).unwrap();
    let since = Instant::now();
    client.send(12, &fetch(&[start_of("t")], LONG)).unwrap();
    client.send(12, &MetadataRequest::default().with_topics(None)).unwrap();
    assert!(client.receive_fetched(12, &[start_of("t")]).unwrap()[0].as_ref().unwrap().batches.is_empty());
    assert_eq!(client.receive::<MetadataRequest>(12).unwrap().topics.len(), 1);
    assert!(since.elapsed() < MUCH_EARLIER);
}

#[test]
fn a_long_poll_hears_that_its_topic_is_gone() {
    let broker = Running::start();
    let (mut reader, mut operator) = (broker.client(), broker.client());
    operator.create_topic("t", 1, &[]).unwrap();
    let since = Instant::now();
    reader.send(12, &fetch(&[start_of("t")], LONG)).unwrap();
    operator.delete_topic("t").unwrap();
    let answer = reader.receive_fetched(12, &[start_of("t")]).unwrap().remove(0);
    assert_eq!(refusal(answer), Some(ResponseError::UnknownTopicOrPartition));
    assert!(since.elapsed() < MUCH_EARLIER);
}

#[test]
fn shutdown_does_not_wait_for_long_polls() {
    let broker = Running::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).unwrap();
    client.send(12, &fetch(&[start_of("t")], LONG)).unwrap();
    let since = Instant::now();
    broker.handle.shutdown().unwrap();
    assert!(since.elapsed() < MUCH_EARLIER);
}

#[test]
fn pipelined_produces_are_answered_in_order() {
    let broker = Running::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).unwrap();
    for _ in 0..100 {
        client.send_produce(&[("t", 0, one("v"))]).unwrap();
    }
    for index in 0..100 {
        assert_eq!(client.receive_produced(9).unwrap().base_offset, index);
    }
}

#[test]
fn acks_0_is_written_and_not_answered() {
    let broker = Running::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).unwrap();
    client.produce_unanswered(&[("t", 0, one("v"))]).unwrap();
    assert_eq!(client.list_offset("t", 0, LATEST).unwrap().0, 1);
    client.produce_unanswered(&[("nowhere", 0, one("v"))]).unwrap();
    client.expect_closed();
}

#[test]
fn a_retried_batch_is_kept_once_and_a_gap_is_refused() {
    let broker = Running::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).unwrap();
    let (id, epoch) = client.init_producer_id().unwrap();
    assert_ne!(id, client.init_producer_id().unwrap().0);
    let batch = |sequence| encode(&[Entry::new("k", "v")], Sender { id, epoch, sequence }, Compression::None);
    for sequence in [0, 1, 0, 1, 2, 2] {
        assert_eq!(client.produce("t", 0, batch(sequence)).unwrap().base_offset, i64::from(sequence));
    }
    assert_eq!(refusal(client.produce("t", 0, batch(4))), Some(ResponseError::OutOfOrderSequenceNumber));
    assert_eq!(client.list_offset("t", 0, LATEST).unwrap().0, 3);
}

#[test]
fn limits_say_what_is_too_much() {
    let broker = Running::with(|config| config.limits.partitions = 5);
    let mut client = broker.client();
    client.create_topic("t", 3, &[("max.message.bytes", "2000")]).unwrap();
    assert_eq!(refusal(client.create_topic("u", 3, &[])), Some(ResponseError::InvalidPartitions));
    client.create_topic("u", 2, &[]).unwrap();
    assert_eq!(refusal(client.add_partitions("u", 3)), Some(ResponseError::InvalidPartitions));
    assert_eq!(refusal(client.produce("t", 0, one(&"v".repeat(2_000)))), Some(ResponseError::MessageTooLarge));
    client.produce("t", 0, one("small")).unwrap();
    client.delete_topic("u").unwrap();
    client.create_topic("w", 2, &[]).unwrap();
}

#[test]
fn one_connection_too_many_is_closed_and_a_place_comes_free() {
    let broker = Running::with(|config| config.limits.connections = 2);
    let (mut first, mut second) = (broker.client(), broker.client());
    first.metadata(None).unwrap();
    second.metadata(None).unwrap();
    broker.client().expect_closed();
    drop(first);
    // The broker hears of it in its own time.
    while broker.client().metadata(None).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    second.metadata(None).unwrap();
}

#[test]
fn groups_are_bounded_in_size_and_number() {
    let broker = Running::with(|config| (config.limits.groups, config.limits.group_members) = (2, 1));
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).unwrap();
    client.join("a", "t").unwrap();
    assert_eq!(refusal(client.join("a", "t")), Some(ResponseError::GroupMaxSizeReached));
    let commit = |client: &mut Client, group| {
        client.commit(group, &Member::none(), &[("t", 0, 1, String::new())]).unwrap().remove(0)
    };
    commit(&mut client, "b").unwrap();
    assert_eq!(refusal(commit(&mut client, "c")), Some(ResponseError::GroupMaxSizeReached));
    assert_eq!(refusal(client.join("d", "t")), Some(ResponseError::GroupMaxSizeReached));
    commit(&mut client, "b").unwrap();
}

#[test]
fn a_restart_forgets_members_and_keeps_offsets() {
    let broker = Running::start();
    let mut client = broker.client();
    client.create_topic("t", 1, &[]).unwrap();
    let member = client.join("g", "t").unwrap();
    client.heartbeat("g", &member).unwrap();
    client.commit("g", &member, &[("t", 0, 17, "note".into())]).unwrap().remove(0).unwrap();
    let before = client.metadata(None).unwrap();
    broker.handle.shutdown().unwrap();
    client.expect_closed();
    let again = Broker::start(Config::open_to_all(broker.dir.path())).unwrap();
    let mut client = Client::connect(again.address()).unwrap();
    assert_eq!(refusal(client.heartbeat("g", &member)), Some(ResponseError::UnknownMemberId));
    assert_eq!(client.committed("g").unwrap(), [(("t".into(), 0), (17, "note".into()))].into());
    let after = client.metadata(None).unwrap();
    assert_eq!((after.cluster_id, after.topics), (before.cluster_id, before.topics));
}

#[test]
fn old_records_go_in_the_background() {
    let broker = Running::with(|config| config.housekeeping = Duration::from_millis(20));
    let mut client = broker.client();
    client.create_topic("t", 1, &[("retention.ms", "1"), ("message.timestamp.type", "LogAppendTime")]).unwrap();
    for _ in 0..10 {
        client.produce("t", 0, one("v")).unwrap();
    }
    while client.list_offset("t", 0, EARLIEST).unwrap().0 < 10 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(refusal(client.fetch("t", 0, 3, 1_000)), Some(ResponseError::OffsetOutOfRange));
    assert_eq!(client.produce("t", 0, one("v")).unwrap().base_offset, 10);
    let answer = client.fetch_all(&[From { offset: 11, ..start_of("t") }], NO_WAIT).unwrap().remove(0).unwrap();
    assert_eq!(answer.high_watermark, 11);
}
