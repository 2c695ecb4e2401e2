//! Topics and records: what each operation sends, and how its answer is held against the model.

use super::{
    super::{
        batch::{self, CODECS, Entry, HEADER_BYTES, PLAIN, Sender},
        calls::{EARLIEST, Fetched, From, LATEST, MAX_TIMESTAMP, NO_WAIT, Produced, Wait, refusal},
        client::Result,
    },
    World,
    op::{PRODUCERS, Place, Read, SETTINGS, TOPICS, Time, Who, Write},
    state::{Fate, Partition, Sent, Topic, sequence_after},
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use std::time::{Duration, Instant};

/// Longer than an append takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A first sequence from which a few batches lead past the largest number.
const NEAR_THE_LAST_SEQUENCE: i32 = i32::MAX - 20;

impl World {
    pub(super) fn create_topic(&mut self, client: usize, topic: usize, partitions: i32, settings: &[usize]) {
        let name = TOPICS[topic];
        let mut configs = vec![("retention.ms", "-1"), ("segment.bytes", "16384")];
        configs.extend(settings.iter().map(|setting| SETTINGS[*setting]).filter(|(key, _)| *key != "segment.bytes"));
        configs.sort_unstable();
        configs.dedup_by_key(|(key, _)| *key);
        let created = self.clients[client].create_topic(name, partitions, &configs);
        if self.model.topics.contains_key(name) {
            let refused = [Some(ResponseError::TopicAlreadyExists), Some(ResponseError::InvalidPartitions)];
            assert!(refused.contains(&refusal(created)));
        } else if partitions == 0 {
            assert_eq!(refusal(created), Some(ResponseError::InvalidPartitions));
        } else {
            let mut topic = Topic::new(created.unwrap(), partitions);
            configs.iter().for_each(|(key, value)| topic.configure(key, value));
            self.model.topics.insert(name.to_owned(), topic);
        }
    }

    pub(super) fn delete_topic(&mut self, client: usize, topic: usize) {
        let deleted = self.clients[client].delete_topic(TOPICS[topic]);
        if self.model.topics.remove(TOPICS[topic]).is_none() {
            assert_eq!(refusal(deleted), Some(ResponseError::UnknownTopicOrPartition));
            return;
        }
        deleted.unwrap();
        for group in self.model.groups.values_mut() {
            group.offsets.retain(|(name, _), _| name != TOPICS[topic]);
        }
    }

    pub(super) fn add_partitions(&mut self, client: usize, topic: usize, count: i32) {
        let added = self.clients[client].add_partitions(TOPICS[topic], count);
        let Some(topic) = self.model.topics.get_mut(TOPICS[topic]) else {
            return assert_eq!(refusal(added), Some(ResponseError::UnknownTopicOrPartition));
        };
        let count = usize::try_from(count).unwrap();
        if count <= topic.partitions.len() {
            return assert_eq!(refusal(added), Some(ResponseError::InvalidPartitions));
        }
        added.unwrap();
        topic.partitions.resize_with(count, Partition::default);
    }

    pub(super) fn configure(&mut self, client: usize, topic: usize, setting: usize) {
        let (key, value) = SETTINGS[setting];
        let client = &mut self.clients[client];
        let configured = client.configure(TOPICS[topic], key, Some(value));
        let Some(known) = self.model.topics.get_mut(TOPICS[topic]) else {
            return assert_eq!(refusal(configured), Some(ResponseError::UnknownTopicOrPartition));
        };
        configured.unwrap();
        known.configure(key, value);
        assert_eq!(client.configured(TOPICS[topic], key).unwrap().as_deref(), Some(value));
    }

    pub(super) fn produce(&mut self, client: usize, writes: &[Write], answered: bool) {
        let mut batches: Vec<(&Write, Sent)> = Vec::new();
        for write in writes {
            if batches.iter().all(|(other, _)| (other.topic, other.partition) != (write.topic, write.partition)) {
                batches.push((write, self.batch(write)));
            }
        }
        let request: Vec<_> = batches
            .iter()
            .map(|(write, sent)| {
                let bytes = if write.damaged { damaged(&sent.bytes) } else { sent.bytes.clone() };
                (TOPICS[write.topic], i32::try_from(write.partition).unwrap(), bytes)
            })
            .collect();
        let fates: Vec<Fate> = batches.iter().map(|(write, sent)| self.judge(write, sent)).collect();
        // Whoever waits for no answer gets neither times nor errors.
        let silent = fates.iter().all(|fate| fate.refused.is_empty())
            && batches.iter().all(|(write, _)| !self.model.topics[TOPICS[write.topic]].append_time());
        if !answered && silent {
            self.clients[client].produce_unanswered(&request).unwrap();
            for ((write, sent), fate) in batches.into_iter().zip(fates) {
                self.expect_appended(client, write, sent, &fate);
            }
            return;
        }
        let produced = self.clients[client].produce_all(&request).unwrap();
        for (((write, sent), fate), produced) in batches.into_iter().zip(fates).zip(produced) {
            self.produced(write, sent, &fate, produced);
        }
    }

    /// Nobody says when: with `fsync: always` it shows only once it is on the disk.
    fn expect_appended(&mut self, client: usize, write: &Write, sent: Sent, fate: &Fate) {
        let partition = self.partition(write.topic, write.partition).unwrap();
        if fate.repeats.is_none() {
            partition.append(sent, partition.end, None);
        }
        let (end, since) = (partition.end, Instant::now());
        let number = i32::try_from(write.partition).unwrap();
        while self.clients[client].list_offset(TOPICS[write.topic], number, LATEST).unwrap().0 < end {
            assert!(since.elapsed() < PATIENCE, "what was sent with acks=0 does not appear");
        }
    }

    fn judge(&self, write: &Write, sent: &Sent) -> Fate {
        match self.model.topics.get(TOPICS[write.topic]) {
            Some(topic) => topic.judge(write.partition, sent, write.damaged),
            None => Fate { refused: vec![ResponseError::UnknownTopicOrPartition], repeats: None },
        }
    }

    fn produced(&mut self, write: &Write, sent: Sent, fate: &Fate, produced: Result<Produced>) {
        let produced = match produced {
            Err(error) => return assert!(fate.refused.contains(&error.code()), "{error}, not {fate:?}"),
            Ok(produced) => produced,
        };
        if let Some(base_offset) = fate.repeats {
            return assert_eq!(produced.base_offset, base_offset, "where the repeated batch lies");
        }
        assert!(fate.refused.is_empty(), "it must be refused: {fate:?}");
        let topic = self.model.topics.get_mut(TOPICS[write.topic]).unwrap();
        let append_time = topic.append_time().then_some(produced.append_time);
        assert_eq!(append_time.is_none(), produced.append_time == -1);
        let trims = topic.trims;
        let partition = &mut topic.partitions[write.partition];
        if produced.log_start >= 0 {
            partition.observe_start(produced.log_start, trims);
        }
        partition.append(sent, produced.base_offset, append_time);
    }

    /// The batch that a write means now.
    fn batch(&mut self, write: &Write) -> Sent {
        let entries: Vec<Entry> = write.records.iter().map(|record| self.entry(record)).collect();
        let producer = match write.who {
            Who::Plain => None,
            Who::Next(index)
            | Who::Again(index, _)
            | Who::Skip(index)
            | Who::OldEpoch(index)
            | Who::NewEpoch(index) => Some(index % PRODUCERS),
        };
        let sender = producer.map_or(PLAIN, |index| {
            if let Who::NewEpoch(_) = write.who {
                self.producers[index].1 += 1;
            }
            let (id, epoch) = self.producers[index];
            let known = self.partition(write.topic, write.partition).and_then(|p| p.producers.get(&id));
            let next = match known {
                Some(known) if known.epoch == epoch => known.next_sequence,
                Some(_) => 0,
                None if epoch % 2 == 0 => 0,
                None => NEAR_THE_LAST_SEQUENCE,
            };
            match write.who {
                Who::Skip(_) => Sender { id, epoch, sequence: sequence_after(next, 3) },
                Who::OldEpoch(_) if epoch > 0 => Sender { id, epoch: epoch - 1, sequence: next },
                _ => Sender { id, epoch, sequence: next },
            }
        });
        if let Who::Again(_, back) = write.who
            && let Some(partition) = self.partition(write.topic, write.partition)
            && let Some(known) = partition.producers.get(&sender.id)
            && let Some(sent) = known.sent.iter().rev().nth(back)
        {
            return sent.clone();
        }
        let bytes = batch::encode(&entries, sender, CODECS[write.codec]);
        Sent { sender, entries, bytes, base_offset: -1 }
    }

    fn entry(&mut self, record: &super::op::Record) -> Entry {
        self.records += 1;
        let key = (!record.key.is_multiple_of(8)).then(|| Bytes::from(format!("key {}", record.key % 16)));
        let unique = format!("{}:", self.records);
        let value = (record.value > 0).then(|| Bytes::from(unique.repeat(record.value / unique.len() + 1)));
        Entry { key, value, timestamp: self.epoch_ms - record.age_ms }
    }

    pub(super) fn fetch(&mut self, client: usize, reads: &[Read], max_bytes: i32) {
        let mut from: Vec<From<'static>> = Vec::new();
        for read in reads {
            let (topic, partition) = (TOPICS[read.topic], i32::try_from(read.partition).unwrap());
            if from.iter().all(|other| (other.topic, other.partition) != (topic, partition)) {
                let offset = self.partition(read.topic, read.partition).map_or(0, |p| place(p, read.place));
                from.push(From { topic, partition, offset, max_bytes: read.max_bytes });
            }
        }
        // The order of the answer, in which the bytes are given out.
        from.sort_by_key(|from| from.topic);
        let answers = self.clients[client].fetch_all(&from, Wait { max_bytes, ..NO_WAIT }).unwrap();
        let mut left = usize::try_from(max_bytes).unwrap();
        let mut first = true;
        for (from, answer) in from.into_iter().zip(answers) {
            let bytes = answer.as_ref().map_or(0, |fetched| fetched.bytes);
            self.fetched(client, from, answer, first.then_some(()).ok_or(left));
            first &= bytes == 0;
            left = left.saturating_sub(bytes);
        }
    }

    /// Holds an answer against the model; `room` says that a first batch is due whatever its size, or what was left.
    fn fetched(
        &mut self,
        client: usize,
        from: From<'_>,
        answer: Result<Fetched>,
        room: std::result::Result<(), usize>,
    ) {
        let index = usize::try_from(from.partition).unwrap();
        let Some(topic) = self.model.topics.get_mut(from.topic) else {
            return assert_eq!(refusal(answer), Some(ResponseError::UnknownTopicOrPartition));
        };
        let (trims, sparse) = (topic.trims, topic.sparse);
        let Some(partition) = topic.partitions.get_mut(index) else {
            return assert_eq!(refusal(answer), Some(ResponseError::UnknownTopicOrPartition));
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                assert_eq!(error.code(), ResponseError::OffsetOutOfRange);
                if trims {
                    let start = self.clients[client].list_offset(from.topic, from.partition, EARLIEST).unwrap().0;
                    partition.observe_start(start, true);
                }
                return assert!(from.offset < partition.start || from.offset > partition.end, "{from:?} is within");
            }
        };
        assert!(from.offset >= partition.start && from.offset <= partition.end, "{from:?} is out of range");
        assert_eq!(answer.high_watermark, partition.end);
        if answer.log_start >= 0 {
            partition.observe_start(answer.log_start, trims);
        }
        let allowed = room.err().map_or(from.max_bytes, |left| from.max_bytes.min(i32::try_from(left).unwrap()));
        let allowed = usize::try_from(allowed).unwrap();
        let first = answer.batches.first().map_or(0, |batch| batch.bytes);
        assert!(answer.bytes <= allowed.max(if room.is_ok() { first } else { 0 }), "more than was asked for");
        if sparse {
            return check_sparse(partition, from.offset, &answer);
        }
        let mut expected = partition.batches_from(from.offset).peekable();
        for batch in &answer.batches {
            if batch.entries.is_empty() {
                // What a power loss left out has a batch without records.
                let next = expected.peek().map_or(partition.end, |next| next.base_offset);
                assert!(batch.last_offset < next && self.boots > 0, "nothing where there are records");
                continue;
            }
            let expected = expected.next().expect("a batch too many");
            assert_eq!((batch.base_offset, batch.last_offset), (expected.base_offset, expected.last_offset));
            assert_eq!((batch.sender, batch.bytes), (expected.sender, expected.bytes));
            assert_eq!(batch.entries, expected.entries);
        }
        let next = expected.next().map_or(0, |batch| batch.bytes);
        let cut = answer.bytes - answer.batches.iter().map(|batch| batch.bytes).sum::<usize>();
        assert!(cut < next.max(HEADER_BYTES), "{cut} bytes of rubbish");
        assert!(next == 0 || !answer.batches.is_empty() || room.is_err_and(|_| next > allowed), "a batch was due");
    }

    pub(super) fn list_offset(&mut self, client: usize, topic: usize, partition: usize, time: Time) {
        let wanted = match time {
            Time::Latest => LATEST,
            Time::Earliest => EARLIEST,
            Time::Max => MAX_TIMESTAMP,
            Time::Ago(age_ms) => self.epoch_ms - age_ms,
        };
        let number = i32::try_from(partition).unwrap();
        let answer = self.clients[client].list_offset(TOPICS[topic], number, wanted);
        let topic = self.model.topics.get_mut(TOPICS[topic]);
        let Some((trims, sparse, partition)) =
            topic.and_then(|topic| Some((topic.trims, topic.sparse, topic.partitions.get_mut(partition)?)))
        else {
            return assert_eq!(refusal(answer), Some(ResponseError::UnknownTopicOrPartition));
        };
        let (offset, timestamp) = answer.unwrap();
        let expected = match time {
            Time::Latest => return assert_eq!(offset, partition.end),
            Time::Earliest => return partition.observe_start(offset, trims),
            Time::Max => partition.entries().max_by_key(|(offset, entry)| (entry.timestamp, -offset)),
            Time::Ago(_) => partition.entries().find(|(_, entry)| entry.timestamp >= wanted),
        };
        let expected = expected.map_or((-1, -1), |(offset, entry)| (*offset, entry.timestamp));
        if !trims && !sparse {
            assert_eq!((offset, timestamp), expected);
        } else if offset >= 0 {
            let found = partition.entries().find(|(known, _)| *known == offset).expect("a record that was written");
            assert_eq!(found.1.timestamp, timestamp);
            assert!(matches!(time, Time::Max) || timestamp >= wanted && offset >= expected.0);
        }
    }

    pub(super) fn delete_records(&mut self, client: usize, topic: usize, partition: usize, at: Place) {
        let number = i32::try_from(partition).unwrap();
        let offset = match (at, self.partition(topic, partition)) {
            (Place::End, _) | (_, None) => -1,
            (at, Some(partition)) => place(partition, at),
        };
        let deleted = self.clients[client].delete_records(TOPICS[topic], number, offset);
        let Some(known) = self.partition(topic, partition) else {
            return assert_eq!(refusal(deleted), Some(ResponseError::UnknownTopicOrPartition));
        };
        let wanted = if offset == -1 && !matches!(at, Place::BeforeStart) { known.end } else { offset };
        if wanted < 0 && !matches!(at, Place::BeforeStart) || wanted > known.end {
            return assert_eq!(refusal(deleted), Some(ResponseError::OffsetOutOfRange));
        }
        if offset == -1 {
            known.start = known.end;
            return assert_eq!(deleted.unwrap(), known.end);
        }
        known.start = known.start.max(wanted);
        let trims = self.model.topics[TOPICS[topic]].trims;
        self.partition(topic, partition).unwrap().observe_start(deleted.unwrap(), trims);
    }

    /// Reads everything and holds it against the model.
    pub(super) fn check_records(&mut self) {
        for (name, topic) in &mut self.model.topics {
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                let number = i32::try_from(index).unwrap();
                let read = loop {
                    let start = self.clients[0].list_offset(name, number, EARLIEST).unwrap().0;
                    partition.observe_start(start, topic.trims);
                    match self.clients[0].fetch_to_end(name, number, start) {
                        Ok(read) => break read,
                        // Retention was faster.
                        Err(error) => assert!(topic.trims, "{error}"),
                    }
                };
                let read: Vec<_> = read.into_iter().flat_map(|batch| batch.entries).collect();
                let read = read.iter().filter(|(offset, _)| *offset >= partition.start);
                if topic.sparse {
                    let read: std::collections::BTreeMap<_, _> = read.cloned().collect();
                    let written: std::collections::BTreeMap<_, _> = partition.entries().cloned().collect();
                    assert!(read.iter().all(|(offset, entry)| written.get(offset) == Some(entry)), "{name}-{index}");
                    let missing = partition.latest_of_each_key().into_iter().find(|offset| !read.contains_key(offset));
                    assert_eq!(missing, None, "{name}-{index}: compaction took a key's last record");
                } else {
                    assert!(read.eq(partition.entries()), "{name}-{index} differs");
                }
            }
        }
    }
}

