//! Reading what a topic still has, up to where it ends now, for whoever looks back: dead letters, past traffic.
//!
//! Deliberately absent: a group and commits. Nothing here changes what another reader sees.

use crate::{
    Bus, Error, Incoming,
    broadcast::{Behind, Context, QUERY_TIMEOUT, Start, patiently, start_offsets},
    dead_letters::Place,
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Message,
};
use std::{
    collections::HashMap,
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// A reader gives up after this long without an answer.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Records of a topic, to be read once.
pub struct Retained {
    consumer: BaseConsumer<Context>,
    topic: String,
    behind: Behind,
}

impl Bus {
    /// The records of a topic (full name) from `start` to the present end. Blocks: run it off the async threads.
    pub fn retained(&self, topic: &str, start: &Start) -> Result<Retained, Error> {
        let consumer = self.looking_back()?;
        let behind = patiently(QUERY_TIMEOUT, || {
            let starts = start_offsets(&consumer, topic, &[], start)?;
            Behind::of(&consumer, topic, &starts)
        })?;
        Ok(Retained { consumer, topic: topic.to_owned(), behind })
    }

    /// The record of a topic (full name) at a place, and those behind it; `None` if there is none, or none any more. Blocks.
    pub(crate) fn retained_at(&self, topic: &str, place: Place) -> Result<Option<Retained>, Error> {
        let consumer = self.looking_back()?;
        let known = patiently(QUERY_TIMEOUT, || start_offsets(&consumer, topic, &[], &Start::Beginning))?;
        if known.find_partition(topic, place.partition).is_none() {
            return Ok(None);
        }
        let (low, end) = consumer.fetch_watermarks(topic, place.partition, QUERY_TIMEOUT)?;
        let behind = Behind(HashMap::from([(place.partition, place.offset..end)]));
        Ok((low..end).contains(&place.offset).then(|| Retained { consumer, topic: topic.to_owned(), behind }))
    }

    fn looking_back(&self) -> Result<BaseConsumer<Context>, Error> {
        // librdkafka wants a group to assign partitions by hand; nothing is committed under it.
        let group = self.full_name("broadcast");
        let config = self.consumer_config(&[("group.id", &group), ("enable.partition.eof", "true")]);
        Ok(config.create_with_context(Context)?)
    }
}

impl Retained {
    /// How many offsets are to be read; not every one need hold a record.
    pub fn offsets(&self) -> u64 {
        self.behind.0.values().map(|range| u64::try_from(range.end - range.start).unwrap_or(0)).sum()
    }

    /// Gives `each` every record, each partition in its order, until it says to break. Blocks.
    pub fn read(self, mut each: impl FnMut(Incoming<Vec<u8>>) -> ControlFlow<()>) -> Result<(), Error> {
        let Self { consumer, topic, mut behind } = self;
        let mut list = TopicPartitionList::new();
        for (partition, range) in &behind.0 {
            list.add_partition_offset(&topic, *partition, Offset::Offset(range.start))?;
        }
        consumer.assign(&list)?;
        let mut heard = Instant::now();
        while !behind.is_nothing() {
            match consumer.poll(crate::IDLE_POLL) {
                None if heard.elapsed() > SILENCE_TIMEOUT => {
                    let reason = format!("it did not answer for {SILENCE_TIMEOUT:?}; check that the broker is up");
                    return Err(Error::Topic { topic, reason });
                }
                None => {}
                Some(Ok(message)) => {
                    let is_wanted = behind.has_read(message.partition(), message.offset());
                    if is_wanted && each(Incoming::of(&message)).is_break() {
                        return Ok(());
                    }
                    heard = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => behind.has_ended(partition),
                Some(Err(error)) => crate::client::log_error("reader of the past", &error, &error.to_string()),
            }
        }
        Ok(())
    }
}
