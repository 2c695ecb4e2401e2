//! What was promised: every record acknowledged or read, every commit, topic and producer id. Held against the broker after each
//! start, and against each answer. Not here: which promises a power loss ends (`disk`).

use super::super::{
    batch::{Batch, Entry},
    calls::{EARLIEST, LATEST},
    client::{Client, Result},
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
};
use uuid::Uuid;

/// A log longer than this is shortened, to bound the time a check takes.
const RECORDS_MAX: i64 = 3_000;
const RECORDS_LEFT: i64 = 800;
/// Topics that come and go which are there at once.
const PASSING_MAX: usize = 8;
const GROUPS: [&str; 2] = ["crash-a", "crash-b"];

/// What a log's topic does with old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Keep,
    /// Retention by size.
    Bound,
    Compact,
}

/// Keys and values of a topic's configuration.
type Config = &'static [(&'static str, &'static str)];

/// The topics that are written to, with their partitions and configuration.
pub(super) const TOPICS: [(&str, i32, Policy, Config); 3] = [
    ("kept", 3, Policy::Keep, &[("segment.bytes", "16384"), ("retention.ms", "-1")]),
    ("bounded", 1, Policy::Bound, &[("segment.bytes", "16384"), ("retention.bytes", "50000")]),
    ("compacted", 1, Policy::Compact, &[("segment.bytes", "16384"), ("cleanup.policy", "compact")]),
];

/// A topic and a partition.
pub(super) type Target = (&'static str, i32);

/// Who wrote a record, and its number in their count.
pub(super) type Mark = (usize, u64);

/// The record of that writer and number: anybody can tell what it must look like.
pub(super) fn entry((writer, number): Mark) -> Entry {
    let filler = "x".repeat(usize::try_from(number.wrapping_mul(0x9e37_79b9) % 700).unwrap());
    let key = Some(Bytes::from(format!("{writer}-{}", number % 20)));
    let timestamp = 1_700_000_000_000 + i64::try_from(number).unwrap();
    Entry { key, value: Some(Bytes::from(format!("{writer}:{number}:{filler}"))), timestamp }
}

fn mark(found: &Entry) -> Mark {
    let value = std::str::from_utf8(found.value.as_ref().expect("a value")).expect("what was written");
    let mut parts = value.split(':').map(str::parse);
    let (Some(Ok(writer)), Some(Ok(number))) = (parts.next(), parts.next()) else { panic!("nobody wrote {value}") };
    let mark = (usize::try_from(writer).unwrap(), number);
    assert_eq!(found, &entry(mark), "a record has changed");
    mark
}

/// One partition.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) target: Target,
    pub(super) id: Uuid,
    pub(super) policy: Policy,
    /// What was ever acknowledged or read at an offset.
    known: BTreeMap<i64, Mark>,
    /// What must be there.
    required: BTreeSet<i64>,
    start: i64,
    /// It was to begin here; there was no answer.
    cut: Option<i64>,
    /// All below has been handed out.
    end: i64,
    /// The last segment's base and length when the broker last ended well; the disk has it.
    pub(super) floor: (i64, u64),
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) logs: BTreeMap<Target, Log>,
    cluster: Option<String>,
    /// Offsets by group and partition of the first topic: the last acknowledged and the last tried.
    commits_of: BTreeMap<(&'static str, i32), (i64, i64)>,
    /// Topics that come and go: whether they must be there, or nobody knows.
    passing: BTreeMap<String, Option<bool>>,
    pub(super) producer_ids: BTreeSet<i64>,
    pub(super) power_losses: u32,
    pub(super) acknowledged: u64,
    pub(super) commits: u64,
    pub(super) checked: u64,
}

impl Log {
    fn remember(&mut self, offset: i64, mark: Mark) {
        let known = *self.known.entry(offset).or_insert(mark);
        assert_eq!(known, mark, "{:?}: offset {offset} has been given to another record", self.target);
        self.required.insert(offset);
        self.end = self.end.max(offset + 1);
    }

    /// The last offset that somebody knows of.
    pub(super) fn last_known(&self) -> Option<i64> {
        self.known.keys().next_back().copied()
    }

    /// The disk has lost these offsets.
    pub(super) fn lost(&mut self, offsets: Range<i64>) {
        self.required.retain(|offset| !offsets.contains(offset));
    }

