//! Consuming in order, by a reader that keeps its own place: the ledger resumes from its table, not from Kafka.
//!
//! The group only decides who reads which partition. For each partition the reader gets [`Event::Assigned`] and answers
//! with [`Control::start`]; then records in order; at a rebalance [`Event::Revoked`], answered by [`Control::release`]
//! when what was read is safe. What waits to be read is bounded by [`MAX_BYTES`] and [`MAX_RECORDS`].

use crate::{
    Bus, Error, Incoming,
    commit_async::Turn,
    groups::{Change, Members},
};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bytes of values read and not yet taken.
pub const MAX_BYTES: usize = 32 << 20;
/// Records read and not yet taken.
pub const MAX_RECORDS: usize = 8192;
/// How long the broker may take to say what the group has committed.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);

/// What happens to a partition of the subscribed topic.
#[derive(Debug)]
pub enum Event {
    /// This reader owns the partition now; nothing is read before [`Control::start`].
    Assigned(i32),
    /// The next record.
    Record(Incoming<Vec<u8>>),
    /// So many records before the next one are gone from the log, though nobody has committed them ([`OnMissing::Oldest`]).
    Missing {
        /// Of the subscribed topic.
        partition: i32,
        /// Records.
        count: u64,
    },
    /// The partition will go to somebody else as soon as it is released, or after 20 s.
    Revoked(i32),
    /// The partition is somebody else's already. Drop what was not written.
    Lost(i32),
}

/// What to do if the log no longer has (or never had) the offset to read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// Go on with the oldest record there is, and tell of those that are missing ([`Event::Missing`]).
    Oldest,
    /// End with an error, because going on would skip records in silence.
    Fail,
}

enum Command {
    Start(i32, Option<i64>),
    Commit(i32, i64),
    Release(i32),
}

/// Answers to events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control(std::sync::mpsc::Sender<Command>);

impl Control {
    /// Begins to read a partition at `offset`; `None`: where the group's commit says, else at the oldest record.
    pub fn start(&self, partition: i32, offset: Option<i64>) {
        let _ = self.0.send(Command::Start(partition, offset));
    }

    /// Notes the next offset to read, for those who ask how far this reader is: it is committed soon, and again until it is taken.
    pub fn commit(&self, partition: i32, next_offset: i64) {
        let _ = self.0.send(Command::Commit(partition, next_offset));
    }

    /// Gives a revoked partition back.
    pub fn release(&self, partition: i32) {
        let _ = self.0.send(Command::Release(partition));
    }
}

/// A running ordered reader.
#[derive(Debug)]
pub struct Ordered {
    events: mpsc::Receiver<Event>,
    control: Control,
    bytes: Arc<AtomicUsize>,
    members: Members,
    thread: Option<std::thread::JoinHandle<Result<(), Error>>>,
}

impl Ordered {
    /// The next event; `None` once the reader has stopped.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        if let Some(Event::Record(record)) = &event {
            self.bytes.fetch_sub(record.value.len(), Ordering::Relaxed);
        }
        event
    }

    /// Answers to events.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// A cheap probe: has the group given this reader an assignment (perhaps an empty one)?
    pub fn probe(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let members = self.members.clone();
        move || members.assigned()
    }

    /// Waits for the reader's thread after its token was cancelled and the last commits were given to [`Control`].
    pub async fn stopped(mut self) -> Result<(), Error> {
        drop(self.events);
        drop(self.control);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        joined.map_err(|_| Error::Stopped("reader".into()))?.map_err(|_| Error::Stopped("reader".into()))?
    }
}

struct Context(Members);

impl ClientContext for Context {
    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        crate::client::log_error("ordered consumer", &error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let names = || list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.0.push(Change::Assigned(names())),
            _ if consumer.assignment_lost() || self.0.closing() => {
                self.0.push(Change::Lost);
                if let Err(error) = consumer.incremental_unassign(list) {
                    tracing::error!(%error, "a lost assignment could not be given back");
                }
            }
            _ => self.0.push(Change::Revoked(names())),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.0.note_commit(result, offsets);
    }
}

