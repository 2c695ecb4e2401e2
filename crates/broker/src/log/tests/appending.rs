//! What may enter the log, with which timestamps, and what a failed write leaves.

use super::*;
use kafka_protocol::ResponseError;

fn refused(fixture: &mut Fixture, bytes: &[u8]) -> ResponseError {
    let settings = fixture.settings;
    let error = fixture.log().append(bytes, &settings, NOW, false).unwrap_err();
    assert_eq!(fixture.log().end_offset(), 0);
    error.code()
}

#[test]
fn a_batch_that_is_not_whole_is_refused() {
    let mut fixture = Fixture::new(settings());
    let good = batch(vec![rec("a", "1"), rec("b", "2")]);
    let bytes = good.bytes();
    for length in 0..bytes.len() {
        assert_eq!(refused(&mut fixture, &bytes[..length]), ResponseError::CorruptMessage);
    }
    assert_eq!(refused(&mut fixture, &[bytes.clone(), bytes.clone()].concat()), ResponseError::InvalidRecord);
    for position in [17, 25, 40, 58, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1;
        assert_eq!(refused(&mut fixture, &damaged), ResponseError::CorruptMessage, "byte {position}");
    }
    let mut old = bytes.clone();
    old[16] = 1;
    assert_eq!(refused(&mut fixture, &old), ResponseError::InvalidRecord);
    assert_eq!(refused(&mut fixture, &batch(vec![]).bytes()), ResponseError::InvalidRecord);
    fixture.settings.max_message_bytes = bytes.len() - 1;
    assert_eq!(refused(&mut fixture, &bytes), ResponseError::MessageTooLarge);
}

#[test]
fn what_is_kafka_s_own_is_refused() {
    let mut fixture = Fixture::new(settings());
    let mut sent = batch(vec![rec("a", "1")]);
    for attributes in [0x10, 0x20, 0x40] {
        sent.attributes = attributes;
        assert_eq!(refused(&mut fixture, &sent.bytes()), ResponseError::InvalidRecord);
    }
    sent.attributes = 5;
    assert_eq!(refused(&mut fixture, &sent.bytes()), ResponseError::UnsupportedCompressionType);
    let sent = batch(vec![rec("a", "1")]).producer(1, -1, 0);
    assert_eq!(refused(&mut fixture, &sent.bytes()), ResponseError::InvalidRecord);
}

#[test]
fn records_that_a_consumer_could_not_read_are_refused() {
    let mut fixture = Fixture::new(settings());
    let two = batch(vec![rec("a", "1"), rec("b", "2")]);
    let body = two.body();
    assert_eq!(refused(&mut fixture, &two.with_body(&body[..body.len() - 1])), ResponseError::InvalidRecord);
    assert_eq!(refused(&mut fixture, &two.with_body(&[&body[..], &[0]].concat())), ResponseError::InvalidRecord);
    let same = [&body[..body.len() / 2], &body[..body.len() / 2]].concat();
    assert_eq!(refused(&mut fixture, &two.with_body(&same)), ResponseError::InvalidRecord);
    let mut headers = two.clone();
    headers.headers = vec![(vec![0xff, 0xfe], None)];
    assert_eq!(refused(&mut fixture, &headers.bytes()), ResponseError::InvalidRecord);
    let compressed = two.clone().codec(Codec::Gzip);
    assert_eq!(refused(&mut fixture, &compressed.with_body(&body)), ResponseError::InvalidRecord);
    let settings = fixture.settings;
    let taken = fixture.log().append(&two.with_body(&same), &settings, NOW, true);
    assert!(taken.is_ok(), "a trusted client's records are not looked into");
}

#[test]
fn a_compacted_topic_needs_keys_even_of_trusted_clients() {
    let mut fixture = Fixture::new(Settings { compact: true, ..settings() });
    let sent = batch(vec![rec("a", "1"), Rec { key: None, ..rec("", "2") }]);
    assert_eq!(refused(&mut fixture, &sent.bytes()), ResponseError::InvalidRecord);
    let settings = fixture.settings;
    assert!(fixture.log().append(&sent.bytes(), &settings, NOW, true).is_err());
}

#[test]
fn own_timestamps_must_be_in_range() {
    let limits = Settings { timestamp_before_max_ms: 1_000, timestamp_after_max_ms: 10, ..settings() };
    let mut fixture = Fixture::new(limits);
    let at = |timestamp| batch(vec![rec("a", "1"), Rec { timestamp, ..rec("b", "2") }, rec("c", "3")]);
    for timestamp in [NOW - 1_001, NOW + 11, -2] {
        assert_eq!(refused(&mut fixture, &at(timestamp).bytes()), ResponseError::InvalidTimestamp);
    }
    let mut pretends = at(NOW);
    pretends.attributes = 8;
    assert_eq!(refused(&mut fixture, &pretends.bytes()), ResponseError::InvalidTimestamp);
    for timestamp in [NOW - 1_000, NOW + 10, -1] {
        assert_eq!(fixture.append(&at(timestamp)).unwrap().append_time_ms, -1);
    }
    let read = read_all(fixture.log(), 0, 9, 1 << 20);
    let times = [NOW, NOW - 1_000, NOW, NOW, NOW + 10, NOW, NOW, -1, NOW];
    assert_eq!(read.iter().map(|(_, record)| record.timestamp).collect::<Vec<_>>(), times);
}