    fn observe_start(&mut self, start: i64) {
        let may_move = self.policy == Policy::Bound || self.cut.take() == Some(start);
        assert!(start == self.start || may_move && start > self.start, "{:?} begins at {start}: {self:?}", self.target);
        self.start = start;
        self.known = self.known.split_off(&start);
        self.required = self.required.split_off(&start);
    }

    /// Reads the whole log; gives how many records it has.
    fn check(&mut self, client: &mut Client) -> Result<usize> {
        let (topic, partition) = self.target;
        let end = client.list_offset(topic, partition, LATEST)?.0;
        assert!(end >= self.end, "{:?} went back from {} to {end}", self.target, self.end);
        let batches = loop {
            let start = client.list_offset(topic, partition, EARLIEST)?.0;
            self.observe_start(start);
            match client.fetch_to_end(topic, partition, start) {
                // Retention was faster.
                Err(super::super::client::Error::Refused(_)) if self.policy == Policy::Bound => {}
                batches => break batches?,
            }
        };
        let entries = batches.into_iter().flat_map(|batch| batch.entries);
        let found: BTreeMap<i64, Mark> =
            entries.filter(|(offset, _)| *offset >= self.start).map(|(offset, entry)| (offset, mark(&entry))).collect();
        self.check_order(&found);
        let missing = match self.policy {
            Policy::Keep | Policy::Bound => self.required.iter().find(|offset| !found.contains_key(offset)).copied(),
            Policy::Compact => self.missing_key(&found),
        };
        assert_eq!(missing, None, "{:?} lost an offset it had promised, of {}..{end}", self.target, self.start);
        found.iter().for_each(|(offset, mark)| self.remember(*offset, *mark));
        self.end = self.end.max(end);
        if self.policy == Policy::Compact {
            self.required = found.keys().copied().collect();
        }
        if self.policy == Policy::Keep && found.len() > usize::try_from(RECORDS_MAX).unwrap() {
            let cut = *found.keys().rev().nth(usize::try_from(RECORDS_LEFT).unwrap()).unwrap();
            self.cut = Some(cut);
            self.observe_start(client.delete_records(topic, partition, cut)?);
            assert_eq!(self.start, cut);
        }
        Ok(found.len())
    }

    /// A writer's records come once and in order.
    fn check_order(&self, found: &BTreeMap<i64, Mark>) {
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for (offset, (writer, number)) in found {
            let before = last.insert(*writer, *number);
            let right = before.is_none_or(|before| before < *number);
            assert!(right, "{:?}: {writer}:{number} at {offset} comes after {before:?}", self.target);
        }
    }

    /// A promise whose key has neither this record nor a later one.
    fn missing_key(&self, found: &BTreeMap<i64, Mark>) -> Option<i64> {
        let key = |(writer, number): &Mark| (*writer, number % 20);
        let latest: BTreeMap<_, _> = found.iter().map(|(offset, mark)| (key(mark), *offset)).collect();
        let kept = |offset: &&i64| latest.get(&key(&self.known[offset])).is_some_and(|latest| latest >= *offset);
        self.required.iter().find(|offset| !kept(offset)).copied()
    }
}

impl Ledger {
    /// Everything that must be true after a start.
    pub(super) fn check(&mut self, client: &mut Client) -> Result<()> {
        let metadata = client.metadata(None)?;
        let cluster = metadata.cluster_id.unwrap().to_string();
        assert_eq!(*self.cluster.get_or_insert_with(|| cluster.clone()), cluster);
        let there: BTreeMap<String, Uuid> =
            metadata.topics.into_iter().map(|topic| (topic.name.unwrap().to_string(), topic.topic_id)).collect();
        for (name, partitions, policy, configs) in TOPICS {
            let id = match there.get(name) {
                Some(id) => *id,
                None => {
                    assert!(!self.logs.contains_key(&(name, 0)), "{name} is gone");
                    client.create_topic(name, partitions, configs)?
                }
            };
            for partition in 0..partitions {
                let fresh = || Log {
                    target: (name, partition),
                    id,
                    policy,
                    known: BTreeMap::new(),
                    required: BTreeSet::new(),
                    start: 0,
                    cut: None,
                    end: 0,
                    floor: (0, 0),
                };
                let log = self.logs.entry((name, partition)).or_insert_with(fresh);
                assert_eq!(log.id, id, "{name} is another topic");
                self.checked += log.check(client)? as u64;
            }
        }
        for (name, state) in &mut self.passing {
            let is = there.contains_key(name);
            assert!(state.is_none_or(|must| must == is), "{name} must be there: {state:?}, and is: {is}");
            *state = Some(is);
        }
        self.check_commits(client)
    }

