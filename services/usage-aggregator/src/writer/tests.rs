//! The loop over a scripted log and stores that work or fail.

use super::*;
use crate::{
    batch::Limits,
    epoch::Source,
    ids::IdLimits,
    name::{self, Name},
    read::Remote,
    testing::{
        self, DAY_MS,
        faulty::{Fault, Faulty},
    },
};
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicI64, Ordering},
};
use tokio::sync::mpsc;
use tollgate_bus::{Error as BusError, Headers};
use tollgate_schemas::{RequestId, TraceContext};

#[derive(Default)]
struct Said {
    starts: Vec<(i32, Option<i64>)>,
    commits: Vec<(i32, i64)>,
    releases: Vec<i32>,
    dead: Vec<i64>,
}

struct Script {
    events: mpsc::UnboundedReceiver<Event>,
    said: Arc<Mutex<Said>>,
    log_start: Arc<AtomicI64>,
    topic_id: Arc<Mutex<Option<String>>>,
    dead_letters_down: Arc<AtomicBool>,
}

impl Log for Script {
    async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
    async fn source(&self) -> Result<Source, Error> {
        Ok(Source { topic_id: self.topic_id.lock().unwrap().clone(), ..source() })
    }
    async fn ends(&self, _: i32) -> Result<Option<(i64, i64)>, BusError> {
        Ok(Some((self.log_start.load(Ordering::SeqCst), 1_000_000)))
    }
    fn start(&self, partition: i32, offset: Option<i64>) {
        self.said.lock().unwrap().starts.push((partition, offset));
    }
    fn commit(&self, partition: i32, next_offset: i64) {
        self.said.lock().unwrap().commits.push((partition, next_offset));
    }
    fn release(&self, partition: i32) {
        self.said.lock().unwrap().releases.push(partition);
    }
    async fn dead_letter(&self, record: Incoming<Vec<u8>>, _: String) -> Result<(), BusError> {
        if self.dead_letters_down.load(Ordering::SeqCst) {
            return Err(BusError::Stopped("test".into()));
        }
        self.said.lock().unwrap().dead.push(record.offset);
        Ok(())
    }
}

fn source() -> Source {
    Source { cluster_id: "c".into(), topic: "usage".into(), topic_id: Some("first".into()) }
}

const ROWS: usize = 10;
const AFTER: Duration = Duration::from_secs(60);

/// What a test does while the writer runs.
#[derive(Clone)]
struct Driver {
    events: mpsc::UnboundedSender<Event>,
    said: Arc<Mutex<Said>>,
    stop: CancellationToken,
    log_start: Arc<AtomicI64>,
    topic_id: Arc<Mutex<Option<String>>>,
    dead_letters_down: Arc<AtomicBool>,
}

impl Driver {
    fn send(&self, event: Event) {
        self.events.send(event).unwrap();
    }

    fn record(&self, offset: i64, value: Vec<u8>) {
        let record = Incoming {
            topic: "usage".into(),
            partition: 0,
            offset,
            timestamp_ms: DAY_MS,
            key: None,
            headers: Headers::default(),
            trace: TraceContext::new(),
            is_tombstone: false,
            value,
        };
        self.send(Event::Record(record));
    }

    fn rows(&self, offsets: std::ops::Range<i64>) {
        for offset in offsets {
            self.record(offset, serde_json::to_vec(&testing::row(offset as u64)).unwrap());
        }
    }

