//! Any log, two writers and bad weather, against what a reader of the whole log would write down.
//!
//! The writers live and die as the case says: each life ends by a stop, or is dropped at whatever await it stands at, as
//! `SIGKILL` would; slow answers stand for `SIGSTOP`. Deliberately absent: Kafka's own rebalances, which `tests/e2e` has.

use super::*;
use crate::{
    batch::Limits,
    epoch::Source,
    ids::IdLimits,
    name::{self, Name},
    read::Remote,
    testing::{self, DAY_MS, faulty::Faulty},
};
use futures::{FutureExt, TryStreamExt};
use object_store::{ObjectStore, path::Path};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};
use tollgate_bus::{Error as BusError, Headers};
use tollgate_schemas::{ExecutionId, RequestId, TraceContext, UsageRow};

const SETTINGS: Settings = Settings {
    limits: Limits { rows: 4, after: Duration::from_secs(2), bytes: 1 << 20 },
    // So little that most repeats are looked up in files, of which little is kept.
    ids: IdLimits { window: Duration::from_secs(3600), ids: 8, filter_bytes: 1500 },
};
const LIFE_MAX_MS: u64 = 200_000;

/// What stands in the log. `None`: a record that is no row.
#[derive(Debug, Clone)]
struct Entry {
    offset: i64,
    append_ms: i64,
    row: Option<(u64, u64)>,
}

fn log() -> impl Strategy<Value = Arc<Vec<Entry>>> {
    let gap = prop_oneof![9 => Just(1_i64), 1 => 2..9_i64];
    let step = prop_oneof![8 => 0..2_i64, 1 => Just(20), 1 => Just(-20)];
    let entry = (gap, step, prop::option::weighted(0.9, (0..12_u64, 0..3_u64)));
    prop::collection::vec(entry, 1..50).prop_map(|entries| {
        let (mut offset, mut hours) = (-1, 50);
        let entries = entries.into_iter().map(|(gap, step, row)| {
            offset += gap;
            hours += step;
            Entry { offset, append_ms: DAY_MS + hours * 3_600_000, row }
        });
        Arc::new(entries.collect())
    })
}

/// One life of a writer: how long it lasts and whether it ends by a stop. Lives of no time end at the first await.
/// How long each life of a writer lasts, in milliseconds, and whether it is asked to end.
type Lives = VecDeque<(u64, bool)>;

fn lives() -> impl Strategy<Value = Lives> {
    let time_ms = prop_oneof![0..3000_u64, 0..LIFE_MAX_MS];
    prop::collection::vec((time_ms, prop::bool::weighted(0.3)), 0..8).prop_map(VecDeque::from)
}

/// The log as one life of a writer sees it.
struct Reader {
    log: Arc<Vec<Entry>>,
    next: Mutex<Option<usize>>,
    assigned: bool,
    dead: Arc<Mutex<BTreeSet<i64>>>,
    commits: Arc<Mutex<Vec<i64>>>,
    made_ms: Arc<BTreeMap<u64, i64>>,
}

impl Reader {
    fn record(&self, entry: &Entry) -> Incoming<Vec<u8>> {
        let value = match entry.row {
            None => b"{".to_vec(),
            Some(pair) => serde_json::to_vec(&row(&self.made_ms, pair)).unwrap(),
        };
        Incoming {
            topic: "usage".into(),
            partition: 0,
            offset: entry.offset,
            timestamp_ms: entry.append_ms,
            key: None,
            headers: Headers::default(),
            trace: TraceContext::new(),
            is_tombstone: false,
            value,
        }
    }
}

fn row(made_ms: &BTreeMap<u64, i64>, (request, execution): (u64, u64)) -> UsageRow {
    let request_id = testing::id_at(request, made_ms[&request]);
    UsageRow { request_id, execution_id: testing::execution(execution), ..testing::row(request) }
}

