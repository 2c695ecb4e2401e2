//! What this consumer holds: its partitions, what of each is in flight, done and committed, and when intake pauses. No I/O
//! and no clock: the poll loop tells it what happens and does what it says.
//!
//! Each assignment of a partition has an epoch of its own. What completes of an earlier one has had its effects, but is not
//! ours to commit: somebody else may have read on meanwhile.

use super::effects::End;
use crate::{
    Error,
    groups::Refused,
    tracker::{Fetched, Tracker},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio_util::sync::CancellationToken;

/// Topic and number.
pub(super) type Key = (Arc<str>, i32);

/// Topic and partition, the assignment's epoch, offset.
pub(super) type Place = (Key, u64, i64);

/// Where intake pauses; half of any resumes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Records in flight per partition: exact.
    pub(super) max_in_flight: usize,
    /// Bytes in flight over all partitions: the record that reaches it is the last one.
    pub(super) max_bytes: usize,
    /// Topics that share the bytes. Of several, each has an even share of half of them to itself, and beyond that at most as
    /// much as all have left of the other half: those that are stuck, however many, leave room for the rest.
    pub(super) topics: usize,
}

impl Bounds {
    /// Whether a topic with `own` of the `total` bytes in flight pauses, and whether it may resume.
    fn judge(&self, own: usize, total: usize) -> (bool, bool) {
        let (half, is_full) = (self.max_bytes / 2, total >= self.max_bytes);
        if self.topics < 2 {
            return (is_full, total <= half);
        }
        let even = (half / self.topics).max(1);
        let limit = even.max(half.saturating_sub(total));
        (is_full || own >= limit, !is_full && own <= limit / 2)
    }
}

/// What is in flight of a topic.
#[derive(Default)]
struct Topic {
    bytes: Arc<AtomicUsize>,
    is_paused: bool,
}

/// A record's share of the bytes in flight.
#[derive(Debug)]
pub(super) struct Share {
    bytes: AtomicUsize,
    /// Of its topic, and of all.
    totals: [Arc<AtomicUsize>; 2],
}

impl Share {
    pub(super) fn new(bytes: usize, totals: [Arc<AtomicUsize>; 2]) -> Self {
        for total in &totals {
            total.fetch_add(bytes, Ordering::Relaxed);
        }
        Self { bytes: AtomicUsize::new(bytes), totals }
    }