    async fn seconds(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    fn commits(&self) -> Vec<(i32, i64)> {
        self.said.lock().unwrap().commits.clone()
    }
}

/// Runs a writer on `store` beside `script`, which ends by itself; then stops the writer.
async fn drive<F: Future<Output = ()>>(store: &Arc<Faulty>, script: impl FnOnce(Driver) -> F) -> Result<End, Error> {
    let ledger = Ledger::open(store.clone(), Path::default(), source(), testing::from_the_start).await.unwrap();
    let limits = Limits { rows: ROWS, after: AFTER, bytes: 1 << 20 };
    let (sender, events) = mpsc::unbounded_channel();
    let (said, log_start) = (Arc::<Mutex<Said>>::default(), Arc::<AtomicI64>::default());
    let (topic_id, dead_letters_down) = (Arc::new(Mutex::new(source().topic_id)), Arc::<AtomicBool>::default());
    let driver = Driver {
        events: sender,
        said: said.clone(),
        stop: CancellationToken::new(),
        log_start: log_start.clone(),
        topic_id: topic_id.clone(),
        dead_letters_down: dead_letters_down.clone(),
    };
    let log = Script { events, said, log_start, topic_id, dead_letters_down };
    let writer = Writer::new(ledger, Settings { limits, ids: IdLimits::default() }, log, driver.stop.clone());
    let script = async {
        script(driver.clone()).await;
        driver.stop.cancel();
    };
    tokio::join!(writer.run(), script).0.0
}

async fn requests(store: &Arc<Faulty>) -> Vec<RequestId> {
    let files: Vec<_> = store.list(Some(&Path::from(name::USAGE))).try_collect().await.unwrap();
    let mut ids = Vec::new();
    for file in files.iter().filter(|f| Name::parse(&f.location).is_some()) {
        let remote = Remote::open_listed(store.as_ref(), file).await.unwrap();
        ids.extend(remote.ids(store.as_ref()).await.unwrap().into_iter().map(|(request, _)| request));
    }
    ids.sort_unstable();
    ids
}

fn expected(range: std::ops::Range<u64>) -> Vec<RequestId> {
    let mut ids: Vec<_> = range.map(|n| testing::row(n).request_id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(start_paused = true)]
async fn files_are_cut_when_full_when_due_and_at_the_end() {
    let store = Arc::new(Faulty::default());
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.rows(0..13);
        driver.record(13, b"not json".to_vec());
        driver.seconds(1).await;
        assert_eq!(driver.commits(), [(0, 10)], "full");
        driver.seconds(AFTER.as_secs()).await;
        assert_eq!(driver.commits(), [(0, 10), (0, 14)], "due");
        assert_eq!(driver.said.lock().unwrap().dead, [13]);
        driver.rows(14..16);
        driver.seconds(1).await;
    });
    assert_eq!(end.await.unwrap(), End::Stopped);
    assert_eq!(requests(&store).await.len(), 15);
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.seconds(1).await;
        assert_eq!(driver.said.lock().unwrap().starts, [(0, Some(16))], "resumes from the table");
    });
    assert_eq!(end.await.unwrap(), End::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_storage_loses_nothing() {
    let store = Arc::new(Faulty::default());
    let faulty = store.clone();
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.seconds(1).await;
        faulty.set_down(true);
        driver.rows(0..35);
        driver.seconds(3600).await;
        assert_eq!(driver.commits(), []);
        faulty.set_down(false);
        driver.seconds(20).await;
        assert_eq!(driver.commits(), [(0, 10), (0, 20), (0, 30)]);
    });
    assert_eq!(end.await.unwrap(), End::Stopped);
    assert_eq!(requests(&store).await, expected(0..35));
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_storage_for_ever() {
    let store = Arc::new(Faulty::default());
    let faulty = store.clone();
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.rows(0..5);
        driver.seconds(1).await;
        faulty.set_down(true);
    });
    assert!(matches!(end.await, Err(Error::StorageDown(_))));
    store.set_down(false);
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.rows(0..5);
        driver.seconds(1).await;
    });
    assert_eq!(end.await.unwrap(), End::Stopped);
    assert_eq!(requests(&store).await, expected(0..5));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_partition_is_written_before_it_is_released() {
    let store = Arc::new(Faulty::default());
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.rows(0..5);
        driver.send(Event::Revoked(0));
        driver.rows(5..7);
        driver.seconds(1).await;
        assert_eq!(driver.commits(), [(0, 5)]);
        assert_eq!(driver.said.lock().unwrap().releases, [0]);
        driver.send(Event::Assigned(0));
        driver.rows(5..7);
        driver.send(Event::Lost(0));
        driver.seconds(1).await;
    });
    assert_eq!(end.await.unwrap(), End::Stopped);
    assert_eq!(requests(&store).await, expected(0..5), "a lost partition's rows are the next reader's");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_comes_back_from_the_dead_goes_on_behind_the_winner() {
    let store = Arc::new(Faulty::default());
    let faulty = store.clone();
    let end = drive(&store, |zombie| async move {
        zombie.send(Event::Assigned(0));
        zombie.rows(0..8);
        zombie.seconds(1).await;
        let end = drive(&faulty, |winner| async move {
            winner.send(Event::Assigned(0));
            winner.rows(0..12);
            winner.seconds(1).await;
        });
        assert_eq!(end.await.unwrap(), End::Stopped);
        zombie.rows(8..20);
        zombie.seconds(1).await;
    });
    assert_eq!(end.await.unwrap(), End::Raced, "its first file is a twin's, its second is behind the winner's");
    assert_eq!(requests(&store).await, expected(0..12));
    let end = drive(&store, |again| async move {
        again.send(Event::Assigned(0));
        again.rows(0..20);
        again.seconds(1).await;
        assert_eq!(again.said.lock().unwrap().starts, [(0, Some(12))]);
    });
    assert_eq!(end.await.unwrap(), End::Stopped);
    assert_eq!(requests(&store).await, expected(0..20));
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_ends_the_session_and_writes_nothing() {
    let store = Arc::new(Faulty::default());
    let faulty = store.clone();
    let end = drive(&store, |zombie| async move {
        zombie.send(Event::Assigned(0));
        zombie.rows(0..3);
        zombie.seconds(1).await;
        let end = drive(&faulty, |winner| async move {
            winner.send(Event::Assigned(0));
            winner.rows(0..5);
            winner.seconds(1).await;
        });
        assert_eq!(end.await.unwrap(), End::Stopped);
        zombie.seconds(AFTER.as_secs()).await;
    });
    assert_eq!(end.await.unwrap(), End::Raced);
    assert_eq!(requests(&store).await, expected(0..5));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_for() {
    let store = Arc::new(Faulty::default());
    let faulty = store.clone();
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.seconds(1).await;
        faulty.at_next_puts(&[Fault::Refused; 5]);
        driver.rows(0..10);
        driver.seconds(30).await;
        assert_eq!(driver.commits(), [(0, 10)]);
    });
    assert_eq!(end.await.unwrap(), End::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_covered_unless_retention_ate_the_rows() {
    let store = Arc::new(Faulty::default());
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.rows(0..3);
        driver.rows(5..7);
        driver.seconds(AFTER.as_secs() + 1).await;
        assert_eq!(driver.commits(), [(0, 7)]);
        driver.log_start.store(9, Ordering::SeqCst);
        driver.rows(9..11);
        driver.seconds(1).await;
    });
    let error = end.await.unwrap_err();
    assert!(matches!(error, Error::Lost { from: 7, log_start: 9, .. }), "{error}");
    let end = drive(&store, |driver| async move {
        driver.log_start.store(9, Ordering::SeqCst);
        driver.send(Event::Assigned(0));
        driver.seconds(1).await;
    });
    assert!(matches!(end.await, Err(Error::Lost { .. })), "at start too");
}

