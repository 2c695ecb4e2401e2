//! The log against a simple model: random appends by several producers, reads, rolls, retention, deletion and starts, some
//! after the last segment was cut at a random byte. Whatever was appended before the cut is there once, in order, at its
//! offset, and no offset below the mark is given twice.

use super::*;
use proptest::{prelude::*, sample::Index};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone)]
enum Op {
    Append { producer: i64, records: usize, bytes: usize, codec: Codec, age_ms: i64 },
    Repeat { producer: i64, back: usize },
    Read { from: Index, end: Index, max_bytes: usize },
    FindTime { age_ms: i64 },
    FailedWrite,
    Wait { ms: i64 },
    Retain,
    DeleteBefore { at: Index },
    Sync,
    Reopen,
    Kill { cut: Option<Index> },
}

fn op() -> impl Strategy<Value = Op> {
    let codec = prop::sample::select(vec![Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]);
    let bytes = prop_oneof![5 => 0usize..100, 1 => 10_000usize..40_000];
    prop_oneof![
        12 => (-1i64..3, 1usize..5, bytes, codec, 0i64..5_000).prop_map(|(producer, records, bytes, codec, age_ms)| {
            Op::Append { producer, records, bytes, codec, age_ms }
        }),
        2 => (0i64..3, 0usize..5).prop_map(|(producer, back)| Op::Repeat { producer, back }),
        4 => (any::<Index>(), any::<Index>(), prop_oneof![0usize..5_000, 60_000usize..200_000])
            .prop_map(|(from, end, max_bytes)| Op::Read { from, end, max_bytes }),
        2 => (-100i64..6_000).prop_map(|age_ms| Op::FindTime { age_ms }),
        1 => Just(Op::FailedWrite),
        1 => (0i64..5_000).prop_map(|ms| Op::Wait { ms }),
        1 => Just(Op::Retain),
        1 => any::<Index>().prop_map(|at| Op::DeleteBefore { at }),
        1 => Just(Op::Sync),
        1 => Just(Op::Reopen),
        2 => prop::option::of(any::<Index>()).prop_map(|cut| Op::Kill { cut }),
    ]
}

/// A producer's batches that are in the log: first sequence, records, base offset; and what was sent.
#[derive(Default)]
struct Sent {
    written: Vec<(i32, Batch, i64)>,
}

impl Sent {
    fn next(&self) -> i32 {
        self.written.last().map_or(0, |(sequence, batch, _)| sequence + batch.records.len() as i32)
    }
}

struct Model {
    fixture: Fixture,
    now_ms: i64,
    records: BTreeMap<i64, Rec>,
    start: i64,
    end: i64,
    mark: i64,
    /// Of the last segment: base offset, offset after, byte after.
    batches: Vec<(i64, i64, u64)>,
    sent: HashMap<i64, Sent>,
}

impl Model {
    fn new(settings: Settings) -> Self {
        Self {
            fixture: Fixture::new(settings),
            now_ms: NOW,
            records: BTreeMap::new(),
            start: 0,
            end: 0,
            mark: 0,
            batches: Vec::new(),
            sent: HashMap::new(),
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Append { producer, records, bytes, codec, age_ms } => {
                let value = Some(vec![records as u8; bytes]);
                let stamp = |index| self.now_ms - age_ms + (index as i64 * 7) % 5;
                let records =
                    (0..records).map(|index| Rec { key: None, value: value.clone(), timestamp: stamp(index) });
                let sequence = self.sent.entry(producer).or_default().next();
                let sent = batch(records.collect()).codec(codec);
                self.append(if producer < 0 { sent } else { sent.producer(producer, 0, sequence) });
            }
            Op::Repeat { producer, back } => self.repeat(producer, back),
            Op::Read { from, end, max_bytes } => self.read(from, end, max_bytes),
            Op::FindTime { age_ms } => self.find_time(self.now_ms - age_ms),
            Op::FailedWrite => {
                files::faults::fail_next_write();
                let failed = self.fixture.append_at(&batch(vec![rec("a", "1")]), self.now_ms);
                assert!(matches!(failed, Err(AppendError::Storage(_))));
                self.follow_roll();
            }
            Op::Wait { ms } => self.now_ms += ms,
            Op::Retain => self.retain(),
            Op::DeleteBefore { at } => {
                let at = self.start + at.index((self.end - self.start + 1) as usize) as i64;
                assert_eq!(self.fixture.log().delete_before(at), Ok(at));
                self.start = at;
            }
            Op::Sync => drop(self.fixture.log().dirty().unwrap()),
            Op::Reopen => {
                self.fixture.log().close().unwrap();
                let recovery = self.fixture.reopen(Start { start_offset: self.start, mark: self.mark, clean: true });
                assert_eq!(recovery, Recovery::default());
            }
            Op::Kill { cut } => self.kill(cut),
        }
        self.check();
    }