impl Bus {
    /// Starts an ordered reader of one topic (full name) in a group (without prefix). After `stop` no more records come;
    /// commits are still taken until [`Ordered::stopped`].
    pub fn ordered(
        &self,
        group: &str,
        topic: &str,
        on_missing: OnMissing,
        stop: CancellationToken,
    ) -> Result<Ordered, Error> {
        let group = self.full_name(group);
        let config = self.consumer_config(&[
            ("group.id", &group),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "2000"),
            // Nobody waits for these readers, so the broker gathers a quarter of a second for them: a fetch for every record
            // would cost the requests in flight more than anything else here. A stop of the whole gateway does wait: it leaves
            // the last rows to the next start if they are gathered for longer than the other services take to stop.
            ("fetch.min.bytes", "262144"),
            ("fetch.wait.max.ms", "250"),
            ("auto.offset.reset", if on_missing == OnMissing::Oldest { "earliest" } else { "error" }),
        ]);
        let members = Members::default();
        let consumer: BaseConsumer<Context> = config.create_with_context(Context(members.clone()))?;
        consumer.subscribe(&[topic])?;
        let (events_in, events) = mpsc::channel(MAX_RECORDS + 1024);
        let (commands_in, commands) = std::sync::mpsc::channel();
        let bytes = Arc::new(AtomicUsize::new(0));
        let reader = Reader {
            consumer,
            members: members.clone(),
            topic: topic.to_owned(),
            on_missing,
            events: events_in,
            commands,
            bytes: bytes.clone(),
            paused: false,
            starting: BTreeMap::new(),
            owned: BTreeSet::new(),
            next: BTreeMap::new(),
            releasing: BTreeMap::new(),
            release_by: None,
            hints: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            turn: Turn::new(Instant::now()),
            stop,
        };
        let thread = std::thread::Builder::new().name(format!("read-{topic}")).spawn(move || reader.run());
        let thread = Some(thread.map_err(|_| Error::Stopped("thread".into()))?);
        Ok(Ordered { events, control: Control(commands_in), bytes, members, thread })
    }
}

const RELEASE_TIMEOUT: Duration = Duration::from_secs(20);

struct Reader {
    consumer: BaseConsumer<Context>,
    members: Members,
    topic: String,
    on_missing: OnMissing,
    events: mpsc::Sender<Event>,
    commands: std::sync::mpsc::Receiver<Command>,
    bytes: Arc<AtomicUsize>,
    paused: bool,
    /// Assigned by the group, waiting for `start` of all; inner `None`: not answered yet.
    starting: BTreeMap<i32, Option<Option<i64>>>,
    owned: BTreeSet<i32>,
    /// The offset that comes next, where that is known.
    next: BTreeMap<i32, i64>,
    /// Revoked; true: released.
    releasing: BTreeMap<i32, bool>,
    release_by: Option<Instant>,
    /// Offsets to commit.
    hints: BTreeMap<i32, i64>,
    /// Those of the one commit that was sent and is not answered: it may be refused, and nothing may follow on a partition that is quiet.
    unanswered: BTreeMap<i32, i64>,
    turn: Turn,
    stop: CancellationToken,
}

impl Reader {
    fn run(mut self) -> Result<(), Error> {
        let ended = self.read();
        // However it ended: the consumer's drop waits for an answer to its last revocation.
        self.members.close();
        ended
    }

    fn read(&mut self) -> Result<(), Error> {
        loop {
            if self.take_commands()? {
                return Ok(());
            }
            self.take_changes();
            self.commit_hints();
            self.finish_release()?;
            self.apply_bounds()?;
            self.poll_batch()?;
        }
    }

