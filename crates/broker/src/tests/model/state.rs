//! The model: what the broker must hold, in plain maps. Deliberately simple; everything that depends on files, segments or time
//! is a range of what is allowed. Not here: talking to the broker.

use super::super::{
    batch::{Batch, Entry, Sender},
    group_calls::{Committed, Member},
};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// Repeats of so many batches of a producer are recognised.
const REMEMBERED: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) offsets: Committed,
    /// With the topic it subscribes to.
    pub(super) member: Option<(Member, String)>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) partitions: Vec<Partition>,
    pub(super) configs: BTreeMap<String, String>,
    /// It is or was compacted: records may be missing.
    pub(super) sparse: bool,
    /// It is or was bounded in size: the start may move by itself.
    pub(super) trims: bool,
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) batches: BTreeMap<i64, Batch>,
    pub(super) producers: BTreeMap<i64, Producer>,
    /// The last time given by the broker.
    pub(super) append_time: i64,
}

#[derive(Debug)]
pub(super) struct Producer {
    pub(super) epoch: i16,
    pub(super) next_sequence: i32,
    pub(super) sent: VecDeque<Sent>,
}

#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) sender: Sender,
    pub(super) entries: Vec<Entry>,
    pub(super) bytes: Bytes,
    pub(super) base_offset: i64,
}

/// What may become of a produced batch.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// It must be refused with one of these, unless it is a repeat.
    pub(super) refused: Vec<ResponseError>,
    /// It is a repeat of what lies there.
    pub(super) repeats: Option<i64>,
}

impl Topic {
    pub(super) fn new(id: Uuid, partitions: i32) -> Self {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Self { id, partitions, configs: BTreeMap::new(), sparse: false, trims: false }
    }

    pub(super) fn configure(&mut self, key: &str, value: &str) {
        self.sparse |= value == "compact";
        self.trims |= key == "retention.bytes";
        self.configs.insert(key.to_owned(), value.to_owned());
    }

    fn has(&self, key: &str, value: &str) -> bool {
        self.configs.get(key).is_some_and(|set| set == value)
    }

    pub(super) fn append_time(&self) -> bool {
        self.has("message.timestamp.type", "LogAppendTime")
    }

    /// What must become of a batch; several errors at once may be reported in any order.
    pub(super) fn judge(&self, partition: usize, batch: &Sent, damaged: bool) -> Fate {
        let mut fate = Fate::default();
        let Some(partition) = self.partitions.get(partition) else {
            fate.refused.push(ResponseError::UnknownTopicOrPartition);
            return fate;
        };
        let max = self.configs.get("max.message.bytes").map_or(1_048_588, |max| max.parse().unwrap());
        if batch.bytes.len() > max {
            fate.refused.push(ResponseError::MessageTooLarge);
        }
        if damaged {
            fate.refused.push(ResponseError::CorruptMessage);
        }
        if self.has("cleanup.policy", "compact") && batch.entries.iter().any(|entry| entry.key.is_none()) {
            fate.refused.push(ResponseError::InvalidRecord);
        }
        partition.judge_sequence(batch, &mut fate);
        fate
    }
}

/// The sequence after a batch: from the largest number on to 0.
pub(super) fn sequence_after(sequence: i32, records: usize) -> i32 {
    sequence.wrapping_add(i32::try_from(records).unwrap()) & i32::MAX
}

impl Partition {
    fn judge_sequence(&self, batch: &Sent, fate: &mut Fate) {
        let sender = batch.sender;
        let Some(known) = self.producers.get(&sender.id) else { return };
        if sender.epoch < known.epoch {
            fate.refused.push(ResponseError::InvalidProducerEpoch);
        } else if sender.epoch > known.epoch {
            if sender.sequence != 0 {
                fate.refused.push(ResponseError::OutOfOrderSequenceNumber);
            }
        } else if let Some(repeated) = known
            .sent
            .iter()
            .rev()
            .take(REMEMBERED)
            .find(|sent| (sent.sender.sequence, sent.entries.len()) == (sender.sequence, batch.entries.len()))
        {
            fate.repeats = Some(repeated.base_offset);
        } else if sender.sequence != known.next_sequence {
            fate.refused.push(ResponseError::OutOfOrderSequenceNumber);
        }
    }

    /// Takes in a batch that the broker has put at `base_offset`, with the time it gave.
    pub(super) fn append(&mut self, mut batch: Sent, base_offset: i64, append_time: Option<i64>) {
        assert_eq!(base_offset, self.end, "where the batch went");
        batch.base_offset = base_offset;
        if let Some(time) = append_time {
            assert!(time >= self.append_time, "time went back: {time} after {}", self.append_time);
            self.append_time = time;
        }
        let timed = |entry: &Entry| Entry { timestamp: append_time.unwrap_or(entry.timestamp), ..entry.clone() };
        let entries: Vec<_> = (base_offset..).zip(batch.entries.iter().map(timed)).collect();
        self.end = base_offset + entries.len() as i64;
        let kept =
            Batch { base_offset, last_offset: self.end - 1, sender: batch.sender, bytes: batch.bytes.len(), entries };
        self.batches.insert(base_offset, kept);
        let Sender { id, epoch, sequence } = batch.sender;
        if id < 0 {
            return;
        }
        let fresh = || Producer { epoch, next_sequence: 0, sent: VecDeque::new() };
        let producer = self.producers.entry(id).or_insert_with(fresh);
        if producer.epoch != epoch {
            *producer = fresh();
        }
        producer.next_sequence = sequence_after(sequence, batch.entries.len());
        producer.sent.push_back(batch);
        if producer.sent.len() > 2 * REMEMBERED {
            producer.sent.pop_front();
        }
    }

    /// The batches with offsets of `offset` and more.
    pub(super) fn batches_from(&self, offset: i64) -> impl Iterator<Item = &Batch> {
        self.batches.values().skip_while(move |batch| batch.last_offset < offset)
    }

    /// Records a consumer can see.
    pub(super) fn entries(&self) -> impl Iterator<Item = &(i64, Entry)> {
        self.batches_from(self.start).flat_map(|batch| &batch.entries).filter(|(offset, _)| *offset >= self.start)
    }

    /// Offsets that compaction must leave: each key's last record, unless it is a tombstone.
    pub(super) fn latest_of_each_key(&self) -> BTreeSet<i64> {
        let mut latest = BTreeMap::new();
        for (offset, entry) in self.entries() {
            if let Some(key) = &entry.key {
                latest.insert(key, entry.value.is_some().then_some(*offset));
            }
        }
        latest.into_values().flatten().collect()
    }

    /// Takes in where the broker says that the log begins.
    pub(super) fn observe_start(&mut self, start: i64, may_move: bool) {
        assert!(start == self.start || may_move && start > self.start, "the log begins at {start}, not {}", self.start);
        assert!(start <= self.end, "the log begins at {start}, after its end {}", self.end);
        self.start = start;
    }
}
