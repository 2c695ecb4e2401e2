//! Reading what a topic still has, up to where it ends now, for whoever looks back: dead letters, past traffic.
//!
//! Deliberately absent: a group and commits. Nothing here changes what another reader sees.

use crate::{
    Bus, Error, Incoming,
    broadcast::{Context, QUERY_TIMEOUT, Start, patiently, start_offsets},
    dead_letters::Place,
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// A reader gives up after this long without an answer.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Records of a topic, to be read once.
pub struct Retained {
    consumer: BaseConsumer<Context>,
    topic: String,
    /// Per partition: the first offset, and the one behind the last.
    ranges: BTreeMap<i32, (i64, i64)>,
}

impl Bus {
    /// The records of a topic (full name) from `start` to the present end. Blocks: run it off the async threads.
    pub fn retained(&self, topic: &str, start: &Start) -> Result<Retained, Error> {
        let consumer = self.looking_back()?;
        let starts = patiently(QUERY_TIMEOUT, || match start_offsets(&consumer, topic, &[], start)? {
            none if none.count() == 0 => Err(no_topic(topic)),
            some => Ok(some),
        })?;
        let mut ranges = BTreeMap::new();
        for element in starts.elements() {
            let (low, end) = consumer.fetch_watermarks(topic, element.partition(), QUERY_TIMEOUT)?;
            let from = match element.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            ranges.insert(element.partition(), (from, end));
        }
        Ok(Retained { consumer, topic: topic.to_owned(), ranges })
    }

    /// The record of a topic (full name) at a place, and those behind it; `None` if there is none, or none any more. Blocks.
    pub(crate) fn retained_at(&self, topic: &str, place: Place) -> Result<Option<Retained>, Error> {
        let consumer = self.looking_back()?;
        let known = patiently(QUERY_TIMEOUT, || start_offsets(&consumer, topic, &[], &Start::Beginning))?;
        if known.find_partition(topic, place.partition).is_none() {
            return Ok(None);
        }
        let (low, end) = consumer.fetch_watermarks(topic, place.partition, QUERY_TIMEOUT)?;
        let ranges = BTreeMap::from([(place.partition, (place.offset, end))]);
        Ok((low..end).contains(&place.offset).then(|| Retained { consumer, topic: topic.to_owned(), ranges }))
    }

    fn looking_back(&self) -> Result<BaseConsumer<Context>, Error> {
        // librdkafka wants a group to assign partitions by hand; nothing is committed under it.
        let group = self.full_name("broadcast");
        let config = self.consumer_config(&[("group.id", &group), ("enable.partition.eof", "true")]);
        Ok(config.create_with_context(Context)?)
    }
}

fn no_topic(topic: &str) -> Error {
    let reason = "it is not there; has a gateway with this kafka.topic_prefix been started on this cluster?";
    Error::Topic { topic: topic.to_owned(), reason: reason.to_owned() }
}

impl Retained {
    /// How many offsets are to be read; not every one need hold a record.
    pub fn offsets(&self) -> u64 {
        self.ranges.values().map(|(from, end)| u64::try_from(end - from).unwrap_or(0)).sum()
    }

    /// Gives `each` every record, each partition in its order, until it says to break. Blocks. The offset before the end need not
    /// hold a record, so the broker's word for the end counts too.
    pub fn read(self, mut each: impl FnMut(Incoming<Vec<u8>>) -> ControlFlow<()>) -> Result<(), Error> {
        let Self { consumer, topic, mut ranges } = self;
        ranges.retain(|_, (from, end)| from < end);
        let mut list = TopicPartitionList::new();
        for (partition, (from, _)) in &ranges {
            list.add_partition_offset(&topic, *partition, Offset::Offset(*from))?;
        }
        consumer.assign(&list)?;
        let mut heard = Instant::now();
        while !ranges.is_empty() {
            match consumer.poll(crate::IDLE_POLL) {
                None if heard.elapsed() > SILENCE_TIMEOUT => {
                    let reason = format!("it did not answer for {SILENCE_TIMEOUT:?}; check that the broker is up");
                    return Err(Error::Topic { topic, reason });
                }
                None => {}
                Some(Ok(message)) => {
                    let record = Incoming::of(&message);
                    let (partition, offset) = (record.partition, record.offset);
                    let Some((_, end)) = ranges.get(&partition).copied() else { continue };
                    if offset + 1 >= end {
                        ranges.remove(&partition);
                    }
                    if offset < end && each(record).is_break() {
                        return Ok(());
                    }
                    heard = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(ranges.remove(&partition)),
                Some(Err(error)) => crate::client::log_error("reader of the past", &error, &error.to_string()),
            }
        }
        Ok(())
    }
}