    /// True once the owner has dropped its end.
    fn take_commands(&mut self) -> Result<bool, Error> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Start(partition, offset)) => {
                    if let Some(slot) = self.starting.get_mut(&partition) {
                        *slot = Some(offset);
                    }
                }
                Ok(Command::Commit(partition, offset)) => {
                    if self.owned.contains(&partition) {
                        self.hints.insert(partition, offset);
                    }
                }
                Ok(Command::Release(partition)) => {
                    if let Some(released) = self.releasing.get_mut(&partition) {
                        *released = true;
                    }
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    self.commit_hints();
                    return Ok(true);
                }
            }
        }
        // librdkafka waits for one answer to an assignment, so all of it is taken at once.
        if !self.starting.is_empty() && self.starting.values().all(Option::is_some) {
            let (mut list, mut untold) = (TopicPartitionList::new(), TopicPartitionList::new());
            for (partition, start) in std::mem::take(&mut self.starting) {
                let offset = start.flatten().map_or(Offset::Invalid, Offset::Offset);
                list.add_partition_offset(&self.topic, partition, offset)?;
                if let Offset::Offset(next) = offset {
                    self.next.insert(partition, next);
                } else {
                    untold.add_partition(&self.topic, partition);
                }
                self.owned.insert(partition);
            }
            self.note_committed(untold);
            if !self.paused {
                // One that left while all were paused is paused still, as far as librdkafka is concerned.
                self.consumer.resume(&list)?;
            }
            self.consumer.incremental_assign(&list)?;
            self.members.set_assigned();
            if self.paused {
                // As those are that were there before, until all are resumed.
                self.consumer.pause(&list)?;
            }
        }
        Ok(false)
    }

    /// Notes where the group's commits have these partitions go on. Where there is none, nothing can be missing.
    fn note_committed(&mut self, partitions: TopicPartitionList) {
        if self.on_missing == OnMissing::Fail || partitions.count() == 0 {
            return;
        }
        match self.consumer.committed_offsets(partitions, COMMITTED_TIMEOUT) {
            Ok(committed) => {
                for element in committed.elements() {
                    if let Offset::Offset(next) = element.offset() {
                        self.next.insert(element.partition(), next);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, topic = self.topic, "commits could not be read; what was deleted meanwhile is not told of");
            }
        }
    }

    /// Sends what is to be committed, and again what was refused. The last before the end is waited for.
    fn commit_hints(&mut self) {
        if let Some(refused) = self.turn.answer(&self.members) {
            for (partition, offset) in std::mem::take(&mut self.unanswered) {
                if refused.contains(&self.topic, partition) && self.owned.contains(&partition) {
                    self.hints.entry(partition).or_insert(offset);
                }
            }
        }
        let is_last = self.stop.is_cancelled();
        if self.hints.is_empty() || !(is_last || self.turn.has_come()) {
            return;
        }
        let hints = std::mem::take(&mut self.hints);
        let mut list = TopicPartitionList::new();
        let added = hints.iter().try_for_each(|(partition, offset)| {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))
        });
        let sent = added.and_then(|()| match is_last {
            true => self.consumer.commit(&list, CommitMode::Sync),
            false => self.turn.send(&self.consumer, &list),
        });
        match sent {
            // Who comes next reads what was not taken once more.
            Ok(()) if is_last => {}
            Ok(()) => self.unanswered = hints,
            Err(error) => {
                tracing::warn!(%error, topic = self.topic, "offsets were not committed; they will be with the next commit");
                if !is_last {
                    self.hints = hints;
                }
            }
        }
    }

    fn take_changes(&mut self) {
        for change in self.members.take() {
            match change {
                Change::Assigned(list) if list.is_empty() => {
                    let _ = self.consumer.incremental_assign(&TopicPartitionList::new());
                    self.members.set_assigned();
                }
                Change::Assigned(list) => {
                    for (_, partition) in list {
                        self.starting.insert(partition, None);
                        self.tell(Event::Assigned(partition));
                    }
                }
                Change::Revoked(list) => {
                    self.release_by = Some(Instant::now() + RELEASE_TIMEOUT);
                    for (_, partition) in list {
                        self.releasing.insert(partition, false);
                        self.tell(Event::Revoked(partition));
                    }
                }
                Change::Lost => {
                    self.starting.clear();
                    self.releasing.clear();
                    self.release_by = None;
                    self.hints.clear();
                    self.next.clear();
                    for partition in std::mem::take(&mut self.owned) {
                        self.tell(Event::Lost(partition));
                    }
                }
            }
        }
    }

    fn finish_release(&mut self) -> Result<(), Error> {
        let Some(by) = self.release_by else { return Ok(()) };
        if self.releasing.values().all(|released| *released) || Instant::now() >= by {
            let mut list = TopicPartitionList::new();
            for (partition, _) in std::mem::take(&mut self.releasing) {
                list.add_partition(&self.topic, partition);
                self.owned.remove(&partition);
                self.hints.remove(&partition);
                self.next.remove(&partition);
            }
            self.release_by = None;
            self.consumer.incremental_unassign(&list)?;
        }
        Ok(())
    }

    fn apply_bounds(&mut self) -> Result<(), Error> {
        let room = self.events.capacity() > 1024 && self.bytes.load(Ordering::Relaxed) < MAX_BYTES;
        let half = self.events.capacity() > MAX_RECORDS / 2 && self.bytes.load(Ordering::Relaxed) < MAX_BYTES / 2;
        let pause = !self.paused && (!room || self.stop.is_cancelled());
        let resume = self.paused && half && !self.stop.is_cancelled();
        if self.owned.is_empty() || !(pause || resume) {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for partition in &self.owned {
            list.add_partition(&self.topic, *partition);
        }
        self.paused = pause;
        if pause {
            self.consumer.pause(&list)?
        } else {
            self.consumer.resume(&list)?
        }
        Ok(())
    }

    fn poll_batch(&mut self) -> Result<(), Error> {
        // An answer to a rebalance holds the group up; commits can wait.
        let answering = !self.starting.is_empty() || self.release_by.is_some();
        let mut timeout = Duration::from_millis(if answering { 10 } else { 100 });
        // Leaves at least 512 places of the 1,024 spare ones for events that are not records.
        for _ in 0..512 {
            match self.consumer.poll(timeout) {
                None => break,
                Some(Ok(message)) => {
                    let record = Incoming::of(&message);
                    drop(message);
                    if !self.releasing.contains_key(&record.partition) {
                        let expected = self.next.insert(record.partition, record.offset + 1);
                        self.tell_missing(expected, &record);
                        self.bytes.fetch_add(record.value.len(), Ordering::Relaxed);
                        self.tell(Event::Record(record));
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(KafkaError::MessageConsumptionFatal(code).into());
                }
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    return Err(error.into());
                }
                Some(Err(error)) => crate::client::log_error("ordered consumer", &error, &error.to_string()),
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    fn tell_missing(&self, expected: Option<i64>, record: &Incoming<Vec<u8>>) {
        let missing = record.offset.saturating_sub(expected.unwrap_or(record.offset));
        if missing > 0 && self.on_missing == OnMissing::Oldest {
            self.tell(Event::Missing { partition: record.partition, count: missing.unsigned_abs() });
        }
    }

    fn tell(&self, event: Event) {
        // The bounds above leave room; without room the order would break, so wait for the reader.
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            let _ = self.events.blocking_send(event);
        }
    }
}

#[cfg(test)]
mod tests;
