//! Committing: soon after progress, one commit at a time, and again whatever was not taken.
//!
//! Commits overtake each other when they are sent again, and a committed offset must not go back; so the next one is sent
//! when the last is answered.

use super::{Handler, PollLoop, held::Commit};
use crate::{Error, commit_async::commit_async, fault, groups::Refused, record::FromRecord};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// How soon progress is committed: what a crash repeats at most, of what was finished.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How long to wait before a commit that was not taken is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a drain that is over still waits for its last commit to be answered, by a broker that may be away.
pub(super) const LAST_COMMIT: Duration = Duration::from_secs(5);
/// When an answer is no longer waited for. librdkafka always gives one; this is for its defects.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// When to commit.
pub(super) struct Commits {
    next: Instant,
    /// When the commit was sent that has not been answered.
    unanswered: Option<Instant>,
}

impl Commits {
    pub(super) fn new() -> Self {
        Self { next: Instant::now() + COMMIT_EVERY, unanswered: None }
    }
}

impl<T: FromRecord, H: Handler<T>> PollLoop<T, H> {
    /// Sends what progress there is if it is time to, and looks for the answer to the last commit.
    pub(super) fn commit_progress(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let late = self.commits.unanswered.is_some_and(|sent| now >= sent + ANSWER_TIMEOUT);
        if let Some(refused) = self.members.take_commit().or(late.then(Refused::all)) {
            self.commits.unanswered = None;
            self.answered(&refused);
        }
        if self.commits.unanswered.is_none() && now >= self.commits.next {
            self.commits.next = now + COMMIT_EVERY;
            self.commit()?;
        }
        Ok(())
    }

    /// How long nothing has to be committed, if anything has.
    pub(super) fn until_commit(&self) -> Option<Duration> {
        let due = (self.held.has_progress() && self.commits.unanswered.is_none()).then_some(self.commits.next);
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// A refusal is not fatal: what was not committed is repeated, and repeated work has no second effect.
    fn answered(&mut self, refused: &Refused) {
        self.held.answered(refused);
        if refused.is_none() {
            fault::point("offset.committed");
        } else {
            self.commits.next = Instant::now() + RETRY_AFTER;
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
        match commit_async(&self.consumer, &list) {
            Ok(()) => self.commits.unanswered = Some(Instant::now()),
            Err(error) => {
                tracing::warn!(%error, group = self.group, "offsets were not committed; they will be with the next commit");
                self.answered(&Refused::all());
            }
        }
        Ok(())
    }
}
