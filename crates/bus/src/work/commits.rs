//! Committing: soon after progress, one commit at a time, and again whatever was not taken.

use super::{Handler, PollLoop, held::Commit};
use crate::{Error, commit_async::Turn, fault, groups::Refused, record::FromRecord};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// How soon progress is committed: what a crash repeats at most, of what was finished.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How long a drain that is over still waits for its last commit to be answered, by a broker that may be away.
pub(super) const LAST_COMMIT: Duration = Duration::from_secs(5);
/// When the first commit may be sent.
pub(super) fn turn() -> Turn {
    Turn::new(Instant::now() + COMMIT_EVERY)
}

impl<T: FromRecord, H: Handler<T>> PollLoop<T, H> {
    /// Sends what progress there is if it is time to, and looks for the answer to the last commit.
    pub(super) fn commit_progress(&mut self) -> Result<(), Error> {
        if let Some(refused) = self.commits.answer(&self.members) {
            self.answered(&refused);
        }
        if self.commits.has_come() {
            self.commits.wait_until(Instant::now() + COMMIT_EVERY);
            self.commit()?;
        }
        Ok(())
    }

    /// How long nothing has to be committed, if anything has.
    pub(super) fn until_commit(&self) -> Option<Duration> {
        let due = self.commits.due().filter(|_| self.held.has_progress());
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// A refusal is not fatal: what was not committed is repeated, and repeated work has no second effect.
    fn answered(&mut self, refused: &Refused) {
        self.held.answered(refused);
        if refused.is_none() {
            fault::point("offset.committed");
        }
    }

    /// Sends what is not committed.
    fn commit(&mut self) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for Commit { key: (topic, number), offset, metadata } in self.held.commits() {
            let mut element = list.add_partition(&topic, number);
            element.set_offset(Offset::Offset(offset))?;
            if !metadata.is_empty() {
                element.set_metadata(metadata);
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        fault::point("offset.committing");
        if let Err(error) = self.commits.send(&self.consumer, &list) {
            tracing::warn!(%error, group = self.group, "offsets were not committed; they will be with the next commit");
            self.answered(&Refused::all());
        }
        Ok(())
    }
}
