//! The log as the writer needs it, so that the writer runs in tests without a broker. Kafka is behind it in service.

use crate::{Error as LedgerError, epoch::Source};
use std::future::Future;
use tollgate_bus::{Error, Incoming, ordered::Event};

/// The `usage` topic, read in order by a reader that keeps its own place.
pub(crate) trait Log: Send {
    /// What happens next; `None`: the reader has ended by itself.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;

    /// Which log this is now: a topic may be created again while it is read.
    fn source(&self) -> impl Future<Output = Result<Source, LedgerError>> + Send;

    /// The first offset the log still has of a partition, and the next one it will give out; `None`: cannot be told.
    fn ends(&self, partition: i32) -> impl Future<Output = Result<Option<(i64, i64)>, Error>> + Send;

    /// Begins to read an assigned partition; `None`: at the oldest record.
    fn start(&self, partition: i32, offset: Option<i64>);

    /// Tells lag monitors how far the table is. Nothing is ever resumed from it.
    fn commit(&self, partition: i32, next_offset: i64);

    /// Gives a revoked partition back.
    fn release(&self, partition: i32);

    /// Puts a record that is no usage row on `dead-letters`; done when acknowledged.
    fn dead_letter(&self, record: Incoming<Vec<u8>>, reason: String) -> impl Future<Output = Result<(), Error>> + Send;
}
