//! Reading partitions without a group: replies for this replica, cancellations, control. Nothing is committed.

use crate::{Bus, Error, Incoming};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _, Message},
    topic_partition_list::TopicPartitionListElem,
};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// After what is there now: the end offset is asked for, so that nothing produced later is missed.
    End,
    /// At the first record appended at or after this time, milliseconds since the Unix epoch.
    Since(i64),
    /// At the oldest record.
    Beginning,
    /// Behind the offset named for a partition; at the oldest record of one that is not named, or whose offset is gone.
    After(BTreeMap<i32, i64>),
}

/// A record that is only borrowed: look at a header before paying for a copy.
pub struct Raw<'a>(&'a BorrowedMessage<'a>);

impl Raw<'_> {
    /// The value.
    pub fn value(&self) -> &[u8] {
        self.0.payload().unwrap_or_default()
    }

    /// The last header of that name, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.0.headers()?;
        (0..headers.count())
            .rev()
            .map(|i| headers.get(i))
            .find(|h| h.key == name)
            .and_then(|h| h.value)
            .and_then(|v| std::str::from_utf8(v).ok())
    }

    /// Partition and offset.
    pub fn place(&self) -> (i32, i64) {
        (self.0.partition(), self.0.offset())
    }

    /// Milliseconds since the Unix epoch: append or create time, as the topic is configured.
    pub fn timestamp_ms(&self) -> i64 {
        self.0.timestamp().to_millis().unwrap_or(0)
    }

    /// A copy.
    pub fn to_incoming(&self) -> Incoming<Vec<u8>> {
        Incoming::of(self.0)
    }
}

/// Logs what librdkafka reports.
pub(crate) struct Context;

impl ClientContext for Context {
    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        crate::client::log_error("broadcast consumer", &error, reason);
    }
}

impl ConsumerContext for Context {}

pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

