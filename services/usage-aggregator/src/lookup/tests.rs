//! How often files are read for ids that memory has forgotten.

use super::*;
use crate::testing::{self, DAY_MS, faulty::Faulty};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use object_store::ObjectStoreExt;

const FILES: u64 = 2000;
const ROWS: u64 = 26;
const MINUTE_MS: i64 = 60_000;
const ROOM: usize = 64 << 20;

/// Row `n` of the file of a minute. The last one is of a request that was made at the very beginning, as in the files that a
/// large batch ends in: bounds alone rule no such file out.
fn row(minute: u64, n: u64) -> (RequestId, ExecutionId) {
    let made_ms = if n + 1 == ROWS { DAY_MS } else { DAY_MS + minute as i64 * MINUTE_MS };
    let n = minute * ROWS + n;
    (testing::id_at(n, made_ms), testing::execution(n))
}

/// A file a minute, with the columns that are asked for.
async fn table() -> (Arc<Faulty>, Vec<Name>) {
    let (store, mut names) = (Arc::new(Faulty::default()), Vec::new());
    for minute in 0..FILES {
        let rows: Vec<_> = (0..ROWS).map(|n| row(minute, n)).collect();
        let requests: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(id, _)| id.to_string())));
        let executions: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, id)| id.to_string())));
        let batch = RecordBatch::try_from_iter([("request_id", requests), ("execution_id", executions)]).unwrap();
        let first = (minute * ROWS) as i64;
        let footer = file::Footer { superseded_file: None, ..testing::footer(first, first + ROWS as i64 - 1) };
        let date = date_of(DAY_MS + minute as i64 * MINUTE_MS);
        let name = Name { cluster: "c".into(), epoch: 1, partition: 0, offset: first, date };
        let bytes = file::encode(&batch, &footer).unwrap();
        store.put(&name.path(&Path::default(), name::USAGE), bytes.into()).await.unwrap();
        names.push(name);
    }
    (store, names)
}

#[tokio::test]
async fn an_old_id_costs_few_reads_however_many_files_there_are() {
    let (store, names) = table().await;
    let now_ms = DAY_MS + FILES as i64 * MINUTE_MS;
    let old_ms = now_ms - 120 * MINUTE_MS;
    let lookup = |room| Lookup::new(store.clone(), Path::default(), names.clone(), room);

    let mut files = lookup(ROOM);
    let absent = |n: u64| testing::id_at(1 << 30 | n, old_ms);
    assert_eq!(files.find(absent(0), now_ms).await.unwrap(), Found::default());
    let before = store.reads();
    assert!(before <= 2 * FILES as usize + 10, "each file once, its filter with its footer: {before}");
    for n in 1..=200 {
        assert_eq!(files.find(absent(n), now_ms).await.unwrap(), Found::default());
    }
    let reads = store.reads() - before;
    assert!(reads <= 200, "{reads} reads for 200 ids that no file holds");

    // Redelivered rows of two hours ago, in the order of the log.
    let before = store.reads();
    for minute in FILES - 120..FILES - 110 {
        for n in 0..ROWS {
            let (request, execution) = row(minute, n);
            assert_eq!(files.find(request, now_ms).await.unwrap().first, Some(execution));
        }
    }
    let (reads, rows) = (store.reads() - before, 10 * ROWS as usize);
    assert!(reads <= rows, "{reads} reads for {rows} rows that files hold");

    // Room for a hundred files' filters: what is ruled out by its bounds is not read again.
    let mut files = lookup(100 * 512);
    let before = store.reads();
    for n in 1..=50 {
        files.find(testing::id_at(1 << 30 | n, DAY_MS - 1), now_ms).await.unwrap();
    }
    let reads = store.reads() - before;
    assert!(reads <= 2 * FILES as usize + 50, "{reads} reads with little memory");
    assert!(files.known_bytes <= 100 * 512, "{}", files.known_bytes);
    let (request, execution) = row(FILES / 2, 3);
    assert_eq!(files.find(request, now_ms).await.unwrap().first, Some(execution), "and still right");
}
