//! Which partitions this consumer has: taken with what their last reader left, given back when they have drained.
//!
//! librdkafka waits for one answer to each change, so all of a change is answered at once, and outside its callback.

use super::{Handler, PollLoop, commits::LAST_COMMIT, held::Key};
use crate::{Error, groups::Change, record::FromRecord, tracker::Tracker};
use rdkafka::{Offset, TopicPartitionList, consumer::Consumer, error::KafkaError};
use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

/// How long one question for committed offsets may hold up the poll loop.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to ask for committed offsets before partitions are read without their metadata, which repeats work.
const COMMITTED_GIVE_UP: Duration = Duration::from_secs(20);

/// What the group asked for and has not been answered yet.
#[derive(Default)]
pub(super) struct Unanswered {
    /// Partitions to take, and when to take them without metadata.
    taking: Option<(Vec<Key>, Instant)>,
    /// Partitions to give back, and when at the latest.
    giving: Option<(Vec<Key>, Instant)>,
}

impl Unanswered {
    /// Whether the group waits for this consumer.
    pub(super) fn any(&self) -> bool {
        self.taking.is_some() || self.giving.is_some()
    }
}

impl<T: FromRecord, H: Handler<T>> PollLoop<T, H> {
    pub(super) fn take_rebalances(&mut self) -> Result<(), Error> {
        for change in self.members.take() {
            match change {
                Change::Assigned(list) => {
                    let keys = self.keys(list);
                    self.unanswered.taking = Some((keys, Instant::now() + COMMITTED_GIVE_UP));
                }
                Change::Revoked(list) => {
                    let keys = self.keys(list);
                    self.held.drain(&keys);
                    self.unanswered.giving = Some((keys, Instant::now() + self.options.drain_timeout));
                }
                Change::Lost => {
                    // The audit looks for this line, too.
                    tracing::warn!(
                        group = self.group,
                        "all partitions were lost; what is in flight goes on, but others work on it too"
                    );
                    self.unanswered = Unanswered::default();
                    self.held.lose();
                }
            }
        }
        self.give()?;
        self.take()
    }

    fn keys(&mut self, list: Vec<(String, i32)>) -> Vec<Key> {
        list.into_iter().map(|(topic, number)| (self.topic(&topic), number)).collect()
    }

    /// Begins to read new partitions where, and with what, their last reader committed.
    fn take(&mut self) -> Result<(), Error> {
        let Some((keys, give_up)) = self.unanswered.taking.take() else { return Ok(()) };
        let (list, trackers) = match self.committed(&keys) {
            Ok(committed) => committed,
            Err(error) if Instant::now() < give_up => {
                tracing::debug!(%error, group = self.group, "committed offsets cannot be read yet; asking again");
                self.unanswered.taking = Some((keys, give_up));
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(%error, group = self.group, "committed offsets cannot be read; finished records may be worked on again");
                (list_of(&keys), keys.iter().map(|_| Tracker::default()).collect())
            }
        };
        // librdkafka keeps a partition paused for whoever paused it, also while that reads it no more: one that was full when it
        // left, or was lost, would come back mute. Before the assignment: that begins to fetch.
        self.consumer.resume(&list)?;
        self.consumer.incremental_assign(&list)?;
        self.members.set_assigned();
        for (key, tracker) in keys.into_iter().zip(trackers) {
            self.held.take(key, tracker, self.stop.child_token());
        }
        Ok(())
    }

    /// The partitions with their committed offsets, and a tracker for each.
    fn committed(&self, keys: &[Key]) -> Result<(TopicPartitionList, Vec<Tracker>), Error> {
        if keys.is_empty() {
            return Ok((TopicPartitionList::new(), Vec::new()));
        }
        let list = self.consumer.committed_offsets(list_of(keys), COMMITTED_TIMEOUT)?;
        let mut trackers = Vec::with_capacity(keys.len());
        for (topic, number) in keys {
            let Some(found) = list.find_partition(topic, *number) else {
                return Err(KafkaError::OffsetFetch(rdkafka::types::RDKafkaErrorCode::UnknownPartition).into());
            };
            found.error()?;
            // The client panics on metadata that is not UTF-8, which any tool may have written.
            let metadata = std::panic::catch_unwind(AssertUnwindSafe(|| found.metadata().to_owned()));
            trackers.push(match found.offset() {
                Offset::Offset(offset) => Tracker::resume(offset, &metadata.unwrap_or_default()),
                _ => Tracker::default(),
            });
        }
        Ok((list, trackers))
    }

    /// Gives revoked partitions back once nothing of them is in flight and all of theirs is committed, or their time is over.
    /// The partitions that stay may be as busy as they like.
    fn give(&mut self) -> Result<(), Error> {
        let Some((keys, by)) = self.unanswered.giving.take() else { return Ok(()) };
        let (is_over, is_late) = (Instant::now() >= by, Instant::now() >= by + LAST_COMMIT);
        if !(is_over || self.held.is_idle(&keys)) || !(self.held.is_committed(&keys) || is_late) {
            self.unanswered.giving = Some((keys, by));
            return Ok(());
        }
        self.held.give(&keys);
        self.consumer.incremental_unassign(&list_of(&keys))?;
        Ok(())
    }
}

pub(super) fn list_of(keys: &[Key]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(keys.len());
    for (topic, number) in keys {
        list.add_partition(topic, *number);
    }
    list
}
