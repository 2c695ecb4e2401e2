//! What the broker knows besides records. A change applies in one place, whether it is made or read from the journal, so
//! both give the same state. Deliberately absent: files, and whether a change is allowed; an entry that fits nothing
//! (a mark of a deleted topic) changes nothing.

use super::{
    Error,
    entry::{Commit, Entry, FORMAT},
    names,
    offsets::Offsets,
};
use std::{borrow::Cow, collections::BTreeMap};
use uuid::Uuid;

/// Marks in one line; topic names and numbers stay far below [`super::LINE_BYTES_MAX`].
pub(super) const MARKS_PER_LINE: usize = 500;

/// Everything that the journal holds.
#[derive(Debug)]
pub(crate) struct State {
    /// 22 characters, made at the first start and never changed.
    pub(crate) cluster_id: String,
    /// Producer ids below it are given away.
    pub(crate) next_producer_id: i64,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) offsets: Offsets,
    /// Deleted topics whose folders are not gone yet.
    pub(crate) deleted: Vec<(String, Uuid)>,
    /// Whether the last entry closed everything, so that no other may follow.
    pub(super) clean: bool,
}

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Never changes; a topic that is made again gets another.
    pub(crate) id: Uuid,
    pub(crate) created_ms: i64,
    /// What was set; all else has its default. See `catalog`.
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) partitions: Vec<Partition>,
}

/// What outlives an unclean end of a partition's log. Neither number ever goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Partition {
    /// The first offset that may be read.
    pub(crate) start: i64,
    /// No offset at or above it was given away before it was raised, so an unclean start may go on here.
    pub(crate) mark: i64,
}

impl State {
    pub(super) fn new(cluster_id: String, next_producer_id: i64) -> Self {
        let (topics, offsets) = (BTreeMap::new(), Offsets::default());
        Self { cluster_id, next_producer_id, topics, offsets, deleted: Vec::new(), clean: false }
    }

    /// A state that never was: nothing but an identity.
    pub(super) fn first() -> Self {
        Self::new(names::id_text(names::new_id()), 0)
    }

    pub(super) fn apply(&mut self, entry: Entry<'_>) {
        self.clean = matches!(entry, Entry::Closed);
        match entry {
            Entry::Topic { name, id, created_ms, config, partitions } => {
                let partitions = vec![Partition::default(); count(partitions)];
                let topic = Topic { id, created_ms, config: config.into_owned(), partitions };
                self.topics.insert(name.into_owned(), topic);
            }
            Entry::Partitions { topic, partitions } => {
                if let Some(topic) = self.topics.get_mut(&*topic) {
                    let partitions = count(partitions).max(topic.partitions.len());
                    topic.partitions.resize(partitions, Partition::default());
                }
            }
            Entry::Config { topic, config } => {
                if let Some(topic) = self.topics.get_mut(&*topic) {
                    topic.config = config.into_owned();
                }
            }
            Entry::Deleted { name, id } => {
                if self.topics.remove(&*name).is_some() {
                    self.offsets.delete_topic(&name);
                }
                self.deleted.push((name.into_owned(), id));
            }
            Entry::Removed { id } => self.deleted.retain(|(_, deleted)| *deleted != id),
            Entry::Marks(marks) => marks.iter().for_each(|(topic, partition, start, mark)| {
                if let Some(partition) = self.partition_mut(topic, *partition) {
                    partition.start = partition.start.max(*start);
                    partition.mark = partition.mark.max(*mark);
                }
            }),
            Entry::Commit { group, offsets } => {
                offsets.into_iter().for_each(|commit| self.offsets.commit(&group, commit));
            }
            Entry::OffsetDeleted { group, topic, partition } => self.offsets.delete(&group, &topic, partition),
            Entry::GroupDeleted { group } => self.offsets.delete_group(&group),
            Entry::ProducerIds { next } => self.next_producer_id = self.next_producer_id.max(next),
            Entry::Head { .. } | Entry::Closed => {}
        }
    }

    fn partition_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    /// The entries that make this state from nothing. Each is no longer than one that was once accepted: offsets have a
    /// line each.
    pub(super) fn snapshot(&self, mut emit: impl FnMut(Entry<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let (cluster_id, next_producer_id) = (Cow::from(&self.cluster_id), self.next_producer_id);
        emit(Entry::Head { format: FORMAT, cluster_id, next_producer_id })?;
        for (name, id) in &self.deleted {
            emit(Entry::Deleted { name: name.into(), id: *id })?;
        }
        for (name, topic) in &self.topics {
            let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            let (id, created_ms, config) = (topic.id, topic.created_ms, Cow::Borrowed(&topic.config));
            emit(Entry::Topic { name: name.into(), id, created_ms, config, partitions })?;
            let marks =
                |(at, partition): (usize, &Partition)| (name.into(), at as i32, partition.start, partition.mark);
            let marks: Vec<_> = topic.partitions.iter().enumerate().map(marks).collect();
            for marks in marks.chunks(MARKS_PER_LINE) {
                emit(Entry::Marks(marks.to_vec()))?;
            }
        }
        for (group, topics) in self.offsets.groups() {
            for (topic, partitions) in topics {
                for (partition, committed) in partitions {
                    let offsets = vec![Commit {
                        topic: topic.into(),
                        partition: *partition,
                        offset: committed.offset,
                        leader_epoch: committed.leader_epoch,
                        metadata: Cow::from(&committed.metadata),
                        committed_ms: committed.committed_ms,
                    }];
                    emit(Entry::Commit { group: group.into(), offsets })?;
                }
            }
        }
        Ok(())
    }
}

fn count(partitions: i32) -> usize {
    usize::try_from(partitions).unwrap_or_default()
}
