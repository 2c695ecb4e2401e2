//! The ledger against stores that work, race, lie and go away.

use super::*;
use crate::{
    fold::{At, Fold},
    testing::{
        self, DAY_MS,
        faulty::{Fault, Faulty},
    },
};
use arrow_array::cast::AsArray;
use object_store::{ObjectStoreExt, local::LocalFileSystem, memory::InMemory};
use std::time::{Duration, Instant};
use tollgate_schemas::UsageRow;

const DAY: i64 = 86_400_000;

fn source() -> Source {
    Source { cluster_id: "_cluster-1".into(), topic: "tollgate.usage".into(), topic_id: Some("t".into()) }
}

async fn ledger(store: &Arc<dyn ObjectStore>) -> Ledger {
    Ledger::open(store.clone(), Path::from("deep/prefix"), source(), testing::from_the_start).await.unwrap()
}

async fn resumed(ledger: &Ledger) -> (Fold, Lookup) {
    resumed_with(ledger, IdLimits::default()).await
}

async fn resumed_with(ledger: &Ledger, limits: IdLimits) -> (Fold, Lookup) {
    let Resume { next_offset, ids, lookup } = ledger.resume(0, limits).await.unwrap();
    (Fold::new(0, next_offset.unwrap_or(0), ids), lookup)
}

fn run(request: u64, execution: u64) -> UsageRow {
    UsageRow { execution_id: testing::execution(execution), ..testing::row(request) }
}

fn push(fold: &mut Fold, offset: i64, append_ms: i64, row: Option<UsageRow>) {
    assert!(fold.cut_before(append_ms).is_none());
    fold.push(At { offset, append_ms, bytes: 100 }, row, Instant::now());
}

/// Cuts a batch of `offsets`, each a request of its own.
fn cut_of(fold: &mut Fold, offsets: std::ops::RangeInclusive<i64>) -> Cut {
    for offset in offsets {
        push(fold, offset, DAY_MS, Some(run(offset as u64, 1)));
    }
    fold.cut().unwrap()
}

/// All (request, execution) of a table.
async fn rows(store: &Arc<dyn ObjectStore>, table: &str) -> Vec<(RequestId, ExecutionId)> {
    let folder = Path::from("deep/prefix").join(table);
    let files: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
    let mut rows = Vec::new();
    for file in files.iter().filter(|f| Name::parse(&f.location).is_some()) {
        let remote = Remote::open_listed(store.as_ref(), file).await.unwrap();
        rows.extend(remote.ids(store.as_ref()).await.unwrap());
    }
    rows.sort_unstable();
    rows
}

fn done(put: Put) -> bool {
    matches!(put, Put::Done { .. })
}

fn stores() -> (Vec<Arc<dyn ObjectStore>>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap().with_fsync(true);
    (vec![Arc::new(InMemory::new()), Arc::new(local)], folder)
}

#[tokio::test]
async fn a_table_grows_and_is_resumed_from_itself() {
    let (stores, folder) = stores();
    for store in &stores {
        let ledger = ledger(store).await;
        let (mut fold, _) = resumed(&ledger).await;
        assert_eq!(fold.position(), 0);
        let (put, name) = ledger.put(0, cut_of(&mut fold, 0..=4)).await.unwrap();
        assert!(done(put));
        let path = name.path(&Path::from("deep/prefix"), name::USAGE);
        assert_eq!(path.as_ref(), "deep/prefix/usage/date=2026-11-23/c_cluster-1-1-0-00000000000000000000.parquet");
        // Yesterday's date has the higher offset: append time stepped back.
        push(&mut fold, 5, DAY_MS - 1, None);
        assert!(done(ledger.put(0, fold.cut().unwrap()).await.unwrap().0));
        let (mut again, _) = resumed(&ledger).await;
        assert_eq!(again.position(), 6, "the file without rows counts");
        push(&mut again, 6, DAY_MS, Some(run(2, 1)));
        assert_eq!(again.cut().unwrap().covered.duplicates, 1, "ids come back with the table");
        assert_eq!(rows(store, name::USAGE).await.len(), 5);
        assert_eq!(ledger.resume(1, IdLimits::default()).await.unwrap().next_offset, None, "another partition");
    }
    let left = std::fs::read_dir(folder.path().join("deep/prefix/usage/date=2026-11-23")).unwrap().count();
    assert_eq!(left, 1, "no staging file is left");
}