#[test]
fn a_false_maximum_is_put_right() {
    let mut fixture = Fixture::new(settings());
    let honest = batch(vec![rec("a", "1"), Rec { timestamp: NOW + 5, ..rec("b", "2") }]);
    let mut header = Header::parse(&honest.bytes()).unwrap();
    header.set_timestamps(false, NOW + 1_000_000);
    header.seal(&honest.body());
    let settings = fixture.settings;
    fixture.log().append(&[&header.to_bytes()[..], &honest.body()].concat(), &settings, NOW, false).unwrap();
    assert_eq!(fixture.log().max_timestamp().unwrap(), Some((1, NOW + 5)));
    let slice = fixture.log().read(0, 2, 1_000, true).unwrap().unwrap();
    assert_eq!(headers(&content(&slice))[0].max_timestamp, NOW + 5);
}

#[test]
fn append_time_never_steps_back_and_the_checksum_fits() {
    let mut fixture = Fixture::new(Settings { append_time: true, ..settings() });
    let sent = batch(vec![rec("a", "1"), Rec { timestamp: 5, ..rec("b", "2") }]);
    let times = [NOW, NOW - 500, NOW + 3].map(|now| fixture.append_at(&sent, now).unwrap().append_time_ms);
    assert_eq!(times, [NOW, NOW, NOW + 3]);
    fixture.log().close().unwrap();
    for start in [FRESH, Start { clean: false, ..FRESH }] {
        fixture.reopen(start);
        assert_eq!(fixture.append_at(&sent, NOW).unwrap().append_time_ms, NOW + 3);
    }
    let read = read_all(fixture.log(), 0, 10, 1 << 20);
    assert_eq!(read.len(), 10);
    assert!(read.iter().all(|(_, record)| record.timestamp >= NOW));
}

#[test]
fn offsets_epoch_and_nothing_else_change() {
    let mut fixture = Fixture::new(settings());
    let sent = batch(vec![rec("a", "1"), rec("b", "2")]).codec(Codec::Zstd);
    let first = fixture.append(&sent).unwrap();
    let second = fixture.append(&sent).unwrap();
    let expected = Appended { base_offset: 0, last_offset: 1, append_time_ms: -1, duplicate: false };
    assert_eq!(first, expected);
    assert_eq!((second.base_offset, second.last_offset), (2, 3));
    let slice = fixture.log().read(2, 4, 1_000, true).unwrap().unwrap();
    let mut stored = sent.bytes();
    stored[..8].copy_from_slice(&2i64.to_be_bytes());
    stored[12..16].fill(0);
    assert_eq!(content(&slice), stored);
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    let mut fixture = Fixture::new(settings());
    let sent = batch(vec![rec("a", "1")]).producer(9, 0, 0);
    fixture.append(&sent).unwrap();
    let size = fixture.log().size_bytes();
    let next = batch(vec![rec("b", "2")]).producer(9, 0, 1);
    for _ in 0..3 {
        files::faults::fail_next_write();
        let error = fixture.append(&next).unwrap_err();
        assert_eq!(error.code(), ResponseError::KafkaStorageError);
        assert_eq!((fixture.log().end_offset(), fixture.log().size_bytes()), (1, size));
        let path = fixture.dir.path().join("00000000000000000000.log");
        assert_eq!(std::fs::metadata(path).unwrap().len(), size);
    }
    assert_eq!(fixture.append(&next).unwrap().base_offset, 1);
    assert!(fixture.append(&next).unwrap().duplicate);
    assert_eq!(read_all(fixture.log(), 0, 2, 1_000).len(), 2);
}

#[test]
fn segments_roll_by_size_and_age() {
    let mut fixture = Fixture::new(Settings { segment_bytes: 200, segment_ms: 1_000, ..settings() });
    for _ in 0..4 {
        fixture.put("a", "1");
    }
    assert_eq!(fixture.names(".log").len(), 2);
    fixture.append_at(&batch(vec![rec("a", "1")]), NOW + 999).unwrap();
    assert_eq!(fixture.names(".log").len(), 3);
    fixture.append_at(&batch(vec![rec("a", "1")]), NOW + 1_998).unwrap();
    assert_eq!(fixture.names(".log").len(), 3);
    fixture.append_at(&batch(vec![rec("a", "1")]), NOW + 1_999).unwrap();
    assert_eq!(fixture.names(".log").len(), 4);
    let large = batch(vec![rec("a", &"x".repeat(500))]);
    assert_eq!(fixture.append_at(&large, NOW + 1_999).unwrap().base_offset, 7);
    assert_eq!(read_all(fixture.log(), 0, 8, 1).len(), 8);
}
