//! Compaction: by example, against a map, and through a crash at each step of the swap.

use super::*;
use proptest::prelude::*;
use std::{collections::HashMap, fs};

const UNCLEAN: Start = Start { clean: false, ..FRESH };

fn compacted() -> Settings {
    Settings { segment_bytes: 400, compact: true, delete: false, retention_ms: 0, ..settings() }
}

fn tombstone(key: &str) -> Rec {
    Rec { value: None, ..rec(key, "") }
}

/// Seals what is there, so that it can be compacted.
fn seal(fixture: &mut Fixture) {
    let end = fixture.log().end_offset();
    if fixture.log().active().size > 0 {
        fixture.log().roll(end).unwrap();
    }
}

fn everything(fixture: &mut Fixture) -> Vec<(i64, Rec)> {
    let (start, end) = (fixture.log().start_offset(), fixture.log().end_offset());
    read_all(fixture.log(), start, end, 1_000)
}

fn found(fixture: &mut Fixture) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let all = everything(fixture).into_iter();
    all.map(|(offset, record)| (offset, text(record.key.unwrap()), record.value.map(text))).collect()
}

fn value(offset: i64, key: &str, value: &str) -> (i64, String, Option<String>) {
    (offset, key.into(), Some(value.into()))
}

#[test]
fn the_last_value_of_each_key_stays_where_it_was() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut fixture = Fixture::new(compacted());
        let first = batch(vec![rec("a", "1"), rec("b", "1"), rec("a", "2"), rec("c", "1")]).codec(codec);
        let mut second =
            batch(vec![rec("b", "2"), Rec { timestamp: NOW + 9, ..rec("c", "2") }, rec("d", "1")]).codec(codec);
        second.headers = vec![(b"h".to_vec(), Some(b"1".to_vec())), (b"h".to_vec(), None)];
        fixture.append(&first.producer(7, 0, 0)).unwrap();
        fixture.append(&second.producer(7, 0, 4)).unwrap();
        fixture.append(&batch(vec![rec("c", "3")]).codec(codec)).unwrap();
        seal(&mut fixture);
        fixture.append(&batch(vec![rec("a", "9")])).unwrap();
        assert!(fixture.compact_at(NOW));
        let expected =
            [value(2, "a", "2"), value(4, "b", "2"), value(6, "d", "1"), value(7, "c", "3"), value(8, "a", "9")];
        assert_eq!(found(&mut fixture), expected);
        let slice = fixture.log().read(5, 8, 1_000, true).unwrap().unwrap();
        let bytes = content(&slice);
        let header = headers(&bytes)[0];
        assert_eq!((header.base_offset, header.next_offset(), header.count), (4, 7, 2));
        assert_eq!((header.producer_id, header.base_sequence, header.max_timestamp), (7, 4, NOW));
        assert_eq!(header.codec(), Some(codec));
        let body = header.records(&bytes[batch::HEADER_BYTES..header.size()]).unwrap().into_owned();
        let both = b"\x02h\x021\x02h\x01";
        assert_eq!(body.windows(both.len()).filter(|window| window == both).count(), 2, "headers occur twice");
        assert!(!fixture.compact_at(NOW), "there is nothing new");
    }
}

#[test]
fn tombstones_stay_until_their_horizon() {
    let mut fixture = Fixture::new(compacted());
    let both = vec![
        rec("a", "1"),
        Rec { timestamp: NOW - 77, ..tombstone("b") },
        Rec { timestamp: NOW + 5, ..tombstone("a") },
    ];
    fixture.append(&batch(both.clone()).codec(Codec::Zstd)).unwrap();
    let again = |fixture: &mut Fixture, now_ms: i64| {
        seal(fixture);
        fixture.append(&batch(vec![rec("x", &"y".repeat(400)); 3])).unwrap();
        seal(fixture);
        assert!(fixture.compact_at(now_ms));
        everything(fixture).into_iter().filter(|(offset, _)| *offset < 3).collect::<Vec<_>>()
    };
    let kept = vec![(1, both[1].clone()), (2, both[2].clone())];
    assert_eq!(again(&mut fixture, NOW), kept, "with their own timestamps");
    assert_eq!(fixture.log().offset_for_time(NOW + 1).unwrap(), Some((2, NOW + 5)));
    assert_eq!(again(&mut fixture, NOW + 999), kept);
    assert_eq!(again(&mut fixture, NOW + 1_000), vec![]);
}