impl Log for Reader {
    async fn next(&mut self) -> Option<Event> {
        if !std::mem::replace(&mut self.assigned, true) {
            return Some(Event::Assigned(0));
        }
        sleep(Duration::from_millis(300)).await;
        let next = self.next.lock().unwrap().as_mut().map(|next| std::mem::replace(next, *next + 1));
        match next.and_then(|next| self.log.get(next)) {
            Some(entry) => Some(Event::Record(self.record(entry))),
            None => std::future::pending().await,
        }
    }
    async fn source(&self) -> Result<Source, Error> {
        Ok(source())
    }
    async fn ends(&self, _: i32) -> Result<Option<(i64, i64)>, BusError> {
        Ok(Some((0, self.log.last().map_or(0, |last| last.offset + 1))))
    }
    fn start(&self, _: i32, offset: Option<i64>) {
        let from = offset.unwrap_or(0);
        *self.next.lock().unwrap() = Some(self.log.partition_point(|entry| entry.offset < from));
    }
    fn commit(&self, _: i32, next_offset: i64) {
        self.commits.lock().unwrap().push(next_offset);
    }
    fn release(&self, _: i32) {}
    async fn dead_letter(&self, record: Incoming<Vec<u8>>, _: String) -> Result<(), BusError> {
        self.dead.lock().unwrap().insert(record.offset);
        Ok(())
    }
}

fn source() -> Source {
    Source { cluster_id: "c".into(), topic: "usage".into(), topic_id: Some("t".into()) }
}

/// All that outlives a writer.
#[derive(Clone)]
struct World {
    log: Arc<Vec<Entry>>,
    store: Arc<Faulty>,
    dead: Arc<Mutex<BTreeSet<i64>>>,
    commits: Arc<Mutex<Vec<i64>>>,
    made_ms: Arc<BTreeMap<u64, i64>>,
}

impl World {
    fn new(log: Arc<Vec<Entry>>) -> Self {
        // A request is made before any of its rows is recorded.
        let mut made_ms = BTreeMap::new();
        for entry in log.iter() {
            if let Some((request, _)) = entry.row {
                let made = made_ms.entry(request).or_insert(entry.append_ms);
                *made = entry.append_ms.min(*made);
            }
        }
        let (store, dead, commits) = Default::default();
        Self { log, store, dead, commits, made_ms: Arc::new(made_ms) }
    }