    fn check_commits(&mut self, client: &mut Client) -> Result<()> {
        for group in GROUPS {
            let committed = client.committed(group)?;
            for ((_, partition), (acknowledged, tried)) in
                self.commits_of.iter_mut().filter(|((name, _), _)| *name == group)
            {
                let default = (0, "0".to_owned());
                let (offset, metadata) = committed.get(&(TOPICS[0].0.to_owned(), *partition)).unwrap_or(&default);
                let range = *acknowledged..=*tried;
                assert!(range.contains(offset), "{group} of {partition} is at {offset}, not in {range:?}");
                assert_eq!(&offset.to_string(), metadata);
                *acknowledged = *offset;
            }
        }
        Ok(())
    }

    /// The broker has said where the entries of these marks lie.
    pub(super) fn acknowledged(&mut self, target: Target, base_offset: i64, marks: &[Mark]) {
        let log = self.logs.get_mut(&target).unwrap();
        for (offset, mark) in (base_offset..).zip(marks) {
            // Retention may have been faster than the retry that is answered only now.
            if offset >= log.start {
                log.remember(offset, *mark);
            }
        }
        self.acknowledged += marks.len() as u64;
    }

    /// Somebody has read this.
    pub(super) fn read(&mut self, target: Target, batches: &[Batch]) {
        let log = self.logs.get_mut(&target).unwrap();
        for (offset, entry) in batches.iter().flat_map(|batch| &batch.entries) {
            if *offset >= log.start {
                log.remember(*offset, mark(entry));
            }
        }
    }

    /// Where a reader may go on.
    pub(super) fn ends(&self) -> Vec<(Target, i64)> {
        self.logs.values().map(|log| (log.target, log.end)).collect()
    }

    /// The next offset to commit for a group: one more than ever before.
    pub(super) fn next_commit(&mut self, count: u64) -> (&'static str, i32, i64) {
        let group = GROUPS[usize::try_from(count).unwrap() % GROUPS.len()];
        let partition = i32::try_from(count / GROUPS.len() as u64 % 3).unwrap();
        let (_, tried) = self.commits_of.entry((group, partition)).or_default();
        *tried += 1;
        (group, partition, *tried)
    }

    pub(super) fn committed(&mut self, group: &'static str, partition: i32, offset: i64) {
        self.commits_of.get_mut(&(group, partition)).unwrap().0 = offset;
        self.commits += 1;
    }

    pub(super) fn new_producer(&mut self, id: i64) {
        assert!(self.producer_ids.insert(id), "producer id {id} has been given out before");
    }

    /// A topic that comes and goes must be there, must not, or nobody knows.
    pub(super) fn passes(&mut self, name: &str, state: Option<bool>) {
        self.passing.insert(name.to_owned(), state);
        if self.passing.len() > 2 * PASSING_MAX {
            let gone = self.passing.iter().find(|(_, state)| **state == Some(false)).map(|(name, _)| name.clone());
            gone.and_then(|name| self.passing.remove(&name));
        }
    }

    /// The topic to be deleted now, if there are enough: from here on nobody knows whether it is there.
    pub(super) fn oldest_passing(&mut self) -> Option<String> {
        let there = || self.passing.iter().filter(|(_, state)| **state == Some(true));
        let name = there().next().filter(|_| there().count() > PASSING_MAX)?.0.clone();
        self.passing.insert(name.clone(), None);
        Some(name)
    }

    /// After an end: what a clean one has put on the disk for good.
    pub(super) fn note_floors(&mut self, root: &Path, clean: bool) {
        for log in self.logs.values_mut().filter(|_| clean) {
            log.floor = super::disk::segments(root, log).last().map_or((0, 0), |last| (last.base, last.len));
        }
    }
}