#[test]
fn what_is_too_young_or_still_written_to_is_left_alone() {
    let mut fixture = Fixture::new(Settings { min_compaction_lag_ms: 100, ..compacted() });
    fixture.put("a", "1");
    fixture.put("a", "2");
    assert!(!fixture.compact_at(NOW + 1_000), "the active segment");
    seal(&mut fixture);
    assert!(!fixture.compact_at(NOW + 99));
    fixture.settings.compact = false;
    assert!(!fixture.compact_at(NOW + 1_000));
    fixture.settings.compact = true;
    assert!(fixture.compact_at(NOW + 100));
    assert_eq!(found(&mut fixture), [value(1, "a", "2")]);
}

#[test]
fn a_consumer_passes_over_what_is_gone() {
    let mut fixture = Fixture::new(compacted());
    for _ in 0..20 {
        fixture.put("a", "1");
        seal(&mut fixture);
    }
    fixture.put("a", "2");
    seal(&mut fixture);
    fixture.compact_at(NOW);
    assert!(fixture.names(".log").len() < 10, "small neighbours become one");
    for start in [FRESH, UNCLEAN] {
        for from in 0..21 {
            assert_eq!(read_all(fixture.log(), from, 21, 1_000), [(20, rec("a", "2"))]);
            assert!(read_all(fixture.log(), from, 20, 1_000).is_empty());
        }
        fixture.log().close().unwrap();
        fixture.reopen(start);
        assert_eq!((fixture.log().start_offset(), fixture.log().end_offset()), (0, 21));
    }
}

#[test]
fn retention_may_be_quicker() {
    let mut fixture = Fixture::new(compacted());
    for index in 0..12 {
        fixture.put("a", &index.to_string());
    }
    seal(&mut fixture);
    let policy = fixture.settings;
    let job = fixture.log().compaction(&policy, NOW).unwrap();
    let done = job.run().unwrap();
    fixture.log().delete_before(12).unwrap();
    remove(fixture.log().retain(&policy, NOW).unwrap());
    assert!(fixture.log().install(done).unwrap().is_empty());
    assert!(fixture.names(".cleaned").is_empty());
    assert_eq!(fixture.put("a", "1"), 12);
    assert_eq!(found(&mut fixture), [value(12, "a", "1")]);
}