/// In a compacted log records may be missing, but not a key's last.
fn check_sparse(partition: &Partition, offset: i64, answer: &Fetched) {
    let read: std::collections::BTreeMap<i64, &Entry> =
        answer.batches.iter().flat_map(|batch| &batch.entries).map(|(offset, entry)| (*offset, entry)).collect();
    let Some(last) = answer.batches.last().map(|batch| batch.last_offset) else { return };
    for (offset, entry) in &read {
        let written =
            partition.batches_from(*offset).flat_map(|batch| &batch.entries).find(|(known, _)| known == offset);
        assert_eq!(written.map(|(_, entry)| entry), Some(*entry), "offset {offset}");
    }
    let due = partition.latest_of_each_key();
    let missing = due.range(offset..=last).find(|offset| !read.contains_key(offset));
    assert_eq!(missing, None, "compaction took a key's last record");
}

fn place(partition: &Partition, place: Place) -> i64 {
    match place {
        Place::Within(hundredths) => partition.start + (partition.end - partition.start) * hundredths / 100,
        Place::BeforeStart => partition.start - 1,
        Place::End => partition.end,
        Place::BeyondEnd => partition.end + 1,
    }
}

/// A batch with one bit of its last record turned.
fn damaged(bytes: &Bytes) -> Bytes {
    let mut bytes = BytesMut::from(&bytes[..]);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes.freeze()
}