#[tokio::test(start_paused = true)]
async fn rows_that_retention_ate_before_the_first_file_are_missed_too() {
    let store = Arc::new(Faulty::default());
    let end = drive(&store, |driver| async move {
        driver.seconds(1).await;
        driver.log_start.store(5, Ordering::SeqCst);
        driver.send(Event::Assigned(0));
        driver.seconds(1).await;
    });
    let error = end.await.unwrap_err();
    assert!(matches!(error, Error::Lost { from: 0, log_start: 5, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_created_again_while_it_is_read_is_refused() {
    let store = Arc::new(Faulty::default());
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.rows(0..3);
        driver.send(Event::Revoked(0));
        driver.seconds(1).await;
        *driver.topic_id.lock().unwrap() = Some("second".into());
        driver.send(Event::Assigned(0));
        driver.seconds(1).await;
    });
    assert!(matches!(end.await, Err(Error::OtherLog { .. })));
    assert_eq!(requests(&store).await, expected(0..3));
}

#[tokio::test(start_paused = true)]
async fn a_topic_created_again_is_noticed_though_its_offsets_go_on_without_a_gap() {
    let store = Arc::new(Faulty::default());
    let end = drive(&store, |driver| async move {
        driver.send(Event::Assigned(0));
        driver.rows(0..ROWS as i64);
        driver.seconds(1).await;
        assert_eq!(driver.commits(), [(0, 10)]);
        driver.rows(10..13);
        driver.seconds(1).await;
        *driver.topic_id.lock().unwrap() = Some("second".into());
        driver.rows(13..25);
        driver.seconds(1).await;
    });
    let error = end.await.unwrap_err();
    assert!(matches!(error, Error::OtherLog { .. }), "{error}");
    assert_eq!(requests(&store).await, expected(0..10), "nothing of the mixture is in the table");
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_are_down_hold_rows_but_not_a_stop() {
    let store = Arc::new(Faulty::default());
    let end = drive(&store, |driver| async move {
        driver.dead_letters_down.store(true, Ordering::SeqCst);
        driver.send(Event::Assigned(0));
        driver.record(0, b"not json".to_vec());
        driver.rows(1..3);
        driver.seconds(3600).await;
        assert_eq!(driver.commits(), [], "the record is not covered before it is safe");
    });
    assert!(matches!(end.await, Err(Error::StorageDown(_))));
    assert_eq!(requests(&store).await, []);
}
