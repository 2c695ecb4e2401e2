//! Reads by offset and time, the visible end, retention and deletion.

use super::*;

fn offsets(records: &[(i64, Rec)]) -> Vec<i64> {
    records.iter().map(|(offset, _)| *offset).collect()
}

#[test]
fn reads_end_where_they_must() {
    let mut fixture = Fixture::new(settings());
    for _ in 0..10 {
        fixture.append(&batch(vec![rec("a", "1"); 3])).unwrap();
    }
    let one = fixture.log().size_bytes() as usize / 10;
    let log = fixture.log();
    let len = |offset, end, bytes, force| log.read(offset, end, bytes, force).unwrap().map_or(0, |slice| slice.len);
    assert_eq!(len(0, 30, usize::MAX, false), one * 10);
    assert_eq!(len(4, 30, usize::MAX, false), one * 9, "the batch that holds the offset");
    assert_eq!(len(0, 6, usize::MAX, false), one * 2, "nothing beyond the visible end");
    assert_eq!(len(6, 6, usize::MAX, true), 0);
    assert_eq!(len(9, 6, usize::MAX, true), 0);
    assert_eq!(len(0, 30, one - 1, false), 0);
    assert_eq!(len(0, 30, one - 1, true), one);
    assert_eq!(len(0, 30, 0, true), one);
    assert_eq!(len(0, 30, one * 3 - 1, false), one * 2, "whole batches");
    assert_eq!(len(30, 30, usize::MAX, true), 0);
    for offset in [-1, 31] {
        assert!(matches!(log.read(offset, 30, 1, true), Err(ReadError::OutOfRange)));
    }
}

#[test]
fn reads_go_through_index_and_segments() {
    let mut fixture = Fixture::new(Settings { segment_bytes: 300_000, ..settings() });
    let value = "x".repeat(900);
    for index in 0..1_500 {
        fixture.put(&index.to_string(), &value);
    }
    assert!(fixture.names(".log").len() >= 4);
    for clean in [None, Some(true), Some(false)] {
        if let Some(clean) = clean {
            fixture.log().close().unwrap();
            if !clean {
                for name in fixture.names(".index") {
                    std::fs::write(fixture.dir.path().join(name), b"rubbish").unwrap();
                }
            }
            let recovery = fixture.reopen(Start { clean, ..FRESH });
            assert_eq!(recovery.scanned_bytes == 0, clean);
        }
        let log = fixture.log();
        for (from, end, max_bytes) in [(0, 1_500, 1 << 20), (3, 1_500, 100_000), (700, 1_101, 5_000), (1_200, 1_201, 1)]
        {
            assert_eq!(offsets(&read_all(log, from, end, max_bytes)), (from..end).collect::<Vec<_>>());
        }
        for from in 0..1_500 {
            let slice = log.read(from, 1_500, 1, true).unwrap().unwrap();
            assert_eq!(headers(&content(&slice))[0].base_offset, from);
        }
    }
}

#[test]
fn a_slice_outlives_its_segment() {
    let mut fixture = Fixture::new(Settings { segment_bytes: 1, ..settings() });
    for _ in 0..10 {
        fixture.put("a", "1");
    }
    let slice = fixture.log().read(0, 10, 1_000, true).unwrap().unwrap();
    fixture.log().delete_before(9).unwrap();
    let settings = fixture.settings;
    remove(fixture.log().retain(&settings, NOW).unwrap());
    assert_eq!(decode(&content(&slice)), vec![(0, rec("a", "1"))]);
}

#[test]
fn records_are_found_by_time() {
    let mut fixture = Fixture::new(Settings { segment_bytes: 250, ..settings() });
    assert_eq!(fixture.log().max_timestamp().unwrap(), None);
    assert_eq!(fixture.log().offset_for_time(0).unwrap(), None);
    for (first, second) in [(10, 40), (30, 20), (60, 50), (70, 55), (-1, -1), (65, 80)] {
        let at = |timestamp| Rec { timestamp, ..rec("a", "1") };
        fixture.append(&batch(vec![at(first), at(second)]).codec(Codec::Lz4)).unwrap();
    }
    let log = fixture.log();
    let found: Vec<_> = [0, 11, 40, 41, 61, 71, 81].iter().map(|&time| log.offset_for_time(time).unwrap()).collect();
    let at = |offset, time| Some((offset, time));
    assert_eq!(found, [at(0, 10), at(1, 40), at(1, 40), at(4, 60), at(6, 70), at(11, 80), None]);
    assert_eq!(log.max_timestamp().unwrap(), at(11, 80));
    log.delete_before(7).unwrap();
    assert_eq!(log.offset_for_time(0).unwrap(), at(7, 55));
    assert_eq!(log.offset_for_time(56).unwrap(), at(10, 65));
    log.delete_before(12).unwrap();
    assert_eq!((log.max_timestamp().unwrap(), log.offset_for_time(0).unwrap()), (None, None));
}

