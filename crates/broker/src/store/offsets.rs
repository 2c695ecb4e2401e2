//! Committed offsets, by group, topic and partition, and what they may take up. Deliberately absent: members and
//! generations, and so whether a commit is allowed.

use super::entry::Commit;
use std::collections::BTreeMap;

/// Longest metadata of a commit, in bytes, as Kafka's default of `offset.metadata.max.bytes`; beyond it the answer is
/// `OFFSET_METADATA_TOO_LARGE`.
pub(crate) const METADATA_BYTES_MAX: usize = 4096;
/// Offsets of one group.
pub(crate) const GROUP_OFFSETS_MAX: usize = 20_000;
/// Offsets of all groups.
pub(crate) const OFFSETS_MAX: usize = 100_000;
/// Names and metadata of all offsets, in bytes.
pub(crate) const OFFSETS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Where a group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    /// -1: not told.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) committed_ms: i64,
}

/// Offsets of one group, by topic and partition. Never empty.
pub(crate) type Group = BTreeMap<String, BTreeMap<i32, Committed>>;

/// All committed offsets.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    groups: BTreeMap<String, Group>,
    entries: usize,
    bytes: usize,
}

impl Offsets {
    /// All groups that have offsets.
    pub(crate) fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }

    /// What `group` committed for one partition.
    pub(crate) fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// Whether the offsets fit; counted a little too high if a partition is named twice.
    pub(super) fn fit(&self, group: &str, offsets: &[Commit<'_>]) -> bool {
        let (mut entries, mut bytes) = (0, 0);
        for new in offsets {
            bytes += cost(group, &new.topic, &new.metadata);
            match self.get(group, &new.topic, new.partition) {
                Some(old) => bytes = bytes.saturating_sub(cost(group, &new.topic, &old.metadata)),
                None => entries += 1,
            }
        }
        let here = self.groups.get(group).map_or(0, |group| group.values().map(BTreeMap::len).sum());
        here + entries <= GROUP_OFFSETS_MAX
            && self.entries + entries <= OFFSETS_MAX
            && self.bytes + bytes <= OFFSETS_BYTES_MAX
    }

    pub(super) fn commit(&mut self, group: &str, commit: Commit<'_>) {
        let Commit { topic, partition, offset, leader_epoch, metadata, committed_ms } = commit;
        self.bytes += cost(group, &topic, &metadata);
        let committed = Committed { offset, leader_epoch, metadata: metadata.into_owned(), committed_ms };
        let topics = self.groups.entry(group.to_owned()).or_default();
        match topics.entry(topic.clone().into_owned()).or_default().insert(partition, committed) {
            Some(old) => self.bytes -= cost(group, &topic, &old.metadata),
            None => self.entries += 1,
        }
    }

    pub(super) fn delete(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        let Some(old) = partitions.remove(&partition) else { return };
        self.entries -= 1;
        self.bytes -= cost(group, topic, &old.metadata);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
    }

    pub(super) fn delete_group(&mut self, group: &str) {
        for (topic, partitions) in self.groups.remove(group).unwrap_or_default() {
            self.forget(group, &topic, &partitions);
        }
    }

    pub(super) fn delete_topic(&mut self, topic: &str) {
        let mut groups = std::mem::take(&mut self.groups);
        groups.retain(|group, topics| {
            if let Some(partitions) = topics.remove(topic) {
                self.forget(group, topic, &partitions);
            }
            !topics.is_empty()
        });
        self.groups = groups;
    }

    fn forget(&mut self, group: &str, topic: &str, partitions: &BTreeMap<i32, Committed>) {
        self.entries -= partitions.len();
        self.bytes -= partitions.values().map(|old| cost(group, topic, &old.metadata)).sum::<usize>();
    }
}

/// The newest commit of a group.
pub(super) fn latest_ms(group: &Group) -> i64 {
    let commits = group.values().flat_map(BTreeMap::values);
    commits.map(|committed| committed.committed_ms).max().unwrap_or(i64::MIN)
}

fn cost(group: &str, topic: &str, metadata: &str) -> usize {
    group.len() + topic.len() + metadata.len()
}