impl Bus {
    /// Reads `partitions` of a topic (full name; empty: all of them) until `stop`, giving each record to `each` on the
    /// reader's own thread, which must not block. Blocks until the start offsets are known and assigned: a record
    /// produced after this returns is seen.
    pub fn broadcast(
        &self,
        topic: &str,
        partitions: &[i32],
        start: Start,
        stop: CancellationToken,
        each: impl FnMut(Raw<'_>) + Send + 'static,
    ) -> Result<(), Error> {
        self.read(topic, (partitions, start), stop, each, None::<fn()>)
    }

    /// Reads all partitions of a topic (full name) until `stop`, like [`Bus::broadcast`], and calls `caught_up` once: when everything
    /// has been read that stood there when this was called.
    pub fn replay(
        &self,
        topic: &str,
        start: Start,
        stop: CancellationToken,
        each: impl FnMut(Raw<'_>) + Send + 'static,
        caught_up: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        self.read(topic, (&[], start), stop, each, Some(caught_up))
    }

    fn read(
        &self,
        topic: &str,
        (partitions, start): (&[i32], Start),
        stop: CancellationToken,
        mut each: impl FnMut(Raw<'_>) + Send + 'static,
        mut caught_up: Option<impl FnOnce() + Send + 'static>,
    ) -> Result<(), Error> {
        // Its partitions never change, so that nothing waits for a fetch to end but a record, which ends it; and the end of a log
        // whose last offsets no record has.
        let (consumer, mut behind) = self.reader(topic, (partitions, &start), "2000", caught_up.is_some())?;
        let name = format!("read-{topic}");
        let run = move || {
            while !stop.is_cancelled() {
                if behind.is_nothing()
                    && let Some(caught_up) = caught_up.take()
                {
                    caught_up();
                }
                match consumer.poll(crate::IDLE_POLL) {
                    None => {}
                    Some(Ok(message)) => {
                        each(Raw(&message));
                        behind.has_read(message.partition(), message.offset());
                    }
                    Some(Err(KafkaError::PartitionEOF(partition))) => behind.has_ended(partition),
                    Some(Err(error)) => crate::client::log_error("broadcast consumer", &error, &error.to_string()),
                }
            }
        };
        std::thread::Builder::new().name(name).spawn(run).map_err(|_| Error::Stopped("thread".into()))?;
        Ok(())
    }

    /// A consumer with the partitions assigned at their start offsets. `tells_ends`: also what it is behind with, and it says when it
    /// has reached the end of one.
    fn reader(
        &self,
        topic: &str,
        (partitions, start): (&[i32], &Start),
        fetch_wait_ms: &str,
        tells_ends: bool,
    ) -> Result<(BaseConsumer<Context>, Behind), Error> {
        // A group id is required by librdkafka for offsets; nothing is ever committed under it.
        let group = self.full_name("broadcast");
        let ends = if tells_ends { "true" } else { "false" };
        let ours = [("group.id", group.as_str()), ("fetch.wait.max.ms", fetch_wait_ms), ("enable.partition.eof", ends)];
        let consumer: BaseConsumer<Context> = self.consumer_config(&ours).create_with_context(Context)?;
        let (list, behind) = patiently(QUERY_TIMEOUT, || {
            let list = start_offsets(&consumer, topic, partitions, start)?;
            let behind = if tells_ends { Behind::of(&consumer, topic, &list)? } else { Behind::default() };
            Ok((list, behind))
        })?;
        consumer.assign(&list)?;
        Ok((consumer, behind))
    }

    /// Reads all partitions of a topic (full name) up to where they end now, giving each record to `each`. Blocks until then, or until
    /// `stop`.
    pub fn scan(
        &self,
        topic: &str,
        start: &Start,
        stop: &CancellationToken,
        mut each: impl FnMut(Raw<'_>),
    ) -> Result<(), Error> {
        // An end that no record stands before is told by the first fetch that finds nothing, and somebody waits for it.
        let (consumer, mut behind) = self.reader(topic, (&[], start), "20", true)?;
        while !behind.is_nothing() && !stop.is_cancelled() {
            match consumer.poll(crate::IDLE_POLL) {
                None => {}
                Some(Ok(message)) => {
                    each(Raw(&message));
                    behind.has_read(message.partition(), message.offset());
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => behind.has_ended(partition),
                Some(Err(error)) => crate::client::log_error("scan", &error, &error.to_string()),
            }
        }
        Ok(())
    }

    /// The first offset a partition of a topic (full name) still has, and the next one it will give out. Blocks up to
    /// `timeout`.
    pub fn watermarks(&self, topic: &str, partition: i32, timeout: Duration) -> Result<(i64, i64), Error> {
        let consumer: BaseConsumer<Context> = self.consumer_config(&[]).create_with_context(Context)?;
        patiently(timeout, || Ok(consumer.fetch_watermarks(topic, partition, timeout)?))
    }
}

/// What a reader has still to read: of the partitions that it has not read to their ends, where it began and those ends. Asked for,
/// because a fetch says that there is nothing more only when its wait is over, and everybody who starts waits for that.
#[derive(Default)]
pub(crate) struct Behind(pub(crate) HashMap<i32, Range<i64>>);

impl Behind {
    /// For a reader that begins where `list` says.
    pub(crate) fn of(consumer: &BaseConsumer<Context>, topic: &str, list: &TopicPartitionList) -> Result<Self, Error> {
        if list.count() == 0 {
            // Nobody may take it for one that has been read.
            let reason = "it is not there; has a gateway with this kafka.topic_prefix been started on this cluster?";
            return Err(Error::Topic { topic: topic.to_owned(), reason: reason.to_owned() });
        }
        let mut ranges = HashMap::new();
        for element in list.elements() {
            let (first, end) = consumer.fetch_watermarks(topic, element.partition(), QUERY_TIMEOUT)?;
            let from = match element.offset() {
                Offset::Offset(offset) => offset.max(first),
                _ => first,
            };
            if from < end {
                ranges.insert(element.partition(), from..end);
            }
        }
        Ok(Self(ranges))
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the record was still to be read: it may have come since the reader began.
    pub(crate) fn has_read(&mut self, partition: i32, offset: i64) -> bool {
        let Some(end) = self.0.get(&partition).map(|range| range.end) else { return false };
        if offset + 1 >= end {
            self.0.remove(&partition);
        }
        offset < end
    }

    /// The broker's word, because the offset before the end need not hold a record.
    pub(crate) fn has_ended(&mut self, partition: i32) {
        self.0.remove(&partition);
    }
}

/// Asks again until `timeout`: a topic just created answers "not leader" for a moment, and so does one whose leader is
/// moving.
pub(crate) fn patiently<T>(timeout: Duration, mut ask: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if begun.elapsed() > timeout => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

pub(crate) fn start_offsets(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: &[i32],
    start: &Start,
) -> Result<TopicPartitionList, Error> {
    let failed = |error: KafkaError| Error::Topic {
        topic: topic.to_owned(),
        reason: format!("its offsets cannot be read: {error}"),
    };
    let all: Vec<i32> = if partitions.is_empty() {
        let metadata = consumer.fetch_metadata(Some(topic), QUERY_TIMEOUT).map_err(failed)?;
        metadata.topics().iter().flat_map(|t| t.partitions()).map(rdkafka::metadata::MetadataPartition::id).collect()
    } else {
        partitions.to_vec()
    };
    let mut list = TopicPartitionList::new();
    for partition in all {
        let end = || consumer.fetch_watermarks(topic, partition, QUERY_TIMEOUT).map_err(failed);
        let offset = match start {
            Start::Beginning => Offset::Beginning,
            Start::After(offsets) => match offsets.get(&partition) {
                // An offset beyond the log would be waited for; one before it is gone.
                Some(after) => {
                    let (first, end) = end()?;
                    Offset::Offset((after + 1).clamp(first, end))
                }
                None => Offset::Beginning,
            },
            Start::End => Offset::Offset(end()?.1),
            Start::Since(ms) => {
                let mut query = TopicPartitionList::new();
                query.add_partition_offset(topic, partition, Offset::Offset(*ms))?;
                let found = consumer.offsets_for_times(query, QUERY_TIMEOUT).map_err(failed)?;
                match found.elements().first().map(TopicPartitionListElem::offset) {
                    Some(Offset::Offset(offset)) if offset >= 0 => Offset::Offset(offset),
                    _ => Offset::Offset(end()?.1),
                }
            }
        };
        list.add_partition_offset(topic, partition, offset)?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Kafka, PATIENCE};
    use std::sync::mpsc;

    #[test]
    fn a_partition_is_read_at_the_end_it_had_or_when_the_broker_says_so() {
        let mut behind = Behind(HashMap::from([(0, 0..3), (1, 0..1), (2, 5..8)]));
        assert!(behind.has_read(0, 1) && behind.has_read(1, 0));
        assert!(!behind.has_read(1, 1) && !behind.has_read(7, 0));
        assert!(behind.0.keys().all(|partition| [0, 2].contains(partition)) && behind.0.len() == 2);
        // Its last offset has no record: what is read next has come since.
        assert!(!behind.has_read(0, 5));
        assert!(!behind.is_nothing());
        behind.has_ended(2);
        assert!(behind.is_nothing());
    }

    #[test]
    fn who_has_nothing_to_read_does_not_wait_for_a_fetch() {
        let kafka = Kafka::start(&[("t.empty", 3)]);
        kafka.refuse_fetches(10_000);
        let (stop, (caught_up, told)) = (CancellationToken::new(), mpsc::channel());
        let _stop = stop.clone().drop_guard();
        let tell = move || {
            let _ = caught_up.send(());
        };
        kafka.bus().replay("t.empty", Start::Beginning, stop, |_| {}, tell).expect("a topic");
        told.recv_timeout(PATIENCE).expect("the end");
    }

    #[test]
    fn a_topic_of_which_nothing_is_known_has_not_been_read() {
        let kafka = Kafka::start(&[]);
        let consumer: BaseConsumer<Context> =
            kafka.bus().consumer_config(&[]).create_with_context(Context).expect("a consumer");
        assert!(Behind::of(&consumer, "t.absent", &TopicPartitionList::new()).is_err());
    }

    #[test]
    fn a_question_is_asked_again_until_it_is_answered_or_its_time_is_over() {
        let refused = || Error::Stopped("test".to_owned());
        let mut times = 0;
        let third = patiently(Duration::MAX, || {
            times += 1;
            if times < 3 { Err(refused()) } else { Ok(times) }
        });
        assert_eq!(third.expect("an answer"), 3);
        let mut times = 0;
        let never = patiently(Duration::ZERO, || {
            times += 1;
            Err::<(), _>(refused())
        });
        assert!(matches!(never, Err(Error::Stopped(_))) && times > 0);
    }
}