#[test]
fn damage_stops_a_job_and_changes_nothing() {
    let mut fixture = Fixture::new(compacted());
    fixture.put("a", "1");
    fixture.put("a", "2");
    seal(&mut fixture);
    let path = fixture.dir.path().join(&fixture.names(".log")[0]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[65] ^= 1;
    fs::write(path, bytes).unwrap();
    let policy = fixture.settings;
    let job = fixture.log().compaction(&policy, NOW).unwrap();
    assert_eq!(job.run().unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(fixture.names(".cleaned").is_empty());
}

/// A swap of two segments for one, stopped after `steps`.
fn stopped_after(steps: usize) -> Fixture {
    let mut fixture = Fixture::new(Settings { segment_bytes: 160, ..compacted() });
    for key in ["a", "b", "a", "b", "c"] {
        fixture.put(key, "1");
    }
    seal(&mut fixture);
    fixture.log().dirty().unwrap();
    fixture.log().dirty().unwrap();
    fixture.settings.segment_bytes = 10_000;
    let policy = fixture.settings;
    let job = fixture.log().compaction(&policy, NOW).unwrap();
    job.run().unwrap();
    let range = &fixture.names(".cleaned")[0];
    let cleaned = fixture.dir.path().join(range);
    let logs = fixture.names(".log");
    let path = |name: &str| fixture.dir.path().join(name);
    let mut moves = vec![(cleaned.clone(), cleaned.with_extension("swap"))];
    moves.extend(logs[..3].iter().map(|name| (path(name), path(&format!("{name}.deleted")))));
    moves.push((cleaned.with_extension("swap"), path(&logs[0])));
    for (from, to) in moves.into_iter().take(steps) {
        fs::rename(&from, to).unwrap();
        let _ = fs::remove_file(from.with_extension("index"));
    }
    fixture
}

#[test]
fn a_swap_is_done_or_not_done() {
    for steps in 0..=5 {
        let mut fixture = stopped_after(steps);
        fixture.reopen(UNCLEAN);
        let kept: Vec<i64> = everything(&mut fixture).into_iter().map(|(offset, _)| offset).collect();
        let expected = if steps == 0 { vec![0, 1, 2, 3, 4] } else { vec![2, 3, 4] };
        assert_eq!(kept, expected, "after {steps} steps");
        assert_eq!(fixture.names(".log").len(), if steps == 0 { 4 } else { 2 });
        assert!(fixture.names("swap").is_empty() && fixture.names("cleaned").is_empty());
        assert!(fixture.names("deleted").is_empty());
        assert_eq!(fixture.put("d", "1"), 5);
    }
}

#[derive(Debug, Clone)]
enum Op {
    Append(Vec<(u8, bool)>, Codec),
    Compact { keys: usize },
    Wait { ms: i64 },
    Sync,
    Reopen { clean: bool },
}

/// A job of 5 keys can take at least one batch.
fn op() -> impl Strategy<Value = Op> {
    let codec = prop::sample::select(vec![Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]);
    prop_oneof![
        8 => (prop::collection::vec((0u8..12, prop::bool::weighted(0.2)), 1..6), codec)
            .prop_map(|(records, codec)| Op::Append(records, codec)),
        3 => prop::sample::select(vec![5, 8, 1_000]).prop_map(|keys| Op::Compact { keys }),
        1 => (0i64..800).prop_map(|ms| Op::Wait { ms }),
        1 => Just(Op::Sync),
        1 => any::<bool>().prop_map(|clean| Op::Reopen { clean }),
    ]
}

/// What was appended, and when.
#[derive(Default)]
struct Model {
    history: Vec<(i64, Rec)>,
    latest: HashMap<Vec<u8>, i64>,
}

impl Model {
    fn check(&self, fixture: &mut Fixture, now_ms: i64) {
        let kept: HashMap<i64, Rec> = everything(fixture).into_iter().collect();
        for (offset, record) in &self.history {
            match kept.get(offset) {
                Some(found) => assert_eq!(found, record),
                None => {
                    let superseded = self.latest[record.key.as_ref().unwrap()] > *offset;
                    let expired = record.value.is_none() && now_ms >= record.timestamp + 1_000;
                    assert!(superseded || expired, "offset {offset} is gone");
                }
            }
        }
        assert!(kept.keys().all(|offset| (*offset as usize) < self.history.len()));
        let cleaned_upto = fixture.log().cleaned_upto;
        let mut clean: Vec<_> = kept.iter().filter(|(offset, _)| **offset < cleaned_upto).collect();
        clean.sort_by_key(|(_, record)| record.key.clone());
        for pair in clean.windows(2) {
            assert_ne!(pair[0].1.key, pair[1].1.key, "each key once below {cleaned_upto}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compaction_behaves_as_a_map(ops in prop::collection::vec(op(), 1..60), append_time in any::<bool>()) {
        let mut fixture = Fixture::new(Settings { append_time, ..compacted() });
        let mut model = Model::default();
        let mut now_ms = NOW;
        for op in ops {
            match op {
                Op::Append(records, codec) => {
                    let record = |(key, deletes): (u8, bool)| Rec {
                        key: Some(vec![key]),
                        value: (!deletes).then(|| vec![key; 20]),
                        timestamp: now_ms,
                    };
                    let sent = batch(records.into_iter().map(record).collect()).codec(codec);
                    let base = fixture.append_at(&sent, now_ms).unwrap().base_offset;
                    for (offset, record) in (base..).zip(sent.records) {
                        model.latest.insert(record.key.clone().unwrap(), offset);
                        model.history.push((offset, record));
                    }
                }
                Op::Compact { keys } => {
                    let policy = fixture.settings;
                    if let Some(mut job) = fixture.log().compaction(&policy, now_ms) {
                        let before = fixture.log().cleaned_upto;
                        job.keys = keys;
                        let done = job.run().unwrap();
                        remove(fixture.log().install(done).unwrap());
                        prop_assert!(fixture.log().cleaned_upto > before, "each job gets on");
                    }
                }
                Op::Wait { ms } => now_ms += ms,
                Op::Sync => drop(fixture.log().dirty().unwrap()),
                Op::Reopen { clean } => {
                    if clean {
                        fixture.log().close().unwrap();
                    }
                    fixture.reopen(Start { clean, ..FRESH });
                }
            }
            model.check(&mut fixture, now_ms);
        }
    }
}
