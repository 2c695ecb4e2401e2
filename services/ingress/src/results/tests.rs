//! What is written where, and what is read of it.

use super::*;
use object_store::memory::InMemory;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tollgate_bus::{Retentions, Settings};

fn slot() -> Slot {
    let date = chrono::NaiveDate::from_ymd_opt(2026, 3, 1).expect("a date");
    Slot(date.and_hms_opt(4, 5, 10).expect("a time"))
}

/// A reader of what is in `store`. No Kafka is asked.
fn reader(store: Arc<dyn ObjectStore>) -> Reader {
    let bus = Bus::new(Settings {
        brokers: "127.0.0.1:9".to_owned(),
        prefix: String::new(),
        properties: BTreeMap::new(),
        partitions_default: 1,
        partitions_usage: 1,
        replication: 1,
        retentions: Retentions { requests_ms: -1, replies_ms: -1, results_ms: -1, dead_letters_ms: -1 },
        client_id: "test".to_owned(),
    });
    let (window, longest) = (Duration::from_secs(3600), Duration::from_secs(60));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    Reader { bus, store, window, longest, index: Arc::default(), learned: Arc::default(), places }
}

/// Found by an hour of chaos: whoever looked for one answer after a start read all that had ended on the same day, which took
/// longer the longer the day was.
#[tokio::test]
async fn who_looks_for_a_request_reads_the_segments_of_its_time_and_no_others() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let id = RequestId::new();
    let Slot(at) = Slot::of(id).expect("now");
    for n in 0..40 {
        let slot = Slot(at - chrono::TimeDelta::seconds(10 * n));
        let name = SegmentName { slot, partition: 0, first: n, next: n + 1 };
        let line = format!("{{\"request_id\":\"{}\"}}\n", if n == 0 { id } else { RequestId::new() });
        store.put(&name.path(), line.into_bytes().into()).await.expect("memory");
    }
    let reader = reader(store);
    reader.learn(id).await.expect("memory");
    let index = reader.index.lock().expect("lock");
    assert_eq!((index.seen.len(), index.written.contains_key(&id)), (1, true));
}

#[test]
fn a_name_says_what_it_covers() {
    let name = SegmentName { slot: slot(), partition: 3, first: 41, next: 97 };
    let path = "results/date=2026-03-01/040510/00003-00000000000000000041-00000000000000000097.jsonl";
    assert_eq!((name.path().as_ref(), SegmentName::parse(&name.path())), (path, Some(name)));
    for other in ["results/date=2026-03-01/other.jsonl", "results/date=2026-03-01/040510/other.jsonl"] {
        assert_eq!(SegmentName::parse(&Path::from(other)), None);
    }
    let noted = note_path(slot(), RequestId::new());
    assert_eq!((Slot::parse(&noted), SegmentName::parse(&noted)), (Some(slot()), None), "it goes with the window");
}

#[tokio::test]
async fn what_is_noted_of_a_request_is_found_within_the_window() {
    let reader = reader(Arc::new(InMemory::new()));
    let (id, old) = (RequestId::new(), RequestId::of_record("c", "t", 0, 0, 1_700_000_000_000));
    for id in [id, old] {
        reader.note(id, b"noted".to_vec()).await.expect("memory");
    }
    assert_eq!(reader.noted(id).await.expect("memory").as_deref(), Some(&b"noted"[..]));
    assert_eq!(reader.noted(old).await.expect("memory"), None);
    assert_eq!(reader.noted(RequestId::new()).await.expect("memory"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However a log is cut into segments, overlapping ones too, and in whatever order they are learned: the first terminal
    /// of each request counts, of the lowest partition that has one. So all replicas tell the same.
    #[test]
    fn the_first_terminal_in_the_log_counts(
        logs in prop::array::uniform3(prop::collection::vec(0..6u8, 1..40)),
        cuts in prop::collection::vec((0..3usize, 0..40usize, 1..40usize), 0..24),
        whole in Just(vec![0usize, 1, 2]).prop_shuffle(),
    ) {
        let ids: Vec<RequestId> = (0..6).map(|_| RequestId::new()).collect();
        let whole: Vec<_> = whole.into_iter().map(|partition| (partition, 0, logs[partition].len())).collect();
        let mut index = Index::default();
        // A line is one byte here, so its place in the log is `first` plus its start.
        for (partition, first, length) in cuts.iter().chain(&whole) {
            let log = &logs[*partition];
            let end = (first + length).min(log.len());
            let Ok(covered) = i64::try_from(*first).and_then(|f| i64::try_from(end).map(|e| (f, e))) else { continue };
            let partition = i32::try_from(*partition).expect("small");
            let name = Arc::new(SegmentName { slot: slot(), partition, first: covered.0, next: covered.1 });
            for (at, n) in log.iter().enumerate().take(end).skip(*first) {
                let start = (at - first) as u64;
                index.note(ids[usize::from(*n)], name.clone(), start..start + 1);
            }
        }
        for (n, id) in ids.iter().enumerate() {
            let first = |log: &Vec<u8>| log.iter().position(|m| usize::from(*m) == n);
            let expected = (0i32..).zip(&logs).find_map(|(partition, log)| Some((partition, first(log)? as u64)));
            let place = |(name, line): &(Arc<SegmentName>, Line)| {
                (name.partition, u64::try_from(name.first).expect("positive") + line.start)
            };
            let known = index.written.get(id).map(place);
            prop_assert_eq!(known, expected);
        }
    }
}
