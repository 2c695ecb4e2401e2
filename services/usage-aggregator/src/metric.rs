//! What the aggregator measures. Labels have few, fixed values.

use crate::batch::Covered;
use std::time::Duration;

/// Describes every metric once.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!("tollgate_usage_rows_total", "rows written, by table");
    describe_counter!("tollgate_usage_duplicates_total", "redelivered rows dropped");
    describe_counter!("tollgate_usage_malformed_total", "records that were no usage row and went to dead-letters");
    describe_counter!("tollgate_usage_files_total", "files written to the usage table");
    describe_histogram!("tollgate_usage_file_bytes", Unit::Bytes, "size of a usage file");
    describe_histogram!("tollgate_usage_file_seconds", Unit::Seconds, "time to encode and write a usage file");
    describe_gauge!(
        "tollgate_usage_lag_seconds",
        Unit::Seconds,
        "age of the oldest row of the last file when it was written"
    );
    describe_counter!("tollgate_usage_storage_failures_total", "failed attempts on storage");
    describe_gauge!(
        "tollgate_usage_storage_waiting_seconds",
        Unit::Seconds,
        "how long storage has been waited for; 0: it works"
    );
    describe_gauge!("tollgate_usage_down", "1: the ledger needs a person; its error in the log says what to do");
    describe_counter!("tollgate_usage_old_id_lookups_total", "request ids that were looked up in files");
    describe_counter!("tollgate_usage_races_lost_total", "files that another writer had written");
}

/// A file is in the table.
pub(crate) fn file(covered: &Covered, bytes: usize, took: Duration) {
    metrics::counter!("tollgate_usage_rows_total", "table" => "usage").increment(covered.rows);
    metrics::counter!("tollgate_usage_rows_total", "table" => "usage_superseded").increment(covered.superseded);
    metrics::counter!("tollgate_usage_duplicates_total").increment(covered.duplicates);
    metrics::counter!("tollgate_usage_malformed_total").increment(covered.malformed);
    metrics::counter!("tollgate_usage_files_total").increment(1);
    metrics::histogram!("tollgate_usage_file_bytes").record(bytes as f64);
    metrics::histogram!("tollgate_usage_file_seconds").record(took.as_secs_f64());
    let lag_ms = tollgate_schemas::now_us() / 1000 - covered.first_append_ms;
    metrics::gauge!("tollgate_usage_lag_seconds").set(lag_ms.max(0) as f64 / 1000.0);
    let (first_offset, last_offset, rows) = (covered.first_offset, covered.last_offset, covered.rows);
    tracing::debug!(first_offset, last_offset, rows, bytes, "a usage file is in the table");
}

/// Another writer was ahead.
pub(crate) fn race_lost() {
    metrics::counter!("tollgate_usage_races_lost_total").increment(1);
}