#[tokio::test]
async fn of_two_writers_one_wins_and_the_other_goes_on_behind_it() {
    for store in &stores().0 {
        let (a, b) = (ledger(store).await, ledger(store).await);
        let ((mut fold_a, _), (mut fold_b, _)) = (resumed(&a).await, resumed(&b).await);
        let (cut_a, cut_b) = (cut_of(&mut fold_a, 0..=2), cut_of(&mut fold_b, 0..=9));
        let (put_a, put_b) = tokio::join!(a.put(0, cut_a), b.put(0, cut_b));
        let ((put_a, _), (put_b, _)) = (put_a.unwrap(), put_b.unwrap());
        let (loser, last_offset) = if done(put_a) { (put_b, 2) } else { (put_a, 9) };
        assert_eq!(loser, Put::Theirs { last_offset });
        let (mut fold, _) = resumed(&b).await;
        assert_eq!(fold.position(), last_offset + 1);
        assert!(done(b.put(0, cut_of(&mut fold, last_offset + 1..=20)).await.unwrap().0));
        let ids: Vec<_> = rows(store, name::USAGE).await.into_iter().map(|(request, _)| request).collect();
        let mut all: Vec<_> = (0..=20).map(|n| testing::row(n).request_id).collect();
        all.sort_unstable();
        assert_eq!(ids, all);
    }
}

#[tokio::test]
async fn a_twin_of_the_same_range_is_no_loss() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (a, b) = (ledger(&store).await, ledger(&store).await);
    let ((mut fold_a, _), (mut fold_b, _)) = (resumed(&a).await, resumed(&b).await);
    assert!(done(a.put(0, cut_of(&mut fold_a, 0..=3)).await.unwrap().0));
    assert!(done(b.put(0, cut_of(&mut fold_b, 0..=3)).await.unwrap().0));
}

#[tokio::test(start_paused = true)]
async fn false_conflicts_lost_answers_and_outages_are_ridden_out() {
    let faulty = Arc::new(Faulty::default());
    let store: Arc<dyn ObjectStore> = faulty.clone();
    let ledger = ledger(&store).await;
    let (mut fold, _) = resumed(&ledger).await;
    faulty.at_next_puts(&[Fault::FalseConflict, Fault::Refused, Fault::FalseConflict, Fault::LostAnswer]);
    assert!(done(ledger.put(0, cut_of(&mut fold, 0..=3)).await.unwrap().0));
    faulty.set_down(true);
    let cut = cut_of(&mut fold, 4..=5);
    let back = async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        faulty.set_down(false);
    };
    let (put, ()) = tokio::join!(ledger.put(0, cut), back);
    assert!(done(put.unwrap().0));
    assert_eq!(rows(&store, name::USAGE).await.len(), 6);
}

#[tokio::test]
async fn an_unreadable_file_in_our_place_stops_us() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let ledger = ledger(&store).await;
    let (mut fold, _) = resumed(&ledger).await;
    let path = Path::from("deep/prefix/usage/date=2026-11-23/c_cluster-1-1-0-00000000000000000000.parquet");
    store.put(&path, "not parquet".into()).await.unwrap();
    let error = ledger.put(0, cut_of(&mut fold, 0..=3)).await.unwrap_err();
    assert!(error.to_string().contains("is not a readable ledger file"), "{error}");
    assert!(ledger.resume(0, IdLimits::default()).await.is_err());
}

#[tokio::test]
async fn superseded_rows_reach_their_table_once_whoever_died() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let ledger = ledger(&store).await;
    let (mut fold, _) = resumed(&ledger).await;
    for (offset, (request, execution)) in [(1, 1), (1, 2), (2, 1), (1, 1), (1, 2), (1, 3)].into_iter().enumerate() {
        push(&mut fold, offset as i64, DAY_MS, Some(run(request, execution)));
    }
    let cut = fold.cut().unwrap();
    assert_eq!((cut.covered.rows, cut.covered.superseded, cut.covered.duplicates), (2, 2, 2));
    let (_, name) = ledger.put(0, cut).await.unwrap();
    let sibling = name.path(&Path::from("deep/prefix"), name::SUPERSEDED);
    // As a writer leaves it that dies between the two files.
    store.delete(&sibling).await.unwrap();
    let (mut fold, _) = resumed(&ledger).await;
    let again = rows(&store, name::SUPERSEDED).await;
    assert_eq!(
        again.iter().map(|(_, execution)| *execution).collect::<Vec<_>>(),
        [testing::execution(2), testing::execution(3)]
    );
    push(&mut fold, 6, DAY_MS, Some(run(1, 3)));
    assert_eq!(fold.cut().unwrap().covered.duplicates, 1);
}

