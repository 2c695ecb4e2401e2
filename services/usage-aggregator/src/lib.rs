//! The ledger: every ended request becomes one row of Parquet, never lost, never doubled.
//!
//! ```text
//! usage (Kafka) ─► log ─► writer ─► fold ─► cut ─► ledger ─► usage/date=…/<cluster>-<epoch>-<partition>-<offset>.parquet
//!                            │        │               └────► usage_superseded/… (later executions of a request)
//!                            │        └ ids (last hours) ◄─ lookup (bloom filters of older files)
//!                            └► dead-letters (records that are no usage row)
//! ```
//!
//! Reads: the `usage` topic, in order, and its own table. Writes: the tables, `usage/_tollgate/epoch.json`,
//! `dead-letters`, and the group's committed offset as a hint for lag monitors.
//!
//! What holds, and where it is kept:
//! * the table is the truth: a start resumes behind the highest offset that a file's footer covers ([`ledger`]);
//! * a file is created with put-if-absent under the name of its first record, so two writers cannot both succeed
//!   ([`name`], [`ledger`]);
//! * what a record becomes is a function of the log ([`fold`]), so a twin's file is our file;
//! * superseded rows ride in the usage file's footer until they are in their own table, so one put decides both ([`mod@file`]);
//! * a table is fed from one log; a created-again topic or another cluster is refused ([`epoch`]);
//! * before files are put, the topic must still be the one that was read ([`epoch`]);
//! * storage that is down is waited for without end, with bounded memory (`retry`), Kafka likewise (`keep`);
//! * what needs a person stops the ledger and nothing else (`keep`).
//!
//! Deliberately absent: rewriting or compacting files, Delta commits, prices (the router-worker's rows carry their cost),
//! and reading anything back into Kafka. [`report`] reads the table for the CLI and shares only the file format with the
//! writer.

pub mod batch;
pub mod columns;
pub mod config;
pub mod epoch;
mod error;
pub mod file;
pub mod fold;
pub mod ids;
mod keep;
pub mod ledger;
mod log;
pub mod lookup;
mod metric;
pub mod name;
pub mod read;
pub mod report;
mod retry;
mod service;
mod staging;
#[cfg(test)]
mod testing;
mod writer;

pub use error::Error;
pub use keep::OnError;
pub use service::{GROUP, run};