    fn append(&mut self, sent: Batch) {
        let appended = self.fixture.append_at(&sent, self.now_ms).unwrap();
        self.follow_roll();
        assert_eq!((appended.base_offset, appended.duplicate), (self.end, false));
        let append_time = self.fixture.settings.append_time;
        for (index, record) in sent.records.iter().enumerate() {
            let timestamp = if append_time { appended.append_time_ms } else { record.timestamp };
            self.records.insert(self.end + index as i64, Rec { timestamp, ..record.clone() });
        }
        let base = self.end;
        self.end += sent.records.len() as i64;
        let size = self.fixture.log().active().size;
        self.batches.push((base, self.end, size));
        if sent.producer.0 >= 0 {
            self.sent.entry(sent.producer.0).or_default().written.push((sent.producer.2, sent, base));
        }
        if self.end > self.mark {
            self.mark = self.end + 10;
        }
    }

    fn repeat(&mut self, producer: i64, back: usize) {
        let Some(sent) = self.sent.get(&producer) else { return };
        let Some((_, again, base)) = sent.written.iter().rev().nth(back).cloned() else { return };
        let appended = self.fixture.append_at(&again, self.now_ms).unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (base, true));
    }

    fn read(&mut self, from: Index, end: Index, max_bytes: usize) {
        let from = self.start + from.index((self.end - self.start + 1) as usize) as i64;
        // The visible end lies between two batches.
        let ends: Vec<i64> = self.batches.iter().map(|&(_, next, _)| next).chain([self.end]).collect();
        let end = *end.get(&ends);
        let read = read_all(self.fixture.log(), from, end.max(from), max_bytes);
        let expected: Vec<_> =
            self.records.range(from..end.max(from)).map(|(&at, record)| (at, record.clone())).collect();
        assert!(read == expected, "{:?}, not {:?}", keys(&read), keys(&expected));
    }

    fn find_time(&mut self, time_ms: i64) {
        let visible = || self.records.range(self.start..).map(|(&at, record)| (at, record.timestamp));
        let expected = visible().find(|&(_, timestamp)| timestamp >= time_ms);
        let largest = visible().map(|(_, timestamp)| timestamp).max();
        let latest = largest.and_then(|largest| visible().find(|&(_, timestamp)| timestamp == largest));
        let log = self.fixture.log.as_ref().unwrap();
        assert_eq!(log.offset_for_time(time_ms).unwrap(), expected);
        assert_eq!(log.max_timestamp().unwrap(), latest);
    }

    fn retain(&mut self) {
        let settings = self.fixture.settings;
        remove(self.fixture.log().retain(&settings, self.now_ms).unwrap());
        self.follow_roll();
        let start = self.fixture.log().start_offset();
        assert!(start >= self.start);
        for record in self.records.range(self.start..start).map(|(_, record)| record) {
            let large = settings.retention_bytes >= 0;
            assert!(large || self.now_ms - record.timestamp > settings.retention_ms, "dropped too early");
        }
        self.start = start;
        self.records = self.records.split_off(&start);
    }

    fn kill(&mut self, cut: Option<Index>) {
        if let Some(cut) = cut {
            let active = self.fixture.log().active().clone();
            let path = self.fixture.dir.path().join(format!("{:020}.log", active.base));
            let left = cut.index(active.size as usize + 1) as u64;
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(left).unwrap();
            self.batches.retain(|&(_, _, byte)| byte <= left);
            self.end = self.batches.last().map_or(active.base, |&(_, next, _)| next);
            self.records.retain(|&offset, _| offset < self.end);
            for sent in self.sent.values_mut() {
                sent.written.retain(|&(_, _, base)| base < self.end);
            }
        }
        let recovery = self.fixture.reopen(Start { start_offset: self.start, mark: self.mark, clean: false });
        let resume = self.mark.max(self.start);
        assert_eq!(recovery.skipped_to, (self.end < resume).then_some(resume));
        if self.end < resume {
            // What was left out is a batch without records, which the next cut may take or leave.
            let active = self.fixture.log().active();
            self.batches.push((self.end.max(active.base), resume, active.size));
            self.end = resume;
        }
        self.follow_roll();
    }

    /// A new segment is there to be cut.
    fn follow_roll(&mut self) {
        let base = self.fixture.log().active().base;
        self.batches.retain(|&(first, _, _)| first >= base);
    }

    fn check(&mut self) {
        let (start, end) = (self.start, self.end);
        let log = self.fixture.log();
        assert_eq!((log.start_offset(), log.end_offset()), (start, end));
    }
}

fn keys(records: &[(i64, Rec)]) -> Vec<i64> {
    records.iter().map(|(offset, _)| *offset).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_behaves_as_its_model(
        ops in prop::collection::vec(op(), 1..80),
        segment_bytes in prop::sample::select(vec![500u64, 5_000, 300_000]),
        segment_ms in prop::sample::select(vec![3_000i64, i64::MAX]),
        retention_bytes in prop::sample::select(vec![-1i64, 20_000]),
        append_time in any::<bool>(),
    ) {
        let bounds = Settings { segment_bytes, segment_ms, retention_bytes, retention_ms: 4_000, append_time, ..settings() };
        let mut model = Model::new(bounds);
        for op in ops {
            model.apply(op);
        }
        let everything = read_all(model.fixture.log.as_ref().unwrap(), model.start, model.end, 1 << 20);
        let expected: Vec<_> = model.records.range(model.start..).map(|(&at, record)| (at, record.clone())).collect();
        prop_assert!(everything == expected);
    }
}