#[tokio::test]
async fn old_ids_are_found_in_the_files() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let ledger = ledger(&store).await;
    let (mut fold, _) = resumed(&ledger).await;
    // Request n is made and recorded on day n; request 0 is run twice.
    for day in 0..10 {
        for execution in 1..=if day == 0 { 2 } else { 1 } {
            let at = DAY_MS + day * DAY;
            let row = UsageRow { request_id: testing::id_at(day as u64, at), ..run(0, day as u64 * 10 + execution) };
            let position = fold.position();
            push(&mut fold, position, at, Some(row));
        }
        ledger.put(0, fold.cut().unwrap()).await.unwrap();
    }
    let limits = IdLimits { window: Duration::from_secs(86_400 * 2), ids: 1000, ..IdLimits::default() };
    let (mut fold, mut lookup) = resumed_with(&ledger, limits).await;
    for day in 0..10 {
        let id = testing::id_at(day as u64, DAY_MS + day * DAY);
        if fold.is_old(id, DAY_MS + 9 * DAY) {
            let found = lookup.find(id, DAY_MS + 9 * DAY).await.unwrap();
            assert_eq!(found.first, Some(testing::execution(day as u64 * 10 + 1)));
            assert_eq!(found.again, if day == 0 { vec![testing::execution(2)] } else { vec![] });
            fold.learn(id, &found, DAY_MS + 9 * DAY);
        }
        assert!(!fold.is_old(id, DAY_MS + 9 * DAY));
        let position = fold.position();
        let row = UsageRow { request_id: id, ..run(0, day as u64 * 10 + 1) };
        push(&mut fold, position, DAY_MS + 9 * DAY, Some(row));
    }
    assert_eq!(fold.cut().unwrap().covered.duplicates, 10);
    assert!(fold.is_old(testing::id_at(77, DAY_MS), DAY_MS + 9 * DAY), "an id nobody has seen is asked for as well");
    assert_eq!(lookup.find(testing::id_at(77, DAY_MS), DAY_MS + 9 * DAY).await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_new_epoch_begins_at_the_log_and_still_knows_old_requests() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let old = ledger(&store).await;
    let (mut fold, _) = resumed(&old).await;
    old.put(0, cut_of(&mut fold, 0..=3)).await.unwrap();
    let created_again = Source { topic_id: Some("u".into()), ..source() };
    let open =
        || Ledger::open(store.clone(), Path::from("deep/prefix"), created_again.clone(), testing::from_the_start);
    let Err(Error::OtherLog { next, path, .. }) = open().await else { panic!("must be refused") };
    store.put(&path, next.into()).await.unwrap();
    let new = open().await.unwrap();
    let (fold, mut lookup) = resumed(&new).await;
    assert_eq!(fold.position(), 0);
    let id = testing::row(2).request_id;
    assert!(fold.is_old(id, DAY_MS));
    assert_eq!(lookup.find(id, DAY_MS).await.unwrap().first, Some(testing::execution(1)));
}

#[tokio::test]
async fn the_ends_of_the_log_are_compared_with_the_table() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let starts = || std::future::ready(Ok(Starts::from([(0, 100)])));
    let ledger = Ledger::open(store, Path::default(), source(), starts).await.unwrap();
    assert_eq!(ledger.check_log(0, None, 100, 500).unwrap(), 100);
    assert_eq!(ledger.check_log(0, Some(300), 100, 500).unwrap(), 300);
    assert_eq!(ledger.check_log(0, Some(500), 500, 500).unwrap(), 500);
    assert!(matches!(ledger.check_log(0, None, 101, 500), Err(Error::Lost { from: 100, .. })));
    assert!(matches!(ledger.check_log(0, Some(300), 301, 500), Err(Error::Lost { .. })));
    assert!(matches!(ledger.check_log(0, Some(501), 0, 500), Err(Error::Shrunk { covered: 500, .. })));
}

#[tokio::test]
async fn a_file_holds_the_rows_in_order_with_their_place() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let ledger = ledger(&store).await;
    let (mut fold, _) = resumed(&ledger).await;
    let (_, name) = ledger.put(0, cut_of(&mut fold, 0..=99)).await.unwrap();
    let remote = Remote::open(store.as_ref(), &name.path(&Path::from("deep/prefix"), name::USAGE)).await.unwrap();
    let mut offsets = Vec::new();
    let collect = |batch: &arrow_array::RecordBatch| {
        offsets.extend_from_slice(batch.column(0).as_primitive::<arrow_array::types::Int64Type>().values());
        Ok(())
    };
    remote.scan(store.as_ref(), &["source_offset"], collect).await.unwrap();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
}
