//! Reports over files in memory.

use super::*;
use crate::{columns::Rows, file, testing};
use object_store::{ObjectStoreExt, memory::InMemory};
use std::collections::BTreeMap;
use tollgate_schemas::{Attempt, UsageRow};

const DAY_MS: i64 = 86_400_000;

/// Puts rows into the folder of the day `days` after the tests' day.
async fn put(store: &InMemory, days: i64, offset: i64, rows: Vec<UsageRow>) {
    let mut all = Rows::new();
    let last = offset + rows.len() as i64;
    rows.into_iter().enumerate().for_each(|(n, row)| all.push(row, 0, offset + n as i64));
    let date = name::date_of(testing::DAY_MS + days * DAY_MS);
    let name = Name { cluster: "c".into(), epoch: 1, partition: 0, offset, date };
    let bytes = file::encode(&all.take(), &testing::footer(offset, last)).unwrap();
    store.put(&name.path(&Path::from("p"), name::USAGE), bytes.into()).await.unwrap();
}

fn by(names: &[&str]) -> Query {
    Query::month(names.iter().map(|n| n.parse().unwrap()).collect(), "2026-11").unwrap()
}

/// `keys requests/attempts input+output cost unpriced` per row.
async fn lines(store: &InMemory, names: &[&str]) -> Vec<String> {
    let rows = report(store, &Path::from("p"), &by(names)).await.unwrap();
    let line = |row: ReportRow| {
        let keys: Vec<_> = row.keys.iter().map(|k| k.as_deref().unwrap_or("-")).collect();
        let ReportRow { requests, attempts, input_tokens, output_tokens, cost_usd, unpriced, .. } = row;
        format!("{} {requests}/{attempts} {input_tokens}+{output_tokens} {cost_usd} {unpriced}", keys.join(","))
    };
    rows.into_iter().map(line).collect()
}

fn later(mut attempt: Attempt, days: i64) -> Attempt {
    attempt.start_time_us += days * DAY_MS * 1000;
    attempt
}

async fn sample() -> InMemory {
    let store = InMemory::new();
    let mut failed = testing::attempt(1, "gpt-4o", None);
    (failed.input_tokens, failed.output_tokens) = (None, None);
    let fallen_over = UsageRow {
        attempts: vec![failed, testing::attempt(2, "llama", Some("0.000000000003"))],
        cost_usd: Some("0.000000000003".parse().unwrap()),
        ..testing::full_row(2)
    };
    let unpriced = UsageRow {
        team: "ads".into(),
        key_name: None,
        user_id: Some("u1".into()),
        request_tags: BTreeMap::new(),
        endpoint_tags: BTreeMap::from([("cost_center".into(), "77".into())]),
        attempts: vec![testing::attempt(1, "secret-model", None)],
        cost_usd: None,
        ..testing::full_row(3)
    };
    put(&store, 0, 0, vec![testing::full_row(1), fallen_over, unpriced, testing::row(4)]).await;
    put(&store, 0, 4, vec![]).await;
    store
}

#[tokio::test]
async fn sums_by_row_and_by_attempt_to_the_same_total() {
    let store = sample().await;
    assert_eq!(lines(&store, &[]).await, [" 4/4 300+60 0.000437500003 1"]);
    assert_eq!(lines(&store, &["team"]).await, ["ads 1/1 100+20 0 1", "search 3/3 200+40 0.000437500003 0"]);
    let by_model = lines(&store, &["model"]).await;
    assert_eq!(
        by_model,
        [
            "- 1/0 0+0 0 0",
            "gpt-4o 2/2 100+20 0.0004375 0",
            "llama 1/1 100+20 0.000000000003 0",
            "secret-model 1/1 100+20 0 1"
        ]
    );
}

#[tokio::test]
async fn groups_by_everything_it_says() {
    let store = sample().await;
    assert_eq!(lines(&store, &["key"]).await[1], "key-1 1/1 100+20 0 1", "the id where there is no name");
    assert_eq!(lines(&store, &["user", "endpoint"]).await[1], "u1,chat 1/1 100+20 0 1");
    assert_eq!(lines(&store, &["tag:cost_center"]).await.len(), 3);
    assert_eq!(lines(&store, &["tag:cost_center"]).await[2], "77 1/1 100+20 0 1", "the endpoint's tag");
    assert_eq!(lines(&store, &["day"]).await, ["2026-11-23 4/4 300+60 0.000437500003 1"]);
    assert_eq!(lines(&store, &["provider", "destination"]).await.len(), 4);
}

#[tokio::test]
async fn an_attempt_belongs_to_the_month_in_which_it_began() {
    let store = InMemory::new();
    let over_the_end = |n| UsageRow {
        attempts: vec![
            later(testing::attempt(1, "november", Some("1")), 7),
            later(testing::attempt(2, "december", Some("2")), 8),
        ],
        ..testing::full_row(n)
    };
    // Recorded on 1 December, and 11 days later, which is beyond what can be late.
    put(&store, 8, 0, vec![over_the_end(1)]).await;
    put(&store, 18, 1, vec![over_the_end(2)]).await;
    assert_eq!(lines(&store, &["model"]).await, ["november 1/1 100+20 1 0"]);
    let december = Query::month(vec![Dimension::Day], "2026-12").unwrap();
    let rows = report(&store, &Path::from("p"), &december).await.unwrap();
    assert_eq!((rows.len(), rows[0].requests, rows[0].cost_usd), (1, 2, "4".parse().unwrap()));
}

#[tokio::test]
async fn an_absent_table_is_empty_and_a_broken_file_an_error() {
    let store = InMemory::new();
    assert!(report(&store, &Path::from("p"), &by(&["team"])).await.unwrap().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let local = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    assert!(report(&local, &Path::from("p"), &by(&["team"])).await.unwrap().is_empty());
    let path = Path::from("p/usage/date=2026-11-23/c-1-0-00000000000000000000.parquet");
    store.put(&path, "broken".into()).await.unwrap();
    assert!(report(&store, &Path::from("p"), &by(&["team"])).await.is_err());
}

#[test]
fn dimensions_and_months_are_read_and_written() {
    for name in ["team", "key", "user", "endpoint", "model", "provider", "destination", "day", "tag:cost_center"] {
        assert_eq!(name.parse::<Dimension>().unwrap().to_string(), name);
    }
    assert!("tag:".parse::<Dimension>().unwrap_err().contains("tag:NAME"));
    let december = Query::month(Vec::new(), "2026-12").unwrap();
    assert_eq!(december.until.to_string(), "2027-01-01");
    for bad in ["2026", "2026-13", "2026-11-01", "soon"] {
        assert!(Query::month(Vec::new(), bad).unwrap_err().contains("YYYY-MM"), "{bad}");
    }
}