    /// What of it is not given back.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Gives it back, once.
    pub(super) fn release(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        for total in &self.totals {
            total.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// A record that is to be handled.
pub(super) struct Begun {
    pub(super) place: Place,
    pub(super) share: Share,
    /// Cancelled when the partition is to be given back, and with the stop.
    pub(super) leaving: CancellationToken,
    /// It is the partition's last one for now.
    pub(super) must_pause: bool,
}

/// A commit of one partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) key: Key,
    pub(super) offset: i64,
    pub(super) metadata: String,
}

/// Partitions whose intake changes.
#[derive(Debug, Default)]
pub(super) struct Intake {
    pub(super) pause: Vec<Key>,
    pub(super) resume: Vec<Key>,
}

/// A partition that this consumer reads.
struct Partition {
    tracker: Tracker,
    /// Index in [`Held::topics`].
    topic: usize,
    epoch: u64,
    /// [`Tracker::completions`] and the offset of the newest commit that was sent; `None` if it was refused.
    sent: Option<(u64, Option<i64>)>,
    /// [`Tracker::completions`] of the newest commit that the broker has acknowledged.
    acknowledged: u64,
    paused: bool,
    is_draining: bool,
    leaving: CancellationToken,
}

impl Partition {
    fn is_sent(&self) -> bool {
        self.sent.is_some_and(|(completions, _)| completions == self.tracker.completions())
    }

    fn is_committed(&self) -> bool {
        self.acknowledged == self.tracker.completions()
    }
}

/// See the module's documentation.
pub(super) struct Held {
    partitions: HashMap<Key, Partition>,
    bounds: Bounds,
    epoch: u64,
    bytes: Arc<AtomicUsize>,
    /// Every topic of which there ever was a partition here.
    topics: Vec<Topic>,
    names: HashMap<Arc<str>, usize>,
    /// Records in flight of partitions that are somebody else's by now: still to have their effects, never to be committed.
    orphans: usize,
}

impl Held {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (partitions, bytes) = (HashMap::new(), Arc::default());
        Self { partitions, bounds, epoch: 0, bytes, topics: Vec::new(), names: HashMap::new(), orphans: 0 }
    }

    /// A partition is assigned; the tracker says what its last reader left.
    pub(super) fn take(&mut self, key: Key, tracker: Tracker, leaving: CancellationToken) {
        self.epoch += 1;
        let (epoch, completions) = (self.epoch, tracker.completions());
        let (sent, acknowledged) = (Some((completions, None)), completions);
        let topic = *self.names.entry(key.0.clone()).or_insert_with(|| {
            self.topics.push(Topic::default());
            self.topics.len() - 1
        });
        let fresh = Partition { tracker, topic, epoch, sent, acknowledged, paused: false, is_draining: false, leaving };
        self.partitions.insert(key, fresh);
    }

    /// Partitions are to be given back: nothing more of them is begun.
    pub(super) fn drain(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.is_draining = true;
                partition.leaving.cancel();
            }
        }
    }

    /// Partitions are somebody else's now.
    pub(super) fn give(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(partition) = self.partitions.remove(key) {
                self.orphans += partition.tracker.in_flight();
            }
        }
    }

    /// All of them are, without notice.
    pub(super) fn lose(&mut self) {
        for (_, partition) in self.partitions.drain() {
            partition.leaving.cancel();
            self.orphans += partition.tracker.in_flight();
        }
    }

    /// A record was fetched. `None` if it is to be skipped; an error if the log is not the one that was read so far.
    pub(super) fn begin(&mut self, key: &Key, offset: i64, bytes: usize) -> Result<Option<Begun>, Error> {
        let Some(partition) = self.partitions.get_mut(key).filter(|partition| !partition.is_draining) else {
            return Ok(None);
        };
        match partition.tracker.begin(offset) {
            Fetched::New => {}
            Fetched::Known => return Ok(None),
            Fetched::Rewound => {
                let committed = partition.tracker.committed();
                return Err(Error::Rewound { topic: key.0.to_string(), partition: key.1, offset, committed });
            }
        }
        let must_pause = !partition.paused && partition.tracker.is_full(self.bounds.max_in_flight);
        partition.paused |= must_pause;
        Ok(Some(Begun {
            place: (key.clone(), partition.epoch, offset),
            share: Share::new(bytes, [self.topics[partition.topic].bytes.clone(), self.bytes.clone()]),
            leaving: partition.leaving.clone(),
            must_pause,
        }))
    }

    /// A record's handling ended. What is of an earlier assignment is not committed.
    pub(super) fn finish(&mut self, (key, epoch, offset): &Place, end: End) {
        match self.partitions.get_mut(key).filter(|p| p.epoch == *epoch) {
            None => self.orphans = self.orphans.saturating_sub(1),
            Some(partition) => {
                match end {
                    End::Done => partition.tracker.complete(*offset),
                    End::HandedBack => partition.tracker.hand_back(*offset),
                };
            }
        }
    }

    /// Whether this topic's bytes in flight, or all of them, have reached their bound.
    pub(super) fn is_full(&self, topic: &str) -> bool {
        let own = self.names.get(topic).map_or(0, |topic| self.topics[*topic].bytes.load(Ordering::Relaxed));
        self.bounds.judge(own, self.bytes.load(Ordering::Relaxed)).0
    }

    /// Which partitions are to be paused and resumed now.
    pub(super) fn intake(&mut self) -> Intake {
        let total = self.bytes.load(Ordering::Relaxed);
        for topic in &mut self.topics {
            let (must_pause, may_resume) = self.bounds.judge(topic.bytes.load(Ordering::Relaxed), total);
            topic.is_paused = must_pause || topic.is_paused && !may_resume;
        }
        let mut intake = Intake::default();
        for (key, partition) in &mut self.partitions {
            let is_full = self.topics[partition.topic].is_paused;
            let may_resume = !is_full && partition.tracker.is_half_empty(self.bounds.max_in_flight);
            if !partition.paused && is_full {
                partition.paused = true;
                intake.pause.push(key.clone());
            } else if partition.paused && may_resume {
                partition.paused = false;
                intake.resume.push(key.clone());
            }
        }
        intake
    }

    /// Records in flight, those of partitions that were given away or lost among them: a stop has to wait for their effects too,
    /// or what a provider was paid for would be in no row.
    pub(super) fn in_flight(&self) -> usize {
        self.partitions.values().map(|partition| partition.tracker.in_flight()).sum::<usize>() + self.orphans
    }

    /// Whether nothing of these partitions is in flight.
    pub(super) fn is_idle(&self, keys: &[Key]) -> bool {
        self.of(keys).all(|partition| partition.tracker.in_flight() == 0)
    }

    /// Whether the broker has acknowledged all progress of these partitions. Of others there may be any.
    pub(super) fn is_committed(&self, keys: &[Key]) -> bool {
        self.of(keys).all(Partition::is_committed)
    }

    /// Whether it has acknowledged all progress there is.
    pub(super) fn is_all_committed(&self) -> bool {
        self.partitions.values().all(Partition::is_committed)
    }

    fn of(&self, keys: &[Key]) -> impl Iterator<Item = &Partition> {
        keys.iter().filter_map(|key| self.partitions.get(key))
    }

    /// Whether there is progress to commit.
    pub(super) fn has_progress(&self) -> bool {
        self.partitions.values().any(|partition| !partition.is_sent())
    }

    /// The progress that was not sent yet, and counts as sent from now on.
    pub(super) fn commits(&mut self) -> Vec<Commit> {
        let mut commits = Vec::new();
        for (key, partition) in &mut self.partitions {
            if partition.is_sent() {
                continue;
            }
            let commit = partition.tracker.commit();
            partition.sent = Some((partition.tracker.completions(), commit.as_ref().map(|(offset, _)| *offset)));
            if let Some((offset, metadata)) = commit {
                commits.push(Commit { key: key.clone(), offset, metadata });
            }
        }
        commits
    }

    /// The broker has answered the last [`Held::commits`]: what it did not refuse it has.
    pub(super) fn answered(&mut self, refused: &Refused) {
        for ((topic, number), partition) in &mut self.partitions {
            if refused.contains(topic, *number) {
                // To be sent once more, progress or not.
                partition.sent = None;
            } else if let Some((completions, offset)) = partition.sent {
                partition.acknowledged = completions;
                if let Some(offset) = offset {
                    partition.tracker.acknowledged(offset);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