#[test]
fn retention_by_time_size_and_offset() {
    let mut fixture = Fixture::new(Settings { segment_bytes: 1, retention_ms: 1_000, ..settings() });
    for age in [5_000, 2_000, 10, 3_000, 0] {
        fixture.append(&batch(vec![Rec { timestamp: NOW - age, ..rec("a", "1") }])).unwrap();
    }
    let policy = fixture.settings;
    let retain = |fixture: &mut Fixture, settings: Settings, now_ms| {
        remove(fixture.log().retain(&settings, now_ms).unwrap());
        fixture.log().start_offset()
    };
    assert_eq!(retain(&mut fixture, Settings { delete: false, ..policy }, NOW), 0);
    assert_eq!(retain(&mut fixture, policy, NOW), 2, "up to the first that is to be kept");
    let one = fixture.log().size_bytes() / 3;
    let by_size = |bytes: u64| Settings { retention_ms: -1, retention_bytes: bytes as i64, ..policy };
    assert_eq!(retain(&mut fixture, by_size(one * 2 + 1), NOW), 2, "never less than what is to be kept");
    assert_eq!(retain(&mut fixture, by_size(one * 2), NOW), 3);
    assert_eq!(retain(&mut fixture, by_size(0), NOW), 4, "the active segment stays");
    assert_eq!(retain(&mut fixture, policy, NOW + 1_001), 5, "unless it is too old");
    assert_eq!((fixture.log().end_offset(), fixture.log().size_bytes()), (5, 0));
    assert_eq!(fixture.put("a", "1"), 5);
    assert_eq!(fixture.log().delete_before(6), Ok(6));
    assert_eq!((fixture.log().delete_before(7), fixture.log().delete_before(2)), (Err(OutOfRange), Ok(6)));
    assert!(matches!(fixture.log().read(5, 6, 1, true), Err(ReadError::OutOfRange)));
    assert_eq!(retain(&mut fixture, policy, NOW), 6);
    assert_eq!((fixture.names(".log"), fixture.log().size_bytes()), (vec![format!("{:020}.log", 6)], 0));
}

#[test]
fn records_without_timestamps_age_by_their_file() {
    let mut fixture = Fixture::new(Settings { retention_ms: 1_000, ..settings() });
    fixture.append(&batch(vec![Rec { timestamp: -1, ..rec("a", "1") }])).unwrap();
    let (policy, log) = (fixture.settings, fixture.log.as_mut().unwrap());
    let written = upkeep::modified_ms(&log.file(log.active()).unwrap()).unwrap();
    assert!(log.retain(&policy, written + 1_000).unwrap().is_empty());
    assert_eq!(log.retain(&policy, written + 1_001).unwrap().len(), 1);
}

#[test]
fn what_is_dirty_is_given_once() {
    let mut fixture = Fixture::new(Settings { segment_bytes: 1, ..settings() });
    assert_eq!(fixture.log().dirty().unwrap().len(), 1, "the folder");
    assert!(fixture.log().dirty().unwrap().is_empty());
    fixture.put("a", "1");
    assert_eq!(fixture.log().dirty().unwrap().len(), 1);
    fixture.put("a", "1");
    fixture.put("a", "1");
    assert_eq!(fixture.names(".index").len(), 0, "a sidecar vouches for what is on the disk");
    assert_eq!(fixture.log().dirty().unwrap().len(), 3, "the segments written since, and the folder");
    assert_eq!(fixture.names(".index").len(), 1);
    assert!(fixture.log().dirty().unwrap().is_empty());
    assert_eq!(fixture.names(".index").len(), 2);
    assert!(fixture.names(".producers").len() <= 3);
}

#[test]
fn few_files_are_open() {
    let mut fixture = Fixture::new(Settings { segment_bytes: 1, ..settings() });
    for _ in 0..20 {
        fixture.put("a", "1");
    }
    assert_eq!(read_all(fixture.log(), 0, 20, 1_000).len(), 20);
    let slice = fixture.log().read(0, 20, 1_000, true).unwrap().unwrap();
    for other in 1..20 {
        fixture.log().read(other, 20, 1_000, true).unwrap();
    }
    assert_eq!(std::sync::Arc::strong_count(&slice.file), 1, "only the slice holds it");
}