    /// What `service` does between a start and a stop.
    async fn sessions(&self, stop: CancellationToken) -> Result<(), Error> {
        loop {
            let open = Ledger::open(self.store.clone(), Path::default(), source(), testing::from_the_start);
            let ledger = tokio::select! {
                ledger = open => ledger?,
                () = stop.cancelled() => return Ok(()),
            };
            let World { log, dead, commits, made_ms, .. } = self.clone();
            let reader = Reader { log, next: Mutex::default(), assigned: false, dead, commits, made_ms };
            match Writer::new(ledger, SETTINGS, reader, stop.clone()).run().await.0 {
                Ok(End::Raced) => {}
                Ok(End::Stopped) | Err(Error::StorageDown(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn live(&self, lives: Lives) -> Result<(), Error> {
        for (time_ms, asked) in lives {
            let stop = CancellationToken::new();
            let (sessions, time) = (self.sessions(stop.clone()), sleep(Duration::from_millis(time_ms)));
            if asked {
                tokio::join!(sessions, time.map(|()| stop.cancel())).0?;
            } else {
                // Dropped where it stands.
                tokio::select! {
                    ended = sessions => ended?,
                    () = time => {}
                }
            }
        }
        Ok(())
    }

    async fn files(&self, table: &str) -> BTreeMap<Name, Remote> {
        let mut found = BTreeMap::new();
        let files: Vec<_> = self.store.list(Some(&Path::from(table))).try_collect().await.unwrap();
        for file in files {
            if let Some(name) = Name::parse(&file.location) {
                found.insert(name, Remote::open_listed(self.store.as_ref(), &file).await.unwrap());
            }
        }
        found
    }

    async fn ids(&self, table: &str) -> Vec<(RequestId, ExecutionId)> {
        let mut ids = Vec::new();
        for remote in self.files(table).await.values() {
            ids.extend(remote.ids(self.store.as_ref()).await.unwrap());
        }
        ids.sort_unstable();
        ids
    }

    async fn check(&self) -> Result<(), TestCaseError> {
        let mut ranges: Vec<_> = self.files(name::USAGE).await.values().map(|f| f.footer().unwrap()).collect();
        ranges.sort_unstable_by_key(|footer| footer.first_offset);
        let mut next = 0;
        for footer in &ranges {
            prop_assert_eq!(footer.first_offset, next, "ranges are contiguous and disjoint");
            next = footer.last_offset + 1;
        }
        let end = self.log.last().map_or(0, |last| last.offset + 1);
        prop_assert_eq!(next, end, "everything is covered");
        prop_assert!(self.commits.lock().unwrap().iter().all(|hint| *hint <= end));
        let (mut first, mut again, mut dead) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for entry in self.log.iter() {
            let Some(pair) = entry.row else {
                dead.insert(entry.offset);
                continue;
            };
            let row = row(&self.made_ms, pair);
            if *first.entry(row.request_id).or_insert(row.execution_id) != row.execution_id {
                again.insert((row.request_id, row.execution_id));
            }
        }
        let superseded = self.ids(name::SUPERSEDED).await;
        prop_assert!(superseded.windows(2).all(|two| two[0] != two[1]), "one row per (request, execution)");
        prop_assert!(
            superseded.iter().all(|(request, by)| first.get(request) != Some(by)),
            "in one of the tables only"
        );
        prop_assert!(superseded.iter().all(|(request, _)| first.contains_key(request)), "after a row of its request");
        prop_assert_eq!(superseded, Vec::from_iter(again), "each later execution once");
        prop_assert_eq!(self.ids(name::USAGE).await, Vec::from_iter(first), "each request once, its first row");
        prop_assert_eq!(&*self.dead.lock().unwrap(), &dead, "what is no row is in dead-letters");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_come_out_as_the_log_says(
        log in log(),
        lives in (lives(), lives()),
        weather in prop::collection::vec(any::<u8>(), 0..150),
    ) {
        come_out(log, lives, &weather)?;
    }
}

fn come_out(log: Arc<Vec<Entry>>, lives: (Lives, Lives), weather: &[u8]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(log);
        world.store.set_weather(weather);
        let (one, other) = tokio::join!(world.live(lives.0), world.live(lives.1));
        one.and(other).map_err(|e| TestCaseError::fail(e.to_string()))?;
        world.store.set_weather(&[]);
        // One more, in good weather, for long enough.
        let last = world.live(VecDeque::from([(LIFE_MAX_MS, true)])).await;
        last.map_err(|e| TestCaseError::fail(e.to_string()))?;
        world.check().await
    })
}

/// Found by the model: append time steps back by days, so a file in the middle of the log is left out of memory for its date, and one
/// before it is not. Of request 8 the first row was known, and the second execution's not.
#[test]
fn a_file_that_is_left_out_for_its_date_is_a_hole_in_what_is_known() {
    const HOUR_MS: i64 = 3_600_000;
    let log = [
        (0, 0, None),
        (1, 20, Some((8, 0))),
        (2, 0, None),
        (3, 0, Some((0, 0))),
        (4, 0, Some((8, 2))),
        (5, 1, Some((1, 0))),
        (6, 1, None),
        (7, 2, Some((2, 0))),
        (8, 2, None),
        (9, 3, None),
        (10, -17, Some((8, 2))),
    ];
    let entry = |(offset, hours, row)| Entry { offset, append_ms: 1_795_644_000_000 + hours * HOUR_MS, row };
    let weather = [
        128, 144, 133, 125, 204, 78, 247, 136, 140, 54, 112, 93, 201, 3, 251, 142, 121, 55, 76, 159, 159, 62, 185, 85,
        39, 187, 241, 2, 128, 228, 10, 55, 240, 78, 113, 132, 195, 144, 95, 210, 1, 232, 125, 106, 140, 167, 64, 151,
        202, 124, 95, 177, 71, 15, 109, 106, 182, 220, 59, 202, 135, 167, 83, 174, 116, 247, 71, 182, 1, 209, 56, 88,
        145, 163, 100, 212, 204, 231, 115, 142, 220, 246, 63, 40, 67, 149, 12, 223, 153, 157, 222, 128, 138, 245, 91,
        212, 20, 94, 104, 239, 132, 10, 204, 144, 5, 110, 11, 19, 255, 119, 7, 108, 67, 41, 116, 26, 230, 232, 34, 237,
        99, 190,
    ];
    let lives = (
        VecDeque::from([(750, true), (2451, false), (177251, false)]),
        VecDeque::from([(111149, true), (50064, true)]),
    );
    come_out(Arc::new(log.map(entry).to_vec()), lives, &weather).unwrap();
}
