//! What stops the aggregator. Storage that fails for a while is not here: it is waited for.

use crate::read::ReadError;
use object_store::path::Path;
use std::time::Duration;

/// An error that needs a person. Messages say what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage cannot do what the ledger needs, however often it is asked.
    #[error(
        "storage cannot {what}: {source}; check storage.url and storage.options (the store must support put-if-absent)"
    )]
    Storage {
        /// What was tried.
        what: String,
        /// The store's words.
        source: object_store::Error,
    },
    /// Storage (or the dead-letters topic) did not come back within the time that was given.
    #[error("storage or dead-letters did not answer within {} s; rows that are not in the table yet stay on the usage topic", .0.as_secs())]
    StorageDown(Duration),
    /// A file of the table cannot be read.
    #[error(transparent)]
    File(#[from] ReadError),
    /// The table was begun by another cluster or topic.
    #[error(
        "the usage table was begun on {recorded}, but this is {found}; going on would mix two logs. Point storage.url at another \
         place, or, to go on in the same table with a new epoch, stop every usage-aggregator, overwrite {path} with {next} and \
         start again"
    )]
    OtherLog {
        /// Cluster and topic of the table.
        recorded: String,
        /// Cluster and topic now.
        found: String,
        /// The epoch file.
        path: Path,
        /// What to write into it.
        next: String,
    },
    /// The epoch file is gone and the table is not empty.
    #[error(
        "{path} is missing but the usage table has files; without it rows could be written twice. Put it back: {content} with the \
         epoch that the newest file names carry (<cluster>-<epoch>-<partition>-<offset>.parquet)"
    )]
    EpochMissing {
        /// The epoch file.
        path: Path,
        /// What it should hold.
        content: String,
    },
    /// The epoch file is not JSON as this version writes it.
    #[error("{path} cannot be read: {reason}; put it back as it was")]
    EpochUnreadable {
        /// The epoch file.
        path: Path,
        /// What is wrong.
        reason: String,
    },
    /// Rows were deleted from the log before they were in the table.
    #[error(
        "offsets {from}..{log_start} of partition {partition} were deleted from the usage topic before they were in the table; these rows \
         are lost. To accept that, begin a new epoch: stop every usage-aggregator, overwrite {path} with {next} and start again"
    )]
    Lost {
        /// Partition of `usage`.
        partition: i32,
        /// First offset that is missing.
        from: i64,
        /// First offset that is left.
        log_start: i64,
        /// The epoch file.
        path: Path,
        /// What to write into it.
        next: String,
    },
    /// The log ends before the table does.
    #[error(
        "the table covers partition {partition} up to offset {covered}, but the usage topic ends at {log_end}: the topic was cut or \
         created again. Restore it, or begin a new epoch: stop every usage-aggregator, overwrite {path} with {next} and start again"
    )]
    Shrunk {
        /// Partition of `usage`.
        partition: i32,
        /// Last offset in the table.
        covered: i64,
        /// The next offset that the log will give out.
        log_end: i64,
        /// The epoch file.
        path: Path,
        /// What to write into it.
        next: String,
    },
    /// A file could not be made.
    #[error("a parquet file cannot be made: {0}; this is a defect, please report it")]
    Encode(#[from] parquet::errors::ParquetError),
    /// A worker thread panicked.
    #[error("a worker thread panicked; this is a defect, please report it with the log")]
    Panicked,
    /// A setting is not supported.
    #[error("{0}")]
    Config(String),
    /// Kafka.
    #[error(transparent)]
    Bus(#[from] tollgate_bus::Error),
}
