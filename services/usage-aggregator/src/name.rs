//! Where a file of the ledger stands: `<table>/date=YYYY-MM-DD/<cluster>-<epoch>-<partition>-<offset>.parquet`.
//!
//! The name says where the file begins in the log and nothing about who wrote it, so that two writers who begin at the
//! same record want the same name and a put-if-absent decides between them.

use chrono::{DateTime, NaiveDate, NaiveTime};
use object_store::path::Path;
use std::sync::Arc;

/// The table of rows, one per request.
pub const USAGE: &str = "usage";
/// The table of rows that came after another execution's row of the same request.
pub const SUPERSEDED: &str = "usage_superseded";

/// The place of one file. Names of one (cluster, epoch, partition) sort by offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The cluster's id, as [`cluster_part`] makes it.
    pub cluster: Arc<str>,
    /// Which life of the `usage` topic.
    pub epoch: u32,
    /// Partition of `usage`.
    pub partition: i32,
    /// Offset of the first record that the writer consumed for this file.
    pub offset: i64,
    /// Date of the records' append time, UTC.
    pub date: NaiveDate,
}

impl Name {
    /// The file's path in `table` under `prefix`.
    pub fn path(&self, prefix: &Path, table: &str) -> Path {
        let Self { cluster, epoch, partition, offset, date } = self;
        let file = format!("{cluster}-{epoch}-{partition}-{offset:020}.parquet");
        date_prefix(prefix, table, *date).join(file.as_str())
    }

    /// Reads a path back; `None` if it is not the path of a ledger file.
    pub fn parse(path: &Path) -> Option<Self> {
        let mut parts: Vec<_> = path.parts().map(|p| p.as_ref().to_owned()).collect();
        let (file, date) = (parts.pop()?, parts.pop()?);
        let mut fields = file.strip_suffix(".parquet")?.rsplitn(4, '-');
        let offset = fields.next().filter(|o| o.len() == 20)?.parse().ok()?;
        let partition = fields.next()?.parse().ok()?;
        let epoch = fields.next()?.parse().ok()?;
        Some(Self { cluster: fields.next()?.into(), epoch, partition, offset, date: parse_date(&date)? })
    }
}

/// The folder of one date.
pub fn date_prefix(prefix: &Path, table: &str, date: NaiveDate) -> Path {
    prefix.clone().join(table).join(format!("date={date}").as_str())
}

/// The date of a `date=YYYY-MM-DD` folder.
pub fn parse_date(folder: &str) -> Option<NaiveDate> {
    folder.strip_prefix("date=")?.parse().ok()
}

/// The UTC date of a time in milliseconds since the Unix epoch; the epoch's own date for times out of range.
pub fn date_of(unix_ms: i64) -> NaiveDate {
    DateTime::from_timestamp_millis(unix_ms).unwrap_or_default().date_naive()
}

/// The last millisecond of a date, since the Unix epoch.
pub fn last_ms_of(date: NaiveDate) -> i64 {
    date.and_time(NaiveTime::MIN).and_utc().timestamp_millis() + 86_399_999
}

/// A cluster id as it may stand in a file name. Cluster ids are base64url, so one may begin with `_`, and Spark and its
/// kin take a file whose name begins with `_` or `.` for a hidden one.
pub fn cluster_part(cluster_id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let part: String = cluster_id.chars().map(safe).collect();
    if part.starts_with('_') || part.is_empty() { format!("c{part}") } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_whatever_the_cluster_is_called() {
        for cluster in ["MkU3OEVBNTcwNTJENDM2Qk", "a-b_c-1-2", &cluster_part("_-x.y"), &cluster_part("")] {
            let name = Name {
                cluster: cluster.into(),
                epoch: 3,
                partition: 11,
                offset: 1234,
                date: NaiveDate::from_ymd_opt(2026, 11, 23).unwrap(),
            };
            let path = name.path(&Path::from("some/prefix"), USAGE);
            let expected = format!("some/prefix/usage/date=2026-11-23/{cluster}-3-11-00000000000000001234.parquet");
            assert_eq!(path.as_ref(), expected);
            assert_eq!(Name::parse(&path), Some(name));
            assert!(!cluster.starts_with('_'));
        }
    }

    #[test]
    fn other_files_are_not_taken_for_ledger_files() {
        for path in [
            "usage/_tollgate/epoch.json",
            "usage/date=2026-11-23/part-0.parquet",
            "usage/date=x/c-1-0-00000000000000001234.parquet",
            "a",
        ] {
            assert_eq!(Name::parse(&Path::from(path)), None, "{path}");
        }
    }
}
